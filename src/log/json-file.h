/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Container logs in Docker's json-file form: one {"log":"…\n","stream":"stdout","time":"…"} a
 * line; output without a newline is cut at 16 KiB and at the stream's end. `path` is the current
 * file, `path.1` the one before, up to max_files in all.
 *
 * The writer lives in pouch-monitor: it allocates nothing after it was opened. The reader lives in
 * pouchd, works on files that are being written and rotated, and needs no word from the writer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

#define LOG_LINE_MAX (16 * 1024)

enum log_stream { LOG_STDOUT = 1, LOG_STDERR = 2 };

/* --- Writing ----------------------------------------------------------------------------------- */

struct log_writer;

/* Opens for appending; a last line that a crash cut off is closed by a newline. max_size <= 0:
 * no rotation. */
int log_writer_open(const char *path, int64_t max_size, unsigned max_files,
                    struct log_writer **ret) MUST_CHECK;

/*
 * Writes output as it was read from the container. Never fails: what cannot be written (disk
 * full) is counted as lost, and the next call tries again. Lines never come out in halves.
 */
void log_writer_write(struct log_writer *w, enum log_stream stream, const char *data, size_t len);
/* Writes lines that were not ended by a newline: at the end of the streams. */
void log_writer_flush(struct log_writer *w);

/* What of the stream was taken but is not in the file yet (a line without its end; borrowed). */
size_t log_writer_pending(const struct log_writer *w, enum log_stream stream, const char **ret);

/* Output lost so far, and the errno of the last loss. */
uint64_t log_writer_lost(const struct log_writer *w, uint64_t *ret_lines, int *ret_errno);

/* Flushes and closes; NULL is fine. */
void log_writer_close(struct log_writer *w);

/* --- Reading ----------------------------------------------------------------------------------- */

struct log_reader_params {
    int64_t since_ns; /* entries at or after; 0: all */
    int64_t until_ns; /* entries at or before; 0: all */
    int64_t tail;     /* the last n lines only; negative: all */
    bool follow;      /* wait for more, through rotations, until the container has ended */
    /* With follow: the container has ended once this file is there (the monitor's exit.json, which
     * it writes after the last log line) or its folder is gone. NULL: never. */
    const char *end_path;
    int cancel_fd;  /* with follow: stop when it is readable or hung up; negative: none */
    bool no_stdout; /* leave a stream out (tail counts lines of both) */
    bool no_stderr;
};

struct log_entry {
    enum log_stream stream;
    int64_t time_ns;
    const char *data; /* borrowed until the next call; ends with \n unless the line was cut */
    size_t len;
    bool continues; /* goes on with a line whose start was in this stream's entry before */
};

struct log_reader;

/* Opens the log at path; a missing file is an empty log. A zeroed params struct with tail -1 and
 * cancel_fd -1 reads everything. Strings of p are copied, cancel_fd is borrowed. */
int log_reader_open(const char *path, const struct log_reader_params *p, struct log_reader **ret,
                    struct error *e) MUST_CHECK;
/* 1 with an entry, 0 at the end, -ECANCELED after cancel_fd, else -errno. One thread a reader.
 * Damaged lines (a crash, a full disk) are skipped. */
int log_reader_next(struct log_reader *r, struct log_entry *ret) MUST_CHECK;
/* True when the next call would wait (follow only): time to flush to the client. The entry got
 * before is invalid afterwards. */
bool log_reader_would_wait(struct log_reader *r);
void log_reader_free(struct log_reader *r);
DEFINE_AUTOPTR(struct log_reader, log_reader)

/* "2026-01-02T03:04:05.123456789Z " for `--timestamps`, or "" for an entry that continues a line.
 * Returns its length. */
#define LOG_TIMESTAMP_MAX 40
size_t log_entry_timestamp(const struct log_entry *entry, char out[LOG_TIMESTAMP_MAX]);

/*
 * Parses one line of a file (without its newline). The text is decoded in place: line is
 * overwritten, ret->data points into it. -EBADMSG when it is no log line.
 */
int log_line_parse(char *line, size_t len, struct log_entry *ret) MUST_CHECK;
