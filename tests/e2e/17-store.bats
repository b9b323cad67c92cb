# sanitizers: yes
# The image store's upkeep: garbage collection by the disk's fill.
load helpers

setup_file() {
    mkdir -p "$T/root"
    mount -t tmpfs -o size=64m,mode=711 tmpfs "$T/root"
    pouchd_start
}
teardown_file() {
    remove_all
    pouchd_stop
    umount "$T/root"
    ended_clean
}

# filler NAME MEGABYTES [CHANGE]: an image of its own bytes.
filler() {
    mkdir -p "$T/fill"
    head -c "$2M" /dev/urandom >"$T/fill/$1"
    tar -C "$T/fill" -c "$1" | ctl import ${3:+--change "$3"} - "$1:latest" >/dev/null
    rm -rf "$T/fill"
}
names() { pouch images --format '{{.Repository}}' | sort | tr '\n' ' '; }
no_images() {
    local id
    for id in $(pouch images -aq | sort -u); do pouch rmi -f "$id" >/dev/null; done
}
restart() {
    pouchd_stop
    pouchd_start "$@"
}

@test "gc by hand: the longest unused goes first, until the low mark; what is needed stays" {
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    filler old1 4
    filler old2 4
    filler mine 4
    filler recent 4
    pouch image protect mine
    pouch create --name keeps busybox true >/dev/null
    # Young images stay.
    run pouch system gc --low 5
    is "$status" 0
    has "$output" 'Kept: old1:latest \(it was used or pulled a moment ago\)'
    is "$(names)" 'busybox mine old1 old2 recent '
    # A dry run removes nothing and says what would go.
    run pouch system gc --low 1 --min-age 0s --dry-run
    is "$status" 0
    has "$output" 'Would remove: old1:latest \(8\..*MB\)'
    has "$output" 'Kept: mine:latest \(it is protected\)'
    has "$output" 'Kept: busybox:latest \(container [0-9a-f]{12} uses it\)'
    is "$(names)" 'busybox mine old1 old2 recent '
    # Just below what is in use: one image is enough.
    local used
    used=$(df --output=pcent "$T/root" | tail -n 1 | tr -d ' %')
    run pouch system gc --min-age 0s --low $((used - 1))
    is "$status" 0
    has "$output" 'Removed: old1:latest'
    lacks "$output" 'Removed: (old2|recent|mine)'
    is "$(names)" 'busybox mine old2 recent '
    run pouch system gc --min-age 0s --low 1 --format '{{len .Removed}} {{len .Kept}}'
    is "$output" '2 2'
    is "$(names)" 'busybox mine '
    pouch image protect --off mine
    run pouch system gc --min-age 0s --low 1
    has "$output" 'Removed: mine:latest'
    pouch rm keeps >/dev/null
    no_images
    is "$(find "$T/root/layers" "$T/root/blobs/sha256" -mindepth 1 -maxdepth 1)" ''
}

@test "gc refuses nonsense in one line" {
    run pouch system gc --low 200
    is "$status" 1
    one_line 'not a percentage'
    run pouch system gc --min-age soon
    is "$status" 1
    one_line 'not a duration'
    run pouch image protect nothing
    is "$status" 1
    one_line 'No such image'
    run timeout 20 "$POUCH_BIN/pouchd" --root "$T/tmp/x" --state "$T/tmp/y" --image-gc low=50
    is "$status" 1
    one_line '"high" is missing'
    run timeout 20 "$POUCH_BIN/pouchd" --root "$T/tmp/x" --state "$T/tmp/y" --image-gc high=50,low=60
    is "$status" 1
    one_line 'must be below'
}

@test "by itself: off unless configured; then a pull beyond the high mark makes room, with events" {
    local since
    restart --image-gc high=60,low=55,min-age=0s --image-gc keep=safe,keep=label=stay=yes
    since=$(date +%s)
    filler safe 3
    filler labelled 3 'LABEL stay=yes'
    filler one 8
    is "$(names)" 'labelled one safe '
    filler two 9
    # 23 MB twice (blob and layer) of 64: more than 60 percent.
    within 20 went one
    is "$(names)" 'labelled safe two '
    run pouch events --since "$since" --until "$(($(date +%s) + 1))" --filter type=image
    has "$output" 'image untag sha256:[0-9a-f]+ \(name=one:latest\)'
    has "$output" 'image delete sha256:'
    restart
    filler three 4
    sleep 1
    is "$(names)" 'labelled safe three two '
    no_images
}
went() { ! pouch images --format '{{.Repository}}' | grep -qx "$1"; }
