/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pouch-unpack: writes one layer to disk. Started by pouchd, one process a layer, with the fds that
 * image/entry-stream.h describes: 0 the entry stream, 1 the report, 2 the log, 3 the layer's folder.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "image/entry-stream.h"
#include "rootfs/unpack/sandbox.h"
#include "rootfs/unpack/stream.h"

#define FOLDER_FD 3

#if defined(__SANITIZE_ADDRESS__)
/* The search for leaks needs /proc, which is out of reach by then. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

static int run(bool sync, struct unpack_counts *counts, struct error *e)
{
    int root = -EBADF;
    int r = unpack_sandbox_enter(FOLDER_FD, &root, e);

    if (r == 0)
        r = unpack_stream(STDIN_FILENO, root, counts, e);
    if (r == 0 && sync && syncfs(root) < 0)
        r = error_set_errno(e, errno, "write the layer to the disk");
    return r;
}

static int usage(FILE *out, int status)
{
    (void)fputs(
        "usage: pouch-unpack [--no-sync] [--help] [--version]\n"
        "Part of pouchd, which starts it: reads a layer's entries from fd 0, writes them to the\n"
        "folder fd 3 and reports on fd 1.\n",
        out);
    return status;
}

int main(int argc, char **argv)
{
    struct unpack_report report = {.magic = UNPACK_REPORT_MAGIC};
    struct unpack_counts counts = {0};
    struct error e = ERROR_INIT;
    struct stat st;
    bool sync = true;
    int r;

    for (int i = 1; i < argc; i++) {
        if (STREQ(argv[i], "--version") || STREQ(argv[i], "-v")) {
            (void)puts("pouch-unpack " POUCH_VERSION);
            return 0;
        }
        if (STREQ(argv[i], "--help") || STREQ(argv[i], "-h"))
            return usage(stdout, 0);
        if (!STREQ(argv[i], "--no-sync"))
            return usage(stderr, 2);
        sync = false;
    }
    if (fstat(FOLDER_FD, &st) < 0 || !S_ISDIR(st.st_mode))
        return usage(stderr, 2);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(0);
    r = run(sync, &counts, &e);
    report.errnum = -r;
    report.entries = counts.entries;
    report.bytes = counts.bytes;
    if (r < 0)
        (void)snprintf(report.message, sizeof report.message, "%s", error_message(&e));
    error_done(&e);
    if (fs_write_all(STDOUT_FILENO, &report, sizeof report) < 0)
        return 1;
    _exit(r < 0 ? 1 : 0); /* what libraries do at exit is not allowed any more */
}
