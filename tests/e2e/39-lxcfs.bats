# A container's own view of its memory, CPUs and load: lxcfs in /proc and /sys, and system calls.
load helpers

setup_file() { file_up --enable-lxcfs; }
teardown_file() { file_down; }

# lxcfs is started again by tests that end it: not a leak. What it leaves is looked at by "stop".
not_leaks() {
    grep -vE "^process [0-9]+ .*(pouchd --root $T|lxcfs -f .* $T)" |
        grep -vE "^(link (pouch[0-9]*|docker0)|cgroup [^ ]*/$CGROUP_PARENT)\$" |
        grep -vE "^nft table |^process [0-9]+ (ps|sort|awk|sed|find|nft|ip|grep) " || true
}

lxcfs_pid() { cut -d' ' -f1 "$T/run/lxcfs/process"; }
host_kb() { awk '/^MemTotal/{print $2}' /proc/meminfo; }
# glibc programs of this machine, in the busybox image
HOST_PROGRAMS=(-v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v /etc/ld.so.cache:/etc/ld.so.cache:ro)

files() {
    pouch run -d --name seen --network none -m 100m --memory-swap 100m --cpus 1 "$@" busybox sleep 1000 >/dev/null
    is "$(pouch exec seen awk '/^MemTotal/{print $2}' /proc/meminfo)" 102400
    is "$(pouch exec seen grep -c ^processor /proc/cpuinfo)" 1
    is "$(pouch exec seen grep -c '^cpu[0-9]' /proc/stat)" 1
    is "$(pouch exec seen cat /sys/devices/system/cpu/online)" 0
    # its own uptime, load, swaps: of a moment ago, of nobody
    [ "$(pouch exec seen awk '{print int($1)}' /proc/uptime)" -lt 30 ]
    has "$(pouch exec seen cat /proc/loadavg)" '^[0-9.]+ [0-9.]+ [0-9.]+ [0-9]+/[0-9]+ [0-9]+$'
    is "$(pouch exec seen awk '/^SwapTotal/{print $2}' /proc/meminfo)" 0
    is "$(pouch exec seen awk 'NR > 1' /proc/swaps | wc -l)" 0
    # its own disks: what it read and wrote, so next to nothing
    pouch exec seen cat /proc/diskstats >/dev/null
    local f
    for f in cpuinfo diskstats loadavg meminfo slabinfo stat swaps uptime; do
        [ ! -e "/proc/$f" ] || has "$(pouch exec seen grep " /proc/$f " /proc/self/mountinfo)" 'fuse.lxcfs .*ro|ro.* fuse.lxcfs '
    done
    is "$(pouch inspect -f '{{.HostConfig.EnableLxcfs}} {{.HostConfig.View}}' seen)" 'true lxcfs'
    pouch rm -f seen >/dev/null
}
@test "/proc and /sys/devices/system/cpu show the container's limits" {
    files --enableLxcfs
    files --enable-lxcfs
    files --view lxcfs
}

@test "the API field of the original, and by docker's command line nothing changes" {
    api POST /containers/create?name=byapi '{"Image":"busybox","Cmd":["grep","MemTotal","/proc/meminfo"],
        "HostConfig":{"EnableLxcfs":true,"Memory":67108864,"NetworkMode":"none"}}'
    is "$code" 201
    pouch start -a byapi >"$T/out"
    has "$(cat "$T/out")" 'MemTotal: +65536 kB'
    is "$(pouch run --rm --network none -m 64m busybox awk '/^MemTotal/{print $2}' /proc/meminfo)" "$(host_kb)"
}

@test "a limit that is not there shows the host" {
    is "$(pouch run --rm --network none --view lxcfs busybox awk '/^MemTotal/{print $2}' /proc/meminfo)" "$(host_kb)"
    is "$(pouch run --rm --network none --view lxcfs busybox grep -c ^processor /proc/cpuinfo)" "$(nproc)"
}

@test "the user's own mount wins" {
    echo mine >"$T/tmp/uptime"
    is "$(pouch run --rm --network none --view lxcfs -v "$T/tmp/uptime:/proc/uptime" busybox cat /proc/uptime)" mine
    rm "$T/tmp/uptime"
}

@test "what cannot be is refused with its reason" {
    run pouch run --rm --view some busybox true
    is "$status" 125
    has "$output" 'invalid view "some": want host, lxcfs or full'
    run pouch run --rm --view host --enable-lxcfs busybox true
    has "$output" 'conflicting options: EnableLxcfs and view "host"'
    run pouch run --rm --pid host --view lxcfs busybox true
    has "$output" 'view "lxcfs" cannot be had with --pid host'
    run pouch remount-lxcfs none-such
    is "$status" 1
    has "$output" 'No such container: none-such'
    pouch run -d --name plain --network none busybox sleep 100 >/dev/null
    run pouch remount-lxcfs plain
    has "$output" 'does not show its resources by lxcfs'
}

# ---------------------------------------------------------------- lxcfs ends

reads_own() { answer=$(pouch exec "$1" awk '/^MemTotal/{print $2}' /proc/meminfo 2>&1); [ "$answer" = "$2" ]; }
runs_anew() { [ "$(lxcfs_pid)" != "$1" ] && kill -0 "$(lxcfs_pid)" 2>/dev/null; }

@test "killed under load: it is started again, and the mounts inside running containers with it" {
    local old i n
    # (a storm of short processes needs more than 10 MiB on a machine that is slow to bury them)
    for i in 1 2 3 4 5 6; do
        pouch run -d --name "load$i" --network none -m "$((30 + i * 10))m" --enable-lxcfs busybox sh -c '
            while :; do cat /proc/meminfo /proc/stat /proc/cpuinfo /sys/devices/system/cpu/online; done >/dev/null 2>&1 &
            while :; do cat /proc/meminfo /proc/uptime; done >/dev/null 2>&1' >/dev/null
    done
    pouch pause load6 >/dev/null
    for n in 1 2 3; do
        old=$(lxcfs_pid)
        kill -9 "$old"
        within 10 runs_anew "$old"
        for i in 1 2 3 4 5; do within 10 reads_own "load$i" $(((30 + i * 10) * 1024)); done
    done
    # each file once, however often it was made again; also in the one that was paused
    pouch unpause load6 >/dev/null
    within 10 reads_own load6 92160
    for i in 1 6; do
        is "$(pouch exec "load$i" grep -c fuse.lxcfs /proc/self/mountinfo)" 9
    done
    has "$(grep 'lxcfs has ended' "$LOG")" 'level=warn'
}

@test "containers started while it is killed have the view, or say that they cannot" {
    local i n=0 storm
    (for i in $(seq 8); do kill -9 "$(lxcfs_pid)" 2>/dev/null || true; sleep 0.15; done) 3>&- &
    storm=$!
    for i in $(seq 15); do
        if pouch run -d --name "storm$i" --network none -m 48m --view lxcfs busybox sleep 100 >/dev/null 2>"$T/err"; then
            echo "storm$i" >>"$T/storm"
            n=$((n + 1))
        else
            has "$(cat "$T/err")" 'lxcfs|Transport endpoint|Software caused connection abort|/proc/'
        fi
    done
    wait "$storm"
    [ "$n" -gt 0 ]
    while read -r i; do within 15 reads_own "$i" 49152; done <"$T/storm"
}

@test "killed while pouchd is away, and pouchd killed: found, mounted again" {
    local old
    pouch run -d --name kept --network none -m 32m --view lxcfs busybox sleep 1000 >/dev/null
    # pouchd alone: the same lxcfs is adopted
    old=$(lxcfs_pid)
    pouchd_kill
    pouchd_start --enable-lxcfs
    is "$(lxcfs_pid)" "$old"
    reads_own kept 32768
    # both
    pouchd_kill
    kill -9 "$old"
    pouchd_start --enable-lxcfs
    [ "$(lxcfs_pid)" != "$old" ]
    within 10 reads_own kept 32768
    # pouchd between the new lxcfs and the mounts: it is on record that they are still to be made
    pouchd_kill
    sed -i 's/current/stale/' "$T/run/lxcfs/process"
    pouch_in kept umount /proc/meminfo
    pouchd_start --enable-lxcfs
    within 10 reads_own kept 32768
}
pouch_in() { # pouch_in CONTAINER COMMAND...: in its mount namespace, with this machine's rights
    local pid
    pid=$(pouch inspect -f '{{.State.Pid}}' "$1" 2>/dev/null) || pid=$(pgrep -xf 'sleep 1000' | head -n 1)
    shift
    nsenter -t "$pid" -m "$@"
}

@test "by hand: remount-lxcfs" {
    pouch run -d --name hand1 --network none -m 32m --view lxcfs busybox sleep 1000 >/dev/null
    pouch_in hand1 umount /proc/meminfo
    is "$(pouch exec hand1 awk '/^MemTotal/{print $2}' /proc/meminfo)" "$(host_kb)"
    is "$(pouch remount-lxcfs hand1)" hand1
    reads_own hand1 32768
    pouch run -d --name hand2 --network none -m 32m --view lxcfs busybox sleep 900 >/dev/null
    is "$(pouch remount-lxcfs)" '2 containers'
    is "$(pouch exec hand2 grep -c fuse.lxcfs /proc/self/mountinfo)" 9
}

@test "one that hangs is killed; nothing waits for it for ever" {
    local old
    pouch run -d --name patient --network none -m 32m --view lxcfs busybox sleep 1000 >/dev/null
    old=$(lxcfs_pid)
    kill -STOP "$old"
    within 40 runs_anew "$old"
    within 10 reads_own patient 32768
    has "$(grep 'does not answer' "$LOG")" 'level=error'
}

@test "one that cannot be started again: the host's values, not errors; then it comes back" {
    printf '#!/bin/sh\n[ ! -e %s/broken ] || { echo "it is broken" >&2; exit 3; }\nexec lxcfs "$@"\n' "$T" >"$T/wrapper"
    chmod +x "$T/wrapper"
    pouchd_stop
    pouchd_start --enable-lxcfs --lxcfs "$T/wrapper"
    pouch run -d --name poor --network none -m 32m --view lxcfs busybox sleep 1000 >/dev/null
    touch "$T/broken"
    kill -9 "$(lxcfs_pid)"
    within 10 reads_own poor "$(host_kb)"
    has "$(grep 'cannot be started' "$LOG")" 'it is broken'
    run timeout 20 "$POUCH_BIN/pouch" -H "unix://$SOCK" run --rm --network none --view lxcfs busybox true
    is "$status" 125
    has "$output" 'lxcfs does not run at present'
    rm "$T/broken"
    within 20 reads_own poor 32768
    pouch rm -f poor >/dev/null
    pouchd_stop
    pouchd_start --enable-lxcfs
}

@test "one of the host is used, and followed when it comes back" {
    local home=$T/tmp/home other
    mkdir "$home"
    lxcfs -f -l --enable-cfs -p "$T/tmp/lxcfs.pid" "$home" >/dev/null 2>&1 3>&- &
    other=$!
    within 10 test -e "$home/proc/meminfo"
    pouchd_stop
    pouchd_start --enable-lxcfs --lxcfs-home "$home"
    is "$(pgrep -c lxcfs)" 1
    pouch run -d --name guest --network none -m 32m --view lxcfs busybox sleep 1000 >/dev/null
    reads_own guest 32768
    kill -9 "$other"
    wait "$other" || true
    umount "$home"
    lxcfs -f -l --enable-cfs -p "$T/tmp/lxcfs.pid" "$home" >/dev/null 2>&1 3>&- &
    other=$!
    within 10 reads_own guest 32768
    pouch rm -f guest >/dev/null
    pouchd_stop
    kill -0 "$other" # it is not ours to end
    kill "$other"
    gone "$other"
    pouchd_start --enable-lxcfs
}

@test "off: no process, no mount, and a clear no" {
    # one that an earlier pouchd left is ended once no container runs
    pouchd_kill
    [ -e "$T/run/lxcfs/process" ]
    pouchd_start
    is "$(pgrep -c lxcfs || true)" 0
    [ ! -e "$T/run/lxcfs" ]
    pouchd_stop
    pouchd_start --enable-lxcfs
    pouchd_stop
    [ ! -e "$T/run/lxcfs" ]
    is "$(pgrep -c lxcfs || true)" 0
    is "$(grep -c "$T/run" /proc/self/mountinfo || true)" 0
    pouchd_start
    run pouch run --rm --network none --view lxcfs busybox true
    is "$status" 125
    has "$output" 'start pouchd with --enable-lxcfs'
    run pouch remount-lxcfs
    has "$output" 'start pouchd with --enable-lxcfs'
    is "$(pouch run --rm --network none --view host busybox echo well)" well
    is "$(pgrep -c lxcfs || true)" 0
    pouchd_stop
    run "$POUCH_BIN/pouchd" --root "$T/root" --state "$T/run" --host "unix://$SOCK" --enable-lxcfs --lxcfs /no/such/lxcfs
    is "$status" 1
    has "$output" '/no/such/lxcfs is not there: install the package lxcfs'
    run "$POUCH_BIN/pouchd" --root "$T/root" --state "$T/run" --host "unix://$SOCK" --enable-lxcfs --lxcfs /bin/false
    is "$status" 1
    has "$output" '/bin/false ended at once'
    is "$(grep -c "$T/run" /proc/self/mountinfo || true)" 0
    run "$POUCH_BIN/pouchd" --lxcfs /usr/bin/lxcfs
    has "$output" 'need --enable-lxcfs'
    pouchd_start --enable-lxcfs
}

# ---------------------------------------------------------------- --view full

full() { pouch run --rm --network none --view full "${HOST_PROGRAMS[@]}" "$@"; }

@test "full: nproc, free, Python and Node.js size themselves by the limits" {
    is "$(full -m 100m --cpus 1 busybox /usr/bin/nproc)" 1
    is "$(full -m 100m --cpus 0.5 busybox nproc)" 1
    is "$(full -m 100m busybox /usr/bin/nproc)" "$(nproc)"
    is "$(full --cpuset-cpus 1 busybox /usr/bin/nproc)" 1
    # busybox' free asks sysinfo(2), procps' reads /proc
    is "$(full -m 100m busybox free -k | awk '/^Mem/{print $2}')" 102400
    is "$(full -m 100m busybox /usr/bin/free -k | awk '/^Mem/{print $2}')" 102400
    is "$(full -m 100m --memory-swap 100m busybox free -k | awk '/^Swap/{print $2}')" 0
    is "$(full -m 100m --cpus 1 busybox /usr/bin/python3 -c '
import os
print(os.cpu_count(), len(os.sched_getaffinity(0)), len(os.sched_getaffinity(os.getpid())),
      os.sysconf("SC_NPROCESSORS_ONLN"), os.sysconf("SC_PHYS_PAGES") * 4096)')" '1 1 1 1 104857600'
    is "$(full -m 200m --cpus 1 busybox /usr/bin/python3 -c '
import threading
print(len(__import__("os").sched_getaffinity(threading.get_native_id())))')" 1
    type node >/dev/null 2>&1 || skip "the test with Node.js needs the package nodejs"
    is "$(full -m 300m --cpus 1 busybox "$(readlink -f "$(type -P node)")" -e '
const os = require("os"); console.log(os.cpus().length, os.totalmem(), (os.availableParallelism || (() => 1))())')" '1 314572800 1'
}

# The JVM reads cgroups itself; with a Java on this machine it is shown with the view, too.
@test "full: a JVM" {
    local java
    java=$(readlink -f "$(type -P java)") || skip "the test with a JVM needs a package with java"
    # a quarter of the memory, also for one that looks at no cgroup
    is "$(full -m 1g --cpus 1 busybox "$java" -XX:-UseContainerSupport -XX:+PrintFlagsFinal -version 2>&1 |
        awk '/ MaxHeapSize /{print $4}')" 268435456
}

@test "full: without it the host's values; changed limits are told at once, in execs too" {
    is "$(pouch run --rm --network none --view lxcfs --cpus 1 busybox nproc)" "$(nproc)"
    pouch run -d --name live --network none --view full -m 100m --cpus 1 "${HOST_PROGRAMS[@]}" busybox sleep 1000 >/dev/null
    is "$(pouch exec live nproc)" 1
    is "$(pouch exec -u 1000 live nproc)" 1
    is "$(pouch exec --privileged live nproc)" 1
    pouch update -m 64m --memory-swap 64m --cpus "$(nproc)" live >/dev/null
    is "$(pouch exec live nproc)" "$(nproc)"
    is "$(pouch exec live free -k | awk '/^Mem/{print $2}')" 65536
    # with an engine killed meanwhile
    pouchd_kill
    pouchd_start --enable-lxcfs
    is "$(pouch exec live free -k | awk '/^Mem/{print $2}')" 65536
    pouch restart -t 0 live >/dev/null
    is "$(pouch exec live free -k | awk '/^Mem/{print $2}')" 65536
}

@test "full: its process killed: running processes get ENOSYS, new ones their answers; nothing else ends" {
    pouch run -d --name poor --network none --view full -m 100m --cpus 1 "${HOST_PROGRAMS[@]}" busybox sleep 1000 >/dev/null
    is "$(pouch exec poor nproc)" 1
    pkill -9 -x pouch-view
    within 5 pgrep -x pouch-view
    is "$(pouch exec poor nproc)" 1
    is "$(pouch inspect -f '{{.State.Running}}' poor)" true
    pouch rm -f poor >/dev/null
    within 5 no_view
}
no_view() { ! pgrep -x pouch-view >/dev/null; }

@test "full: with a user namespace, --init, a read-only root, no new privileges and no seccomp" {
    is "$(full -m 100m --cpus 1 --userns auto busybox sh -c 'nproc; free -k' | awk 'NR == 1 || /^Mem/ {print NR == 1 ? $1 : $2}' | xargs)" '1 102400'
    is "$(full --cpus 1 --init --read-only --security-opt no-new-privileges -u 1000 busybox nproc)" 1
    is "$(full --cpus 1 --security-opt seccomp=unconfined --privileged busybox nproc)" 1
    is "$(pouch run --rm -t --network none --view full --cpus 1 busybox nproc | tr -d '\r')" 1
}

@test "full: uptime, load and processes are the container's" {
    pouch run -d --name busy --network none --view full "${HOST_PROGRAMS[@]}" busybox sh -c 'sleep 1000 & sleep 1000 & wait' >/dev/null
    local out
    out=$(pouch exec busy /usr/bin/python3 -c '
import ctypes
class S(ctypes.Structure):
    _fields_ = [("uptime", ctypes.c_long), ("loads", ctypes.c_ulong * 3), ("ram", ctypes.c_ulong * 6), ("procs", ctypes.c_ushort)]
b = (ctypes.c_char * 256)()
assert ctypes.CDLL(None).sysinfo(b) == 0
s = S.from_buffer(b)
print(s.uptime, s.procs)')
    [ "${out% *}" -lt 30 ]
    is "${out#* }" 4
}

# Callers that mean harm: wrong addresses, wrong lengths, dying in the middle, many at once.
@test "full: hostile callers get an errno, and the others their answers" {
    pouch run -d --name target --network none --view full -m 200m --cpus 1 "${HOST_PROGRAMS[@]}" busybox sleep 1000 >/dev/null
    run pouch exec target /usr/bin/python3 -c '
import ctypes, errno, os, mmap, signal, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(nr, *args):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(nr), *[ctypes.c_void_p(a) for a in args])
    return r if r >= 0 else -ctypes.get_errno()
SYSINFO, AFFINITY = (99, 204) if os.uname().machine == "x86_64" else (179, 123)
for address in (0, 1, 8, 0xffffffffffffff00, 0x7fffffffffff, 0x8000000000000000, 0xffff888000000000):
    assert call(SYSINFO, address) == -errno.EFAULT, hex(address)
    assert call(AFFINITY, 0, 128, address) == -errno.EFAULT, hex(address)
buf = ctypes.create_string_buffer(1 << 16)
a = ctypes.addressof(buf)
assert call(AFFINITY, 0, 0, a) == -errno.EINVAL
assert call(AFFINITY, 0, 3, a) == -errno.EINVAL
n = call(AFFINITY, 0, 128, a)
assert n > 0 and n == call(AFFINITY, 0, 0xfffffff8, a), n
assert call(AFFINITY, 0x7fffffff, 128, a) == -errno.ESRCH
# a page that ends in the middle of the answer
m = mmap.mmap(-1, 8192)
base = ctypes.addressof(ctypes.c_char.from_buffer(m))
libc.mprotect(ctypes.c_void_p(base + 4096), 4096, 0)
call(SYSINFO, base + 4096 - 40)
# callers that are killed while they ask, and many at once
def child():
    pid = os.fork()
    if pid == 0:
        while True:
            call(SYSINFO, a)
    return pid
pids = [child() for _ in range(20)]
for p in pids:
    os.kill(p, signal.SIGKILL)
for p in pids:
    os.waitpid(p, 0)
def many():
    for _ in range(50):
        assert call(SYSINFO, a) == 0
threads = [threading.Thread(target=many) for _ in range(30)]
for t in threads: t.start()
for t in threads: t.join()
# signals during the call
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
for _ in range(300):
    assert call(SYSINFO, a) in (0, -errno.EINTR)
print("done")'
    is "$output" 'done'
    is "$(pouch exec target nproc)" 1
    pouch logs target >/dev/null
}
