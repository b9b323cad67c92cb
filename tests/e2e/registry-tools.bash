# A second registry, another implementation than Debian's docker-registry and with the referrers API (olareg), and two
# clients that make and list referrers: regctl, and the library of oras. Made by tools/make-registry-tools.

# Sets $TOOLS, or skips the test and says why.
registry_tools() {
    TOOLS=$("$POUCH_TOP/tools/make-registry-tools" --have 2>&1) || skip "no registry-tools: $TOOLS"
}

# second_registry NAME [FLAG...]: on loopback, in $T/NAME; its address is then in $T/NAME/host, what it is asked in
# $T/NAME/log. Without the programs nothing is started.
second_registry() {
    local name=$1 tools
    shift
    tools=$("$POUCH_TOP/tools/make-registry-tools" --have 2>/dev/null) || return 0
    mkdir -p "$T/$name"
    "$tools/registry-tools" serve "$@" "$T/$name" >"$T/$name/out" 2>&1 3>&- &
    echo $! >>"$T/second.pids"
    disown
    within 30 test -s "$T/$name/host"
}

second_down() {
    local pid
    [ -e "$T/second.pids" ] || return 0
    while read -r pid; do kill "$pid" 2>/dev/null || true; done <"$T/second.pids"
    rm -f "$T/second.pids"
}

host_of() { cat "$T/$1/host"; }
# What NAME was asked since the last forget_asked.
asked() { tail -n "+$(($(cat "$T/$1/seen" 2>/dev/null || echo 0) + 1))" "$T/$1/log"; }
forget_asked() { wc -l <"$T/$1/log" >"$T/$1/seen"; }

# Its configuration is of this file only; what it is told of hosts is plain HTTP.
regctl() { REGCTL_CONFIG=$T/regctl.json "$TOOLS/regctl" "$@"; }
attach() { "$TOOLS/registry-tools" attach "$@"; }
discover() { "$TOOLS/registry-tools" discover "$@"; }
