# sanitizers: yes
# fsck with logins (a private registry, a private mirror) and with progress.
load helpers
load login

setup_file() {
    mkdir -p "$T/etc"
    basic_registry_start
    fill "$BASIC/private/busybox:latest"
    pouchd_start --registry-config "$T/etc"
}
teardown_file() {
    login_down
    file_down
}
setup() {
    login_hosts
    export DOCKER_CONFIG=$T/docker
    rm -rf "$DOCKER_CONFIG" "${T:?}/etc"/*
    LOG_LINES=$(wc -l <"$LOG")
    snapshot >"$T/before"
}
teardown() {
    local id
    for id in $(pouch images -aq | sort -u); do pouch rmi -f "$id" >/dev/null; done
    rm -rf "$T/root/blobs/quarantine"
    remove_all
    leak_check
    sanitizers_quiet
}
damage() { # the largest blob
    local blob
    blob=$(find "$T/root/blobs/sha256" -type f -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2)
    printf 'damage' | dd of="$blob" bs=1 seek=1000 conv=notrunc status=none
}

@test "fsck --repair pulls again with the logins of the command line, the mirror's too" {
    local origin=127.0.0.1:1 name
    mkdir -p "$T/etc/certs.d/$origin"
    printf '[host."http://%s"]\n' "$BASIC" >"$T/etc/certs.d/$origin/hosts.toml"
    for name in "$BASIC/private/busybox" "$origin/private/busybox"; do
        pouch login -u app --password-stdin "$BASIC" <<<secret
        pouch pull -q "$name"
        pouch logout "$BASIC"
        damage
        run pouch fsck
        is "$status" 1
        has "$output" '1 problems, 0 repaired'
        # Without the login it cannot be had again; it must not be lost for trying.
        pouch login -u app --password-stdin "$BASIC" <<<secret
        run pouch fsck --repair
        echo "$output"
        is "$status" 0
        has "$output" "pulled again from $name@sha256:"
        is "$(pouch run --rm --network none "$name" echo fine)" fine
        run pouch fsck
        is "$status" 0
        pouch rmi -f "$name" >/dev/null
    done
    is "$(curl -sS --unix-socket "$SOCK" http://pouch/pouch/registry-hosts)" '[]'
}

@test "fsck without the login says so, and whose it would be" {
    pouch login -u app --password-stdin "$BASIC" <<<secret
    pouch pull -q "$BASIC/private/busybox"
    pouch logout "$BASIC"
    damage
    run pouch fsck --repair
    is "$status" 1
    has "$output" "not repaired.*$BASIC.*(unauthorized|authentication required)"
}

@test "progress: the API's stream, a terminal's rows, nothing else elsewhere" {
    local text
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
    text=$(curl -sS --unix-socket "$SOCK" -X POST 'http://pouch/pouch/fsck?progress=1' | tr -d '\r')
    is "$(jq -r 'select(.id=="blobs" and .status=="Checked").progressDetail | .current == .total and .total > 0' <<<"$text")" true
    is "$(jq -r 'select(.id=="layers" and .status=="Checked").progressDetail | .current == .total and .total > 0' <<<"$text")" true
    is "$(jq -rs 'last | .aux.Damaged' <<<"$text")" 0
    is "$(jq -rs 'last | .aux.Images' <<<"$text")" 1
    # As before without it: one object.
    is "$(curl -sS --unix-socket "$SOCK" -X POST http://pouch/pouch/fsck | jq -r .Damaged)" 0
    run --separate-stderr pouch fsck
    is "$stderr" ''
    is "$(wc -l <<<"$output")" 1
    run script -qec "$POUCH_BIN/pouch -H unix://$SOCK fsck" "$T/tmp/typescript" </dev/null
    is "$status" 0
    has "$output" 'blobs: Checked'
    has "$output" 'layers: Checked'
    has "$output" '1 images: .*0 problems'
    rm -f "$T/tmp/typescript"
}
