# The image store against bad luck: killed at every step, the power cut, the disk full at any byte.
# After each, `pouch fsck` must have nothing to say.
load helpers

setup_file() {
    export BATS_TEST_TIMEOUT=600
    mkdir -p "$T/root"
    truncate -s 96M "$T/disk"
    mkfs.ext4 -q -F "$T/disk"
    mount -o loop "$T/disk" "$T/root"
    fault_registry_start
    pouchd_start --keep-blobs=false
}
teardown_file() {
    remove_all
    pouchd_stop
    fault_registry_stop
    umount "$T/root"
    umount /proc/sys/kernel/random/boot_id 2>/dev/null || true
    ended_clean
}

IMAGE() { echo "$(cat "$T/faulty.host")/ok/many:latest"; }
well() {
    run pouch fsck
    echo "$output"
    is "$status" 0
    has "$output" ' 0 problems'
}
at_random() { sleep "0.$(printf '%03d' $(((RANDOM * 32768 + RANDOM) % $1)))"; }
# whole_or_absent: if the image is there, it is whole.
whole_or_absent() {
    if pouch inspect "$(IMAGE)" >/dev/null 2>&1; then
        is "$(pouch run --rm --network none "$(IMAGE)" sh -c 'cat /part/* | wc -c')" 4800000
    fi
}
nothing_left() {
    no_images
    within 20 empty
}
empty() { [ "$(find "$T/root/layers" "$T/root/blobs" -mindepth 1 ! -type d ! -path '*/partial/*' | wc -l)" = 0 ]; }

@test "killed while pulling, loading, removing, collecting, checking and dropping blobs" {
    local i job
    RANDOM=${KILL_SEED:-$(date +%N | sed 's/^0*//')}
    echo "KILL_SEED=$RANDOM"
    for i in $(seq "${CHAOS_KILLS:-18}"); do
        job=$((i % 6))
        [ $job = 0 ] || [ $job = 1 ] || pouch pull -q "$(IMAGE)" >/dev/null 2>&1 || true
        case $job in
        0) pouch pull -q "$(IMAGE)" >/dev/null 2>&1 3>&- & ;;
        1) pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null 2>&1 3>&- & ;;
        2) pouch rmi -f "$(IMAGE)" >/dev/null 2>&1 3>&- & ;;
        3) pouch system gc --low 1 --min-age 0s >/dev/null 2>&1 3>&- & ;;
        4) pouch fsck --repair >/dev/null 2>&1 3>&- & ;;
        5) pouch save -o /dev/null "$(IMAGE)" >/dev/null 2>&1 3>&- & ;;
        esac
        at_random 300
        pouchd_kill
        pouchd_start --keep-blobs=false
        wait $! || true
        whole_or_absent
        well
    done
    nothing_left
}

# a_job NUMBER: one of what workers do, in the background.
a_job() {
    case $(($1 % 8)) in
    0) pouch pull -q "$(IMAGE)" ;;
    1) pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" ;;
    2) pouch fsck --repair ;;
    3) pouch save --compression zstd -o /dev/null "$(IMAGE)" ;;
    4) pouch push -q --compression gzip "$PUSHED" ;;
    5) pouch push -q --compression zstd "$PUSHED" ;;
    6) pouch commit made "made:$1" ;;
    7) tar -C "$POUCH_TOP/src" -cf - image | pouch import - "imported:$1" ;;
    esac >/dev/null 2>&1 3>&-
}

@test "workers killed in the middle of anything: the store is well, and pouchd too; then both killed" {
    local i
    RANDOM=${KILL_SEED:-$(date +%N | sed 's/^0*//')}
    echo "KILL_SEED=$RANDOM"
    "$HERE/push-registry" "$T/pushes" >/dev/null 2>&1 3>&- &
    local registry=$!
    within 20 test -s "$T/pushes"
    PUSHED=$(cat "$T/pushes")/ok/many:1
    for i in $(seq "${CHAOS_WORKERS:-8}"); do
        [ $((i % 8)) -lt 2 ] || pouch pull -q "$(IMAGE)" >/dev/null
        [ $((i % 8)) -lt 4 ] || pouch tag "$(IMAGE)" "$PUSHED"
        [ $((i % 8)) != 6 ] || pouch run --name made --network none "$(IMAGE)" \
            sh -c 'head -c 3000000 /dev/urandom >/new' >/dev/null
        a_job "$i" &
        at_random 250
        if [ $((RANDOM % 4)) = 0 ]; then
            pouchd_kill
            pkill -9 -x 'pouch-image|pouch-unpack|pouch-pack' || true
            pouchd_start --keep-blobs=false
        else
            pkill -9 -x 'pouch-image|pouch-unpack|pouch-pack' || true
        fi
        wait $! || true
        whole_or_absent
        pouch rm -f made >/dev/null 2>&1 || true
        well
    done
    kill "$registry"
    rm -f "$T/pushes"
    nothing_left
    is "$(find "$T/root/blobs/tmp" -type f ! -path '*partial*' | wc -l)" 0
}

@test "the power cut: what the disk has at a random moment is a store that is well" {
    local i bad=0
    pouchd_stop
    mkdir -p "$T/cut"
    for i in $(seq "${CHAOS_CUTS:-6}"); do
        rm -rf "$T/root"/* && mkdir -p "$T/root"
        pouchd_start --keep-blobs=false
        pouch pull -q "$(IMAGE)" >/dev/null
        pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null 3>&- &
        at_random 600
        cp --sparse=always "$T/disk" "$T/disk.cut" # what was written so far; the rest is lost
        wait $!
        pouchd_stop
        # Another boot, the disk as it was.
        cat /proc/sys/kernel/random/uuid >"$T/boot"
        mount --bind "$T/boot" /proc/sys/kernel/random/boot_id
        umount "$T/root"
        e2fsck -fp "$T/disk.cut" >/dev/null || bad=$((bad + 1))
        mount -o loop "$T/disk.cut" "$T/root"
        pouchd_start --keep-blobs=false
        whole_or_absent
        well
        nothing_left
        pouchd_stop
        umount "$T/root"
        umount /proc/sys/kernel/random/boot_id
        mount -o loop "$T/disk" "$T/root"
    done
    echo "file systems that needed more than their journal: $bad"
    rm -f "$T/disk.cut" "$T/boot"
    pouchd_start --keep-blobs=false
}

@test "the disk full at any byte: one line, nothing left, and with room it works" {
    local size
    pouchd_stop
    umount "$T/root"
    mount -t tmpfs -o size=4m,mode=711 tmpfs "$T/root"
    pouchd_start --keep-blobs=false
    for size in $(seq "${FULL_FROM:-500}" "${FULL_STEP:-900}" 12000); do
        mount -o "remount,size=$(($(df --output=used "$T/root" | tail -n 1) + size))k" "$T/root"
        run timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull -q "$(IMAGE)"
        if [ "$status" -ne 0 ]; then
            one_line '[Nn]o space left|full'
            is "$(pouch images -aq)" ''
        fi
        mount -o remount,size=64m "$T/root"
        whole_or_absent
        well
        nothing_left
    done
    pouchd_stop
    umount "$T/root"
    mount -o loop "$T/disk" "$T/root"
    pouchd_start --keep-blobs=false
}
