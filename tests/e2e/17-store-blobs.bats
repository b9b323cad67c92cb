# keep-blobs=false: compressed layers go where they can be made again, bit by bit.
load helpers
load others
load dropped

setup_file() {
    export BATS_TEST_TIMEOUT=600
    pouchd_start --keep-blobs=false
    registry_start busybox:latest
}
teardown_file() { file_down; }

# exact NAME COMMAND...: the blob goes, and a save gives it back as it was.
exact() {
    local name=$1 digest
    no_images
    digest=$(image_of "$@")
    pouch load -q -i "$T/make/image.tar" >/dev/null
    within 20 dropped
    pouch save -o "$T/make/saved.tar" "$name" 2>/dev/null
    tar -C "$T/make/a" -xf "$T/make/saved.tar"
    cmp "$T/make/a/blobs/sha256/$digest" "$T/make/blob"
    is "$(find "$T/root/blobs/tmp" -type f)" ''
    run pouch fsck
    is "$status" 0
    has "$output" ' 0 problems'
}

@test "layers as plain tar, by zlib at any level, by zstd are dropped and come back bit by bit" {
    exact plain cat
    local TAR_FORMAT=posix
    exact posix py_gzip 6
    TAR_FORMAT=gnu
    exact zlib9 py_gzip 9
    exact zstd3 zstd -q -c -3
    exact zstd1 zstd -q -c -1 --single-thread
}

@test "layers by GNU gzip at any level are dropped and come back bit by bit" {
    exact gnu6 gzip -c
    exact gnu9 gzip -c -9
    exact gnu1 gzip -c -1
    exact gnu3 gzip -c -n -3
    exact members bash -c 'cat >"$0"; head -c 100000 "$0" | gzip -4; tail -c +100001 "$0" | gzip -8' "$T/make/part"
}

# pushed NAME: what somebody else pushed there is dropped after a pull, and goes on with the same digest.
pushed() {
    local name=$1 digest
    no_images
    within 20 nothing_left
    digest=$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$REGISTRY/$name")
    pouch pull -q "$REGISTRY/$name" >/dev/null
    within 60 dropped
    pouch tag "$REGISTRY/$name" "$REGISTRY/again/$name"
    rm -rf "$T/registry/docker/registry/v2/blobs/sha256" "$T/registry/docker/registry/v2/repositories"
    pouch push -q "$REGISTRY/again/$name"
    is "$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$REGISTRY/again/$name")" "$digest"
    run pouch fsck
    is "$status" 0
    no_images
}
@test "what docker push (Go's gzip) and skopeo (pgzip) compressed is dropped, and pushed as it came" {
    others_up
    dcli load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    dcli tag busybox:latest "$REGISTRY/by/docker:1"
    dcli push -q "$REGISTRY/by/docker:1" >/dev/null
    others_down
    umount /run/containerd
    pushed by/docker:1
    skopeo copy -q --insecure-policy --dest-tls-verify=false "docker-archive:$POUCH_IMAGES/busybox.docker.tar:busybox:latest" "docker://$REGISTRY/by/skopeo:1"
    pushed by/skopeo:1
    "$POUCH_TOP/tools/make-images" push "$REGISTRY" busybox:latest
}

@test "what cannot be made again exactly is kept" {
    local digest TAR_OPTIONS=--sparse
    export TAR_OPTIONS
    no_images
    digest=$(image_of kept gzip -c) # sparse entries of GNU's old format
    unset TAR_OPTIONS
    pouch load -q -i "$T/make/image.tar" >/dev/null
    sleep 2
    is "$(layer_blobs)" 1
    is "$(journals)" 0
    pouch save -o "$T/make/saved.tar" kept 2>/dev/null
    tar -C "$T/make/a" -xf "$T/make/saved.tar"
    cmp "$T/make/a/blobs/sha256/$digest" "$T/make/blob"
    no_images
}

@test "a pulled image is dropped, runs, and is pushed elsewhere with the same digest" {
    local digest
    no_images
    pouch pull -q "$REGISTRY/busybox:latest" >/dev/null
    within 20 dropped
    is "$(pouch run --rm --network none "$REGISTRY/busybox:latest" echo runs)" runs
    digest=$(pouch inspect -f '{{index .RepoDigests 0}}' "$REGISTRY/busybox:latest")
    pouch tag "$REGISTRY/busybox:latest" "$REGISTRY/elsewhere/copy:1"
    pouch push -q "$REGISTRY/elsewhere/copy:1"
    run skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$REGISTRY/elsewhere/copy:1"
    is "$output" "${digest#*@}"
    # A journal that is damaged: fsck says so and pulls again.
    local journal
    journal=$(find "$T/root/blobs/journal" -type f)
    truncate -s -100 "$journal"
    run pouch fsck
    is "$status" 1
    has "$output" 'was dropped and cannot be made again'
    run pouch fsck --repair
    is "$status" 0
    has "$output" 'pulled again from'
    run pouch fsck
    is "$status" 0
    no_images
    within 20 nothing_left # the blob that was pulled again may just be taken apart
}
nothing_left() { [ "$(journals)" = 0 ] && [ "$(layer_blobs)" = 0 ]; }

# own OPTION...: what Pouch compressed for a push is known again when it comes back.
own() {
    local digest
    no_images
    pouch pull -q "$REGISTRY/busybox:latest" >/dev/null
    pouch tag "$REGISTRY/busybox:latest" "$REGISTRY/own/made:1"
    pouch push -q "$@" "$REGISTRY/own/made:1"
    no_images
    within 20 eval '[ "$(layer_blobs)" = 0 ]'
    pouch pull -q "$REGISTRY/own/made:1" >/dev/null
    within 20 dropped
    digest=$(pouch inspect -f '{{index .RepoDigests 0}}' "$REGISTRY/own/made:1")
    pouch tag "$REGISTRY/own/made:1" "$REGISTRY/own/again:1"
    pouch push -q "$REGISTRY/own/again:1"
    is "$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$REGISTRY/own/again:1")" "${digest#*@}"
}
@test "what Pouch itself compressed is dropped, and pushed as it came" {
    own --compression gzip
    own --compression gzip --compression-level 9
    own --compression zstd
    own --compression zstd --compression-level 7
    no_images
}
