/* SPDX-License-Identifier: Apache-2.0 */
/* Journals of layers and codecs that repeat a compression, without a layer on disk. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <zlib.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/worker/journal.h"
#include "bytes.h"

/* --- Archives by hand ------------------------------------------------------------------------------ */

static void header(struct bytes *b, const char *name, char type, uint64_t size)
{
    unsigned char h[512] = {0};
    unsigned sum = 0;

    snprintf((char *)h, 100, "%s", name);
    snprintf((char *)h + 100, 8, "%07o", 0644);
    snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)size);
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    h[156] = (unsigned char)type;
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < sizeof(h); i++)
        sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
    add(b, h, sizeof(h));
}

/* The content of the file "f<n>": n bytes that are easy to know again. */
static unsigned char letter(uint64_t n, uint64_t at)
{
    return (unsigned char)(n * 31 + at * 7 + (at >> 9));
}

static void content(struct bytes *b, uint64_t n)
{
    static const unsigned char zero[512];

    for (uint64_t i = 0; i < n; i++) {
        unsigned char c = letter(n, i);
        add(b, &c, 1);
    }
    add(b, zero, (512 - n % 512) % 512);
}

static void file(struct bytes *b, uint64_t n)
{
    char name[32];

    snprintf(name, sizeof(name), "./f%llu", (unsigned long long)n);
    header(b, name, '0', n);
    content(b, n);
}

static void pax(struct bytes *b, const char *records)
{
    header(b, "pax", 'x', strlen(records));
    add(b, records, strlen(records));
    add(b, (unsigned char[512]){0}, (512 - strlen(records) % 512) % 512);
}

static void end(struct bytes *b)
{
    add(b, (unsigned char[1024]){0}, 1024);
}

/* Files f<n> as the layer has them; asked counts. */
static int files(void *data, const char *path, uint64_t size, journal_sink *out, void *out_data,
                 struct error *e)
{
    uint64_t n;

    ++*(unsigned *)data;
    if (path[0] != 'f' || parse_u64(path + 1, &n) < 0 || n != size)
        return -ENOENT;
    for (uint64_t i = 0; i < n; i++) {
        unsigned char c = letter(n, i);
        int r = out(out_data, &c, 1, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_journal(const struct bytes *tar, struct error *e)
{
    const struct journal_recipe recipe = {.codec = JOURNAL_TAR};
    struct chunkq q;
    int fd = memfd_create("journal", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_true(tar->len <= (size_t)CHUNK_SIZE * CHUNK_DEPTH);
    chunkq_init(&q);
    for (size_t at = 0; at < tar->len;) {
        struct chunk *c = chunk_new();
        c->len = tar->len - at < 1000 + CHUNK_SIZE / 2 ? tar->len - at : 1000 + CHUNK_SIZE / 2;
        memcpy(c->data, tar->data + at, c->len);
        at += c->len;
        assert_int_equal(chunkq_push(&q, c), 0);
    }
    chunkq_close(&q, 0);
    int r = journal_write(&q, &recipe, UINT64_MAX, fd, e);
    chunkq_done(&q);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

static int replay(int fd, struct bytes *out, unsigned *asked, struct error *e)
{
    struct journal_recipe recipe;
    int r = journal_read_recipe(fd, &recipe, e);

    return r < 0 ? r : journal_replay(fd, files, asked, bytes_sink, out, e);
}

/* Writes and replays; the tar must come back, and so many files be asked for. */
static void round_trip(struct bytes *tar, unsigned want_asked)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct bytes out = {0};
    unsigned asked = 0;
    int fd = write_journal(tar, &e);

    assert_true(fd >= 0);
    assert_int_equal(replay(fd, &out, &asked, &e), 0);
    assert_int_equal(out.len, tar->len);
    assert_memory_equal(out.data, tar->data, tar->len);
    assert_int_equal(asked, want_asked);
    close(fd);
    free(out.data);
    free(tar->data);
}

static void test_round_trip(void **state)
{
    struct bytes t = {0};

    header(&t, "dir/", '5', 0);
    file(&t, 511); /* small: kept in the journal */
    file(&t, 512);
    file(&t, 513);
    file(&t, 200000);
    header(&t, "link", '2', 0);
    pax(&t, "15 path=f70000\n");
    header(&t, "short", '0', 70000);
    content(&t, 70000);
    end(&t);
    add(&t, "what follows the end", 20);
    round_trip(&t, 4);
}

static void test_names_that_do_not_travel(void **state)
{
    struct bytes t = {0};

    header(&t, "gr\xc3\xbc\xc3\x9f", '0', 1000); /* not ASCII: kept whole */
    content(&t, 1000);
    header(&t, "a\nb", '0', 1000);
    content(&t, 1000);
    pax(&t, "22 GNU.sparse.major=1\n");
    header(&t, "f1000", '0', 1000); /* sparse: kept whole */
    content(&t, 1000);
    end(&t);
    round_trip(&t, 0);
}

static void refused(struct bytes *t)
{
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(write_journal(t, &e), -EOPNOTSUPP);
    assert_non_null(e.message);
    free(t->data);
}

static void test_refused(void **state)
{
    struct bytes cut = {0}, sum = {0}, link = {0}, sparse = {0}, global = {0}, records = {0};

    file(&cut, 5000);
    cut.len = 3000;
    refused(&cut);
    file(&sum, 100);
    sum.data[3] ^= 1;
    refused(&sum);
    header(&link, "x", '1', 5);
    refused(&link);
    header(&sparse, "x", 'S', 0);
    refused(&sparse);
    header(&global, "g", 'g', 9);
    add(&global, "9 path=x\n", 9);
    add(&global, (unsigned char[512]){0}, 503);
    refused(&global);
    pax(&records, "99 path=x\n");
    refused(&records);
}

/* A journal as it was before the library was written down. */
static void test_old(void **state)
{
    const size_t head = strlen(JOURNAL_MAGIC), old_size = offsetof(struct journal_recipe, library);
    const struct journal_recipe deflate = {.codec = JOURNAL_DEFLATE, .header = {5}, .old = 1};
    AUTO(error) struct error e = ERROR_INIT;
    struct bytes t = {0}, out = {0}, journal = {.data = xmalloc(100000)};
    struct journal_recipe recipe;
    uint64_t offset = 0;
    unsigned asked = 0;

    file(&t, 511);
    file(&t, 20000);
    end(&t);
    int fd = write_journal(&t, &e), old = memfd_create("old", MFD_CLOEXEC);
    assert_true(fd >= 0 && old >= 0);
    assert_true(lseek(fd, 0, SEEK_SET) == 0);
    ssize_t n = fs_read_full(fd, journal.data, 100000);
    assert_true(n > (ssize_t)(head + sizeof(recipe)));
    assert_memory_equal(journal.data, JOURNAL_MAGIC, head);
    assert_int_equal(fs_write_all(old, JOURNAL_MAGIC_OLD, head), 0);
    assert_int_equal(fs_write_all(old, journal.data + head, old_size), 0);
    assert_int_equal(fs_write_all(old, journal.data + head + sizeof(recipe),
                                  (size_t)n - head - sizeof(recipe)),
                     0);
    assert_int_equal(replay(old, &out, &asked, &e), 0);
    assert_int_equal(out.len, t.len);
    assert_memory_equal(out.data, t.data, t.len);
    assert_int_equal(journal_read_recipe(old, &recipe, &e), 0);
    assert_string_equal(recipe.library, "");
    assert_int_equal(journal_record(&deflate, &offset), 5);
    assert_int_equal(offset, 16 + 1040);

    /* what only memory has is not believed of a file, nor is a name without an end */
    journal.data[head + sizeof(recipe) - 1] = 1;
    assert_true(pwrite(fd, journal.data, (size_t)n, 0) == n);
    assert_true(journal_read_recipe(fd, &recipe, &e) < 0);
    error_done(&e);
    journal.data[head + sizeof(recipe) - 1] = 0;
    memset(journal.data + head + old_size, 'x', JOURNAL_LIBRARY_MAX);
    assert_true(pwrite(fd, journal.data, (size_t)n, 0) == n);
    assert_true(journal_read_recipe(fd, &recipe, &e) < 0);
    close(fd);
    close(old);
    free(t.data);
    free(out.data);
    free(journal.data);
}

static void test_damaged(void **state)
{
    struct bytes t = {0};
    AUTO(error) struct error e = ERROR_INIT;
    unsigned char byte;

    file(&t, 3000);
    file(&t, 200);
    end(&t);
    int fd = write_journal(&t, &e);
    assert_true(fd >= 0);
    off_t size = lseek(fd, 0, SEEK_END);
    /* Cut off anywhere, or with any byte changed, it gives an error or something else; never more
     * than an end that its digest shows to be wrong. */
    for (off_t at = 0; at < size; at++) {
        struct bytes out = {0};
        unsigned asked = 0;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x41;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        int r = replay(fd, &out, &asked, &e);
        assert_true(r <= 0);
        error_done(&e);
        byte ^= 0x41;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        free(out.data);
    }
    assert_int_equal(ftruncate(fd, size - 1), 0);
    struct bytes out = {0};
    unsigned asked = 0;
    assert_true(replay(fd, &out, &asked, &e) < 0);
    free(out.data);
    close(fd);
    free(t.data);
}

/* --- Codecs ------------------------------------------------------------------------------------------ */

static struct bytes text(size_t len)
{
    struct bytes b = {0};
    uint32_t x = 7;

    while (b.len < len) {
        char word[24];
        x = x * 1103515245 + 12345;
        int n = snprintf(word, sizeof(word), "%s%u ", x & 4096 ? "word" : "other", x >> 22);
        add(&b, word, (size_t)n);
    }
    return b;
}

static void check_guess(const struct bytes *plain, const struct bytes *raw, int codec, int level)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct journal_recipe r = {0};
    AUTOPTR(codec) struct codec *c = NULL;
    struct bytes again = {0};

    assert_int_equal(codec_guess(raw->data, raw->len, plain->data, plain->len, true, &r, &e),
                     codec >= 0);
    if (codec >= 0) {
        assert_int_equal(r.codec, codec);
        if (level > 0)
            assert_int_equal(r.level, level);
        assert_int_equal(codec_new(&r, -1, bytes_sink, &again, &c, &e), 0);
        assert_int_equal(codec_push(c, plain->data, plain->len / 3, &e), 0);
        assert_int_equal(codec_push(c, plain->data + plain->len / 3, plain->len - plain->len / 3,
                                    &e),
                         0);
        assert_int_equal(codec_finish(c, &e), 0);
        assert_int_equal(again.len, raw->len);
        assert_memory_equal(again.data, raw->data, raw->len);
    }
    free(again.data);
}

static struct bytes gzip_of(const struct bytes *plain, int level, int mem, const char *name)
{
    struct bytes out = {.data = xmalloc(plain->len + 1000)};
    gz_header h = {.name = (unsigned char *)(uintptr_t)name, .time = 77, .os = 3};
    z_stream z = {.next_in = plain->data, .avail_in = (unsigned)plain->len};

    assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 31, mem, 0), Z_OK);
    assert_int_equal(deflateSetHeader(&z, &h), Z_OK);
    z.next_out = out.data;
    z.avail_out = (unsigned)(plain->len + 1000);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.len = z.total_out;
    assert_int_equal(deflateEnd(&z), Z_OK);
    return out;
}

static void test_gzip(void **state)
{
    struct bytes plain = text(300000);

    for (int level = 1; level <= 9; level += 2) {
        struct bytes raw = gzip_of(&plain, level, 8, level == 3 ? "a name" : NULL);
        check_guess(&plain, &raw, JOURNAL_ZLIB, level);
        raw.data[raw.len / 2] ^= 1; /* by somebody else */
        check_guess(&plain, &raw, -1, 0);
        raw.data[raw.len / 2] ^= 1;
        add(&raw, "\0", 1); /* padding is not repeated */
        check_guess(&plain, &raw, -1, 0);
        free(raw.data);
    }
    free(plain.data);
}

static void test_zstd(void **state)
{
    struct bytes plain = text(300000);

    for (int level = 1; level <= 9; level += 4) {
        struct bytes raw = {.data = xmalloc(400000)};
        raw.len = ZSTD_compress(raw.data, 400000, plain.data, plain.len, level);
        assert_false(ZSTD_isError(raw.len));
        check_guess(&plain, &raw, JOURNAL_ZSTD, 0); /* levels may give the same */
        free(raw.data);
    }
    free(plain.data);
}

static void test_plain(void **state)
{
    struct bytes plain = text(5000), other = text(5000);

    check_guess(&plain, &plain, JOURNAL_TAR, 0);
    other.data[100] ^= 1;
    check_guess(&plain, &other, -1, 0);
    free(plain.data);
    free(other.data);
}

/* Who guessed a recipe knows by which library. */
static void test_library(void **state)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct bytes plain = text(30000), raw = {.data = xmalloc(60000)};
    char name[JOURNAL_LIBRARY_MAX], want[JOURNAL_LIBRARY_MAX];
    struct journal_recipe r;

    raw.len = ZSTD_compress(raw.data, 60000, plain.data, plain.len, 3);
    assert_int_equal(codec_guess(raw.data, raw.len, plain.data, plain.len, true, &r, &e), 1);
    snprintf(want, sizeof(want), "libzstd %s", ZSTD_versionString());
    assert_string_equal(r.library, want);
    assert_int_equal(codec_guess(plain.data, plain.len, plain.data, plain.len, true, &r, &e), 1);
    assert_string_equal(r.library, "");
    codec_library(JOURNAL_DEFLATE, name);
    assert_string_equal(name, "");
    codec_library(JOURNAL_ZLIB, name);
    assert_memory_equal(name, "zlib 1.", 7);
    codec_library(JOURNAL_ISAL, name);
#ifdef HAVE_ISAL
    assert_non_null(strstr(name, "isal"));
#endif
    print_message("# %s, %s\n", want, name);
    free(plain.data);
    free(raw.data);
}

static void test_hostile_recipe(void **state)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct journal_recipe r = {.codec = JOURNAL_ZLIB, .level = 100, .mem = 8};
    struct codec *c = NULL;

    assert_true(codec_new(&r, -1, bytes_sink, NULL, &c, &e) < 0);
    error_done(&e);
    r = (struct journal_recipe){.codec = JOURNAL_ZLIB, .level = 6, .mem = 8, .header_len = 99999};
    assert_true(codec_new(&r, -1, bytes_sink, NULL, &c, &e) < 0);
    error_done(&e);
    r = (struct journal_recipe){.codec = JOURNAL_ZSTD, .level = 3, .mem = 200};
    assert_true(codec_new(&r, -1, bytes_sink, NULL, &c, &e) < 0);
    error_done(&e);
    r = (struct journal_recipe){.codec = 200};
    assert_true(codec_new(&r, -1, bytes_sink, NULL, &c, &e) < 0);
    assert_null(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_names_that_do_not_travel),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_gzip),       cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_plain),      cmocka_unit_test(test_hostile_recipe),
        cmocka_unit_test(test_old),        cmocka_unit_test(test_library),
    };

    return cmocka_run_group_tests_name("image-journal", tests, NULL, NULL);
}
