/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volumes on disk: <root>/volumes/<name>/{meta.json,owner,_data}. A volume is built under a name that
 * begins with ".tmp-" and renamed; it goes by a rename to ".rm-…". Volumes' names cannot begin with
 * a dot, so that whatever does is rubbish of a crash.
 *
 * The mutex guards who uses what, and is held across the one rename of a removal, so that nobody
 * takes a volume into use while it goes. A name is free again when what belonged to the old volume of
 * that name (its disk budget) is gone: who makes a new one waits for that.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "io/reaper.h"
#include "volume/volume-priv.h"

#define META_MAX      ((size_t)1 << 20)
#define CONTENT_DIR   "_data"
#define META_FILE     "meta.json"
#define OWNER_FILE    "owner" /* the id of the container that an anonymous volume goes with */
#define TMP_PREFIX    ".tmp-"
#define REMOVE_PREFIX ".rm-"
#define CREATE_TRIES  1000 /* each time somebody else removed it just then */

struct users {
    char **ids;
    bool filling; /* one of them copies the image's content into it */
};

struct volume_store {
    char *dir;
    struct reaper *reaper;
    pthread_mutex_t lock;   /* guards all below */
    pthread_cond_t changed; /* somebody ended to fill a volume, or to remove one */
    struct map *users;      /* volume's name → struct users */
    struct map *going;      /* names of volumes that are being removed */
    int (*on_remove)(void *data, const char *name, const char *content, struct error *e);
    void *on_remove_data;
};

/* What meta.json holds; the rest follows from the folder's name. */
static const struct json_field meta_fields[] = {
    JSON_FIELD(struct volume, created, "CreatedAt", JSON_TIME, 0),
    JSON_FIELD(struct volume, driver, "Driver", JSON_STR, 0),
    JSON_FIELD(struct volume, labels, "Labels", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume, options, "Options", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume, anonymous, "Anonymous", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_END,
};
static const struct json_desc meta_json = {"volume", sizeof(struct volume), meta_fields};

/* --- Checks --------------------------------------------------------------------------------- */

int volume_name_check(const char *name, struct error *e)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t len = strlen(name);

    if (len == 1)
        return error_set(e, ERR_INVALID,
                         "volume name is too short, names should be at least two alphanumeric "
                         "characters");
    if (len == 0 || !strchr(first, name[0]) ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != len)
        return error_set(e, ERR_INVALID,
                         "\"%s\" includes invalid characters for a local volume name, only "
                         "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a "
                         "host directory, use absolute path",
                         name);
    if (len > NAME_MAX)
        return error_set(e, ERR_INVALID, "volume name is too long: at most %d characters",
                         NAME_MAX);
    return 0;
}

int volume_driver_check(const char *driver, struct error *e)
{
    if (str_is_empty(driver) || STREQ(driver, VOLUME_DRIVER_LOCAL))
        return 0;
    return error_set(e, ERR_NOT_FOUND, "error looking up volume plugin %s: plugin \"%s\" not found",
                     driver, driver);
}

static bool has_word(const char *list, const char *word)
{
    AUTOPTR(strv) char **words = strv_split(list, ",", true);

    return strv_contains(words, word);
}

/* "size" in the spellings that the original took, and "inodes". */
static const char *const size_keys[] = {"size", "Size", "opt.size"};
static const char *const inodes_keys[] = {"inodes", "opt.inodes"};

static bool is_limit_key(const char *key)
{
    bool found = false;

    for (size_t i = 0; i < ARRAY_SIZE(size_keys); i++)
        found |= STREQ(key, size_keys[i]);
    for (size_t i = 0; i < ARRAY_SIZE(inodes_keys); i++)
        found |= STREQ(key, inodes_keys[i]);
    return found;
}

/* The one value among the spellings; NULL without any, ERR_INVALID for two. */
static int one_of(const struct json_map *options, const char *const *keys, size_t n,
                  const char **ret, struct error *e)
{
    *ret = NULL;
    for (size_t i = 0; i < n; i++) {
        const char *value = json_map_get(options, keys[i]);

        if (value && *ret)
            return error_set(e, ERR_INVALID, "volume option %s is given twice", keys[0]);
        if (value)
            *ret = value;
    }
    return 0;
}

int volume_limit(const struct json_map *options, struct quota_limit *ret, struct error *e)
{
    AUTOFREE char *text = NULL;
    const char *size = NULL;
    const char *inodes = NULL;
    int r = one_of(options, size_keys, ARRAY_SIZE(size_keys), &size, e);

    if (r == 0)
        r = one_of(options, inodes_keys, ARRAY_SIZE(inodes_keys), &inodes, e);
    if (r < 0)
        return r;
    *ret = (struct quota_limit){0};
    if (!size && !inodes)
        return 0;
    if (size && strchr(size, ','))
        return error_set(e, ERR_INVALID, "volume option size=%s: expected a size as in 10g", size);
    text = xasprintf("%s%s%s%s", size ? size : "", size && inodes ? "," : "",
                     inodes ? "inodes=" : "", inodes ? inodes : "");
    r = quotaspec_limit_parse(text, false, ret, e);
    if (r < 0)
        error_add(e, "volume option %s", size ? "size" : "inodes");
    return r;
}

int volume_options_check(const struct json_map *options, struct error *e)
{
    const char *type = json_map_get(options, "type");
    const char *o = json_map_get(options, "o");
    const char *device = json_map_get(options, "device");
    size_t limits = 0;

    for (size_t i = 0; i < options->len; i++) {
        const char *key = options->items[i].key;

        if (is_limit_key(key))
            limits++;
        else if (!STREQ(key, "type") && !STREQ(key, "o") && !STREQ(key, "device"))
            return error_set(e, ERR_INVALID, "invalid option: \"%s\"", key);
    }
    if (limits) {
        struct quota_limit limit;
        int r = volume_limit(options, &limit, e);

        if (r == 0 && limits < options->len)
            r = error_set(e, ERR_INVALID,
                          "a size cannot be given together with type, o and device: limit the host "
                          "folder by --disk-quota, or leave device out");
        return r;
    }
    if (options->len == 0)
        return 0;
    if (!o || strlen(o) > META_MAX / 64 || !(has_word(o, "bind") || has_word(o, "rbind")) ||
        (!str_is_empty(type) && !STREQ(type, "none") && !STREQ(type, "bind")))
        return error_set(e, ERR_INVALID,
                         "local volumes take the options type=none, o=bind, device=/host/folder "
                         "only (mount other file systems on the host, and use their folder)");
    if (!device || device[0] != '/')
        return error_set(e, ERR_INVALID,
                         "missing or relative device in volume options: device=/host/folder");
    return 0;
}

/* --- One volume ----------------------------------------------------------------------------- */

static void fill_place(const struct volume_store *vs, const char *name, struct volume *v)
{
    str_replace(&v->name, name);
    str_replace(&v->scope, "local");
    free(v->mountpoint);
    v->mountpoint = xasprintf("%s/%s/" CONTENT_DIR, vs->dir, name);
}

char *volume_source(const struct volume *v)
{
    const char *device = json_map_get(&v->options, "device");

    return xstrdup(device ? device : v->mountpoint);
}

/* -ENOENT without an error when there is no such volume. */
static int load(const struct volume_store *vs, const char *name, struct volume *ret,
                struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s/" META_FILE, vs->dir, name);
    AUTOFREE char *text = NULL;
    struct volume v = {.name = NULL};
    size_t len;
    int r = fs_read_file(AT_FDCWD, path, META_MAX, &text, &len);

    if (r == -ENOENT || r == -ENOTDIR)
        return -ENOENT;
    if (r < 0)
        return error_set_errno(e, r, "read %s", path);
    r = json_parse(&meta_json, text, len, &v, e);
    if (r < 0) {
        error_add(e, "%s", path);
        return r;
    }
    fill_place(vs, name, &v);
    *ret = v;
    return 0;
}

int volume_get(struct volume_store *vs, const char *name, struct volume *ret, struct error *e)
{
    struct error why = ERROR_INIT;
    int r = volume_name_check(name, &why);

    error_done(&why);
    r = r < 0 ? -ENOENT : load(vs, name, ret, e);
    if (r == -ENOENT)
        return error_set(e, ERR_NOT_FOUND, "get %s: no such volume", name);
    return r;
}

static int write_new(const char *dir, const struct volume *v, const char *owner, struct error *e)
{
    AUTOFREE char *data = xasprintf("%s/" CONTENT_DIR, dir);
    AUTOFREE char *meta = xasprintf("%s/" META_FILE, dir);
    AUTOFREE char *of = xasprintf("%s/" OWNER_FILE, dir);
    AUTOFREE char *text = json_print_str(&meta_json, v);
    int r;

    if (mkdir(dir, 0700) < 0)
        return error_set_errno(e, errno, "make %s", dir);
    if (mkdir(data, 0755) < 0 || chmod(data, 0755) < 0)
        return error_set_errno(e, errno, "make %s", data);
    /* Not synced: after a power cut nobody believes it (volume_sweep()). */
    r = owner ? fs_write_atomic(AT_FDCWD, of, owner, strlen(owner), 0600, FS_NO_SYNC) : 0;
    if (r < 0)
        return error_set_errno(e, r, "write %s", of);
    r = fs_write_atomic(AT_FDCWD, meta, text, strlen(text), 0600, FS_SYNC);
    return r < 0 ? error_set_errno(e, r, "write %s", meta) : 0;
}

static int sync_dir(const char *path, struct error *e)
{
    AUTOFD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return error_set_errno(e, errno, "sync %s", path);
    return 0;
}

/* Builds the volume beside its place and renames it there. *ret_new says whether it was this call
 * that made it. */
static int make(struct volume_store *vs, const struct volume *v, const char *owner, bool *ret_new,
                struct error *e)
{
    AUTOFREE char *tmp = NULL;
    AUTOFREE char *path = xasprintf("%s/%s", vs->dir, v->name);
    char suffix[17];
    int r;

    random_hex(suffix, 8);
    tmp = xasprintf("%s/" TMP_PREFIX "%s", vs->dir, suffix);
    r = write_new(tmp, v, owner, e);
    *ret_new = false;
    (void)pthread_mutex_lock(&vs->lock);
    while (r == 0 && map_get(vs->going, v->name))
        (void)pthread_cond_wait(&vs->changed, &vs->lock);
    if (r == 0 && rename(tmp, path) == 0)
        *ret_new = true;
    else if (r == 0 && errno != EEXIST && errno != ENOTEMPTY)
        r = error_set_errno(e, errno, "make volume %s", v->name);
    (void)pthread_mutex_unlock(&vs->lock);
    if (*ret_new)
        return sync_dir(vs->dir, e);
    if (fs_remove_tree(AT_FDCWD, tmp) < 0)
        return r; /* left for the next start */
    return r;
}

int volume_create(struct volume_store *vs, const struct volume_params *p, struct volume *ret,
                  bool *ret_new, struct error *e)
{
    CLEANUP(volume_done) struct volume v = {.name = NULL};
    struct error why = ERROR_INIT;
    char random[65];
    bool made = false;
    int r;

    random_hex(random, 32);
    v.anonymous = p->anonymous || str_is_empty(p->name);
    fill_place(vs, str_is_empty(p->name) ? random : p->name, &v);
    r = volume_name_check(v.name, e);
    if (r == 0)
        r = volume_driver_check(p->driver, e);
    if (r == 0 && p->options)
        r = volume_options_check(p->options, e);
    if (r < 0)
        return r;
    v.driver = xstrdup(VOLUME_DRIVER_LOCAL);
    v.created = time_now_ns();
    for (size_t i = 0; p->labels && i < p->labels->len; i++)
        json_map_set(&v.labels, p->labels->items[i].key, p->labels->items[i].value);
    for (size_t i = 0; p->options && i < p->options->len; i++)
        json_map_set(&v.options, p->options->items[i].key, p->options->items[i].value);
    if (v.anonymous)
        json_map_set(&v.labels, VOLUME_LABEL_ANONYMOUS, "");
    for (int i = 0;; i++) {
        struct volume there = {.name = NULL};

        r = load(vs, v.name, &there, &why);
        if (r == -ENOENT)
            r = make(vs, &v, p->owner, &made, &why);
        if (r < 0 || made)
            break;
        /* Somebody else's, older or just made; look again when it was removed meanwhile. */
        if (there.name) {
            volume_done(&v);
            v = there;
            break;
        }
        if (i == CREATE_TRIES) {
            r = error_set(&why, ERR_CONFLICT, "volume %s comes and goes", v.name);
            break;
        }
    }
    if (r < 0) {
        error_move(e, &why);
        return r;
    }
    if (ret_new)
        *ret_new = made;
    if (ret) {
        *ret = v;
        v = (struct volume){.name = NULL};
    }
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    const struct volume *x = a;
    const struct volume *y = b;

    return strcmp(x->name, y->name);
}

int volume_list(struct volume_store *vs, struct volume **ret, size_t *ret_len, struct error *e)
{
    DIR *dir = opendir(vs->dir);
    struct volume *list = NULL;
    struct dirent *de;
    size_t len = 0;
    size_t cap = 0;
    int r = 0;

    if (!dir)
        return error_set_errno(e, errno, "read %s", vs->dir);
    while (r >= 0 && (de = readdir(dir))) {
        if (de->d_name[0] == '.')
            continue;
        if (len == cap) {
            cap = cap ? cap * 2 : 16;
            list = xreallocarray(list, cap, sizeof *list);
        }
        r = load(vs, de->d_name, &list[len], e);
        if (r == 0)
            len++;
        else if (r == -ENOENT)
            r = 0; /* gone meanwhile, or not ours */
    }
    (void)closedir(dir);
    if (r < 0) {
        while (len)
            volume_done(&list[--len]);
        free(list);
        return r;
    }
    if (len)
        qsort(list, len, sizeof *list, compare_names);
    *ret = list;
    *ret_len = len;
    return 0;
}

/* --- Use and removal ------------------------------------------------------------------------ */

bool volume_ref_new(struct volume_store *vs, const char *name, const char *container_id)
{
    struct users *u;
    bool is_new;

    (void)pthread_mutex_lock(&vs->lock);
    u = map_get(vs->users, name);
    if (!u) {
        u = xcalloc(1, sizeof *u);
        (void)map_set(vs->users, name, u);
    }
    is_new = !strv_contains(u->ids, container_id);
    if (is_new)
        strv_push(&u->ids, container_id);
    (void)pthread_mutex_unlock(&vs->lock);
    return is_new;
}

void volume_ref(struct volume_store *vs, const char *name, const char *container_id)
{
    if (!str_is_empty(name))
        (void)volume_ref_new(vs, name, container_id);
}

static void users_free(void *p)
{
    struct users *u = p;

    strv_free(u->ids);
    free(u);
}

void volume_unref(struct volume_store *vs, const char *name, const char *container_id)
{
    struct users *u;

    if (str_is_empty(name))
        return;
    (void)pthread_mutex_lock(&vs->lock);
    u = map_get(vs->users, name);
    if (u) {
        strv_remove(u->ids, container_id);
        if (strv_len(u->ids) == 0)
            users_free(map_remove(vs->users, name));
    }
    (void)pthread_mutex_unlock(&vs->lock);
}

/* The lock is held, and let go meanwhile. The entry of a volume that has users, which nobody fills. */
static struct users *not_filling(struct volume_store *vs, const char *name)
{
    struct users *u;

    while ((u = map_get(vs->users, name)) && u->filling)
        (void)pthread_cond_wait(&vs->changed, &vs->lock);
    return u;
}

void volume_fill_wait(struct volume_store *vs, const char *name)
{
    (void)pthread_mutex_lock(&vs->lock);
    (void)not_filling(vs, name);
    (void)pthread_mutex_unlock(&vs->lock);
}

bool volume_fill_begin(struct volume_store *vs, const char *name, const char *container_id)
{
    struct users *u;
    bool alone = false;

    (void)pthread_mutex_lock(&vs->lock);
    u = not_filling(vs, name);
    if (u) {
        u->filling = true;
        alone = strv_len(u->ids) == 1 && STREQ(u->ids[0], container_id);
    }
    (void)pthread_mutex_unlock(&vs->lock);
    return alone;
}

void volume_fill_end(struct volume_store *vs, const char *name)
{
    struct users *u;

    (void)pthread_mutex_lock(&vs->lock);
    u = map_get(vs->users, name);
    if (u)
        u->filling = false;
    (void)pthread_cond_broadcast(&vs->changed);
    (void)pthread_mutex_unlock(&vs->lock);
}

/* The rename that makes it gone, unless somebody uses it. */
static int move_away(struct volume_store *vs, const char *name, const char *to, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", vs->dir, name);
    struct users *u;
    int r = 0;

    (void)pthread_mutex_lock(&vs->lock);
    u = map_get(vs->users, name);
    if (u) {
        AUTOFREE char *ids = strv_join(u->ids, ", ");

        r = error_set(e, ERR_CONFLICT, "remove %s: volume is in use - [%s]", name, ids);
    } else if (rename(path, to) < 0) {
        r = errno == ENOENT ? error_set(e, ERR_NOT_FOUND, "get %s: no such volume", name)
                            : error_set_errno(e, errno, "remove volume %s", name);
    } else {
        (void)map_set(vs->going, name, vs);
    }
    (void)pthread_mutex_unlock(&vs->lock);
    return r;
}

/* What belonged to a volume that was moved away goes, then its name is free. */
static int let_go(struct volume_store *vs, const char *name, const char *to, struct error *e)
{
    AUTOFREE char *content = xasprintf("%s/" CONTENT_DIR, to);
    int r = vs->on_remove ? vs->on_remove(vs->on_remove_data, name, content, e) : 0;

    (void)pthread_mutex_lock(&vs->lock);
    (void)map_remove(vs->going, name);
    (void)pthread_cond_broadcast(&vs->changed);
    (void)pthread_mutex_unlock(&vs->lock);
    return r;
}

int volume_remove(struct volume_store *vs, const char *name, bool force, struct error *e)
{
    struct volume v = {.name = NULL};
    struct error why = ERROR_INIT;
    AUTOFREE char *to = NULL;
    char suffix[17];
    int r = volume_get(vs, name, &v, &why);

    volume_done(&v);
    random_hex(suffix, 8);
    to = xasprintf("%s/" REMOVE_PREFIX "%s", vs->dir, suffix);
    if (r == 0)
        r = move_away(vs, name, to, &why);
    if (r < 0 && force && why.code == ERR_NOT_FOUND) {
        error_done(&why);
        return 0;
    }
    if (r < 0) {
        error_move(e, &why);
        return r;
    }
    r = let_go(vs, name, to, e);
    if (r < 0) {
        error_add(e, "remove volume %s", name);
        return r;
    }
    r = reaper_remove_folder(vs->reaper, to, NULL);
    return r < 0 ? error_set_errno(e, r, "remove volume %s", name) : 0;
}

static bool is_user(struct volume_store *vs, const char *name, const char *container_id)
{
    struct users *u;
    bool found;

    (void)pthread_mutex_lock(&vs->lock);
    u = map_get(vs->users, name);
    found = u && strv_contains(u->ids, container_id);
    (void)pthread_mutex_unlock(&vs->lock);
    return found;
}

int volume_disown(struct volume_store *vs, const char *name, const char *container_id,
                  struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s/" OWNER_FILE, vs->dir, name);
    AUTOFREE char *owner = NULL;
    size_t len;
    int r = fs_read_file(AT_FDCWD, path, NAME_MAX, &owner, &len);

    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return error_set_errno(e, r, "read %s", path);
    /* Needs no room: a container can be removed from a full disk. */
    if (STREQ(owner, container_id) && unlink(path) < 0 && errno != ENOENT)
        return error_set_errno(e, errno, "remove %s", path);
    return 0;
}

/* Nobody uses it that it was made for. */
static void sweep_owned(struct volume_store *vs, const char *name, const char *owner, bool remove)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    int r = remove ? volume_remove(vs, name, true, &e) : 0;

    if (remove && r == 0)
        log_info("leftover removed", "volume=%s container=%s", name, owner);
    if (!remove || (r < 0 && e.code == ERR_CONFLICT)) { /* --volumes-from: it is the other's now */
        error_done(&e);
        r = volume_disown(vs, name, owner, &e);
    }
    if (r < 0)
        log_warn("leftover not removed", "volume=%s error=\"%s\"", name, error_message(&e));
}

void volume_sweep(struct volume_store *vs, char *const *keep, bool rebooted)
{
    DIR *dir = opendir(vs->dir);
    AUTOPTR(strv) char **names = NULL;
    const struct dirent *de;

    while (dir && (de = readdir(dir)))
        if (de->d_name[0] != '.')
            strv_push(&names, de->d_name);
    if (dir)
        (void)closedir(dir);
    for (size_t i = 0; names && names[i]; i++) {
        AUTOFREE char *path = xasprintf("%s/%s/" OWNER_FILE, vs->dir, names[i]);
        AUTOFREE char *owner = NULL;
        size_t len;

        if (fs_read_file(AT_FDCWD, path, NAME_MAX, &owner, &len) == 0 &&
            !strv_contains(keep, owner) && !is_user(vs, names[i], owner))
            sweep_owned(vs, names[i], owner, !rebooted);
    }
}

void volume_store_on_remove(struct volume_store *vs,
                            int (*fn)(void *data, const char *name, const char *content,
                                      struct error *e),
                            void *data)
{
    vs->on_remove = fn;
    vs->on_remove_data = data;
}

/* --- The store ------------------------------------------------------------------------------ */

/* A rename of .rm- or .tmp- was the point of no return or of no beginning: both go. */
static int sweep(const struct volume_store *vs, struct error *e)
{
    DIR *dir = opendir(vs->dir);
    struct dirent *de;

    if (!dir)
        return error_set_errno(e, errno, "read %s", vs->dir);
    while ((de = readdir(dir))) {
        if (!str_has_prefix(de->d_name, TMP_PREFIX) && !str_has_prefix(de->d_name, REMOVE_PREFIX))
            continue;
        AUTOFREE char *path = xasprintf("%s/%s", vs->dir, de->d_name);
        int r = reaper_remove_folder(vs->reaper, path, NULL);
        if (r < 0)
            log_warn("leftover not removed", "path=%s error=\"%s\"", path, strerror(-r));
    }
    (void)closedir(dir);
    return 0;
}

int volume_store_open(const char *root, struct reaper *reaper, struct volume_store **ret,
                      struct error *e)
{
    AUTOPTR(volume_store) struct volume_store *vs = xcalloc(1, sizeof *vs);
    int r;

    vs->reaper = reaper;
    vs->dir = xasprintf("%s/volumes", root);
    vs->users = map_new();
    vs->going = map_new();
    (void)pthread_mutex_init(&vs->lock, NULL);
    (void)pthread_cond_init(&vs->changed, NULL);
    /* Nobody of the host walks in: a set-user-id program that a container with a user namespace of
     * its own left in a volume is root's on disk. Earlier versions made the folder 0701. */
    r = fs_mkdir_p(vs->dir, 0700);
    if (r == 0 && chmod(vs->dir, 0700) < 0)
        r = -errno;
    if (r < 0)
        return error_set_errno(e, r, "make %s", vs->dir);
    r = sweep(vs, e);
    if (r < 0)
        return r;
    *ret = take_ptr(vs);
    return 0;
}

void volume_store_free(struct volume_store *vs)
{
    if (!vs)
        return;
    map_free(vs->users, users_free);
    map_free(vs->going, NULL);
    (void)pthread_cond_destroy(&vs->changed);
    (void)pthread_mutex_destroy(&vs->lock);
    free(vs->dir);
    free(vs);
}
