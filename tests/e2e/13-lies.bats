# sanitizers: yes
# Images that lie about what they are, pulled and loaded: one clear line each, and nothing is left.
load helpers

setup_file() {
    export BATS_TEST_TIMEOUT=900
    pouchd_start --max-image-size 16m --bridge-name none --nftables=false
}
teardown_file() { file_down; }

@test "sizes, digests, types, bombs, depths, sparse files and 8 EB: each is refused in one line" {
    run "$HERE/lying-images" "$SOCK" "$T/root"
    echo "$output"
    is "$status" 0
    [ "$(grep -c '^ok ' <<<"$output")" -gt 100 ]
}
