# One test for each bug that was found, named after it.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

primary_group() {
    is "$(ctl run --rm --network none -u app busybox id -G | tr ' ' '\n' | sort -n | xargs)" '10 29 1000'
    is "$(ctl run --rm --network none -u 1234:5678 busybox grep Groups: /proc/self/status | xargs)" 'Groups: 5678'
}
@test "the primary group was missing among the supplementary groups (CVE-2022-36109)" { each_cli primary_group; }

killed_exec() {
    local i status
    for i in 1 2 3 4 5 6; do
        ctl run -d --network none --name "kk$i" busybox sleep 600 >/dev/null
        $(ctl_words) exec "kk$i" sleep "50$i" 3>&- &
        local client=$!
        within 5 pgrep -x -f "sleep 50$i" >/dev/null
        ctl kill "kk$i" >/dev/null
        status=0
        wait "$client" || status=$?
        is "$status" 137
    done
}
@test "an exec whose container was killed ended with 0 now and then" { each_cli killed_exec; }

a_folder() {
    run ctl run --rm --network none busybox /etc
    is "$status" 126
}
@test "a folder as command gave old docker command lines 125" { each_cli a_folder; }

@test "templates did not find .Server.APIVersion" {
    has "$(pouch version --format '{{.Server.APIVersion}}')" '^1\.[0-9]+$'
    is "$(pouch version --format '{{.Server.ApiVersion}}')" "$(pouch version --format '{{.Server.APIVersion}}')"
}

@test "a time past the year 2262 overflowed" {
    pouch run --network none --name tt busybox echo x >/dev/null
    run pouch logs --since 9999-12-31T23:59:59Z tt
    [ "$status" -le 1 ]
    lacks "$output" 'x$'
    api GET '/containers/tt/logs?stdout=1&since=99999999999999999999'
    [ "$code" = 400 ] || [ "$code" = 200 ]
}
