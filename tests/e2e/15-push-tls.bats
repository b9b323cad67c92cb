# Push to real registries behind TLS of a private authority: basic and token logins, a client certificate;
# mounts and chunks.
load helpers
load login

ADDRESS=192.0.2.78

setup_file() {
    mkdir -p "$T/etc" "$T/pki" "$T/tokens"
    ip link add dummy0 type bridge
    ip address add $ADDRESS/24 dev dummy0
    ip link set dummy0 up
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca \
        -keyout "$T/pki/ca.key" -out "$T/pki/ca.crt" 2>/dev/null
    certificate server "subjectAltName=IP:$ADDRESS,IP:127.0.0.1"
    certificate me keyUsage=digitalSignature
    htpasswd -Bbn app secret >"$T/htpasswd"
    "$HERE/token-server" "$T/tokens" "$T/pki/server.crt" "$T/pki/server.key" >"$T/tokens/out" 2>&1 3>&- &
    echo $! >>"$T/login.pids"
    disown
    within 30 test -s "$T/tokens/host"
    tls_registry basic "htpasswd: {realm: test, path: $T/htpasswd}" ''
    tls_registry mutual "htpasswd: {realm: test, path: $T/htpasswd}" ", clientcas: [$T/pki/ca.crt]"
    tls_registry token "token: {realm: \"https://$(cat "$T/tokens/host")/token\", service: test, issuer: test-tokens, rootcertbundle: $T/tokens/token.crt}" ''
    POUCH_PUSH_CHUNK_SIZE=262144 pouchd_start --registry-config "$T/etc"
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    mkdir "$T/rootfs"
    head -c 3000000 /dev/urandom >"$T/rootfs/noise"
    tar -C "$T/rootfs" -c . | pouch import - large:latest >/dev/null
    rm -r "$T/rootfs"
}
teardown_file() {
    login_down
    ip link del dummy0
    file_down
}
setup() {
    export DOCKER_CONFIG=$T/docker
    rm -rf "$DOCKER_CONFIG"
    LOG_LINES=$(wc -l <"$LOG")
    snapshot >"$T/before"
}
certificate() { # NAME EXTENSION
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
        -keyout "$T/pki/$1.key" -out "$T/pki/$1.csr" 2>/dev/null
    openssl x509 -req -in "$T/pki/$1.csr" -CA "$T/pki/ca.crt" -CAkey "$T/pki/ca.key" -days 2 \
        -set_serial "$RANDOM" -extfile <(echo "$2") -out "$T/pki/$1.crt" 2>/dev/null
}
tls_registry() { # NAME AUTH TLS
    local port
    port=$(free_port)
    cat >"$T/$1.yml" <<YML
version: 0.1
log: {level: error, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: $T/$1}}
auth: {$2}
http: {addr: "$ADDRESS:$port", tls: {certificate: $T/pki/server.crt, key: $T/pki/server.key$3}}
YML
    docker-registry serve "$T/$1.yml" >"$T/$1.log" 2>&1 3>&- &
    echo $! >>"$T/login.pids"
    disown
    echo "$ADDRESS:$port" >"$T/$1.host"
    within 30 sh -c "curl -ks -o '$T/answer' 'https://$ADDRESS:$port/v2/' || [ \$? = 56 ]"
}
certs() { # HOST FILE...: what is known of the registry
    local host=$1 file
    shift
    rm -rf "${T:?}/etc/certs.d"
    mkdir -p "$T/etc/certs.d/$host"
    for file; do cp "$T/pki/$file" "$T/etc/certs.d/$host/${file/me.crt/me.cert}"; done
}

# pushes NAME FILE...: large in chunks, then under another name by mounts; it comes back the same.
pushes() {
    local name=$1 host
    host=$(cat "$T/$name.host")
    certs "$host"
    pouch tag large "$host/one/large:v1"
    run pouch push "$host/one/large:v1"
    is "$status" 1
    has "$output" 'certificate|authority'
    shift
    certs "$host" "$@"
    run pouch push "$host/one/large:v1"
    is "$status" 1
    has "$output" 'unauthorized|authentication required|denied'
    pouch login -u app --password-stdin "$host" <<<secret
    : >"$T/$name.log"
    run pouch push "$host/one/large:v1"
    echo "$output"
    is "$status" 0
    [ "$(grep -c 'PATCH /v2/one/large/blobs/uploads' "$T/$name.log")" -ge 5 ]
    pouch tag large "$host/two/large:v1"
    : >"$T/$name.log"
    run pouch push "$host/two/large:v1"
    is "$status" 0
    has "$output" 'Mounted from one/large'
    is "$(grep -c 'PATCH /v2/two/large/blobs/uploads' "$T/$name.log")" 0
    local id
    id=$(pouch inspect -f '{{.Id}}' "$host/two/large:v1")
    pouch rmi "$host/one/large:v1" "$host/two/large:v1" >/dev/null
    pouch pull -q "$host/two/large:v1" >/dev/null
    is "$(pouch inspect -f '{{.Id}}' "$host/two/large:v1")" "$id"
    pouch rmi "$host/two/large:v1" >/dev/null
}

@test "a private authority and basic credentials" { pushes basic ca.crt; }
@test "a private authority, a client certificate and basic credentials" {
    local host
    host=$(cat "$T/mutual.host")
    certs "$host" ca.crt
    pouch tag large "$host/one/large:v1"
    run pouch push "$host/one/large:v1"
    is "$status" 1
    has "$output" 'certificate'
    pushes mutual ca.crt me.crt me.key
}
@test "a private authority and tokens" {
    pushes token ca.crt
    has "$(cat "$T/tokens/log")" 'repository:two/large:.*pu(sh|ll),pu(sh|ll)'
}
