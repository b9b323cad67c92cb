# A full disk: during a pull, during log writing, during create. The root lies on a small tmpfs.
load helpers

setup_file() {
    mkdir -p "$T/root"
    mount -t tmpfs -o size=16m,mode=711 tmpfs "$T/root"
    pouchd_start
    fault_registry_start
}
teardown_file() {
    remove_all
    pouchd_stop
    fault_registry_stop
    umount "$T/root"
    ended_clean
}

room() { mount -o remount,size="$1" "$T/root"; }
used() { df --output=used "$T/root" | tail -n 1 | tr -d ' '; }

@test "during a pull: one line, nothing left, and with room it works" {
    local before
    room 6m
    before=$(used)
    run timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$FAULTY/ok/many:latest"
    is "$status" 1
    one_line '[Nn]o space left'
    is "$(pouch images -aq)" ''
    [ "$(used)" -lt $((before + 300)) ] || fail "used $before KiB before, $(used) now"
    room 64m
    pouch pull -q "$FAULTY/ok/many:latest"
    is "$(pouch run --rm --network none "$FAULTY/ok/many:latest" echo fine)" fine
    pouch rmi "$FAULTY/ok/many:latest"
}

@test "during load" {
    room 1500k
    run timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" load -i "$POUCH_IMAGES/busybox.docker.tar"
    is "$status" 1
    one_line '[Nn]o space left'
    is "$(pouch images -aq)" ''
    room 16m
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
}

@test "during log writing: the container goes on, and its output reaches who is attached" {
    pouch images -q busybox | grep -q . || pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    pouch run -d --name chatty --network none busybox \
        sh -c 'while [ ! -e /go ]; do printf .; sleep 0.1; done; i=0; while [ $i -lt 3000 ]; do
               echo "line $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
               i=$((i+1)); done; echo finished; exit 5' >/dev/null
    room "$(($(used) + 120))k"
    pouch attach --no-stdin chatty >"$T/tmp/seen" 2>&1 3>&- &
    local client=$!
    within 10 test -s "$T/tmp/seen"
    pouch exec chatty touch /go
    is "$(timeout 100 "$POUCH_BIN/pouch" -H "unix://$SOCK" wait chatty)" 5
    wait "$client" || true
    is "$(tail -n 1 "$T/tmp/seen")" finished
    rm -f "$T/tmp/seen"
    room 16m
    pouch rm chatty
}

@test "with no room at all requests fail in one line and the daemon stays" {
    pouch images -q busybox | grep -q . || pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    room 64m
    head -c 64M /dev/zero >"$T/root/fill" 2>/dev/null || true
    run pouch run --rm --network none busybox true
    if [ "$status" -ne 0 ]; then one_line 'space|full|disk'; fi
    pouch ps -a >/dev/null
    rm -f "$T/root/fill"
    is "$(pouch run --rm --network none busybox echo again)" again
}

@test "a rename that finds no room did not happen" {
    local i name=nm0
    pouch images -q busybox | grep -q . || pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    pouch create --name nm0 busybox true >/dev/null
    pouchd_stop # so that the database's log has no room of before
    pouchd_start
    room 64m
    head -c 64M /dev/zero >"$T/root/fill" 2>/dev/null || true
    for i in $(seq 500); do
        api POST "/containers/$name/rename?name=nm$i"
        [ "$code" = 204 ] || break
        name=nm$i
    done
    is "$code" 503
    has "$body" 'space|full|disk'
    api GET "/containers/$name/json"
    is "$code" 200
    is "$(jq -r .Name <<<"$body")" "/$name"
    api GET "/containers/nm$i/json"
    is "$code" 404
    rm -f "$T/root/fill"
    pouch rename "$name" last
    pouch create --name "$name" busybox true >/dev/null
    pouchd_kill
    pouchd_start
    is "$(pouch ps -a --format '{{.Names}}' | sort | xargs)" "last $name"
}

@test "a --rm container ends, whether there is room to take it off the record or not" {
    local id
    pouch images -q busybox | grep -q . || pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    id=$(pouch run -d --rm --network none busybox sleep 1000)
    pouch exec "$id" true # what it needs of the database is written
    pouchd_stop
    pouchd_start
    curl -s --max-time 60 --unix-socket "$SOCK" -X POST "http://pouch/containers/$id/wait?condition=not-running" \
        >"$T/tmp/waited" 3>&- &
    room 64m
    head -c 64M /dev/zero >"$T/root/fill" 2>/dev/null || true
    api POST "/containers/$id/kill"
    is "$code" 204
    wait $!
    has "$(cat "$T/tmp/waited")" 'StatusCode":137'
    rm -f "$T/root/fill" "$T/tmp/waited"
    api DELETE "/containers/$id?force=1"
    case $code in 204 | 404) ;; *) fail "$code $body" ;; esac
}
