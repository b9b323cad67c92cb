# sanitizers: yes
# Layers as EROFS files: mounted once for all, found again, let go; beside folders, and converted.
load helpers

setup_file() {
    pouchd_start
    pouch info -f '{{.Driver}}' >"$T/driver"
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}
teardown_file() { file_down; }

need_erofs() { is_erofs || skip "no EROFS here: $(pouch info -f '{{.DriverStatus}}')"; }
is_erofs() { [ "$(cat "$T/driver")" = erofs ]; }

# mounts: where layers are mounted.
mounts() { awk -v base="$T/run/layers/" 'index($5, base) == 1 {print $5}' /proc/self/mountinfo; }
mount_ids() { awk -v base="$T/run/layers/" 'index($5, base) == 1 {print $1, $5}' /proc/self/mountinfo | sort; }
count() { mounts | wc -l; }
files() { find "$T/root/layers" -maxdepth 1 -name '*.erofs' | wc -l; }
folders() { find "$T/root/layers" -mindepth 1 -maxdepth 1 -type d -name '????????????????*' | wc -l; }
eight_at_once() { # start eight containers of busybox; all must do their work
    local i pids=()
    for i in 1 2 3 4 5 6 7 8; do
        pouch run --rm --network none busybox echo "ran $i" >"$T/tmp/out$i" 2>&1 3>&- &
        pids+=($!)
    done
    wait "${pids[@]}" || true
    is "$(cat "$T/tmp"/out* | grep -c '^ran')" 8 || cat "$T/tmp"/out*
    rm -f "$T/tmp"/out*
}
with() { # with DRIVER: the daemon again, with it
    pouchd_stop
    unset POUCH_TEST_ROOTFS_DRIVER
    pouchd_start --rootfs-driver "$1"
}
back() { with auto; }

@test "info tells the driver and how layers are mounted" {
    need_erofs
    is "$(pouch info -f '{{.Driver}}')" erofs
    has "$(pouch info)" 'Layer Form: EROFS files'
    has "$(pouch info)" 'EROFS Mounts: (file-backed|loop devices)'
    run "$POUCH_BIN/pouchd" --root "$T/other" --state "$T/other-run" --rootfs-driver zfs
    is "$status" 1
    one_line 'unknown storage driver "zfs" \(there is: erofs, overlay, auto\)'
}

@test "a layer is one file, mounted once for all containers, and unbindable" {
    need_erofs
    is "$(folders)" 0
    is "$(files)" 1
    pouch run -d --name aa --network none busybox sleep 600 >/dev/null
    is "$(count)" 1
    local before
    before=$(mount_ids)
    pouch run -d --name bb --network none busybox sleep 600 >/dev/null
    pouch run --rm --network none busybox true
    is "$(mount_ids)" "$before"
    has "$(awk -v at="$T/run/layers" '$5 == at' /proc/self/mountinfo)" ' unbindable '
    lacks "$(awk -v at="$T/run/layers/" 'index($5, at) == 1' /proc/self/mountinfo)" ' shared:'
    has "$(awk -v at="$T/run/layers/" 'index($5, at) == 1' /proc/self/mountinfo)" 'ro,nosuid,nodev'
}

@test "containers started at once share one mount" {
    need_erofs
    with auto
    eight_at_once
    is "$(count)" 1
}

@test "files of a container are on one device, and keep their number when written to" {
    need_erofs
    is "$(pouch run --rm --network none busybox sh -c 'stat -c %d / /bin /bin/busybox /etc/os-release | sort -u | wc -l')" 1
    is "$(pouch run --rm --network none busybox sh -c 'a=$(stat -c %i /etc/os-release); echo >>/etc/os-release; b=$(stat -c %i /etc/os-release); [ $a = $b ] && echo same')" same
}

@test "kill -9 and a new pouchd: the mounts are the same, and still shared" {
    need_erofs
    local before
    pouch run -d --name stays --network none busybox sleep 600 >/dev/null
    before=$(mount_ids)
    pouchd_kill
    is "$(mount_ids)" "$before"
    pouchd_start
    pouch run --rm --network none busybox true
    is "$(mount_ids)" "$before"
    # The same when it ends by itself, as the container runs on.
    pouchd_stop
    is "$(mount_ids)" "$before"
    pouchd_start
    is "$(pouch exec stays echo alive)" alive
    pouch rm -f stays >/dev/null
    # Now nobody uses them.
    pouchd_stop
    is "$(count)" 0
    is "$(awk -v at="$T/run/layers" '$5 == at' /proc/self/mountinfo)" ''
    pouchd_start
}

@test "killed between a removal and its unmount: the next pouchd does it" {
    need_erofs
    pouch run --rm --network none busybox true
    is "$(count)" 1
    pouchd_kill
    # What the kill left: the layer's file is gone, its mount is not.
    mv "$T/root/layers" "$T/root/layers.away"
    mkdir "$T/root/layers"
    pouchd_start
    is "$(count)" 0
    pouchd_stop
    rm -rf "$T/root/layers"
    mv "$T/root/layers.away" "$T/root/layers"
    pouchd_start
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}

@test "somebody unmounted a layer: it is mounted again, nobody gets an empty folder" {
    need_erofs
    pouch run --rm --network none busybox true
    umount "$(mounts)"
    is "$(pouch run --rm --network none busybox echo works)" works
    is "$(count)" 1
}

@test "a removed image takes its mounts and files with it, though somebody stands in one" {
    need_erofs
    pouch load -q -i "$POUCH_IMAGES/corners.docker.tar" >/dev/null
    pouch run --rm --network none corners true
    local before
    before=$(count)
    (cd "$(mounts | tail -n 1)" && pouch rmi -f corners >/dev/null)
    [ "$(count)" -lt "$before" ]
    is "$(files)" "$(count)"
    # Removed and brought again, over and over, while containers of it start.
    local i
    for i in 1 2 3 4 5; do
        pouch load -q -i "$POUCH_IMAGES/corners.docker.tar" >/dev/null
        pouch run --rm --network none corners true 3>&- &
        pouch rmi corners >/dev/null 2>&1 || true
        wait $! || true
    done
    pouch rmi -f corners >/dev/null 2>&1 || true
    within 5 eval '[ "$(files)" = 1 ]'
}

@test "two pouchd with different folders do not meet" {
    need_erofs
    local sock=$T/two/run/pouch.sock pid
    mkdir -p "$T/two"
    "$POUCH_BIN/pouchd" --root "$T/two/root" --state "$T/two/run" --host "unix://$sock" \
        --cgroup-parent "$CGROUP_PARENT" --bridge-name none >>"$LOG" 2>&1 3>&- &
    pid=$!
    within 10 test -S "$sock"
    "$POUCH_BIN/pouch" -H "unix://$sock" load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    pouch run --rm --network none busybox true
    local mine
    mine=$(mount_ids)
    is "$("$POUCH_BIN/pouch" -H "unix://$sock" run --rm --network none busybox echo two)" two
    is "$(grep -c " $T/two/run/layers/" /proc/self/mountinfo)" 1
    kill "$pid"
    gone "$pid"
    is "$(grep -c " $T/two/run/layers" /proc/self/mountinfo || true)" 0
    is "$(mount_ids)" "$mine"
    rm -rf "$T/two"
}

@test "folders and files side by side: layers of the overlay driver are used as they are" {
    need_erofs
    with overlay
    pouch load -q -i "$POUCH_IMAGES/configured.docker.tar" >/dev/null
    is "$(pouch info -f '{{.Driver}}')" overlay
    back
    local before
    before=$(folders)
    [ "$before" -gt 0 ] || [ "$(files)" -gt 0 ]
    is "$(pouch run --rm --network none busybox echo file)" file
    pouch run --rm --network none --entrypoint /bin/true configured
    is "$(folders)" "$before"
    # One image of both: a folder below, and what an import adds is a file of its own.
    pouch rmi -f configured >/dev/null
}

@test "the overlay driver converts what it needs; nothing of the container changes" {
    need_erofs
    local list='find / -xdev -exec stat -c "%F|%s|%n|%a|%u|%g|%Y|%h" {} + | sort'
    pouch load -q -i "$POUCH_IMAGES/corners.docker.tar" >/dev/null
    pouch create --name kept --network none corners sh -c "$list" >/dev/null
    # The size and links of a folder are the file system's, and its time is the time of its making
    # when no entry of the archive made it; what the engine mounts is new each time.
    seen() {
        pouch start -a kept | sed -E 's/^directory\|[0-9]*\|(.*)\|[0-9]+\|[0-9]+$/directory|\1/' |
            grep -vE '\|/((etc|dev|proc|sys)?|etc/(hosts|hostname|resolv.conf))\|' | sort
    }
    seen >"$T/tmp/before"
    [ "$(wc -l <"$T/tmp/before")" -gt 100 ]
    with overlay
    is "$(count)" 0
    # Started again: converted first.
    seen | diff "$T/tmp/before" -
    is "$(count)" 0
    [ "$(folders)" -ge 1 ]
    # Created anew: the other image too, by eight at once.
    eight_at_once
    is "$(files)" 0
    # And no conversion back: folders are fine for both.
    back
    seen | diff "$T/tmp/before" -
    rm "$T/tmp/before"
    is "$(files)" 0
    pouch rm kept >/dev/null
    pouch rmi corners busybox >/dev/null
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    is "$(files)" 1
}

@test "a container runs on while its image is converted, and the next pouchd is of the other driver" {
    need_erofs
    pouch run -d --name runs --network none busybox sleep 600 >/dev/null
    with overlay
    is "$(pouch exec runs cat /etc/os-release | head -n 1 | cut -c1-2)" ID
    pouch run --rm --network none busybox true
    is "$(files)" 0
    is "$(pouch exec runs sh -c 'ls /bin | wc -l')" "$(pouch run --rm --network none busybox sh -c 'ls /bin | wc -l')"
    pouch restart -t 0 runs >/dev/null
    is "$(pouch exec runs echo again)" again
    is "$(count)" 0
    pouch rm -f runs >/dev/null
    pouch rmi busybox >/dev/null
    back
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}

@test "a conversion that cannot be done says why, and the layer stays" {
    need_erofs
    mkdir "$T/away"
    find "$T/root/blobs/sha256" -size +100k -exec mv -t "$T/away" {} +
    with overlay
    run pouch run --rm --network none busybox true
    mv "$T/away"/* "$T/root/blobs/sha256/"
    rmdir "$T/away"
    [ "$status" -ne 0 ]
    one_line 'convert layer sha256:[0-9a-f]+ of image sha256:'
    is "$(files)" 1
    back
    is "$(pouch run --rm --network none busybox echo fine)" fine
}

@test "user namespaces, read-only, volumes filled from the image, cp, commands of a rich look" {
    need_erofs
    if pouch run --rm --network none --userns auto busybox true 2>"$T/why"; then
        is "$(pouch run --rm --network none --userns auto busybox sh -c 'stat -c "%u %g" / /bin /bin/busybox | sort -u')" '0 0'
        is "$(pouch run --rm --network none --userns auto busybox sh -c 'echo x >>/etc/os-release && stat -c %u /etc/os-release')" 0
    else
        echo "# no idmapped mounts here: $(cat "$T/why")"
    fi
    run pouch run --rm --network none --read-only busybox touch /x
    [ "$status" -ne 0 ]
    pouch run --rm --network none -v "filled:/etc" busybox true
    is "$(pouch run --rm --network none -v "filled:/x" busybox test -e /x/os-release && echo there)" there
    pouch volume rm filled >/dev/null
}

@test "the layer cannot be written to, by root on the host either" {
    need_erofs
    pouch run --rm --network none busybox true
    run touch "$(mounts)/x"
    [ "$status" -ne 0 ]
    has "$output" 'Read-only'
}

@test "by loop device where files cannot be mounted: on a tmpfs" {
    need_erofs
    [ -e /dev/loop-control ] || skip "no loop devices here"
    pouchd_stop
    mkdir "$T/small"
    mount -t tmpfs -o size=48m,mode=711 tmpfs "$T/small"
    POUCHD_ROOT=$T/small/root
    mkdir -p "$POUCHD_ROOT"
    # shellcheck disable=SC2153 # SOCK is of helpers
    "$POUCH_BIN/pouchd" --root "$POUCHD_ROOT" --state "$T/run" --host "unix://$SOCK" \
        --cgroup-parent "$CGROUP_PARENT" >>"$LOG" 2>&1 3>&- &
    echo $! >"$T/pouchd.pid"
    pouchd_wait
    local how devices
    how=$(pouch info -f '{{.DriverStatus}}')
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    pouch run -d --name looped --network none busybox sleep 600 >/dev/null
    is "$(pouch run --rm --network none busybox echo works)" works
    is "$(count)" 1
    case $how in
    *loop*)
        devices=$(losetup -n -O NAME,RO,AUTOCLEAR,BACK-FILE | grep -F "$POUCHD_ROOT/layers/")
        is "$(wc -l <<<"$devices")" 1
        has "$devices" ' 1 +1 '
        ;;
    *) echo "# this kernel mounts files of a tmpfs too" ;;
    esac
    pouch rm -f looped >/dev/null
    pouch rmi busybox >/dev/null
    is "$(count)" 0
    is "$(losetup -n -O BACK-FILE | grep -cF "$POUCHD_ROOT/layers/" || true)" 0
    pouchd_stop
    umount "$T/small"
    rmdir "$T/small"
    pouchd_start
}

@test "the disk is full while a layer is written: one line, nothing left" {
    need_erofs
    pouchd_stop
    mkdir -p "$T/small"
    mount -t tmpfs -o size=1200k,mode=711 tmpfs "$T/small"
    "$POUCH_BIN/pouchd" --root "$T/small/root" --state "$T/run" --host "unix://$SOCK" \
        --cgroup-parent "$CGROUP_PARENT" >>"$LOG" 2>&1 3>&- &
    echo $! >"$T/pouchd.pid"
    pouchd_wait
    run pouch load -i "$POUCH_IMAGES/busybox.docker.tar"
    [ "$status" -ne 0 ]
    one_line '[Nn]o space left'
    is "$(find "$T/small/root/layers" -mindepth 1)" ''
    pouchd_stop
    umount "$T/small"
    rmdir "$T/small"
    pouchd_start
}

# spoiled HOW TEXT: a worker that spoils its files like that is caught, and nothing stays.
spoiled() {
    echo "$1" >"$T/sabotage"
    run timeout 60 "$EVIL/pouch" -H "unix://$SOCK" load -i "$POUCH_IMAGES/busybox.docker.tar"
    is "$status" 1
    one_line "is not used, as the kernel must not see the file that was made of it: .*$2"
    is "$(find "$T/evil-root/layers" -mindepth 1)" ''
    is "$(count)" 0
}

@test "a worker in strange hands: the kernel sees no file that was not made right" {
    need_erofs
    local lib=$POUCH_TOP/build/tests/tools/evil-image.so EVIL=$T/evil program
    [ -e "$lib" ] || skip "no $lib (a build with sanitizers alone)"
    case $(ldd "$POUCH_BIN/pouch-image") in *libasan*) skip "sanitizers want to be loaded first" ;; esac
    pouchd_stop
    mkdir -p "$EVIL"
    for program in "$POUCH_BIN"/pouch*; do cp "$program" "$EVIL/"; done
    mv "$EVIL/pouch-image" "$EVIL/real"
    printf '#!/bin/sh\nSABOTAGE=$(cat %s) LD_PRELOAD=%s exec %s/real "$@"\n' "$T/sabotage" "$lib" "$EVIL" \
        >"$EVIL/pouch-image"
    chmod +x "$EVIL/pouch-image"
    "$EVIL/pouchd" --root "$T/evil-root" --state "$T/run" --host "unix://$SOCK" \
        --cgroup-parent "$CGROUP_PARENT" >>"$LOG" 2>&1 3>&- &
    echo $! >"$T/pouchd.pid"
    pouchd_wait
    spoiled feature 'EROFS file has features that are not known here'
    spoiled reserved 'inode 36: it has a field that is not known'
    spoiled longer 'something behind its end'
    spoiled shorter 'is cut off'
    spoiled loop 'a folder is in two places|its name says another type'
    # Whoever could still write to the file could change it after all checks.
    spoiled writer 'somebody still has it open for writing'
    spoiled map 'somebody still has it open for writing'
    echo nothing >"$T/sabotage"
    run -0 pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    run -0 pouch run --rm --network none busybox echo fine
    is "$output" fine
    pouchd_stop
    rm -rf --one-file-system "$EVIL" "$T/evil-root"
    pouchd_start
}
