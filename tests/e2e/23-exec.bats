# sanitizers: yes
# exec: output, status, input, terminal, user, and what can go wrong.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

sleeper() { ctl run -d --network none --name cc "$@" busybox sleep 600 >/dev/null; }

basics() {
    sleeper -e FROM=create
    is "$(ctl exec cc echo hello)" hello
    run ctl exec cc sh -c 'exit 42'
    is "$status" 42
    run ctl exec cc sh -c 'kill -9 $$'
    is "$status" 137
    ctl exec cc sh -c 'echo out; echo err >&2' >"$T/tmp/out" 2>"$T/tmp/err"
    is "$(cat "$T/tmp/out" "$T/tmp/err")" $'out\nerr'
    rm -f "$T/tmp/out" "$T/tmp/err"
    is "$(ctl exec cc sh -c 'echo $FROM')" create
    is "$(ctl exec -e FROM=exec cc sh -c 'echo $FROM')" exec
    is "$(ctl exec -w /tmp cc pwd)" /tmp
    is "$(ctl exec -u app cc id -un)" app
    is "$(ctl exec -u 12:34 cc id -u)" 12
    is "$(echo given | ctl exec -i cc cat)" given
    head -c 5000000 /dev/urandom >"$T/tmp/big"
    is "$(ctl exec -i cc cat <"$T/tmp/big" | md5sum)" "$(md5sum <"$T/tmp/big")"
    rm -f "$T/tmp/big"
}
@test "output, status, environment, user, input" { each_cli basics; }

same_confinement() {
    sleeper --cap-drop NET_RAW --pids-limit 50 --read-only
    local field
    for field in CapEff CapBnd Seccomp NoNewPrivs; do
        is "$(ctl exec cc grep "$field:" /proc/self/status)" "$(ctl exec cc grep "$field:" /proc/1/status)"
    done
    is "$(ctl exec cc cat /proc/self/cgroup | sort)" "$(ctl exec cc cat /proc/1/cgroup | sort)"
    local kind
    for kind in mnt pid net ipc uts cgroup; do
        is "$(ctl exec cc readlink "/proc/self/ns/$kind")" "$(ctl exec cc readlink "/proc/1/ns/$kind")"
    done
    is "$(ctl exec --privileged cc grep CapEff /proc/self/status | awk '{print $2}')" \
        "$(awk '/CapBnd/{print $2}' /proc/self/status)"
}
@test "an exec is confined as its container" { each_cli same_confinement; }

terminal() {
    sleeper
    run tty exec -it cc sh <<'EOF'
expect # 
send tty; until stty size | grep '24 80'; do usleep 50000; done\r
expect \n/dev/pts/[0-9]
expect \n24 80
resize 33x99
send until stty size | grep '33 99'; do usleep 50000; done\r
expect \n33 99
send exit 5\r
EOF
    is "$status" 5
}
@test "exec -it" { each_cli terminal; }

detached() {
    sleeper
    ctl exec -d cc sh -c 'sleep 0.2; echo done >/tmp/mark'
    within 5 grep_in cc done /tmp/mark
}
grep_in() { pouch exec "$1" grep -q "$2" "$3" 2>/dev/null; }
@test "exec -d" { each_cli detached; }

failures() {
    sleeper
    run -127 ctl exec cc nosuchcommand
    is "$status" 127
    has "$output" 'nosuchcommand.*not found'
    run ctl exec cc /etc/passwd
    is "$status" 126
    has "$output" '[Pp]ermission denied'
    run ctl exec -u nosuch cc true
    [ "$status" -ge 1 ]
    has "$output" 'nosuch'
    run ctl exec -w /nosuchdir cc true
    [ "$status" -ge 1 ]
    has "$output" '/nosuchdir'
    run ctl exec nosuch true
    is "$status" 1
    has "$output" 'No such container: nosuch'
    ctl stop -t 0 cc
    run ctl exec cc true
    is "$status" 1
    has "$output" 'is not running'
}
@test "what can go wrong" { each_cli failures; }

ends_with_container() {
    sleeper
    $(ctl_words) exec cc sleep 500 >"$T/tmp/out" 2>&1 3>&- &
    local client=$! status=0
    within 5 pgrep -x -f 'sleep 500' >/dev/null
    ctl kill cc >/dev/null
    wait "$client" || status=$?
    is "$status" 137
    rm -f "$T/tmp/out"
    run pgrep -x -f 'sleep 500'
    is "$output" ''
}
@test "execs end with their container" { each_cli ends_with_container; }

@test "forty execs at once" {
    sleeper
    local i pids=()
    for i in $(seq 40); do pouch exec cc echo "number $i" >"$T/tmp/out.$i" 2>&1 3>&- & pids+=($!); done
    wait "${pids[@]}"
    for i in $(seq 40); do is "$(cat "$T/tmp/out.$i")" "number $i"; done
    rm -f "$T"/tmp/out.*
}

@test "exec through the API: create, inspect, start, inspect" {
    sleeper
    api POST /containers/cc/exec '{"AttachStdout":true,"Cmd":["sh","-c","echo hi; exit 3"]}'
    is "$code" 201
    local id
    id=$(jq -r .Id <<<"$body")
    has "$id" '^[0-9a-f]{64}$'
    api GET "/exec/$id/json"
    is "$(jq -r '.Running, .ExitCode, .ProcessConfig.entrypoint' <<<"$body" | xargs)" 'false null sh'
    run curl -s --unix-socket "$SOCK" -X POST -H 'Content-Type: application/json' \
        -d '{"Detach":false,"Tty":false}' --output "$T/tmp/stream" "http://pouch/exec/$id/start"
    # One frame: stream 1, three bytes.
    is "$(xxd -p "$T/tmp/stream" 2>/dev/null || od -An -tx1 "$T/tmp/stream" | tr -d ' \n')" 010000000000000368690a
    rm -f "$T/tmp/stream"
    api GET "/exec/$id/json"
    is "$(jq -r '.Running, .ExitCode' <<<"$body" | xargs)" 'false 3'
    api POST "/exec/$id/start" '{"Detach":false}'
    is "$code" 409
    api POST /containers/cc/exec '{"Cmd":[]}'
    is "$code" 400
    has "$body" 'No exec command specified'
    api GET /exec/nosuch/json
    is "$code" 404
    has "$body" 'No such exec instance'
}

@test "children that an exec leaves behind do not keep it open" {
    sleeper
    local start took
    start=$(now_ms)
    pouch exec cc sh -c 'sleep 30 >/dev/null 2>&1 & echo started'
    took=$(($(now_ms) - start))
    [ "$took" -lt 25000 ] || fail "took $took ms"
}
