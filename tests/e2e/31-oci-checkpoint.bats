# pouch-oci checkpoint and restore where there is no criu, or one that cannot: tests/vm/run-criu has the rest.
bats_require_minimum_version 1.5.0
load oci

# fake_criu PYTHON: a criu that does this with `answer(bytes)` and `request()`; it stands first in PATH
fake_criu() {
    mkdir -p "$BATS_TEST_TMPDIR/fake"
    cat >"$BATS_TEST_TMPDIR/fake/criu" <<PY
#!/usr/bin/python3
import socket, sys
s = socket.socket(fileno=int(sys.argv[2]))
request = lambda: s.recv(1 << 20)
answer = s.send
version = lambda major, minor: answer(bytes([8, 10, 16, 1, 0x52, 4, 8, major, 16, minor]))
r = request()
$1
PY
    chmod +x "$BATS_TEST_TMPDIR/fake/criu"
}

checkpoint() { PATH=$BATS_TEST_TMPDIR/fake:$PATH oci checkpoint --image-path "$BATS_TEST_TMPDIR/img" "$@"; }

still_runs() { [[ "$(oci state "$1")" == *'"status":"running"'* ]]; }

@test "checkpoint: what cannot be" {
    run -1 oci checkpoint nobody
    [[ "$output" == *'"nobody" does not exist'* ]]
    start_sleeper a
    run -1 oci checkpoint --parent-path /x a
    [[ "$output" == *'--parent-path: "/x" is not relative to the folder of --image-path'* ]]
    run -1 oci checkpoint --manage-cgroups-mode props a
    [[ "$output" == *'"props" is none of soft, full, strict, ignore'* ]]
    run -1 oci checkpoint --empty-ns mount a
    [[ "$output" == *"only network can be left empty"* ]]
    run -1 oci checkpoint --lazy-pages a
    [[ "$output" == *"--lazy-pages: this option is not known"* ]]
    still_runs a
    oci kill a KILL
    for _ in {1..50}; do [[ "$(oci state a)" == *stopped* ]] && break || sleep 0.1; done
    run -1 oci checkpoint a
    [[ "$output" == *"it is stopped, not running"* ]]
    oci delete a
    oci create --bundle "$B" b </dev/null >/dev/null 2>&1
    run -1 oci checkpoint b
    [[ "$output" == *"it is created, not running"* ]]
}

@test "checkpoint without criu, with one that is too old, dies, lies, or fails" {
    start_sleeper a
    PATH=/nowhere run -1 "$POUCH_BIN/pouch-oci" --root "$R" checkpoint --image-path "$BATS_TEST_TMPDIR/img" a
    [[ "$output" == *"criu is not installed (or not in PATH)"* ]]
    PATH=/nowhere run -0 "$POUCH_BIN/pouch-oci" features
    [[ "$output" == *'"org.opencontainers.runc.checkpoint.enabled":"false"'* ]]
    run -1 oci --criu /nowhere/criu checkpoint --image-path "$BATS_TEST_TMPDIR/img" a
    [[ "$output" == *"/nowhere/criu is not installed"* ]]
    fake_criu 'version(3, 15)'
    run -1 checkpoint a
    [[ "$output" == *"criu 3.15 is too old: 3.16 or later is needed"* ]]
    fake_criu 'pass'
    run -1 checkpoint a
    [[ "$output" == *"criu ended without an answer"* ]]
    fake_criu 'answer(b"\xff" * 60)'
    run -1 checkpoint a
    [[ "$output" == *"cannot read what criu answers: Bad message"* ]]
    fake_criu 'answer(b"\x08\x0a\x10\x01" + b"\x4a\x90\x4e" + b"x" * 10000)'
    run -1 checkpoint a
    [[ "$output" == *"cannot read what criu answers: Bad message"* ]]
    # a success without the processes being gone is none that is waited for forever; here: a refusal with its reason
    fake_criu '
if r[1] == 10:
    version(4, 0)
else:
    open("'"$BATS_TEST_TMPDIR"'/img/dump.log", "w").write("(00.1) Error (a.c:1): first\n(00.2) Error (b.c:2): last\n(00.3) end\n")
    answer(bytes([8, 1, 16, 0, 0x4a, 4]) + b"why!")'
    run -1 checkpoint a
    [[ "$output" == *"cannot checkpoint container \"a\": criu why!: Error (b.c:2): last (the whole log: $BATS_TEST_TMPDIR/img/dump.log)"* ]]
    still_runs a
}

@test "a checkpoint that the kernel does not allow is told, and the container runs on; else it comes back" {
    command -v criu >/dev/null || skip "criu is not installed"
    # shellcheck disable=SC2016 # for the container's shell
    configure 'sh("i=0; while :; do i=$((i+1)); echo $i >/dev/shm/n; sleep 0.1; done")'
    oci run --detach --bundle "$B" a </dev/null >/dev/null 2>&1
    for _ in {1..50}; do [ "$(oci exec a cat /dev/shm/n)" -gt 2 ] 2>/dev/null && break || sleep 0.1; done
    run oci checkpoint --image-path "$BATS_TEST_TMPDIR/img" a
    if [ "$status" = 0 ]; then
        [[ "$(oci state a)" == *'"status":"stopped"'* ]]
        oci restore --detach --image-path "$BATS_TEST_TMPDIR/img" --bundle "$B" a </dev/null >/dev/null 2>&1
        still_runs a
        [ "$(oci exec a cat /dev/shm/n)" -gt 2 ]
    else
        [[ "$output" == *"criu"*"Error ("*"(the whole log: $BATS_TEST_TMPDIR/img/dump.log)" ]]
        [ "$(wc -l <<<"$output")" = 1 ]
        still_runs a
        n=$(oci exec a cat /dev/shm/n)
        sleep 0.5
        [ "$(oci exec a cat /dev/shm/n)" -gt "$n" ]
    fi
}

@test "restore: what cannot be leaves nothing" {
    command -v criu >/dev/null || skip "criu is not installed"
    configure 'c["process"]["args"] = ["sleep", "1000"]'
    mkdir "$BATS_TEST_TMPDIR/img"
    run -1 oci restore --image-path "$BATS_TEST_TMPDIR/none" --bundle "$B" a
    [[ "$output" == *"folder $BATS_TEST_TMPDIR/none: No such file"* ]]
    run -1 oci restore --image-path "$BATS_TEST_TMPDIR/img" --bundle "$B" a
    [[ "$output" == *"is no checkpoint of pouch-oci: there is no pouch.json in it"* ]]
    echo '{"mounts": [{}]}' >"$BATS_TEST_TMPDIR/img/pouch.json"
    run -1 oci restore --image-path "$BATS_TEST_TMPDIR/img" --bundle "$B" a
    [[ "$output" == *"img/pouch.json: mounts[0]"* ]]
    echo '{"mounts": [{"path": "/elsewhere"}]}' >"$BATS_TEST_TMPDIR/img/pouch.json"
    run -1 oci restore --image-path "$BATS_TEST_TMPDIR/img" --bundle "$B" a
    [[ "$output" == *"mount from outside on /elsewhere, which config.json does not have"* ]]
    echo '{}' >"$BATS_TEST_TMPDIR/img/pouch.json"
    run -1 oci restore --image-path "$BATS_TEST_TMPDIR/img" --bundle "$B" a
    [[ "$output" == *'cannot restore container "a": criu '* ]]
    run -1 oci --systemd-cgroup restore --image-path "$BATS_TEST_TMPDIR/img" --bundle "$B" a
    [[ "$output" == *"--systemd-cgroup is not supported"* ]]
    [ -z "$(oci list -q)" ]
    [ ! -e "$R/a" ]
    [ ! -d "$(cgroup_dir pids)" ]
    run -1 grep -c "$B" /proc/self/mountinfo
    start_sleeper a
    run -1 oci restore --image-path "$BATS_TEST_TMPDIR/img" --bundle "$B" a
    [[ "$output" == *"exists already and is running"* ]]
    still_runs a
}
