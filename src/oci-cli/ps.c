/* SPDX-License-Identifier: Apache-2.0 */
/* ps: the host's ps(1), with the container's processes alone; or their numbers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "oci-cli/oci-cli.h"
#include "sys/cgroup.h"

/* The index of the column "PID" in ps's first line; -1: there is none. */
static int pid_column(const char *header)
{
    AUTOPTR(strv) char **words = strv_split(header, " \t\n", true);

    for (int i = 0; words && words[i]; i++)
        if (STREQ(words[i], "PID"))
            return i;
    return -1;
}

static bool is_ours(const char *line, int column, const pid_t *pids, size_t n)
{
    AUTOPTR(strv) char **words = strv_split(line, " \t\n", true);
    long pid = strv_len(words) > (size_t)column ? strtol(words[column], NULL, 10) : 0;

    for (size_t i = 0; i < n; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

static int filter(FILE *from, const pid_t *pids, size_t n, struct error *e)
{
    char *line = NULL;
    size_t size = 0;
    int column = getline(&line, &size, from) > 0 ? pid_column(line) : -1;
    int r = column < 0 ? error_set(e, ERR_INVALID, "ps gave no column PID: choose one that has it")
                       : 0;

    if (r == 0)
        fputs(line, stdout);
    while (r == 0 && getline(&line, &size, from) > 0)
        if (is_ours(line, column, pids, n))
            fputs(line, stdout);
    free(line);
    return r;
}

/* -ENOENT: there is no ps on this host. */
static int run_ps(char *const *options, const pid_t *pids, size_t n, struct error *e)
{
    AUTOPTR(strv) char **argv = NULL;
    int fds[2], failed[2], status = 0, r = 0, why = 0;
    FILE *from;
    pid_t pid;

    strv_push(&argv, "ps");
    for (size_t i = 0; options && options[i]; i++)
        strv_push(&argv, options[i]);
    if (!argv[1])
        strv_push(&argv, "-ef");
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "cannot make a pipe");
    if (pipe2(failed, O_CLOEXEC) < 0) {
        r = error_set_errno(e, errno, "cannot make a pipe");
        close(fds[0]);
        close(fds[1]);
        return r;
    }
    pid = fork();
    if (pid == 0) {
        (void)dup2(fds[1], 1);
        execvp("ps", argv);
        why = errno;
        (void)!write(failed[1], &why, sizeof(why));
        _exit(127);
    }
    close(fds[1]);
    close(failed[1]);
    from = pid > 0 ? fdopen(fds[0], "r") : NULL;
    if (!from) {
        r = error_set_errno(e, errno, "cannot run ps");
        close(fds[0]);
    }
    if (r == 0 && read(failed[0], &why, sizeof(why)) == (ssize_t)sizeof(why))
        r = -why;
    if (r == 0)
        r = filter(from, pids, n, e);
    if (from)
        (void)fclose(from);
    close(failed[0]);
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
    if (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        r = error_set(e, ERR_INVALID, "ps failed");
    return r;
}

int cmd_ps(struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    bool json = o->format && STREQ(o->format, "json");
    AUTOFREE pid_t *pids = NULL;
    size_t n = 0;
    int r = check_format(o, e);

    if (r == 0)
        r = state_load(o, o->args[0], &s, e);
    if (r == 0)
        r = cgroup_pids(s.cgroup_path, &pids, &n, e);
    if (r < 0)
        return r;
    if (!json) {
        r = run_ps(o->args + 1, pids, n, e);
        if (r != -ENOENT)
            return r;
        if (o->args[1])
            return error_set(e, ERR_NOT_FOUND, "ps: the host has no ps(1) for these options");
    }
    printf("%s", json ? "[" : "PID\n");
    for (size_t i = 0; i < n; i++)
        printf(json ? "%s%d" : "%s%d\n", json && i ? "," : "", pids[i]);
    printf("%s", json ? "]\n" : "");
    return 0;
}
