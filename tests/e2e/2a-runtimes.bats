# Runtimes of others behind the same engine: runc, crun, gVisor's runsc, LXC. Each function runs
# once with each of them.
load helpers

setup_file() {
    # crun will not have v2 controllers beside v1's; nobody here needs that mount.
    ! grep -qs . /sys/fs/cgroup/unified/cgroup.controllers || without_unified
    cat >"$T/config.json" <<EOF
{"runtimes": {
    "runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ["--network=host", "--platform=ptrace"]},
    "named": {"path": "runc", "options": {"root": "$T/run/named"}},
    "gone": {"path": "/nowhere/runtime"}}}
EOF
    file_up --config "$T/config.json"
}
teardown_file() {
    file_down
}

# each_runtime FUNCTION [RUNTIME...]
each_runtime() {
    local function=$1 one
    shift
    [ $# -gt 0 ] || set -- runc crun runsc lxc
    for one in "$@"; do
        RT=$one
        echo "# $function with $RT"
        "$function"
        remove_all
    done
}

prun() { pouch run --runtime "$RT" "$@"; }

basics() {
    run --separate-stderr prun --rm busybox sh -c 'echo out; echo err >&2; exit 7'
    is "$status:$output" 7:out
    has "$stderr" '^err$'
    is "$(echo typed | prun -i --rm busybox cat)" typed
    is "$(prun --rm -e 'A=b c' -w /tmp -u 1000:7 busybox sh -c 'echo "$A" $(pwd) $(id -u):$(id -g)')" \
        'b c /tmp 1000:7'
    is "$(prun --rm --hostname here busybox hostname)" here
    mkdir -p "$T/tmp/shared"
    prun --rm -v "$T/tmp/shared:/data dir" busybox sh -c 'echo kept >"/data dir/file"'
    is "$(cat "$T/tmp/shared/file")" kept
    rm -r "$T/tmp/shared"
}
@test "output, input, exit code, user, environment, folder, host name, bind mount" { each_runtime basics; }

no_command() {
    run -127 prun --rm busybox /no/such/command
    is "$status" 127
    one_line "$RT|pouch-lxc"
    run prun --rm busybox /etc/passwd
    is "$status" 126
}
@test "a command that is missing or not executable: 127 and 126" { each_runtime no_command runc crun lxc; }
no_command_runsc() {
    run -127 prun --rm busybox /no/such/command
    is "$status" 127
}
@test "gVisor: a command that is missing: 127" { each_runtime no_command_runsc runsc; }

networked() {
    local address
    prun -d --name web -p 127.0.0.1:18080:80 busybox sh -c \
        'mkdir /www; echo served >/www/index.html; exec httpd -f -h /www -p 80' >/dev/null
    within 10 eval '[ "$(curl -s --max-time 2 http://127.0.0.1:18080/)" = served ]'
    address=$(pouch inspect -f '{{.NetworkSettings.IPAddress}}' web)
    has "$(pouch exec web ip addr show eth0)" "inet $address/"
}
@test "the bridge network and a published port" { each_runtime networked; }

executed() {
    prun -d --name box --network none -e 'FROM=container' busybox sleep 600 >/dev/null
    is "$(pouch exec box sh -c 'echo $FROM; echo two')" $'container\ntwo'
    run pouch exec box sh -c 'exit 9'
    is "$status" 9
    is "$(echo line | pouch exec -i box cat)" line
    is "$(pouch exec -u 1000 -w /tmp -e A=1 box sh -c 'id -u; pwd; echo $A')" $'1000\n/tmp\n1'
    run -127 pouch exec box /no/such/command
    is "$status" 127
    has "$(pouch top box)" 'sleep 600|runsc'
}
@test "exec: output, input, exit code, user, folder" { each_runtime executed; }

terminal() {
    run tty run -it --rm --network none --runtime "$RT" busybox sh <<'EOF'
expect # 
send test -t 0 && test -t 1 && echo is''-tty; stty size\r
expect is-tty
expect 24 80
send exit 3\r
EOF
    is "$status" 3
}
@test "a terminal" { each_runtime terminal; }

logged() {
    prun -d --name talker --network none busybox sh -c 'echo one; echo two >&2; exec sleep 600' >/dev/null
    within 10 eval 'pouch logs talker 2>&1 | grep -q two'
    is "$(pouch logs talker 2>/dev/null)" one
    pouch stop -t 1 talker >/dev/null
    is "$(pouch inspect -f '{{.State.Status}}' talker)" exited
    pouch start talker >/dev/null
    within 10 eval '[ "$(pouch logs talker 2>/dev/null | grep -c one)" = 2 ]'
    pouch restart -t 1 talker >/dev/null
    is "$(pouch inspect -f '{{.State.Running}}' talker)" true
}
@test "logs, stop, start, restart" { each_runtime logged; }

stopped_by_signal() {
    prun -d --name trapper --network none busybox sh -c \
        'trap "echo bye; exit 5" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
    within 10 eval 'pouch logs trapper | grep -q ready'
    pouch stop -t 10 trapper >/dev/null
    is "$(pouch inspect -f '{{.State.ExitCode}}' trapper)" 5
    has "$(pouch logs trapper)" '^bye$'
    pouch start trapper >/dev/null
    pouch kill trapper >/dev/null
    is "$(pouch wait trapper)" 137
}
@test "stop's signal arrives, kill kills" { each_runtime stopped_by_signal; }

counted() {
    prun -d --name load --network none -m 64m --pids-limit 50 busybox sh -c 'while :; do :; done' >/dev/null
    within 10 eval '[ "$(pouch stats --no-stream --format "{{.PIDs}}" load)" -ge 1 ]'
    has "$(pouch stats --no-stream --format '{{.MemUsage}}' load)" '/ 64MiB'
    pouch pause load >/dev/null
    is "$(pouch inspect -f '{{.State.Status}}' load)" paused
    pouch unpause load >/dev/null
    is "$(pouch inspect -f '{{.State.Status}}' load)" running
}
@test "stats, limits, pause" { each_runtime counted; }

hungry() {
    run prun --network none --name hungry -m 32m --memory-swap 32m busybox sh -c 'exec tail /dev/zero'
    is "$status" 137
    is "$(pouch inspect -f '{{.State.OOMKilled}}' hungry)" true
}
@test "out of memory" { each_runtime hungry runc crun lxc; }

readopted() {
    prun -d --name alive --network none busybox sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done' >/dev/null
    prun -d --name ends --network none busybox sh -c 'sleep 1; exit 33' >/dev/null
    pouchd_kill
    sleep 1.5
    pouchd_start --config "$T/config.json"
    is "$(pouch inspect -f '{{.State.Running}}' alive)" true
    within 5 eval '[ "$(state_of ends)" = exited ]'
    is "$(pouch inspect -f '{{.State.Status}} {{.State.ExitCode}}' ends)" 'exited 33'
    is "$(pouch exec alive echo here)" here
    is "$(pouch logs alive | awk '$1 != NR - 1 { bad++ } END { print bad + 0 }')" 0
    pouch rm -f alive ends >/dev/null
    is "$(ls "$T/run/runtimes/$RT")" ""
}
@test "an engine that is killed finds them again" { each_runtime readopted; }

monitor_killed() {
    local id monitor pid
    id=$(prun -d --name orphan --network none busybox sleep 600)
    pid=$(pouch inspect -f '{{.State.Pid}}' orphan)
    monitor=$(awk '/^PPid/{print $2}' "/proc/$pid/status")
    is "$(cat "/proc/$monitor/comm")" pouch-monitor
    kill -9 "$monitor"
    within 20 eval '[ "$(pouch inspect -f "{{.State.Status}}" orphan)" = exited ]'
    gone "$pid"
    pouch rm orphan >/dev/null
    # crun makes plain folders where no hierarchy is mounted.
    is "$(find /sys/fs/cgroup -path '*/unified' -prune -o -name "*$id*" -print)" ''
}
@test "a monitor that is killed takes its container along, nothing is left" { each_runtime monitor_killed; }

with_docker() {
    is "$(docker run --rm --network none --runtime "$RT" busybox echo hi)" hi
}
@test "docker's command line with --runtime" { each_runtime with_docker; }

configured() {
    RT=named
    is "$(prun --rm --network none busybox echo configured)" configured
    [ -d "$T/run/named" ]
    rm -rf "$T/run/named"
    has "$(docker info -f '{{json .Runtimes}}')" '"runsc":'
    has "$(docker info -f '{{json .Runtimes}}')" '"pouch":'
    is "$(docker info -f '{{.DefaultRuntime}}')" pouch
}
@test "the configuration file's runtimes, and info" { configured; }

refused() {
    run pouch run --rm --network none --runtime nothing busybox true
    is "$status" 125
    has "$output" 'unknown or invalid runtime name: nothing \(there are: pouch'
    run pouch run --rm --network none --runtime gone busybox true
    is "$status" 125
    has "$output" 'runtime gone: there is no program /nowhere/runtime'
    run pouch run --rm --init --network none --runtime runc busybox true
    is "$status" 125
    has "$output" '--init works with the runtime "pouch" only'
    for option in '--userns auto' '--rich'; do
        # shellcheck disable=SC2086 # an option and its value
        run pouch run --rm $option --network none --runtime runc busybox true
        is "$status" 125
        has "$output" 'Pouch.s own runtime|works with the runtime "pouch" only'
    done
    is "$(pouch ps -aq)" ""
    run timeout 10 "$POUCH_BIN/pouchd" --root "$T/tmp/r" --state "$T/tmp/s" --add-runtime bad --host "unix://$T/tmp/x"
    has "$output" '--add-runtime: expected NAME=/PATH'
    run timeout 10 "$POUCH_BIN/pouchd" --root "$T/tmp/r" --state "$T/tmp/s" --default-runtime bad --host "unix://$T/tmp/x"
    has "$output" 'unknown or invalid runtime name: bad'
    rm -rf "$T/tmp/r" "$T/tmp/s"
}
@test "a runtime that is not there, and what it cannot do, is refused" { refused; }
