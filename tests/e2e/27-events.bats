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
    run timeout 60 $(ctl_words) events --since "$since" --until "$(($(date +%s) + 1))" --filter container=ee --filter type=container \
        --format '{{.Type}} {{.Action}}'
    is "$(xargs <<<"$output")" 'container create container attach container start container die container destroy'
    run timeout 60 $(ctl_words) events --since "$since" --until "$(($(date +%s) + 1))" --filter event=die \
        --format '{{json .}}'
    is "$(jq -r '.Actor.Attributes | .exitCode, .name, .image, .k' <<<"$output" | xargs)" '3 ee busybox v'
    is "$(jq -r '.scope' <<<"$output")" local
    run timeout 60 $(ctl_words) events --since "$since" --until "$(($(date +%s) + 1))" --filter label=k=v \
        --filter event=start
    has "$output" '^20[0-9-]+T.* container start [0-9a-f]{64} \(image=busybox, k=v, name=ee\)$'
}
@test "the life of a container" { each_cli life; }

followed() {
    $(ctl_words) events --filter type=container --format '{{.Actor.Attributes.name}} {{.Action}}' >"$T/tmp/events" 3>&- &
    local client=$!
    within 10 listened
    ctl run -d --name ff --network none busybox sleep 60 >/dev/null
    ctl pause ff >/dev/null
    ctl unpause ff >/dev/null
    ctl rename ff gg
    ctl exec gg true
    ctl kill -s CONT gg >/dev/null
    ctl rm -f gg >/dev/null
    within 5 grep -q 'gg destroy' "$T/tmp/events"
    kill "$client"
    wait "$client" || true
    is "$(sed -n 's/:.*//; s/^\(ff\|gg\) //p' "$T/tmp/events" | xargs)" \
        'create start pause unpause rename exec_create exec_start exec_die kill kill die destroy'
    rm -f "$T/tmp/events"
}
# Who follows hears of what happens from when it is connected on: it is when it hears of this.
listened() {
    pouch create --name heard --network none busybox >/dev/null
    pouch rm heard >/dev/null
    grep -q heard "$T/tmp/events"
}
@test "events as they happen" { each_cli followed; }

images() {
    local since
    sleep 1.1
    since=$(date +%s)
    ctl tag busybox other:x
    ctl rmi other:x >/dev/null
    run timeout 60 $(ctl_words) events --since "$since" --until "$(($(date +%s) + 1))" --filter type=image \
        --format '{{.Action}} {{.Actor.Attributes.name}}'
    has "$output" '^tag other:x$'
    has "$output" '^untag '
}
@test "images" { each_cli images; }

@test "a client that hangs up is forgotten" {
    local i before
    before=$(find "/proc/$(pouchd_pid)/fd" | wc -l)
    for i in $(seq 20); do timeout 0.2 "$POUCH_BIN/pouch" -H "unix://$SOCK" events >/dev/null 2>&1 || true; done
    pouch run --rm --network none busybox true
    within 5 forgotten
}
forgotten() {
    answer="$before descriptors before, $(find "/proc/$(pouchd_pid)/fd" | wc -l) after"
    [ "$(find "/proc/$(pouchd_pid)/fd" | wc -l)" -le $((before + 3)) ] &&
        [ "$(find "/proc/$(pouchd_pid)/task" -mindepth 1 -maxdepth 1 | wc -l)" -lt 15 ]
}
