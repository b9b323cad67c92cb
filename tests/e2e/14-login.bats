# sanitizers: yes
# Credentials: login and logout with real registries, helpers, what pull does with them.
load helpers
load login

setup_file() {
    pouchd_start
    basic_registry_start
    token_registry_start
    fill "$BASIC/private/busybox:latest" "$TOKEN/private/busybox:latest" \
        "$TOKEN/public/busybox:latest"
}
teardown_file() {
    login_down
    file_down
}

setup() {
    login_hosts
    export DOCKER_CONFIG=$T/docker HOME=$T/home POUCHTEST_CREDENTIALS=$T/keychain
    unset REGISTRY_AUTH_FILE XDG_RUNTIME_DIR
    mkdir -p "$HOME"
    rm -rf "$DOCKER_CONFIG" "$HOME/.docker" "$HOME/.config" "$POUCHTEST_CREDENTIALS" "$T/tokens/oauth-only"
    : >"$T/tokens/log"
    mkdir -p "$T/helpers"
    cp "$HERE/docker-credential-pouchtest" "$T/helpers/"
    PATH=$T/helpers:$PATH
    LOG_LINES=$(wc -l <"$LOG")
    snapshot >"$T/before"
}

config() { jq -r "$1" "$DOCKER_CONFIG/config.json"; }

denied() { # IMAGE
    run ctl pull "$1"
    [ "$status" -ne 0 ]
    one_line 'unauthorized|authentication required|denied|incorrect'
    is "$(ctl images -aq)" ''
}

login_pull_logout() {
    local registry=$1
    # Without any entry the docker CLI would look for a keyring by itself.
    mkdir -p "$DOCKER_CONFIG"
    echo '{"auths":{"keep.invalid":{}}}' >"$DOCKER_CONFIG/config.json"
    denied "$registry/private/busybox"
    run ctl login -u app --password-stdin "$registry" <<<secret
    echo "$output"
    is "$status" 0
    has "$output" 'Login Succeeded'
    [ "$registry" = "$TOKEN" ] || has "$output" 'stored unencrypted in'
    is "$(stat -c %a "$DOCKER_CONFIG/config.json")" 600
    ctl pull -q "$registry/private/busybox"
    no_images
    is "$(ctl run --rm --network none --pull always "$registry/private/busybox" echo in 2>/dev/null)" in
    no_images
    # What is kept is tried first (by docker 20.10 only when it is a password).
    if [ "${CLI:-pouch}" = pouch ] || [ "$registry" = "$BASIC" ]; then
        run ctl login "$registry" </dev/null
        is "$status" 0
        has "$output" 'Login Succeeded'
    fi
    run ctl logout "$registry"
    is "$status" 0
    has "$output" "Removing login credentials for $registry"
    is "$(config '.auths | keys | join(" ")')" keep.invalid
    denied "$registry/private/busybox"
    run ctl logout "$registry"
    is "$status" 0
}
basic() { login_pull_logout "$BASIC"; }
token() {
    : >"$T/tokens/log"
    login_pull_logout "$TOKEN"
    has "$(cat "$T/tokens/log")" '^POST refresh_token app repository:private/busybox:pull'
}
@test "a registry with basic credentials: login, pull, run, logout" { each_cli basic; }
@test "a registry with tokens: login keeps an identity token, pulls use it" { each_cli token; }

refused_login() {
    local registry
    mkdir -p "$DOCKER_CONFIG"
    echo '{"auths":{}}' >"$DOCKER_CONFIG/config.json"
    for registry in "$BASIC" "$TOKEN"; do
        run ctl login -u app --password-stdin "$registry" <<<wrong
        is "$status" 1
        one_line 'unauthorized|incorrect username or password'
        is "$(config '.auths | length')" 0
    done
    run ctl login -u app --password-stdin "127.0.0.1:$(free_port)" <<<secret
    is "$status" 1
    one_line 'refused|connect'
}
@test "wrong passwords and registries that are not there are refused, nothing is kept" {
    each_cli refused_login
}

@test "tokens: anonymous, by password where there is only OAuth2, an identity token that ended" {
    pouch pull -q "$TOKEN/public/busybox"
    has "$(cat "$T/tokens/log")" '^GET anonymous repository:public/busybox:pull$'
    no_images
    touch "$T/tokens/oauth-only"
    run pouch login -u app --password-stdin "$TOKEN" <<<secret
    is "$status" 0
    has "$(cat "$T/tokens/log")" '^POST password app'
    rm "$T/tokens/oauth-only"
    is "$(config ".auths[\"$TOKEN\"].identitytoken")" refresh-of-app
    is "$(config ".auths[\"$TOKEN\"].auth" | base64 -d)" app:
    sed -i s/refresh-of-app/ended/ "$DOCKER_CONFIG/config.json"
    run pouch pull "$TOKEN/private/busybox"
    is "$status" 1
    one_line 'identity token is not accepted .log in again'
}

@test "the API: POST /auth" {
    api POST /auth "{\"username\":\"app\",\"password\":\"secret\",\"serveraddress\":\"http://$BASIC/v2/\"}"
    is "$code" 200
    is "$(jq -r .Status <<<"$body")" 'Login Succeeded'
    api POST /auth "{\"username\":\"app\",\"password\":\"no\",\"serveraddress\":\"$BASIC\"}"
    is "$code" 401
    api POST /auth "{\"username\":\"app\",\"password\":\"no\",\"serveraddress\":\"a b\"}"
    is "$code" 400
    api POST /auth '{"username":3}'
    is "$code" 400
}

@test "config.json: other keys, a link and hand-written entries are kept; broken ones are named" {
    mkdir -p "$DOCKER_CONFIG" "$T/home/real"
    echo "{\"HttpHeaders\":{\"A\":\"b\"},\"auths\":{\"other.example\":{\"auth\":\"YTpi\"}},\"psFormat\":\"x\"}" \
        >"$T/home/real/config.json"
    ln -s "$T/home/real/config.json" "$DOCKER_CONFIG/config.json"
    pouch login -u app --password-stdin "$BASIC" <<<secret
    [ -L "$DOCKER_CONFIG/config.json" ] || fail "the link is gone"
    is "$(config '.HttpHeaders.A + .psFormat + .auths["other.example"].auth')" bxYTpi
    is "$(jq -r 'keys_unsorted | join(" ")' "$DOCKER_CONFIG/config.json")" 'HttpHeaders auths psFormat'
    # Docker's command line reads what ours wrote, in Docker's older spellings too.
    /usr/bin/docker -H "unix://$SOCK" pull -q "$BASIC/private/busybox"
    no_images
    jq ".auths = {\"https://$BASIC/v1/\": .auths[\"$BASIC\"]}" "$T/home/real/config.json" >"$T/home/new"
    mv "$T/home/new" "$T/home/real/config.json"
    pouch pull -q "$BASIC/private/busybox"
    no_images
    pouch logout "$BASIC"
    is "$(config '.auths | length')" 0
    echo '{"auths":{' >"$T/home/real/config.json"
    run pouch login -u app --password-stdin "$BASIC" <<<secret
    is "$status" 1
    one_line 'config.json'
    # One warning, and what needs no login comes; what other files say still counts.
    run pouch pull "$TOKEN/public/busybox"
    is "$status" 0
    is "$(grep -c WARNING <<<"$output")" 1
    has "$output" 'WARNING: logins in this file are not used: .*/config.json'
    no_images
    run pouch pull -q "$BASIC/private/busybox"
    is "$status" 1
    is "$(grep -c WARNING <<<"$output")" 1
    echo "{\"auths\":{\"$BASIC\":{\"auth\":\"YXBwOnNlY3JldA==\"}}}" >"$T/podman.json"
    run env REGISTRY_AUTH_FILE="$T/podman.json" "$POUCH_BIN/pouch" -H "unix://$SOCK" pull -q "$BASIC/private/busybox"
    is "$status" 0
    is "$(grep -c WARNING <<<"$output")" 1
    no_images
    echo "{\"auths\":{\"$BASIC\":{\"auth\":\"***\"}}}" >"$T/home/real/config.json"
    run pouch pull "$BASIC/private/busybox"
    is "$status" 1
    has "$output" "the entry of $BASIC is malformed"
}

@test "many logins at once lose none" {
    local i pids=()
    for i in $(seq 8); do
        timeout 100 "$POUCH_BIN/pouch" -H "unix://$SOCK" login -u app --password-stdin \
            "http://$([ $((i % 2)) = 0 ] && echo "$BASIC" || echo "localhost:${BASIC##*:}")" \
            <<<secret >"$T/login.$i" 2>&1 3>&- &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    rm -f "$T"/login.[0-9]*
    is "$(config '.auths | keys | join(" ")')" "$BASIC localhost:${BASIC##*:}"
    is "$(find "$DOCKER_CONFIG" -type f)" "$DOCKER_CONFIG/config.json"
}

@test "credential helpers: ours, per registry and for all" {
    mkdir -p "$DOCKER_CONFIG"
    for setting in '{"credsStore":"pouchtest"}' "{\"credHelpers\":{\"$BASIC\":\"pouchtest\"}}"; do
        echo "$setting" >"$DOCKER_CONFIG/config.json"
        run pouch login -u app --password-stdin "$BASIC" <<<secret
        is "$status" 0
        lacks "$output" unencrypted
        is "$(config ".auths[\"$BASIC\"] | length")" 0
        is "$(jq -r ".[\"$BASIC\"].Secret" "$POUCHTEST_CREDENTIALS")" secret
        pouch pull -q "$BASIC/private/busybox"
        no_images
        touch "$POUCHTEST_CREDENTIALS.broken"
        run pouch pull "$BASIC/private/busybox"
        is "$status" 1
        has "$output" 'docker-credential-pouchtest get failed: the keyring is locked'
        rm "$POUCHTEST_CREDENTIALS.broken"
        pouch logout "$BASIC"
        is "$(jq length "$POUCHTEST_CREDENTIALS")" 0
    done
    # Identity tokens go there as "<token>", as the docker CLI reads them.
    echo '{"credsStore":"pouchtest"}' >"$DOCKER_CONFIG/config.json"
    pouch login -u app --password-stdin "$TOKEN" <<<secret
    is "$(jq -r ".[\"$TOKEN\"] | .Username + .Secret" "$POUCHTEST_CREDENTIALS")" '<token>refresh-of-app'
    pouch pull -q "$TOKEN/private/busybox"
    no_images
    /usr/bin/docker -H "unix://$SOCK" pull -q "$TOKEN/private/busybox"
    no_images
    echo '{"credsStore":"no-such"}' >"$DOCKER_CONFIG/config.json"
    run pouch login -u app --password-stdin "$BASIC" <<<secret
    is "$status" 1
    one_line 'docker-credential-no-such, which config.json names, is not in \$PATH'
}

@test "credential helpers: docker-credential-pass" {
    local agent
    export GNUPGHOME=$T/home/gnupg PASSWORD_STORE_DIR=$T/home/pass
    mkdir -m 700 "$GNUPGHOME" "$DOCKER_CONFIG"
    gpg --batch -q --passphrase '' --quick-generate-key pouch@example.com 2>/dev/null
    pass init pouch@example.com >/dev/null
    echo '{"credsStore":"pass"}' >"$DOCKER_CONFIG/config.json"
    run pouch login -u app --password-stdin "$BASIC" <<<secret
    is "$status" 0
    has "$(docker-credential-pass list)" "$BASIC"
    printf %s "$BASIC" | docker-credential-pass get
    pouch pull -q "$BASIC/private/busybox"
    no_images
    pouch logout "$BASIC"
    lacks "$(docker-credential-pass list)" "$BASIC"
    gpgconf --kill all
    rm -rf "$GNUPGHOME" "$PASSWORD_STORE_DIR"
}

@test "Podman's auth.json is read when config.json has nothing, by the longest name" {
    export REGISTRY_AUTH_FILE=$T/home/auth.json
    podman login --tls-verify=false -u app -p secret "$BASIC" >/dev/null
    pouch pull -q "$BASIC/private/busybox"
    no_images
    jq ".auths = {\"$BASIC/private\": .auths[\"$BASIC\"], \"$BASIC\": {\"auth\":\"YTpi\"}}" \
        "$REGISTRY_AUTH_FILE" >"$T/home/new"
    mv "$T/home/new" "$REGISTRY_AUTH_FILE"
    pouch pull -q "$BASIC/private/busybox"
    no_images
    unset REGISTRY_AUTH_FILE
    mkdir -p "$HOME/.config/containers"
    mv "$T/home/auth.json" "$HOME/.config/containers/auth.json"
    pouch pull -q "$BASIC/private/busybox"
    no_images
}

@test "pouchd's own credentials are for pulls that come without any" {
    REGISTRY_AUTH_FILE=$T/own.json podman login --tls-verify=false -u app -p secret "$BASIC" >/dev/null
    pouchd_stop
    pouchd_start --auth-file "$T/own.json"
    pouch pull -q "$BASIC/private/busybox"
    no_images
    /usr/bin/docker -H "unix://$SOCK" pull -q "$BASIC/private/busybox"
    no_images
    # Those of the client come first.
    run env REGISTRY_AUTH_FILE=<(echo "{\"auths\":{\"$BASIC\":{\"auth\":\"YTpi\"}}}") \
        "$POUCH_BIN/pouch" -H "unix://$SOCK" pull -q "$BASIC/private/busybox"
    is "$status" 1
    one_line 'incorrect username or password'
    chmod 644 "$T/own.json"
    run pouch pull -q "$BASIC/private/busybox"
    is "$status" 1
    one_line 'daemon.s own credentials are not used: others may read or change the file'
    # What needs none comes all the same, and the log says what is wrong.
    for broken in 'chmod 644' 'truncate -s 5' 'rm'; do
        $broken "$T/own.json"
        pouch pull -q "$TOKEN/public/busybox"
        no_images
        run pouch pull -q "$BASIC/private/busybox"
        is "$status" 1
        one_line 'daemon.s own credentials are not used: .*own.json'
    done
    has "$(tail -n 5 "$T/pouchd.log")" 'the auth-file is not used'
    (umask 077 && echo '{}' >"$T/own.json")
    echo "{\"auths\":{\"$BASIC\":{\"auth\":\"!\"}}}" >"$T/own.json"
    run pouch pull -q "$BASIC/private/busybox"
    is "$status" 1
    one_line 'own.json: the entry of .* is malformed'
    pouchd_stop
    pouchd_start
}

@test "login on a terminal asks; without one it says what to do" {
    CLI=pouch
    run tty login "$BASIC" <<'EOF'
expect Username:
send app\r
expect Password:
send secret\r
expect Login Succeeded
EOF
    is "$status" 0
    lacks "$output" secret
    pouch logout "$BASIC"
    run pouch login "$BASIC" </dev/null
    is "$status" 1
    one_line 'without a terminal'
    run pouch login --password-stdin "$BASIC" <<<x
    is "$status" 1
    one_line 'Must provide --username'
    run pouch login -u app -p secret "$BASIC"
    is "$status" 0
    has "$output" 'Using --password via the CLI is insecure'
}
