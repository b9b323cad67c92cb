# Hooks: prestart, poststart, poststop, on the host and inside, and that poststop runs exactly once whatever ends.
# sanitizers: yes
# shellcheck disable=SC2009,SC2016,SC2154
load helpers

setup_file() {
    file_up
    mkdir -p "$T/hooks"
    cat >"$T/hooks/note" <<'END'
#!/bin/sh
# note FILE WORD...: one line for each call, with what the hook was told.
file=$1
shift
state=$(cat)
echo "$POUCH_HOOK $* code=$POUCH_EXIT_CODE sig=$POUCH_EXIT_SIGNAL oom=$POUCH_OOM_KILLED asked=$POUCH_STOP_REQUESTED attempt=$POUCH_HOOK_ATTEMPT" >>"$file"
printf '%s\n' "$state" >"$file.state"
env | sort >"$file.env"
END
    chmod 755 "$T/hooks/note"
}
teardown_file() { file_down; }

lines() { if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi; }
has_lines() { [ "$(lines "$1")" = "$2" ]; }
revive() {
    pouchd_kill
    pouchd_start
}

@test "prestart on the host: after the network, before the application, with state and environment" {
    local f=$T/hooks/a
    cat >"$T/hooks/net" <<END
#!/bin/sh
nsenter -t "\$POUCH_CONTAINER_PID" -n ip -4 -o addr show >"$f.net"
ls "\$POUCH_CONTAINER_ROOTFS" >"$f.ls"
cat "/proc/\$POUCH_CONTAINER_PID/comm" >"$f.comm"
ls -l /proc/self/fd >"$f.fds"
END
    chmod 755 "$T/hooks/net"
    pouch run -d --name aa --label x=y --hook-prestart "host:$T/hooks/note $f 'a b' \"c\\\"d\"" \
        --hook-prestart "host:$T/hooks/net" busybox sleep 600 >/dev/null
    is "$(cut -d' ' -f1-4 "$f")" 'prestart a b c"d'
    has "$(cat "$f.net")" ' eth0 .*inet '
    has "$(cat "$f.ls")" '^www$'
    lacks "$(cat "$f.comm")" sleep
    # stdin, stdout, stderr and what ls itself opened
    is "$(grep -c -- '->' "$f.fds")" 4
    is "$(jq -r .id "$f.state")" "$(pouch inspect -f '{{.Id}}' aa)"
    is "$(jq -r '.status + " " + .pouch.name + " " + .pouch.labels.x + " " + (.pid | tostring)' "$f.state")" \
        "created aa y $(pouch inspect -f '{{.State.Pid}}' aa)"
    has "$(cat "$f.env")" '^POUCH_CONTAINER_NAME=aa$'
    has "$(cat "$f.env")" '^POUCH_HOOK_STATE=\{"ociVersion"'
    lacks "$(cat "$f.env")" '^(HOME|BATS_|T)='
    is "$(pouch inspect -f '{{json .HostConfig.Hooks.Prestart}}' aa | jq length)" 2
    pouch rm -f aa >/dev/null
}

@test "prestart inside: before the application, as root with the container's rights, its output in the error" {
    pouch run --name bb --user 1000 --cap-drop ALL --network none \
        --hook-prestart "in:/bin/sh -c 'id -u >/made; cat >/state; grep CapEff /proc/self/status >>/made; echo \$HOME \$POUCH_CONTAINER_ROOTFS >>/made; hostname >>/made'" \
        --hostname hookhost busybox sh -c 'cat /made; cat /state | head -c 14' >"$T/tmp/out"
    is "$(sed -n 1p "$T/tmp/out")" 0
    has "$(sed -n 2p "$T/tmp/out")" 'CapEff:.0000000000000000'
    has "$(sed -n 3p "$T/tmp/out")" '/root /$'
    is "$(sed -n 4p "$T/tmp/out")" hookhost
    has "$(sed -n 5p "$T/tmp/out")" '^\{"ociVersion":$'
    pouch rm bb >/dev/null
    # A failing one fails the start, with what it said; the application never ran.
    run pouch run --name bb --network none --hook-prestart "in:/bin/sh -c 'echo one; echo two >&2; exit 7'" \
        --hook-poststop "host:$T/hooks/note $T/hooks/b stop" busybox touch /ran
    [ "$status" -ne 0 ]
    one_line 'prestart hook "in:/bin/sh .* failed with exit code 7: one \| two'
    is "$(state_of bb)" created
    has "$(pouch inspect -f '{{.State.Error}}' bb)" 'exit code 7'
    # Poststop runs after it too: what was set up is taken down.
    is "$(lines "$T/hooks/b")" 1
    pouch rm bb >/dev/null
    run pouch run --rm --network none --hook-prestart 'host:/no/such' busybox true
    one_line 'prestart hook "host:/no/such" could not be run: /no/such: No such file or directory'
    run pouch run --rm --network none --hook-prestart '/no/such' busybox true
    one_line 'prestart hook "/no/such" could not be run: .*/no/such.*no such file'
    # Whatever bytes these are, in both kinds.
    run pouch run --rm --network none --hook-prestart "host:/bin/sh -c 'printf \"one\\000two\\033[31m\"; exit 1'" busybox true
    one_line 'failed with exit code 1: one two\[31m'
    run pouch run --rm --network none --hook-prestart "in:/bin/sh -c 'printf \"one\\000two\"; exit 1'" busybox true
    one_line 'failed with exit code 1: one two'
    # Nor does a pipe that is never closed hold it up: what it left in the container runs on.
    pouch run -d --name bb --network none --hook-timeout 60 --hook-prestart "in:/bin/sh -c 'sleep 4716 & echo left'" \
        --hook-poststart "in:/bin/sh -c 'sleep 4717 & echo left'" busybox sleep 600 >/dev/null
    within 5 eval '[ "$(pouch exec bb ps | grep -cE "sleep 471[67]\$")" = 2 ]'
    pouch rm -f bb >/dev/null
    # What it says is bounded.
    run pouch run --rm --network none --hook-prestart "host:/bin/sh -c 'seq 100000; echo last; exit 1'" busybox true
    one_line 'last'
    [ "${#output}" -lt 3000 ]
}

@test "what is not a hook is refused" {
    local text
    for text in 'relative' 'host:relative' "in:/x 'a" 'host:' '' 'elsewhere:/x' "/x \\"; do
        run pouch create --name cc --hook-poststop "$text" busybox
        [ "$status" -ne 0 ]
        one_line 'HostConfig.Hooks.Poststop\[0\]: '
    done
    api POST /containers/create '{"Image":"busybox","HostConfig":{"HookTimeout":-1}}'
    is "$code" 400
    has "$body" 'HostConfig.HookTimeout: want 1 to 86400 seconds'
    api POST /containers/create '{"Image":"busybox","HostConfig":{"Hooks":{"Prestart":"/x"}}}'
    is "$code" 400
    has "$body" 'HostConfig.Hooks.Prestart'
    is "$(pouch ps -aq)" ''
}

@test "time-outs kill all that a hook started" {
    local before
    before=$(now_ms)
    run pouch run --rm --network none --hook-timeout 1 \
        --hook-prestart "host:/bin/sh -c 'setsid sleep 4711 & sleep 4712 & sleep 4713'" busybox true
    [ "$status" -ne 0 ]
    one_line 'ran into its time-out'
    [ $(($(now_ms) - before)) -lt 60000 ]
    within 5 no_process 'sleep 471[123]'
    run pouch run --rm --network none --hook-timeout 1 --hook-prestart 'in:/bin/sleep 4714' busybox true
    one_line 'ran into its time-out'
    within 5 no_process 'sleep 4714'
    # After the end too: the container is gone as it should.
    pouch run --rm --network none --hook-timeout 1 --hook-poststop 'in:/bin/sleep 4715' busybox true
    within 5 no_process 'sleep 4715'
    is "$(pouch ps -aq)" ''
}
no_process() { ! ps -e -o args= | grep -v grep | grep -qE "$1"; }

@test "poststart runs when the application does; failing it is a warning" {
    pouch run -d --name dd --network none \
        --hook-poststart "in:/bin/sh -c 'tr \"\\000\" \" \" </proc/1/cmdline >/seen'" \
        --hook-poststart "host:$T/hooks/note $T/hooks/d x" busybox sleep 601 >/dev/null
    is "$(pouch exec dd cat /seen)" 'sleep 601 '
    has "$(cat "$T/hooks/d")" '^poststart x '
    is "$(jq -r .status "$T/hooks/d.state")" running
    pouch rm -f dd >/dev/null
    api POST '/containers/create?name=dd' '{"Image":"busybox","Cmd":["sleep","602"],"HostConfig":{"NetworkMode":"none","Hooks":{"Poststart":["in:/bin/sh -c \"echo oh no; false\""]}}}'
    is "$code" 201
    pouch start dd >/dev/null
    is "$(state_of dd)" running
    has "$(pouch inspect -f '{{.Warnings}}' dd)" 'poststart hook .* failed with exit code 1: oh no'
    pouch rm -f dd >/dev/null
}

@test "poststop after each kind of end, once, with how it was" {
    local f=$T/hooks/e
    pouch run --name ee --network none --hook-poststop "host:$T/hooks/note $f a" \
        --hook-poststop "host:$T/hooks/note $f b" busybox sh -c 'exit 5' || true
    within 5 has_lines "$f" 2
    is "$(sed -n 1p "$f")" 'poststop a code=5 sig=0 oom=false asked=false attempt=1'
    is "$(sed -n 2p "$f")" 'poststop b code=5 sig=0 oom=false asked=false attempt=1'
    is "$(jq -r '.status, .pouch.end.exitCode' "$f.state" | tr '\n' ' ')" 'stopped 5 '
    pouch rm ee >/dev/null
    rm "$f"
    # By a user: the hook has run when stop returns.
    pouch run -d --name ee --network none --hook-poststop "host:$T/hooks/note $f c" busybox sleep 600 >/dev/null
    pouch stop -t 0 ee >/dev/null
    is "$(cat "$f")" 'poststop c code=137 sig=9 oom=false asked=true attempt=1'
    # Another run, another time.
    pouch start ee >/dev/null
    pouch rm -f ee >/dev/null
    is "$(lines "$f")" 2
    rm "$f"
    # A crash of the application.
    pouch run -d --name ee --network none --init --hook-poststop "host:$T/hooks/note $f d" busybox sh -c 'kill -SEGV $$' >/dev/null
    within 5 has_lines "$f" 1
    has "$(cat "$f")" 'poststop d code=139 .* asked=false'
    pouch rm ee >/dev/null
    rm "$f"
    # Its monitor is killed.
    pouch run -d --name ee --network none --hook-poststop "host:$T/hooks/note $f f" busybox sleep 600 >/dev/null
    kill -9 "$(pgrep -f "pouch-monitor $(pouch inspect -f '{{.Id}}' ee)")"
    within 5 has_lines "$f" 1
    has "$(cat "$f")" 'poststop f code=137 sig=9 oom=false asked=false'
    pouch rm ee >/dev/null
    rm "$f"
    # With --rm, before the removal.
    pouch run --rm --network none --hook-poststop "host:$T/hooks/note $f g" busybox true
    is "$(lines "$f")" 1
}

@test "poststop after an OOM kill" {
    local f=$T/hooks/o
    pouch run -d --name oo --network none -m 8m --memory-swap 8m --hook-poststop "host:$T/hooks/note $f o" \
        busybox sh -c 'x=a; while :; do x=$x$x; done' >/dev/null
    within 20 has_lines "$f" 1
    has "$(cat "$f")" 'poststop o code=[0-9]+ .* oom=true asked=false'
    pouch rm oo >/dev/null
}

@test "poststop inside: the container's files and limits, no network, namespaces of its own" {
    pouch run --name gg --network none -m 32m --user 1000 -v vol:/data --hook-timeout 10 \
        --hook-poststop "in:/bin/sh -c 'cat /left >/data/got; id -u >>/data/got; cat >>/data/got; echo >>/data/got; ps | wc -l >>/data/got; echo \$POUCH_EXIT_CODE >>/data/got; echo again >>/left; ip -o link | wc -l >>/data/got'" \
        --tmpfs /tmp busybox sh -c 'touch /data/x 2>/dev/null; exit 3' || true
    pouch rm gg >/dev/null
    pouch run --name gg --network none -v vol:/data --hook-poststop "in:/bin/sh -c 'cat /left >/data/got; id -u >>/data/got; echo \$POUCH_EXIT_CODE >>/data/got; ip -o link | wc -l >>/data/got; echo second >>/left; cat /proc/1/cmdline | tr \"\\000\" \" \" >>/data/got'" \
        busybox sh -c 'echo first >/left; exit 3' || true
    within 5 has_text gg second
    pouch run --rm --network none -v vol:/data busybox cat /data/got >"$T/tmp/got"
    is "$(head -n 4 "$T/tmp/got" | tr '\n' ' ')" 'first 0 3 1 '
    has "$(sed -n 5p "$T/tmp/got")" '^/bin/sh -c cat /left'
    pouch rm gg >/dev/null
    pouch run --rm --network none -v vol:/data busybox true
    # With --rm as well, and with other kinds of pids and networks.
    pouch run --rm --pid host --network host --hook-poststop "host:$T/hooks/note $T/hooks/g x" \
        --hook-poststop 'in:/bin/touch /y' busybox touch /x
    is "$(lines "$T/hooks/g")" 1
}
# has_text NAME TEXT: /left of the stopped container, looked at in its writable layer
has_text() { grep -q "$2" "$T"/root/containers/*/diff/left 2>/dev/null || grep -rq "$2" "$T/root/containers" --include=left 2>/dev/null; }

@test "a start during which the user stops, kills or removes" {
    local how before
    for how in 'stop' 'kill' 'rm -f'; do
        rm -f "$T/hooks/h"
        pouch create --name hh --network none --hook-timeout 60 --hook-prestart 'host:/bin/sleep 4720' \
            --hook-poststop "host:$T/hooks/note $T/hooks/h x" busybox sleep 600 >/dev/null
        pouch start hh >"$T/tmp/start" 2>&1 3>&- &
        within 5 process 'sleep 4720'
        before=$(now_ms)
        # shellcheck disable=SC2086 # two words
        pouch $how hh >/dev/null
        [ $(($(now_ms) - before)) -lt 40000 ]
        ! wait $!
        has "$(cat "$T/tmp/start")" 'the start was ended by a stop'
        within 3 no_process 'sleep 4720'
        is "$(lines "$T/hooks/h")" 1
        pouch rm -f hh >/dev/null 2>&1 || true
        is "$(pouch ps -aq)" ''
    done
    # While poststart runs: stop ends both.
    pouch create --name hh --network none --hook-timeout 60 --hook-poststart 'in:/bin/sleep 4721' busybox sleep 600 >/dev/null
    pouch start hh >/dev/null 2>&1 3>&- &
    within 5 process 'sleep 4721'
    before=$(now_ms)
    pouch stop -t 0 hh >/dev/null
    [ $(($(now_ms) - before)) -lt 40000 ]
    wait $! || true
    is "$(state_of hh)" exited
    pouch rm hh >/dev/null
    # While poststop runs: inspect and ps answer, kill ends the hook, rm -f waits for it.
    pouch run -d --name hh --network none --hook-timeout 60 --hook-poststop 'host:/bin/sleep 4722' busybox true >/dev/null
    within 5 process 'sleep 4722'
    is "$(state_of hh)" exited
    run pouch kill -s TERM hh
    one_line 'is not running'
    pouch kill hh >/dev/null
    within 3 no_process 'sleep 4722'
    pouch rm -f hh >/dev/null
}
process() { ! no_process "$1"; }

@test "restart policy: poststop, then the next start with its prestart" {
    local f=$T/hooks/r
    pouch run -d --name rr --network none --restart on-failure:2 --hook-prestart "host:$T/hooks/note $f a" \
        --hook-poststop "host:/bin/sh -c 'sleep 0.2; echo poststop >>$f'" busybox false >/dev/null
    within 10 has_lines "$f" 6
    is "$(cut -d' ' -f1 "$f" | tr '\n' ' ')" 'prestart poststop prestart poststop prestart poststop '
    within 5 is_exited rr
    is "$(pouch inspect -f '{{.RestartCount}}' rr)" 2
    pouch restart rr >/dev/null
    within 10 has_lines "$f" 12
    pouch rm -f rr >/dev/null
}
is_exited() { [ "$(state_of "$1")" = exited ]; }

@test "pouchd killed at each step of a poststop: once" {
    local f=$T/hooks/k i where
    for i in $(seq 14); do
        rm -f "$f"
        pouch run -d --name kk --network none --hook-poststop "host:/bin/sh -c 'sleep 0.05; echo x >>$f'" \
            --hook-poststop "in:/bin/sh -c 'sleep 0.02; echo x >>/count'" \
            --hook-poststop "host:/bin/sh -c 'echo y >>$f'" busybox sh -c 'usleep 20000; exit 9' >/dev/null
        sleep "0.$(printf '%03d' $((i * 15)))"
        revive
        within 10 has_lines "$f" 2
        within 5 is_exited kk
        sleep 0.3
        is "$(tr '\n' ' ' <"$f")" 'x y '
        is "$(pouch inspect -f '{{.State.ExitCode}}' kk)" 9
        where=$(grep -l x "$T"/root/containers/*/diff/count "$T"/root/containers/*/*/count 2>/dev/null | head -n 1)
        is "$(wc -l <"$where")" 1
        pouch rm kk >/dev/null
    done
}

@test "pouchd not there at the end, and the host restarted: the next pouchd runs poststop" {
    local f=$T/hooks/n
    rm -f "$f"
    pouch run -d --name nn --network none --hook-poststop "host:$T/hooks/note $f n" -v "$T/hooks:/hooks" busybox \
        sh -c 'until [ -e /hooks/n.end ]; do usleep 20000; done' >/dev/null
    local id
    id=$(pouch inspect -f '{{.Id}}' nn)
    pouchd_kill
    touch "$f.end"
    within 5 test -e "$T/run/c/$id/exit.json"
    sleep 0.3
    is "$(lines "$f")" 0
    pouchd_start
    within 5 has_lines "$f" 1
    has "$(cat "$f")" 'poststop n code=0 sig=0 oom=false asked=false attempt=1'
    pouch rm nn >/dev/null
    rm "$f"
    # The host goes down under it: nothing of /run is left, and no process.
    pouch run -d --name nn --network none --hook-poststop "host:$T/hooks/note $f n" \
        --hook-poststop "in:/bin/sh -c 'echo x >/after'" busybox sleep 600 >/dev/null
    pouchd_kill
    kill -9 $(pgrep -f "pouch-monitor $(basename "$T/root/containers/"*)")
    rm -rf "$T/run/c" "$T/run/h"
    pouchd_start
    within 5 has_lines "$f" 1
    has "$(cat "$f")" 'poststop n code=(255|137) '
    within 5 is_exited nn
    pouch start nn >/dev/null
    is "$(pouch exec nn cat /after)" x
    pouch rm -f nn >/dev/null
}

@test "the runner itself killed in the middle of a hook: that one runs again and is told so" {
    local f=$T/hooks/m
    rm -f "$f"
    pouch run -d --name mm --network none --hook-poststop "host:/bin/sh -c 'echo one >>$f'" \
        --hook-poststop "host:/bin/sh -c 'echo two \$POUCH_HOOK_ATTEMPT >>$f; [ \$POUCH_HOOK_ATTEMPT != 1 ] || exec sleep 50'" \
        busybox true >/dev/null
    within 5 has_lines "$f" 2
    # shellcheck disable=SC2046
    kill -9 $(pgrep -x pouch-hooks)
    within 5 has_lines "$f" 3
    is "$(tr '\n' ' ' <"$f")" 'one two 1 two 2 '
    pouch rm -f mm >/dev/null
}

@test "the host goes down in the middle of a poststop: what had ended does not run again" {
    local f=$T/hooks/p
    rm -f "$f"
    pouch run -d --name pp --network none --hook-poststop "host:/bin/sh -c 'echo one >>$f'" \
        --hook-poststop "host:/bin/sh -c 'echo two \$POUCH_HOOK_ATTEMPT >>$f; [ \$POUCH_HOOK_ATTEMPT != 1 ] || exec sleep 50'" \
        --hook-poststop "host:/bin/sh -c 'echo three \$POUCH_EXIT_CODE >>$f'" busybox sh -c 'exit 8' >/dev/null
    within 5 has_lines "$f" 2
    pouchd_kill
    # shellcheck disable=SC2046
    kill -9 $(pgrep -x pouch-hooks)
    within 3 no_process 'sleep 50$'
    rm -rf "$T/run/c" "$T/run/h"
    pouchd_start
    within 5 has_lines "$f" 4
    sleep 0.3
    is "$(tr '\n' ' ' <"$f")" 'one two 1 two 2 three 8 '
    pouch rm -f pp >/dev/null
}

@test "pouchd ends while hooks run" {
    local f=$T/hooks/q before
    rm -f "$f"
    pouch run -d --name qq --network none --hook-poststop "host:/bin/sh -c 'echo began >$f.began; until [ -e $f.end ]; do sleep 0.05; done; echo x >>$f'" \
        busybox true >/dev/null
    within 5 test -s "$f.began"
    pouchd_stop # it does not wait for the hook
    pouchd_start
    touch "$f.end"
    within 5 has_lines "$f" 1
    sleep 0.5
    is "$(lines "$f")" 1
    pouch rm -f qq >/dev/null
    # A start that waits for its hook is undone.
    pouch create --name qq --network none --hook-prestart 'host:/bin/sleep 4730' busybox true >/dev/null
    pouch start qq >/dev/null 2>&1 3>&- &
    within 5 process 'sleep 4730'
    before=$(now_ms)
    pouchd_stop
    [ $(($(now_ms) - before)) -lt 40000 ]
    within 5 no_process 'sleep 4730'
    pouchd_start
    is "$(state_of qq)" created
    pouch rm qq >/dev/null
}

@test "many ends at once with slow hooks: other containers are not held up" {
    local i f=$T/hooks/z
    rm -f "$f"
    for i in $(seq 20); do
        pouch run -d --name "z$i" --network none --hook-poststop "host:/bin/sh -c 'until [ -e $f.end ]; do sleep 0.2; done; echo x >>$f'" busybox true >/dev/null
    done
    pouch run --rm --network none busybox true
    [ ! -e "$f" ]
    touch "$f.end"
    within 15 has_lines "$f" 20
}

@test "--initscript: a prestart hook of rich containers, its arguments intact" {
    ! ldd "$POUCH_BIN/pouch-init" >/dev/null 2>&1 || skip "the init of a sanitizer build is not static"
    run pouch create --initscript '/bin/sh x' busybox
    [ "$status" -ne 0 ]
    one_line '\-\-initscript /bin/sh x needs --rich'
    run pouch create --rich --initscript 'relative x' busybox
    one_line 'InitScript: hook "relative x": want'
    pouch run -d --name ii --rich --network none --initscript "/bin/sh -c 'echo \"\$1|\$2\" >/got; cat /proc/1/comm >>/got' zero 'one two' three" \
        --hook-prestart "in:/bin/sh -c 'echo later >>/got'" busybox sleep 600 >/dev/null
    is "$(pouch exec ii sed -n '1p;3p' /got | tr '\n' ' ')" 'one two|three later '
    # Before its init: pid 1 was not it yet.
    lacks "$(pouch exec ii sed -n 2p /got)" 'init|sleep'
    is "$(pouch inspect -f '{{.Config.InitScript}}' ii | cut -c1-8)" '/bin/sh '
    pouch restart -t 1 ii >/dev/null
    is "$(pouch exec ii grep -c 'one two' /got)" 1
    pouch rm -f ii >/dev/null
}
