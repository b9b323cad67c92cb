# sanitizers: yes
# A registry of another make than docker-registry (olareg): pushes in chunks, mounts, lists, pulls by tag and digest,
# what was deleted, rate limits, and as a mirror.
load helpers
load registry-tools

setup_file() {
    second_registry one
    second_registry other
    second_registry slow -rate 4
    mkdir -p "$T/etc"
    POUCH_PUSH_CHUNK_SIZE=262144 file_up --registry-config "$T/etc"
    mkdir "$T/rootfs"
    head -c 3000000 /dev/urandom >"$T/rootfs/noise"
    tar -C "$T/rootfs" -c . | pouch import - noise:latest >/dev/null
    rm -r "$T/rootfs"
}
teardown_file() {
    second_down
    file_down
}
setup() {
    registry_tools
    rm -rf "$T/regctl.json"
    local name
    for name in one other slow; do
        regctl registry set --skip-check --tls disabled "$(host_of $name)"
        forget_asked $name
    done
    ONE=$(host_of one)
    OTHER=$(host_of other)
    LOG_LINES=$(wc -l <"$LOG")
    snapshot >"$T/before"
}

digest_at() { regctl manifest head "$1"; }
body_at() { regctl manifest get --format body "$1"; }
id_of() { pouch inspect -f '{{.Id}}' "$1"; }

@test "push in chunks, whole and again; what comes back is what went" {
    local to=$ONE/plain/noise:v1 id digest
    pouch tag noise "$to"
    run pouch push "$to"
    is "$status" 0
    has "$output" ': Pushed'
    digest=$(digest_at "$to")
    has "$output" "v1: digest: $digest size: "
    [ "$(asked one | grep -c '^PATCH /v2/plain/noise/blobs/uploads/.* -> 202')" -ge 10 ]
    has "$(asked one)" '^PUT /v2/plain/noise/manifests/v1 -> 201'
    forget_asked one
    run pouch push "$to"
    has "$output" 'Layer already exists'
    lacks "$(asked one)" '^(PATCH|POST) '
    id=$(id_of "$to")
    pouch rmi "$to" noise >/dev/null
    pouch pull -q "$to" >/dev/null
    is "$(id_of "$to")" "$id"
    has "$(pouch inspect -f '{{.RepoDigests}}' "$to")" "plain/noise@$digest"
    pouch tag "$to" noise
    pouch rmi "$to" >/dev/null
}

@test "a blob of another repository is mounted" {
    pouch tag busybox "$ONE/mount/first:x"
    pouch tag busybox "$ONE/mount/second:x"
    pouch push -q "$ONE/mount/first:x" >/dev/null
    forget_asked one
    run pouch push "$ONE/mount/second:x"
    is "$status" 0
    has "$output" 'Mounted from mount/first'
    has "$(asked one)" '^POST /v2/mount/second/blobs/uploads/\?mount=sha256:[0-9a-f]{64}&from=mount%2[fF]first -> 201'
    lacks "$(asked one)" '^PATCH '
    pouch rmi "$ONE/mount/first:x" "$ONE/mount/second:x" >/dev/null
    pouch pull -q "$ONE/mount/second:x" >/dev/null
    is "$(pouch run --rm --network none "$ONE/mount/second:x" echo ran)" ran
    pouch rmi "$ONE/mount/second:x" >/dev/null
}

@test "compressions and formats" {
    local options type to=$ONE/forms/busybox:x
    pouch tag busybox "$to"
    while IFS='|' read -r options type; do
        # shellcheck disable=SC2086
        pouch push -q $options "$to" >/dev/null
        has "$(body_at "$to" | jq -r '.layers[0].mediaType')" "$type"
        pouch rmi "$to" >/dev/null
        pouch pull -q "$to" >/dev/null
        is "$(pouch run --rm --network none "$to" echo ran)" ran
    done <<'END'
--format docker|docker.image.rootfs.diff.tar.gzip
--compression zstd --format oci|oci.image.layer.v1.tar\+zstd
--compression none --format oci|oci.image.layer.v1.tar$
END
    pouch rmi "$to" >/dev/null
}

@test "by tag, by digest, all tags; tags and manifests that were deleted there" {
    local to=$ONE/gone/busybox digest tag
    for tag in a b c; do
        pouch tag busybox "$to:$tag"
        pouch push -q "$to:$tag" >/dev/null
        pouch rmi "$to:$tag" >/dev/null
    done
    pouch pull -a -q "$to" >/dev/null
    is "$(pouch images --format '{{.Tag}}' "$to" | sort | paste -sd' ')" 'a b c'
    digest=$(digest_at "$to:a")
    pouch rmi "$to:a" "$to:b" "$to:c" >/dev/null
    pouch pull -q "$to@$digest" >/dev/null
    is "$(pouch run --rm --network none "$to@$digest" echo ran)" ran
    is "$(curl -s --unix-socket "$SOCK" "http://pouch/distribution/$to:a/json" | jq -r .Descriptor.digest)" "$digest"
    pouch rmi "$to@$digest" >/dev/null
    regctl tag delete "$to:a"
    run pouch pull "$to:a"
    is "$status" 1
    one_line 'not found|manifest unknown'
    pouch pull -q "$to:b" >/dev/null
    pouch rmi "$to:b" >/dev/null
    regctl manifest delete "$to@$digest"
    for tag in ":b" "@$digest"; do
        run pouch pull "$to$tag"
        is "$status" 1
        one_line 'not found|manifest unknown'
    done
    # Its blobs may be there or not: it is pushed again.
    pouch tag busybox "$to:b"
    pouch push -q "$to:b" >/dev/null
    pouch rmi "$to:b" >/dev/null
    pouch pull -q "$to:b" >/dev/null
    pouch rmi "$to:b" >/dev/null
}

@test "an image of several platforms: pulled by platform, pushed whole, byte by byte" {
    local from=$ONE/platforms:latest to=$OTHER/copied/platforms:x platform
    "$POUCH_TOP/tools/make-images" push "$ONE" platforms:latest
    # Its layer is busybox's, which came in another compression.
    pouch rmi -f "$(id_of busybox)" >/dev/null
    for platform in amd64 arm64; do
        pouch pull -q --platform "linux/$platform" "$from" >/dev/null
        is "$(pouch inspect -f '{{.Architecture}}' "$from")" "$platform"
        pouch tag "$from" "kept:$platform"
    done
    pouch tag "$from" "$to"
    pouch push -q --all-platforms "$to" >/dev/null
    is "$(digest_at "$to")" "$(digest_at "$from")"
    pouch rmi "$from" "$to" kept:amd64 kept:arm64 >/dev/null
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}

@test "manifest lists are made, pushed, and read by others" {
    local list=$ONE/lists/app:v1
    pouch tag busybox "$ONE/lists/app:amd64"
    pouch push -q "$ONE/lists/app:amd64" >/dev/null
    pouch manifest create "$list" "$ONE/lists/app:amd64"
    pouch manifest annotate --os linux --arch riscv64 "$list" "$ONE/lists/app:amd64"
    pouch manifest push -p "$list" >/dev/null
    is "$(body_at "$list" | jq -r '.manifests[0].platform.architecture')" riscv64
    is "$(body_at "$list" | jq -r '.manifests[0].digest')" "$(digest_at "$ONE/lists/app:amd64")"
    is "$(pouch manifest inspect "$list" | jq -r '.manifests[0].digest')" "$(digest_at "$ONE/lists/app:amd64")"
    is "$(skopeo inspect --raw --tls-verify=false "docker://$list" | sha256sum)" "$(body_at "$list" | sha256sum)"
    pouch rmi "$ONE/lists/app:amd64" >/dev/null
}

@test "an image that refers to another goes as it came, and refers there, too" {
    local from=$ONE/subject/app to=$OTHER/subject/app subject came
    pouch tag busybox "$from:v1"
    pouch tag busybox "$to:v1"
    pouch push -q "$from:v1" >/dev/null
    pouch push -q "$to:v1" >/dev/null
    subject=$(digest_at "$from:v1")
    is "$(digest_at "$to:v1")" "$subject"
    body_at "$from:v1" | jq -c --arg digest "$subject" --argjson size "$(body_at "$from:v1" | wc -c)" \
        '.mediaType as $type | .artifactType = "application/vnd.example.debug" |
        .subject = {mediaType: $type, digest: $digest, size: $size}' >"$T/manifest"
    regctl manifest put "$from:debug" <"$T/manifest"
    came=$(digest_at "$from:debug")
    # A store that has this image by another manifest already keeps that one.
    pouch rmi -f "$(id_of busybox)" >/dev/null
    pouch pull -q "$from:debug" >/dev/null
    pouch tag "$from:debug" "$to:debug"
    pouch push -q "$to:debug" >/dev/null
    is "$(digest_at "$to:debug")" "$came"
    has "$(asked other)" "^PUT /v2/subject/app/manifests/debug -> 201 $subject"
    is "$(pouch manifest referrers -q "$to:v1")" "$came"
    pouch rmi -f "$(id_of "$to:debug")" >/dev/null
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}

@test "an artifact is no image, and the error says so" {
    local to=$ONE/kept/sbom:v1
    echo '{}' | regctl artifact put --artifact-type application/spdx+json "$to"
    run pouch pull "$to"
    is "$status" 1
    one_line 'sbom:v1 is not a container image but an artifact of type "application/spdx\+json"'
    echo '{}' | regctl artifact put --config-type application/vnd.example.config.v1+json --config-file /dev/null "$to"
    run pouch pull "$to"
    is "$status" 1
    one_line 'sbom:v1 is not a container image: its configuration has type "application/vnd.example.config.v1\+json"'
    is "$(pouch images -q "$to")" ''
}

@test "a limit of requests a second is waited for" {
    local to
    to=$(host_of slow)/limited/noise:x
    pouch tag noise "$to"
    run timeout 100 "$POUCH_BIN/pouch" -H "unix://$SOCK" push "$to"
    is "$status" 0
    has "$(asked slow)" ' -> 429'
    pouch rmi "$to" >/dev/null
    run timeout 100 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$to"
    is "$status" 0
    pouch rmi "$to" >/dev/null
}

@test "as a mirror of a registry that is away, and behind one that is" {
    local origin digest
    origin=127.0.0.1:$(free_port)
    pouch tag busybox "$ONE/team/app:v1"
    pouch push -q "$ONE/team/app:v1" >/dev/null
    digest=$(digest_at "$ONE/team/app:v1")
    pouch rmi "$ONE/team/app:v1" >/dev/null
    mkdir -p "$T/etc/certs.d/$origin"
    printf '[host."http://%s"]\n[host."http://%s"]\n' "$OTHER" "$ONE" >"$T/etc/certs.d/$origin/hosts.toml"
    forget_asked one
    pouch pull -q "$origin/team/app:v1" >/dev/null
    has "$(asked other)" "^GET /v2/team/app/manifests/v1\?ns=$origin -> 404"
    has "$(asked one)" "GET /v2/team/app/manifests/v1\?ns=$origin -> 200"
    is "$(pouch run --rm --network none "$origin/team/app:v1" echo mirrored)" mirrored
    pouch rmi "$origin/team/app:v1" >/dev/null
    pouch pull -q "$origin/team/app@$digest" >/dev/null
    pouch rmi "$origin/team/app@$digest" >/dev/null
    run pouch pull "$origin/team/app:v2"
    is "$status" 1
    has "$output" "$origin"
    rm -r "$T/etc/certs.d"
}

@test "search says what this registry cannot" {
    run pouch search "$ONE/app"
    is "$status" 1
    one_line "registry $ONE has no search, and its list of repositories cannot be read"
}
