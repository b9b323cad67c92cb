# Operations on containers that race with their ends, removals, renames, upgrades, restarts.
# sanitizers: yes
load helpers

setup_file() {
    export BATS_TEST_TIMEOUT=600
    file_up
}
teardown_file() { file_down; }

fds() { find "/proc/$(pouchd_pid)/fd" -mindepth 1 | wc -l; }
few_fds() { [ "$(fds)" -le $(($1 + 2)) ]; }

races() { # races OPERATIONS [SEED]
    run timeout 500 python3 "$HERE/container-races" "$SOCK" "$T/root" "$T/run" "$@"
    echo "$output"
    is "$status" 0
}

# No row of a container that is gone; the database is pouchd's alone while it runs.
no_rows() {
    run python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for table in ("containers", "health", "hooks", "addresses"):
    for row in db.execute(f"SELECT * FROM {table}"):
        print(table, row)' "$T/root/pouch.db"
    is "$output" ''
}

@test "a thousand operations at once on containers that come and go" {
    local before
    before=$(fds)
    races "${RACE_OPERATIONS:-1000}" ${RACE_SEED:+"$RACE_SEED"}
    races "pairs:${RACE_ROUNDS:-8}" ${RACE_SEED:+"$RACE_SEED"}
    within 60 few_fds "$before"
    pouchd_stop
    no_rows
    pouchd_start
}

@test "the same while calls of pouchd wait at random" {
    local seed=${RACE_SEED:-$RANDOM}
    [ -e "$POUCH_TOP/build/tests/tools/jitter.so" ] || skip "no jitter.so (a build with sanitizers alone)"
    case $(ldd "$POUCH_BIN/pouchd") in *libasan*) skip "sanitizers want to be loaded first" ;; esac
    pouchd_stop
    echo "jitter $seed"
    POUCH_JITTER=$seed:${RACE_JITTER:-10:20} pouchd_start
    races "${RACE_OPERATIONS:-300}" "$seed"
    races "pairs:${RACE_ROUNDS:-8}" "$seed"
    pouchd_stop
    no_rows
    pouchd_start
}
