# sanitizers: yes
# Mirrors that give wrong bytes for a layer: the layer comes from the next one, in the same pull, and who
# gave them is asked last from then on.
load helpers

setup_file() {
    mkdir -p "$T/etc"
    fault_registry_start
    up
    ORIGIN=127.0.0.1:$(free_port) # nobody is there: all comes from the mirrors
    export ORIGIN FAULTY
}
teardown_file() { file_down; }
up() { pouchd_start --registry-config "$T/etc"; }
again() {
    pouchd_stop
    up
}
teardown() {
    rm -rf "${T:?}/etc" "${T:?}/tmp/out"
    mkdir "$T/etc"
    no_images
    forget
    again
    remove_all
    is "$(find "$T/root/blobs/tmp" "$T/root/layers" -mindepth 1 -name 'tmp.*' | wc -l)" 0
    leak_check
    sanitizers_quiet
}
# mirrors FAULT...: these are asked in this order.
mirrors() {
    local one
    mkdir -p "$T/etc/certs.d/$ORIGIN"
    for one in "$@"; do faulty_host "$one"; done >"$T/etc/certs.d/$ORIGIN/hosts.toml"
}
right() { # NAME: the image is as it should be
    local sum
    if [ "$1" = big ]; then
        sum=$(pouch run --rm --network none "$ORIGIN/big:latest" sha256sum /big.bin | cut -d' ' -f1)
        is "$sum" "$(python3 -c 'import hashlib, random
print(hashlib.sha256(random.Random(7).randbytes(16 << 20)).hexdigest())')"
    else
        is "$(pouch run --rm --network none "$ORIGIN/$1:latest" echo fine)" fine
    fi
}
# ill NAME FAULT: the next pull asks this mirror for nothing.
ill() {
    no_images
    forget
    pouch pull -q "$ORIGIN/$1:latest"
    lacks "$(seen)" "/v2/$2/"
}
# well NAME FAULT: the next pull asks this mirror as always.
well() {
    no_images
    forget
    pouch pull -q "$ORIGIN/$1:latest"
    has "$(seen)" "/v2/$2/$1/manifests/latest"
}

@test "a changed byte, damaged gzip, other bytes, short and long layers: the next mirror's are taken" {
    local fault
    for fault in wrongdigest otherbytes nobytes shorthonest long badlink wrongend; do
        echo "fault $fault"
        again
        mirrors "$fault" ok
        pouch pull "$ORIGIN/busybox:latest" >"$T/tmp/out"
        has "$(cat "$T/tmp/out")" 'Retrying: wrong bytes came'
        has "$(seen)" "GET /v2/$fault/busybox/blobs/"
        right busybox
        has "$(pouch fsck)" '0 problems'
        ill busybox "$fault"
        no_images
        forget
    done
}

@test "the same with a large layer, that is half unpacked by then" {
    local fault
    for fault in wrongend badlink; do
        echo "fault $fault"
        again
        mirrors "$fault" ok
        pouch pull -q "$ORIGIN/big:latest"
        right big
        ill big "$fault"
        no_images
    done
}

@test "two that lie, then one that does not; all layers go on there" {
    mirrors wrongdigest otherbytes ok
    pouch pull -q "$ORIGIN/big:latest"
    right big
    ill big wrongdigest
    lacks "$(seen)" /v2/otherbytes/
}

@test "a body of two mirrors: the one whose part was wrong is found, the other keeps its name" {
    # The first one's part is wrong, and it breaks off; the second goes on.
    mirrors wrongshort ok
    pouch pull -q "$ORIGIN/big:latest"
    right big
    has "$(seen)" '/v2/ok/big/blobs/.*range=bytes=[0-9]+- '
    ill big wrongshort
    has "$(seen)" '/v2/ok/'
    no_images
    # The first one's part is right, the second one's wrong; the third has it all.
    again
    forget
    mirrors short wrongend ok
    pouch pull -q "$ORIGIN/big:latest"
    right big
    has "$(seen)" '/v2/wrongend/big/blobs/.*range=bytes=[0-9]+- '
    ill big wrongend
}

@test "only suspects are left: each is asked alone, and the honest one's bytes are taken" {
    mirrors droponce wrongshort
    # droponce breaks off once and goes on; wrongshort comes in only when the other one is away.
    pouch pull -q "$ORIGIN/big:latest"
    right big
    no_images
    again
    forget
    mirrors wrongshort wrongend droponce
    pouch pull -q "$ORIGIN/big:latest"
    right big
}

@test "answers by range that are wrong: one stream of the same registry, when there is no other" {
    mirrors thinwrong
    pouch pull "$ORIGIN/big:latest" >"$T/tmp/out"
    has "$(cat "$T/tmp/out")" 'Retrying: wrong bytes came'
    right big
    has "$(seen)" '/v2/thinwrong/big/blobs/.*range=bytes=[0-9]+-[0-9]+ '
}

@test "parallel ranges of a mirror that lies: all anew from the next" {
    mirrors thinwrong ok
    pouch pull -q "$ORIGIN/big:latest"
    right big
    has "$(seen)" '/v2/thinwrong/big/blobs/.*range=bytes=[0-9]+-[0-9]+ '
    ill big thinwrong
}

@test "a wrong beginning that an earlier pull left: it does not spoil the next one, nor its mirror's name" {
    mirrors thinwrongstart
    timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$ORIGIN/big:latest" >"$T/tmp/out" 2>&1 3>&- &
    local pull=$!
    within 30 sh -c "find '$T/root/blobs/tmp' -type f -size +3000k | grep -q ."
    kill "$pull"
    wait "$pull" || true
    within 20 no_workers
    is "$(find "$T/root/blobs/tmp" -type f | wc -l)" 1
    forget
    mirrors ok
    pouch pull -q "$ORIGIN/big:latest"
    right big
    has "$(seen)" '/v2/ok/big/blobs/.*range=bytes=[0-9]+- '
    well big ok
}
no_workers() { ! pgrep -x pouch-image >/dev/null; }

@test "all give wrong bytes: one line that names each; nothing is left" {
    mirrors wrongdigest otherbytes shorthonest
    run pouch pull "$ORIGIN/busybox:latest"
    is "$status" 1
    has "${lines[-1]}" "no registry gives the right bytes: "
    has "${lines[-1]}" "registry $FAULTY/v2/wrongdigest gave wrong bytes for layer sha256:[0-9a-f]{64}: .*digest sha256:"
    has "${lines[-1]}" "registry $FAULTY/v2/otherbytes gave wrong bytes for layer"
    has "${lines[-1]}" "registry $FAULTY/v2/shorthonest gave wrong bytes for layer .*it is short"
    has "${lines[-1]}" "cannot reach registry $ORIGIN"
    is "$(pouch images -aq | wc -l)" 0
    is "$(find "$T/root/blobs" -type f | wc -l)" 0
}

@test "answers without a byte are not asked for again and again" {
    mirrors nobytes
    run pouch pull "$ORIGIN/busybox:latest"
    is "$status" 1
    has "${lines[-1]}" "registry $FAULTY/v2/nobytes gave wrong bytes for layer .*it is short"
    [ "$(seen | grep -c 'GET /v2/nobytes/busybox/blobs/')" -le 4 ]
}

@test "a layer that is bad in itself is blamed on nobody" {
    # Digest and size agree, the content is no layer: all registries would give the same.
    mirrors truncgzip ok
    run pouch pull "$ORIGIN/busybox:latest"
    is "$status" 1
    has "$output" 'truncated'
    lacks "$output" 'wrong bytes'
    forget
    run pouch pull "$ORIGIN/busybox:latest"
    has "$(seen)" '/v2/truncgzip/busybox/manifests/latest'
}

@test "a bomb of a mirror does not count against the image" {
    pouchd_stop
    pouchd_start --registry-config "$T/etc" --max-image-size 40m
    mirrors bombbytes ok
    pouch pull -q "$ORIGIN/big:latest"
    right big
    mirrors ok
    no_images
}
