# What a container sees of an image is, entry by entry, what other tools make of the same image: type, mode,
# owner, time, content, links, devices, extended attributes.
load helpers
load rich

setup_file() { pouchd_start; }
teardown_file() { file_down; }

# What an engine itself puts into a container: mount points and its files for names.
OURS=(proc/ sys/ dev/ etc/hosts etc/hostname etc/resolv.conf .dockerenv)
TOUCHED=(proc sys dev etc)

listed() { "$HERE/tree-list" "$1" "${OURS[@]}" "${TOUCHED[@]/%//}" | without_touched; }

by_umoci() { # by_umoci ARCHIVE: the tree that umoci unpacks
    skopeo copy -q "oci-archive:$1" "oci:$T/tmp/oci:it"
    umoci unpack --image "$T/tmp/oci:it" "$T/tmp/bundle" >"$T/tmp/umoci.log" 2>&1 || cat "$T/tmp/umoci.log"
    listed "$T/tmp/bundle/rootfs"
    rm -rf "$T/tmp/bundle" "$T/tmp/oci" "$T/tmp/umoci.log"
}

by_podman() { # by_podman ARCHIVE IMAGE: the tree that podman mounts
    local podman=(podman --root "$T/tmp/podman" --runroot "$T/tmp/podman-run" --storage-driver overlay
                  --cgroup-manager cgroupfs)
    "${podman[@]}" load -q -i "$1" >/dev/null
    listed "$("${podman[@]}" image mount "$2")"
    "${podman[@]}" image umount -a >/dev/null
    umount -q "$T/tmp/podman/overlay" || true
    rm -rf "$T/tmp/podman" "$T/tmp/podman-run"
}

# Of the folders that an engine makes its mount points in, or mounts over, the time and mode are its own;
# folders without an entry in the archive are as old as somebody finds right.
without_touched() {
    awk -v names="${TOUCHED[*]} usr www" 'BEGIN { split(names, n, " "); for (i in n) t["/" n[i]] = 1 }
        $1 in t { $2 = $4 = "-" } { print }'
}

ours() { # ours IMAGE: the tree in a container
    local pid
    pouch run -d --name content --network none --entrypoint sleep "$1" 600 >/dev/null
    pid=$(pouch inspect -f '{{.State.Pid}}' content)
    listed "/proc/$pid/root"
    pouch rm -f content >/dev/null
}

same() { # same IMAGE LEAST: as the other tool's tree in $T/tmp/theirs, which has so many entries at least
    ours "$1" >"$T/tmp/ours"
    diff "$T/tmp/theirs" "$T/tmp/ours" | head -20
    is "$(cmp "$T/tmp/theirs" "$T/tmp/ours" && echo same)" same
    [ "$(wc -l <"$T/tmp/ours")" -ge "$2" ]
    rm -f "$T/tmp/theirs" "$T/tmp/ours"
}

# (Neither umoci nor podman can read the sparse files of the image "corners": 11-layers.bats looks at that one.)
@test "an image of several layers is as podman mounts it" {
    pouch load -q -i "$POUCH_IMAGES/busybox-init.docker.tar" >/dev/null
    by_podman "$POUCH_IMAGES/busybox-init.docker.tar" busybox-init:latest >"$T/tmp/theirs"
    same busybox-init:latest 200
}

@test "Debian is as umoci unpacks it" {
    pouch load -q -i "$(debian_images)/debian.oci.tar" >/dev/null
    by_umoci "$(debian_images)/debian.oci.tar" >"$T/tmp/theirs"
    same debian:latest 5000
}
