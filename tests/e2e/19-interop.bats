# Images go from Pouch to Docker, Podman and skopeo through a registry, and the reverse.
load helpers
load others

setup_file() {
    file_up
    registry_start
    others_up
}
teardown_file() {
    others_down
    file_down
}
# Containers of other engines leave things of their own (shims, cgroups) for a moment.
teardown() {
    remove_all
    pouch images --format '{{.Repository}}:{{.Tag}}' | grep "^$REGISTRY/" |
        xargs -r "$POUCH_BIN/pouch" -H "unix://$SOCK" rmi >/dev/null
}

manifest_type() {
    curl -sf -H 'Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json' \
        "http://$REGISTRY/v2/${1%:*}/manifests/${1##*:}" | jq -r '.mediaType + " " + .layers[0].mediaType'
}

# taken_by DOCKER|PODMAN|SKOPEO NAME: pulls it, runs it, and sees the same image.
taken_by() {
    local name=$REGISTRY/$2 id
    id=$(pouch inspect -f '{{.Id}}' busybox)
    case $1 in
    docker)
        dcli pull -q "$name"
        is "$(dcli inspect -f '{{.Id}}' "$name")" "$id"
        is "$(dcli run --rm --network none "$name" echo "ran by docker")" 'ran by docker'
        dcli rmi "$name" >/dev/null
        ;;
    podman)
        pod pull -q --tls-verify=false "$name" >/dev/null
        is "sha256:$(pod inspect --type image -f '{{.Id}}' "$name")" "$id"
        is "$(pod run --rm --network none "$name" echo "ran by podman")" 'ran by podman'
        pod rmi "$name" >/dev/null
        ;;
    skopeo)
        rm -rf "$T/copied"
        skopeo copy -q --src-tls-verify=false "docker://$name" "dir:$T/copied"
        is "$(jq -r .config.digest "$T/copied/manifest.json")" "$id"
        rm -rf "$T/copied"
        ;;
    esac
}

@test "pushed by Pouch: Docker's types, gzip" {
    pouch tag busybox "$REGISTRY/from/pouch:v2"
    pouch push -q --format docker "$REGISTRY/from/pouch:v2"
    has "$(manifest_type from/pouch:v2)" 'docker.distribution.manifest.v2\+json .*rootfs.diff.tar.gzip'
    for who in docker podman skopeo; do taken_by "$who" from/pouch:v2; done
}

@test "pushed by Pouch: OCI's types, gzip and none" {
    local how
    pouch tag busybox "$REGISTRY/from/pouch:oci"
    for how in gzip none; do
        pouch push -q --format oci --compression "$how" "$REGISTRY/from/pouch:oci"
        has "$(manifest_type from/pouch:oci)" 'oci.image.manifest.v1\+json .*oci.image.layer.v1.tar'
        for who in docker podman skopeo; do taken_by "$who" from/pouch:oci; done
    done
}

@test "pushed by Pouch: zstd, which Docker 20.10 cannot read" {
    pouch tag busybox "$REGISTRY/from/pouch:zstd"
    pouch push -q --compression zstd "$REGISTRY/from/pouch:zstd"
    has "$(manifest_type from/pouch:zstd)" 'oci.image.manifest.v1\+json .*tar\+zstd'
    for who in podman skopeo; do taken_by "$who" from/pouch:zstd; done
    case $(dcli version -f '{{.Server.Version}}') in
    20.*)
        run dcli pull -q "$REGISTRY/from/pouch:zstd" # the error is Docker's
        is "$status" 1
        ;;
    *) taken_by docker from/pouch:zstd ;;
    esac
}

@test "a manifest list of Pouch's: each takes its platform" {
    pouch tag busybox "$REGISTRY/from/pouch:member"
    pouch push -q "$REGISTRY/from/pouch:member"
    pouch manifest create "$REGISTRY/from/pouch:list" "$REGISTRY/from/pouch:member" >/dev/null
    pouch manifest push --purge "$REGISTRY/from/pouch:list" >/dev/null
    for who in docker podman; do taken_by "$who" from/pouch:list; done
    is "$(dcli --config "$T" manifest inspect --insecure "$REGISTRY/from/pouch:list" 2>/dev/null |
        jq -r '.manifests[0].platform.architecture')" amd64 ||
        is "$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/from/pouch:list" |
            jq -r '.manifests[0].platform.architecture')" amd64
}

# came WHO:TAG: Pouch pulls what WHO pushed, sees the same image, and runs it.
came() {
    pouch pull -q "$REGISTRY/from/$1" >/dev/null
    is "$(pouch run --rm --network none "$REGISTRY/from/$1" echo "came from $1")" "came from $1"
}

@test "pushed by Docker" {
    dcli load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    dcli tag busybox "$REGISTRY/from/docker:x"
    dcli push -q "$REGISTRY/from/docker:x"
    came docker:x
    is "$(pouch inspect -f '{{.Id}}' "$REGISTRY/from/docker:x")" "$(dcli inspect -f '{{.Id}}' busybox)"
}

@test "pushed by Podman: OCI and Docker's types" {
    local how
    pod load -q -i "$POUCH_IMAGES/busybox.oci.tar" >/dev/null
    while read -r tag how; do
        # shellcheck disable=SC2086
        pod push -q --tls-verify=false $how busybox "docker://$REGISTRY/from/$tag:x"
        came "$tag:x"
    done <<'END'
podman-oci --format oci
podman-v2 --format v2s2
END
}

@test "copied by skopeo" {
    skopeo copy -q --dest-tls-verify=false "oci-archive:$POUCH_IMAGES/busybox.oci.tar" "docker://$REGISTRY/from/skopeo:x"
    came skopeo:x
    skopeo copy -q --dest-tls-verify=false --dest-compress-format zstd \
        "oci-archive:$POUCH_IMAGES/busybox.oci.tar" "docker://$REGISTRY/from/skopeo-zstd:x"
    has "$(manifest_type from/skopeo-zstd:x)" 'tar\+(zstd|gzip)'
    came skopeo-zstd:x
}
