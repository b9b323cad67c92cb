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

# as_of HOW: the only journal becomes one of another libzstd (whose level 9 gives what level 1 does here), or one of
# the first format, which has no library in it.
as_of() {
    python3 - "$1" "$(find "$T/root/blobs/journal" -type f)" <<'PY'
import sys
how, path = sys.argv[1:]
data = bytearray(open(path, "rb").read())
assert data[:16] == b"pouch-journal 2\n" and data[16] == 3 and data[1056:1064] == b"libzstd "
if how == "other":
    data[17] = 1
    data[1056:1104] = b"libzstd 1.0.99".ljust(48, b"\0")
else:
    data[:16] = b"pouch-journal 1\n"
    del data[1056:1105]
open(path, "wb").write(data)
PY
}

@test "an archive by another version of a library: told by its name, pulled again, or compressed anew" {
    local digest plain journal other='was made by libzstd 1\.0\.99; this is libzstd 1\.'
    no_images
    digest=$(image_of lib zstd -q -c -9 --single-thread)
    plain=$(sha256sum <"$T/make/layer.tar")
    pouch load -q -i "$T/make/image.tar" >/dev/null
    pouch tag lib "$REGISTRY/lib:1"
    pouch push -q "$REGISTRY/lib:1"
    no_images
    pouch pull -q "$REGISTRY/lib:1" >/dev/null
    within 60 dropped
    journal=$(find "$T/root/blobs/journal" -type f)
    cp "$journal" "$T/journal"

    as_of first # a store that comes from before
    pouch save -o "$T/saved.tar" "$REGISTRY/lib:1"
    is "$(tar -xOf "$T/saved.tar" "blobs/sha256/$digest" | sha256sum)" "$digest  -"
    cp "$T/journal" "$journal"

    as_of other
    run pouch save -o "$T/saved.tar" "$REGISTRY/lib:1"
    is "$status" 1
    one_line "$other"
    has "$output" 'pouch fsck --repair'
    pouch tag "$REGISTRY/lib:1" "$REGISTRY/lib/again:1"
    run pouch fsck
    is "$status" 1
    has "$output" "$other"
    run pouch push -q "$REGISTRY/lib/again:1"
    is "$status" 1
    one_line "$other"
    has "$output" 'compression-level'
    # Its content is there: a push that names a compression makes a new archive of it.
    pouch push -q --compression zstd "$REGISTRY/lib/again:1"
    skopeo copy -q --src-tls-verify=false "docker://$REGISTRY/lib/again:1" "dir:$T/copied"
    is "$(zstd -dcq "$T/copied/$(jq -r '.layers[0].digest' "$T/copied/manifest.json" | cut -d: -f2)" | sha256sum)" "$plain"
    pouch tag "$REGISTRY/lib:1" "$REGISTRY/lib/again:2"
    pouch push -q --compression gzip "$REGISTRY/lib/again:2"
    rm -rf "$T/copied"
    skopeo copy -q --src-tls-verify=false "docker://$REGISTRY/lib/again:2" "dir:$T/copied"
    is "$(gzip -dc "$T/copied/$(jq -r '.layers[0].digest' "$T/copied/manifest.json" | cut -d: -f2)" | sha256sum)" "$plain"

    run pouch fsck --repair
    is "$status" 0
    has "$output" 'pulled again from'
    pouch save -o "$T/saved.tar" "$REGISTRY/lib:1"
    is "$(tar -xOf "$T/saved.tar" "blobs/sha256/$digest" | sha256sum)" "$digest  -"
    no_images
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
