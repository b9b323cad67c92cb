# sanitizers: yes
# Images: pull, list, inspect, tag, remove, load, import.
load helpers

setup_file() {
    pouchd_start
    registry_start busybox:latest busybox:v2s2 busybox:zstd busybox:plain platforms:latest \
        platforms:v2s2 platforms:arm-only many:latest configured:latest
    fault_registry_start
}
teardown_file() { file_down; }

pulls() {
    local tag
    for tag in latest v2s2 zstd plain; do
        run ctl pull "$REGISTRY/busybox:$tag"
        is "$status" 0
        is "$(ctl run --rm --network none "$REGISTRY/busybox:$tag" echo "ran $tag")" "ran $tag"
    done
    run ctl images
    has "$output" "$REGISTRY/busybox +latest"
    has "$output" "$REGISTRY/busybox +zstd"
    no_images
}
@test "pull: OCI and Docker manifests, gzip, zstd and plain layers" { each_cli pulls; }

by_digest() {
    local digest
    digest=$(jq -r '.manifests[] | select(.annotations["io.containerd.image.name"] == "busybox:latest") | .digest' \
        "$POUCH_IMAGES/layout/index.json")
    run ctl pull "$REGISTRY/busybox@$digest"
    is "$status" 0
    has "$output" "$digest"
    is "$(ctl run --rm --network none "$REGISTRY/busybox@$digest" echo hello)" hello
    no_images
}
@test "pull by digest" { each_cli by_digest; }

platforms() {
    local tag
    for tag in latest v2s2; do
        ctl pull -q "$REGISTRY/platforms:$tag"
        is "$(ctl run --rm --network none "$REGISTRY/platforms:$tag" cat /platform)" amd64
    done
    no_images
    ctl pull -q --platform linux/arm64 "$REGISTRY/platforms:latest"
    is "$(ctl inspect -f '{{.Architecture}}' "$REGISTRY/platforms:latest")" arm64
    no_images
    run ctl pull "$REGISTRY/platforms:arm-only"
    [ "$status" -ne 0 ]
    has "$output" 'no match|no matching manifest|platform'
    is "$(ctl images -aq)" ''
}
@test "a manifest list gives this machine's platform, or the one asked for" { each_cli platforms; }

progress() {
    run ctl pull "$REGISTRY/many:latest"
    is "$status" 0
    has "$output" "Digest: sha256:[0-9a-f]{64}"
    has "$output" "Status: Downloaded newer image for $REGISTRY/many:latest"
    run ctl pull "$REGISTRY/many:latest"
    has "$output" "Status: Image is up to date for $REGISTRY/many:latest"
    run ctl pull -q "$REGISTRY/many:latest"
    is "$output" "$REGISTRY/many:latest"
    no_images
}
@test "pull says what it does, and that an image is up to date" { each_cli progress; }

all_tags() {
    run ctl pull -a "$REGISTRY/busybox"
    is "$status" 0
    is "$(ctl images --format '{{.Tag}}' "$REGISTRY/busybox" | wc -l)" 4
    no_images
}
@test "pull -a takes every tag" { each_cli all_tags; }

@test "the same layer is fetched once, however many ask at once" {
    local i pids=()
    curl -s -X POST "http://$FAULTY/_reset"
    for i in 1 2 3 4 5 6; do pouch pull -q "$FAULTY/slow/busybox:latest" >"$T/tmp/pull.$i" 3>&- & pids+=($!); done
    wait "${pids[@]}"
    for i in 1 2 3 4 5 6; do is "$(cat "$T/tmp/pull.$i")" "$FAULTY/slow/busybox:latest"; done
    rm -f "$T"/tmp/pull.*
    local base
    base=$(jq -r '.manifests[] | select(.annotations["io.containerd.image.name"] == "busybox:latest") | .digest' \
        "$POUCH_IMAGES/layout/index.json" | cut -d: -f2)
    base=$(jq -r '.layers[0].digest' "$POUCH_IMAGES/layout/blobs/sha256/$base")
    is "$(curl -s "http://$FAULTY/_counts" | jq -r --arg d "$base" '.[$d]')" 1
    # Two images that share their base: only what is new is fetched.
    curl -s -X POST "http://$FAULTY/_reset"
    pouch pull -q "$FAULTY/ok/many:latest"
    is "$(curl -s "http://$FAULTY/_counts" | jq -r --arg d "$base" '.[$d] // 0')" 0
    no_images
}

@test "layers come in parallel" {
    forget
    pouch pull -q "$FAULTY/slow/many:latest"
    [ "$(curl -s "http://$FAULTY/_slow")" -ge 3 ] || fail "$(curl -s "http://$FAULTY/_slow") at once"
    no_images
}

tags() {
    ctl pull -q "$REGISTRY/busybox:latest"
    ctl tag "$REGISTRY/busybox:latest" mine:v1
    ctl tag mine:v1 other/mine
    run ctl images --format '{{.Repository}}:{{.Tag}}'
    has "$output" '^mine:v1$'
    has "$output" '^other/mine:latest$'
    run ctl rmi mine:v1
    is "$output" 'Untagged: mine:v1'
    run ctl run --rm --network none other/mine echo works
    is "$output" works
    run ctl tag other/mine 'UPPER:x y'
    [ "$status" -ne 0 ]
    has "$output" 'invalid reference format|not a valid repository'
    run ctl rmi "$REGISTRY/busybox:latest" other/mine
    is "$status" 0
    has "$output" 'Untagged: other/mine:latest'
    has "$output" 'Deleted: sha256:[0-9a-f]{64}'
    is "$(ctl images -aq)" ''
}
@test "tag and rmi" { each_cli tags; }

in_use() {
    ctl pull -q "$REGISTRY/busybox:latest"
    ctl create --name user "$REGISTRY/busybox:latest" sleep 9 >/dev/null
    run ctl rmi "$REGISTRY/busybox:latest"
    is "$status" 1
    has "$output" 'conflict: unable to remove repository reference|is being used|in use'
    is "$(ctl images -q | wc -l)" 1
    ctl rm user
    ctl rmi "$REGISTRY/busybox:latest"
    is "$(ctl images -aq)" ''
}
@test "an image in use is not removed" { each_cli in_use; }

inspected() {
    ctl pull -q "$REGISTRY/configured:latest"
    run ctl inspect "$REGISTRY/configured:latest"
    is "$status" 0
    is "$(jq -r '.[0].Config.Entrypoint | join(" ")' <<<"$output")" '/bin/echo entry'
    is "$(jq -r '.[0].Config.Cmd | join(" ")' <<<"$output")" 'default words'
    is "$(jq -r '.[0].Config.WorkingDir' <<<"$output")" /srv/work
    is "$(jq -r '.[0].Config.User' <<<"$output")" app
    is "$(jq -r '.[0].Config.Labels["spaced"]' <<<"$output")" 'a b'
    is "$(jq -r '.[0].Os' <<<"$output")" linux
    is "$(jq -r '.[0].RepoTags[0]' <<<"$output")" "$REGISTRY/configured:latest"
    has "$(jq -r '.[0].RepoDigests[0]' <<<"$output")" "^$REGISTRY/configured@sha256:"
    is "$(jq -r '.[0].RootFS.Layers | length' <<<"$output")" 1
    has "$(jq -r '.[0].Id' <<<"$output")" '^sha256:'
    is "$(ctl run --rm --network none "$REGISTRY/configured:latest")" 'entry default words'
    is "$(ctl run --rm --network none "$REGISTRY/configured:latest" given)" 'entry given'
    run ctl run --rm --network none --entrypoint sh "$REGISTRY/configured:latest" -c \
        'echo $COLOUR; pwd; id -un; echo ${EMPTY-unset}'
    is "${lines[0]}" blue
    is "${lines[1]}" /srv/work
    is "${lines[2]}" app
    is "${lines[3]:-}" ''
    no_images
}
@test "inspect shows an image's configuration, and containers take it" { each_cli inspected; }

loads() {
    run ctl load -i "$POUCH_IMAGES/busybox.docker.tar"
    is "$status" 0
    has "$output" 'Loaded image: busybox:latest'
    is "$(ctl run --rm --network none busybox echo loaded)" loaded
    no_images
    run ctl load <"$POUCH_IMAGES/busybox.oci.tar"
    is "$status" 0
    has "$output" 'Loaded image: .*busybox:latest'
    is "$(ctl run --rm --network none busybox echo loaded)" loaded
    no_images
    gzip -1 -c "$POUCH_IMAGES/busybox.docker.tar" >"$T/tmp/busybox.tar.gz"
    run ctl load -i "$T/tmp/busybox.tar.gz"
    is "$status" 0
    rm -f "$T/tmp/busybox.tar.gz"
    no_images
}
@test "load: docker save archives, OCI archives, gzip around them" { each_cli loads; }

bad_loads() {
    echo 'this is not an archive' >"$T/tmp/bad.tar"
    run ctl load -i "$T/tmp/bad.tar"
    [ "$status" -ne 0 ]
    head -c 900000 "$POUCH_IMAGES/busybox.docker.tar" >"$T/tmp/bad.tar"
    run ctl load -i "$T/tmp/bad.tar"
    [ "$status" -ne 0 ]
    : >"$T/tmp/bad.tar"
    run ctl load -i "$T/tmp/bad.tar"
    [ "$status" -ne 0 ]
    rm -f "$T/tmp/bad.tar"
    is "$(ctl images -aq)" ''
}
@test "load refuses what is no image archive and keeps nothing of it" { each_cli bad_loads; }

imports() {
    local suffix
    for suffix in '' .gz .zst; do
        run ctl import "$POUCH_IMAGES/busybox-root.tar$suffix" fromtar:v1
        is "$status" 0
        has "$output" '^sha256:[0-9a-f]{64}$'
        is "$(ctl run --rm --network none fromtar:v1 echo imported)" imported
        ctl rmi fromtar:v1 >/dev/null
    done
    run ctl import -c 'CMD ["echo","changed"]' -c 'ENV A=b' "$POUCH_IMAGES/busybox-root.tar" fromtar:v2
    is "$status" 0
    is "$(ctl run --rm --network none fromtar:v2)" changed
    no_images
}
@test "import of a root tarball" { each_cli imports; }

unknown() {
    run ctl run --rm "$REGISTRY/nothing:here" true
    is "$status" 125
    has "$output" 'not found|manifest unknown|does not exist'
    run ctl pull "$REGISTRY/busybox:nosuchtag"
    is "$status" 1
    has "$output" 'nosuchtag.* not found|manifest unknown|not found'
    run ctl inspect nosuchimage
    is "$status" 1
    has "$output" 'No such (object|image|container).*nosuchimage'
    run ctl rmi nosuchimage
    is "$status" 1
    has "$output" 'No such image: nosuchimage'
    run ctl tag nosuchimage x
    is "$status" 1
    has "$output" 'No such image: nosuchimage'
    run ctl pull 'Bad/Name::'
    [ "$status" -ne 0 ]
    has "$output" 'invalid reference format'
}
@test "unknown images and tags are named in one line" { each_cli unknown; }

@test "run pulls an image that is absent" {
    run --separate-stderr pouch run --rm --network none "$REGISTRY/busybox:latest" echo hello
    is "$status" 0
    is "$output" hello
    no_images
    run pouch run --rm --pull never "$REGISTRY/busybox:latest" echo hello
    is "$status" 125
    has "$output" 'No such image'
}

@test "filters and formats of images" {
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    pouch load -q -i "$POUCH_IMAGES/configured.docker.tar"
    is "$(pouch images --filter label=org.example.kind=test --format '{{.Repository}}')" configured
    is "$(pouch images --filter reference='busy*' --format '{{.Repository}}')" busybox
    is "$(pouch images -q --no-trunc busybox | grep -c '^sha256:[0-9a-f]\{64\}$')" 1
    run pouch images --format json
    is "$(jq -rs '[.[].Repository] | sort | join(",")' <<<"$output")" busybox,configured
    run pouch images --filter nonsense=1
    [ "$status" -ne 0 ]
    has "$output" 'nonsense'
    no_images
}

@test "containers keep running when their image loses its last name" {
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    pouch run -d --name user --network none busybox sleep 600 >/dev/null
    pouch rmi -f busybox
    is "$(pouch exec user echo still)" still
    pouch restart -t 0 user
    is "$(pouch exec user echo still)" still
    pouch rm -f user
    no_images
}

@test "blobs and layers of removed images are gone from the disk" {
    pouch pull -q "$REGISTRY/many:latest"
    no_images
    nothing_large() { # folders go in the background, the names of files at once
        is "$(find "$T/root/blobs" "$T/root/layers" -name 'trash.*' -prune -o -type f -size +100k -print 2>/dev/null | head -3)" ''
        [ -z "$(find "$T/root/layers" -name 'trash.*')" ]
    }
    within 30 nothing_large
}
