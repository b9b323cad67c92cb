# Archives and the policy file: load and import beside podman with the same file.
load helpers
load login

setup_file() {
    accept_all
    pouchd_start --signature-policy "$T/policy.json"
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    pouch save -o "$T/both.tar" busybox
    tar -tf "$T/both.tar" | grep -qx index.json
    tar -tf "$T/both.tar" | grep -qx manifest.json
    no_images
}
teardown_file() { file_down; }

ACCEPT='[{"type":"insecureAcceptAnything"}]'
REJECT='[{"type":"reject"}]'
accept_all() { echo "{\"default\":$ACCEPT}" >"$T/policy.json"; }
theirs() {
    env HOME="$T/home" podman --root "$T/podman" --runroot "$T/podman-run" --storage-driver vfs "$@"
}

# same COMMAND…: pouch and podman both take what it brings, or both refuse. Says which.
same() {
    local verb=$1 mine his
    shift
    run pouch "$verb" "$@"
    mine=$((status != 0))
    echo "pouch $verb $*: $output"
    [ $mine = 0 ] || has "$output" 'signature policy'
    [ $mine = 0 ] || is "$(pouch images -aq)" ''
    no_images
    run theirs "$verb" --signature-policy "$T/policy.json" "$@"
    his=$((status != 0))
    echo "podman $verb $*: $output"
    theirs rmi -fa >"$T/said" 2>&1
    is "$mine" "$his"
    verdict=$([ $mine = 0 ] && echo yes || echo no)
}

@test "load and import follow the transports of the policy as podman does" {
    local default docker oci tarball transports verdict n=0 want
    mkdir -p "$T/home"
    while read -r default docker oci tarball want; do
        transports='"docker":{"":[{"type":"reject"}]}'
        [ "$docker" = - ] || transports+=",\"docker-archive\":{\"\":${!docker}}"
        [ "$oci" = - ] || transports+=",\"oci-archive\":{\"\":${!oci}}"
        [ "$tarball" = - ] || transports+=",\"tarball\":{\"\":${!tarball}}"
        echo "{\"default\":${!default},\"transports\":{$transports}}" >"$T/policy.json"
        cat "$T/policy.json"
        same load -q -i "$POUCH_IMAGES/busybox.docker.tar"
        is "$verdict" "${want%%,*}"
        want=${want#*,}
        same load -q -i "$POUCH_IMAGES/busybox.oci.tar"
        is "$verdict" "${want%%,*}"
        want=${want#*,}
        same load -q -i "$T/both.tar"
        is "$verdict" "${want%%,*}"
        same import "$POUCH_IMAGES/busybox-root.tar" some:thing
        is "$verdict" "${want##*,}"
        n=$((n + 1))
    done <<'EOF'
ACCEPT - - - yes,yes,yes,yes
REJECT ACCEPT - - yes,no,yes,no
REJECT - ACCEPT - no,yes,yes,no
REJECT - - ACCEPT no,no,no,yes
ACCEPT REJECT - - no,yes,yes,yes
ACCEPT - REJECT REJECT yes,no,yes,no
EOF
    is $n 6
    rm -rf --one-file-system "$T/podman" "$T/podman-run"
}

@test "a key that archives cannot be signed by refuses them; docker's command line is told" {
    local kind
    for kind in '{"type":"signedBy","keyType":"GPGKeys","keyPath":"/no/such"}' \
        '{"type":"sigstoreSigned","keyPath":"/no/such"}' \
        '{"type":"insecureAcceptAnything"},{"type":"reject"}'; do
        echo "{\"default\":$ACCEPT,\"transports\":{\"docker-archive\":{\"\":[$kind]}}}" >"$T/policy.json"
        run pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
        is "$status" 1
        one_line 'it is no oci-archive, the only kind that is allowed'
        has "$output" 'docker-archive: (signedBy, and archives|sigstoreSigned, and archives|reject)'
        is "$(pouch images -aq)" ''
    done
    echo "{\"default\":$REJECT}" >"$T/policy.json"
    run /usr/bin/docker -H "unix://$SOCK" load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    is "$status" 1
    has "$output" 'loading images is refused by the signature policy .*default: reject'
    run /usr/bin/docker -H "unix://$SOCK" import "$POUCH_IMAGES/busybox-root.tar" some:thing
    is "$status" 1
    has "$output" 'importing images is refused by the signature policy'
    # Larger than any buffer between the two: the client still gets to read why.
    head -c 64M /dev/zero >"$T/large"
    tar -C "$T" -cf "$T/large.tar" large
    for kind in pouch "/usr/bin/docker -H unix://$SOCK"; do
        run $kind load -i "$T/large.tar"
        is "$status" 1
        has "$output" 'loading images is refused by the signature policy'
    done
    rm -f "$T/large" "$T/large.tar"
    echo '{' >"$T/policy.json"
    run pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    is "$status" 1
    one_line 'no image can be had until it is mended'
    is "$(find "$T/root/tmp" -type f 2>/dev/null | wc -l)" 0
    accept_all
}

@test "trust set names the transports of archives" {
    local scope
    echo "{\"default\":$REJECT}" >"$T/policy.json"
    run pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    is "$status" 1
    has "$output" 'pouch trust set -t accept docker-archive:'
    pouch trust set -t accept docker-archive:
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar"
    no_images
    run pouch load -q -i "$POUCH_IMAGES/busybox.oci.tar"
    is "$status" 1
    pouch trust set -t accept oci-archive:
    pouch load -q -i "$POUCH_IMAGES/busybox.oci.tar"
    run pouch import "$POUCH_IMAGES/busybox-root.tar"
    is "$status" 1
    pouch trust set -t accept tarball:
    pouch import "$POUCH_IMAGES/busybox-root.tar"
    no_images
    run pouch trust show
    has "$output" '^docker-archive +\(all\) +accept'
    has "$output" '^tarball +\(all\) +accept'
    pouch trust set -t reject docker-archive:
    pouch trust set -t reject docker:
    is "$(jq -c '.transports["docker-archive"], .transports.docker' "$T/policy.json" | tr '\n' ' ')" \
        '{"":[{"type":"reject"}]} {"":[{"type":"reject"}]} '
    run pouch trust set -f /etc/hostname docker-archive:
    is "$status" 1
    one_line 'archives have no signatures'
    for scope in docker-archive:x tarball:/x dir: oci-archive; do
        run pouch trust set -t accept "$scope"
        echo "$scope: $output"
        is "$status" 1
    done
    # Scopes that these transports do not have make the file invalid, as for podman.
    for scope in '"docker-archive":{"busybox"' '"tarball":{"/x"' '"dir":{"x"' '"oci":{"/"' \
        '"oci-archive":{"/a/../b"' '"oci-archive":{"/a/"' '"dir":{"/a//b"'; do
        echo "{\"default\":$ACCEPT,\"transports\":{$scope:$ACCEPT}}}" >"$T/policy.json"
        run pouch import "$POUCH_IMAGES/busybox-root.tar"
        is "$status" 1
        one_line 'is no scope'
        run theirs import --signature-policy "$T/policy.json" "$POUCH_IMAGES/busybox-root.tar"
        echo "$output"
        is "$status" 125
    done
    rm -rf --one-file-system "$T/podman" "$T/podman-run"
    accept_all
}
