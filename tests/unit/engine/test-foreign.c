/* SPDX-License-Identifier: Apache-2.0 */
/* engine/foreign.c: which runtimes there are, what is refused with them, how they are called. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/foreign.h"
#include "monitor/driver.h"

#define LIT(s) ((char *)(uintptr_t)(s))

static char top[64];
static char *state_dir;

static void put(const char *name, const char *text, mode_t mode)
{
    AUTOFREE char *path = xasprintf("%s/%s", top, name);

    assert_int_equal(fs_write_atomic(AT_FDCWD, path, text, strlen(text), mode, FS_NO_SYNC), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static int set_up(void **state)
{
    AUTOFREE char *bin = NULL;

    (void)snprintf(top, sizeof top, "/tmp/pouch-test-foreign-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    bin = xasprintf("%s/bin", top);
    state_dir = xasprintf("%s/state", top);
    if (mkdir(bin, 0755) < 0 || mkdir(state_dir, 0755) < 0 || setenv("PATH", bin, 1) < 0)
        return -1;
    put("bin/crun", "#!/bin/sh\n", 0755);
    put("bin/runc", "not a program", 0644);
    put("bin/special", "#!/bin/sh\necho \"$@\" >\"${0%/bin/*}/called\"\n", 0755);
    return 0;
}

static int tear_down(void **state)
{
    free(take_ptr(state_dir));
    return fs_remove_tree(AT_FDCWD, top);
}

static struct engine with(struct runtime_config *configs, size_t n)
{
    return (struct engine){.state = state_dir,
                           .runtimes = {.items = configs, .len = n},
                           .default_runtime = LIT(RUNTIME_NATIVE)};
}

static void refused(const struct engine *en, const struct host_config *hc, const char *words)
{
    struct error e = ERROR_INIT;

    assert_true(foreign_validate(en, hc, &e) < 0);
    if (!strstr(error_message(&e), words))
        fail_msg("\"%s\", not \"%s\"", error_message(&e), words);
    error_done(&e);
}

static void test_names(void **state)
{
    struct runtime_config configs[] = {{.key = LIT("mine"), .path = LIT("special")},
                                       {.key = LIT("crun"), .path = LIT("/no/such")}};
    struct engine en = with(configs, 2);
    AUTOPTR(strv) char **names = foreign_names(&en);
    AUTOFREE char *program = foreign_program(&en, "mine");
    AUTOFREE char *want = xasprintf("%s/bin/special", top);

    assert_true(strv_contains(names, "mine"));
    assert_false(strv_contains(names, "runc"));        /* cannot be executed */
    assert_int_equal(strv_contains(names, "crun"), 1); /* as it is configured, once */
    assert_string_equal(program, want);
    assert_null(foreign_program(&en, "crun")); /* what is configured goes before PATH */
    assert_null(foreign_program(&en, "no-such"));
    assert_false(runtime_is_foreign(NULL));
    assert_false(runtime_is_foreign(""));
    assert_false(runtime_is_foreign(RUNTIME_NATIVE));
    assert_true(runtime_is_foreign("crun"));
}

static void test_validate(void **state)
{
    struct runtime_config configs[] = {{.key = LIT("mine"), .path = LIT("special")},
                                       {.key = LIT("gone"), .path = LIT("/no/such")}};
    struct engine en = with(configs, 2);
    struct host_config hc = {.runtime = LIT("")};

    assert_int_equal(foreign_validate(&en, &hc, NULL), 0);
    hc.runtime = LIT("mine");
    assert_int_equal(foreign_validate(&en, &hc, NULL), 0);
    hc.view = LIT("full");
    refused(&en, &hc, "--view full works with the runtime");
    hc.view = NULL;
    hc.init.set = hc.init.value = true;
    refused(&en, &hc, "--init works with the runtime");
    hc.init.value = false;
    hc.runtime = LIT("gone");
    refused(&en, &hc, "runtime gone: there is no program /no/such");
    hc.runtime = LIT("other");
    refused(&en, &hc, "unknown or invalid runtime name: other (there are: ");
    refused(&en, &hc, "mine, gone, crun");
}

static void test_check(void **state)
{
    static const struct {
        const char *key, *root, *words;
    } bad[] = {
        {RUNTIME_NATIVE, NULL, "is Pouch's own"},
        {"a b", NULL, "a character that is not a letter"},
        {"a/b", NULL, "a character that is not a letter"},
        {"", NULL, "must begin with a letter or digit"},
        {".a", NULL, "must begin with a letter or digit"},
        {"-a", NULL, "must begin with a letter or digit"},
        {"a", "relative", "options.root \"relative\" is not absolute"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct runtime_config c = {.key = LIT(bad[i].key),
                                   .path = LIT("special"),
                                   .options = {.root = LIT(bad[i].root)}};
        struct engine en = with(&c, 1);
        struct error e = ERROR_INIT;

        assert_true(foreign_check(&en, &e) < 0);
        if (!strstr(error_message(&e), bad[i].words))
            fail_msg("\"%s\", not \"%s\"", error_message(&e), bad[i].words);
        error_done(&e);
    }
    struct runtime_config good = {.key = LIT("a-1_.x"), .path = LIT("special")};
    struct engine en = with(&good, 1);
    assert_int_equal(foreign_check(&en, NULL), 0);
    en.default_runtime = LIT("no-such");
    assert_true(foreign_check(&en, NULL) < 0);
}

/* What is written down for the monitor is what `delete` is called by, whatever happened since. */
static void test_prepare_and_delete(void **state)
{
    char *args[] = {LIT("--debug"), LIT("two words"), NULL};
    struct runtime_config c = {.key = LIT("mine"), .path = LIT("special"), .args = args};
    struct engine en = with(&c, 1);
    struct container_definition def = {.host_config = {.runtime = LIT("mine")}};
    AUTOFREE char *path = xasprintf("%s/" RUNTIME_ARGV_FILE, top);
    AUTOFREE char *want = xasprintf("%s/bin/special|--debug|two words|--root|%s/runtimes/mine|",
                                    top, state_dir);
    AUTOFREE char *root = xasprintf("%s/runtimes/mine", state_dir);
    AUTOFREE char *called = xasprintf("%s/called", top);
    AUTOFREE char *text = NULL, *words = NULL, *said = NULL;
    struct error e = ERROR_INIT;
    struct stat st;
    size_t len;

    foreign_delete(top, "box"); /* our own runtime: nothing is called */
    assert_true(access(called, F_OK) < 0);
    if (foreign_prepare(&en, &def, top, &e) < 0)
        fail_msg("%s", error_message(&e));
    assert_int_equal(fs_read_file(AT_FDCWD, path, 4096, &text, &len), 0);
    for (size_t i = 0; i < len; i++)
        text[i] = text[i] ? text[i] : '|';
    assert_string_equal(text, want);
    assert_int_equal(stat(root, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    foreign_delete(top, "box");
    assert_int_equal(fs_read_file(AT_FDCWD, called, 4096, &said, NULL), 0);
    words = xasprintf("--debug two words --root %s delete --force box\n", root);
    assert_string_equal(said, words);
    /* Root of its own choice; a program that went away. */
    c.options.root = LIT("/tmp");
    free(take_ptr(text));
    assert_int_equal(foreign_prepare(&en, &def, top, NULL), 0);
    assert_int_equal(fs_read_file(AT_FDCWD, path, 4096, &text, &len), 0);
    assert_string_equal(text + len - strlen("/tmp") - 1, "/tmp");
    c.path = LIT("/no/such");
    assert_true(foreign_prepare(&en, &def, top, &e) < 0);
    assert_non_null(strstr(error_message(&e), "the runtime mine is not there any more"));
    error_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_validate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_check, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prepare_and_delete, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
