# sanitizers: yes
# Credentials for mirrors: by host and port, from the command line's files and helpers, or pouchd's own; never
# another host's.
load helpers
load login

setup_file() {
    mkdir -p "$T/etc"
    basic_registry_start
    token_registry_start
    fill "$BASIC/private/busybox:latest" "$TOKEN/private/busybox:latest"
    fault_registry_start
    pouchd_start --registry-config "$T/etc"
}
teardown_file() {
    login_down
    file_down
}
setup() {
    login_hosts
    FAULTY=$(cat "$T/faulty.host")
    export DOCKER_CONFIG=$T/docker HOME=$T/home POUCHTEST_CREDENTIALS=$T/keychain
    unset REGISTRY_AUTH_FILE XDG_RUNTIME_DIR
    mkdir -p "$HOME" "$T/helpers" "$DOCKER_CONFIG"
    rm -rf "${DOCKER_CONFIG:?}"/* "$POUCHTEST_CREDENTIALS" "${T:?}/etc" "$T/own.json"
    mkdir -p "$T/etc"
    cp "$HERE/docker-credential-pouchtest" "$T/helpers/"
    PATH=$T/helpers:$PATH
    ORIGIN=127.0.0.1:1 # nobody is there
    curl -s -X POST "http://$FAULTY/_reset"
    LOG_LINES=$(wc -l <"$LOG")
    snapshot >"$T/before"
}
teardown() {
    no_images
    remove_all
    leak_check
    sanitizers_quiet
}
mirror() { # HOST...: of $ORIGIN
    local one
    mkdir -p "$T/etc/certs.d/$ORIGIN"
    for one; do printf '[host."http://%s"]\n' "$one"; done >"$T/etc/certs.d/$ORIGIN/hosts.toml"
}
entry() { printf '"%s":{"auth":"%s"}' "$1" "$(printf %s "$2" | base64)"; }
config() { echo "{\"auths\":{$(IFS=,; echo "$*")}}" >"$DOCKER_CONFIG/config.json"; }
pulls() {
    pouch pull -q "$ORIGIN/private/busybox:latest"
    is "$(pouch run --rm --network none "$ORIGIN/private/busybox:latest" echo in)" in
    no_images
}
fails() {
    run pouch pull "$ORIGIN/private/busybox:latest"
    is "$status" 1
    has "$output" 'unauthorized|authentication required|denied'
}

@test "pouch login at a mirror is all: basic, tokens, identity tokens" {
    local registry
    for registry in "$BASIC" "$TOKEN"; do
        mirror "$registry"
        fails
        pouch login -u app --password-stdin "$registry" <<<secret
        pulls
        is "$(pouch run --rm --pull always --network none "$ORIGIN/private/busybox" echo in 2>/dev/null)" in
        no_images
        pouch logout "$registry"
        fails
    done
    has "$(cat "$T/tokens/log")" '^POST refresh_token app repository:private/busybox:pull'
}

@test "host and port must be the same; another host's credentials stay at home" {
    local port=${FAULTY##*:}
    mirror "$FAULTY"
    # The fault registry asks for basic credentials and notes what it is given.
    printf '[host."http://%s/v2/basic"]\noverride_path = true\n' "$FAULTY" >"$T/etc/certs.d/$ORIGIN/hosts.toml"
    config "$(entry "$ORIGIN" origin:origin)" "$(entry 127.0.0.1 a:b)" "$(entry "localhost:$port" c:d)" \
        "$(entry "$BASIC" app:secret)"
    run pouch pull "$ORIGIN/busybox:latest"
    is "$status" 1
    has "$(curl -s "http://$FAULTY/_requests")" 'GET /v2/basic/busybox/manifests/latest'
    lacks "$(curl -s "http://$FAULTY/_requests")" 'authorization=B'
    config "$(entry "$ORIGIN" origin:origin)" "$(entry "$FAULTY" app:secret)"
    pouch pull -q "$ORIGIN/busybox:latest"
    lacks "$(curl -s "http://$FAULTY/_requests")" "authorization=Basic $(printf origin:origin | base64)"
    has "$(curl -s "http://$FAULTY/_requests")" "authorization=Basic $(printf app:secret | base64)"
    # A server that takes the registry's place is another host, too.
    no_images
    curl -s -X POST "http://$FAULTY/_reset"
    printf 'server = "http://%s/v2/basic"\noverride_path = true\n' "$FAULTY" >"$T/etc/certs.d/$ORIGIN/hosts.toml"
    config "$(entry "$ORIGIN" app:secret)"
    run pouch pull "$ORIGIN/busybox:latest"
    is "$status" 1
    lacks "$(curl -s "http://$FAULTY/_requests")" 'authorization=B'
    config "$(entry "$ORIGIN" a:b)" "$(entry "$FAULTY" app:secret)"
    pouch pull -q "$ORIGIN/busybox:latest"
    # So a login for the registry by its own name would never be used: who tries is told which one would.
    run pouch login -u app --password-stdin "$ORIGIN" <<<secret
    is "$status" 1
    one_line "log in to $FAULTY"
    is "$(jq -r ".auths[\"$ORIGIN\"].auth" "$DOCKER_CONFIG/config.json")" "$(printf a:b | base64)"
}

@test "only what is needed leaves the command line, and helpers are asked for no more" {
    mirror "$BASIC"
    echo '{"credsStore":"pouchtest"}' >"$DOCKER_CONFIG/config.json"
    pouch login -u app --password-stdin "$BASIC" <<<secret
    pulls
    pouch logout "$BASIC"
    rm -f "$POUCHTEST_CREDENTIALS"
    echo "{\"credHelpers\":{\"$BASIC\":\"pouchtest\"}}" >"$DOCKER_CONFIG/config.json"
    pouch login -u app --password-stdin "$BASIC" <<<secret
    pulls
    touch "$POUCHTEST_CREDENTIALS.broken"
    run pouch pull "$ORIGIN/private/busybox:latest"
    is "$status" 1
    has "$output" "WARNING: no credentials for $BASIC: .*the keyring is locked"
    rm "$POUCHTEST_CREDENTIALS.broken"
    # Registries that have nothing to do with the image are not looked up.
    echo '{"credHelpers":{"other.example":"no-such"}}' >"$DOCKER_CONFIG/config.json"
    run pouch pull "$ORIGIN/private/busybox:latest"
    lacks "$output" no-such
    is "$(curl -sS --unix-socket "$SOCK" "http://pouch/pouch/registry-hosts?image=$ORIGIN/private/busybox")" \
        "[\"$BASIC/private/busybox\",\"$ORIGIN/private/busybox\"]"
}

@test "registries.conf: Podman's entries for a part of the mirror" {
    printf '[[registry]]\nlocation = "example.com"\n[[registry.mirror]]\nlocation = "%s"\ninsecure = true\n' \
        "$BASIC" >"$T/etc/registries.conf"
    export REGISTRY_AUTH_FILE=$T/home/auth.json
    echo "{\"auths\":{$(entry "$BASIC/private" app:secret),$(entry "$BASIC" no:body)}}" >"$REGISTRY_AUTH_FILE"
    pouch pull -q example.com/private/busybox:latest
    no_images
    echo "{\"auths\":{$(entry "$BASIC/other" app:secret),$(entry "$BASIC" no:body)}}" >"$REGISTRY_AUTH_FILE"
    run pouch pull -q example.com/private/busybox:latest
    is "$status" 1
}

@test "a short name of another registry: its own login is used" {
    printf '[aliases]\n"priv" = "%s/private/busybox"\n' "$BASIC" >"$T/etc/registries.conf"
    config "$(entry https://index.docker.io/v1/ hub:hub)"
    run pouch pull -q priv
    is "$status" 1
    config "$(entry https://index.docker.io/v1/ hub:hub)" "$(entry "$BASIC" app:secret)"
    is "$(pouch pull -q priv)" "$BASIC/private/busybox:latest"
}

@test "pouchd's own credentials are for mirrors too: Docker's command line has none for them" {
    mirror "$BASIC"
    echo "{\"auths\":{$(entry "$BASIC" app:secret),$(entry "$ORIGIN" no:body)}}" >"$T/own.json"
    chmod 600 "$T/own.json"
    pouchd_stop
    pouchd_start --registry-config "$T/etc" --auth-file "$T/own.json"
    pulls
    /usr/bin/docker -H "unix://$SOCK" pull -q "$ORIGIN/private/busybox:latest"
    no_images
    # Those of the client come first.
    config "$(entry "$BASIC" app:wrong)"
    fails
    # Nobody pushes with them.
    config "$(entry keep.invalid a:b)"
    pulls
    pouch pull -q "$ORIGIN/private/busybox:latest"
    run pouch push "$ORIGIN/private/busybox:latest"
    is "$status" 1
    no_images
    pouchd_stop
    pouchd_start --registry-config "$T/etc"
}

@test "a mirror that takes pushes wants its own login" {
    mirror "$BASIC"
    config "$(entry "$BASIC" app:secret)"
    pouch pull -q "$ORIGIN/private/busybox:latest"
    pouch tag "$ORIGIN/private/busybox:latest" "$ORIGIN/private/other:latest"
    pouch push -q "$ORIGIN/private/other:latest"
    has "$(curl -s -u app:secret "http://$BASIC/v2/_catalog")" private/other
    config "$(entry "$ORIGIN" app:secret)"
    pouch tag "$ORIGIN/private/busybox:latest" "$ORIGIN/private/third:latest"
    run pouch push "$ORIGIN/private/third:latest"
    is "$status" 1
}

@test "headers that are malformed are refused" {
    local bad
    for bad in '***' "$(echo '[]' | base64)" "$(echo '{"a":3}' | base64)" "$(echo '{"a":{"username":3}}' | base64)"; do
        is "$(curl -sS -o "$T/answer" -w '%{http_code}' --unix-socket "$SOCK" -X POST \
            -H "X-Registry-Config: $bad" 'http://pouch/images/create?fromImage=127.0.0.1:1/x&tag=latest')" 400
        has "$(cat "$T/answer")" 'X-Registry-Config'
    done
}
