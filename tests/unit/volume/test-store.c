/* SPDX-License-Identifier: Apache-2.0 */
/* The store of volumes: life of a volume, who uses it, crashes, two threads at once. */
#include <dirent.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "io/reaper.h"
#include "volume/volume-priv.h"

static char root[64];
static struct volume_store *vs;

static int set_up(void **state)
{
    (void)snprintf(root, sizeof root, "/tmp/pouch-test-volume-XXXXXX");
    return mkdtemp(root) ? volume_store_open(root, NULL, &vs, NULL) : -1;
}

static int tear_down(void **state)
{
    volume_store_free(take_ptr(vs));
    return fs_remove_tree(AT_FDCWD, root);
}

static bool exists(const char *fmt, const char *name)
{
    AUTOFREE char *path = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    path = xasprintf(fmt, root, name);
#pragma GCC diagnostic pop
    return access(path, F_OK) == 0;
}

static void make(const char *name)
{
    const struct volume_params p = {.name = name};

    assert_int_equal(volume_create(vs, &p, NULL, NULL, NULL), 0);
}

static void test_life(void **state)
{
    struct json_map labels = {.items = NULL};
    const struct volume_params p = {.name = "data", .labels = &labels};
    struct volume v = {.name = NULL};
    struct error e = ERROR_INIT;
    AUTOFREE char *json = NULL;
    struct stat st;
    bool is_new = false;

    json_map_set(&labels, "who", "me");
    assert_int_equal(volume_create(vs, &p, &v, &is_new, &e), 0);
    assert_true(is_new);
    assert_string_equal(v.name, "data");
    assert_string_equal(v.driver, "local");
    assert_string_equal(v.scope, "local");
    assert_false(v.anonymous);
    assert_int_equal(stat(v.mountpoint, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    volume_done(&v);
    /* Again: the same volume, whatever is asked for. */
    json_map_set(&labels, "who", "you");
    assert_int_equal(volume_create(vs, &p, &v, &is_new, &e), 0);
    assert_false(is_new);
    assert_string_equal(json_map_get(&v.labels, "who"), "me");
    json = json_print_str(&volume_json, &v);
    assert_non_null(strstr(json, "\"Mountpoint\":\""));
    assert_non_null(strstr(json, "\"Scope\":\"local\""));
    volume_done(&v);
    /* A restart finds it. */
    volume_store_free(take_ptr(vs));
    assert_int_equal(volume_store_open(root, NULL, &vs, &e), 0);
    assert_int_equal(volume_get(vs, "data", &v, &e), 0);
    assert_string_equal(json_map_get(&v.labels, "who"), "me");
    volume_done(&v);
    assert_int_equal(volume_remove(vs, "data", false, &e), 0);
    assert_false(exists("%s/volumes/%s", "data"));
    assert_int_equal(volume_get(vs, "data", &v, &e), -ENOENT);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(error_message(&e), "get data: no such volume");
    error_done(&e);
    assert_int_equal(volume_remove(vs, "data", false, &e), -ENOENT);
    error_done(&e);
    assert_int_equal(volume_remove(vs, "data", true, &e), 0);
    json_map_done(&labels);
}

static void test_bad_names_and_options(void **state)
{
    static const char *const names[] = {"x", "..", "../x", "a/b", ".hidden", "a b", "-a"};
    static const char *const options[][3] = {
        {"type", "nfs", "mount other file systems"},
        {"volume-size", "1g", "invalid option: \"volume-size\""},
        {"size", "0", "volume option size"},
        {"size", "1g,inodes=5", "expected a size"},
        {"inodes", "some", "volume option inodes"},
        {"o", "bind", "missing or relative device"},
    };
    struct error e = ERROR_INIT;
    struct volume v = {.name = NULL};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct volume_params p = {.name = names[i]};

        assert_int_equal(volume_create(vs, &p, NULL, NULL, &e), -EINVAL);
        error_done(&e);
        assert_int_equal(volume_get(vs, names[i], &v, &e), -ENOENT);
        error_done(&e);
        assert_int_equal(volume_remove(vs, names[i], false, &e), -ENOENT);
        error_done(&e);
    }
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        struct json_map map = {.items = NULL};
        const struct volume_params p = {.name = "data", .options = &map};

        json_map_set(&map, options[i][0], options[i][1]);
        assert_int_equal(volume_create(vs, &p, NULL, NULL, &e), -EINVAL);
        assert_non_null(strstr(error_message(&e), options[i][2]));
        error_done(&e);
        json_map_done(&map);
    }
}

static void test_list(void **state)
{
    struct volume *list = NULL;
    size_t len = 0;

    assert_int_equal(volume_list(vs, &list, &len, NULL), 0);
    assert_int_equal(len, 0);
    free(list);
    make("b1");
    make("a1");
    make("c1");
    assert_int_equal(volume_list(vs, &list, &len, NULL), 0);
    assert_int_equal(len, 3);
    assert_string_equal(list[0].name, "a1");
    assert_string_equal(list[2].name, "c1");
    while (len)
        volume_done(&list[--len]);
    free(list);
}

static void test_in_use(void **state)
{
    struct error e = ERROR_INIT;

    make("data");
    volume_ref(vs, "data", "c1");
    volume_ref(vs, "data", "c1");
    volume_ref(vs, "data", "c2");
    assert_int_equal(volume_remove(vs, "data", true, &e), -EBUSY);
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_string_equal(error_message(&e), "remove data: volume is in use - [c1, c2]");
    error_done(&e);
    volume_unref(vs, "data", "c1");
    volume_unref(vs, "data", "c1");
    assert_int_equal(volume_remove(vs, "data", false, NULL), -EBUSY);
    volume_unref(vs, "data", "c2");
    assert_int_equal(volume_remove(vs, "data", false, NULL), 0);
}

static void test_crash_rests(void **state)
{
    AUTOFREE char *a = xasprintf("%s/volumes/.tmp-1/_data/x", root);
    AUTOFREE char *b = xasprintf("%s/volumes/.rm-2/_data", root);
    struct volume *list = NULL;
    size_t len = 0;

    make("data");
    assert_int_equal(fs_mkdir_p(a, 0700), 0);
    assert_int_equal(fs_mkdir_p(b, 0700), 0);
    assert_int_equal(volume_list(vs, &list, &len, NULL), 0);
    assert_int_equal(len, 1);
    volume_done(&list[0]);
    free(list);
    volume_store_free(take_ptr(vs));
    assert_int_equal(volume_store_open(root, NULL, &vs, NULL), 0);
    assert_false(exists("%s/volumes/%s", ".tmp-1"));
    assert_false(exists("%s/volumes/%s", ".rm-2"));
    assert_true(exists("%s/volumes/%s/_data", "data"));
}

static struct volume_mounts parse(char **binds)
{
    const struct volume_request req = {.binds = binds};
    struct volume_mounts l = {.items = NULL};

    assert_int_equal(volume_mounts_parse(&req, &l, NULL), 0);
    return l;
}

static void test_prepare_release(void **state)
{
    AUTOFREE char *bind = xasprintf("%s/host/deep:/h", root);
    char *binds[] = {bind, "named:/n", "/anon", NULL};
    struct volume_mounts l = parse(binds);
    bool copy_up[3];
    struct error e = ERROR_INIT;

    assert_int_equal(volume_mounts_prepare(vs, "c1", &l, copy_up, &e), 0);
    assert_true(exists("%s/%s/deep", "host"));
    assert_int_equal(l.len, 3);
    for (size_t i = 0; i < l.len; i++) {
        assert_int_equal(access(l.items[i].source, F_OK), 0);
        assert_int_equal(copy_up[i], STREQ(l.items[i].type, "volume"));
    }
    /* Once more, as before each start. */
    assert_int_equal(volume_mounts_prepare(vs, "c1", &l, NULL, &e), 0);
    assert_int_equal(volume_remove(vs, "named", false, NULL), -EBUSY);
    assert_int_equal(volume_mounts_release(vs, "c1", &l, false, &e), 0);
    assert_true(exists("%s/volumes/%s", "named"));
    assert_int_equal(volume_mounts_prepare(vs, "c1", &l, NULL, &e), 0);
    assert_int_equal(volume_mounts_release(vs, "c1", &l, true, &e), 0);
    assert_true(exists("%s/volumes/%s", "named"));
    for (size_t i = 0; i < l.len; i++) {
        if (l.items[i].anonymous)
            assert_false(exists("%s/volumes/%s", l.items[i].name));
    }
    volume_mounts_done(&l);
}

static void test_shared_anonymous(void **state)
{
    char *binds[] = {"/anon", NULL};
    struct volume_mounts l = parse(binds);

    assert_int_equal(volume_mounts_prepare(vs, "c1", &l, NULL, NULL), 0);
    volume_ref(vs, l.items[0].name, "c2"); /* --volumes-from c1 */
    assert_int_equal(volume_mounts_release(vs, "c1", &l, true, NULL), 0);
    assert_true(exists("%s/volumes/%s", l.items[0].name));
    volume_mounts_done(&l);
}

/* What pouchd killed between two steps leaves, as the next start finds it: no references yet. */
static void test_sweep(void **state)
{
    char *binds[] = {"/anon", "named:/n", NULL};
    struct volume_mounts l[4];
    char *name[4];

    for (int i = 0; i < 4; i++) {
        l[i] = parse(binds);
        for (size_t j = 0; j < l[i].len; j++)
            if (l[i].items[j].anonymous)
                name[i] = l[i].items[j].name;
        assert_int_equal(volume_mounts_prepare(vs, "c1", &l[i], NULL, NULL), 0);
    }
    assert_int_equal(volume_mounts_keep(vs, "c2", &l[2], NULL), 0); /* not its */
    assert_int_equal(volume_mounts_keep(vs, "c1", &l[2], NULL), 0);
    volume_store_free(vs);
    assert_int_equal(volume_store_open(root, NULL, &vs, NULL), 0);
    volume_ref(vs, name[0], "c1"); /* in its definition */
    volume_ref(vs, name[1], "c2"); /* --volumes-from; its own container is gone */
    char *keep[] = {"c1", NULL};
    volume_sweep(vs, keep, false); /* its record could not be read: nothing of it goes */
    assert_true(exists("%s/volumes/%s", name[3]));
    volume_sweep(vs, NULL, false);
    assert_true(exists("%s/volumes/%s", name[0]));
    assert_true(exists("%s/volumes/%s", name[1]));
    assert_true(exists("%s/volumes/%s", name[2]));  /* it was removed without -v */
    assert_false(exists("%s/volumes/%s", name[3])); /* it never came to be, or went with -v */
    assert_true(exists("%s/volumes/%s", "named"));
    volume_unref(vs, name[1], "c2");
    volume_sweep(vs, NULL, false);
    assert_true(exists("%s/volumes/%s", name[1]));
    volume_unref(vs, name[0], "c1");
    volume_sweep(vs, NULL, true); /* a power cut may have taken the record: it stays for good */
    volume_sweep(vs, NULL, false);
    assert_true(exists("%s/volumes/%s", name[0]));
    for (int i = 0; i < 4; i++)
        volume_mounts_done(&l[i]);
}

static void test_prepare_fails(void **state)
{
    struct volume_mount_request q = {.type = "bind",
                                     .source = "/nonexistent-pouch",
                                     .target = "/zz/zz"};
    char *binds[] = {"/anon", "named:/n", NULL};
    const struct volume_request req = {.binds = binds, .mounts = &q, .n_mounts = 1};
    struct volume_mounts l = {.items = NULL};
    struct volume *list = NULL;
    struct error e = ERROR_INIT;
    size_t len = 0;

    assert_int_equal(volume_mounts_parse(&req, &l, NULL), 0);
    assert_int_equal(volume_mounts_prepare(vs, "c1", &l, NULL, &e), -EINVAL);
    assert_string_equal(error_message(&e),
                        "invalid mount config for type \"bind\": bind source path does not exist: "
                        "/nonexistent-pouch");
    error_done(&e);
    /* Nothing of it is left but the named volume, and that is free. */
    assert_int_equal(volume_list(vs, &list, &len, NULL), 0);
    assert_int_equal(len, 1);
    assert_string_equal(list[0].name, "named");
    volume_done(&list[0]);
    free(list);
    assert_int_equal(volume_remove(vs, "named", false, NULL), 0);
    volume_mounts_done(&l);
}

static void test_bind_option(void **state)
{
    AUTOFREE char *device = xasprintf("%s/outside", root);
    AUTOFREE char *kept = xasprintf("%s/kept", device);
    struct json_map map = {.items = NULL};
    const struct volume_params p = {.name = "data", .options = &map};
    char *binds[] = {"data:/d", NULL};
    struct volume_mounts l = parse(binds);

    json_map_set(&map, "type", "none");
    json_map_set(&map, "o", "rw,bind");
    json_map_set(&map, "device", device);
    assert_int_equal(volume_create(vs, &p, NULL, NULL, NULL), 0);
    assert_int_equal(volume_mounts_prepare(vs, "c1", &l, NULL, NULL), -EINVAL);
    assert_int_equal(fs_mkdir_p(kept, 0700), 0);
    assert_int_equal(volume_mounts_prepare(vs, "c1", &l, NULL, NULL), 0);
    assert_string_equal(l.items[0].source, device);
    volume_unref(vs, "data", "c1");
    assert_int_equal(volume_remove(vs, "data", false, NULL), 0);
    assert_int_equal(access(kept, F_OK), 0);
    json_map_done(&map);
    volume_mounts_done(&l);
}

/* Two threads make, take and remove the same volume: nobody finds it half-made or gone in use. */
static void *worker(void *data)
{
    const char *id = data;
    char *binds[] = {"data:/d", NULL};
    struct volume_mounts l = parse(binds);
    intptr_t bad = 0;

    for (int i = 0; i < 100; i++) {
        if (volume_mounts_prepare(vs, id, &l, NULL, NULL) < 0 ||
            access(l.items[0].source, F_OK) < 0)
            bad++;
        volume_unref(vs, "data", id);
        (void)!volume_remove(vs, "data", true, NULL);
    }
    volume_mounts_done(&l);
    return (void *)bad;
}

static void test_threads(void **state)
{
    pthread_t threads[2];
    void *bad[2];

    assert_int_equal(pthread_create(&threads[0], NULL, worker, "c1"), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, worker, "c2"), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], &bad[i]), 0);
    assert_null(bad[0]);
    assert_null(bad[1]);
}

static atomic_bool made_anew, prepared;
static pthread_t other;

static void *make_anew(void *data)
{
    make("again");
    atomic_store(&made_anew, true);
    return NULL;
}

/* What belonged to the old volume goes by its name: none of a new one may have that yet. */
static int while_it_goes(void *data, const char *name, const char *content, struct error *e)
{
    assert_int_equal(pthread_create(&other, NULL, make_anew, NULL), 0);
    (void)usleep(100000);
    assert_false(atomic_load(&made_anew));
    assert_false(exists("%s/volumes/%s", "again"));
    return 0;
}

static void test_made_while_it_goes(void **state)
{
    make("again");
    volume_store_on_remove(vs, while_it_goes, NULL);
    assert_int_equal(volume_remove(vs, "again", false, NULL), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_true(atomic_load(&made_anew));
    assert_true(exists("%s/volumes/%s", "again"));
    volume_store_on_remove(vs, NULL, NULL);
}

static void *prepare_it(void *data)
{
    char *binds[] = {"filled:/d", NULL};
    struct volume_mounts l = parse(binds);
    bool copy_up = true;

    assert_int_equal(volume_mounts_prepare(vs, "second", &l, &copy_up, NULL), 0);
    atomic_store(&prepared, true);
    volume_mounts_done(&l);
    return (void *)(intptr_t)copy_up;
}

/* Who wants a volume that another container is filling gets all of it, and does not fill it again. */
static void test_prepared_while_filled(void **state)
{
    AUTOFREE char *file = xasprintf("%s/volumes/filled/_data/file", root);
    void *copy_up = NULL;

    make("filled");
    volume_ref(vs, "filled", "first");
    assert_true(volume_fill_begin(vs, "filled", "first"));
    assert_int_equal(pthread_create(&other, NULL, prepare_it, NULL), 0);
    (void)usleep(100000);
    assert_false(atomic_load(&prepared));
    (void)close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    volume_fill_end(vs, "filled");
    assert_int_equal(pthread_join(other, &copy_up), 0);
    assert_null(copy_up);
    /* Now there are two: the folder must stay the one it is. */
    assert_false(volume_fill_begin(vs, "filled", "first"));
    volume_fill_end(vs, "filled");
}

static unsigned rests(void)
{
    AUTOFREE char *path = xasprintf("%s/volumes", root);
    DIR *d = opendir(path);
    const struct dirent *de;
    unsigned n = 0;

    assert_non_null(d);
    while ((de = readdir(d)))
        n += strncmp(de->d_name, ".rm-", 4) == 0;
    closedir(d);
    return n;
}

static void fill(const char *name, int files)
{
    make(name);
    for (int i = 0; i < files; i++) {
        AUTOFREE char *path = xasprintf("%s/volumes/%s/_data/%d", root, name, i);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
}

/* What is large goes behind the caller's back; what an end of pouchd leaves, the next start takes. */
static void test_large(void **state)
{
    struct reaper *r = reaper_new();

    volume_store_free(take_ptr(vs));
    assert_int_equal(volume_store_open(root, r, &vs, NULL), 0);
    fill("large", 500);
    assert_int_equal(volume_remove(vs, "large", false, NULL), 0);
    assert_false(exists("%s/volumes/%s", "large"));
    reaper_wait(r);
    assert_int_equal(rests(), 0);

    fill("large", 500);
    reaper_stop(r);
    assert_int_equal(volume_remove(vs, "large", false, NULL), 0);
    assert_false(exists("%s/volumes/%s", "large"));
    assert_int_equal(rests(), 1);
    volume_store_free(take_ptr(vs));
    reaper_free(r);
    r = reaper_new();
    assert_int_equal(volume_store_open(root, r, &vs, NULL), 0);
    reaper_wait(r);
    assert_int_equal(rests(), 0);
    volume_store_free(take_ptr(vs));
    reaper_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_names_and_options, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_crash_rests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prepare_release, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shared_anonymous, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sweep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prepare_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bind_option, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_made_while_it_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prepared_while_filled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
