# A host with cgroup v1 alone: no unified hierarchy is mounted anywhere.
load helpers

setup_file() {
    # In this file's own mount namespace; the machine's mounts stay. A v2 host cannot be made v1.
    if [ -d /sys/fs/cgroup/memory ]; then
        ! mountpoint -q /sys/fs/cgroup/unified || without_unified
        file_up
        pouch load -q -i "$("$POUCH_TOP/tools/make-images" debian)/debian-rich.oci.tar" >/dev/null
    fi
}
teardown_file() {
    [ ! -d /sys/fs/cgroup/memory ] || file_down
}
need_v1() { [ -d /sys/fs/cgroup/memory ] || skip "this host has no cgroup v1 hierarchies"; }

systemd_runs() { [ "$(pouch exec -u 0 "$1" systemctl is-system-running 2>/dev/null)" = running ]; }

@test "containers run, with limits" {
    need_v1
    is "$(pouch run --rm --network none -m 32m busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes)" 33554432
    run pouch run --network none --name hungry -m 20m --memory-swap 20m busybox sh -c 'exec tail /dev/zero'
    is "$status" 137
}

@test "systemd boots to running without a failed unit, through a killed pouchd, and stops by itself" {
    need_v1
    local start
    pouch run -d --name vm --network none --rich --rich-mode systemd -m 400m debian-rich >/dev/null
    within 30 systemd_runs vm
    is "$(pouch exec -u 0 vm systemctl --failed --no-legend --plain)" ''
    is "$(pouch exec -u 0 vm cat /proc/1/cgroup | grep '^0::')" 0::/init.scope
    # It has no way out of its own part.
    is "$(pouch exec -u 0 vm sh -c 'ls /sys/fs/cgroup | grep -c pouch; mkdir /sys/fs/cgroup/../cgroup/out.slice && rmdir /sys/fs/cgroup/out.slice && echo own')" $'0\nown'
    pouchd_kill
    pouchd_start
    is "$(pouch inspect -f '{{.State.Running}}' vm)" true
    systemd_runs vm
    pouchd_stop
    pouchd_start
    systemd_runs vm
    start=$(now_ms)
    pouch stop -t 120 vm >/dev/null
    [ $(($(now_ms) - start)) -lt 100000 ]
    has "$(pouch logs vm 2>&1)" '^shop: closed'
    pouch rm vm >/dev/null
}
