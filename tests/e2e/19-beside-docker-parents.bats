# Images that were made of other images, and containers whose image lost its name: to dockerd and to pouchd, by
# Docker's command line and by ours, the same lines and the same left over.
load helpers
load others

setup_file() {
    export BATS_TEST_TIMEOUT=600
    pouchd_start
    registry_start busybox:latest many:latest
    others_up
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

clear_all() {
    $1 ps -aq | while read -r id; do $1 rm -f "$id" >/dev/null; done
    # Children first: a parent goes only after them.
    while [ -n "$($1 images -aq)" ]; do
        $1 images -aq | sort -u | while read -r id; do $1 rmi -f "$id" >/dev/null 2>&1 || true; done
    done
}

# told FUNCTION WHO: what FUNCTION prints on both streams, and its status. Committed images have ids of their own
# everywhere: each is called by the number of its first appearance.
told() {
    local status=0 all
    all=$("$@" 2>&1 </dev/null) || status=$?
    awk '{
        line = ""
        while (match($0, /(sha256:)?[0-9a-f]{12,64}/)) {
            id = substr($0, RSTART, RLENGTH); sub(/^sha256:/, "", id); id = substr(id, 1, 12)
            if (!(id in seen)) seen[id] = ++n
            line = line substr($0, 1, RSTART - 1) "ID" seen[id] (RLENGTH > 12 ? "long" : "")
            $0 = substr($0, RSTART + RLENGTH)
        }
        print line $0
    }' <<<"$all"
    echo "status $status"
}

# same FUNCTION: all three say the same to it.
same() {
    local theirs ours one
    clear_all dcli
    theirs=$(told "$1" dcli)
    for one in docker pouch; do
        clear_all docker
        ours=$(told "$1" "$one")
        [ "$ours" = "$theirs" ] || {
            diff <(echo "$theirs") <(echo "$ours") || true
            fail "$1 $one: not what dockerd says (<)"
        }
    done
    [[ $theirs == *$'\nstatus 0' ]] || fail "$theirs"
}

# What containers' images are called.
titles() {
    $1 ps -a --format '{{.Names}} {{.Image}}' | sort
    $1 ps -a --no-trunc --format '{{.Names}} {{.Image}}' | sort
    $1 inspect -f '{{.Name}} {{.Image}} {{.Config.Image}}' $($1 ps -a --format '{{.Names}}' | sort)
}

lost_names() {
    local id
    $1 pull -q "$REGISTRY/busybox:latest"
    $1 pull -q "$REGISTRY/many:latest"
    $1 tag "$REGISTRY/busybox:latest" app:1
    $1 tag "$REGISTRY/busybox:latest" other
    id=$($1 images -q --no-trunc app:1)
    $1 create --name by-name app:1 true >/dev/null
    $1 create --name by-short other true >/dev/null
    $1 create --name by-id "$id" true >/dev/null
    $1 create --name by-prefix "${id:7:8}" true >/dev/null
    titles "$1"
    echo "moved to another image"
    $1 tag "$REGISTRY/many:latest" app:1
    titles "$1"
    $1 ps -aq --filter ancestor=app:1 | wc -l
    $1 ps -a --format '{{.Names}}' --filter ancestor=other | sort
    echo "moved back"
    $1 tag other app:1
    titles "$1"
    echo "gone"
    $1 rmi app:1
    $1 rmi -f other
    titles "$1"
    $1 ps -aq --filter ancestor=app:1 | wc -l
    $1 ps -a --format '{{.Names}}' --filter ancestor="${id:7:12}" | sort
    $1 system df -v | grep -c ' by-' || true
    echo "the image is gone"
    $1 rmi -f "$id"
    titles "$1"
}
@test "ps shows the image's id when the name it was made with means another image, or none" {
    same lost_names
}
