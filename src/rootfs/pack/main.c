/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pouch-pack: reads a container's files and writes them out. Started by pouchd (rootfs/packer.c):
 *
 *     pouch-pack tree|diff|changes [PATH...]     PATH: not the container's own, left out
 *     fd 1   what is written (walk.h)
 *     fd 3   the tree: a detached mount
 *     fd 4   what lies below an upper folder: a detached mount, or closed
 *     fd 5   one line of text when it fails
 *
 * Exit status 0: all was written. Anything else: what was written is not to be used.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "rootfs/pack/sandbox.h"
#include "rootfs/pack/walk.h"

#define TREE_FD   3
#define LOWER_FD  4
#define REPORT_FD 5
#define OUT_SIZE  (256u * 1024)

#if defined(__SANITIZE_ADDRESS__)
/* The search for leaks needs /proc, which is out of reach by then. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

/* Small pieces are gathered. */
static struct {
    unsigned char data[OUT_SIZE];
    size_t len;
} out;

static int flush(void)
{
    int r = out.len > 0 ? fs_write_all(STDOUT_FILENO, out.data, out.len) : 0;

    out.len = 0;
    return r;
}

static int put(void *data, const void *bytes, size_t len)
{
    int r;

    if (len > OUT_SIZE / 4) {
        r = flush();
        return r < 0 ? r : fs_write_all(STDOUT_FILENO, bytes, len);
    }
    if (out.len + len > OUT_SIZE && (r = flush()) < 0)
        return r;
    memcpy(out.data + out.len, bytes, len);
    out.len += len;
    return 0;
}

static int run(enum pack_mode mode, char **skip, struct error *e)
{
    struct pack_params p = {.mode = mode, .root_fd = -EBADF, .skip = skip, .write = put};
    int r = pack_sandbox_enter(TREE_FD, &p.root_fd, e);

    p.lower_fd = fcntl(LOWER_FD, F_GETFD) < 0 ? -1 : LOWER_FD;
    if (r >= 0)
        r = pack_walk(&p, e);
    if (r >= 0 && (r = flush()) < 0)
        r = error_set_errno(e, r, "cannot pass the files on");
    return r;
}

static int usage(FILE *to, int status)
{
    (void)fputs("usage: pouch-pack tree|diff|changes [PATH...]\n"
                "Part of pouchd, which starts it: reads a container's files (fd 3) and writes them "
                "to fd 1\nas an archive, or as a list of changes. Not for use by hand.\n",
                to);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const modes[PACK_MODE_MAX] = {"tree", "diff", "changes"};
    AUTO(error) struct error e = ERROR_INIT;
    enum pack_mode mode = PACK_TREE;
    struct rlimit files;
    struct stat st;

    if (argc == 2 && STREQ(argv[1], "--version"))
        return printf("pouch-pack %s\n", POUCH_VERSION) < 0;
    if (argc == 2 && STREQ(argv[1], "--help"))
        return usage(stdout, 0);
    while (argc > 1 && mode < PACK_MODE_MAX && !STREQ(argv[1], modes[mode]))
        mode++;
    if (argc < 2 || mode == PACK_MODE_MAX || fstat(TREE_FD, &st) < 0 || !S_ISDIR(st.st_mode))
        return usage(stderr, 2);
    (void)signal(SIGPIPE, SIG_IGN);
    /* One open folder a level. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (run(mode, argv + 2, &e) == 0)
        _exit(0); /* what libraries do at exit is not allowed any more */
    (void)!fs_write_all(REPORT_FD, error_message(&e), strlen(error_message(&e)));
    _exit(1);
}
