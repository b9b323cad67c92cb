# The harness itself: a leak of any kind fails a test and is named.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

@test "a test that leaks is told what it leaks" {
    local cgroup
    cgroup=$(cgroup_mounts | head -n 1)/$CGROUP_PARENT/leak
    mkdir "$T/tmp/leaked-file"
    mount -t tmpfs none "$T/tmp/leaked-file"
    mkdir -p "$cgroup"
    ip link add leak0 type veth peer name leak1
    ip netns add leak
    nft add table ip leak
    nft 'add set ip leak s { type ipv4_addr; elements = { 192.0.2.99 } }'
    # Not a child of bats, as what a daemon leaves behind never is.
    setsid --fork sleep 4711 3>&- >/dev/null 2>&1
    LEAK_SECONDS=2 run leak_check
    ip netns del leak
    ip link del leak0
    nft delete table ip leak
    rmdir "$cgroup"
    umount "$T/tmp/leaked-file"
    rmdir "$T/tmp/leaked-file"
    pkill -x -f 'sleep 4711'
    is "$status" 1
    has "$output" "^mount $T/tmp/leaked-file"
    has "$output" "^file $T/tmp/leaked-file"
    has "$output" "^cgroup $cgroup"
    has "$output" '^link leak0'
    has "$output" '^netns /run/netns/leak'
    has "$output" '^nft element ip leak s 192.0.2.99'
    has "$output" '^process [0-9]+ sleep 4711'
}

@test "a container that stays is found as well" {
    pouch run -d --name left --network none busybox sleep 4712 >/dev/null
    LEAK_SECONDS=2 run leak_check
    pouch rm -f left >/dev/null
    is "$status" 1
    has "$output" '^process [0-9]+ sleep 4712'
    has "$output" "^cgroup .*/$CGROUP_PARENT/"
}

@test "the sandbox is one" {
    is "$(cat /proc/1/comm)" sandbox
    lacks "$(ip -o link)" 'eth0'
}
