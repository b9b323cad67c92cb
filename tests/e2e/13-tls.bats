# Private authorities, client certificates, insecure registries and proxies, with a real registry
# behind an address that is not loopback.
load helpers

ADDRESS=192.0.2.77

setup_file() {
    mkdir -p "$T/etc" "$T/pki"
    ip link add dummy0 type bridge
    ip address add $ADDRESS/24 dev dummy0
    ip link set dummy0 up
    authority ca
    authority other
    certificate ca server "subjectAltName=IP:$ADDRESS"
    certificate ca me
    secure_registry plain ''
    secure_registry mutual ", clientcas: [$T/pki/ca.crt]"
    registry_start
    fill
    proxy_start
    up
}
teardown_file() {
    local name
    for name in plain mutual proxy; do kill "$(cat "$T/$name.pid")" 2>/dev/null || true; done
    ip link del dummy0
    file_down
}
teardown() {
    rm -rf "${T:?}/etc"
    mkdir "$T/etc"
    no_images
    remove_all
    leak_check
    sanitizers_quiet
}
setup() {
    REGISTRY=$(cat "$T/registry.host")
    PLAIN=$(cat "$T/plain.host")
    MUTUAL=$(cat "$T/mutual.host")
    PROXY=$(cat "$T/proxy.host")
    LOG_LINES=$(wc -l <"$LOG")
    : >"$T/proxy.log"
    snapshot >"$T/before"
}

up() { pouchd_start --registry-config "$T/etc" "$@"; }
again() {
    pouchd_stop
    up "$@"
}
not_leaks() {
    grep -vE "^process [0-9]+ .*(pouchd --root $T|docker-registry serve|fault-registry|e2e/proxy)" |
        grep -vE "^(link (pouch[0-9]*|docker0|dummy0)|cgroup [^ ]*/$CGROUP_PARENT)\$" |
        grep -vE "^nft table |^file $T/tmp/bats|^process [0-9]+ (ps|sort|awk|sed|find|nft|ip|grep) " || true
}

authority() { # NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" \
        -keyout "$T/pki/$1.key" -out "$T/pki/$1.crt" 2>/dev/null
}
certificate() { # AUTHORITY NAME [EXTENSION]
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$2" \
        -keyout "$T/pki/$2.key" -out "$T/pki/$2.csr" 2>/dev/null
    openssl x509 -req -in "$T/pki/$2.csr" -CA "$T/pki/$1.crt" -CAkey "$T/pki/$1.key" -days 2 \
        -set_serial "$RANDOM" -extfile <(echo "${3:-keyUsage=digitalSignature}") \
        -out "$T/pki/$2.crt" 2>/dev/null
}
secure_registry() { # NAME TLS-SETTINGS
    local port _
    port=$(free_port)
    cat >"$T/$1.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $T/registry}}
http: {addr: "$ADDRESS:$port", tls: {certificate: $T/pki/server.crt, key: $T/pki/server.key$2}}
YML
    docker-registry serve "$T/$1.yml" >"$T/$1.log" 2>&1 3>&- &
    echo $! >"$T/$1.pid"
    disown
    echo "$ADDRESS:$port" >"$T/$1.host"
    for _ in $(seq 250); do
        (exec 3<>"/dev/tcp/$ADDRESS/$port") 2>/dev/null && return
        sleep 0.02
    done
}
fill() { "$POUCH_TOP/tools/make-images" push "$REGISTRY" busybox:latest; }
proxy_start() { # [USER:PASSWORD]
    local _
    rm -f "$T/proxy.host"
    "$HERE/proxy" $ADDRESS "$T/proxy.host" "$T/proxy.log" "$@" >/dev/null 2>"$T/proxy.err" 3>&- &
    echo $! >"$T/proxy.pid"
    disown
    for _ in $(seq 250); do
        [ ! -s "$T/proxy.host" ] || break
        sleep 0.02
    done
    PROXY=$(cat "$T/proxy.host")
}
proxy_again() {
    kill "$(cat "$T/proxy.pid")"
    proxy_start "$@"
}
pulls() { # HOST
    pouch pull -q "$1/busybox:latest"
    is "$(pouch run --rm --network none "$1/busybox:latest" echo fine)" fine
    no_images
}
refuses() { # HOST REGEX
    run pouch pull "$1/busybox:latest"
    is "$status" 1
    is "$(wc -l <<<"$output")" 1
    has "$output" "$2"
}
certs() { # HOST: its folder
    mkdir -p "$T/etc/certs.d/$1"
    echo "$T/etc/certs.d/$1"
}

@test "a private authority: not trusted, then trusted by certs.d (any .crt), a wrong one is not" {
    refuses "$PLAIN" "the certificate of registry $PLAIN is not trusted: .*certs.d/$PLAIN/ca.crt"
    cp "$T/pki/other.crt" "$(certs "$PLAIN")/ca.crt"
    refuses "$PLAIN" 'is not trusted'
    cp "$T/pki/ca.crt" "$(certs "$PLAIN")/company.crt"
    pulls "$PLAIN"
    echo rubbish >"$(certs "$PLAIN")/ca.crt"
    refuses "$PLAIN" "authority $T/etc/certs.d/$PLAIN/ca.crt is not in PEM form"
}

@test "client certificates: asked for and shown; half a pair is refused" {
    cp "$T/pki/ca.crt" "$(certs "$MUTUAL")/ca.crt"
    refuses "$MUTUAL" "registry $MUTUAL .*it may want a client certificate .*certs.d/$MUTUAL"
    cp "$T/pki/me.crt" "$(certs "$MUTUAL")/client.cert"
    refuses "$MUTUAL" 'missing key .*client.key for client certificate client.cert'
    cp "$T/pki/me.key" "$(certs "$MUTUAL")/client.key"
    chmod 600 "$(certs "$MUTUAL")/client.key"
    pulls "$MUTUAL"
    # One of another authority is not let in.
    certificate other you
    cp "$T/pki/you.crt" "$(certs "$MUTUAL")/client.cert"
    cp "$T/pki/you.key" "$(certs "$MUTUAL")/client.key"
    refuses "$MUTUAL" "registry $MUTUAL .*our client certificate is not accepted"
}

@test "hosts.toml: authority, client pair and skip_verify of a mirror" {
    local folder
    folder=$(certs example.test)
    cp "$T/pki/ca.crt" "$T/pki/me.crt" "$T/pki/me.key" "$folder"
    cat >"$folder/hosts.toml" <<TOML
[host."https://$MUTUAL"]
ca = "ca.crt"
client = [["me.crt", "me.key"]]
TOML
    pulls example.test
    # Out of sight of the files: only the mirror's own setting counts.
    rm "$folder/me.crt" "$folder/me.key" "$folder/ca.crt"
    printf '[host."https://%s"]\nskip_verify = true\n' "$PLAIN" >"$folder/hosts.toml"
    again
    pulls example.test
    printf '[host."https://%s"]\nca = "gone.crt"\n' "$PLAIN" >"$folder/hosts.toml"
    refuses example.test 'cannot read authority .*gone.crt: No such file'
}

@test "insecure registries: by address, by network, by registries.conf" {
    again --insecure-registry "$PLAIN"
    pulls "$PLAIN"
    again --insecure-registry 192.0.2.0/24
    pulls "$PLAIN"
    again
    refuses "$PLAIN" 'is not trusted'
    printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$PLAIN" >"$T/etc/registries.conf"
    pulls "$PLAIN"
}

@test "proxies: HTTPS by CONNECT, no-proxy, the environment, a password; loopback goes straight" {
    cp "$T/pki/ca.crt" "$(certs "$PLAIN")/ca.crt"
    again --https-proxy "http://$PROXY"
    pulls "$PLAIN"
    has "$(cat "$T/proxy.log")" "CONNECT $PLAIN"
    : >"$T/proxy.log"
    pulls "$REGISTRY"
    is "$(cat "$T/proxy.log")" ''
    again --https-proxy "http://$PROXY" --no-proxy "example.com,192.0.2.0/24"
    pulls "$PLAIN"
    is "$(cat "$T/proxy.log")" ''
    HTTPS_PROXY=http://$PROXY again
    pulls "$PLAIN"
    has "$(cat "$T/proxy.log")" "CONNECT $PLAIN"
    proxy_again app:secret
    again --https-proxy "http://$PROXY"
    refuses "$PLAIN" "proxy $PROXY answered 407 for registry $PLAIN"
    again --https-proxy "http://app:secret@$PROXY"
    pulls "$PLAIN"
    lacks "$(curl -s --unix-socket "$SOCK" http://pouch/info)" secret
    has "$(curl -s --unix-socket "$SOCK" http://pouch/info | jq -r .HttpsProxy)" "xxxxx:xxxxx@$PROXY"
    kill "$(cat "$T/proxy.pid")"
    refuses "$PLAIN" "cannot reach proxy $PROXY .for registry $PLAIN.: connection refused"
    proxy_start
}

@test "proxies: plain HTTP, by the configuration file's \"proxies\" as in Docker's" {
    local port
    port=$(free_port)
    cat >"$T/http.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $T/registry}}
http: {addr: "$ADDRESS:$port"}
YML
    docker-registry serve "$T/http.yml" >/dev/null 2>&1 3>&- &
    local registry=$!
    echo "{\"proxies\":{\"http-proxy\":\"http://$PROXY\"},\"insecure-registries\":[\"$ADDRESS:$port\"]}" \
        >"$T/config.json"
    again --config "$T/config.json"
    pulls "$ADDRESS:$port"
    has "$(cat "$T/proxy.log")" "GET http://$ADDRESS:$port/v2/busybox/manifests/latest"
    kill "$registry"
    again
}
