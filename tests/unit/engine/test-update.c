/* SPDX-License-Identifier: Apache-2.0 */
/* Updates and upgrades without a kernel: what a request makes of a definition, what two versions
 * differ in, how a container's settings and a new image's come together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "oci/spec.h"

/* --- requests ------------------------------------------------------------------------------------ */

struct fixture {
    struct container c;
    struct container_update update;
    struct container_definition *old, *next;
    struct update_context u;
};

static void begin(struct fixture *f, const char *request)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;

    *f = (struct fixture){.old = container_def_new()};
    (void)memset(f->c.id, 'a', 64);
    assert_int_equal(json_parse(&container_update_json, request, strlen(request), &f->update, &e),
                     0);
    f->u = (struct update_context){.c = &f->c, .update = &f->update, .old = f->old, .cgroup = "/x"};
}

/* After the old version is as the test wants it. */
static int check(struct fixture *f, int (*part)(struct update_context *u, struct error *e),
                 struct error *e)
{
    f->next = f->u.next = container_def_copy(f->old);
    return part(&f->u, e);
}

static void end(struct fixture *f)
{
    container_def_free(f->next);
    container_def_free(f->old);
    json_free(&container_update_json, &f->update);
}

static void test_memory_request(void **state)
{
    static const struct {
        int64_t memory, swap;
        const char *request;
        int64_t want_memory, want_swap; /* memory -2: refused */
    } cases[] = {
        /* swap by default follows */
        {64 << 20, 128 << 20, "{\"Memory\":134217728}", 128 << 20, 256 << 20},
        {64 << 20, 128 << 20, "{\"Memory\":33554432}", 32 << 20, 64 << 20},
        /* swap by hand stays, and must be enough */
        {64 << 20, 100 << 20, "{\"Memory\":83886080}", 80 << 20, 100 << 20},
        {64 << 20, 100 << 20, "{\"Memory\":134217728}", -2, 0},
        {64 << 20, -1, "{\"Memory\":134217728}", 128 << 20, -1},
        {64 << 20, 128 << 20, "{\"MemorySwap\":-1}", 64 << 20, -1},
        /* away */
        {64 << 20, 128 << 20, "{\"Memory\":-1}", 0, 0},
        {64 << 20, 128 << 20, "{\"Memory\":-1,\"MemorySwap\":-1}", 0, 0},
        {64 << 20, -1, "{\"Memory\":-1}", 0, 0},
        /* nothing asked, nothing changed */
        {64 << 20, 128 << 20, "{\"Memory\":0,\"CpuShares\":5}", 64 << 20, 128 << 20},
        {0, 0, "{\"MemorySwap\":33554432}", -2, 0},
        {64 << 20, 128 << 20, "{\"Memory\":1048576}", -2, 0},
        {64 << 20, 128 << 20, "{\"Memory\":-7}", -2, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;
        struct fixture f;
        int r;

        begin(&f, cases[i].request);
        f.old->host_config.memory = cases[i].memory;
        f.old->host_config.memory_swap = cases[i].swap;
        r = check(&f, update_limits_check, &e);
        if (cases[i].want_memory == -2) {
            assert_true(r < 0);
        } else {
            assert_int_equal(r, 0);
            assert_int_equal(f.next->host_config.memory, cases[i].want_memory);
            assert_int_equal(f.next->host_config.memory_swap, cases[i].want_swap);
        }
        /* The version in force is not written to. */
        assert_int_equal(f.old->host_config.memory, cases[i].memory);
        end(&f);
    }
}

static void test_refused_limits(void **state)
{
    static const char *const requests[] = {
        "{\"Ulimits\":[{\"Name\":\"nofile\",\"Soft\":1,\"Hard\":1}]}",
        "{\"CgroupParent\":\"/x\"}",
        "{\"Devices\":[{\"PathOnHost\":\"/dev/null\"}]}",
        "{\"CpusetCpus\":\"4096\"}",
        "{\"CpusetCpus\":\"0-\"}",
        "{\"CpusetCpus\":\"0,,1\"}",
        "{\"CpusetCpus\":\"a\"}",
        "{\"CpuPeriod\":5}",
        "{\"NanoCpus\":1}",
        "{\"BlkioWeight\":5}",
        "{\"OomKillDisable\":true}",
        "{\"KernelMemory\":1000000}",
        "{\"BlkioDeviceReadBps\":[{\"Path\":\"/does/not/exist\",\"Rate\":5}]}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;
        struct fixture f;

        begin(&f, requests[i]);
        assert_true(check(&f, update_limits_check, &e) < 0);
        assert_string_not_equal(error_message(&e), "");
        end(&f);
    }
}

static void test_cpu_replaces(void **state)
{
    struct fixture f;

    begin(&f, "{\"CpuQuota\":20000}");
    f.old->host_config.nano_cpus = 500000000;
    assert_int_equal(check(&f, update_limits_check, NULL), 0);
    assert_int_equal(f.next->host_config.nano_cpus, 0);
    assert_int_equal(f.next->host_config.cpu_quota, 20000);
    end(&f);
    begin(&f, "{\"NanoCpus\":500000000}");
    f.old->host_config.cpu_quota = 20000;
    f.old->host_config.cpu_period = 50000;
    assert_int_equal(check(&f, update_limits_check, NULL), 0);
    assert_int_equal(f.next->host_config.cpu_quota, 0);
    assert_int_equal(f.next->host_config.cpu_period, 0);
    end(&f);
}

static void test_env_and_labels(void **state)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct fixture f;

    begin(&f, "{\"Env\":[\"A=1\",\"N=a=b\"],\"EnvRm\":[\"GONE\"],\"Label\":[\"l=2\",\"away=\"],"
              "\"Annotation\":[\"x=y\"]}");
    strv_push(&f.old->config.env, "A=0");
    strv_push(&f.old->config.env, "GONE=x");
    strv_push(&f.old->config.env, "GONER=x");
    json_map_set(&f.old->config.labels, "l", "1");
    json_map_set(&f.old->config.labels, "away", "1");
    assert_int_equal(check(&f, update_config_check, &e), 0);
    assert_string_equal(env_get(f.next->config.env, "A"), "1");
    assert_string_equal(env_get(f.next->config.env, "N"), "a=b");
    assert_null(env_get(f.next->config.env, "GONE"));
    assert_string_equal(env_get(f.next->config.env, "GONER"), "x");
    assert_string_equal(json_map_get(&f.next->config.labels, "l"), "2");
    assert_null(json_map_get(&f.next->config.labels, "away"));
    assert_string_equal(json_map_get(&f.next->host_config.annotations, "x"), "y");
    end(&f);
    static const char *const bad[] = {"{\"Env\":[\"A\"]}",    "{\"Env\":[\"=b\"]}",
                                      "{\"EnvRm\":[\"A=\"]}", "{\"EnvRm\":[\"NO\"]}",
                                      "{\"Label\":[\"a\"]}",  "{\"Label\":[\"=a\"]}"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        begin(&f, bad[i]);
        assert_true(check(&f, update_config_check, NULL) < 0);
        end(&f);
    }
}

static void test_restart_policy(void **state)
{
    struct fixture f;

    begin(&f, "{\"RestartPolicy\":{\"Name\":\"on-failure\",\"MaximumRetryCount\":3}}");
    assert_int_equal(check(&f, update_restart_check, NULL), 0);
    assert_string_equal(f.next->host_config.restart_policy.name, "on-failure");
    assert_int_equal(f.next->host_config.restart_policy.maximum_retry_count, 3);
    end(&f);
    begin(&f, "{\"RestartPolicy\":{\"Name\":\"always\"}}");
    f.old->host_config.auto_remove = true;
    assert_true(check(&f, update_restart_check, NULL) < 0);
    end(&f);
    begin(&f, "{\"RestartPolicy\":{\"Name\":\"\",\"MaximumRetryCount\":3}}");
    assert_true(check(&f, update_restart_check, NULL) < 0);
    end(&f);
    begin(&f, "{\"RestartPolicy\":{\"Name\":\"\"}}"); /* as docker sends it */
    f.old->host_config.restart_policy.name = xstrdup("always");
    assert_int_equal(check(&f, update_restart_check, NULL), 0);
    assert_string_equal(f.next->host_config.restart_policy.name, "always");
    end(&f);
}

/* --- the difference of two versions ------------------------------------------------------------------ */

static void test_diff(void **state)
{
    struct host_config from = {.memory = 100, .memory_swap = 200, .cpu_shares = 5};
    struct host_config to = {.memory = 100, .memory_swap = 200};
    struct json_list none = {0};
    struct cgroup_resources res = {0};

    /* No limit any more: the kernel's default, said in so many words. */
    assert_int_equal(update_limits_diff(&none, &from, &to, "/x", &res, NULL), 0);
    assert_false(res.memory->limit.set);
    assert_false(res.memory->swap.set);
    assert_true(res.cpu->shares.set);
    assert_int_equal(res.cpu->shares.value, 1024);
    assert_false(res.cpu->quota.set);
    assert_null(res.pids);
    assert_null(res.block_io);
    json_free(&cgroup_resources_json, &res);
    /* Limit and swap go together, as the kernel keeps them in order. */
    to = (struct host_config){.memory = 0, .pids_limit = {true, 7}, .nano_cpus = 500000000};
    assert_int_equal(update_limits_diff(&none, &from, &to, "/x", &res, NULL), 0);
    assert_int_equal(res.memory->limit.value, -1);
    assert_int_equal(res.memory->swap.value, -1);
    assert_int_equal(res.pids->limit.value, 7);
    assert_int_equal(res.cpu->quota.value, 50000);
    assert_int_equal(res.cpu->period.value, 100000);
    json_free(&cgroup_resources_json, &res);
    /* And back. */
    assert_int_equal(update_limits_diff(&none, &to, &from, "/x", &res, NULL), 0);
    assert_int_equal(res.memory->limit.value, 100);
    assert_int_equal(res.memory->swap.value, 200);
    assert_int_equal(res.pids->limit.value, -1);
    assert_int_equal(res.cpu->quota.value, -1);
    json_free(&cgroup_resources_json, &res);
}

/* --- another image ------------------------------------------------------------------------------------ */

static void set_list(char ***list, const char *words)
{
    *list = words ? strv_split(words, " ", true) : NULL;
}

static struct image *image(const char *id, const char *env, const char *entrypoint, const char *cmd,
                           const char *workdir)
{
    struct image *img = xcalloc(1, sizeof(*img));

    img->id = xstrdup(id);
    set_list(&img->doc.config.env, env);
    set_list(&img->doc.config.entrypoint, entrypoint);
    set_list(&img->doc.config.cmd, cmd);
    img->doc.config.working_dir = xstrdup_or_null(workdir);
    return img;
}

static void image_done(struct image *img)
{
    free(img->id);
    json_free(&oci_image_json, &img->doc);
    free(img);
}

static void test_merge(void **state)
{
    struct image *v1 = image("sha256:1", "PATH=/bin V=1 OLD=1 BOTH=1", NULL, "run", "/one");
    struct image *v2 = image("sha256:2", "PATH=/usr/bin V=2 NEW=1 BOTH=1 GIVEN=image AWAY=1", NULL,
                             "run2", "/two");
    struct container_upgrade request = {.image = (char *)(uintptr_t) "app:2"};
    struct container_definition *old = container_def_new();
    struct container_definition *next = NULL;
    struct volume_mounts added = {0};

    (void)memset(old->id, 'a', 64);
    json_map_set(&v1->doc.config.labels, "rev", "1");
    json_map_set(&v1->doc.config.labels, "changed", "1");
    json_map_set(&v2->doc.config.labels, "rev", "2");
    json_map_set(&v2->doc.config.labels, "changed", "2");
    strv_push(&v1->doc.config.volumes, "/data");
    strv_push(&v2->doc.config.volumes, "/data");
    strv_push(&v2->doc.config.volumes, "/more");
    strv_push(&v1->doc.config.exposed_ports, "80/tcp");
    strv_push(&v2->doc.config.exposed_ports, "81/tcp");
    set_list(&old->config.env, "PATH=/bin V=1 OLD=1 BOTH=1 GIVEN=mine AWAY");
    set_list(&old->config.cmd, "run");
    set_list(&old->config.exposed_ports, "80/tcp 90/tcp");
    set_list(&old->config.volumes, "/data");
    json_map_set(&old->config.labels, "rev", "1");
    json_map_set(&old->config.labels, "changed", "by me");
    json_map_set(&old->config.labels, "mine", "yes");
    old->config.working_dir = xstrdup("/mine");
    old->mounts.items = xcalloc(1, sizeof(*old->mounts.items));
    old->mounts.len = 1;
    old->mounts.items[0].type = xstrdup("volume");
    old->mounts.items[0].destination = xstrdup("/data");
    assert_int_equal(upgrade_definition(old, v1, v2, &request, &next, &added, NULL), 0);
    assert_string_equal(next->id, old->id);
    assert_string_equal(next->image_id, "sha256:2");
    assert_string_equal(next->config.image, "app:2");
    assert_string_equal(env_get(next->config.env, "PATH"), "/usr/bin");
    assert_string_equal(env_get(next->config.env, "V"), "2");
    assert_null(env_get(next->config.env, "OLD"));
    assert_string_equal(env_get(next->config.env, "BOTH"), "1");
    assert_string_equal(env_get(next->config.env, "NEW"), "1");
    assert_string_equal(env_get(next->config.env, "GIVEN"), "mine");
    assert_null(env_get(next->config.env, "AWAY"));
    assert_string_equal(json_map_get(&next->config.labels, "rev"), "2");
    assert_string_equal(json_map_get(&next->config.labels, "changed"), "by me");
    assert_string_equal(json_map_get(&next->config.labels, "mine"), "yes");
    assert_string_equal(next->config.working_dir, "/mine");
    assert_false(strv_contains(next->config.exposed_ports, "80/tcp"));
    assert_true(strv_contains(next->config.exposed_ports, "81/tcp"));
    assert_true(strv_contains(next->config.exposed_ports, "90/tcp"));
    assert_string_equal(next->path, "run2");
    assert_int_equal(added.len, 1);
    assert_string_equal(added.items[0].destination, "/more");
    assert_true(added.items[0].anonymous);
    /* What was in force is as it was. */
    assert_string_equal(env_get(old->config.env, "V"), "1");
    volume_mounts_done(&added);
    container_def_free(next);
    /* Without the old image everything the container has is its own. */
    assert_int_equal(upgrade_definition(old, NULL, v2, &request, &next, &added, NULL), 0);
    assert_string_equal(env_get(next->config.env, "V"), "1");
    assert_string_equal(next->path, "run");
    volume_mounts_done(&added);
    container_def_free(next);
    container_def_free(old);
    image_done(v1);
    image_done(v2);
}

static void test_commands(void **state)
{
    static const struct {
        const char *old_entry, *old_cmd;   /* of the old image */
        const char *entry, *cmd;           /* of the container */
        const char *new_entry, *new_cmd;   /* of the new image */
        const char *ask_entry, *ask_cmd;   /* with the upgrade */
        const char *want_entry, *want_cmd; /* NULL want_entry and cmd: refused */
    } cases[] = {
        {NULL, "a", NULL, "a", NULL, "b", NULL, NULL, "", "b"},
        {"e", "a", "e", "a", "f", "b", NULL, NULL, "f", "b"},
        {"e", "a", "e", "mine", "f", "b", NULL, NULL, "f", "mine"},
        {"e", "a", "mine", "x", "f", "b", NULL, NULL, "mine", "x"},
        {"e", "a", "mine", NULL, "f", "b", NULL, NULL, "mine", ""},
        {"e", "a", "e", "a", "f", "b", NULL, "new cmd", "f", "new cmd"},
        {"e", "a", "mine", "x", "f", "b", NULL, "new", "mine", "new"},
        {"e", "a", "mine", "x", "f", "b", "given", NULL, "given", ""},
        {"e", "a", "e", "a", "f", "b", "given", "arg", "given", "arg"},
        {"e", NULL, "e", NULL, NULL, "b", NULL, NULL, "", "b"},
        {NULL, "a", NULL, "a", NULL, NULL, NULL, NULL, NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct image *was = image("sha256:1", NULL, cases[i].old_entry, cases[i].old_cmd, NULL);
        struct image *is = image("sha256:2", NULL, cases[i].new_entry, cases[i].new_cmd, NULL);
        struct container_definition *old = container_def_new();
        struct container_definition *next = NULL;
        struct container_upgrade request = {.image = (char *)(uintptr_t) "x"};
        struct volume_mounts added = {0};
        int r;

        set_list(&old->config.entrypoint, cases[i].entry);
        set_list(&old->config.cmd, cases[i].cmd);
        set_list(&request.entrypoint, cases[i].ask_entry);
        set_list(&request.cmd, cases[i].ask_cmd);
        r = upgrade_definition(old, was, is, &request, &next, &added, NULL);
        if (!cases[i].want_entry) {
            assert_true(r < 0);
        } else {
            AUTOFREE char *entry = strv_join(next->config.entrypoint, " ");
            AUTOFREE char *cmd = strv_join(next->config.cmd, " ");

            assert_int_equal(r, 0);
            assert_string_equal(entry, cases[i].want_entry);
            assert_string_equal(cmd, cases[i].want_cmd);
            container_def_free(next);
        }
        strv_free(request.entrypoint);
        strv_free(request.cmd);
        container_def_free(old);
        image_done(was);
        image_done(is);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_request), cmocka_unit_test(test_refused_limits),
        cmocka_unit_test(test_cpu_replaces),   cmocka_unit_test(test_env_and_labels),
        cmocka_unit_test(test_restart_policy), cmocka_unit_test(test_diff),
        cmocka_unit_test(test_merge),          cmocka_unit_test(test_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
