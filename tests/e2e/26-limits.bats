# Limits that bite: memory, pids, fork bombs. And the daemon's restart with live containers.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

oom() {
    run ctl run --network none --name hungry -m 20m --memory-swap 20m busybox \
        sh -c 'exec tail /dev/zero'
    is "$status" 137
    is "$(ctl inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' hungry)" 'true 137'
}
@test "out of memory: 137 and OOMKilled" { each_cli oom; }

oom_event() {
    pouch run -d --network none --name parent -m 20m --memory-swap 20m busybox \
        sh -c 'tail /dev/zero; echo survived; sleep 60' >/dev/null
    within 20 logged parent survived
    pouch rm -f parent >/dev/null
    run timeout 10 "$POUCH_BIN/pouch" -H "unix://$SOCK" events --since 1m --until "$(($(date +%s) + 1))" --filter event=oom
    has "$output" 'container oom '
}
logged() { pouch logs "$1" 2>&1 | grep -q "$2"; }
@test "an OOM kill of a child is an event, the container goes on" { oom_event; }

bomb() {
    ctl run -d --network none --name bomb --pids-limit 40 busybox \
        sh -c ':() { : | : & }; while :; do :; sleep 0.05; done' >/dev/null 2>&1 || true
    sleep 2
    local start took
    start=$(now_ms)
    ctl ps >/dev/null
    is "$(ctl run --rm --network none busybox echo well)" well
    ctl rm -f bomb >/dev/null
    took=$(($(now_ms) - start))
    [ "$took" -lt 60000 ] || fail "took $took ms"
}
@test "a fork bomb under a pids limit harms nobody and can be removed" { each_cli bomb; }

readopted() {
    ctl run -d --network none --name alive busybox sh -c 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done' >/dev/null
    ctl run -d --network none --name ends busybox sh -c 'sleep 1.5; exit 33' >/dev/null
    ctl run --network none --name ended busybox sh -c 'exit 4' || true
    ctl create --network none --name fresh busybox true >/dev/null
    local pid started
    pid=$(ctl inspect -f '{{.State.Pid}}' alive)
    started=$(ctl inspect -f '{{.State.StartedAt}}' alive)
    pouchd_kill
    sleep 2
    pouchd_start
    is "$(ctl inspect -f '{{.State.Pid}} {{.State.Running}}' alive)" "$pid true"
    is "$(ctl inspect -f '{{.State.StartedAt}}' alive)" "$started"
    within 5 settled ends
    is "$(ctl inspect -f '{{.State.Status}} {{.State.ExitCode}}' ends)" 'exited 33'
    is "$(ctl inspect -f '{{.State.Status}} {{.State.ExitCode}}' ended)" 'exited 4'
    is "$(ctl inspect -f '{{.State.Status}}' fresh)" created
    is "$(ctl exec alive echo here)" here
    sleep 0.3
    # Nothing of the output is missing, not even what was written while no daemon was there.
    is "$(ctl logs alive | awk '$1 != NR - 1 { bad++ } END { print bad + 0 }')" 0
    ctl start fresh >/dev/null
    is "$(ctl wait fresh)" 0
    ctl stop -t 0 alive >/dev/null
    is "$(ctl inspect -f '{{.State.ExitCode}}' alive)" 137
}
@test "the daemon is killed and comes back: everything is as it was" { each_cli readopted; }

@test "a graceful stop of the daemon leaves containers running too" {
    pouch run -d --name stays -p 18090:80 busybox httpd -f -h /www >/dev/null
    within 5 curl -sf -o /dev/null http://127.0.0.1:18090/
    pouchd_stop
    is "$(curl -s http://127.0.0.1:18090/)" 'it works'
    pouchd_start
    is "$(curl -s http://127.0.0.1:18090/)" 'it works'
    is "$(pouch exec stays echo here)" here
    pouch rm -f stays
}

@test "attached clients keep their connection when the daemon is killed" {
    pouch run -d -i --network none --name talk busybox sh -c 'while read x; do echo "heard $x"; done' >/dev/null
    mkfifo "$T/tmp/in"
    pouch attach talk <"$T/tmp/in" >"$T/tmp/out" 2>&1 3>&- &
    local client=$!
    exec 7>"$T/tmp/in"
    echo one >&7
    within 5 grep -q 'heard one' "$T/tmp/out"
    pouchd_kill
    echo two >&7
    within 5 grep -q 'heard two' "$T/tmp/out"
    pouchd_start
    echo three >&7
    within 5 grep -q 'heard three' "$T/tmp/out"
    # Without an attach at its start its input stays open, as with Docker.
    pouch stop -t 0 talk >/dev/null
    exec 7>&-
    wait "$client" || true
    pouch rm talk >/dev/null
    rm -f "$T/tmp/in" "$T/tmp/out"
}

restart_policy() {
    ctl run -d --network none --name flaky --restart on-failure:2 busybox sh -c 'echo up; exit 1' >/dev/null
    within 15 settled flaky
    is "$(ctl logs flaky | wc -l)" 3
    is "$(ctl inspect -f '{{.RestartCount}}' flaky)" 2
    ctl run -d --network none --name always --restart always busybox sh -c 'echo up; sleep 0.2' >/dev/null
    within 5 ran_twice
    ctl stop -t 0 always >/dev/null
    sleep 0.7
    is "$(ctl inspect -f '{{.State.Running}}' always)" false
}
ran_twice() { [ "$(pouch logs always | wc -l)" -ge 2 ]; }
settled() { [ "$(pouch inspect -f '{{.State.Status}}' "$1")" = exited ]; }
@test "restart policies" { each_cli restart_policy; }

@test "a hundred containers at once; ps stays fast" {
    local i
    for i in $(seq 100); do
        echo "-d --network none --name many$i busybox sleep 600"
    done | xargs -P 8 -L 1 "$POUCH_BIN/pouch" -H "unix://$SOCK" run >/dev/null
    is "$(pouch ps -q | wc -l)" 100
    local start took
    start=$(now_ms)
    pouch ps -a >/dev/null
    took=$(($(now_ms) - start))
    [ "$took" -lt 20000 ] || fail "ps took $took ms"
    pouchd_kill
    start=$(now_ms)
    pouchd_start
    took=$(($(now_ms) - start))
    [ "$took" -lt 30000 ] || fail "the daemon took $took ms to come back"
    is "$(pouch ps -q | wc -l)" 100
    pouch ps -q | xargs -P 4 -n 10 "$POUCH_BIN/pouch" -H "unix://$SOCK" rm -f >/dev/null
    is "$(pouch ps -aq)" ''
}

used() {
    local id line
    id=$(ctl run -d --name busy -m 64m --network none busybox sh -c 'while :; do :; done')
    ctl run -d --name idle busybox sleep 60 >/dev/null
    within 15 eval 'ctl stats --no-stream --format "{{.CPUPerc}}" busy | awk "{exit !(\$1 + 0 > 20)}"'
    line=$(ctl stats --no-stream --format '{{.ID}} {{.Name}} {{.PIDs}} {{.MemUsage}}' busy)
    has "$line" "^${id:0:12} busy 1 [0-9.]+[kKMG]iB / 64MiB\$"
    has "$(ctl stats --no-stream)" 'NAME +CPU % +MEM USAGE / LIMIT +MEM % +NET I/O +BLOCK I/O +PIDS'
    has "$(ctl stats --no-stream --format '{{.Name}} {{.CPUPerc}}' idle)" '^idle 0\.'
    has "$(ctl stats --no-stream --format '{{.NetIO}}' idle)" '^[0-9.]+k?B / [0-9.]+k?B$'
    run ctl stats --no-stream nobody
    is "$status" 1
    has "$output" 'No such container: nobody'
    ctl stop -t 0 idle >/dev/null
    is "$(ctl stats --no-stream --format '{{.PIDs}}' idle)" 0
}
@test "stats tells what containers use" { each_cli used; }

streamed() {
    pouch run -d --name busy --network none busybox sh -c 'while :; do :; done' >/dev/null
    run bash -c "timeout 60 curl -sN --unix-socket '$SOCK' http://pouch/v1.41/containers/busy/stats | head -n 3"
    [ "$(jq -s length <<<"$output")" -ge 2 ]
    is "$(jq -s '.[1] | .cpu_stats.cpu_usage.total_usage > .precpu_stats.cpu_usage.total_usage' <<<"$output")" true
    is "$(jq -s '.[1].preread == .[0].read' <<<"$output")" true
    has "$(jq -s '.[0].memory_stats.usage' <<<"$output")" '^[1-9]'
}
@test "stats as a stream: one sample a second, each with the one before" { streamed; }
