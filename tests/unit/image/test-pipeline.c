/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed bytes in, entry stream out: each compression, each way to be broken. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "image/entry-stream.h"
#include "image/worker/worker.h"

#define FILE_SIZE (600u * 1024)
#define ROOM      (4u * 1024 * 1024)

struct bytes {
    unsigned char *data;
    size_t len;
};

static unsigned char content[FILE_SIZE];

/* An archive with a bit of everything, written by libarchive with the filter asked for. */
static struct bytes make_archive(int filter)
{
    struct bytes b = {xmalloc(ROOM), 0};
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();

    for (size_t i = 0; i < FILE_SIZE; i++)
        content[i] = (unsigned char)(i * 7 + (i >> 8) * 13 + (i >> 16));
    archive_write_set_format_pax(a);
    archive_write_add_filter(a, filter);
    assert_int_equal(archive_write_open_memory(a, b.data, ROOM, &b.len), ARCHIVE_OK);
    archive_entry_set_pathname(e, "./dir/");
    archive_entry_set_filetype(e, AE_IFDIR);
    archive_entry_set_perm(e, 01777);
    archive_write_header(a, e);
    archive_entry_clear(e);
    archive_entry_set_pathname(e, "dir/file");
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 04755);
    archive_entry_set_uid(e, 1000);
    archive_entry_set_gid(e, 3000000);
    archive_entry_set_mtime(e, 1700000000, 123456789);
    archive_entry_set_size(e, FILE_SIZE);
    archive_entry_xattr_add_entry(e, "user.k", "v\0w", 3);
    archive_write_header(a, e);
    assert_int_equal(archive_write_data(a, content, FILE_SIZE), FILE_SIZE);
    archive_entry_clear(e);
    archive_entry_set_pathname(e, "/abs/link");
    archive_entry_set_filetype(e, AE_IFLNK);
    archive_entry_set_symlink(e, "../target");
    archive_write_header(a, e);
    archive_entry_clear(e);
    archive_entry_set_pathname(e, "dir/hard");
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_hardlink(e, "./dir/file");
    archive_write_header(a, e);
    archive_entry_clear(e);
    archive_entry_set_pathname(e, "null");
    archive_entry_set_filetype(e, AE_IFCHR);
    archive_entry_set_rdevmajor(e, 1);
    archive_entry_set_rdevminor(e, 3);
    archive_write_header(a, e);
    archive_entry_free(e);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    return b;
}

/* Runs the pipeline over the bytes; the stream lands in a temporary file. */
static int run(const void *data, size_t len, char **ret_stream, size_t *ret_len,
               struct tar_result *result, struct error *e)
{
    char path[] = "/tmp/test-pipeline.XXXXXX";
    AUTOFD int fd = mkstemp(path);
    AUTOPTR(layer_sink) struct layer_sink *sink = sink_stream_new(fd);
    struct pipeline p;
    const unsigned char *bytes = data;
    int r = 0;

    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(pipeline_start(&p, sink, DIGEST_SHA256, e), 0);
    for (size_t pos = 0; r >= 0 && pos < len;) { /* pieces of odd sizes */
        size_t n = len - pos < 777 + pos % 5000 ? len - pos : 777 + pos % 5000;
        r = pipeline_feed(&p, bytes + pos, n);
        pos += n;
    }
    r = pipeline_finish(&p, 0, result, e);
    *ret_stream = xcalloc(1, 2 * ROOM);
    *ret_len = (size_t)pread(fd, *ret_stream, 2 * ROOM, 0);
    return r;
}

struct cursor {
    const char *p, *end;
};

static const void *take(struct cursor *c, size_t n)
{
    const void *at = c->p;

    assert_true((size_t)(c->end - c->p) >= n);
    c->p += n;
    return at;
}

static struct entry_header take_header(struct cursor *c, char *path, char *link)
{
    struct entry_header h;

    memcpy(&h, take(c, sizeof(h)), sizeof(h));
    assert_int_equal(h.magic, ENTRY_HEADER_MAGIC);
    memcpy(path, take(c, h.path_len), h.path_len);
    path[h.path_len] = '\0';
    memcpy(link, take(c, h.link_len), h.link_len);
    link[h.link_len] = '\0';
    return h;
}

static void check_file(struct cursor *c, unsigned xattrs)
{
    struct entry_xattr x;
    struct entry_chunk chunk;
    size_t done = 0;

    for (; xattrs > 0; xattrs--) {
        memcpy(&x, take(c, sizeof(x)), sizeof(x));
        assert_int_equal(x.name_len, 6);
        assert_memory_equal(take(c, 6), "user.k", 6);
        assert_int_equal(x.value_len, 3);
        assert_memory_equal(take(c, 3), "v\0w", 3);
    }
    for (;;) {
        memcpy(&chunk, take(c, sizeof(chunk)), sizeof(chunk));
        if (chunk.len == 0)
            break;
        assert_int_equal(chunk.offset, done);
        assert_memory_equal(take(c, chunk.len), content + done, chunk.len);
        done += chunk.len;
    }
    assert_int_equal(done, FILE_SIZE);
}

static void check_stream(const char *stream, size_t len)
{
    struct cursor c = {stream, stream + len};
    struct entry_stream_head head;
    char path[ENTRY_PATH_MAX], link[ENTRY_LINK_MAX];

    memcpy(&head, take(&c, sizeof(head)), sizeof(head));
    assert_int_equal(head.magic, ENTRY_STREAM_MAGIC);
    struct entry_header h = take_header(&c, path, link);
    assert_string_equal(path, "dir");
    assert_int_equal(h.type, ENTRY_DIR);
    assert_int_equal(h.mode, 01777);
    h = take_header(&c, path, link);
    assert_string_equal(path, "dir/file");
    assert_int_equal(h.type, ENTRY_FILE);
    assert_int_equal(h.mode, 04755);
    assert_int_equal(h.uid, 1000);
    assert_int_equal(h.gid, 3000000);
    assert_int_equal(h.mtime_sec, 1700000000);
    assert_int_equal(h.mtime_nsec, 123456789);
    assert_int_equal(h.size, FILE_SIZE);
    assert_true(h.xattr_count >= 1); /* libarchive writes it in two dialects */
    check_file(&c, h.xattr_count);
    h = take_header(&c, path, link);
    assert_int_equal(h.type, ENTRY_SYMLINK);
    assert_string_equal(path, "abs/link");
    assert_string_equal(link, "../target");
    h = take_header(&c, path, link);
    assert_int_equal(h.type, ENTRY_HARDLINK);
    assert_string_equal(link, "dir/file");
    h = take_header(&c, path, link);
    assert_int_equal(h.type, ENTRY_CHAR);
    assert_int_equal(h.dev_major, 1);
    assert_int_equal(h.dev_minor, 3);
    assert_ptr_equal(c.p, c.end); /* no end mark: only the caller may write it */
}

static void test_compressions(void **state)
{
    static const int filters[] = {ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_ZSTD,
                                  ARCHIVE_FILTER_XZ, ARCHIVE_FILTER_BZIP2};
    char first[DIGEST_MAX] = "";

    for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
        struct bytes b = make_archive(filters[i]);
        AUTO(error) struct error e = ERROR_INIT;
        AUTOFREE char *stream = NULL;
        struct tar_result result = {0};
        size_t len;
        int r = run(b.data, b.len, &stream, &len, &result, &e);
        if (r < 0)
            fail_msg("filter %d: %s", filters[i], error_message(&e));
        check_stream(stream, len);
        assert_int_equal(result.content, FILE_SIZE);
        if (!*first)
            memcpy(first, result.diff_id, DIGEST_MAX);
        assert_string_equal(result.diff_id, first);
        free(b.data);
    }
}

/* Cut anywhere, a compressed archive is an error; a plain one at least never succeeds silently
 * with another digest (which the caller compares). */
static void test_truncated(void **state)
{
    static const int filters[] = {ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_ZSTD};

    for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
        struct bytes b = make_archive(filters[i]);
        for (size_t cut = 1; cut < 40; cut += 3) {
            size_t keep = cut < 10 ? b.len - cut : b.len * cut / 40;
            AUTO(error) struct error e = ERROR_INIT;
            AUTOFREE char *stream = NULL;
            struct tar_result result = {0};
            size_t len;
            assert_true(run(b.data, keep, &stream, &len, &result, &e) < 0);
            assert_non_null(strstr(error_message(&e), "truncated"));
        }
        free(b.data);
    }
}

static void test_corrupt(void **state)
{
    struct bytes b = make_archive(ARCHIVE_FILTER_GZIP);

    for (size_t at = 20; at < b.len; at += b.len / 17) {
        AUTO(error) struct error e = ERROR_INIT;
        AUTOFREE char *stream = NULL;
        struct tar_result result = {0};
        size_t len;
        b.data[at] ^= 0x10;
        assert_true(run(b.data, b.len, &stream, &len, &result, &e) < 0);
        assert_non_null(e.message);
        b.data[at] ^= 0x10;
    }
    free(b.data);
}

static void test_members_and_padding(void **state)
{
    struct bytes b = make_archive(ARCHIVE_FILTER_GZIP);
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *stream = NULL, *stream2 = NULL, *stream3 = NULL;
    struct tar_result result = {0};
    size_t len;

    memset(b.data + b.len, 0, 1000); /* zeros after the end are padding */
    assert_int_equal(run(b.data, b.len + 1000, &stream, &len, &result, &e), 0);
    check_stream(stream, len);
    memcpy(b.data + b.len, b.data, b.len); /* a second member: its bytes count for the digest */
    char one[DIGEST_MAX];
    memcpy(one, result.diff_id, DIGEST_MAX);
    assert_int_equal(run(b.data, 2 * b.len, &stream2, &len, &result, &e), 0);
    check_stream(stream2, len);
    assert_string_not_equal(one, result.diff_id);
    memcpy(b.data + b.len, "garbage", 7);
    assert_true(run(b.data, b.len + 7, &stream3, &len, &result, &e) < 0);
    assert_non_null(strstr(error_message(&e), "after the end"));
    free(b.data);
}

static void test_not_an_archive(void **state)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *stream = NULL, *stream2 = NULL, *stream3 = NULL;
    struct tar_result result = {0};
    char noise[4096];
    size_t len;

    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)(i * 31 + 5);
    assert_true(run(noise, sizeof(noise), &stream, &len, &result, &e) < 0);
    assert_non_null(strstr(error_message(&e), "not a tar archive"));
    error_done(&e);
    /* Nothing at all is an empty layer, and so are two blocks of zeros. */
    assert_int_equal(run("", 0, &stream2, &len, &result, &e), 0);
    assert_string_equal(result.diff_id,
                        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    memset(noise, 0, sizeof(noise));
    assert_int_equal(run(noise, 1024, &stream3, &len, &result, &e), 0);
}

static void test_reader_gone(void **state)
{
    struct bytes b = make_archive(ARCHIVE_FILTER_NONE);
    AUTO(error) struct error e = ERROR_INIT;
    struct tar_result result = {0};
    struct pipeline p;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    AUTOPTR(layer_sink) struct layer_sink *sink = sink_stream_new(fds[1]);
    assert_int_equal(pipeline_start(&p, sink, DIGEST_SHA256, &e), 0);
    for (int i = 0; i < 20 && pipeline_feed(&p, b.data, b.len) >= 0; i++)
        ;
    assert_int_equal(pipeline_finish(&p, 0, &result, &e), -EPIPE);
    assert_int_equal(e.errnum, EPIPE);
    close(fds[1]);
    free(b.data);
}

/* --- The tap ------------------------------------------------------------------------------------ */

struct tapped {
    struct bytes got;
    size_t largest, fail_at; /* fail_at: the call that fails, 0 none */
    size_t calls;
};

static int tap(void *data, const void *bytes, size_t len)
{
    struct tapped *t = data;

    if (++t->calls == t->fail_at)
        return -ENOSPC;
    assert_true(t->got.len + len <= ROOM);
    memcpy(t->got.data + t->got.len, bytes, len);
    t->got.len += len;
    t->largest = len > t->largest ? len : t->largest;
    return 0;
}

/* Feeds it in odd pieces until that fails; the status of the feeding, *ret of the end. */
static int run_tapped(struct bytes b, size_t len, struct tapped *t, int status, int *ret,
                      struct tar_result *result, struct error *e)
{
    AUTOFD int fd = memfd_create("stream", MFD_CLOEXEC);
    AUTOPTR(layer_sink) struct layer_sink *sink = sink_stream_new(fd);
    struct pipeline p;
    int r = 0;

    assert_int_equal(pipeline_start(&p, sink, DIGEST_SHA256, e), 0);
    p.tap = tap;
    p.tap_data = t;
    for (size_t pos = 0; r >= 0 && pos < len;) {
        size_t n = len - pos < 16000 ? len - pos : 16000;
        r = pipeline_feed(&p, b.data + pos, n);
        pos += n;
    }
    *ret = pipeline_finish(&p, status, result, e);
    return r;
}

static void test_tap(void **state)
{
    struct bytes b = make_archive(ARCHIVE_FILTER_NONE);
    AUTO(error) struct error e = ERROR_INIT, e2 = ERROR_INIT;
    struct tar_result result = {0};
    char digest[DIGEST_MAX];
    struct tapped t = {.got.data = xmalloc(ROOM)};
    int r;

    /* All of it, in order, in large pieces; the archive's digest is of all chunks (two and more). */
    assert_true(b.len > 2 * CHUNK_SIZE);
    assert_int_equal(run_tapped(b, b.len, &t, 0, &r, &result, &e), 0);
    assert_int_equal(r, 0);
    assert_int_equal(t.got.len, b.len);
    assert_memory_equal(t.got.data, b.data, b.len);
    assert_int_equal(t.largest, CHUNK_SIZE);
    assert_int_equal(digest_bytes(b.data, b.len, digest), 0);
    assert_string_equal(result.diff_id, digest);

    /* A source that failed: what had been fed is tapped all the same, nobody makes a message. */
    t.got.len = 0;
    assert_int_equal(run_tapped(b, CHUNK_SIZE + 12345, &t, -ECANCELED, &r, &result, &e), 0);
    assert_int_equal(r, -ECANCELED);
    assert_null(e.message);
    assert_int_equal(t.got.len, CHUNK_SIZE + 12345);
    assert_memory_equal(t.got.data, b.data, t.got.len);

    /* The tap fails, while it is fed or on the last piece: that ends it, again without a message. */
    t = (struct tapped){.got.data = t.got.data, .fail_at = 2};
    assert_int_equal(run_tapped(b, b.len, &t, 0, &r, &result, &e), -ENOSPC);
    assert_true(r < 0); /* the archive is cut off for the stages */
    error_done(&e);
    t = (struct tapped){.got.data = t.got.data, .fail_at = (b.len + CHUNK_SIZE - 1) / CHUNK_SIZE};
    assert_int_equal(run_tapped(b, b.len, &t, 0, &r, &result, &e2), 0);
    assert_int_equal(r, -ENOSPC);
    assert_null(e2.message);
    free(t.got.data);
    free(b.data);
}

/* What is not known to be right counts against itself alone; what is kept counts against all. */
static void test_limit(void **state)
{
    struct bytes b = make_archive(ARCHIVE_FILTER_GZIP);
    AUTO(error) struct error e = ERROR_INIT;
    struct tar_result result = {0};
    char *stream;
    size_t len;

    inflate_limit(1000 * 1000);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(run(b.data, b.len, &stream, &len, &result, &e), 0);
        free(stream);
    }
    assert_true(result.bytes > FILE_SIZE && result.bytes < 2 * FILE_SIZE);
    assert_int_equal(inflate_keep(result.bytes, &e), 0);
    assert_true(run(b.data, b.len, &stream, &len, &result, &e) < 0);
    free(stream);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_non_null(strstr(error_message(&e), "more than 1000000 bytes (max-image-size)"));
    error_done(&e);
    /* Two that were unpacked at the same moment. */
    assert_true(inflate_keep(result.bytes, &e) < 0);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    inflate_limit(0);
    free(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compressions),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_corrupt),
        cmocka_unit_test(test_members_and_padding),
        cmocka_unit_test(test_not_an_archive),
        cmocka_unit_test(test_reader_gone),
        cmocka_unit_test(test_tap),
        cmocka_unit_test(test_limit),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("image-pipeline", tests, NULL, NULL);
}
