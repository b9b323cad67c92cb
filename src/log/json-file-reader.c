/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading json-file logs while they are written and rotated.
 *
 * At the start all files of the log are opened, newest first (a rotation in between can then only
 * show a file twice, which its inode tells), and read from the oldest on. When the newest is at its
 * end and it has been renamed meanwhile, the next one is found by where its inode is now: after
 * path.N comes path.(N-1).
 *
 * Following waits on inotify of the log's folder and of the folder of end_path. Every wait is
 * followed by a full look at the files, so that an event only ever means "look again", and the end
 * is believed only after one more read that found nothing.
 */
#include "log/json-file.h"

#include <assert.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/time.h"

#define FILES_MAX    1001
#define READ_SIZE    (64 * 1024)
#define LINE_LIMIT   (1024 * 1024) /* a longer line is no log line */
#define POLL_MS      200           /* without inotify (its limits are few instances a user) */
#define WATCH_EVENTS (IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF)

struct file {
    int fd;
    ino_t ino;
    dev_t dev;
    off_t start; /* where to begin */
    off_t limit; /* where to stop; -1: at its end */
};

struct log_reader {
    struct log_reader_params p;
    char *path, *end_path;
    struct file *files; /* oldest first */
    size_t nfiles, current;
    off_t offset; /* in the current file, of what was read into buf */
    char *buf;
    size_t start, end, cap;
    bool skipping; /* inside a line that is too long */
    bool cut[2];   /* the stream's last entry had no newline */
    bool end_seen;
    bool ended;
    int inotify_fd;
    int end_watch; /* inotify's number of end_path's folder */
    ino_t end_ino; /* of that folder: another run of the container has another */
    bool have_stashed;
    struct log_entry stashed;
};

/* --- Files ------------------------------------------------------------------------------------- */

/* Opens path or path.N; -ENOENT when it is not there. */
static int open_numbered(const char *path, unsigned n, struct file *ret)
{
    AUTOFREE char *name = n > 0 ? xasprintf("%s.%u", path, n) : xstrdup(path);
    AUTOFD int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    *ret = (struct file){.fd = take_fd(fd), .ino = st.st_ino, .dev = st.st_dev, .limit = -1};
    return 0;
}

static bool same_file(const struct file *a, const struct file *b)
{
    return a->ino == b->ino && a->dev == b->dev;
}

/* Opens every file of the log into r->files, oldest first. */
static int open_files(struct log_reader *r)
{
    struct file f;

    for (unsigned n = 0; n < FILES_MAX; n++) {
        int k = open_numbered(r->path, n, &f);

        if (k == -ENOENT && n == 0)
            continue; /* not made yet, or in the middle of a rotation */
        if (k == -ENOENT)
            break;
        if (k < 0)
            return k;
        if (r->nfiles > 0 && same_file(&f, &r->files[r->nfiles - 1])) {
            close(f.fd);
            continue;
        }
        r->files = xreallocarray(r->files, r->nfiles + 1, sizeof(f));
        r->files[r->nfiles++] = f;
    }
    for (size_t i = 0; i < r->nfiles / 2; i++) {
        f = r->files[i];
        r->files[i] = r->files[r->nfiles - 1 - i];
        r->files[r->nfiles - 1 - i] = f;
    }
    return 0;
}

/* Following reached the end of the last file: 1 when a newer one was found and added. */
static int find_newer(struct log_reader *r)
{
    struct file now, older, newer = {.fd = -EBADF};
    int k = open_numbered(r->path, 0, &now);

    if (k == -ENOENT)
        return 0;
    if (k < 0)
        return k;
    if (r->nfiles > 0 && same_file(&now, &r->files[r->nfiles - 1])) {
        close(now.fd);
        return 0;
    }
    newer = now;
    /* Rotated more than once since: look for ours, remembering the one before (the newer). When
     * it is not there any more, the oldest that is left goes on. */
    for (unsigned n = 1; r->nfiles > 0 && n < FILES_MAX; n++) {
        if (open_numbered(r->path, n, &older) < 0)
            break;
        if (same_file(&older, &r->files[r->nfiles - 1])) {
            close(older.fd);
            break;
        }
        close(newer.fd);
        newer = older;
    }
    r->files = xreallocarray(r->files, r->nfiles + 1, sizeof(newer));
    r->files[r->nfiles++] = newer;
    return 1;
}

static void next_file(struct log_reader *r)
{
    if (r->current < r->nfiles) {
        close(r->files[r->current].fd);
        r->files[r->current].fd = -EBADF;
    }
    r->current++;
    r->offset = r->current < r->nfiles ? r->files[r->current].start : 0;
    r->start = r->end = 0; /* what has no newline in an old file never gets one */
    r->skipping = false;
}

/* --- Where to begin ---------------------------------------------------------------------------- */

/* Walks back over one file until `*left` line ends were passed; true when the place is in it. */
static bool tail_in_file(struct file *f, char *block, int64_t *left)
{
    struct stat st;
    off_t pos;

    if (fstat(f->fd, &st) < 0)
        return false;
    pos = f->limit >= 0 ? f->limit : st.st_size;
    while (pos > 0) {
        size_t n = pos < READ_SIZE ? (size_t)pos : READ_SIZE;
        ssize_t got = pread(f->fd, block, n, pos - (off_t)n);

        if (got < (ssize_t)n)
            return false;
        pos -= (off_t)n;
        for (char *p; (p = memrchr(block, '\n', n)); n = (size_t)(p - block)) {
            if ((*left)-- == 0) {
                f->start = pos + (p - block) + 1;
                return true;
            }
        }
    }
    return false;
}

/* Sets where to begin so that `tail` lines are left. */
static void seek_tail(struct log_reader *r)
{
    AUTOFREE char *block = xmalloc(READ_SIZE);
    int64_t left = r->p.tail;

    /* The line end just before the n-th last line is the one to find: n ends are passed first. */
    for (size_t i = r->nfiles; i-- > 0;) {
        if (!tail_in_file(&r->files[i], block, &left))
            continue;
        r->current = i;
        return;
    }
}

/* Files whose last write was before `since` hold nothing of interest. */
static void skip_old_files(struct log_reader *r)
{
    struct stat st;

    while (r->current + 1 < r->nfiles && fstat(r->files[r->current].fd, &st) == 0 &&
           st.st_mtim.tv_sec * NSEC_PER_SEC + st.st_mtim.tv_nsec < r->p.since_ns)
        next_file(r);
}

/* --- Waiting ----------------------------------------------------------------------------------- */

static int watch_folder_of(struct log_reader *r, const char *path)
{
    AUTOFREE char *copy = xstrdup(path);
    int wd = -1;

    if (r->inotify_fd >= 0)
        wd = inotify_add_watch(r->inotify_fd, dirname(copy), WATCH_EVENTS | IN_MASK_ADD);
    if (r->inotify_fd >= 0 && wd < 0) {
        close(r->inotify_fd);
        r->inotify_fd = -EBADF;
    }
    return wd;
}

static ino_t folder_inode(const char *path)
{
    AUTOFREE char *copy = xstrdup(path);
    struct stat st;

    return stat(dirname(copy), &st) < 0 ? 0 : st.st_ino;
}

/* Has the container ended? end_path is there, or its folder is gone, or it is that of a later run. */
static bool has_ended(const struct log_reader *r)
{
    ino_t now;

    if (!r->end_path)
        return false;
    now = folder_inode(r->end_path);
    return access(r->end_path, F_OK) == 0 || !now || now != r->end_ino;
}

/* A container that is started again at once takes end_path away before anybody has seen it: the
 * event tells of it all the same. */
static void take_events(struct log_reader *r)
{
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    const char *name = r->end_path ? strrchr(r->end_path, '/') : NULL;
    ssize_t n;

    while ((n = read(r->inotify_fd, events, sizeof(events))) > 0) {
        const struct inotify_event *ev;

        for (char *p = events; p < events + n; p += sizeof(*ev) + ev->len) {
            ev = (const struct inotify_event *)(void *)p;
            if (!name || ev->wd != r->end_watch)
                continue;
            if (ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED) ||
                (ev->len && strcmp(ev->name, name + 1) == 0))
                r->end_seen = true;
        }
    }
}

/* Waits for a change; 0 to look again, -ECANCELED. */
static int wait_for_change(struct log_reader *r)
{
    struct pollfd fds[2] = {{.fd = r->inotify_fd, .events = POLLIN},
                            {.fd = r->p.cancel_fd, .events = POLLIN}};
    int timeout = r->inotify_fd < 0 ? POLL_MS : -1, n;

    if (r->p.until_ns > 0) {
        int64_t ms = (r->p.until_ns - time_now_ns()) / NSEC_PER_MSEC + 1;

        if (ms <= 0) {
            r->end_seen = true;
            return 0;
        }
        if (timeout < 0 || ms < timeout)
            timeout = ms > 1000 * 1000 ? 1000 * 1000 : (int)ms;
    }
    n = poll(fds, 2, timeout);
    if (n < 0 && errno != EINTR)
        return -errno;
    if (n > 0 && fds[1].revents)
        return -ECANCELED;
    if (n > 0 && fds[0].revents)
        take_events(r);
    return 0;
}

/* --- Reading ----------------------------------------------------------------------------------- */

/* The next whole line of the buffer; it is taken out of it. False when there is none. */
static bool take_line(struct log_reader *r, char **ret, size_t *ret_len)
{
    for (;;) {
        char *line = r->buf + r->start;
        char *newline = r->end > r->start ? memchr(line, '\n', r->end - r->start) : NULL;

        if (!newline)
            return false;
        r->start = (size_t)(newline - r->buf) + 1;
        if (r->skipping) {
            r->skipping = false;
            continue;
        }
        *ret = line;
        *ret_len = (size_t)(newline - line);
        return true;
    }
}

/* Reads more of the current file into the buffer: bytes, 0 at its end, -errno. */
static ssize_t fill(struct log_reader *r)
{
    struct file *f;
    size_t n = READ_SIZE;
    ssize_t got;

    if (r->current >= r->nfiles)
        return 0;
    f = &r->files[r->current];
    if (r->start > 0) {
        memmove(r->buf, r->buf + r->start, r->end - r->start);
        r->end -= r->start;
        r->start = 0;
    }
    if (r->end > LINE_LIMIT) {
        r->end = 0;
        r->skipping = true;
    }
    if (r->cap - r->end < READ_SIZE) {
        r->cap = r->end + READ_SIZE;
        r->buf = xreallocarray(r->buf, r->cap, 1);
    }
    if (f->limit >= 0 && f->limit - r->offset < (off_t)n)
        n = f->limit > r->offset ? (size_t)(f->limit - r->offset) : 0;
    if (n == 0)
        return 0;
    do
        got = pread(f->fd, r->buf + r->end, n, r->offset);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    r->end += (size_t)got;
    r->offset += got;
    return got;
}

/* Makes an entry of a line: 1, or 0 when it is not wanted. Sets ended after `until`. */
static int take_entry(struct log_reader *r, char *line, size_t len, struct log_entry *ret)
{
    struct log_entry entry;
    bool *cut;

    if (log_line_parse(line, len, &entry) < 0)
        return 0;
    cut = &r->cut[entry.stream - LOG_STDOUT];
    entry.continues = *cut;
    *cut = entry.len > 0 && entry.data[entry.len - 1] != '\n';
    if (r->p.until_ns > 0 && entry.time_ns > r->p.until_ns) {
        r->ended = true;
        return 0;
    }
    if (entry.time_ns < r->p.since_ns || (entry.stream == LOG_STDOUT && r->p.no_stdout) ||
        (entry.stream == LOG_STDERR && r->p.no_stderr))
        return 0;
    *ret = entry;
    return 1;
}

/* Somebody emptied the file, or the writer took half a record back (disk full). */
static void after_truncation(struct log_reader *r)
{
    struct stat st;

    if (r->current >= r->nfiles || fstat(r->files[r->current].fd, &st) < 0 ||
        st.st_size >= r->offset)
        return;
    r->offset = st.st_size;
    r->start = r->end = 0;
}

/* At the end of a file: 1 when there is more to read now, 0 when not, -errno. */
static int after_file(struct log_reader *r)
{
    int k;

    if (r->current + 1 < r->nfiles) {
        next_file(r);
        return 1;
    }
    if (!r->p.follow) {
        r->ended = true;
        return 1;
    }
    after_truncation(r);
    k = find_newer(r); /* then this file is read to its end once more before the next is taken */
    if (k == 0 && r->end_seen) {
        r->ended = true;
        return 1;
    }
    if (k == 0 && has_ended(r)) {
        r->end_seen = true; /* one more look */
        return 1;
    }
    return k;
}

/* 1 entry, 0 end, -EAGAIN when it would wait and must not. */
static int step(struct log_reader *r, bool may_wait, struct log_entry *ret)
{
    while (!r->ended) {
        char *line;
        size_t len;
        ssize_t got;
        int k;

        if (take_line(r, &line, &len)) {
            if (take_entry(r, line, len, ret))
                return 1;
            continue;
        }
        got = fill(r);
        if (got < 0)
            return (int)got;
        if (got > 0)
            continue;
        k = after_file(r);
        if (k == 0 && !may_wait)
            return -EAGAIN;
        if (k == 0)
            k = wait_for_change(r);
        if (k < 0)
            return k;
    }
    return 0;
}

int log_reader_next(struct log_reader *r, struct log_entry *ret)
{
    if (r->have_stashed) {
        r->have_stashed = false;
        *ret = r->stashed;
        return 1;
    }
    return step(r, true, ret);
}

bool log_reader_would_wait(struct log_reader *r)
{
    int k;

    if (r->have_stashed || !r->p.follow)
        return false;
    k = step(r, false, &r->stashed);
    r->have_stashed = k == 1;
    return k == -EAGAIN;
}

/* --- Life -------------------------------------------------------------------------------------- */

/* Without follow, what is written from now on is not read: a busy writer would never let it end. */
static void limit_newest(struct log_reader *r)
{
    struct stat st;
    struct file *f;

    if (r->p.follow || r->nfiles == 0)
        return;
    f = &r->files[r->nfiles - 1];
    if (fstat(f->fd, &st) == 0)
        f->limit = st.st_size;
}

int log_reader_open(const char *path, const struct log_reader_params *p, struct log_reader **ret,
                    struct error *e)
{
    AUTOPTR(log_reader) struct log_reader *r = xcalloc(1, sizeof(*r));
    int k;

    r->p = *p;
    r->path = xstrdup(path);
    r->end_path = xstrdup_or_null(p->end_path);
    r->p.end_path = r->end_path;
    r->inotify_fd = -EBADF;
    if (p->follow) {
        r->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        (void)watch_folder_of(r, path);
        if (r->end_path) {
            r->end_watch = watch_folder_of(r, r->end_path);
            r->end_ino = folder_inode(r->end_path);
        }
    }
    k = open_files(r);
    if (k < 0)
        return error_set_errno(e, k, "cannot open the log %s", path);
    limit_newest(r);
    if (p->tail >= 0)
        seek_tail(r);
    if (p->since_ns > 0)
        skip_old_files(r);
    if (r->current < r->nfiles)
        r->offset = r->files[r->current].start;
    *ret = take_ptr(r);
    return 0;
}

void log_reader_free(struct log_reader *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->nfiles; i++)
        if (r->files[i].fd >= 0)
            close(r->files[i].fd);
    if (r->inotify_fd >= 0)
        close(r->inotify_fd);
    free(r->files);
    free(r->path);
    free(r->end_path);
    free(r->buf);
    free(r);
}
