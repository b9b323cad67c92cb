# What a container sees of its image equals, entry by entry, what umoci and Docker make of it: type, mode,
# owner, time, content, link target, device, hard links, extended attributes.
load helpers
load others

setup_file() {
    pouchd_start
    registry_start
    others_up
    mkdir "$T/layouts"
    "$HERE/nasty-image" "$T/layouts/nasty"
    "$HERE/nastier-image" "$T/layouts/nastier"
    "$POUCH_TOP/tools/make-images" push "$REGISTRY" busybox:latest
    python3 - "$POUCH_TOP/tools" "$REGISTRY" "$T/layouts/nasty" "$T/layouts/nastier" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
import ocilib
for name in "nasty:latest", "corners:latest":
    ocilib.Registry(sys.argv[2]).push_from_layout(sys.argv[3], name)
for name in "nastier:latest", "again:latest":
    ocilib.Registry(sys.argv[2]).push_from_layout(sys.argv[4], name)
END
}
teardown_file() {
    others_down
    rm -rf "$T/layouts" "$T/unpacked"
    file_down
}
teardown() { remove_all; }

# trees NAME [nodocker|noumoci]: Pouch's and Docker's container of an image, and umoci's folder, all without
# what either mounts.
trees() {
    local name=$REGISTRY/$1 ours theirs=self skip
    dcli rm -f content >/dev/null 2>&1 || true
    pouch pull -q "$name" >/dev/null
    pouch run -d --name content --network none "$name" /bin/sleep 3600 >/dev/null
    ours=$(pouch inspect -f '{{.State.Pid}}' content)
    theirs=$ours
    if [ "${2:-}" != nodocker ]; then
        dcli pull -q "$name" >/dev/null
        dcli run -d --name content --network none "$name" /bin/sleep 3600 >/dev/null
        theirs=$(dcli inspect -f '{{.State.Pid}}' content)
    fi
    # what one of them mounts is left out of all three; Docker makes /.dockerenv
    skip=$(awk '$5 != "/" {print $5}' "/proc/$ours/mountinfo" "/proc/$theirs/mountinfo" | sort -u | sed 's/^/--skip /')
    skip="$skip --skip /.dockerenv --skip /proc --skip /sys --skip /dev --skip /etc/hosts --skip /etc/hostname --skip /etc/resolv.conf --skip /etc/mtab"
    # shellcheck disable=SC2086
    "$HERE/tree-compare" "/proc/$ours/root" $skip >"$T/tmp/ours"
    # shellcheck disable=SC2086
    "$HERE/tree-compare" "/proc/$theirs/root" $skip >"$T/tmp/docker"
    [ "${2:-}" = noumoci ] || umoci_tree "$name" "$skip"
    if [ "${2:-}" != nodocker ]; then
        dcli rm -f content >/dev/null
        dcli rmi "$name" >/dev/null
    fi
    pouch rm -f content >/dev/null
    pouch rmi "$name" >/dev/null
}

# umoci_tree NAME SKIP
umoci_tree() {
    local name=$1 skip=$2
    rm -rf "$T/unpacked" "$T/layouts/copy"
    skopeo copy -q --src-tls-verify=false "docker://$name" "oci:$T/layouts/copy:x"
    umoci unpack --image "$T/layouts/copy:x" "$T/unpacked" >"$T/tmp/umoci.log" 2>&1 || fail "$(cat "$T/tmp/umoci.log")"
    rm "$T/tmp/umoci.log"
    # shellcheck disable=SC2086
    "$HERE/tree-compare" "$T/unpacked/rootfs" $skip >"$T/tmp/umoci"
    rm -rf "$T/unpacked"
}

# equal A B: no entry differs.
equal() {
    "$HERE/tree-compare" --compare "$T/tmp/$1" "$T/tmp/$2" "$BEGAN" >"$T/tmp/differ"
    [ ! -s "$T/tmp/differ" ] || fail "$1 and $2 differ: $(head -c 6000 "$T/tmp/differ")"
}

# compare NAME LEAST [nodocker|noumoci]: all are equal and have at least that many entries.
compare() {
    local BEGAN=$(($(date +%s) - 60))
    trees "$1" "${3:-}"
    [ "$(wc -l <"$T/tmp/ours")" -ge "$2" ] || fail "only $(wc -l <"$T/tmp/ours") entries"
    [ "${3:-}" = noumoci ] || equal ours umoci
    equal ours docker
    rm -f "$T"/tmp/{ours,docker,umoci,differ}
}

# with DRIVER: a pouchd that unpacks to folders, or makes EROFS files, where this kernel can.
with() {
    pouchd_stop
    pouchd_start --rootfs-driver "$1" && return
    pouchd_start
    skip "pouchd --rootfs-driver $1 does not start here"
}

@test "busybox" { compare busybox:latest 10; }
@test "every kind of entry, whiteouts, opaque folders, long names, sparse files: overlay" {
    with overlay
    # Docker gives all names of a file the mode and owner of the last hard link's entry; umoci and Pouch
    # take those of the file itself.
    compare corners:latest 40 nodocker
}
@test "times before 1970 and of nanoseconds, set-id, devices, attributes, links: overlay" {
    with overlay
    compare nasty:latest 45
}
@test "every kind of entry, whiteouts, opaque folders, long names, sparse files: erofs" {
    with erofs
    compare corners:latest 40 nodocker
}
@test "times before 1970 and of nanoseconds, set-id, devices, attributes, links: erofs" {
    with erofs
    compare nasty:latest 45
}
@test "depth, types that change, names that are no text, 300 hard links, every tar format, empty layers: overlay" {
    with overlay
    # umoci has folders that a layer only implies keep what they were; and no global pax headers.
    compare nastier:latest 550 noumoci
}
@test "the same path several times in one layer: overlay" {
    with overlay
    compare again:latest 15 nodocker
}
@test "depth, types that change, names that are no text, 300 hard links, every tar format, empty layers: erofs" {
    with erofs
    # umoci has folders that a layer only implies keep what they were; and no global pax headers.
    compare nastier:latest 550 noumoci
}
@test "the same path several times in one layer: erofs" {
    with erofs
    compare again:latest 15 nodocker
}
