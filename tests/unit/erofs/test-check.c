/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pouch-check lets through. Files spoiled by hand, one rule after the other: each is refused with
 * its own words. Then files spoiled at random: what is let through, the kernel mounts and shows as
 * the reader does, entry by entry and byte by byte.
 *
 * POUCH_ROUNDS, POUCH_SEED: more of these, others. Needs root for the kernel's part; tests/vm runs it
 * on an older kernel, by loop devices.
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
#include "base/str.h"
#include "erofs/format.h"
#include "io/spawn.h"
#include "kit.h"
#include "sys/erofs.h"

#define IMAGE_MAX     ((size_t)4 << 20)
#define SHOWN_MAX     ((uint64_t)8 << 20) /* larger ones are not compared */
#define LONG_TARGET   "../usr/share/doc/a/target/that/is/somewhat/longer/than/others"
#define ROUNDS        1200u
#define SUPER(field)  (EROFS_SUPER_OFFSET + offsetof(struct erofs_disk_super, field))
#define INODE(field)  (offsetof(struct erofs_disk_inode, field))
#define DIRENT(field) (offsetof(struct erofs_disk_dirent, field))

struct image {
    char dir[32]; /* a folder of its own */
    char path[48];
    int fd;
    size_t size;
    unsigned char *bytes; /* as it was made */
    unsigned char *now;
};

/* --- A file with something of everything --------------------------------------------------------- */

static void entry(struct erofs_writer *w, const struct layer_entry *e)
{
    struct error error = ERROR_INIT;

    if (erofs_writer_entry(w, e, &error) < 0)
        fail_msg("%s", error_message(&error));
}

static void file(struct erofs_writer *w, const char *path, size_t size, size_t hole)
{
    AUTOFREE unsigned char *data = xmalloc(size + 1);
    const struct layer_entry e = {
        .type = LAYER_FILE, .path = path, .mode = 0644, .size = size + hole, .mtime_sec = 1};

    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(i * 7 + i / 251 + strlen(path));
    entry(w, &e);
    assert_int_equal(erofs_writer_data(w, hole, data, size, NULL), 0);
    assert_int_equal(erofs_writer_file_end(w, NULL), 0);
}

static void special_entries(struct erofs_writer *w)
{
    static char large[6000];
    const struct layer_xattr two[] = {{"user.one", "1", 1}, {"trusted.two", "second", 6}};
    const struct layer_xattr fake[] = {{"user.0verlay.redirect", "/etc", 4}};
    const struct layer_xattr many[] = {{"trusted.many", large, sizeof large}};
    const struct layer_entry all[] = {
        {.type = LAYER_DIR, .path = "d", .mode = 0755, .xattrs = two, .xattr_count = 2},
        {.type = LAYER_DIR, .path = "d/e", .mode = 01777, .uid = 70000},
        {.type = LAYER_DIR, .path = "d/f", .mode = 0700, .xattrs = fake, .xattr_count = 1},
        {.type = LAYER_SYMLINK, .path = "d/link", .link = LONG_TARGET, .mode = 0777},
        {.type = LAYER_SYMLINK,
         .path = "d/large",
         .link = "short",
         .mode = 0777,
         .xattrs = many,
         .xattr_count = 1},
        {.type = LAYER_CHAR, .path = "null", .dev_major = 1, .dev_minor = 3, .mode = 0666},
        {.type = LAYER_BLOCK, .path = "disk", .dev_major = 259, .dev_minor = 70000, .mode = 0600},
        {.type = LAYER_FIFO, .path = "pipe", .mode = 0644},
        {.type = LAYER_HARDLINK, .path = "d/again", .link = "small"},
        {.type = LAYER_HARDLINK, .path = "d/e/third", .link = "small"},
    };

    memset(large, 'x', sizeof large);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        entry(w, &all[i]);
}

static void make(struct image *m)
{
    struct erofs_writer_params params = {.fd = -EBADF};
    struct erofs_writer_stats stats;
    struct erofs_writer *w = NULL;
    char path[300];

    (void)snprintf(m->dir, sizeof m->dir, "/tmp/pouch-check-XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    (void)snprintf(m->path, sizeof m->path, "%s/image", m->dir);
    m->fd = params.fd = open(m->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(m->fd >= 0);
    assert_int_equal(erofs_writer_new(&params, &w, NULL), 0);
    file(w, "small", 10, 0);
    special_entries(w);
    file(w, "flat", 70000, 0);
    file(w, "blocks", 8192, 0);
    file(w, "holes", 150000, 200000);
    file(w, "empty", 0, 0);
    file(w, ".wh.gone", 0, 0);
    file(w, "d/e/.wh..wh..opq", 0, 0);
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(path, sizeof path, "many/%03u-%.*s", i, 10 + (int)i % 30,
                       "names-that-fill-some-blocks-of-names-and-more");
        file(w, path, i % 5 * 100, 0);
    }
    assert_int_equal(erofs_writer_finish(w, &stats, NULL), 0);
    erofs_writer_free(w);
    m->size = (size_t)stats.size;
    assert_true(m->size <= IMAGE_MAX);
    m->bytes = xmalloc(m->size);
    m->now = xmalloc(m->size);
    assert_int_equal(pread(m->fd, m->bytes, m->size, 0), m->size);
}

static void done(struct image *m)
{
    free(m->bytes);
    free(m->now);
    if (m->fd >= 0)
        (void)close(m->fd);
    (void)unlink(m->path);
    (void)rmdir(m->dir);
}

static void fix_checksum(struct image *m)
{
    uint32_t crc;

    memset(m->now + SUPER(checksum), 0, sizeof crc);
    crc = htole32(
        erofs_crc32c(UINT32_MAX, m->now + EROFS_SUPER_OFFSET, EROFS_BLOCK - EROFS_SUPER_OFFSET));
    memcpy(m->now + SUPER(checksum), &crc, sizeof crc);
}

/* m->now becomes the file; only blocks that differ from `before` are written. */
static void store(struct image *m, const unsigned char *before)
{
    for (size_t at = 0; at < m->size; at += EROFS_BLOCK) {
        if (memcmp(m->now + at, before + at, EROFS_BLOCK) != 0)
            assert_int_equal(pwrite(m->fd, m->now + at, EROFS_BLOCK, (off_t)at), EROFS_BLOCK);
    }
}

static int check(const struct image *m, bool mapped, struct error *e)
{
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    int x = erofs_reader_open(m->fd, &r, e);

    if (x == 0 && mapped)
        x = erofs_reader_map(r, e);
    return x < 0 ? x : erofs_reader_check_own(r, e);
}

/* --- Spoiled by hand ------------------------------------------------------------------------------ */

static void put(struct image *m, size_t at, uint64_t value, size_t len)
{
    value = htole64(value);
    memcpy(m->now + at, &value, len);
}

/* Where the inode of a path is. */
static size_t inode_at(const struct image *m, const char *path)
{
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    struct erofs_inode i;

    assert_int_equal(pwrite(m->fd, m->bytes, m->size, 0), m->size);
    assert_int_equal(erofs_reader_open(m->fd, &r, NULL), 0);
    assert_int_equal(erofs_reader_lookup(r, path, false, &i, NULL), 0);
    return (size_t)i.nid * EROFS_SLOT;
}

/* Where what follows an inode is: its attributes, or (behind) what stands behind these. */
static size_t follows(const struct image *m, const char *path, bool behind)
{
    size_t at = inode_at(m, path);
    uint16_t count;

    memcpy(&count, m->now + at + INODE(xattr_count), sizeof count);
    at += sizeof(struct erofs_disk_inode);
    if (behind && count)
        at += sizeof(struct erofs_disk_xattr_head) + 4 * (le16toh(count) - 1u);
    return at;
}

static size_t find(const struct image *m, const char *text)
{
    unsigned char *p = memmem(m->now, m->size, text, strlen(text));

    assert_non_null(p);
    return (size_t)(p - m->now);
}

static void spoil_super(struct image *m, unsigned how)
{
    static const struct {
        size_t at;
        uint64_t value;
        size_t len;
    } changes[] = {
        {SUPER(feature_compat), 7, 4},
        {SUPER(feature_compat), 2, 4},
        {SUPER(ext_slots), 1, 1},
        {SUPER(epoch), 1, 8},
        {SUPER(fixed_nsec), 1, 4},
        {SUPER(volume_name), 'x', 1},
        {SUPER(compression), 1, 2},
        {SUPER(device_slot), 1, 2},
        {SUPER(packed_nid), 36, 8},
        {SUPER(reserved), 1, 1},
        {SUPER(xattr_block), 1, 4},
        {SUPER(xattr_prefix_count), 1, 1},
        {SUPER(xattr_filter_reserved), 1, 1},
    };

    assert_true(how < ARRAY_SIZE(changes));
    put(m, changes[how].at, changes[how].value, changes[how].len);
}

struct damage {
    const char *path; /* whose inode, or NULL */
    size_t field;     /* in it, or (INLINE, XATTR) behind it */
    enum { INODE_FIELD, XATTR, INLINE } where;
    uint64_t value;
    size_t len;
    const char *words;
};

static const struct damage damages[] = {
    {"d", INODE(reserved), INODE_FIELD, 1, 2, "a field that is not known"},
    {"flat", INODE(reserved2) + 15, INODE_FIELD, 1, 1, "a field that is not known"},
    {"flat", INODE(format), INODE_FIELD, 1 | 1 << 1, 2, "its layout is of an unknown kind"},
    {"flat", INODE(format), INODE_FIELD, 0x31, 2, "its format is not known"},
    {"flat", INODE(mode), INODE_FIELD, 0644, 2, "its type is not known"},
    {"pipe", INODE(mode), INODE_FIELD, S_IFSOCK | 0644, 2, "its name says another type"},
    {"pipe", INODE(size), INODE_FIELD, 1, 8, "it has content, which its type has not"},
    {"flat", INODE(u), INODE_FIELD, 1 << 20, 4, "its content is beyond the end of the file"},
    {"flat", INODE(size), INODE_FIELD, (uint64_t)1 << 40, 8, "no content to stand behind it"},
    {"flat", INODE(size), INODE_FIELD, ((uint64_t)1 << 40) + 1, 8, "beyond the end of the file"},
    {"small", INODE(size), INODE_FIELD, 4090, 8, "its content crosses the end of a block"},
    {"small", INODE(nlink), INODE_FIELD, 2, 4, "its number of links is wrong"},
    {"flat", INODE(nlink), INODE_FIELD, 0, 4, "its owner or number of links cannot be"},
    {"d", INODE(nlink), INODE_FIELD, 3, 4, "its number of links is wrong"},
    {"flat", INODE(uid), INODE_FIELD, UINT32_MAX, 4, "its owner or number of links cannot be"},
    {"flat", INODE(mtime_nsec), INODE_FIELD, 1000000000, 4, "its time or size cannot be"},
    {"flat", INODE(xattr_count), INODE_FIELD, 1, 2, "room for attributes but none"},
    {"flat", INODE(xattr_count), INODE_FIELD, 9999, 2, "crosses the end of a block"},
    {"d/link", INODE(size), INODE_FIELD, 5000, 8, "beyond the end of the file|no symbolic link"},
    {"d/link", 3, INLINE, 0, 1, "its target has a NUL byte"},
    {"holes", INODE(u), INODE_FIELD, 4 | EROFS_CHUNK_INDEXES, 4, "chunks are of an unknown kind"},
    {"holes", INODE(u), INODE_FIELD, 0x44, 4, "its chunks are of an unknown kind"},
    {"holes", 4, INLINE, 1 << 20, 4, "its content is beyond the end of the file"},
    {"holes", INODE(size), INODE_FIELD, (uint64_t)1 << 40, 8, "beyond the end of the file"},
    {"d", offsetof(struct erofs_disk_xattr_head, shared_count), XATTR, 200, 1,
     "an attribute is beyond its end"},
    {"d/f", 12 + offsetof(struct erofs_disk_xattr, name_index), XATTR, 9, 1,
     "an attribute has an unknown prefix"},
    {"d/f", 12 + offsetof(struct erofs_disk_xattr, value_size), XATTR, 4000, 2,
     "an attribute is beyond its end"},
    {"d/f", 12 + sizeof(struct erofs_disk_xattr), XATTR, 'o', 1,
     "an attribute that no layer may have"}, /* user.overlay.redirect */
    {"d", DIRENT(type), INLINE, EROFS_TYPE_FILE, 1, "leads elsewhere"},
    {"d", DIRENT(nid), INLINE, 1, 8, "leads elsewhere"},
    {"d", DIRENT(name_offset), INLINE, 13, 2, "a block of names makes no sense"},
    {"d", DIRENT(reserved), INLINE, 1, 1, "a field that is not known"},
    {"d", 2 * sizeof(struct erofs_disk_dirent) + DIRENT(nid), INLINE, 36, 8,
     "its name says another type"},
};

/* Any of the words that "|" parts. */
static bool says(const char *text, const char *words)
{
    AUTOFREE char *all = xstrdup(words);
    char *rest = all;

    for (char *one; (one = strsep(&rest, "|"));) {
        if (strstr(text, one))
            return true;
    }
    return false;
}

static void expect_refused(struct image *m, const char *what, const char *words)
{
    for (int mapped = 0; mapped < 2; mapped++) {
        struct error e = ERROR_INIT;

        fix_checksum(m);
        assert_int_equal(pwrite(m->fd, m->now, m->size, 0), m->size);
        if (check(m, mapped != 0, &e) == 0)
            fail_msg("%s: let through, not refused by \"%s\"", what, words);
        if (!says(error_message(&e), words))
            fail_msg("%s: \"%s\", not \"%s\"", what, error_message(&e), words);
        error_done(&e);
    }
    memcpy(m->now, m->bytes, m->size);
}

static void test_by_hand(void **state)
{
    struct image m = {.fd = -EBADF};
    struct error e = ERROR_INIT;

    make(&m);
    memcpy(m.now, m.bytes, m.size);
    if (check(&m, false, &e) < 0 || check(&m, true, &e) < 0)
        fail_msg("%s", error_message(&e));
    for (unsigned i = 0; i < 13; i++) {
        spoil_super(&m, i);
        expect_refused(&m, "superblock", "is not one that was made here|reader does not know");
    }
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        const struct damage *d = &damages[i];
        size_t at = d->where == INODE_FIELD ? inode_at(&m, d->path)
                                            : follows(&m, d->path, d->where == INLINE);
        char what[64];

        put(&m, at + d->field, d->value, d->len);
        (void)snprintf(what, sizeof what, "damage %zu of %s", i, d->path);
        expect_refused(&m, what, d->words);
    }
    done(&m);
}

static void test_names_by_hand(void **state)
{
    struct image m = {.fd = -EBADF};
    size_t at;

    make(&m);
    memcpy(m.now, m.bytes, m.size);
    at = find(&m, "010-names");
    m.now[at] = '/';
    expect_refused(&m, "slash", "a name in it cannot be");
    m.now[at + 2] = 0;
    expect_refused(&m, "NUL", "a name in it cannot be");
    m.now[at + 1] = '9';
    expect_refused(&m, "order", "its names are not in order");
    /* a folder that is its own child */
    at = follows(&m, "d", true) + 3 * sizeof(struct erofs_disk_dirent);
    put(&m, at, inode_at(&m, "d") / EROFS_SLOT, 8);
    expect_refused(&m, "loop", "a folder is in two places|its name says another type");
    /* one inode more than there are */
    put(&m, SUPER(inodes), 7, 8);
    expect_refused(&m, "inodes", "inodes, not 7");
    /* something behind the end, or the end missing */
    assert_int_equal(ftruncate(m.fd, (off_t)m.size + 1), 0);
    expect_refused(&m, "longer", "something behind its end");
    assert_int_equal(ftruncate(m.fd, (off_t)m.size), 0);
    put(&m, SUPER(blocks), m.size / EROFS_BLOCK + 1, 4);
    expect_refused(&m, "shorter", "is cut off");
    m.now[EROFS_BLOCK - 1] ^= 1;
    assert_int_equal(pwrite(m.fd, m.now, m.size, 0), m.size);
    assert_true(check(&m, false, NULL) < 0); /* the checksum */
    done(&m);
}

/* --- The program ----------------------------------------------------------------------------------- */

static const char *program;

/* What pouch-check says of the file, inside of its walls; "" when it is good. */
static int ask(const struct image *m, char *ret, size_t size)
{
    AUTOFD int fd = open(m->path, O_RDONLY | O_CLOEXEC);
    char *argv[] = {(char *)"pouch-check", NULL};
    const struct spawn_fd fds[] = {{fd, 3}};
    struct spawn_params p = {
        .program = program, .argv = argv, .stdin_fd = -1, .stderr_fd = -1, .fds = fds, .nfds = 1};
    int out[2];
    pid_t pid;
    ssize_t n;

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    p.stdout_fd = out[1];
    assert_int_equal(spawn_program(&p, &pid, NULL), 0);
    close(out[1]);
    n = fs_read_full(out[0], ret, size - 1);
    assert_true(n >= 0);
    ret[n] = 0;
    close(out[0]);
    return spawn_wait(pid);
}

static void test_program(void **state)
{
    struct image m = {.fd = -EBADF};
    char text[1024];

    if (geteuid() != 0 || !program) {
        (void)fprintf(stderr, "# not run: needs root\n");
        return;
    }
    make(&m);
    memcpy(m.now, m.bytes, m.size);
    /* Our own descriptor can write: it waits for that to end, and does not look before. */
    assert_int_equal(ask(&m, text, sizeof text), 1);
    assert_string_equal(text, "somebody still has it open for writing");
    put(&m, inode_at(&m, "d") + INODE(reserved), 1, 2);
    store(&m, m.bytes);
    (void)close(m.fd);
    m.fd = -EBADF;
    assert_int_equal(ask(&m, text, sizeof text), 1);
    if (!strstr(text, "it has a field that is not known"))
        fail_msg("%s", text);
    m.fd = open(m.path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(m.fd, m.bytes, m.size, 0), m.size);
    (void)close(m.fd);
    m.fd = -EBADF;
    if (ask(&m, text, sizeof text) != 0)
        fail_msg("refused: %s", text);
    done(&m);
}

/* --- Spoiled at random ---------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t pick(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

/* Where metadata is: a mutation elsewhere would only change content. */
struct places {
    struct {
        size_t at, len;
    } * items;
    size_t n;
    struct erofs_reader *r;
};

static void add_place(struct places *p, size_t at, size_t len)
{
    p->items = xreallocarray(p->items, p->n + 1, sizeof *p->items);
    p->items[p->n].at = at;
    p->items[p->n++].len = len;
}

static int find_places(void *data, const char *path, const struct erofs_inode *i, struct error *e)
{
    struct places *p = data;
    size_t at = (size_t)i->nid * EROFS_SLOT;
    size_t rest = at + i->base_size + i->xattr_size;

    if (pick(4) && strstr(path, "many/"))
        return 0; /* there is one like it */
    add_place(p, at, i->base_size);
    if (i->xattr_size)
        add_place(p, at + i->base_size, i->xattr_size < 200 ? i->xattr_size : 200);
    if (i->layout == EROFS_CHUNKED)
        add_place(p, rest, 24);
    if ((S_ISDIR(i->mode) || S_ISLNK(i->mode)) && i->layout == EROFS_FLAT_INLINE)
        add_place(p, rest, i->size % EROFS_BLOCK);
    if (S_ISDIR(i->mode) && i->size >= EROFS_BLOCK)
        for (unsigned k = 0; k < 3; k++)
            add_place(p, ((size_t)i->start + pick(i->size / EROFS_BLOCK)) * EROFS_BLOCK, 600);
    return 0;
}

static void mutate(struct image *m, const struct places *p)
{
    static const uint64_t odd[] = {0,   1,    2,    4,     12,         36,
                                   255, 4095, 4096, 65535, UINT32_MAX, INT64_MAX};
    uint64_t k = pick(p->n + 1);
    size_t at = k == p->n ? EROFS_SUPER_OFFSET + pick(128) : p->items[k].at + pick(p->items[k].len);
    size_t len = (size_t)1 << pick(4);

    if (at + len > m->size)
        return;
    switch (pick(4)) {
    case 0:
        m->now[at] ^= (unsigned char)(1u << pick(8));
        break;
    case 1:
        m->now[at] = (unsigned char)pick(256);
        break;
    case 2: /* a field, where it would lie */
        put(m, at & ~(len - 1), odd[pick(ARRAY_SIZE(odd))], len);
        break;
    default: /* what stands elsewhere in metadata */
        k = pick(p->n);
        memmove(m->now + at, m->now + p->items[k].at, len);
        break;
    }
}

static int add_size(void *data, const char *path, const struct erofs_inode *i, struct error *e)
{
    uint64_t *sum = data;

    *sum += i->size < SHOWN_MAX ? i->size : SHOWN_MAX;
    return 0;
}

/* What is let through must mount, and read the same. */
static void compare(struct image *m, enum sys_erofs_way way, unsigned round)
{
    AUTO(buf) struct buf ours = BUF_INIT(BUF_UNLIMITED), kernels = BUF_INIT(BUF_UNLIMITED);
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    AUTOFD int mnt = -EBADF;
    struct error e = ERROR_INIT;
    uint64_t sum = 0;
    char what[64];

    (void)snprintf(what, sizeof what, "round %u", round);
    assert_int_equal(erofs_reader_open(m->fd, &r, NULL), 0);
    assert_int_equal(erofs_reader_walk(r, add_size, &sum, NULL), 0);
    if (sum >= SHOWN_MAX || way == SYS_EROFS_NONE)
        return;
    if (sys_erofs_open(m->path, way, &mnt, &e) < 0)
        fail_msg("%s: let through, but the kernel: %s", what, error_message(&e));
    if (erofs_kit_manifest(m->fd, true, &ours, &e) < 0)
        fail_msg("%s: let through, but the reader: %s", what, error_message(&e));
    kit_manifest(mnt, true, &kernels);
    erofs_kit_assert_same(&ours, &kernels, what);
}

static unsigned number(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);

    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void test_at_random(void **state)
{
    unsigned rounds = number("POUCH_ROUNDS", ROUNDS), let_through = 0;
    enum sys_erofs_way way = SYS_EROFS_NONE;
    struct image m = {.fd = -EBADF};
    struct places p = {.n = 0};
    struct error e = ERROR_INIT;

    random_state = 0x9e3779b97f4a7c15ULL ^ number("POUCH_SEED", 1);
    make(&m);
    assert_int_equal(erofs_reader_open(m.fd, &p.r, NULL), 0);
    assert_int_equal(erofs_reader_walk(p.r, find_places, &p, NULL), 0);
    if (geteuid() == 0)
        assert_int_equal(sys_erofs_probe(m.dir, &way, &e), 0);
    error_done(&e);
    compare(&m, way, 0);
    for (unsigned i = 1; i <= rounds; i++) {
        memcpy(m.now, m.bytes, m.size);
        for (uint64_t k = 1 + pick(3); k > 0; k--)
            mutate(&m, &p);
        fix_checksum(&m);
        store(&m, m.bytes);
        if (check(&m, i % 2, NULL) == 0) {
            let_through++;
            compare(&m, way, i);
        }
        /* Back to what it was. */
        for (size_t at = 0; at < m.size; at += EROFS_BLOCK)
            if (memcmp(m.now + at, m.bytes + at, EROFS_BLOCK) != 0)
                assert_int_equal(pwrite(m.fd, m.bytes + at, EROFS_BLOCK, (off_t)at), EROFS_BLOCK);
    }
    (void)fprintf(stderr, "# %u of %u let through, compared by %s\n", let_through, rounds,
                  sys_erofs_way_name(way));
    assert_true(rounds < 100 || let_through > rounds / 20);
    assert_true(rounds < 100 || let_through < rounds * 9 / 10);
    erofs_reader_free(p.r);
    free(p.items);
    done(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_program),
        cmocka_unit_test(test_names_by_hand),
        cmocka_unit_test(test_at_random),
    };

    program = argc > 1 ? argv[1] : NULL;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
