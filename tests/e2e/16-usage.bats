# sanitizers: yes
# What takes how much, and giving it back: system df, history, filters of images, the prunes.
load helpers
A=$BATS_TEST_TMPDIR

setup_file() { file_up; }
teardown_file() { file_down; }

# make NAME TEXT [LABEL]: an image with one layer of its own above busybox.
make() {
    pouch run --name maker --network none busybox sh -c "echo $2 >/file; dd if=/dev/zero of=/mb bs=1M count=1 2>/dev/null" >/dev/null
    pouch commit ${3:+-c "LABEL $3"} maker "$1" >/dev/null
    pouch rm maker >/dev/null
}

usage() {
    make big:1 one
    ctl run -d --network none --name runs -v data:/data big:1 sh -c 'dd if=/dev/zero of=/data/x bs=1M count=2 2>/dev/null; sleep 1000' >/dev/null
    ctl run --network none --name ended -v /anon busybox sh -c 'dd if=/dev/zero of=/y bs=1M count=3 2>/dev/null' >/dev/null
    within 10 test -s "$T/root/volumes/data/_data/x"
    run ctl system df
    is "$status" 0
    has "$output" '^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE'
    has "$output" '^Images +2 +2 '
    has "$output" '^Containers +2 +1 +3\.[0-9]+MB +3\.[0-9]+MB'
    has "$output" '^Local Volumes +2 +2 +2\.[0-9]+MB +0B'
    run ctl system df -v
    is "$status" 0
    has "$output" '^big +1 +[0-9a-f]{12} .* 1\.0[0-9]+MB +1'
    has "$output" '^data +1 +2\.[0-9]+MB'
    has "$output" ' ended$'
    is "$(ctl system df --format '{{.Type}} {{.TotalCount}}' | head -n1)" 'Images 2'
    api GET '/v1.44/system/df?type=image'
    is "$code" 200
    is "$(jq -r 'keys | join(",")' <<<"$body")" Images,LayersSize
    is "$(jq '[.Images[] | select(.SharedSize > 0)] | length' <<<"$body")" 2
    # 1.52: sums, which are what the client reckons of the lists; with or without the lists
    api GET '/v1.52/system/df?verbose=0'
    is "$code" 200
    is "$(jq -r 'keys | join(",")' <<<"$body")" BuildCacheUsage,ContainerUsage,ImageUsage,VolumeUsage
    is "$(jq -c '.ImageUsage | [.TotalCount, .ActiveCount, .Reclaimable]' <<<"$body")" '[2,2,0]'
    is "$(jq -c '.VolumeUsage | [.TotalCount, .ActiveCount, .Reclaimable]' <<<"$body")" '[2,2,0]'
    is "$(jq -c '.ContainerUsage | [.TotalCount, .ActiveCount, .Reclaimable > 3000000, .TotalSize >= .Reclaimable]' <<<"$body")" \
        '[2,1,true,true]'
    is "$(jq '[.. | objects | has("Items")] | any' <<<"$body")" false
    api GET '/v1.52/system/df?verbose=1&type=image&type=container'
    is "$(jq -r 'keys | join(",")' <<<"$body")" ContainerUsage,ImageUsage
    is "$(jq -c '[(.ImageUsage.Items | length), (.ContainerUsage.Items | length)]' <<<"$body")" '[2,2]'
    is "$(jq '.ImageUsage.TotalSize == ([.ImageUsage.Items[].Size] | max)' <<<"$body")" true # one is the other's base
    is "$(jq '.ContainerUsage.TotalSize == ([.ContainerUsage.Items[].SizeRw] | add)' <<<"$body")" true
    api GET '/v1.52/system/df' # for who knows neither form: both
    is "$(jq -r 'keys | join(",")' <<<"$body")" \
        BuildCache,BuildCacheUsage,ContainerUsage,Containers,ImageUsage,Images,LayersSize,VolumeUsage,Volumes
    remove_all
    pouch rmi big:1 >/dev/null
    pouch volume rm data >/dev/null
    pouch volume prune -af >/dev/null
}
@test "system df: images with what they share, containers, volumes" { each_cli usage; }

filters() {
    make one:1 1 kind=a
    sleep 1.1
    make two:1 2 kind=b
    is "$(ctl images --filter before=two:1 --filter label=kind --format '{{.Repository}}')" one
    is "$(ctl images --filter since=one:1 --format '{{.Repository}}')" two
    is "$(ctl images --filter label=kind=b --format '{{.Repository}}')" two
    is "$(ctl images --filter 'reference=t*' --format '{{.Repository}}')" two
    is "$(ctl images --filter "until=$(pouch inspect -f '{{.Created}}' two:1)" --filter label=kind --format '{{.Repository}}')" one
    is "$(ctl images -q --no-trunc --filter label=kind=a)" "$(pouch inspect -f '{{.Id}}' one:1)"
    is "$(pouch images --filter "id=$(pouch inspect -f '{{.Id}}' one:1 | cut -c1-20)" --format '{{.Repository}}')" one
    is "$(pouch images --filter 'label!=kind' --format '{{.Repository}}')" busybox
    run ctl images --filter colour=red
    is "$status" 1
    has "$output" "invalid filter 'colour'"
    run ctl history one:1
    is "$status" 0
    has "$output" '^IMAGE +CREATED +CREATED BY +SIZE +COMMENT'
    has "$(sed -n 2p <<<"$output")" '^[0-9a-f]{12} .* ago +sh -c echo 1 .* 1\.0[0-9]MB'
    has "$(sed -n 3p <<<"$output")" "^$(pouch images -q busybox) "
    is "$(ctl history -q --no-trunc one:1 | head -n1)" "$(pouch inspect -f '{{.Id}}' one:1)"
    has "$(ctl history --human=false --format '{{.Size}}' one:1 | head -n1)" '^104[0-9]+$'
    run pouch history --platform linux/s390x one:1
    is "$status" 1
    has "$output" 'not for linux/s390x'
    api GET '/v1.51/images/one:1/json?manifests=1'
    is "$(jq -r .GraphDriver.Data.LowerDir <<<"$body" | tr ':' '\n' | wc -l)" 2
    # layers that are shared stay with the other image
    ctl rmi one:1 >/dev/null
    is "$(ctl run --rm --network none two:1 cat /file)" 2
    ctl rmi two:1 >/dev/null
    is "$(ctl run --rm --network none busybox echo ok)" ok
}
@test "images: filters; history: sizes and formats; shared layers outlive rmi" { each_cli filters; }

prunes() {
    make named:1 n
    make was:1 w keep=yes
    pouch tag busybox:latest was:1 # the old one has no name any more
    make was2:1 x
    pouch tag busybox:latest was2:1
    pouch rmi was:1 was2:1 >/dev/null
    is "$(ctl images -q --filter dangling=true | wc -l)" 2
    run ctl image prune -f --filter 'label!=keep'
    is "$status" 0
    has "$output" 'Total reclaimed space: 1\.0[0-9]+MB'
    is "$(ctl images -q --filter dangling=true | wc -l)" 1
    ctl image prune -f --filter until=24h >/dev/null
    is "$(ctl images -q --filter dangling=true | wc -l)" 1
    has "$(ctl image prune -f)" 'deleted: sha256:'
    is "$(ctl images -q --filter dangling=true)" ''
    has "$(ctl image prune -f)" 'Total reclaimed space: 0B'
    # -a: also named ones, but for what a container has
    ctl run --name holds --network none busybox true
    has "$(ctl image prune -af)" 'untagged: named:1'
    is "$(ctl images --format '{{.Repository}}')" busybox
    # containers: not those that run
    ctl run -d --name runs --network none busybox sleep 1000 >/dev/null
    has "$(ctl container prune -f)" 'Deleted Containers:'
    is "$(ctl ps -a --format '{{.Names}}')" runs
    ctl volume create keep >/dev/null
    ctl run --rm --network none -v keep:/k busybox true
    pouch run --name anon --network none -v /anon busybox true
    ctl rm anon >/dev/null
    has "$(pouch volume prune -f)" 'Deleted Volumes:'
    is "$(ctl volume ls -q)" keep
    has "$(pouch volume prune -af)" keep
    remove_all
    run ctl container prune -f --filter colour=red
    is "$status" 1
    has "$output" "invalid filter 'colour'"
    make again:1 x
    has "$(ctl system prune -f)" 'Total reclaimed space: 0B'
    is "$(echo n | pouch system prune -a | head -n1)" 'WARNING! This will remove:'
    [ -n "$(pouch images -q again)" ]
    has "$(ctl run --name last --network none busybox true; ctl system prune -af)" 'untagged: again:1'
    is "$(pouch images -q)" ''
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}
@test "prune: images, containers, volumes, system" { each_cli prunes; }

@test "prune: a hundred containers start and end while all is pruned again and again" {
    make busy:1 b
    (for _ in $(seq 40); do pouch run --rm --network none busy:1 true || true; done) >"$A/out" 2>&1 &
    local runner=$!
    while kill -0 "$runner" 2>/dev/null; do
        pouch system prune -f >/dev/null
        pouch image prune -f >/dev/null
    done
    wait "$runner"
    lacks "$(cat "$A/out")" 'No such image|lost|missing'
    pouch rmi busy:1 >/dev/null
}
