/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pouch-check: looks at a layer's EROFS file before the kernel does. Started by pouchd
 * (image/op-check.c), a fresh process for each file, which has seen nothing of the archive:
 *
 *     fd 1   one line of text when the file is refused
 *     fd 3   the file, open for reading
 *
 * Exit status 0: the file may be mounted. Before it is read, nobody must be left who could write to
 * it: the file was written by pouch-image, which may be in the hands of an attacker and may have kept
 * or passed on its descriptor, or a writable map. The kernel knows: it gives a read lease only when
 * nobody has the file open for writing. Opening it anew takes root's rights.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "base/time.h"
#include "erofs/erofs.h"
#include "rootfs/check/sandbox.h"

#define FILE_FD 3

/* A process that pouchd starts at the same moment has a copy of all descriptors until it execs; on a
 * machine under load that takes a while. */
#define WRITERS_NS ((int64_t)5 * NSEC_PER_SEC)
#define PAUSE_NS   (1 * NSEC_PER_MSEC)

#if defined(__SANITIZE_ADDRESS__)
/* The search for leaks needs /proc, which is out of reach by then. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

static int wait_for_writers(struct error *e)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    int64_t until = time_monotonic_ns() + WRITERS_NS;

    while (fcntl(FILE_FD, F_SETLEASE, F_RDLCK) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return error_set_errno(e, errno,
                                   "cannot see whether somebody still writes to it (a read lease)");
        if (time_monotonic_ns() > until)
            return error_set(e, ERR_INTERNAL, "somebody still has it open for writing");
        (void)nanosleep(&pause, NULL);
    }
    (void)fcntl(FILE_FD, F_SETLEASE, F_UNLCK);
    return 0;
}

static int check(struct error *e)
{
    AUTOPTR(erofs_reader) struct erofs_reader *reader = NULL;
    int r = erofs_reader_open(FILE_FD, &reader, e);

    if (r == 0)
        r = erofs_reader_map(reader, e);
    return r < 0 ? r : erofs_reader_check_own(reader, e);
}

static int usage(FILE *to, int status)
{
    (void)fputs("usage: pouch-check [--help] [--version]\n"
                "Part of pouchd, which starts it: says whether a layer's EROFS file (fd 3) may be "
                "mounted,\nand if not why, on fd 1. Not for use by hand.\n",
                to);
    return status;
}

int main(int argc, char **argv)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct stat st;
    int r;

    if (argc == 2 && STREQ(argv[1], "--version"))
        return printf("pouch-check %s\n", POUCH_VERSION) < 0;
    if (argc == 2 && STREQ(argv[1], "--help"))
        return usage(stdout, 0);
    if (argc != 1 || fstat(FILE_FD, &st) < 0 || !S_ISREG(st.st_mode))
        return usage(stderr, 2);
    r = wait_for_writers(&e);
    if (r == 0)
        r = check_sandbox_enter((uint64_t)st.st_size, &e);
    if (r == 0)
        r = check(&e);
    if (r == 0)
        _exit(0); /* what libraries do at exit is not allowed any more */
    (void)!fs_write_all(STDOUT_FILENO, error_message(&e), strlen(error_message(&e)));
    _exit(1);
}
