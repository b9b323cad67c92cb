# pouch-oci as the runtime of other engines: containerd, Docker, Podman.
bats_require_minimum_version 1.5.0

HERE=$POUCH_TOP/tests/e2e
IMAGE=$POUCH_IMAGES/busybox.docker.tar
CGROUP_PARENT=$(basename "$(dirname "$T")")-$(basename "$T")

fail() {
    echo "$*"
    return 1
}
is() { [ "$1" = "$2" ] || fail "expected '$2', got '$1'"; }
has() { grep -qE -- "$2" <<<"$1" || fail "expected /$2/ in: ${1:0:800}"; }
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "not within time: $*"
        sleep 0.1
    done
}

# background NAME COMMAND...: a daemon of this file, ended by teardown_file.
background() {
    local name=$1
    shift
    # Shims may outlive the daemon for a moment; bats waits for whoever holds its pipes.
    (
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
        exec "$@" >"$T/$name.log" 2>&1 </dev/null
    ) &
    echo $! >"$T/$name.pid"
    disown
}

setup_file() {
    # The runtime's state folder that containerd always uses: this file's own.
    mkdir -p /run/containerd
    mount -t tmpfs tmpfs /run/containerd
    cat >"$T/containerd.toml" <<EOF
version = 2
root = "$T/ctd-root"
state = "$T/ctd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$T/ctd.sock"
EOF
    background containerd containerd --config "$T/containerd.toml"
    within 20 ctr version >/dev/null 2>&1
    ctr image import "$POUCH_IMAGES/busybox.oci.tar" >/dev/null
    background dockerd dockerd --data-root "$T/docker-root" --exec-root "$T/docker-run" --pidfile "$T/docker.pid" \
        --host "unix://$T/docker.sock" --containerd "$T/ctd.sock" --bridge none --iptables=false \
        --add-runtime "pouch=$POUCH_BIN/pouch-oci" --default-runtime pouch --cgroup-parent "/$CGROUP_PARENT"
    within 30 dcli version >/dev/null 2>&1
    dcli load -q -i "$IMAGE" >/dev/null
}

teardown_file() {
    local name
    dcli ps -aq 2>/dev/null | xargs -r /usr/bin/docker -H "unix://$T/docker.sock" rm -f >/dev/null 2>&1 || true
    ! command -v podman >/dev/null || pod rm -af -t 0 >/dev/null 2>&1 || true
    for name in dockerd containerd; do
        kill "$(cat "$T/$name.pid")" 2>/dev/null || continue
        within 20 eval '! kill -0 $(cat "$T/$name.pid") 2>/dev/null'
    done
}

dcli() { timeout 60 /usr/bin/docker -H "unix://$T/docker.sock" "$@" 3>&-; }
ctr() { timeout 60 ctr --address "$T/ctd.sock" "$@" 3>&-; }
ctr_run() { ctr run --runc-binary "$POUCH_BIN/pouch-oci" "$@"; }
ref() { ctr image ls -q | grep -m1 busybox; }

@test "containerd: ctr run, exec, kill" {
    is "$(ctr_run --rm "$(ref)" one echo hello)" hello
    run ctr_run --rm "$(ref)" two sh -c 'exit 7'
    is "$status" 7
    ctr_run -d "$(ref)" three sleep 600
    has "$(ctr task ls)" 'three +[0-9]+ +RUNNING'
    is "$(ctr task exec --exec-id x1 three echo inside)" inside
    ctr task pause three
    has "$(ctr task ls)" 'three +[0-9]+ +PAUSED'
    ctr task resume three
    has "$(ctr task metrics three)" 'memory|pids'
    ctr task kill -s KILL three
    within 10 eval 'ctr task ls | grep -q "three.*STOPPED"'
    ctr task rm three || true
    ctr container rm three
    run ctr_run --rm "$(ref)" four /no/such/command
    [ "$status" -ne 0 ]
    has "$output" 'exec: "/no/such/command".*no such file'
}

@test "containerd: a memory limit and an OOM kill" {
    run ctr_run --rm --memory-limit 20000000 "$(ref)" hungry sh -c 'exec tail /dev/zero'
    is "$status" 137
}

@test "docker run, exec, logs, stop with pouch as its runtime" {
    is "$(dcli info -f '{{.DefaultRuntime}}')" pouch
    is "$(dcli run --rm --network none busybox echo hello)" hello
    run dcli run --rm --network none busybox sh -c 'echo err >&2; exit 7'
    is "$status:$output" 7:err
    run -127 dcli run --rm --network none busybox /no/such/command
    dcli run -d --name box --network none -m 64m -e A=b -u 1000 -w /tmp busybox sh -c \
        'trap "echo bye; exit 5" TERM; echo "$A $(id -u) $(pwd)"; while :; do sleep 0.1; done' >/dev/null
    within 10 eval 'dcli logs box | grep -q "b 1000 /tmp"'
    is "$(dcli exec -u 0 box id -u)" 0
    run dcli exec box sh -c 'exit 9'
    is "$status" 9
    run dcli exec box /no/such/command
    has "$output" 'exec: "/no/such/command".*no such file'
    has "$(dcli stats --no-stream --format '{{.MemUsage}}' box)" '/ 64MiB'
    has "$(dcli top box)" 'sleep|sh'
    dcli pause box >/dev/null
    is "$(dcli inspect -f '{{.State.Status}}' box)" paused
    dcli unpause box >/dev/null
    dcli update --memory 32m --memory-swap 32m box >/dev/null
    has "$(dcli stats --no-stream --format '{{.MemUsage}}' box)" '/ 32MiB'
    dcli stop box >/dev/null
    is "$(dcli inspect -f '{{.State.ExitCode}}' box)" 5
    has "$(dcli logs box)" '^bye$'
    dcli start box >/dev/null
    dcli kill box >/dev/null
    is "$(dcli wait box)" 137
    dcli rm box >/dev/null
}

@test "docker: a terminal" {
    # This docker tells the size after the start.
    run "$HERE/tty" /usr/bin/docker -H "unix://$T/docker.sock" run -it --rm --network none busybox sh <<'EOF'
expect # 
send test -t 0 && echo is''-tty; until stty size | grep '24 80'; do usleep 50000; done\r
expect is-tty
expect 24 80
send exit 3\r
EOF
    is "$status" 3
}

@test "docker: privileged, read-only, tmpfs, capabilities, no-new-privileges, seccomp" {
    has "$(dcli run --rm --network none --privileged busybox grep CapEff /proc/self/status)" '[0-9a-f]{16}'
    run dcli run --rm --network none --read-only --tmpfs /tmp busybox sh -c 'echo x >/tmp/x && ! echo x >/x'
    is "$status" 0
    has "$(dcli run --rm --network none --cap-drop ALL busybox grep CapEff /proc/self/status)" '\s0{16}$'
    has "$(dcli run --rm --network none --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status)" '\s1$'
    has "$(dcli run --rm --network none busybox grep Seccomp: /proc/self/status)" '\s2$'
}

pod() {
    timeout 60 podman --root "$T/pod-root" --runroot "$T/pod-run" --tmpdir "$T/pod-tmp" --cgroup-manager cgroupfs \
        --events-backend none --storage-driver vfs --runtime "$POUCH_BIN/pouch-oci" "$@" 3>&-
}

@test "podman run, exec, stop with pouch-oci as its runtime" {
    command -v podman >/dev/null || skip "podman is not installed"
    pod load -q -i "$IMAGE" >/dev/null
    is "$(pod run --rm --network none busybox echo hello)" hello
    run pod run --rm --network none busybox sh -c 'exit 7'
    is "$status" 7
    run -127 pod run --rm --network none busybox /no/such/command
    run pod run --rm --network none busybox /etc/passwd
    is "$status" 126
    pod run -d --name box --network none busybox sh -c 'echo up; exec sleep 600' >/dev/null
    run pod exec box /no/such/command
    is "$status" 127
    is "$(pod exec box echo inside)" inside
    has "$(pod logs box)" up
    has "$(pod ps)" 'Up'
    pod stop -t 1 box >/dev/null
    is "$(pod inspect -f '{{.State.Status}}' box)" exited
    pod rm box >/dev/null
}

@test "podman: a container that is to run systemd" {
    command -v podman >/dev/null || skip "podman is not installed"
    mountpoint -q /sys/fs/cgroup/systemd || skip "this host has no cgroup hierarchy name=systemd"
    # Podman binds the host's over what the runtime has made for it.
    run pod run --rm --network none --systemd=always --cgroup-parent "/$CGROUP_PARENT" busybox sh -c \
        'grep -c " /sys/fs/cgroup/systemd " /proc/self/mountinfo; sed -n "s/.*name=systemd://p" /proc/self/cgroup'
    is "$status" 0
    has "$output" '^2$'
    has "$output" "^/$CGROUP_PARENT/libpod-"
}
