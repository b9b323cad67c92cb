/* SPDX-License-Identifier: Apache-2.0 */
/* What several commands of pouch-init need. */
#include "init/init.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

void say(const char *fmt, ...)
{
    char line[1024] = "pouch: ";
    size_t len = strlen(line);
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
    va_end(ap);
    len += n < 0 ? 0 : (size_t)n;
    if (len > sizeof(line) - 2)
        len = sizeof(line) - 2;
    line[len++] = '\n';
    (void)!fs_write_all(STDERR_FILENO, line, len);
}

void reset_signals(void)
{
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

void tell(enum rich_event_type type, int value, int detail)
{
    struct rich_event ev = {RICH_MAGIC, type, value, detail};
    /* Not blocking: without a reader the open fails, with a full pipe the write. */
    AUTOFD int fd = open(RICH_INSIDE "/" RICH_EVENTS, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0 || write(fd, &ev, sizeof(ev)) != (ssize_t)sizeof(ev))
        say("cannot tell the engine how it ended");
}

int exit_code_of(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static int failed(const char *name, int errnum)
{
    bool missing = errnum == ENOENT || errnum == ENOTDIR;

    if (errnum == ENOENT && access(name, F_OK) == 0)
        say("exec: \"%s\": its interpreter or loader is not in the container", name);
    else
        say("exec: \"%s\": %s", name, strerror(errnum));
    return missing ? 127 : 126;
}

int exec_search(char *const *args, char **env)
{
    const char *path = env_get(env, "PATH");
    int denied = 0;

    if (strchr(args[0], '/')) {
        execve(args[0], args, env);
        return failed(args[0], errno);
    }
    for (const char *p = path ? path : DEFAULT_PATH; *args[0]; p++) {
        size_t n = strcspn(p, ":");
        AUTOFREE char *full = n ? xasprintf("%.*s/%s", (int)n, p, args[0])
                                : xasprintf("./%s", args[0]);
        struct stat st;

        execve(full, args, env);
        if (stat(full, &st) == 0 && S_ISREG(st.st_mode)) {
            if (errno != EACCES)
                return failed(full, errno);
            denied = EACCES;
        }
        p += n;
        if (!*p)
            break;
    }
    if (denied)
        return failed(args[0], denied);
    say("exec: \"%s\": executable file not found in $PATH", args[0]);
    return 127;
}
