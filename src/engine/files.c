/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's files, read from outside: export, the list of changes, commit. They are read by
 * pouch-pack (rootfs/), which no container can talk to; no claim is held meanwhile, so that a stop or
 * a removal need not wait. A container that was removed or got another image in between has given
 * nothing: the last check is made when all was read.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"

#define PIECE (256u * 1024)

/* What the engine puts into every container, and what is always mounted over: never a change of the
 * container's, as in Docker. */
static char *const engine_paths[] = {(char *)"dev",          (char *)"proc",
                                     (char *)"sys",          (char *)"etc/hosts",
                                     (char *)"etc/hostname", (char *)"etc/resolv.conf",
                                     (char *)".dockerenv",   NULL};

struct files {
    struct container *c;
    const struct container_definition *def;
    struct image *image;
    struct rootfs_packer *packer;
    int fd;
};

static void files_done(struct files *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    (void)!rootfs_pack_finish(s->packer, true, NULL);
    container_def_free(s->def);
    image_unref(s->image);
    container_unref(s->c);
}

/* Whether it still is the container that was found, as it was then. */
static int files_same(struct files *s, struct error *e)
{
    bool gone, other;

    (void)pthread_mutex_lock(&s->c->mutex);
    gone = s->c->removed || s->c->op == OP_REMOVE;
    other = s->c->upgrading || !STREQ(s->c->def_now->image_id, s->def->image_id);
    (void)pthread_mutex_unlock(&s->c->mutex);
    if (gone)
        return error_set(e, ERR_CONFLICT, "container %.12s was removed meanwhile", s->c->id);
    if (other)
        return error_set(e, ERR_CONFLICT, "container %.12s got another image meanwhile", s->c->id);
    return 0;
}

/* What failed with r and filled e: files and images that went away with their container fail in many
 * ways, and the removal is the reason to tell. */
static int files_failed(struct files *s, int r, struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    int other = s->c ? files_same(s, &why) : 0;

    if (other >= 0)
        return r;
    error_done(e);
    error_move(e, &why);
    return other;
}

static int files_find(struct engine *en, const char *ref, struct files *s, struct error *e)
{
    int r = container_find(en, ref, &s->c, e);

    if (r < 0)
        return r;
    s->def = container_def_ref(s->c);
    r = image_get(en->images, s->def->image_id, &s->image, e);
    if (r < 0)
        error_add(e, "the image of container %.12s", s->c->id);
    return r;
}

static int files_start(struct files *s, enum rootfs_pack_mode mode, struct error *e)
{
    const struct rootfs_pack_params p = {.mode = mode,
                                         .container_dir = s->def->dir,
                                         .layers = s->image->layer_dirs,
                                         .skip = mode == ROOTFS_PACK_TREE ? NULL : engine_paths};

    return rootfs_pack_start(s->c->en->rootfs, &p, &s->packer, &s->fd, e);
}

/* All was read: was it one container's, from its beginning to its end? */
static int files_end(struct files *s, struct error *e)
{
    int r = rootfs_pack_finish(take_ptr(s->packer), false, e);

    if (r < 0)
        error_add(e, "read the files of container %.12s", s->c->id);
    return r < 0 ? r : files_same(s, e);
}

/* --- Export --------------------------------------------------------------------------------------- */

int engine_export(struct engine *en, const char *ref, image_write_fn *write, void *data,
                  struct error *e)
{
    CLEANUP(files_done) struct files s = {.fd = -EBADF};
    AUTOFREE char *piece = xmalloc(PIECE);
    ssize_t n = 1;
    int r = files_find(en, ref, &s, e);

    if (r >= 0)
        r = files_start(&s, ROOTFS_PACK_TREE, e);
    while (r >= 0 && n > 0) {
        n = read(s.fd, piece, PIECE);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            r = error_set_errno(e, errno, "read the files of container %.12s", s.c->id);
        else if (n > 0 && (r = write(data, piece, (size_t)n)) < 0)
            (void)error_set_errno(e, r, "the archive was not taken to its end");
    }
    if (r >= 0)
        r = files_end(&s, e);
    if (r < 0)
        return files_failed(&s, r, e);
    events_container(s.c, "export", NULL);
    return 0;
}

/* --- Changes -------------------------------------------------------------------------------------- */

static int parse_changes(const struct buf *b, struct json_list *ret)
{
    const char *p = b->data, *end = p + b->len;

    while (p < end) {
        size_t len = strnlen(p, (size_t)(end - p));

        if (len < 2 || p + len == end)
            return -EINVAL;
        struct container_change *c = json_list_add(ret, sizeof(*c));
        c->kind = *p == 'A' ? CHANGE_ADDED : *p == 'D' ? CHANGE_DELETED : CHANGE_MODIFIED;
        c->path = xstrdup(p + 1);
        p += len + 1;
    }
    return 0;
}

int engine_changes(struct engine *en, const char *ref, struct json_list *ret, struct error *e)
{
    CLEANUP(files_done) struct files s = {.fd = -EBADF};
    AUTO(buf) struct buf b = BUF_INIT((size_t)1 << 30);
    ssize_t n = 1;
    int r = files_find(en, ref, &s, e);

    if (r >= 0 && !rootfs_upper(en->rootfs, s.def->dir, NULL))
        return files_same(&s, e); /* it never ran, and has none */
    if (r >= 0)
        r = files_start(&s, ROOTFS_PACK_CHANGES, e);
    while (r >= 0 && n > 0) {
        char *room = buf_reserve(&b, PIECE);

        n = room ? read(s.fd, room, PIECE) : -1;
        if (!room)
            r = error_set(e, ERR_TOO_LARGE, "the list of changes of container %.12s is too long",
                          s.c->id);
        else if (n < 0 && errno != EINTR)
            r = error_set_errno(e, errno, "read the changes of container %.12s", s.c->id);
        else if (n > 0)
            buf_commit(&b, (size_t)n);
        else if (n < 0)
            n = 1;
    }
    if (r >= 0)
        r = files_end(&s, e);
    if (r >= 0 && parse_changes(&b, ret) < 0)
        r = error_set(e, ERR_INTERNAL, "the list of changes is malformed");
    return r < 0 ? files_failed(&s, r, e) : 0;
}

void container_changes_done(struct json_list *l)
{
    struct container_change *c = l->items;

    for (size_t i = 0; i < l->len; i++)
        free(c[i].path);
    free(c);
    memset(l, 0, sizeof(*l));
}

/* --- Commit --------------------------------------------------------------------------------------- */

/* Whether the container changed anything at all: a new image needs no layer without. */
static int has_changes(struct files *s, bool *ret, struct error *e)
{
    char byte;

    *ret = false;
    if (!rootfs_upper(s->c->en->rootfs, s->def->dir, NULL))
        return 0;
    int r = files_start(s, ROOTFS_PACK_CHANGES, e);
    if (r < 0)
        return r;
    ssize_t n = fs_read_full(s->fd, &byte, 1);
    (void)close(take_fd(s->fd));
    *ret = n == 1;
    return rootfs_pack_finish(take_ptr(s->packer), *ret, e);
}

static void merge_env(char ***env, char *const *more)
{
    for (size_t i = 0; more && more[i]; i++) {
        size_t len = strcspn(more[i], "=");
        bool there = false;

        for (size_t k = 0; !there && *env && (*env)[k]; k++)
            there = strncmp((*env)[k], more[i], len) == 0 && (*env)[k][len] == '=';
        if (!there)
            strv_push(env, more[i]);
    }
}

static void merge_set(char ***set, char *const *more)
{
    for (size_t i = 0; more && more[i]; i++)
        if (!strv_contains(*set, more[i]))
            strv_push(set, more[i]);
}

static void replace_strv(char ***to, char *const *from)
{
    if (strv_len(*to) > 0)
        return;
    strv_free(*to);
    *to = strv_copy(from);
}

/* What the request leaves open is as the container has it. */
static void merge_config(struct oci_image_config *to, const struct container_config *from,
                         bool entrypoint_set)
{
    if (str_is_empty(to->user))
        str_replace(&to->user, from->user);
    if (str_is_empty(to->working_dir))
        str_replace(&to->working_dir, from->working_dir);
    if (str_is_empty(to->stop_signal))
        str_replace(&to->stop_signal, from->stop_signal);
    if (!entrypoint_set) {
        replace_strv(&to->cmd, from->cmd);
        replace_strv(&to->entrypoint, from->entrypoint);
    }
    replace_strv(&to->shell, from->shell);
    merge_env(&to->env, from->env);
    merge_set(&to->exposed_ports, from->exposed_ports);
    merge_set(&to->volumes, from->volumes);
    for (size_t i = 0; i < from->labels.len; i++)
        if (!json_map_get(&to->labels, from->labels.items[i].key))
            json_map_set(&to->labels, from->labels.items[i].key, from->labels.items[i].value);
    if (!to->healthcheck && from->healthcheck) {
        to->healthcheck = xcalloc(1, sizeof(*to->healthcheck));
        json_copy(&oci_healthcheck_json, to->healthcheck, from->healthcheck);
    }
}

static int check_files(void *data, struct error *e)
{
    return files_end(data, e);
}

static int make_image(struct files *s, const struct container_commit *p, char **ret_id,
                      struct error *e)
{
    struct oci_image_config config = {0};
    AUTOFREE char *created_by = strv_join(s->def->config.cmd, " ");
    bool changed = false;
    int r;

    if (p->config)
        json_copy(&oci_image_config_json, &config, p->config);
    else
        merge_config(&config, &s->def->config, false);
    r = image_config_change(&config, p->changes, e);
    if (r >= 0)
        merge_config(&config, &s->def->config, strv_len(config.entrypoint) > 0);
    if (r >= 0)
        r = has_changes(s, &changed, e);
    if (r >= 0 && changed)
        r = files_start(s, ROOTFS_PACK_DIFF, e);
    if (r >= 0) {
        const struct image_derive_params d = {.parent = s->image,
                                              .layer_fd = changed ? s->fd : -1,
                                              .config = &config,
                                              .author = p->author,
                                              .comment = p->comment,
                                              .created_by = created_by,
                                              .repo = p->repo,
                                              .tag = p->tag,
                                              .check = check_files,
                                              .check_data = s,
                                              .cancel_fd = p->cancel_fd};
        r = image_derive(s->c->en->images, &d, ret_id, e);
    }
    json_free(&oci_image_config_json, &config);
    return r;
}

int engine_commit(struct engine *en, const char *ref, const struct container_commit *p,
                  char **ret_id, struct error *e)
{
    CLEANUP(files_done) struct files s = {.fd = -EBADF};
    int r = files_find(en, ref, &s, e);

    if (r >= 0 && p->pause)
        r = container_hold_paused(s.c, e);
    if (r < 0)
        return files_failed(&s, r, e);
    r = make_image(&s, p, ret_id, e);
    if (p->pause)
        container_end_paused(s.c);
    if (r < 0)
        return files_failed(&s, r, e);
    AUTOFREE char *name = str_is_empty(p->repo)  ? xstrdup("")
                          : str_is_empty(p->tag) ? xstrdup(p->repo)
                                                 : xasprintf("%s:%s", p->repo, p->tag);
    events_container(s.c, "commit", "comment", p->comment ? p->comment : "", "imageID", *ret_id,
                     "imageRef", name, NULL);
    return 0;
}
