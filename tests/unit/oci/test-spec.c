/* SPDX-License-Identifier: Apache-2.0 */
/* config.json: reading, refusing, printing. */
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

#include "base/fs.h"
#include "base/strv.h"
#include "oci/spec.h"

#define HEAD  "{\"ociVersion\":\"1.0.2\","
#define PROC  "\"process\":{\"user\":{\"uid\":1,\"gid\":2},\"args\":[\"sh\"],\"cwd\":\"/\"},"
#define ROOT  "\"root\":{\"path\":\"rootfs\"},"
#define LINUX "\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"pid\"}]}"

#define WORDS(...) ((char *const *)(const char *const[]){__VA_ARGS__, NULL})

static int load(const char *text, struct oci_spec *s, struct error *e)
{
    int r = json_parse(&oci_spec_json, text, strlen(text), s, e);

    return r < 0 ? r : oci_spec_validate(s, e);
}

static const char full[] = HEAD
    "\"process\":{\"terminal\":true,\"consoleSize\":{\"height\":24,\"width\":80},"
    "\"user\":{\"uid\":1,\"gid\":2,\"umask\":18,\"additionalGids\":[3,4],"
    "\"username\":\"bob:audio\"},\"args\":[\"sh\",\"-c\",\"x\"],\"env\":[\"A=b\"],"
    "\"cwd\":\"/tmp\",\"capabilities\":{\"bounding\":[\"CAP_CHOWN\"]},"
    "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":1,\"hard\":18446744073709551615}],"
    "\"noNewPrivileges\":true,\"oomScoreAdj\":-5},"
    "\"root\":{\"path\":\"/r\",\"readonly\":true},\"hostname\":\"h\","
    "\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\","
    "\"options\":[\"nosuid\"]}],"
    "\"hooks\":{\"prestart\":[{\"path\":\"/bin/true\",\"timeout\":3}]},"
    "\"annotations\":{\"k\":\"v\"},"
    "\"linux\":{\"uidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":1}],"
    "\"gidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":1}],"
    "\"sysctl\":{\"net.ipv4.ip_forward\":\"1\"},"
    "\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}],"
    "\"memory\":{\"limit\":-1},\"cpu\":{\"shares\":512,\"cpus\":\"0-1\"},"
    "\"pids\":{\"limit\":10},\"unified\":{\"memory.high\":\"1\"}},"
    "\"cgroupsPath\":\"/a/b\",\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"user\"},"
    "{\"type\":\"uts\"},{\"type\":\"network\",\"path\":\"/proc/1/ns/net\"}],"
    "\"devices\":[{\"type\":\"c\",\"path\":\"/dev/fuse\",\"major\":10,\"minor\":229,"
    "\"fileMode\":438}],\"maskedPaths\":[\"/proc/kcore\"]},"
    "\"pouch\":{\"overlay\":{\"type\":\"overlay\",\"lower\":[\"/l1\",\"/l2\"],"
    "\"upper\":\"/u\",\"work\":\"/w\"},\"init\":true}}";

static void test_round_trip(void **state)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct oci_spec s = {0}, copy;
    const struct oci_rlimit *limit;
    AUTOFREE char *text = NULL;
    AUTOFREE char *again = NULL;

    assert_int_equal(load(full, &s, &e), 0);
    limit = s.process->rlimits.items;
    assert_true(limit->hard == UINT64_MAX);
    assert_int_equal(s.process->user.additional_gids.len, 2);
    assert_int_equal(s.linux->resources->memory->limit.value, -1);
    assert_false(s.linux->resources->memory->swap.set);
    assert_string_equal(oci_spec_namespace(&s, "network")->path, "/proc/1/ns/net");
    assert_null(oci_spec_namespace(&s, "ipc"));
    assert_string_equal(s.pouch->overlay->lower[1], "/l2");
    text = json_print_str(&oci_spec_json, &s);
    assert_string_equal(text, full);
    json_copy(&oci_spec_json, &copy, &s);
    json_free(&oci_spec_json, &s);
    again = json_print_str(&oci_spec_json, &copy);
    assert_string_equal(again, full);
    json_free(&oci_spec_json, &copy);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{}", "ociVersion: need 1.x"},
        {"{\"ociVersion\":\"2.0\"}", "ociVersion: need 1.x, got \"2.0\""},
        {HEAD PROC LINUX "}", "root.path: is required"},
        {HEAD PROC ROOT "\"hostname\":\"h\"," LINUX "}", "hostname: cannot be set without a uts"},
        {HEAD PROC "\"root\":{\"path\":\"r\"}}", "linux: is required"},
        {HEAD "\"process\":{\"args\":[],\"cwd\":\"/\"}," ROOT LINUX "}", "no command to run"},
        {HEAD "\"process\":{\"args\":[\"x\"],\"cwd\":\"tmp\"}," ROOT LINUX "}",
         "process.cwd: \"tmp\" is not an absolute path"},
        {HEAD "\"process\":{\"args\":[\"x\"],\"cwd\":\"/\",\"env\":[\"A\"]}," ROOT LINUX "}",
         "process.env[0]: \"A\" is not NAME=VALUE"},
        {HEAD "\"process\":{\"args\":[\"x\"],\"cwd\":\"/\",\"oomScoreAdj\":2000}," ROOT LINUX "}",
         "must be between -1000 and 1000"},
        {HEAD "\"process\":{\"args\":[\"x\"],\"cwd\":\"/\",\"scheduler\":{}}," ROOT LINUX "}",
         "scheduler.policy"},
#define NS "\"namespaces\":[{\"type\":\"mount\"}]"
        {HEAD ROOT "\"linux\":{" NS ",\"timeOffsets\":{\"boottime\":{\"secs\":1}}}}",
         "linux.timeOffsets: need a new time namespace"},
        {HEAD ROOT "\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"time\"}],"
                   "\"timeOffsets\":{\"realtime\":{\"secs\":1}}}}",
         "\"realtime\" is neither monotonic nor boottime"},
        {HEAD ROOT "\"linux\":{" NS ",\"intelRdt\":{\"closID\":\"a/b\"}}}",
         "linux.intelRdt.closID: \"a/b\" is not a folder's name"},
        {HEAD ROOT "\"linux\":{" NS ",\"intelRdt\":{\"l3CacheSchema\":\"L3:0=f\\nMB:0=1\"}}}",
         "linux.intelRdt: a schema holds a line break"},
        {HEAD ROOT "\"linux\":{" NS ",\"intelRdt\":{\"memBwSchema\":\"L3:0=f\"}}}",
         "must start with \"MB:\""},
        {HEAD ROOT "\"linux\":{" NS ",\"netDevices\":{\"eth0\":{}}}}",
         "linux.netDevices: need a network namespace"},
        {HEAD ROOT "\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"network\"}],"
                   "\"netDevices\":{\"eth0\":{\"name\":\"a/b\"}}}}",
         "\"a/b\" is no name of a network device"},
        {HEAD ROOT "\"linux\":{" NS ",\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\","
                   "\"listenerMetadata\":\"x\"}}}",
         "linux.seccomp.listenerMetadata: needs listenerPath"},
        {HEAD ROOT "\"linux\":{" NS ",\"personality\":{\"domain\":\"LINUX\",\"flags\":[\"x\"]}}}",
         "linux.personality.flags: \"x\" is not known"},
        {HEAD ROOT LINUX ",\"mounts\":[{\"destination\":\"/m\",\"uidMappings\":["
                         "{\"containerID\":0,\"hostID\":1,\"size\":2}]}]}",
         "mounts[0]: uidMappings and gidMappings go together"},
        {HEAD ROOT "\"linux\":{\"namespaces\":[{\"type\":\"mnt\"}]}}", "unknown type \"mnt\""},
        {HEAD ROOT "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]}}",
         "\"pid\" is there twice"},
        {HEAD ROOT "\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"user\"}]}}",
         "needs uidMappings and gidMappings"},
        {HEAD ROOT "\"linux\":{\"namespaces\":[{\"type\":\"pid\",\"path\":\"x\"}]}}",
         "linux.namespaces[0].path: not absolute"},
        {HEAD ROOT "\"linux\":{\"namespaces\":[{\"type\":\"mount\"}],\"devices\":["
                   "{\"type\":\"x\",\"path\":\"/dev/x\"}]}}",
         "linux.devices[0]: unknown type \"x\""},
        {HEAD "\"process\":{\"args\":\"sh\"}," ROOT LINUX "}", "process.args: expected a list"},
        {HEAD "\"mounts\":[{\"type\":\"proc\"}]}", "mounts[0].destination"},
        {HEAD "\"process\":{\"user\":{\"additionalGids\":[1,-2]}}}",
         "process.user.additionalGids[1]: number must not be negative"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        CLEANUP(error_done) struct error e = ERROR_INIT;
        struct oci_spec s = {0};

        if (load(cases[i].text, &s, &e) == 0)
            fail_msg("accepted: %s", cases[i].text);
        if (!strstr(error_message(&e), cases[i].want))
            fail_msg("\"%s\" does not say \"%s\"", error_message(&e), cases[i].want);
        json_free(&oci_spec_json, &s);
    }
}

static void test_building(void **state)
{
    char *const *options = WORDS("ro");
    struct oci_spec s = {0};
    struct oci_user u = {0};
    const struct oci_mount *m = oci_spec_add_mount(&s, "/x", "bind", "/y", options);

    assert_string_equal(m->options[0], "ro");
    oci_spec_add_namespace(&s, "pid", NULL);
    oci_spec_add_namespace(&s, "ipc", "/proc/7/ns/ipc");
    assert_null(oci_spec_namespace(&s, "pid")->path);
    assert_string_equal(oci_spec_namespace(&s, "ipc")->path, "/proc/7/ns/ipc");
    oci_user_add_gid(&u, 5);
    oci_user_add_gid(&u, 6);
    assert_int_equal(((uint64_t *)u.additional_gids.items)[1], 6);
    free(u.additional_gids.items);
    json_free(&oci_spec_json, &s);
}

static void test_loading(void **state)
{
    char dir[] = "/tmp/pouch-test-spec.XXXXXX";
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct oci_spec s = {0};
    int fd;

    assert_non_null(mkdtemp(dir));
    assert_int_equal(oci_spec_load(dir, &s, &e), -ENOENT);
    assert_non_null(strstr(error_message(&e), "config.json"));
    error_done(&e);
    fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(fs_write_atomic(fd, "config.json", full, strlen(full), 0644, FS_NO_SYNC), 0);
    assert_int_equal(oci_spec_load(dir, &s, &e), 0);
    json_free(&oci_spec_json, &s);
    assert_int_equal(fs_write_atomic(fd, "config.json", "{]", 2, 0644, FS_NO_SYNC), 0);
    assert_true(oci_spec_load(dir, &s, &e) < 0);
    assert_non_null(strstr(error_message(&e), "config.json: invalid JSON"));
    close(fd);
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_building),
        cmocka_unit_test(test_loading),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
