/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wall between the worker, which parses hostile bytes, and the kernel, which parses the EROFS file
 * that the worker wrote: before the file gets its name (and long before it is mounted) a fresh
 * pouch-check looks at all of its structure, and makes sure that nobody can change it any more.
 * Meanwhile other layers come; only the last one of an image waits for it.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/self.h"
#include "image/op-priv.h"
#include "io/spawn.h"

#define FILE_FD   3
#define TEXT_MAX  1024
#define END_MS    5000
#define BY_SIGNAL 128 /* what spawn_wait() adds */

int op_check_start(struct image_op *op, struct op_layer *l)
{
    AUTOFREE char *program = self_program_path("pouch-check");
    char *argv[] = {(char *)"pouch-check", NULL};
    AUTOFD int file = openat(op->store->layers_fd, l->tmp_dir,
                             O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    int report[2];

    if (file < 0)
        return error_set_errno(op->e, errno, "cannot open the file of a layer");
    if (pipe2(report, O_CLOEXEC) < 0)
        return error_set_errno(op->e, errno, "cannot make a pipe");
    const struct spawn_fd fds[] = {{file, FILE_FD}};
    const struct spawn_params sp = {.program = program,
                                    .argv = argv,
                                    .stdin_fd = -1,
                                    .stdout_fd = report[1],
                                    .stderr_fd = -1,
                                    .fds = fds,
                                    .nfds = 1,
                                    .new_session = true};
    int r = spawn_program(&sp, &l->check, op->e);
    close(report[1]);
    if (r < 0) {
        close(report[0]);
        return r;
    }
    l->report_fd = report[0];
    return 0;
}

/* What a status without words means. */
static const char *reason_of(int status)
{
    switch (status) {
    case 0:
        return "pouch-check contradicts itself";
    case BY_SIGNAL + SIGBUS:
        return "it cannot be read: input/output error";
    case BY_SIGNAL + SIGXCPU:
    case BY_SIGNAL + SIGKILL:
        return "it takes longer to look at than any honest file";
    case BY_SIGNAL + SIGABRT:
    case BY_SIGNAL + SIGSYS: /* abort() is more than its filter allows */
        return "it takes more memory to look at than any honest file";
    default:
        return "pouch-check ended unexpectedly";
    }
}

int op_check_end(struct image_op *op, struct op_layer *l)
{
    char text[TEXT_MAX] = "";
    /* It has spoken or ended; one in hostile hands may do neither any more. */
    int status = spawn_wait_or_kill(l->check, END_MS);
    ssize_t n = fs_read_full(l->report_fd, text, sizeof(text) - 1);

    l->check = 0;
    close(take_fd(l->report_fd));
    if (status == 0 && n == 0)
        return 0;
    for (char *p = text; *p; p++) /* what stands there may come from the file */
        if ((unsigned char)*p < ' ')
            *p = '?';
    return error_set(op->e, ERR_INTERNAL,
                     "layer %s is not used, as the kernel must not see the file that was made of "
                     "it: %s (status %d)",
                     l->short_id ? l->short_id : l->diff_id, n > 0 ? text : reason_of(status),
                     status);
}
