# sanitizers: yes
# What a layer may hold comes out right; what a hostile layer aims at stays untouched.
load helpers

setup_file() {
    pouchd_start
    registry_start
    pouch load -q -i "$POUCH_IMAGES/corners.docker.tar" >/dev/null
    pouch run -d --name corners --network none corners sleep 3600 >/dev/null
}
teardown_file() {
    pouch rm -f corners >/dev/null || true
    file_down
}
remove_all() { :; } # the container above serves the whole file

in_corners() { pouch exec corners "$@"; }

@test "whiteouts remove, opaque folders hide, files and folders change places" {
    is "$(in_corners sh -c 'ls -A /data | grep -cE "^(gone|gonedir|\.wh)"')" 0
    is "$(in_corners cat /data/stays)" 'from layer one'
    is "$(in_corners cat /data/changed)" new
    is "$(in_corners ls -A /data/opaque)" new
    is "$(in_corners stat -c %a /data/opaque)" 711
    is "$(in_corners cat /data/file-then-dir/in)" in
    is "$(in_corners cat /data/dir-then-file)" 'now a file'
    is "$(in_corners cat /data/link-then-dir/in)" in
    is "$(in_corners stat -c %F /data/link-then-dir)" directory
}

@test "hard links stay one file" {
    is "$(in_corners stat -c '%h %u %g %a' /data/one)" '3 1000 1000 640'
    is "$(in_corners sh -c 'stat -c %i /data/one /data/two /data/three | sort -u | wc -l')" 1
    is "$(in_corners cat /data/three)" linked
}

@test "owners, modes and times" {
    is "$(in_corners stat -c '%u %g %a %Y' /data/changed)" '1000 10 600 1700000005'
    is "$(in_corners stat -c '%u %g %Y' /data/to-symlink)" '1000 1000 1700000007'
    is "$(in_corners stat -c %a /data/setuid)" 4755
    is "$(in_corners stat -c '%a %g' /data/sticky)" '3777 10'
    is "$(in_corners stat -c '%u %g' /data/bigid)" '3000000 4000000'
    is "$(in_corners stat -c %Y /data/old)" 1
    is "$(in_corners stat -c %Y /data/readonlydir)" 1700000000
    is "$(in_corners stat -c '%a' /data/readonlydir)" 555
    is "$(in_corners stat -c '%a' /data/readonlydir/in)" 444
}

@test "device nodes and fifos" {
    is "$(in_corners stat -c '%F %t %T %a' /data/null)" 'character special file 1 3 666'
    is "$(in_corners stat -c '%F %t %T %g' /data/block)" 'block special file 7 0 10'
    is "$(in_corners stat -c '%F %a' /data/fifo)" 'fifo 600'
}

@test "extended attributes and capabilities" {
    local pid
    pid=$(pouch inspect -f '{{.State.Pid}}' corners)
    is "$(getfattr --absolute-names --only-values -n user.pouch "/proc/$pid/root/data/xattr")" 'a value'
    has "$(getcap "/proc/$pid/root/data/xattr")" 'cap_net_raw'
    is "$(getfattr --absolute-names --only-values -n trusted.pouch "/proc/$pid/root/data/xattrdir")" kept
}

@test "long names, unicode, newlines, parents that no entry made" {
    is "$(in_corners sh -c 'find /data/d* -type f -name "nnn*" -exec cat {} +')" 'long pax'
    is "$(in_corners sh -c 'find /data/gnu -type f -exec cat {} +')" 'long gnu'
    is "$(in_corners readlink /data/longlink | tr -d '\n' | wc -c)" 300
    is "$(in_corners readlink /data/gnulink | tr -d '\n' | wc -c)" 300
    is "$(in_corners cat '/data/späße 你好')" unicode
    is "$(in_corners cat $'/data/new\nline')" newline
    is "$(in_corners cat /implied/parents/are/made)" yes
}

@test "sparse files are whole and stay sparse" {
    local fmt
    for fmt in pax gnu; do
        is "$(in_corners stat -c %s /data/sparse-$fmt)" 8388608
        is "$(in_corners sh -c "dd if=/data/sparse-$fmt bs=1 skip=4194304 count=6 2>/dev/null")" middle
        is "$(in_corners tail -c 4 /data/sparse-$fmt)" tail
        # EROFS counts a file's blocks by its size: there the layer's file tells.
        [ -n "$(find "$T/root/layers" -name '*.erofs')" ] ||
            [ "$(in_corners stat -c %b /data/sparse-$fmt)" -lt 2000 ]
    done
    [ "$(du -sk "$T/root/layers" | cut -f1)" -lt 8192 ] # two of 8 MiB are in there
}

@test "a pulled image is the same as a loaded one" {
    "$POUCH_TOP/tools/make-images" push "$REGISTRY" corners:latest
    pouch pull -q "$REGISTRY/corners:latest" >/dev/null
    local list='find /data -exec stat -c "%n %F %a %u %g %s %Y %h" {} + | sort'
    is "$(pouch run --rm --network none "$REGISTRY/corners:latest" sh -c "$list" | md5sum)" \
        "$(in_corners sh -c "$list" | md5sum)"
}

@test "hostile layers touch nothing outside" {
    local name victim=/tmp/pouch-hostile
    # The layers aim at a fixed place: another run of this test waits its turn.
    exec 9</tmp
    flock 9
    rm -rf "$victim"
    mkdir -m 700 "$victim"
    echo safe >"$victim/victim"
    chmod 600 "$victim/victim"
    for name in $(jq -r '.manifests[].annotations["io.containerd.image.name"]' \
        "$POUCH_IMAGES/layout/index.json" | grep '^hostile-'); do
        "$POUCH_TOP/tools/make-images" push "$REGISTRY" "$name"
        run timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$REGISTRY/$name"
        echo "$name: status $status: ${lines[-1]:-}"
        [ "$status" -le 1 ] || fail "$name: pull ended with $status"
        is "$(cat "$victim/victim")" safe
        is "$(ls -A "$victim")" victim
        is "$(stat -c '%a %u' "$victim" | tr -d '\n')" '700 0'
        is "$(stat -c '%a %h' "$victim/victim" | tr -d '\n')" '600 1'
        # Either it was refused, in a line that names the entry, or it stayed inside.
        if [ "$status" -eq 0 ]; then
            run pouch run --rm --network none "$REGISTRY/$name" true
            is "$(cat "$victim/victim")" safe
        fi
    done
    rm -rf "$victim"
    exec 9<&-
    pouch version >/dev/null # the daemon is well
}

@test "a name out of an archive puts nothing on the terminal that it would obey" {
    python3 - "$POUCH_TOP/tools" >"$T/tmp/evil.tar" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
from ocilib import entry, tar
sys.stdout.buffer.write(tar([entry("\x1b[31mred\x07", "x", uid=5000000000)]))
END
    run -1 pouch import "$T/tmp/evil.tar"
    has "$output" ': *\[31mred  has an impossible owner'
    lacks "$output" $'\033|\007'
    printf 'x' >"$T/tmp/file"
    tar -C "$T/tmp" -cf "$T/tmp/good.tar" file
    run -0 pouch import -m "$(printf 'a\033[31mb')" "$T/tmp/good.tar" red:1
    is "$(pouch history --format '{{.Comment}}' red:1)" 'a [31mb'
    pouch rmi red:1 >/dev/null
    rm "$T"/tmp/{evil.tar,good.tar,file}
}
