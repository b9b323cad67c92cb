# sanitizers: yes
# Push: to a real registry, and to one that fails in every way; what arrives is what was sent.
load helpers
load login

setup_file() {
    POUCH_PUSH_CHUNK_SIZE=262144 POUCH_PULL_STALL_TIMEOUT=4 file_up
    registry_start
    "$HERE/push-registry" "$T/pushed.host" >"$T/pushed.log" 2>&1 3>&- &
    echo $! >"$T/pushed.pid"
    disown
    within 10 [ -s "$T/pushed.host" ]
    # an image with many layers, and one with a layer of 12 MB that no compression makes smaller
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    mkdir "$T/rootfs"
    head -c 12000000 /dev/urandom >"$T/rootfs/noise"
    tar -C "$T/rootfs" -c . | pouch import - large:latest >/dev/null
    rm -r "$T/rootfs"
}
teardown_file() {
    kill "$(cat "$T/pushed.pid")" "$(cat "$T/second.pid" 2>/dev/null)" 2>/dev/null || true
    file_down
}

PUSHED() { cat "$T/pushed.host"; }
asked() { curl -s "http://$(PUSHED)/_log" | jq -r '.[]'; }
state() { curl -s "http://$(PUSHED)/_state" | jq -r "$1"; }
forget() { curl -s -X POST "http://$(PUSHED)/_reset" >/dev/null; }

MANIFESTS='application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json'
# manifest_of HOST/REPO:TAG: as the registry has it.
manifest_of() {
    local host=${1%%/*} rest=${1#*/}
    curl -sf -H "Accept: $MANIFESTS" "http://$host/v2/${rest%:*}/manifests/${rest##*:}"
}

pushes() {
    local to=$REGISTRY/plain/$RANDOM$RANDOM
    ctl tag busybox "$to:v1"
    run ctl push "$to:v1"
    is "$status" 0
    has "$output" "The push refers to repository \[$to\]"
    has "$output" '^[0-9a-f]{12}: Pushed|^[0-9a-f]{12}: Mounted from|: Layer already exists'
    has "$output" '^v1: digest: sha256:[0-9a-f]{64} size: [0-9]+$'
    local digest=${output##*digest: }
    digest=${digest%% *}
    is "sha256:$(manifest_of "$to:v1" | sha256sum | cut -d' ' -f1)" "$digest"
    has "$(ctl inspect -f '{{.RepoDigests}}' "$to:v1")" "$to@$digest"
    # once more: nothing to do
    run ctl push "$to:v1"
    has "$output" 'Layer already exists'
    has "$output" "$digest"
    # it comes back the same, and runs
    local id
    id=$(ctl inspect -f '{{.Id}}' "$to:v1")
    ctl rmi "$to:v1" >/dev/null
    run ctl pull -q "$to:v1"
    is "$status" 0
    is "$(ctl inspect -f '{{.Id}}' "$to:v1")" "$id"
    is "$(ctl run --rm --network none "$to:v1" echo ran)" ran
    run ctl push -q "$to:v1"
    is "$output" "$to:v1"
    # the default tag; all tags
    ctl tag busybox "$to"
    run ctl push "$to"
    has "$output" 'Using default tag: latest'
    has "$output" 'latest: digest:'
    ctl tag busybox "$to:v2"
    run ctl push -a "$to"
    has "$output" 'v1: digest:'
    has "$output" 'v2: digest:'
    ctl rmi "$to:v1" "$to:v2" "$to:latest" >/dev/null
}
@test "push: what arrives is what was sent, and runs" { each_cli pushes; }

refusals() {
    run ctl push "$REGISTRY/no/such:image"
    is "$status" 1
    has "$output" "An image does not exist locally with the tag: $REGISTRY/no/such"
    run ctl push -a "$REGISTRY/no/such"
    is "$status" 1
    has "$output" "An image does not exist locally with the tag: $REGISTRY/no/such"
    run ctl push -a "$REGISTRY/no/such:tag"
    has "$output" "tag can't be used with --all-tags/-a"
}
@test "what is not there is not pushed" { each_cli refusals; }

@test "options that cannot work are refused with the reason" {
    pouch tag busybox "$REGISTRY/options/busybox"
    local one
    while IFS='|' read -r one expected; do
        # shellcheck disable=SC2086
        run pouch push $one "$REGISTRY/options/busybox"
        is "$status" 1
        one_line "$expected"
    done <<'END'
--compression lzma|unknown compression "lzma": it is gzip, zstd or none
--compression zstd --compression-level 23|compression level 23 is not between 1 and 22
--compression gzip --compression-level 10|compression level 10 is not between 1 and 9
--compression-level 3|a compression level needs --compression
--compression gzip --compression-level x|not a number
--format docker --compression zstd|no type for zstd layers: use --format oci
--format v1|unknown format "v1"
--all-platforms|was not pulled by an index
--platform linux/s390x|of platform linux/s390x is not here
--all-platforms --platform linux/amd64|contradict
END
    pouch rmi "$REGISTRY/options/busybox" >/dev/null
    run curl -s "http://$REGISTRY/v2/options/busybox/tags/list"
    has "$output" NAME_UNKNOWN
}

@test "compression: gzip, zstd and none at several levels, remembered for the next push" {
    local to=$REGISTRY/compression/busybox options type layer before
    pouch tag busybox "$to:x"
    while IFS='|' read -r options type; do
        # shellcheck disable=SC2086
        pouch push -q $options "$to:x"
        has "$(manifest_of "$to:x" | jq -r '.layers[0].mediaType')" "$type"
        layer=$(manifest_of "$to:x" | jq -r '.layers[0].digest')
        curl -s "http://$REGISTRY/v2/compression/busybox/blobs/$layer" >"$T/tmp/layer"
        is "sha256:$(sha256sum <"$T/tmp/layer" | cut -d' ' -f1)" "$layer"
        case $type in
        *zstd) zstd -qdc "$T/tmp/layer" ;;
        *gzip) gzip -dc "$T/tmp/layer" ;;
        *) cat "$T/tmp/layer" ;;
        esac | sha256sum | cut -d' ' -f1 >"$T/tmp/plain"
        is "sha256:$(cat "$T/tmp/plain")" "$(pouch inspect -f '{{index .RootFS.Layers 0}}' busybox)"
        # the same again makes no archive anew
        before=$(find "$T/root/blobs" -type f -newer "$T/tmp/plain" | wc -l)
        # shellcheck disable=SC2086
        run pouch push $options "$to:x"
        has "$output" 'Layer already exists'
        is "$(find "$T/root/blobs/sha256" -type f -newer "$T/tmp/plain" -size +500k | wc -l)" "$before"
        # and it runs where it is pulled
        pouch rmi "$to:x" >/dev/null
        pouch pull -q "$to:x" >/dev/null
        is "$(pouch run --rm --network none "$to:x" echo ran)" ran
    done <<'END'
--compression gzip --compression-level 1|docker.image.rootfs.diff.tar.gzip
--compression gzip --compression-level 9 --format oci|oci.image.layer.v1.tar\+gzip
--compression zstd|oci.image.layer.v1.tar\+zstd
--compression zstd --compression-level 19|oci.image.layer.v1.tar\+zstd
--compression none --format oci|oci.image.layer.v1.tar$
--compression none --format docker|docker.image.rootfs.diff.tar$
--format oci|oci.image.layer.v1.tar\+gzip
END
    rm -f "$T/tmp/layer" "$T/tmp/plain"
    pouch rmi "$to:x" >/dev/null
}

@test "a manifest goes as it came, byte by byte: OCI, Docker, gzip, zstd, plain" {
    local tag came
    "$POUCH_TOP/tools/make-images" push "$REGISTRY" busybox:latest busybox:v2s2 busybox:zstd busybox:plain
    for tag in latest v2s2 zstd plain; do
        pouch rmi -f "$(pouch images -q busybox)" >/dev/null 2>&1 || true
        # a store of its own: the same layer in another compression would be there already
        "$POUCH_BIN/pouchd" --root "$T/other" --state "$T/otherrun" --host "unix://$T/other.sock" \
            --bridge-name none --cgroup-parent "$CGROUP_PARENT" >>"$LOG" 2>&1 3>&- &
        echo $! >"$T/second.pid"
        within 20 curl -sf --unix-socket "$T/other.sock" http://x/_ping >/dev/null
        other() { "$POUCH_BIN/pouch" -H "unix://$T/other.sock" "$@"; }
        other pull -q "$REGISTRY/busybox:$tag" >/dev/null
        other tag "$REGISTRY/busybox:$tag" "$REGISTRY/came/$tag:x"
        run other push "$REGISTRY/came/$tag:x"
        is "$status" 0
        has "$output" 'Mounted from busybox|Layer already exists'
        came=$(manifest_of "$REGISTRY/busybox:$tag" | sha256sum)
        is "$(manifest_of "$REGISTRY/came/$tag:x" | sha256sum)" "$came"
        kill "$(cat "$T/second.pid")"
        gone "$(cat "$T/second.pid")"
        rm -rf "$T/other" "$T/otherrun" "$T/other.sock" "$T/second.pid"
    done
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}

@test "blobs that another repository of the registry has are mounted, not sent" {
    forget
    pouch tag busybox "$(PUSHED)/ok/first:x"
    pouch tag busybox "$(PUSHED)/ok/second:x"
    pouch tag busybox "$(PUSHED)/nomount/third:x"
    pouch push -q "$(PUSHED)/ok/first:x"
    run pouch push "$(PUSHED)/ok/second:x"
    has "$output" 'Mounted from ok/first'
    lacks "$(asked)" '(PATCH|PUT) /v2/ok/second/blobs'
    # a registry that does not mount begins an upload: that one is used
    run pouch push "$(PUSHED)/nomount/third:x"
    has "$output" ': Pushed'
    is "$(state .open)" 0
    pouch rmi "$(PUSHED)/ok/first:x" "$(PUSHED)/ok/second:x" "$(PUSHED)/nomount/third:x" >/dev/null
}

# sent FAULT: a push through this fault arrives whole, and leaves no upload open.
sent() {
    local to
    to=$(PUSHED)/$1/busybox:x
    forget
    pouch tag busybox "$to"
    run timeout 120 "$POUCH_BIN/pouch" -H "unix://$SOCK" push "$to"
    echo "$1: $output"
    is "$status" 0
    is "$(state .open)" 0
    manifest_of "$to" | jq -e '.layers[0].digest' >/dev/null
    pouch rmi "$to" >/dev/null
}

@test "large blobs go in chunks that follow each other" {
    sent ok
    has "$(asked)" 'PATCH [^ ]* 0-262143 -> 202'
    has "$(asked)" 'PATCH [^ ]* 262144-524287 -> 202'
    has "$(asked)" 'PUT [^ ]*[?&]digest=sha256[^ ]* - -> 201'
}

@test "Locations: relative ones, and ones at another host, which gets no credentials" {
    sent relative
    pouch tag busybox "$(PUSHED)/otherhost/busybox:x"
    mkdir -p "$DOCKER_CONFIG"
    printf '{"auths":{"%s":{"auth":"%s"}}}' "$(PUSHED)" "$(printf app:secret | base64)" >"$DOCKER_CONFIG/config.json"
    sent otherhost
    is "$(state '.leaked | length')" 0
    has "$(asked)" 'PATCH .* -> 202'
    sent basic
    rm "$DOCKER_CONFIG/config.json"
    pouch tag busybox "$(PUSHED)/basic/busybox:x"
    run pouch push "$(PUSHED)/basic/busybox:x"
    is "$status" 1
    one_line 'unauthorized: authentication required'
}

@test "an upload goes on where it broke off" {
    sent droppatch
    local log
    log=$(asked)
    has "$log" 'PATCH .* 262144-524287 -> dropped'
    has "$log" 'GET /v2/droppatch/busybox/blobs/uploads/[^ ]* - -> 204'
    has "$log" 'PATCH [^ ]* 393216-[0-9]+ -> 202' # half of the second chunk had come
    is "$(grep -c 'POST .*uploads' <<<"$log")" 2  # the layer and the configuration: no second upload
    sent r416
    has "$(asked)" ' -> 416'
    sent short202
    sent norange202
}

@test "an upload that is gone begins anew; one that was closed is not sent twice" {
    sent droppatchlost
    sent lostsession
    sent dropput
    is "$(asked | grep -c 'PATCH .* 0-262143')" 1
}

@test "registries that know no chunks, or only large ones" {
    sent nochunk
    has "$(asked)" 'PATCH .* -> 405'
    sent nochunk400
    sent minchunk
    has "$(asked)" 'PATCH [^ ]* 0-499999 -> 202'
    lacks "$(asked)" ' -> 400'
}

@test "429 and 503 that pass are waited out" {
    sent e429once
    sent e503once
}

# fails FAULT REGEX: one clear line, and no upload stays open.
fails() {
    local to
    to=$(PUSHED)/$1/busybox:x
    forget
    pouch tag busybox "$to"
    run timeout 120 "$POUCH_BIN/pouch" -H "unix://$SOCK" push "$to"
    echo "$1: $output"
    is "$status" 1
    one_line "$2"
    # One of the other blob may just have been begun when this one failed: its place was never learnt.
    [ "$(state .open)" -le 1 ]
    is "$(state '.manifests | length')" 0
    pouch rmi "$to" >/dev/null
}

@test "registries that refuse or lie: one clear line, nothing left open" {
    fails e403 'denied: made up to fail .log in with'
    fails e413 'too large'
    fails wrongdigest 'under another digest'
    fails nothave 'accepted blob sha256:[0-9a-f]+ but does not have it'
    fails digestinvalid 'wrong digest'
    fails badmanifest 'manifest x of badmanifest/busybox: manifest invalid'
    fails lie202 'more of blob sha256:[0-9a-f]+ than was sent'
    fails nothing202 'takes nothing of blob'
}
@test "a Location that is no URL ends the push" {
    pouch tag busybox "$(PUSHED)/garbagelocation/busybox:x"
    run pouch push "$(PUSHED)/garbagelocation/busybox:x"
    is "$status" 1
    one_line 'sends uploads to "ftp://example.com/x", which is no URL'
    pouch rmi "$(PUSHED)/garbagelocation/busybox:x" >/dev/null
}
@test "registries that fail for ever are given up" {
    fails e500 'answered 500'
    fails e429 'toomanyrequests'
}

@test "an answer that does not come ends the push" {
    local to
    to=$(PUSHED)/stall/busybox:x
    forget
    pouch tag busybox "$to"
    run timeout 100 "$POUCH_BIN/pouch" -H "unix://$SOCK" push "$to"
    is "$status" 1
    one_line 'timed out|took too long|stall|broke'
    pouch rmi "$to" >/dev/null
}

begun() { asked | grep -q PATCH; }
none_open() { [ "$(state .open)" = 0 ] && asked | grep -q 'DELETE /v2/slow/large/blobs/uploads/'; }
no_worker() { ! pgrep -P "$(pouchd_pid)" -f pouch-image >/dev/null; }

@test "a client that hangs up ends the push, and its uploads are taken back" {
    local to pid
    to=$(PUSHED)/slow/large:x
    forget
    pouch tag large "$to"
    "$POUCH_BIN/pouch" -H "unix://$SOCK" push "$to" >/dev/null 2>&1 3>&- &
    pid=$!
    within 30 begun
    is "$(state .open)" 1
    kill "$pid"
    wait "$pid" || true
    within 30 none_open
    within 10 no_worker
    pouch rmi "$to" >/dev/null
}

@test "a push that is killed with its daemon leaves a store that pushes again" {
    local to pid
    to=$(PUSHED)/slow/large:x
    forget
    pouch tag large "$to"
    "$POUCH_BIN/pouch" -H "unix://$SOCK" push --compression zstd "$to" >/dev/null 2>&1 3>&- &
    pid=$!
    within 30 begun
    pouchd_kill
    wait "$pid" || true
    POUCH_PUSH_CHUNK_SIZE=262144 POUCH_PULL_STALL_TIMEOUT=4 pouchd_start
    is "$(find "$T/root/blobs/tmp" -type f | wc -l)" 0
    pouch tag large "$(PUSHED)/ok/large:x"
    run pouch push "$(PUSHED)/ok/large:x"
    is "$status" 0
    pouch rmi "$to" "$(PUSHED)/ok/large:x" >/dev/null
}

@test "two pushes of the same blob to one repository send it once" {
    local i pids=()
    forget
    for i in 1 2 3 4; do
        pouch tag busybox "$(PUSHED)/ok/shared:$i"
        pouch push -q "$(PUSHED)/ok/shared:$i" >"$T/tmp/push.$i" 3>&- & pids+=($!)
    done
    wait "${pids[@]}"
    is "$(asked | grep -c 'PATCH .* 0-262143 -> 202')" 1
    is "$(state '.manifests | map(select(test(":[1-4]$"))) | length')" 4
    rm -f "$T"/tmp/push.*
    for i in 1 2 3 4; do pouch rmi "$(PUSHED)/ok/shared:$i" >/dev/null; done
}

@test "two pushes that compress the same layer do it once" {
    local i pids=()
    forget
    for i in 1 2 3; do
        pouch tag large "$(PUSHED)/ok/zstd$i:x"
        pouch push -q --compression zstd --compression-level 7 "$(PUSHED)/ok/zstd$i:x" >"$T/tmp/push.$i" 3>&- & pids+=($!)
    done
    wait "${pids[@]}"
    is "$(for i in 1 2 3; do manifest_of "$(PUSHED)/ok/zstd$i:x" | jq -r '.layers[0].digest'; done | sort -u | wc -l)" 1
    for i in 1 2 3; do pouch rmi "$(PUSHED)/ok/zstd$i:x" >/dev/null; done
    rm -f "$T"/tmp/push.*
}

@test "all platforms: the index as it came, when all its images are here" {
    "$POUCH_TOP/tools/make-images" push "$REGISTRY" platforms:latest
    local to=$REGISTRY/copy/platforms one all
    pouch pull -q "$REGISTRY/platforms:latest" >/dev/null
    pouch tag "$REGISTRY/platforms:latest" "$to:x"
    run pouch push --all-platforms "$to:x"
    is "$status" 1
    one_line 'not all platforms of .* are here, missing: .*linux/arm64'
    all=$(manifest_of "$REGISTRY/platforms:latest" | jq -r '.manifests[].platform | .os + "/" + .architecture + (if .variant then "/" + .variant else "" end)')
    for one in $all; do pouch pull -q --platform "$one" "$REGISTRY/platforms:latest" >/dev/null; done
    run pouch push --all-platforms "$to:x"
    is "$status" 0
    is "$(manifest_of "$to:x" | sha256sum)" "$(manifest_of "$REGISTRY/platforms:latest" | sha256sum)"
    for one in $all; do
        pouch pull -q --platform "$one" "$to:x" >/dev/null
        is "$(pouch inspect -f '{{.Os}}/{{.Architecture}}' "$to:x")" "$(cut -d/ -f1-2 <<<"$one")"
    done
    # one platform by itself, of an image whose name means another one now
    run pouch push --platform linux/amd64 "$to:x"
    is "$status" 0
    has "$(manifest_of "$to:x" | jq -r .mediaType)" 'manifest'
    pouch pull -q "$to:x" >/dev/null
    is "$(pouch inspect -f '{{.Architecture}}' "$to:x")" amd64
}

@test "manifest lists: create, annotate, add, inspect, push across repositories, rm" {
    local a l=$REGISTRY/lists/all:x r=$REGISTRY/lists digest
    "$POUCH_TOP/tools/make-images" push "$REGISTRY" platforms:latest busybox:v2s2
    for a in amd64 arm64; do
        pouch pull -q --platform "linux/$a" "$REGISTRY/platforms:latest" >/dev/null
        pouch tag "$REGISTRY/platforms:latest" "$r/$a"
        pouch push -q "$r/$a" >/dev/null
    done
    run pouch manifest create "$l" "$r/amd64" "$r/none"
    is "$status" 1
    one_line "manifest for $r/none:latest not found"
    is "$(pouch manifest ls)" ''
    run pouch manifest create "$l" "$r/amd64" other.example.com/x
    one_line 'cannot have members of registry other.example.com'
    run pouch manifest create "$l" "$REGISTRY/platforms:latest"
    one_line 'is a manifest list itself'
    is "$(pouch manifest create "$l" "$r/amd64")" "Created manifest list $l"
    run pouch manifest create "$l" "$r/amd64"
    one_line 'exists: use --amend'
    pouch manifest create --amend "$l" "$r/arm64"
    is "$(pouch manifest inspect "$l" | jq -r '[.manifests[].platform.architecture] | join(" ")')" 'amd64 arm64'
    has "$(pouch manifest inspect "$l" | jq -r .mediaType)" 'oci.image.index'
    pouch manifest annotate --variant v8 --os-features one --os-features two --os-version 6 "$l" "$r/arm64"
    run pouch manifest annotate --arch x "$l" "$r/none"
    one_line 'is no member of manifest list'
    pouchd_kill # a list outlives the daemon
    POUCH_PUSH_CHUNK_SIZE=262144 POUCH_PULL_STALL_TIMEOUT=4 pouchd_start
    is "$(pouch manifest ls)" "$l"
    is "$(pouch manifest inspect "$l" | jq -c '.manifests[1].platform')" \
        '{"os":"linux","architecture":"arm64","variant":"v8","os.version":"6","os.features":["one","two"]}'
    is "$(pouch manifest inspect "$l" "$r/arm64" | jq -c .)" "$(manifest_of "$r/arm64:latest" | jq -c . )" ||
        is "$(pouch manifest inspect "$l" "$r/arm64" | jq -cS .)" "$(manifest_of "$r/arm64:latest" | jq -cS .)"
    is "$(pouch manifest inspect -v "$l" | jq -r '.[0].Ref')" "$r/amd64:latest"
    run pouch manifest push "$l"
    is "$status" 0
    digest=${lines[-1]}
    is "sha256:$(manifest_of "$l" | sha256sum | cut -d' ' -f1)" "$digest"
    # others understand it, and each platform is found
    is "$(skopeo inspect --raw --tls-verify=false "docker://$l" | jq '.manifests | length')" 2
    for a in amd64 arm64; do
        pouch pull -q --platform "linux/$a" "$l" >/dev/null
        is "$(pouch inspect -f '{{.Architecture}}' "$l")" "$a"
        pouch rmi "$l" >/dev/null
    done
    # a member with Docker's types makes it Docker's list
    pouch manifest add --os linux --arch s390x "$l" "$REGISTRY/busybox:v2s2"
    has "$(pouch manifest inspect "$l" | jq -r .mediaType)" 'docker.distribution.manifest.list'
    pouch manifest push --purge "$l" >/dev/null
    has "$(manifest_of "$l" | jq -r '[.manifests[].platform.architecture] | join(" ")')" 'amd64 arm64 s390x'
    run pouch manifest push "$l"
    one_line 'No such manifest'
    run pouch manifest rm "$l"
    one_line 'No such manifest'
    has "$(pouch manifest inspect "$l" | jq -r .mediaType)" 'docker.distribution.manifest.list'
}

@test "members of a list are copied where the registry does not mount" {
    forget
    pouch tag busybox "$(PUSHED)/ok/member:x"
    pouch push -q "$(PUSHED)/ok/member:x" >/dev/null
    pouch manifest create "$(PUSHED)/nomount/list:x" "$(PUSHED)/ok/member:x" >/dev/null
    run pouch manifest push --purge "$(PUSHED)/nomount/list:x"
    echo "$output"
    is "$status" 0
    is "$(state .open)" 0
    has "$(asked)" 'PUT /v2/nomount/list/manifests/x - -> 201'
    is "$(manifest_of "$(PUSHED)/nomount/list:x" | jq -r '.manifests[0].digest')" \
        "sha256:$(manifest_of "$(PUSHED)/ok/member:x" | sha256sum | cut -d' ' -f1)"
    pouch rmi "$(PUSHED)/ok/member:x" >/dev/null
}

with_password() {
    # Without any entry the docker CLI would look for a keyring by itself.
    mkdir -p "$DOCKER_CONFIG"
    echo '{"auths":{"keep.invalid":{}}}' >"$DOCKER_CONFIG/config.json"
    ctl tag busybox "$BASIC/private/busybox:x"
    run ctl push "$BASIC/private/busybox:x"
    is "$status" 1
    has "$output" 'unauthorized|no basic auth|authentication required'
    run ctl login -u app --password-stdin "$BASIC" <<<secret
    is "$status" 0
    run ctl push "$BASIC/private/busybox:x"
    is "$status" 0
    has "$output" 'x: digest: sha256:'
    ctl rmi "$BASIC/private/busybox:x" >/dev/null
    ctl pull -q "$BASIC/private/busybox:x" >/dev/null
    ctl logout "$BASIC" >/dev/null
    ctl rmi "$BASIC/private/busybox:x" >/dev/null
}
@test "a registry that wants a password" {
    basic_registry_start
    each_cli with_password
    login_down
    rm -f "$DOCKER_CONFIG/config.json"
}
