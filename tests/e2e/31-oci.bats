# pouch-oci: bundles of the runtime specification by the command line that runc made customary.
# sanitizers: yes
# No daemon: the state folder, the bundle and the cgroup belong to the test.
bats_require_minimum_version 1.5.0

load oci

@test "run gives output and exit code, and leaves nothing" {
    configure 'c["process"]["args"] = ["sh", "-c", "echo hello; exit 7"]'
    run -7 oci run --bundle "$B" one </dev/null
    [ "$output" = hello ]
    [ -z "$(oci list -q)" ]
    [ ! -e "$R/one" ]
}

@test "create, start, state, kill, delete" {
    configure 'c["process"]["args"] = ["sleep", "100"]'
    oci create --bundle "$B" --pid-file "$BATS_TEST_TMPDIR/pid" two </dev/null >/dev/null 2>&1
    oci state two | grep '"status":"created"'
    [ -d "/proc/$(cat "$BATS_TEST_TMPDIR/pid")" ]
    # As runc: a created container is whole, its program does not run yet. At once after create, many times.
    run -5 oci exec two sh -c '[ ! -e /proc/1/root/etc/debian_version ] && grep -q "/proc/sys proc ro" /proc/mounts && exit 5'
    oci state two | grep '"status":"created"'
    [ "$(cat "/proc/$(cat "$BATS_TEST_TMPDIR/pid")/comm")" = "pouch:[created]" ]
    local id
    for id in many{1..10}; do
        configure 'c["linux"]["cgroupsPath"] = "'"$CGROUP/$id"'"'
        oci create --bundle "$B" "$id" </dev/null >/dev/null 2>&1
        run -5 oci exec "$id" sh -c '[ -e /proc/1/comm ] && grep -q " /sys/firmware " /proc/mounts && exit 5'
        oci delete "$id"
    done
    oci start two
    oci state two | grep '"status":"running"'
    run -1 oci start two
    run -1 oci delete two
    [[ "$output" == *"--force"* ]]
    oci pause two
    oci state two | grep '"status":"paused"'
    oci resume two
    oci kill two KILL
    for _ in $(seq 100); do
        oci state two | grep '"status":"stopped"' && break
        sleep 0.05
    done
    run -1 oci kill two
    [[ "$output" == *"not running"* ]]
    oci delete two
    run -1 oci state two
    [[ "$output" == *'container "two" does not exist'* ]]
}

@test "exec joins the container, and tells what went wrong" {
    configure 'c["process"]["args"] = ["sleep", "100"]'
    oci run --detach --bundle "$B" three </dev/null >/dev/null 2>&1
    [[ "$(oci exec three ps)" == *"1 root     sleep 100"* ]]
    [[ "$(oci exec -u bob three id)" == "uid=1000(bob) gid=1000 groups=1000" ]]
    [ "$(oci exec -e A=b three sh -c 'echo $A')" = b ]
    run -5 oci exec three sh -c 'exit 5'
    run -127 oci exec three nope
    [[ "$output" == *'exec: "nope": executable file not found in $PATH'* ]]
    run -126 oci exec three /etc/passwd
    [[ "$output" == *'permission denied'* ]]
    run -127 oci exec --cwd /nope three true
    [[ "$output" == *'chdir to cwd ("/nope") failed'* ]]
    run -1 oci exec -u eve three true
    [[ "$output" == *"unable to find user eve"* ]]
}

@test "hooks run with the state, and a failing one stops the start" {
    configure 'c["process"]["args"] = ["true"]' \
        "c['hooks'] = {'prestart': [{'path': '/bin/sh', 'args': ['sh', '-c', 'cat >$BATS_TEST_TMPDIR/pre']}], 'poststop': [{'path': '/bin/sh', 'args': ['sh', '-c', 'cat >$BATS_TEST_TMPDIR/post']}]}"
    oci run --bundle "$B" four </dev/null
    grep '"status":"creating","pid":[1-9]' "$BATS_TEST_TMPDIR/pre"
    grep '"status":"stopped"' "$BATS_TEST_TMPDIR/post"
    configure "c['hooks'] = {'prestart': [{'path': '/bin/sh', 'args': ['sh', '-c', 'echo no; exit 3']}]}"
    run -1 oci run --bundle "$B" five </dev/null
    [[ "$output" == *"prestart hook 0: /bin/sh failed with exit code 3: no"* ]]
    [ -z "$(oci list -q)" ]
}

@test "errors also go to the log, as text and as JSON" {
    run -1 oci --log "$BATS_TEST_TMPDIR/log" state nobody
    grep 'level=error msg="container \\"nobody\\" does not exist"' "$BATS_TEST_TMPDIR/log"
    run -1 oci --log "$BATS_TEST_TMPDIR/json" --log-format json state nobody
    /usr/bin/python3 -c 'import json,sys; assert json.load(open(sys.argv[1]))["level"] == "error"' \
        "$BATS_TEST_TMPDIR/json"
}

@test "what is not known is refused by name" {
    run -1 oci hibernate x
    [[ "$output" == *"hibernate: this command is not known"* ]]
    # What cannot be run is told by create already, as runc does it: engines make their exit codes of it.
    configure 'c["process"]["args"] = ["nope"]'
    run -127 oci create --bundle "$B" six </dev/null
    [[ "$output" == *'exec: "nope": executable file not found in $PATH' ]]
    configure 'c["process"]["args"] = ["/usr/bin/python3"]' # which the host has
    run -127 oci create --bundle "$B" six </dev/null
    [[ "$output" == *'exec: "/usr/bin/python3": stat /usr/bin/python3: no such file or directory' ]]
    configure 'c["process"].update(args=["./busybox", "true"], cwd="/bin")'
    oci create --bundle "$B" six </dev/null >/dev/null 2>&1
    oci delete six
    configure 'c["process"].update(args=["etc/passwd"], cwd="/")'
    run -126 oci create --bundle "$B" six </dev/null
    [[ "$output" == *"permission denied" ]]
    configure 'c["process"].update(args=["/proc/self/root/bin/busybox", "true"])' # only the exec can tell
    oci create --bundle "$B" six </dev/null >/dev/null 2>&1
    oci delete six
    [ -z "$(oci list -q)" ]
    run -1 oci --cgroup-manager disabled list
    [[ "$output" == *'"disabled" is neither cgroupfs nor systemd'* ]]
    oci --cgroup-manager cgroupfs list
    run -1 oci --root '' list
    [[ "$output" == *"--root: the empty string"* ]]
    run -1 oci --root /proc/version list
    [[ "$output" == *"cannot list /proc/version"* ]]
    run -1 oci create --nonsense x
    [[ "$output" == *"--nonsense: this option is not known"* ]]
    run -1 oci create --bundle "$B" 'a/b'
    [[ "$output" == *'container id "a/b"'* ]]
    configure 'c["process"]["args"] = []'
    run -1 oci run --bundle "$B" six
    [[ "$output" == *"process.args: no command to run"* ]]
    echo '{' >"$B/config.json"
    run -1 oci run --bundle "$B" six
    [[ "$output" == *"config.json: invalid JSON at offset"* ]]
    [ -z "$(oci list -q)" ]
}

@test "limits reach the cgroup" {
    configure 'c["process"]["args"] = ["sh", "-c", "a=x; while :; do a=$a$a; done"]' \
        'c["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}'
    run -137 oci run --bundle "$B" seven </dev/null
}

@test "features is JSON" {
    oci features | /usr/bin/python3 -c 'import json,sys; assert "linux" in json.load(sys.stdin)'
}
