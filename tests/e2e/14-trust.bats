# sanitizers: yes
# Signed images: what the policy file accepts and refuses, beside skopeo and podman with the same files.
load helpers
load login

setup_file() {
    local name
    export GNUPGHOME=$T/gnupg
    mkdir -m 700 "$GNUPGHOME"
    mkdir -p "$T/registries.d" "$T/sigs" "$T/keys" "$T/etc"
    registry_start platforms:latest
    for name in alice bob; do
        gpg --batch -q --passphrase '' --quick-generate-key "$name@example.com" 2>/dev/null
        gpg --export "$name@example.com" >"$T/keys/$name.gpg"
        gpg --export --armor "$name@example.com" >"$T/keys/$name.asc"
    done
    gpg_key alice >"$T/keys/alice.id"
    cat >"$T/registries.d/test.yaml" <<EOF
# where signatures of the test registry are
docker:
    $REGISTRY:
        lookaside: file://$T/sigs
        lookaside-staging: "file://$T/sigs"
        use-sigstore-attachments: true
    $REGISTRY/noattach:
        use-sigstore-attachments: false
EOF
    openssl ecparam -name prime256v1 -genkey -noout -out "$T/keys/one.pem"
    openssl genrsa -out "$T/keys/two.pem" 2048 2>/dev/null
    openssl genpkey -algorithm ed25519 -out "$T/keys/three.pem"
    openssl ecparam -name secp384r1 -genkey -noout -out "$T/keys/four.pem"
    for name in one two three four; do
        openssl pkey -in "$T/keys/$name.pem" -pubout -out "$T/keys/$name.pub"
    done
    put plain
    put gpg/alice --sign-by "$(gpg_key alice)"
    put gpg/bob --sign-by "$(gpg_key bob)"
    put gpg/elsewhere --sign-by "$(gpg_key alice)" --sign-identity "$REGISTRY/gpg/other:latest"
    for name in one two three four; do
        put "sig/$name"
        "$HERE/cosign-sign" "$REGISTRY/sig/$name:latest" "$T/keys/$name.pem"
    done
    put noattach/one
    "$HERE/cosign-sign" "$REGISTRY/noattach/one:latest" "$T/keys/one.pem"
    put referred
    "$HERE/cosign-sign" --referrer "$REGISTRY/referred:latest" "$T/keys/one.pem"
    put bundled
    "$HERE/cosign-sign" --bundle "$REGISTRY/bundled:latest" "$T/keys/one.pem"
    put sig/late
    "$HERE/cosign-sign" "$REGISTRY/sig/late:latest" "$T/keys/two.pem"
    "$HERE/cosign-sign" --as "$REGISTRY/sig/late:latest" --referrer "$REGISTRY/sig/late:latest" "$T/keys/one.pem"
    for name in '' key signature payload kind time; do
        put "log/x$name"
        "$HERE/cosign-sign" --log "$T/keys/four.pem" --log-lies "$name" "$REGISTRY/log/x$name:latest" "$T/keys/one.pem"
    done
    put sig/digest
    "$HERE/cosign-sign" --digest "sha256:$(printf '%064d' 1)" "$REGISTRY/sig/digest:latest" "$T/keys/one.pem"
    put sig/type
    "$HERE/cosign-sign" --type 'atomic container signature' "$REGISTRY/sig/type:latest" "$T/keys/one.pem"
    put both --sign-by "$(gpg_key alice)"
    "$HERE/cosign-sign" --as "$REGISTRY/both:latest" "$REGISTRY/both:latest" "$T/keys/one.pem"
    # A tag moved to an image that is not signed; its signatures are still there.
    put moved --sign-by "$(gpg_key alice)"
    move moved
    gpgconf --kill all
    accept_all
    pouchd_start --signature-policy "$T/policy.json" --registries-d "$T/registries.d" --registry-config "$T/etc"
}
teardown_file() { file_down; }

gpg_key() { gpg --list-keys --with-colons "$1@example.com" | grep -m1 '^fp[r]:' | cut -d: -f10; }

# put NAME [SIGNING…]: busybox as REGISTRY/NAME:latest.
put() {
    local name=$1
    shift
    skopeo --insecure-policy --registries.d "$T/registries.d" copy -q --dest-tls-verify=false "$@" \
        "docker-archive:$POUCH_IMAGES/busybox.docker.tar" "docker://$REGISTRY/$name:latest"
}
move() { # the tag now means another manifest, the OCI form
    skopeo --insecure-policy copy -q --dest-tls-verify=false --format oci --remove-signatures \
        "docker-archive:$POUCH_IMAGES/busybox.docker.tar" "docker://$REGISTRY/$1:latest"
}

policy() { cat >"$T/policy.json"; }
accept_all() { policy <<<'{"default":[{"type":"insecureAcceptAnything"}]}'; }
# only REQUIREMENT…: what images of the test registry must have; others are refused.
only() {
    local IFS=,
    policy <<<"{\"default\":[{\"type\":\"reject\"}],\"transports\":{\"docker\":{\"$REGISTRY\":[$*]}}}"
}
gpg_by() { echo "{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"$T/keys/$1\"${2:+,\"signedIdentity\":$2}}"; }
sig_by() {
    local identity=${2:-'{"type":"matchRepository"}'}
    echo "{\"type\":\"sigstoreSigned\",\"keyPath\":\"$T/keys/$1\",\"signedIdentity\":$identity}"
}

stored() { find "$T/root/blobs" "$T/root/layers" -type f | wc -l; }

# Whether skopeo takes the image by the same policy.
skopeo_takes() {
    rm -rf "$T/copy"
    skopeo --policy "$T/policy.json" --registries.d "$T/registries.d" copy -q --src-tls-verify=false \
        --remove-signatures "docker://$REGISTRY/$1" "dir:$T/copy" >"$T/said" 2>&1
}

# takes IMAGE / refuses IMAGE REGEX: pouch and skopeo agree; what is refused leaves nothing.
takes() {
    no_images
    [ -n "${ALONE:-}" ] || skopeo_takes "$1" || fail "skopeo refuses $1: $(cat "$T/said")"
    run pouch pull -q "$REGISTRY/$1"
    echo "$output"
    is "$status" 0
    no_images
}
refuses() {
    local before
    no_images
    [ -n "${ALONE:-}" ] || ! skopeo_takes "$1" || fail "skopeo takes $1"
    before=$(stored)
    run pouch pull "$REGISTRY/$1"
    echo "$output"
    is "$status" 1
    has "$output" 'refused by the signature policy|signature policy'
    has "$output" "$2"
    is "$(pouch images -aq)" ''
    is "$(stored)" "$before"
}

@test "GnuPG: the right key, another, none, armoured keys, several keys" {
    only "$(gpg_by alice.gpg)"
    takes gpg/alice
    refuses gpg/bob 'signedBy is not met: it was made by another key'
    refuses plain 'signedBy is not met: no signature is at'
    refuses sig/one 'no signature is at'
    only "$(gpg_by bob.asc)"
    takes gpg/bob
    refuses gpg/alice 'made by another key'
    only "{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyData\":\"$(base64 -w0 "$T/keys/alice.gpg")\"}"
    takes gpg/alice
    # Two requirements must both hold.
    only "$(gpg_by alice.gpg)" "$(gpg_by bob.gpg)"
    refuses gpg/alice 'made by another key'
}

@test "GnuPG: newer policies name several keys" {
    only "{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPaths\":[\"$T/keys/bob.gpg\",\"$T/keys/alice.asc\"]}"
    pouch pull -q "$REGISTRY/gpg/alice"
    pouch pull -q "$REGISTRY/gpg/bob"
    no_images
}

@test "a tag that was moved behind its signature is refused; by digest the signed image comes" {
    only "$(gpg_by alice.gpg)"
    refuses moved 'no signature is at'
    local digest
    digest=$(basename "$(find "$T/sigs" -path '*/moved@sha256=*' -name 'sha256*' -o -path '*/moved@sha256=*' -type d | head -1)")
    takes "moved@sha256:${digest#*=}"
}

# Where plain's signatures would be.
plain_folder() {
    echo "$T/sigs/plain@sha256=$(plain_digest | cut -d: -f2)"
}
plain_digest() { skopeo inspect --tls-verify=false "docker://$REGISTRY/plain" | jq -r .Digest; }

@test "signatures that were changed, are for another manifest, are no signatures" {
    local folder
    only "$(gpg_by alice.gpg)"
    folder=$(plain_folder)
    [ ! -d "$folder" ] || fail "plain has signatures"
    mkdir -p "$folder"
    cp "$(find "$T/sigs" -path '*moved@*' -name signature-1)" "$folder/signature-1"
    refuses plain 'it is for another manifest|which matchRepoDigestOrExact does not take'
    head -c 100 /dev/urandom >"$folder/signature-1"
    refuses plain 'it is not a signature|cannot be checked|could not check'
    : >"$folder/signature-1"
    refuses plain 'it is not a signature|could not check'
    # The second of several is good.
    cp "$(find "$T/sigs" -path '*gpg/bob@*' -name signature-1)" "$folder/signature-1"
    cp "$(find "$T/sigs" -path '*gpg/alice@*' -name signature-1)" "$folder/signature-2"
    only "$(gpg_by alice.gpg '{"type":"exactRepository","dockerRepository":"'"$REGISTRY"'/gpg/alice"}')"
    takes plain
    rm -rf "$folder"
}

@test "keys that expired or were revoked sign nothing any more" {
    export GNUPGHOME=$T/gnupg
    local key folder
    # A key of one day in 2020, and what it signed on that day.
    gpg --batch -q --faked-system-time 20200101T120000 --passphrase '' \
        --quick-generate-key old@example.com default default 1d 2>/dev/null
    gpg --export old@example.com >"$T/keys/old.gpg"
    folder=$(plain_folder)
    mkdir -p "$folder"
    jq -nc --arg digest "$(plain_digest)" --arg name "$REGISTRY/plain:latest" \
        '{critical: {type: "atomic container signature", image: {"docker-manifest-digest": $digest},
          identity: {"docker-reference": $name}}, optional: {}}' |
        gpg --batch -q --faked-system-time 20200101T130000 -u old@example.com --sign >"$folder/signature-1"
    gpgconf --kill all
    only "$(gpg_by old.gpg)"
    refuses plain 'the key has expired'
    rm -rf "$folder"
    key=$(cat "$T/keys/alice.id")
    sed 's/^:---/---/' "$GNUPGHOME/openpgp-revocs.d/$key.rev" >"$T/keys/rev"
    mkdir -m 700 "$T/gnupg2"
    GNUPGHOME=$T/gnupg2 gpg --batch -q --import "$T/keys/alice.gpg" "$T/keys/rev" 2>/dev/null
    GNUPGHOME=$T/gnupg2 gpg --export alice@example.com >"$T/keys/revoked.gpg"
    GNUPGHOME=$T/gnupg2 gpgconf --kill all
    rm -rf "$T/gnupg2"
    only "$(gpg_by revoked.gpg)"
    refuses gpg/alice 'the key was revoked'
}

@test "identities: every kind, as skopeo sees them" {
    only "$(gpg_by alice.gpg)"
    refuses gpg/elsewhere 'which matchRepoDigestOrExact does not take for'
    only "$(gpg_by alice.gpg '{"type":"matchExact"}')"
    takes gpg/alice
    refuses gpg/elsewhere matchExact
    only "$(gpg_by alice.gpg '{"type":"matchRepository"}')"
    takes gpg/alice
    refuses gpg/elsewhere matchRepository
    only "$(gpg_by alice.gpg "{\"type\":\"exactReference\",\"dockerReference\":\"$REGISTRY/gpg/other:latest\"}")"
    takes gpg/elsewhere
    refuses gpg/alice exactReference
    only "$(gpg_by alice.gpg "{\"type\":\"exactRepository\",\"dockerRepository\":\"$REGISTRY/gpg/other\"}")"
    takes gpg/elsewhere
    refuses gpg/alice exactRepository
    only "$(gpg_by alice.gpg "{\"type\":\"remapIdentity\",\"prefix\":\"$REGISTRY/gpg/elsewhere\",\"signedPrefix\":\"$REGISTRY/gpg/other\"}")"
    takes gpg/elsewhere
    takes gpg/alice
    only "$(gpg_by alice.gpg "{\"type\":\"remapIdentity\",\"prefix\":\"$REGISTRY/gpg/else\",\"signedPrefix\":\"$REGISTRY/gpg/other\"}")"
    refuses gpg/elsewhere remapIdentity
}

# Debian's skopeo and podman have sigstore switched off: no counterpart here.
@test "sigstore: the right key, another, none, where it may not be looked for" {
    local name ALONE=1
    for name in one two three four; do
        only "$(sig_by $name.pub)"
        takes "sig/$name"
        [ $name = one ] || refuses sig/one 'sigstoreSigned is not met: it was made by another key'
    done
    only "$(sig_by one.pub)"
    refuses sig/two 'sigstoreSigned is not met: it was made by another key'
    refuses plain 'sigstoreSigned is not met: the registry has no signature of it'
    refuses noattach/one 'use-sigstore-attachments'
    refuses sig/digest 'it is for another manifest'
    refuses sig/type 'it is a "atomic container signature"'
    takes referred
    only "{\"type\":\"sigstoreSigned\",\"keyData\":\"$(base64 -w0 "$T/keys/two.pub")\",\"signedIdentity\":{\"type\":\"matchRepository\"}}"
    takes sig/two
    only "{\"type\":\"sigstoreSigned\",\"keyPaths\":[\"$T/keys/one.pub\",\"$T/keys/two.pub\"],\"signedIdentity\":{\"type\":\"matchRepository\"}}"
    takes sig/one
    takes sig/two
    refuses sig/three 'made by another key'
    # cosign signs the repository; without matchRepository a tag is asked for, as Podman does.
    only "$(sig_by one.pub '{"type":"matchRepoDigestOrExact"}')"
    refuses sig/one 'which matchRepoDigestOrExact does not take'
    takes both
    # The tag's signature is another's, a referrer has the right one.
    takes sig/late
    refuses bundled 'a sigstore bundle only \(cosign 3\), which does not say what image'
    only "$(sig_by one.pub)" "$(gpg_by alice.gpg)"
    takes both
    refuses sig/one 'signedBy is not met'
    refuses gpg/alice 'sigstoreSigned is not met'
    only "$(sig_by one.pub '{"type":"exactRepository","dockerRepository":"docker.io/library/x"}')"
    refuses sig/one exactRepository
}

@test "sigstore: what a transparency log must know" {
    local name ALONE=1
    only "$(sig_by one.pub | sed "s|}}$|},\"rekorPublicKeyPath\":\"$T/keys/four.pub\"}|")"
    takes log/x
    refuses sig/one 'no promise of a transparency log'
    refuses log/xkey "log's entry is about another key"
    refuses log/xsignature "log's entry is about another signature"
    refuses log/xpayload "log's entry is about something else"
    refuses log/xkind 'of another kind than hashedrekord'
    refuses log/xtime 'the promise is of another transparency log'
    only "$(sig_by one.pub | sed "s|}}$|},\"rekorPublicKeyPath\":\"$T/keys/one.pub\"}|")"
    refuses log/x 'the promise is of another transparency log'
    only "$(sig_by one.pub | sed "s|}}$|},\"rekorPublicKeyPath\":\"$T/keys/two.pub\"}|")"
    refuses log/x 'no public key of kind ECDSA'
}

@test "scopes: the most special one counts; reject refuses without asking" {
    policy <<EOF
{"default":[{"type":"reject"}],
 "transports":{
   "docker":{
     "$REGISTRY/plain:latest":[{"type":"insecureAcceptAnything"}],
     "$REGISTRY/gpg":[$(gpg_by alice.gpg)],
     "$REGISTRY/gpg/bob":[{"type":"reject"}],
     "":[{"type":"reject"}]},
   "docker-daemon":{"":[{"type":"insecureAcceptAnything"}]}}}
EOF
    takes plain
    takes gpg/alice
    refuses gpg/bob "reject"
    refuses sig/one "reject"
    policy <<<'{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"*.0.0.1":[{"type":"reject"}]}}}'
    refuses plain 'scope "\*.0.0.1": reject'
    policy <<<'{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"*.0.1":[{"type":"reject"}]}}}'
    refuses plain 'reject'
    policy <<<"{\"default\":[{\"type\":\"reject\"}],\"transports\":{\"docker\":{\"${REGISTRY%:*}\":[{\"type\":\"insecureAcceptAnything\"}]}}}"
    refuses plain 'default: reject'
}

@test "policies that are not understood refuse every image" {
    local text
    for text in '' '{' '[]' '{}' '{"default":[]}' '{"default":[{"type":"maybe"}]}' \
        '{"default":[{"type":"insecureAcceptAnything"}],"more":1}' \
        '{"default":[{"type":"insecureAcceptAnything","also":1}]}' \
        '{"default":[{"type":"insecureAcceptAnything"}],"default":[{"type":"reject"}]}' \
        '{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"":[]}}}' \
        '{"default":[{"type":"signedBy","keyType":"GPGKeys"}]}' \
        '{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/a","keyData":"YQ=="}]}' \
        '{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/a","signedIdentity":{"type":"any"}}]}' \
        '{"default":[{"type":"sigstoreSigned","keyPath":"/no/such/key"}]}'; do
        policy <<<"$text"
        echo "policy: $text"
        refuses plain 'signature policy'
    done
    policy <<<"{\"default\":[{\"type\":\"sigstoreSigned\",\"keyPath\":\"$T/keys/one.pub\",\"rekorPublicKeyPath\":\"/a\"}]}"
    run pouch pull "$REGISTRY/sig/one"
    is "$status" 1
    one_line 'refused by the signature policy .*: cannot read the key /a'
    # Keyless signing is known and cannot be checked: what asks for it is refused, other scopes are not.
    policy <<EOF
{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"$REGISTRY/sig":[{"type":"sigstoreSigned",
 "fulcio":{"caPath":"/a","oidcIssuer":"b","subjectEmail":"c"},"rekorPublicKeyPath":"/a"}]}}}
EOF
    run pouch pull "$REGISTRY/sig/one"
    is "$status" 1
    one_line 'it asks for signatures without a key \(keyless, fulcio\), which Pouch cannot check'
    pouch pull -q "$REGISTRY/plain"
    no_images
    mv "$T/policy.json" "$T/policy.away"
    run pouch pull "$REGISTRY/plain"
    is "$status" 1
    one_line 'cannot read the signature policy .*policy.json'
    only "$(gpg_by alice.gpg)"
    echo 'docker: [a, b]' >"$T/registries.d/odd.yaml"
    run pouch pull "$REGISTRY/gpg/alice"
    is "$status" 1
    one_line 'odd.yaml: line 1'
    # What stands in two files would depend on the order of a folder.
    printf 'docker:\n  %s:\n    lookaside: file:///elsewhere\n' "$REGISTRY" >"$T/registries.d/odd.yaml"
    run pouch pull "$REGISTRY/gpg/alice"
    is "$status" 1
    one_line "$REGISTRY is in (odd|test).yaml, too"
    ! skopeo_takes gpg/alice || fail "skopeo takes it"
    printf 'docker:\n  x.y:\n    lookaside: file:///a\n    lookaside: file:///b\n' >"$T/registries.d/odd.yaml"
    run pouch pull "$REGISTRY/gpg/alice"
    is "$status" 1
    one_line 'odd.yaml: line 4: x.y: "lookaside" is there twice'
    # Of one place the newer name counts.
    printf 'docker:\n  x.y:\n    sigstore: file:///a\n' >"$T/registries.d/odd.yaml"
    sed -i.keep 's|^\( *\)lookaside: .*|&\n\1sigstore: file:///elsewhere|' "$T/registries.d/test.yaml"
    takes gpg/alice
    mv "$T/registries.d/test.yaml.keep" "$T/registries.d/test.yaml"
    rm "$T/registries.d/odd.yaml"
}

@test "run, docker's command line and podman: the same verdicts" {
    only "$(gpg_by alice.gpg)"
    is "$(pouch run --rm --network none "$REGISTRY/gpg/alice" echo ran 2>/dev/null)" ran
    no_images
    run pouch run --rm --network none "$REGISTRY/plain" echo ran
    is "$status" 125
    has "$output" 'refused by the signature policy'
    lacks "$output" '^ran'
    is "$(pouch ps -aq)" ''
    run /usr/bin/docker -H "unix://$SOCK" pull "$REGISTRY/gpg/bob"
    is "$status" 1
    has "$output" 'refused by the signature policy'
    mkdir -p "$T/home/.config/containers"
    cp -r "$T/registries.d" "$T/home/.config/containers/"
    local image theirs
    local -a podman=(podman --root "$T/podman" --runroot "$T/podman-run" --storage-driver vfs)
    for image in gpg/alice plain gpg/bob; do
        no_images
        run env -u DOCKER_CONFIG HOME="$T/home" "${podman[@]}" pull -q --tls-verify=false \
            --signature-policy "$T/policy.json" "$REGISTRY/$image"
        echo "$output"
        theirs=$status
        run pouch pull -q "$REGISTRY/$image"
        is "$((status != 0))" "$((theirs != 0))"
        is "$((theirs != 0))" "$([ $image = gpg/alice ] && echo 0 || echo 1)"
    done
    rm -rf --one-file-system "$T/podman" "$T/podman-run"
    no_images
}

@test "lists of platforms: the signature of the platform's own manifest counts" {
    local text amd64 arm64 ALONE=1
    text=$(skopeo inspect --raw --tls-verify=false "docker://$REGISTRY/platforms")
    amd64=$(jq -r '.manifests[] | select(.platform.architecture == "amd64").digest' <<<"$text")
    arm64=$(jq -r '.manifests[] | select(.platform.architecture == "arm64").digest' <<<"$text")
    only "$(sig_by one.pub)"
    # The list alone is signed: nothing is said about what is in it, as for skopeo and Podman.
    "$HERE/cosign-sign" "$REGISTRY/platforms:latest" "$T/keys/one.pem"
    refuses platforms 'the registry has no signature of it'
    "$HERE/cosign-sign" "$REGISTRY/platforms@$arm64" "$T/keys/one.pem"
    refuses platforms 'the registry has no signature of it'
    run pouch pull -q --platform linux/arm64 "$REGISTRY/platforms"
    echo "$output"
    is "$status" 0
    no_images
    "$HERE/cosign-sign" "$REGISTRY/platforms@$amd64" "$T/keys/one.pem"
    takes platforms
    takes "platforms@$amd64"
}

@test "mirrors: the name that was asked for decides, wherever the bytes come from" {
    local list
    mkdir -p "$T/etc/certs.d/mirrored.example"
    printf '[host."http://%s"]\n  capabilities = ["pull", "resolve"]\n' "$REGISTRY" \
        >"$T/etc/certs.d/mirrored.example/hosts.toml"
    printf 'docker:\n  mirrored.example:\n    lookaside: file://%s/sigs\n' "$T" >"$T/registries.d/mirror.yaml"
    for list in "\"$REGISTRY\":[{\"type\":\"insecureAcceptAnything\"}]:1" \
        "\"mirrored.example\":[{\"type\":\"insecureAcceptAnything\"}]:0" \
        "\"mirrored.example\":[$(gpg_by alice.gpg)]:1" \
        "\"mirrored.example\":[$(gpg_by alice.gpg "{\"type\":\"remapIdentity\",\"prefix\":\"mirrored.example\",\"signedPrefix\":\"$REGISTRY\"}")]:0"; do
        policy <<<"{\"default\":[{\"type\":\"reject\"}],\"transports\":{\"docker\":{${list%:*}}}}"
        run pouch pull -q mirrored.example/gpg/alice
        echo "$list: $output"
        is "$status" "${list##*:}"
        [ "$status" = 0 ] || has "$output" 'refused by the signature policy'
        no_images
    done
    # Without a signature the remapped name does not help either.
    run pouch pull -q mirrored.example/plain
    is "$status" 1
    has "$output" 'no signature is at'
    rm -rf "$T/etc/certs.d" "$T/registries.d/mirror.yaml"
}

@test "what was here before the policy: run does not ask, pull does and leaves what is here" {
    local id
    accept_all
    pouch pull -q "$REGISTRY/plain"
    id=$(pouch images -q --no-trunc "$REGISTRY/plain")
    only "$(gpg_by alice.gpg)"
    is "$(pouch run --rm --network none "$REGISTRY/plain" echo ran)" ran
    run pouch run --rm --network none --pull always "$REGISTRY/plain" echo ran
    is "$status" 125
    has "$output" 'refused by the signature policy'
    run pouch pull -q "$REGISTRY/plain"
    is "$status" 1
    run pouch pull -q "$REGISTRY/plain@$(plain_digest)"
    is "$status" 1
    is "$(pouch images -q --no-trunc "$REGISTRY/plain")" "$id"
    # A tag that somebody here gave is not a signed image; a pull brings the signed one in its place.
    pouch tag "$REGISTRY/plain" "$REGISTRY/gpg/bob"
    run pouch pull -q "$REGISTRY/gpg/bob"
    is "$status" 1
    has "$output" 'made by another key'
    pouch tag "$REGISTRY/plain" "$REGISTRY/gpg/alice"
    pouch pull -q "$REGISTRY/gpg/alice"
    has "$(pouch inspect -f '{{.RepoDigests}}' "$REGISTRY/gpg/alice")" "$REGISTRY/gpg/alice@sha256"
    no_images
}

@test "signatures on a web server; one that does not answer is no permission" {
    local port
    port=$(free_port)
    only "$(gpg_by alice.gpg)"
    sed -i.keep "s|lookaside: file.*|lookaside: http://127.0.0.1:$port/|" "$T/registries.d/test.yaml"
    run pouch pull "$REGISTRY/gpg/alice"
    is "$status" 1
    one_line 'cannot look for signatures'
    python3 -m http.server -b 127.0.0.1 -d "$T/sigs" "$port" >/dev/null 2>&1 3>&- &
    local server=$!
    within 20 curl -s -o "$T/answer" "http://127.0.0.1:$port/"
    takes gpg/alice
    refuses plain 'no signature is at http://'
    kill "$server"
    wait "$server" || true
    mv "$T/registries.d/test.yaml.keep" "$T/registries.d/test.yaml"
}

@test "trust set and show: what they write is what pulls go by" {
    local own=$T/own.json name
    accept_all
    pouch trust set -t reject default
    pouch trust set -f "$T/keys/alice.gpg" "$REGISTRY/gpg"
    pouch trust set -t sigstoreSigned -f "$T/keys/one.pub" "$REGISTRY/sig"
    pouch trust set -t accept "$REGISTRY/plain"
    run pouch trust show
    is "$status" 0
    has "$output" '^TRANSPORT +NAME +TYPE +ID +IDENTITY'
    has "$output" '^all +default +reject'
    has "$output" "^repository +$REGISTRY/gpg +signed +$T/keys/alice.gpg +matchRepoDigestOrExact"
    has "$output" "^repository +$REGISTRY/sig +sigstoreSigned +$T/keys/one.pub +matchRepository"
    is "$(pouch trust show --format '{{.Name}} {{.Type}}' "$REGISTRY/gpg/alice:latest")" "$REGISTRY/gpg signed"
    is "$(pouch trust show --format '{{.Type}}' busybox)" reject
    takes gpg/alice
    takes plain
    refuses gpg/bob 'made by another key'
    ALONE=1 takes sig/one
    ALONE=1 refuses sig/two 'made by another key'
    # Again for the same scope: the old one is gone, the others are kept.
    pouch image trust set -t reject "$REGISTRY/gpg"
    refuses gpg/alice reject
    takes plain
    jq -e . "$T/policy.json" >/dev/null
    # Podman's command reads it too.
    has "$(podman image trust show --policypath "$T/policy.json" 2>/dev/null)" "$REGISTRY/plain +accept"
    # A file of one's own, made when it is missing.
    pouch trust set --policypath "$own" -t reject 'quay.io/team'
    is "$(jq -c '.default[0].type, .transports.docker["quay.io/team"][0].type' "$own" | tr '\n' ' ')" \
        '"insecureAcceptAnything" "reject" '
    for name in 'busybox/x' 'a b' '' 'http://x.y/z'; do
        run pouch trust set --policypath "$own" -t reject "$name"
        is "$status" 1
    done
    run pouch trust set --policypath "$own" quay.io
    is "$status" 1
    one_line 'needs a key'
    run pouch trust set --policypath "$own" -t reject -f "$T/keys/alice.gpg" quay.io
    is "$status" 1
    run pouch trust set --policypath "$own" -f /no/such/key quay.io
    is "$status" 1
    one_line 'No such file'
    echo '{"default":[]}' >"$own"
    run pouch trust set --policypath "$own" -t reject quay.io
    is "$status" 1
    one_line 'own.json .*default: expected a list'
    is "$(cat "$own")" '{"default":[]}'
    rm -f "$own"
}
