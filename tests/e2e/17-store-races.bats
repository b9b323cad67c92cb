# The image store under many hands at once.
load helpers

setup_file() {
    export BATS_TEST_TIMEOUT=900
    pouchd_start
}
teardown_file() { file_down; }

@test "two pulls, a removal and a collection of the same image at once, a thousand times" {
    run python3 "$HERE/store-races" "$SOCK" "$T/root" "${RACE_ROUNDS:-1000}"
    echo "$output"
    is "$status" 0
    has "$output" 'pulled [0-9]+'
    is "$(pouch images -aq)" ''
    run pouch fsck
    is "$status" 0
    has "$output" ' 0 problems'
}

# jittered: pouchd anew, with calls that wait at random (tests/tools/jitter.c), so that windows are wide.
jittered() {
    local jitter=${POUCH_JITTER:-$RANDOM:60:10}
    echo "jitter $jitter"
    pouchd_stop
    POUCH_JITTER=$jitter pouchd_start "$@"
}

images_at_once() {
    jittered "$@"
    run python3 "$HERE/image-races" "$SOCK" "$T/root" "${RACE_SECONDS:-9}" "${RACE_SEED:-}" images
    echo "$output"
    is "$status" 0
    has "$output" '(pull|save) [0-9]+'
    is "$(pouch images -aq)" ''
    run pouch fsck
    is "$status" 0
    has "$output" ' 0 problems'
}
@test "all that is done with images at once, at random: each answer is one of those that may be" {
    images_at_once
}
@test "the same when archives of layers are dropped meanwhile" { images_at_once --keep-blobs=false; }

@test "all that is done with volumes at once, at random" {
    jittered
    run python3 "$HERE/image-races" "$SOCK" "$T/root" "${RACE_SECONDS:-8}" "${RACE_SEED:-}" volumes
    echo "$output"
    is "$status" 0
    has "$output" 'volume-create [0-9]+'
    is "$(pouch images -aq)" ''
    is "$(pouch volume ls -q)" ''
}
