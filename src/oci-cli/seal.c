/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that enter containers run from a sealed copy of the program (main.c: run_sealed). This is the same before
 * the C library has started, so that it starts once and not twice. What fails here is done again, and told, by main().
 */
#include <fcntl.h>
#include <linux/mount.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "base/quick-start.h"

static long call5(long nr, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long r;

    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return r;
}

static int begins(const char *text, const char *with)
{
    while (*with && *text == *with) {
        text++;
        with++;
    }
    return !*with;
}

/* A word that only looks like the command costs an exec, no more. */
static int enters_containers(char **argv)
{
    for (; *argv; argv++) {
        size_t end = 0;

        while (end < 7 && (*argv)[end])
            end++;
        if ((end == 6 && begins(*argv, "create")) || (end == 4 && begins(*argv, "exec")) ||
            (end == 3 && begins(*argv, "run")))
            return 1;
    }
    return 0;
}

void quick_start_first(int argc, char **argv, char **env)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV};
    char path[32] = "/proc/self/fd/";
    char mark[] = "_POUCH_OCI_SEALED=1";
    char self[] = "/proc/self/exe";
    char none[] = "";
    char **with_mark;
    size_t n = 0;
    long fd;

    if (argc < 1 || !enters_containers(argv))
        return;
    for (; env[n]; n++)
        if (begins(env[n], mark))
            return;
    fd = call5(SYS_open_tree, AT_FDCWD, (long)self, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, 0, 0);
    if (fd < 0)
        return;
    if (fd < 10000 &&
        call5(SYS_mount_setattr, fd, (long)none, AT_EMPTY_PATH, (long)&attr, sizeof(attr)) == 0) {
        with_mark = __builtin_alloca((n + 2) * sizeof(*with_mark));
        for (size_t i = 0; i < n; i++)
            with_mark[i] = env[i];
        with_mark[n] = mark;
        with_mark[n + 1] = NULL;
        for (long unit = 1000, at = sizeof("/proc/self/fd/") - 1; unit > 0; unit /= 10)
            if (fd >= unit || unit == 1)
                path[at++] = (char)('0' + fd / unit % 10);
        (void)call5(SYS_execve, (long)path, (long)argv, (long)with_mark, 0, 0);
    }
    (void)call5(SYS_close, fd, 0, 0, 0, 0);
}
