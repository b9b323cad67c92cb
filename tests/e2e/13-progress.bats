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

# fits ROWS COLUMNS: nothing in $output is wider than the terminal, or goes further up than it is high.
fits() {
    awk -v rows="$1" -v columns="$2" '{
        for (rest = $0; match(rest, /\033\[[0-9]+A/); rest = substr(rest, RSTART + RLENGTH))
            if (substr(rest, RSTART + 2, RLENGTH - 3) + 0 >= rows) { print "up: " $0; bad = 1 }
        gsub(/\033\[[0-9]*[ABK]/, "")
        if (/^([0-9a-f]{12}|Total): / && length($0) >= columns) { print "wide: " $0; bad = 1 }
    } END { exit bad }' <<<"$output"
}

@test "a narrow terminal, one with fewer rows than layers, one that changes its size" {
    run "$HERE/tty" --size 24x40 --timeout 60 $(ctl_words) pull "$FAULTY/thin/big:latest" <<<'expect Status: Downloaded'
    is "$status" 0
    fits 24 40
    has "$output" '[0-9a-f]{12}: Downloading +[0-9]+%  [0-9]+s left'
    pouch rmi "$FAULTY/thin/big:latest" >/dev/null
    run "$HERE/tty" --size 24x140 --timeout 60 $(ctl_words) pull "$FAULTY/thin/big:latest" <<'TALK'
expect Downloading \[
resize 24x80
expect Downloading +[0-9.]+[kM]B/[0-9.]+MB  [0-9.]+[kM]B/s
expect Status: Downloaded
TALK
    is "$status" 0
    registry_start
    python3 - "$POUCH_TOP/tools" "$REGISTRY" "$T/many" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
from ocilib import Registry, entry, image, layer, tar, write_layout
write_layout(sys.argv[3], {"many:latest": image([layer(tar([entry(f"f{i}", str(i))])) for i in range(60)])})
Registry(sys.argv[2]).push_from_layout(sys.argv[3], "many:latest")
END
    rm -rf "$T/many"
    run "$HERE/tty" --size 10x80 --timeout 60 $(ctl_words) pull "$REGISTRY/many:latest" <<<'expect Status: Downloaded'
    is "$status" 0
    fits 10 80
    has "$output" 'Total: Downloaded '
    run pouch pull "$REGISTRY/many:latest"
    is "$(grep -c 'Already exists' <<<"$output")" 60
}

@test "two pull the same image, one gives up: the other goes on" {
    local pull second
    "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$FAULTY/thin/big:latest" >"$T/tmp/first" 2>&1 3>&- &
    pull=$!
    within 30 under_way
    "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$FAULTY/thin/big:latest" >"$T/tmp/second" 2>&1 3>&- &
    second=$!
    within 30 grep -q 'Waiting\|Downloading' "$T/tmp/second"
    kill -9 "$pull"
    wait "$pull" || true
    wait "$second" || fail "$(cat "$T/tmp/second")"
    has "$(cat "$T/tmp/second")" 'Status: Downloaded newer image'
    rm "$T/tmp/first" "$T/tmp/second"
    within 20 no_workers
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
