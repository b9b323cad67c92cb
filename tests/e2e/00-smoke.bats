# sanitizers: yes
# The shortest ways through all layers: if one of these fails, look here first.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

@test "ping answers with the negotiation headers" {
    run curl -s -i --unix-socket "$SOCK" http://pouch/_ping
    has "$output" '^HTTP/1.1 200'
    has "$output" '^Api-Version: 1\.[0-9]+'
    has "$output" '^Ostype: linux'
    has "$output" '^Docker-Experimental: false'
    has "$output" '^Cache-Control: no-cache, no-store, must-revalidate'
    is "${lines[-1]}" OK
    run curl -s -I --unix-socket "$SOCK" http://pouch/_ping
    has "$output" '^HTTP/1.1 200'
    has "$output" '^Api-Version: 1\.'
}

@test "the socket is for root and its group only" {
    is "$(stat -c %a "$SOCK")" 660
}

hello() {
    run ctl run --rm busybox echo hello
    is "$status" 0
    is "$output" hello
}
@test "run --rm prints what the program prints" { each_cli hello; }

status_comes_back() {
    run ctl run --rm busybox sh -c 'exit 37'
    is "$status" 37
    run ctl run --rm --network none busybox sh -c 'sh -c "kill -TERM \$\$"; exit $?'
    is "$status" 143
}
@test "run gives back the exit status" { each_cli status_comes_back; }

detached() {
    local id
    id=$(ctl run -d --name sleeper busybox sleep 600)
    has "$id" '^[0-9a-f]{64}$'
    is "$(ctl ps -q --no-trunc)" "$id"
    is "$(ctl exec sleeper echo inside)" inside
    run ctl logs sleeper
    is "$output" ''
    ctl stop -t 1 sleeper
    is "$(ctl ps -q)" ''
    is "$(ctl ps -aq --no-trunc)" "$id"
    ctl rm sleeper
    is "$(ctl ps -aq)" ''
}
@test "run -d, ps, exec, stop, rm" { each_cli detached; }

version() {
    run ctl version
    is "$status" 0
    has "$output" 'Server'
    run ctl version --format '{{.Server.APIVersion}}'
    is "$status" 0
    has "$output" '^1\.[0-9]+$'
    run ctl info
    is "$status" 0
    has "$output" 'Server Version: '
    run ctl info --format '{{.Driver}}'
    has "$output" "^${POUCH_TEST_ROOTFS_DRIVER:-(erofs|overlay)}"
}
@test "version and info" { each_cli version; }

@test "each program answers --help and --version" {
    local program
    for program in pouch pouchd pouch-monitor pouch-oci pouch-image pouch-check pouch-pack pouch-unpack; do
        [ -x "$POUCH_BIN/$program" ] || fail "$program is missing"
        run -0 "$POUCH_BIN/$program" --help
        has "$output" '[Uu]sage'
        run -0 "$POUCH_BIN/$program" --version
        has "$output" '[0-9]+\.[0-9]+\.[0-9]+'
    done
}

@test "pouchd refuses what it does not know, in one line" {
    run "$POUCH_BIN/pouchd" --no-such-flag
    [ "$status" -ne 0 ]
    has "$output" 'no-such-flag'
    run timeout 10 "$POUCH_BIN/pouchd" --root "$T/tmp/r" --state "$T/tmp/s" --host gopher://x
    [ "$status" -ne 0 ] && [ "$status" -ne 124 ]
    has "$output" 'gopher'
    echo '{"log-level": 7' >"$T/tmp/bad.json"
    run timeout 10 "$POUCH_BIN/pouchd" --config "$T/tmp/bad.json"
    [ "$status" -ne 0 ] && [ "$status" -ne 124 ]
    has "$output" 'bad.json'
    rm -rf "$T/tmp/r" "$T/tmp/s" "$T/tmp/bad.json"
}

@test "a second pouchd on the same root refuses to start" {
    run timeout 10 "$POUCH_BIN/pouchd" --root "$T/root" --state "$T/run" --host "unix://$T/tmp/o.sock"
    [ "$status" -ne 0 ] && [ "$status" -ne 124 ]
    rm -f "$T/tmp/o.sock"
    hello
}

@test "without the daemon the command line says so" {
    run "$POUCH_BIN/pouch" -H "unix://$T/nothing.sock" ps
    is "$status" 1
    has "$output" 'nothing.sock'
}
