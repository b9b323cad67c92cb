# One test for each bug that was found, named after it.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

primary_group() {
    is "$(ctl run --rm --network none -u app busybox id -G | tr ' ' '\n' | sort -n | xargs)" '10 29 1000'
    is "$(ctl run --rm --network none -u 1234:5678 busybox grep Groups: /proc/self/status | xargs)" 'Groups: 5678'
}
@test "the primary group was missing among the supplementary groups (CVE-2022-36109)" { each_cli primary_group; }

killed_exec() {
    local i status
    for i in 1 2 3 4 5 6; do
        ctl run -d --network none --name "kk$i" busybox sleep 600 >/dev/null
        $(ctl_words) exec "kk$i" sleep "50$i" 3>&- &
        local client=$!
        within 5 pgrep -x -f "sleep 50$i" >/dev/null
        ctl kill "kk$i" >/dev/null
        status=0
        wait "$client" || status=$?
        is "$status" 137
    done
}
@test "an exec whose container was killed ended with 0 now and then" { each_cli killed_exec; }

a_folder() {
    run ctl run --rm --network none busybox /etc
    is "$status" 126
}
@test "a folder as command gave old docker command lines 125" { each_cli a_folder; }

@test "templates did not find .Server.APIVersion" {
    has "$(pouch version --format '{{.Server.APIVersion}}')" '^1\.[0-9]+$'
    is "$(pouch version --format '{{.Server.ApiVersion}}')" "$(pouch version --format '{{.Server.APIVersion}}')"
}

@test "a time past the year 2262 overflowed" {
    pouch run --network none --name tt busybox echo x >/dev/null
    run pouch logs --since 9999-12-31T23:59:59Z tt
    [ "$status" -le 1 ]
    lacks "$output" 'x$'
    api GET '/containers/tt/logs?stdout=1&since=99999999999999999999'
    [ "$code" = 400 ] || [ "$code" = 200 ]
}

@test "a container whose first thread had ended could not be paused, and had no processes to list" {
    [ -x /usr/bin/python3 ] || skip "no python3 that the container could run"
    pouch run -d --network none --name first -v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro busybox \
        /usr/bin/python3 -c 'import ctypes, os, threading, time
libc = ctypes.CDLL(None)
def other():
    while open("/proc/1/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    print("alone", flush=True)
    time.sleep(1000)
threading.Thread(target=other).start()
libc.syscall(60 if "x86" in os.uname().machine else 93, 0)' >/dev/null
    within 60 said first alone
    has "$(pouch top first)" 'python3'
    pouch pause first >/dev/null
    is "$(state_of first)" paused
    pouch unpause first >/dev/null
    pouch kill first >/dev/null
    is "$(state_of first)" exited
}

# db STATEMENTS: to the database of a pouchd that is not running.
db() {
    pouchd_stop
    python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript(sys.argv[2])' "$T/root/pouch.db" "$1"
    pouchd_start
}

@test "a --rm container that ended, but could not be taken off the record, stayed for ever" {
    pouch run -d --rm --network none --name stays busybox sleep 1000 >/dev/null
    db "CREATE TRIGGER no_delete BEFORE DELETE ON containers BEGIN SELECT RAISE(ABORT, 'no'); END;"
    pouch kill stays >/dev/null
    is "$(state_of stays)" dead
    db 'DROP TRIGGER no_delete;'
    run pouch inspect stays
    is "$status" 1
}

@test "a commit left its container paused when that could not be saved" {
    pouch run -d --network none --name ff busybox sleep 1000 >/dev/null
    db "CREATE TRIGGER no_pause BEFORE UPDATE ON containers WHEN NEW.status = 'paused'
        BEGIN SELECT RAISE(ABORT, 'no'); END;"
    pouch commit ff ff:1 >/dev/null
    is "$(state_of ff)" running
    db 'DROP TRIGGER no_pause;'
    pouch rmi ff:1 >/dev/null
}
