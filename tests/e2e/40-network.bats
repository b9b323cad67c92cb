# sanitizers: yes
# Networks: bridge, ports, masquerading, none, host, container:ID, names; rules that come back.
load helpers

# A machine "outside", behind a router that is this sandbox: 192.0.2.2, our side is 192.0.2.1.
setup_file() {
    ip netns add outside
    ip link add up0 type veth peer name up1 netns outside
    ip address add 192.0.2.1/24 dev up0
    ip link set up0 up
    ip -n outside address add 192.0.2.2/24 dev up1
    ip -n outside link set up1 up
    ip -n outside link set lo up
    ip route add default via 192.0.2.2
    mkdir -p "$T/www"
    echo outside >"$T/www/index.html"
    ip netns exec outside busybox httpd -p 192.0.2.2:80 -h "$T/www" 3>&-
    file_up
    # The bridge and the rules are there from the first container on.
    pouch run --rm busybox true
}
teardown_file() {
    file_down
    ip netns del outside
    pkill -x -f "busybox httpd -p 192.0.2.2:80 -h $T/www" || true
}

# serve --name NAME OPTION...: a web server that answers.
serve() {
    ctl run -d "$@" busybox httpd -f -h /www
    within 5 listens "$2" 80
}
fetch() { curl -s --max-time 20 "http://$1/"; }
address_of() { pouch inspect -f '{{.NetworkSettings.IPAddress}}' "$1"; }

addresses() {
    serve --name aa >/dev/null
    serve --name bb >/dev/null
    local ip gateway
    ip=$(ctl inspect -f '{{.NetworkSettings.IPAddress}}' aa)
    gateway=$(ctl inspect -f '{{.NetworkSettings.Gateway}}' aa)
    has "$ip" '^[0-9]+(\.[0-9]+){3}$'
    is "$(ctl inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' aa)" "$ip"
    has "$(ctl inspect -f '{{.NetworkSettings.MacAddress}}' aa)" '^([0-9a-f]{2}:){5}[0-9a-f]{2}$'
    has "$(ctl exec aa ip -o -4 address show eth0)" " $ip/"
    has "$(ctl exec aa ip route)" "^default via $gateway dev eth0"
    [ "$(address_of bb)" != "$ip" ]
    is "$(fetch "$ip")" 'it works'
    is "$(ctl exec bb wget -q -O - "http://$ip/")" 'it works'
    ctl exec bb ping -c 1 -w 3 "$gateway" >/dev/null
    ctl exec aa ip link show lo | grep -q UP
    is "$(ctl exec aa ls /sys/class/net | xargs)" 'eth0 lo'
    has "$(ctl exec aa cat /etc/hosts)" "^$ip"$'\t'
}
@test "containers have addresses and reach each other, the host, and are reached" { each_cli addresses; }

masquerade() {
    is "$(ctl run --rm busybox timeout 20 wget -q -O - http://192.0.2.2/)" outside
    # The outside sees the router's address, not the container's.
    ip netns exec outside timeout 60 socat -u TCP-LISTEN:5001,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR >'"$T/tmp/peer" 3>&- &
    local socat=$!
    within 5 eval 'ip netns exec outside ss -Hltn "sport = :5001" | grep -q .'
    ctl run --rm busybox sh -c 'echo x | nc -w 2 192.0.2.2 5001' || true
    wait "$socat" || true
    is "$(cat "$T/tmp/peer")" 192.0.2.1
    rm -f "$T/tmp/peer"
}
@test "masquerading to the outside" { each_cli masquerade; }

published() {
    serve --name pp -p 18080:80 -p 127.0.0.1:18081:80 >/dev/null
    is "$(fetch 127.0.0.1:18080)" 'it works'
    is "$(fetch 127.0.0.1:18081)" 'it works'
    is "$(fetch 192.0.2.1:18080)" 'it works'
    is "$(ip netns exec outside curl -s --max-time 5 http://192.0.2.1:18080/)" 'it works'
    run ip netns exec outside curl -s --max-time 2 http://192.0.2.1:18081/
    [ "$status" -ne 0 ]
    # From another container, by the host's address; and from the container itself.
    is "$(ctl run --rm busybox timeout 20 wget -q -O - http://192.0.2.1:18080/)" 'it works'
    is "$(ctl exec pp timeout 20 wget -q -O - http://192.0.2.1:18080/)" 'it works'
    has "$(ctl ps --format '{{.Ports}}')" '0.0.0.0:18080->80/tcp.*127.0.0.1:18081->80/tcp|127.0.0.1:18081->80/tcp.*0.0.0.0:18080->80/tcp'
    is "$(ctl inspect -f '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}' pp | tr -d '\n' | head -c 4)" 1808
    ctl stop -t 0 pp >/dev/null
    run fetch 127.0.0.1:18080
    [ "$status" -ne 0 ]
    ctl start pp >/dev/null
    within 5 listens pp 80
    is "$(fetch 127.0.0.1:18080)" 'it works'
}
@test "published ports: from the host, loopback, outside and other containers" { each_cli published; }

random_ports() {
    serve --name rr -P --expose 80 --expose 8000-8001 >/dev/null
    local port
    port=$(ctl inspect -f '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}' rr)
    has "$port" '^[0-9]+$'
    is "$(fetch "127.0.0.1:$port")" 'it works'
    ctl run -d --name range -p 18100-18102:80-82 busybox sh -c 'httpd -p 81 -h /www; sleep 60' >/dev/null
    within 5 fetch_ok 127.0.0.1:18101
    serve --name any -p 80 >/dev/null
    port=$(ctl inspect -f '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}' any)
    is "$(fetch "127.0.0.1:$port")" 'it works'
}
fetch_ok() { [ "$(fetch "$1")" = 'it works' ]; }
@test "ports: -P, ranges, a port of the daemon's choice" { each_cli random_ports; }

udp() {
    local server where
    ctl run -d --name uu -p 18200:5000/udp busybox sleep 60 >/dev/null
    # A server in the container's network, since busybox has none for UDP.
    nsenter --net --target "$(ctl inspect -f '{{.State.Pid}}' uu)" \
        socat UDP4-LISTEN:5000,fork PIPE 3>&- &
    server=$!
    within 5 eval 'nsenter --net --target "$(pouch inspect -f "{{.State.Pid}}" uu)" ss -Hlun "sport = :5000" | grep -q .'
    for where in 127.0.0.1 192.0.2.1; do
        is "$(echo hello | socat -t1 - "UDP4:$where:18200")" hello
    done
    is "$(echo hello | ip netns exec outside socat -t1 - UDP4:192.0.2.1:18200)" hello
    kill "$server"
    pkill -f '^socat UDP4-LISTEN:5000' || true
}
@test "UDP ports" { each_cli udp; }

none() {
    is "$(ctl run --rm --network none busybox ls /sys/class/net)" lo
    is "$(ctl run --rm --network none busybox sh -c 'ping -c 1 -w 2 127.0.0.1 >/dev/null && echo up')" up
    run ctl run --rm --network none busybox ping -c 1 -w 2 192.0.2.2
    [ "$status" -ne 0 ]
}
@test "--network none" { each_cli none; }

host() {
    has "$(ctl run --rm --network host busybox ip -o address)" '192.0.2.1/24'
    is "$(ctl run --rm --network host busybox wget -q -O - http://192.0.2.2/)" outside
    is "$(ctl run --rm --network host busybox hostname)" "$(hostname)"
}
@test "--network host" { each_cli host; }

joined() {
    serve --name first >/dev/null
    is "$(ctl run --rm --network container:first busybox wget -q -O - http://127.0.0.1/)" 'it works'
    is "$(ctl run --rm --network container:first busybox hostname)" "$(ctl exec first hostname)"
    ctl stop -t 0 first >/dev/null
    run ctl run --rm --network container:first busybox true
    is "$status" 125
    has "$output" 'not running|non running'
}
@test "--network container:ID" { each_cli joined; }

forwarding_is_safe() {
    # Two containers on the bridge may talk; the outside cannot reach a port that is not published.
    serve --name hidden >/dev/null
    local ip
    ip=$(address_of hidden)
    ip -n outside route add "${ip%.*}.0/24" via 192.0.2.1
    run ip netns exec outside curl -s --max-time 2 "http://$ip/"
    [ "$status" -ne 0 ]
    ip -n outside route del "${ip%.*}.0/24" via 192.0.2.1
}
@test "ports that are not published are not reached from outside" { each_cli forwarding_is_safe; }

@test "rules stand in a table of our own, and come back when someone flushes them" {
    serve --name back -p 18300:80 >/dev/null
    is "$(fetch 127.0.0.1:18300)" 'it works'
    nft add table ip someone_else
    nft add chain ip someone_else keep
    nft list tables | grep -q pouch
    nft flush ruleset
    within 15 fetch_ok 127.0.0.1:18300
    within 15 out_again
    nft list tables | grep -q pouch
    nft delete table ip someone_else 2>/dev/null || true
}
out_again() { [ "$(pouch exec back timeout 2 wget -q -O - http://192.0.2.2/)" = outside ]; }

@test "rules and addresses of containers that live survive a restart of the daemon" {
    serve --name lives -p 18301:80 >/dev/null
    local ip
    ip=$(address_of lives)
    pouchd_kill
    is "$(fetch 127.0.0.1:18301)" 'it works'
    pouchd_start
    is "$(fetch 127.0.0.1:18301)" 'it works'
    is "$(address_of lives)" "$ip"
    serve --name second >/dev/null
    [ "$(address_of second)" != "$ip" ]
    run pouch run --rm -p 18301:80 busybox true
    is "$status" 125
    has "$output" 18301
    pouch rm -f lives >/dev/null
    run fetch 127.0.0.1:18301
    [ "$status" -ne 0 ]
}

@test "addresses are used again when the pool is small" {
    local i
    for i in $(seq 300); do echo; done | xargs -P 4 -I{} "$POUCH_BIN/pouch" -H "unix://$SOCK" run --rm busybox true
    has "$(pouch run --rm busybox ip -o -4 address show eth0)" 'inet '
}

@test "no process is started for a container's network" {
    serve --name procs -p 18302:80 >/dev/null
    run bash -c "ps -e -o comm= | grep -xE 'docker-proxy|pouch-proxy|nft|iptables|dnsmasq'"
    is "$output" ''
}

@test "the default pool keeps off the host's routes" {
    local gateway
    gateway=$(pouch run --rm busybox ip route | awk '/^default/{print $3}')
    pouchd_stop
    ip link add clash type bridge
    ip address add 172.17.0.9/16 dev clash
    ip link set clash up
    pouchd_start
    pouch run -d --name pp busybox sleep 60 >/dev/null
    lacks "$(ip -o -4 address show | grep -v clash)" ' 172\.17\.'
    pouch rm -f pp >/dev/null
    ip link del clash
    [ -n "$gateway" ]
}

@test "bridge settings: --bip and --bridge-name" {
    pouchd_stop
    pouchd_start --bip 10.77.0.1/24 --bridge-name ptother
    is "$(pouch run --rm busybox ip route | awk '/^default/{print $3}')" 10.77.0.1
    ip -o link show ptother >/dev/null
    pouchd_stop
    ip link del ptother 2>/dev/null || true
    pouchd_start
}

@test "IPv6 when asked" {
    pouchd_stop
    pouchd_start --ipv6 --fixed-cidr-v6 fd00:77::/64
    pouch run -d --name six -p 18303:80 busybox httpd -f -p '[::]:80' -h /www >/dev/null
    local ip
    ip=$(pouch inspect -f '{{.NetworkSettings.GlobalIPv6Address}}' six)
    has "$ip" '^fd00:77::'
    within 5 six_ok "$ip"
    pouch rm -f six >/dev/null
    pouchd_stop
    pouchd_start
}
six_ok() { [ "$(curl -s -g --max-time 3 "http://[$1]/")" = 'it works' ]; }
