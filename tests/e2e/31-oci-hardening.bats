# The published escapes from runc and its kin, each tried: none may get out. What the attack needs
# from the image or a volume is made by hand in the bundle.
bats_require_minimum_version 1.5.0

load oci

HERE=$POUCH_TOP/tests/e2e

fail() {
    echo "$*"
    return 1
}
digest() { sha256sum <"$1"; }

# A thing of the host that attacks aim at: a folder whose content must stay as it is.
setup_host() {
    HOST=$BATS_TEST_TMPDIR/host
    mkdir "$HOST"
    echo secret >"$HOST/file"
}
host_untouched() {
    [ "$(ls -A "$HOST")" = file ] || fail "the host's folder has now: $(ls -A "$HOST")"
    [ "$(cat "$HOST/file")" = secret ] || fail "the host's file was written to"
    ! grep -q " $HOST" /proc/self/mountinfo || fail "mounted on the host: $(grep " $HOST" /proc/self/mountinfo)"
}

@test "CVE-2019-5736: the runtime's program cannot be written to through /proc/<pid>/exe" {
    local before monitor
    before=$(digest "$POUCH_BIN/pouch-oci")
    # What is executed is the runtime again, and whoever looks at its /proc/<pid>/exe tries to write.
    printf '#!/proc/self/exe\n' >"$B/rootfs/bin/evil"
    chmod 755 "$B/rootfs/bin/evil"
    cat >"$B/rootfs/attack" <<'EOF'
tried=0
while [ ! -e /stop ]; do
    for exe in /proc/[0-9]*/exe; do
        case $(readlink $exe 2>/dev/null) in */busybox*) continue ;; esac
        tried=$((tried + 1))
        (exec 3>>$exe) 2>>/said && echo WON >/won
    done
done
echo $tried >/tried
EOF
    configure 'sh("sh /attack")' 'c["root"]["readonly"] = False'
    oci run --detach --bundle "$B" evil </dev/null >/dev/null 2>&1
    for _ in $(seq 30); do
        oci exec evil /bin/evil >/dev/null 2>&1 || true
        oci exec evil true
    done
    oci exec evil touch /stop
    for _ in $(seq 100); do
        [ ! -e "$B/rootfs/tried" ] || break
        sleep 0.1
    done
    [ -s "$B/rootfs/tried" ]
    [ ! -e "$B/rootfs/won" ] || fail "/proc/<pid>/exe of the runtime could be opened for writing"
    [ "$(digest "$POUCH_BIN/pouch-oci")" = "$before" ]
}

@test "CVE-2019-5736: an image whose program is /proc/self/exe is not the runtime again" {
    configure 'c["process"]["args"] = ["/proc/self/exe", "--version"]'
    run ! oci run --bundle "$B" self </dev/null
    ! grep -qE '^pouch-oci [0-9]' <<<"$output" || fail "the runtime ran inside the container: $output"
}

# swap LINK OTHER: exchanges the two names without end, as a second container with the same volume would.
swap() {
    /usr/bin/python3 - "$1" "$2" <<'EOF' 3>&- &
import ctypes, sys
libc = ctypes.CDLL(None)
a, b = (name.encode() for name in sys.argv[1:])
while True:
    libc.renameat2(-100, a, -100, b, 2)
EOF
    helpers+=($!)
}

@test "CVE-2021-30465: a mount point that becomes a link to the host meanwhile" {
    setup_host
    mkdir -p "$B/rootfs/vol/a"
    ln -s "$HOST" "$B/rootfs/vol/b"
    swap "$B/rootfs/vol/a" "$B/rootfs/vol/b"
    configure 'c["mounts"].append({"destination": "/vol/a/deep", "type": "tmpfs", "source": "tmpfs"})' \
        'sh("cat /vol/a/file /vol/b/file 2>/dev/null; true")'
    for i in $(seq 60); do
        run oci run --bundle "$B" "race$i" </dev/null
        [[ "$output" != *secret* ]] || fail "the host's file was read: $output"
    done
    host_untouched
}

@test "CVE-2024-45310: a mount point made through a link does not make files on the host" {
    setup_host
    ln -s "$HOST" "$B/rootfs/out"
    ln -s ../../../../../../../../../.."$HOST" "$B/rootfs/up"
    configure 'c["mounts"] += [{"destination": "/out/made", "type": "bind", "source": "/etc/passwd", "options": ["bind"]}, {"destination": "/up/made/dir", "type": "tmpfs", "source": "tmpfs"}]' \
        'sh("true")'
    run oci run --bundle "$B" links </dev/null
    host_untouched
    mkdir -p "$B/rootfs/vol/a"
    ln -s "$HOST" "$B/rootfs/vol/b"
    swap "$B/rootfs/vol/a" "$B/rootfs/vol/b"
    configure 'c["mounts"] = c["mounts"][:-2] + [{"destination": "/vol/a/made", "type": "bind", "source": "/etc/passwd", "options": ["bind"]}]' 'sh("true")'
    for i in $(seq 60); do
        run oci run --bundle "$B" "made$i" </dev/null
    done
    host_untouched
}

@test "CVE-2022-0492: release_agent is out of reach, also from a new user and cgroup namespace" {
    # Even with the right to make namespaces (no seccomp filter here, all default capabilities).
    configure 'c["linux"].pop("seccomp", None)' 'sh("""
mkdir -p /tmp/cg
for what in "" "unshare -r" "unshare -r -C -m" "unshare -m"; do
    for type in memory pids devices; do
        $what sh -c "mount -t cgroup -o $type cgroup /tmp/cg 2>/dev/null && for f in \$(find /tmp/cg -name release_agent); do echo /x >\$f && echo WON; done; mount -t cgroup cgroup /tmp/cg 2>/dev/null && find /tmp/cg -name release_agent -exec sh -c \"echo /x >{} && echo WON\" \\\\;" 2>/dev/null
    done
done
find /sys/fs/cgroup -name release_agent -exec sh -c "echo /x >{} && echo WON" \\; 2>/dev/null
echo tried""")'
    run oci run --bundle "$B" agent </dev/null
    [[ "$output" == *tried* ]]
    [[ "$output" != *WON* ]] || fail "release_agent could be written"
}

@test "CVE-2022-29162: no inheritable capabilities, in run and exec" {
    configure 'sh("grep CapInh /proc/self/status; sleep 100")'
    oci run --detach --bundle "$B" caps </dev/null >"$BATS_TEST_TMPDIR/out" 2>&1
    for _ in $(seq 50); do
        [ ! -s "$BATS_TEST_TMPDIR/out" ] || break
        sleep 0.1
    done
    grep -q 'CapInh:.0000000000000000' "$BATS_TEST_TMPDIR/out"
    [[ "$(oci exec caps grep CapInh /proc/self/status)" == *0000000000000000 ]]
    [[ "$(oci exec --cap CAP_NET_ADMIN caps grep CapInh /proc/self/status)" == *0000000000000000 ]]
}

@test "CVE-2023-27561, CVE-2019-19921: /proc that is a link in the image" {
    rmdir "$B/rootfs/proc" 2>/dev/null || true
    mkdir -p "$B/rootfs/fake/self/attr" "$B/rootfs/fake/sys/kernel"
    ln -s fake "$B/rootfs/proc"
    configure 'c["linux"]["maskedPaths"] = ["/proc/kcore", "/proc/keys"]' \
        'c["linux"]["readonlyPaths"] = ["/proc/sys"]' \
        'sh("echo x >/proc/sys/kernel/domainname && echo WON; cat /proc/keys | grep . && echo WON; echo tried")'
    run oci run --bundle "$B" linked </dev/null
    [[ "$output" != *WON* ]] || fail "$output"
}

@test "CVE-2024-21626: no descriptor of the host in the container, no working directory through one" {
    exec 20</ 21<"$POUCH_TOP"
    configure 'sh("for fd in /proc/self/fd/*; do readlink $fd; done; for fd in /proc/1/fd/*; do readlink $fd; done")'
    run oci run --bundle "$B" fds </dev/null
    # Its own three, and what the loop itself opens.
    ! grep -vE '^(/dev/null|pipe:\[[0-9]+\]|/proc/[0-9]+/fd|/proc|/dev/pts/[0-9]+|/)$' <<<"$output" || fail "$output"
    [[ "$output" == *pipe:* || "$output" == */dev/null* ]]
    for fd in $(seq 3 24); do
        configure "c['process']['cwd'] = '/proc/self/fd/$fd'" 'sh("ls ../../../../etc/hostname ../../../../root 2>/dev/null && echo WON; pwd")'
        run oci run --bundle "$B" "cwd$fd" </dev/null
        [[ "$output" != *WON* ]] || fail "fd $fd: $output"
    done
    configure 'c["process"]["cwd"] = "/"' 'sh("sleep 100")'
    oci run --detach --bundle "$B" target </dev/null >/dev/null 2>&1
    for fd in $(seq 3 24); do
        output=$(oci exec --cwd "/proc/self/fd/$fd" target \
            sh -c 'ls ../../../../etc/hostname 2>/dev/null && echo WON; true' 2>&1) || true
        [[ "$output" != *WON* ]] || fail "exec, fd $fd: $output"
    done
    exec 20<&- 21<&-
}

@test "CVE-2025-31133: /dev/null in the image is no device: nothing else is put over masked paths" {
    setup_host
    mkdir -p "$B/rootfs/evil-dev" "$BATS_TEST_TMPDIR/dev"
    ln -s /proc/sys/kernel/core_pattern "$BATS_TEST_TMPDIR/dev/null"
    ln -s pts "$BATS_TEST_TMPDIR/dev/x"
    configure "c['mounts'] = [m for m in c['mounts'] if not m['destination'].startswith('/dev')] + [{'destination': '/dev', 'type': 'bind', 'source': '$BATS_TEST_TMPDIR/dev', 'options': ['bind', 'rw']}]" \
        'c["linux"]["maskedPaths"] = ["/proc/kcore", "/proc/timer_list", "/proc/keys"]' \
        'c["linux"]["readonlyPaths"] = ["/proc/sys"]' \
        'sh("echo x >/proc/timer_list && echo WON; echo x >/proc/sys/kernel/core_pattern && echo WON; grep -q . /proc/keys && echo WON; echo tried")'
    local before
    before=$(cat /proc/sys/kernel/core_pattern)
    run oci run --bundle "$B" masked </dev/null
    [[ "$output" != *WON* ]] || fail "$output"
    [ "$(cat /proc/sys/kernel/core_pattern)" = "$before" ]
}

@test "CVE-2025-52565: /dev/console in the image is a link: the terminal is not put over its target" {
    mkdir -p "$BATS_TEST_TMPDIR/dev/pts"
    ln -s /proc/sys/kernel/domainname "$BATS_TEST_TMPDIR/dev/console"
    mknod -m 666 "$BATS_TEST_TMPDIR/dev/null" c 1 3
    ln -s pts/ptmx "$BATS_TEST_TMPDIR/dev/ptmx"
    configure "c['mounts'] = [m for m in c['mounts'] if m['destination'] not in ('/dev',)]" \
        "c['mounts'].insert(1, {'destination': '/dev', 'type': 'bind', 'source': '$BATS_TEST_TMPDIR/dev', 'options': ['bind', 'rw']})" \
        'c["process"]["terminal"] = True' \
        'sh("test -c /proc/sys/kernel/domainname && echo WON; readlink /dev/console; echo tried")'
    run "$HERE/tty" "$POUCH_BIN/pouch-oci" --root "$R" run --bundle "$B" console </dev/null
    [ -n "$output" ]
    [[ "$output" != *WON* ]] || fail "$output"
}

@test "CVE-2025-52881: writes meant for /proc do not go where the image leads them" {
    setup_host
    # A volume lies over /proc/sys before sysctls and labels are written.
    mkdir -p "$BATS_TEST_TMPDIR/sys/kernel"
    ln -s "$HOST/file" "$BATS_TEST_TMPDIR/sys/kernel/domainname"
    ln -s /proc/sysrq-trigger "$BATS_TEST_TMPDIR/sys/kernel/shm_rmid_forced"
    configure "c['mounts'].append({'destination': '/proc/sys', 'type': 'bind', 'source': '$BATS_TEST_TMPDIR/sys', 'options': ['bind', 'rw']})" \
        'c["linux"]["sysctl"] = {"kernel.domainname": "changed", "kernel.shm_rmid_forced": "1"}' 'sh("echo ran")'
    run oci run --bundle "$B" sysctls </dev/null
    host_untouched
    # The same with a tmpfs on all of /proc: attributes and sysctls have no procfs to go to.
    configure 'c["mounts"] = [m for m in c["mounts"] if m["destination"] not in ("/proc", "/proc/sys")]' \
        "c['mounts'].insert(0, {'destination': '/proc', 'type': 'tmpfs', 'source': 'tmpfs'})" 'sh("echo ran; find /proc -type f")'
    run oci run --bundle "$B" fakeproc </dev/null
    [ "$status" -ne 0 ] || [[ "$output" != */proc/* ]] || fail "files were made in the fake /proc: $output"
}

@test "a rootfs full of links: nothing is mounted or made outside" {
    setup_host
    local name
    for name in dev sys tmp etc/x run; do
        rm -rf "${B:?}/rootfs/$name"
        mkdir -p "$(dirname "$B/rootfs/$name")"
        ln -s "$HOST" "$B/rootfs/$name"
    done
    configure 'c["mounts"].append({"destination": "/etc/x/y", "type": "tmpfs", "source": "tmpfs"})' \
        'c["linux"]["devices"] = [{"path": "/run/node", "type": "c", "major": 1, "minor": 3}]' 'sh("true")'
    run oci run --bundle "$B" links </dev/null
    host_untouched
}
