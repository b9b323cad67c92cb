/* SPDX-License-Identifier: Apache-2.0 */
/* exec: one more process in the container, by liblxc's attach. */
#include <fcntl.h>
#include <lxc/lxccontainer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "base/strv.h"
#include "lxc/lxc.h"

struct payload {
    const struct oci_process *process;
    int status_fd; /* closed by exec, or an errno */
    bool terminal;
};

/* In the container, with its rights. */
static int run_process(void *data)
{
    const struct payload *p = data;
    const struct oci_process *process = p->process;
    int err;

    if (p->terminal) {
        (void)setsid();
        (void)ioctl(0, TIOCSCTTY, 0);
    }
    if (process->user.umask.set)
        (void)umask((mode_t)process->user.umask.value);
    if (!str_is_empty(process->cwd) && chdir(process->cwd) < 0) {
        err = errno | 1 << 16;
    } else {
        execvp(process->args[0], process->args);
        err = errno;
    }
    (void)!write(p->status_fd, &err, sizeof(err));
    return 127;
}

static int exec_error(const struct oci_process *p, int err, struct error *e)
{
    if (err & 1 << 16)
        return error_set(e, ERR_COMMAND_NOT_EXECUTABLE, "exec: chdir to %s: %s", p->cwd,
                         strerror(err & 0xffff));
    if (err == ENOENT)
        return error_set(e, ERR_COMMAND_NOT_FOUND,
                         "exec: \"%s\": executable file not found in $PATH", p->args[0]);
    return error_set(e, ERR_COMMAND_NOT_EXECUTABLE, "exec: \"%s\": %s", p->args[0], strerror(err));
}

static int write_pid(const char *path, pid_t pid, struct error *e)
{
    char text[16];
    int r;

    if (!path)
        return 0;
    (void)snprintf(text, sizeof(text), "%d", (int)pid);
    r = fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0644, FS_NO_SYNC);
    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

static int attach(const struct options *o, const struct oci_process *p, pid_t *ret_pid,
                  struct error *e)
{
    struct lxc_container *c = lxc_container_new(o->id, o->root);
    lxc_attach_options_t options = LXC_ATTACH_OPTIONS_DEFAULT;
    struct payload payload = {.process = p};
    AUTOFREE gid_t *gids = xcalloc(p->user.additional_gids.len + 1, sizeof(*gids));
    AUTOFD int slave = -EBADF;
    int status[2], err = 0, r = 0;
    ssize_t n;

    if (!c)
        return error_set(e, ERR_INTERNAL, "liblxc cannot find the container %s", o->id);
    for (size_t i = 0; i < p->user.additional_gids.len; i++)
        gids[i] = (gid_t)((const uint64_t *)p->user.additional_gids.items)[i];
    if (p->terminal && o->console_socket)
        r = console_make(o->console_socket, p, &slave, e);
    if (r < 0)
        return r;
    if (pipe2(status, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "cannot make a pipe");
    payload.status_fd = status[1];
    payload.terminal = slave >= 0;
    options.env_policy = LXC_ATTACH_CLEAR_ENV;
    options.extra_env_vars = p->env;
    options.uid = (uid_t)p->user.uid;
    options.gid = (gid_t)p->user.gid;
    options.groups.size = p->user.additional_gids.len;
    options.groups.list = gids;
    if (p->no_new_privileges)
        options.attach_flags |= LXC_ATTACH_NO_NEW_PRIVS;
    options.stdin_fd = slave >= 0 ? slave : STDIN_FILENO;
    options.stdout_fd = slave >= 0 ? slave : STDOUT_FILENO;
    options.stderr_fd = slave >= 0 ? slave : STDERR_FILENO;
    if (c->attach(c, run_process, &payload, &options, ret_pid) < 0)
        r = error_set(e, ERR_INTERNAL, "LXC cannot attach to the container");
    close(status[1]);
    if (r == 0) {
        do
            n = read(status[0], &err, sizeof(err));
        while (n < 0 && errno == EINTR);
        if (n == (ssize_t)sizeof(err))
            r = exec_error(p, err, e);
    }
    close(status[0]);
    return r;
}

int attach_run(const struct options *o, struct error *e)
{
    struct oci_process process = {0};
    AUTOFREE char *text = NULL;
    size_t len;
    int status = 0, r;
    pid_t pid = 0;

    if (!o->process)
        return error_set(e, ERR_INVALID, "exec needs --process FILE");
    r = fs_read_file(AT_FDCWD, o->process, 4 << 20, &text, &len);
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", o->process);
    r = json_parse(&oci_process_json, text, len, &process, e);
    if (r == 0 && (!process.args || !process.args[0]))
        r = error_set(e, ERR_INVALID, "%s: no args", o->process);
    if (r == 0)
        r = attach(o, &process, &pid, e);
    if (r == 0)
        r = write_pid(o->pid_file, pid, e);
    json_free(&oci_process_json, &process);
    if (r < 0 || o->detach)
        return r;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
