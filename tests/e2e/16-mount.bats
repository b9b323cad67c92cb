# sanitizers: yes
# Images mounted on the host.
load helpers
A=$BATS_TEST_TMPDIR

setup_file() { file_up; }
teardown_file() { file_down; }

@test "image mount: read-only, on a folder of ours or the user's; list; umount" {
    local p
    p=$(pouch image mount busybox)
    [ -x "$p/bin/busybox" ]
    run touch "$p/x"
    has "$output" 'Read-only file system'
    has "$(grep " $p " /proc/self/mountinfo)" 'ro,nosuid,nodev'
    mkdir "$A/d"
    is "$(pouch image mount busybox:latest "$A/d")" "$A/d"
    is "$(find "$A/d/bin" -printf '%P\n' | sort | head -n 4)" "$(find "$p/bin" -printf '%P\n' | sort | head -n 4)"
    is "$(pouch image mount --format '{{.Image}} {{.Path}}' | sort)" "$(printf '%s\n' "busybox:latest $p" "busybox:latest $A/d" | sort)"
    run pouch image mount busybox "$A/d"
    is "$status" 1
    has "$output" 'mounted on .* already'
    # in use it is not unmounted, unless by force
    # shellcheck disable=SC2217 # only to have the file open
    sleep 100 <"$A/d/bin/busybox" &
    local user=$!
    run pouch image umount "$A/d"
    is "$status" 1
    has "$output" 'in use: end what uses it, or unmount with --force'
    is "$(pouch image umount -f "$A/d")" "$A/d"
    kill "$user"
    wait "$user" || true
    is "$(ls "$A/d")" ''
    is "$(pouch image umount busybox)" "$p"
    [ ! -e "$p" ]
    run pouch image umount busybox
    is "$status" 1
    has "$output" 'image busybox is not mounted'
    run pouch image mount nosuch
    is "$status" 1
    has "$output" 'No such image: nosuch'
    run pouch image mount busybox "$A/none"
    is "$status" 1
    has "$output" 'No such file'
}

@test "image mount: several layers; a mounted image is in use; survives pouchd" {
    pouch run --name maker --network none busybox sh -c 'echo x >/new; rm /bin/vi' >/dev/null
    pouch commit maker two:1 >/dev/null
    pouch rm maker >/dev/null
    local p
    p=$(pouch image mount two:1)
    is "$(cat "$p/new")" x
    [ ! -e "$p/bin/vi" ]
    run pouch rmi two:1
    is "$status" 1
    has "$output" "is mounted at $p: pouch image umount $p first"
    run pouch rmi -f two:1
    has "$output" "is mounted at $p"
    pouch image prune -af >/dev/null
    is "$(cat "$p/new")" x
    pouchd_kill
    is "$(cat "$p/new")" x
    pouchd_start
    is "$(cat "$p/new")" x
    is "$(pouch image mount --format '{{.Path}}')" "$p"
    pouchd_stop
    is "$(cat "$p/new")" x
    pouchd_start
    # gone behind our back: struck off at the next start
    pouchd_stop
    umount "$p"
    pouchd_start
    is "$(pouch image mount --format '{{.Path}}')" ''
    [ ! -e "$p" ]
    pouch rmi two:1 >/dev/null
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}
