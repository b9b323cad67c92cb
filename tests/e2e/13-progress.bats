# What a pull tells: layers and total with rate and time left, on a terminal and without; and its end when
# nobody listens any more.
load helpers

setup_file() {
    pouchd_start
    fault_registry_start
}
teardown_file() { file_down; }
teardown() {
    local id
    for id in $(pouch images -aq | sort -u); do pouch rmi -f "$id" >/dev/null; done
    remove_all
    leak_check
    sanitizers_quiet
}
no_workers() { ! pgrep -x pouch-image >/dev/null && ! pgrep -x pouch-unpack >/dev/null; }

@test "the API: Docker's fields as they are, rate and time left beside them, the sum of all layers" {
    curl -sS --max-time 100 --unix-socket "$SOCK" -X POST \
        "http://pouch/images/create?fromImage=$FAULTY/thin/big&tag=latest" >"$T/tmp/stream"
    local moving
    moving=$(jq -c 'select(.status == "Downloading" and .progressDetail.rate)' "$T/tmp/stream")
    [ -n "$moving" ]
    is "$(jq -s 'all(.progressDetail.current <= .progressDetail.total and .progressDetail.left >= 0
        and (.progress | length > 0) and .overall.total > 16777216
        and .overall.current <= .overall.total)' <<<"$moving")" true
    is "$(jq -s 'map(select(.overall) | .overall.current) | . == sort' "$T/tmp/stream")" true
    is "$(jq -s 'map(select(.overall) | .overall) | last | .current == .total' "$T/tmp/stream")" true
    is "$(jq -s 'all(keys - ["status","id","progress","progressDetail","overall"] == [])' \
        "$T/tmp/stream")" true
    rm "$T/tmp/stream"
}

@test "a terminal: a row a layer and one for all; without one, plain lines" {
    run "$HERE/tty" --size 24x140 --timeout 60 $(ctl_words) pull "$FAULTY/thin/big:latest" <<<'expect Status: Downloaded'
    is "$status" 0
    has "$output" '[0-9a-f]{12}: Downloading \[=+>? *\] .*MB/.*MB  [0-9.]+[kM]B/s  [0-9]+s left'
    has "$output" 'Total: Downloading \[=+> +\] .*MB/.*MB  [0-9.]+[kM]B/s  [0-9]+s left'
    has "$output" 'Total: Downloaded '
    pouch rmi "$FAULTY/thin/big:latest" >/dev/null
    run pouch pull "$FAULTY/ok/big:latest"
    lacks "$output" $'Total|left|\033'
    has "$output" 'Pull complete'
}

# Whether the pull that $1 (a pid) waits for is under way.
under_way() { find "$T/root/blobs/tmp" -type f -size +1000k | grep -q .; }

@test "Ctrl-C, a killed client, and a closed connection each end the pull, with each command line" {
    stops() {
        run "$HERE/tty" --size 24x140 --timeout 60 $(ctl_words) pull "$FAULTY/slow/big:latest" <<'TALK'
expect Downloading.*MB
send \x03
TALK
        [ "$status" -ne 0 ]
        within 20 no_workers
        timeout 100 $(ctl_words) pull "$FAULTY/thin/big:latest" >/dev/null 2>&1 3>&- &
        local pull=$!
        within 30 under_way
        kill -9 "$(pgrep -P "$pull")" 2>/dev/null || kill -9 "$pull"
        wait "$pull" || true
        within 20 no_workers
        is "$(ctl images -aq)" ''
    }
    each_cli stops
    run curl -sS --max-time 2 --unix-socket "$SOCK" -X POST \
        "http://pouch/images/create?fromImage=$FAULTY/slow/big&tag=latest"
    within 20 no_workers
}
