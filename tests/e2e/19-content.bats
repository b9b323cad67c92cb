# What a container sees of an image is, entry by entry, what other tools make of the same image: type, mode,
# owner, time, content, links, devices, extended attributes.
load helpers
load rich

setup_file() { pouchd_start; }
teardown_file() { file_down; }

# What an engine itself puts into a container: mount points and its files for names.
OURS=(proc/ sys/ dev/ etc/hosts etc/hostname etc/resolv.conf .dockerenv)
TOUCHED=(proc sys dev etc)

theirs() { # theirs LAYOUT IMAGE: the tree that umoci unpacks
    umoci unpack --image "$1:$2" "$T/tmp/bundle" >/dev/null 2>&1
    "$HERE/tree-list" "$T/tmp/bundle/rootfs" "${OURS[@]}" "${TOUCHED[@]/%//}" | without_touched
}

# Times of the folders that an engine makes its mount points in, and of the root, are its own.
without_touched() {
    awk -v names="${TOUCHED[*]}" 'BEGIN { split(names, n, " "); for (i in n) t["/" n[i]] = 1 }
        $1 in t { $4 = "-" } { print }'
}

ours() { # ours IMAGE: the tree in a container
    local pid
    pouch run -d --name content --network none --entrypoint sleep "$1" 600 >/dev/null
    pid=$(pouch inspect -f '{{.State.Pid}}' content)
    "$HERE/tree-list" "/proc/$pid/root" "${OURS[@]}" "${TOUCHED[@]/%//}" | without_touched
    pouch rm -f content >/dev/null
}
