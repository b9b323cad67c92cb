/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first thing that runs in a container with an init of its own: puts what the engine has
 * prepared (units, drop-ins, masks) where the init looks for it, and becomes the init. It goes to
 * /run, which is a tmpfs of this container: nothing is left in the image's file system.
 */
#include "init/init.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/fs.h"

static int put(int from, int to, const char *name, int depth);

static int put_folder(int from, int to, int depth)
{
    DIR *dir = fdopendir(from); /* takes it over */
    int r = 0;

    if (!dir) {
        close(from);
        return -errno;
    }
    for (struct dirent *d = readdir(dir); d && r == 0; d = readdir(dir))
        if (!STREQ(d->d_name, ".") && !STREQ(d->d_name, ".."))
            r = put(dirfd(dir), to, d->d_name, depth + 1);
    closedir(dir);
    return r;
}

static int put_file(int from, int to, const char *name, mode_t mode)
{
    AUTOFD int in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTOFD int out = -EBADF;
    char block[4096];
    ssize_t n;

    (void)unlinkat(to, name, 0); /* a restart finds the file of before, when /run is the user's */
    out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 0777);
    if (in < 0 || out < 0)
        return -errno;
    while ((n = read(in, block, sizeof(block))) > 0) {
        int r = fs_write_all(out, block, (size_t)n);

        if (r < 0)
            return r;
    }
    return n < 0 ? -errno : 0;
}

static int put(int from, int to, const char *name, int depth)
{
    char target[1024];
    struct stat st;
    int in, r;

    if (depth > 16 || fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -ELOOP;
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

        if (n < 0)
            return -errno;
        target[n] = '\0';
        (void)unlinkat(to, name, 0);
        return symlinkat(target, to, name) < 0 ? -errno : 0;
    }
    if (!S_ISDIR(st.st_mode))
        return put_file(from, to, name, st.st_mode);
    if (mkdirat(to, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    in = openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    AUTOFD int out = openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (in < 0 || out < 0) {
        r = -errno;
        if (in >= 0)
            close(in);
        return r;
    }
    return put_folder(in, out, depth);
}

/* The init opens the console by itself; without this it could not be anybody's terminal. */
static void leave_terminal(void)
{
    (void)signal(SIGHUP, SIG_IGN);
    (void)ioctl(STDIN_FILENO, TIOCNOTTY);
    (void)signal(SIGHUP, SIG_DFL);
}

int cmd_boot(int argc, char **argv)
{
    /* For an init nobody knows: the application runs beside it from the beginning. */
    bool with_app = false, watched = false;
    AUTOFD int root = -EBADF;
    int r;

    for (; argc > 1 && argv[1][0] == '-'; argc--, argv++) {
        with_app |= STREQ(argv[1], "--app");
        watched |= STREQ(argv[1], "--watch");
    }
    if (argc < 2)
        return 125;
    umask(0022);
    root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = root < 0 ? -errno : open(RICH_INSIDE "/tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r >= 0)
        r = put_folder(r, root, 0);
    if (r < 0 && r != -ENOENT) {
        say("cannot prepare /run for %s: %s", argv[1], strerror(-r));
        return 125;
    }
    leave_terminal();
    if (with_app && fork() == 0) {
        char *app[] = {(char *)(uintptr_t) "app", (char *)(uintptr_t) "--wait", NULL};

        _exit(cmd_app(2, app));
    }
    if (watched && fork() == 0)
        _exit(cmd_watch(1, argv));
    reset_signals();
    umask(0);
    return exec_search(argv + 1, environ);
}
