/* SPDX-License-Identifier: Apache-2.0 */
/* pouch-oci: commands, errors, the program. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/time.h"
#include "oci-cli/criu.h"
#include "oci-cli/oci-cli.h"
#include "sys/cgroup.h"
#include "sys/mount-api.h"

const struct command oci_commands[] = {
    {"create", "CONTAINER-ID", "make a container that waits for start", 1, 1, cmd_create},
    {"start", "CONTAINER-ID", "start the process of a created container", 1, 1, cmd_start},
    {"run", "CONTAINER-ID", "create, start, wait, delete", 1, 1, cmd_run},
    {"state", "CONTAINER-ID", "print the state as JSON", 1, 1, cmd_state},
    {"kill", "CONTAINER-ID [SIGNAL]", "send a signal (SIGTERM) to the init process", 1, 2,
     cmd_kill},
    {"delete", "CONTAINER-ID", "remove what is left of a container", 1, 1, cmd_delete},
    {"list", "", "list containers", 0, 0, cmd_list},
    {"exec", "CONTAINER-ID COMMAND [ARGUMENT...]", "run a process in a container", 1, -1, cmd_exec},
    {"pause", "CONTAINER-ID", "freeze all processes", 1, 1, cmd_pause},
    {"resume", "CONTAINER-ID", "thaw them", 1, 1, cmd_resume},
    {"ps", "CONTAINER-ID [PS-OPTION...]", "list the container's processes", 1, -1, cmd_ps},
    {"update", "CONTAINER-ID", "change the limits of a container", 1, 1, cmd_update},
    {"checkpoint", "CONTAINER-ID", "write the processes of a container to files (criu)", 1, 1,
     cmd_checkpoint},
    {"restore", "CONTAINER-ID", "make a container from what checkpoint has written", 1, 1,
     cmd_restore},
    {"events", "CONTAINER-ID", "print statistics and OOM events as they come", 1, 1, cmd_events},
    {"spec", "", "write a config.json to start from", 0, 0, cmd_spec},
    {"features", "", "print what this runtime can do, as JSON", 0, 0, cmd_features},
    {NULL, NULL, NULL, 0, 0, NULL},
};

static int open_log(const struct options *o)
{
    return open(o->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* exec stands in the container when it has something to tell: the host's file is opened before. */
static int exec_log = -EBADF;

/* containerd and others read the last line of this file for their own message. */
static void log_to_file(const struct options *o, const char *level, const char *message)
{
    AUTO(buf) struct buf line = BUF_INIT(1u << 20);
    AUTOFD int fd = exec_log >= 0 ? fcntl(exec_log, F_DUPFD_CLOEXEC, 3) : open_log(o);
    char now[TIME_RFC3339_MAX];

    if (fd < 0)
        return;
    time_format_rfc3339(time_now_ns(), now);
    if (o->log_format && STREQ(o->log_format, "json")) {
        struct jsonw w = {&line, false};

        jsonw_begin(&w, NULL);
        jsonw_str(&w, "level", level);
        jsonw_str(&w, "msg", message);
        jsonw_str(&w, "time", now);
        jsonw_end(&w);
    } else {
        (void)buf_printf(&line, "time=\"%s\" level=%s msg=", now, level);
        json_quote(&line, message, strlen(message));
    }
    (void)buf_putc(&line, '\n');
    (void)!fs_write_all(fd, line.data, line.len);
}

void warn_user(const struct options *o, const char *fmt, ...)
{
    AUTOFREE char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    if (o->log)
        log_to_file(o, "warning", text);
    else
        fprintf(stderr, "pouch-oci: warning: %s\n", text);
}

static bool enters_containers(const struct command *c)
{
    return c->run == cmd_create || c->run == cmd_run || c->run == cmd_exec;
}

#define SEALED "_POUCH_OCI_SEALED"

/*
 * /proc/<pid>/exe of a process on its way into a container is this program: it runs from a
 * read-only mount of its own, so that nobody in there can write to it (CVE-2019-5736).
 */
static void run_sealed(char **argv)
{
    char path[64];
    int fd;

    fd = mount_sealed_program("/proc/self/exe");
    if (fd < 0)
        return; /* no rights: what needs them will say so */
    (void)setenv(SEALED, "1", 1);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    execv(path, argv);
    (void)unsetenv(SEALED);
    close(fd);
}

static int check_globals(const struct options *o, struct error *e)
{
    if (o->rootless && !STREQ(o->rootless, "true") && !STREQ(o->rootless, "false") &&
        !STREQ(o->rootless, "auto"))
        return error_set(e, ERR_INVALID, "--rootless: \"%s\" is not true, false or auto",
                         o->rootless);
    if (o->cgroup_manager && !STREQ(o->cgroup_manager, "cgroupfs") &&
        !STREQ(o->cgroup_manager, "systemd"))
        return error_set(e, ERR_NOT_SUPPORTED,
                         "--cgroup-manager: \"%s\" is neither cgroupfs nor systemd: there is no "
                         "container without a cgroup",
                         o->cgroup_manager);
    if (o->log_format && !STREQ(o->log_format, "text") && !STREQ(o->log_format, "json"))
        return error_set(e, ERR_INVALID, "--log-format: \"%s\" is neither text nor json",
                         o->log_format);
    return 0;
}

int main(int argc, char **argv)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct options o = {0};
    const struct command *cmd = NULL;
    bool sealed = getenv(SEALED) != NULL;
    int r;

    if (argc < 1)
        return 1;
    if (sealed)
        (void)unsetenv(SEALED);
    r = options_parse(argv + 1, &o, &cmd, &e);
    if (r == 0)
        r = check_globals(&o, &e);
    if (r == 0 && cmd && enters_containers(cmd))
        r = options_find_fds(&o, &e);
    if (r == 0 && cmd) {
        if (enters_containers(cmd) && !sealed)
            run_sealed(argv);
        if (o.cgroup_manager)
            o.systemd_cgroup = STREQ(o.cgroup_manager, "systemd");
        if (cmd->run == cmd_create || cmd->run == cmd_run || cmd->run == cmd_restore)
            cgroup_use_all_v1();
        if (o.criu)
            criu_set_program(o.criu);
        if (o.debug)
            log_set_level(LOG_LEVEL_DEBUG);
        if (cmd->run == cmd_exec && o.log)
            exec_log = open_log(&o);
        r = cmd->run(&o, &e);
    }
    if (r < 0) {
        fprintf(stderr, "pouch-oci: %s\n", error_message(&e));
        if (o.log)
            log_to_file(&o, "error", error_message(&e));
        r = error_exit_code(e.code);
    }
    options_done(&o);
    if (fflush(stdout) != 0)
        return 1;
    /* After exec this process stands in the container's namespaces: nothing that runs at an exit (leak
     * checkers look into /proc) has a business there. */
    if (cmd && cmd->run == cmd_exec)
        _exit(r);
    return r;
}
