# Options that keep tenants apart: each is shown to have its effect, or to be refused with a reason.
# sanitizers: yes
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

inside() { ctl run --rm --network none "$@"; }
v2() { [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; }
# controller FILE: where a file of this container's cgroup is.
cgroup_file() { find "$(awk -v c="$1" '$0 ~ " - cgroup " && $0 ~ c"(,|$)" {print $5; exit}' /proc/self/mountinfo)/$CGROUP_PARENT" -name "$2"; }

paths() {
    is "$(inside --security-opt mask=/etc/os-release:/usr busybox sh -c 'cat /etc/os-release; ls /usr | wc -l')" 0
    has "$(inside busybox cat /proc/interrupts | wc -l)" '^0$'
    [ "$(inside --security-opt unmask=/proc/interrupts busybox cat /proc/interrupts | wc -l)" -gt 0 ]
    [ "$(inside --security-opt unmask=/proc/inter* busybox cat /proc/interrupts | wc -l)" -gt 0 ]
    [ "$(inside --security-opt unmask=ALL busybox cat /proc/keys /proc/interrupts | wc -l)" -gt 0 ]
    has "$(inside busybox grep /proc/sys /proc/mounts)" ' /proc/sys proc ro'
    is "$(inside --security-opt unmask=/proc/sys busybox grep -c ' /proc/sys ' /proc/mounts)" 0
    is "$(inside --security-opt systempaths=unconfined busybox grep -c ' /proc/' /proc/mounts)" 0
    run inside --security-opt mask=etc busybox true
    is "$status" 125
    has "$output" 'no absolute path'
}
@test "mask=, unmask=, systempaths=" { each_cli paths; }

labels() {
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ]; then
        run inside --security-opt apparmor=docker-default busybox true
        is "$status" 125
        has "$output" 'does not run AppArmor'
    fi
    inside --security-opt apparmor=unconfined busybox true
    if [ ! -e /sys/fs/selinux/enforce ]; then
        run inside --security-opt label=type:svirt_t busybox true
        is "$status" 125
        has "$output" 'does not run SELinux'
    fi
    inside --security-opt label=disable busybox true
    run inside --security-opt label=nonsense busybox true
    has "$output" 'want disable'
    run inside --security-opt what=ever busybox true
    is "$status" 125
    has "$output" 'invalid --security-opt'
}
@test "security labels: refused where no module is there" { each_cli labels; }

memory() {
    local flag
    for flag in high low min; do
        if v2; then
            is "$(pouch run --rm --network none "--memory-$flag" 32m busybox cat "/sys/fs/cgroup/memory.$flag")" 33554432
        else
            run pouch run --rm --network none "--memory-$flag" 32m busybox true
            is "$status" 125
            has "$output" "--memory-$flag needs cgroup v2"
        fi
        run pouch run --rm --network none -m 16m "--memory-$flag" 32m busybox true
        is "$status" 125
    done
    if ! v2; then
        is "$(pouch run --rm --network none --memory-reservation 32m -m 64m busybox \
            cat /sys/fs/cgroup/memory/memory.soft_limit_in_bytes)" 33554432
    fi
}
@test "memory.high, memory.low, memory.min" { memory; }

@test "--cpu-burst" {
    local file=/sys/fs/cgroup/cpu/cpu.cfs_burst_us
    ! v2 || file=/sys/fs/cgroup/cpu.max.burst
    if [ -e /sys/fs/cgroup/cpu/cpu.cfs_burst_us ] || v2; then
        is "$(pouch run --rm --network none --cpus 0.5 --cpu-burst 30000 busybox cat "$file")" 30000
    fi
    pouch run -d --network none --cpus 0.5 --name burst busybox sleep 60 >/dev/null
    pouch update --cpu-burst 20000 burst >/dev/null
    is "$(pouch exec burst cat "$file")" 20000
    run pouch update --cpus 0.1 burst
    has "$output" 'above the quota'
    pouch update --cpu-burst=-1 --cpus 0.1 burst >/dev/null
    is "$(pouch exec burst cat "$file")" 0
    run pouch run --rm --network none --cpu-burst 30000 busybox true
    has "$output" 'needs --cpus or --cpu-quota'
    run pouch run --rm --network none --cpus 0.5 --cpu-burst 60000 busybox true
    has "$output" 'above the quota'
}

@test "--intel-rdt-l3-cbm is checked, and refused where the machine has none" {
    run pouch run --rm --network none --intel-rdt-l3-cbm 'L3:0=5' busybox true
    is "$status" 125
    has "$output" 'all in one run'
    run pouch run --rm --network none --intel-rdt-l3-cbm 'MB:0=10' busybox true
    has "$output" 'L3:CACHE=MASK'
    [ -e /sys/fs/resctrl/schemata ] || {
        run pouch run --rm --network none --intel-rdt-l3-cbm 'L3:0=1' busybox true
        is "$status" 125
        has "$output" 'resctrl'
    }
}

# Two containers of one uid: what one does is not counted against the other.
@test "--ulimit nproc does not leak between containers of one uid" {
    local many='i=0; while [ $i -lt 20 ]; do sleep 60 & i=$((i + 1)); done; echo started $i; wait' n
    # shellcheck disable=SC2016
    run pouch run -d --network none -u 1000 --ulimit nproc=30 --name n1 busybox sh -c "$many"
    has "$output" 'a limit of 30 processes of this container instead'
    pouch run -d --network none -u 1000 --ulimit nproc=30 --name n2 busybox sh -c "$many" >/dev/null 2>&1
    for n in n1 n2; do within 10 said "$n" 'started 20'; done
    # And it holds, with threads and root counted too.
    run pouch run --rm --network none --ulimit nproc=10 busybox sh -c "$many"
    has "$output" "can't fork"
    is "$(pouch run --rm --network none --ulimit nproc=10 --pids-limit 5 busybox \
        sh -c 'cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max' 2>/dev/null)" 5
    # An update keeps the lower of the two.
    pouch update --pids-limit 100 n1 >/dev/null
    is "$(pids_of n1)" 30
    pouch update --pids-limit 25 n1 >/dev/null
    is "$(pids_of n1)" 25
    pouch update --pids-limit=-1 n1 >/dev/null
    is "$(pids_of n1)" 30
    pouch rm -f n1 n2 >/dev/null
    pouch run --rm --network none --userns auto busybox true 2>/dev/null || return 0 # 3b says why
    for n in n1 n2; do
        pouch run -d --network none --userns auto -u 1000 --ulimit nproc=30 --name "$n" busybox sh -c "$many" >/dev/null
    done
    for n in n1 n2; do within 10 said "$n" 'started 20'; done
    is "$(pouch exec n1 sh -c 'awk "/Max processes/{print \$3}" /proc/self/limits')" 30
    run pouch run --rm --network none --userns auto -u 1000 --ulimit nproc=10 busybox sh -c "$many"
    has "$output" "can't fork"
}
pids_of() { pouch exec "$1" sh -c 'cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max'; }
said() { pouch logs "$1" 2>&1 | grep -q "$2"; }

# Packets that a container sends out carry the priority where queues see it: behind the firewall.
@test "--net-priority is on the packets" {
    ip netns add outside
    ip link add out0 type veth peer name eth0 netns outside
    ip addr add 10.99.0.1/24 dev out0 && ip link set out0 up
    ip -n outside addr add 10.99.0.2/24 dev eth0 && ip -n outside link set eth0 up
    nft -f - <<'NFT'
table inet test {
    counter five { }
    counter zero { }
    chain out {
        type filter hook postrouting priority 300; policy accept;
        oifname out0 meta l4proto icmp meta priority 0:5 counter name five
        oifname out0 meta l4proto icmp meta priority 0 counter name zero
    }
}
NFT
    pouch run -d --net-priority 5 --name prio busybox sleep 600 >/dev/null
    pouch exec prio ping -c 3 -i 0.1 10.99.0.2 >/dev/null
    has "$(nft list counter inet test five)" 'packets 3 '
    pouch run --rm busybox ping -c 2 -i 0.1 10.99.0.2 >/dev/null
    has "$(nft list counter inet test zero)" 'packets 2 '
    has "$(nft list counter inet test five)" 'packets 3 '
    # Through a kill of the daemon, a flushed map, and a restart of the container.
    pouchd_kill
    pouchd_start
    nft flush map inet pouch-pouch0 priority4
    within 5 repaired
    pouch exec prio ping -c 1 10.99.0.2 >/dev/null
    has "$(nft list counter inet test five)" 'packets 4 '
    pouch restart -t 0 prio >/dev/null
    pouch exec prio ping -c 1 10.99.0.2 >/dev/null
    has "$(nft list counter inet test five)" 'packets 5 '
    pouch rm -f prio >/dev/null
    lacks "$(nft list map inet pouch-pouch0 priority4)" 'elements'
    nft delete table inet test
    ip link del out0
    ip netns del outside
    run pouch run --rm --network none --net-priority 5 busybox true
    is "$status" 125
    has "$output" 'not with --network none'
    if ! grep -q ' - cgroup .*net_prio' /proc/self/mountinfo; then
        run pouch run --rm --network host --net-priority 5 busybox true
        is "$status" 125
        has "$output" 'net_prio'
    fi
    run pouch run --rm --net-priority=-1 busybox true
    is "$status" 125
}
repaired() { nft list map inet pouch-pouch0 priority4 | grep -q elements; }

@test "--net-priority with the host's network, by net_prio of cgroup v1" {
    grep -q '^net_prio.*1$' /proc/cgroups || skip "this kernel has no net_prio"
    mkdir -p "$T/np"
    mount -t cgroup -o net_prio none "$T/np" 2>/dev/null || skip "net_prio cannot be mounted (cgroup v2 has it?)"
    pouchd_stop
    pouchd_start --bridge-name none
    pouch run -d --network host --net-priority 7 --name np busybox sleep 60 >/dev/null
    has "$(cat "$T/np/$CGROUP_PARENT"/*/net_prio.ifpriomap)" '^lo 7$'
    is "$(cat "$T/np/$CGROUP_PARENT"/*/cgroup.procs)" "$(pouch inspect -f '{{.State.Pid}}' np)"
    pouch rm -f np >/dev/null
    within 5 no_groups
    rmdir "$T/np/$CGROUP_PARENT"
    pouchd_stop
    umount "$T/np"
    pouchd_start
}
no_groups() { [ -z "$(find "$T/np/$CGROUP_PARENT" -mindepth 1 -type d)" ]; }

# A rate that is really kept: O_DIRECT reads of a loop device.
@test "--device-read-bps slows reads of a device down" {
    local loop slow fast
    truncate -s 8M "$T/disk"
    loop=$(losetup -f --show "$T/disk" 2>/dev/null) || skip "no loop devices here"
    local read="dd if=$loop of=/dev/null bs=64k count=32 iflag=direct"
    # shellcheck disable=SC2086
    fast=$(milliseconds pouch run --rm --network none --device "$loop" busybox $read)
    # shellcheck disable=SC2086
    slow=$(milliseconds pouch run --rm --network none --device "$loop" --device-read-bps "$loop:1mb" busybox $read)
    # shellcheck disable=SC2086
    iops=$(milliseconds pouch run --rm --network none --device "$loop" --device-read-iops "$loop:20" busybox $read)
    losetup -d "$loop"
    rm "$T/disk"
    echo "2 MiB: $fast ms free, $slow ms at 1 MiB/s, $iops ms at 20 reads a second"
    [ "$slow" -ge 1500 ]
    [ "$iops" -ge 1000 ]
}
milliseconds() {
    local start
    start=$(now_ms)
    "$@" >/dev/null 2>&1
    echo $(($(now_ms) - start))
}

others() {
    run inside --cap-add NOSUCH busybox true
    is "$status" 125
    has "$output" 'NOSUCH'
    is "$(inside --cap-drop ALL busybox awk '/CapEff/{print $2}' /proc/self/status)" 0000000000000000
    is "$(inside --cap-drop ALL --cap-add CHOWN busybox awk '/CapEff/{print $2}' /proc/self/status)" 0000000000000001
    is "$(inside --shm-size 3m busybox df -k /dev/shm | awk 'END{print $2}')" 3072
    has "$(inside --oom-score-adj 321 busybox cat /proc/self/oom_score_adj)" 321
    run ctl run --rm --network host --sysctl net.core.somaxconn=9 busybox true
    is "$status" 125
    has "$output" 'host network namespace'
    run inside --ipc host --sysctl kernel.msgmax=9000 busybox true
    is "$status" 125
    has "$output" 'host IPC namespace'
    run inside --sysctl vm.swappiness=1 busybox true
    has "$output" 'not in a separate kernel namespace|not whitelisted'
    # A rule lets a device in that --device did not name.
    if [ -c /dev/fuse ]; then
        is "$(inside --device-cgroup-rule 'c 10:229 rw' busybox sh -c 'mknod /k c 10 229; : </k && echo open')" open
        run inside --device-cgroup-rule 'c 10:229 w' busybox sh -c 'mknod /k c 10 229; : </k'
        [ "$status" -ne 0 ]
        run inside busybox sh -c 'mknod /k c 10 229; : </k'
        [ "$status" -ne 0 ]
    fi
    run inside --device-cgroup-rule 'x 1:11 r' busybox true
    is "$status" 125
    ctl run -d --network none --cgroup-parent "$CGROUP_PARENT/own" --name parented busybox sleep 60 >/dev/null
    has "$(cat "/proc/$(ctl inspect -f '{{.State.Pid}}' parented)/cgroup")" "/$CGROUP_PARENT/own/"
    ctl rm -f parented >/dev/null
    # The parent is the user's: it stays, empty.
    cgroup_folders | grep '/own$' | xargs -r rmdir
}
@test "device rules, cgroup parents and sysctls that cannot be are refused at creation" {
    refused() { # refused REGEX ARG...
        run pouch create "${@:2}" busybox true
        is "$status" 125
        one_line "$1"
    }
    refused "invalid device cgroup rule format: 'x 1:2 r': want" --device-cgroup-rule 'x 1:2 r'
    refused "invalid device cgroup rule format: 'c 1:3 rwmore'" --device-cgroup-rule 'c 1:3 rwmore'
    refused 'invalid cgroup parent "../x": want' --cgroup-parent ../x
    refused 'invalid cgroup parent "/a//b"' --cgroup-parent /a//b
    refused 'invalid cgroup parent "/"' --cgroup-parent /
    refused 'sysctl "kernel.core_pattern" is not in a separate kernel namespace: a container can' --sysctl kernel.core_pattern=x
    is "$(pouch ps -aq)" ''
    pouch run --rm --network none --cgroup-parent "/$CGROUP_PARENT/slash/" busybox true
    cgroup_folders | grep '/slash$' | xargs -r rmdir
}

@test "capabilities, shm, sysctls, device rules, cgroup parent" { each_cli others; }
