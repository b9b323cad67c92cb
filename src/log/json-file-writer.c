/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing json-file logs. It runs in the resident part of pouch-monitor: all memory is one
 * anonymous mapping made at the start, of which only pages that are used become resident; no
 * printf, no allocation.
 *
 * Records are encoded into `out` and written whole; `size` is the length of the file up to its
 * last whole record. When a write fails in the middle the file is cut back to a record's end.
 */
#include "log/json-file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/time.h"

#define PATH_LIMIT 4096
#define RECORD_MAX (6 * LOG_LINE_MAX + 128) /* every byte as \u00XX, and the rest of the record */
#define FLUSH_AT   (16 * 1024)
#define SUFFIX_MAX 8 /* ".1000" */
#define STREAMS    2

struct log_writer {
    int fd;
    unsigned max_files;
    int64_t max_size;
    int64_t size;
    uint64_t lost_bytes, lost_lines;
    int lost_errno;
    int64_t second; /* date[] is of this second */
    char date[20];  /* "2026-01-02T03:04:05" */
    size_t pending_len[STREAMS];
    size_t out_len;
    char path[PATH_LIMIT];
    char pending[STREAMS][LOG_LINE_MAX]; /* the start of a line without its end */
    char out[FLUSH_AT + RECORD_MAX];
};

/* --- The file ---------------------------------------------------------------------------------- */

static int open_file(struct log_writer *w)
{
    struct stat st;
    char last;
    int fd = open(w->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }
    w->fd = fd;
    w->size = st.st_size;
    /* A crash or a full disk may have left half a record. */
    if (st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) == 1 && last != '\n' &&
        write(fd, "\n", 1) == 1)
        w->size++;
    return 0;
}

/* path or path.N into out. */
static void numbered(const struct log_writer *w, unsigned n, char out[PATH_LIMIT + SUFFIX_MAX])
{
    size_t len = strlen(w->path), digits = 1;

    memcpy(out, w->path, len + 1);
    if (n == 0)
        return;
    out[len++] = '.';
    for (unsigned k = n; k >= 10; k /= 10)
        digits++;
    out[len + digits] = '\0';
    for (; digits > 0; n /= 10)
        out[len + --digits] = (char)('0' + n % 10);
}

/* path.(n-1) → path.n for all n, then a new file. When that fails the old one goes on. */
static void rotate(struct log_writer *w)
{
    char from[PATH_LIMIT + SUFFIX_MAX], to[PATH_LIMIT + SUFFIX_MAX];
    int old = w->fd;

    if (w->max_files <= 1)
        (void)unlink(w->path);
    for (unsigned n = w->max_files - 1; n >= 1 && w->max_files > 1; n--) {
        numbered(w, n - 1, from);
        numbered(w, n, to);
        if (rename(from, to) < 0 && n == 1)
            return;
    }
    if (open_file(w) < 0) {
        numbered(w, 1, from);
        if (w->max_files > 1)
            (void)rename(from, w->path);
        return;
    }
    close(old);
}

static void count_lost(struct log_writer *w, const char *data, size_t len, int err)
{
    w->lost_bytes += len;
    w->lost_errno = err;
    for (const char *end = data + len; (data = memchr(data, '\n', (size_t)(end - data))); data++)
        w->lost_lines++;
}

/* Writes out[] to the file. */
static void flush_out(struct log_writer *w)
{
    size_t done = 0;
    int err = 0;

    if (w->out_len == 0)
        return;
    if (w->max_size > 0 && w->size > 0 && w->size + (int64_t)w->out_len > w->max_size)
        rotate(w);
    while (done < w->out_len && !err) {
        ssize_t n = write(w->fd, w->out + done, w->out_len - done);

        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            err = errno;
    }
    if (err) {
        while (done > 0 && w->out[done - 1] != '\n')
            done--;
        (void)!ftruncate(w->fd, w->size + (int64_t)done);
        count_lost(w, w->out + done, w->out_len - done, err);
    }
    w->size += (int64_t)done;
    w->out_len = 0;
}

/* --- Records ----------------------------------------------------------------------------------- */

static void put(struct log_writer *w, const char *s, size_t len)
{
    memcpy(w->out + w->out_len, s, len);
    w->out_len += len;
}
#define PUT_LITERAL(w, s) put((w), (s), sizeof(s) - 1)

/* The length of the UTF-8 sequence at s, 0 when it is none (overlong forms and surrogates too). */
static size_t utf8_len(const unsigned char *s, size_t len)
{
    unsigned char c = s[0];
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

    if (c < 0xc2 || c > 0xf4 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) ||
        (c == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* One control character, quote or backslash. */
static void put_escaped(struct log_writer *w, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char s[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    size_t len = 2;

    switch (c) {
    case '"':
    case '\\':
        s[1] = (char)c;
        break;
    case '\n':
        s[1] = 'n';
        break;
    case '\r':
        s[1] = 'r';
        break;
    case '\t':
        s[1] = 't';
        break;
    default:
        len = 6;
    }
    put(w, s, len);
}

static void put_text(struct log_writer *w, const char *data, size_t len)
{
    const unsigned char *s = (const unsigned char *)data, *end = s + len;

    while (s < end) {
        const unsigned char *plain = s;

        while (s < end && *s >= 0x20 && *s < 0x80 && *s != '"' && *s != '\\')
            s++;
        put(w, (const char *)plain, (size_t)(s - plain));
        if (s == end)
            break;
        if (*s < 0x80) {
            put_escaped(w, *s++);
        } else {
            size_t n = utf8_len(s, (size_t)(end - s));

            if (n > 0)
                put(w, (const char *)s, n);
            else
                PUT_LITERAL(w, "\\ufffd");
            s += n > 0 ? n : 1;
        }
    }
}

static void put_digits(char *out, int64_t value, int n)
{
    for (; n > 0; value /= 10)
        out[--n] = (char)('0' + value % 10);
}

/*
 * The date of a second since the epoch. By hand, since libc's gmtime_r() reads the time zone file
 * first. Days are counted from 0000-03-01, so that a leap day is the last of its year: 400 years
 * have 146097 days, months from March on have 153 days in five.
 */
static void set_date(struct log_writer *w, int64_t second)
{
    int64_t days = second / 86400 + 719468, in_day = second % 86400;
    int64_t era = days / 146097, in_era = days % 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * in_year + 2) / 153; /* 0 is March */

    memcpy(w->date, "0000-00-00T00:00:00", sizeof(w->date));
    put_digits(w->date, era * 400 + year + (month >= 10), 4);
    put_digits(w->date + 5, month < 10 ? month + 3 : month - 9, 2);
    put_digits(w->date + 8, in_year - (153 * month + 2) / 5 + 1, 2);
    put_digits(w->date + 11, in_day / 3600, 2);
    put_digits(w->date + 14, in_day / 60 % 60, 2);
    put_digits(w->date + 17, in_day % 60, 2);
    w->second = second;
}

/* "2026-01-02T03:04:05.123456789Z"; the date is kept for the records of the same second. */
static void put_time(struct log_writer *w, int64_t ns)
{
    char fraction[9];

    if (ns / NSEC_PER_SEC != w->second || !w->date[0])
        set_date(w, ns / NSEC_PER_SEC);
    put(w, w->date, 19);
    PUT_LITERAL(w, ".");
    put_digits(fraction, ns % NSEC_PER_SEC, 9);
    put(w, fraction, 9);
    PUT_LITERAL(w, "Z");
}

static void put_record(struct log_writer *w, enum log_stream stream, const char *data, size_t len,
                       int64_t now)
{
    assert(len <= LOG_LINE_MAX);
    if (w->out_len >= FLUSH_AT)
        flush_out(w);
    PUT_LITERAL(w, "{\"log\":\"");
    put_text(w, data, len);
    if (stream == LOG_STDERR)
        PUT_LITERAL(w, "\",\"stream\":\"stderr\",\"time\":\"");
    else
        PUT_LITERAL(w, "\",\"stream\":\"stdout\",\"time\":\"");
    put_time(w, now);
    PUT_LITERAL(w, "\"}\n");
}

/* --- Lines ------------------------------------------------------------------------------------- */

/* How many of the n bytes (a line's first LOG_LINE_MAX) to write: not half a character. */
static size_t cut_at(const char *data, size_t n)
{
    for (size_t back = 1; back <= 3 && back < n; back++) {
        unsigned char c = (unsigned char)data[n - back];

        if (c >= 0xc0) { /* starts a sequence: is it whole? */
            size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

            return need > back ? n - back : n;
        }
        if (c < 0x80)
            break;
    }
    return n;
}

/* Appends to the pending line until it ends or is full; the bytes taken. */
static size_t add_pending(struct log_writer *w, enum log_stream stream, const char *data,
                          size_t len, int64_t now)
{
    char *pending = w->pending[stream - 1];
    size_t have = w->pending_len[stream - 1], room = LOG_LINE_MAX - have;
    size_t n = len < room ? len : room;
    const char *newline = memchr(data, '\n', n);

    if (newline)
        n = (size_t)(newline - data) + 1;
    memcpy(pending + have, data, n);
    have += n;
    if (newline) {
        put_record(w, stream, pending, have, now);
        have = 0;
    } else if (have == LOG_LINE_MAX) {
        size_t cut = cut_at(pending, have);

        put_record(w, stream, pending, cut, now);
        memmove(pending, pending + cut, have - cut);
        have -= cut;
    }
    w->pending_len[stream - 1] = have;
    return n;
}

void log_writer_write(struct log_writer *w, enum log_stream stream, const char *data, size_t len)
{
    int64_t now = time_now_ns();

    while (len > 0) {
        size_t n = len < LOG_LINE_MAX ? len : LOG_LINE_MAX;
        const char *newline;

        if (w->pending_len[stream - 1] > 0) {
            n = add_pending(w, stream, data, len, now);
        } else if ((newline = memchr(data, '\n', n))) {
            n = (size_t)(newline - data) + 1;
            put_record(w, stream, data, n, now);
        } else if (n == LOG_LINE_MAX) {
            n = cut_at(data, n);
            put_record(w, stream, data, n, now);
        } else {
            n = add_pending(w, stream, data, len, now);
        }
        data += n;
        len -= n;
    }
    flush_out(w);
}

void log_writer_flush(struct log_writer *w)
{
    for (enum log_stream s = LOG_STDOUT; s <= LOG_STDERR; s++) {
        if (w->pending_len[s - 1] > 0)
            put_record(w, s, w->pending[s - 1], w->pending_len[s - 1], time_now_ns());
        w->pending_len[s - 1] = 0;
    }
    flush_out(w);
}

/* --- Life -------------------------------------------------------------------------------------- */

int log_writer_open(const char *path, int64_t max_size, unsigned max_files, struct log_writer **ret)
{
    struct log_writer *w;
    int r;

    if (strlen(path) >= PATH_LIMIT)
        return -ENAMETOOLONG;
    w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (w == MAP_FAILED)
        return -errno;
    strcpy(w->path, path);
    w->max_size = max_size;
    w->max_files = max_files > 0 ? max_files : 1;
    r = open_file(w);
    if (r < 0) {
        munmap(w, sizeof(*w));
        return r;
    }
    *ret = w;
    return 0;
}

size_t log_writer_pending(const struct log_writer *w, enum log_stream stream, const char **ret)
{
    *ret = w->pending[stream - 1];
    return w->pending_len[stream - 1];
}

uint64_t log_writer_lost(const struct log_writer *w, uint64_t *ret_lines, int *ret_errno)
{
    if (ret_lines)
        *ret_lines = w->lost_lines;
    if (ret_errno)
        *ret_errno = w->lost_errno;
    return w->lost_bytes;
}

void log_writer_close(struct log_writer *w)
{
    if (!w)
        return;
    log_writer_flush(w);
    close(w->fd);
    munmap(w, sizeof(*w));
}
