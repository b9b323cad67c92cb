# The policy file as containers/image sees it: the same policies and images given to pouch and to skopeo's library.
load helpers
load login

setup_file() {
    local name
    export GNUPGHOME=$T/gnupg
    mkdir -m 700 "$GNUPGHOME"
    mkdir -p "$T/registries.d" "$T/sigs" "$T/keys"
    registry_start
    for name in alice bob; do
        gpg --batch -q --passphrase '' --quick-generate-key "$name@example.com" 2>/dev/null
        gpg --export "$name@example.com" >"$T/keys/$name.gpg"
        gpg --export --armor "$name@example.com" >"$T/keys/$name.asc"
    done
    openssl ecparam -name prime256v1 -genkey -noout -out "$T/keys/one.pem"
    openssl pkey -in "$T/keys/one.pem" -pubout -out "$T/keys/one.pub"
    cat >"$T/registries.d/test.yaml" <<EOF
docker:
    $REGISTRY:
        lookaside: file://$T/sigs
        lookaside-staging: file://$T/sigs
    $REGISTRY/team:
        use-sigstore-attachments: true
EOF
    echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$T/policy.json"
    pouchd_start --signature-policy "$T/policy.json" --registries-d "$T/registries.d"
}
teardown_file() {
    GNUPGHOME=$T/gnupg gpgconf --kill all || true
    file_down
}

# Every policy of the list: POUCH_TEST_ALL_POLICIES=1 (minutes). The sigstore part needs a program that is
# built once, by hand, from Go modules: tools/make-sigstore-copy.
@test "pouch and containers/image agree about policies, signed images and names" {
    local quick=--quick program why
    export GNUPGHOME=$T/gnupg
    [ -z "${POUCH_TEST_ALL_POLICIES:-}" ] || quick=
    why=$T/why
    program=$("$HERE/../../tools/make-sigstore-copy" --have 2>"$why") || {
        program=
        echo "# sigstore is left out: $(cat "$why")" >&3
    }
    run "$HERE/policy-compare" $quick --sigstore "$program" "$T" "$REGISTRY" "$POUCH_BIN/pouch" -H "unix://$SOCK"
    echo "$output"
    is "$status" 0
    has "$output" ' 0 different'
    echo "# $(tail -n 1 <<<"$output")" >&3
}
