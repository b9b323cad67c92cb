# root inside a rich container with systemd, without a capability more than any container has, tries
# to get out. Each attempt is also made in a --privileged container, where it succeeds: it is real.
# shellcheck disable=SC2016 # what is expanded is expanded inside
load helpers
load rich

# The two containers live as long as the file: no attempt may change anything for the next one.
setup_file() {
    rich_up
    echo "secret-$RANDOM$RANDOM" >"$T/secret"
    disk_up || echo "this machine has no loop device"
    echo "${DISK:-}" >"$T/disk.number"
    vm vm -m 300m --memory-swap 300m --pids-limit 300 --cpus 1.5 --cpuset-cpus 0
    pouch run -d --name control --privileged -u root -w / --entrypoint sleep debian-rich infinity \
        >/dev/null
}
teardown_file() {
    [ ! -s "$T/disk.loop" ] || losetup -d "$(cat "$T/disk.loop")"
    file_down
}
teardown() {
    [ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 5 "$LOG"
    is "$(state_of vm)" running
    sanitizers_quiet
}

# in_exec, in_unit, in_control: a script on stdin, in a process of `exec`, of the container's own
# systemd, of the container that may do everything. A script that gets through says GOT.
in_exec() { timeout 30 "$POUCH_BIN/pouch" -H "unix://$SOCK" exec -u root -i -w / vm sh -s 2>&1; }
in_unit() {
    timeout 30 "$POUCH_BIN/pouch" -H "unix://$SOCK" exec -u root -i vm systemd-run -q --wait --pipe sh -s 2>&1
}
in_control() { timeout 30 "$POUCH_BIN/pouch" -H "unix://$SOCK" exec -i -w / control sh -s 2>&1; }

# refused SCRIPT [no-control]: gets through where everything is allowed, and nowhere in the vm.
refused() {
    local said
    if [ "${2:-}" != no-control ]; then
        said=$(in_control <<<"$1") || true
        has "$said" 'GOT|ABSENT' # the second: this kernel was built without it
    fi
    said=$(in_exec <<<"$1; echo the end") || true
    lacks "$said" GOT
    has "$said" 'the end'
    said=$(in_unit <<<"$1; echo the end") || true
    lacks "$said" GOT
    has "$said" 'the end'
}

# A disk of the host: a loop device that starts with the secret.
disk_up() {
    cp "$T/secret" "$T/disk"
    truncate -s 1M "$T/disk"
    losetup -r -f --show "$T/disk" >"$T/disk.loop" || return 1
    DISK="7 $(sed 's,/dev/loop,,' "$T/disk.loop")"
}

@test "its capabilities and its filter are those of any container" {
    local plain
    plain=$(pouch run --rm --network none -u root --entrypoint grep debian-rich -E '^(CapBnd|CapPrm)' /proc/self/status)
    is "$(pouch exec -u root vm grep -E '^(CapBnd|CapPrm)' /proc/1/status)" "$plain"
    is "$(pouch exec -u root vm grep -E '^Seccomp:' /proc/1/status | tr -d '\t ')" Seccomp:2
    has "$(in_unit <<<'grep ^Seccomp: /proc/self/status')" 'Seccomp:.*2'
    # The application runs as its user, with none at all.
    has "$(pouch exec -u root vm sh -c 'grep -E "^(Uid|CapEff|CapPrm)" /proc/$(pgrep -f /usr/local/bin/shop -o -u app)/status')" \
        '^Uid:.*1000.*1000.*1000'
    is "$(pouch exec -u root vm sh -c 'cat /proc/$(pgrep -f /usr/local/bin/shop -o -u app)/status' | awk '/^CapEff/ {print $2}')" 0000000000000000
}

@test "host devices: nodes can be made, none can be opened" {
    local disk
    disk=$(cat "$T/disk.number")
    [ -n "$disk" ] || skip "this machine has no loop device"
    refused "rm -f /tmp/disk; mknod /tmp/disk b $disk && grep -aq secret- /tmp/disk && echo GOT"
    refused 'rm -f /tmp/kmsg; mknod /tmp/kmsg c 1 11 && ( : </tmp/kmsg ) && echo GOT'
    refused 'rm -f /tmp/loop; mknod /tmp/loop c 10 237 && ( : </tmp/loop ) && echo GOT'
    refused 'rm -f /tmp/tun; mknod /tmp/tun c 10 200 && ( : <>/tmp/tun ) && echo GOT'
    refused 'rm -f /tmp/fuse; mknod /tmp/fuse c 10 229 && ( : <>/tmp/fuse ) && echo GOT' no-control
    refused 'rm -f /tmp/mem; mknod /tmp/mem c 1 1 && ( : </tmp/mem ) && echo GOT' no-control
    # Nor after it wrote itself the permission, wherever it can write.
    refused "find /sys/fs/cgroup -name devices.allow | while read -r f; do echo 'a *:* rwm' >\$f; done 2>/dev/null
        mkdir -p /sys/fs/cgroup/devices/x 2>/dev/null && echo \$\$ >/sys/fs/cgroup/devices/x/tasks
        echo 'b *:* rwm' >/sys/fs/cgroup/devices/x/devices.allow
        rm -f /tmp/disk; mknod /tmp/disk b $disk && grep -aq secret- /tmp/disk && echo GOT"
    # And /dev has no more than any container's.
    is "$(pouch exec -u root vm sh -c 'find /dev -type b | head -3')" ''
}

@test "mounts: no file system of the host, none of the kernel's, not in a namespace of its own either" {
    local disk
    disk=$(cat "$T/disk.number")
    refused 'mkdir -p /mnt/m; mount -t tmpfs tmpfs /mnt/m && echo GOT && umount /mnt/m'
    refused 'mkdir -p /mnt/m; mount -t proc proc /mnt/m && echo GOT && umount /mnt/m'
    refused 'mkdir -p /mnt/m; mount -t sysfs sysfs /mnt/m && echo GOT && umount /mnt/m'
    refused 'mkdir -p /mnt/m; mount --bind / /mnt/m && echo GOT && umount /mnt/m'
    refused 'mkdir -p /mnt/m; for c in devices memory pids; do mount -t cgroup -o $c cgroup /mnt/m && echo GOT && umount /mnt/m; done; mount -t cgroup2 cgroup /mnt/m && echo GOT && umount /mnt/m'
    refused 'mount -o remount,rw /proc/sys && echo GOT; mount -o remount,rw /sys && echo GOT' 
    refused 'umount /proc/kcore && echo GOT; umount -l /proc/sys && echo GOT' no-control
    refused 'unshare -m true && echo GOT'
    refused 'unshare -Urm mount -t tmpfs tmpfs /mnt && echo GOT'
    refused 'unshare -UrmC sh -c "mount -t cgroup -o memory cgroup /mnt || mount -t cgroup2 cgroup /mnt" && echo GOT' no-control
    if [ -n "$disk" ]; then
        refused "mkdir -p /mnt/m; rm -f /tmp/disk; mknod /tmp/disk b $disk; mount -r /tmp/disk /mnt/m && echo GOT && umount /mnt/m" no-control
    fi
    # The ways round mount(2): fsopen, open_tree, move_mount, pivot_root, setns.
    refused 'perl -e "my \$n = q(tmpfs); syscall(430, \$n, 0) >= 0 and print qq(GOT\n)"'
    refused 'perl -e "my \$n = q(/); syscall(428, -100, \$n, 1) >= 0 and print qq(GOT\n)"'
    refused 'perl -e "open(F, q(<), q(/proc/1/ns/mnt)); syscall(308, fileno(F), 0) == 0 and print qq(GOT\n)"'
}

@test "control groups: its own part and nothing above; limits stay what they are" {
    local id before script
    id=$(pouch inspect -f '{{.Id}}' vm)
    before=$(limits_of "$id")
    [ -n "$before" ]
    script='for f in $(find /sys/fs/cgroup \( -name memory.limit_in_bytes -o -name memory.max -o -name pids.max -o -name memory.memsw.limit_in_bytes -o -name cpu.max -o -name memory.swap.max \) 2>/dev/null); do echo max >$f || echo -1 >$f; done 2>/dev/null
        for f in $(find /sys/fs/cgroup -name cpu.cfs_quota_us 2>/dev/null); do echo -1 >$f; done 2>/dev/null
        for f in $(find /sys/fs/cgroup -name cpuset.cpus 2>/dev/null); do echo 0-1 >$f; done 2>/dev/null
        for f in $(find /sys/fs/cgroup -name cgroup.procs -o -name tasks 2>/dev/null); do echo $$ >$f; done 2>/dev/null
        true'
    in_exec <<<"$script" || true
    in_unit <<<"$script" || true
    is "$(limits_of "$id")" "$before"
    # Where it is allowed it works: the same script in the container without walls.
    pouch run -d --name free --privileged -m 300m -u root --entrypoint sleep debian-rich infinity >/dev/null
    before=$(limits_of "$(pouch inspect -f '{{.Id}}' free)")
    pouch exec -u root -i free sh -s <<<"$script" || true
    [ "$(limits_of "$(pouch inspect -f '{{.Id}}' free)")" != "$before" ]
    pouch rm -f free >/dev/null
    # The limits hold for what its systemd starts with none: too much memory ends the unit only.
    has "$(pouch exec -u root vm systemd-run -q --wait -p MemoryMax=infinity -p Restart=no \
        tail /dev/zero 2>&1; pouch exec -u root vm systemctl is-system-running)" 'degraded|running'
    pouch exec -u root vm systemctl reset-failed
    # Too many processes: the fork that is one too many fails.
    has "$(in_exec <<<'i=0; while [ $i -lt 400 ]; do sleep 30 & i=$((i+1)); done; echo done' 2>&1 | tail -n 1)" '[Cc]annot fork|Resource temporarily|retry'
    within 10 quiet
    # It sees no group but its own: not the engine's, not another container's.
    refused "find /sys/fs/cgroup -maxdepth 3 -name '*$(pouch inspect -f '{{.Id}}' control | cut -c 1-12)*' | grep -q . && echo GOT" no-control
    lacks "$(pouch exec -u root vm cat /proc/self/cgroup /proc/1/cgroup)" "$id|\.\."
}
# limits_of ID: every limit of the container, read from outside.
limits_of() {
    local folder
    for folder in $(cgroup_folders | grep "/[^/]*$1[^/]*\$"); do
        (cd "$folder" && for file in memory.limit_in_bytes memory.memsw.limit_in_bytes memory.max \
            memory.swap.max pids.max cpu.cfs_quota_us cpu.max cpuset.cpus; do
            if [ -e "$file" ]; then echo "$file $(cat "$file")"; fi
        done)
    done | sort
}
quiet() {
    pouch exec -u root vm pkill -x sleep || true
    [ "$(pouch exec -u root vm pgrep -cx sleep)" -lt 10 ]
}

@test "release_agent, core_pattern, uevent_helper, binfmt_misc: nothing that makes the host run a program" {
    refused 'for f in $(find / -name release_agent 2>/dev/null); do ( echo /tmp/x >$f ) && echo GOT; done' no-control
    # The old way: a group of its own with notify_on_release, in a hierarchy whose top it can reach.
    refused 'mkdir -p /mnt/rdma && mount -t cgroup -o rdma cgroup /mnt/rdma && mkdir -p /mnt/rdma/x && echo 1 >/mnt/rdma/x/notify_on_release && echo /tmp/x >/mnt/rdma/release_agent && echo GOT' no-control
    refused 'cat /proc/sys/kernel/core_pattern >/tmp/pattern; ( cat /tmp/pattern >/proc/sys/kernel/core_pattern ) && echo GOT'
    refused 'cat /proc/sys/kernel/modprobe >/tmp/modprobe; ( cat /tmp/modprobe >/proc/sys/kernel/modprobe ) && echo GOT' no-control
    refused '[ ! -e /sys/kernel/uevent_helper ] || ( : >>/sys/kernel/uevent_helper ) && [ -e /sys/kernel/uevent_helper ] && echo GOT' no-control
    refused 'mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && echo GOT; ( : >>/proc/sys/fs/binfmt_misc/register ) && echo GOT' no-control
    refused 'mount -t debugfs none /mnt && echo GOT && umount /mnt; mount -t tracefs none /mnt && echo GOT && umount /mnt; mount -t securityfs none /mnt && echo GOT && umount /mnt; mount -t bpf none /mnt && echo GOT && umount /mnt'
}

@test "/proc/sys and /sys: what is not of its namespaces cannot be written" {
    local key
    for key in kernel/panic vm/overcommit_memory fs/file-max; do
        refused "cat /proc/sys/$key >/tmp/value; ( cat /tmp/value >/proc/sys/$key ) && echo GOT"
    done
    refused '( : >>/proc/sysrq-trigger ) && echo GOT' no-control
    refused '[ "$(head -c 4 /proc/kcore | wc -c)" = 4 ] && echo GOT' no-control
    refused '[ -s /proc/keys ] && echo GOT' no-control
    refused '[ -n "$(ls -A /sys/firmware)" ] && echo GOT'
    refused 'for f in /sys/kernel/mm/transparent_hugepage/enabled /sys/class/net/lo/mtu /sys/kernel/profiling; do [ ! -e $f ] || ( : >>$f ) 2>/dev/null && [ -e $f ] && echo GOT; done'
    # None at all: whichever file below them that opens for writing is of its own namespaces.
    is "$(pouch exec -u root vm sh -c 'find /proc/sys -type f -perm /200 ! -path "/proc/sys/net/*" 2>/dev/null |
        while read -r f; do ( : >>"$f" ) 2>/dev/null && echo "$f"; done; true')" ''
    is "$(pouch exec -u root vm sh -c 'find /sys -xdev -type f -perm /200 -not -path "/sys/fs/cgroup/*" 2>/dev/null | head -n 3000 |
        while read -r f; do ( : >>"$f" ) 2>/dev/null && echo "$f"; done; true')" ''
}

@test "the kernel: no modules, no kexec, no BPF, no clock, no ports, no log, no handles of other files" {
    # Past the check of rights each of these fails for another reason (what it is given is nonsense).
    local call script="" said
    for call in 'init_module 175, $x, 1, $n' 'finit_module 313, 0, $n, 0' 'delete_module 176, $x, 0' \
        'kexec_load 246, 0, 0x7fff, 0, 0' 'bpf 321, 5, $x, 0' 'iopl 172, 3' 'ioperm 173, 0x80, 1, 1' \
        'swapon 167, $x, 0' 'acct 163, $x' 'open_by_handle_at 304, -100, $x, 0' 'fanotify_init 300, 0, 0' \
        'quotactl 179, 0x80000700, $x, 0, 0' 'perf_event_open 298, $x, -1, 0, -1, 0' \
        'setdomainname 171, $x, 1' 'keyctl 250, 0, -3, 1' 'add_key 248, $x, $x, $x, 1, -3' \
        'userfaultfd 323, 0' 'kcmp 312, 1, 1, 0, 0, 0' 'move_pages 279, 1, 0, 0, 0, 0, 0'; do
        # shellcheck disable=SC2016 # perl's variables
        script+='$r = syscall('${call#* }'); $e = $! + 0; print $r >= 0 || ($e != 1 && $e != 38) ? "GOT" : $e == 38 ? "ABSENT" : "no", " '${call%% *}'\n";'
    done
    # shellcheck disable=SC2016 # perl's variables
    script="perl -e '"'my ($n, $x) = ("", "nosuch" . "\0" x 128); '"$script'"
    said=$(in_control <<<"$script")
    echo "where all is allowed: $said"
    is "$(grep -cE '^(GOT|ABSENT) ' <<<"$said")" 19
    [ "$(grep -c '^GOT ' <<<"$said")" -gt 8 ]
    said=$(in_exec <<<"$script")
    is "$(grep -cE '^(no|ABSENT) ' <<<"$said")" 19
    said=$(in_unit <<<"$script")
    is "$(grep -cE '^(no|ABSENT) ' <<<"$said")" 19
    refused 'date -s "@$(date +%s)" && echo GOT' no-control
    refused 'dmesg 2>/dev/null | grep -q . && echo GOT' no-control
    refused 'hostname >/tmp/name; ( echo -1000 >/proc/self/oom_score_adj ) && echo GOT' no-control
    refused 'ulimit -Hn 100000000 && echo GOT' no-control
    refused 'mkdir -p /tmp/c && chroot /tmp/c true 2>/dev/null; nsenter -t 1 -n -m true && echo GOT'
    refused 'ip link add br9 type bridge && echo GOT && ip link del br9'
    refused 'nice -n -20 true 2>&1 | grep -q "cannot set" || echo GOT' no-control
}

@test "processes: nothing of the host is seen, signalled or traced" {
    local names outside
    outside=$(pouchd_pid)
    refused "grep -qs pouchd /proc/$outside/cmdline && echo GOT" no-control
    refused 'grep -ls pouchd /proc/[0-9]*/comm && echo GOT; ls -d /proc/[0-9]*/root/var/lib/docker 2>/dev/null && echo GOT' no-control
    names=$(pouch exec -u root vm sh -c 'cat /proc/[0-9]*/comm 2>/dev/null; true')
    lacks "$names" '^(pouchd|pouch-monitor|bats)'
    is "$(pouch exec -u root vm awk '/^PPid/ {print $2}' /proc/1/status)" 0
    # With the host's processes in sight the same look finds them.
    has "$(pouch run --rm --network none --pid host -u root --entrypoint sh debian-rich -c 'cat /proc/[0-9]*/comm 2>/dev/null; true')" '^(pouchd|pouch-monitor)'
    # Only what its init is the ancestor of (or exec put there) is in /proc.
    is "$(pouch exec -u root vm sh -c 'for p in /proc/[0-9]*; do [ "$(readlink $p/ns/pid)" = "$(readlink /proc/1/ns/pid)" ] || readlink $p/ns/pid; done; true' 2>/dev/null)" ''
}

@test "the engine: no socket, no descriptor, no file of it that can be changed" {
    local before n
    refused 'find / -xdev \( -name "pouch*.sock" -o -name "monitor*.sock" -o -name "docker.sock" \) 2>/dev/null | grep -q . && echo GOT' no-control
    # With the socket let in the same look finds it.
    has "$(pouch run --rm --network none -u root -v "$T/run:/engine" --entrypoint find debian-rich / -name 'pouch*.sock' 2>/dev/null)" pouch.sock
    refused 'grep -aE "pouch" /proc/net/unix && echo GOT' no-control
    # Descriptors that lead out of the root, in any process, are a way out.
    refused "for f in /proc/[0-9]*/fd/* /proc/[0-9]*/cwd /proc/[0-9]*/root; do
        for up in .. ../../../../../../../../..; do
            [ ! -d \$f ] || ! grep -qs secret- \"\$f/\$up$T/secret\" || echo GOT \$f; done; done"' ; true' no-control
    for n in $(seq 3 12); do
        lacks "$(pouch exec -u root -w "/proc/self/fd/$n" vm cat "../../../../../..$T/secret" 2>&1)" '^secret-'
        lacks "$(pouch exec -u root -w "/proc/1/fd/$n" vm cat "../../../../../..$T/secret" 2>&1)" '^secret-'
    done
    # Whatever of the engine's programs is seen inside cannot be written: not by name, not through
    # /proc/PID/exe of a process that runs it, not while an exec is on its way.
    before=$(sha256sum "$POUCH_BIN"/pouch*)
    in_exec <<<'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        for f in /proc/[0-9]*/exe $(find / -xdev -name "pouch*" -type f 2>/dev/null) $(awk "/pouch/ {print \$5}" /proc/self/mountinfo); do
            case $(readlink -f $f) in *pouch*) echo overwritten >>$f ;; esac
        done; done 2>/dev/null' &
    for n in $(seq 20); do pouch exec -u root vm true; done
    wait $!
    is "$(sha256sum "$POUCH_BIN"/pouch*)" "$before"
    # What the engine wrote for the container to read stays as it is.
    refused 'for f in $(awk "/ \/(etc\/(hosts|hostname|resolv.conf)) /{next} / ro[, ]/ {print \$5}" /proc/self/mountinfo); do [ ! -f $f ] || ( echo x >>$f ) 2>/dev/null && [ -f $f ] && echo GOT $f; done; ( echo x >/run/pouch/new ) 2>/dev/null && echo GOT; ( echo x >>/etc/machine-id ) 2>/dev/null && echo GOT; true' no-control
}

@test "in a user namespace: the same walls, and root is nobody outside" {
    local script said pid n
    pouch run -d --name tenant --rich --rich-mode systemd --network none --userns auto -m 300m debian-rich >/dev/null
    within 20 booted tenant
    pid=$(pouch inspect -f '{{.State.Pid}}' tenant)
    [ "$(awk '/^Uid/ {print $2}' "/proc/$pid/status")" -gt 65535 ]
    [ "$(awk '/^Gid/ {print $2}' "/proc/$pid/status")" -gt 65535 ]
    script='mkdir -p /mnt/m
        mount -t tmpfs tmpfs /mnt/m && echo GOT tmpfs
        mount --bind / /mnt/m && echo GOT bind
        mount -t cgroup2 cgroup /mnt/m && echo GOT cgroup
        unshare -m true && echo GOT unshare
        unshare -Ur true && echo GOT user namespace
        mknod /tmp/kmsg c 1 11 && ( : </tmp/kmsg ) && echo GOT kmsg
        ( echo x >/proc/sys/kernel/core_pattern ) && echo GOT core_pattern
        ( echo x >/run/pouch/new ) && echo GOT pouch
        ( echo x >>/etc/machine-id ) && echo GOT machine-id
        for f in $(find /sys/fs/cgroup -name "memory.max" -o -name memory.limit_in_bytes -o -name pids.max); do ( echo max >$f ) 2>/dev/null; done
        nsenter -t 1 -m true && mount -t tmpfs tmpfs /mnt/m && echo GOT nsenter
        ls /proc/[0-9]*/comm | xargs grep -ls pouchd && echo GOT process
        echo the end'
    n=$(limits_of "$(pouch inspect -f '{{.Id}}' tenant)")
    [ -n "$n" ]
    said=$(pouch exec -u root -i tenant sh -s <<<"$script" 2>/dev/null)
    is "$said" 'the end'
    said=$(pouch exec -u root -i tenant systemd-run -q --wait --pipe sh -s <<<"$script" 2>/dev/null)
    is "$said" 'the end'
    is "$(limits_of "$(pouch inspect -f '{{.Id}}' tenant)")" "$n"
    pouch rm -f tenant >/dev/null
}

@test "after all attempts it works as before, and so does the host" {
    is "$(pouch exec -u root vm systemctl is-system-running)" running
    has "$(pouch exec -u root vm systemctl is-active ssh cron ops-ship)" active
    pouch stop vm >/dev/null
    is "$(pouch inspect -f '{{.State.ExitCode}}' vm)" 0
    pouch start vm >/dev/null
    within 15 booted vm
}
