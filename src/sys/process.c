/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc tells of a process; proc_pid_stat(5). */
#include "sys/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"

#define PF_EXITING 0x4 /* include/linux/sched.h */

/* PF_EXITING of one thread, or SIGKILL waits for it: it is on its way out, or has gone. */
static bool thread_exits(const char *stat_path, unsigned *ret_threads)
{
    AUTOFREE char *text = NULL;
    unsigned long long pending = 0;
    unsigned flags = 0;
    const char *p;

    *ret_threads = 0;
    if (fs_read_file(AT_FDCWD, stat_path, 4096, &text, NULL) < 0)
        return true;
    p = strrchr(text, ')'); /* the name may have some, too */
    if (!p || sscanf(p,
                     ") %*c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %u %*d "
                     "%*u %*u %*d %*u %*u %*u %*u %*u %*u %llu",
                     &flags, ret_threads, &pending) != 3)
        return false;
    return flags & PF_EXITING || pending & 1ull << (SIGKILL - 1);
}

bool process_is_ending(pid_t pid)
{
    AUTOFREE char *path = xasprintf("/proc/%d/stat", (int)pid);
    AUTOFREE char *tasks = xasprintf("/proc/%d/task", (int)pid);
    unsigned threads;
    bool exits = thread_exits(path, &threads);
    DIR *d = exits && threads > 1 ? opendir(tasks) : NULL;
    struct dirent *de;

    while (d && exits && (de = readdir(d))) {
        AUTOFREE char *of = xasprintf("%s/%s/stat", tasks, de->d_name);

        exits = de->d_name[0] == '.' || thread_exits(of, &threads);
    }
    if (d)
        (void)closedir(d);
    return exits;
}
