# sanitizers: yes
# Mirrors of any registry: hosts.toml, registries.conf, registry-mirrors; their order, health, and how a
# pull goes on when one of them fails.
load helpers

setup_file() {
    mkdir -p "$T/etc"
    registry_start busybox:latest
    skopeo --override-os linux copy -q --dest-tls-verify=false "oci:$POUCH_IMAGES/layout:busybox:latest" \
        "docker://$REGISTRY/library/busybox:latest" 2>/dev/null ||
        skopeo copy -q --dest-tls-verify=false --src-tls-verify=false "docker://$REGISTRY/busybox:latest" \
            "docker://$REGISTRY/library/busybox:latest"
    fault_registry_start
    up
}
teardown_file() { file_down; }

up() {
    POUCH_PULL_STALL_TIMEOUT=2 pouchd_start --registry-config "$T/etc" \
        --registry-mirror "http://$REGISTRY/"
}
# Nothing is remembered of mirrors that failed.
again() {
    pouchd_stop
    up
}

teardown() {
    rm -rf "${T:?}/etc"
    mkdir "$T/etc"
    no_images
    forget
    again
    remove_all
    leak_check
    sanitizers_quiet
}
hosts() { # HOST < hosts.toml
    mkdir -p "$T/etc/certs.d/$1"
    cat >"$T/etc/certs.d/$1/hosts.toml"
}
pulled() { is "$(pouch run --rm --network none "$1" echo fine)" fine; }

@test "hosts.toml: the mirror serves it all, with the registry's name, and headers; the registry need not be there" {
    local dead
    dead=127.0.0.1:$(free_port)
    { faulty_host ok; printf '[host."http://%s/v2/ok".header]\nX-Test = "hello"\n' "$FAULTY"; } | hosts "$dead"
    pouch pull -q "$dead/busybox:latest"
    pulled "$dead/busybox:latest"
    has "$(seen)" "GET /v2/ok/busybox/manifests/latest\?ns=$dead range= x-test=hello"
    has "$(seen)" "GET /v2/ok/busybox/blobs/sha256"
}

@test "hosts.toml: what a mirror does wrong sends the pull on, each in its way" {
    local fault
    for fault in e500 e404 e401 wrongmanifest hugemanifest short stall stallhead limithour \
        headers loop closes lierange; do
        again
        forget
        faulty_host "$fault" | hosts "$REGISTRY"
        echo "fault $fault"
        timeout 60 "$POUCH_BIN/pouch" -H "unix://$SOCK" pull "$REGISTRY/busybox:latest"
        has "$(seen)" "/v2/$fault/busybox/manifests/latest"
        pulled "$REGISTRY/busybox:latest"
        no_images
    done
}

@test "a mirror that failed lately is asked last; one that has not what is wanted keeps its place" {
    faulty_host e500 | hosts "$REGISTRY"
    pouch pull -q "$REGISTRY/busybox:latest"
    has "$(seen)" e500
    no_images
    forget
    pouch pull -q "$REGISTRY/busybox:latest"
    lacks "$(seen)" e500
    no_images
    # "No such image" is an honest answer.
    faulty_host e404 | hosts "$REGISTRY"
    pouch pull -q "$REGISTRY/busybox:latest"
    no_images
    forget
    pouch pull -q "$REGISTRY/busybox:latest"
    has "$(seen)" e404
}

@test "all fail: one line that names each" {
    local dead
    dead=127.0.0.1:$(free_port)
    faulty_host e500 | hosts "$dead"
    run pouch pull "$dead/busybox:latest"
    is "$status" 1
    has "$output" "cannot reach registry $dead: connection refused \(others: registry $FAULTY/v2/e500 answered 500"
    is "$(wc -l <<<"$output")" 1
}

@test "capabilities: what a mirror is for" {
    { faulty_host ok 'capabilities = ["pull"]'; } | hosts "$REGISTRY"
    pouch pull -q "$REGISTRY/busybox:latest"
    lacks "$(seen)" manifests/latest
    has "$(seen)" /blobs/
    no_images
    forget
    { faulty_host ok 'capabilities = ["resolve"]'; } | hosts "$REGISTRY"
    pouch pull -q "$REGISTRY/busybox:latest"
    has "$(seen)" manifests/latest
    lacks "$(seen)" /blobs/
}

@test "_default is for all registries without their own; server takes the registry's place" {
    local dead
    dead=127.0.0.1:$(free_port)
    { printf 'server = "http://%s"\n' "$REGISTRY"; faulty_host e500; } | hosts _default
    pouch pull -q "$dead/busybox:latest"
    has "$(seen)" "e500.*ns=$dead"
    pulled "$dead/busybox:latest"
}

@test "registries.conf: mirrors, their kinds, other names, blocked registries" {
    # The fault registry's faults are the first part of a repository's name.
    cat >"$T/etc/registries.conf" <<CONF
[[registry]]
location = "$REGISTRY"
[[registry.mirror]]
location = "$FAULTY/e500"
[[registry.mirror]]
location = "$FAULTY/ok"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "example.com/team"
location = "$REGISTRY"
CONF
    mkdir "$T/etc/registries.conf.d"
    printf '[[registry]]\nprefix = "evil.example"\nblocked = true\n' >"$T/etc/registries.conf.d/9.conf"
    pouch pull -q "$REGISTRY/busybox:latest"
    has "$(seen)" 'e500/busybox/manifests/latest'
    lacks "$(seen)" 'ok/busybox/manifests/latest'
    has "$(seen)" 'ok/busybox/blobs/sha256'
    no_images
    pouch pull -q example.com/team/busybox:latest
    pulled example.com/team/busybox:latest
    run pouch pull evil.example/x
    is "$status" 1
    has "$output" "registry evil.example is blocked in $T/etc/registries.conf.d/9.conf"
}

@test "registry-mirrors: Docker Hub's images from a mirror, with each command line; info names it" {
    hub_by_mirror() {
        ctl pull -q busybox:latest
        is "$(ctl run --rm --network none busybox:latest echo fine)" fine
        no_images
        is "$(curl -s --unix-socket "$SOCK" http://pouch/info | jq -r ".RegistryConfig.Mirrors[0]")" "http://$REGISTRY/"
    }
    each_cli hub_by_mirror
}

@test "configuration that is wrong is refused and named" {
    echo 'serverr = "x"' | hosts "$REGISTRY"
    run pouch pull "$REGISTRY/busybox:latest"
    is "$status" 1
    has "$output" "$T/etc/certs.d/$REGISTRY/hosts.toml: unknown field \"serverr\""
    echo 'server = "x' | hosts "$REGISTRY"
    run pouch pull "$REGISTRY/busybox:latest"
    has "$output" 'hosts.toml: line 1: a string is not closed'
    rm -r "$T/etc/certs.d"
    echo '[registries.search]' >"$T/etc/registries.conf"
    run pouch pull "$REGISTRY/busybox:latest"
    has "$output" "registries.conf: .*version 1"
    run "$POUCH_BIN/pouchd" --root "$T/root2" --state "$T/run2" --registry-mirror m1
    is "$status" 1
    has "$output" 'registry-mirrors: "m1" is no URL'
}

@test "the examples of docs/registries.md are taken" {
    python3 - "$POUCH_TOP/docs/registries.md" "$T/etc" <<'PY'
import os
import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
for body in re.findall(r"^```toml\n(.*?)^```", text, re.S | re.M):
    path = os.path.join(sys.argv[2], body.splitlines()[0].removeprefix("# "))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w", encoding="utf-8").write(body)
    if path.endswith("hosts.toml"):
        for name in re.findall(r'"([a-z]+\.(?:crt|cert|key))"', body):
            with open(os.path.join(os.path.dirname(path), name), "w", encoding="utf-8") as pem:
                pem.write("-----BEGIN CERTIFICATE-----\n")
PY
    is "$(find "$T/etc" -name '*.toml' -o -name '*.conf' | wc -l)" 2
    run pouch pull busybox:latest
    has "$output" 'registry-1.docker.io: no such host .others: .*mirror.example.com:5000'
    run pouch pull registry.example.com/x
    has "$output" 'registry.example.com: no such host .others: .*mirror-a.example.com'
    run pouch pull old.example.com/team/x
    has "$output" 'cannot reach registry registry.example.com'
    run pouch pull very.bad.example.com/x
    has "$output" 'is blocked in'
}
