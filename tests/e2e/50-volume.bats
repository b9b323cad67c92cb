# sanitizers: yes
# Bind mounts and tmpfs: both spellings, read-only, propagation, what is refused.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

inside() { ctl run --rm --network none "$@"; }

binds() {
    mkdir "$T/tmp/b"
    echo from host >"$T/tmp/b/file"
    is "$(inside -v "$T/tmp/b:/data" busybox cat /data/file)" 'from host'
    inside -v "$T/tmp/b:/data" busybox sh -c 'echo from container >/data/back'
    is "$(cat "$T/tmp/b/back")" 'from container'
    run inside -v "$T/tmp/b:/data:ro" busybox touch /data/x
    [ "$status" -ne 0 ]
    has "$output" 'Read-only'
    is "$(inside -v "$T/tmp/b/file:/etc/one-file" busybox cat /etc/one-file)" 'from host'
    is "$(inside --mount "type=bind,src=$T/tmp/b,dst=/data,readonly" busybox cat /data/file)" 'from host'
    run inside --mount "type=bind,src=$T/tmp/b,dst=/data,readonly" busybox touch /data/x
    [ "$status" -ne 0 ]
    # A mount target that the image has not is made, below a link too, inside the root.
    is "$(inside -v "$T/tmp/b:/a/new/place" busybox cat /a/new/place/file)" 'from host'
    is "$(ctl run --rm --network none -v "$T/tmp/b:/data" busybox stat -c %u /data)" 0
    rm -rf "$T/tmp/b"
}
@test "bind mounts" { each_cli binds; }

made() {
    inside -v "$T/tmp/made/here:/data" busybox true
    [ -d "$T/tmp/made/here" ]
    run inside --mount "type=bind,src=$T/tmp/nosuch,dst=/data" busybox true
    is "$status" 125
    has "$output" "bind source path does not exist: $T/tmp/nosuch"
    [ ! -e "$T/tmp/nosuch" ]
    rm -rf "$T/tmp/made"
}
@test "-v makes a missing source, --mount refuses it" { each_cli made; }

readonly_is_recursive() {
    mkdir -p "$T/tmp/r/sub"
    mount -t tmpfs none "$T/tmp/r/sub"
    run inside -v "$T/tmp/r:/data" busybox touch /data/sub/x
    is "$status" 0
    run inside --privileged -v "$T/tmp/r:/data:ro" busybox sh -c 'touch /data/y'
    [ "$status" -ne 0 ]
    umount "$T/tmp/r/sub"
    rm -rf "$T/tmp/r"
}
@test "read-only binds with mounts below them" { each_cli readonly_is_recursive; }

propagation() {
    mkdir -p "$T/tmp/p"
    mount --bind "$T/tmp/p" "$T/tmp/p"
    mount --make-shared "$T/tmp/p"
    mkdir "$T/tmp/p/late"
    ctl run -d --name slave --network none -v "$T/tmp/p:/data:rslave" busybox sleep 60 >/dev/null
    ctl run -d --name private --network none -v "$T/tmp/p:/data" busybox sleep 60 >/dev/null
    mount -t tmpfs none "$T/tmp/p/late"
    echo x >"$T/tmp/p/late/x"
    is "$(ctl exec slave ls /data/late)" x
    is "$(ctl exec private ls /data/late)" ''
    umount "$T/tmp/p/late"
    ctl rm -f slave private >/dev/null
    umount "$T/tmp/p"
    rm -rf "$T/tmp/p"
}
@test "propagation" { each_cli propagation; }

temporary() {
    run inside --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1700 busybox sh -c 'stat -c %a /t; mount | grep " /t "'
    has "$output" '^1700$'
    has "$output" 'size=1024k'
    run inside --tmpfs /t:size=1m busybox sh -c 'head -c 2000000 /dev/zero >/t/x'
    [ "$status" -ne 0 ]
}
@test "tmpfs" { each_cli temporary; }

refused() {
    run inside -v "$T/tmp:relative" busybox true
    is "$status" 125
    run inside --mount type=nosuch,dst=/x busybox true
    is "$status" 125
    has "$output" 'nosuch'
    run inside --mount type=bind,dst=/x busybox true
    is "$status" 125
    run inside -v "$T/tmp:/x" --tmpfs /x busybox true
    is "$status" 125
    has "$output" '[Dd]uplicate mount point'
    run inside -v "$T/tmp:/" busybox true
    is "$status" 125
    has "$output" "destination can't be '/'"
    is "$(ctl ps -aq)" ''
}
@test "mounts that make no sense" { each_cli refused; }

links() {
    # A link in the image that points at the host's files leads nowhere but inside.
    mkdir "$T/tmp/l"
    ctl run --name evil --network none busybox sh -c "rm -rf /srv; ln -s $T/tmp/l /srv; mkdir -p /x; ln -s ../../../../../../etc /x/etc" >/dev/null
    ctl rm evil >/dev/null
    echo mounted >"$T/tmp/l/file"
    is "$(inside -v "$T/tmp/l:/usr/local/../data" busybox cat /usr/data/file)" mounted
    rm -rf "$T/tmp/l"
}
@test "paths are resolved inside the root" { each_cli links; }

@test "inspect tells the mounts" {
    mkdir "$T/tmp/m"
    pouch run -d --name mm --network none -v "$T/tmp/m:/data:ro" --tmpfs /t busybox sleep 60 >/dev/null
    run pouch inspect mm
    is "$(jq -r '.[0].Mounts[] | select(.Destination == "/data") | .Type, .Source, .RW' <<<"$output" | xargs)" \
        "bind $T/tmp/m false"
    is "$(jq -r '.[0].HostConfig.Binds[0]' <<<"$output")" "$T/tmp/m:/data:ro"
    pouch rm -f mm >/dev/null
    rm -rf "$T/tmp/m"
}
