# sanitizers: yes
# Named and anonymous volumes: made on use, filled from the image, shared, kept, removed.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

inside() { ctl run --rm --network none "$@"; }
volumes() { find "$T/root/volumes" -mindepth 1 -maxdepth 1 ! -name '.*' -printf '%f\n' | sort; }
# A --rm container and its volumes may go a moment after the command has ended.
volumes_are() { [ "$(volumes)" = "$1" ]; }
no_volumes() { rm -rf "$T/root/volumes"/*; }

kept() {
    inside -v data:/d busybox sh -c 'echo one >/d/file'
    is "$(inside -v data:/other:ro busybox cat /other/file)" one
    run inside -v data:/d:ro busybox touch /d/x
    [ "$status" -ne 0 ]
    is "$(volumes)" data
    is "$(cat "$T/root/volumes/data/_data/file")" one
    is "$(inside --mount type=volume,src=data,dst=/m busybox cat /m/file)" one
    no_volumes
}
@test "a named volume is made on use and outlives its containers" { each_cli kept; }

filled() {
    # /www is the image's: content, owner and mode come into a new volume, and only into a new one.
    is "$(inside -v web:/www busybox cat /www/index.html)" 'it works'
    inside -v web:/www busybox sh -c 'echo mine >/www/index.html; rm -f /www/gone'
    is "$(inside -v web:/www busybox cat /www/index.html)" mine
    is "$(inside -v other:/www:nocopy busybox ls -A /www)" ''
    # A volume that exists but is empty is filled too; a bind mount never is.
    is "$(inside -v other:/www busybox cat /www/index.html)" 'it works'
    mkdir "$T/tmp/empty"
    is "$(inside -v "$T/tmp/empty:/www" busybox ls -A /www)" ''
    rmdir "$T/tmp/empty"
    # A place that the image has not.
    is "$(inside -v fresh:/not/there busybox sh -c 'ls -A /not/there; stat -c %a /not/there')" 755
    no_volumes
}
@test "a new volume gets what the image has there" { each_cli filled; }

shared_while_empty() {
    # The image's folder is empty: so is the volume, which somebody has mounted already.
    ctl run -d --name runs --network none -v shared:/tmp busybox sleep 1000 >/dev/null
    ctl create --name later --network none -v shared:/tmp busybox true >/dev/null
    ctl exec runs sh -c 'echo here >/tmp/file'
    is "$(inside -v shared:/s busybox cat /s/file)" here
    ctl rm -f runs later >/dev/null
    # And filled while somebody has it.
    ctl run -d --name runs --network none -v web:/other busybox sleep 1000 >/dev/null
    ctl create --name later --network none -v web:/www busybox true >/dev/null
    is "$(ctl exec runs cat /other/index.html)" 'it works'
    ctl rm -f runs later >/dev/null
    no_volumes
}
@test "a new container does not take an empty volume's folder from one that runs" { each_cli shared_while_empty; }

anonymous() {
    inside -v /cache busybox sh -c 'echo x >/cache/file'
    within 5 volumes_are ''
    ctl run --name keeper --network none -v /cache busybox sh -c 'echo x >/cache/file'
    has "$(volumes)" '^[0-9a-f]{64}$'
    ctl rm keeper
    has "$(volumes)" '^[0-9a-f]{64}$'
    no_volumes
    ctl run --name goer --network none -v /cache -v named:/n busybox true
    is "$(volumes | wc -l)" 2
    ctl rm -v goer
    is "$(volumes)" named
    no_volumes
}
@test "anonymous volumes go with --rm and rm -v, named ones stay" { each_cli anonymous; }

declared() {
    pouch load -q -i "$POUCH_IMAGES/configured.docker.tar" >/dev/null
    ctl create --name declared --network none -u 0 configured
    has "$(ctl inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Name}}{{end}}' declared)" \
        '^volume /data [0-9a-f]{64}$'
    ctl rm -v declared
    is "$(volumes)" ''
    ctl create --name declared --network none -u 0 -v mine:/data configured
    is "$(ctl inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Name}}{{end}}' declared)" \
        'volume /data mine'
    ctl rm -v declared
    is "$(volumes)" mine
    no_volumes
}
@test "an image's volumes; -v takes their place" { each_cli declared; }

shared() {
    ctl run -d --name owner --network none -v /shared -v named:/n busybox sleep 60 >/dev/null
    ctl exec owner sh -c 'echo s >/shared/f; echo n >/n/f'
    is "$(inside --volumes-from owner busybox cat /shared/f /n/f)" $'s\nn'
    run inside --volumes-from owner:ro busybox touch /shared/x
    [ "$status" -ne 0 ]
    # The one that borrowed is gone; the owner's are there still.
    is "$(ctl exec owner cat /shared/f)" s
    run inside --volumes-from nobody busybox true
    is "$status" 125
    ctl rm -f -v owner
    is "$(volumes)" named
    no_volumes
}
@test "--volumes-from" { each_cli shared; }

refused() {
    run inside -v x:/d busybox true
    is "$status" 125
    # The docker command line takes a single letter for a drive and leaves it to the daemon.
    has "$output" 'volume name is too short|mount path must be absolute'
    run inside -v 'bad name:/d' busybox true
    is "$status" 125
    has "$output" 'includes invalid characters'
    run inside --mount type=volume,src=data,dst=/d,volume-driver=nfs busybox true
    is "$status" 125
    has "$output" 'nfs'
    within 5 volumes_are ''
}
@test "what no volume can be" { each_cli refused; }

@test "volumes are there after the daemon was killed" {
    pouch run -d --name user --network none -v data:/d busybox sleep 60 >/dev/null
    pouch exec user sh -c 'echo one >/d/file'
    mkdir -p "$T/root/volumes/.tmp-crash/_data"
    pouchd_kill
    pouchd_start
    is "$(pouch exec user cat /d/file)" one
    is "$(volumes)" data
    pouch rm -f -v user
    is "$(volumes)" data
    no_volumes
}

# The sanitizer build sees what this is about: a start once replaced strings that inspect was reading.
@test "inspect while a container with a volume starts again and again" {
    local i reader
    pouch run -d --name vv --network none -v vol-restart:/data busybox sleep 600 >/dev/null
    while :; do pouch inspect vv >/dev/null 2>&1; done 3>&- &
    reader=$!
    for i in 1 2 3 4 5 6; do pouch restart -t 0 vv >/dev/null; done
    kill "$reader"
    wait "$reader" 2>/dev/null || true
    is "$(state_of vv)" running
    pouch rm -f vv >/dev/null
    rm -rf "$T/root/volumes/vol-restart"
}
