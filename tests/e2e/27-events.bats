# Events: what happened, to whom, in order; filters; following.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

life() {
    local since
    sleep 1.1
    since=$(date +%s)
    ctl run --name ee --network none --label k=v busybox sh -c 'exit 3' || true
    ctl rm ee >/dev/null
    run timeout 10 $(ctl_words) events --since "$since" --until "$(($(date +%s) + 1))" --filter container=ee --filter type=container \
        --format '{{.Type}} {{.Action}}'
    is "$(xargs <<<"$output")" 'container create container attach container start container die container destroy'
    run timeout 10 $(ctl_words) events --since "$since" --until "$(($(date +%s) + 1))" --filter event=die \
        --format '{{json .}}'
    is "$(jq -r '.Actor.Attributes | .exitCode, .name, .image, .k' <<<"$output" | xargs)" '3 ee busybox v'
    is "$(jq -r '.scope' <<<"$output")" local
    run timeout 10 $(ctl_words) events --since "$since" --until "$(($(date +%s) + 1))" --filter label=k=v \
        --filter event=start
    has "$output" '^20[0-9-]+T.* container start [0-9a-f]{64} \(image=busybox, k=v, name=ee\)$'
}
@test "the life of a container" { each_cli life; }

followed() {
    $(ctl_words) events --filter type=container --format '{{.Action}}' >"$T/tmp/events" 3>&- &
    local client=$!
    sleep 0.5
    ctl run -d --name ff --network none busybox sleep 60 >/dev/null
    ctl pause ff >/dev/null
    ctl unpause ff >/dev/null
    ctl rename ff gg
    ctl exec gg true
    ctl kill -s CONT gg >/dev/null
    ctl rm -f gg >/dev/null
    within 5 grep -q destroy "$T/tmp/events"
    kill "$client"
    wait "$client" || true
    is "$(sed 's/:.*//' "$T/tmp/events" | xargs)" \
        'create start pause unpause rename exec_create exec_start exec_die kill kill die destroy'
    rm -f "$T/tmp/events"
}
@test "events as they happen" { each_cli followed; }

images() {
    local since
    sleep 1.1
    since=$(date +%s)
    ctl tag busybox other:x
    ctl rmi other:x >/dev/null
    run timeout 10 $(ctl_words) events --since "$since" --until "$(($(date +%s) + 1))" --filter type=image \
        --format '{{.Action}} {{.Actor.Attributes.name}}'
    has "$output" '^tag other:x$'
    has "$output" '^untag '
}
@test "images" { each_cli images; }

@test "a client that hangs up is forgotten" {
    local i before after
    before=$(find "/proc/$(pouchd_pid)/fd" | wc -l)
    for i in $(seq 20); do timeout 0.2 "$POUCH_BIN/pouch" -H "unix://$SOCK" events >/dev/null 2>&1 || true; done
    pouch run --rm --network none busybox true
    sleep 1
    after=$(find "/proc/$(pouchd_pid)/fd" | wc -l)
    [ "$after" -le $((before + 3)) ] || fail "$before descriptors before, $after after"
    [ "$(find "/proc/$(pouchd_pid)/task" -mindepth 1 -maxdepth 1 | wc -l)" -lt 15 ]
}
