# A rich container with systemd whose root is nobody on the host.
load helpers

setup_file() {
    file_up
    pouch run --rm --network none --userns auto busybox true >"$T/why" 2>&1 && touch "$T/can"
    pouch load -q -i "$("$POUCH_TOP/tools/make-images" debian)/debian-rich.oci.tar" >/dev/null
}
teardown_file() { file_down; }

settled() { has "$(pouch exec -u root vm systemctl is-system-running 2>&1)" '^(running|degraded)'; }

@test "systemd boots to running in a user namespace, without a failed unit, and halts cleanly" {
    [ -e "$T/can" ] || skip "no idmapped mounts here: $(head -n 1 "$T/why")"
    local pid first start
    pouch run -d --name vm --userns auto -m 300m --rich --rich-mode systemd debian-rich >/dev/null
    within 30 settled
    is "$(pouch exec -u root vm systemctl is-system-running)" running
    is "$(pouch exec -u root vm systemctl --failed --no-legend)" ''
    # On the host its root, and root of all its services, is an id of the pool.
    pid=$(pouch inspect -f '{{.State.Pid}}' vm)
    first=$(pouch inspect -f '{{index .HostConfig.IDMappings.UidMap 0}}' vm | cut -d: -f2)
    is "$(awk '/^Uid/{print $2}' "/proc/$pid/status")" "$first"
    is "$(ps -e -o uid=,pidns= | awk -v ns="$(stat -Lc %i "/proc/$pid/ns/pid")" -v first="$first" \
        '$2 == ns && ($1 < first || $1 >= first + 65536)' | wc -l)" 0
    # It makes cgroups of its own, and cannot change the limits above.
    is "$(pouch exec -u root vm systemd-run -q --wait --pipe -p MemoryMax=50M sh -c 'echo in a unit')" 'in a unit'
    run pouch exec -u root vm sh -c 'echo 999999999 >/sys/fs/cgroup/memory/memory.limit_in_bytes ||
        echo 999999999 >/sys/fs/cgroup/memory.max'
    [ "$status" -ne 0 ]
    # Services and journal work, files are root's inside and on disk.
    pouch exec -u root vm sh -c 'logger -t probe a-line && journalctl --sync'
    has "$(pouch exec -u root vm journalctl -t probe --no-pager)" a-line
    pouch exec -u root vm sh -c 'touch /etc/made && stat -c %u /etc/made' | grep -qx 0
    is "$(stat -c %u "$T/root/containers/"*/diff/etc/made)" 0
    run pouch exec -u root vm sh -c 'mknod /tmp/sda b 8 0 || mount -t debugfs none /mnt || echo c >/proc/sysrq-trigger'
    [ "$status" -ne 0 ]
    start=$(now_ms)
    pouch stop -t 120 vm >/dev/null
    [ $(($(now_ms) - start)) -lt 100000 ] || fail "the stop took $(($(now_ms) - start)) ms"
    is "$(pouch inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' vm | awk '{print $2}')" false
    pouch start vm >/dev/null
    within 30 settled
    is "$(pouch exec -u root vm systemctl is-system-running)" running
    is "$(pouch exec -u root vm stat -c %u /etc/made)" 0
}
