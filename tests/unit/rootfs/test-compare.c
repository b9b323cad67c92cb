/* SPDX-License-Identifier: Apache-2.0 */
/* The same archives written by us and by others: GNU tar, and umoci for what layers do to each
 * other. Needs root; skipped where the other program is not installed. */
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
#include "base/strv.h"
#include "kit.h"
#include "rootfs/rootfs.h"

static char top[64];

static int set_up(void **state)
{
    (void)snprintf(top, sizeof top, "/tmp/pouch-test-compare-XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int tear_down(void **state)
{
    return fs_remove_tree(AT_FDCWD, top);
}

static void need(const char *tool)
{
    AUTOFREE char *cmd = xasprintf("command -v %s >/dev/null", tool);

    if (geteuid() != 0 || system(cmd) != 0)
        skip();
}

static void run(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void run(const char *fmt, ...)
{
    AUTOFREE char *cmd = NULL;
    AUTOFREE char *quiet = NULL;
    va_list ap;

    va_start(ap, fmt);
    cmd = xvasprintf(fmt, ap);
    va_end(ap);
    quiet = xasprintf("{ %s; } >/dev/null 2>&1", cmd);
    if (system(quiet) != 0)
        fail_msg("failed: %s", cmd);
}

static char *in_top(const char *name)
{
    return xasprintf("%s/%s", top, name);
}

static void write_tar(const char *name, const struct kit_entry *table)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *path = in_top(name);

    kit_tar(&b, table);
    assert_int_equal(fs_write_atomic(AT_FDCWD, path, b.data, b.len, 0600, FS_NO_SYNC), 0);
}

static void unpack_ours(const char *name, const struct kit_entry *table)
{
    AUTO(buf) struct buf s = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *path = in_top(name);
    struct error e = ERROR_INIT;
    AUTOFD int fd = -EBADF;

    kit_stream(&s, table);
    assert_int_equal(mkdir(path, 0755), 0);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (kit_unpack(&s, fd, true, &e) < 0)
        fail_msg("%s", error_message(&e));
}

static void manifest_of(const char *name, bool times, struct buf *out)
{
    AUTOFREE char *path = in_top(name);
    AUTOFD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    kit_manifest(fd, times, out);
}

/* Says which line differs. */
static void assert_same(const struct buf *ours, const struct buf *theirs)
{
    AUTOPTR(strv) char **a = strv_split(buf_str(ours), "\n", false);
    AUTOPTR(strv) char **b = strv_split(buf_str(theirs), "\n", false);

    for (size_t i = 0; a[i] || b[i]; i++) {
        if (!a[i] || !b[i] || !STREQ(a[i], b[i]))
            fail_msg("ours:   %s\ntheirs: %s", a[i] ? a[i] : "(end)", b[i] ? b[i] : "(end)");
    }
}

#define LONG                                                                                            \
    "long/"                                                                                             \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/" \
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* Every kind with every attribute; folders are named, as what an unnamed one is like differs. */
static const struct kit_entry everything[] = {
    {ENTRY_DIR, "d", NULL, 02775, 100, 200, .mtime = 1500000000, .nsec = 123456789},
    {ENTRY_FILE, "d/f", "text", 0640, 400000, 70000, .mtime = 1, .nsec = 999999999},
    {ENTRY_FILE, "d/suid", "x", 06755, 1000, 1000, .mtime = 1400000000},
    {ENTRY_FILE, "d/empty", "", 0600, 0, 0, .mtime = 1400000000},
    {ENTRY_HARDLINK, "d/hard", "d/suid", 06755, 1000, 1000, .mtime = 1400000000},
    {ENTRY_SYMLINK, "d/sym", "../x/y", 0777, 3, 4, .mtime = 1400000000},
    {ENTRY_SYMLINK, "d/abs", "/etc/passwd", 0777, 0, 0, .mtime = 1400000000},
    {ENTRY_CHAR, "d/null", NULL, 0666, 0, 0, 1, 3, .mtime = 1400000000},
    {ENTRY_BLOCK, "d/disk", NULL, 0660, 0, 6, 8, 17, .mtime = 1400000000},
    {ENTRY_FIFO, "d/fifo", NULL, 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "d/xattr", "y", 0644, 5, 5, .mtime = 1400000000, .xattr = "user.note",
     .value = "some text"},
    {ENTRY_DIR, "d/sticky", NULL, 01777, 0, 0, .mtime = 1400000000},
    {ENTRY_DIR, "d/none", NULL, 0, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "d/none/in", "z", 0, 0, 0, .mtime = 1400000000},
    {ENTRY_DIR, "long", NULL, 0755, 0, 0, .mtime = 1400000000},
    {ENTRY_DIR,
     "long/"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     NULL, 0755, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, LONG, "deep", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "twice", "first", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "twice", "second", 0600, 1, 1, .mtime = 1400000001},
    KIT_END,
};

static void test_gnu_tar(void **state)
{
    AUTO(buf) struct buf ours = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf theirs = BUF_INIT(BUF_UNLIMITED);

    need("tar");
    write_tar("a.tar", everything);
    unpack_ours("ours", everything);
    run("mkdir %s/theirs && tar -xpf %s/a.tar -C %s/theirs --numeric-owner --xattrs "
        "--xattrs-include='*' --same-owner",
        top, top, top);
    manifest_of("ours", true, &ours);
    manifest_of("theirs", true, &theirs);
    assert_true(ours.len > 1000);
    assert_same(&ours, &theirs);
}

static const struct kit_entry base_layer[] = {
    {ENTRY_DIR, "keep", NULL, 0755, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "keep/a", "a", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "keep/b", "b", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_DIR, "gone", NULL, 0755, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "gone/deep", "x", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_DIR, "opaque", NULL, 0755, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "opaque/old", "x", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_DIR, "opaque/sub", NULL, 0755, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "opaque/sub/old", "x", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "file-to-dir", "x", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_DIR, "dir-to-file", NULL, 0755, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "dir-to-file/in", "x", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "changed", "old", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_DIR, "recreated", NULL, 0755, 0, 0, .mtime = 1400000000},
    {ENTRY_FILE, "recreated/old", "x", 0644, 0, 0, .mtime = 1400000000},
    {ENTRY_SYMLINK, "link", "keep", 0777, 0, 0, .mtime = 1400000000},
    KIT_END,
};

static const struct kit_entry top_layer[] = {
    {ENTRY_DIR, "keep", NULL, 0711, 1, 1, .mtime = 1500000000},
    {ENTRY_FILE, "keep/.wh.b", "", 0644},
    {ENTRY_FILE, "keep/c", "c", 0644, 0, 0, .mtime = 1500000000},
    {ENTRY_FILE, ".wh.gone", "", 0644},
    {ENTRY_DIR, "opaque", NULL, 0700, 2, 2, .mtime = 1500000000},
    {ENTRY_FILE, "opaque/.wh..wh..opq", "", 0644},
    {ENTRY_FILE, "opaque/new", "y", 0644, 0, 0, .mtime = 1500000000},
    {ENTRY_DIR, "opaque/sub", NULL, 0755, 0, 0, .mtime = 1500000000},
    {ENTRY_FILE, "opaque/sub/new", "y", 0644, 0, 0, .mtime = 1500000000},
    {ENTRY_DIR, "file-to-dir", NULL, 0755, 0, 0, .mtime = 1500000000},
    {ENTRY_FILE, "file-to-dir/in", "y", 0644, 0, 0, .mtime = 1500000000},
    {ENTRY_FILE, "dir-to-file", "y", 0644, 0, 0, .mtime = 1500000000},
    {ENTRY_FILE, "changed", "new", 0600, 3, 3, .mtime = 1500000000},
    {ENTRY_FILE, ".wh.recreated", "", 0644},
    {ENTRY_DIR, "recreated", NULL, 0755, 0, 0, .mtime = 1500000000},
    {ENTRY_FILE, "recreated/new", "y", 0644, 0, 0, .mtime = 1500000000},
    {ENTRY_SYMLINK, "link", "changed", 0777, 0, 0, .mtime = 1500000000},
    KIT_END,
};

/* Two layers, one over the other: our overlay shows what umoci makes of them. Times are left out:
 * umoci touches folders when it removes what is in them. */
static void test_umoci(void **state)
{
    AUTO(buf) struct buf ours = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf theirs = BUF_INIT(BUF_UNLIMITED);
    AUTOFREE char *a = in_top("base");
    AUTOFREE char *b = in_top("top");
    char *layers[] = {a, b, NULL};
    CLEANUP(rootfs_mount_done) struct rootfs_mount m = {.type = NULL};
    struct rootfs *drv = NULL;
    AUTOFD int fd = -EBADF;

    need("umoci");
    write_tar("base.tar", base_layer);
    write_tar("top.tar", top_layer);
    unpack_ours("base", base_layer);
    unpack_ours("top", top_layer);
    run("cd %s && umoci init --layout oci && umoci new --image oci:t && "
        "umoci raw add-layer --image oci:t base.tar && umoci raw add-layer --image oci:t top.tar && "
        "umoci raw unpack --image oci:t theirs",
        top);
    assert_int_equal(
        rootfs_open(&(struct rootfs_params){.driver = "overlay", .root = "/tmp", .state = "/tmp"},
                    &drv, NULL),
        0);
    assert_int_equal(rootfs_view(drv, layers, &m, NULL), 0);
    assert_int_equal(rootfs_mount_detached(&m, &fd, NULL), 0);
    kit_manifest(fd, false, &ours);
    manifest_of("theirs", false, &theirs);
    assert_true(ours.len > 500);
    assert_same(&ours, &theirs);
    rootfs_close(drv, NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {T(test_gnu_tar), T(test_umoci)};

    (void)umask(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
