/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes races wide: a library for LD_PRELOAD that lets one call in some of the program's calls into
 * the kernel, and of its mutexes, wait for a moment before or after it is made. What two threads, or
 * two programs, do in the wrong order once in a million runs they do in one of a thousand then.
 *
 *   POUCH_JITTER=SEED[:PER_MILLE[:MAX_MS]]    30 of 1000 calls, up to 20 ms
 *   POUCH_JITTER_PROGRAM=NAME                 pouchd: others that inherit the library run as ever
 *
 * The same seed gives each thread the same delays in the order of its calls; which thread comes
 * first is the kernel's affair still.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MUTEX_SHARE 4 /* mutexes are many: one in four of what system calls get */

static unsigned per_mille;
static unsigned max_us = 20000;
static uint64_t seed;
static atomic_uint threads;
static __thread uint64_t state;

__attribute__((constructor)) static void jitter_begin(void)
{
    const char *text = getenv("POUCH_JITTER");
    const char *program = getenv("POUCH_JITTER_PROGRAM");
    unsigned long long number = 0;
    unsigned share = 30;
    unsigned max_ms = 20;

    if (!text || strcmp(program ? program : "pouchd", program_invocation_short_name) != 0 ||
        sscanf(text, "%llu:%u:%u", &number, &share, &max_ms) < 1)
        return;
    seed = number;
    max_us = max_ms * 1000;
    per_mille = share;
}

/* xorshift64*: its own for each thread. */
static uint64_t next_random(void)
{
    if (!state)
        state = (seed + 1) * 0x9E3779B97F4A7C15ULL ^ (atomic_fetch_add(&threads, 1) + 1) << 20;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1DULL >> 16;
}

/* Most delays are short, as short ones are enough for most windows; errno stays as it is. */
static void maybe_wait(unsigned share)
{
    int saved = errno;
    uint64_t random;
    uint64_t us;

    if (!share)
        return;
    random = next_random();
    if (random % (1000 * MUTEX_SHARE) >= share)
        return;
    random = next_random();
    us = (random >> 8) % (max_us + 1);
    us = random & 3 ? us / 16 : us;
    const struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    (void)syscall(SYS_nanosleep, &t, NULL); /* not the library's: no cancellation point */
    errno = saved;
}

#define REAL(name)                                                                                 \
    static __typeof__(&name) real;                                                                 \
    if (!real)                                                                                     \
        real = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name);

/* One that waits before it, and sometimes after it. */
#define DELAYED(type, name, params, args)                                                          \
    __attribute__((visibility("default"))) type name params                                        \
    {                                                                                              \
        REAL(name)                                                                                 \
        maybe_wait(per_mille *MUTEX_SHARE);                                                        \
        type result = real args;                                                                   \
        maybe_wait(per_mille *MUTEX_SHARE / 2);                                                    \
        return result;                                                                             \
    }

DELAYED(int, rename, (const char *from, const char *to), (from, to))
DELAYED(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
DELAYED(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
        (a, from, b, to, flags))
DELAYED(int, mkdir, (const char *path, mode_t mode), (path, mode))
DELAYED(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode))
DELAYED(int, unlink, (const char *path), (path))
DELAYED(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
DELAYED(int, rmdir, (const char *path), (path))
DELAYED(int, link, (const char *from, const char *to), (from, to))
DELAYED(int, linkat, (int a, const char *from, int b, const char *to, int flags),
        (a, from, b, to, flags))
DELAYED(int, symlink, (const char *from, const char *to), (from, to))
DELAYED(int, access, (const char *path, int mode), (path, mode))
DELAYED(int, fdatasync, (int fd), (fd))
DELAYED(int, fsync, (int fd), (fd))
DELAYED(ssize_t, read, (int fd, void *data, size_t len), (fd, data, len))
DELAYED(ssize_t, write, (int fd, const void *data, size_t len), (fd, data, len))
DELAYED(ssize_t, pread64, (int fd, void *data, size_t len, off64_t at), (fd, data, len, at))
DELAYED(ssize_t, pwrite64, (int fd, const void *data, size_t len, off64_t at), (fd, data, len, at))
DELAYED(ssize_t, recv, (int fd, void *data, size_t len, int flags), (fd, data, len, flags))
DELAYED(ssize_t, send, (int fd, const void *data, size_t len, int flags), (fd, data, len, flags))
DELAYED(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
DELAYED(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags))
DELAYED(int, accept4, (int fd, struct sockaddr *a, socklen_t *len, int flags), (fd, a, len, flags))
DELAYED(int, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))
DELAYED(int, mount,
        (const char *from, const char *to, const char *type, unsigned long flags, const void *data),
        (from, to, type, flags, data))
DELAYED(int, umount2, (const char *path, int flags), (path, flags))
DELAYED(int, kill, (pid_t pid, int sig), (pid, sig))
DELAYED(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options))

/* The mode is read when the flags ask for it. */
#define DELAYED_OPEN(name, params, before)                                                         \
    __attribute__((visibility("default"))) int name params                                         \
    {                                                                                              \
        mode_t mode = 0;                                                                           \
        va_list ap;                                                                                \
        int fd;                                                                                    \
                                                                                                   \
        REAL(name)                                                                                 \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                     \
            va_start(ap, flags);                                                                   \
            mode = va_arg(ap, mode_t);                                                             \
            va_end(ap);                                                                            \
        }                                                                                          \
        maybe_wait(per_mille *MUTEX_SHARE);                                                        \
        fd = real before;                                                                          \
        maybe_wait(per_mille *MUTEX_SHARE / 2);                                                    \
        return fd;                                                                                 \
    }

DELAYED_OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
DELAYED_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
DELAYED_OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
DELAYED_OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

/* What lies between two mutexes is a window, too: before the first is taken, and once it is free. */
__attribute__((visibility("default"))) int pthread_mutex_lock(pthread_mutex_t *m)
{
    REAL(pthread_mutex_lock)
    maybe_wait(per_mille);
    return real(m);
}

__attribute__((visibility("default"))) int pthread_mutex_unlock(pthread_mutex_t *m)
{
    int result;

    REAL(pthread_mutex_unlock)
    result = real(m);
    maybe_wait(per_mille);
    return result;
}
