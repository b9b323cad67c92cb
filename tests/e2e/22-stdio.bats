# sanitizers: yes
# Standard input and output: attach, logs, terminals, slow readers, detaching, rotation.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

streams() {
    ctl run --rm --network none busybox sh -c 'echo out; echo err >&2' >"$T/tmp/out" 2>"$T/tmp/err"
    is "$(cat "$T/tmp/out")" out
    is "$(cat "$T/tmp/err")" err
    ctl run --network none --name both busybox sh -c 'echo out; echo err >&2' >/dev/null 2>&1
    ctl logs both >"$T/tmp/out" 2>"$T/tmp/err"
    is "$(cat "$T/tmp/out")" out
    is "$(cat "$T/tmp/err")" err
    rm -f "$T/tmp/out" "$T/tmp/err"
}
@test "stdout and stderr stay apart" { each_cli streams; }

input() {
    is "$(echo 'some text' | ctl run -i --rm --network none busybox cat)" 'some text'
    is "$(ctl run --rm --network none busybox cat </dev/null)" ''
    # 20 MB through and back, unharmed; the end of input comes through.
    head -c 20000000 /dev/urandom >"$T/tmp/big"
    is "$(ctl run -i --rm --network none busybox cat <"$T/tmp/big" | md5sum)" "$(md5sum <"$T/tmp/big")"
    # The input ends, the output goes on.
    is "$(echo x | ctl run -i --rm --network none busybox sh -c 'cat; sleep 1; echo after')" $'x\nafter'
    rm -f "$T/tmp/big"
}
@test "stdin: end of input, half-closed, large" { each_cli input; }

large_output() {
    local sum
    sum=$(ctl run --rm --network none --log-driver none busybox \
        sh -c 'dd if=/dev/zero bs=1M count=50 2>/dev/null' | md5sum)
    is "$sum" "$(head -c 52428800 /dev/zero | md5sum)"
    is "$(ctl run --rm --network none busybox sh -c 'yes | head -c 3000000' | wc -c)" 3000000
}
@test "large output is whole" { each_cli large_output; }

# An old docker tells the size after the start.
terminal() {
    run tty run -it --rm --network none busybox sh <<'EOF'
expect # 
send tty; until stty size | grep '24 80'; do usleep 50000; done; echo $TERM\r
expect \n/dev/pts/0
expect \n24 80
expect xterm
resize 40x100
send until stty size | grep '40 100'; do usleep 50000; done\r
expect \n40 100
send exit 7\r
EOF
    is "$status" 7
}
@test "a terminal: size, resizing, exit status" { each_cli terminal; }

terminal_keys() {
    run tty run -it --rm --network none busybox sh -c 'trap "exit 130" INT; echo ready; cat' <<'EOF'
expect ready
send hello\r
expect hello\s+hello
send \x03
EOF
    is "$status" 130
    run tty run -it --rm --network none busybox sh -c 'echo ready; cat' <<'EOF'
expect ready
send abc\r
expect abc\s+abc
eof
EOF
    is "$status" 0
}
@test "control-C and control-D reach the program" { each_cli terminal_keys; }

detaching() {
    run tty run -it --name dd --network none busybox sh <<'EOF'
expect # 
send \x10\x11
EOF
    is "$(ctl inspect -f '{{.State.Running}}' dd)" true
    run tty attach dd <<'EOF'
send echo back\r
expect back\s+back
send \x10\x11
EOF
    is "$(ctl inspect -f '{{.State.Running}}' dd)" true
    run tty attach --detach-keys a,b dd <<'EOF'
send \r
expect # 
send ab
EOF
    is "$(ctl inspect -f '{{.State.Running}}' dd)" true
    run tty exec -it dd sh <<'EOF'
expect # 
send \x10\x11
EOF
    is "$(ctl inspect -f '{{.State.Running}}' dd)" true
}
@test "detach keys leave the container running" { each_cli detaching; }

several_attached() {
    local i pids=()
    ctl run -d -i --network none --name ss busybox sh -c 'until read -t 1 line; do echo tick; done; echo "got $line"; sleep 0.3' >/dev/null
    for i in 1 2 3; do ctl attach --no-stdin ss >"$T/tmp/seen.$i" 2>&1 3>&- & pids+=($!); done
    for i in 1 2 3; do within 10 grep -q tick "$T/tmp/seen.$i"; done
    echo hi | ctl attach ss >"$T/tmp/seen.4" 2>&1
    wait "${pids[@]}"
    # The fourth leaves with the end of its input, as with dockerd: it may not see the answer.
    for i in 1 2 3; do is "$(grep -v tick "$T/tmp/seen.$i")" 'got hi'; done
    rm -f "$T"/tmp/seen.*
}
@test "several attach at once, all see everything" { each_cli several_attached; }

@test "a reader that stops blocks neither the container nor other readers" {
    pouch run -d --network none --name flood busybox \
        sh -c 'while [ ! -e /go ]; do echo tick; sleep 0.05; done; yes 0123456789012345 | head -c 30000000; echo; echo finished; exit 3' >/dev/null
    # One attached client never reads.
    curl -sN -X POST --unix-socket "$SOCK" -H 'Connection: Upgrade' -H 'Upgrade: tcp' \
        'http://pouch/containers/flood/attach?stream=1&stdout=1&stderr=1' 3>&- | sh -c 'head -c 9 >"$0"; sleep 60' "$T/tmp/stuck" 3>&- &
    local stuck=$!
    pouch attach --no-stdin flood 3>&- | sh -c 'head -n 1 >"$0"; tail -n 1 >>"$0"' "$T/tmp/seen" 3>&- &
    local reader=$!
    within 10 test -s "$T/tmp/stuck"
    within 10 test -s "$T/tmp/seen"
    pouch exec flood touch /go
    is "$(timeout 100 "$POUCH_BIN/pouch" -H "unix://$SOCK" wait flood)" 3
    wait "$reader"
    is "$(tail -n 1 "$T/tmp/seen")" finished
    kill "$stuck" 2>/dev/null || true
    pkill -x -f 'sleep 60' || true
    rm -f "$T/tmp/seen" "$T/tmp/stuck"
}

logs_options() {
    ctl run -d --network none --name ll busybox \
        sh -c 'for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done' >/dev/null
    is "$(timeout 100 $(ctl_words) logs -f ll)" $'line 1\nline 2\nline 3\nline 4\nline 5'
    is "$(ctl logs --tail 2 ll)" $'line 4\nline 5'
    is "$(ctl logs -n 0 ll)" ''
    run ctl logs -t ll
    has "${lines[0]}" '^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{9}Z line 1$'
    local third fourth
    third=$(sed -n 3p <<<"$output" | cut -d' ' -f1)
    fourth=$(sed -n 4p <<<"$output" | cut -d' ' -f1)
    is "$(ctl logs --since "$fourth" ll)" $'line 4\nline 5'
    is "$(ctl logs --until "$third" ll | tail -n 1)" 'line 3'
    is "$(ctl logs --since 1h ll | wc -l)" 5
    is "$(ctl logs --until 1h ll | wc -l)" 0
    run ctl logs nosuch
    is "$status" 1
    has "$output" 'No such container: nosuch'
    run ctl logs --tail nonsense ll
    # docker takes what is no number as "all"
    is "$(wc -l <<<"$output")" 5
}
@test "logs: follow, tail, timestamps, since, until" { each_cli logs_options; }

@test "logs -f --tail follows from the end and ends with the container" {
    pouch run -d --network none --name ff busybox \
        sh -c 'echo one; echo two; while [ ! -e /go ]; do sleep 0.05; done; echo three; printf unfinished' >/dev/null
    within 5 said ff two
    pouch logs -f --tail 1 ff >"$T/tmp/out" 3>&- &
    local client=$!
    within 5 test -s "$T/tmp/out"
    is "$(cat "$T/tmp/out")" two
    pouch exec ff touch /go
    wait "$client"
    is "$(cat "$T/tmp/out")" $'two\nthree\nunfinished'
    rm -f "$T/tmp/out"
}

@test "the log file has Docker's json-file form" {
    pouch run --network none --name jj busybox sh -c 'echo "quote \" tab	done"; printf "\001\377part" >&2' >/dev/null 2>&1
    local path
    path=$(pouch inspect -f '{{.LogPath}}' jj)
    is "$(jq -rs '.[] | select(.stream == "stdout") | .log' "$path")" $'quote " tab\tdone'
    is "$(jq -rs '[.[].stream] | sort | join(",")' "$path")" stderr,stdout
    has "$(jq -rs '.[0].time' "$path")" '^20[0-9-]+T[0-9:]+\.[0-9]+Z$'
}

@test "very long lines are kept whole" {
    pouch run --network none --name long busybox sh -c 'head -c 100000 /dev/zero | tr "\0" a; echo; echo next' >/dev/null
    is "$(pouch logs long | head -n 1 | tr -d '\n' | wc -c)" 100000
    is "$(pouch logs long | tail -n 1)" next
    is "$(pouch logs --tail 1 long)" next
}

rotation() {
    ctl run --network none --name rot --log-opt max-size=100k --log-opt max-file=3 busybox \
        sh -c 'i=0; while [ $i -lt 9000 ]; do echo "line $i of a log that turns over"; i=$((i+1)); done' >/dev/null
    local path
    path=$(ctl inspect -f '{{.LogPath}}' rot)
    is "$(find "$(dirname "$path")" -name "$(basename "$path")*" | wc -l)" 3
    [ "$(cat "$path"* | wc -c)" -lt 320000 ]
    is "$(ctl logs --tail 1 rot)" 'line 8999 of a log that turns over'
    # What is there has no hole.
    is "$(ctl logs rot | cut -d' ' -f2 | awk 'NR > 1 && $1 != last + 1 { bad++ } { last = $1 } END { print bad + 0 }')" 0
    run ctl run --rm --network none --log-opt max-size=nonsense busybox true
    is "$status" 125
    has "$output" 'max-size|nonsense'
    run ctl run --rm --network none --log-driver nosuch busybox true
    is "$status" 125
    has "$output" 'nosuch'
}
@test "log rotation" { each_cli rotation; }

no_log() {
    ctl run --network none --name quiet --log-driver none busybox echo seen >"$T/tmp/out"
    is "$(cat "$T/tmp/out")" seen
    rm -f "$T/tmp/out"
    run ctl logs quiet
    is "$status" 1
    has "$output" 'does not support reading'
}
@test "--log-driver none" { each_cli no_log; }

signals_proxied() {
    $(ctl_words) run --rm --name proxied --network none busybox \
        sh -c 'trap "echo caught; exit 12" TERM; echo ready; while :; do sleep 0.1; done' >"$T/tmp/out" 2>&1 3>&- &
    local client=$! status=0
    within 10 grep -q ready "$T/tmp/out"
    kill -TERM "$client"
    wait "$client" || status=$?
    is "$status" 12
    has "$(cat "$T/tmp/out")" caught
    rm -f "$T/tmp/out"
}
@test "the command line hands signals on" { each_cli signals_proxied; }

@test "output written just before the end is never lost" {
    local i
    for i in $(seq 30); do
        is "$(pouch run --rm --network none busybox sh -c 'echo last words')" 'last words'
    done
}

@test "attach to one that has ended, or was never there" {
    pouch run --network none --name over busybox true
    run pouch attach over
    is "$status" 1
    has "$output" 'cannot attach to a stopped container|is not running'
    run pouch attach nosuch
    is "$status" 1
    has "$output" 'No such container: nosuch'
}
