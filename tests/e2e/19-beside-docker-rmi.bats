# rmi and the prunes, to dockerd and to pouchd, by Docker's command line and by ours: the same lines, the same
# status, and the same left over.
load helpers
load others

setup_file() {
    export BATS_TEST_TIMEOUT=900
    pouchd_start
    registry_start busybox:latest many:latest
    others_up
    # One image above busybox's layer, of Docker's making, so that both pull the same.
    dcli pull -q "$REGISTRY/busybox:latest" >/dev/null
    dcli create --name base "$REGISTRY/busybox:latest" true >/dev/null
    dcli cp "$BATS_TEST_FILENAME" base:/above
    dcli commit base "$REGISTRY/above:1" >/dev/null
    dcli push -q "$REGISTRY/above:1" >/dev/null
    dcli tag "$REGISTRY/busybox:latest" "$REGISTRY/busybox:again"
    dcli push -q "$REGISTRY/busybox:again" >/dev/null
    dcli rm base >/dev/null
    dcli rmi "$REGISTRY/above:1" "$REGISTRY/busybox:latest" "$REGISTRY/busybox:again" >/dev/null
}
teardown_file() {
    others_down
    file_down
}
setup() {
    REGISTRY=$(cat "$T/registry.host")
}
teardown() {
    local one
    for one in dcli docker; do clear_all "$one"; done
}

# told WHO ARGUMENT...: what it prints on both streams and its status. Ids of containers are everybody's own, sizes
# of files a little the file system's.
told() {
    local status=0 all
    all=$("$@" 2>&1 </dev/null) || status=$?
    # Debian's client says "Error:" and the name as it was given of what is not there, later ones and ours "Error
    # response from daemon:" and the whole name.
    sed -E "s/^Error: /Error response from daemon: /; s/(No such image: [^ ]*):latest$/\1/; s/Invalid filter/invalid filter/; s/\b(container) [0-9a-f]{12}\b/\1 ID/g; s/^[0-9a-f]{64}$/ID/; s/space: [0-9.]+[kM]?B/space: SIZE/; s/\b(pouch|docker)\b/engine/g" <<<"$all" |
        sort
    echo "status $status"
}

# same SETUP COMMAND...: SETUP makes the state for each, then all three say the same to the command, and the same
# names and images are left.
same() {
    local made=$1 theirs ours one
    shift
    clear_all dcli
    $made dcli >/dev/null
    theirs=$(told dcli "$@"; told dcli images -a --no-trunc --format '{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}}')
    for one in docker pouch; do
        clear_all docker
        $made docker >/dev/null
        ours=$(told "$one" "$@"; told "$one" images -a --no-trunc --format '{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}}')
        [ "$ours" = "$theirs" ] || {
            diff <(echo "$theirs") <(echo "$ours") || true
            fail "$one $*: not what dockerd says (<)"
        }
    done
}

one() { $1 pull -q "$REGISTRY/busybox:latest"; }
tags() {
    one "$1"
    $1 tag "$REGISTRY/busybox:latest" "$REGISTRY/busybox:two"
    $1 tag "$REGISTRY/busybox:latest" elsewhere:3
}
one_repository() {
    one "$1"
    $1 tag "$REGISTRY/busybox:latest" "$REGISTRY/busybox:two"
}
shared() {
    one "$1"
    $1 pull -q "$REGISTRY/above:1"
}
by_digest() { $1 pull -q "$REGISTRY/busybox@$DIGEST"; }
digest_and_tag() {
    one "$1"
    by_digest "$1"
}
two_digests() {
    one "$1"
    $1 pull -q "$REGISTRY/busybox:again"
}
layers() { $1 pull -q "$REGISTRY/many:latest"; }
stopped() {
    one "$1"
    $1 create --name stopped "$REGISTRY/busybox:latest" true
}
stopped_two() {
    tags "$1"
    $1 create --name stopped "$REGISTRY/busybox:latest" true
}
running() {
    one "$1"
    $1 run -d --name runs --network none "$REGISTRY/busybox:latest" sleep 600
}
untagged() {
    running "$1"
    $1 rmi -f "$REGISTRY/busybox:latest"
}
everything() {
    shared "$1"
    layers "$1"
    $1 tag "$REGISTRY/many:latest" elsewhere:many
    $1 create --name stopped "$REGISTRY/above:1" true
}

@test "rmi by name: tags, digests, layers that others share" {
    DIGEST=$(curl -s -I -H 'Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json' \
        "http://$REGISTRY/v2/busybox/manifests/latest" | tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p')
    local r=$REGISTRY
    same one rmi "$r/busybox:latest"
    same one rmi "$r/busybox" nosuch:1 "$r/busybox:nosuch"
    same tags rmi "$r/busybox:latest"
    same tags rmi "$r/busybox:latest" "$r/busybox:two"
    same tags rmi elsewhere:3 "$r/busybox:two" "$r/busybox:latest"
    same shared rmi "$r/busybox:latest"
    same shared rmi "$r/above:1"
    same shared rmi "$r/above:1" "$r/busybox:latest"
    same layers rmi "$r/many:latest"
    same by_digest rmi "$r/busybox@$DIGEST"
    same digest_and_tag rmi "$r/busybox@$DIGEST"
    same digest_and_tag rmi "$r/busybox:latest"
    same two_digests rmi "$r/busybox:latest"
    same two_digests rmi "$r/busybox:again" "$r/busybox:latest"
}

@test "rmi by id: one repository, several, force" {
    local id
    one docker >/dev/null
    id=$(docker images -q --no-trunc | head -n 1)
    same one rmi "$id"
    same one rmi "${id:7:12}"
    same one_repository rmi "${id:7:12}"
    same one_repository rmi -f "${id:7:12}"
    same tags rmi "${id:7:12}"
    same tags rmi -f "${id:7:12}"
    same one rmi -f "$id" "$id"
    same one rmi 0123456789ab
    same one rmi -f nosuch
}

@test "rmi of what containers use" {
    local id r=$REGISTRY
    one docker >/dev/null
    id=$(docker images -q --no-trunc | head -n 1)
    same stopped rmi "$r/busybox:latest"
    same stopped rmi -f "$r/busybox:latest"
    same stopped rmi "${id:7:12}"
    same stopped rmi -f "${id:7:12}"
    same stopped_two rmi "$r/busybox:two"
    same stopped_two rmi "$r/busybox:latest" "$r/busybox:two" elsewhere:3
    same running rmi "$r/busybox:latest"
    same running rmi -f "$r/busybox:latest"
    same running rmi "${id:7:12}"
    same running rmi -f "${id:7:12}"
    same untagged rmi "${id:7:12}"
    same untagged rmi -f "${id:7:12}"
}

@test "the prunes" {
    local r=$REGISTRY
    same one image prune -f
    same everything image prune -f
    same everything image prune -a -f
    same everything image prune -a -f --filter until=1h
    same everything image prune -a -f --filter label=nosuch
    same everything image prune -a -f --filter colour=red
    same tags image prune -a -f
    same untagged image prune -f
    same two_digests image prune -a -f
    same stopped container prune -f
    same everything system prune -f
    same everything system prune -a -f
    same layers system prune -a -f --filter until=1h
}
