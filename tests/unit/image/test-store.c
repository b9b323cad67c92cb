/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, ids, removal, sweeping, recovery: the store without a worker. Layers and configurations
 * are put in place by hand, as an operation would have left them.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/image-priv.h"
#include "oci/digest.h"

struct fixture {
    char root[64];
    struct store *db;
    struct image_store *s;
    enum image_use use;   /* what in_use answers … */
    char used_image[128]; /* … for this image */
};

/* The disk as the store sees it: what is done during a syncfs(), and how often the log was synced by
 * the test's own thread. That of the janitor may take long, or fail. */
static void (*_Atomic during_sync)(void *data);
static void *during_sync_data;
static int log_syncs;
static _Atomic bool disk_breaks;
static atomic_bool janitor_fails, janitor_hangs;

/* What is done when a blob of this digest is about to be opened, once. */
static char *open_digest;
static void (*open_do)(void *data);
static void *open_data;

/* By its symbol: the headers have a definition of the name. */
int hooked_openat(int dirfd, const char *path, int flags, ...) __asm__("openat64");
int hooked_openat(int dirfd, const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode;

    va_start(ap, flags);
    mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (open_do && open_digest && str_has_suffix(path, digest_hex(open_digest))) {
        void (*what)(void *data) = take_ptr(open_do);
        what(open_data);
        free(take_ptr(open_digest));
    }
    return (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

static void during_open(const char *digest, void (*what)(void *data), void *data)
{
    open_digest = xstrdup(digest);
    open_data = data;
    open_do = what;
}

int syncfs(int fd)
{
    void (*f)(void *) = during_sync;

    (void)fd;
    if (f)
        f(during_sync_data);
    if (disk_breaks)
        errno = EIO;
    return disk_breaks ? -1 : 0;
}

int fdatasync(int fd)
{
    AUTOFREE char *link = xasprintf("/proc/self/fd/%d", fd);
    char path[256] = "";

    (void)!readlink(link, path, sizeof(path) - 1);
    if (!str_has_suffix(path, "-wal"))
        return 0;
    if (gettid() == getpid()) {
        log_syncs++;
        return 0;
    }
    while (janitor_hangs)
        usleep(1000);
    if (janitor_fails) {
        errno = EIO;
        return -1;
    }
    return 0;
}

static enum image_use in_use(void *data, const char *id, char container[65])
{
    struct fixture *f = data;

    snprintf(container, 65, "c0ffee00c0ffee");
    return STREQ(id, f->used_image) ? f->use : IMAGE_UNUSED;
}

static void open_store(struct fixture *f)
{
    AUTOFREE char *db = xasprintf("%s/pouch.db", f->root);
    const struct image_store_params p = {.root = f->root, .in_use = in_use, .in_use_data = f};
    struct image_store_params params = p;

    assert_int_equal(store_open(db, &f->db, NULL), 0);
    params.store = f->db;
    assert_int_equal(image_store_open(&params, &f->s, NULL), 0);
}

static void close_store(struct fixture *f)
{
    image_store_close(f->s);
    store_close(f->db);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    log_set_level(LOG_LEVEL_ERROR);
    snprintf(f->root, sizeof(f->root), "/tmp/test-images.XXXXXX");
    assert_non_null(mkdtemp(f->root));
    open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    assert_int_equal(fs_remove_tree(AT_FDCWD, f->root), 0);
    free(f);
    return 0;
}

/* The digest of one letter, for made-up layers. */
static char *letter_digest(char c)
{
    char out[DIGEST_MAX];

    assert_int_equal(digest_bytes(&c, 1, out), 0);
    return xstrdup(out);
}

static void add_layer(struct fixture *f, char c)
{
    AUTOFREE char *digest = letter_digest(c);
    AUTOFREE char *dir = xasprintf("%s/layers/%s", f->root, digest_hex(digest));
    AUTOFREE char *file = xasprintf("%s/file", dir);

    (void)mkdir(dir, 0755);
    assert_int_equal(fs_write_atomic(AT_FDCWD, file, "x", 1, 0644, FS_NO_SYNC), 0);
    assert_true(image_store_add_layer(f->s, digest, digest, OCI_MT_LAYER, 10, 100,
                                      IMAGE_LAYER_FOLDER, NULL) >= 0);
    AUTOFREE char *blob = xasprintf("%s/blobs/sha256/%s", f->root, digest_hex(digest));
    assert_int_equal(fs_write_atomic(AT_FDCWD, blob, "x", 1, 0600, FS_NO_SYNC), 0);
}

/* An image with one layer a letter; its id. */
static char *add_image(struct fixture *f, const char *letters, const char *name, const char *top)
{
    AUTO(buf) struct buf b = BUF_INIT(65536);
    AUTOPTR(strv) char **layers = NULL;
    char *names[] = {(char *)name, NULL};
    char id[DIGEST_MAX];
    bool is_new;

    (void)buf_puts(&b, "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"type\":"
                       "\"layers\",\"diff_ids\":[");
    for (const char *c = letters; *c; c++) {
        add_layer(f, *c);
        strv_push_take(&layers, letter_digest(*c));
        (void)buf_printf(&b, "%s\"%s\"", c == letters ? "" : ",", layers[strv_len(layers) - 1]);
    }
    (void)buf_puts(&b, "]}}");
    assert_int_equal(digest_bytes(b.data, b.len, id), 0);
    AUTOFREE char *blob = xasprintf("%s/blobs/sha256/%s", f->root, digest_hex(id));
    assert_int_equal(fs_write_atomic(AT_FDCWD, blob, b.data, b.len, 0600, FS_NO_SYNC), 0);
    const struct image_commit c = {.config = id,
                                   .names = name ? names : NULL,
                                   .layers = layers,
                                   .digest_name = top ? "docker.io/library/x" : NULL,
                                   .top = top};
    assert_int_equal(image_store_commit(f->s, &c, &is_new, NULL), 0);
    return xstrdup(id);
}

static bool layer_exists(struct fixture *f, char c)
{
    AUTOFREE char *digest = letter_digest(c);
    AUTOFREE char *dir = xasprintf("%s/layers/%s", f->root, digest_hex(digest));
    AUTOFREE char *blob = xasprintf("%s/blobs/sha256/%s", f->root, digest_hex(digest));

    assert_int_equal(access(dir, F_OK), access(blob, F_OK));
    return access(dir, F_OK) == 0;
}

static void test_resolve(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *top = letter_digest('T');
    AUTOFREE char *id = add_image(f, "ab", "docker.io/library/x:latest", top);
    AUTOFREE char *by_digest = xasprintf("x@%s", top);
    AUTOFREE char *short_id = xstrndup(digest_hex(id), 12);
    const char *names[] = {"x",         "x:latest", "docker.io/library/x",
                           "library/x", id,         digest_hex(id),
                           by_digest,   short_id};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        AUTOPTR(image) struct image *img = NULL;
        AUTO(error) struct error e = ERROR_INIT;
        if (image_resolve(f->s, names[i], &img, &e) < 0)
            fail_msg("%s: %s", names[i], error_message(&e));
        assert_string_equal(img->id, id);
        assert_int_equal(img->size, 200);
        assert_int_equal(strv_len(img->layer_dirs), 2);
        assert_string_equal(img->repo_tags[0], "x:latest");
        assert_string_equal(img->repo_digests[0], by_digest);
        assert_int_equal(access(img->layer_dirs[0], F_OK), 0);
    }
    static const struct {
        const char *name, *says;
        enum error_code code;
    } bad[] = {
        {"y", "No such image: y:latest", ERR_NOT_FOUND},
        {"x:other", "No such image: x:other", ERR_NOT_FOUND},
        {"sha256:0000", "No such image: sha256:0000", ERR_NOT_FOUND},
        {"UPPER", "must be lowercase", ERR_INVALID},
        {"", "empty", ERR_INVALID},
        {"a b", "invalid reference", ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct image *img = NULL;
        AUTO(error) struct error e = ERROR_INIT;
        assert_true(image_resolve(f->s, bad[i].name, &img, &e) < 0);
        assert_int_equal(e.code, bad[i].code);
        if (!strstr(e.message, bad[i].says))
            fail_msg("\"%s\" lacks \"%s\"", e.message, bad[i].says);
    }
}

static void test_ambiguous(void **state)
{
    struct fixture *f = *state;
    AUTO(error) struct error e = ERROR_INIT;
    struct image *img = NULL;

    /* Enough images that two ids begin with the same digit. */
    for (char c = 'a'; c < 'a' + 17; c++) {
        char letters[2] = {c, '\0'};
        free(add_image(f, letters, NULL, NULL));
    }
    bool found = false;
    for (int d = 0; d < 16 && !found; d++) {
        char prefix[2] = {"0123456789abcdef"[d], '\0'};
        error_done(&e);
        int r = image_resolve(f->s, prefix, &img, &e);
        if (r == 0)
            image_unref(img);
        found = r == -EINVAL && strstr(e.message, "ambiguous");
    }
    assert_true(found);
    CLEANUP(image_list_done) struct image_list l = {0};
    assert_int_equal(image_list(f->s, &l, NULL), 0);
    assert_int_equal(l.len, 17);
    assert_int_equal(image_count(f->s), 17);
}

static void test_tag_moves(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *a = add_image(f, "a", "docker.io/library/x:latest", NULL);
    AUTOFREE char *b = add_image(f, "b", "docker.io/library/y:latest", NULL);
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(image) struct image *img = NULL, *old = NULL;

    assert_int_equal(image_tag(f->s, "y", "x", NULL, &e), 0);
    assert_int_equal(image_resolve(f->s, "x", &img, &e), 0);
    assert_string_equal(img->id, b);
    assert_int_equal(strv_len(img->repo_tags), 2);
    /* a is dangling now, but there. */
    assert_int_equal(image_get(f->s, a, &old, &e), 0);
    assert_int_equal(strv_len(old->repo_tags), 0);
    assert_int_equal(image_tag(f->s, a, "host:1/p/q", "v1", &e), 0);
    assert_int_equal(image_tag(f->s, "nothing", "z", NULL, &e), -ENOENT);
    error_done(&e);
    assert_int_equal(image_tag(f->s, "x", "Z", NULL, &e), -EINVAL);
    error_done(&e);
    assert_int_equal(image_tag(f->s, "x", "z", "bad tag", &e), -EINVAL);
    error_done(&e);
    AUTOFREE char *with_digest = xasprintf("z@%s", a);
    assert_int_equal(image_tag(f->s, "x", with_digest, NULL, &e), -EINVAL);
}

static void test_remove_rules(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *top = letter_digest('T');
    AUTOFREE char *id = add_image(f, "ab", "docker.io/library/x:latest", top);
    AUTOFREE char *other = add_image(f, "bc", "docker.io/library/other:latest", NULL);
    struct image_removed removed = {0};
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(image_tag(f->s, "x", "p/second", "v1", &e), 0);
    /* By id with names in two repositories: only by force. */
    assert_int_equal(image_remove(f->s, id, false, true, &removed, &e), -EBUSY);
    assert_non_null(strstr(e.message, "must be forced"));
    assert_non_null(strstr(e.message, "multiple repositories"));
    error_done(&e);
    /* By name: one name goes, with the digest of its repository. */
    assert_int_equal(image_remove(f->s, "x", false, true, &removed, &e), 0);
    const struct image_removed_item *it = removed.items.items;
    assert_int_equal(removed.items.len, 2);
    assert_string_equal(it[0].untagged, "x:latest");
    assert_memory_equal(it[1].untagged, "x@sha256:", 9);
    image_removed_done(&removed);
    assert_true(layer_exists(f, 'a'));
    /* The last name: the image goes, shared layers stay. */
    assert_int_equal(image_remove(f->s, "p/second:v1", false, true, &removed, &e), 0);
    it = removed.items.items;
    assert_int_equal(removed.items.len, 3);
    assert_string_equal(it[0].untagged, "p/second:v1");
    assert_string_equal(it[1].deleted, id);
    assert_false(it[1].layer);
    AUTOFREE char *a = letter_digest('a'); /* the bottom: its chain id is its diff id */
    assert_string_equal(it[2].deleted, a);
    assert_true(it[2].layer);
    image_removed_done(&removed);
    assert_false(layer_exists(f, 'a'));
    assert_true(layer_exists(f, 'b'));
    /* By short id. */
    AUTOFREE char *short_id = xstrndup(digest_hex(other), 12);
    assert_int_equal(image_remove(f->s, short_id, false, true, &removed, &e), 0);
    image_removed_done(&removed);
    assert_false(layer_exists(f, 'b'));
    assert_int_equal(image_count(f->s), 0);
    assert_int_equal(image_remove(f->s, "x", false, true, &removed, &e), -ENOENT);
}

static void test_remove_in_use(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:latest", NULL);
    struct image_removed removed = {0};
    AUTO(error) struct error e = ERROR_INIT;
    struct image *img = NULL;

    snprintf(f->used_image, sizeof(f->used_image), "%s", id);
    f->use = IMAGE_USED_STOPPED;
    assert_int_equal(image_remove(f->s, "x", false, true, &removed, &e), -EBUSY);
    assert_non_null(strstr(e.message, "must force"));
    assert_non_null(strstr(e.message, "container c0ffee00c0ff"));
    error_done(&e);
    assert_int_equal(image_remove(f->s, id, false, true, &removed, &e), -EBUSY);
    assert_non_null(strstr(e.message, "stopped container"));
    error_done(&e);
    f->use = IMAGE_USED_RUNNING;
    assert_int_equal(image_remove(f->s, id, true, true, &removed, &e), -EBUSY);
    assert_non_null(strstr(e.message, "cannot be forced"));
    error_done(&e);
    /* Forced by name while it runs: the name goes, the image stays, nameless. */
    assert_int_equal(image_remove(f->s, "x", true, true, &removed, &e), 0);
    assert_int_equal(removed.items.len, 1);
    image_removed_done(&removed);
    assert_int_equal(image_count(f->s), 1);
    /* Forced with a stopped container: out of sight, but its layers stay for the container. */
    f->use = IMAGE_USED_STOPPED;
    assert_int_equal(image_remove(f->s, id, true, true, &removed, &e), 0);
    image_removed_done(&removed);
    assert_int_equal(image_count(f->s), 0);
    assert_true(layer_exists(f, 'a'));
    assert_int_equal(image_resolve(f->s, id, &img, &e), -ENOENT);
    error_done(&e);
    assert_int_equal(image_get(f->s, id, &img, &e), 0);
    image_unref(img);
    image_released(f->s, id); /* still in use */
    assert_true(layer_exists(f, 'a'));
    f->use = IMAGE_UNUSED;
    image_released(f->s, id);
    assert_false(layer_exists(f, 'a'));
}

static void test_held(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:latest", NULL);
    struct image_removed removed = {0};
    struct image *img = NULL;

    assert_int_equal(image_resolve(f->s, "x", &img, NULL), 0);
    assert_int_equal(image_remove(f->s, "x", false, true, &removed, NULL), 0);
    image_removed_done(&removed);
    assert_int_equal(image_count(f->s), 0);
    assert_true(layer_exists(f, 'a')); /* whoever holds it may be making a container */
    image_unref(image_ref(img));
    assert_true(layer_exists(f, 'a'));
    image_unref(img);
    assert_false(layer_exists(f, 'a'));
}

static void test_pinned(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *digest = letter_digest('a');

    add_layer(f, 'a');
    image_store_pin(f->s, digest);
    image_store_pin(f->s, digest);
    assert_int_equal(image_sweep(f->s, NULL), 0);
    assert_true(layer_exists(f, 'a'));
    image_store_unpin(f->s, digest);
    assert_true(image_store_is_pinned(f->s, digest));
    image_store_unpin(f->s, digest);
    assert_false(image_store_is_pinned(f->s, digest));
    assert_true(image_sweep(f->s, NULL) > 0);
    assert_false(layer_exists(f, 'a'));
}

static void make(struct fixture *f, const char *name, bool dir)
{
    AUTOFREE char *path = xasprintf("%s/%s", f->root, name);

    if (dir)
        assert_int_equal(fs_mkdir_p(path, 0755), 0);
    else
        assert_int_equal(fs_write_atomic(AT_FDCWD, path, "x", 1, 0600, FS_NO_SYNC), 0);
}

static bool there(struct fixture *f, const char *name)
{
    AUTOFREE char *path = xasprintf("%s/%s", f->root, name);

    return access(path, F_OK) == 0;
}

static void test_recovery(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *good = add_image(f, "ab", "docker.io/library/good:latest", NULL);
    AUTOFREE char *missing = add_image(f, "d", "docker.io/library/missing:latest", NULL);

    make(f, "layers/tmp.0123/sub", true);
    make(f, "layers/trash.0123/sub", true);
    make(f, "layers/0000/sub", true); /* complete, but its row was lost */
    make(f, "blobs/tmp/abc", false);
    AUTOFREE char *d = letter_digest('d');
    AUTOFREE char *dir = xasprintf("%s/layers/%s", f->root, digest_hex(d));
    assert_int_equal(fs_remove_tree(AT_FDCWD, dir), 0);
    close_store(f);
    open_store(f);
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(image) struct image *img = NULL;
    assert_int_equal(image_resolve(f->s, "good", &img, &e), 0);
    assert_string_equal(img->id, good);
    struct image *none = NULL;
    assert_int_equal(image_resolve(f->s, "missing", &none, &e), -ENOENT);
    image_unref(take_ptr(img));
    close_store(f);
    open_store(f); /* closing waits for the janitor */
    assert_false(there(f, "layers/tmp.0123"));
    assert_false(there(f, "layers/trash.0123"));
    assert_false(there(f, "layers/0000"));
    assert_false(there(f, "blobs/tmp/abc"));
}

static void test_power_cut(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:latest", NULL);
    struct image *img = NULL;

    close_store(f); /* durable now */
    open_store(f);
    assert_int_equal(image_resolve(f->s, "x", &img, NULL), 0);
    image_unref(img);
    close_store(f);
    AUTOFREE char *path = xasprintf("%s/pouch.db", f->root);
    assert_int_equal(store_open(path, &f->db, NULL), 0);
    assert_int_equal(store_exec(f->db, NULL, "UPDATE layers SET boot = 'another boot'", ""), 1);
    store_close(f->db);
    open_store(f);
    assert_int_equal(image_resolve(f->s, "x", &img, NULL), -ENOENT);
    assert_int_equal(image_count(f->s), 0);
}

/* The first column of a query. */
static char *ask(struct fixture *f, const char *sql)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;

    assert_true(store_query(f->db, &rows, NULL, sql, "") >= 0);
    return store_rows_next(&rows, NULL) == 1 ? xstrdup(store_col_str(&rows, 0)) : NULL;
}

/* The second sync: whether b was taken for durable before it. */
static _Atomic int second_sync;

static void look_at_b(void *data)
{
    AUTOFREE char *waits = ask(data, "SELECT (SELECT count(*) FROM layers WHERE boot != '') + "
                                     "(SELECT count(*) FROM images WHERE boot != '')");

    during_sync = NULL;
    second_sync = STREQ(waits, "2") ? 1 : -1;
}

/* While the disk takes image a, a is removed and b comes: b's rows get the numbers of a's. */
static void replace_image(void *data)
{
    struct fixture *f = data;
    AUTOFREE char *a = ask(f, "SELECT id FROM images");

    if (!a)
        return; /* only its layer is there yet */
    during_sync = look_at_b;
    assert_int_equal(image_store_delete(f->s, a, NULL), 0);
    AUTOFREE char *b = add_image(f, "b", "docker.io/library/b:latest", NULL);
    assert_non_null(b);
}

static void test_durable_by_the_sync_after(void **state)
{
    struct fixture *f = *state;

    second_sync = 0;
    during_sync_data = f;
    during_sync = replace_image;
    AUTOFREE char *a = add_image(f, "a", "docker.io/library/a:latest", NULL);
    assert_non_null(a);
    for (int i = 0; i < 5000 && !second_sync; i++)
        usleep(1000);
    during_sync = NULL;
    assert_int_equal(second_sync, 1);
}

/* A name of a durable row is taken again only when the disk has the removal. */
static void test_names_again(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:latest", NULL);
    AUTOFREE char *a = letter_digest('a');

    close_store(f);
    janitor_hangs = true;
    open_store(f);
    log_syncs = 0;
    /* What an earlier pouchd removed is not known: once. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(image_durable_begin(f->s, "anything", NULL), 0);
        store_rollback(f->db);
        assert_int_equal(log_syncs, 1);
    }
    assert_int_equal(image_store_delete(f->s, id, NULL), 0);
    assert_int_equal(image_durable_begin(f->s, "anything", NULL), 0);
    store_rollback(f->db);
    assert_int_equal(log_syncs, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(image_durable_begin(f->s, digest_hex(a), NULL), 0);
        store_rollback(f->db);
        assert_int_equal(log_syncs, 2);
    }
    janitor_hangs = false;
}

/* The kernel tells of a failed write once: the next sync that succeeds proves nothing. */
static void test_disk_breaks(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    open_store(f);
    disk_breaks = true;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:latest", NULL);
    close_store(f);
    disk_breaks = false;
    open_store(f);
    AUTOFREE char *b = add_image(f, "b", "docker.io/library/b:latest", NULL);
    close_store(f);
    open_store(f);
    AUTOFREE char *durable = ask(f, "SELECT group_concat(id) FROM images WHERE boot = ''");
    assert_string_equal(durable, b);
    /* It is there until the machine goes down. */
    struct image *img = NULL;
    assert_int_equal(image_resolve(f->s, "x", &img, NULL), 0);
    assert_string_equal(img->id, id);
    image_unref(img);
    assert_true(store_exec(f->db, NULL, "UPDATE images SET boot = 'y!' WHERE boot LIKE '%!'", "") ==
                1);
    close_store(f);
    open_store(f);
    assert_int_equal(image_resolve(f->s, "x", &img, NULL), -ENOENT);
    assert_int_equal(image_resolve(f->s, "b", &img, NULL), 0);
    image_unref(img);
}

/* Whoever comes later does not wait: the janitor has synced the log. */
static void test_names_again_later(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:latest", NULL);
    AUTOFREE char *a = letter_digest('a');
    size_t left = 1;

    close_store(f);
    open_store(f);
    assert_int_equal(image_store_delete(f->s, id, NULL), 0);
    for (int i = 0; i < 30000 && left > 0; i++) {
        usleep(1000);
        pthread_mutex_lock(&f->s->lock);
        left = map_len(f->s->removed) + f->s->log_unknown;
        pthread_mutex_unlock(&f->s->lock);
    }
    assert_int_equal(left, 0);
    log_syncs = 0;
    assert_int_equal(image_durable_begin(f->s, digest_hex(a), NULL), 0);
    store_rollback(f->db);
    assert_int_equal(log_syncs, 0);
    /* It could not: who comes next hears of it. */
    AUTOFREE char *b = add_image(f, "b", "docker.io/library/b:latest", NULL);
    AUTOFREE char *b_layer = letter_digest('b');
    AUTO(error) struct error e = ERROR_INIT;
    bool told = false;

    close_store(f);
    janitor_fails = true;
    open_store(f);
    assert_int_equal(image_store_delete(f->s, b, NULL), 0);
    for (int i = 0; i < 30000 && !told; i++) {
        usleep(1000);
        pthread_mutex_lock(&f->s->lock);
        told = f->s->log_errnum != 0;
        pthread_mutex_unlock(&f->s->lock);
    }
    assert_true(told);
    janitor_fails = false;
    assert_int_equal(image_durable_begin(f->s, digest_hex(b_layer), &e), -EIO);
    assert_non_null(strstr(error_message(&e), "removal of images"));
    assert_int_equal(image_durable_begin(f->s, digest_hex(b_layer), NULL), 0);
    store_rollback(f->db);
}

/* Documents and archives that came later to what the disk has: they alone are lost. */
static void test_lost_documents(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *index = letter_digest('I'), *layer = letter_digest('a');
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:latest", NULL);
    AUTOFREE char *left = NULL;

    close_store(f);
    open_store(f);
    char *layers[] = {layer, NULL};
    const struct image_commit c = {.config = id,
                                   .manifest = index,
                                   .top = index,
                                   .digest_name = "localhost:5000/a/x",
                                   .layers = layers};
    bool is_new;
    assert_int_equal(image_store_commit(f->s, &c, &is_new, NULL), 0);
    left = ask(f, "SELECT count(*) FROM image_blobs WHERE digest IN (SELECT id FROM images) AND "
                  "boot = ''");
    assert_string_equal(left, "1"); /* what the disk had, it has */
    assert_int_equal(store_exec(f->db, NULL,
                                "INSERT INTO layer_blobs (diff_id, compression, level, blob, "
                                "media_type, blob_size, boot) VALUES (?, 'zstd', 0, 'x', 'y', 1, "
                                "'b')",
                                "s", layer),
                     1);
    close_store(f);
    AUTOFREE char *path = xasprintf("%s/pouch.db", f->root);
    assert_int_equal(store_open(path, &f->db, NULL), 0);
    assert_int_equal(store_exec(f->db, NULL, "UPDATE image_blobs SET boot = 'b+' WHERE digest = ?",
                                "s", index),
                     1);
    assert_int_equal(store_exec(f->db, NULL, "UPDATE layer_blobs SET boot = 'b'", ""), 1);
    store_close(f->db);
    open_store(f);
    struct image *img = NULL;
    assert_int_equal(image_resolve(f->s, "x", &img, NULL), 0);
    assert_string_equal(img->id, id);
    image_unref(img);
    free(left);
    left = ask(f,
               "SELECT (SELECT count(*) FROM image_digests) + (SELECT count(*) FROM layer_blobs) "
               "+ (SELECT count(*) FROM image_blobs WHERE role = 'manifest')");
    assert_string_equal(left, "0");
}

/* What push and save read: documents by role, the archive of a layer, who has a blob. */
static void test_blobs(void **state)
{
    struct fixture *f = *state;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *manifest = letter_digest('M'), *index = letter_digest('T');
    AUTOFREE char *layer = letter_digest('a'), *other = letter_digest('z');
    AUTOFREE char *id = add_image(f, "a", NULL, NULL);
    AUTOFREE char *blob = NULL, *type = NULL, *text = NULL;
    AUTOPTR(strv) char **list = NULL;
    AUTOPTR(strv) char **sources = NULL;
    AUTOPTR(strv) char **none = NULL;
    char *layers[] = {layer, NULL}, *blobs[] = {layer, other, NULL};
    uint64_t size = 0;
    size_t len = 0;
    bool is_new;
    int fd = -1;

    const struct image_commit c = {.config = id,
                                   .manifest = manifest,
                                   .top = index,
                                   .digest_name = "localhost:5000/a/x",
                                   .layers = layers,
                                   .blobs = blobs};
    assert_int_equal(image_store_commit(f->s, &c, &is_new, NULL), 0);
    assert_int_equal(image_blob_documents(f->s, id, "manifest", &list, NULL), 0);
    assert_int_equal(strv_len(list), 1);
    assert_string_equal(list[0], manifest);
    assert_int_equal(image_blob_documents(f->s, id, "index", &list, NULL), 0);
    assert_string_equal(list[1], index);

    assert_int_equal(image_blob_of_layer(f->s, layer, &blob, &type, &size, NULL), 0);
    assert_string_equal(blob, layer);
    assert_string_equal(type, OCI_MT_LAYER);
    assert_int_equal(image_blob_open(f->s, NULL, blob, &fd, &size, NULL), 0);
    assert_int_equal(size, 1);
    close(fd);
    assert_int_equal(image_blob_read(f->s, blob, 1, &text, &len, NULL), 0);
    assert_string_equal(text, "x");
    assert_int_equal(image_blob_read(f->s, id, 10, &text, &len, &e), -EFBIG);
    error_done(&e);
    assert_int_equal(image_blob_open(f->s, NULL, other, &fd, &size, &e), -ENOENT);
    assert_non_null(strstr(error_message(&e), other));
    error_done(&e);
    assert_int_equal(image_blob_open(f->s, NULL, "sha256:../../x", &fd, &size, &e), -EINVAL);

    /* by registry; a prefix of its name is another one */
    assert_int_equal(image_blob_sources(f->s, other, "localhost:5000", &sources, NULL), 0);
    assert_int_equal(strv_len(sources), 1);
    assert_string_equal(sources[0], "localhost:5000/a/x");
    assert_int_equal(image_blob_sources(f->s, other, "localhost:500", &none, NULL), 0);
    assert_int_equal(image_blob_sources(f->s, other, "localhost:5000/a/x", &none, NULL), 0);
    assert_int_equal(strv_len(none), 0);
    for (int i = 0; i < 40; i++) { /* the newest are kept, and bounded */
        AUTOFREE char *name = xasprintf("localhost:5000/r%d", i);
        assert_true(image_blob_add_source(f->s, other, name, NULL) >= 0);
    }
    assert_int_equal(image_blob_sources(f->s, other, "localhost:5000", &none, NULL), 0);
    assert_int_equal(strv_len(none), 16);
    assert_string_equal(none[0], "localhost:5000/r39");
}

/* --- Collection outside the database's transaction --------------------------------------------------- */

/* What unlinkat() does first in these tests. */
static void (*_Atomic before_unlink)(void *data);
static void *before_unlink_data;

int unlinkat(int dirfd, const char *name, int flags)
{
    void (*f)(void *) = before_unlink;

    if (f)
        f(before_unlink_data);
    return (int)syscall(SYS_unlinkat, dirfd, name, flags);
}

struct asked {
    struct fixture *f;
    int unlinks, waited;
};

static void *ask_thread(void *data)
{
    struct asked *a = data;

    assert_true(store_exec(a->f->db, NULL, "DELETE FROM image_names WHERE name = 'nobody'", "") >=
                0);
    return NULL;
}

/* Another request comes just when a file is freed. */
static void ask_meanwhile(void *data)
{
    struct asked *a = data;
    struct timespec until;
    pthread_t t;

    before_unlink = NULL;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    a->unlinks++;
    assert_int_equal(pthread_create(&t, NULL, ask_thread, a), 0);
    if (pthread_timedjoin_np(t, NULL, &until) != 0) {
        a->waited++;
        (void)pthread_detach(t);
    }
    before_unlink = ask_meanwhile;
}

static void test_freed_outside(void **state)
{
    struct fixture *f = *state;
    struct asked a = {.f = f};
    AUTOFREE char *id = add_image(f, "ab", "docker.io/library/x:latest", NULL);
    AUTOFREE char *alone = letter_digest('Q');
    AUTOFREE char *blob = xasprintf("%s/blobs/sha256/%s", f->root, digest_hex(alone));
    char *blobs[] = {alone, NULL}, *none[] = {NULL};

    assert_int_equal(fs_write_atomic(AT_FDCWD, blob, "x", 1, 0600, FS_NO_SYNC), 0);
    before_unlink_data = &a;
    before_unlink = ask_meanwhile;
    assert_int_equal(image_store_delete(f->s, id, NULL), 0);
    assert_int_equal(image_store_collect(f->s, none, blobs, NULL, NULL), 0);
    before_unlink = NULL;
    assert_false(layer_exists(f, 'a') || layer_exists(f, 'b'));
    assert_int_equal(access(blob, F_OK), -1);
    assert_true(a.unlinks >= 4);
    assert_int_equal(a.waited, 0);
    AUTOFREE char *tmp = xasprintf("%s/blobs/tmp", f->root);
    assert_int_equal(rmdir(tmp), 0); /* nothing is left there */
    assert_int_equal(mkdir(tmp, 0700), 0);
}

/* A pouchd that was killed after the transaction, or within. */
static void test_trash_of_a_crash(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *left = xasprintf("%s/blobs/tmp/trash.0123456789abcdef", f->root);

    close_store(f);
    assert_int_equal(fs_write_atomic(AT_FDCWD, left, "x", 1, 0600, FS_NO_SYNC), 0);
    open_store(f);
    assert_int_equal(access(left, F_OK), -1);
}

/* Makes the collection fail half-way, in whatever way `sql` says: what has rows again is there again,
 * and what never had any is gone. */
static void lost_collection(struct fixture *f, const char *sql, const char *end)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *a = letter_digest('a'), *b = letter_digest('b'), *alone = letter_digest('Q');
    AUTOFREE char *journals = xasprintf("%s/blobs/journal", f->root);
    AUTOFREE char *journal = xasprintf("%s/%s", journals, digest_hex(a));
    AUTOFREE char *blob = xasprintf("%s/blobs/sha256/%s", f->root, digest_hex(alone));
    char *layers[] = {a, b, NULL}, *blobs[] = {alone, NULL};
    unsigned count = 0;

    (void)mkdir(journals, 0700);
    add_layer(f, 'a');
    add_layer(f, 'b');
    assert_int_equal(fs_write_atomic(AT_FDCWD, journal, "x", 1, 0600, FS_NO_SYNC), 0);
    assert_int_equal(fs_write_atomic(AT_FDCWD, blob, "x", 1, 0600, FS_NO_SYNC), 0);
    assert_true(store_exec(f->db, NULL, sql, "") >= 0);
    assert_true(image_store_collect(f->s, layers, blobs, NULL, &e) < 0);
    error_done(&e);
    assert_true(layer_exists(f, 'a') && layer_exists(f, 'b')); /* and their archives */
    assert_int_equal(access(journal, F_OK), 0);
    assert_int_equal(image_store_layer_size(f->s, a), 100);
    assert_true(store_exec(f->db, NULL, end, "") >= 0);
    assert_int_equal(image_store_collect(f->s, layers, blobs, &count, NULL), 0);
    assert_false(layer_exists(f, 'a') || layer_exists(f, 'b'));
    assert_int_equal(access(journal, F_OK), -1);
    assert_int_equal(access(blob, F_OK), -1);
    assert_true(count >= 4);
}

static void test_collection_rolled_back(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *b = letter_digest('b');
    AUTOFREE char *sql = xasprintf("CREATE TRIGGER t BEFORE DELETE ON layers WHEN old.diff_id = "
                                   "'%s' BEGIN SELECT RAISE(ABORT, 'no'); END",
                                   b);

    lost_collection(f, sql, "DROP TRIGGER t");
}

/* All went well but the last step. */
static void test_collection_not_committed(void **state)
{
    struct fixture *f = *state;

    assert_true(store_exec(f->db, NULL, "PRAGMA foreign_keys = ON", "") >= 0);
    assert_true(store_exec(f->db, NULL,
                           "CREATE TABLE child (a INTEGER REFERENCES parent(a) DEFERRABLE "
                           "INITIALLY DEFERRED)",
                           "") >= 0);
    assert_true(store_exec(f->db, NULL, "CREATE TABLE parent (a INTEGER PRIMARY KEY)", "") >= 0);
    lost_collection(f,
                    "CREATE TRIGGER t AFTER DELETE ON layers BEGIN INSERT INTO child VALUES (7); "
                    "END",
                    "DROP TRIGGER t");
}

/* A full disk: trying again comes to an end, and rows and files are not torn apart. */
static void test_collection_full(void **state)
{
    struct fixture *f = *state;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *a = letter_digest('a');
    char *layers[] = {a, NULL}, *none[] = {NULL};

    add_layer(f, 'a');
    assert_true(store_exec(f->db, NULL, "CREATE TABLE fill (a BLOB)", "") >= 0);
    assert_true(store_exec(f->db, NULL,
                           "CREATE TRIGGER t AFTER DELETE ON layers BEGIN INSERT INTO fill VALUES "
                           "(zeroblob(10000000)); END",
                           "") >= 0);
    assert_true(store_exec(f->db, NULL, "PRAGMA max_page_count = 1000", "") >= 0);
    assert_int_equal(image_store_collect(f->s, layers, none, NULL, &e), -ENOSPC);
    error_done(&e);
    assert_true(store_exec(f->db, NULL, "DROP TRIGGER t", "") >= 0);
    assert_true(layer_exists(f, 'a'));
    assert_int_equal(image_store_collect(f->s, layers, none, NULL, NULL), 0);
    assert_false(layer_exists(f, 'a'));
    assert_int_equal(image_store_layer_size(f->s, a), 0);
}

/* An operation asks for all it had pinned, diff ids and digests alike: what was not there is no
 * removal that anybody would have to wait for. */
static void test_nothing_removed(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *a = letter_digest('a'), *z = letter_digest('z');
    char *pins[] = {a, z, NULL};

    janitor_hangs = true;
    assert_int_equal(image_store_collect(f->s, pins, pins, NULL, NULL), 0);
    assert_int_equal(map_len(f->s->removed), 0);
    add_layer(f, 'a');
    AUTOFREE char *blob = xasprintf("%s/blobs/sha256/%s", f->root, digest_hex(a));
    assert_int_equal(unlink(blob), 0); /* a dropped one: its row is, and goes */
    assert_int_equal(image_store_collect(f->s, pins, pins, NULL, NULL), 0);
    assert_int_equal(map_len(f->s->removed), 2); /* the layer and its archive */
    assert_non_null(map_get(f->s->removed, a));
    assert_non_null(map_get(f->s->removed, digest_hex(a)));
    janitor_hangs = false;
}

/* --- Garbage collection ---------------------------------------------------------------------------- */

/* The disk under the tests is whatever it is: "no more than 1 percent in use" never comes true, so
 * everything that may go does, in order. */
static int gc_all(struct fixture *f, bool dry_run, struct image_gc_result *ret)
{
    const struct image_gc_params p = {.low = 1, .min_age = "0s", .dry_run = dry_run};

    *ret = (struct image_gc_result){0};
    return image_gc(f->s, &p, ret, NULL);
}

static const struct image_gc_item *item_of(const struct json_list *l, size_t i)
{
    assert_true(i < l->len);
    return (const struct image_gc_item *)l->items + i;
}

static void test_gc_order(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *a = add_image(f, "ab", "docker.io/library/a:1", NULL);
    AUTOFREE char *b = add_image(f, "bc", "docker.io/library/b:1", NULL);
    AUTOFREE char *c = add_image(f, "d", "docker.io/library/c:1", NULL);
    struct image_gc_result r;

    image_used(f->s, a); /* in memory only: it counts all the same */
    assert_int_equal(gc_all(f, true, &r), 0);
    assert_true(r.dry_run);
    assert_int_equal(r.removed.len, 3);
    assert_string_equal(item_of(&r.removed, 0)->id, b);
    assert_int_equal(item_of(&r.removed, 0)->size, 110); /* b is shared with image a */
    assert_string_equal(item_of(&r.removed, 1)->id, c);
    assert_string_equal(item_of(&r.removed, 2)->id, a);
    assert_int_equal(item_of(&r.removed, 2)->size, 220);
    assert_int_equal(r.freed, 440);
    image_gc_result_done(&r);
    assert_int_equal(image_count(f->s), 3);
    image_uses_flush(f->s); /* … and from the tables */
    assert_int_equal(gc_all(f, false, &r), 0);
    assert_int_equal(r.removed.len, 3);
    assert_string_equal(item_of(&r.removed, 2)->id, a);
    assert_string_equal(item_of(&r.removed, 2)->names[0], "a:1");
    image_gc_result_done(&r);
    assert_int_equal(image_count(f->s), 0);
    for (const char *l = "abcd"; *l; l++)
        assert_false(layer_exists(f, *l));
}

struct flusher {
    struct image_store *s;
    atomic_bool end;
};

static void *flush_uses(void *data)
{
    struct flusher *f = data;

    while (!atomic_load(&f->end))
        image_uses_flush(f->s);
    return NULL;
}

/* A use is seen in memory or in the tables, also on its way from the one to the other. */
static void test_gc_order_while_flushed(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *a = add_image(f, "ab", "docker.io/library/a:1", NULL);
    AUTOFREE char *b = add_image(f, "bc", "docker.io/library/b:1", NULL);
    struct flusher flusher = {.s = f->s};
    struct image_gc_result r;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, flush_uses, &flusher), 0);
    for (int i = 0; i < 300; i++) {
        const char *last = i % 2 ? b : a;

        image_used(f->s, last);
        assert_int_equal(gc_all(f, true, &r), 0);
        assert_int_equal(r.removed.len, 2);
        assert_string_equal(item_of(&r.removed, 1)->id, last);
        image_gc_result_done(&r);
    }
    atomic_store(&flusher.end, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_gc_keeps(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *used = add_image(f, "a", "docker.io/library/used:1", NULL);
    AUTOFREE char *mine = add_image(f, "b", "docker.io/library/mine:1", NULL);
    AUTOFREE char *held = add_image(f, "c", "docker.io/library/held:1", NULL);
    AUTOFREE char *goes = add_image(f, "d", "docker.io/library/goes:1", NULL);
    struct image_gc_result r;
    struct image *img = NULL;

    snprintf(f->used_image, sizeof(f->used_image), "%s", used);
    f->use = IMAGE_USED_STOPPED;
    assert_int_equal(image_protect(f->s, "mine:1", true, NULL), 0);
    assert_int_equal(image_protect(f->s, "mine:1", true, NULL), 0);
    assert_int_equal(image_protect(f->s, "nobody:1", true, NULL), -ENOENT);
    assert_int_equal(image_resolve(f->s, "held:1", &img, NULL), 0);
    assert_int_equal(gc_all(f, false, &r), 0);
    assert_int_equal(r.removed.len, 1);
    assert_string_equal(item_of(&r.removed, 0)->id, goes);
    assert_int_equal(r.kept.len, 3);
    for (size_t i = 0; i < 3; i++)
        assert_non_null(item_of(&r.kept, i)->reason);
    assert_non_null(strstr(item_of(&r.kept, 0)->reason, "container c0ffee00c0ff"));
    assert_non_null(strstr(item_of(&r.kept, 1)->reason, "protected"));
    image_gc_result_done(&r);
    image_unref(img);
    /* It was only looked at: its name still works, and now nobody holds it. */
    assert_int_equal(image_resolve(f->s, "held:1", &img, NULL), 0);
    image_unref(img);
    assert_int_equal(image_protect(f->s, "mine:1", false, NULL), 0);
    assert_int_equal(gc_all(f, false, &r), 0);
    assert_int_equal(r.removed.len, 2);
    image_gc_result_done(&r);
    assert_int_equal(image_count(f->s), 1);
    assert_true(layer_exists(f, 'a'));
    (void)mine;
    (void)held;
}

static void test_gc_min_age(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/young:1", NULL);
    const struct image_gc_params p = {.low = 1};
    struct image_gc_result r = {0};

    assert_int_equal(image_gc(f->s, &p, &r, NULL), 0); /* two minutes unless something is said */
    assert_int_equal(r.removed.len, 0);
    assert_int_equal(r.kept.len, 1);
    image_gc_result_done(&r);
    const struct image_gc_params bad = {.low = 1, .min_age = "soon"};
    assert_int_equal(image_gc(f->s, &bad, &r, NULL), -EINVAL);
    assert_int_equal(image_count(f->s), 1);
    (void)id;
}

static void test_gc_config(void **state)
{
    struct image_gc_config c = {.high = 85};
    char *keep[] = {(char *)"label=", NULL};

    assert_int_equal(image_gc_config_check(&c, NULL), 0);
    assert_int_equal(c.low, 70);
    c = (struct image_gc_config){.high = 50};
    assert_int_equal(image_gc_config_check(&c, NULL), 0);
    assert_int_equal(c.low, 49);
    c = (struct image_gc_config){0};
    assert_int_equal(image_gc_config_check(&c, NULL), 0);
    c = (struct image_gc_config){.low = 50};
    assert_int_equal(image_gc_config_check(&c, NULL), -EINVAL);
    c = (struct image_gc_config){.high = 60, .low = 60};
    assert_int_equal(image_gc_config_check(&c, NULL), -EINVAL);
    c = (struct image_gc_config){.high = 100};
    assert_int_equal(image_gc_config_check(&c, NULL), -EINVAL);
    c = (struct image_gc_config){.high = 80, .min_age = (char *)"-1m"};
    assert_int_equal(image_gc_config_check(&c, NULL), -EINVAL);
    c = (struct image_gc_config){.high = 80, .keep = keep};
    assert_int_equal(image_gc_config_check(&c, NULL), -EINVAL);
}

/* What a pull brings back between the mark and the deletion stays. */
static void test_delete_only_removed(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:1", NULL);

    assert_int_equal(image_store_delete_removed(f->s, id, NULL), 0);
    assert_int_equal(image_count(f->s), 1);
    assert_true(store_exec(f->s->db, NULL, "UPDATE images SET removed = 1", "") > 0);
    AUTOFREE char *again = add_image(f, "a", "docker.io/library/x:1", NULL);
    assert_string_equal(id, again);
    assert_int_equal(image_store_delete_removed(f->s, id, NULL), 0);
    assert_true(layer_exists(f, 'a'));
    assert_true(store_exec(f->s->db, NULL, "UPDATE images SET removed = 1", "") > 0);
    assert_int_equal(image_store_delete_removed(f->s, id, NULL), 1);
    assert_false(layer_exists(f, 'a'));
}

/* Prune's list is of a moment ago: a name that came since is not taken. */
static void test_remove_unused(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:1", NULL);
    char *tags[] = {(char *)"x:1", NULL};
    struct image_removed removed = {0};
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(image_remove_unused(f->s, id, NULL, &removed, &e), -EBUSY);
    error_done(&e);
    assert_int_equal(image_tag(f->s, "x:1", "y", "2", NULL), 0);
    assert_int_equal(image_remove_unused(f->s, id, tags, &removed, &e), -EBUSY);
    error_done(&e);
    assert_int_equal(image_remove(f->s, "y:2", false, true, &removed, NULL), 0);
    image_removed_done(&removed);
    snprintf(f->used_image, sizeof(f->used_image), "%s", id);
    f->use = IMAGE_USED_STOPPED;
    assert_int_equal(image_remove_unused(f->s, id, tags, &removed, &e), -EBUSY);
    error_done(&e);
    f->use = IMAGE_UNUSED;
    assert_int_equal(image_count(f->s), 1);
    assert_int_equal(image_check_there(f->s, id, "x", &e), 0);
    assert_int_equal(image_remove_unused(f->s, id, tags, &removed, &e), 0);
    assert_int_equal(removed.items.len, 3);
    image_removed_done(&removed);
    assert_false(layer_exists(f, 'a'));
    assert_int_equal(image_check_there(f->s, id, "x", &e), -ENOENT);
    assert_string_equal(e.message, "No such image: x");
    error_done(&e);
    assert_int_equal(image_remove_unused(f->s, id, tags, &removed, &e), -ENOENT);
}

/* What is refused has changed nothing. */
static void test_refused_keeps_names(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:1", NULL);
    struct image_removed removed = {0};

    assert_int_equal(image_tag(f->s, "x:1", "y", "2", NULL), 0);
    snprintf(f->used_image, sizeof(f->used_image), "%s", id);
    f->use = IMAGE_USED_RUNNING;
    assert_int_equal(image_remove(f->s, id, true, true, &removed, NULL), -EBUSY);
    assert_int_equal(removed.items.len, 0);
    AUTOFREE char *found = NULL;
    assert_int_equal(image_find_id(f->s, "x:1", &found, NULL), 0);
    f->use = IMAGE_UNUSED;
}

static void remove_x(void *data)
{
    struct fixture *f = data;
    struct image_removed removed = {0};

    assert_int_equal(image_remove(f->s, "x:1", true, true, &removed, NULL), 0);
    image_removed_done(&removed);
}

static void remove_and_bring_x(void *data)
{
    remove_x(data);
    free(add_image(data, "a", "docker.io/library/x:1", NULL));
}

/* Removed between the look at its rows and that at its files. */
static void test_removed_while_read(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:1", NULL);
    AUTO(error) struct error e = ERROR_INIT;
    struct image *img = NULL;

    image_store_changed(f->s, NULL);
    during_open(id, remove_x, f);
    assert_int_equal(image_resolve(f->s, "x:1", &img, &e), -ENOENT);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.message, "No such image: x:1");
    error_done(&e);
    /* And brought again meanwhile. */
    free(add_image(f, "a", "docker.io/library/x:1", NULL));
    image_store_changed(f->s, NULL);
    during_open(id, remove_and_bring_x, f);
    assert_int_equal(image_resolve(f->s, "x:1", &img, &e), 0);
    assert_int_equal(access(img->layer_dirs[0], F_OK), 0);
    /* It is held, and the cache has it: the last to let go ends it all the same. */
    remove_x(f);
    assert_true(layer_exists(f, 'a'));
    image_unref(img);
    assert_false(layer_exists(f, 'a'));
}

static int write_nothing(void *data, const void *bytes, size_t len)
{
    return 0;
}

/* A damaged database is no reason to look for ever. */
static void test_name_without_image(void **state)
{
    struct fixture *f = *state;
    char *names[] = {(char *)"x:1", NULL};
    const struct image_save_params p = {.names = names,
                                        .cancel_fd = -EBADF,
                                        .write = write_nothing};
    AUTO(error) struct error e = ERROR_INIT;
    struct image *img = NULL;

    assert_int_equal(store_exec(f->s->db, NULL,
                                "INSERT INTO image_names VALUES ('docker.io/library/x:1', "
                                "'sha256:gone')",
                                ""),
                     1);
    assert_int_equal(image_resolve(f->s, "x:1", &img, &e), -ENOENT);
    error_done(&e);
    assert_int_equal(image_save(f->s, &p, &e), -ENOENT);
    assert_int_equal(e.code, ERR_NOT_FOUND);
}

/* The cache's reference is not the last one of an image that was removed. */
static void test_cached_and_held(void **state)
{
    struct fixture *f = *state;
    AUTOFREE char *id = add_image(f, "a", "docker.io/library/x:1", NULL);
    struct image *img = NULL;

    assert_true(store_exec(f->s->db, NULL, "UPDATE images SET removed = 1", "") > 0);
    assert_int_equal(image_get(f->s, id, &img, NULL), 0);
    image_released(f->s, id);
    assert_true(layer_exists(f, 'a'));
    image_unref(img);
    assert_false(layer_exists(f, 'a'));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_resolve),
        T(test_ambiguous),
        T(test_tag_moves),
        T(test_remove_rules),
        T(test_remove_in_use),
        T(test_held),
        T(test_pinned),
        T(test_recovery),
        T(test_power_cut),
        T(test_durable_by_the_sync_after),
        T(test_names_again),
        T(test_lost_documents),
        T(test_disk_breaks),
        T(test_names_again_later),
        T(test_blobs),
        T(test_gc_order),
        T(test_gc_order_while_flushed),
        T(test_gc_keeps),
        T(test_gc_min_age),
        T(test_gc_config),
        T(test_delete_only_removed),
        T(test_remove_unused),
        T(test_refused_keeps_names),
        T(test_removed_while_read),
        T(test_cached_and_held),
        T(test_name_without_image),
        T(test_freed_outside),
        T(test_trash_of_a_crash),
        T(test_nothing_removed),
        T(test_collection_full),
        T(test_collection_rolled_back),
        T(test_collection_not_committed),
    };
#undef T

    return cmocka_run_group_tests_name("image-store", tests, NULL, NULL);
}
