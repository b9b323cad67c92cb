# Large layers: several connections where one is slow, breaks taken up again, also by the next pull.
load helpers

setup_file() {
    pouchd_start
    fault_registry_start
}
teardown_file() { file_down; }
teardown() {
    local id
    for id in $(pouch images -aq | sort -u); do pouch rmi -f "$id" >/dev/null; done
    curl -s -X POST "http://$FAULTY/_reset"
    remove_all
    leak_check
    sanitizers_quiet
}
ranges() { seen | grep -c 'blobs/.*range=bytes=[0-9]*-[0-9]' || true; }
# big FAULT: pulls the image with a layer of 16 MB, whose content is compared.
big() {
    pouch pull -q "$FAULTY/$1/big:latest"
    is "$(pouch run --rm --network none "$FAULTY/$1/big:latest" sha256sum /big.bin | cut -d' ' -f1)" \
        "$(python3 -c 'import hashlib, random
print(hashlib.sha256(random.Random(7).randbytes(16 << 20)).hexdigest())')"
}

@test "a registry that gives each connection little is asked by several, and the layer is right" {
    big thin
    [ "$(ranges)" -ge 5 ] || fail "$(seen)"
    [ "$(curl -s "http://$FAULTY/_busy")" -ge 2 ]
}

@test "a fast registry is asked once" {
    local start
    start=$(now_ms)
    big ok
    # A stream is looked at for 700 ms before it is found slow: on a busy machine this one may be.
    [ "$(ranges)" = 0 ] || [ $(($(now_ms) - start)) -ge 700 ] || fail "$(seen)"
}

@test "ranges that fail, or are answered by the whole: one stream again" {
    big thinbroken
    [ "$(ranges)" -ge 1 ]
    pouch rmi "$FAULTY/thinbroken/big:latest" >/dev/null
    big thinlie
}

@test "the memory of a pull by several connections stays small" {
    pouch pull -q "$FAULTY/thin/big:latest" 3>&- &
    local pull=$! peak=0 now worker
    while kill -0 "$pull" 2>/dev/null; do
        worker=$(pgrep -n -x pouch-image || true)
        now=$(awk '/VmHWM/{print $2}' "/proc/$worker/status" 2>/dev/null || true)
        [ "${now:-0}" -le "$peak" ] || peak=$now
        sleep 0.05
    done
    wait "$pull"
    echo "peak: $peak KiB"
    [ "$peak" -gt 0 ]
    case $(file "$POUCH_BIN/pouch-image" 2>/dev/null; ldd "$POUCH_BIN/pouch-image") in
    *asan*) skip "the sanitizers' own memory" ;;
    esac
    [ "$peak" -le 32768 ] || fail "the worker's peak is $peak KiB"
}

@test "a layer that breaks off again and again is put together" {
    big drips
    [ "$(seen | grep -c 'blobs/.*range=bytes=[0-9]*- ')" -ge 20 ]
}

@test "a stream that stands still is taken up again where it was" {
    pouchd_stop
    POUCH_PULL_STALL_TIMEOUT=1 pouchd_start
    big stallonce
    has "$(seen)" 'blobs/.*range=bytes=[0-9]{6,}- '
    pouchd_stop
    pouchd_start
}

@test "a pull that was cancelled goes on where it was; what it left is gone after it" {
    timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$FAULTY/thin/big:latest" >"$T/tmp/out" 2>&1 3>&- &
    local pull=$! rest
    within 30 sh -c "find '$T/root/blobs/tmp' -type f -size +3000k | grep -q ."
    kill "$pull"
    wait "$pull" || true
    within 20 no_workers
    is "$(find "$T/root/blobs/tmp" -type f | wc -l)" 1
    curl -s -X POST "http://$FAULTY/_reset"
    big ok
    rest=$(seen | grep -o 'blobs/.*range=bytes=[0-9]*-' | grep -o '[0-9]*-$')
    [ "${rest%-}" -ge 3000000 ]
    is "$(find "$T/root/blobs/tmp" -type f | wc -l)" 0
    rm "$T/tmp/out"
}
no_workers() { ! pgrep -x pouch-image >/dev/null; }

@test "what was kept is not believed: wrong bytes are found by the digest, and the layer comes anew" {
    timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$FAULTY/thin/big:latest" >"$T/tmp/out" 2>&1 3>&- &
    local pull=$! file
    within 30 sh -c "find '$T/root/blobs/tmp' -type f -size +3000k | grep -q ."
    kill "$pull"
    wait "$pull" || true
    within 20 no_workers
    file=$(find "$T/root/blobs/tmp" -type f)
    printf 'x' | dd of="$file" bs=1 seek=2000000 conv=notrunc 2>/dev/null
    curl -s -X POST "http://$FAULTY/_reset"
    big ok
    is "$(find "$T/root/blobs/tmp" -type f | wc -l)" 0
    # Once from where it was, once from the start.
    is "$(seen | grep -c 'GET /v2/ok/big/blobs/.*range=bytes=[0-9]*- ')" 1
    rm "$T/tmp/out"
}
