# pouch-oci's command line: what runc's and crun's users expect of it.
bats_require_minimum_version 1.5.0
load oci

@test "descriptors are handed on: --preserve-fds, LISTEN_FDS" {
    configure 'sh("cat <&3; echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd | grep -c .")'
    echo three >"$BATS_TEST_TMPDIR/three"
    # 0, 1, 2, 3 and the folder that ls reads
    run -0 oci run --preserve-fds 1 --bundle "$B" a 3<"$BATS_TEST_TMPDIR/three" </dev/null
    [ "$output" = $'three\n\n5' ]
    LISTEN_FDS=1 run -0 oci run --bundle "$B" a 3<"$BATS_TEST_TMPDIR/three" </dev/null
    [ "$output" = $'three\n1 1\n5' ]
    # one for another process is none
    LISTEN_FDS=1 LISTEN_PID=1 run -0 oci run --bundle "$B" a 3<"$BATS_TEST_TMPDIR/three" </dev/null
    [[ "$output" == *$'\n4' ]]
    run -1 oci run --preserve-fds 40 --bundle "$B" a </dev/null
    [[ "$output" == *"--preserve-fds: descriptor "*" is not open"* ]]
    start_sleeper b
    [ "$(oci exec --preserve-fds 1 b cat '/proc/self/fd/3' 3<"$BATS_TEST_TMPDIR/three")" = three ]
}

@test "--no-pivot gives the same root" {
    configure 'sh("echo hi; ls / | wc -l; grep -c . /proc/self/mountinfo; ls -d /proc/1")'
    with=$(oci run --bundle "$B" a </dev/null)
    without=$(oci run --no-pivot --bundle "$B" a </dev/null)
    [ "$with" = "$without" ]
}

@test "update changes limits, from options and from JSON" {
    start_sleeper a 'c["linux"]["resources"].update(memory={"limit": 64 << 20}, pids={"limit": 100})'
    oci update --memory 32m --pids-limit 50 --cpu-quota 50000 --cpu-period 100000 a
    if [ -e "$(cgroup_dir pids)/pids.max" ]; then [ "$(cat "$(cgroup_dir pids)/pids.max")" = 50 ]; fi
    if [ -e "$(cgroup_dir cpu)/cpu.cfs_quota_us" ]; then
        [ "$(cat "$(cgroup_dir memory)/memory.limit_in_bytes")" = $((32 << 20)) ]
        [ "$(cat "$(cgroup_dir cpu)/cpu.cfs_quota_us")" = 50000 ]
    else
        [ "$(cat "$(cgroup_dir cpu)/cpu.max")" = "50000 100000" ]
    fi
    echo '{"pids": {"limit": 60}}' | oci update --resources - a
    [ "$(cat "$(cgroup_dir pids)/pids.max")" = 60 ]
    run -1 oci update --memory lots a
    [[ "$output" == *'--memory: "lots" is no size'* ]]
    run -1 oci update --l3-cache-schema L3:0=f a
    [[ "$output" == *"no linux.intelRdt"* ]]
}

@test "events: statistics once, as they come, and OOM" {
    start_sleeper a 'c["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}'
    oci events --stats a >"$BATS_TEST_TMPDIR/stats"
    /usr/bin/python3 - "$BATS_TEST_TMPDIR/stats" <<'PY'
import json, sys
with open(sys.argv[1]) as f:
    s = json.load(f)
assert s["type"] == "stats" and s["id"] == "a", s
d = s["data"]
assert d["memory"]["usage"]["limit"] == 16 << 20, d
assert d["pids"]["current"] == 1, d
assert d["memory"]["raw"] and d["cpu"]["usage"]["total"] > 0, d
PY
    oci events --interval 100ms a >"$BATS_TEST_TMPDIR/events" 3>&- &
    helpers+=($!)
    for _ in $(seq 100); do [ "$(grep -c '"stats"' "$BATS_TEST_TMPDIR/events")" -ge 2 ] && break; sleep 0.05; done
    run oci exec a sh -c 'a=x; while :; do a=$a$a; done'
    for _ in $(seq 100); do grep -q '"oom"' "$BATS_TEST_TMPDIR/events" && break; sleep 0.05; done
    grep '{"type":"oom","id":"a"}' "$BATS_TEST_TMPDIR/events"
    [ "$(grep -c '"stats"' "$BATS_TEST_TMPDIR/events")" -ge 2 ]
    oci delete --force a
    wait "${helpers[0]}" # events ends with the container
}

@test "list and ps as table, JSON, ids" {
    start_sleeper a
    [ "$(oci list -q)" = a ]
    [[ "$(oci list | head -1)" == "ID "*"PID "*"STATUS "*"BUNDLE "*"CREATED "*"OWNER" ]]
    oci list -f json | /usr/bin/python3 -c 'import json, sys
l = json.load(sys.stdin)
assert l[0]["id"] == "a" and l[0]["status"] == "running" and l[0]["owner"] == "root", l'
    pid=$(oci state a | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
    [ "$(oci ps -f json a)" = "[$pid]" ]
    [[ "$(oci ps a -o pid,args)" == *"$pid sleep 1000" ]]
    [ "$(oci ps a -o pid,args | wc -l)" = 2 ]
    run -1 oci ps a -o args
    [[ "$output" == *"no column PID"* ]]
    run -1 oci list -f xml
    [[ "$output" == *'"xml" is neither table nor json'* ]]
}

@test "exec: process.json, capabilities, groups, a cgroup below" {
    start_sleeper a 'c["process"]["oomScoreAdj"] = 300'
    echo '{"args": ["id", "-G"], "cwd": "/", "user": {"uid": 7, "gid": 8, "additionalGids": [9]}}' \
        >"$BATS_TEST_TMPDIR/process.json"
    [ "$(oci exec --process "$BATS_TEST_TMPDIR/process.json" a)" = "8 9" ]
    [ "$(oci exec -g 5 -g 6 -u 1:2 a id -G)" = "2 5 6" ]
    oci exec --cap CAP_NET_RAW a grep CapEff /proc/self/status | grep -i '2420$'
    # What process.json leaves out is the container's own: neither more rights nor other limits.
    echo '{"args": ["sh", "-c", "grep CapEff /proc/self/status; ulimit -n; cat /proc/self/oom_score_adj"], "cwd": "/", "env": ["PATH=/bin"]}' \
        >"$BATS_TEST_TMPDIR/process.json"
    run -0 oci exec --process "$BATS_TEST_TMPDIR/process.json" a
    [ "$output" = $'CapEff:\t0000000020000420\n1024\n300' ]
    # What goes wrong when it stands in the container already is in the host's log, too.
    run -127 oci --log "$BATS_TEST_TMPDIR/exec.log" --log-format json exec a nope
    grep '"level":"error","msg":"exec: \\"nope\\": executable file not found in $PATH"' "$BATS_TEST_TMPDIR/exec.log"
    run -1 oci exec --detach --pid-file "$BATS_TEST_TMPDIR/no/such/pid" a sleep 4712
    [[ "$output" == *"cannot write $BATS_TEST_TMPDIR/no/such/pid"* ]]
    ! pgrep -fx 'sleep 4712'
    run -1 oci exec --cgroup ../x a true
    [[ "$output" == *"not a clean path"* ]]
    run -1 oci exec --cgroup none a true
    [[ "$output" == *"does not exist"* ]]
    oci pause a
    run -1 oci exec a true
    [[ "$output" == *"it is paused"* ]]
    oci resume a
    run -1 oci exec -t --detach a true
    [[ "$output" == *"needs --console-socket"* ]]
    oci exec --detach --pid-file "$BATS_TEST_TMPDIR/pid" a sleep 500
    grep -q sleep "/proc/$(cat "$BATS_TEST_TMPDIR/pid")/comm"
}

@test "the terminal's master comes over the console socket" {
    configure 'c["process"]["terminal"] = True' 'sh("tty; stty size")' \
        'c["process"]["consoleSize"] = {"height": 33, "width": 77}'
    /usr/bin/python3 - "$BATS_TEST_TMPDIR/console" >"$BATS_TEST_TMPDIR/said" 3>&- <<'PY' &
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(1)
c, _ = s.accept()
_, fds, _, _ = socket.recv_fds(c, 64, 1)
text = b""
while True:
    try:
        got = os.read(fds[0], 4096)
    except OSError:
        break
    if not got:
        break
    text += got
sys.stdout.write(text.decode())
PY
    helpers+=($!)
    for _ in $(seq 100); do [ -S "$BATS_TEST_TMPDIR/console" ] && break; sleep 0.05; done
    oci create --console-socket "$BATS_TEST_TMPDIR/console" --bundle "$B" a
    oci start a
    wait "${helpers[0]}"
    [ "$(tr -d '\r' <"$BATS_TEST_TMPDIR/said")" = $'/dev/pts/0\n33 77' ]
}

@test "kill: names of signals, all processes, a shared pid namespace" {
    start_sleeper a
    for name in term SIGTERM 15 TERM; do oci kill a "$name"; done # pid 1 without a handler: nothing
    run -1 oci kill a SIGNOPE
    [[ "$output" == *'unknown signal "SIGNOPE"'* ]]
    oci kill --all a KILL
    for _ in $(seq 100); do oci state a | grep -q '"stopped"' && break; sleep 0.05; done
    oci delete a
    configure 'c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "pid"]' \
        'sh("sleep 1001 & sleep 1002")'
    oci run --detach --bundle "$B" b </dev/null >/dev/null 2>&1
    for _ in $(seq 100); do [ "$(oci ps -f json b | tr -cd , | wc -c)" = 2 ] && break; sleep 0.05; done
    oci kill b KILL
    for _ in $(seq 100); do [ "$(oci ps -f json b)" = "[]" ] && break; sleep 0.05; done
    [ "$(oci ps -f json b)" = "[]" ]
}

@test "a container can be killed and deleted between create and start" {
    configure 'c["process"]["args"] = ["true"]'
    oci create --bundle "$B" a </dev/null >/dev/null 2>&1
    run -1 oci create --bundle "$B" a
    [[ "$output" == *"exists already"* ]]
    oci pause a
    oci state a | grep '"status":"paused"'
    run -1 oci start a
    [[ "$output" == *"it is paused"* ]]
    oci resume a
    oci state a | grep '"status":"created"'
    oci delete a
    [ -z "$(oci list -q)" ]
    [ ! -e "$(cgroup_dir pids)" ]
    oci delete --force nobody
    run -1 oci delete nobody
    [[ "$output" == *"does not exist"* ]]
}

@test "spec --rootless is what an ordinary user can start" {
    mkdir "$BATS_TEST_TMPDIR/r"
    oci spec --rootless --bundle "$BATS_TEST_TMPDIR/r"
    /usr/bin/python3 - "$BATS_TEST_TMPDIR/r/config.json" <<'PY'
import json, sys
with open(sys.argv[1]) as f:
    c = json.load(f)
types = [n["type"] for n in c["linux"]["namespaces"]]
assert "user" in types and "network" not in types, types
assert c["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 0, "size": 1}], c["linux"]
assert "resources" not in c["linux"]
assert not any("gid=5" in m.get("options", []) for m in c["mounts"])
PY
    run -1 oci spec --bundle "$BATS_TEST_TMPDIR/r"
    [[ "$output" == *"File exists"* ]]
}

@test "warnings go to the log of containerd, too" {
    configure 'sh("true")' 'c["process"]["capabilities"]["bounding"].append("CAP_TIME_TRAVEL")'
    oci --log "$BATS_TEST_TMPDIR/log" --log-format json run --bundle "$B" a </dev/null
    /usr/bin/python3 - "$BATS_TEST_TMPDIR/log" <<'PY'
import json, sys
with open(sys.argv[1]) as f:
    lines = [json.loads(l) for l in f]
assert any(l["level"] == "warning" and "CAP_TIME_TRAVEL" in l["msg"] and l["time"] for l in lines), lines
PY
}
