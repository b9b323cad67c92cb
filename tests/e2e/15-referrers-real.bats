# sanitizers: yes
# Referrers of a registry that has the API (olareg), made and listed by regctl and by oras: what pouch lists is what
# they list. In one page and in many.
load helpers
load registry-tools

setup_file() {
    local name
    second_registry one
    second_registry paged -page 700
    second_registry tagged -referrers=false
    second_registry basic -login basic
    second_registry token -login token
    second_registry bare
    mkdir -p "$T/etc" "$T/keys" "$T/registries.d"
    for name in one two; do
        openssl ecparam -name prime256v1 -genkey -noout -out "$T/keys/$name.pem"
        openssl pkey -in "$T/keys/$name.pem" -pubout -out "$T/keys/$name.pub" 2>/dev/null
    done
    printf 'default-docker:\n  use-sigstore-attachments: true\n' >"$T/registries.d/all.yaml"
    echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$T/policy.json"
    file_up --registry-config "$T/etc" --signature-policy "$T/policy.json" --registries-d "$T/registries.d"
}
teardown_file() {
    second_down
    file_down
}
setup() {
    registry_tools
    export DOCKER_CONFIG=$T/docker
    rm -rf "$DOCKER_CONFIG" "$T/regctl.json"
    local name
    for name in one paged tagged basic token bare; do
        regctl registry set --skip-check --tls disabled "$(host_of $name)"
        forget_asked $name
    done
    LOG_LINES=$(wc -l <"$LOG")
    echo content >"$T/content"
    snapshot >"$T/before"
}

# pushed NAME: busybox, pushed by pouch; prints the name there.
pushed() {
    local to
    to=$(host_of "$1")/team/app:v1
    pouch tag busybox "$to"
    pouch push -q "$to" >/dev/null
    pouch rmi "$to" >/dev/null
    echo "$to"
}
# put SUBJECT TYPE [FLAG...]: an artifact by regctl; prints its digest.
put() {
    local subject=$1 type=$2
    shift 2
    regctl artifact put --artifact-type "$type" --subject "$subject" --format '{{.Manifest.GetDescriptor.Digest}}' \
        "$@" <"$T/content"
}
# Descriptors, one a line, with sorted keys: of pouch, of regctl, of oras.
by_pouch() { # NAME [TYPE [PLATFORM]]
    curl -sS -f -G --unix-socket "$SOCK" ${AUTH:+-H "X-Registry-Auth: $AUTH"} --data-urlencode "artifactType=${2:-}" \
        --data-urlencode "platform=${3:-}" "http://pouch/pouch/manifests/$1/referrers" | jq -cS '.Referrers[]'
}
by_regctl() { # NAME [FLAG...]
    regctl artifact list --format '{{json .Descriptors}}' "$@" | jq -cS '.[]?'
}
by_oras() { discover "$@" | jq -cS .; }
# same NAME [TYPE]: all three, with pouch's order being the registry's.
same() {
    same_as_regctl "$@"
    is "$(by_pouch "$@")" "$(by_oras "$@")"
}
same_as_regctl() {
    local pouch
    pouch=$(by_pouch "$@")
    is "$pouch" "$(by_regctl "$1" ${2:+--filter-artifact-type "$2"})"
    is "$(pouch manifest referrers -q ${2:+--artifact-type "$2"} "$1")" "$(jq -r .digest <<<"$pouch")"
}

# filled NAME: an image with ten artifacts of three types there; prints its name.
filled() {
    local to i
    to=$(pushed "$1")
    if [ ! -e "$T/$1/filled" ]; then
        put "$to" application/spdx+json --annotation org.opencontainers.image.created=2024-01-01T00:00:00Z
        put "$to" 'application/vnd.example.sbom+x' --annotation 'odd=a b&c"d' --annotation ü=ö
        for i in 1 2 3 4 5 6 7 8; do attach "$to" application/vnd.example.$((i % 2)) "$T/content" "n=$i"; done
        touch "$T/$1/filled"
    fi >&2
    echo "$to"
}

listed_alike() { # REGISTRY
    local to type
    to=$(filled "$1")
    is "$(by_pouch "$to" | wc -l)" 10
    same "$to"
    # by the digest, too
    same "${to%:*}@$(regctl manifest head "$to")"
    for type in application/spdx+json 'application/vnd.example.sbom+x' application/vnd.example.1 no/such; do
        same "$to" "$type"
    done
    is "$(by_pouch "$to" application/vnd.example.1 | wc -l)" 4
    run pouch manifest referrers "$to"
    is "$status" 0
    is "${#lines[@]}" 11
    has "${lines[1]}" '^sha256:[0-9a-f]{64} +application/spdx\+json +[0-9]+B +2024-01-01T00:00:00Z$'
    # The tag of registries without the API is not asked for where there is one.
    lacks "$(asked "$1")" '/manifests/sha256-'
}

@test "what regctl and oras attach is listed as they list it" {
    listed_alike one
    lacks "$(asked one)" 'page='
}

@test "what regctl and oras attach is listed as they list it, in pages" {
    listed_alike paged
    has "$(asked paged)" 'GET /v2/team/app/referrers/sha256:[0-9a-f]{64}\?cache=[^ ]*page=2'
}

@test "a subject that nothing refers to, one that is not there, a repository that is not there" {
    local to host digest
    to=$(filled one)
    host=$(host_of one)
    digest=sha256:$(sha256sum <"$T/content" | cut -d' ' -f1)
    # Nothing knows this digest: a referrer may come before its subject, so that is no error, for regctl neither.
    is "$(by_pouch "${to%:*}@$digest")" ''
    is "$(by_regctl "${to%:*}@$digest")" ''
    run pouch manifest referrers -q "$host/nobody/nothing@$digest"
    is "$status $output" '0 '
    run pouch manifest referrers "${to%:*}:no-such-tag"
    is "$status" 1
    one_line 'not found'
    run pouch manifest referrers "$host/nobody/nothing:v1"
    is "$status" 1
    one_line 'not found'
}

@test "an index as the subject, and one of its images" {
    local to index image
    "$POUCH_TOP/tools/make-images" push "$(host_of one)" platforms:latest
    to=$(host_of one)/platforms:latest
    index=$(put "$to" application/vnd.example.index)
    image=$(put "$to" application/vnd.example.image --platform linux/amd64)
    [ "$index" != "$image" ]
    same "$to"
    is "$(pouch manifest referrers -q "$to")" "$index"
    is "$(pouch manifest referrers -q --platform linux/amd64 "$to")" "$image"
    is "$(by_pouch "$to" '' linux/amd64)" "$(by_regctl --platform linux/amd64 "$to")"
    is "$(pouch manifest referrers -q --platform linux/arm64 "$to")" ''
    run pouch manifest referrers --platform linux/s390x "$to"
    is "$status" 1
    one_line 's390x'
}

@test "what refers to a referrer; a referrer that goes away" {
    local to first second
    to=$(host_of one)/team/chain:v1
    pouch tag busybox "$to"
    pouch push -q "$to" >/dev/null
    pouch rmi "$to" >/dev/null
    first=$(put "$to" application/vnd.example.sbom)
    second=$(attach "${to%:*}@$first" application/vnd.example.signature "$T/content")
    is "$(pouch manifest referrers -q "$to")" "$first"
    is "$(pouch manifest referrers -q "${to%:*}@$first")" "$second"
    same "${to%:*}@$first"
    regctl manifest delete "${to%:*}@$first"
    is "$(pouch manifest referrers -q "$to")" ''
    same "$to"
}

@test "the tag that regctl and oras keep where there is no API" {
    local to
    to=$(filled tagged)
    is "$(by_pouch "$to" | wc -l)" 10
    # 405 is what this registry says without it, and oras has no patience with that.
    same_as_regctl "$to"
    same_as_regctl "$to" application/vnd.example.0
    has "$(asked tagged)" 'GET /v2/team/app/manifests/sha256-[0-9a-f]{64} -> 200'
}

@test "a registry that wants a login, by name and password or by tokens of its own" {
    local name to digest
    for name in basic token; do
        to=$(host_of $name)/team/app:v1
        run pouch manifest referrers "$to"
        is "$status" 1
        one_line 'unauthorized|authentication required'
        run pouch login -u app --password-stdin "$(host_of $name)" <<<wrong
        is "$status" 1
        pouch login -u app --password-stdin "$(host_of $name)" <<<secret
        to=$(pushed $name)
        digest=$(attach -u app:secret "$to" application/spdx+json "$T/content")
        is "$(pouch manifest referrers -q "$to")" "$digest"
        AUTH=$(printf '{"username":"app","password":"secret"}' | base64 -w0)
        is "$(by_pouch "$to")" "$(by_oras -u app:secret "$to")"
        AUTH=
        pouch pull -q "$to" >/dev/null
        is "$(pouch run --rm --network none "$to" echo in)" in
        pouch rmi "$to" >/dev/null
        pouch logout "$(host_of $name)"
    done
    has "$(asked token)" 'GET /token\?'
}

@test "mirrors that never heard of it, or have no such API, hide nothing" {
    local origin to mirror
    origin=127.0.0.1:$(free_port) # nobody is there
    to=$(filled paged)
    mkdir -p "$T/etc/certs.d/$origin"
    for mirror in bare tagged paged; do printf '[host."http://%s"]\n' "$(host_of $mirror)"; done \
        >"$T/etc/certs.d/$origin/hosts.toml"
    # Its own list of what refers by tag is not asked for where somebody after it has the API.
    forget_asked tagged
    is "$(by_pouch "$origin/team/app:v1")" "$(by_oras "$to")"
    is "$(by_pouch "$origin/team/app:v1" application/spdx+json)" "$(by_oras "$to" application/spdx+json)"
    lacks "$(asked tagged)" 'manifests/sha256-'
    has "$(asked bare)" 'GET /v2/team/app/referrers/sha256:[0-9a-f]{64}\?ns=[^ ]* -> 200'
    # Whoever gave the first page is asked for the others, and nobody else.
    lacks "$(asked bare)" 'page='
    # To have no referrers is no failure: the one without the API is asked for images first, as before.
    printf '[host."http://%s"]\n[host."http://%s"]\n' "$(host_of tagged)" "$(host_of paged)" \
        >"$T/etc/certs.d/$origin/hosts.toml"
    is "$(by_pouch "$origin/team/app:v1")" "$(by_oras "$to")"
    regctl image copy "$to" "$(host_of tagged)/team/app:v1"
    forget_asked tagged
    pouch pull -q "$origin/team/app:v1" >/dev/null
    has "$(asked tagged)" 'GET /v2/team/app/manifests/v1[^ ]* -> 200'
    pouch rmi "$origin/team/app:v1" >/dev/null
    # Nobody knows of any, and the registry cannot be asked: that is told.
    printf '[host."http://%s"]\n' "$(host_of bare)" >"$T/etc/certs.d/$origin/hosts.toml"
    run pouch manifest referrers "$origin/team/app@$(regctl manifest head "$to")"
    is "$status" 1
    one_line "$origin.*([Cc]onnect|refused)"
    rm -r "$T/etc/certs.d"
}

# signed_by KEY REGISTRY: whether its images are taken with the policy that this key signed them.
signed_by() {
    echo "{\"default\":[{\"type\":\"insecureAcceptAnything\"}],\"transports\":{\"docker\":{\"$2\":[{\"type\":\"sigstoreSigned\",
        \"keyPath\":\"$T/keys/$1.pub\",\"signedIdentity\":{\"type\":\"matchRepository\"}}]}}}" >"$T/policy.json"
}

@test "a signature among what refers to an image, in one page and in a later one" {
    local name to i
    for name in one paged; do
        to=$(host_of $name)/signed/app:v1
        pouch tag busybox "$to"
        pouch push -q "$to" >/dev/null
        pouch rmi -f "$to" >/dev/null
        for i in 1 2 3 4; do attach "$to" application/vnd.example.sbom "$T/content" "n=$i" >/dev/null; done
        signed_by one "$(host_of $name)"
        run pouch pull "$to"
        is "$status" 1
        one_line 'sigstoreSigned is not met: the registry has no signature of it'
        "$HERE/cosign-sign" --as "$to" --referrer "$to" "$T/keys/one.pem"
        # The registry keeps the list itself; there is no tag for it.
        lacks "$(regctl tag ls "${to%:*}")" sha256-
        pouch pull -q "$to" >/dev/null
        is "$(pouch run --rm --network none "$to" echo signed)" signed
        pouch rmi "$to" >/dev/null
        signed_by two "$(host_of $name)"
        run pouch pull "$to"
        is "$status" 1
        one_line 'sigstoreSigned is not met: it was made by another key'
    done
    has "$(asked paged)" 'GET /v2/signed/app/referrers/sha256:[0-9a-f]{64}\?cache=[^ ]*page=1 -> 200'
    echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$T/policy.json"
}
