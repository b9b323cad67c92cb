/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the many places in a request that name mounts to one checked list. No side effects. Messages
 * are Docker's where it has any: scripts match them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/str.h"
#include "base/strv.h"
#include "volume/volume-priv.h"

/* More mounts than any container has; keeps the pairwise comparisons below short. */
#define MOUNTS_MAX 4096
#define TEXT_MAX   (3 * 4096) /* of one -v or the options of one tmpfs */

static const char *const propagations[] = {"private", "rprivate", "shared", "rshared",
                                           "slave",   "rslave",   NULL};

static bool is_one_of(const char *s, const char *const *list)
{
    for (; *list; list++) {
        if (STREQ(*list, s))
            return true;
    }
    return false;
}

/* Like Go's filepath.Clean() for an absolute path. */
static char *clean_path(const char *path)
{
    char *out = xmalloc(strlen(path) + 2);
    size_t n = 0;

    while (*path) {
        size_t len = strcspn(path, "/");

        if (len == 2 && path[0] == '.' && path[1] == '.') {
            while (n > 0 && out[--n] != '/')
                ;
        } else if (len > 0 && !(len == 1 && path[0] == '.')) {
            out[n++] = '/';
            memcpy(out + n, path, len);
            n += len;
        }
        path += len + (path[len] == '/');
    }
    if (n == 0)
        out[n++] = '/';
    out[n] = 0;
    return out;
}

/* --- What stands after the second colon ---------------------------------------------------- */

struct mode {
    bool read_only;
    bool label; /* z or Z: for SELinux hosts, taken and without effect elsewhere */
    bool no_copy;
    bool copy_set;
    bool idmap;              /* shown with the ids of the container's user namespace */
    const char *propagation; /* from the table, or NULL */
};

/* One word of a mode; false when it is none or one of its kind was there before. */
static bool parse_mode_word(const char *word, struct mode *m, bool *access_set, bool *cons_set)
{
    static const char *const consistencies[] = {"consistent", "cached", "delegated", "default",
                                                NULL};

    if (STREQ(word, "ro") || STREQ(word, "rw")) {
        m->read_only = word[1] == 'o';
        return !*access_set && (*access_set = true);
    }
    if (STREQ(word, "z") || STREQ(word, "Z"))
        return !m->label && (m->label = true);
    if (STREQ(word, "idmap"))
        return !m->idmap && (m->idmap = true);
    if (STREQ(word, "nocopy") || STREQ(word, "copy")) {
        m->no_copy = word[0] == 'n';
        return !m->copy_set && (m->copy_set = true);
    }
    if (is_one_of(word, consistencies))
        return !*cons_set && (*cons_set = true);
    for (const char *const *p = propagations; *p; p++) {
        if (STREQ(word, *p) && !m->propagation) {
            m->propagation = *p;
            return true;
        }
    }
    return false;
}

static bool parse_mode(const char *text, struct mode *ret)
{
    AUTOPTR(strv) char **words = strv_split(text, ",", false);
    struct mode m = {.read_only = false};
    bool access_set = false;
    bool cons_set = false;

    /* "src:dst:" is fine */
    for (char **w = words; *text && w && *w; w++) {
        if (!parse_mode_word(*w, &m, &access_set, &cons_set))
            return false;
    }
    *ret = m;
    return true;
}

/* --- Building the list ---------------------------------------------------------------------- */

static struct volume_mount *add(struct volume_mounts *list)
{
    struct volume_mount *m;

    list->items = xreallocarray(list->items, list->len + 1, sizeof *list->items);
    m = &list->items[list->len++];
    memset(m, 0, sizeof *m);
    return m;
}

static const struct volume_mount *find(const struct volume_mounts *list, const char *destination)
{
    for (size_t i = 0; i < list->len; i++) {
        if (STREQ(list->items[i].destination, destination))
            return &list->items[i];
    }
    return NULL;
}

/* A checked destination, cleaned, into *ret. */
static int check_destination(const char *path, char **ret, struct error *e)
{
    char *out;

    if (path[0] != '/')
        return error_set(e, ERR_INVALID, "invalid mount path: '%s' mount path must be absolute",
                         path);
    if (strlen(path) >= 4096)
        return error_set(e, ERR_INVALID, "invalid mount path: it is too long");
    out = clean_path(path);
    if (STREQ(out, "/")) {
        free(out);
        return error_set(e, ERR_INVALID, "invalid specification: destination can't be '/'");
    }
    *ret = out;
    return 0;
}

/* What is the same for bind and volume: access, propagation, and the runtime's options. */
static void set_bind_options(struct volume_mount *m, bool recursive, const char *propagation,
                             const char *read_only)
{
    m->propagation = xstrdup(propagation);
    m->rw = read_only == NULL;
    strv_push(&m->options, recursive ? "rbind" : "bind");
    strv_push(&m->options, propagation);
    if (read_only)
        strv_push(&m->options, read_only);
}

static char *random_name(void)
{
    char name[65];

    random_hex(name, 32);
    return xstrdup(name);
}

static void set_volume(struct volume_mount *m, const char *name, const char *driver)
{
    m->type = xstrdup("volume");
    m->anonymous = str_is_empty(name);
    m->name = m->anonymous ? random_name() : xstrdup(name);
    m->driver = xstrdup(str_is_empty(driver) ? VOLUME_DRIVER_LOCAL : driver);
}

/* The colon-separated parts of one -v. */
struct bind_text {
    char *source; /* NULL: an anonymous volume */
    char *destination;
    char *mode;
};

static bool split_bind(char **parts, struct bind_text *ret)
{
    struct mode ignored;
    size_t n = strv_len(parts);

    if (n < 1 || n > 3 || !parts[0][0])
        return false;
    /* "/x:ro" is no volume: Docker refuses it too. */
    if (n == 2 && (!parts[1][0] || parse_mode(parts[1], &ignored)))
        return false;
    *ret = (struct bind_text){
        .source = n > 1 ? parts[0] : NULL,
        .destination = n > 1 ? parts[1] : parts[0],
        .mode = n > 2 ? parts[2] : NULL,
    };
    return ret->destination[0] != 0;
}

static int fill_bind(struct volume_mount *m, const struct bind_text *t, const struct mode *mode,
                     const char *driver, struct error *e)
{
    const char *read_only = mode->read_only ? "ro" : NULL;
    int r;

    m->mode = xstrdup(t->mode ? t->mode : "");
    if (t->source && t->source[0] == '/') {
        if (mode->copy_set)
            return error_set(e, ERR_INVALID,
                             "invalid mount config for type \"bind\": "
                             "field VolumeOptions must not be specified");
        m->type = xstrdup("bind");
        m->source = clean_path(t->source);
        m->make_source = true;
        set_bind_options(m, true, mode->propagation ? mode->propagation : "rprivate", read_only);
        if (mode->idmap)
            strv_push(&m->options, "idmap");
        return 0;
    }
    if (mode->propagation)
        return error_set(e, ERR_INVALID,
                         "invalid mount config for type \"volume\": "
                         "field BindOptions must not be specified");
    r = t->source ? volume_name_check(t->source, e) : 0;
    if (r == 0)
        r = volume_driver_check(driver, e);
    if (r < 0)
        return r;
    set_volume(m, t->source, driver);
    m->no_copy = mode->no_copy;
    set_bind_options(m, true, "rprivate", read_only);
    if (mode->idmap)
        strv_push(&m->options, "idmap");
    return 0;
}

static int parse_bind(struct volume_mounts *list, const char *text, const char *driver,
                      struct error *e)
{
    AUTOPTR(strv) char **parts = NULL;
    struct volume_mount *m;
    struct bind_text t;
    struct mode mode = {.read_only = false};
    int r;

    if (strlen(text) > TEXT_MAX)
        return error_set(e, ERR_INVALID, "invalid volume specification: it is too long");
    parts = strv_split(text, ":", false);
    if (!split_bind(parts, &t))
        return error_set(e, ERR_INVALID, "invalid volume specification: '%s'", text);
    if (t.mode && !parse_mode(t.mode, &mode))
        return error_set(e, ERR_INVALID, "invalid mode: %s", t.mode);
    m = add(list);
    r = check_destination(t.destination, &m->destination, e);
    if (r == 0)
        r = fill_bind(m, &t, &mode, driver, e);
    if (r < 0)
        error_add(e, "invalid volume specification: '%s'", text);
    return r;
}

/* --- HostConfig.Mounts ---------------------------------------------------------------------- */

static int field_error(const char *field, const char *what, struct error *e)
{
    return error_set(e, ERR_INVALID, "field %s must not be %s", field, what);
}

static int mount_bind(struct volume_mount *m, const struct volume_mount_request *q, struct error *e)
{
    const struct volume_bind_options none = {.propagation = NULL};
    const struct volume_bind_options *o = q->bind ? q->bind : &none;
    const char *propagation = str_is_empty(o->propagation) ? "rprivate" : o->propagation;

    if (q->volume)
        return field_error("VolumeOptions", "specified", e);
    if (q->tmpfs)
        return field_error("TmpfsOptions", "specified", e);
    if (str_is_empty(q->source))
        return field_error("Source", "empty", e);
    if (q->source[0] != '/')
        return error_set(e, ERR_INVALID, "invalid mount path: '%s' mount path must be absolute",
                         q->source);
    if (!is_one_of(propagation, propagations))
        return error_set(e, ERR_INVALID, "invalid propagation mode: %s", propagation);
    if (o->read_only_force_recursive && !q->read_only)
        return error_set(e, ERR_INVALID,
                         "mount source must be read-only for ReadOnlyForceRecursive");
    m->source = clean_path(q->source);
    m->make_source = o->create_mountpoint;
    set_bind_options(m, !o->non_recursive, propagation, q->read_only ? "ro" : NULL);
    return 0;
}

static int mount_volume(struct volume_mount *m, const struct volume_mount_request *q,
                        struct error *e)
{
    const struct volume_volume_options none = {.no_copy = false};
    const struct volume_volume_options *o = q->volume ? q->volume : &none;
    int r;

    if (q->bind)
        return field_error("BindOptions", "specified", e);
    if (q->tmpfs)
        return field_error("TmpfsOptions", "specified", e);
    if (!str_is_empty(o->subpath))
        return error_set(e, ERR_NOT_SUPPORTED, "VolumeOptions.Subpath is not supported yet");
    r = str_is_empty(q->source) ? 0 : volume_name_check(q->source, e);
    if (r == 0)
        r = volume_driver_check(o->driver.name, e);
    if (r == 0)
        r = volume_options_check(&o->driver.options, e);
    if (r < 0)
        return r;
    free(take_ptr(m->type)); /* set_volume() sets it */
    set_volume(m, q->source, o->driver.name);
    m->no_copy = o->no_copy;
    for (size_t i = 0; i < o->labels.len; i++)
        json_map_set(&m->labels, o->labels.items[i].key, o->labels.items[i].value);
    for (size_t i = 0; i < o->driver.options.len; i++)
        json_map_set(&m->driver_opts, o->driver.options.items[i].key,
                     o->driver.options.items[i].value);
    set_bind_options(m, true, "rprivate", q->read_only ? "ro" : NULL);
    return 0;
}

static void add_tmpfs_defaults(struct volume_mount *m)
{
    strv_push(&m->options, "noexec");
    strv_push(&m->options, "nosuid");
    strv_push(&m->options, "nodev");
}

static int mount_tmpfs(struct volume_mount *m, const struct volume_mount_request *q,
                       struct error *e)
{
    if (q->bind)
        return field_error("BindOptions", "specified", e);
    if (q->volume)
        return field_error("VolumeOptions", "specified", e);
    if (!str_is_empty(q->source))
        return field_error("Source", "specified", e);
    if (q->tmpfs && (q->tmpfs->size_bytes < 0 || q->tmpfs->mode < 0 || q->tmpfs->mode > 07777))
        return error_set(e, ERR_INVALID, "invalid TmpfsOptions: a size or mode out of range");
    m->rw = !q->read_only;
    add_tmpfs_defaults(m);
    if (q->tmpfs && q->tmpfs->size_bytes)
        strv_pushf(&m->options, "size=%lld", (long long)q->tmpfs->size_bytes);
    if (q->tmpfs && q->tmpfs->mode)
        strv_pushf(&m->options, "mode=%o", (unsigned)q->tmpfs->mode);
    if (q->read_only)
        strv_push(&m->options, "ro");
    return 0;
}

static int parse_mount(struct volume_mounts *list, const struct volume_mount_request *q,
                       struct error *e)
{
    static const struct {
        const char *type;
        int (*fill)(struct volume_mount *, const struct volume_mount_request *, struct error *);
    } kinds[] = {{"bind", mount_bind}, {"volume", mount_volume}, {"tmpfs", mount_tmpfs}};
    const char *type = q->type ? q->type : "";
    struct volume_mount *m = add(list);
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!STREQ(kinds[i].type, type))
            continue;
        m->type = xstrdup(type);
        m->mode = xstrdup("");
        if (str_is_empty(q->target))
            r = field_error("Target", "empty", e);
        else
            r = check_destination(q->target, &m->destination, e);
        if (r == 0)
            r = kinds[i].fill(m, q, e);
        if (r < 0)
            error_add(e, "invalid mount config for type \"%s\"", type);
        return r;
    }
    return error_set(e, ERR_INVALID, "mount type \"%s\" unknown", type);
}

/* --- HostConfig.Tmpfs ----------------------------------------------------------------------- */

/* Takes the options that contradict a new one out of the list. */
static void override_option(struct volume_mount *m, const char *option)
{
    static const char *const pairs[][2] = {{"exec", "noexec"},   {"suid", "nosuid"},
                                           {"dev", "nodev"},     {"ro", "rw"},
                                           {"atime", "noatime"}, {"diratime", "nodiratime"},
                                           {"async", "sync"}};

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        if (STREQ(option, pairs[i][0]) || STREQ(option, pairs[i][1])) {
            strv_remove(m->options, pairs[i][0]);
            strv_remove(m->options, pairs[i][1]);
        }
    }
}

static bool tmpfs_option_is_valid(const char *option)
{
    static const char *const flags[] = {"ro",       "rw",         "exec",        "noexec",
                                        "suid",     "nosuid",     "dev",         "nodev",
                                        "atime",    "noatime",    "diratime",    "nodiratime",
                                        "relatime", "norelatime", "strictatime", "sync",
                                        "async",    "private",    "rprivate",    "shared",
                                        "rshared",  "slave",      "rslave",      NULL};
    static const char *const data[] = {"size=",      "mode=",      "uid=", "gid=",
                                       "nr_inodes=", "nr_blocks=", "mpol="};

    if (is_one_of(option, flags))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
        if (str_has_prefix(option, data[i]) && option[strlen(data[i])])
            return true;
    }
    return false;
}

static int parse_tmpfs(struct volume_mounts *list, const char *destination, const char *options,
                       struct error *e)
{
    AUTOPTR(strv) char **words = NULL;
    struct volume_mount *m = add(list);
    int r = check_destination(destination, &m->destination, e);

    if (r < 0)
        return r;
    if (options && strlen(options) > TEXT_MAX)
        return error_set(e, ERR_INVALID, "tmpfs %s: its options are too long", destination);
    words = strv_split(options ? options : "", ",", true);
    m->type = xstrdup("tmpfs");
    m->mode = xstrdup("");
    m->rw = true;
    add_tmpfs_defaults(m);
    for (char **w = words; w && *w; w++) {
        if (!tmpfs_option_is_valid(*w))
            return error_set(e, ERR_INVALID, "invalid tmpfs option \"%s\"", *w);
        override_option(m, *w);
        strv_push(&m->options, *w);
        if (STREQ(*w, "ro") || STREQ(*w, "rw"))
            m->rw = (*w)[1] == 'w';
    }
    return 0;
}

/* --- The whole request ---------------------------------------------------------------------- */

static int check_new(const struct volume_mounts *list, struct error *e)
{
    const struct volume_mount *last = &list->items[list->len - 1];

    if (list->len > MOUNTS_MAX)
        return error_set(e, ERR_INVALID, "more than %d mounts", MOUNTS_MAX);
    if (find(list, last->destination) != last)
        return error_set(e, ERR_INVALID, "Duplicate mount point: %s", last->destination);
    return 0;
}

static int parse_explicit(const struct volume_request *req, struct volume_mounts *list,
                          struct error *e)
{
    int r = 0;

    for (char *const *b = req->binds; r == 0 && b && *b; b++) {
        r = parse_bind(list, *b, req->volume_driver, e);
        if (r == 0)
            r = check_new(list, e);
    }
    for (size_t i = 0; r == 0 && i < req->n_mounts; i++) {
        r = parse_mount(list, &req->mounts[i], e);
        if (r == 0)
            r = check_new(list, e);
    }
    for (size_t i = 0; r == 0 && req->tmpfs && i < req->tmpfs->len; i++) {
        r = parse_tmpfs(list, req->tmpfs->items[i].key, req->tmpfs->items[i].value, e);
        if (r == 0)
            r = check_new(list, e);
    }
    return r;
}

static void copy_from(struct volume_mount *to, const struct volume_mount *from)
{
    json_copy(&volume_mount_json, to, from);
    to->must_exist = from->must_exist;
}

/* What yields to the explicit mounts: --volumes-from first, then the image's volumes. */
static int add_implied(const struct volume_request *req, struct volume_mounts *list,
                       struct error *e)
{
    int r = 0;

    for (size_t i = 0; req->from && i < req->from->len; i++) {
        if (!find(list, req->from->items[i].destination))
            copy_from(add(list), &req->from->items[i]);
    }
    for (char *const *v = req->volumes; r == 0 && v && *v; v++) {
        AUTOFREE char *destination = NULL;
        struct volume_mount *m;

        if (list->len > MOUNTS_MAX)
            return error_set(e, ERR_INVALID, "more than %d mounts", MOUNTS_MAX);
        r = check_destination(*v, &destination, e);
        if (r == 0)
            r = volume_driver_check(req->volume_driver, e);
        if (r < 0 || find(list, destination))
            continue;
        m = add(list);
        set_volume(m, NULL, req->volume_driver);
        m->destination = take_ptr(destination);
        m->mode = xstrdup("");
        set_bind_options(m, true, "rprivate", NULL);
    }
    return r;
}

static size_t depth_of(const char *path)
{
    size_t n = 0;

    for (; *path; path++)
        n += *path == '/';
    return n;
}

static int compare_mounts(const void *a, const void *b)
{
    const struct volume_mount *x = a;
    const struct volume_mount *y = b;
    size_t dx = depth_of(x->destination);
    size_t dy = depth_of(y->destination);

    return dx != dy ? (dx < dy ? -1 : 1) : strcmp(x->destination, y->destination);
}

void volume_mounts_sort(struct volume_mounts *m)
{
    if (m->len)
        qsort(m->items, m->len, sizeof *m->items, compare_mounts);
}

int volume_mounts_parse(const struct volume_request *req, struct volume_mounts *ret,
                        struct error *e)
{
    struct volume_mounts list = {.items = NULL};
    int r = 0;

    for (char *const *f = req->volumes_from; r == 0 && f && *f; f++) {
        AUTOFREE char *container = NULL;
        bool read_only;

        r = volume_from_parse(*f, &container, &read_only, e);
    }
    if (r == 0)
        r = parse_explicit(req, &list, e);
    if (r == 0)
        r = add_implied(req, &list, e);
    if (r < 0) {
        volume_mounts_done(&list);
        return r;
    }
    volume_mounts_sort(&list);
    *ret = list;
    return 0;
}

int volume_from_parse(const char *text, char **ret_container, bool *ret_read_only, struct error *e)
{
    const char *colon = strchr(text, ':');
    struct mode mode = {.read_only = false};

    if (!*text || colon == text)
        return error_set(e, ERR_INVALID, "malformed volumes-from specification: %s", text);
    if (colon && (!parse_mode(colon + 1, &mode) || mode.copy_set || mode.propagation))
        return error_set(e, ERR_INVALID, "invalid mode for volumes-from: %s", colon + 1);
    *ret_container = colon ? xstrndup(text, (size_t)(colon - text)) : xstrdup(text);
    *ret_read_only = mode.read_only;
    return 0;
}
