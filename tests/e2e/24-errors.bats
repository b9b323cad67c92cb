# sanitizers: yes
# Bad luck at the start of a container: exit codes 125, 126, 127, one clear line, nothing left.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

not_found() {
    run -127 ctl run --network none --name cc busybox nosuchcommand with arguments
    is "$status" 127
    one_line 'nosuchcommand.*not found'
    is "$(ctl inspect -f '{{.State.Status}} {{.State.ExitCode}}' cc)" 'created 127'
    has "$(ctl inspect -f '{{.State.Error}}' cc)" nosuchcommand
    run -127 ctl run --rm --network none busybox /no/such/path
    is "$status" 127
    one_line '/no/such/path.*[Nn]o such file'
}
@test "command not found: 127" { each_cli not_found; }

not_executable() {
    run ctl run --rm --network none busybox /etc/passwd
    is "$status" 126
    one_line '/etc/passwd.*[Pp]ermission denied'
    run ctl run --rm --network none busybox /etc
    is "$status" 126
    one_line '/etc.*([Pp]ermission denied|[Ii]s a directory)'
}
@test "command not executable: 126" { each_cli not_executable; }

bad_options() {
    run ctl run --rm --no-such-flag busybox
    is "$status" 125
    one_line 'unknown flag: --no-such-flag'
    run ctl run --rm --memory nonsense busybox true
    is "$status" 125
    one_line 'nonsense'
    run ctl run --rm -m 1m busybox true
    is "$status" 125
    one_line '[Mm]inimum memory limit allowed is 6MB'
    run ctl run --rm --memory 64m --memory-swap 32m busybox true
    is "$status" 125
    one_line 'swap'
    run ctl run --rm --cpus 1000 busybox true
    is "$status" 125
    one_line '[Rr]ange of CPUs'
    run ctl run --rm --network nosuchnetwork busybox true
    is "$status" 125
    one_line 'network nosuchnetwork not found'
    run ctl run --rm --network container:nosuch busybox true
    is "$status" 125
    one_line 'No such container: nosuch'
    run ctl run --rm -p nonsense busybox true
    is "$status" 125
    one_line 'nonsense'
    run ctl run --rm -p 99999:80 busybox true
    is "$status" 125
    one_line '99999'
    run ctl run --restart nonsense busybox true
    is "$status" 125
    one_line 'nonsense'
    run ctl run --rm --runtime nosuch busybox true
    is "$status" 125
    one_line 'nosuch'
    run ctl run --rm --security-opt nonsense=1 busybox true
    is "$status" 125
    one_line 'nonsense'
    run ctl run --rm -v /relative/../x:relative busybox true
    is "$status" 125
    one_line 'relative'
    run ctl run
    [ "$status" -ne 0 ]
    one_line 'requires at least 1 argument'
    is "$(ctl ps -aq)" ''
}
@test "options that make no sense are refused before anything is made" { each_cli bad_options; }

@test "the daemon says which method, path and value was wrong" {
    api POST '/containers/create?name=xx' '{"Image":"busybox","HostConfig":{"Memory":"much"}}'
    is "$code" 400
    has "$body" 'HostConfig.Memory'
    api POST '/containers/create?name=xx' '{"Image":"busybox","HostConfig":{"NetworkMode":7}}'
    is "$code" 400
    has "$body" 'NetworkMode'
    api POST '/containers/create?name=xx' '{"Image":"busybox","HostConfig":{"RestartPolicy":{"Name":"sometimes"}}}'
    is "$code" 400
    has "$body" 'sometimes|restart policy'
    api POST '/containers/create?name=xx' '{"Image":"busybox","HostConfig":{"IpcMode":"nonsense"}}'
    is "$code" 400
    has "$body" 'IPC|IpcMode|nonsense'
    api POST '/containers/create?name=xx' '{"Image":"busybox","Cmd":["true"],"NetworkingConfig":{"EndpointsConfig":{"bridge":{"Aliases":["db"]}}}}'
    is "$code" 400
    has "$body" 'aliases'
    api POST '/containers/create?name=xx' '{"Image":"nosuchimage"}'
    is "$code" 404
    has "$body" 'No such image: nosuchimage'
    api POST '/containers/create?name=xx' '{}'
    is "$code" 400
    is "$(pouch ps -aq)" ''
}

@test "a port that is in use" {
    python3 -c 'import socket, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 18080)); s.listen(); time.sleep(60)' 3>&- &
    local holder=$!
    within 5 listening 18080
    run pouch run --name pp -p 18080:80 busybox true
    is "$status" 125
    one_line '18080.*(in use|allocated)'
    kill "$holder"
    pouch rm -f pp
    pouch run -d --name one -p 18081:80 busybox sleep 60 >/dev/null
    run pouch run -d --name two -p 18081:80 busybox sleep 60
    is "$status" 125
    one_line '18081.*(in use|allocated)'
    pouch rm -f one
    pouch start two # the port is free now
    pouch rm -f two
}
listening() { ss -Hltn "sport = :$1" | grep -q .; }

@test "the monitor is killed: the container is ended and the state says why" {
    pouch run -d --network none --name mm busybox sleep 700 >/dev/null
    local pid
    pid=$(pouch inspect -f '{{.State.Pid}}' mm)
    kill -9 "$(ps -o ppid= -p "$pid" | tr -d ' ')"
    within 10 not_running mm
    [ ! -d "/proc/$pid" ] || gone "$pid"
    is "$(pouch inspect -f '{{.State.Status}} {{.State.ExitCode}}' mm)" 'exited 137'
    has "$(pouch inspect -f '{{.State.Error}}' mm)" 'monitor'
    pouch start mm
    is "$(pouch exec mm echo again)" again
}
not_running() { [ "$(pouch inspect -f '{{.State.Running}}' "$1")" = false ]; }

@test "pid 1 is killed from outside" {
    pouch run -d --network none --name kk busybox sleep 700 >/dev/null
    kill -9 "$(pouch inspect -f '{{.State.Pid}}' kk)"
    is "$(timeout 10 "$POUCH_BIN/pouch" -H "unix://$SOCK" wait kk)" 137
}
