# keep-blobs=false: archives that are made again are so once for an operation, and who waits for one can leave.
load helpers
load dropped

setup_file() {
    export BATS_TEST_TIMEOUT=600
    pouchd_start --keep-blobs=false --log-level debug
    registry_start
    # Letters that a compressor at its best looks at for long: some seconds to make again.
    python3 -c 'import random; random.seed(1); print("".join(random.choice("ab") for _ in range(150000)))' >"$T/letters"
    MORE_DATA=$T/letters image_of slow gzip -c -9 >"$T/slow.digest"
    cp "$T/make/image.tar" "$T/slow.tar"
    cp "$T/make/blob" "$T/slow.blob"
    pouch load -q -i "$T/slow.tar" >/dev/null
    within 120 dropped
}
teardown_file() { file_down; }

@test "a save makes a dropped archive again once, also for two images that share it" {
    pouch tag slow other
    pouch save -o "$T/saved.tar" slow other 2>/dev/null
    is "$(made_again)" 1
    is "$(tar -xOf "$T/saved.tar" "blobs/sha256/$(cat "$T/slow.digest")" | sha256sum)" "$(cat "$T/slow.digest")  -"
    pouch rmi other >/dev/null
    is "$(find "$T/root/blobs/tmp" -type f)" ''
}

@test "a push makes a dropped archive again once, and not at all when the registry has it" {
    pouch tag slow "$REGISTRY/slow:1"
    pouch push -q "$REGISTRY/slow:1"
    is "$(made_again)" 1
    pouch tag slow "$REGISTRY/slow:2"
    pouch push -q "$REGISTRY/slow:2"
    is "$(made_again)" 1
    pouch push -q --compression gzip "$REGISTRY/slow:2" # it is gzip already
    is "$(made_again)" 1
    skopeo inspect --tls-verify=false "docker://$REGISTRY/slow:2" | grep -q "$(cat "$T/slow.digest")"
    pouch rmi "$REGISTRY/slow:1" "$REGISTRY/slow:2" >/dev/null
}

# no_rebuilder: nobody makes an archive, and nothing is left of one.
no_rebuilder() { ! rebuilder && [ -z "$(find "$T/root/blobs/tmp" -type f)" ]; }

# hangs_up ARGUMENT...: a client that goes away while its archive is made again takes the work with it. The
# worker is stopped: by itself it would never end.
hangs_up() {
    local client worker
    "$POUCH_BIN/pouch" -H "unix://$SOCK" "$@" >/dev/null 2>&1 3>&- &
    client=$!
    worker=$(within 60 rebuilder)
    kill -STOP "$worker"
    kill "$client"
    gone "$worker"
    within 20 no_rebuilder
    is "$(made_again)" 0
}

@test "who leaves while an archive is made again takes the work with him: save" {
    hangs_up save -o "$T/saved.tar" slow
}

@test "who leaves while an archive is made again takes the work with him: push" {
    pouch tag slow "$REGISTRY/elsewhere/slow:1"
    pouch push -q "$REGISTRY/elsewhere/slow:1" >/dev/null
    rm -rf "$T/registry/docker/registry/v2/blobs/sha256" "$T/registry/docker/registry/v2/repositories"
    LOG_LINES=$(wc -l <"$LOG")
    hangs_up push -q "$REGISTRY/elsewhere/slow:1"
    pouch rmi "$REGISTRY/elsewhere/slow:1" >/dev/null
}

@test "who leaves while an archive is made again takes the work with him: fsck" {
    hangs_up fsck
}

@test "pouchd ends while an archive is made again" {
    local client worker
    "$POUCH_BIN/pouch" -H "unix://$SOCK" save -o "$T/saved.tar" slow >/dev/null 2>&1 3>&- &
    client=$!
    worker=$(within 60 rebuilder)
    kill -STOP "$worker"
    pouchd_stop
    gone "$worker"
    wait "$client" && fail "a save without its archive went well"
    pouchd_start --keep-blobs=false --log-level debug
    is "$(find "$T/root/blobs/tmp" -type f)" ''
    run pouch fsck
    is "$status" 0
    is "$(made_again)" 1
}

@test "with hardly any room each archive is made when its turn comes" {
    # Asked for is more than half of what is left, and less than all.
    local small=$T/small room blob second
    mkdir -p "$small"
    mount -t tmpfs -o size=64m,mode=711 tmpfs "$small"
    "$POUCH_BIN/pouchd" --root "$small" --state "$T/run2" --host "unix://$T/second.sock" --bridge-name none --nftables=false \
        --cgroup-parent "$CGROUP_PARENT-2" --keep-blobs=false --log-level debug >"$T/second.log" 2>&1 3>&- &
    second=$!
    within 20 curl -s --max-time 5 --unix-socket "$T/second.sock" http://pouch/_ping -o /dev/null
    "$POUCH_BIN/pouch" -H "unix://$T/second.sock" load -q -i "$T/slow.tar" >/dev/null
    within 120 eval '[ -z "$(find "$T/small/blobs/sha256" -type f -size +8k)" ]'
    room=$(df --output=avail -k "$small" | tail -1)
    blob=$(($(stat -c %s "$T/slow.blob") / 1024))
    head -c "$(((room - blob * 3 / 2) * 1024))" /dev/zero >"$small/filler"
    "$POUCH_BIN/pouch" -H "unix://$T/second.sock" save -o "$T/saved.tar" slow
    is "$(tar -xOf "$T/saved.tar" "blobs/sha256/$(cat "$T/slow.digest")" | sha256sum)" "$(cat "$T/slow.digest")  -"
    is "$(grep -c "a layer's blob was made again" "$T/second.log")" 1
    kill "$second"
    gone "$second"
    umount "$small"
}
