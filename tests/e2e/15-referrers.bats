# sanitizers: yes
# What refers to an image: the referrers API, in pages or not, and the tag of registries that have none. Lists
# in pages.
load helpers
load login

setup_file() {
    fault_registry_start
    basic_registry_start
    fill "$BASIC/app:latest"
    registry_start busybox:latest
    pouchd_start
}
teardown_file() {
    login_down
    file_down
}
setup() {
    login_hosts
    FAULTY=$(cat "$T/faulty.host")
    export DOCKER_CONFIG=$T/docker
    rm -rf "$DOCKER_CONFIG"
    curl -s -X POST "http://$FAULTY/_reset"
    LOG_LINES=$(wc -l <"$LOG")
    snapshot >"$T/before"
}
seen() { curl -s "http://$FAULTY/_requests"; }
digest_of() { skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$1"; }

@test "the API: all, by type, in pages; digests, JSON and templates" {
    local fault
    for fault in ok pages; do
        run pouch manifest referrers "$FAULTY/$fault/busybox:latest"
        is "$status" 0
        is "${#lines[@]}" 6
        has "${lines[0]}" '^DIGEST +ARTIFACT TYPE +SIZE +CREATED$'
        has "${lines[1]}" '^sha256:[0-9a-f]{64} +application/vnd.example.sbom\+x;v=1 +500B +2024-01-01T00:00:00Z$'
        is "$(pouch manifest referrers -q --artifact-type application/spdx+json "$FAULTY/$fault/busybox:latest" | wc -l)" 2
        # What must be escaped in a query is.
        is "$(pouch manifest referrers -q --artifact-type 'application/vnd.example.sbom+x;v=1' "$FAULTY/$fault/busybox" | wc -l)" 3
        is "$(pouch manifest referrers -q --artifact-type no/such "$FAULTY/$fault/busybox")" ''
        is "$(pouch manifest referrers --format '{{.Size}} {{.MediaType}}' "$FAULTY/$fault/busybox" | tail -1)" \
            '504B application/vnd.oci.image.manifest.v1+json'
        is "$(pouch manifest referrers --format json "$FAULTY/$fault/busybox" | jq -r .CreatedAt | sort | tail -1)" \
            2024-01-05T00:00:00Z
        # No escape sequences of a registry reach the terminal.
        lacks "$(pouch manifest referrers --format '{{.Annotations}}' "$FAULTY/$fault/busybox")" $'\x1b'
    done
    has "$(seen)" "GET /v2/pages/busybox/referrers/sha256:[0-9a-f]{64}\?artifactType=application%2[fF]spdx%2[bB]json "
    has "$(seen)" "GET /v2/pages/busybox/referrers/sha256:[0-9a-f]{64}\?last=4 "
    is "$(pouch images -aq)" ''
}

@test "lists without end, images that are not there, bad names" {
    run pouch manifest referrers "$FAULTY/endless/busybox:latest"
    is "$status" 1
    one_line 'list of referrers without end'
    run pouch manifest referrers "$FAULTY/ok/nothing:latest"
    is "$status" 1
    one_line 'not found|denied'
    run pouch manifest referrers "$FAULTY/e500/busybox"
    is "$status" 1
    one_line 'answered 500'
    # Who may not ask is told so, also where no manifest is asked for before.
    run pouch manifest referrers "$FAULTY/e403/busybox@sha256:$(printf %064d 1)"
    is "$status" 1
    one_line 'denied'
    run pouch manifest referrers 'Bad Name'
    is "$status" 1
    run pouch manifest referrers --platform a/b/c/d "$FAULTY/ok/busybox"
    is "$status" 1
}

@test "credentials are used" {
    run pouch manifest referrers "$FAULTY/basic/busybox:latest"
    is "$status" 1
    one_line 'unauthorized|authentication required'
    pouch login -u app --password-stdin "$FAULTY" <<<secret || true
    mkdir -p "$DOCKER_CONFIG"
    echo "{\"auths\":{\"$FAULTY\":{\"auth\":\"$(printf app:secret | base64)\"}}}" >"$DOCKER_CONFIG/config.json"
    is "$(pouch manifest referrers -q "$FAULTY/basic/busybox:latest" | wc -l)" 5
}

# blob FILE: into app of the real registry; artifact TYPE SUBJECT [TAG]: a manifest that refers.
curl_up() { curl -sS -f -u app:secret "$@"; }
blob() {
    local where digest
    digest=sha256:$(sha256sum <"$1" | cut -d' ' -f1)
    where=$(curl_up -i -X POST "http://$BASIC/v2/app/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    curl_up -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$1" "$where&digest=$digest"
    echo "$digest"
}
put_manifest() { # FILE REFERENCE TYPE
    curl_up -X PUT -H "Content-Type: $3" --data-binary "@$1" "http://$BASIC/v2/app/manifests/$2"
}

@test "a real registry without the API: the tag's list, filtered here" {
    local subject empty digest size index
    mkdir -p "$DOCKER_CONFIG"
    echo "{\"auths\":{\"$BASIC\":{\"auth\":\"$(printf app:secret | base64)\"}}}" >"$DOCKER_CONFIG/config.json"
    is "$(pouch manifest referrers -q "$BASIC/app:latest")" ''
    subject=$(skopeo inspect --creds app:secret --tls-verify=false --format '{{.Digest}}' "docker://$BASIC/app:latest")
    printf '{}' >"$T/tmp/empty"
    empty=$(blob "$T/tmp/empty")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/spdx+json","digest":"%s","size":2},"layers":[{"mediaType":"application/spdx+json","digest":"%s","size":2}]}' \
        "$empty" "$empty" >"$T/tmp/manifest"
    digest=sha256:$(sha256sum <"$T/tmp/manifest" | cut -d' ' -f1)
    size=$(stat -c %s "$T/tmp/manifest")
    put_manifest "$T/tmp/manifest" "$digest" application/vnd.oci.image.manifest.v1+json
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s,"artifactType":"application/spdx+json"}]}' \
        "$digest" "$size" >"$T/tmp/index"
    put_manifest "$T/tmp/index" "${subject/:/-}" application/vnd.oci.image.index.v1+json
    is "$(pouch manifest referrers -q "$BASIC/app:latest")" "$digest"
    is "$(pouch manifest referrers -q "$BASIC/app@$subject")" "$digest"
    is "$(pouch manifest referrers -q --artifact-type application/spdx+json "$BASIC/app:latest")" "$digest"
    is "$(pouch manifest referrers -q --artifact-type other/type "$BASIC/app:latest")" ''
    index=$(curl -sS --unix-socket "$SOCK" -H "X-Registry-Auth: $(printf '{"username":"app","password":"secret"}' | base64 -w0)" \
        "http://pouch/pouch/manifests/$BASIC/app:latest/referrers")
    is "$(jq -r '.Digest + " " + .Referrers[0].digest' <<<"$index")" "$subject $digest"
    is "$(jq -r '.Referrers[0].size' <<<"$index")" "$size"
    rm "$T/tmp/empty" "$T/tmp/manifest" "$T/tmp/index"
}

@test "pull -a: tags in pages" {
    pouch pull -a -q "$FAULTY/pages/busybox" >/dev/null
    is "$(pouch images --format '{{.Tag}}' "$FAULTY/pages/busybox" | sort | paste -sd' ')" 'latest v0 v1 v2 v3 v4'
    pouch rmi -f "$(pouch images -q "$FAULTY/pages/busybox" | head -1)" >/dev/null
}
