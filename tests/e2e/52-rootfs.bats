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
    within 5 wrote_twice
    ctl rm -f kept
    [ ! -e "$T/root/containers/$id" ]
}
wrote_twice() { [ "$(ctl exec kept sh -c 'cat /file | wc -l')" = 2 ]; }
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

# many NAME FILES: a container that ended with so many files of its own. Says its folder.
many() {
    local id
    id=$(pouch create --name "$1" --network none busybox sh -c "mkdir /m && cd /m && seq $2 | xargs touch")
    pouch start -a "$1" >/dev/null
    echo "$T/root/containers/$id"
}
trash() { find "$T/root/containers" -mindepth 1 -maxdepth 1 -name 'trash.*'; }
no_trash() { [ -z "$(trash)" ]; }
no_leftovers() { [ -z "$(leftovers)" ]; }
leftovers() { find "$T/root/containers" -mindepth 1 -maxdepth 1; }

@test "rm does not wait for the removal of many or large files: they follow by themselves" {
    local dir
    dir=$(many one 20000)
    pouch rm one >/dev/null
    [ ! -e "$dir" ] || fail "the folder kept its name"
    is "$(pouch ps -aq)" ''
    within 60 no_trash
    dir=$T/root/containers/$(pouch create --name two --network none busybox dd if=/dev/zero of=/x bs=1M count=64)
    pouch start -a two >/dev/null 2>&1
    pouch rm two >/dev/null
    [ ! -e "$dir" ] || fail "the folder kept its name"
    within 60 no_trash
    pouch run --rm --network none busybox sh -c 'mkdir /m && cd /m && seq 3000 | xargs touch' >/dev/null
    within 60 no_trash
    # several at once, while others come and go
    for i in 1 2 3; do many "n$i" 3000 >/dev/null; done
    pouch rm n1 n2 n3 >/dev/null &
    pouch run --rm --network none busybox true
    wait $!
    within 60 no_trash
    is "$(leftovers)" ''
}

@test "little is gone when rm answers" {
    local dir
    dir=$(many one 50)
    pouch rm one >/dev/null
    [ ! -e "$dir" ]
    is "$(trash)" ''
}

@test "pouchd killed between the name and the files, or told to end: the next start removes the rest" {
    local dir i pid
    for i in 1 2 3; do
        dir=$(many one 20000)
        pouch rm one >/dev/null 2>&1 &
        pid=$!
        sleep "0.0$((i * 3))"
        if [ "$i" = 3 ]; then pouchd_stop; else pouchd_kill; fi
        wait "$pid" || true
        pouchd_start
        pouch rm one >/dev/null 2>&1 || true
        within 60 no_leftovers
        [ ! -e "$dir" ] || fail "the folder is there"
    done
    # as one that answered, and was killed at once, leaves it
    pouchd_kill
    mkdir -p "$T/root/containers/trash.0123456789abcdef/diff/x"
    (cd "$T/root/containers/trash.0123456789abcdef/diff/x" && seq 3000 | xargs touch)
    pouchd_start
    within 60 no_leftovers
}

@test "an end of pouchd while files are freed and images collected takes no image of a container" {
    local i dir
    pouch create --name keeps --network none busybox true >/dev/null
    pouch run -d --name runs --network none busybox sleep 600 >/dev/null
    for i in 1 2 3 4 5 6; do
        dir=$(many "large$i" 2000)
        mkdir "$dir/diff/m/held"
        mount -t tmpfs tmpfs "$dir/diff/m/held"
    done
    pouchd_stop
    pouchd_start --image-gc high=2,low=1,min-age=1ms,keep=corners
    # They cannot be freed, which is tried for half a second each: a collection waits for that.
    pouch rm large1 large2 large3 large4 large5 large6 >/dev/null
    pouch load -q -i "$POUCH_IMAGES/corners.docker.tar" >/dev/null
    pouchd_stop
    pouchd_start
    pouch start keeps >/dev/null
    pouch restart -t 0 runs >/dev/null
    pouch rm -f keeps runs >/dev/null
    pouch rmi corners >/dev/null
    pouchd_stop
    awk '$5 ~ "/containers/.*/held" { print $5 }' /proc/self/mountinfo | xargs -r umount
    pouchd_start
    within 60 no_leftovers
}

@test "on a full disk rm works, and the room is there when it has answered" {
    pouchd_stop
    mkdir "$T/small"
    mount -t tmpfs -o size=32m,mode=711 tmpfs "$T/small"
    "$POUCH_BIN/pouchd" --root "$T/small" --state "$T/run-small" --host "unix://$T/small.sock" --pidfile "$T/pid-small" \
        --cgroup-parent "$CGROUP_PARENT" >>"$LOG" 2>&1 3>&- &
    local pid=$! before after
    small() { "$POUCH_BIN/pouch" -H "unix://$T/small.sock" "$@"; }
    within 30 small version >/dev/null
    small load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    small run --rm --network none busybox true
    before=$(df --output=used "$T/small" | tail -n 1)
    for _ in 1 2 3; do
        run small run --name full --network none busybox sh -c 'mkdir /m; cd /m; seq 300 | xargs touch; cat /dev/zero >/m/x'
        has "$output" 'No space left'
        small rm full >/dev/null
        after=$(df --output=used "$T/small" | tail -n 1)
        [ "$after" -lt $((before + 512)) ] || fail "$before KiB before, $after KiB afterwards"
    done
    kill "$pid"
    gone "$pid"
    umount "$T/small"
    rm -rf "$T/small" "$T/run-small"
    pouchd_start
}
