# Health checks: Docker's rules, and what becomes of the unhealthy.
# shellcheck disable=SC2009,SC2086 # whole command lines are looked for; lists of options are split
# sanitizers: yes
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

health() { pouch inspect -f '{{.State.Health.Status}}' "$1"; }
is_health() { [ "$(health "$1")" = "$2" ]; }
is_state() { [ "$(state_of "$1")" = "$2" ]; }
ran() { # ran NAME N: the probe has run at least N times
    [ "$(pouch exec "$1" sh -c 'wc -l </probes' 2>/dev/null || echo 0)" -ge "$2" ]
}

becomes() {
    ctl run -d --name aa --network none --health-cmd 'echo a probe; echo x >>/probes; test -e /ok' --health-interval 1s \
        --health-retries 2 busybox sleep 600 >/dev/null
    has "$(ctl ps --format '{{.Status}}')" '^Up .* \(health: starting\)$'
    is "$(ctl inspect -f '{{.State.Health.Status}}' aa)" starting
    within 8 is_health aa unhealthy
    has "$(ctl ps --filter health=unhealthy --format '{{.Names}} {{.Status}}')" '^aa Up .* \(unhealthy\)$'
    is "$(ctl ps -q --filter health=healthy)" ''
    [ "$(pouch inspect -f '{{.State.Health.FailingStreak}}' aa)" -ge 2 ]
    is "$(pouch inspect -f '{{(index .State.Health.Log 0).ExitCode}}{{(index .State.Health.Log 0).Output}}' aa)" "1a probe"
    ctl exec aa touch /ok
    within 5 is_health aa healthy
    is "$(pouch inspect -f '{{.State.Health.FailingStreak}}' aa)" 0
    has "$(ctl ps --filter health=healthy --format '{{.Status}}')" '\(healthy\)$'
    within 12 ran aa 6
    is "$(pouch inspect aa | jq '.[0].State.Health.Log | length')" 5
    is "$(pouch inspect aa | jq '[.[0].State.Health.Log[].Start] == ([.[0].State.Health.Log[].Start] | sort)')" true
    ctl stop -t 0 aa >/dev/null
    # As Docker: what does not run is not healthy.
    is "$(health aa)" unhealthy
    ctl start aa >/dev/null
    within 5 is_health aa healthy
}
@test "from starting to unhealthy to healthy" { each_cli becomes; }

@test "events tell of changes only" {
    local since
    since=$(date +%s.%N)
    pouch run -d --name ee --network none --health-cmd 'test -e /ok' --health-interval 50ms --health-retries 2 busybox sleep 600 >/dev/null
    within 5 is_health ee unhealthy
    pouch exec ee touch /ok
    within 5 is_health ee healthy
    sleep 0.3
    pouch events --since "$since" --until "$(date +%s.%N)" --format '{{.Action}}' >"$T/tmp/events"
    is "$(grep health_status "$T/tmp/events" | tr '\n' ,)" 'health_status: unhealthy,health_status: healthy,'
    # Probes are no execs of the user's.
    is "$(grep -c exec_create "$T/tmp/events")" 1
    pouch rm -f ee >/dev/null
}

@test "the image's HEALTHCHECK, merged field by field; --no-healthcheck" {
    local changes
    pouch run --name base --network none busybox true
    mkdir -p "$T/tmp/img"
    printf 'x' >"$T/tmp/img/f"
    tar -C "$T/root" -cf "$T/tmp/img.tar" -C "$T/tmp/img" f
    pouch rm base >/dev/null
    docker_import_with_health
    pouch create --name hh with-health /f >/dev/null
    is "$(pouch inspect -f '{{json .Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Retries}}' hh)" \
        '["CMD-SHELL","test -e /ok"] 7000000000 4'
    pouch rm hh >/dev/null
    pouch create --name hh --health-interval 2s with-health /f >/dev/null
    is "$(pouch inspect -f '{{json .Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Retries}}' hh)" \
        '["CMD-SHELL","test -e /ok"] 2000000000 4'
    pouch rm hh >/dev/null
    pouch create --name hh --no-healthcheck with-health /f >/dev/null
    is "$(pouch inspect -f '{{json .Config.Healthcheck.Test}}' hh)" '["NONE"]'
    pouch rm hh >/dev/null
    pouch rmi with-health >/dev/null
    rm -rf "$T/tmp/img" "$T/tmp/img.tar"
    pouch run -d --name hh --network none --no-healthcheck busybox sleep 600 >/dev/null
    is "$(pouch inspect hh | jq '.[0].State.Health')" null
    is "$(pouch ps -q --filter health=none | wc -l)" 1
    pouch rm -f hh >/dev/null
}
docker_import_with_health() {
    local change='HEALTHCHECK --interval=7s --retries=4 CMD test -e /ok'
    if pouch import --change "$change" "$T/tmp/img.tar" with-health >/dev/null 2>"$T/tmp/err"; then
        rm -f "$T/tmp/err"
        return
    fi
    # import has no HEALTHCHECK: an image made by hand.
    rm -f "$T/tmp/err"
    local d=$T/tmp/oci layer config
    mkdir -p "$d"
    layer=$(sha256sum "$T/tmp/img.tar" | cut -d' ' -f1)
    cat >"$d/config.json" <<END
{"architecture":"amd64","os":"linux","config":{"Cmd":["/f"],"Healthcheck":{"Test":["CMD-SHELL","test -e /ok"],"Interval":7000000000,"Retries":4}},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]}}
END
    config=$(sha256sum "$d/config.json" | cut -d' ' -f1)
    mv "$d/config.json" "$d/$config.json"
    cp "$T/tmp/img.tar" "$d/layer.tar"
    echo "[{\"Config\":\"$config.json\",\"RepoTags\":[\"with-health:latest\"],\"Layers\":[\"layer.tar\"]}]" >"$d/manifest.json"
    tar -C "$d" -cf "$T/tmp/oci.tar" manifest.json "$config.json" layer.tar
    pouch load -q -i "$T/tmp/oci.tar" >/dev/null
    rm -rf "$d" "$T/tmp/oci.tar"
}

@test "what is wrong is refused" {
    run pouch create --health-on-failure restart busybox
    [ "$status" -ne 0 ]
    one_line 'health-on-failure restart: there is no health check that could fail'
    run pouch create --health-on-failure kill --health-cmd true --no-healthcheck busybox
    [ "$status" -ne 0 ]
    local body_
    for body_ in '{"Test":["CMD"]}' '{"Test":["SHELL","x"]}' '{"Test":["CMD-SHELL","a","b"]}' '{"Test":["CMD","x"],"Interval":5}' \
        '{"Test":["CMD","x"],"Timeout":-1}' '{"Test":["CMD","x"],"Retries":-1}' '{"Test":5}' '{"Test":["CMD","x"],"StartPeriod":9223372036854775807}'; do
        api POST /containers/create "{\"Image\":\"busybox\",\"Healthcheck\":$body_}"
        is "$code" 400
        has "$body" 'Healthcheck'
    done
    run pouch create --health-on-failure explode busybox
    one_line 'HealthOnFailure: unknown action "explode"'
    run pouch ps --filter health=fine
    one_line "invalid filter 'health=fine'"
    is "$(pouch ps -aq)" ''
}

@test "output is cut, time-outs kill, a missing program fails" {
    pouch run -d --name oo --network none --health-cmd 'seq 5000; sleep 5000' --health-interval 100ms --health-timeout 300ms \
        --health-retries 1 busybox sleep 600 >/dev/null
    within 5 is_health oo unhealthy
    has "$(pouch inspect -f '{{(index .State.Health.Log 0).Output}}' oo)" '^Health check exceeded timeout \(0.300s\)$'
    is "$(pouch inspect -f '{{(index .State.Health.Log 0).ExitCode}}' oo)" -1
    within 5 at_most_one_sleep
    pouch rm -f oo >/dev/null
    pouch run -d --name oo --network none --health-cmd 'seq 5000; exit 3' --health-interval 100ms --health-retries 1 busybox sleep 600 >/dev/null
    within 5 is_health oo unhealthy
    is "$(pouch inspect oo | jq -r '.[0].State.Health.Log[0].Output' | wc -c)" 4100
    is "$(pouch inspect oo | jq -r '.[0].State.Health.Log[0].ExitCode')" 3
    pouch rm -f oo >/dev/null
    api POST '/containers/create?name=oo' '{"Image":"busybox","Cmd":["sleep","600"],"Healthcheck":{"Test":["CMD","/no/such"],"Interval":100000000,"Retries":1},"HostConfig":{"NetworkMode":"none"}}'
    pouch start oo >/dev/null
    within 5 is_health oo unhealthy
    has "$(pouch inspect -f '{{(index .State.Health.Log 0).Output}}' oo)" '/no/such'
    pouch rm -f oo >/dev/null
}
at_most_one_sleep() { [ "$(ps -e -o args= | grep -c '^sleep 5000')" -le 1 ]; }

@test "the start period: failures do not count, a success ends it, start-interval is its rhythm" {
    pouch run -d --name ss --network none --health-cmd 'echo x >>/probes; test -e /ok' --health-interval 30s --health-retries 1 \
        --health-start-period 60s --health-start-interval 100ms busybox sleep 600 >/dev/null
    within 5 ran ss 4
    is "$(health ss)" starting
    is "$(pouch inspect -f '{{.State.Health.FailingStreak}}' ss)" 0
    pouch exec ss touch /ok
    within 3 is_health ss healthy
    pouch rm -f ss >/dev/null
}

@test "paused: no probe runs and none fails" {
    pouch run -d --name pp --network none --health-cmd 'echo x >>/probes' --health-interval 100ms --health-timeout 5s --health-retries 1 busybox sleep 600 >/dev/null
    within 5 is_health pp healthy
    pouch pause pp >/dev/null
    sleep 6 # longer than a probe may take
    is "$(health pp)" healthy
    has "$(pouch ps --format '{{.Status}}')" '\(Paused\)$'
    pouch unpause pp >/dev/null
    sleep 0.5
    is "$(health pp)" healthy
    pouch rm -f pp >/dev/null
}

@test "through a restart of the engine: the state is known, the checks go on" {
    pouch run -d --name rr --network none --health-cmd 'echo x >>/probes; test ! -e /bad' --health-interval 200ms --health-retries 2 busybox sleep 600 >/dev/null
    within 5 is_health rr healthy
    pouchd_kill
    pouchd_start
    is "$(health rr)" healthy
    pouch exec rr touch /bad
    within 5 is_health rr unhealthy
    pouchd_stop
    pouchd_start
    is "$(health rr)" unhealthy
    pouch exec rr rm /bad
    within 5 is_health rr healthy
    pouch rm -f rr >/dev/null
}

@test "--health-on-failure" {
    local common='--network none --health-interval 100ms --health-retries 1'
    # restart: whatever the policy. (A probe before its word in /dev/shm, which is of this run, finds nothing wrong.)
    pouch run -d --name ff $common --health-on-failure restart --stop-timeout 1 \
        --health-cmd 'test ! -e /dev/shm/up || test "$(cat /runs | wc -l)" -ge 2' \
        busybox sh -c 'echo x >>/runs; touch /dev/shm/up; exec sleep 600' >/dev/null
    within 10 eval '[ "$(pouch exec ff sh -c "test -e /dev/shm/up && cat /runs | wc -l" 2>/dev/null)" = 2 ]'
    within 10 is_health ff healthy
    sleep 0.3
    is "$(state_of ff)" running
    is "$(pouch exec ff cat /runs | wc -l)" 2
    pouch rm -f ff >/dev/null
    # stop: no policy starts it again
    pouch run -d --name ff $common --health-on-failure stop --stop-timeout 1 --restart always --health-cmd false busybox sleep 600 >/dev/null
    within 10 is_state ff exited
    sleep 0.5
    is "$(state_of ff)" exited
    pouch rm ff >/dev/null
    # kill: the policy decides
    pouch run -d --name ff $common --health-on-failure kill --restart on-failure:1 --health-cmd false busybox sleep 600 >/dev/null
    within 10 is_state ff exited
    is "$(pouch inspect -f '{{.State.ExitCode}} {{.RestartCount}}' ff)" '137 1'
    pouch rm ff >/dev/null
    # none, as without it
    pouch run -d --name ff $common --health-on-failure none --health-cmd false busybox sleep 600 >/dev/null
    within 5 is_health ff unhealthy
    sleep 0.3
    is "$(state_of ff)" running
    is "$(pouch inspect -f '{{.HostConfig.HealthOnFailure}}' ff)" none
    pouch rm -f ff >/dev/null
}

@test "many containers with checks: few threads, and the checks run" {
    local i n=40
    for i in $(seq $n); do
        pouch run -d --name "m$i" --network none --health-cmd true --health-interval 1s busybox sleep 600 >/dev/null
    done
    within 20 all_healthy $n
    [ "$(awk '/^Threads:/ { print $2 }' "/proc/$(pouchd_pid)/status")" -lt 30 ]
}
all_healthy() { [ "$(pouch ps -q --filter health=healthy | wc -l)" = "$1" ]; }
