# Disk budgets: btrfs quota groups and file systems in images. Project quota of ext4 and xfs needs
# another kernel: tests/vm/inside-quota.
load helpers

setup_file() {
    local driver
    command -v mkfs.btrfs >/dev/null || { echo "mkfs.btrfs is missing (btrfs-progs)" >&2; return 1; }
    truncate -s 2G "$T/btrfs.img"
    mkfs.btrfs -q "$T/btrfs.img" >/dev/null 2>&1
    mkdir -p "$T/root"
    mount -o loop "$T/btrfs.img" "$T/root"
    for driver in btrfs image; do
        mkdir -p "$T/$driver"
    done
    file_up
}

teardown_file() {
    file_down
    umount "$T/root"
    [ -z "$(losetup -n -O BACK-FILE | grep -F "$T/" | grep -v "$T/btrfs.img" || true)" ]
}

# with DRIVER FUNCTION: pouchd anew with this driver.
with() {
    pouchd_stop
    pouchd_start --quota-driver "$1"
    DRIVER=$1
    no_volumes
    "$2"
    remove_all
    no_volumes
    settled
}
each_driver() {
    with btrfs "$1"
    with image "$1"
    pouchd_stop
    pouchd_start
}

inside() { ctl run --rm --network none "$@"; }
# Writes to FILE until it is stopped, 40 MiB at most; MiB (rounded) and whether it was.
FILL='fill() { dd if=/dev/zero of=$1 bs=64k count=640 2>/dev/null; r=$?; s=$(stat -c %s $1 2>/dev/null || echo 0); echo $(((s + 600000) / 1048576)) $r; }'
fill() { # fill CONTAINER FILE...
    local name=$1
    shift
    ctl exec -u 0 "$name" sh -c "$FILL"'; for f; do fill $f; done' sh "$@"
}
budgets() {
    curl -s --unix-socket "$SOCK" http://pouch/_ping >/dev/null
    sqlite_budgets
}
# What is on record: a copy of the database is read, as pouchd holds the original; it writes nothing meanwhile.
sqlite_budgets() {
    local copy
    copy=$(mktemp -d "$T/tmp/db.XXXX")
    kill -STOP "$(pouchd_pid)"
    cp "$T"/root/pouch.db* "$copy/" || { kill -CONT "$(pouchd_pid)"; return 1; }
    kill -CONT "$(pouchd_pid)"
    python3 -c 'import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute("SELECT owner, rule, id, driver, bytes, inodes FROM quota_budgets ORDER BY owner, rule"):
    print(*row)' "$copy/pouch.db"
    rm -rf "$copy"
}
no_volumes() {
    local all
    all=$(pouch volume ls -q)
    # shellcheck disable=SC2086
    [ -z "$all" ] || pouch volume rm $all >/dev/null
}
no_budgets() { [ -z "$(budgets)" ]; }
no_disks() { [ -z "$(ls "$T/root/disks" 2>/dev/null)" ]; }
no_images() { ! losetup -n -O BACK-FILE | grep -qF "$T/root/disks"; }
no_groups() { # of level 1; those of removed subvolumes the kernel takes away itself
    ! btrfs qgroup show "$T/root" 2>/dev/null | grep -q '^1/'
}
no_mounts() { ! awk '{print $5}' /proc/self/mountinfo | grep -qF "$T/root/"; } # (layer files are mounted elsewhere)
settled() {
    within 10 no_budgets
    within 10 no_disks
    within 10 no_images
    within 10 no_mounts
    within 10 no_groups
}

limited() {
    is "$(inside --disk-quota 12m busybox sh -c "$FILL; fill /x")" "12 1"
    is "$(inside --disk-quota /=12m busybox sh -c "$FILL; fill /x; rm /x; fill /y")" $'12 1\n12 1'
    is "$(inside --storage-opt size=12m busybox sh -c "$FILL; fill /x")" "12 1"
    is "$(inside busybox sh -c "$FILL; fill /x")" "40 0"
    settled
}
@test "the root file system is limited, by each of the ways to say it" { each_driver limited; }

@test "docker's --storage-opt size" {
    CLI=/usr/bin/docker
    [ -x "$CLI" ] || skip "no docker command line"
    is "$(inside --storage-opt size=12m busybox sh -c "$FILL; fill /x")" "12 1"
    CLI=pouch
    settled
}

@test "df tells the limit of an image" {
    tells() {
        local free
        free=$(inside --disk-quota 20m busybox df -k / | awk 'NR == 2 {print $4}')
        [ "$free" -ge 20400 ] && [ "$free" -le 21200 ] || fail "free: $free KiB"
        free=$(inside --disk-quota 20m,inodes=3000 busybox df -i / | awk 'NR == 2 {print $4}')
        [ "$free" -ge 2990 ] && [ "$free" -le 3700 ] || fail "free: $free inodes"
    }
    with image tells
    with btrfs true
}

volumes() {
    ctl volume create -o size=12m sized >/dev/null
    is "$(ctl volume inspect -f '{{.Options.size}}' sized)" 12m
    # Content of the image comes into it, and its own size wins over the container's rule.
    is "$(inside -v sized:/www --disk-quota /=16m busybox sh -c "$FILL; cat /www/index.html; fill /www/x; fill /x")" \
        $'it works\n12 1\n16 1'
    # It is limited without any rule, too, and by --mount.
    is "$(inside -v sized:/www busybox sh -c "$FILL; rm /www/x; fill /www/x")" "12 1"
    is "$(inside --mount type=volume,src=made,dst=/m,volume-opt=size=8m busybox sh -c "$FILL; fill /m/x")" "8 1"
    has "$(budgets)" '^volume:sized size [0-9]+ '"$DRIVER"' 12582912 0$'
    pouchd_stop
    pouchd_start --quota-driver "$DRIVER"
    is "$(inside -v sized:/www busybox sh -c "$FILL; cat /www/index.html; rm /www/x; fill /www/x")" $'it works\n12 1'
    ctl volume rm sized made >/dev/null
    settled
}
@test "volumes with a size of their own" { each_driver volumes; }

each_own() {
    ctl run -d --name own --network none -v ca:/a -v cb:/b --disk-quota '/a=8m,.*=12m' busybox sleep 600
    is "$(fill own /a/x /b/x /x)" $'8 1\n12 1\n12 1'
    is "$(budgets | wc -l)" 3
    ctl rm -f own
    ctl volume rm ca cb
    settled
}
@test "a pattern gives each mount its own budget; the exact path wins" { each_driver each_own; }

@test "budgets shared by mounts, and one for everything" {
    shared() {
        ctl run -d --name sh1 --network none -v ca:/a -v cb:/b --disk-quota '/&/a=12m' busybox sleep 600
        is "$(fill sh1 /a/x /x)" $'12 1\n0 1'
        is "$(fill sh1 /b/x)" "40 0"
        ctl rm -f sh1
        # The container is gone: the volume is free, its content is there.
        is "$(inside -v ca:/a busybox sh -c "$FILL; ls /a; fill /a/y")" $'x\n40 0'
        ctl volume rm ca cb
        ctl run -d --name sh2 --network none -v ca:/a --disk-quota 12m busybox sleep 600
        has "$(ctl inspect -f '{{.Config.QuotaId}}' sh2)" '^167772[0-9]+$'
        is "$(ctl inspect -f '{{json .Config.DiskQuota}}' sh2)" '{".*":"12m"}'
        is "$(fill sh2 /a/x /x)" $'12 1\n0 1'
        ctl rm -f sh2
        ctl volume rm ca
    }
    with btrfs shared
    none() {
        ctl volume create other >/dev/null
        run ctl run --rm --network none -v other:/a --disk-quota 12m busybox true
        [ "$status" -eq 125 ]
        has "$output" 'image cannot let several folders share one budget: give each its own'
        ctl volume rm other
    }
    with image none
    with btrfs true
}

live() {
    ctl run -d --name live --network none --disk-quota /=8m busybox sleep 600
    is "$(fill live /x)" "8 1"
    ctl update --disk-quota /=16m live
    is "$(fill live /x)" "16 1"
    ctl restart -t 0 live
    is "$(fill live /x)" "16 1"
    is "$(ctl inspect -f '{{index .Config.DiskQuota "/"}}' live)" 16m
    ctl update --disk-quota /=0 live
    is "$(fill live /x)" "40 0"
    run ctl update --disk-quota /nowhere=5m live
    [ "$status" -ne 0 ]
    has "$output" '/nowhere is not a mount point'
    is "$(ctl inspect -f '{{json .Config.DiskQuota}}' live)" '{"/":"0"}'
    ctl rm -f live
    settled
}
@test "update changes a limit while the container runs" { with btrfs live; }

@test "an image grows where the kernel lets it, and says so where not" {
    grow() {
        ctl run -d --name live --network none --disk-quota /=8m busybox sleep 600
        run ctl update --disk-quota /=16m live
        if [ "$status" -eq 0 ]; then
            is "$(fill live /x)" "16 1"
        else
            has "$output" 'CAP_SYS_RESOURCE'
            is "$(ctl inspect -f '{{index .Config.DiskQuota "/"}}' live)" 8m
            is "$(fill live /x)" "8 1"
        fi
        run ctl update --disk-quota /=4m live
        [ "$status" -ne 0 ]
        has "$output" 'cannot be made smaller'
        run ctl update --disk-quota /=0 live
        [ "$status" -ne 0 ]
        one_line 'disk quota /: a file system in an image has a size as long as it exists'
        ctl rm -f live
        ctl run -d --name live --network none -v small:/a --disk-quota /a=8m busybox sleep 600
        run ctl update --disk-quota /a=4m live
        [ "$status" -ne 0 ]
        one_line 'disk quota of volume small: .* cannot be made smaller'
        ctl rm -f live
        ctl volume rm small
    }
    with image grow
    with btrfs true
}

full() {
    # Full to the brim, also by the files that the engine binds in: it starts again, and stays limited.
    ctl run -d --name full --network none --disk-quota 8m busybox \
        sh -c 'cat /dev/zero >/x; cat /dev/zero >>/etc/hosts; cat /dev/zero >>/etc/resolv.conf; sleep 600'
    within 20 eval '[ "$(ctl exec full sh -c "pidof cat || echo none")" = none ]'
    ctl restart -t 0 full
    is "$(ctl inspect -f '{{.State.Status}}' full)" running
    within 20 eval '[ "$(ctl exec full sh -c "pidof cat || echo none")" = none ]'
    is "$(fill full /z)" "0 1"
    ctl exec full rm /x
    ctl rm -f full
    settled
}
@test "a full container starts again and stays limited" { each_driver full; }

logs() {
    ctl run -d --name talk --network none --disk-quota 16m busybox \
        sh -c 'i=0; while [ $i -lt 60 ]; do dd if=/dev/urandom bs=64k count=8 2>/dev/null | base64; i=$((i + 1)); done; echo last line'
    ctl wait talk
    is "$(ctl logs --tail 1 talk)" 'last line'
    [ "$(du -sk "$T"/root/containers/*/*-json.log* | awk '{n += $1} END {print n}')" -lt 2000 ]
    ctl rm -f talk
    settled
}
@test "logs count and are rotated within the budget" { with btrfs logs; }

refused() { # refused WORDS ARGUMENT...: create says so, and nothing is made
    local words=$1
    shift
    run ctl create --network none "$@" busybox true
    [ "$status" -ne 0 ] || fail "was taken: $*"
    has "$output" "$words"
}
@test "what makes no sense or cannot be is refused with the way out" {
    mkdir -p "$T/root/tmp" "$T/tmp/host"
    refused 'expected a size above 0' --disk-quota 0
    refused 'expected a size above 0' --disk-quota /=ten
    refused '= is there twice' --disk-quota /=1g=2g
    refused 'given twice' --disk-quota 1g,2g
    refused 'nothing before the =' --disk-quota =1g
    refused 'clean absolute path' --disk-quota '/&a=1g' -v va:/a
    refused '/data is not a mount point' --disk-quota /data=1g
    refused 'it is a tmpfs' --disk-quota /data=1g --tmpfs /data
    refused 'mounted read-only' --disk-quota /data=1g -v va:/data:ro
    refused 'no writable mount of the container matches' --disk-quota '/data.*=1g'
    refused 'two rules' --disk-quota '/=1g,/&/a=1g' -v va:/a
    refused 'needs a --disk-quota' --quota-id 16777217
    refused 'makes one budget, but there are 2 rules' --quota-id -1 --disk-quota '/=1g,.*=2g'
    refused 'must be above 16777216' --quota-id 5 --disk-quota 1g
    refused 'two sizes' --storage-opt size=1g --disk-quota /=2g
    refused 'unknown storage option' --storage-opt dm.basesize=1g
    refused 'cannot limit the number of files' --disk-quota 1g,inodes=5
    refused 'is a folder, and btrfs limits only subvolumes' --disk-quota 1g -v "$T/root/tmp:/data"
    refused 'different kinds of file system|is not on btrfs' --disk-quota 1g -v "$T/tmp/host:/data"
    run ctl volume create -o size=none bad
    has "$output" 'volume option size'
    run ctl volume create -o size=1g -o type=none -o o=bind -o device=/tmp bad
    has "$output" 'cannot be given together'
    is "$(ctl volume ls -q | grep -c bad || true)" 0
    ctl volume rm -f va
    is "$(ctl ps -aq | wc -l)" 0
    rmdir "$T/root/tmp"
    settled
}

@test "--quota-driver none refuses what it cannot keep" {
    pouchd_stop
    pouchd_start --quota-driver none
    refused 'disk quota is switched off: start pouchd with --quota-driver=auto' --disk-quota 1g
    run ctl volume create -o size=1g sized
    has "$output" 'switched off'
    is "$(inside busybox echo still)" still
    pouchd_stop
    run "$POUCH_BIN/pouchd" --root "$T/other" --state "$T/other-run" --host "unix://$T/o.sock" --quota-driver magic
    [ "$status" -ne 0 ]
    has "$output" 'there is: auto, btrfs, project, image, none'
    rm -rf "$T/other" "$T/other-run"
    pouchd_start
}

ids() { budgets | awk '{print $3}'; }
@test "ids: from the pool, one's own, shared, given back, not the next one's" {
    no_volumes
    local first
    ctl create --name one --network none --disk-quota 16m busybox true
    first=$(ids)
    [ "$first" -gt 16777216 ]
    is "$(ctl inspect -f '{{.Config.QuotaId}}' one)" "$first"
    ctl rm one
    settled
    ctl create --name two --network none --disk-quota 16m busybox true
    [ "$(ids)" != "$first" ] || fail "the id was given out again at once"
    ctl rm two
    ctl create --name mine --network none --disk-quota 16m --quota-id 16999999 busybox true
    ctl create --name same --network none --disk-quota 16m --quota-id 16999999 busybox true
    is "$(ids | sort -u)" 16999999
    ctl rm mine
    has "$(btrfs qgroup show "$T/root")" '^1/16999999 '
    ctl rm same
    # A group that is there already, of an administrator's or another engine's, is passed by.
    ctl create --name next --network none --disk-quota 16m busybox true
    first=$(ids)
    btrfs qgroup create "1/$((first + 1))" "$T/root"
    ctl create --name after --network none --disk-quota 16m busybox true
    lacks "$(ids)" "^$((first + 1))\$"
    ctl rm next after
    btrfs qgroup destroy "1/$((first + 1))" "$T/root"
    settled
}

@test "a volume in two budgets is refused, and free when the first is gone" {
    ctl create --name one --network none -v va:/a --disk-quota /a=16m busybox true
    refused 'is limited already, for' -v va:/a --disk-quota /a=16m
    ctl rm one
    is "$(inside -v va:/a --disk-quota /a=8m busybox sh -c "$FILL; fill /a/x")" "8 1"
    ctl volume rm va
    settled
}

killed() {
    local round
    ctl volume create -o size=8m keep >/dev/null
    ctl run -d --name runs --network none -v keep:/keep --disk-quota /=8m busybox sleep 600
    for round in 1 2 3 4 5; do
        for _ in 1 2 3; do
            (ctl run --rm --network none -v "v$round:/a" --disk-quota '/=8m,/a=8m' busybox true >/dev/null 2>&1 &)
        done
        sleep "0.0$((round * 17 % 97))"
        pouchd_kill
        pouchd_start --quota-driver "$DRIVER"
        is "$(fill runs /x /keep/x)" $'8 1\n8 1'
    done
    ctl rm -f runs
    within 10 eval 'remove_all; [ -z "$(ctl ps -aq)" ]'
    ctl volume rm $(ctl volume ls -q)
    settled
}
@test "pouchd killed at any moment: limits hold, nothing is left" { each_driver killed; }

userns() {
    ctl run -d --name un --userns auto --network none -v va:/a --disk-quota '/=8m,/a=12m' busybox sleep 600
    is "$(fill un /x /a/x)" $'8 1\n12 1'
    ctl restart -t 0 un
    is "$(fill un /x /a/x)" $'8 1\n12 1'
    ctl rm -f un
    ctl volume rm va
    settled
}
@test "with a user namespace" { each_driver userns; }

@test "an upgrade keeps the budget" {
    upgrade() {
        pouch load -q -i "$POUCH_IMAGES/configured.docker.tar" >/dev/null
        ctl run -d --name up --network none --stop-signal KILL --disk-quota /=16m busybox sleep 600
        ctl exec up sh -c 'echo old >/old'
        ctl upgrade --image configured --entrypoint sleep --grace 1 up 600
        is "$(budgets | wc -l)" 1
        is "$(fill up /x)" "16 1"
        ctl rm -f up
        settled
    }
    each_driver upgrade
}

@test "an image is mounted again when its mount is gone" {
    again() {
        ctl create --name stopped --network none --disk-quota /=8m busybox cat /file
        echo kept >"$T/tmp/file"
        echo kept | tee "$T"/root/containers/*/diff/file >/dev/null 2>&1 || true
        pouchd_stop # nothing runs: images are unmounted
        within 5 no_mounts
        no_images
        pouchd_start --quota-driver image
        has "$(cat /proc/self/mountinfo)" "$T/root/containers/"
        ctl start stopped
        ctl wait stopped
        rm -f "$T/tmp/file"
    }
    with image again
    with btrfs true
}
