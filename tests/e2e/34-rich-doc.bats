# docs/rich-containers.md: each command of it is run, in order, and prints what the document says.
# Its old-vm is real: a rich container with systemd that is reached by ssh.
load helpers
load rich

setup_file() {
    export BATS_TEST_TIMEOUT=300
    rich_up --enable-lxcfs
    ssh-keygen -q -t ed25519 -N '' -f "$T/key"
    mkdir -p "$T/keys" "$T/bin" "$HOME/.ssh"
    chmod 700 "$T/keys" "$HOME/.ssh"
    cp "$T/key.pub" "$T/keys/authorized_keys"
    # The document's words, on this file's engine and keys.
    printf '#!/bin/sh\nexec "%s/pouch" -H "unix://%s" "$@"\n' "$POUCH_BIN" "$SOCK" >"$T/bin/pouch"
    cat >"$T/ssh.config" <<END
Host *
    IdentityFile $T/key
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    BatchMode yes
Host old-vm
    HostName 127.0.0.1
    Port 2022
END
    printf '#!/bin/sh\nexec /usr/bin/ssh -F "%s/ssh.config" "$@"\n' "$T" >"$T/bin/ssh"
    chmod +x "$T/bin"/*
}
teardown_file() { file_down; }

@test "docs/rich-containers.md: every command does what the document says" {
    vm old-vm -p 127.0.0.1:2022:22
    pouch exec -u root old-vm mkdir -m 700 -p /root/.ssh
    pouch exec -u root -i old-vm sh -c 'cat >/root/.ssh/authorized_keys' <"$T/key.pub"
    mkdir "$T/walk"
    cd "$T/walk"
    PATH=$T/bin:$PATH within 5 ssh root@old-vm true
    run env PATH="$T/bin:$PATH" "$HERE/doc-run" "$POUCH_TOP/docs/rich-containers.md"
    echo "$output"
    is "$status" 0
    has "$output" '^[3-9][0-9] commands, 0 failed'
    cd /
    rm -rf "$T/walk"
    pouch rm -f old-vm >/dev/null
    pouch rmi shop:1 >/dev/null
}

@test "doc-run itself: what fails and what prints something else is found" {
    printf '```console\n$ echo yes\nno\n```\n' >"$T/tmp/a.md"
    run "$HERE/doc-run" "$T/tmp/a.md"
    is "$status" 1
    printf '```console\n$ false\n```\n' >"$T/tmp/a.md"
    run "$HERE/doc-run" "$T/tmp/a.md"
    is "$status" 1
    printf 'nothing\n' >"$T/tmp/a.md"
    run "$HERE/doc-run" "$T/tmp/a.md"
    is "$status" 1
    printf '```console\n$ x=2\n$ echo "one $((x + 1))"\none …\n$ seq 5\n1\n…\n5\n```\n' >"$T/tmp/a.md"
    run "$HERE/doc-run" "$T/tmp/a.md"
    is "$status" 0
    rm "$T/tmp/a.md"
}
