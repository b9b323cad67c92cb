# sanitizers: yes
# The life of a container: every verb, through each command line.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

# Most of this file needs no network; it is faster without.
start_sleeper() { ctl run -d --network none --name "$1" busybox sleep 600 >/dev/null; }

create_start() {
    local id
    id=$(ctl create --name made --network none busybox sh -c 'echo started; exit 3')
    is "$(ctl inspect -f '{{.State.Status}}' made)" created
    run ctl start -a made
    is "$status" 3
    is "$output" started
    is "$(ctl inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}' made)" 'exited 3 false'
    run ctl start made
    is "$output" made
    is "$(ctl wait made)" 3
    is "$(ctl inspect -f '{{.Id}}' made)" "$id"
    has "$(ctl ps -a --format '{{.Names}} {{.Status}}')" '^made Exited \(3\) .* ago$'
}
@test "create, start -a, start again, wait" { each_cli create_start; }

names() {
    start_sleeper first
    run ctl run -d --network none --name first busybox true
    is "$status" 125
    has "$output" 'name "?/?first"? is already in use'
    ctl rename first second
    is "$(ctl ps --format '{{.Names}}')" second
    run ctl rename second 'not/valid'
    [ "$status" -ne 0 ]
    has "$output" '[Ii]nvalid container name'
    run ctl rename nosuch third
    [ "$status" -ne 0 ]
    has "$output" 'No such container: nosuch'
    local id
    id=$(ctl ps -q --no-trunc)
    is "$(ctl inspect -f '{{.Name}}' "${id:0:12}")" /second
    is "$(ctl inspect -f '{{.Name}}' "${id:0:4}")" /second
    # A name that nobody chose is two words.
    ctl run -d --network none busybox sleep 60 >/dev/null
    has "$(ctl ps --format '{{.Names}}' --filter name=_)" '^[a-z]+_[a-z]+[0-9]*$'
}
@test "names: in use, rename, prefixes of ids, made up ones" { each_cli names; }

stopping() {
    ctl run -d --network none --name polite busybox \
        sh -c 'trap "echo got TERM; exit 9" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
    within 5 said polite ready
    is "$(ctl stop polite)" polite
    is "$(ctl inspect -f '{{.State.ExitCode}}' polite)" 9
    is "$(ctl logs polite)" $'ready\ngot TERM'
    ctl run -d --network none --name stubborn busybox \
        sh -c 'trap "" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
    within 5 said stubborn ready
    local start took
    start=$(now_ms)
    ctl stop -t 1 stubborn
    took=$(($(now_ms) - start))
    [ "$took" -ge 900 ] && [ "$took" -lt 9500 ] || fail "stop took $took ms"
    is "$(ctl inspect -f '{{.State.ExitCode}}' stubborn)" 137
    run ctl stop stubborn # already stopped is no error
    is "$status" 0
    run ctl stop nosuch
    is "$status" 1
    has "$output" 'No such container: nosuch'
}
@test "stop: SIGTERM first, SIGKILL after the time given" { each_cli stopping; }

stop_signal() {
    ctl run -d --network none --name sig --stop-signal USR1 busybox \
        sh -c 'trap "exit 44" USR1; echo ready; while :; do sleep 0.1; done' >/dev/null
    within 5 said sig ready
    ctl stop -t 50 sig
    is "$(ctl inspect -f '{{.State.ExitCode}}' sig)" 44
}
@test "--stop-signal" { each_cli stop_signal; }

kills() {
    start_sleeper victim
    is "$(ctl kill victim)" victim
    is "$(ctl inspect -f '{{.State.Status}}' victim)" exited # when it is answered it has ended
    is "$(ctl wait victim)" 137
    run ctl kill victim
    is "$status" 1
    has "$output" 'is not running'
    ctl run -d --network none --name hup busybox \
        sh -c 'trap "exit 5" HUP; echo ready; while :; do sleep 0.1; done' >/dev/null
    within 5 said hup ready
    ctl kill -s HUP hup
    is "$(ctl wait hup)" 5
    start_sleeper again
    run ctl kill -s NOSUCH again
    [ "$status" -ne 0 ]
    has "$output" '[Ii]nvalid signal.*NOSUCH'
}
@test "kill with and without a signal" { each_cli kills; }

restarts() {
    ctl run -d --network none --name again busybox sh -c 'echo up; exec sleep 600' >/dev/null
    local pid
    within 5 said_up 1
    pid=$(ctl inspect -f '{{.State.Pid}}' again)
    ctl restart -t 0 again
    is "$(ctl inspect -f '{{.State.Status}}' again)" running
    [ "$(ctl inspect -f '{{.State.Pid}}' again)" != "$pid" ]
    within 5 said_up 2
}
said_up() { [ "$(pouch logs again | grep -c '^up$')" = "$1" ]; }
@test "restart" { each_cli restarts; }

pauses() {
    ctl run -d --network none --name pp busybox sh -c 'while :; do echo tick; sleep 0.05; done' >/dev/null
    sleep 0.3
    ctl pause pp
    is "$(ctl inspect -f '{{.State.Status}} {{.State.Paused}}' pp)" 'paused true'
    has "$(ctl ps --format '{{.Status}}')" '\(Paused\)'
    local before
    within 5 stands_still
    before=$(ctl logs pp | wc -l)
    run ctl pause pp
    is "$status" 1
    has "$output" 'already paused'
    run timeout 50 $(ctl_words) exec pp true
    is "$status" 1
    has "$output" 'is paused'
    ctl unpause pp
    within 5 went_on "$before"
    run ctl unpause pp
    is "$status" 1
    has "$output" 'is not paused'
    # A paused container can be removed by force.
    ctl pause pp
    ctl rm -f pp
}
# What it wrote before the pause may be on its way to the log. One that runs writes each 50 ms.
stands_still() {
    local lines
    lines=$(pouch logs pp | wc -l)
    sleep 0.5
    [ "$(pouch logs pp | wc -l)" = "$lines" ]
}
went_on() { [ "$(pouch logs pp | wc -l)" -gt "$1" ]; }
@test "pause and unpause" { each_cli pauses; }

removing() {
    start_sleeper rr
    run ctl rm rr
    is "$status" 1
    has "$output" 'cannot remove.*running|is running|You cannot remove a running container'
    ctl rm -f rr
    run ctl rm rr
    is "$status" 1
    has "$output" 'No such container: rr'
    run ctl inspect rr
    is "$status" 1
    has "$output" 'No such object: rr|No such container: rr'
    start_sleeper aa
    start_sleeper bb
    run ctl rm -f aa bb
    is "$output" $'aa\nbb'
}
@test "rm, rm -f, several at once" { each_cli removing; }

auto_removed() {
    ctl run -d --rm --network none --name fleeting busybox sleep 0.3 >/dev/null
    within 10 absent fleeting
    run -127 ctl run --rm --network none busybox nosuchcommand
    is "$status" 127
    is "$(ctl ps -aq)" ''
}
absent() { ! pouch inspect "$1" >/dev/null 2>&1; }
@test "--rm removes on exit and after a start that failed" { each_cli auto_removed; }

waiting() {
    ctl run -d --network none --name w1 busybox sh -c 'sleep 0.5; exit 4' >/dev/null
    ctl run -d --network none --name w2 busybox sh -c 'exit 6' >/dev/null
    run ctl wait w1 w2
    is "$output" $'4\n6'
    run ctl wait nosuch
    is "$status" 1
    has "$output" 'No such container: nosuch'
}
@test "wait for several" { each_cli waiting; }

listing() {
    start_sleeper up
    ctl run --network none --name down -l kind=old busybox false || true
    is "$(ctl ps -a --format '{{.Names}}' | sort | xargs)" 'down up'
    is "$(ctl ps -a --filter status=exited --format '{{.Names}}')" down
    is "$(ctl ps -a --filter label=kind=old --format '{{.Names}}')" down
    is "$(ctl ps -a --filter name=u --format '{{.Names}}')" up
    is "$(ctl ps -a --filter exited=1 --format '{{.Names}}')" down
    is "$(ctl ps -l --format '{{.Names}}')" down
    is "$(ctl ps -n 1 --format '{{.Names}}')" down
    is "$(ctl ps -a --filter ancestor=busybox -q | wc -l)" 2
    has "$(ctl ps)" '^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES$'
    has "$(ctl ps --format '{{.Command}} {{.Image}} {{.RunningFor}}')" '^"sleep 600" busybox .* ago$'
    run ctl ps --filter nonsense=x
    [ "$status" -ne 0 ]
    has "$output" 'nonsense'
}
@test "ps: filters, formats, columns" { each_cli listing; }

inspecting() {
    ctl run -d --network none --name ii -e A=b --label k=v -m 64m --cpus 0.5 -w /tmp --read-only \
        --hostname here busybox sleep 600 >/dev/null
    run ctl inspect ii
    is "$(jq -r '.[0].Config.Env[0]' <<<"$output")" A=b
    is "$(jq -r '.[0].Config.Labels.k' <<<"$output")" v
    is "$(jq -r '.[0].Config.Hostname' <<<"$output")" here
    is "$(jq -r '.[0].Config.Image' <<<"$output")" busybox
    is "$(jq -r '.[0].Config.WorkingDir' <<<"$output")" /tmp
    is "$(jq -r '.[0].HostConfig.Memory' <<<"$output")" 67108864
    is "$(jq -r '.[0].HostConfig.NanoCpus' <<<"$output")" 500000000
    is "$(jq -r '.[0].HostConfig.ReadonlyRootfs' <<<"$output")" true
    is "$(jq -r '.[0].HostConfig.NetworkMode' <<<"$output")" none
    is "$(jq -r '.[0].Path' <<<"$output")" sleep
    is "$(jq -r '.[0].Args[0]' <<<"$output")" 600
    is "$(jq -r '.[0].RestartCount' <<<"$output")" 0
    has "$(jq -r '.[0].Created' <<<"$output")" '^20[0-9-]+T[0-9:.]+Z$'
    has "$(jq -r '.[0].State.StartedAt' <<<"$output")" '^20[0-9-]+T[0-9:.]+Z$'
    is "$(jq -r '.[0].State.FinishedAt' <<<"$output")" 0001-01-01T00:00:00Z
    has "$(jq -r '.[0].Image' <<<"$output")" '^sha256:[0-9a-f]{64}$'
    kill -0 "$(jq -r '.[0].State.Pid' <<<"$output")"
    [ -f "$(jq -r '.[0].LogPath' <<<"$output")" ]
}
@test "inspect shows what was asked for" { each_cli inspecting; }

tops() {
    ctl run -d --network none --name tt busybox sh -c 'sleep 600 & wait' >/dev/null
    within 5 eval 'pouch top tt | grep -q "sleep 600"'
    run ctl top tt
    is "$status" 0
    has "$output" '^UID +PID +PPID'
    has "$output" 'sleep 600'
    run ctl top tt -o pid,comm
    has "$output" '^PID +COMMAND'
    has "$output" '[0-9]+ +sleep'
    ctl stop -t 0 tt
    run ctl top tt
    is "$status" 1
    has "$output" 'is not running'
}
@test "top" { each_cli tops; }

ends_with_pid1() {
    ctl run -d --network none --name many busybox sh -c 'sleep 601 & sleep 602 & sleep 603 & sleep 0.3' >/dev/null
    is "$(ctl wait many)" 0
    run pgrep -f 'sleep 60[123]'
    is "$output" ''
}
@test "when pid 1 ends, everything in the container ends" { each_cli ends_with_pid1; }

zombies() {
    ctl run -d --init --network none --name reap busybox sh -c 'sh -c "sleep 0.1 & exit 0"; sleep 600' >/dev/null
    within 5 orphan_reaped
}
# It has ended, and nothing is left of it.
orphan_reaped() {
    [ "$(ctl exec reap sh -c 'ps | grep -c "[s]leep 600"; ps | grep "[s]leep 0.1"; grep -l "State:.Z" /proc/[0-9]*/status 2>/dev/null')" = 1 ]
}
@test "--init reaps" { each_cli zombies; }

@test "a name is free again once its container is removed, at once" {
    local i
    for i in 1 2 3 4 5 6 7 8; do
        pouch run -d --network none --name same busybox sleep 60 >/dev/null
        pouch rm -f same >/dev/null
    done
}

@test "twenty clients at once" {
    local i pids=()
    for i in $(seq 20); do
        pouch run --rm --network none busybox echo "number $i" >"$T/tmp/out.$i" 2>&1 3>&- &
        pids+=($!)
    done
    wait "${pids[@]}"
    for i in $(seq 20); do is "$(cat "$T/tmp/out.$i")" "number $i"; done
    rm -f "$T"/tmp/out.*
    is "$(pouch ps -aq)" ''
}

@test "start, stop and rm of one container from many clients: all end, none hangs" {
    pouch create --name busy --network none busybox sleep 600 >/dev/null
    local i pids=()
    for i in $(seq 6); do
        timeout 100 "$POUCH_BIN/pouch" -H "unix://$SOCK" start busy >/dev/null 2>&1 3>&- & pids+=($!)
        timeout 100 "$POUCH_BIN/pouch" -H "unix://$SOCK" stop -t 0 busy >/dev/null 2>&1 3>&- & pids+=($!)
    done
    for i in "${pids[@]}"; do
        local s=0
        wait "$i" || s=$?
        [ "$s" -ne 124 ] || fail "a client hung"
    done
    pouch rm -f busy
}
