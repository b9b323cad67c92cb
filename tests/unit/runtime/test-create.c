/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers made by the library from a root folder with nothing but busybox: what they see, what
 * they are refused, and that nothing stays behind. Skipped without root, cgroups or busybox.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime.h"
#include "sys/cgroup.h"

#define BUSYBOX "/bin/busybox"

#define WORDS(...) ((char *const *)(const char *const[]){__VA_ARGS__, NULL})

struct place {
    char dir[64];
    char cgroup[64];
};

static int copy_file(const char *from, const char *to)
{
    AUTOFREE char *data = NULL;
    size_t len = 0;
    int r = fs_read_file(AT_FDCWD, from, 64u << 20, &data, &len);

    return r < 0 ? r : fs_write_atomic(AT_FDCWD, to, data, len, 0755, FS_NO_SYNC);
}

static int set_up(void **state)
{
    static const char *const applets[] = {"sh", "true", "cat", "id", "sleep", "touch", "ls"};
    struct place *p = calloc(1, sizeof(*p));
    AUTOFREE char *bin = NULL;
    AUTOFREE char *to = NULL;

    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/pouch-test-create.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->cgroup, sizeof(p->cgroup), "/pouch-test-create-%d", getpid());
    bin = xasprintf("%s/rootfs/bin", p->dir);
    to = xasprintf("%s/busybox", bin);
    assert_int_equal(fs_mkdir_p(bin, 0755), 0);
    if (access(BUSYBOX, X_OK) == 0)
        assert_int_equal(copy_file(BUSYBOX, to), 0);
    for (size_t i = 0; i < ARRAY_SIZE(applets); i++) {
        AUTOFREE char *link = xasprintf("%s/%s", bin, applets[i]);

        assert_int_equal(symlink("busybox", link), 0);
    }
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    assert_int_equal(cgroup_remove(p->cgroup, NULL), 0);
    assert_int_equal(fs_remove_tree(AT_FDCWD, p->dir), 0);
    free(p);
    return 0;
}

static void need_host(void)
{
    if (geteuid() != 0 || cgroup_host_layout() == CGROUP_NONE || access(BUSYBOX, X_OK) < 0)
        skip();
}

static void make_spec(struct oci_spec *s, const char *script)
{
    static const char *const kinds[] = {"pid", "mount", "network", "ipc", "uts", "cgroup"};
    char *const *dev = WORDS("nosuid", "mode=755");
    char *const *pts = WORDS("newinstance", "ptmxmode=0666", "mode=0620");

    s->oci_version = xstrdup("1.0.2");
    s->hostname = xstrdup("inside");
    s->root = xcalloc(1, sizeof(*s->root));
    s->root->path = xstrdup("rootfs");
    s->process = xcalloc(1, sizeof(*s->process));
    s->process->cwd = xstrdup("/");
    strv_push(&s->process->args, "sh");
    strv_push(&s->process->args, "-c");
    strv_push(&s->process->args, script);
    strv_push(&s->process->env, "PATH=/bin");
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        oci_spec_add_namespace(s, kinds[i], NULL);
    (void)oci_spec_add_mount(s, "/proc", "proc", "proc", NULL);
    (void)oci_spec_add_mount(s, "/dev", "tmpfs", "tmpfs", dev);
    (void)oci_spec_add_mount(s, "/dev/pts", "devpts", "devpts", pts);
    strv_push(&s->linux->masked_paths, "/proc/keys");
    strv_push(&s->linux->masked_paths, "/proc/acpi");
    strv_push(&s->linux->masked_paths, "/proc/not-there");
    strv_push(&s->linux->readonly_paths, "/proc/sys");
}

struct outcome {
    int code; /* exit code, -1 when it did not start */
    char out[4096];
    char **warnings;
    struct error e;
};

static void outcome_done(struct outcome *o)
{
    strv_free(o->warnings);
    error_done(&o->e);
}

/* Runs a container to its end; also asks that its cgroup is gone. */
static void run(struct place *p, const struct oci_spec *s, struct outcome *o)
{
    AUTOFREE char *cgroup = xasprintf("%s/c", p->cgroup);
    int gate[2], status[2], out[2], ended = 0;
    struct runtime_created c = {.pidfd = -EBADF};
    struct runtime_create create = {
        .id = "c", .bundle = p->dir, .spec = s, .cgroup_path = cgroup, .io = RUNTIME_IO_INIT};
    ssize_t n;

    memset(o, 0, sizeof(*o));
    o->code = -1;
    assert_int_equal(pipe2(gate, O_CLOEXEC) | pipe2(status, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    create.gate_fd = gate[0];
    create.status_fd = status[1];
    create.io.stdout_fd = out[1];
    create.io.stderr_fd = out[1];
    if (runtime_create(&create, &c, &o->e) == 0) {
        assert_int_equal(write(gate[1], "g", 1), 1);
        close(status[1]);
        close(out[1]);
        if (runtime_status_read(status[0], &o->e) == 0) {
            n = fs_read_full(out[0], o->out, sizeof(o->out) - 1);
            assert_true(n >= 0);
        }
        assert_int_equal(waitpid(c.pid, &ended, 0), c.pid);
        o->code = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
        o->warnings = take_ptr(c.warnings);
        assert_int_equal(cgroup_remove(cgroup, NULL), 0);
    } else {
        close(status[1]);
        close(out[1]);
    }
    assert_false(cgroup_exists(cgroup));
    runtime_created_done(&c);
    close(gate[0]);
    close(gate[1]);
    close(status[0]);
    close(out[0]);
}

static void expect(struct place *p, struct oci_spec *s, int code, const char *out)
{
    CLEANUP(outcome_done) struct outcome o;

    run(p, s, &o);
    if (o.e.code)
        fail_msg("%s", error_message(&o.e));
    assert_string_equal(o.out, out);
    assert_int_equal(o.code, code);
    json_free(&oci_spec_json, s);
}

static void expect_error(struct place *p, struct oci_spec *s, enum error_code code,
                         const char *want)
{
    CLEANUP(outcome_done) struct outcome o;

    run(p, s, &o);
    if (o.e.code != code || !strstr(error_message(&o.e), want))
        fail_msg("got %d \"%s\", want %d \"%s\"", o.e.code, error_message(&o.e), code, want);
    json_free(&oci_spec_json, s);
}

static void test_inside(void **state)
{
    struct oci_spec s = {0};

    need_host();
    make_spec(&s, "echo $$; cat /proc/sys/kernel/hostname; id -u; ls /proc/acpi; cat /proc/keys; "
                  "echo x >/dev/null; echo $HOME; cat /proc/net/dev | grep -c :; exit 7");
    expect(*state, &s, 7, "1\ninside\n0\n/\n1\n");
}

static void test_no_descriptors_leak(void **state)
{
    struct oci_spec s = {0};
    int leak = open("/", O_RDONLY | O_DIRECTORY); /* not close-on-exec, on purpose */

    need_host();
    make_spec(&s, "for fd in /proc/self/fd/*; do echo ${fd##*/}; done");
    /* 3 is the shell's own, of the folder it lists */
    expect(*state, &s, 0, "0\n1\n2\n3\n");
    close(leak);
}

static void test_read_only(void **state)
{
    struct oci_spec s = {0};

    need_host();
    make_spec(&s, "touch /x 2>/dev/null || echo root; echo 1 2>/dev/null >/proc/sys/kernel/msgmax "
                  "|| echo sys; touch /dev/x && echo dev");
    s.root->readonly = true;
    expect(*state, &s, 0, "root\nsys\ndev\n");
}

static void test_command_errors(void **state)
{
    static const struct {
        const char *command;
        enum error_code code;
        const char *want;
    } cases[] = {
        {"nope", ERR_COMMAND_NOT_FOUND, "exec: \"nope\": executable file not found in $PATH"},
        {"/nope", ERR_COMMAND_NOT_FOUND, "exec: \"/nope\": stat /nope: no such file or directory"},
        {"/etc", ERR_COMMAND_NOT_EXECUTABLE, "exec: \"/etc\": permission denied"},
        {"/proc/version", ERR_COMMAND_NOT_EXECUTABLE, "exec: \"/proc/version\": permission denied"},
    };
    struct place *p = *state;
    AUTOFREE char *etc = xasprintf("%s/rootfs/etc", p->dir);

    need_host();
    assert_int_equal(fs_mkdir_p(etc, 0755), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct oci_spec s = {0};

        make_spec(&s, "");
        strv_free(s.process->args);
        s.process->args = NULL;
        strv_push(&s.process->args, cases[i].command);
        expect_error(p, &s, cases[i].code, cases[i].want);
    }
}

static void test_setup_errors(void **state)
{
    struct place *p = *state;
    char *const *bind = WORDS("bind");
    struct oci_spec s = {0};

    need_host();
    make_spec(&s, "true");
    s.process->user.username = xstrdup("nobody-here");
    expect_error(p, &s, ERR_INVALID, "unable to find user nobody-here: no matching entries");
    make_spec(&s, "true");
    (void)oci_spec_add_mount(&s, "/m", "bind", "/does/not/exist", bind);
    expect_error(p, &s, ERR_INTERNAL, "/does/not/exist");
    make_spec(&s, "true");
    (void)oci_spec_add_mount(&s, "/bin/busybox", "bind", "/etc", bind);
    expect_error(p, &s, ERR_INVALID, "Are you trying to mount a directory onto a file");
    make_spec(&s, "true");
    (void)oci_spec_add_mount(&s, "/proc/self", "bind", "/etc", bind);
    expect_error(p, &s, ERR_INVALID, "it is inside /proc");
    make_spec(&s, "true");
    (void)oci_spec_add_mount(&s, "/proc", "tmpfs", "tmpfs", NULL);
    expect_error(p, &s, ERR_INVALID, "not of type proc");
    make_spec(&s, "true");
    json_map_set(&s.linux->sysctl, "vm.swappiness", "1");
    expect_error(p, &s, ERR_INVALID, "not in a separate kernel namespace");
    make_spec(&s, "true");
    str_replace(&s.process->cwd, "/proc/self/fd/4");
    expect_error(p, &s, ERR_COMMAND_NOT_FOUND, "chdir to cwd");
}

/* A link in the image that names a place outside: the mount lands inside. */
static void test_links_stay_inside(void **state)
{
    struct place *p = *state;
    AUTOFREE char *link = xasprintf("%s/rootfs/evil", p->dir);
    AUTOFREE char *outside = xasprintf("%s/outside", p->dir);
    char *const *opts = WORDS("bind");
    struct oci_spec s = {0};
    struct stat st;

    need_host();
    assert_int_equal(symlink("../../../../..", link), 0);
    make_spec(&s, "ls /made/by/link");
    (void)oci_spec_add_mount(&s, "/evil/made/by/link", "bind", p->dir, opts);
    expect(p, &s, 0, "rootfs\n");
    assert_true(stat("/made", &st) < 0);
    assert_true(stat(outside, &st) < 0);
}

static void test_limits_and_warnings(void **state)
{
    struct oci_rlimit limit = {(char *)(uintptr_t) "RLIMIT_NOFILE", 100, 200};
    CLEANUP(outcome_done) struct outcome o;
    struct oci_spec s = {0};
    struct oci_rlimit *to;

    need_host();
    make_spec(&s, "ulimit -n; ulimit -Hn; exit 0");
    to = json_list_add(&s.process->rlimits, sizeof(*to));
    *to = (struct oci_rlimit){xstrdup(limit.type), limit.soft, limit.hard};
    s.process->capabilities = xcalloc(1, sizeof(*s.process->capabilities));
    strv_push(&s.process->capabilities->bounding, "CAP_FUTURE");
    run(*state, &s, &o);
    assert_string_equal(o.out, "100\n200\n");
    assert_int_equal(strv_len(o.warnings), 1);
    assert_string_equal(o.warnings[0], "unknown capability CAP_FUTURE: not given");
    json_free(&oci_spec_json, &s);
}

static void test_out_of_memory(void **state)
{
    CLEANUP(outcome_done) struct outcome o;
    struct oci_spec s = {0};

    need_host();
    if (!cgroup_has_controller("memory"))
        skip();
    make_spec(&s, "a=x; while :; do a=$a$a; done");
    s.linux->resources = xcalloc(1, sizeof(*s.linux->resources));
    s.linux->resources->memory = xcalloc(1, sizeof(*s.linux->resources->memory));
    s.linux->resources->memory->limit = (struct opt_int){true, 16 << 20};
    s.linux->resources->memory->swap = (struct opt_int){true, 16 << 20};
    run(*state, &s, &o);
    assert_int_equal(o.code, 137);
    json_free(&oci_spec_json, &s);
}

static void add_user_namespace(struct oci_spec *s)
{
    struct oci_id_mapping *m;

    oci_spec_add_namespace(s, "user", NULL);
    m = json_list_add(&s->linux->uid_mappings, sizeof(*m));
    *m = (struct oci_id_mapping){0, 100000, 65536};
    m = json_list_add(&s->linux->gid_mappings, sizeof(*m));
    *m = (struct oci_id_mapping){0, 100000, 65536};
}

static void test_user_namespace(void **state)
{
    struct place *p = *state;
    struct oci_spec s = {0};

    need_host();
    assert_int_equal(chmod(p->dir, 0755), 0);
    make_spec(&s, "id -u; cat /proc/self/uid_map; echo x >/dev/null && echo null");
    add_user_namespace(&s);
    expect(p, &s, 0, "0\n         0     100000      65536\nnull\n");
}

/* The same with an overlay: what root of the container makes has its shifted id on disk. */
static void test_user_namespace_overlay(void **state)
{
    static const char *const dirs[] = {"up", "wk", "mnt"};
    struct place *p = *state;
    struct oci_spec s = {0};
    struct oci_overlay *o = xcalloc(1, sizeof(*o));
    AUTOFREE char *made = xasprintf("%s/up/made", p->dir);
    AUTOFREE char *lower = NULL;
    struct stat st;

    need_host();
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        AUTOFREE char *dir = xasprintf("%s/%s", p->dir, dirs[i]);

        assert_int_equal(mkdir(dir, 0755), 0);
    }
    assert_int_equal(chmod(p->dir, 0755), 0);
    lower = xasprintf("%s/rootfs/changed", p->dir);
    assert_int_equal(fs_write_atomic(AT_FDCWD, lower, "a", 1, 0644, FS_NO_SYNC), 0);
    assert_int_equal(chown(lower, 7, 8), 0);
    make_spec(&s, "touch /made; echo b >>/changed; stat -c '%u %g' /changed; echo ok");
    s.process->capabilities = xcalloc(1, sizeof(*s.process->capabilities)); /* else it has none */
    strv_push(&s.process->capabilities->bounding, "CAP_DAC_OVERRIDE");
    strv_push(&s.process->capabilities->permitted, "CAP_DAC_OVERRIDE");
    strv_push(&s.process->capabilities->effective, "CAP_DAC_OVERRIDE");
    str_replace(&s.root->path, "mnt");
    s.pouch = xcalloc(1, sizeof(*s.pouch));
    s.pouch->overlay = o;
    o->upper = xasprintf("%s/up", p->dir);
    o->work = xasprintf("%s/wk", p->dir);
    strv_push_take(&o->lower, xasprintf("%s/rootfs", p->dir));
    add_user_namespace(&s);
    expect(p, &s, 0, "7 8\nok\n");
    assert_int_equal(stat(made, &st), 0);
    assert_int_equal(st.st_uid, 0); /* the container's own id: no host id is on disk */
    free(take_ptr(made));
    made = xasprintf("%s/up/changed", p->dir);
    assert_int_equal(stat(made, &st), 0); /* a copy of the layer's file */
    assert_int_equal(st.st_uid, 7);
}

static void test_mini_init(void **state)
{
    struct oci_spec s = {0};

    need_host();
    make_spec(&s, "echo $$; exit 5");
    s.pouch = xcalloc(1, sizeof(*s.pouch));
    s.pouch->init = true;
    expect(*state, &s, 5, "2\n");
}

/* One change of the mounts, in a process of its own as it has to be; its errno, 0 when all went. */
static int change_mounts(pid_t pid, const struct runtime_mount *mounts, size_t n)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct error e = ERROR_INIT;
        int r = runtime_mounts(pid, mounts, n, &e);

        if (r < 0)
            print_message("# refused: %s\n", error_message(&e));
        _exit(-r);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What a file inside a running container says; "" when it is not there. */
static void expect_file(pid_t pid, const char *path, const char *want)
{
    AUTOFREE char *full = xasprintf("/proc/%d/root%s", pid, path);
    AUTOFREE char *text = NULL;

    if (fs_read_file(AT_FDCWD, full, 4096, &text, NULL) < 0)
        assert_string_equal("", want);
    else
        assert_string_equal(text, want);
}

static void check_mounts(struct place *p, pid_t pid)
{
    AUTOFREE char *dir = xasprintf("%s/source", p->dir);
    AUTOFREE char *file = xasprintf("%s/source/file", p->dir);
    AUTOFREE char *written = xasprintf("/proc/%d/root/made/here/new", pid);
    AUTOFREE char *link = xasprintf("%s/rootfs/out", p->dir);
    const struct runtime_mount add = {RUNTIME_MOUNT_ADD, dir, "/made/here", WORDS("ro")};
    const struct runtime_mount remove = {RUNTIME_MOUNT_REMOVE, NULL, "/made/here", NULL};
    const struct runtime_mount replace = {RUNTIME_MOUNT_REPLACE, file, "/proc/uptime", NULL};
    const struct runtime_mount uptime_off = {RUNTIME_MOUNT_REMOVE, NULL, "/proc/uptime", NULL};
    const struct runtime_mount proc = {RUNTIME_MOUNT_ADD, file, "/proc/version", NULL};
    const struct runtime_mount on_root = {RUNTIME_MOUNT_ADD, dir, "/..", NULL};
    const struct runtime_mount escape = {RUNTIME_MOUNT_ADD, file, "/out/escaped", NULL};
    const struct runtime_mount missing = {RUNTIME_MOUNT_ADD, "/not/there", "/x", NULL};
    const struct runtime_mount option = {RUNTIME_MOUNT_ADD, dir, "/x", WORDS("size=5")};
    const struct runtime_mount undone[] = {remove, add, proc};

    assert_int_equal(fs_mkdir_p(dir, 0755), 0);
    assert_int_equal(fs_write_atomic(AT_FDCWD, file, "hello", 5, 0644, FS_NO_SYNC), 0);
    assert_int_equal(symlink("/../../../..", link), 0);
    assert_int_equal(change_mounts(pid, &remove, 1), ENOENT);
    assert_int_equal(change_mounts(pid, &add, 1), 0);
    expect_file(pid, "/made/here/file", "hello");
    assert_int_equal(open(written, O_CREAT | O_WRONLY, 0600), -1);
    assert_int_equal(errno, EROFS);
    assert_int_equal(change_mounts(pid, undone, 3), EINVAL); /* the last of them is refused */
    expect_file(pid, "/made/here/file", "hello");
    assert_int_equal(change_mounts(pid, &remove, 1), 0);
    expect_file(pid, "/made/here/file", "");
    assert_int_equal(change_mounts(pid, &remove, 1), ENOENT); /* nothing is left below */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(change_mounts(pid, &replace, 1), 0);
        expect_file(pid, "/proc/uptime", "hello");
    }
    assert_int_equal(change_mounts(pid, &uptime_off, 1), 0);
    assert_int_equal(change_mounts(pid, &uptime_off, 1), ENOENT); /* replaced, not piled up */
    assert_int_equal(change_mounts(pid, &on_root, 1), EINVAL);
    assert_int_equal(change_mounts(pid, &missing, 1), EINVAL);
    assert_int_equal(change_mounts(pid, &option, 1), EINVAL);
    assert_int_equal(change_mounts(pid, &escape, 1), 0); /* ".." ends at the container's root */
    expect_file(pid, "/escaped", "hello");
    assert_int_equal(access("/escaped", F_OK), -1);
}

static void test_mounts_of_running(void **state)
{
    struct place *p = *state;
    AUTOFREE char *cgroup = xasprintf("%s/c", p->cgroup);
    struct runtime_created c = {.pidfd = -EBADF};
    struct runtime_create create = {.id = "c",
                                    .bundle = p->dir,
                                    .cgroup_path = cgroup,
                                    .io = RUNTIME_IO_INIT};
    struct oci_spec s = {0};
    struct error e = ERROR_INIT;
    int gate[2], status[2];

    need_host();
    make_spec(&s, "sleep 100");
    create.spec = &s;
    assert_int_equal(pipe2(gate, O_CLOEXEC) | pipe2(status, O_CLOEXEC), 0);
    create.gate_fd = gate[0];
    create.status_fd = status[1];
    assert_int_equal(runtime_create(&create, &c, &e), 0);
    assert_int_equal(write(gate[1], "g", 1), 1);
    close(status[1]);
    assert_int_equal(runtime_status_read(status[0], &e), 0);
    check_mounts(p, c.pid);
    assert_int_equal(kill(c.pid, SIGKILL), 0);
    assert_int_equal(waitpid(c.pid, NULL, 0), c.pid);
    assert_int_equal(cgroup_remove(cgroup, NULL), 0);
    runtime_created_done(&c);
    json_free(&oci_spec_json, &s);
    close(gate[0]);
    close(gate[1]);
    close(status[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(test_inside),
        T(test_no_descriptors_leak),
        T(test_read_only),
        T(test_command_errors),
        T(test_setup_errors),
        T(test_links_stay_inside),
        T(test_limits_and_warnings),
        T(test_out_of_memory),
        T(test_user_namespace),
        T(test_user_namespace_overlay),
        T(test_mini_init),
        T(test_mounts_of_running),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
