# Restart policies with Docker's semantics: counts, back-off, stops, restarts of the engine and of the host.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

count() { pouch inspect -f '{{.RestartCount}}' "$1"; }
is_state() { [ "$(state_of "$1")" = "$2" ]; }
counted() { [ "$(count "$1")" -ge "$2" ]; }
log_lines() { [ "$(pouch logs "$1" 2>/dev/null | wc -l)" -ge "$2" ]; }
revive() {
    pouchd_kill
    pouchd_start
}
# sql STATEMENT: to the database of a pouchd that is not running.
sql() {
    python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
done = db.execute(sys.argv[2]).rowcount
db.commit()
sys.exit(0 if done == 1 else f"{done} rows")' "$T/root/pouch.db" "$1"
}
# As after a boot: the database remembers another one.
other_boot() {
    sql "UPDATE engine_meta SET value = 'another' WHERE key = 'boot_id'"
    pouchd_start
}

@test "no and on-failure: who is restarted, and how often" {
    pouch run -d --name n0 --network none busybox false >/dev/null
    pouch run -d --name f0 --network none --restart on-failure busybox true >/dev/null
    pouch run -d --name f3 --network none --restart on-failure:3 busybox sh -c 'echo run; exit 4' >/dev/null
    within 10 is_state f3 exited
    within 10 counted f3 3
    within 10 is_state f3 exited
    sleep 1.2
    is "$(state_of n0) $(count n0)" 'exited 0'
    is "$(state_of f0) $(count f0)" 'exited 0'
    is "$(state_of f3) $(count f3) $(pouch logs f3 | wc -l)" 'exited 3 4'
    is "$(pouch inspect -f '{{.State.ExitCode}}' f3)" 4
    # A start by the user counts anew.
    pouch start f3 >/dev/null
    within 10 log_lines f3 8
    within 5 is_state f3 exited
    is "$(count f3)" 3
    run pouch create --restart on-failure:-1 busybox
    [ "$status" -ne 0 ]
    run pouch create --restart sometimes busybox
    [ "$status" -ne 0 ]
    pouch rm n0 f0 f3 >/dev/null
}

# gaps NAME: milliseconds between the lines of its log
gaps() {
    pouch logs -t "$1" | cut -d' ' -f1 | while read -r t; do date -d "$t" +%s%3N; done |
        awk 'NR > 1 { print $1 - last } { last = $1 }'
}

@test "the back-off doubles from 100 ms, and begins anew after a run of 10 seconds" {
    local g
    pouchd_stop
    pouchd_start --log-level debug
    # Short runs 1 to 4, a long one, and what comes after it.
    pouch run -d --name bb --network none --restart always busybox \
        sh -c 'echo x; echo x >>/n; [ "$(wc -l </n)" != 5 ] || sleep 10.3; [ "$(wc -l </n)" -lt 7 ] || sleep 600' >/dev/null
    within 30 log_lines bb 7
    mapfile -t g < <(gaps bb)
    echo "gaps: ${g[*]}"
    # It waits as long as it means to (a start on a busy machine takes what it takes) ...
    [ "${g[0]}" -ge 95 ] && [ "${g[1]}" -ge 195 ] && [ "${g[2]}" -ge 395 ] && [ "${g[3]}" -ge 795 ]
    [ "${g[4]}" -ge 10395 ] && [ "${g[5]}" -ge 195 ]
    # ... and means what it should.
    is "$(tail -n "+$((LOG_LINES + 1))" "$LOG" | grep -o 'restart waits.* ms=.*' | sed 's/.*ms=//' | xargs)" '100 200 400 800 100 200'
    is "$(count bb)" 6
    pouch rm -f bb >/dev/null
    pouchd_stop
    pouchd_start
}

@test "stop, kill and removal during the back-off" {
    local how
    for how in 'stop' 'kill' 'rm -f'; do
        pouch run -d --name ss --network none --restart always busybox sh -c 'echo x; false' >/dev/null
        within 10 counted ss 3
        within 5 is_state ss restarting
        # shellcheck disable=SC2086 # a verb and its options
        pouch $how ss >/dev/null
        if [ "$how" != 'rm -f' ]; then
            is "$(state_of ss)" exited
            sleep 1.5
            is "$(state_of ss)" exited
            pouch rm ss >/dev/null
        fi
        is "$(pouch ps -aq)" ''
    done
    # A stop while it runs ends the policy; a kill with another signal does not.
    pouch run -d --name ss --network none --restart unless-stopped busybox sh -c 'trap "exit 3" USR1; echo ready; while :; do usleep 20000; done' >/dev/null
    within 5 log_lines ss 1
    pouch kill -s USR1 ss >/dev/null
    within 5 counted ss 1
    within 5 is_state ss running
    pouch kill ss >/dev/null
    within 5 is_state ss exited
    sleep 0.5
    is "$(state_of ss)" exited
    pouch rm ss >/dev/null
}

@test "restarts go on when pouchd is killed, with their count" {
    local i
    pouch run -d --name kk --network none --restart on-failure:6 busybox sh -c 'echo x; exit 1' >/dev/null
    for i in 1 2 3 4; do
        sleep "0.$((i * 17))"
        revive
    done
    within 20 counted kk 6
    within 10 is_state kk exited
    sleep 0.5
    is "$(count kk)" 6
    # One that was cut off in its start counts too: never more runs than were asked for.
    [ "$(pouch logs kk | wc -l)" -le 7 ] && [ "$(pouch logs kk | wc -l)" -ge 3 ]
    pouch rm kk >/dev/null
}

@test "what a user had stopped, when pouchd comes back" {
    local p
    pouch create --name created --network none --restart always busybox sleep 600 >/dev/null
    for p in no on-failure unless-stopped always; do
        pouch run -d --name "s-$p" --network none --restart "$p" busybox sleep 600 >/dev/null
    done
    pouch stop -t 0 s-no s-on-failure s-unless-stopped s-always >/dev/null
    pouchd_stop
    pouchd_start
    within 5 is_state s-always running
    sleep 0.3
    is "$(state_of created) $(state_of s-no) $(state_of s-on-failure) $(state_of s-unless-stopped)" 'created exited exited exited'
    pouch rm -f created s-no s-on-failure s-unless-stopped s-always >/dev/null
}

@test "the host restarts: what ran comes back by its policy" {
    local p
    for p in no on-failure unless-stopped always; do
        pouch run -d --name "r-$p" --network none --restart "$p" busybox sleep 600 >/dev/null
    done
    pouch run -d --name r-web --restart always -p 18437:80 busybox httpd -f -h /www >/dev/null
    pouchd_kill
    # shellcheck disable=SC2046
    kill -9 $(pgrep -f 'pouch-monitor [0-9a-f]{64}')
    rm -rf "$T/run/c"
    other_boot
    for p in on-failure unless-stopped always web; do within 10 is_state "r-$p" running; done
    is "$(state_of r-no)" exited
    has "$(pouch inspect -f '{{.State.ExitCode}}' r-no)" '^255$'
    within 5 fetched
    pouch rm -f r-no r-on-failure r-unless-stopped r-always r-web >/dev/null
}
fetched() { [ "$(curl -s --max-time 3 http://127.0.0.1:18437/)" = 'it works' ]; }

@test "what was made with --rm and never started: stays when pouchd restarts, goes with the host" {
    pouch create --rm --name gone --network none busybox true >/dev/null
    pouch create --name stays --network none busybox true >/dev/null
    revive
    is "$(state_of gone) $(state_of stays)" 'created created'
    pouchd_kill
    other_boot
    is "$(pouch ps -a --format '{{.Names}}')" stays
    pouch rm stays >/dev/null
}

@test "a start of a container whose image is gone says what to do" {
    pouch tag busybox other:1
    pouch create --name orphan --network none other:1 true >/dev/null
    local id
    id=$(pouch inspect -f '{{.Image}}' orphan)
    pouchd_kill
    sql "UPDATE images SET boot = 'other' WHERE id = '$id'"
    pouchd_start
    run pouch start orphan
    one_line "No such image: $id: the image of the container .other:1. is no longer in the store, as after a power cut: pull it"
    pouch rm orphan >/dev/null
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}

@test "a restart that cannot start is tried again" {
    mkdir -p "$T/hold"
    pouch run -d --name pp --network none --restart on-failure --mount "type=bind,src=$T/hold,dst=/hold" busybox \
        sh -c 'echo x; test -e /hold/ok && sleep 600; exit 1' >/dev/null
    within 5 counted pp 1
    mv "$T/hold" "$T/held"
    within 10 failed_start pp
    touch "$T/held/ok"
    mv "$T/held" "$T/hold"
    within 20 is_state pp running
    pouch rm -f pp >/dev/null
    rm -rf "$T/hold"
}
failed_start() { pouch inspect -f '{{.State.Error}}' "$1" | grep -q hold; }

@test "--rm and a policy exclude each other; the policy's ends are seen by wait" {
    run pouch run --rm --restart always busybox true
    one_line '(--restart and --rm|AutoRemove)'
    pouch run -d --name ww --network none --restart on-failure:1 busybox sh -c 'sleep 0.3; exit 6' >/dev/null
    is "$(timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" wait ww)" 6
    pouch rm -f ww >/dev/null
}
