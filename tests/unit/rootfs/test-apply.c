/* SPDX-License-Identifier: Apache-2.0 */
/* Layers from entry streams: each corner of tar and overlayfs, and each known attack. Needs root. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "kit.h"

static char top[64]; /* holds layer/ and what must not be touched */
static char victim_file[80];
static int root = -EBADF;

static int set_up(void **state)
{
    AUTOFREE char *layer = NULL;
    AUTOFREE char *victim = NULL;

    if (geteuid() != 0)
        return 0;
    (void)snprintf(top, sizeof top, "/tmp/pouch-test-apply-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    layer = xasprintf("%s/layer", top);
    victim = xasprintf("%s/victim", top);
    if (mkdir(layer, 0700) < 0 || mkdir(victim, 0700) < 0)
        return -1;
    (void)snprintf(victim_file, sizeof victim_file, "%s/victim/file", top);
    if (fs_write_atomic(AT_FDCWD, victim_file, "safe", 4, 0644, FS_NO_SYNC) < 0)
        return -1;
    root = open(layer, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return root < 0 ? -1 : 0;
}

static size_t count_names(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    (void)closedir(dir);
    return n - 2;
}

/* Nothing but the layer may have changed. */
static void assert_outside_untouched(void)
{
    AUTOFREE char *victim = xasprintf("%s/victim", top);
    AUTOFREE char *text = NULL;
    struct stat st;

    assert_int_equal(count_names(top), 2);
    assert_int_equal(count_names(victim), 1);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(fs_read_file(AT_FDCWD, victim_file, 100, &text, NULL), 0);
    assert_string_equal(text, "safe");
    assert_int_equal(stat(victim_file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(access("/tmp/pouch-evil", F_OK), -1);
    assert_int_equal(access("/pouch-evil", F_OK), -1);
}

static int tear_down(void **state)
{
    if (geteuid() != 0)
        return 0;
    base_closep(&root);
    root = -EBADF;
    if (chdir("/") < 0)
        return -1;
    return fs_remove_tree(AT_FDCWD, top);
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip();
}

static void apply(const struct kit_entry *table)
{
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);
    struct error e = ERROR_INIT;

    kit_stream(&s, table);
    if (kit_unpack(&s, root, false, &e) < 0)
        fail_msg("%s", error_message(&e));
    assert_outside_untouched();
}

static void assert_stream_refused(const struct buf *s, const char *message)
{
    struct error e = ERROR_INIT;
    int r = kit_unpack(s, root, false, &e);

    if (r >= 0 || !strstr(error_message(&e), message))
        fail_msg("wanted \"%s\", got %d \"%s\"", message, r, error_message(&e));
    assert_null(strchr(error_message(&e), '\n'));
    error_done(&e);
    assert_outside_untouched();
}

static void assert_refused(const struct kit_entry *table, const char *message)
{
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);

    kit_stream(&s, table);
    assert_stream_refused(&s, message);
}

static struct stat look(const char *path)
{
    struct stat st;

    if (fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        fail_msg("%s is missing", path);
    return st;
}

static bool is_there(const char *path)
{
    struct stat st;

    return fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_whiteout(const char *path)
{
    struct stat st = look(path);

    return S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

static bool is_opaque(const char *path)
{
    AUTOFD int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char v[8];

    return fd >= 0 && fgetxattr(fd, "trusted.overlay.opaque", v, sizeof v) == 1 && v[0] == 'y';
}

static void assert_content(const char *path, const char *text)
{
    AUTOFREE char *got = NULL;

    assert_int_equal(fs_read_file(root, path, 4096, &got, NULL), 0);
    assert_string_equal(got, text);
}

#define DIR_(p)                                                                                    \
    {                                                                                              \
        .type = ENTRY_DIR, .path = (p), .mode = 0755                                               \
    }
#define FILE_(p, t)                                                                                \
    {                                                                                              \
        .type = ENTRY_FILE, .path = (p), .link = (t), .mode = 0644                                 \
    }
#define SYM_(p, t)                                                                                 \
    {                                                                                              \
        .type = ENTRY_SYMLINK, .path = (p), .link = (t), .mode = 0777                              \
    }
#define HARD_(p, t)                                                                                \
    {                                                                                              \
        .type = ENTRY_HARDLINK, .path = (p), .link = (t), .mode = 0644                             \
    }

/* --- Plain entries -------------------------------------------------------------------------- */

static void test_kinds_and_attributes(void **state)
{
    static const struct kit_entry table[] = {
        {ENTRY_DIR, "", NULL, 0750, 7, 8, .mtime = 1000, .nsec = 5},
        {ENTRY_DIR, "d", NULL, 02775, 100, 200, .mtime = 1500000000, .nsec = 123456789},
        {ENTRY_FILE, "d/f", "text", 0640, 4000000000u, 70000, .mtime = -5, .nsec = 999999999},
        {ENTRY_FILE, "d/suid", "x", 06755, 1000, 1000, .mtime = 1},
        {ENTRY_FILE, "d/sticky", "", 01666, 0, 0, .mtime = 1},
        {ENTRY_SYMLINK, "d/l", "../../elsewhere", 0777, 5, 6, .mtime = 77, .nsec = 1},
        {ENTRY_CHAR, "d/null", NULL, 0666, 0, 5, 1, 3, .mtime = 2},
        {ENTRY_CHAR, "d/big", NULL, 0600, 0, 0, 4095, 1048575, .mtime = 2},
        {ENTRY_BLOCK, "d/sda", NULL, 0660, 0, 6, 8, 0, .mtime = 2},
        {ENTRY_FIFO, "d/p", NULL, 0622, 1, 1, .mtime = 3},
        {ENTRY_DIR, "d/closed", NULL, 0, 1, 1, .mtime = 4},
        {ENTRY_FILE, "d/closed/in", "x", 0, 0, 0, .mtime = 4},
        KIT_END,
    };
    struct stat st;

    need_root();
    apply(table);
    st = look(".");
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(st.st_uid, 7);
    assert_int_equal(st.st_mtim.tv_sec, 1000);
    st = look("d");
    assert_int_equal(st.st_mode & 07777, 02775);
    assert_int_equal(st.st_gid, 200);
    assert_int_equal(st.st_mtim.tv_sec, 1500000000);
    assert_int_equal(st.st_mtim.tv_nsec, 123456789);
    st = look("d/f");
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_uid, 4000000000u);
    assert_int_equal(st.st_gid, 70000);
    assert_int_equal(st.st_mtim.tv_sec, -5);
    assert_int_equal(st.st_mtim.tv_nsec, 999999999);
    assert_content("d/f", "text");
    st = look("d/suid");
    assert_int_equal(st.st_mode & 07777, 06755);
    assert_int_equal(st.st_uid, 1000);
    st = look("d/sticky");
    assert_int_equal(st.st_mode & 07777, 01666);
    assert_int_equal(st.st_gid, 0); /* not inherited from the set-group-id folder */
    st = look("d/l");
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(st.st_uid, 5);
    assert_int_equal(st.st_mtim.tv_sec, 77);
    st = look("d/null");
    assert_int_equal(st.st_rdev, makedev(1, 3));
    assert_int_equal(st.st_mode, S_IFCHR | 0666);
    assert_int_equal(look("d/big").st_rdev, makedev(4095, 1048575));
    assert_int_equal(look("d/sda").st_mode, S_IFBLK | 0660);
    st = look("d/p");
    assert_int_equal(st.st_mode, S_IFIFO | 0622);
    assert_int_equal(look("d/closed").st_mode & 07777, 0);
    assert_int_equal(look("d/closed").st_mtim.tv_sec, 4);
    assert_int_equal(look("d/closed/in").st_size, 1);
}

static void test_root_default(void **state)
{
    static const struct kit_entry table[] = {FILE_("a", "x"), KIT_END};

    need_root();
    assert_int_equal(fchmod(root, 0700), 0);
    apply(table);
    assert_int_equal(look(".").st_mode & 07777, 0755);
}

static void test_xattrs(void **state)
{
    /* vfs_cap_data, version 2, effective, CAP_NET_RAW */
    static const char cap[] = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
                              "\x00\x00\x00\x00";
    static const struct {
        const char *name;
        const char *value;
        uint32_t len;
    } xattrs[] = {
        {"security.capability", cap, 20},
        {"user.comment", "hello", 5},
        {"user.empty", "", 0},
        {"trusted.other", "x", 1},
        {"user.overlay.opaque", "y", 1},
        {"trusted.overlay.redirect", "/", 1},
        {"trusted.overlay.metacopy", "", 0},
        {"security.selinux", "x", 1},
        {"bogus", "x", 1},
    };
    const struct kit_entry f = {ENTRY_FILE, "ping", NULL, 04755, 1000, 1000};
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);
    struct entry_header *h;
    AUTOFD int fd = -EBADF;
    char v[64];

    need_root();
    kit_head(&s);
    kit_header(&s, &f, 0);
    h = (struct entry_header *)(s.data + sizeof(struct entry_stream_head));
    h->xattr_count = ARRAY_SIZE(xattrs);
    for (size_t i = 0; i < ARRAY_SIZE(xattrs); i++) {
        const struct entry_xattr x = {(uint16_t)strlen(xattrs[i].name), 0, xattrs[i].len};

        (void)buf_append(&s, &x, sizeof x);
        (void)buf_puts(&s, xattrs[i].name);
        (void)buf_append(&s, xattrs[i].value, xattrs[i].len);
    }
    kit_chunk(&s, 0, "", 0);
    kit_end(&s, 0);
    assert_int_equal(kit_unpack(&s, root, false, NULL), 0);
    fd = openat(root, "ping", O_RDONLY | O_CLOEXEC);
    assert_int_equal(fgetxattr(fd, "security.capability", v, sizeof v), 20);
    assert_memory_equal(v, cap, 20);
    assert_int_equal(look("ping").st_mode & 07777, 04755);
    assert_int_equal(fgetxattr(fd, "user.comment", v, sizeof v), 5);
    assert_int_equal(fgetxattr(fd, "user.empty", v, sizeof v), 0);
    assert_int_equal(fgetxattr(fd, "trusted.other", v, sizeof v), 1);
    for (size_t i = 4; i < ARRAY_SIZE(xattrs); i++)
        assert_int_equal(fgetxattr(fd, xattrs[i].name, v, sizeof v), -1);
}

static void test_dir_xattr(void **state)
{
    static const struct kit_entry table[] = {
        {ENTRY_DIR, "d", NULL, 0755, 0, 0, .xattr = "user.k", .value = "v"},
        {ENTRY_FILE, "d/f", "x", 0644, 0, 0, .xattr = "user.k", .value = "w"},
        /* Device nodes cannot have it: left out. */
        {ENTRY_CHAR, "d/c", NULL, 0644, 0, 0, 1, 3, .xattr = "user.k", .value = "w"},
        {ENTRY_SYMLINK, "d/l", "f", 0777, 0, 0, .xattr = "user.k", .value = "w"},
        KIT_END,
    };
    AUTOFD int fd = -EBADF;
    char v[8];

    need_root();
    apply(table);
    fd = openat(root, "d", O_RDONLY | O_CLOEXEC);
    assert_int_equal(fgetxattr(fd, "user.k", v, sizeof v), 1);
    assert_int_equal(v[0], 'v');
}

static void test_missing_parents(void **state)
{
    static const struct kit_entry table[] = {
        FILE_("a/b/c/f", "x"),
        {ENTRY_DIR, "a/b", NULL, 0711, 3, 4, .mtime = 99},
        KIT_END,
    };

    need_root();
    apply(table);
    assert_int_equal(look("a").st_mode & 07777, 0755);
    assert_int_equal(look("a/b").st_mode & 07777, 0711);
    assert_int_equal(look("a/b").st_uid, 3);
    assert_int_equal(look("a/b").st_mtim.tv_sec, 99);
    assert_content("a/b/c/f", "x");
}

static void test_odd_paths(void **state)
{
    static const struct kit_entry table[] = {
        FILE_("/abs", "1"),     FILE_("./dot", "2"), FILE_("a//b/./c", "3"),
        FILE_("x/../y", "4"),   DIR_("t/"),          FILE_("new\nline", "5"),
        FILE_("\xff\xfe", "6"), FILE_("...", "7"),   KIT_END,
    };

    need_root();
    apply(table);
    assert_content("abs", "1");
    assert_content("dot", "2");
    assert_content("a/b/c", "3");
    assert_content("y", "4");
    assert_false(is_there("x"));
    assert_true(is_there("t"));
    assert_content("new\nline", "5");
    assert_content("\xff\xfe", "6");
    assert_content("...", "7");
}

static void test_long_names(void **state)
{
    char name[256];
    AUTO(buf) struct buf path = BUF_INIT(8192);
    struct kit_entry table[] = {FILE_(NULL, "x"), KIT_END};
    char too_long[300];

    need_root();
    memset(name, 'n', 255);
    name[255] = 0;
    table[0].path = name;
    apply(table);
    assert_int_equal(look(name).st_size, 1);
    /* A path of 4096 bytes, more than one call takes. */
    memset(name, 'd', 255);
    while (path.len < 3800)
        (void)buf_printf(&path, "%s/", name);
    while (path.len < 4096)
        (void)buf_puts(&path, path.len % 2 ? "/" : "s");
    table[0].path = buf_str(&path);
    path.data[4095] = 'z';
    apply(table);
    memset(too_long, 'n', 256);
    too_long[256] = 0;
    table[0].path = too_long;
    assert_refused(table, "File name too long");
}

static void test_deep(void **state)
{
    AUTO(buf) struct buf path = BUF_INIT(8192);
    struct kit_entry table[] = {FILE_(NULL, "x"), KIT_END};

    need_root();
    for (int i = 0; i < 2000; i++)
        (void)buf_puts(&path, "d/");
    (void)buf_putc(&path, 'f');
    table[0].path = buf_str(&path);
    apply(table);
}

/* --- Content -------------------------------------------------------------------------------- */

static void sparse_into(struct buf *s)
{
    const struct kit_entry f = {ENTRY_FILE, "sparse", NULL, 0644, 0, 0};

    kit_head(s);
    kit_header(s, &f, 1ULL << 30);
    kit_chunk(s, 4096, "abc", 3);
    kit_chunk(s, 512 << 20, "def", 3);
    kit_chunk(s, 0, "", 0);
    kit_end(s, 0);
}

static void test_sparse(void **state)
{
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);
    AUTOFD int fd = -EBADF;
    char part[4] = "";
    struct stat st;

    need_root();
    sparse_into(&s);
    assert_int_equal(kit_unpack(&s, root, true, NULL), 0);
    st = look("sparse");
    assert_int_equal(st.st_size, 1 << 30);
    assert_true(st.st_blocks <= 64);
    fd = openat(root, "sparse", O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, part, 3, 4096), 3);
    assert_string_equal(part, "abc");
    assert_int_equal(pread(fd, part, 3, 512 << 20), 3);
    assert_string_equal(part, "def");
    assert_int_equal(pread(fd, part, 3, 100), 3);
    assert_memory_equal(part, "\0\0\0", 3);
}

/* Chunks larger than the buffer, through a pipe (spliced) and not. */
static void test_big_content(void **state)
{
    const struct kit_entry f = {ENTRY_FILE, "big", NULL, 0644, 0, 0};
    const struct kit_entry g = {ENTRY_FILE, "after", "small", 0644, 0, 0};
    const size_t size = 5 * ENTRY_CHUNK_MAX + 12345;
    AUTOFREE char *data = xmalloc(size);

    need_root();
    for (size_t i = 0; i < size; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    for (int through_pipe = 0; through_pipe < 2; through_pipe++) {
        AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);
        AUTOFREE char *got = NULL;
        size_t len;

        kit_head(&s);
        kit_header(&s, &f, size);
        for (size_t pos = 0; pos < size; pos += ENTRY_CHUNK_MAX) {
            size_t n = size - pos < ENTRY_CHUNK_MAX ? size - pos : ENTRY_CHUNK_MAX;

            kit_chunk(&s, pos, data + pos, (uint32_t)n);
        }
        kit_chunk(&s, size, "", 0);
        kit_entry(&s, &g);
        kit_end(&s, 0);
        assert_int_equal(kit_unpack(&s, root, through_pipe, NULL), 0);
        assert_int_equal(fs_read_file(root, "big", size, &got, &len), 0);
        assert_int_equal(len, size);
        assert_memory_equal(got, data, size);
        assert_content("after", "small");
    }
}

/* --- Replacing ------------------------------------------------------------------------------ */

static void test_replace(void **state)
{
    static const struct kit_entry table[] = {
        FILE_("a", "old"),
        FILE_("a", "new"), /* file by file */
        FILE_("b", "x"),
        FILE_("keep", "x"),
        HARD_("linked", "keep"),
        FILE_("linked", "other"), /* does not write through the link */
        DIR_("c"),
        FILE_("c/in", "x"),
        FILE_("c", "file now"), /* folder by file */
        FILE_("d", "x"),
        DIR_("d"),
        FILE_("d/in", "y"), /* file by folder */
        DIR_("e"),
        FILE_("e/in", "z"),
        DIR_("e"), /* folder by folder: merged */
        SYM_("f", "e"),
        DIR_("f"),
        FILE_("f/in", "w"), /* symlink to a folder by folder */
        SYM_("g", "keep"),
        FILE_("g", "mine"),
        KIT_END,
    };

    need_root();
    apply(table);
    assert_content("a", "new");
    assert_content("keep", "x");
    assert_content("linked", "other");
    assert_content("c", "file now");
    assert_content("d/in", "y");
    assert_content("e/in", "z");
    assert_true(S_ISDIR(look("f").st_mode));
    assert_content("f/in", "w");
    assert_false(is_opaque("e"));
    assert_true(S_ISREG(look("g").st_mode));
}

/* A folder that was replaced must not be found in the cache, nor get its attributes late. */
static void test_replaced_parent(void **state)
{
    static const struct kit_entry table[] = {
        {ENTRY_DIR, "p", NULL, 0700, 9, 9},
        FILE_("p/q/one", "1"),
        SYM_("p", "other"),
        DIR_("other/q"),
        FILE_("p/q/two", "2"),
        KIT_END,
    };

    need_root();
    apply(table);
    assert_content("other/q/two", "2");
    assert_false(is_there("other/q/one"));
    assert_int_equal(look("other").st_mode & 07777, 0755);
    assert_int_equal(look("other").st_uid, 0);
}

/* --- Hard links ----------------------------------------------------------------------------- */

static void test_hardlinks(void **state)
{
    static const struct kit_entry table[] = {
        {ENTRY_FILE, "a/f", "x", 04755, 1000, 1000, .mtime = 5},
        FILE_("between", "y"),
        {ENTRY_HARDLINK, "b/g", "a/f", 0, 0, 0, .mtime = 9}, /* its header says nothing */
        {ENTRY_HARDLINK, "b/h", "/a/../a/./f", 0644, 0, 0},
        SYM_("s", "a"),
        HARD_("through", "s/f"), /* symlinked folders are followed in the root */
        SYM_("dangling", "nowhere"),
        HARD_("same-symlink", "dangling"), /* the last component is not */
        HARD_("a/f", "a/f"),
        KIT_END,
    };
    struct stat st;

    need_root();
    apply(table);
    st = look("a/f");
    assert_int_equal(st.st_nlink, 4);
    assert_int_equal(st.st_mode & 07777, 04755);
    assert_int_equal(st.st_uid, 1000);
    assert_int_equal(st.st_mtim.tv_sec, 5);
    assert_int_equal(look("b/g").st_ino, st.st_ino);
    assert_int_equal(look("b/h").st_ino, st.st_ino);
    assert_int_equal(look("through").st_ino, st.st_ino);
    assert_true(S_ISLNK(look("same-symlink").st_mode));
}

static void test_hardlinks_bad(void **state)
{
    static const struct {
        struct kit_entry table[4];
        const char *message;
    } cases[] = {
        {{HARD_("h", "missing"), KIT_END}, "hard link to \"missing\", which is not in this layer"},
        {{HARD_("h", "no/such/dir"), KIT_END}, "which is not in this layer"},
        {{HARD_("h", "../victim/file"), KIT_END}, "which climbs out of the layer"},
        {{HARD_("h", "a/../../victim/file"), KIT_END}, "which climbs out of the layer"},
        {{HARD_("h", ""), KIT_END}, "which is not in this layer"},
        {{DIR_("d"), HARD_("h", "d"), KIT_END}, "which is a folder"},
        {{FILE_(".wh.gone", ""), HARD_("h", "gone"), KIT_END}, "which is not in this layer"},
        {{SYM_("s", "../victim"), HARD_("h", "s/file"), KIT_END}, "which is not in this layer"},
    };

    need_root();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_refused(cases[i].table, cases[i].message);
}

/* --- Whiteouts ------------------------------------------------------------------------------ */

static void test_whiteouts(void **state)
{
    static const struct kit_entry table[] = {
        DIR_("d"),
        FILE_("d/.wh.gone", ""),
        FILE_("new/.wh.gone", "content is thrown away"),
        DIR_("o"),
        FILE_("o/.wh..wh..opq", ""),
        FILE_("o/in", "x"),
        FILE_("implied/.wh..wh..opq", ""),
        /* The same layer's own things stay, whatever comes first. */
        FILE_("mine", "x"),
        FILE_(".wh.mine", ""),
        FILE_(".wh.later", ""),
        FILE_("later", "y"),
        DIR_("dir1"),
        FILE_("dir1/in", "x"),
        FILE_(".wh.dir1", ""),
        FILE_(".wh.dir2", ""),
        DIR_("dir2"),
        FILE_("dir2/in", "x"),
        FILE_(".wh.dir3", ""),
        FILE_("dir3/sub/in", "x"),
        /* What aufs left behind. */
        DIR_(".wh..wh.plnk"),
        FILE_(".wh..wh.aufs", "x"),
        FILE_(".wh..wh.plnk/123.45", "x"),
        KIT_END,
    };

    need_root();
    apply(table);
    assert_true(is_whiteout("d/gone"));
    assert_false(is_there("d/.wh.gone"));
    assert_true(is_whiteout("new/gone"));
    assert_true(is_opaque("o"));
    assert_content("o/in", "x");
    assert_false(is_there("o/.wh..wh..opq"));
    assert_true(is_opaque("implied"));
    assert_content("mine", "x");
    assert_content("later", "y");
    assert_true(is_opaque("dir1"));
    assert_content("dir1/in", "x");
    assert_true(is_opaque("dir2"));
    assert_true(is_opaque("dir3"));
    assert_false(is_opaque("dir3/sub"));
    assert_content("dir3/sub/in", "x");
    assert_false(is_there(".wh..wh.plnk"));
    assert_false(is_there(".wh..wh.aufs"));
}

static void test_whiteouts_bad(void **state)
{
    static const struct kit_entry cases[][2] = {
        {FILE_(".wh.", ""), KIT_END},
        {FILE_("a/.wh..", ""), KIT_END},
        {FILE_("a/.wh...", ""), KIT_END},
    };

    need_root();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_refused(cases[i], "a whiteout of nothing");
}

/* --- Attacks -------------------------------------------------------------------------------- */

static void test_climbing(void **state)
{
    static const char *const paths[] = {
        "..", "../victim/file", "a/../../victim/file", "/../victim/new", "../layer/x", "./../x"};
    static const enum entry_type types[] = {ENTRY_FILE, ENTRY_DIR, ENTRY_SYMLINK, ENTRY_FIFO};

    need_root();
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(types); j++) {
            const struct kit_entry table[] = {{types[j], paths[i],
                                               types[j] == ENTRY_SYMLINK ? "x" : NULL, 0644},
                                              KIT_END};

            assert_refused(table, "climbs out of the layer");
        }
    }
}

/* Symlinks lead to places in the layer, wherever they point; what is not there is not made. */
static void test_symlink_then_write(void **state)
{
    static const struct kit_entry dangling[][3] = {
        {SYM_("a", "/victim"), FILE_("a/file", "evil"), KIT_END},
        {SYM_("b", "../victim"), FILE_("b/file2", "evil"), KIT_END},
        {SYM_("c", "../../../../../../../tmp"), FILE_("c/pouch-evil", "evil"), KIT_END},
        {SYM_("d", "/proc/self/root"), FILE_("d/pouch-evil", "evil"), KIT_END},
        {SYM_("e", "/victim"), FILE_("e/.wh.file", ""), KIT_END},
        {SYM_("f", "/victim"), FILE_("f/.wh..wh..opq", ""), KIT_END},
        {SYM_("g", "/victim"), DIR_("g/new"), KIT_END},
    };
    static const struct kit_entry inside[] = {
        DIR_("victim"),
        DIR_("tmp"),
        SYM_("a1", "/victim"),
        FILE_("a1/file", "in the layer"),
        SYM_("a2", "../../../../victim"),
        FILE_("a2/file2", "too"),
        SYM_("a3", "a2"),
        FILE_("a3/file3", "chain"),
        SYM_("a4", "/tmp"),
        FILE_("a4/.wh.x", ""),
        FILE_("a4/.wh..wh..opq", ""),
        {ENTRY_DIR, "a3/sub", NULL, 0711, 3, 3},
        KIT_END,
    };

    need_root();
    for (size_t i = 0; i < ARRAY_SIZE(dangling); i++)
        assert_refused(dangling[i], "is below something that is not a folder");
    apply(inside);
    assert_content("victim/file", "in the layer");
    assert_content("victim/file2", "too");
    assert_content("victim/file3", "chain");
    assert_int_equal(look("victim/sub").st_mode & 07777, 0711);
    assert_true(is_whiteout("tmp/x"));
    assert_true(is_opaque("tmp"));
}

/* A file over a symlink replaces the symlink and does not write through it. */
static void test_last_component(void **state)
{
    AUTOFREE char *victim = xasprintf("%s/victim/file", top);
    const struct kit_entry table[] = {
        SYM_("l", victim),
        FILE_("l", "mine"),
        SYM_("m", victim),
        {ENTRY_DIR, "m", NULL, 0777, 1, 1},
        SYM_("loop1", "loop2"),
        SYM_("loop2", "loop1"),
        KIT_END,
    };
    const struct kit_entry loop[] = {FILE_("loop1/x", ""), KIT_END};

    need_root();
    apply(table);
    assert_content("l", "mine");
    assert_true(S_ISDIR(look("m").st_mode));
    assert_refused(loop, "Too many levels of symbolic links");
}

static void test_bad_values(void **state)
{
    static const struct {
        struct kit_entry table[2];
        const char *message;
    } cases[] = {
        {{{ENTRY_FILE, "f", "x", 0644, UINT32_MAX, 0}, KIT_END}, "owner is not a valid id"},
        {{{ENTRY_FILE, "f", "x", 0644, 0, UINT32_MAX}, KIT_END}, "owner is not a valid id"},
        {{{ENTRY_FILE, "f", "x", 0644, 0, 0, .nsec = 1000000000}, KIT_END}, "time is not valid"},
        {{{ENTRY_CHAR, "f", NULL, 0644, 0, 0, 5000, 0}, KIT_END}, "device number is out of range"},
        {{{ENTRY_BLOCK, "f", NULL, 0644, 0, 0, 0, 1 << 20}, KIT_END}, "out of range"},
        {{{ENTRY_SYMLINK, "f", "", 0777}, KIT_END}, "a symbolic link to nothing"},
        {{{ENTRY_FILE, "", "x", 0644}, KIT_END}, "root must be a folder"},
        {{{ENTRY_SYMLINK, ".", "x", 0644}, KIT_END}, "root must be a folder"},
        {{{ENTRY_FILE, "a\x01\"b/..", "x", 0644}, KIT_END}, "entry \"a\\x01\\x22b/..\": "},
    };
    static const struct kit_entry below[] = {FILE_("f", "x"), FILE_("f/g", "y"), KIT_END};
    static const struct kit_entry device[] = {{ENTRY_FIFO, "p", NULL, 0644},
                                              FILE_("p/g", "y"),
                                              KIT_END};

    need_root();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_refused(cases[i].table, cases[i].message);
    assert_refused(below, "entry \"f/g\": is below something that is not a folder");
    assert_refused(device, "is below something that is not a folder");
}

/* --- The stream ----------------------------------------------------------------------------- */

static void test_cut_off_anywhere(void **state)
{
    static const struct kit_entry table[] = {{ENTRY_DIR, "d", NULL, 0755, 0, 0, .xattr = "user.k",
                                              .value = "v"},
                                             FILE_("d/f", "text"),
                                             SYM_("d/l", "f"),
                                             HARD_("d/h", "d/f"),
                                             KIT_END};
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);
    size_t whole;

    need_root();
    kit_stream(&s, table);
    whole = s.len;
    for (s.len = 0; s.len < whole; s.len++)
        assert_stream_refused(&s, "entry stream: it was cut off");
    s.len = whole;
    assert_int_equal(kit_unpack(&s, root, true, NULL), 0);
}

static void test_bad_streams(void **state)
{
    const struct kit_entry f = {ENTRY_FILE, "f", NULL, 0644, 0, 0};
    const struct entry_header odd[] = {
        {.magic = 0x46, .type = ENTRY_DIR},
        {.magic = ENTRY_HEADER_MAGIC, .type = ENTRY_TYPE_MAX},
        {.magic = ENTRY_HEADER_MAGIC, .type = ENTRY_DIR, .path_len = ENTRY_PATH_MAX + 1},
        {.magic = ENTRY_HEADER_MAGIC, .type = ENTRY_SYMLINK, .link_len = ENTRY_LINK_MAX + 1},
        {.magic = ENTRY_HEADER_MAGIC, .type = ENTRY_DIR, .xattr_count = ENTRY_XATTRS_MAX + 1},
    };
    static const struct {
        uint64_t offset;
        uint32_t len;
    } chunks[] = {{11, 1}, {8, 3}, {UINT64_MAX, 1}, {UINT64_MAX - 1, 10}, {0, ENTRY_CHUNK_MAX + 1}};
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);
    const char junk[4096] = "no stream at all";

    need_root();
    (void)buf_append(&s, junk, sizeof junk);
    assert_stream_refused(&s, "this is none");
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
        buf_clear(&s);
        kit_head(&s);
        (void)buf_append(&s, &odd[i], sizeof odd[i]);
        (void)buf_append(&s, junk, sizeof junk);
        assert_stream_refused(&s, "entry stream: ");
    }
    for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
        const struct entry_chunk c = {chunks[i].offset, chunks[i].len};

        buf_clear(&s);
        kit_head(&s);
        kit_header(&s, &f, 10);
        (void)buf_append(&s, &c, sizeof c);
        (void)buf_append(&s, junk, sizeof junk);
        assert_stream_refused(&s, "content of \"f\" outside of its size");
    }
    /* Chunks that go back. */
    buf_clear(&s);
    kit_head(&s);
    kit_header(&s, &f, 10);
    kit_chunk(&s, 5, "abc", 3);
    kit_chunk(&s, 4, "x", 1);
    assert_stream_refused(&s, "outside of its size");
    /* A size that is negative as the kernel sees it. */
    buf_clear(&s);
    kit_head(&s);
    kit_header(&s, &f, UINT64_MAX);
    assert_stream_refused(&s, "entry \"f\": its size is not valid");
    /* The parser gave up. */
    buf_clear(&s);
    kit_head(&s);
    kit_end(&s, EIO);
    assert_stream_refused(&s, "the archive could not be read: Input/output error");
}

static void test_nul_in_names(void **state)
{
    const struct kit_entry f = {ENTRY_DIR, "a_b", NULL, 0755, 0, 0};
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);

    need_root();
    kit_head(&s);
    kit_header(&s, &f, 0);
    s.data[s.len - 2] = 0;
    kit_end(&s, 0);
    assert_stream_refused(&s, "a name with a NUL byte");
}

/* So many folders that remembering them would take memory without end. */
static void test_attributes_without_end(void **state)
{
    AUTOFREE char *value = xmalloc(ENTRY_XATTR_SIZE_MAX + 1);
    const struct kit_entry d = {ENTRY_DIR, "d", NULL, 0755, .xattr = "user.x", .value = value};
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);

    need_root();
    memset(value, 'v', ENTRY_XATTR_SIZE_MAX);
    value[ENTRY_XATTR_SIZE_MAX] = 0;
    kit_head(&s);
    for (int i = 0; i < 4200; i++)
        kit_entry(&s, &d);
    assert_stream_refused(&s, "the layer has too many folders");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_kinds_and_attributes),
        T(test_root_default),
        T(test_xattrs),
        T(test_dir_xattr),
        T(test_missing_parents),
        T(test_odd_paths),
        T(test_long_names),
        T(test_deep),
        T(test_sparse),
        T(test_big_content),
        T(test_replace),
        T(test_replaced_parent),
        T(test_hardlinks),
        T(test_hardlinks_bad),
        T(test_whiteouts),
        T(test_whiteouts_bad),
        T(test_climbing),
        T(test_symlink_then_write),
        T(test_last_component),
        T(test_bad_values),
        T(test_cut_off_anywhere),
        T(test_bad_streams),
        T(test_nul_in_names),
        T(test_attributes_without_end),
    };

    (void)umask(0);
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
