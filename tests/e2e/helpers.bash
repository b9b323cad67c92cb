# What every end-to-end file loads: a private pouchd, a private registry, the command lines under
# test and the check that a test leaves nothing behind. See README.md in this folder.

bats_require_minimum_version 1.5.0

SOCK=$T/run/pouch.sock
LOG=$T/pouchd.log
HERE=$POUCH_TOP/tests/e2e
export ASAN_OPTIONS=log_path=$T/asan:detect_leaks=1 UBSAN_OPTIONS=log_path=$T/asan:print_stacktrace=1
export DOCKER_CONFIG=$T/docker DOCKER_CLI_HINTS=false
# Its own in each run: another run beside this one must not be seen, nor harmed.
CGROUP_PARENT=$(basename "$(dirname "$T")")-$(basename "$T")

# ---------------------------------------------------------------- command lines under test

# Each docker CLI of this machine is tried: Debian's 20.10 (API 1.41) and whichever is first in PATH.
# POUCH_TEST_CLIS=pouch leaves them out, for a quick round while writing code.
docker_clis() {
    local path
    [ "${POUCH_TEST_CLIS:-all}" != pouch ] || return 0
    for path in /usr/bin/docker "$(command -v docker)"; do
        [ -x "$path" ] && readlink -f "$path"
    done | awk '!seen[$0]++'
}

pouch() { "$POUCH_BIN/pouch" -H "unix://$SOCK" "$@"; }
docker() { "${DOCKER:-/usr/bin/docker}" -H "unix://$SOCK" "$@"; }

# ctl: the command line that each_cli chose last; pouch until then.
ctl() {
    case ${CLI:-pouch} in
    pouch) pouch "$@" ;;
    *) DOCKER=$CLI docker "$@" ;;
    esac
}

# each_cli FUNCTION: run it once with ctl being pouch, then once with each docker CLI.
each_cli() {
    local one
    for one in pouch $(docker_clis); do
        CLI=$one
        echo "# $1 with $CLI"
        "$@"
        remove_all
    done
    CLI=pouch
}

# The command of ctl as words, for programs that start it themselves (tty, timeout).
ctl_words() {
    case ${CLI:-pouch} in
    pouch) echo "$POUCH_BIN/pouch" -H "unix://$SOCK" ;;
    *) echo "$CLI" -H "unix://$SOCK" ;;
    esac
}

tty() { # tty COMMAND... < conversation: ctl on a pseudo-terminal
    local words
    read -ra words <<<"$(ctl_words)"
    "$HERE/tty" "${words[@]}" "$@"
}

# api METHOD PATH [BODY]: one request by curl; sets $code and $body.
api() {
    local method=$1 path=$2
    shift 2
    [ $# -eq 0 ] || set -- --data-binary "$1" -H 'Content-Type: application/json'
    local all
    all=$(curl -sS --max-time 30 --unix-socket "$SOCK" -X "$method" -w '\n%{http_code}' "$@" \
        "http://pouch$path")
    code=${all##*$'\n'}
    body=${all%$'\n'*}
}

# ---------------------------------------------------------------- the daemon

# pouchd_start [FLAG...]: start it on this file's own root and wait until it answers.
# POUCH_TEST_ROOTFS_DRIVER=overlay (or erofs) runs a file with that driver instead of the default.
# POUCH_JITTER=SEED runs it with calls of pouchd that wait at random (tests/tools/jitter.c).
pouchd_start() {
    local jitter=()
    [ -z "${POUCH_JITTER:-}" ] || jitter=(env "LD_PRELOAD=$POUCH_TOP/build/tests/tools/jitter.so")
    [ -z "${POUCH_TEST_ROOTFS_DRIVER:-}" ] || set -- --rootfs-driver "$POUCH_TEST_ROOTFS_DRIVER" "$@"
    # In a shell of its own: $! stays that of the client which a test has in the background and waits for.
    (
        "${jitter[@]}" "$POUCH_BIN/pouchd" --root "$T/root" --state "$T/run" --host "unix://$SOCK" \
            --pidfile "$T/pid" --cgroup-parent "$CGROUP_PARENT" "$@" >>"$LOG" 2>&1 3>&- &
        echo "$!" >"$T/pouchd.pid"
    )
    pouchd_wait
}

pouchd_pid() { cat "$T/pouchd.pid"; }

pouchd_wait() {
    local end=$((SECONDS + 100))
    while [ "$SECONDS" -lt "$end" ]; do
        if curl -s --max-time 5 --unix-socket "$SOCK" http://pouch/_ping >/dev/null 2>&1; then
            return
        fi
        if ! kill -0 "$(pouchd_pid)" 2>/dev/null; then
            echo "pouchd did not start:"
            tail -n 20 "$LOG"
            return 1
        fi
        sleep 0.02
    done
    echo "pouchd does not answer after 100 s"
    return 1
}

# gone PID: wait until the process has ended.
gone() {
    local end=$((SECONDS + 100))
    while [ "$SECONDS" -lt "$end" ]; do
        [ -d "/proc/$1" ] || return 0
        # (The first thread may have ended before the others, which hold its files and sockets.)
        awk '/^State:/ { dead = $2 == "Z" } /^Threads:/ { last = $2 == 1 } END { exit !(dead && last) }' \
            "/proc/$1/status" 2>/dev/null && return 0
        sleep 0.02
    done
    echo "process $1 does not end"
    return 1
}

pouchd_stop() {
    local pid
    pid=$(pouchd_pid)
    kill "$pid" 2>/dev/null || return 0
    gone "$pid"
}

pouchd_kill() {
    local pid
    pid=$(pouchd_pid)
    kill -9 "$pid" 2>/dev/null || true
    gone "$pid"
}

# ---------------------------------------------------------------- registries

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# registry_start NAME:TAG...: a docker-registry on loopback that holds these images; sets $REGISTRY.
registry_start() {
    local port
    port=$(free_port)
    mkdir -p "$T/registry"
    cat >"$T/registry.yml" <<EOF
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $T/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
EOF
    docker-registry serve "$T/registry.yml" >"$T/registry.log" 2>&1 3>&- &
    echo $! >"$T/registry.pid"
    disown
    REGISTRY=127.0.0.1:$port
    echo "$REGISTRY" >"$T/registry.host"
    within 10 curl -s -o "$T/registry.answer" "http://$REGISTRY/v2/"
    [ $# -eq 0 ] || "$POUCH_TOP/tools/make-images" push "$REGISTRY" "$@"
}

registry_stop() {
    [ ! -f "$T/registry.pid" ] || kill "$(cat "$T/registry.pid")" 2>/dev/null || true
}

# fault_registry_start: the registry that misbehaves on request; sets $FAULTY.
fault_registry_start() {
    "$HERE/fault-registry" "$POUCH_IMAGES/layout" "$T/faulty.host" >"$T/faulty.log" 2>&1 3>&- &
    echo $! >"$T/faulty.pid"
    disown
    within 10 test -s "$T/faulty.host"
    FAULTY=$(cat "$T/faulty.host")
}

# What it was asked for since the last forget, which forgets its faults' counts, too.
seen() { curl -s "http://$FAULTY/_requests"; }
forget() { curl -s -X POST "http://$FAULTY/_reset"; }
# faulty_host FAULT [LINE]: the part of a hosts.toml that makes it a mirror with this fault.
faulty_host() { printf '[host."http://%s/v2/%s"]\noverride_path = true\n%s\n' "$FAULTY" "$1" "${2:-}"; }

fault_registry_stop() {
    [ ! -f "$T/faulty.pid" ] || kill "$(cat "$T/faulty.pid")" 2>/dev/null || true
}

# ---------------------------------------------------------------- set-up of a file and of a test

# file_up [FLAG...]: what most files do in setup_file: a pouchd that has the busybox image.
file_up() {
    pouchd_start "$@"
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}

file_down() {
    remove_all
    pouchd_stop
    registry_stop
    fault_registry_stop
    ended_clean
}

# no_images: all images go; those that others were made of after these.
no_images() {
    local id pass
    for pass in 1 2 3 4 5; do
        for id in $(pouch images -aq | sort -u); do pouch rmi -f "$id" >/dev/null 2>&1 || true; done
        [ -n "$(pouch images -aq)" ] || return 0
    done
    fail "images are left after pass $pass: $(pouch images -a)"
}

# ended_clean: after the daemon stopped nothing of it may be left, and no sanitizer had a word.
ended_clean() {
    local left
    left=$(grep -F " $T/" /proc/self/mountinfo | awk '{print $5}' || true)
    [ -z "$left" ] || { echo "mounts are left after the daemon stopped: $left" >&2; return 1; }
    left=$(cgroup_folders | grep -v "/$CGROUP_PARENT\$" || true)
    [ -z "$left" ] || { echo "cgroups are left after the daemon stopped: $left" >&2; return 1; }
    sanitizers_quiet
}

sanitizers_quiet() {
    local report
    for report in "$T"/asan.*; do
        [ -e "$report" ] || continue
        head -n 40 "$report" >&2
        mv "$report" "$T/seen-${report##*/}"
        return 1
    done
}

setup() {
    REGISTRY=$(cat "$T/registry.host" 2>/dev/null || true)
    FAULTY=$(cat "$T/faulty.host" 2>/dev/null || true)
    LOG_LINES=$(wc -l <"$LOG" 2>/dev/null || echo 0)
    snapshot >"$T/before"
}

teardown() {
    if [ -z "${BATS_TEST_COMPLETED:-}" ] && [ -f "$LOG" ]; then
        echo "--- pouchd said during this test:"
        tail -n "+$((LOG_LINES + 1))" "$LOG" | tail -n 30
    fi
    remove_all
    leak_check
    sanitizers_quiet
}

# remove_all: every container, whatever its state.
remove_all() {
    local ids
    ids=$(curl -s --max-time 20 --unix-socket "$SOCK" 'http://pouch/containers/json?all=1' 2>/dev/null |
        jq -r '.[].Id' 2>/dev/null) || true
    local id
    for id in $ids; do
        curl -s --max-time 30 --unix-socket "$SOCK" -X DELETE \
            "http://pouch/containers/$id?force=1&v=1" >/dev/null || true
    done
}

# without_unified: this file's mount namespace has no cgroup2 mount any more. The folders that programs
# make there by habit come and go with an empty file system in its place.
without_unified() {
    umount /sys/fs/cgroup/unified
    mount -t tmpfs -o mode=755 none /sys/fs/cgroup/unified
}

# ---------------------------------------------------------------- leaks

cgroup_mounts() { awk '/ - cgroup2? /{print $5}' /proc/self/mountinfo; }

cgroup_folders() {
    local mount
    for mount in $(cgroup_mounts); do
        if [ -d "$mount/$CGROUP_PARENT" ]; then find "$mount/$CGROUP_PARENT" -type d; fi
    done
}

# Processes that are not part of the test itself: whatever does not descend from bats, or does so
# only through pouchd, which was started by the file.
other_processes() {
    ps -e -o pid=,ppid=,stat=,args= | awk '
        { parent[$1] = $2; state[$1] = $3; line = ""; for (i = 4; i <= NF; i++) line = line " " $i
          args[$1] = line }
        END { for (pid in parent) if (args[pid] ~ /bats/) bats[pid] = 1
              for (pid in parent) {
                  mine = 0
                  for (up = pid; up > 1 && !mine; up = parent[up]) {
                      if (args[up] ~ /[p]ouchd --root/) break
                      if (up in bats) mine = 1
                  }
                  if (!mine && pid != 1 && state[pid] !~ /^Z/) print "process " pid args[pid] } }'
}

snapshot() {
    {
        # Layers are mounted by the first that needs them and stay; ended_clean looks for them.
        awk -v layers="$T/run/layers" 'index($5, layers) != 1 {print "mount " $5}' /proc/self/mountinfo
        cgroup_folders | sed 's/^/cgroup /'
        ip -o link | awk -F': ' '{sub(/@.*/, "", $2); print "link " $2}'
        find /run/netns -mindepth 1 2>/dev/null | sed 's/^/netns /'
        nft -s list ruleset 2>/dev/null | "$HERE/nft-lines"
        find "$T/tmp" "$T/root/containers" "$T/run/c" -mindepth 1 -maxdepth 1 2>/dev/null |
            sed 's/^/file /'
        find /dev/shm /dev/mqueue -mindepth 1 2>/dev/null | sed 's/^/file /'
        other_processes
    } | sort -u
}

# leak_check: compare with what there was before; the kernel and the daemon's reaper clean up behind
# an answer, so wait: long only when something is left.
leak_check() {
    local left='' end=$((SECONDS + ${LEAK_SECONDS:-20}))
    while [ "$SECONDS" -lt "$end" ]; do
        left=$(snapshot | comm -13 "$T/before" - | not_leaks)
        [ -n "$left" ] || return 0
        sleep 0.1
    done
    echo "left behind by this test:"
    echo "$left"
    return 1
}

# A test may start the daemon or a registry anew; those are looked after by the file.
not_leaks() {
    grep -vE "^process [0-9]+ .*(pouchd --root $T|docker-registry serve $T|fault-registry)" |
        grep -vE "^(link (pouch[0-9]*|docker0)|cgroup [^ ]*/$CGROUP_PARENT)\$" |
        grep -vE "^nft table |^file $T/tmp/bats|^process [0-9]+ (ps|sort|awk|sed|find|nft|ip|grep) " || true
}

# ---------------------------------------------------------------- expectations

fail() {
    echo "$*"
    return 1
}

# has TEXT REGEX / lacks TEXT REGEX
has() { grep -qE -- "$2" <<<"$1" || fail "expected /$2/ in: ${1:0:800}"; }
lacks() { ! grep -qE -- "$2" <<<"$1" || fail "did not expect /$2/ in: ${1:0:800}"; }
is() { [ "$1" = "$2" ] || fail "expected '$2', got '$1'"; }

# within SECONDS COMMAND...: until it succeeds. SECONDS is for a quiet machine; a busy one has ten times as long (but no
# more than 100 s on that account): who waits for what comes late still gets it, and only what never comes takes longer.
within() {
    local end=$((SECONDS + ($1 * 10 < 100 ? $1 * 10 : $1 < 100 ? 100 : $1)))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "not within time: $* ${answer-}"
        sleep 0.05
    done
}

# one_line REGEX: an error a person reads is one clear line on $output ("run" put it there).
# Both command lines may add "docker: " and a hint of their own after it.
one_line() {
    has "$output" "$1"
    lacks "$output" 'assert|Segmentation|AddressSanitizer|errno [0-9]'
}

# listens CONTAINER PORT: somebody in its network takes connections there: a program that has been started may not yet.
listens() {
    nsenter --net --target "$(pouch inspect -f '{{.State.Pid}}' "$1")" ss -Hltn "sport = :$2" | grep -q .
}
# said CONTAINER REGEX: its log has such a line. A program tells so that it is ready for a signal.
said() { pouch logs "$1" 2>&1 | grep -qE -- "$2"; }

# now_ms: milliseconds, for bounds on time.
now_ms() { echo $(($(date +%s%N) / 1000000)); }

state_of() { pouch inspect -f '{{.State.Status}}' "$1"; }
