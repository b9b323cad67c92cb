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

# told FUNCTION WHO: what FUNCTION prints on both streams, and its status. Committed images have ids of their own
# everywhere: each is called by the number of its first appearance.
told() {
    local status=0 all
    all=$("$@" 2>&1 </dev/null) || status=$?
    perl -pe 's/(?:sha256:)?\b([0-9a-f]{12})[0-9a-f]{0,52}\b/"ID" . ($seen{$1} ||= ++$n) . "-" . length $&/ge' <<<"$all"
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

# child WHO IMAGE NAME: an image made of IMAGE, with a file more.
child() {
    $1 run --name maker --network none "$2" sh -c 'echo more >"/$(cat /proc/sys/kernel/random/uuid)"'
    $1 commit maker "$3" >/dev/null
    $1 rm maker >/dev/null
}

family() {
    $1 pull -q "$REGISTRY/busybox:latest" >/dev/null
    $1 tag "$REGISTRY/busybox:latest" base:1
    $1 rmi "$REGISTRY/busybox:latest" >/dev/null
    child "$1" base:1 middle:1
    child "$1" middle:1 top:1
    $1 image inspect -f '{{.Id}} of "{{if ne .Parent ""}}{{.Parent}}{{end}}"' middle:1 top:1
}

# What there is; the order within one second is nobody's business.
there() {
    local arguments
    for arguments in "" -a "-f dangling=true" "-a -f dangling=true" "-f dangling=false" "-a -f dangling=false"; do
        echo "images $arguments"
        # shellcheck disable=SC2086
        $1 images $arguments --format '{{.Repository}}:{{.Tag}}' | sort
    done
    $1 system df --format '{{.Type}} {{.TotalCount}}' | grep Images
}

parents() {
    family "$1"
    there "$1"
    $1 history --no-trunc -q top:1
    $1 history -q middle:1
    $1 create --name of-top top:1 true >/dev/null
    $1 create --name of-middle middle:1 true >/dev/null
    $1 ps -a --format '{{.Names}}' --filter ancestor=base:1 | sort
    $1 ps -a --format '{{.Names}}' --filter ancestor=top:1
    $1 rm of-top of-middle >/dev/null
}
@test "an image knows the one it was made of: inspect, history, lists" {
    same parents
}

parent_stays() {
    local middle
    family "$1"
    middle=$($1 images -q middle:1)
    $1 rmi "$middle" || true
    $1 rmi -f "$middle" || true
    $1 rmi middle:1
    there "$1"
    $1 rmi "$middle" || true
    $1 rmi -f "$middle" || true
    $1 image inspect -f '{{.Id}} of {{.Parent}}' top:1
    $1 image prune -f
    there "$1"
    $1 tag "$middle" again:1
    there "$1"
    $1 rmi -f again:1
    $1 rmi top:1
    there "$1"
    $1 rmi base:1
    there "$1"
}
@test "rmi of a parent takes its name only, and the last child takes it along" {
    same parent_stays
}

no_prune() {
    family "$1"
    $1 rmi middle:1 base:1
    $1 rmi --no-prune top:1
    there "$1"
    $1 image prune -f | grep -v ^Total
    there "$1"
}
used_parent() {
    family "$1"
    $1 create --name uses middle:1 true >/dev/null
    $1 rmi -f middle:1
    $1 rmi top:1
    there "$1"
    $1 ps -a --format '{{.Image}} {{.Names}}'
    $1 rm uses >/dev/null
    $1 image prune -f | grep -v ^Total
    there "$1"
}
two_children() {
    family "$1"
    child "$1" middle:1 other:1
    $1 rmi middle:1
    $1 rmi other:1
    there "$1"
    $1 rmi top:1
    there "$1"
}
prune_all() {
    family "$1"
    child "$1" middle:1 top:1
    $1 rmi middle:1
    there "$1"
    $1 image prune -f | grep -c deleted: || true
    there "$1"
    $1 image prune -a -f | grep -c deleted: || true
    there "$1"
}
@test "parents: no prune, used by a container, of two, and the prunes" {
    same no_prune
    same used_parent
    same two_children
    same prune_all
}

@test "garbage collection: children go first, parents stay for those that stay" {
    family pouch >/dev/null
    pouch image protect top:1
    run -0 pouch system gc --low 1 --min-age 0s
    has "$output" "image $(pouch images -q top:1) was made of it"
    has "$output" "image $(pouch images -q middle:1) was made of it"
    is "$(pouch images -aq | sort -u | wc -l)" 3
    pouch image protect --off top:1
    run -0 pouch system gc --low 1 --min-age 0s --dry-run
    [[ $output != *'was made of it'* ]] || fail "$output"
    is "$(pouch images -aq | sort -u | wc -l)" 3
    pouch system gc --low 1 --min-age 0s
    is "$(pouch images -aq)" ''
}
@test "parents outlive the daemon; what was made of an image that is gone has none" {
    family pouch >/dev/null
    local base middle
    base=$(pouch images -q --no-trunc base:1)
    middle=$(pouch images -q --no-trunc middle:1)
    pouchd_stop
    pouchd_start
    is "$(pouch image inspect -f '{{.Parent}}' top:1)" "$middle"
    is "$(docker image inspect -f '{{.Parent}}' top:1)" "$middle"
    is "$(docker image inspect -f '{{.Parent}}' middle:1)" "$base"
    is "$(docker image inspect -f '{{.Parent}}' base:1)" ''
    # A container of an image that was removed by force: the image made of it has no parent here.
    pouch create --name left base:1 true >/dev/null
    pouch rmi top:1 middle:1 >/dev/null
    pouch rmi -f base:1 >/dev/null
    pouch commit left orphan:1 >/dev/null
    is "$(docker image inspect -f '{{.Parent}}' orphan:1)" ''
    is "$(pouch history -q orphan:1 | sort -u | wc -l)" 2
    pouch tag orphan:1 other:1
    pouch rmi orphan:1
}
