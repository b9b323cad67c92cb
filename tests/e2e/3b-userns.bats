# User namespaces: ids of a pool, who owns what inside and on disk, what root of a container cannot.
# sanitizers: yes
load helpers

setup_file() {
    file_up
    # Idmapped mounts are a matter of the kernel and of the file system below.
    pouch run --rm --network none --userns auto busybox true >"$T/why" 2>&1 && touch "$T/can"
    # A set-user-id program that says who it is, and with an argument stays for a while.
    printf '%s\n' '#include <stdio.h>' '#include <unistd.h>' \
        'int main(int n, char **v) { (void)v; printf("%d\n", (int)geteuid()); fflush(stdout); if (n > 1) sleep(60); return 0; }' \
        >"$T/euid.c"
    cc -static -O1 -o "$T/euid" "$T/euid.c"
}
teardown_file() { file_down; }

can_or_skip() { [ -e "$T/can" ] || skip "no idmapped mounts here: $(head -n 1 "$T/why")"; }
mine() { pouch run --rm --network none --userns auto "$@"; }
range_of() { pouch inspect -f '{{index .HostConfig.IDMappings.UidMap 0}}' "$1"; }
first_of() { range_of "$1" | cut -d: -f2; }

ids() {
    is "$(mine busybox sh -c 'id -u; id -g; stat -c "%u %g" / /etc/hosts /etc/hostname /etc/resolv.conf' | xargs)" \
        '0 0 0 0 0 0 0 0 0 0'
    [ "$(mine busybox readlink /proc/self/ns/user)" != "$(readlink /proc/self/ns/user)" ]
    is "$(mine busybox awk '{print $1, $3}' /proc/self/uid_map)" '0 65536'
    is "$(mine -u app busybox id -u)" 1000
    is "$(mine -u 65535 busybox id -u)" 65535
    run mine -u 65536 busybox id -u
    has "$output" 'not mapped'
    is "$(mine --init busybox sh -c 'echo $$')" 2
    # The streams belong to the container's user, whatever it is.
    is "$(mine -u 1000 busybox sh -c 'echo out >/dev/stdout; echo err >/dev/stderr' 2>&1 | xargs)" 'out err'
    is "$(echo in | pouch run -i --rm --network none --userns auto -u 1000 busybox cat /dev/stdin)" in
    is "$(mine busybox sh -c 'touch /x /etc/hosts; echo "1.2.3.4 z" >>/etc/hosts; stat -c %u /x')" 0
    is "$(mine busybox ping -c 1 127.0.0.1 | grep -c '1 packets received')" 1
}
@test "root of the container is root inside" { can_or_skip; ids; }

@test "on the host they are ids of the pool, each container's own" {
    can_or_skip
    local a b pid
    pouch run -d --network none --userns auto --name aa busybox sleep 600 >/dev/null
    pouch run -d --network none --userns auto --name bb busybox sleep 600 >/dev/null
    a=$(first_of aa) b=$(first_of bb)
    [ "$((a > b ? a - b : b - a))" -ge 65536 ] || fail "ranges of $a and $b overlap"
    pid=$(pouch inspect -f '{{.State.Pid}}' aa)
    is "$(awk '/^Uid/{print $2}' "/proc/$pid/status")" "$a"
    is "$(awk '{print $1, $2, $3}' "/proc/$pid/uid_map")" "0 $a 65536"
    is "$(awk '{print $1, $2, $3}' "/proc/$pid/gid_map")" "0 $a 65536"
    # A restart keeps them; the files on disk know nothing of them.
    pouch exec aa touch /made
    pouch exec -u 1000 aa touch /tmp/mine
    is "$(stat -c %u "$T/root/containers/"*/diff/made)" 0
    is "$(stat -c %u "$T/root/containers/"*/diff/tmp/mine)" 1000
    pouch restart -t 0 aa >/dev/null
    is "$(first_of aa)" "$a"
    is "$(pouch exec aa stat -c %u /made)" 0
}

terminals() {
    pouch run -d --network none --userns auto --name term busybox sleep 600 >/dev/null
    tty exec -it term sh <<'CONVERSATION'
expect # 
send echo owner=$(stat -c %u $(tty))\n
expect owner=0
send echo there >/dev/tty\n
expect there
send exit 0\n
CONVERSATION
    tty run -it --rm --network none --userns auto busybox sh <<'CONVERSATION'
expect # 
send echo owner=$(stat -c %u /dev/console)\n
expect owner=0
send echo here >/dev/console\n
expect here
send exit 0\n
CONVERSATION
}
@test "terminals belong to the container's root" { can_or_skip; terminals; }

execs() {
    pouch run -d --network none --userns auto --name host busybox sleep 600 >/dev/null
    is "$(pouch exec host id -u)" 0
    is "$(pouch exec -u 1000 host sh -c 'id -u; echo e >/dev/stderr' 2>&1 | xargs)" '1000 e'
    is "$(pouch exec host readlink /proc/self/ns/user)" "$(pouch exec host readlink /proc/1/ns/user)"
    is "$(pouch exec --privileged host sh -c 'mount -t tmpfs t /tmp && echo in')" in
    run pouch exec --privileged host sh -c 'echo 1 >/proc/sys/kernel/panic'
    [ "$status" -ne 0 ]
}
@test "exec" { can_or_skip; execs; }

@test "a folder of the host: the container's root has no rights there" {
    can_or_skip
    local dir=$T/shared
    mkdir -p "$dir/private" "$dir/open"
    echo secret >"$dir/root-only"
    echo secret >"$dir/private/file"
    chmod 600 "$dir/root-only" && chmod 700 "$dir/private" && chmod 755 "$dir" && chmod 1777 "$dir/open"
    cp "$T/euid" "$dir/suid" && chmod 4755 "$dir/suid"
    pouch run -d --network none --userns auto --name hostile -v "$dir:/h" busybox sleep 600 >/dev/null
    is "$(pouch exec hostile stat -c '%u %g' /h/root-only)" '65534 65534'
    local try
    for try in 'cat /h/root-only' 'ls /h/private' 'echo x >/h/root-only' 'rm -f /h/root-only' 'touch /h/new' \
        'chown 0:0 /h/root-only' 'chmod 777 /h/root-only' 'mv /h/root-only /h/x' 'mkdir /h/open/../n' \
        'mount -o remount,rw /h' 'mknod /h/open/sda b 8 0' 'chown 65534 /h/open'; do
        run pouch exec hostile sh -c "$try"
        [ "$status" -ne 0 ] || fail "this worked: $try"
    done
    is "$(cat "$dir/root-only")" secret
    # What it may write is its own, by number: set-user-id gives nobody the host's root.
    pouch exec hostile sh -c 'cp /bin/busybox /h/open/b && chmod 6755 /h/open/b'
    is "$(stat -c '%u %g' "$dir/open/b")" "$(first_of hostile) $(first_of hostile)"
    # And the host's set-user-id programs run without their id.
    is "$(setpriv --reuid 12345 --clear-groups "$dir/suid")" 0 # it works on the host
    is "$(pouch exec -u 1000 hostile /h/suid)" 1000
    # A folder that nobody else may enter is no way around either.
    run pouch run --rm --network none --userns auto -v "$dir/private:/p" busybox ls /p
    [ "$status" -ne 0 ]
    has "$output" 'denied'
    rm -rf "$dir"
}

@test "a folder of the host shown with the container's ids, when asked for" {
    can_or_skip
    mkdir -p "$T/given"
    chown 1000:1000 "$T/given"
    is "$(pouch run --rm --network none --userns auto -v "$T/given:/g:idmap" busybox \
        sh -c 'stat -c "%u %g" /g; touch /g/root; su app -c "touch /g/app"' | xargs)" '1000 1000'
    is "$(stat -c '%u %g' "$T/given/root" "$T/given/app" | xargs)" '0 0 1000 1000'
    run pouch run --rm --network none -v "$T/given:/g:idmap" busybox true
    is "$status" 125
    has "$output" 'idmap .*--userns auto'
    rm -rf "$T/given"
}

# The set-user-id program, still asleep, is root of the container: on the host an id of its range.
host_id_of_suid() {
    local pid
    pid=$(pgrep -f '^/srv/su sleep$') || return 1
    is "$(awk '/^Uid/{print $3}' "/proc/$pid/status")" "$(first_of setuid)"
}
volumes() {
    is "$(mine -v data:/srv -v "$T:/t:ro" busybox sh -c 'stat -c "%u %g" /srv; echo x >/srv/file; chown 5:6 /srv/file
        cp /t/euid /srv/su; chmod 4755 /srv/su')" '0 0'
    # The next container has other host ids, and finds the same owners.
    is "$(mine -v data:/srv busybox stat -c '%u %g' /srv/file)" '5 6'
    is "$(pouch run --rm --network none -v data:/srv busybox stat -c '%u %g' /srv/file)" '5 6'
    # Set-user-id root there is root of the container at most, and no user of the host can walk there.
    is "$(mine -v data:/srv -u 1000 busybox /srv/su)" 0
    pouch run -d --network none --userns auto --name setuid -v data:/srv -u 1000 busybox \
        sh -c '/srv/su sleep; sleep 600' >/dev/null
    is "$(awk '/^Uid/{print $3}' "/proc/$(pouch inspect -f '{{.State.Pid}}' setuid)/status")" "$(($(first_of setuid) + 1000))"
    within 5 host_id_of_suid
    local dir=$T/root
    while [ "$dir" != / ]; do chmod o+x "$dir"; dir=$(dirname "$dir"); done
    run setpriv --reuid 12345 --regid 12345 --clear-groups ls "$T/root/volumes/data/_data"
    [ "$status" -ne 0 ]
    has "$output" 'denied'
    pouch run -d --network none --userns auto --name copied -v /home busybox sleep 600 >/dev/null
    is "$(pouch exec copied stat -c '%u %g' /home/app)" '1000 1000'
    rm -rf "$T/root/volumes/data"
}
@test "volumes keep their owners, copied-up ones too" { can_or_skip; volumes; }

@test "devices are nodes of the container's own" {
    can_or_skip
    mknod "$T/zero" c 1 5 && chmod 640 "$T/zero"
    run pouch run --rm --network none --userns auto --device "$T/zero:/dev/mine" busybox \
        sh -c 'stat -c "%u %a" /dev/mine; head -c 3 /dev/mine | wc -c; mknod /tmp/sda b 8 0'
    has "$(echo "$output" | head -n 2 | xargs)" '^0 640 3$'
    has "$output" 'mknod: .*not permitted'
    is "$(mine busybox sh -c 'echo x >/dev/null; head -c 2 /dev/urandom | wc -c; ls /dev | wc -l')" "2
$(pouch run --rm --network none busybox sh -c 'ls /dev | wc -l')"
    rm "$T/zero"
}

@test "limits, sysctls, labels of files, read-only root" {
    can_or_skip
    is "$(mine --ulimit nofile=1000:2000 busybox sh -c 'ulimit -Sn; ulimit -Hn' | xargs)" '1000 2000'
    is "$(pouch run --rm --userns auto --sysctl net.core.somaxconn=77 --sysctl kernel.msgmax=1000 busybox \
        cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax | xargs)" '77 1000'
    run mine --read-only busybox touch /x
    has "$output" 'Read-only'
    is "$(mine --tmpfs /t busybox sh -c 'touch /t/x; stat -c %u /t/x')" 0
    is "$(mine -m 50m busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || echo 52428800)" 52428800
    run mine busybox sh -c 'echo 5 >/sys/fs/cgroup/pids/pids.max || echo 5 >/sys/fs/cgroup/pids.max'
    [ "$status" -ne 0 ]
    # File capabilities and ownership survive in the container's own files.
    pouch run -d --network none --userns auto --name caps busybox sleep 600 >/dev/null
    pouch exec caps sh -c 'touch /f; chown 7:8 /f; mkdir /d; chown 9 /d; rm -r /home/app; touch /home/x; ln /f /g'
    is "$(pouch exec caps stat -c '%u %g %h' /f)" '7 8 2'
    pouch restart -t 0 caps >/dev/null
    is "$(pouch exec caps sh -c 'stat -c "%u %g %h" /f; ls /home')" '7 8 2
x'
}

@test "another container's namespaces come with its user namespace" {
    can_or_skip
    pouch run -d --userns auto --name first busybox sleep 600 >/dev/null
    pouch run -d --network none --name plain busybox sleep 600 >/dev/null
    pouch exec first touch /dev/shm/there
    local joined='readlink /proc/1/ns/user; ls /dev/shm; ip -o addr show eth0 | grep -c inet; id -u; ps -o args | grep -c "[s]leep 600"'
    is "$(pouch run --rm --network container:first --ipc container:first --pid container:first busybox \
        sh -c "readlink /proc/self/ns/user | cmp -s - /tmp/none; $joined" | tail -n +2 | xargs)" 'there 1 0 1'
    is "$(pouch run --rm --network none --userns container:first busybox cat /proc/self/uid_map)" \
        "$(pouch exec first cat /proc/self/uid_map)"
    # It has the rights of the owner over what it joined, and over nothing else.
    is "$(pouch run --rm --network container:first --cap-add NET_ADMIN busybox \
        sh -c 'ip link set eth0 mtu 1400; cat /sys/class/net/eth0/mtu')" 1400
    run pouch run --rm --network container:first --userns host busybox true
    is "$status" 125
    has "$output" "belongs to that container's user namespace"
    run pouch run --rm --network container:plain --userns auto busybox true
    is "$status" 125
    has "$output" "belongs to the host's"
    # Also without a user namespace: /dev/shm of the other.
    pouch exec plain touch /dev/shm/plain
    is "$(pouch run --rm --network none --ipc container:plain busybox ls /dev/shm)" plain
    pouch stop -t 0 first >/dev/null
    run pouch run --rm --userns container:first --network none busybox true
    has "$output" 'non running container'
}

@test "the death of its monitor and of its memory end it, also in a shared namespace" {
    can_or_skip
    local name pid
    pouch run -d --network none --userns auto --name owner busybox sleep 600 >/dev/null
    pouch run -d --network none --userns container:owner --name joined busybox sleep 600 >/dev/null
    for name in joined owner; do
        pid=$(pouch inspect -f '{{.State.Pid}}' "$name")
        kill -9 "$(awk '/^PPid/{print $2}' "/proc/$pid/status")"
        gone "$pid"
        within 5 ended "$name"
        is "$(pouch inspect -f '{{.State.ExitCode}}' "$name")" 137
    done
    run pouch run --network none --userns auto --name hungry -m 20m --memory-swap 20m busybox tail /dev/zero
    is "$status" 137
    is "$(pouch inspect -f '{{.State.OOMKilled}}' hungry)" true
}
ended() { [ "$(pouch inspect -f '{{.State.Status}}' "$1")" = exited ]; }

@test "mounts and devices that come later, lxcfs, disk quota" {
    can_or_skip
    mknod "$T/zero" c 1 5 && chmod 600 "$T/zero"
    pouch run -d --network none --userns auto --name live busybox sleep 600 >/dev/null
    pouch update --volume-add late:/late --device-add "$T/zero:/dev/mine" live >/dev/null
    is "$(pouch exec live sh -c 'touch /late/x; stat -c "%u %g" /late /late/x /dev/mine; head -c 2 /dev/mine | wc -c' | xargs)" \
        '0 0 0 0 0 0 2'
    is "$(stat -c %u "$T/root/volumes/late/_data/x")" 0
    pouch update --mount-rm /late --device-rm /dev/mine live >/dev/null
    run pouch exec live touch /late/y
    [ ! -e "$T/root/volumes/late/_data/y" ]
    rm -rf "$T/zero" "$T/root/volumes/late"
    if pouch run --rm --network none --disk-quota 20m busybox true 2>/dev/null; then
        run pouch run --rm --network none --userns auto --disk-quota 20m busybox \
            sh -c 'dd if=/dev/zero of=/big bs=1M count=40; stat -c "%u %s" /big'
        has "$output" 'No space left|Disk quota exceeded'
        has "$output" '^0 [0-9]*$'
    fi
}

@test "keep, maps, sizes" {
    can_or_skip
    mkdir -p "$T/home" && chown 1234:1235 "$T/home"
    is "$(pouch run --rm --network none --userns keep:1234:1235 -u 1234:1235 -v "$T/home:/h" busybox \
        sh -c 'touch /h/x; stat -c "%u %g" /h; stat -c "%u %g" /h/x' | xargs)" '1234 1235 1234 1235'
    is "$(stat -c '%u %g' "$T/home/x")" '1234 1235'
    run pouch run --rm --network none --userns keep:1234:1235 -u 5 -v "$T/home:/h" busybox touch /h/y
    [ "$status" -ne 0 ]
    run pouch run --rm --network none --userns keep busybox true # root calls
    has "$output" "keeping the host's root"
    is "$(pouch run --rm --network none --userns 0:300000:500,500:400000:1 busybox \
        awk '{print $1, $2, $3}' /proc/self/uid_map | xargs)" '0 300000 500 500 400000 1'
    is "$(pouch run --rm --network none --userns auto:size=4000 busybox awk '{print $3}' /proc/self/uid_map)" 4000
    rm -rf "${T:?}/home"
}

refusals() {
    local args want
    while IFS='|' read -r args want; do
        # shellcheck disable=SC2086
        run pouch run --rm --network none $args busybox true
        is "$status" 125
        has "$output" "$want"
    done <<'EOT'
--userns nonsense|invalid user namespace mode
--userns auto:size=0|invalid user namespace mode
--userns 5:100000:10|root, id 0, has no host id
--userns 0:100000:10,5:300000:10|overlaps
--userns keep:0|keeping the host's root
--userns container:none|No such container
--userns auto --privileged|--userns host
--userns auto --pid host|--userns host
--userns auto --ipc host|--userns host
--userns 0:1342177280:5|belong to the pool
EOT
}
@test "what cannot be is refused with the way out" { refusals; }

@test "the engine's default, and its pool" {
    can_or_skip
    pouchd_stop
    pouchd_start --userns auto:size=1000 --userns-pool 700000:2500
    pouch run -d --network none --name one busybox sleep 600 >/dev/null
    is "$(/usr/bin/docker -H "unix://$SOCK" run --rm --network none busybox awk '{print $2}' /proc/self/uid_map)" 701000
    is "$(range_of one)" '0:700000:1000'
    is "$(pouch run --rm --network none --userns host busybox readlink /proc/self/ns/user)" "$(readlink /proc/self/ns/user)"
    run pouch run --rm --privileged --network none busybox true
    has "$output" 'use --userns host'
    pouch run --rm --privileged --userns host --network none busybox true
    pouch create --network none --name two busybox true >/dev/null
    is "$(range_of two)" '0:701000:1000'
    run pouch create --network none --name three busybox true
    [ "$status" -ne 0 ]
    has "$output" 'no 1000 free ids'
    pouch rm -f one >/dev/null
    pouch create --network none --name three busybox true >/dev/null
    is "$(range_of three)" '0:700000:1000'
    pouchd_kill
    pouchd_start --userns-pool 700000:2500
    run pouch create --userns auto:size=1000 --name four busybox true
    has "$output" 'no 1000 free ids'
    pouch rm two three >/dev/null
    pouch create --userns auto:size=2500 --name four busybox true >/dev/null
    pouch rm four >/dev/null
    pouchd_stop
    run timeout 10 "$POUCH_BIN/pouchd" --root "$T/root2" --state "$T/run2" --host "unix://$T/s2" --userns 0:300000:10
    [ "$status" -ne 0 ]
    has "$output" 'only host and auto'
    run timeout 10 "$POUCH_BIN/pouchd" --root "$T/root2" --state "$T/run2" --host "unix://$T/s2" --userns-pool 5
    has "$output" 'FIRST:SIZE'
    rm -rf "$T/root2" "$T/run2"
    pouchd_start
}

# Creates and removes until the daemon is killed under it; prints how many it made.
create_and_remove() {
    python3 - "$SOCK" <<'PYTHON'
import http.client, json, random, socket, sys, threading
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
made = 0
def ask(c, method, path, body=None):
    c.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    return r.status, r.read()
def work(n):
    global made
    ids = []
    try:
        c = Unix("pouch")
        while True:
            code, text = ask(c, "POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"],
                "HostConfig": {"UsernsMode": "auto:size=1000", "NetworkMode": "none"}})
            if code == 201:
                ids.append(json.loads(text)["Id"])
                made += 1
            if len(ids) > 20 or code != 201:
                ask(c, "DELETE", "/containers/" + ids.pop(random.randrange(len(ids))))
    except (OSError, http.client.HTTPException, IndexError):
        pass
threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
print(made)
PYTHON
}

@test "ranges never overlap and none is lost, through kills of the daemon" {
    # USERNS_MADE containers in all, as far as the time allows.
    local total=0 rounds=0 end=$((SECONDS + 50))
    pouchd_stop
    pouchd_start --userns-pool 800000:64000
    while [ "$rounds" -lt 3 ] || { [ "$total" -lt "${USERNS_MADE:-1000}" ] && [ "$SECONDS" -lt "$end" ]; }; do
        create_and_remove >"$T/made" 3>&- &
        sleep "0.$((RANDOM % 6 + 2))"
        pouchd_kill
        wait $!
        total=$((total + $(cat "$T/made")))
        pouchd_start --userns-pool 800000:64000
        check_ranges
        pouch ps -aq | xargs -r "$POUCH_BIN/pouch" -H "unix://$SOCK" rm >/dev/null
        rounds=$((rounds + 1))
    done
    echo "$total containers were made"
    # All of the pool can be had again.
    pouch create --network none --userns auto:size=64000 --name all busybox true >/dev/null
    pouch rm all >/dev/null
    pouchd_stop
    pouchd_start
}

check_ranges() {
    local ids
    ids=$(pouch ps -aq --no-trunc)
    [ -n "$ids" ] || return 0
    # shellcheck disable=SC2086
    pouch inspect -f '{{index .HostConfig.IDMappings.UidMap 0}}' $ids | cut -d: -f2,3 | sort -n |
        awk -F: '$1 < last { print "overlap at " $1; bad = 1 } { last = $1 + $2 } END { exit bad }'
}
