# sanitizers: yes
# What the options of run do inside the container.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

inside() { ctl run --rm --network none "$@"; }

environment() {
    echo $'FROM_FILE=yes\n# a comment\nSECOND=two words' >"$T/tmp/env"
    run inside -e ONE=1 -e 'TWO=a b' --env-file "$T/tmp/env" busybox env
    has "$output" '^ONE=1$'
    has "$output" '^TWO=a b$'
    has "$output" '^FROM_FILE=yes$'
    has "$output" '^SECOND=two words$'
    has "$output" '^PATH=/usr/local/sbin:'
    has "$output" '^HOME=/root$'
    has "$output" '^HOSTNAME=[0-9a-f]{12}$'
    rm -f "$T/tmp/env"
    HANDED=over run inside -e HANDED busybox sh -c 'echo $HANDED'
    is "$output" over
}
@test "environment" { each_cli environment; }

users() {
    is "$(inside -u app busybox id)" 'uid=1000(app) gid=1000(app) groups=10(wheel),29(audio),1000(app)'
    is "$(inside -u 1000 busybox id -u)" 1000
    is "$(inside -u 1234 busybox id)" 'uid=1234 gid=0(root) groups=0(root)'
    is "$(inside -u 1234:5678 busybox id)" 'uid=1234 gid=5678 groups=5678'
    is "$(inside -u app:audio busybox id -gn)" audio
    is "$(inside -u app busybox sh -c 'echo $HOME')" /home/app
    has "$(inside -u app --group-add 4321 busybox id -G)" 4321
    run inside -u nosuchuser busybox true
    is "$status" 125
    has "$output" 'unable to find user nosuchuser|no matching entries in passwd file|nosuchuser'
    run inside -u app:nosuchgroup busybox true
    is "$status" 125
    has "$output" 'nosuchgroup|no matching entries in group file'
}
@test "users and groups are looked up in the image" { each_cli users; }

workdir() {
    is "$(inside -w /tmp busybox pwd)" /tmp
    is "$(inside -w /made/for/me busybox pwd)" /made/for/me
    run inside -w relative busybox pwd
    is "$status" 125
    has "$output" 'relative.*absolute|absolute path|invalid'
    run inside -w /etc/passwd busybox pwd
    [ "$status" -ge 125 ]
    has "$output" '/etc/passwd|not a directory'
}
@test "working directory" { each_cli workdir; }

names_inside() {
    is "$(inside --hostname box busybox hostname)" box
    has "$(inside --hostname box busybox cat /etc/hosts)" '^127.0.0.1\s+localhost'
    has "$(ctl run --rm --hostname box --domainname example.org busybox hostname -f 2>&1)" 'box'
    run ctl run --rm --add-host other:192.0.2.9 --dns 192.0.2.53 --dns-search example.org busybox \
        cat /etc/hosts /etc/resolv.conf
    has "$output" '192.0.2.9\s+other'
    has "$output" '^nameserver 192.0.2.53'
    has "$output" '^search example.org'
}
@test "host name, hosts, resolv.conf" { each_cli names_inside; }

capabilities() {
    local default=00000000a80425fb
    is "$(inside busybox grep CapEff /proc/self/status | tr -d '[:space:]')" "CapEff:$default"
    is "$(inside busybox grep CapBnd /proc/self/status | tr -d '[:space:]')" "CapBnd:$default"
    is "$(inside --cap-drop ALL busybox grep CapBnd /proc/self/status | tr -d '[:space:]')" \
        CapBnd:0000000000000000
    is "$(inside --cap-drop ALL --cap-add NET_ADMIN busybox grep CapEff /proc/self/status | tr -d '[:space:]')" \
        CapEff:0000000000001000
    is "$(inside -u app busybox grep CapEff /proc/self/status | tr -d '[:space:]')" \
        CapEff:0000000000000000
    run inside --cap-add NO_SUCH busybox true
    is "$status" 125
    has "$output" 'NO_SUCH'
}
@test "capabilities" { each_cli capabilities; }

confinement() {
    is "$(inside busybox grep Seccomp: /proc/self/status | tr -d '[:space:]')" Seccomp:2
    is "$(inside --security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status | tr -d '[:space:]')" \
        Seccomp:0
    is "$(inside --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status | tr -d '[:space:]')" \
        NoNewPrivs:1
    run inside busybox unshare -m true
    [ "$status" -ne 0 ]
    run inside busybox mount -t tmpfs none /tmp
    [ "$status" -ne 0 ]
    echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}' \
        >"$T/tmp/profile.json"
    run inside --security-opt seccomp="$T/tmp/profile.json" busybox mkdir /tmp/x
    [ "$status" -ne 0 ]
    has "$output" 'not permitted'
    rm -f "$T/tmp/profile.json"
}
@test "seccomp, no_new_privs" { each_cli confinement; }

masks() {
    local path
    for path in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug; do
        is "$(inside busybox sh -c "cat $path 2>/dev/null | wc -c")" 0
    done
    is "$(inside busybox sh -c 'ls -A /sys/firmware /proc/acpi /proc/scsi 2>/dev/null' | grep -v : | grep -c . || true)" 0
    run inside busybox sh -c 'echo 1 >/proc/sys/kernel/panic'
    [ "$status" -ne 0 ]
    run inside busybox sh -c 'echo x >/proc/sysrq-trigger'
    [ "$status" -ne 0 ]
    run inside busybox touch /sys/x
    [ "$status" -ne 0 ]
    run inside busybox sh -c 'mount | grep " /sys "'
    has "$output" '\(ro,'
    # No mount of the host is to be seen.
    run inside busybox cat /proc/self/mountinfo
    lacks "$output" "$T/root/.* /old"
}
@test "masked and read-only paths of /proc and /sys" { each_cli masks; }

devices() {
    # core is there where the kernel has /proc/kcore
    is "$(inside busybox ls /dev | grep -vx core | xargs)" \
        'fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero'
    is "$(inside busybox stat -c '%t:%T %a' /dev/null)" '1:3 666'
    has "$(inside busybox mount)" 'on /dev/shm type tmpfs .*size=65536k'
    has "$(inside --shm-size 1m busybox mount)" 'on /dev/shm type tmpfs .*size=1024k'
    run inside busybox sh -c 'mknod /tmp/d b 7 0 && head -c 1 /tmp/d'
    [ "$status" -ne 0 ] # nodes can be made, but the device cgroup does not let them be opened
    has "$output" 'not permitted|denied'
    has "$(inside --device /dev/zero:/dev/nought busybox ls -l /dev/nought)" ' 1, +5 '
    run inside --device /dev/nosuch busybox true
    is "$status" 125
    has "$output" '/dev/nosuch'
}
@test "/dev" { each_cli devices; }

privileged() {
    run inside --privileged busybox sh -c 'mount -t tmpfs none /tmp && echo mounted; ls /dev | wc -l'
    has "$output" mounted
    local host
    host=$(awk '/CapBnd/{print $2}' /proc/self/status)
    is "$(inside --privileged busybox grep CapEff /proc/self/status | tr -d '[:space:]')" "CapEff:$host"
    is "$(inside --privileged busybox grep Seccomp: /proc/self/status | tr -d '[:space:]')" Seccomp:0
    run inside --privileged busybox sh -c 'mount | grep " /sys "'
    lacks "$output" '\(ro,'
}
@test "--privileged gives what the host has" { each_cli privileged; }

limits() {
    is "$(inside --ulimit nofile=123:456 busybox sh -c 'ulimit -Sn; ulimit -Hn' | xargs)" '123 456'
    is "$(inside --ulimit core=0 busybox sh -c 'ulimit -c')" 0
    has "$(inside --oom-score-adj 500 busybox cat /proc/self/oom_score_adj)" '^500$'
    run inside --ulimit nosuch=1 busybox true
    is "$status" 125
    has "$output" 'nosuch'
}
@test "ulimits and oom_score_adj" { each_cli limits; }

root_filesystem() {
    run inside --read-only busybox touch /x
    [ "$status" -ne 0 ]
    has "$output" 'Read-only'
    is "$(inside --read-only --tmpfs /scratch busybox sh -c 'echo a >/scratch/x && cat /scratch/x')" a
    has "$(inside --tmpfs /scratch:size=2m,mode=1770 busybox sh -c 'mount; stat -c %a /scratch')" 'scratch type tmpfs .*size=2048k'
    ctl run --network none --name changed busybox sh -c 'echo new >/file; rm /etc/passwd' 
    ctl start -a changed >/dev/null 2>&1 || true
    is "$(inside busybox ls /file 2>&1 | grep -c 'No such')" 1
    has "$(inside busybox cat /etc/passwd)" '^root:'
}
@test "--read-only, --tmpfs, and changes stay in their container" { each_cli root_filesystem; }

own_namespaces() {
    is "$(inside busybox sh -c 'echo $$')" 1
    is "$(inside busybox ps -o pid,comm | grep -c .)" 2
    is "$(inside --pid host busybox ps -o comm | grep -c pouchd | head -n 1)" 1
    local kind
    for kind in mnt pid net ipc uts; do
        [ "$(inside busybox readlink /proc/self/ns/$kind)" != "$(readlink /proc/self/ns/$kind)" ] ||
            fail "shares the host's $kind namespace"
    done
    is "$(ctl run --rm --network host busybox readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"
    is "$(inside --ipc host busybox readlink /proc/self/ns/ipc)" "$(readlink /proc/self/ns/ipc)"
    is "$(inside --uts host busybox readlink /proc/self/ns/uts)" "$(readlink /proc/self/ns/uts)"
    ctl run -d --name other --network none busybox sleep 600 >/dev/null
    is "$(inside --pid container:other busybox ps -o args | grep -c 'sleep 600')" 1
}
@test "namespaces: own, the host's, another container's" { each_cli own_namespaces; }

sysctls() {
    is "$(inside --sysctl kernel.msgmax=9000 busybox cat /proc/sys/kernel/msgmax)" 9000
    is "$(ctl run --rm --sysctl net.ipv4.ip_forward=0 busybox cat /proc/sys/net/ipv4/ip_forward)" 0
    run inside --sysctl kernel.panic=7 busybox true
    is "$status" 125
    has "$output" 'kernel.panic'
}
@test "sysctls that have a namespace, and only those" { each_cli sysctls; }

entrypoints() {
    is "$(inside --entrypoint /bin/echo busybox a b)" 'a b'
    run inside busybox
    is "$status" 0 # the image's command is sh, whose input has ended
    is "$(inside --label a=b --annotation c=d busybox echo x 2>/dev/null || echo x)" x
    ctl create --network none --name cid --cidfile "$T/tmp/cid" busybox true >/dev/null
    is "$(cat "$T/tmp/cid")" "$(ctl inspect -f '{{.Id}}' cid)"
    rm -f "$T/tmp/cid"
}
@test "--entrypoint, the image's command, --cidfile" { each_cli entrypoints; }

memory_files() {
    run inside -m 32m busybox sh -c \
        'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null'
    is "$output" 33554432
    run inside --pids-limit 17 busybox sh -c 'cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null'
    is "$output" 17
    run inside --cpus 0.5 busybox sh -c \
        'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d" " -f1 /sys/fs/cgroup/cpu.max'
    is "$output" 50000
    run inside --cpuset-cpus 0 busybox nproc
    is "$output" 1
    run inside --cpu-shares 512 busybox sh -c 'cat /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || echo 512'
    is "$output" 512
}
@test "cgroup limits are seen inside" { each_cli memory_files; }
