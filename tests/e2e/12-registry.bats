# Registries that fail in every way: one clear line each, nothing kept, and the daemon stays well.
load helpers

setup_file() {
    pouchd_start
    fault_registry_start
}
teardown_file() { file_down; }

# refused FAULT REGEX [IMAGE]: a pull fails with a line that matches and leaves nothing.
refused() {
    run timeout 60 $(ctl_words) pull "$FAULTY/$1/${3:-busybox:latest}"
    echo "$1: $output"
    is "$status" 1
    one_line "$2"
    is "$(ctl images -aq)" ''
    is "$(find "$T/root/blobs" "$T/root/layers" -type f -size +50k 2>/dev/null | head -3)" ''
}

answers() {
    refused e401 'unauthorized|authentication required|401|access.*denied'
    refused e403 'denied|403|[Ff]orbidden|made up'
    refused e404 'not found|404|manifest unknown|made up'
    refused e429 '429|[Tt]oo ?[Mm]any ?[Rr]equests|made up'
    refused e500 '500|[Ii]nternal [Ss]erver [Ee]rror|made up'
}
@test "401, 403, 404, 429, 500" { each_cli answers; }

contents() {
    refused wrongdigest 'digest|verif|corrupt'
    refused wrongconfig 'digest|verif|corrupt'
    refused short 'closed|ended early|short|unexpected EOF|transfer|truncated|size'
    refused shorthonest 'size|short|digest|verif|unexpected EOF|truncated'
    refused long 'size|long|digest|verif|more than'
    refused truncgzip 'gzip|truncated|unexpected|corrupt|EOF|inflate|archive|ended'
    refused notgzip 'gzip|header|magic|corrupt|archive|format|tar'
    refused badtar 'tar|archive|header|corrupt|format|damaged'
    refused wrongdiffid 'diff|digest|verif|match|contents'
}
@test "wrong digests, short and long layers, broken gzip and tar" { each_cli contents; }

manifests() {
    refused badjson 'JSON|json|manifest|parse|unexpected'
    refused emptymanifest 'JSON|json|manifest|empty|EOF|unexpected'
    refused typemanifest 'manifest|JSON|json|expected|unmarshal|type'
    refused negativesize 'size|manifest|invalid|negative'
    refused hugemanifest 'manifest|large|limit|too|size'
    refused endlessmanifest 'larger than 4194304 bytes'
    refused schema1 'schema|version|not supported|unsupported|manifest'
    refused garbage 'HTTP|protocol|malformed|garbage|answer|Received|registry|connect|version'
}
@test "manifests that are wrong" { each_cli manifests; }

@test "a manifest whose Content-Type lies is what its own bytes say" {
    local fault
    for fault in lietype lieindex; do
        pouch pull -q "$FAULTY/$fault/busybox:latest"
        is "$(pouch run --rm --network none "$FAULTY/$fault/busybox:latest" echo fine)" fine
        pouch rmi "$FAULTY/$fault/busybox:latest" >/dev/null
    done
}

hostile() {
    refused loop 'redirects in a loop'
    refused tofile 'redirects to file:'
    refused toftp 'redirects to ftp:'
    refused headers 'more than 262144 bytes of headers'
    refused closes 'closed the connection|closed early|garbage|empty reply'
    refused liebytes 'digest|gzip'
    refused tenthousand 'layers|127|large|manifest'
    refused badalgorithm 'digest|md5'
    refused limithour 'limits the rate.*come back in 3600 s; rate-limit-wait allows 60 s|[Tt]oo ?[Mm]any'
    refused bomb 'max-image-size'
}
@test "redirects that lead nowhere, endless headers, ten thousand layers, odd digests, bombs" {
    pouchd_stop
    pouchd_start --max-image-size 16m
    each_cli hostile
    pouchd_stop
    pouchd_start
}

@test "headers that come byte by byte, and streams that stand still, have an end" {
    pouchd_stop
    POUCH_PULL_STALL_TIMEOUT=1 pouchd_start
    refused loris 'timed out'
    refused stallhead 'timed out'
    refused stall 'timed out'
    pouchd_stop
    pouchd_start
}

unreachable() {
    local port
    port=$(free_port)
    run timeout 60 $(ctl_words) pull "127.0.0.1:$port/busybox"
    is "$status" 1
    has "$output" "127.0.0.1:$port|connection refused|[Cc]onnect"
    run timeout 60 $(ctl_words) pull "no-such-host.invalid/busybox"
    is "$status" 1
    has "$output" 'no-such-host.invalid'
}
@test "a registry that cannot be reached" { each_cli unreachable; }

mended() {
    local fault
    for fault in token redirect e429once limitdate e503once droponce norange lierange lietotal drips; do
        curl -s -X POST "http://$FAULTY/_reset"
        run timeout 60 $(ctl_words) pull "$FAULTY/$fault/busybox:latest"
        echo "$fault: $output"
        is "$status" 0
        is "$(ctl run --rm --network none "$FAULTY/$fault/busybox:latest" echo fine)" fine
        ctl rmi "$FAULTY/$fault/busybox:latest" >/dev/null
    done
}
@test "tokens, redirects, passing 429 and 503, dropped connections, lies about ranges: the pull succeeds" {
    each_cli mended
}

@test "who waits for a rate limit sees why, and can stop waiting" {
    run pouch pull "$FAULTY/e429once/busybox:latest"
    is "$status" 0
    has "$output" "Waiting 1 s: registry $FAULTY limits the rate"
    pouch rmi "$FAULTY/e429once/busybox:latest" >/dev/null
    pouchd_stop
    pouchd_start --rate-limit-wait 7200
    timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$FAULTY/limithour/busybox:latest" \
        >"$T/tmp/wait.out" 2>&1 3>&- &
    local pull=$!
    within 20 grep -q 'Waiting 3600 s' "$T/tmp/wait.out"
    kill "$pull"
    wait "$pull" || true
    within 20 no_workers
    rm "$T/tmp/wait.out"
    pouchd_stop
    pouchd_start
}

@test "plain HTTP is only spoken to loopback and to registries named insecure" {
    ip link add dummy0 type bridge
    ip address add 192.0.2.77/24 dev dummy0
    ip link set dummy0 up
    run timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "192.0.2.77:${FAULTY##*:}/ok/busybox:latest"
    is "$status" 1
    ip link del dummy0
}

@test "a registry that stalls blocks nobody, and hanging up ends the pull" {
    timeout 120 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$FAULTY/stall/busybox:latest" \
        >"$T/tmp/stall.out" 2>&1 3>&- &
    local pull=$! start took
    sleep 1
    start=$(now_ms)
    pouch ps >/dev/null
    pouch images >/dev/null
    took=$(($(now_ms) - start))
    [ "$took" -lt 20000 ] || fail "ps and images took $took ms beside a stalled pull"
    # Another pull goes on.
    pouch pull -q "$FAULTY/ok/busybox:latest"
    pouch rmi "$FAULTY/ok/busybox:latest" >/dev/null
    kill "$pull"
    wait "$pull" || true
    within 20 no_workers
    rm -f "$T/tmp/stall.out"
}
no_workers() { ! pgrep -x pouch-image >/dev/null; }
