# For the files 31-oci-*.bats: a bundle with busybox, pouch-oci on a state folder of the test.

CGROUP=/pouch-test-$(basename "$T")

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

# like_others ARGUMENTS...: what `run` of the bundle prints and its exit code are the same with runc and crun
like_others() {
    local mine mine_code=0 runtime theirs code
    mine=$(oci run --bundle "$B" same </dev/null 2>/dev/null) || mine_code=$?
    for runtime in runc crun; do
        command -v $runtime >/dev/null || continue
        code=0
        theirs=$(timeout 30 $runtime --root "$BATS_TEST_TMPDIR/$runtime" run --bundle "$B" same-$runtime \
            </dev/null 2>/dev/null) || code=$?
        [ "$mine_code:$mine" = "$code:$theirs" ] || {
            echo "pouch-oci: $mine_code:$mine"
            echo "$runtime: $code:$theirs"
            return 1
        }
    done
    output=$mine
}
