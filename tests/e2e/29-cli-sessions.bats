# The command line in front of a container when the daemon goes away under it: neither output nor
# exit status may be lost, and nothing may hang.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

revive() {
    pouchd_kill
    pouchd_start
}

@test "an attached run outlives the daemon: output and exit status" {
    pouch run --name aa --network none busybox sh -c 'echo one; while [ ! -f /go ]; do usleep 20000; done; echo two; exit 9' \
        >"$T/tmp/out" 3>&- &
    local cli=$! status=0
    within 5 grep -q one "$T/tmp/out"
    revive
    revive
    pouch exec aa touch /go
    wait "$cli" || status=$?
    is "$status" 9
    is "$(cat "$T/tmp/out")" $'one\ntwo'
    rm -f "$T/tmp/out"
}

@test "the same with --rm, when it ends after the daemon came back" {
    pouch run --rm --name rr --network none busybox sh -c 'echo one; while [ ! -f /go ]; do usleep 20000; done; exit 8' \
        >"$T/tmp/out" 3>&- &
    local cli=$! status=0
    within 5 grep -q one "$T/tmp/out"
    revive
    pouch exec rr touch /go
    wait "$cli" || status=$?
    is "$status" 8
    is "$(pouch ps -aq)" ''
    rm -f "$T/tmp/out"
}

@test "the same with --rm, when it is gone before the command line asks the new daemon" {
    local cli status=0 id
    mkdir -p "$T/tmp/v"
    "$POUCH_BIN/pouch" -H "unix://$SOCK" run --rm --name rr --network none -v "$T/tmp/v:/v" busybox \
        sh -c 'echo one; until [ -e /v/go ]; do usleep 20000; done; exit 8' >"$T/tmp/out" 3>&- &
    cli=$!
    within 5 grep -q one "$T/tmp/out"
    id=$(pouch inspect -f '{{.Id}}' rr)
    kill -STOP "$cli"
    pouchd_kill
    touch "$T/tmp/v/go"
    within 5 ended_without_us "$id"
    pouchd_start
    within 5 eval '[ -z "$(pouch ps -aq)" ]'
    kill -CONT "$cli"
    wait "$cli" || status=$?
    is "$status" 8
    # By the whole id alone, and with this condition.
    api POST "/containers/$id/wait?condition=removed"
    is "$code $(jq -c .StatusCode <<<"$body")" '200 8'
    api POST "/containers/${id:0:20}/wait?condition=removed"
    is "$code" 404
    api POST "/containers/$id/wait"
    is "$code" 404
    rm -rf "$T/tmp/out" "$T/tmp/v"
}
ended_without_us() { ! pgrep -f "pouch-monitor $1" >/dev/null; }

@test "input goes on while the daemon is away" {
    mkfifo "$T/tmp/in"
    pouch run -i --name ii --network none busybox cat <"$T/tmp/in" >"$T/tmp/out" 3>&- &
    local cli=$! status=0
    exec 8>"$T/tmp/in"
    echo before >&8
    within 5 grep -q before "$T/tmp/out"
    pouchd_kill
    echo during >&8
    within 5 grep -q during "$T/tmp/out"
    pouchd_start 8>&- # or the daemon would hold the pipe open
    echo after >&8
    exec 8>&-
    wait "$cli" || status=$?
    is "$status" 0
    is "$(cat "$T/tmp/out")" $'before\nduring\nafter'
    rm -f "$T/tmp/out" "$T/tmp/in"
}

@test "signals are handed on after the daemon came back" {
    "$POUCH_BIN/pouch" -H "unix://$SOCK" run --name ss --network none busybox sh -c 'trap "exit 7" TERM; echo ready; while :; do usleep 20000; done' \
        >"$T/tmp/out" 3>&- &
    local cli=$! status=0
    within 5 grep -q ready "$T/tmp/out"
    revive
    kill -TERM "$cli"
    wait "$cli" || status=$?
    is "$status" 7
    rm -f "$T/tmp/out"
}

@test "without a daemon the command line says so at once, and gives up in time" {
    pouchd_kill
    run pouch ps
    is "$status" 1
    has "$output" 'Cannot connect to the Pouch daemon at unix://.*Is pouchd running\?'
    run pouch run busybox true
    is "$status" 125
    pouchd_start
}
