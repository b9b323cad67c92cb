# sanitizers: yes
# A container's files from outside: export, diff, commit; against docker's words and tar's reading.
load helpers
A=$BATS_TEST_TMPDIR

setup_file() { file_up; }
teardown_file() { file_down; }

# A container that did about everything a container can do to its files.
busy() {
    ctl run -d --network none --name busy -v "$A:/vol" --tmpfs /scratch busybox sh -c '
        mkdir -p /new/deep; echo hello >/new/deep/file; ln /new/deep/file /new/link
        ln -s deep/file /new/soft; mkfifo /new/pipe; mknod /new/null c 1 3
        echo more >>/etc/passwd; rm /bin/vi; chown 1234:56 /new/soft -h; chmod 4711 /new/deep/file
        rm -r /var/spool; mkdir -p /var/spool; touch /var/spool/fresh; chmod 1777 /home
        dd if=/dev/zero of=/new/sparse bs=1 count=1 seek=20M 2>/dev/null
        echo done >/vol/done; exec sleep 1000' >/dev/null
    within 20 test -e "$A/done"
    rm "$A/done"
}

changes() {
    busy
    run ctl diff busy
    is "$status" 0
    local line
    for line in 'A /new' 'A /new/deep/file' 'A /new/link' 'A /new/pipe' 'A /new/null' 'C /etc' \
        'C /etc/passwd' 'D /bin/vi' 'C /bin' 'C /home' 'A /var/spool/fresh' 'C /var'; do
        has "$output" "^$line\$"
    done
    lacks "$output" 'hosts|hostname|resolv|/proc|/sys|/dev$|/dev/'
    run ctl diff nosuch
    is "$status" 1
    has "$output" 'No such container: nosuch'
    ctl create --name fresh busybox true >/dev/null
    is "$(ctl diff fresh)" ''
    ctl run --name idle --network none busybox true
    is "$(ctl diff idle)" ''
    rm -f "$A/done"
}
@test "diff: what was added, changed and deleted, and nothing of the engine's own" { each_cli changes; }

exported() {
    busy
    ctl export busy >"$A/e.tar"
    ctl export -o "$A/e2.tar" busy
    cmp "$A/e.tar" "$A/e2.tar"
    mkdir "$A/x"
    tar -C "$A/x" --xattrs --same-owner -xpf "$A/e.tar"
    is "$(cat "$A/x/new/soft")" hello
    is "$(stat -c '%a %h' "$A/x/new/deep/file")" '4711 2'
    is "$(stat -c %u:%g "$A/x/new/soft")" 1234:56
    is "$(stat -c '%F %t:%T' "$A/x/new/null")" 'character special file 1:3'
    [ -p "$A/x/new/pipe" ]
    [ ! -e "$A/x/bin/vi" ] && [ -e "$A/x/bin/busybox" ]
    is "$(ls "$A/x/vol" "$A/x/scratch" "$A/x/proc")" "$(printf '%s\n' "$A/x/proc:" '' "$A/x/scratch:" '' "$A/x/vol:")"
    is "$(stat -c %s "$A/x/new/sparse")" 20971521
    # holes stay holes: in the archive and on the disk
    [ "$(stat -c %s "$A/e.tar")" -lt 20000000 ]
    [ "$(stat -c %b "$A/x/new/sparse")" -lt 1000 ]
    # stopped, it gives the same; imported, it runs
    ctl kill busy >/dev/null
    ctl wait busy >/dev/null
    ctl export busy | cmp - "$A/e.tar"
    ctl import - exported:1 <"$A/e.tar" >/dev/null
    is "$(ctl run --rm --network none exported:1 cat /new/deep/file)" hello
    pouch rmi exported:1 >/dev/null
    rm -rf "$A/x" "$A"/*.tar
    run ctl export nosuch -o "$A/none.tar"
    is "$status" 1
    has "$output" 'No such container: nosuch'
    [ ! -e "$A/none.tar" ]
}
@test "export: all files of a running or stopped container, mounts left out" { each_cli exported; }

committed() {
    busy
    run ctl commit -a 'A. Author' -m 'a message' -c 'CMD ["cat", "/new/deep/file"]' -c 'ENV X=y z=1' \
        -c 'LABEL a=b' -c 'EXPOSE 80' busy made/it:one
    is "$status" 0
    has "$output" '^sha256:[0-9a-f]{64}$'
    is "$(pouch inspect -f '{{.Id}}' made/it:one)" "$output"
    is "$(ctl inspect -f '{{.State.Status}}' busy)" running
    is "$(ctl run --rm --network none made/it:one)" hello
    is "$(ctl inspect -f '{{.Author}}|{{.Comment}}|{{index .Config.Labels "a"}}' made/it:one)" 'A. Author|a message|b'
    has "$(ctl inspect -f '{{.Config.Env}}|{{.Config.ExposedPorts}}' made/it:one)" 'X=y.*80/tcp'
    ctl run -d --network none --name copy made/it:one sleep 1000 >/dev/null
    is "$(ctl exec copy stat -c '%a %h %u' /new/deep/file /new/link)" "$(printf '%s\n' '4711 2 0' '4711 2 0')"
    is "$(ctl exec copy stat -c '%u:%g' /new/soft)" 1234:56
    is "$(ctl exec copy stat -c '%a' /home)" 1777
    is "$(ctl exec copy ls /var/spool)" fresh
    is "$(ctl exec copy tail -n1 /etc/passwd)" more
    is "$(ctl exec copy sh -c 'ls /bin/vi 2>&1')" 'ls: /bin/vi: No such file or directory'
    is "$(ctl exec copy ls /vol /scratch)" "$(printf '%s\n' /scratch: '' /vol:)"
    is "$(ctl diff copy)" ''
    # its layer, read by another program
    pouch save --format oci -o "$A/o.tar" made/it:one
    mkdir "$A/l"
    tar -xf "$A/o.tar" -C "$A/l"
    umoci unpack --image "$A/l:one" "$A/b"
    is "$(cat "$A/b/rootfs/new/soft")" hello
    [ ! -e "$A/b/rootfs/bin/vi" ]
    is "$(ls "$A/b/rootfs/var/spool")" fresh
    local blob
    blob=$(jq -r '.layers[-1].digest' "$A/l/blobs/sha256/$(jq -r '.manifests[0].digest' "$A/l/index.json" | cut -d: -f2)")
    lacks "$(tar -tf "$A/l/blobs/sha256/${blob#sha256:}")" 'etc/(hosts|hostname|resolv)|^dev|^proc|^sys'
    has "$(tar -tf "$A/l/blobs/sha256/${blob#sha256:}")" '^bin/.wh.vi$'
    has "$(tar -tf "$A/l/blobs/sha256/${blob#sha256:}")" '^var/spool/.wh..wh..opq$'
    lacks "$(tar --xattrs -tvvf "$A/l/blobs/sha256/${blob#sha256:}")" 'overlay'
    rm -rf "$A/l" "$A/b" "$A/o.tar"
    remove_all
    pouch rmi made/it:one >/dev/null
}
@test "commit: files, links, owners, whiteouts, opaque folders; configuration and history" { each_cli committed; }

plain_commit() {
    # without changes no layer is added; the configuration is the container's
    ctl run --name idle --network none -e A=b -w /tmp -u 12 busybox true
    ctl commit idle idle:1 >/dev/null
    is "$(ctl inspect -f '{{json .RootFS.Layers}}' idle:1)" "$(ctl inspect -f '{{json .RootFS.Layers}}' busybox)"
    is "$(ctl inspect -f '{{.Config.User}} {{.Config.WorkingDir}}' idle:1)" '12 /tmp'
    is "$(ctl history --format '{{.Size}} {{.CreatedBy}}' idle:1 | head -n1)" '0B true'
    ctl create --name never busybox true >/dev/null
    local id
    id=$(ctl commit never)
    is "$(ctl run --rm --network none "$id" echo hello)" hello
    remove_all
    pouch rmi "$id" idle:1 >/dev/null
    # a container of a committed image, committed again
    ctl run --name one --network none busybox sh -c 'echo 1 >/one; echo x >/gone'
    ctl commit one chain:1 >/dev/null
    ctl run --name two --network none chain:1 sh -c 'echo 2 >/two; rm /gone'
    ctl commit two chain:2 >/dev/null
    is "$(ctl run --rm --network none chain:2 sh -c 'cat /one /two; ls /gone 2>&1')" \
        "$(printf '%s\n' 1 2 'ls: /gone: No such file or directory')"
    remove_all
    pouch rmi chain:1 chain:2 >/dev/null
    run ctl commit nosuch x:y
    is "$status" 1
    has "$output" 'No such container: nosuch'
}
healthchecks() {
    local id
    ctl create --name sound busybox true >/dev/null
    ctl commit -c 'HEALTHCHECK --interval=100ms --timeout=5s --start-period=1m --retries=2 CMD test -e /etc/passwd' sound sound:1 >/dev/null
    is "$(ctl inspect -f '{{json .Config.Healthcheck}}' sound:1 | jq -c '[.Test, .Interval, .Timeout, .StartPeriod, .Retries]')" \
        '[["CMD-SHELL","test -e /etc/passwd"],100000000,5000000000,60000000000,2]'
    ctl run -d --name lives --network none sound:1 sleep 1000 >/dev/null
    healthy() { is "$(ctl inspect -f '{{.State.Health.Status}}' lives)" healthy; }
    within 60 healthy
    tar -C / -c etc/hostname | ctl import -c 'HEALTHCHECK CMD ["/bin/check", "a b"]' - sound:2 >/dev/null
    is "$(ctl inspect -f '{{json .Config.Healthcheck.Test}}' sound:2)" '["CMD","/bin/check","a b"]'
    ctl commit -c 'HEALTHCHECK NONE' lives sound:3 >/dev/null
    is "$(ctl inspect -f '{{json .Config.Healthcheck.Test}}' sound:3)" '["NONE"]'
    run ctl commit -c 'HEALTHCHECK CMD' sound sound:4
    is "$status" 1
    has "$output" 'command after HEALTHCHECK CMD'
    run ctl commit -c 'HEALTHCHECK --every=1s CMD true' sound sound:4
    is "$status" 1
    has "$output" 'flag: (--)?every'
    remove_all
    pouch rmi sound:1 sound:2 sound:3 >/dev/null
}
@test "commit and import: HEALTHCHECK as a change" { each_cli healthchecks; }

@test "commit: without changes, of a container that never ran, of a commit" { each_cli plain_commit; }

@test "commit: the container stands still meanwhile, unless asked not to, and goes on whatever happens" {
    pouch run -d --network none --name ww busybox sh -c 'dd if=/dev/urandom of=/big bs=1M count=40 2>/dev/null; echo ok >/ready; while :; do date +%s%N >/now; done' >/dev/null
    within 60 pouch exec ww test -e /ready
    local since
    sleep 1 # events are asked for in whole seconds, and what came before is not meant
    since=$(date +%s)
    pouch commit ww w:1 >/dev/null
    is "$(pouch inspect -f '{{.State.Status}}' ww)" running
    pouch commit -p=false ww w:2 >/dev/null
    pouch pause ww
    pouch commit ww w:3 >/dev/null
    is "$(pouch inspect -f '{{.State.Status}}' ww)" paused
    pouch unpause ww
    sleep 1 # events are asked for in whole seconds
    is "$(pouch events --since "$since" --until "$(date +%s)" --filter event=pause --filter event=unpause \
        --filter event=commit --format '{{.Action}}' | paste -sd' ')" 'pause unpause commit commit pause commit unpause'
    # pouchd killed in the middle: the container goes on, nothing is left
    pouch commit ww w:4 >/dev/null 2>&1 &
    local client=$!
    sleep 0.1
    pouchd_kill
    wait "$client" || true
    pouchd_start
    is "$(pouch inspect -f '{{.State.Status}}' ww)" running
    local before after
    before=$(pouch exec ww cat /now)
    within 20 sh -c "[ \"\$('$POUCH_BIN/pouch' -H 'unix://$SOCK' exec ww cat /now)\" != '$before' ]"
    is "$(ls "$T/root/blobs/tmp")" ''
    pouch rm -f ww >/dev/null
    pouch rmi -f w:1 w:2 w:3 >/dev/null
    pouch rmi -f w:4 >/dev/null 2>&1 || true
    is "$(find "$T/root/layers" -maxdepth 1 -name 'tmp.*')" ''
}

@test "commit and export under a writer; a removal in the middle leaves no image" {
    pouch run -d --network none --name ww busybox sh -c 'mkdir /d; i=0; while :; do i=$((i+1)); echo $i >/d/f$((i%50)); rm -f /d/f$((i*7%50)); mkdir -p /d/x/y; mv /d/x /d/z$((i%3)) 2>/dev/null; rm -rf /d/z*; done' >/dev/null
    within 20 pouch exec ww test -d /d
    local _
    for _ in 1 2 3 4 5; do
        pouch export ww | tar -tf - >/dev/null
        pouch commit -p=false ww w:x >/dev/null
        pouch diff ww >/dev/null
    done
    pouch exec ww sh -c 'dd if=/dev/urandom of=/big bs=1M count=50 2>/dev/null'
    pouch commit ww gone:1 >"$A/out" 2>&1 &
    local client=$!
    pouch rm -f ww >/dev/null
    wait "$client" || has "$(cat "$A/out")" 'removed meanwhile|No such container|is paused|in progress|did not freeze'
    pouch rmi -f w:x >/dev/null
    pouch rmi -f gone:1 >/dev/null 2>&1 || true
}

@test "commit beside a removal, again and again: an image, or the reason why there is none" {
    local i client
    for i in $(seq 16); do
        pouch run -d --network none --name rr busybox sh -c 'echo x >/f; exec sleep 600' >/dev/null
        pouch commit rr "race:$i" >"$A/out" 2>&1 &
        client=$!
        sleep "0.0$((i % 4))"
        pouch rm -f rr >/dev/null
        wait "$client" || has "$(cat "$A/out")" 'removed meanwhile|No such container|in progress'
        pouch rmi -f "race:$i" >/dev/null 2>&1 || true
    done
}

@test "commit: a container in a user namespace gives the container's own ids and capabilities" {
    pouch run -d --network none --userns auto --name uu busybox sh -c 'echo x >/f; chown 5:6 /f; exec sleep 1000' >/dev/null ||
        skip "no user namespaces with shifted files here"
    within 10 pouch exec uu test -e /f
    pouch commit uu user:1 >/dev/null
    pouch export uu >"$A/u.tar"
    is "$(tar --numeric-owner -tvf "$A/u.tar" f | awk '{print $2}')" 5/6
    is "$(pouch run --rm --network none user:1 stat -c %u:%g /f /bin/busybox)" "$(printf '%s\n' 5:6 0:0)"
    pouch rm -f uu >/dev/null
    pouch rmi user:1 >/dev/null
}

imports() {
    ctl import -m 'from the web' -c 'CMD ["cat", "/etc/passwd"]' "http://127.0.0.1:$(cat "$T/port")/busybox-root.tar.gz" web:1 >/dev/null
    has "$(ctl run --rm --network none web:1)" '^root:'
    is "$(ctl inspect -f '{{.Comment}}' web:1)" 'from the web'
    pouch rmi web:1 >/dev/null
    run ctl import "http://127.0.0.1:$(cat "$T/port")/none.tar" web:2
    is "$status" 1
    has "$output" 'is answered with 404'
    run ctl import "http://127.0.0.1:1/x.tar" web:2
    is "$status" 1
    has "$output" 'cannot fetch http://127.0.0.1:1/x.tar'
    run ctl import "http://127.0.0.1:$(cat "$T/port")/busybox.docker.tar/" web:2
    is "$status" 1
    is "$(ctl images -q web)" ''
    ctl import --platform linux/arm64 - web:3 <"$POUCH_IMAGES/busybox-root.tar" >/dev/null
    is "$(pouch inspect -f '{{.Architecture}}' web:3)" arm64
    pouch rmi web:3 >/dev/null
}
@test "import: of a web server, fetched by the worker; from stdin for a platform" {
    free_port >"$T/port"
    (cd "$POUCH_IMAGES" && exec python3 -m http.server --bind 127.0.0.1 "$(cat "$T/port")" >/dev/null 2>&1 3>&-) &
    local server=$!
    within 20 curl -s "http://127.0.0.1:$(cat "$T/port")/" -o "$A/index"
    each_cli imports
    kill "$server"
    wait "$server" || true
}
