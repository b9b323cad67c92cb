# The pouch command line itself: help, formats, completion, output when it is not a terminal.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

verbs() { "$POUCH_BIN/pouch" --help | awk '/ommands:/ {on=1; next} /^[^ ]/ {on=0} on && /^ +[a-z]/ {print $1}'; }

@test "help for every verb, with usage and each flag" {
    local verb count=0
    for verb in $(verbs); do
        run -0 pouch "$verb" --help
        has "$output" "[Uu]sage: +pouch.* $verb"
        count=$((count + 1))
    done
    [ "$count" -ge 25 ] || fail "only $count verbs in pouch --help"
    for verb in run create start stop restart kill wait attach logs exec ps inspect rm rename pause \
        unpause top pull images tag rmi load import events info version; do
        verbs | grep -qx "$verb" || fail "no verb $verb"
    done
}

@test "unknown commands and flags are named, with a way to help" {
    run pouch nosuchverb
    [ "$status" -ne 0 ]
    has "$output" "nosuchverb"
    run pouch ps --nosuchflag
    [ "$status" -ne 0 ]
    has "$output" 'unknown flag: --nosuchflag'
    run pouch run -Z busybox
    is "$status" 125
    has "$output" "unknown shorthand flag: 'Z'"
    run pouch rm
    [ "$status" -ne 0 ]
    has "$output" 'requires at least 1 argument'
    # No abbreviations: they would change meaning when a flag is added.
    run pouch ps --no-tru
    [ "$status" -ne 0 ]
}

@test "flags end at the image's name" {
    is "$(pouch run --rm --network none busybox echo --rm -it --name x)" '--rm -it --name x'
    is "$(pouch run --rm=true --network=none busybox echo -n a)" a
    pouch run -d --name=flags --network none busybox sleep 60 >/dev/null
    is "$(pouch exec flags echo -u x)" '-u x'
    run pouch exec -itu app flags true </dev/null
    [ "$status" -ne 0 ]
    has "$output" 'not a TTY|not a terminal'
}

@test "formats: fields, json, join, table, conditions" {
    pouch run -d --name fmt --network none -e A=b busybox sleep 60 >/dev/null
    is "$(pouch ps --format '{{.Names}}: {{.Image}}')" 'fmt: busybox'
    is "$(pouch ps --format json | jq -r .Names)" fmt
    is "$(pouch ps --format '{{json .}}' | jq -r .Image)" busybox
    has "$(pouch ps --format 'table {{.Names}}\t{{.Image}}' | head -n 1)" '^NAMES +IMAGE$'
    is "$(pouch inspect -f '{{json .Config.Cmd}}' fmt)" '["sleep","60"]'
    is "$(pouch inspect -f '{{index .Config.Cmd 1}}' fmt)" 60
    is "$(pouch inspect -f '{{range .Config.Cmd}}<{{.}}>{{end}}' fmt)" '<sleep><60>'
    is "$(pouch inspect -f '{{if .State.Running}}yes{{else}}no{{end}}' fmt)" yes
    is "$(pouch inspect -f '{{join .Config.Cmd "+"}}' fmt)" 'sleep+60'
    is "$(pouch inspect -f '{{len .Config.Cmd}}' fmt)" 2
    is "$(pouch inspect -f '{{.HostConfig.NetworkMode | upper}}' fmt)" NONE
    is "$(pouch inspect -f '{{eq .State.Status "running"}}' fmt)" true
    run pouch inspect -f '{{.No.Such.Field}}' fmt
    has "$output" 'No|no value'
    run pouch inspect -f '{{.Unclosed' fmt
    [ "$status" -ne 0 ]
    has "$output" 'template|unclosed'
    is "$(pouch inspect --type container fmt | jq -r '.[0].Name')" /fmt
}

@test "tables line up" {
    pouch run -d --name aa --network none busybox sleep 60 >/dev/null
    pouch run -d --name a-much-longer-name --network none busybox sleep 60 >/dev/null
    run pouch ps
    local column
    column=$(head -n 1 <<<"$output" | grep -bo NAMES | cut -d: -f1)
    is "$(sed -n 2p <<<"$output" | cut -c $((column + 1))-)" a-much-longer-name
    is "$(sed -n 3p <<<"$output" | cut -c $((column + 1))-)" aa
}

@test "completion for bash, zsh and fish comes from the command table" {
    local shell
    for shell in bash zsh fish; do
        run -0 pouch completion "$shell"
        has "$output" 'pouch'
    done
    pouch completion bash | bash -n
    run pouch completion tcsh
    [ "$status" -ne 0 ]
    local words
    words=$(PATH=$POUCH_BIN:$PATH bash -c 'source <('"$POUCH_BIN"'/pouch completion bash)
        spec=$(complete -p pouch) || exit 1
        function=$(sed -n "s/.*-F \([^ ]*\).*/\1/p" <<<"$spec")
        COMP_WORDS=(pouch ren); COMP_CWORD=1; COMP_LINE="pouch ren"; COMP_POINT=9
        "$function" pouch ren pouch; echo "${COMPREPLY[@]}"')
    has "$words" 'rename'
}

@test "output into a closed pipe ends quietly" {
    pouch run -d --name pipe --network none busybox sh -c 'yes | head -n 200000' >/dev/null
    pouch wait pipe >/dev/null
    run bash -c "'$POUCH_BIN/pouch' -H 'unix://$SOCK' logs pipe | head -n 1"
    is "$output" y
}

@test "-H and DOCKER_HOST-like environment" {
    POUCH_HOST=unix://$SOCK run "$POUCH_BIN/pouch" ps -q
    is "$status" 0
    run "$POUCH_BIN/pouch" -H 'nonsense://x' ps
    [ "$status" -ne 0 ]
    has "$output" 'nonsense'
}
