# Changes of containers, running or not: limits, environment, labels, restart policy.
# sanitizers: yes
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

# cg NAME CONTROLLER FILE-V1 FILE-V2: what the kernel says of the container's cgroup.
cg() {
    local id path
    id=$(pouch inspect -f '{{.Id}}' "$1")
    path=$(awk -v c="$2" -F: '{ n = split($2, a, ","); for (i = 1; i <= n; i++) if (a[i] == c) print $3 }' \
        "/proc/$(pouch inspect -f '{{.State.Pid}}' "$1")/cgroup")
    if [ -n "$path" ]; then
        cat "$(awk -v c="$2" '/ - cgroup / && $NF ~ "(^|,)"c"(,|$)" { print $5; exit }' /proc/self/mountinfo)$path/$3"
    else
        cat "$(awk '/ - cgroup2 /{ print $5; exit }' /proc/self/mountinfo)/$CGROUP_PARENT/$id/$4"
    fi
}

memory() {
    ctl run -d --network none --name pet -m 64m busybox sleep 1000 >/dev/null
    is "$(cg pet memory memory.limit_in_bytes memory.max)" $((64 << 20))
    # Up, past what memory and swap were together, and down again: the kernel's order is kept.
    is "$(ctl update -m 256m pet)" pet
    is "$(cg pet memory memory.limit_in_bytes memory.max)" $((256 << 20))
    is "$(ctl inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}' pet)" "$((256 << 20)) $((512 << 20))"
    ctl update -m 32m --memory-swap 48m pet >/dev/null
    is "$(cg pet memory memory.limit_in_bytes memory.max)" $((32 << 20))
    run ctl update -m 128m pet # swap was set by hand: 48m stands
    is "$status" 1
    has "$output" 'memoryswap at the same time'
    is "$(cg pet memory memory.limit_in_bytes memory.max)" $((32 << 20))
    ctl update -m 128m --memory-swap -1 pet >/dev/null
    is "$(cg pet memory memory.limit_in_bytes memory.max)" $((128 << 20))
    # The start after it has it too.
    ctl restart -t 0 pet >/dev/null
    is "$(cg pet memory memory.limit_in_bytes memory.max)" $((128 << 20))
}
@test "memory grows and shrinks" { each_cli memory; }

@test "memory without a limit again" {
    pouch run -d --network none --name pet -m 64m busybox sleep 1000 >/dev/null
    pouch update -m -1 pet >/dev/null
    is "$(pouch inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}' pet)" "0 0"
    [ "$(cg pet memory memory.limit_in_bytes memory.max)" != $((64 << 20)) ]
}

cpu_pids() {
    ctl run -d --network none --name pet busybox sleep 1000 >/dev/null
    ctl update --cpus 0.5 --cpu-shares 512 --pids-limit 50 --cpuset-cpus 0 pet >/dev/null
    is "$(cg pet cpu cpu.cfs_quota_us cpu.max)" 50000
    is "$(cg pet cpu cpu.shares cpu.weight)" 512
    is "$(cg pet pids pids.max pids.max)" 50
    is "$(cg pet cpuset cpuset.cpus cpuset.cpus)" 0
    is "$(ctl inspect -f '{{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.CpusetCpus}}' pet)" \
        '500000000 50 0'
    ctl update --pids-limit -1 pet >/dev/null
    is "$(cg pet pids pids.max pids.max)" max
    # What is not named stays.
    is "$(cg pet cpu cpu.cfs_quota_us cpu.max)" 50000
}
@test "cpu, cpuset, pids" { each_cli cpu_pids; }

@test "a limit of processes by --ulimit nproc stays the smaller one" {
    pouch run -d --network none --name pet --ulimit nproc=40 --pids-limit 100 busybox sleep 1000 >/dev/null 2>&1
    is "$(cg pet pids pids.max pids.max)" 40
    pouch update --pids-limit 30 pet >/dev/null
    is "$(cg pet pids pids.max pids.max)" 30
    pouch update --pids-limit 200 pet >/dev/null
    is "$(cg pet pids pids.max pids.max)" 40
}

@test "cpus and quota replace each other, -1 takes them away" {
    pouch run -d --network none --name pet --cpus 0.5 busybox sleep 1000 >/dev/null
    pouch update --cpu-quota 20000 --cpu-period 50000 pet >/dev/null
    is "$(cg pet cpu cpu.cfs_quota_us cpu.max)" 20000
    is "$(pouch inspect -f '{{.HostConfig.NanoCpus}} {{.HostConfig.CpuPeriod}}' pet)" '0 50000'
    pouch update --cpu-quota -1 pet >/dev/null
    is "$(cg pet cpu cpu.cfs_quota_us cpu.max)" -1
    pouch update --cpus 1 pet >/dev/null
    is "$(cg pet cpu cpu.cfs_quota_us cpu.max)" 100000
}

@test "all of it or nothing: what the kernel refuses takes the rest back" {
    pouch run -d --network none --name pet -m 300m --pids-limit 30 --cpu-shares 300 busybox \
        sh -c 'dd if=/dev/zero of=/dev/shm/x bs=1M count=50 2>/dev/null; echo ready; sleep 1000' >/dev/null
    within 10 logged pet ready
    # 50 MiB lie in a tmpfs and cannot be given back: the limit is refused.
    run pouch update --cpu-shares 700 --pids-limit 77 -m 20m --memory-swap 20m pet
    is "$status" 1
    has "$output" 'in use|below what the container uses'
    is "$(cg pet cpu cpu.shares cpu.weight)" 300
    is "$(cg pet pids pids.max pids.max)" 30
    is "$(cg pet memory memory.limit_in_bytes memory.max)" $((300 << 20))
    is "$(pouch inspect -f '{{.HostConfig.Memory}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}}' pet)" \
        "$((300 << 20)) 300 30"
    is "$(pouch inspect -f '{{.State.Running}}' pet)" true
}
logged() { pouch logs "$1" 2>&1 | grep -q "$2"; }

@test "block I/O: a limit on a device comes and goes" {
    local dev
    dev=/dev/$(lsblk -dno NAME,TYPE | awk '$2 == "disk" { print $1; exit }')
    [ -b "$dev" ] || skip "no block device here"
    pouch run -d --network none --name pet busybox sleep 1000 >/dev/null
    run pouch update --device-write-bps "$dev:1mb" --device-read-iops "$dev:100" pet
    is "$status" 0
    lacks "$output" WARNING
    has "$(cg pet blkio blkio.throttle.write_bps_device io.max)" 1048576
    # The processes are inside, also those that were there before the directory was.
    is "$(pouch exec pet sh -c 'grep -c blkio:/pouch /proc/1/cgroup || echo 1')" 1
    pouch update --device-write-bps "$dev:0" pet >/dev/null
    lacks "$(cg pet blkio blkio.throttle.write_bps_device io.max)" 1048576
    has "$(cg pet blkio blkio.throttle.read_iops_device io.max)" 100
    is "$(pouch inspect -f '{{len .HostConfig.BlkioDeviceWriteBps}} {{len .HostConfig.BlkioDeviceReadIOps}}' pet)" '0 1'
}

@test "environment: new execs and the next start see it" {
    pouch run -d --network none --name pet -e A=1 -e B=2 busybox sleep 1000 >/dev/null
    pouch update --env A=one --env 'C=with space' --env-rm B pet >/dev/null
    is "$(pouch exec pet sh -c 'echo $A,$B,$C')" 'one,,with space'
    pouch stop -t 0 pet >/dev/null
    pouch update -e C=later pet >/dev/null
    pouch start pet >/dev/null
    is "$(pouch exec pet sh -c 'tr "\0" "\n" </proc/1/environ | grep "^[ABC]="')" 'A=one
C=later'
    run pouch update --env-rm NOTHERE pet
    is "$status" 1
    has "$output" 'no environment variable NOTHERE'
}

@test "labels and annotations: set, changed, removed; ps finds them" {
    pouch run -d --network none --name pet -l a=1 -l b=2 --annotation x=y busybox sleep 1000 >/dev/null
    pouch update -l a=one -l b= -l c=3 --annotation x= --annotation z=1 pet >/dev/null
    is "$(pouch inspect -f '{{json .Config.Labels}} {{json .HostConfig.Annotations}}' pet)" '{"a":"one","c":"3"} {"z":"1"}'
    is "$(pouch ps -q --filter label=c=3 | wc -l)" 1
    is "$(pouch ps -q --filter label=b | wc -l)" 0
    run pouch update -l nothing pet
    is "$status" 1
    has "$output" 'NAME=VALUE'
}

restart_policy() {
    ctl run -d --network none --name pet busybox sh -c 'until [ -e /go ]; do sleep 0.1; done; exit 3' >/dev/null
    ctl update --restart on-failure:2 pet >/dev/null
    ctl exec pet touch /go
    is "$(ctl inspect -f '{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}' pet)" \
        'on-failure 2'
    within 15 ended_twice
    ctl run -d --rm --network none --name brief busybox sleep 1000 >/dev/null
    run ctl update --restart always brief
    is "$status" 1
    has "$output" 'AutoRemove'
}
ended_twice() { [ "$(pouch inspect -f '{{.RestartCount}} {{.State.Status}}' pet)" = '2 exited' ]; }
@test "the restart policy of one that runs" { each_cli restart_policy; }

stopped() {
    ctl create --network none --name pet -m 64m busybox sleep 1000 >/dev/null
    ctl update -m 128m --memory-swap 256m --cpu-shares 128 pet >/dev/null
    ctl start pet >/dev/null
    is "$(cg pet memory memory.limit_in_bytes memory.max)" $((128 << 20))
    is "$(cg pet cpu cpu.shares cpu.weight)" 128
}
@test "a container that does not run" { each_cli stopped; }

refused() {
    ctl run -d --network none --name pet -m 64m busybox sleep 1000 >/dev/null
    run ctl update -m 1m pet
    is "$status" 1
    has "$output" 'Minimum memory limit'
    run ctl update --cpuset-cpus 4096 pet
    is "$status" 1
    has "$output" 'not available'
    run ctl update --cpu-period 7 pet
    is "$status" 1
    run ctl update --restart sometimes pet
    [ "$status" -ne 0 ]
    run ctl update -m 64m nobody
    is "$status" 1
    has "$output" 'No such container'
    run ctl update pet
    is "$status" 1
    has "$output" 'one or more flags'
    is "$(ctl inspect -f '{{.HostConfig.Memory}}' pet)" $((64 << 20))
}
@test "what cannot be is refused, and nothing changes" { each_cli refused; }

@test "the event, and two at once" {
    pouch run -d --network none --name pet busybox sleep 1000 >/dev/null
    pouch run -d --network none --name dog busybox sleep 1000 >/dev/null
    is "$(pouch update -l a=b pet dog)" 'pet
dog'
    has "$(timeout 10 "$POUCH_BIN/pouch" -H "unix://$SOCK" events --since 1m --until "$(($(date +%s) + 1))" --filter event=update)" 'container update .*a=b.*name=pet'
}

@test "paused" {
    pouch run -d --network none --name pet -m 64m busybox sleep 1000 >/dev/null
    pouch pause pet >/dev/null
    pouch update -m 96m --memory-swap 96m pet >/dev/null
    is "$(cg pet memory memory.limit_in_bytes memory.max)" $((96 << 20))
    is "$(state_of pet)" paused
    pouch unpause pet >/dev/null
}

@test "updates, inspects, execs, stops and starts of one container at once" {
    pouch run -d --network none --name pet busybox sleep 1000 >/dev/null
    local pids=() i
    for i in 1 2 3 4; do
        (for n in $(seq 25); do pouch update -l "k$i=$n" -e "V$i=$n" --cpu-shares $((100 + n)) pet >/dev/null 2>&1 || true; done) 3>&- &
        pids+=($!)
        (for n in $(seq 40); do pouch inspect pet >/dev/null; pouch ps -a --filter label=k1 >/dev/null; done) 3>&- &
        pids+=($!)
    done
    (for n in $(seq 15); do pouch exec pet true >/dev/null 2>&1 || true; done) 3>&- &
    pids+=($!)
    (for n in $(seq 6); do pouch restart -t 0 pet >/dev/null 2>&1 || true; done) 3>&- &
    pids+=($!)
    wait "${pids[@]}"
    is "$(state_of pet)" running
    is "$(pouch inspect -f '{{.Config.Labels.k1}} {{.Config.Labels.k4}}' pet)" '25 25'
}

# A pouchd killed in the middle of updates: what is on record is what the kernel has.
@test "pouchd killed during updates" {
    local i n
    pouch run -d --network none --name pet -m 64m busybox sleep 1000 >/dev/null
    for i in $(seq "${PET_KILLS:-6}"); do
        (for n in $(seq 100); do pouch update -m $((64 + n))m --memory-swap -1 --cpu-shares $((100 + n)) pet || break; done) >/dev/null 2>&1 3>&- &
        sleep "0.$(printf '%03d' $((RANDOM % 300)))"
        pouchd_kill
        pouchd_start
        wait $! || true
        is "$(cg pet memory memory.limit_in_bytes memory.max)" "$(pouch inspect -f '{{.HostConfig.Memory}}' pet)"
        is "$(cg pet cpu cpu.shares cpu.weight)" "$(pouch inspect -f '{{.HostConfig.CpuShares}}' pet)"
        is "$(state_of pet)" running
    done
}
