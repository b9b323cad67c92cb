# sanitizers: yes
# The writable layer: kept over restarts, counted, and removed whatever is in it.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

layer_of() { echo "$T/root/containers/$1/diff"; }

kept() {
    local id
    id=$(ctl run -d --name kept --network none busybox sh -c 'echo x >>/file; exec sleep 60')
    within 5 test -s "$(layer_of "$id")/file"
    ctl stop -t 0 kept
    ctl start kept
    within 5 [ "$(ctl exec kept sh -c 'sleep 0.2; cat /file | wc -l')" = 2 ]
    ctl rm -f kept
    [ ! -e "$T/root/containers/$id" ]
}
@test "what a container wrote is there after a restart, and gone after rm" { each_cli kept; }

lines_are() { [ "$(pouch exec again cat /file 2>/dev/null | wc -l)" = "$1" ]; }
@test "a --rm container can be started again while it is there" {
    # Its mount is made to be thrown away: the second start must not mind.
    pouch run -d --rm --name again --network none busybox sh -c 'echo x >>/file; exec sleep 60' >/dev/null
    within 5 lines_are 1
    pouch restart -t 0 again >/dev/null
    within 5 lines_are 2
    pouch rm -f again >/dev/null
}

@test "the root folder and what is deleted from the image" {
    is "$(pouch run --rm --network none busybox stat -c '%a %u %g' /)" '755 0 0'
    pouch run --name del --network none busybox rm -r /www /etc/os-release >/dev/null
    is "$(stat -c '%F %t %T' "$(layer_of "$(pouch inspect -f '{{.Id}}' del)")/www")" \
        'character special file 0 0'
    pouch start -a del >/dev/null || true
    run pouch run --rm --network none busybox cat /etc/os-release
    has "$output" 'ID=busybox'
    pouch rm del >/dev/null
}

hard_to_remove() {
    local id
    id=$(ctl create --name hard --network none --privileged busybox sh -c '
        mkdir /locked && echo x >/locked/file && chattr +i /locked/file && chattr +a /locked
        i=0; while [ $i -lt 300 ]; do mkdir d && cd d || exit 1; i=$((i + 1)); done
        mkdir -m 0 /closed; : >/closed/x; ln -s / /closed/root; mkfifo /fifo')
    ctl start -a hard
    ctl rm hard
    [ ! -e "$T/root/containers/$id" ]
}
@test "rm removes locked files and deep trees" { each_cli hard_to_remove; }

@test "the size of a container is what it wrote" {
    local size
    pouch run --name sized --network none busybox sh -c \
        'dd if=/dev/urandom of=/big bs=1M count=3 2>/dev/null; ln /big /again; sync' >/dev/null
    api GET '/containers/json?all=1&size=1'
    size=$(jq '.[0].SizeRw' <<<"$body")
    [ "$size" -ge 3145728 ] && [ "$size" -lt 4000000 ]
    pouch rm sized >/dev/null
}

@test "layers left over by a crash are swept" {
    mkdir -p "$T/root/containers/0123456789ab/diff/x" "$T/root/containers/0123456789ab/work"
    pouchd_kill
    pouchd_start
    [ ! -e "$T/root/containers/0123456789ab" ]
}
