# Other engines beside ours, each on a root of its own: Docker (Debian's dockerd and containerd) and
# Podman. For files that compare what they see, or hand images to them.

# others_up: starts dockerd; dcli, pod and skopeo then work. Ended by others_down.
others_up() {
    # The runtime's state folder that containerd always uses: this file's own.
    mkdir -p /run/containerd
    mount -t tmpfs tmpfs /run/containerd
    cat >"$T/containerd.toml" <<END
version = 2
root = "$T/ctd-root"
state = "$T/ctd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$T/ctd.sock"
END
    other_daemon containerd --config "$T/containerd.toml"
    within 30 ctr --address "$T/ctd.sock" version >/dev/null 2>&1
    other_daemon dockerd --data-root "$T/docker-root" --exec-root "$T/docker-run" --pidfile "$T/docker.pid" \
        --host "unix://$T/docker.sock" --containerd "$T/ctd.sock" --bridge none --iptables=false \
        --cgroup-parent "/$CGROUP_PARENT"
    within 60 dcli version >/dev/null 2>&1
}

# other_daemon NAME ARGUMENT...: bats waits for whoever holds its pipes, so it gets none.
other_daemon() {
    local name=$1
    (
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
        exec "$@" >"$T/$name.log" 2>&1 </dev/null
    ) &
    echo $! >"$T/$name.pid"
    disown
}

others_down() {
    local name
    dcli ps -aq 2>/dev/null | xargs -r /usr/bin/docker -H "unix://$T/docker.sock" rm -f >/dev/null 2>&1 || true
    pod rm -af -t 0 >/dev/null 2>&1 || true
    for name in dockerd containerd; do
        [ -s "$T/$name.pid" ] || continue
        kill "$(cat "$T/$name.pid")" 2>/dev/null || true
        gone "$(cat "$T/$name.pid")"
    done
}

dcli() { timeout 120 /usr/bin/docker -H "unix://$T/docker.sock" "$@" 3>&-; }
pod() {
    timeout 120 env -u DOCKER_CONFIG podman --root "$T/pod-root" --runroot "$T/pod-run" --tmpdir "$T/pod-tmp" --cgroup-manager cgroupfs \
        --events-backend none --storage-driver vfs --runtime "$POUCH_BIN/pouch-oci" "$@" 3>&-
}

# clear_all WHO: all containers and images go; images that others were made of after these.
clear_all() {
    local id pass
    for id in $($1 ps -aq); do $1 rm -f "$id" >/dev/null; done
    for pass in 1 2 3 4 5 6 7 8; do
        for id in $($1 images -aq | sort -u); do $1 rmi -f "$id" >/dev/null 2>&1 || true; done
        [ -n "$($1 images -aq)" ] || return 0
    done
    fail "$1 keeps images after pass $pass: $($1 images -a)"
}
