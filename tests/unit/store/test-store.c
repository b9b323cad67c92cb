/* SPDX-License-Identifier: Apache-2.0 */
/* Migrations, transactions, constraint errors, a database in use. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "store/store.h"

static char dir[] = "/tmp/pouch-unit-store-XXXXXX";
static char *path;

static const char *const steps[] = {
    "CREATE TABLE t (name TEXT PRIMARY KEY, n INTEGER, data BLOB)",
    "ALTER TABLE t ADD COLUMN extra TEXT DEFAULT 'x'",
    NULL,
};

static int setup(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    path = xasprintf("%s/db", dir);
    return 0;
}

static int teardown(void **state)
{
    free(path);
    return fs_remove_tree(AT_FDCWD, dir);
}

static void test_basics(void **state)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct store *s = NULL;
    struct store_rows rows = STORE_ROWS_INIT;
    size_t len = 0;

    assert_int_equal(store_open(path, &s, &e), 0);
    assert_int_equal(store_migrate(s, "t", steps, &e), 0);
    assert_int_equal(store_migrate(s, "t", steps, &e), 0);
    assert_int_equal(store_exec(s, &e, "INSERT INTO t (name, n, data) VALUES (?, ?, ?)", "sib", "a",
                                (int64_t)-7, "\0\1", (size_t)2),
                     1);
    assert_int_equal(store_exec(s, &e, "INSERT INTO t (name) VALUES (?)", "s", "a"), -EEXIST);
    error_done(&e);
    assert_int_equal(store_begin(s, &e), 0);
    assert_int_equal(store_exec(s, &e, "INSERT INTO t (name) VALUES (?)", "s", "b"), 1);
    store_rollback(s);
    assert_int_equal(store_query(s, &rows, &e, "SELECT name, n, data, extra FROM t", ""), 0);
    assert_int_equal(store_rows_next(&rows, &e), 1);
    assert_string_equal(store_col_str(&rows, 0), "a");
    assert_int_equal(store_col_int(&rows, 1), -7);
    assert_memory_equal(store_col_blob(&rows, 2, &len), "\0\1", 2);
    assert_int_equal(len, 2);
    assert_string_equal(store_col_str(&rows, 3), "x");
    assert_int_equal(store_rows_next(&rows, &e), 0);
    store_rows_done(&rows);
    store_close(s);
}

static void test_newer_is_refused(void **state)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    static const char *const fewer[] = {"CREATE TABLE t (x)", NULL};
    struct store *s = NULL;

    assert_int_equal(store_open(path, &s, &e), 0);
    assert_true(store_migrate(s, "t", fewer, &e) < 0);
    assert_non_null(strstr(error_message(&e), "use a newer Pouch"));
    store_close(s);
}

static void test_second_opener_is_refused(void **state)
{
    struct store *s = NULL;
    pid_t pid;
    int status = 0;

    assert_int_equal(store_open(path, &s, NULL), 0);
    pid = fork();
    if (pid == 0) {
        struct store *other = NULL;

        _exit(store_open(path, &other, NULL) == -EBUSY ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_basics),
        cmocka_unit_test(test_newer_is_refused),
        cmocka_unit_test(test_second_opener_is_refused),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
