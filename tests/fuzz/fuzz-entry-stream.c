/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entry stream's reader and the layer writer behind it. Each input becomes a layer in a folder
 * of a detached tmpfs that no namespace sees, beside a file that must stay as it is: a layer that
 * reaches it aborts. Without root there is nothing to write, and inputs pass unread.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "rootfs/unpack/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int top = -EBADF; /* the tmpfs */
static int cwd = -EBADF;

static bool prepare(void)
{
    static bool tried;
    int fs;

    if (tried)
        return top >= 0;
    tried = true;
    (void)umask(0);
    cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (cwd < 0 || fs < 0)
        return false;
    (void)fsconfig(fs, FSCONFIG_SET_STRING, "size", "64m", 0);
    (void)fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "20000", 0);
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        top = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    (void)close(fs);
    return top >= 0 && fs_write_atomic(top, "victim", "safe", 4, 0600, FS_NO_SYNC) == 0;
}

static void check_victim(void)
{
    AUTOFREE char *text = NULL;
    struct stat st;

    if (fs_read_file(top, "victim", 100, &text, NULL) < 0 || !STREQ(text, "safe") ||
        fstatat(top, "victim", &st, 0) < 0 || st.st_nlink != 1 || (st.st_mode & 07777) != 0600 ||
        st.st_uid != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFD int in = -EBADF;
    AUTOFD int root = -EBADF;
    struct unpack_counts counts;
    struct error e = ERROR_INIT;

    if (!prepare())
        return 0;
    in = memfd_create("stream", MFD_CLOEXEC);
    if (in < 0 || fs_write_all(in, data, size) < 0 || lseek(in, 0, SEEK_SET) < 0 ||
        mkdirat(top, "layer", 0700) < 0)
        abort();
    root = openat(top, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        abort();
    /* Refused with one line, or done. */
    if (unpack_stream(in, root, &counts, &e) < 0 &&
        (e.code == ERR_NONE || strchr(error_message(&e), '\n')))
        abort();
    error_done(&e);
    check_victim();
    if (fchdir(cwd) < 0 || fs_remove_tree(top, "layer") < 0)
        abort();
    return 0;
}
