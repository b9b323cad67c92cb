# Registries that want credentials (user app, password secret), for files that test logins.

# A docker-registry on loopback. secure_registry NAME < auth part of its configuration: sets $SECURE.
secure_registry() {
    local port _
    port=$(free_port)
    mkdir -p "$T/$1"
    {
        cat <<EOF
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $T/$1}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
EOF
        cat
    } >"$T/$1.yml"
    docker-registry serve "$T/$1.yml" >"$T/$1.log" 2>&1 3>&- &
    echo $! >>"$T/login.pids"
    disown
    SECURE=127.0.0.1:$port
    echo "$SECURE" >"$T/$1.host"
    within 30 curl -s -o "$T/answer" "http://$SECURE/v2/"
}

# $BASIC: htpasswd.
basic_registry_start() {
    htpasswd -Bbn app secret >"$T/htpasswd"
    secure_registry basic <<<"auth: {htpasswd: {realm: test, path: $T/htpasswd}}"
    BASIC=$SECURE
}

# $TOKEN: tokens of our own server, whose log is $T/tokens/log.
token_registry_start() {
    mkdir -p "$T/tokens"
    "$HERE/token-server" "$T/tokens" >"$T/tokens/out" 2>&1 3>&- &
    echo $! >>"$T/login.pids"
    disown
    within 30 test -s "$T/tokens/host"
    secure_registry token <<EOF
auth:
  token: {realm: "http://$(cat "$T/tokens/host")/token", service: test, issuer: test-tokens, rootcertbundle: $T/tokens/token.crt}
EOF
    TOKEN=$SECURE
}

login_hosts() {
    BASIC=$(cat "$T/basic.host" 2>/dev/null || true)
    TOKEN=$(cat "$T/token.host" 2>/dev/null || true)
}

login_down() {
    local pid
    while read -r pid; do kill "$pid" 2>/dev/null || true; done <"$T/login.pids"
    rm -f "$T/login.pids"
}

# fill REGISTRY/NAME:TAG...: push busybox there with skopeo.
fill() {
    local name
    for name; do
        skopeo copy -q --dest-tls-verify=false --dest-creds app:secret \
            "docker-archive:$POUCH_IMAGES/busybox.docker.tar" "docker://$name"
    done
}
