# The same commands to dockerd and to pouchd, by Docker's command line and by ours: what they print, and how
# they end, is the same.
load helpers
load others

setup_file() {
    pouchd_start
    registry_start busybox:latest
    others_up
    dcli pull -q "$REGISTRY/busybox:latest" >/dev/null
    # The same image under a digest of another manifest: Docker writes its own.
    dcli tag "$REGISTRY/busybox:latest" "$REGISTRY/busybox:pushed"
    dcli push -q "$REGISTRY/busybox:pushed" >/dev/null
    local one
    for one in dcli docker; do names "$one"; done
}
teardown_file() {
    others_down
    file_down
}
setup() {
    REGISTRY=$(cat "$T/registry.host")
    mkdir "$T/work"
}
teardown() {
    remove_all
    rm -rf "$T/work"
}

# names WHO: the names that all tests begin with.
names() {
    $1 pull -q "$REGISTRY/busybox:latest" >/dev/null
    $1 pull -q "$REGISTRY/busybox:pushed" >/dev/null
    $1 tag "$REGISTRY/busybox:latest" busybox
    $1 tag busybox other:1
}

# told WHO ARGUMENT...: what that command line prints on both streams, and its status. Folders' sizes are the
# file system's, so sizes of images differ a little; programs and sockets have names of their own.
told() {
    local status=0 all
    all=$("$@" 2>&1) || status=$?
    sed -E "s/1\.9[0-9]*MB/1.9xMB/g; s/ +/ /g; s/ \$//; s/\b(pouch|docker)\b/engine/g" <<<"$all" | sort
    echo "status $status"
}

# same ARGUMENT...: all three say the same.
same() {
    local theirs one
    theirs=$(told dcli "$@")
    for one in docker pouch; do
        [ "$(told "$one" "$@")" = "$theirs" ] || {
            diff <(echo "$theirs") <(told "$one" "$@") || true
            fail "$one $*: not what dockerd says (<)"
        }
    done
}

@test "a list by name has the names that match, not the others of the same image" {
    same images
    same images other
    same images 'o*'
    same images "$REGISTRY/busybox"
    same images "$REGISTRY/busybox:pushed"
    same images '*/*'
    same images '*/*:latest'
    same images --filter reference='o*' --filter reference=busybox
    same images --filter reference='o*' --digests
    same images nothere
    same images -q 'o*'
    has "$(told pouch images other)" '^other 1 '
}

@test "a list with digests has a row for each" {
    same images --digests
    [ "$(pouch images --digests "$REGISTRY/busybox" | grep -c sha256)" = 4 ]
    [ "$(pouch images "$REGISTRY/busybox" | wc -l)" = 3 ]
}

@test "filters of lists, good and bad" {
    same images --filter dangling=true
    same images --filter dangling=false
    same images --filter before=busybox
    same images --filter since=nothere
    same images --filter label=x
    same images --format '{{.Repository}} {{.Tag}} {{.ID}} {{.CreatedAt}}'
    run -1 pouch images --filter dangling=x
    has "$output" "invalid filter 'dangling=\[x\]'"
    run -1 dcli images --filter dangling=x
}

@test "tags" {
    same tag busybox new:1
    same images new
    same tag busybox sha256:1
    same tag nothere a:1
    same tag
    docker rmi new:1 >/dev/null
    dcli rmi new:1 >/dev/null
}

@test "history" {
    same history busybox
    same history --no-trunc busybox
    same history -q busybox
    same history nothere
    same history --format '{{.ID}} {{.CreatedAt}} {{.CreatedBy}} {{.Comment}}' busybox
    TZ=Asia/Kolkata same history --format '{{.CreatedAt}}' busybox
}

@test "a step of the history longer than a page is told whole" {
    local long one
    long=$(printf 'x%.0s' {1..9000})
    for one in dcli docker; do
        $one import -m "$long" - "long:1" < <(tar c --files-from /dev/null) >/dev/null
    done
    same history --no-trunc --format '{{.Comment}}' long:1
    [ "$(pouch history --no-trunc --format '{{.Comment}}' long:1 | wc -c)" = 9001 ]
    docker rmi long:1 >/dev/null
    dcli rmi long:1 >/dev/null
}

@test "pull: what is there is not called a layer to be pulled" {
    run -0 pouch pull "$REGISTRY/busybox:latest"
    has "$output" 'Already exists'
    [[ $output != *'Pulling fs layer'* ]] || fail "$output"
    pouch rmi -f busybox other:1 "$REGISTRY/busybox:latest" "$REGISTRY/busybox:pushed" >/dev/null
    run -0 pouch pull "$REGISTRY/busybox:latest"
    has "$output" 'Pulling fs layer'
    names docker
    same pull "$REGISTRY/busybox:nope"
    same pull "$REGISTRY/nope/nope"
    same pull -q "$REGISTRY/busybox"
    same pull -a "$REGISTRY/busybox:latest"
    same pull -a -q "$REGISTRY/busybox"
    same pull "$REGISTRY/busybox@sha256:$(printf '0%.0s' {1..64})"
}

@test "content trust as it is by default may be said; what there is not is refused" {
    pouch pull -q --disable-content-trust "$REGISTRY/busybox:latest"
    pouch push -q --disable-content-trust=true "$REGISTRY/busybox:latest"
    run -125 pouch pull --disable-content-trust=false "$REGISTRY/busybox:latest"
    has "$output" "there is no Notary"
}

@test "load: an error is in the stream, where clients look for it" {
    local all
    all=$(curl -sS --unix-socket "$SOCK" -X POST --data-binary abc -w '\n%{http_code}' http://d/images/load)
    has "$all" '"errorDetail":\{"message":"this is not an image archive'
    has "$all" '200$'
    echo abc >"$T/work/no.tar"
    run -1 docker load -i "$T/work/no.tar"
    has "$output" "^this is not an image archive"
    run -1 pouch load -i "$T/work/no.tar"
    has "$output" "this is not an image archive"
    run -1 pouch load -i "$T/work"
    has "$output" "cannot read what is to be sent: Is a directory"
}

@test "save and load: one archive, both ways, the same words" {
    local one
    for one in dcli pouch; do $one save -o "$T/work/$one.tar" busybox other:1; done
    same load -i "$T/work/dcli.tar"
    same load -i "$T/work/pouch.tar"
    same load -q -i "$T/work/pouch.tar"
}

# holds PID FOLDER: the process has a file of that folder open.
holds() { find "/proc/$1/fd" -lname "$2/*" | grep -q .; }

@test "save -o: whoever kills it, no half file stays" {
    local pid
    mkdir "$T/work/out"
    kill -STOP "$(pouchd_pid)"
    "$POUCH_BIN/pouch" -H "unix://$SOCK" save -o "$T/work/out/a.tar" busybox 3>&- &
    pid=$!
    within 10 holds "$pid" "$T/work/out"
    kill -9 "$pid"
    wait "$pid" || true
    kill -CONT "$(pouchd_pid)"
    [ -z "$(ls -A "$T/work/out")" ] || fail "$(ls -A "$T/work/out")"
    pouch save -o "$T/work/out/a.tar" busybox
    pouch save -o "$T/work/out/a.tar" busybox
    [ "$(ls "$T/work/out")" = a.tar ]
    tar tf "$T/work/out/a.tar" >/dev/null
}

@test "distribution: what the registry has under a name" {
    local path=distribution/$REGISTRY/busybox:pushed/json theirs ours
    theirs=$(curl -sS --unix-socket "$T/docker.sock" "http://d/v1.41/$path")
    ours=$(curl -sS --unix-socket "$SOCK" "http://d/v1.41/$path")
    [ "$(jq -cS .Descriptor <<<"$ours")" = "$(jq -cS .Descriptor <<<"$theirs")" ] || fail "$ours $theirs"
    [ "$(jq -cS .Platforms <<<"$ours")" = '[{"architecture":"amd64","os":"linux"}]' ] || fail "$ours"
    pouch manifest create "$REGISTRY/list:1" "$REGISTRY/busybox:pushed" >/dev/null
    pouch manifest push --purge "$REGISTRY/list:1" >/dev/null
    ours=$(curl -sS --unix-socket "$SOCK" "http://d/distribution/$REGISTRY/list:1/json")
    theirs=$(curl -sS --unix-socket "$T/docker.sock" "http://d/v1.41/distribution/$REGISTRY/list:1/json")
    [ "$(jq -cS . <<<"$ours")" = "$(jq -cS . <<<"$theirs")" ] || fail "$ours $theirs"
    [ "$(curl -sS -o /dev/null -w '%{http_code}' --unix-socket "$SOCK" "http://d/distribution/$REGISTRY/nope/json")" = 404 ]
}
