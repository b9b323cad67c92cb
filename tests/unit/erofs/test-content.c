/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content of files: sizes around every border, pieces cut anywhere, holes, equal content, sizes that
 * do not fit; memory and its limit; what the reader makes of damaged files. No root needed.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "kit.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
#define TIB (1ULL << 40)

static uint64_t random_state = 7;

static unsigned pick(unsigned n)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(random_state >> 33) % n;
}

/* Content that tells where it is from, without zeros. */
static void fill(unsigned char *p, size_t len, uint64_t seed, uint64_t offset)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t x = (offset + i) / 8 * 0x9e3779b97f4a7c15ULL + seed * 0xd6e8feb86659fd93ULL;

        p[i] = (unsigned char)(x >> 24 | 1);
    }
}

static struct erofs_writer *new_writer(int fd, bool no_chunks)
{
    const struct erofs_writer_params params = {.fd = fd, .no_chunks = no_chunks};
    struct erofs_writer *w = NULL;

    assert_int_equal(erofs_writer_new(&params, &w, NULL), 0);
    return w;
}

static void begin(struct erofs_writer *w, const char *path, uint64_t size)
{
    const struct layer_entry entry = {.type = LAYER_FILE, .path = path, .mode = 0644, .size = size};

    assert_int_equal(erofs_writer_entry(w, &entry, NULL), 0);
}

/* A file in pieces of random sizes (one == 0) or of `one` bytes. */
static void put_file(struct erofs_writer *w, const char *path, uint64_t size, uint64_t seed,
                     size_t one)
{
    AUTOFREE unsigned char *part = xmalloc(300000);
    struct error e = ERROR_INIT;

    begin(w, path, size);
    for (uint64_t offset = 0; offset < size;) {
        size_t n = one ? one : 1 + pick(pick(2) ? 300000 : 5000);

        if (n > size - offset)
            n = (size_t)(size - offset);
        fill(part, n, seed, offset);
        if (erofs_writer_data(w, offset, part, n, &e) < 0)
            fail_msg("%s", error_message(&e));
        offset += n;
    }
    if (erofs_writer_file_end(w, &e) < 0)
        fail_msg("%s", error_message(&e));
}

static void finish(struct erofs_writer *w, struct erofs_writer_stats *ret)
{
    struct error e = ERROR_INIT;

    if (erofs_writer_finish(w, ret, &e) < 0)
        fail_msg("%s", error_message(&e));
    erofs_writer_free(w);
}

static struct erofs_reader *open_reader(int fd)
{
    struct erofs_reader *r = NULL;
    struct error e = ERROR_INIT;

    if (erofs_reader_open(fd, &r, &e) < 0 || erofs_reader_check_own(r, &e) < 0)
        fail_msg("%s", error_message(&e));
    return r;
}

static void check_file(struct erofs_reader *r, const char *path, uint64_t size, uint64_t seed)
{
    unsigned char got[7000];
    unsigned char want[7000];
    struct erofs_inode inode;
    uint64_t offset = 0;
    ssize_t n;

    assert_int_equal(erofs_reader_lookup(r, path, false, &inode, NULL), 0);
    assert_true(inode.size == size);
    while ((n = erofs_reader_read(r, &inode, offset, got, sizeof got, NULL)) > 0) {
        fill(want, (size_t)n, seed, offset);
        if (memcmp(got, want, (size_t)n) != 0)
            fail_msg("%s differs within %zd bytes from %llu", path, n, (unsigned long long)offset);
        offset += (uint64_t)n;
    }
    assert_int_equal(n, 0);
    assert_true(offset == size);
}

/* The kernel reads the same, where it mounts files. */
static void check_kernel(int fd, struct erofs_reader *r, const char *path)
{
    AUTOFD int mnt = geteuid() == 0 ? erofs_kit_mount(fd) : -ENOTSUP;
    AUTOFD int file = -EBADF;
    struct erofs_inode inode;
    static unsigned char a[1 << 16];
    static unsigned char b[1 << 16];
    uint64_t offset = 0;
    ssize_t n;

    if (mnt == -ENOTSUP)
        return;
    assert_true(mnt >= 0);
    file = openat(mnt, path, O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(erofs_reader_lookup(r, path, false, &inode, NULL), 0);
    do {
        n = erofs_reader_read(r, &inode, offset, a, sizeof a, NULL);
        assert_int_equal(pread(file, b, sizeof b, (off_t)offset), n);
        assert_memory_equal(a, b, (size_t)n);
        offset += (uint64_t)n;
    } while (n > 0 && offset < 300000);
}

static const uint64_t sizes[] = {
    0,     1,     31,     32,     4000,   4031,   4032,   4033,    4095,    4096,
    4097,  8127,  8128,   8129,   8192,   61439,  61440,  61441,   65535,   65536,
    65537, 69632, 131071, 131072, 131073, 200000, 262144, 1000000, 5 * MIB, 5 * MIB + 1,
};

static void test_sizes(void **state)
{
    for (int way = 0; way < 4; way++) {
        AUTOFD int fd = erofs_kit_file();
        struct erofs_writer *w = new_writer(fd, way & 2);
        AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
        struct erofs_writer_stats s;
        char path[32];

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            (void)snprintf(path, sizeof path, "f%zu", i);
            put_file(w, path, sizes[i], i, way & 1 ? 0 : 128 << 10);
        }
        finish(w, &s);
        assert_int_equal(s.entries, ARRAY_SIZE(sizes));
        assert_int_equal(s.inodes, ARRAY_SIZE(sizes) + 1);
        r = open_reader(fd);
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            (void)snprintf(path, sizeof path, "f%zu", i);
            check_file(r, path, sizes[i], i);
            check_kernel(fd, r, path);
        }
    }
}

/* The same bytes, however they were cut. */
static void test_deterministic(void **state)
{
    AUTOFREE char *first = NULL;
    size_t first_len = 0;

    for (int way = 0; way < 3; way++) {
        AUTOFD int fd = erofs_kit_file();
        struct erofs_writer *w = new_writer(fd, false);
        AUTOFREE char *image = NULL;
        struct stat st;
        char path[32];

        for (size_t i = 0; i < 200; i++) {
            (void)snprintf(path, sizeof path, "d%zu/f%zu", i % 7, i);
            put_file(w, path, sizes[i % ARRAY_SIZE(sizes)] % 300000, i % 50,
                     way ? (size_t)way * 777 : 1 << 18);
        }
        finish(w, NULL);
        assert_int_equal(fstat(fd, &st), 0);
        image = xmalloc((size_t)st.st_size);
        assert_int_equal(pread(fd, image, (size_t)st.st_size, 0), st.st_size);
        if (way == 0) {
            first_len = (size_t)st.st_size;
            first = take_ptr(image);
            continue;
        }
        assert_int_equal(first_len, st.st_size);
        assert_memory_equal(first, image, first_len);
    }
}

static void test_sharing(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    struct erofs_writer *w = new_writer(fd, false);
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    struct erofs_writer_stats s;
    unsigned char part[65536];

    put_file(w, "a", MIB + 5, 1, 0);
    put_file(w, "same", MIB + 5, 1, 0);
    put_file(w, "other", MIB + 5, 2, 0);
    put_file(w, "small", 5000, 3, 0);
    put_file(w, "small2", 5000, 3, 0);
    /* half of "a", then half of "other": in chunks */
    begin(w, "mixed", MIB);
    for (unsigned i = 0; i < 16; i++) {
        fill(part, sizeof part, i < 8 ? 1 : 2, i * sizeof part);
        assert_int_equal(erofs_writer_data(w, i * sizeof part, part, sizeof part, NULL), 0);
    }
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    finish(w, &s);
    assert_int_equal(s.shared, 2 * MIB + 4096);
    assert_true(s.size < 2 * MIB + 300000);
    r = open_reader(fd);
    check_file(r, "a", MIB + 5, 1);
    check_file(r, "same", MIB + 5, 1);
    check_file(r, "other", MIB + 5, 2);
    check_file(r, "small2", 5000, 3);
    check_kernel(fd, r, "mixed");
    check_kernel(fd, r, "same");
}

/* --- Holes --------------------------------------------------------------------------------------- */

static void put_at(struct erofs_writer *w, uint64_t offset, const char *text)
{
    struct error e = ERROR_INIT;

    if (erofs_writer_data(w, offset, text, strlen(text), &e) < 0)
        fail_msg("%s", error_message(&e));
}

static void check_at(struct erofs_reader *r, const char *path, uint64_t offset, const char *text)
{
    struct erofs_inode inode;
    char got[32] = "";
    char zeros[32] = "";

    assert_int_equal(erofs_reader_lookup(r, path, false, &inode, NULL), 0);
    assert_true(erofs_reader_read(r, &inode, offset, got, strlen(text), NULL) ==
                (ssize_t)strlen(text));
    assert_string_equal(got, text);
    if (offset >= 8)
        assert_int_equal(erofs_reader_read(r, &inode, offset - 8, got, 8, NULL), 8);
    if (offset >= 8)
        assert_memory_equal(got, zeros, 8);
}

static void sparse(bool no_chunks)
{
    AUTOFD int fd = erofs_kit_file();
    struct erofs_writer *w = new_writer(fd, no_chunks);
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    struct erofs_inode inode;
    uint64_t start;
    uint64_t end;
    struct stat st;

    begin(w, "all", 10 * MIB);
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    begin(w, "tiny", 100);
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    begin(w, "ends", 10 * MIB + 3);
    put_at(w, 0, "first");
    put_at(w, 10 * MIB - 1, "last");
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    begin(w, "middle", 10 * MIB);
    put_at(w, 70000, "here");
    put_at(w, 5 * MIB + 1, "there");
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    begin(w, "huge", TIB);
    put_at(w, 5000, "here");
    put_at(w, 700 * GIB, "there");
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    begin(w, "five", 5 * GIB);
    put_at(w, 4 * GIB - 2, "across");
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    put_file(w, "after", 100000, 9, 0);
    finish(w, NULL);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true((uint64_t)st.st_blocks * 512 < 4 * MIB); /* holes use no disk */
    r = open_reader(fd);
    check_at(r, "ends", 0, "first");
    check_at(r, "ends", 10 * MIB - 1, "last");
    check_at(r, "middle", 70000, "here");
    check_at(r, "middle", 5 * MIB + 1, "there");
    check_at(r, "huge", 5000, "here");
    check_at(r, "huge", 700 * GIB, "there");
    check_at(r, "five", 4 * GIB - 2, "across");
    check_file(r, "after", 100000, 9);
    check_kernel(fd, r, "tiny");
    check_kernel(fd, r, "middle");
    check_kernel(fd, r, "huge");
    if (no_chunks)
        return;
    assert_int_equal(erofs_reader_lookup(r, "all", false, &inode, NULL), 0);
    assert_int_equal(erofs_reader_next_data(r, &inode, 0, &start, &end, NULL), 0);
    assert_int_equal(erofs_reader_lookup(r, "middle", false, &inode, NULL), 0);
    assert_int_equal(erofs_reader_next_data(r, &inode, 0, &start, &end, NULL), 1);
    assert_true(start == 65536 && end == 131072);
    assert_int_equal(erofs_reader_next_data(r, &inode, end, &start, &end, NULL), 1);
    assert_true(start == 5 * MIB && end == 5 * MIB + 65536);
    assert_int_equal(erofs_reader_next_data(r, &inode, end, &start, &end, NULL), 0);
}

static void test_holes(void **state)
{
    sparse(false);
    sparse(true);
}

/* The last thing in the file is a hole, and there is no folder to be written behind it. */
static void test_hole_at_end(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    struct erofs_writer *w = new_writer(fd, true);
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    struct erofs_writer_stats s;
    struct stat st;

    begin(w, "f", 300000);
    put_at(w, 0, "first");
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    finish(w, &s);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true((uint64_t)st.st_size == s.size);
    r = open_reader(fd);
    check_at(r, "f", 0, "first");
    check_kernel(fd, r, "f");
}

/* Zeros that an archive holds are holes as well. */
static void test_zeros(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    struct erofs_writer *w = new_writer(fd, false);
    AUTOFREE unsigned char *zeros = xcalloc(1, 4 * MIB);
    struct erofs_writer_stats s;

    begin(w, "z", 4 * MIB);
    assert_int_equal(erofs_writer_data(w, 0, zeros, 4 * MIB, NULL), 0);
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    finish(w, &s);
    assert_true(s.size < MIB);
}

static void test_too_large(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    struct erofs_writer *w = new_writer(fd, true);
    struct error e = ERROR_INIT;

    begin(w, "f", 17 * TIB);
    assert_int_equal(erofs_writer_file_end(w, &e), -EINVAL);
    assert_string_equal(error_message(&e),
                        "entry \"f\": it does not fit into the 16 TiB of an EROFS file");
    error_done(&e);
    erofs_writer_free(w);

    w = new_writer(fd, false); /* as a hole it does fit */
    begin(w, "f", INT64_MAX);
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    begin(w, "g", 10);
    assert_int_equal(erofs_writer_data(w, 8, "xyz", 3, &e), -EINVAL);
    assert_string_equal(error_message(&e), "entry \"g\": its content does not fit its size");
    error_done(&e);
    erofs_writer_free(w);
}

/* --- Many, and limits ---------------------------------------------------------------------------- */

static size_t resident(void)
{
    AUTOFREE char *text = NULL;
    long pages = 0;

    assert_int_equal(fs_read_file(AT_FDCWD, "/proc/self/statm", 1000, &text, NULL), 0);
    assert_int_equal(sscanf(text, "%*s %ld", &pages), 1);
    return (size_t)pages * 4096;
}

static void test_many(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    size_t before = resident();
    struct erofs_writer *w = new_writer(fd, false);
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    struct erofs_writer_stats s;
    char path[64];
    size_t used;

    for (unsigned i = 0; i < 60000; i++) {
        (void)snprintf(path, sizeof path, "node_modules/package-%03u/lib/file-%05u.js", i / 100, i);
        put_file(w, path, i % 3000, i, 0);
    }
    for (unsigned i = 0; i < 20000; i++) {
        (void)snprintf(path, sizeof path, "flat/%u", i);
        put_file(w, path, 0, 0, 0);
    }
    used = resident() - before;
    print_message("# 80000 names: %zu KiB\n", used >> 10);
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(used < 8 * MIB);
#endif
    finish(w, &s);
    r = open_reader(fd);
    for (unsigned i = 0; i < 60000; i += 997) {
        (void)snprintf(path, sizeof path, "node_modules/package-%03u/lib/file-%05u.js", i / 100, i);
        check_file(r, path, i % 3000, i);
    }
    check_file(r, "flat/19999", 0, 0);
    assert_true(s.inodes == 80000 + 1203);
}

static void test_memory_limit(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    const struct erofs_writer_params params = {.fd = fd, .memory_max = MIB};
    AUTOPTR(erofs_writer) struct erofs_writer *w = NULL;
    struct error e = ERROR_INIT;
    int r = 0;

    assert_int_equal(erofs_writer_new(&params, &w, NULL), 0);
    for (unsigned i = 0; r == 0 && i < 1000000; i++) {
        char path[64];
        const struct layer_entry entry = {.type = LAYER_DIR, .path = path};

        (void)snprintf(path, sizeof path, "d%u", i);
        r = erofs_writer_entry(w, &entry, &e);
    }
    assert_int_equal(r, -EFBIG);
    assert_non_null(strstr(error_message(&e), "the layer has too many names for 1 MiB of memory"));
    error_done(&e);
}

/* Written to nowhere: one clear line, and no superblock. */
static void test_no_disk(void **state)
{
    AUTOFD int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    struct erofs_writer *w = new_writer(fd, false);
    AUTOFREE unsigned char *data = xmalloc(MIB);
    struct error e = ERROR_INIT;

    fill(data, MIB, 1, 0);
    begin(w, "f", MIB);
    assert_int_equal(erofs_writer_data(w, 0, data, MIB, &e), -ENOSPC);
    assert_string_equal(error_message(&e), "write the layer: No space left on device");
    error_done(&e);
    erofs_writer_free(w);
}

static void test_unfinished(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    struct erofs_writer *w = new_writer(fd, false);
    struct erofs_reader *r = NULL;
    struct error e = ERROR_INIT;

    put_file(w, "f", MIB, 1, 0);
    erofs_writer_free(w);
    assert_int_equal(erofs_reader_open(fd, &r, &e), -EINVAL);
    assert_string_equal(error_message(&e), "not an EROFS file, or one that was not finished");
    error_done(&e);
}

/* --- Attributes ----------------------------------------------------------------------------------- */

static int count_xattr(void *data, const struct layer_xattr *x)
{
    size_t *total = data;

    *total += strlen(x->name) + x->size;
    return 0;
}

/* More than a block of them: on a file, a symlink, a folder. */
static void test_large_xattrs(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    struct erofs_writer *w = new_writer(fd, false);
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    static char value[60000];
    struct layer_xattr xattrs[3] = {{"trusted.a", value, 60000},
                                    {"trusted.b", value, 5000},
                                    {"trusted.c", value, 3}};
    static const char *const paths[] = {"f", "l", "d"};
    static const enum layer_entry_type types[] = {LAYER_FILE, LAYER_SYMLINK, LAYER_DIR};

    memset(value, 'v', sizeof value);
    for (size_t i = 0; i < 3; i++) {
        const struct layer_entry entry = {.type = types[i],
                                          .path = paths[i],
                                          .link = "to",
                                          .size = i ? 0 : 5,
                                          .xattrs = xattrs,
                                          .xattr_count = 3};

        assert_int_equal(erofs_writer_entry(w, &entry, NULL), 0);
        if (i == 0)
            assert_int_equal(erofs_writer_file_end(w, NULL), 0);
    }
    finish(w, NULL);
    r = open_reader(fd);
    for (size_t i = 0; i < 3; i++) {
        struct erofs_inode inode;
        size_t total = 0;

        assert_int_equal(erofs_reader_lookup(r, paths[i], false, &inode, NULL), 0);
        assert_int_equal(erofs_reader_xattrs(r, &inode, count_xattr, &total, NULL), 0);
        assert_int_equal(total, 27 + 65003);
    }
}

/* --- Damage -------------------------------------------------------------------------------------- */

/* Bytes changed at random: an error or another tree, never a crash or an endless walk. */
static void test_damage(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    struct erofs_writer *w = new_writer(fd, false);
    AUTOFREE unsigned char *image = NULL;
    unsigned refused = 0;
    struct stat st;
    char path[32];

    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(path, sizeof path, "d%u/e/f%u", i % 5, i);
        put_file(w, path, i % 50, i, 0);
    }
    finish(w, NULL);
    assert_int_equal(fstat(fd, &st), 0);
    image = xmalloc((size_t)st.st_size);
    assert_int_equal(pread(fd, image, (size_t)st.st_size, 0), st.st_size);
    for (unsigned i = 0; i < 3000; i++) {
        AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
        struct error e = ERROR_INIT;
        /* behind the superblock's block, whose checksum would hide all else */
        off_t at = 4096 + pick((unsigned)st.st_size - 4096);
        unsigned char byte = (unsigned char)pick(256);

        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        if (erofs_reader_open(fd, &r, &e) < 0 || erofs_reader_check_own(r, &e) < 0) {
            assert_true(e.code != ERR_NONE);
            refused++;
        }
        error_done(&e);
        assert_int_equal(pwrite(fd, image + at, 1, at), 1);
    }
    assert_true(refused > 100);
}

int main(void)
{
    /* The first one measures memory: nothing may have been freed before it. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),          cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_holes),         cmocka_unit_test(test_hole_at_end),
        cmocka_unit_test(test_zeros),         cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_memory_limit),  cmocka_unit_test(test_no_disk),
        cmocka_unit_test(test_unfinished),    cmocka_unit_test(test_large_xattrs),
        cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
