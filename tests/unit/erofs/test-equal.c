/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same entries as a folder (rootfs/apply.c) and as an EROFS file must be the same tree, entry by
 * entry, as the kernel shows both and as our reader tells the file; what one refuses the other
 * refuses with the same words. Tables of nasty archives, and random ones.
 * Needs root (ownership, devices, mounts) and a kernel that mounts files (6.12).
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "kit.h"
#include "rootfs/apply.h"

#define LONG_NAME                                                                                  \
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn" \
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn" \
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

static int top = -EBADF; /* a tmpfs that nobody else sees, for the folders */
static bool can_mount;

static int set_up(void **state)
{
    int fs;

    if (geteuid() != 0)
        return 0;
    fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    top = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    (void)close(fs);
    return top < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    base_closep(&top);
    return 0;
}

static bool ready(void)
{
    static const struct kit_entry nothing[] = {KIT_END};
    AUTOFD int fd = -EBADF;
    int mnt;

    if (top < 0) {
        print_message("skipped: needs root\n");
        return false;
    }
    fd = erofs_kit_file();
    assert_int_equal(erofs_kit_write(fd, nothing, NULL, NULL), 0);
    mnt = erofs_kit_mount(fd);
    can_mount = mnt >= 0;
    if (mnt >= 0)
        (void)close(mnt);
    else
        print_message("this kernel mounts no EROFS files (%s): only our reader is asked\n",
                      strerror(-mnt));
    assert_true(mnt >= 0 || mnt == -ENOTSUP);
    return true;
}

/* All whiteouts of a file are one inode, those of a folder are not: takes " = /first" away. */
static void without_whiteout_links(struct buf *b)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    char *line = b->data;

    while (line && *line) {
        char *end = strchr(line, '\n');
        char *dev;

        *end = 0;
        dev = strstr(line, " dev 0,0");
        if (dev)
            dev[strlen(" dev 0,0")] = 0;
        (void)buf_printf(&out, "%s\n", line);
        line = end + 1;
    }
    buf_done(b);
    b->max = BUF_UNLIMITED;
    (void)buf_append(b, buf_str(&out), out.len);
}

/* A third opinion, where erofs-utils are installed. */
static void check_fsck(int fd)
{
    AUTOFREE char *command = xasprintf("fsck.erofs /proc/%d/fd/%d >/dev/null 2>&1", getpid(), fd);

    (void)!chdir("/"); /* apply.c leaves us in a folder that has gone */
    if (system("command -v fsck.erofs >/dev/null") != 0)
        print_message("fsck.erofs is not installed: not asked\n");
    else
        assert_int_equal(system(command), 0);
}

static void check_image(int fd, bool times, struct buf *folder)
{
    AUTO(buf) struct buf ours = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf kernel = BUF_INIT(BUF_UNLIMITED);
    struct error e = ERROR_INIT;

    if (erofs_kit_manifest(fd, times, &ours, &e) < 0)
        fail_msg("the reader: %s", error_message(&e));
    if (can_mount) {
        AUTOFD int mnt = erofs_kit_mount(fd);

        assert_true(mnt >= 0);
        kit_manifest(mnt, times, &kernel);
        erofs_kit_assert_same(&kernel, &ours, "kernel and our reader:");
    }
    without_whiteout_links(&ours);
    without_whiteout_links(folder);
    erofs_kit_assert_same(folder, &ours, "folder and EROFS file:");
}

/* Both ways; *ret_ok tells whether they took it. */
static void compare(const struct kit_entry *table, bool times, bool *ret_ok)
{
    AUTO(buf) struct buf stream = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf folder = BUF_INIT(BUF_UNLIMITED);
    AUTO(error) struct error apply_error = ERROR_INIT;
    AUTO(error) struct error erofs_error = ERROR_INIT;
    AUTOFD int image = erofs_kit_file();
    AUTOFD int dir = -EBADF;
    int a;
    int b;

    assert_int_equal(mkdirat(top, "layer", 0755), 0);
    dir = openat(top, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    kit_stream(&stream, table);
    a = kit_unpack(&stream, dir, false, &apply_error);
    b = erofs_kit_write(image, table, NULL, &erofs_error);
    if ((a < 0) != (b < 0))
        fail_msg("apply: %s\nerofs: %s", error_message(&apply_error), error_message(&erofs_error));
    if (a < 0) {
        assert_string_equal(error_message(&apply_error), error_message(&erofs_error));
    } else {
        kit_manifest(dir, times, &folder);
        check_image(image, times, &folder);
    }
    *ret_ok = a >= 0;
    assert_int_equal(fs_remove_tree(top, "layer"), 0);
}

static const struct kit_entry every_kind[] = {
    {ENTRY_DIR, "", NULL, 0750, 7, 8, .mtime = 1000, .nsec = 5},
    {ENTRY_DIR, "d", NULL, 02775, 100, 200, .mtime = 1500000000, .nsec = 123456789},
    {ENTRY_FILE, "d/f", "text", 0640, 4000000000u, 70000, .mtime = -5, .nsec = 999999999},
    {ENTRY_FILE, "d/suid", "x", 06755, 1000, 1000, .mtime = 1},
    {ENTRY_FILE, "d/empty", "", 01666, 0, 0, .mtime = 1},
    {ENTRY_HARDLINK, "d/hard", "d/suid", 0, 0, 0, .mtime = 9},
    {ENTRY_HARDLINK, "d/hard2", "/d/../d/./hard", 0, 0, 0, .mtime = 9},
    {ENTRY_SYMLINK, "d/l", "../../elsewhere", 0777, 5, 6, .mtime = 77, .nsec = 1},
    {ENTRY_HARDLINK, "d/l2", "d/l", 0777, 5, 6},
    {ENTRY_CHAR, "d/null", NULL, 0666, 0, 5, 1, 3, .mtime = 2},
    {ENTRY_CHAR, "d/big", NULL, 0600, 0, 0, 4095, 1048575, .mtime = 2},
    {ENTRY_BLOCK, "d/sda", NULL, 0660, 0, 6, 8, 300, .mtime = 2},
    {ENTRY_HARDLINK, "d/sdb", "d/sda"},
    {ENTRY_FIFO, "d/p", NULL, 0622, 1, 1, .mtime = 3},
    {ENTRY_DIR, "d/closed", NULL, 0, 1, 1, .mtime = 4},
    {ENTRY_FILE, "d/closed/in", "x", 0, 0, 0, .mtime = 4},
    {ENTRY_FILE, "d/" LONG_NAME, "x", 0644, 0, 0, .mtime = 4},
    {ENTRY_FILE, "d/x1", "y", 0644, 5, 5, .mtime = 5, .xattr = "user.note", .value = "some text"},
    {ENTRY_FILE, "d/x2", "z", 0644, 5, 5, .mtime = 5, .xattr = "user.note", .value = "some text"},
    {ENTRY_FILE, "d/x3", "z", 0644, 5, 5, .mtime = 5, .xattr = "user.overlay.a", .value = "n"},
    {ENTRY_FILE, "d/x4", "z", 0644, 5, 5, .mtime = 5, .xattr = "trusted.overlay.opaque",
     .value = "y"},
    {ENTRY_FILE, "d/x5", "z", 0644, 5, 5, .mtime = 5, .xattr = "trusted.t", .value = ""},
    {ENTRY_CHAR, "d/x6", NULL, 0644, 0, 0, 1, 3, .mtime = 2, .xattr = "user.k", .value = "w"},
    {ENTRY_DIR, "d/x7", NULL, 0755, 0, 0, .mtime = 2, .xattr = "user.note", .value = "some text"},
    {ENTRY_DIR, "d/x7", NULL, 0711, 3, 0, .mtime = 3, .xattr = "user.more", .value = "v"},
    {ENTRY_FILE, "d/!", "x", 0644, .mtime = 4}, /* sorts before "." */
    {ENTRY_FILE, "d/-", "x", 0644, .mtime = 4},
    {ENTRY_FILE, "d/...", "x", 0644, .mtime = 4},
    {ENTRY_FILE, "d/.a", "x", 0644, .mtime = 4},
    {ENTRY_FILE, "d/\xff\xfe", "x", 0644, .mtime = 4},
    {ENTRY_DIR, "e", NULL, 0755, .mtime = 4},
    {ENTRY_FILE, "e/.wh..wh..opq", ""},
    {ENTRY_FILE, "e/.wh.gone", "dropped"},
    {ENTRY_DIR, "e", NULL, 0700, .mtime = 6},
    KIT_END,
};

static void test_every_kind(void **state)
{
    AUTOFD int fd = erofs_kit_file();
    bool ok;

    if (!ready())
        return;
    compare(every_kind, false, &ok);
    assert_true(ok);
    assert_int_equal(erofs_kit_write(fd, every_kind, NULL, NULL), 0);
    check_fsck(fd);
}

/* With times: whiteouts have none worth comparing, so without these. */
static void test_times(void **state)
{
    struct kit_entry table[ARRAY_SIZE(every_kind)];
    size_t n = 0;
    bool ok;

    if (!ready())
        return;
    for (size_t i = 0; i < ARRAY_SIZE(every_kind); i++) {
        if (every_kind[i].type == ENTRY_END || !strstr(every_kind[i].path, ".wh."))
            table[n++] = every_kind[i];
    }
    compare(table, true, &ok);
    assert_true(ok);
}

#define F(p, c)                                                                                    \
    {                                                                                              \
        .type = ENTRY_FILE, .path = (p), .link = (c), .mode = 0644                                 \
    }
#define D(p)                                                                                       \
    {                                                                                              \
        .type = ENTRY_DIR, .path = (p), .mode = 0700                                               \
    }
#define L(p, t)                                                                                    \
    {                                                                                              \
        .type = ENTRY_SYMLINK, .path = (p), .link = (t), .mode = 0777                              \
    }
#define H(p, t)                                                                                    \
    {                                                                                              \
        .type = ENTRY_HARDLINK, .path = (p), .link = (t), .mode = 0777                             \
    }

static const struct {
    bool ok;
    struct kit_entry table[12];
} nasty[] = {
    {true, {F("/abs", "a"), F("./x", "b"), F("a//b", "c"), F("a/../q", "d"), KIT_END}},
    {true, {D("real"), L("l", "real"), F("l/x", "1"), F("l/sub/y", "2"), KIT_END}},
    {true, {L("l", "/real"), D("real"), F("l/x", "1"), KIT_END}},
    {true, {D("a"), D("a/b"), L("a/b/up", "../../c"), D("c"), F("a/b/up/f", "x"), KIT_END}},
    {true, {D("c"), L("l", "../../../c"), F("l/f", "x"), KIT_END}},
    {true, {D("c"), L("1", "c"), L("2", "1/."), L("3", "./2//"), F("3/f", "x"), KIT_END}},
    {false, {L("l", "nowhere"), F("l/x", "1"), KIT_END}},
    {false, {L("l", "l"), F("l/x", "1"), KIT_END}},
    {false, {L("a", "b/x"), L("b", "a/x"), F("a/x", "1"), KIT_END}},
    {false, {F("f", "1"), F("f/x", "2"), KIT_END}},
    {false, {F("f", "1"), L("l", "f"), F("l/x", "2"), KIT_END}},
    {false, {F("../x", "1"), KIT_END}},
    {false, {F("a/../../x", "1"), KIT_END}},
    {false, {F("", "1"), KIT_END}},
    {false, {F("n" LONG_NAME, "1"), KIT_END}},
    {false, {F("n" LONG_NAME "/x", "1"), KIT_END}},
    {false, {D("n" LONG_NAME), KIT_END}},
    {false, {F(".wh.n" LONG_NAME, ""), KIT_END}},
    {false, {L("l", "n" LONG_NAME), F("l/x", ""), KIT_END}},
    /* the same name again */
    {true, {F("f", "1"), F("f", "22"), D("f"), F("f/x", "3"), F("f", "4"), KIT_END}},
    {true, {D("f"), F("f/x", "3"), F("f", "4"), D("f"), KIT_END}},
    {true, {L("f", "x"), F("f", "4"), L("f", "y"), KIT_END}},
    {true, {D("d"), F("d/a", "1"), D("d"), F("d/b", "2"), KIT_END}},
    {true, {F("a", "1"), H("b", "a"), F("a", "2"), H("c", "b"), KIT_END}},
    {true, {F("a", "1"), H("b", "a"), H("b", "a"), H("a", "b"), KIT_END}},
    {true, {F("a", "1"), H("b", "a"), D("b"), KIT_END}},
    {true, {F("a", "1"), D("d"), F("d/x", "2"), H("d", "a"), KIT_END}},
    {false, {D("d"), F("d/x", "2"), H("d", "d/x"), KIT_END}},
    {true, {D("d"), L("l", "d"), F("d/x", "2"), H("y", "l/x"), KIT_END}},
    {true, {L("l", "x"), H("m", "l"), D("x"), F("m/f", "1"), KIT_END}},
    {false, {H("b", "a"), KIT_END}},
    {false, {H("b", "../a"), KIT_END}},
    {false, {D("d"), H("b", "d"), KIT_END}},
    {false, {H("b", ""), KIT_END}},
    {false, {H("b", "/"), KIT_END}},
    {false, {F(".wh.a", ""), H("b", "a"), KIT_END}},
    /* whiteouts */
    {true, {F(".wh.a", ""), F("a", "1"), KIT_END}},
    {true, {F("a", "1"), F(".wh.a", ""), KIT_END}},
    {true, {F(".wh.a", ""), D("a"), F("a/x", "1"), KIT_END}},
    {true, {F(".wh.a", ""), F("a/x", "1"), KIT_END}},
    {true, {D("a"), F("a/x", "1"), F(".wh.a", ""), KIT_END}},
    {true, {F(".wh.a", "with content"), F(".wh.a", ""), F("d/.wh.a", ""), KIT_END}},
    {true, {D(".wh.a"), L(".wh.b", "x"), H(".wh.c", "y"), KIT_END}},
    {true, {F(".wh..wh..opq", ""), F("d/.wh..wh..opq", ""), KIT_END}},
    {true, {F(".wh..wh.plnk", ""), D(".wh..wh.aufs"), F(".wh..wh.plnk/x", ""), KIT_END}},
    {true, {F("d/.wh..wh.plnk", ""), KIT_END}},
    {true, {{ENTRY_CHAR, "a", NULL, 0644, 1, 1}, F("a/b", "1"), KIT_END}},
    {true, {{ENTRY_CHAR, "a", NULL, 0644, 1, 1}, F(".wh.a", ""), D("a"), KIT_END}},
    {false, {F(".wh.", ""), KIT_END}},
    {false, {F(".wh..", ""), KIT_END}},
    {false, {F("d/.wh...", ""), KIT_END}},
    /* numbers and attributes */
    {false, {{ENTRY_CHAR, "f", NULL, 0644, 0, 0, 5000, 0}, KIT_END}},
    {false, {{ENTRY_BLOCK, "f", NULL, 0644, 0, 0, 0, 1 << 20}, KIT_END}},
    {false, {{ENTRY_FILE, "f", "x", 0644, UINT32_MAX, 0}, KIT_END}},
    {false, {{ENTRY_FILE, "f", "x", 0644, 0, 0, .nsec = 1000000000}, KIT_END}},
    {false, {{ENTRY_FILE, "f", "x", 0644, .xattr = "security.capability", .value = "no"}, KIT_END}},
    {false, {{ENTRY_FILE, "f", "x", 0644, .xattr = "user.", .value = "no"}, KIT_END}},
    {false,
     {{ENTRY_FILE, "f", "x", 0644, .xattr = "system.posix_acl_access", .value = "no"}, KIT_END}},
    {true, {{ENTRY_FILE, "f", "x", 0644, .xattr = "security.selinux", .value = "no"}, KIT_END}},
    {true, {{ENTRY_FILE, "f", "x", 0644, .xattr = "weird.name", .value = "no"}, KIT_END}},
    {true, {{ENTRY_SYMLINK, "f", "x", 0777, .xattr = "user.x", .value = "no"}, KIT_END}},
};

static void test_nasty(void **state)
{
    if (!ready())
        return;
    for (size_t i = 0; i < ARRAY_SIZE(nasty); i++) {
        bool ok;

        compare(nasty[i].table, false, &ok);
        if (ok != nasty[i].ok)
            fail_msg("table %zu: %s", i, ok ? "taken" : "refused");
    }
}

/* --- Attributes that are no text ------------------------------------------------------------------ */

#define ACL(...)         "\x02\0\0\0" __VA_ARGS__
#define PERM(tag, perm)  tag "\0" perm "\0\xff\xff\xff\xff"
#define NAMED(tag, perm) tag "\0" perm "\0\xe8\x03\0\0"

static const struct {
    enum layer_entry_type type;
    const char *name;
    const char *value;
    size_t size;
} binary[] = {
#define X(type, name, value)                                                                       \
    {                                                                                              \
        type, name, value, sizeof(value) - 1                                                       \
    }
#define ACCESS  "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"
    /* what the mode can say */
    X(LAYER_FILE, ACCESS, ACL(PERM("\x01", "\x06") PERM("\x04", "\x04") PERM("\x20", "\x01"))),
    X(LAYER_DIR, ACCESS, ACL(PERM("\x01", "\x07") PERM("\x04", "\x00") PERM("\x20", "\x05"))),
    X(LAYER_FIFO, ACCESS, ACL(PERM("\x01", "\x06") PERM("\x04", "\x04") PERM("\x20", "\x01"))),
    /* and more */
    X(LAYER_FILE, ACCESS,
      ACL(PERM("\x01", "\x06") NAMED("\x02", "\x05") PERM("\x04", "\x04") PERM("\x10", "\x03")
              PERM("\x20", "\x00"))),
    X(LAYER_FILE, ACCESS,
      ACL(PERM("\x01", "\x06") PERM("\x04", "\x04") NAMED("\x08", "\x07") PERM("\x10", "\x07")
              PERM("\x20", "\x01"))),
    X(LAYER_FILE, ACCESS,
      ACL(PERM("\x01", "\x06") PERM("\x04", "\x04") PERM("\x10", "\x05") PERM("\x20", "\x01"))),
    X(LAYER_DIR, DEFAULT, ACL(PERM("\x01", "\x06") PERM("\x04", "\x04") PERM("\x20", "\x01"))),
    X(LAYER_DIR, DEFAULT,
      ACL(PERM("\x01", "\x06") NAMED("\x02", "\x05") PERM("\x04", "\x04") PERM("\x10", "\x03")
              PERM("\x20", "\x00"))),
    X(LAYER_DIR, ACCESS,
      ACL(PERM("\x01", "\x06") NAMED("\x02", "\x05") PERM("\x04", "\x04") PERM("\x10", "\x03")
              PERM("\x20", "\x00"))),
    X(LAYER_DIR, DEFAULT, ACL("")),
    X(LAYER_FILE, ACCESS, ACL("")),
    X(LAYER_SYMLINK, ACCESS, ACL(PERM("\x01", "\x06") PERM("\x04", "\x04") PERM("\x20", "\x01"))),
    /* not so */
    X(LAYER_FILE, ACCESS, ACL(PERM("\x01", "\x06") PERM("\x04", "\x04"))),
    X(LAYER_FILE, ACCESS, ACL(PERM("\x04", "\x06") PERM("\x01", "\x04") PERM("\x20", "\x01"))),
    X(LAYER_FILE, ACCESS, ACL(PERM("\x01", "\x06") PERM("\x20", "\x01"))),
    X(LAYER_FILE, ACCESS,
      ACL(PERM("\x01", "\x06") NAMED("\x02", "\x05") PERM("\x04", "\x04") PERM("\x20", "\x00"))),
    X(LAYER_FILE, ACCESS, ACL(PERM("\x01", "\x09") PERM("\x04", "\x04") PERM("\x20", "\x01"))),
    X(LAYER_FILE, ACCESS, ACL(PERM("\x01", "\x06") PERM("\x01", "\x04") PERM("\x20", "\x01"))),
    X(LAYER_FILE, ACCESS, ACL(PERM("\x03", "\x06"))),
    X(LAYER_FILE, ACCESS, ACL("\x01")),
    X(LAYER_FILE, ACCESS, "\x02"),
    X(LAYER_FILE, ACCESS, "\x01\0\0\0"),
    /* capabilities: two forms, and what is neither */
    X(LAYER_FILE, "security.capability", "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    X(LAYER_FILE, "security.capability",
      "\x01\0\0\x03\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xe8\x03\0\0"),
    X(LAYER_FILE, "security.capability", "\x01\0\0\x03\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    X(LAYER_FILE, "security.capability", "\x01\0\0\x01\0\x20\0\0\0\0\0\0"),
    X(LAYER_FILE, "user.zeros", "a\0b\0"),
};

/* Folders are named a second time, with another mode and no attributes. */
static int again(const struct layer_entry *entry, struct layer_entry *out)
{
    *out = *entry;
    out->xattr_count = 0;
    out->mode = 0631;
    return entry->type == LAYER_DIR;
}

static int by_folder(int dir, const struct layer_entry *entry, struct error *e)
{
    AUTOPTR(layer_apply) struct layer_apply *a = NULL;
    struct layer_entry second;
    int file = -EBADF;
    int r = layer_apply_new(dir, &a, e);

    if (r == 0)
        r = layer_apply_entry(a, entry, &file, e);
    if (r == 0 && again(entry, &second))
        r = layer_apply_entry(a, &second, &file, e);
    if (r == 0 && entry->type == LAYER_FILE)
        r = layer_apply_file_end(a, entry, e);
    return r < 0 ? r : layer_apply_finish(a, e);
}

static int by_erofs(int fd, const struct layer_entry *entry, struct error *e)
{
    const struct erofs_writer_params params = {.fd = fd};
    AUTOPTR(erofs_writer) struct erofs_writer *w = NULL;
    struct layer_entry second;
    int r = erofs_writer_new(&params, &w, e);

    if (r == 0)
        r = erofs_writer_entry(w, entry, e);
    if (r == 0 && again(entry, &second))
        r = erofs_writer_entry(w, &second, e);
    if (r == 0 && entry->type == LAYER_FILE)
        r = erofs_writer_file_end(w, e);
    return r < 0 ? r : erofs_writer_finish(w, NULL, e);
}

static void test_binary_xattrs(void **state)
{
    if (!ready())
        return;
    for (size_t i = 0; i < ARRAY_SIZE(binary); i++) {
        const struct layer_xattr xattr = {binary[i].name, binary[i].value, binary[i].size};
        const struct layer_entry entry = {.type = binary[i].type,
                                          .path = "f",
                                          .link = "to",
                                          .mode = 02751,
                                          .mtime_sec = 5,
                                          .xattrs = &xattr,
                                          .xattr_count = 1};
        AUTO(buf) struct buf folder = BUF_INIT(BUF_UNLIMITED);
        AUTO(error) struct error apply_error = ERROR_INIT;
        AUTO(error) struct error erofs_error = ERROR_INIT;
        AUTOFD int image = erofs_kit_file();
        AUTOFD int dir = -EBADF;
        int a;
        int b;

        assert_int_equal(mkdirat(top, "layer", 0755), 0);
        dir = openat(top, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        a = by_folder(dir, &entry, &apply_error);
        b = by_erofs(image, &entry, &erofs_error);
        if ((a < 0) != (b < 0))
            fail_msg("%zu: apply: %s, erofs: %s", i, error_message(&apply_error),
                     error_message(&erofs_error));
        if (a < 0) {
            assert_string_equal(error_message(&apply_error), error_message(&erofs_error));
        } else {
            kit_manifest(dir, true, &folder);
            check_image(image, true, &folder);
        }
        assert_int_equal(fs_remove_tree(top, "layer"), 0);
    }
}

/* --- Random archives ----------------------------------------------------------------------------- */

static uint64_t random_state;

static unsigned pick(unsigned n)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(random_state >> 33) % n;
}

static char *random_path(void)
{
    static const char *const parts[] = {
        "a", "b", "c", "a", "b", "dd", "..", ".", ".wh.a", ".wh.b", ".wh..wh..opq", "", "a", "b"};
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    unsigned depth = 1 + pick(4);

    for (unsigned i = 0; i < depth; i++)
        (void)buf_printf(&b, "%s%s", i ? "/" : pick(8) ? "" : "/", parts[pick(ARRAY_SIZE(parts))]);
    return buf_take(&b);
}

/* From few seeds and lengths, so that content is met again. */
static char *random_content(void)
{
    static const unsigned sizes[] = {0,    1,    100,   4031,  4032,  4033,   4095,  4096,
                                     4097, 8192, 65535, 65536, 65537, 131072, 200000};
    unsigned len = sizes[pick(ARRAY_SIZE(sizes))];
    unsigned seed = 1 + pick(3);
    char *s = xmalloc(len + 1);

    for (unsigned i = 0; i < len; i++)
        s[i] = (char)('a' + (i / 4096 + i * seed) % 23);
    s[len] = 0;
    return s;
}

static void random_entry(struct kit_entry *t)
{
    static const enum entry_type types[] = {ENTRY_FILE,     ENTRY_FILE, ENTRY_FILE,
                                            ENTRY_DIR,      ENTRY_DIR,  ENTRY_SYMLINK,
                                            ENTRY_SYMLINK,  ENTRY_FIFO, ENTRY_HARDLINK,
                                            ENTRY_HARDLINK, ENTRY_CHAR};
    static const char *const names[] = {"user.a", "user.b", "trusted.a", "user.overlay.x"};

    *t = (struct kit_entry){
        .type = types[pick(ARRAY_SIZE(types))],
        .path = random_path(),
        .mode = pick(010000),
        .uid = pick(3),
        .gid = pick(3) * 100000,
        .dev_major = pick(2),
        .dev_minor = pick(2) * 700,
        .mtime = pick(1000000),
        .nsec = pick(1000000000),
    };
    if (t->type == ENTRY_FILE)
        t->link = random_content();
    else if (t->type == ENTRY_SYMLINK || t->type == ENTRY_HARDLINK)
        t->link = random_path();
    if (pick(5) == 0 && t->type != ENTRY_HARDLINK) {
        t->xattr = names[pick(ARRAY_SIZE(names))];
        t->value = pick(2) ? "value" : "";
    }
}

static void test_random(void **state)
{
    const char *text = getenv("POUCH_TEST_RANDOM"); /* how many, for a long search */
    long count = text ? strtol(text, NULL, 10) : 300;
    unsigned taken = 0;
    unsigned names = 0;

    if (!ready())
        return;
    random_state = 1;
    for (long i = 0; i < count; i++) {
        struct kit_entry table[24] = {KIT_END};
        unsigned n = 1 + pick(ARRAY_SIZE(table) - 1);
        bool ok;

        for (unsigned k = 0; k < n; k++)
            random_entry(&table[k]);
        table[n].type = ENTRY_END;
        /* The first that is refused ends an archive: go on without it, so that much is compared. */
        for (;;) {
            compare(table, false, &ok);
            if (ok || n == 0)
                break;
            n /= 2;
            table[n].type = ENTRY_END;
        }
        taken += ok && n > 0;
        names += n;
        for (size_t k = 0; k < ARRAY_SIZE(table); k++) {
            free((char *)table[k].path);
            if (table[k].path)
                free((char *)table[k].link);
        }
    }
    print_message("# %u archives with %u entries compared\n", taken, names);
    assert_true(taken > count / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind), cmocka_unit_test(test_times),
        cmocka_unit_test(test_nasty),      cmocka_unit_test(test_binary_xattrs),
        cmocka_unit_test(test_random),
    };

    (void)umask(0);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
