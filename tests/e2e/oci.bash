# For the files 31-oci-*.bats: a bundle with busybox, pouch-oci on a state folder of the test.

CGROUP=/$(basename "$(dirname "$T")")-$(basename "$T")

setup() {
    B=$BATS_TEST_TMPDIR/bundle
    R=$BATS_TEST_TMPDIR/state
    mkdir -p "$B/rootfs/bin" "$B/rootfs/etc"
    cp /bin/busybox "$B/rootfs/bin/"
    for applet in $(/bin/busybox --list | grep -vx busybox); do
        ln -s busybox "$B/rootfs/bin/$applet"
    done
    printf 'root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n' >"$B/rootfs/etc/passwd"
    oci spec --bundle "$B"
    helpers=()
}

teardown() {
    local id pid
    for id in $(oci list -q); do oci delete --force "$id"; done
    for pid in "${helpers[@]}"; do kill "$pid" 2>/dev/null || true; done
}

oci() { timeout 30 "$POUCH_BIN/pouch-oci" --root "$R" "$@"; }

# configure PYTHON...: change config.json, which is c
configure() {
    /usr/bin/python3 - "$B/config.json" "$CGROUP" "$@" <<'PY'
import json, sys
path, cgroup, *changes = sys.argv[1:]
with open(path, encoding="utf-8") as f:
    c = json.load(f)
c["process"]["terminal"] = False
c["linux"]["cgroupsPath"] = cgroup + "/c"
sh = lambda text: c["process"].update(args=["sh", "-c", text])
for change in changes:
    exec(change)
with open(path, "w", encoding="utf-8") as f:
    json.dump(c, f)
PY
}

# start_sleeper ID: a container that waits, in the background
start_sleeper() {
    configure 'c["process"]["args"] = ["sleep", "1000"]' "${@:2}"
    oci run --detach --bundle "$B" "$1" </dev/null >/dev/null 2>&1
}

# v1_or_v2 CONTROLLER: the folder of the container's cgroup
cgroup_dir() {
    local dir=/sys/fs/cgroup/$1$CGROUP/c
    [ -d "$dir" ] || dir=/sys/fs/cgroup$CGROUP/c
    echo "$dir"
}

# other RUNTIME ARGUMENT...; crun 1.8 refuses hybrid hosts whose v2 has controllers: it gets one without v2
other() {
    if [ "$1" = crun ] && mountpoint -q /sys/fs/cgroup/unified; then
        timeout 30 unshare --mount sh -c 'umount /sys/fs/cgroup/unified && exec "$@"' sh "$@"
    else
        timeout 30 "$@"
    fi
}

# can_run RUNTIME: is it here, and does it run on this host?
can_run() {
    local probe=$BATS_FILE_TMPDIR/probe-$1
    if [ ! -e "$probe" ]; then
        mkdir -p "$probe.d/rootfs/bin"
        cp /bin/busybox "$probe.d/rootfs/bin/true"
        /usr/bin/python3 -c 'import json, sys
c = json.load(open(sys.argv[1]))
c["process"].update(args=["/bin/true"], terminal=False)
json.dump(c, open(sys.argv[2], "w"))' "$B/config.json" "$probe.d/config.json"
        if command -v "$1" >/dev/null && other "$1" --root "$probe.d/state" run \
            --bundle "$probe.d" probe >"$probe.d/log" 2>&1 </dev/null; then
            echo yes >"$probe"
        else
            echo no >"$probe"
            echo "# $1 is not compared with: $(tail -n 1 "$probe.d/log" 2>/dev/null || echo not installed)" >&3
        fi
    fi
    [ "$(cat "$probe")" = yes ]
}

# like_others ARGUMENTS...: what `run` of the bundle prints and its exit code are the same with runc and crun
like_others() {
    local mine mine_code=0 runtime theirs code
    mine=$(oci run --bundle "$B" same </dev/null 2>/dev/null) || mine_code=$?
    for runtime in runc crun; do
        can_run $runtime || continue
        code=0
        theirs=$(other $runtime --root "$BATS_TEST_TMPDIR/$runtime" run --bundle "$B" same-$runtime \
            </dev/null 2>/dev/null) || code=$?
        [ "$mine_code:$mine" = "$code:$theirs" ] || {
            echo "pouch-oci: $mine_code:$mine"
            echo "$runtime: $code:$theirs"
            return 1
        }
    done
    # shellcheck disable=SC2034 # for the caller
    output=$mine
}
