# pouchd killed with SIGKILL at random moments of everything it does. After each kill the next
# pouchd must find every container, log line and exit code right, and leave nothing behind.
# KILLS (default 112) is the number of kills in all; KILL_SEED repeats a run.
load helpers

setup_file() {
    file_up
    fault_registry_start
}
teardown_file() { file_down; }

setup() {
    RANDOM=${KILL_SEED:-$(date +%N | sed 's/^0*//')}
    echo "KILL_SEED=$RANDOM"
    REGISTRY=
    FAULTY=$(cat "$T/faulty.host")
    LOG_LINES=$(wc -l <"$LOG")
    ROUNDS=$((${KILLS:-112} / 7))
    snapshot >"$T/before"
}

# at_random MAX: sleep between 0 and MAX milliseconds.
at_random() { sleep "0.$(printf '%03d' $(((RANDOM * 32768 + RANDOM) % $1)))"; }

revive() {
    pouchd_kill
    pouchd_start
}

# settled_all: no container is half-way after recovery, each answers to inspect.
settled_all() {
    local name state
    for name in $(pouch ps -a --format '{{.Names}}'); do
        state=$(pouch inspect -f '{{.State.Status}}' "$name")
        has "$state" '^(created|running|exited|paused)$'
    done
}

# usable NAME: whatever became of it, it can be started or is running, does its work, and goes.
usable() {
    local state
    state=$(pouch inspect -f '{{.State.Status}}' "$1" 2>/dev/null) || return 0
    case $state in
    running) ;;
    created | exited) pouch start "$1" >/dev/null ;;
    *) fail "$1 is $state after recovery" ;;
    esac
    is "$(pouch exec "$1" echo works)" works
    pouch rm -f -v "$1" >/dev/null
}

@test "killed while pulling" {
    local i
    for i in $(seq "$ROUNDS"); do
        pouch pull -q "$FAULTY/ok/many:latest" >/dev/null 2>&1 3>&- &
        at_random 400
        revive
        wait $! || true
        within 10 no_workers
        if pouch inspect "$FAULTY/ok/many:latest" >/dev/null 2>&1; then
            # It says that it is whole: then it is.
            is "$(pouch run --rm --network none "$FAULTY/ok/many:latest" sh -c 'cat /part/* | wc -c')" 4800000
            pouch rmi "$FAULTY/ok/many:latest" >/dev/null
        fi
    done
    pouch pull -q "$FAULTY/ok/many:latest" >/dev/null
    is "$(pouch run --rm --network none "$FAULTY/ok/many:latest" sh -c 'cat /part/* | wc -c')" 4800000
    pouch rmi "$FAULTY/ok/many:latest" >/dev/null
    is "$(find "$T/root/blobs" "$T/root/layers" -type f -path '*part*' | head -3)" ''
}
no_workers() { ! pgrep -x 'pouch-image|pouch-unpack' >/dev/null; }

@test "killed while creating" {
    local i
    for i in $(seq "$ROUNDS"); do
        pouch create --name "c$i" --network none -v /own busybox sleep 600 >"$T/tmp/id" 2>/dev/null 3>&- &
        at_random 25
        revive
        wait $! || true
        # Who got an id has a container.
        if [ -s "$T/tmp/id" ]; then
            is "$(pouch inspect -f '{{.Id}}' "c$i")" "$(cat "$T/tmp/id")"
        fi
        settled_all
        usable "c$i"
        pouch run -d --network none --name "c$i" busybox sleep 1 >/dev/null # the name is not lost
        pouch rm -f -v "c$i" >/dev/null
        is "$(pouch volume ls -q)" ''
    done
    rm -f "$T/tmp/id"
}

@test "killed while starting, with a network and a port" {
    local i
    for i in $(seq "$ROUNDS"); do
        pouch create --name ss -p 18400:80 busybox httpd -f -h /www >/dev/null
        pouch start ss >/dev/null 2>&1 3>&- &
        at_random 40
        revive
        wait $! || true
        settled_all
        if [ "$(state_of ss)" != running ]; then pouch start ss >/dev/null; fi
        within 5 fetched
        pouch rm -f ss >/dev/null
    done
}
fetched() { [ "$(curl -s --max-time 3 http://127.0.0.1:18400/)" = 'it works' ]; }

@test "killed while execs run" {
    local i
    pouch run -d --name ee --network none busybox sleep 6000 >/dev/null
    for i in $(seq "$ROUNDS"); do
        pouch exec ee sh -c 'echo a; sleep 0.1; echo b' >/dev/null 2>&1 3>&- &
        at_random 150
        revive
        wait $! || true
        is "$(pouch exec ee echo "after $i")" "after $i"
    done
    # Execs whose daemon died come to their end and are no more.
    within 5 only_sleep
    pouch rm -f ee >/dev/null
}
only_sleep() { [ "$(pouch top ee -o pid,comm | awk 'NR > 1 { print $2 }')" = sleep ]; }

@test "killed while logs are followed: no line is lost, none is doubled" {
    local i last
    pouch run -d --name ll --network none busybox \
        sh -c 'i=0; while [ ! -e /stop ]; do echo $i; i=$((i+1)); usleep 2000; done; echo end $i; exit 21' >/dev/null
    for i in $(seq "$ROUNDS"); do
        pouch logs -f ll >"$T/tmp/follow" 2>/dev/null 3>&- &
        at_random 300
        revive
        wait $! || true
        is "$(awk '$1 != NR - 1 { bad++ } END { print bad + 0 }' <(sed '$d' "$T/tmp/follow"))" 0
    done
    pouch exec ll touch /stop
    is "$(pouch wait ll)" 21
    last=$(pouch logs --tail 1 ll | cut -d' ' -f2)
    is "$(pouch logs ll | grep -vc end)" "$last"
    is "$(pouch logs ll | sed '$d' | awk '$1 != NR - 1 { bad++ } END { print bad + 0 }')" 0
    rm -f "$T/tmp/follow"
    pouch rm ll >/dev/null
}

@test "killed while stopping" {
    local i
    for i in $(seq "$ROUNDS"); do
        pouch run -d --name pp -p 18401:80 busybox \
            sh -c 'trap "sleep 0.05; exit 17" TERM; echo ready; while :; do usleep 20000; done' >/dev/null
        within 5 said pp ready
        pouch stop -t 50 pp >/dev/null 2>&1 3>&- &
        at_random 120
        revive
        wait $! || true
        settled_all
        if [ "$(state_of pp)" = running ]; then pouch stop -t 50 pp >/dev/null; fi
        is "$(pouch inspect -f '{{.State.Status}} {{.State.ExitCode}}' pp)" 'exited 17'
        pouch start pp >/dev/null
        pouch rm -f pp >/dev/null
    done
}

@test "killed while removing" {
    local i
    for i in $(seq "$ROUNDS"); do
        pouch run -d --name rr -p 18402:80 -v /own busybox sleep 600 >/dev/null
        pouch rm -f -v rr >/dev/null 2>&1 3>&- &
        at_random 60
        revive
        wait $! || true
        settled_all
        if pouch inspect rr >/dev/null 2>&1; then pouch rm -f -v rr >/dev/null; fi
        is "$(pouch volume ls -q)" ''
        # Name and port are free.
        pouch run -d --name rr -p 18402:80 busybox sleep 600 >/dev/null
        pouch rm -f rr >/dev/null
    done
    is "$(pouch ps -aq)" ''
}

@test "exit codes of what ended while no daemon was there" {
    local i
    for i in $(seq 12); do
        pouch run -d --name "x$i" --network none busybox sh -c "usleep $((RANDOM % 900))000; exit $((i + 40))" >/dev/null
    done
    at_random 300
    pouchd_kill
    sleep 1.2
    pouchd_start
    for i in $(seq 12); do
        within 5 ended "x$i"
        is "$(pouch inspect -f '{{.State.Status}} {{.State.ExitCode}}' "x$i")" "exited $((i + 40))"
    done
}
ended() { [ "$(state_of "$1")" = exited ]; }
