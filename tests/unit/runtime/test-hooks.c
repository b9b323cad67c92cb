/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: order, input, failure, time-out. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "base/time.h"
#include "runtime/runtime.h"

static int run(const char *script, int timeout, enum runtime_hook kind, struct error *e)
{
    AUTOPTR(strv) char **args = NULL;
    struct oci_hook hook = {.path = (char *)(uintptr_t) "/bin/sh"};
    struct oci_hooks hooks = {0};
    struct oci_spec spec = {.hooks = &hooks};

    strv_push(&args, "sh");
    strv_push(&args, "-c");
    strv_push(&args, script);
    hook.args = args;
    if (timeout)
        hook.timeout = (struct opt_int){true, timeout};
    hooks.poststop = (struct json_list){&hook, 1};
    return runtime_run_hooks(&spec, kind, "ID", "/b", 42, "stopped", e);
}

static void test_input(void **state)
{
    char path[] = "/tmp/pouch-test-hook.XXXXXX";
    int fd = mkstemp(path);
    AUTOFREE char *script = xasprintf("cat >%s; echo words", path);
    CLEANUP(error_done) struct error e = ERROR_INIT;
    AUTOFREE char *got = NULL;

    close(fd);
    assert_int_equal(run(script, 0, RUNTIME_HOOK_POSTSTOP, &e), 0);
    assert_int_equal(fs_read_file(AT_FDCWD, path, 4096, &got, NULL), 0);
    assert_string_equal(got, "{\"ociVersion\":\"1.3.0\",\"id\":\"ID\",\"status\":\"stopped\","
                             "\"pid\":42,\"bundle\":\"/b\"}");
    assert_int_equal(unlink(path), 0);
    /* another kind: nothing to run */
    assert_int_equal(run("exit 1", 0, RUNTIME_HOOK_POSTSTART, &e), 0);
}

static void test_failures(void **state)
{
    static const struct {
        const char *script;
        const char *want;
    } cases[] = {
        {"echo one; echo two >&2; exit 3", "poststop hook 0: /bin/sh failed with exit code 3: two"},
        {"exec </dev/null; exit 1", "failed with exit code 1"}, /* does not read its input */
        {"kill -9 $$", "was killed by signal 9"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;

        assert_true(run(cases[i].script, 0, RUNTIME_HOOK_POSTSTOP, &e) < 0);
        assert_non_null(strstr(error_message(&e), cases[i].want));
    }
}

static void test_timeout(void **state)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    int64_t before = time_monotonic_ns();

    assert_true(run("exec sleep 20", 1, RUNTIME_HOOK_POSTSTOP, &e) < 0);
    assert_int_equal(e.code, ERR_TIMEOUT);
    assert_non_null(strstr(error_message(&e), "did not end within 1 s"));
    assert_true(time_monotonic_ns() - before < 10 * NSEC_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_timeout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
