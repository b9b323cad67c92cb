/* SPDX-License-Identifier: Apache-2.0 */
/* lxc/config.c: what LXC is told of a specification, and what it is not told but refused. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <lxc/lxccontainer.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "lxc/lxc.h"

static char top[64];
static struct buf told = BUF_INIT(1 << 20);
static const char *not_taken; /* LXC knows no such key */

/* main.c's. */
char *state_path(const struct options *o, const char *file)
{
    return xasprintf("%s/%s/%s", o->root, o->id, file);
}

static bool take(struct lxc_container *c, const char *key, const char *value)
{
    if (not_taken && STREQ(key, not_taken))
        return false;
    (void)buf_printf(&told, "%s = %s\n", key, value);
    return true;
}

static int set_up(void **state)
{
    (void)snprintf(top, sizeof top, "/tmp/pouch-test-lxc-XXXXXX");
    if (!mkdtemp(top) || chdir(top) < 0)
        return -1;
    return mkdir("state", 0755) == 0 && mkdir("state/box", 0755) == 0 &&
                   mkdir("rootfs", 0755) == 0 && mkdir("rootfs/bin", 0755) == 0
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    not_taken = NULL;
    return chdir("/") == 0 ? fs_remove_tree(AT_FDCWD, top) : -1;
}

static void put(const char *path, const char *text, mode_t mode)
{
    assert_int_equal(fs_write_atomic(AT_FDCWD, path, text, strlen(text), mode, FS_NO_SYNC), 0);
}

static void load(const char *process, const char *mounts, const char *linux_more,
                 struct oci_spec *ret)
{
    AUTOFREE char *text = xasprintf(
        "{\"ociVersion\": \"1.0.2\", \"hostname\": \"box\", \"root\": {\"path\": \"rootfs\", "
        "\"readonly\": true}, \"process\": {\"cwd\": \"/\", \"args\": [\"sh\"], \"user\": {\"uid\": 5, "
        "\"gid\": 6}%s}, \"mounts\": [%s], \"linux\": {\"namespaces\": [{\"type\": \"mount\"}, "
        "{\"type\": \"pid\"}, {\"type\": \"uts\"}, {\"type\": \"ipc\", \"path\": \"/proc/1/ns/ipc\"}]%s}}",
        process, mounts, linux_more);
    struct error e = ERROR_INIT;

    put("config.json", text, 0600);
    memset(ret, 0, sizeof *ret);
    if (oci_spec_load(top, ret, &e) < 0)
        fail_msg("%s", error_message(&e));
}

/* config_fill() of it; what LXC was told is in `told`. */
static int fill(const char *process, const char *mounts, const char *linux_more, struct error *e)
{
    AUTOFREE char *root = xasprintf("%s/state", top);
    const struct options o = {.root = root, .id = "box", .bundle = top};
    struct lxc_container c = {.set_config_item = take};
    struct oci_spec s;
    int r;

    load(process, mounts, linux_more, &s);
    buf_clear(&told);
    (void)rmdir("state/box/root");
    r = config_fill(&c, &o, &s, e);
    json_free(&oci_spec_json, &s);
    return r;
}

static void has(const char *line)
{
    AUTOFREE char *text = xasprintf("\n%s", buf_str(&told));
    AUTOFREE char *whole = xasprintf("\n%s\n", line);

    if (!strstr(text, whole))
        fail_msg("no line \"%s\" in:%s", line, text);
}

static void good(const char *process, const char *mounts, const char *linux_more)
{
    struct error e = ERROR_INIT;

    if (fill(process, mounts, linux_more, &e) < 0)
        fail_msg("%s", error_message(&e));
}

static void refused(const char *process, const char *mounts, const char *linux_more,
                    const char *words)
{
    struct error e = ERROR_INIT;

    assert_true(fill(process, mounts, linux_more, &e) < 0);
    if (!strstr(error_message(&e), words))
        fail_msg("\"%s\", not \"%s\"", error_message(&e), words);
    error_done(&e);
}

static void test_process(void **state)
{
    good(", \"env\": [\"A=b c\"], \"noNewPrivileges\": true, \"oomScoreAdj\": -5, "
         "\"capabilities\": {\"bounding\": [\"CAP_CHOWN\", \"CAP_NET_RAW\"]}, "
         "\"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"soft\": 10, \"hard\": 20}]",
         "", "");
    has("lxc.init.uid = 5");
    has("lxc.init.gid = 6");
    has("lxc.init.cwd = /");
    has("lxc.environment = A=b c");
    has("lxc.no_new_privs = 1");
    has("lxc.proc.oom_score_adj = -5");
    has("lxc.cap.keep = chown net_raw");
    has("lxc.prlimit.nofile = 10:20");
    has("lxc.rootfs.options = ro");
    has("lxc.uts.name = box");
    good(", \"capabilities\": {}", "", "");
    has("lxc.cap.keep = none");
    /* A line break would be a setting of its own. */
    refused(", \"env\": [\"A=b\\nlxc.cap.keep=sys_admin\"]", "", "",
            "no environment variable with a line break");
}

static void test_namespaces(void **state)
{
    good("", "", "");
    has("lxc.namespace.share.ipc = /proc/1/ns/ipc");
    has("lxc.namespace.clone = mnt pid uts");
    has("lxc.net.0.type = none");
    not_taken = "lxc.namespace.clone";
    refused("", "", "", "LXC does not take lxc.namespace.clone = mnt pid uts");
}

static void test_mounts(void **state)
{
    put("with blank", "x", 0600);
    AUTOFREE char *bind =
        xasprintf("{\"destination\": \"/a b#\", \"source\": \"%s/with blank\", "
                  "\"type\": \"bind\", \"options\": [\"bind\", \"ro\"]}, "
                  "{\"destination\": \"/run\", \"type\": \"tmpfs\", \"options\": [\"size=1m\"]}, "
                  "{\"destination\": \"/proc\", \"type\": \"proc\"}",
                  top);
    AUTOFREE char *want =
        xasprintf("lxc.mount.entry = %s/with\\040blank a\\040b\\043 none bind,ro,create=file 0 0",
                  top);

    good("", bind, "");
    has(want);
    has("lxc.mount.entry = none run tmpfs size=1m,create=dir 0 0");
    has("lxc.mount.auto = proc:rw sys:rw");
    assert_null(strstr(buf_str(&told), " proc proc ")); /* LXC's own */
    good(
        "", "",
        ", \"maskedPaths\": [\"/proc\", \"/proc/version\", \"/proc/no-such\"], \"readonlyPaths\": []");
    has("lxc.mount.auto = proc:mixed sys:ro");
    has("lxc.mount.entry = none proc tmpfs ro,size=4k 0 0");
    has("lxc.mount.entry = /dev/null proc/version none bind 0 0");
    assert_null(strstr(buf_str(&told), "no-such"));
    refused("", "{\"destination\": \"/x\", \"type\": \"tmpfs\", \"options\": [\"ro /etc\"]}", "",
            "has a blank");
    refused("", "{\"destination\": \"/x\", \"type\": \"tmpfs\", \"options\": [\"ro\\n/etc\"]}", "",
            "has a blank");
    refused("", "{\"destination\": \"/x\", \"source\": \"/no/such\", \"options\": [\"bind\"]}", "",
            "cannot mount /no/such");
}

static void test_seccomp(void **state)
{
    AUTOFREE char *text = NULL;

    good(
        "", "",
        ", \"seccomp\": {\"defaultAction\": \"SCMP_ACT_ERRNO\", \"defaultErrnoRet\": 38, "
        "\"syscalls\": [{\"names\": [\"read\", \"write\"], \"action\": \"SCMP_ACT_ALLOW\"}, "
        "{\"names\": [\"clone\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\": [{\"index\": 0, \"value\": 7, "
        "\"valueTwo\": 8, \"op\": \"SCMP_CMP_MASKED_EQ\"}]}]}");
    assert_int_equal(fs_read_file(AT_FDCWD, "state/box/seccomp", 4096, &text, NULL), 0);
    assert_string_equal(text, "2\nallowlist errno 38\n[all]\nread allow\nwrite allow\n"
                              "clone allow [0,7,SCMP_CMP_MASKED_EQ,8]\n");
    refused(
        "", "",
        ", \"seccomp\": {\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"read\"], "
        "\"action\": \"SCMP_ACT_NOTIFY\"}]}",
        "LXC has no seccomp action SCMP_ACT_NOTIFY");
}

static void test_program(void **state)
{
    struct error e = ERROR_INIT;
    struct oci_spec s;

    put("rootfs/bin/sh", "x", 0755);
    load("", "", "", &s);
    assert_int_equal(config_check_program(&s, NULL), 0);
    assert_int_equal(chmod("rootfs/bin/sh", 0644), 0);
    assert_true(config_check_program(&s, &e) < 0);
    assert_int_equal(e.code, ERR_COMMAND_NOT_EXECUTABLE);
    error_done(&e);
    /* What leads out of the root does not count. */
    assert_int_equal(unlink("rootfs/bin/sh"), 0);
    assert_int_equal(symlink("/../../../../bin/sh", "rootfs/bin/sh"), 0);
    assert_true(config_check_program(&s, &e) < 0);
    assert_int_equal(e.code, ERR_COMMAND_NOT_FOUND);
    error_done(&e);
    json_free(&oci_spec_json, &s);
}

static void test_last_error(void **state)
{
    AUTOFREE char *root = xasprintf("%s/state", top);
    const struct options o = {.root = root, .id = "box"};
    AUTOFREE char *first = NULL;

    assert_null(config_last_error(&o));
    put("state/box/lxc.log",
        "lxc box 2026 INFO conf - conf.c:f:1 - all is well\n"
        "lxc box 2026 ERROR conf - conf.c:mount:2 - Permission denied - Failed to mount\n"
        "lxc box 2026 ERROR start - start.c:g:3 - Failed to start\n",
        0600);
    first = config_last_error(&o);
    assert_string_equal(first, "Permission denied - Failed to mount");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_namespaces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mounts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_seccomp, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_program, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_last_error, set_up, tear_down),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);

    buf_done(&told);
    return r;
}
