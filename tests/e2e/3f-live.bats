# Ports, mounts, devices and the network of a container that runs: they come and go live.
# sanitizers: yes
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

setup() {
    mkdir -p "$T/share"
    echo hello >"$T/share/file"
    snapshot >"$T/before"
    LOG_LINES=$(wc -l <"$LOG")
}

fetch() { curl -s --max-time 20 "$@"; }
answers() { [ "$(fetch "http://127.0.0.1:$1/")" = 'it works' ]; }
taken() { ss -Hltn "sport = :$1" | grep -q .; }
silent() { ! fetch -o /dev/null "http://127.0.0.1:$1/"; }
web() {
    pouch run -d --name web "$@" busybox httpd -f -h /www >/dev/null
    within 5 listens web 80
}

@test "a port is published and withdrawn while the container runs" {
    web
    pouch update --publish-add 18081:80 web >/dev/null
    within 5 answers 18081
    has "$(pouch port web)" '80/tcp -> 0.0.0.0:18081'
    has "$(pouch ps --format '{{.Ports}}')" '18081->80/tcp'
    pouch update --publish-add 127.0.0.1:18082:80 --publish-add 18083:80 web >/dev/null
    answers 18082
    answers 18083
    # One of them; the others go on.
    pouch update --publish-rm 18081:80 web >/dev/null
    silent 18081
    answers 18082
    # The port is free again for others.
    pouch run --rm -p 18081:80 busybox true
    # It is there again after a restart.
    pouch restart -t 0 web >/dev/null
    within 5 answers 18083
    silent 18081
    is "$(pouch inspect -f '{{json .HostConfig.PortBindings}}' web)" \
        '{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"18082"},{"HostIp":"","HostPort":"18083"}]}'
    pouch update --publish-rm 80 web >/dev/null
    silent 18082
    silent 18083
    is "$(pouch port web)" ''
}

@test "a port that the host chooses" {
    web
    pouch update --publish-add 80 web >/dev/null
    local port
    port=$(pouch port web 80 | head -n 1)
    port=${port##*:}
    within 5 answers "$port"
    pouch update --publish-rm "$port:80" web >/dev/null
    silent "$port"
}

@test "a port that is taken: refused, what was published stays" {
    web -p 18084:80
    python3 -c 'import socket, time; s = socket.socket(); s.bind(("0.0.0.0", 18085)); s.listen(); time.sleep(60)' 3>&- &
    local holder=$!
    within 5 taken 18085
    run pouch update --publish-add 18086:80 --publish-add 18085:80 -l changed=yes web
    kill "$holder"
    is "$status" 1
    has "$output" '18085 failed: port is already allocated'
    answers 18084
    silent 18086
    is "$(pouch inspect -f '{{json .HostConfig.PortBindings}} {{json .Config.Labels}}' web)" \
        '{"80/tcp":[{"HostIp":"","HostPort":"18084"}]} {}'
    run pouch update --publish-add 18084:80 web
    is "$status" 1
    has "$output" 'already'
    run pouch update --publish-rm 99 web
    is "$status" 1
    has "$output" 'does not publish 99'
}

@test "ports where there are none of one's own" {
    pouch run -d --name host --network host busybox sleep 1000 >/dev/null
    run pouch update --publish-add 80 host
    is "$status" 1
    has "$output" "uses the host's network"
    pouch run -d --name none --network none busybox sleep 1000 >/dev/null
    run pouch update --publish-add 80 none
    is "$status" 1
    has "$output" 'connect it first'
    pouch run -d --name guest --network container:none busybox sleep 1000 >/dev/null
    run pouch update --publish-add 80 guest
    is "$status" 1
    has "$output" 'publish the port there'
}

@test "a folder of the host comes and goes, read-only or not" {
    pouch run -d --network none --name pet busybox sleep 1000 >/dev/null
    pouch update --volume-add "$T/share:/mnt/share" pet >/dev/null
    is "$(pouch exec pet cat /mnt/share/file)" hello
    pouch exec pet sh -c 'echo from inside >/mnt/share/new'
    is "$(cat "$T/share/new")" 'from inside'
    pouch update --mount-add "type=bind,source=$T/share,target=/mnt/ro,readonly" pet >/dev/null
    run pouch exec pet sh -c 'echo x >/mnt/ro/no'
    has "$output" 'Read-only file system'
    is "$(pouch inspect -f '{{range .Mounts}}{{.Destination}} {{.RW}};{{end}}' pet)" '/mnt/ro false;/mnt/share true;'
    # The host sees none of it.
    lacks "$(cat /proc/self/mountinfo)" /mnt/share
    pouch restart -t 0 pet >/dev/null
    is "$(pouch exec pet cat /mnt/share/file /mnt/ro/file)" 'hello
hello'
    pouch update --mount-rm /mnt/share --mount-rm /mnt/ro pet >/dev/null
    is "$(pouch exec pet sh -c 'grep -c /mnt/ /proc/mounts || true')" 0
    is "$(pouch exec pet ls /mnt/share)" ''
    is "$(pouch inspect -f '{{len .Mounts}} {{len .HostConfig.Binds}}' pet)" '0 0'
    pouch restart -t 0 pet >/dev/null
    is "$(pouch exec pet ls /mnt/share)" ''
}

@test "a volume comes, is in use, goes, and keeps its content" {
    pouch run -d --network none --name pet busybox sleep 1000 >/dev/null
    pouch update --volume-add data:/data pet >/dev/null
    pouch exec pet sh -c 'echo kept >/data/f'
    is "$(pouch inspect -f '{{(index .Mounts 0).Name}}' pet)" data
    pouch update --mount-rm /data pet >/dev/null
    pouch run -d --network none --name other busybox sleep 1000 >/dev/null
    pouch update --volume-add data:/elsewhere:ro other >/dev/null
    is "$(pouch exec other cat /elsewhere/f)" kept
    pouch rm -f other >/dev/null
    rm -rf "$T/root/volumes/data"
}

@test "mounts that cannot be" {
    pouch run -d --network none --name pet -v "$T/share:/have" busybox sleep 1000 >/dev/null
    run pouch update --volume-add "$T/share:/have" pet
    is "$status" 1
    has "$output" 'Duplicate mount point: /have'
    run pouch update --mount-add "type=bind,source=$T/nothere,target=/x" pet
    is "$status" 1
    has "$output" 'does not exist'
    run pouch update --mount-add type=tmpfs,target=/x pet
    is "$status" 1
    has "$output" 'tmpfs cannot be added'
    run pouch update --mount-rm /nothing pet
    is "$status" 1
    has "$output" 'no mount on /nothing'
    run pouch update --volume-add "$T/share:/proc/sys" pet
    is "$status" 1
    run pouch update --volume-add "$T/share/file:/etc" pet # a file on a folder
    is "$status" 1
    # One that cannot be takes the other back.
    run pouch update --volume-add "$T/share:/good" --volume-add "$T/share/file:/bin" pet
    is "$status" 1
    is "$(pouch exec pet sh -c 'grep -c /good /proc/mounts || true')" 0
    is "$(pouch inspect -f '{{len .Mounts}}' pet)" 1
    is "$(state_of pet)" running
}

@test "a stopped container: mounts, ports and devices are there at the next start" {
    pouch create --name pet busybox httpd -f -h /www >/dev/null
    pouch update --volume-add "$T/share:/m" --publish-add 18087:80 --device-add /dev/zero:/dev/nought pet >/dev/null
    pouch start pet >/dev/null
    within 5 answers 18087
    is "$(pouch exec pet cat /m/file)" hello
    is "$(pouch exec pet sh -c 'head -c 3 /dev/nought | wc -c')" 3
}

@test "a device comes and goes, through a restart" {
    [ -c /dev/loop-control ] || skip "no /dev/loop-control"
    pouch run -d --network none --name pet busybox sleep 1000 >/dev/null
    run pouch exec pet sh -c 'mknod /tmp/l c 10 237; cat /tmp/l'
    has "$output" 'not permitted'
    pouch update --device-add /dev/loop-control:/dev/lc:rwm pet >/dev/null
    is "$(pouch exec pet sh -c 'exec 3<>/dev/lc && echo opened')" opened
    is "$(pouch exec pet sh -c 'echo x >/dev/null && echo well')" well
    pouch restart -t 0 pet >/dev/null
    is "$(pouch exec pet sh -c 'exec 3<>/dev/lc && echo opened')" opened
    pouch update --device-rm /dev/lc pet >/dev/null
    run pouch exec pet sh -c 'exec 3<>/dev/lc && echo opened'
    lacks "$output" opened
    # One that came live leaves nothing in /dev.
    pouch update --device-add /dev/loop-control:/dev/again pet >/dev/null
    is "$(pouch exec pet sh -c 'exec 3<>/dev/again && echo opened')" opened
    pouch update --device-rm /dev/again pet >/dev/null
    run pouch exec pet ls /dev/again
    has "$output" 'No such file'
    is "$(pouch exec pet sh -c 'echo x >/dev/null && echo well')" well
    is "$(pouch inspect -f '{{len .HostConfig.Devices}}' pet)" 0
    pouch restart -t 0 pet >/dev/null
    run pouch exec pet ls /dev/lc
    has "$output" 'No such file'
    # What is a default device is still one when its extra rule goes.
    pouch update --device-add /dev/null:/dev/nil:rwm pet >/dev/null
    pouch update --device-rm /dev/nil pet >/dev/null
    is "$(pouch exec pet sh -c 'echo x >/dev/null && echo well')" well
    run pouch update --device-rm /dev/none pet
    is "$status" 1
    has "$output" 'no device at /dev/none'
    run pouch update --device-add /dev/doesnotexist pet
    is "$status" 1
}

@test "in a user namespace" {
    pouch run -d --network none --name pet --userns auto busybox sleep 1000 >/dev/null 2>"$T/tmp/said" ||
        skip "no user namespaces here: $(cat "$T/tmp/said")"
    pouch update --volume-add "$T/share:/mnt/share" --volume-add theirs:/vol pet >/dev/null
    is "$(pouch exec pet cat /mnt/share/file)" hello
    # A volume has the container's ids, on disk those of the image as ever.
    is "$(pouch exec pet sh -c 'echo x >/vol/f; stat -c %u /vol /vol/f')" '0
0'
    is "$(stat -c %u "$T/root/volumes/theirs/_data/f")" 0
    [ ! -c /dev/loop-control ] || {
        pouch update --device-add /dev/loop-control:/dev/lc pet >/dev/null
        is "$(pouch exec pet sh -c 'exec 3<>/dev/lc && echo opened')" opened
        pouch update --device-rm /dev/lc pet >/dev/null
        run pouch exec pet ls /dev/lc
        has "$output" 'No such file'
    }
    pouch update --mount-rm /vol --mount-rm /mnt/share pet >/dev/null
    is "$(pouch exec pet ls /vol /mnt/share)" '/mnt/share:

/vol:'
    pouch rm -f pet >/dev/null
    rm -rf "$T/root/volumes/theirs"
}

network() {
    ctl run -d --network none --name pet busybox httpd -f -h /www >/dev/null
    within 5 listens pet 80
    is "$(ctl exec pet sh -c 'ls /sys/class/net')" lo
    ctl network connect bridge pet
    local ip
    ip=$(ctl inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' pet)
    is "$(fetch "http://$ip/")" 'it works'
    has "$(ctl exec pet cat /etc/hosts)" "$ip"
    has "$(ctl exec pet sh -c 'ip route')" '^default via'
    run ctl network connect bridge pet
    is "$status" 1
    has "$output" 'already exists'
    pouch update --publish-add 18088:80 pet >/dev/null
    within 5 answers 18088
    ctl restart -t 0 pet >/dev/null
    within 5 answers 18088
    ctl network disconnect bridge pet
    silent 18088
    is "$(ctl exec pet sh -c 'ls /sys/class/net')" lo
    lacks "$(ctl exec pet cat /etc/hosts)" "$ip"
    # The ports wait for the next network.
    ctl network connect bridge pet
    within 5 answers 18088
    run ctl network connect nowhere pet
    is "$status" 1
    has "$output" 'network nowhere not found'
    ctl run -d --network host --name host busybox sleep 1000 >/dev/null
    run ctl network connect bridge host
    is "$status" 1
    has "$output" 'host network'
}
@test "a network comes and goes" { each_cli network; }

@test "an address of one's own choice" {
    pouch run -d --network none --name pet busybox sleep 1000 >/dev/null
    local base
    base=$(pouch run --rm busybox sh -c "ip -4 addr show eth0 | sed -n 's/.*inet \([0-9.]*\)\..*/\1/p'")
    pouch network connect --ip "$base.77" bridge pet
    is "$(pouch inspect -f '{{.NetworkSettings.IPAddress}}' pet)" "$base.77"
    pouch restart -t 0 pet >/dev/null
    is "$(pouch inspect -f '{{.NetworkSettings.IPAddress}}' pet)" "$base.77"
}

# What the definition says is what the kernel has, whenever pouchd was killed.
@test "pouchd killed during live changes" {
    local i n have
    web --network bridge
    for i in $(seq "${PET_KILLS:-6}"); do
        (
            for n in $(seq 40); do
                pouch update --publish-add $((18100 + n)):80 --volume-add "$T/share:/m$n" web || break
                pouch update --publish-rm $((18100 + n)):80 --mount-rm "/m$n" web || break
            done
        ) >/dev/null 2>&1 3>&- &
        sleep "0.$(printf '%03d' $((RANDOM % 400)))"
        pouchd_kill
        pouchd_start
        wait $! || true
        is "$(pouch exec web sh -c 'grep -o " /m[0-9]* " /proc/mounts | sort | tr -d " "')" \
            "$(pouch inspect -f '{{range .Mounts}}{{println .Destination}}{{end}}' web | sed '/^$/d' | sort)"
        for n in $(seq 40); do
            have=$(pouch inspect -f '{{json .HostConfig.PortBindings}}' web)
            if grep -q "\"$((18100 + n))\"" <<<"$have"; then
                within 5 answers $((18100 + n))
                pouch update --publish-rm $((18100 + n)):80 web >/dev/null
            fi
            if pouch inspect -f '{{range .Mounts}}{{println .Destination}}{{end}}' web | grep -qx "/m$n"; then
                is "$(pouch exec web cat "/m$n/file")" hello
                pouch update --mount-rm "/m$n" web >/dev/null
            fi
            [ $((n % 10)) -ne 0 ] || silent $((18100 + n))
        done
    done
}

@test "pouchd killed while a network comes and goes" {
    local i n
    pouch run -d --network none --name web busybox httpd -f -h /www >/dev/null
    within 5 listens web 80
    for i in $(seq "${PET_KILLS:-5}"); do
        (
            for n in $(seq 40); do
                pouch network connect bridge web || break
                pouch network disconnect bridge web || break
            done
        ) >/dev/null 2>&1 3>&- &
        sleep "0.$(printf '%03d' $((RANDOM % 300)))"
        pouchd_kill
        pouchd_start
        wait $! || true
        if [ "$(pouch inspect -f '{{.HostConfig.NetworkMode}}' web)" = bridge ]; then
            is "$(pouch exec web sh -c 'grep -c "$(hostname)" /etc/hosts')" 1
            is "$(fetch "http://$(pouch inspect -f '{{.NetworkSettings.IPAddress}}' web)/")" 'it works'
            pouch network disconnect bridge web
        fi
        is "$(pouch exec web ls /sys/class/net)" lo
        is "$(pouch exec web sh -c 'grep -c "$(hostname)" /etc/hosts || true')" 0
        is "$(pouch exec web sh -c 'grep -c localhost /etc/hosts')" 2
    done
}
