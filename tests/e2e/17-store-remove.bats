# sanitizers: yes
# Removing images: the names go at once, the space comes back soon and by itself, whatever happens meanwhile.
load helpers

setup_file() {
    export BATS_TEST_TIMEOUT=600
    pouchd_start
}
teardown_file() {
    pouchd_stop
    ended_clean
}
setup() {
    REGISTRY=
    FAULTY=
    LOG_LINES=$(wc -l <"$LOG")
    snapshot >"$T/before"
}

# filler NAME MEGABYTES [FILES]: an image of its own bytes, and of so many small files.
filler() {
    mkdir -p "$T/fill"
    head -c "$2M" /dev/urandom >"$T/fill/$1"
    [ $# -lt 3 ] || (cd "$T/fill" && seq "$3" | xargs touch)
    tar -C "$T/fill" -c . | pouch import - "$1:latest" >/dev/null
    rm -rf "$T/fill"
}
# What pouchd holds though it has no name any more, and how much that is in KiB.
held() { find "/proc/$(pouchd_pid)/fd" -lname "$T/root/* (deleted)" 2>/dev/null | wc -l; }
none_held() { [ "$(held)" -eq 0 ]; }
names_left() {
    find "$T/root/layers" "$T/root/blobs/sha256" "$T/root/blobs/sha512" "$T/root/blobs/tmp" \
        "$T/root/blobs/journal" -mindepth 1 -maxdepth 1 ! -name 'trash.*' 2>/dev/null
}
trash_left() { find "$T/root/layers" -mindepth 1 -maxdepth 1 -name 'trash.*'; }
no_trash() { [ -z "$(trash_left)" ]; }
layer_mounts() { grep -c " $T/run/layers/" /proc/self/mountinfo || true; }

@test "when rmi has answered no name and no mount is left; the space follows without another command" {
    local before after
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    pouch rmi busybox >/dev/null # the store's own files have their size now
    within 30 none_held
    before=$(du -sk "$T/root" | cut -f 1)
    filler large 32
    pouch tag large two
    pouch run --rm --network none large /none >/dev/null 2>&1 || true # its layer is mounted
    pouch rmi large >/dev/null
    [ -n "$(names_left)" ] || fail "the other tag's layer went"
    pouch rmi two >/dev/null
    is "$(names_left)" ''
    is "$(layer_mounts)" 0
    is "$(pouch system df --format '{{.Type}} {{.Size}}' | head -n 1)" 'Images 0B'
    within 30 none_held
    within 30 no_trash
    after=$(du -sk "$T/root" | cut -f 1)
    [ "$after" -lt $((before + 1024)) ] || fail "$before KiB before, $after KiB afterwards"
}

@test "many images removed at once: descriptors in bounds, all of it goes" {
    local i most=0 now done='' pids=''
    for i in $(seq 60); do filler "many$i" 1; done
    pouch image prune -a -f >"$T/pruned" &
    local pid=$!
    for i in $(seq 8); do # and by hand at the same time
        pouch rmi "many$i" >/dev/null 2>&1 &
        pids+=" $!"
    done
    until [ -n "$done" ]; do
        kill -0 "$pid" 2>/dev/null || done=yes
        now=$(held)
        [ "$now" -le "$most" ] || most=$now
    done
    for i in $pids; do wait "$i" || true; done # somebody else was first
    [ "$most" -le 100 ] || fail "$most descriptors of removed files at once"
    is "$(pouch images -aq)" ''
    is "$(names_left)" ''
    has "$(cat "$T/pruned")" 'Total reclaimed space: [0-9.]+MB'
    within 60 none_held
    within 60 no_trash
}

@test "pouchd killed right after it answered: the kernel frees the files, the next start the folders" {
    filler large 32 2000
    pouch rmi large >/dev/null
    pouchd_kill
    is "$(names_left)" ''
    pouchd_start
    within 60 no_trash
    is "$(names_left)" ''
    is "$(layer_mounts)" 0
    # and while it removes
    filler large 32 2000
    pouch rmi large >/dev/null 2>&1 &
    local pid=$!
    sleep 0.0"$((RANDOM % 10))"
    pouchd_kill
    wait "$pid" || true
    pouchd_start
    pouch rmi large >/dev/null 2>&1 || true
    is "$(pouch images -aq)" ''
    within 60 no_trash
    is "$(names_left)" ''
}

@test "pouchd ends while it removes: the end does not wait for the rest, the next start does it" {
    filler large 8 20000
    pouch rmi large >/dev/null
    pouchd_stop
    is "$(names_left)" ''
    pouchd_start
    within 60 no_trash
}

@test "on a small disk the space is there when rmi answers" {
    local before after
    pouchd_stop
    mkdir "$T/small"
    mount -t tmpfs -o size=48m,mode=711 tmpfs "$T/small"
    "$POUCH_BIN/pouchd" --root "$T/small" --state "$T/run-small" --host "unix://$T/small.sock" --pidfile "$T/pid-small" \
        --cgroup-parent "$CGROUP_PARENT" >>"$LOG" 2>&1 3>&- &
    local pid=$!
    small() { "$POUCH_BIN/pouch" -H "unix://$T/small.sock" "$@"; }
    within 30 small version >/dev/null
    before=$(df --output=used "$T/small" | tail -n 1)
    for _ in 1 2 3; do # each only finds room when the one before it is gone
        mkdir -p "$T/fill"
        head -c 20M /dev/urandom >"$T/fill/x"
        tar -C "$T/fill" -c . | small import - large:latest >/dev/null
        small rmi large >/dev/null
        after=$(df --output=used "$T/small" | tail -n 1)
        [ "$after" -lt $((before + 512)) ] || fail "$before KiB before, $after KiB afterwards"
    done
    kill "$pid"
    wait "$pid" || true
    umount "$T/small"
    rm -rf "$T/fill" "$T/small" "$T/run-small"
    pouchd_start
}
