# pouch-oci: commands that meet each other or the end of the container, and ones that are killed on the way.
bats_require_minimum_version 1.5.0
load oci

# slowly CALL PATH ARGUMENT...: pouch-oci with half a second before each such system call on that path
slowly() {
    local call=$1 path=$2
    shift 2
    timeout 30 strace -qq -o /dev/null -P "$path" -e "trace=$call" -e "inject=$call:delay_enter=500000" \
        "$POUCH_BIN/pouch-oci" --root "$R" "$@" </dev/null
}

# killed CALL N ARGUMENT...: pouch-oci, killed at its Nth call of that kind
killed() {
    local call=$1 n=$2
    shift 2
    timeout 30 strace -qq -o /dev/null -e "trace=$call" -e "inject=$call:signal=KILL:when=$n" \
        "$POUCH_BIN/pouch-oci" --root "$R" "$@" </dev/null >/dev/null 2>&1
}

# Nothing in the state folder, no cgroup, no process of this test's.
nothing_left() {
    local i
    for i in $(seq 100); do
        [ -n "$(ls "$R")" ] || [ -e "$(cgroup_dir pids)" ] || pgrep -f "$R|^pouch:|^sleep 4711" >/dev/null || return 0
        sleep 0.05
    done
    ls -R "$R"
    ls -d "$(cgroup_dir pids)"
    pgrep -af "$R|^pouch:|^sleep 4711"
    return 1
}

waits='c["process"]["args"] = ["sleep", "4711"]'

@test "a create that is killed, wherever it is, leaves nothing that delete --force does not take away" {
    local call n
    configure "$waits"
    for call in symlink:1 symlinkat:1 mkdir:4 clone3:1 recvmsg:1 rename:1 renameat:1 sendmsg:1; do
        n=0
        killed "${call%:*}" "${call#*:}" create --bundle "$B" --pid-file "$BATS_TEST_TMPDIR/pid" a || n=$?
        if [ "$n" = 0 ]; then # never calls that
            oci delete --force a
            continue
        fi
        [ "$n" = 137 ]
        oci state a >"$BATS_TEST_TMPDIR/told" || grep 'does not exist' <<<"$(oci state a 2>&1)"
        # its name is not free yet, and a plain delete says what helps
        run -1 oci create --bundle "$B" a </dev/null
        [[ "$output" == *"exists already"* ]]
        [ -s "$BATS_TEST_TMPDIR/told" ] || grep -- '--force removes what is left' <<<"$(oci delete a 2>&1)"
        oci delete --force a
        nothing_left
    done
    # a hook in the container's cgroup, which would run on
    configure "c['hooks'] = {'createRuntime': [{'path': '/bin/sh', 'args': ['sh', '-c', 'kill -9 \$PPID']}], 'createContainer': [{'path': '/bin/sleep', 'args': ['sleep', '4711']}]}"
    run oci create --bundle "$B" a </dev/null
    [ "$status" = 137 ]
    oci delete --force a
    nothing_left
}

@test "a start that is killed after the program has been started does not hide that" {
    configure "$waits"
    oci create --bundle "$B" a </dev/null >/dev/null 2>&1
    run killed unlink 1 start a
    [ "$status" = 137 ]
    oci state a | grep '"status":"running"'
    run -1 oci start a
    [[ "$output" == *"it is running"* ]]
    oci exec a true
    oci delete --force a
    nothing_left
}

@test "a container that ends while it is being started: told, and no start hangs" {
    local path
    configure "$waits"
    for path in status gate; do
        oci create --bundle "$B" a </dev/null >/dev/null 2>&1
        slowly openat "$R/a/$path" start a >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
        sleep 0.25
        oci kill a KILL
        code=0
        wait $! || code=$?
        # its last look may have been before the end, or after it
        [ "$code" = 1 ]
        grep -E 'cannot start container "a": it (has ended|is stopped)' "$BATS_TEST_TMPDIR/out"
        oci delete a
    done
    local i start kill
    for i in $(seq 20); do
        oci create --bundle "$B" a </dev/null >/dev/null 2>&1
        oci start a >/dev/null 2>&1 3>&- &
        start=$!
        oci kill a KILL 3>&- &
        kill=$!
        code=0
        wait "$start" || code=$?
        [ "$code" -le 1 ]
        wait "$kill"
        oci delete --force a
    done
    nothing_left
}

@test "two starts, two deletes at once: one does it, hooks run once, the other says so" {
    local i codes pids pid code
    configure "$waits" \
        "c['hooks'] = {k: [{'path': '/bin/sh', 'args': ['sh', '-c', 'echo ' + k + ' >>$BATS_TEST_TMPDIR/hooks']}] for k in ('poststart', 'poststop')}"
    for i in $(seq 8); do
        : >"$BATS_TEST_TMPDIR/hooks"
        oci create --bundle "$B" a </dev/null >/dev/null 2>&1
        pids=()
        for _ in 1 2 3; do oci start a >>"$BATS_TEST_TMPDIR/starts" 2>&1 3>&- & pids+=($!); done
        codes=
        for pid in "${pids[@]}"; do code=0; wait "$pid" || code=$?; codes+=$code; done
        [ "$(tr -d 1 <<<"$codes")" = 0 ] # one of three
        pids=()
        for _ in 1 2 3; do oci delete --force a >>"$BATS_TEST_TMPDIR/deletes" 2>&1 3>&- & pids+=($!); done
        for pid in "${pids[@]}"; do wait "$pid"; done
        [ "$(cat "$BATS_TEST_TMPDIR/hooks")" = $'poststart\npoststop' ]
    done
    grep -vE 'cannot start container "a": (it is running|it was started meanwhile|another pouch-oci is starting it)' \
        "$BATS_TEST_TMPDIR/starts" && false
    [ ! -s "$BATS_TEST_TMPDIR/deletes" ]
    # a delete that is late does not take the next container of that name
    oci create --bundle "$B" a </dev/null >/dev/null 2>&1
    slowly rmdir,unlinkat "$R/a" delete --force a >/dev/null 2>&1 3>&- &
    pid=$!
    for _ in $(seq 200); do oci create --bundle "$B" a </dev/null >/dev/null 2>&1 && break; sleep 0.02; done
    wait "$pid"
    oci state a | grep '"status":"created"'
    oci delete --force a
    # nor does the end of a run
    configure 'c["process"]["args"] = ["true"]'
    : >"$BATS_TEST_TMPDIR/hooks"
    configure "$waits"
    oci run --bundle "$B" a </dev/null >/dev/null 2>&1 3>&- &
    pid=$!
    for _ in $(seq 200); do oci state a 2>/dev/null | grep -q '"running"' && break; sleep 0.02; done
    oci delete --force a
    code=0
    wait "$pid" || code=$?
    [ "$code" = 137 ]
    [ "$(cat "$BATS_TEST_TMPDIR/hooks")" = $'poststart\npoststop' ]
    nothing_left
}

@test "exec, kill, state, ps, update, pause while the container ends: right or refused, never odd" {
    local i pids pid code command
    configure 'c["process"]["args"] = ["sleep", "0.05"]'
    for i in $(seq 10); do
        oci run --detach --bundle "$B" a </dev/null >/dev/null 2>&1
        pids=()
        for command in "exec a true" "exec a true" "kill a USR1" "state a" "ps -f json a" "update --pids-limit 50 a" "exec a true"; do
            # shellcheck disable=SC2086 # words
            oci $command >>"$BATS_TEST_TMPDIR/out" 2>&1 </dev/null 3>&- &
            pids+=($!)
        done
        for pid in "${pids[@]}"; do
            code=0
            wait "$pid" || code=$?
            [ "$code" -le 1 ] || [ "$code" = 137 ] # an exec that ends with the container
        done
        for _ in $(seq 100); do oci state a | grep -q '"stopped"' && break; sleep 0.02; done
        oci delete a
    done
    nothing_left
}

@test "many at once: each of them is made, entered and removed" {
    local i pids pid
    configure "$waits"
    pids=()
    for i in $(seq 24); do
        (
            exec 3>&-
            mkdir "$BATS_TEST_TMPDIR/m$i"
            sed "s#$CGROUP/c#$CGROUP/m$i#" "$B/config.json" >"$BATS_TEST_TMPDIR/m$i/config.json"
            ln -s "$B/rootfs" "$BATS_TEST_TMPDIR/m$i/rootfs" # a link will do, as with crun
            oci create --bundle "$BATS_TEST_TMPDIR/m$i" "m$i" </dev/null && oci start "m$i" &&
                [ "$(oci exec "m$i" echo "in $i")" = "in $i" ] && oci delete --force "m$i"
        ) >"$BATS_TEST_TMPDIR/m$i.out" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || { cat "$BATS_TEST_TMPDIR"/m*.out; false; }; done
    nothing_left
}

@test "a cgroup that others live in is not taken over, and its processes stay" {
    start_sleeper a
    run -1 oci run --bundle "$B" b </dev/null
    [[ "$output" == *"is not empty: it has 1 process of others"* ]]
    oci state a | grep '"running"'
    run -1 oci state b
    oci delete --force a
    nothing_left
}

@test "a container whose state cannot be read is named, and delete --force ends it" {
    start_sleeper a
    echo '{bad' >"$R/a/state.json"
    run -1 oci state a
    [[ "$output" == *"$R/a/state.json (delete --force removes such a container): invalid JSON"* ]]
    run -1 oci delete a
    run -0 oci delete --force a
    [[ "$output" == *"poststop hooks are not run"* ]]
    nothing_left
}

@test "a container that ends before it is on record has told why" {
    ln -s loop "$B/rootfs/loop"
    configure 'c["process"]["args"] = ["true"]' 'c["linux"]["maskedPaths"] = ["/loop"]'
    run -1 oci run --bundle "$B" a </dev/null
    [[ "$output" == *"cannot mask /loop: Too many levels of symbolic links"* ]]
    # Written down late: init has ended long before.
    run -1 slowly rename,renameat "$R/a/state.json" run --bundle "$B" a
    [[ "$output" == *"cannot mask /loop: Too many levels of symbolic links"* ]]
    nothing_left
}

@test "a hook that leaves something running in the background does not hold up the container" {
    configure 'c["process"]["args"] = ["true"]' \
        "c['hooks'] = {'prestart': [{'path': '/bin/sh', 'args': ['sh', '-c', 'sleep 30 & echo \$! >$BATS_TEST_TMPDIR/pid']}]}"
    before=$SECONDS
    oci run --bundle "$B" a </dev/null
    helpers+=("$(cat "$BATS_TEST_TMPDIR/pid")")
    [ $((SECONDS - before)) -lt 25 ]
    configure "c['hooks'] = {'prestart': [{'path': '/bin/sh', 'args': ['sh', '-c', 'sleep 30 & echo \$! >$BATS_TEST_TMPDIR/pid; echo why; exit 4']}]}"
    run -1 oci run --bundle "$B" a </dev/null
    helpers+=("$(cat "$BATS_TEST_TMPDIR/pid")")
    [[ "$output" == *"failed with exit code 4: why" ]]
}
