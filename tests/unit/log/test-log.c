/* SPDX-License-Identifier: Apache-2.0 */
/* json-file: what the writer writes, and the reader on it, while it grows and rotates. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/time.h"
#include "log/driver.h"
#include "log/json-file.h"

struct box {
    char dir[64];
    char *log, *end;
    struct log_writer *w;
};

static void box_init(struct box *b, int64_t max_size, unsigned max_files)
{
    strcpy(b->dir, "/tmp/pouch-test-log-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    b->log = xasprintf("%s/x-json.log", b->dir);
    b->end = xasprintf("%s/exit.json", b->dir);
    assert_int_equal(log_writer_open(b->log, max_size, max_files, &b->w), 0);
}

static void box_done(struct box *b)
{
    log_writer_close(b->w);
    free(b->log);
    free(b->end);
    assert_int_equal(fs_remove_tree(AT_FDCWD, b->dir), 0);
}

static void put(struct box *b, const char *text)
{
    log_writer_write(b->w, LOG_STDOUT, text, strlen(text));
}

static void put_file(const char *path, const char *text)
{
    assert_int_equal(fs_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, FS_NO_SYNC), 0);
}

static const struct log_reader_params everything = {.tail = -1, .cancel_fd = -1};

/* All entries as one text. */
static char *read_text(const char *path, const struct log_reader_params *p)
{
    AUTO(buf) struct buf b = BUF_INIT(64 << 20);
    AUTOPTR(log_reader) struct log_reader *r = NULL;
    struct log_entry entry;
    int k;

    assert_int_equal(log_reader_open(path, p, &r, NULL), 0);
    while ((k = log_reader_next(r, &entry)) > 0)
        buf_append(&b, entry.data, entry.len);
    assert_int_equal(k, 0);
    return buf_take(&b);
}

static void assert_text(const char *path, const struct log_reader_params *p, const char *want)
{
    AUTOFREE char *got = read_text(path, p);

    assert_string_equal(got, want);
}

static void test_format(void **state)
{
    static const char raw[] = "a\"\\\t\r\x01 \xc3\xa9 \xff \xed\xa0\x80\n";
    AUTOFREE char *text = NULL;
    struct box b;
    char *time;

    box_init(&b, -1, 1);
    log_writer_write(b.w, LOG_STDERR, raw, sizeof(raw) - 1);
    assert_int_equal(fs_read_file(AT_FDCWD, b.log, 4096, &text, NULL), 0);
    time = strstr(text, "\"time\":");
    assert_non_null(time);
    assert_int_equal(strlen(time), strlen("\"time\":\"2026-01-02T03:04:05.123456789Z\"}\n"));
    *time = '\0';
    assert_string_equal(text, "{\"log\":\"a\\\"\\\\\\t\\r\\u0001 \xc3\xa9 \\ufffd "
                              "\\ufffd\\ufffd\\ufffd\\n\",\"stream\":\"stderr\",");
    assert_text(b.log, &everything,
                "a\"\\\t\r\x01 \xc3\xa9 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\n");
    box_done(&b);
}

/* The date is computed by hand: compare it with the library's over some centuries. */
static void test_dates(void **state)
{
    AUTOPTR(log_reader) struct log_reader *r = NULL;
    struct log_entry entry;
    int64_t before = time_now_ns();
    struct box b;

    box_init(&b, -1, 1);
    put(&b, "x\n");
    assert_int_equal(log_reader_open(b.log, &everything, &r, NULL), 0);
    assert_int_equal(log_reader_next(r, &entry), 1);
    assert_true(entry.time_ns >= before && entry.time_ns <= time_now_ns());
    box_done(&b);
}

static void test_long_lines(void **state)
{
    enum { SIZE = 40000 };
    AUTOFREE char *line = xmalloc(SIZE + 2);
    AUTOPTR(log_reader) struct log_reader *r = NULL;
    struct log_entry entry;
    char stamp[LOG_TIMESTAMP_MAX];
    struct box b;

    memset(line, 'x', SIZE);
    memcpy(line + LOG_LINE_MAX - 1, "\xc3\xa9", 2); /* a character across the cut */
    strcpy(line + SIZE, "\n");
    box_init(&b, -1, 1);
    for (size_t i = 0; i < SIZE + 1; i += 1000) /* in pieces, as from a pipe */
        log_writer_write(b.w, LOG_STDOUT, line + i, SIZE + 1 - i < 1000 ? SIZE + 1 - i : 1000);
    put(&b, "next");
    const char *pending;
    assert_int_equal(log_writer_pending(b.w, LOG_STDOUT, &pending), 4);
    assert_memory_equal(pending, "next", 4);
    log_writer_flush(b.w);

    assert_int_equal(log_reader_open(b.log, &everything, &r, NULL), 0);
    assert_int_equal(log_reader_next(r, &entry), 1);
    assert_int_equal(entry.len, LOG_LINE_MAX - 1);
    assert_false(entry.continues);
    assert_int_equal(log_entry_timestamp(&entry, stamp), 31);
    assert_int_equal(log_reader_next(r, &entry), 1);
    assert_true(entry.continues);
    assert_int_equal(log_entry_timestamp(&entry, stamp), 0);
    assert_int_equal(log_reader_next(r, &entry), 1);
    assert_true(entry.continues);
    assert_int_equal(log_reader_next(r, &entry), 1);
    assert_false(entry.continues);
    assert_int_equal(log_reader_next(r, &entry), 0);
    AUTOFREE char *all = read_text(b.log, &everything);
    assert_memory_equal(all, line, SIZE + 1);
    box_done(&b);
}

static void test_rotation(void **state)
{
    AUTO(buf) struct buf want = BUF_INIT(1 << 20);
    struct box b;
    struct stat st;
    char name[128];

    box_init(&b, 10000, 3);
    for (int i = 0; i < 1000; i++) {
        char line[32];

        snprintf(line, sizeof(line), "line %d\n", i);
        put(&b, line);
    }
    for (int n = 0; n < 3; n++) {
        snprintf(name, sizeof(name), n ? "%s.%d" : "%s", b.log, n);
        assert_int_equal(stat(name, &st), 0);
        assert_true(st.st_size <= 10000);
    }
    snprintf(name, sizeof(name), "%s.3", b.log);
    assert_int_equal(stat(name, &st), -1);

    /* What is left is the end, without gaps. */
    AUTOFREE char *all = read_text(b.log, &everything);
    int first = atoi(all + 5);
    assert_true(first > 0 && first < 900);
    for (int i = first; i < 1000; i++)
        buf_printf(&want, "line %d\n", i);
    assert_string_equal(all, buf_str(&want));

    /* Tails that end in the newest, an older, and no file. */
    for (int tail = 0; tail <= 1000; tail += 50) {
        struct log_reader_params p = {.tail = tail, .cancel_fd = -1};

        buf_clear(&want);
        for (int i = 1000 - tail > first ? 1000 - tail : first; i < 1000; i++)
            buf_printf(&want, "line %d\n", i);
        assert_text(b.log, &p, buf_str(&want));
    }
    box_done(&b);

    /* One file only: it is begun anew. */
    box_init(&b, 300, 1);
    for (int i = 0; i < 10; i++)
        put(&b, "0123456789\n");
    assert_int_equal(stat(b.log, &st), 0);
    assert_true(st.st_size <= 300);
    box_done(&b);
}

static void test_since_until_streams(void **state)
{
    static const char log[] =
        "{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:01Z\"}\n"
        "{\"log\":\"two\\n\",\"stream\":\"stderr\",\"time\":\"2026-01-01T00:00:02.5Z\"}\n"
        "not json\n"
        "{\"log\":\"three\\n\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"[}\\\"\"},"
        "\"time\":\"2026-01-01T01:00:03+01:00\"}\n"
        "{\"log\":\"cut";
    struct log_reader_params p = everything;
    struct box b;
    int64_t t0;

    assert_int_equal(time_parse_rfc3339("2026-01-01T00:00:00Z", &t0), 0);
    box_init(&b, -1, 1);
    put_file(b.log, log);
    assert_text(b.log, &p, "one\ntwo\nthree\n");
    p.since_ns = t0 + 2 * NSEC_PER_SEC;
    assert_text(b.log, &p, "two\nthree\n");
    p.until_ns = t0 + 2500 * NSEC_PER_MSEC;
    assert_text(b.log, &p, "two\n");
    p = everything;
    p.no_stdout = true;
    assert_text(b.log, &p, "two\n");
    p = everything;
    p.no_stderr = true;
    p.tail = 1; /* the cut line is none */
    assert_text(b.log, &p, "three\n");
    log_writer_close(b.w);

    /* A new writer goes on behind the cut line. */
    assert_int_equal(log_writer_open(b.log, -1, 1, &b.w), 0);
    put(&b, "four\n");
    assert_text(b.log, &everything, "one\ntwo\nthree\nfour\n");
    box_done(&b);
    assert_text("/nowhere/x.log", &everything, "");
}

struct follower {
    struct box *b;
    struct log_reader_params p;
    struct buf got;
    atomic_size_t seen; /* bytes of got */
    int result;
};

static void *follow(void *data)
{
    struct follower *f = data;
    AUTOPTR(log_reader) struct log_reader *r = NULL;
    struct log_entry entry;

    f->result = log_reader_open(f->b->log, &f->p, &r, NULL);
    while (f->result >= 0 && (f->result = log_reader_next(r, &entry)) > 0) {
        buf_append(&f->got, entry.data, entry.len);
        atomic_store(&f->seen, f->got.len);
    }
    return NULL;
}

/* Through many rotations, from several readers, to the end; nothing missing, nothing twice. */
static void test_follow(void **state)
{
    enum { LINES = 20000, READERS = 3 };
    AUTO(buf) struct buf want = BUF_INIT(1 << 20);
    struct follower f[READERS];
    pthread_t threads[READERS];
    struct box b;

    box_init(&b, 100000, 8);
    for (int i = 0; i < READERS; i++) {
        f[i] =
            (struct follower){.b = &b,
                              .p = {.tail = -1, .cancel_fd = -1, .follow = true, .end_path = b.end},
                              .got = BUF_INIT(1 << 20)};
        assert_int_equal(pthread_create(&threads[i], NULL, follow, &f[i]), 0);
    }
    usleep(20000);
    for (int i = 0; i < LINES; i++) {
        char line[32];

        snprintf(line, sizeof(line), "line %d\n", i);
        put(&b, line);
        buf_puts(&want, line);
        if (i % 2000 == 0) /* readers may be slow, but not by whole logs */
            for (int k = 0; k < READERS; k++)
                for (int n = 0; n < 6000 && atomic_load(&f[k].seen) + 16000 < want.len; n++)
                    usleep(10000);
    }
    put(&b, "last");
    buf_puts(&want, "last");
    log_writer_flush(b.w);
    put_file(b.end, "{}");
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(f[i].result, 0);
        assert_int_equal(f[i].got.len, want.len);
        assert_string_equal(buf_str(&f[i].got), buf_str(&want));
        buf_done(&f[i].got);
    }
    box_done(&b);
}

static void test_follow_end(void **state)
{
    AUTOFREE char *state_dir = NULL, *end = NULL;
    struct follower f;
    pthread_t thread;
    struct box b;
    int cancel = eventfd(0, EFD_CLOEXEC);

    /* Cancelled while it waits. */
    box_init(&b, -1, 1);
    put(&b, "one\ntwo\n");
    f = (struct follower){.b = &b,
                          .p = {.tail = 1, .cancel_fd = cancel, .follow = true},
                          .got = BUF_INIT(1 << 20)};
    assert_int_equal(pthread_create(&thread, NULL, follow, &f), 0);
    usleep(20000);
    assert_int_equal(eventfd_write(cancel, 1), 0);
    pthread_join(thread, NULL);
    assert_int_equal(f.result, -ECANCELED);
    assert_string_equal(buf_str(&f.got), "two\n");
    buf_clear(&f.got);

    /* The state folder goes away. */
    state_dir = xasprintf("%s/state", b.dir);
    end = xasprintf("%s/exit.json", state_dir);
    assert_int_equal(mkdir(state_dir, 0700), 0);
    f.p = (struct log_reader_params){.tail = -1, .cancel_fd = -1, .follow = true, .end_path = end};
    assert_int_equal(pthread_create(&thread, NULL, follow, &f), 0);
    usleep(20000);
    put(&b, "three\n");
    assert_int_equal(rmdir(state_dir), 0);
    pthread_join(thread, NULL);
    assert_int_equal(f.result, 0);
    assert_string_equal(buf_str(&f.got), "one\ntwo\nthree\n");
    buf_clear(&f.got);

    /* It had gone before anybody looked. */
    assert_int_equal(pthread_create(&thread, NULL, follow, &f), 0);
    pthread_join(thread, NULL);
    assert_int_equal(f.result, 0);
    assert_string_equal(buf_str(&f.got), "one\ntwo\nthree\n");
    buf_clear(&f.got);

    /* `until` passes. */
    f.p = (struct log_reader_params){.tail = -1,
                                     .cancel_fd = -1,
                                     .follow = true,
                                     .until_ns = time_now_ns() + 50 * NSEC_PER_MSEC};
    assert_int_equal(pthread_create(&thread, NULL, follow, &f), 0);
    pthread_join(thread, NULL);
    assert_int_equal(f.result, 0);
    buf_done(&f.got);
    close(cancel);
    box_done(&b);
}

static void test_would_wait(void **state)
{
    struct log_reader_params p = {.tail = -1, .cancel_fd = -1, .follow = true, .no_stderr = true};
    AUTOPTR(log_reader) struct log_reader *r = NULL;
    struct log_entry entry;
    struct box b;

    box_init(&b, -1, 1);
    assert_int_equal(log_reader_open(b.log, &p, &r, NULL), 0);
    assert_true(log_reader_would_wait(r));
    put(&b, "one\n");
    log_writer_write(b.w, LOG_STDERR, "hidden\n", 7);
    assert_false(log_reader_would_wait(r));
    assert_false(log_reader_would_wait(r));
    assert_int_equal(log_reader_next(r, &entry), 1);
    assert_memory_equal(entry.data, "one\n", 4);
    assert_true(log_reader_would_wait(r)); /* the hidden line does not count */
    box_done(&b);
}

/* A file size limit stands for a full disk: part of a write is taken, then none. */
static void test_disk_full(void **state)
{
    struct rlimit old, small = {1000, RLIM_INFINITY};
    struct log_reader_params p = everything;
    uint64_t lines;
    struct box b;
    int err;

    box_init(&b, -1, 1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 5; i++)
        put(&b, "a\nb\nc\nd\ne\n");
    assert_true(log_writer_lost(b.w, &lines, &err) > 0);
    assert_int_equal(err, EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    put(&b, "after\n");
    AUTOFREE char *text = read_text(b.log, &p);
    assert_int_equal(lines + (strlen(text) - strlen("after\n")) / 2, 25);
    assert_non_null(strstr(text, "after\n")); /* and no half line before it */
    box_done(&b);
}

static void test_truncated_by_hand(void **state)
{
    struct log_reader_params p = {.tail = -1, .cancel_fd = -1, .follow = true};
    AUTOPTR(log_reader) struct log_reader *r = NULL;
    struct log_entry entry;
    struct box b;

    box_init(&b, -1, 1);
    put(&b, "a long enough first line\n");
    assert_int_equal(log_reader_open(b.log, &p, &r, NULL), 0);
    assert_int_equal(log_reader_next(r, &entry), 1);
    assert_int_equal(truncate(b.log, 0), 0);
    assert_true(log_reader_would_wait(r));
    put(&b, "two\n");
    assert_int_equal(log_reader_next(r, &entry), 1);
    assert_memory_equal(entry.data, "two\n", 4);
    box_done(&b);
}

static void test_line_parse(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"log\":\"x\"}",
        "{\"log\":1,\"stream\":\"stdout\",\"time\":\"\"}",
        "{\"log\":\"\\x\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:01Z\"}",
        "{\"log\":\"\\u12\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:01Z\"}",
        "{\"log\":\"x\",\"stream\":\"stdoux\",\"time\":\"2026-01-01T00:00:01Z\"}",
        "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"now\"}",
        "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:01Z\"} x",
    };
    char line[256];
    struct log_entry entry;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        strcpy(line, bad[i]);
        assert_int_equal(log_line_parse(line, strlen(line), &entry), -EBADMSG);
    }
    strcpy(line, " { \"time\" : \"2026-01-01T00:00:01Z\" , \"n\":[1,{\"a\":null}],"
                 "\"stream\":\"stderr\",\"log\":\"\\ud83d\\ude00\\ud83d!\\u0000\\/\" } ");
    assert_int_equal(log_line_parse(line, strlen(line), &entry), 0);
    assert_int_equal(entry.stream, LOG_STDERR);
    assert_int_equal(entry.len, 10);
    assert_memory_equal(entry.data, "\xf0\x9f\x98\x80\xef\xbf\xbd!\0/", 10);
}

static void test_options(void **state)
{
    struct error e = ERROR_INIT;
    struct json_map opts = {0};
    struct log_options o;

    assert_int_equal(log_driver_options("", NULL, &o, &e), 0);
    assert_int_equal(o.max_size, 20000000);
    assert_int_equal(o.max_files, 3);
    json_map_set(&opts, "max-size", "10m");
    json_map_set(&opts, "max-file", "5");
    assert_int_equal(log_driver_options("json-file", &opts, &o, &e), 0);
    assert_int_equal(o.max_size, 10 << 20);
    assert_int_equal(o.max_files, 5);
    assert_true(log_driver_options("none", &opts, &o, &e) < 0);
    error_done(&e);
    json_map_set(&opts, "max-file", "0");
    assert_true(log_driver_options("json-file", &opts, &o, &e) < 0);
    assert_non_null(strstr(error_message(&e), "max-file"));
    error_done(&e);
    json_map_set(&opts, "max-file", "1");
    json_map_set(&opts, "colour", "red");
    assert_true(log_driver_options("json-file", &opts, &o, &e) < 0);
    assert_non_null(strstr(error_message(&e), "'colour'"));
    error_done(&e);
    assert_true(log_driver_options("syslog", NULL, &o, &e) < 0);
    assert_int_equal(e.code, ERR_INVALID);
    error_done(&e);
    json_map_done(&opts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_since_until_streams),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_follow_end),
        cmocka_unit_test(test_would_wait),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_truncated_by_hand),
        cmocka_unit_test(test_line_parse),
        cmocka_unit_test(test_options),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
