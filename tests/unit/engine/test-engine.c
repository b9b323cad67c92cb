/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the engine that need no kernel: signals, words of a status, names, validation,
 * capabilities, device rules, records, filters. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"

/* A literal where the struct wants char *: nothing under test writes to it. */
#define LIT(s) ((char *)(uintptr_t)(s))

static void test_signals(void **state)
{
    static const struct {
        const char *name;
        int want;
    } good[] = {{"KILL", SIGKILL}, {"SIGTERM", SIGTERM}, {"sigusr1", SIGUSR1}, {"9", 9},
                {"RTMIN+3", 37},   {"SIGRTMIN", 34},     {"RTMAX-1", 63},      {"64", 64}};
    static const char *const bad[] = {"", "0", "65", "FOO", "RTMIN-1", "RTMIN+31", "SIG", "9x"};
    int sig = 0;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(signal_parse(good[i].name, &sig), 0);
        assert_int_equal(sig, good[i].want);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(signal_parse(bad[i], &sig), -EINVAL);
}

static void test_status_text(void **state)
{
    static const struct {
        enum container_status status;
        int64_t ago;
        const char *want;
    } cases[] = {
        {CONTAINER_CREATED, 0, "Created"},
        {CONTAINER_RUNNING, 0, "Up Less than a second"},
        {CONTAINER_RUNNING, 45, "Up 45 seconds"},
        {CONTAINER_PAUSED, 60, "Up About a minute (Paused)"},
        {CONTAINER_RUNNING, 7200, "Up 2 hours"},
        {CONTAINER_EXITED, 3 * 86400, "Exited (3) 3 days ago"},
        {CONTAINER_RESTARTING, 5, "Restarting (3) 5 seconds ago"},
    };
    int64_t now = 1700000000 * NSEC_PER_SEC;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct container_view v = {.status = cases[i].status, .exit_code = 3};
        AUTOFREE char *text = NULL;

        v.started = v.finished = now - cases[i].ago * NSEC_PER_SEC;
        text = container_status_text(&v, now);
        assert_string_equal(text, cases[i].want);
    }
}

static void test_names(void **state)
{
    assert_int_equal(name_check("web-1", NULL), 0);
    assert_true(name_check("a", NULL) < 0);
    assert_true(name_check("-web", NULL) < 0);
    assert_true(name_check("we b", NULL) < 0);
    assert_true(name_check("../x", NULL) < 0);
}

static char *joined_caps(struct host_config *hc)
{
    char **caps = NULL;
    char *text;

    assert_int_equal(spec_capabilities(hc, &caps, NULL), 0);
    text = strv_join(caps, " ");
    strv_free(caps);
    return text;
}

static void test_capabilities(void **state)
{
    char *chown[] = {LIT("CHOWN"), NULL};
    char *all[] = {LIT("ALL"), NULL};
    char *admin[] = {LIT("cap_sys_admin"), NULL};
    char *bad[] = {LIT("NOPE"), NULL};
    struct host_config dropped = {.cap_drop = all, .cap_add = chown};
    struct host_config most = {.cap_add = all, .cap_drop = admin};
    struct host_config wrong = {.cap_add = bad};
    struct host_config none = {0};
    AUTOFREE char *a = joined_caps(&dropped);
    AUTOFREE char *b = joined_caps(&most);
    AUTOFREE char *c = joined_caps(&none);
    char **caps = NULL;

    assert_string_equal(a, "CAP_CHOWN");
    assert_null(strstr(b, "CAP_SYS_ADMIN"));
    assert_non_null(strstr(b, "CAP_NET_ADMIN"));
    assert_null(strstr(c, "CAP_NET_ADMIN"));
    assert_non_null(strstr(c, "CAP_NET_RAW"));
    assert_true(spec_capabilities(&wrong, &caps, NULL) < 0);
}

static void test_security_options(void **state)
{
    char *opts[] = {LIT("seccomp=unconfined"), LIT("no-new-privileges"), LIT("label=disable"),
                    NULL};
    char *apparmor[] = {LIT("apparmor=mine"), NULL};
    struct host_config hc = {.security_opt = opts};
    struct host_config bad = {.security_opt = apparmor};
    struct engine en = {0};
    struct spec_security sec;

    assert_int_equal(spec_security(&en, &hc, &sec, NULL), 0);
    assert_true(sec.unconfined);
    assert_true(sec.no_new_privileges);
    assert_true(spec_security(&en, &bad, &sec, NULL) < 0);
}

/* Each request is wrong in one way; the message must name it. */
static void test_validation(void **state)
{
    static const struct {
        const char *json;
        const char *want;
    } cases[] = {
        {"{\"Memory\":1048576}", "Minimum memory limit"},
        {"{\"MemorySwap\":10485760}", "always set the Memory limit"},
        {"{\"Memory\":104857600,\"MemorySwap\":10485760}", "memoryswap limit should be larger"},
        {"{\"NanoCpus\":99000000000000}", "Range of CPUs"},
        {"{\"CpuPeriod\":1}", "CPU cfs period"},
        {"{\"BlkioWeight\":5}", "blkio weight"},
        {"{\"OomScoreAdj\":2000}", "oom score adj"},
        {"{\"RestartPolicy\":{\"Name\":\"sometimes\"}}", "unknown policy 'sometimes'"},
        {"{\"RestartPolicy\":{\"Name\":\"always\",\"MaximumRetryCount\":3}}", "on-failure"},
        {"{\"RestartPolicy\":{\"Name\":\"always\"},\"AutoRemove\":true}", "AutoRemove"},
        {"{\"NetworkMode\":\"mynet\"}", "network mynet not found"},
        {"{\"PidMode\":\"x\"}", "invalid PID mode: x"},
        {"{\"PortBindings\":{\"80/xyz\":[]}}", "xyz"},
        {"{\"Ulimits\":[{\"Name\":\"nope\",\"Soft\":1,\"Hard\":1}]}", "invalid ulimit type: nope"},
        {"{\"Ulimits\":[{\"Name\":\"nofile\",\"Soft\":9,\"Hard\":1}]}", "less than or equal"},
        {"{\"Sysctls\":{\"kernel.panic\":\"1\"}}", "kernel.panic"},
        {"{\"SecurityOpt\":[\"foo=bar\"]}", "foo=bar"},
        {"{\"CapAdd\":[\"NOPE\"]}", "NOPE"},
        {"{\"Runtime\":\"magic\"}", "magic"},
        {"{\"LogConfig\":{\"Type\":\"splunk\"}}", "splunk"},
        {"{\"LogConfig\":{\"Type\":\"json-file\",\"Config\":{\"max-size\":\"x\"}}}", "max-size"},
        {"{\"StorageOpt\":{\"size\":\"much\"}}", "expected a size"},
        {"{\"StorageOpt\":{\"dm.basesize\":\"1g\"}}", "unknown storage option"},
        {"{\"KernelMemory\":100000000}", "kernel memory"},
    };
    struct engine en = {.default_log_driver = LIT("json-file")};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;
        struct container_config config = {0};
        struct host_config hc = {0};
        char **warnings = NULL;

        assert_int_equal(json_parse(&host_config_json, cases[i].json, strlen(cases[i].json), &hc,
                                    &e),
                         0);
        assert_true(validate_create(&en, &config, &hc, &warnings, &e) < 0);
        if (!strstr(error_message(&e), cases[i].want))
            fail_msg("%s: got \"%s\"", cases[i].json, error_message(&e));
        json_free(&host_config_json, &hc);
        strv_free(warnings);
    }
}

static void test_defaults(void **state)
{
    struct engine en = {.default_log_driver = LIT("json-file")};
    struct container_config config = {0};
    struct host_config hc = {.memory = 100 << 20};
    char **warnings = NULL;

    assert_int_equal(validate_create(&en, &config, &hc, &warnings, NULL), 0);
    assert_true(hc.memory_swap == 200 << 20);
    assert_true(hc.shm_size == 64 << 20);
    assert_string_equal(hc.network_mode, "default");
    assert_string_equal(hc.log_config.type, "json-file");
    assert_string_equal(hc.restart_policy.name, "no");
    json_free(&host_config_json, &hc);
    strv_free(warnings);
}

static struct container *loaded;

static void take(struct engine *en, struct container *c)
{
    (void)en;
    loaded = c;
}

static void test_record(void **state)
{
    char dir[] = "/tmp/pouch-unit-engine-XXXXXX";
    AUTOFREE char *path = NULL;
    struct engine en = {0};
    struct container_definition *def = container_def_new();
    struct container *c;

    assert_non_null(mkdtemp(dir));
    path = xasprintf("%s/db", dir);
    assert_int_equal(store_open(path, &en.store, NULL), 0);
    assert_int_equal(record_migrate(en.store, NULL), 0);
    memset(def->id, 'a', 64);
    def->created = 42;
    def->image_id = xstrdup("sha256:x");
    def->path = xstrdup("sh");
    strv_push(&def->args, "-c");
    json_map_set(&def->config.labels, "k", "v");
    def->host_config.masked_paths = xcalloc(1, sizeof(char *));
    c = container_new(&en, def, "web");
    assert_int_equal(record_insert(&en, c, NULL), 0);
    assert_int_equal(record_insert(&en, c, NULL), -EEXIST);
    c->status = CONTAINER_EXITED;
    c->exit_code = 7;
    c->error = xstrdup("why");
    c->removed = true; /* its views are not kept */
    assert_int_equal(record_update(c, NULL), 0);
    container_unref(c);
    assert_int_equal(record_load(&en, take, NULL), 0);
    assert_non_null(loaded);
    assert_string_equal(loaded->name, "web");
    assert_int_equal(loaded->status, CONTAINER_EXITED);
    assert_int_equal(loaded->exit_code, 7);
    assert_string_equal(loaded->error, "why");
    assert_string_equal(loaded->def_now->args[0], "-c");
    assert_string_equal(json_map_get(&loaded->def_now->config.labels, "k"), "v");
    /* An empty list of masked paths is not the default list. */
    assert_non_null(loaded->def_now->host_config.masked_paths);
    assert_null(loaded->def_now->host_config.readonly_paths);
    container_unref(loaded);
    assert_int_equal(record_delete(&en, "x", NULL), 0);
    store_close(en.store);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
}

/* Versions of a definition: readers keep theirs, the record and new views have the new one. */
static void test_versions(void **state)
{
    char dir[] = "/tmp/pouch-unit-engine-XXXXXX";
    AUTOFREE char *path = NULL;
    struct engine en = {0};
    struct container_definition *def = container_def_new();
    struct container_definition *next;
    const struct container_definition *held;
    struct container_view *before;
    struct container_view *after;
    struct container *c;

    (void)state;
    loaded = NULL;
    assert_non_null(mkdtemp(dir));
    path = xasprintf("%s/db", dir);
    assert_int_equal(store_open(path, &en.store, NULL), 0);
    assert_int_equal(record_migrate(en.store, NULL), 0);
    memset(def->id, 'b', 64);
    def->host_config.memory = 1 << 20;
    json_map_set(&def->config.labels, "k", "old");
    c = container_new(&en, def, "web");
    assert_int_equal(record_insert(&en, c, NULL), 0);
    before = container_get_view(c);
    held = container_def_ref(c);
    next = container_def_copy(held);
    assert_string_equal(next->id, held->id);
    assert_string_equal(json_map_get(&next->config.labels, "k"), "old");
    next->host_config.memory = 2 << 20;
    json_map_set(&next->config.labels, "k", "new");
    assert_int_equal(container_redefine(c, next, NULL), 0);
    after = container_get_view(c);
    assert_string_equal(json_map_get(&held->config.labels, "k"), "old");
    assert_ptr_equal(before->def, held);
    assert_string_equal(json_map_get(&after->def->config.labels, "k"), "new");
    container_view_free(before);
    container_def_free(held);
    assert_int_equal(record_load(&en, take, NULL), 0);
    assert_int_equal(loaded->def_now->host_config.memory, 2 << 20);
    container_unref(loaded);
    /* The view outlives the container. */
    container_unref(c);
    assert_int_equal(after->def->host_config.memory, 2 << 20);
    container_view_free(after);
    store_close(en.store);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
}

/* What cannot be put on record is not in force either. */
static void test_version_not_saved(void **state)
{
    char dir[] = "/tmp/pouch-unit-engine-XXXXXX";
    AUTOFREE char *path = NULL;
    struct engine en = {0};
    struct container_definition *def = container_def_new();
    struct container_definition *next;
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct container *c;

    (void)state;
    assert_non_null(mkdtemp(dir));
    path = xasprintf("%s/db", dir);
    assert_int_equal(store_open(path, &en.store, NULL), 0); /* without its tables */
    memset(def->id, 'c', 64);
    c = container_new(&en, def, "web");
    next = container_def_copy(def);
    assert_true(container_redefine(c, next, &e) < 0);
    assert_ptr_equal(c->def_now, def);
    container_unref(c);
    store_close(en.store);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_status_text),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_security_options),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_version_not_saved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
