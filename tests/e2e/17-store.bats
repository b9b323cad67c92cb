# sanitizers: yes
# The image store's upkeep: garbage collection by the disk's fill.
load helpers

setup_file() {
    export BATS_TEST_TIMEOUT=600
    mkdir -p "$T/root"
    mount -t tmpfs -o size=64m,mode=711 tmpfs "$T/root"
    pouchd_start
}
teardown_file() {
    remove_all
    pouchd_stop
    fault_registry_stop
    umount "$T/root"
    ended_clean
}

# filler NAME MEGABYTES [CHANGE]: an image of its own bytes.
filler() {
    mkdir -p "$T/fill"
    head -c "$2M" /dev/urandom >"$T/fill/$1"
    tar -C "$T/fill" -c "$1" | ctl import ${3:+--change "$3"} - "$1:latest" >/dev/null
    rm -rf "$T/fill"
}
names() { pouch images --format '{{.Repository}}' | sort | tr '\n' ' '; }
restart() {
    pouchd_stop
    pouchd_start "$@"
}

@test "gc by hand: the longest unused goes first, until the low mark; what is needed stays" {
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    filler old1 4
    filler old2 4
    filler mine 4
    filler recent 4
    pouch image protect mine
    pouch create --name keeps busybox true >/dev/null
    # Young images stay.
    run pouch system gc --low 5
    is "$status" 0
    has "$output" 'Kept: old1:latest \(it was used or pulled a moment ago\)'
    is "$(names)" 'busybox mine old1 old2 recent '
    # A dry run removes nothing and says what would go.
    run pouch system gc --low 1 --min-age 0s --dry-run
    is "$status" 0
    has "$output" 'Would remove: old1:latest \(8\..*MB\)'
    has "$output" 'Kept: mine:latest \(it is protected\)'
    has "$output" 'Kept: busybox:latest \(container [0-9a-f]{12} uses it\)'
    is "$(names)" 'busybox mine old1 old2 recent '
    # Just below what is in use: one image is enough.
    local used
    used=$(df --output=pcent "$T/root" | tail -n 1 | tr -d ' %')
    run pouch system gc --min-age 0s --low $((used - 1))
    is "$status" 0
    has "$output" 'Removed: old1:latest'
    lacks "$output" 'Removed: (old2|recent|mine)'
    is "$(names)" 'busybox mine old2 recent '
    run pouch system gc --min-age 0s --low 1 --format '{{len .Removed}} {{len .Kept}}'
    is "$output" '2 2'
    is "$(names)" 'busybox mine '
    pouch image protect --off mine
    run pouch system gc --min-age 0s --low 1
    has "$output" 'Removed: mine:latest'
    pouch rm keeps >/dev/null
    no_images
    is "$(find "$T/root/layers" "$T/root/blobs/sha256" -mindepth 1 -maxdepth 1)" ''
}

@test "gc refuses nonsense in one line" {
    run pouch system gc --low 200
    is "$status" 1
    one_line 'not a percentage'
    run pouch system gc --min-age soon
    is "$status" 1
    one_line 'not a duration'
    run pouch image protect nothing
    is "$status" 1
    one_line 'No such image'
    run timeout 20 "$POUCH_BIN/pouchd" --root "$T/tmp/x" --state "$T/tmp/y" --image-gc low=50
    is "$status" 1
    one_line '"high" is missing'
    run timeout 20 "$POUCH_BIN/pouchd" --root "$T/tmp/x" --state "$T/tmp/y" --image-gc high=50,low=60
    is "$status" 1
    one_line 'must be below'
}

@test "by itself: off unless configured; then a pull beyond the high mark makes room, with events" {
    local since
    restart --image-gc high=60,low=55,min-age=0s --image-gc keep=safe,keep=label=stay=yes
    since=$(date +%s)
    filler safe 3
    filler labelled 3 'LABEL stay=yes'
    filler one 8
    is "$(names)" 'labelled one safe '
    filler two 9
    # 23 MB twice (blob and layer) of 64: more than 60 percent.
    within 20 went one
    is "$(names)" 'labelled safe two '
    run pouch events --since "$since" --until "$(($(date +%s) + 1))" --filter type=image
    has "$output" 'image untag sha256:[0-9a-f]+ \(name=one:latest\)'
    has "$output" 'image delete sha256:'
    restart
    filler three 4
    sleep 1
    is "$(names)" 'labelled safe three two '
    no_images
}
went() { ! pouch images --format '{{.Repository}}' | grep -qx "$1"; }


# --- fsck

largest() { find "$1" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-; }
fsck_up() { # [IMAGE [FLAG...]]
    restart "${@:2}"
    no_images
    [ -s "$T/faulty.host" ] || fault_registry_start
    FAULTY=$(cat "$T/faulty.host")
    IMAGE=$FAULTY/ok/${1:-busybox}:latest
    pouch pull -q "$IMAGE" >/dev/null
    LAYER=$(pouch inspect -f '{{index .RootFS.Layers 0}}' "$IMAGE" | cut -d: -f2)
    # The folder or file of a layer, and a layer's blob: the largest is busybox.
    DIR=$T/root/layers/$LAYER
    BLOB=$(largest "$T/root/blobs/sha256")
}
clean() {
    run pouch fsck
    is "$status" 0
    has "$output" ' 0 problems, 0 repaired'
}
sound() { is "$(pouch run --rm --network none "$IMAGE" busybox echo sound)" sound; }
# flip FILE: one byte in the middle changes.
flip() {
    local at=$(($(stat -c %s "$1") / 2)) byte at_time
    at_time=$(stat -c %.9Y "$1")
    byte=$(dd if="$1" bs=1 skip="$at" count=1 status=none | od -An -tu1 | tr -d ' ')
    printf "\\x$(printf %02x $(((byte + 1) % 256)))" |
        dd of="$1" bs=1 seek="$at" conv=notrunc status=none
    touch -m -d "@$at_time" "$1" # as a bad disk does
}

@test "fsck: a store that is well; what it looked at" {
    fsck_up
    clean
    has "$output" '^1 images: [0-9]+ blobs \([0-9.]+[kM]B\) and [0-9]+ layers looked at'
    run pouch fsck --format '{{.Damaged}} {{len .Problems}} {{.Unreferenced}}'
    is "$output" '0 0 0'
    run pouch fsck --quick
    is "$status" 0
    has "$output" 'and 0 layers looked at'
    is "$(find "$T/root/layers" -mindepth 1 -maxdepth 1 -name 't*.*')" ''
}

@test "fsck: a damaged layer is found, named with its image and container, and made again" {
    fsck_up busybox --rootfs-driver overlay
    pouch create --name user "$IMAGE" true >/dev/null
    local what
    hurt_flipped() { flip "$DIR/bin/busybox"; }
    hurt_mode() { chmod 700 "$DIR/bin/busybox"; }
    hurt_owner() { chown 5:5 "$DIR/home"; }
    hurt_time() { touch -d 2001-01-01 "$DIR/etc"; }
    hurt_gone() { rm "$DIR/bin/sh"; }
    hurt_more() { touch "$DIR/tmp/more"; }
    hurt_target() { ln -sf /elsewhere "$DIR/bin/sh"; touch -h -d "@1700000000" "$DIR/bin/sh"; }
    hurt_type() { rm "$DIR/bin/sh"; mkdir "$DIR/bin/sh"; }
    hurt_attribute() { setfattr -n user.x -v y "$DIR/bin/busybox" 2>/dev/null || setfattr -n trusted.x -v y "$DIR/bin/busybox"; }
    for what in flipped:content mode:mode owner:owner time:'modification time' gone: more: \
        target: type: attribute:'extended attributes'; do
        echo "# $what"
        "hurt_${what%%:*}"
        run pouch fsck
        is "$status" 1
        has "$output" "^layer sha256:$LAYER: /.*${what#*:}"
        has "$output" "images: $IMAGE"
        has "$output" "containers: $(pouch inspect -f '{{.Id}}' user)"
        has "$output" ' 1 problems, 0 repaired'
        run pouch fsck --repair
        is "$status" 0
        has "$output" 'made again from its blob'
        has "$output" ' 1 problems, 1 repaired'
        clean
    done
    # Not there at all.
    rm -rf "$DIR"
    run pouch fsck
    is "$status" 1
    has "$output" 'it is missing'
    run pouch fsck -y
    is "$status" 0
    clean
    sound
    is "$(find "$T/root/layers" -mindepth 1 -maxdepth 1 -name '*.*')" ''
}

# db STATEMENTS: to the database of a pouchd that is not running.
db() {
    python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript(sys.argv[2])' "$T/root/pouch.db" "$1"
}

@test "fsck: a repair whose transaction is lost leaves all as it was" {
    local driver hurt sum
    for driver in overlay erofs; do
        if [ $driver = erofs ] && [ "${POUCH_TEST_ROOTFS_DRIVER:-}" = overlay ]; then continue; fi
        fsck_up busybox --rootfs-driver $driver
        hurt=$DIR.erofs
        [ $driver = erofs ] || hurt=$DIR/bin/busybox
        # Its COMMIT fails, as on a full disk.
        pouchd_stop
        db 'CREATE TABLE nobody (id INTEGER PRIMARY KEY);
            CREATE TABLE lost (x INTEGER REFERENCES nobody (id) DEFERRABLE INITIALLY DEFERRED);
            CREATE TRIGGER lose AFTER UPDATE OF verity ON layers BEGIN INSERT INTO lost VALUES (1); END;'
        pouchd_start --rootfs-driver $driver
        flip "$hurt"
        sum=$(sha256sum <"$hurt")
        run pouch fsck --repair
        is "$status" 1
        has "$output" '1 problems, 0 repaired'
        is "$(sha256sum <"$hurt")" "$sum"
        # And with a container that runs on it.
        if pouch run -d --name runs --network none "$IMAGE" sleep 600 >/dev/null 2>&1; then
            run pouch fsck --repair
            is "$status" 1
            is "$(sha256sum <"$hurt")" "$sum"
        fi
        pouch rm -f runs >/dev/null 2>&1 || true
        is "$(find "$T/root/layers" -mindepth 1 -maxdepth 1 -name '*.*' ! -name '*.erofs')" ''
        pouchd_stop
        db 'DROP TRIGGER lose; DROP TABLE lost; DROP TABLE nobody;'
        pouchd_start --rootfs-driver $driver
        run pouch fsck --repair
        is "$status" 0
        clean
        sound
    done
}

@test "fsck: a running container keeps the layer it runs on, until it ends" {
    fsck_up busybox --rootfs-driver overlay
    pouch run -d --name runs --network none "$IMAGE" sleep 600 >/dev/null
    chmod 700 "$DIR/root/." "$DIR/var/log"
    run pouch fsck --repair
    is "$status" 0
    has "$output" 'containers that run keep the damaged one'
    is "$(pouch exec runs stat -c %a /var/log)" 700
    is "$(pouch run --rm --network none "$IMAGE" stat -c %a /var/log)" 755
    is "$(find "$T/root/layers" -maxdepth 1 -name 'old.*' | wc -l)" 1
    restart
    is "$(pouch exec runs stat -c %a /var/log)" 700
    is "$(find "$T/root/layers" -maxdepth 1 -name 'old.*' | wc -l)" 1
    pouch restart -t 0 runs >/dev/null
    is "$(pouch exec runs stat -c %a /var/log)" 755
    pouch rm -f runs >/dev/null
    restart
    is "$(find "$T/root/layers" -maxdepth 1 -name 'old.*' | wc -l)" 0
    clean
}

@test "fsck: a damaged layer that is an EROFS file, also while a container runs on it" {
    fsck_up busybox
    DIR=$DIR.erofs
    [ -f "$DIR" ] || skip "this kernel mounts no EROFS"
    clean
    pouch run -d --name runs --network none "$IMAGE" sleep 600 >/dev/null
    flip "$DIR"
    run pouch fsck
    is "$status" 1
    has "$output" "^layer sha256:$LAYER: /: content"
    has "$output" "containers: $(pouch inspect -f '{{.Id}}' runs)"
    run pouch fsck --repair
    is "$status" 0
    has "$output" 'containers that run keep the damaged one'
    is "$(pouch exec runs echo alive)" alive
    clean
    pouch restart -t 0 runs >/dev/null
    is "$(pouch exec runs echo again)" again
    pouch rm -f runs >/dev/null
    truncate -s 8192 "$DIR"
    run pouch fsck --repair
    is "$status" 0
    sound
    rm "$DIR"
    run pouch fsck --repair
    is "$status" 0
    sound
    # One that nobody can open (with fs-verity whose descriptor is lost: EINVAL).
    rm "$DIR"
    ln -s /elsewhere "$DIR"
    run pouch fsck
    is "$status" 1
    has "$output" "^layer sha256:$LAYER: it cannot be opened: Too many levels of symbolic links"
    run pouch fsck --repair
    is "$status" 0
    sound
    is "$(find "$T/root/layers" -mindepth 1 -maxdepth 1 ! -name '*.erofs')" ''
}

@test "fsck: damaged blobs are pulled again by digest, and with them damaged layers" {
    fsck_up many
    local one size
    for one in "$T/root/blobs/sha256"/*; do
        size=$(stat -c %s "$one")
        flip "$one"
        run pouch fsck --quick
        is "$status" 1
        has "$output" "^blob sha256:${one##*/}: its content has digest sha256:"
        has "$output" "images: $IMAGE"
        run pouch fsck --quick --repair
        is "$status" 0
        has "$output" "pulled again from $FAULTY/ok/many@sha256:"
        is "$(stat -c %s "$one")" "$size"
    done
    clean
    rm "$BLOB"
    run pouch fsck --quick
    is "$status" 1
    has "$output" 'cannot be opened: No such file'
    run pouch fsck --repair
    is "$status" 0
    if [ -d "$DIR" ]; then
        flip "$BLOB"
        echo x >"$DIR/bin/busybox"
        run pouch fsck --repair
        is "$status" 0
        has "$output" ' 2 problems, 2 repaired'
    fi
    clean
    is "$(pouch run --rm --network none "$IMAGE" sh -c 'cat /part/* | wc -c')" 4800000
}

@test "fsck: what came from no registry is put into quarantine; strays and orphans go" {
    fsck_up
    no_images
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    BLOB=$(largest "$T/root/blobs/sha256")
    flip "$BLOB"
    run pouch fsck --repair
    is "$status" 1
    has "$output" "not repaired, moved to blobs/quarantine/${BLOB##*/}: it came from no registry"
    [ -f "$T/root/blobs/quarantine/${BLOB##*/}" ]
    is "$(pouch run --rm --network none busybox echo runs)" runs
    # With the image itself again all is well.
    no_images
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    mkdir "$T/root/layers/$(printf '%064d' 0)"
    run pouch fsck
    is "$status" 1
    has "$output" 'file 0+: no layer has this name'
    run pouch fsck -y
    is "$status" 0
    clean
    rm -r "$T/root/blobs/quarantine"
}
