# The disk full at every page, and without inodes: each operation with one page more in each round.
load helpers

setup_file() {
    export BATS_TEST_TIMEOUT=600
    mkdir -p "$T/root"
    mount -t tmpfs -o size=24m,mode=711 tmpfs "$T/root"
    pouchd_start --bridge-name none --nftables=false
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    pouch run --name source --network none busybox \
        sh -c 'head -c 20000 /dev/urandom >/new; mkdir /more; rm /etc/passwd' >/dev/null
}
teardown_file() {
    remove_all
    pouchd_stop
    umount "$T/root"
    ended_clean
}
remove_all() { :; } # the container above serves the whole file

full() {
    run "$HERE/full-disk" "$SOCK" "$T/root" "$T/pouchd.pid" busybox "$@"
    echo "$output"
    is "$status" 0
    echo "# $output" >&3
}

@test "a pull: each page either suffices or is named as missing, and nothing is left" { full pull; }
@test "a load" { full load; }
@test "a commit" { full commit; }
@test "a container that is made and started" { full create; }
@test "a removal makes room" { full remove; }
@test "no inodes" { full pull-inodes load-inodes commit-inodes create-inodes; }
