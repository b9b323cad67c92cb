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
