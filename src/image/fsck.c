/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck: is all that the tables promise there, and as it was? Blobs are hashed by the worker. Layers
 * are made once more, aside, from their blob, by the same programs as in a pull, and compared entry
 * by entry with what is there: so nothing needs to be recorded when a layer is made, and what was
 * made aside is the repair. Damaged blobs are pulled again by digest from where they came.
 *
 * A damaged layer is never written into: the good one takes its name (an atomic exchange), and the
 * old one is kept as layers/old.<hex>.<random> while containers run on it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/op-priv.h"
#include "image/worker-protocol.h"
#include "oci/digest.h"

static const struct json_field problem_fields[] = {
    JSON_FIELD(struct image_fsck_problem, kind, "Kind", JSON_STR, 0),
    JSON_FIELD(struct image_fsck_problem, id, "Id", JSON_STR, 0),
    JSON_FIELD(struct image_fsck_problem, problem, "Problem", JSON_STR, 0),
    JSON_FIELD(struct image_fsck_problem, images, "Images", JSON_STRV, 0),
    JSON_FIELD(struct image_fsck_problem, containers, "Containers", JSON_STRV, 0),
    JSON_FIELD(struct image_fsck_problem, repaired, "Repaired", JSON_BOOL, 0),
    JSON_FIELD(struct image_fsck_problem, repair, "Repair", JSON_STR, JSON_OMIT_EMPTY),
    JSON_END,
};
static const struct json_desc problem_json = {"problem", sizeof(struct image_fsck_problem),
                                              problem_fields};
static const struct json_field result_fields[] = {
    JSON_FIELD(struct image_fsck_result, images, "Images", JSON_UINT, 0),
    JSON_FIELD(struct image_fsck_result, blobs, "Blobs", JSON_UINT, 0),
    JSON_FIELD(struct image_fsck_result, layers, "Layers", JSON_UINT, 0),
    JSON_FIELD(struct image_fsck_result, bytes, "Bytes", JSON_UINT, 0),
    JSON_FIELD(struct image_fsck_result, unreferenced, "Unreferenced", JSON_UINT, 0),
    JSON_FIELD(struct image_fsck_result, damaged, "Damaged", JSON_UINT, 0),
    JSON_FIELD(struct image_fsck_result, repaired, "Repaired", JSON_UINT, 0),
    JSON_FIELD_SUB(struct image_fsck_result, problems, "Problems", JSON_OBJ_LIST, 0, &problem_json),
    JSON_END,
};
const struct json_desc image_fsck_result_json = {"result", sizeof(struct image_fsck_result),
                                                 result_fields};

void image_fsck_result_done(struct image_fsck_result *r)
{
    json_free(&image_fsck_result_json, r);
}

struct fsck {
    struct image_store *s;
    const struct image_fsck_params *p;
    struct image_fsck_result *out;
    char **pins;
    char **blobs;      /* digests to hash, in order */
    size_t next;       /* of blobs */
    int hash_next;     /* … the one that is being hashed, -1: none */
    char **bad_blobs;  /* missing or damaged */
    char **bad_layers; /* found damaged and not repaired */
    /* Progress of the row that is at it: */
    struct rate_meter meter;
    uint64_t done, total; /* bytes */
};

/* --- Small helpers --------------------------------------------------------------------------------- */

static int strings(struct image_store *s, const char *sql, const char *arg, char ***ret,
                   struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = arg ? store_query(s->db, &rows, e, sql, "s", arg)
                : store_query(s->db, &rows, e, sql, "");

    while (r >= 0 && (r = store_rows_next(&rows, e)) > 0)
        if (store_col_str(&rows, 0))
            strv_push(ret, store_col_str(&rows, 0));
    return r;
}

/* A row's bytes; -ECANCELED: nobody listens any more. */
static int tell(struct fsck *f, const char *row, const char *status, uint64_t more)
{
    struct image_progress p = {.id = row, .status = status, .has_detail = true, .total = f->total};

    if (!f->p->progress)
        return 0;
    p.current = f->done + more < f->total ? f->done + more : f->total;
    rate_meter_update(&f->meter, time_monotonic_ns(), p.current);
    p.rate = (uint64_t)f->meter.rate;
    p.left = rate_meter_left(&f->meter, p.current, p.total);
    return f->p->progress(f->p->progress_data, &p) < 0 ? -ECANCELED : 0;
}

static void begin_row(struct fsck *f)
{
    f->done = f->total = 0;
    f->meter = (struct rate_meter){0};
}

static void pin(struct fsck *f, const char *digest)
{
    image_store_pin(f->s, digest);
    strv_push(&f->pins, digest);
}

/* Images (ids) that need this digest, whatever it is of theirs. */
static void images_of(struct image_store *s, const char *digest, char ***ret)
{
    (void)!strings(s,
                   "SELECT image_id FROM image_layers WHERE diff_id = ?1 "
                   "UNION SELECT image_id FROM image_blobs WHERE digest = ?1 "
                   "UNION SELECT id FROM images WHERE id = ?1 "
                   "UNION SELECT i.image_id FROM image_layers i JOIN layers l "
                   "ON l.diff_id = i.diff_id WHERE l.blob = ?1 "
                   "UNION SELECT i.image_id FROM image_layers i JOIN layer_blobs b "
                   "ON b.diff_id = i.diff_id WHERE b.blob = ?1",
                   digest, ret, NULL);
}

static enum image_use use_of(struct image_store *s, const char *id, char container[65])
{
    *container = '\0';
    return s->in_use ? s->in_use(s->in_use_data, id, container) : IMAGE_UNUSED;
}

static bool layer_runs(struct image_store *s, const char *diff_id)
{
    AUTOPTR(strv) char **ids = NULL;
    char container[65];
    bool runs = false;

    images_of(s, diff_id, &ids);
    for (size_t i = 0; ids && ids[i] && !runs; i++)
        runs = use_of(s, ids[i], container) == IMAGE_USED_RUNNING;
    return runs;
}

/* Takes problem over. */
static struct image_fsck_problem *add_problem(struct fsck *f, const char *kind, const char *id,
                                              char *problem)
{
    struct image_fsck_problem *x = json_list_add(&f->out->problems, sizeof(*x));
    AUTOPTR(strv) char **ids = NULL;
    char container[65];

    x->kind = xstrdup(kind);
    x->id = xstrdup(id);
    x->problem = problem;
    images_of(f->s, id, &ids);
    for (size_t i = 0; ids && ids[i]; i++) {
        AUTOPTR(strv) char **names = NULL;
        (void)!strings(f->s, "SELECT name FROM image_names WHERE image_id = ?", ids[i], &names,
                       NULL);
        for (size_t k = 0; names && names[k]; k++)
            strv_push(&x->images, names[k]);
        if (!names)
            strv_push(&x->images, ids[i]);
        if (use_of(f->s, ids[i], container) != IMAGE_UNUSED)
            strv_push(&x->containers, container);
    }
    f->out->damaged++;
    return x;
}

static struct image_fsck_problem *find_problem(struct fsck *f, const char *id)
{
    struct image_fsck_problem *all = f->out->problems.items;

    for (size_t i = f->out->problems.len; i-- > 0;)
        if (STREQ(all[i].id, id))
            return &all[i];
    return NULL;
}

/* Takes how over. */
static void set_repair(struct fsck *f, struct image_fsck_problem *x, bool repaired, char *how)
{
    free(x->repair);
    x->repair = how;
    if (repaired && !x->repaired)
        f->out->repaired++;
    x->repaired = repaired;
}

/* --- Rows -------------------------------------------------------------------------------------------- */

/* Rows that point to nothing. What the tables say of a layer is looked at with the layer. */
static int check_rows(struct fsck *f, struct error *e)
{
    static const struct {
        const char *find, *fix, *problem;
    } rules[] = {
        {"SELECT name FROM image_names WHERE image_id NOT IN (SELECT id FROM images)",
         "DELETE FROM image_names WHERE image_id NOT IN (SELECT id FROM images)",
         "the name of an image that is not there"},
        {"SELECT name || '@' || digest FROM image_digests WHERE image_id NOT IN "
         "(SELECT id FROM images)",
         "DELETE FROM image_digests WHERE image_id NOT IN (SELECT id FROM images)",
         "the digest of an image that is not there"},
        {"SELECT DISTINCT diff_id FROM image_layers WHERE image_id NOT IN (SELECT id FROM images)",
         "DELETE FROM image_layers WHERE image_id NOT IN (SELECT id FROM images)",
         "a layer of an image that is not there"},
        {"SELECT DISTINCT digest FROM image_blobs WHERE image_id NOT IN (SELECT id FROM images)",
         "DELETE FROM image_blobs WHERE image_id NOT IN (SELECT id FROM images)",
         "a blob of an image that is not there"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        AUTOPTR(strv) char **found = NULL;
        int r = strings(f->s, rules[i].find, NULL, &found, e);
        if (r >= 0 && found && f->p->repair)
            r = store_exec(f->s->db, e, rules[i].fix, "");
        if (r < 0)
            return r;
        for (size_t k = 0; found && found[k]; k++) {
            struct image_fsck_problem *x = add_problem(f, "row", found[k],
                                                       xstrdup(rules[i].problem));
            if (f->p->repair)
                set_repair(f, x, true, xstrdup("the row was deleted"));
        }
    }
    return 0;
}

/* --- Files that no row knows -------------------------------------------------------------------------- */

static bool is_working_name(const char *name)
{
    return name[0] == '.' || str_has_prefix(name, "tmp.") || str_has_prefix(name, "trash.") ||
           str_has_prefix(name, "old.");
}

/* In a transaction, as folders get their name and their row in one. */
static int check_files(struct fsck *f, struct image_trash *trash, struct error *e)
{
    struct image_store *s = f->s;
    struct map *known = map_new();
    AUTOPTR(strv) char **ids = NULL;
    int r = strings(s, "SELECT diff_id FROM layers", NULL, &ids, e);
    int fd = openat(s->layers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *de;

    for (size_t i = 0; ids && ids[i]; i++) {
        enum image_layer_form form = IMAGE_LAYER_FOLDER;
        (void)!image_store_layer_form(s, ids[i], &form);
        AUTOFREE char *name = image_layer_name(ids[i], form);
        (void)map_set(known, name, s);
    }
    while (r >= 0 && d && (de = readdir(d))) {
        if (is_working_name(de->d_name) || map_get(known, de->d_name))
            continue;
        struct image_fsck_problem *x = add_problem(f, "file", de->d_name,
                                                   xstrdup("no layer has this name"));
        if (f->p->repair && image_store_trash_layer(s, de->d_name, trash) == 0)
            set_repair(f, x, true, xstrdup("removed"));
    }
    if (d)
        closedir(d);
    map_free(known, NULL);
    return r;
}

static int check_strays(struct fsck *f, struct error *e)
{
    struct image_trash trash = {0};
    int r = store_begin(f->s->db, e);

    if (r < 0)
        return r;
    r = check_files(f, &trash, e);
    if (r < 0)
        store_rollback(f->s->db);
    else
        r = store_commit(f->s->db, e);
    image_store_empty_trash(f->s, &trash);
    return r;
}

/* --- Blobs -------------------------------------------------------------------------------------------- */

static void blob_is_bad(struct fsck *f, const char *digest, char *problem)
{
    if (!find_problem(f, digest))
        (void)add_problem(f, "blob", digest, problem);
    else
        free(problem);
    if (!strv_contains(f->bad_blobs, digest))
        strv_push(&f->bad_blobs, digest);
}

#define BLOB_ROWS                                                                                  \
    "SELECT digest FROM image_blobs UNION SELECT id AS digest FROM images "                        \
    "UNION SELECT blob AS digest FROM layers WHERE blob IS NOT NULL "                              \
    "UNION SELECT blob AS digest FROM layer_blobs"

/* A dropped blob goes with its layer, whoever pinned it. */
static bool is_wanted(struct fsck *f, const char *digest)
{
    AUTOPTR(strv) char **rows = NULL;

    return strings(f->s, "SELECT 1 FROM (" BLOB_ROWS ") WHERE digest = ?", digest, &rows, NULL) <
               0 ||
           rows;
}

/* 1 with its file; 0: there is nothing to hash; -errno. */
static int open_blob(struct fsck *f, const char *digest, int *ret_fd)
{
    AUTOFREE char *path = image_blob_path(digest);
    int r = -ENOENT;

    /* More than once: it may be brought again between two of these looks. */
    for (int tries = 0; r == -ENOENT && tries < 3; tries++) {
        *ret_fd = openat(f->s->blobs_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        r = *ret_fd >= 0 ? 1 : -errno;
        if (r == -ENOENT && (image_blob_has_journal(f->s, digest) || !is_wanted(f, digest)))
            return 0; /* dropped: made again when the layer is looked at */
    }
    return r;
}

/* The next blob to hash: 1 with its file, 0: no more. */
static int feed_next(struct fsck *f, int *ret_fd, const char **ret_digest)
{
    while (f->blobs && f->blobs[f->next]) {
        const char *digest = f->blobs[f->next];
        f->hash_next = (int)f->next++;
        int r = open_blob(f, digest, ret_fd);
        if (r > 0) {
            *ret_digest = digest;
            return 1;
        }
        if (r < 0)
            blob_is_bad(f, digest, xasprintf("cannot be opened: %s", strerror(-r)));
    }
    f->hash_next = -1;
    return 0;
}

static int feed_hashed(struct fsck *f, const char *digest, uint64_t size, int errnum)
{
    if (f->hash_next < 0 || (digest && !digest_is_valid(digest)) || errnum < 0 || errnum > 4095)
        return -EPROTO;
    const char *wanted = f->blobs[f->hash_next];
    f->hash_next = -1;
    f->out->blobs++;
    f->out->bytes += size;
    f->done += size;
    if (!digest)
        blob_is_bad(f, wanted, xasprintf("cannot be read: %s", strerror(errnum ? errnum : EIO)));
    else if (!STREQ(digest, wanted))
        blob_is_bad(f, wanted, xasprintf("its content has digest %s", digest));
    return 0;
}

static int hash_message(struct image_op *op, struct worker_msg *m)
{
    struct fsck *f = op->params->ext_data;
    const char *digest = NULL;
    AUTOFD int fd = -EBADF;

    if (STREQ(m->type, "hashed"))
        return feed_hashed(f, m->digest, m->size, (int)m->errnum) < 0
                   ? error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: hashed")
                   : 1;
    if (!STREQ(m->type, "next"))
        return 0;
    int r = f->total ? tell(f, "blobs", "Checking", 0) : 0;
    if (r < 0)
        return r;
    r = feed_next(f, &fd, &digest);
    const struct worker_msg reply = {.type = (char *)"file", .id = m->id, .digest = (char *)digest};
    r = op_reply(op, &reply, &fd, r > 0 ? 1 : 0);
    return r < 0 ? r : 1;
}

/* Hashes f->blobs. */
static int hash_blobs(struct fsck *f, struct error *e)
{
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    struct worker_msg start = {.type = (char *)"start", .op = (char *)"hash"};
    static const struct image_op_ext ext = {.message = hash_message};
    const struct image_op_params op = {.start = &start,
                                       .input_fd = -EBADF,
                                       .cancel_fd = f->p->cancel_fd,
                                       .quiet = true,
                                       .ext = &ext,
                                       .ext_data = f};

    f->next = 0;
    f->hash_next = -1;
    return f->blobs ? image_op_run(f->s, &op, &results, e) : 0;
}

/* Pins what a query names, and gives what it still names then: what was removed before it was pinned is
 * no damage. */
static int pinned(struct fsck *f, const char *sql, char ***ret, struct error *e)
{
    AUTOPTR(strv) char **before = NULL, **after = NULL;
    struct map *known = map_new();
    int r = strings(f->s, sql, NULL, &before, e);

    for (size_t i = 0; before && before[i]; i++) {
        pin(f, before[i]);
        (void)map_set(known, before[i], f);
    }
    if (r >= 0)
        r = strings(f->s, sql, NULL, &after, e);
    for (size_t i = 0; r >= 0 && after && after[i]; i++)
        if (map_get(known, after[i])) /* else it has just come: not looked at this time */
            strv_push(ret, after[i]);
    map_free(known, NULL);
    return r;
}

static int check_blobs(struct fsck *f, struct error *e)
{
    int r = pinned(f, BLOB_ROWS, &f->blobs, e);

    begin_row(f);
    for (size_t i = 0; f->blobs && f->blobs[i]; i++) {
        AUTOFREE char *path = image_blob_path(f->blobs[i]);
        struct stat st;
        if (f->p->progress && fstatat(f->s->blobs_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
            f->total += (uint64_t)st.st_size;
    }
    if (r >= 0)
        r = hash_blobs(f, e);
    if (r >= 0 && f->total)
        r = tell(f, "blobs", "Checked", 0);
    return r;
}

/* --- Layers ------------------------------------------------------------------------------------------- */

struct check {
    struct fsck *f;
    const char *diff_id;
    int64_t begun; /* ns */
    struct error *e;
};

/* One exchange, until its transaction has ended well. */
struct swap {
    struct image_store *s;
    const char *diff_id, *fresh, *name;
    char *old; /* what the old folder waits under for who runs on it; NULL: it has `fresh` */
    bool was;  /* there was an old one */
    bool runs; /* somebody runs on it */
    bool done;
};

/* Gives what was made aside the layer's name, in a transaction; the old one waits for who runs on it (an
 * EROFS file that is mounted needs no name). */
static int exchange(struct swap *x, enum image_layer_form form, struct error *e)
{
    struct image_store *s = x->s;
    int r = renameat2(s->layers_fd, x->fresh, s->layers_fd, x->name, x->was ? RENAME_EXCHANGE : 0);
    char id[17];

    if (r < 0)
        return error_set_errno(e, errno, "cannot put layer %s in its place", x->diff_id);
    x->done = true;
    x->runs = layer_runs(s, x->diff_id); /* who starts from now on gets the new one */
    if (x->was && x->runs && form == IMAGE_LAYER_FOLDER) {
        random_hex(id, 8);
        x->old = xasprintf("old.%s.%s", digest_hex(x->diff_id), id);
        if (renameat(s->layers_fd, x->fresh, s->layers_fd, x->old) < 0)
            return error_set_errno(e, errno, "cannot keep the old layer %s", x->diff_id);
        s->has_old = true;
    }
    if (!x->was)
        r = store_exec(s->db, e, "UPDATE layers SET form = ? WHERE diff_id = ?", "ss",
                       form == IMAGE_LAYER_EROFS ? "erofs" : "folder", x->diff_id);
    /* Nobody gets the mount of the old file any more; who has it keeps it. */
    return r < 0 ? r : image_store_layer_replaced(s, x->diff_id, x->name, e);
}

/* The transaction is lost (a full disk), and nobody else can look yet. */
static void exchange_back(void *data)
{
    struct swap *x = data;
    int dir = x->s->layers_fd;

    if (!x->done)
        return;
    if (x->old)
        (void)renameat(dir, x->old, dir, x->fresh);
    if (renameat2(dir, x->name, dir, x->fresh, x->was ? RENAME_EXCHANGE : 0) < 0)
        log_warn("a layer was made again, but is not on record as such", "layer=%s error=\"%s\"",
                 x->diff_id, strerror(errno));
}

/* What was made aside takes the layer's name; the old one goes, or waits for who runs on it. */
static int swap_layer(struct fsck *f, const char *diff_id, const char *fresh, char **ret_how,
                      struct error *e)
{
    struct image_store *s = f->s;
    enum image_layer_form form = IMAGE_LAYER_FOLDER;
    struct image_trash trash = {0};
    struct stat st;

    /* The row is durable: so must be what it names from now on. */
    if (syncfs(s->layers_fd) < 0)
        return error_set_errno(e, errno, "cannot write layer %s to disk", diff_id);
    int r = store_begin(s->db, e);

    if (r < 0)
        return r;
    bool was = image_store_layer_form(s, diff_id, &form) == 0;
    if (!was && fstatat(s->layers_fd, fresh, &st, AT_SYMLINK_NOFOLLOW) == 0)
        form = S_ISDIR(st.st_mode) ? IMAGE_LAYER_FOLDER : IMAGE_LAYER_EROFS;
    AUTOFREE char *name = image_layer_name(diff_id, form);
    struct swap x = {.s = s, .diff_id = diff_id, .fresh = fresh, .name = name, .was = was};
    r = exchange(&x, form, e);
    if (r < 0) {
        exchange_back(&x);
        store_rollback(s->db);
    } else {
        r = store_commit_else(s->db, exchange_back, &x, e);
    }
    if (r >= 0 && was && !x.old)
        (void)!image_store_trash_layer(s, fresh, &trash);
    image_store_layer_replaced_done(s, name);
    image_store_empty_trash(s, &trash);
    image_store_changed(s, NULL);
    free(x.old);
    if (r >= 0)
        *ret_how = xstrdup(was && x.runs
                               ? "made again from its blob; containers that run keep the damaged "
                                 "one until they are started again"
                               : "made again from its blob");
    return r;
}

/* The layer made once more lies in layers/<fresh>, which is ours. */
static int on_made(void *data, const char *fresh)
{
    struct check *c = data;
    struct fsck *f = c->f;
    struct image_trash trash = {0};
    enum image_layer_form form = IMAGE_LAYER_FOLDER;
    AUTOFREE char *difference = NULL, *how = NULL;

    (void)!image_store_layer_form(f->s, c->diff_id, &form);
    AUTOFREE char *name = image_layer_name(c->diff_id, form);
    int r = image_layers_compare(f->s->layers_fd, name, fresh, c->begun, &difference, c->e);
    if (r == 0 && !image_verity_is_good(f->s, c->diff_id)) {
        difference = xstrdup("its fs-verity measure is not the one on record");
        r = 1;
    }
    if (r > 0) {
        struct image_fsck_problem *x = find_problem(f, c->diff_id);
        if (!x)
            x = add_problem(f, "layer", c->diff_id, take_ptr(difference));
        r = f->p->repair ? swap_layer(f, c->diff_id, fresh, &how, c->e) : 0;
        if (how)
            set_repair(f, x, true, take_ptr(how));
    }
    /* Gone already when it was put in place. */
    (void)!image_store_trash_layer(f->s, fresh, &trash);
    image_store_empty_trash(f->s, &trash);
    return r;
}

/* Bytes of the layer that is being made once more. */
static int check_progress(void *data, const struct image_progress *p)
{
    struct fsck *f = data;

    return p->total && f->total ? tell(f, "layers", "Checking", p->current) : 0;
}

static int check_layer(struct fsck *f, const char *diff_id, struct error *e)
{
    CLEANUP(image_op_results_done) struct image_op_results results = {0};
    AUTOFREE char *blob = NULL, *media_type = NULL;
    AUTO(error) struct error why = ERROR_INIT, made = ERROR_INIT;
    AUTOFD int fd = -EBADF;
    CLEANUP(image_blobs_done) struct image_blobs blobs = {.cancel_fd = f->p->cancel_fd};
    struct check check = {.f = f,
                          .diff_id = diff_id,
                          .begun = time_now_ns() - NSEC_PER_SEC, /* clocks of file systems tick */
                          .e = &made};
    const struct image_op_check op_check = {on_made, &check};
    uint64_t size = 0;
    int r = image_blob_of_layer(f->s, diff_id, &blob, &media_type, &size, &why);

    if (r == -ENOENT)
        return 0; /* removed meanwhile, or found missing by its image */
    if (r >= 0 && (!blob || strv_contains(f->bad_blobs, blob)))
        return 0; /* what it is made of is bad itself: after that one's repair */
    if (r < 0) {
        error_move(e, &why);
        return r;
    }
    r = image_blob_open(f->s, &blobs, blob, &fd, &size, &why);
    if (r == -ECANCELED) {
        error_move(e, &why);
        return r;
    }
    if (r < 0) {
        if (!find_problem(f, diff_id))
            (void)add_problem(f, "layer", diff_id, xstrdup(error_message(&why)));
        strv_push(&f->bad_layers, diff_id);
        return 0;
    }
    struct worker_msg start = {.type = (char *)"start",
                               .op = (char *)"check",
                               .digest = blob,
                               .diff_id = (char *)diff_id,
                               .media_type = media_type};
    const struct image_op_params op = {.start = &start,
                                       .input_fd = fd,
                                       .cancel_fd = f->p->cancel_fd,
                                       .progress = f->p->progress ? check_progress : NULL,
                                       .progress_data = f,
                                       .check = &op_check};
    r = image_op_run(f->s, &op, &results, &why);
    f->out->layers++;
    f->done += size;
    if (r == -ECANCELED) {
        error_move(e, &why);
        return r;
    }
    if (r < 0) {
        const char *text = made.message ? made.message : error_message(&why);
        struct image_fsck_problem *x = find_problem(f, diff_id);
        if (!x)
            x = add_problem(f, "layer", diff_id, xasprintf("cannot be checked: %s", text));
        else
            set_repair(f, x, false, xasprintf("not repaired: %s", text));
    }
    return 0;
}

/* Layers that images have and the tables or the disk do not. */
static int missing_layers(struct fsck *f, struct error *e)
{
    AUTOPTR(strv) char **ids = NULL;
    int r = strings(f->s,
                    "SELECT DISTINCT diff_id FROM image_layers WHERE diff_id NOT IN "
                    "(SELECT diff_id FROM layers)",
                    NULL, &ids, e);

    for (size_t i = 0; ids && ids[i]; i++) {
        (void)add_problem(f, "layer", ids[i], xstrdup("it is missing"));
        strv_push(&f->bad_layers, ids[i]);
    }
    return r;
}

static int check_layers(struct fsck *f, struct error *e)
{
    AUTOPTR(strv) char **ids = NULL;
    int r = pinned(f, "SELECT diff_id FROM layers ORDER BY diff_id", &ids, e);

    begin_row(f);
    for (size_t i = 0; ids && ids[i]; i++) {
        AUTOFREE char *blob = NULL, *media_type = NULL;
        uint64_t size = 0;
        if (f->p->progress &&
            image_blob_of_layer(f->s, ids[i], &blob, &media_type, &size, NULL) >= 0)
            f->total += size;
    }
    for (size_t i = 0; r >= 0 && ids && ids[i]; i++)
        r = check_layer(f, ids[i], e);
    if (r >= 0 && f->total)
        r = tell(f, "layers", "Checked", 0);
    f->total = 0;
    return r < 0 ? r : missing_layers(f, e);
}

/* --- Repair by pulling again ------------------------------------------------------------------------- */

/* Where an image can be had by digest: references, manifests before indexes. */
static void sources_of(struct image_store *s, const char *image_id, char ***ret)
{
    (void)!strings(s,
                   "SELECT b.repository || '@' || i.digest FROM image_blobs i JOIN blob_sources b "
                   "ON b.digest = i.digest WHERE i.image_id = ? AND i.role = 'manifest' "
                   "ORDER BY b.seen DESC",
                   image_id, ret, NULL);
    (void)!strings(s, "SELECT name || '@' || digest FROM image_digests WHERE image_id = ?",
                   image_id, ret, NULL);
}

static bool blob_is_good_now(struct fsck *f, const char *digest)
{
    struct image_fsck_result scratch = {0};
    char *one[] = {(char *)digest, NULL};
    struct fsck again = {.s = f->s, .p = f->p, .out = &scratch, .blobs = one};
    AUTO(error) struct error e = ERROR_INIT;
    bool good = hash_blobs(&again, &e) >= 0 && !again.bad_blobs;

    strv_free(again.bad_blobs);
    image_fsck_result_done(&scratch);
    return good;
}

/* Diff ids of the layers whose blob this is. */
static void layers_of_blob(struct image_store *s, const char *blob, char ***ret)
{
    (void)!strings(s, "SELECT diff_id FROM layers WHERE blob = ?", blob, ret, NULL);
}

/* Pulls the images that need the digest until what was asked for is there: the reference that
 * helped, or NULL. */
static char *pull_again(struct fsck *f, const char *digest, char **refetch, char **ret_why)
{
    AUTOPTR(strv) char **images = NULL;

    images_of(f->s, digest, &images);
    for (size_t i = 0; images && images[i]; i++) {
        AUTOPTR(strv) char **refs = NULL;
        sources_of(f->s, images[i], &refs);
        for (size_t k = 0; refs && refs[k]; k++) {
            AUTO(error) struct error e = ERROR_INIT;
            const struct image_pull_params p = {.reference = refs[k],
                                                .auth = f->p->auth,
                                                .progress = f->p->progress,
                                                .progress_data = f->p->progress_data,
                                                .cancel_fd = f->p->cancel_fd,
                                                .refetch = refetch};
            if (image_pull(f->s, &p, NULL, &e) >= 0)
                return xstrdup(refs[k]);
            free(*ret_why);
            *ret_why = xstrdup(error_message(&e));
        }
    }
    if (!*ret_why)
        *ret_why = xstrdup("it came from no registry: load or import its image again");
    return NULL;
}

/* Out of the way, so that nobody reads it for what it says it is. The configuration of an image
 * stays: without it the image would be lost at the next start. */
static char *quarantine(struct fsck *f, const char *digest, const char *why)
{
    AUTOFREE char *path = image_blob_path(digest);
    AUTOFREE char *to = xasprintf("quarantine/%s", digest_hex(digest));
    AUTOPTR(strv) char **config = NULL;

    (void)!strings(f->s, "SELECT id FROM images WHERE id = ?", digest, &config, NULL);
    if (!config && (mkdirat(f->s->blobs_fd, "quarantine", 0700) == 0 || errno == EEXIST) &&
        renameat(f->s->blobs_fd, path, f->s->blobs_fd, to) == 0)
        return xasprintf("not repaired, moved to blobs/%s: %s", to, why);
    return xasprintf("not repaired: %s", why);
}

static void repair_blob(struct fsck *f, const char *digest)
{
    AUTOPTR(strv) char **refetch = NULL;
    AUTOFREE char *why = NULL;

    layers_of_blob(f->s, digest, &refetch);
    AUTOFREE char *from = pull_again(f, digest, refetch, &why);
    bool good = from && blob_is_good_now(f, digest);
    struct image_fsck_problem *x = find_problem(f, digest);
    if (good)
        set_repair(f, x, true, xasprintf("pulled again from %s", from));
    else
        set_repair(f, x, false, quarantine(f, digest, from ? "what came is something else" : why));
    if (good)
        strv_remove(f->bad_blobs, digest);
}

static int repair(struct fsck *f, struct error *e)
{
    AUTOPTR(strv) char **blobs = strv_copy(f->bad_blobs);
    AUTOPTR(strv) char **layers = NULL;
    int r = 0;

    for (size_t i = 0; blobs && blobs[i]; i++) {
        layers_of_blob(f->s, blobs[i], &layers);
        repair_blob(f, blobs[i]);
    }
    for (size_t i = 0; f->bad_layers && f->bad_layers[i]; i++) {
        AUTOFREE char *why = NULL;
        char *refetch[] = {f->bad_layers[i], NULL};
        AUTOFREE char *from = pull_again(f, f->bad_layers[i], refetch, &why);
        struct image_fsck_problem *x = find_problem(f, f->bad_layers[i]);
        bool good = from && image_store_has_layer(f->s, f->bad_layers[i]);
        if (good)
            strv_push(&layers, f->bad_layers[i]);
        set_repair(f, x, good,
                   good ? xasprintf("pulled again from %s", from)
                        : xasprintf("not repaired: %s", why ? why : "the image changed"));
    }
    /* What could not be looked at before. */
    for (size_t i = 0; r >= 0 && layers && layers[i]; i++)
        r = check_layer(f, layers[i], e);
    return r;
}

/* --- All of it ---------------------------------------------------------------------------------------- */

static int run(struct fsck *f, struct error *e)
{
    AUTOPTR(strv) char **images = NULL;
    unsigned things = 0;
    int r = strings(f->s, "SELECT id FROM images", NULL, &images, e);

    f->out->images = strv_len(images);
    if (r >= 0)
        r = check_rows(f, e);
    if (r >= 0)
        r = check_blobs(f, e);
    if (r >= 0 && !f->p->quick)
        r = check_layers(f, e);
    else if (r >= 0)
        r = missing_layers(f, e);
    if (r >= 0)
        r = check_strays(f, e);
    if (r >= 0 && f->p->repair)
        r = repair(f, e);
    for (size_t i = 0; f->pins && f->pins[i]; i++)
        image_store_unpin(f->s, f->pins[i]);
    /* Also what was removed while it was pinned here. */
    (void)!image_store_collect(f->s, NULL, NULL, &things, NULL);
    f->out->unreferenced = things;
    return r < 0 ? r : 0;
}

int image_fsck(struct image_store *s, const struct image_fsck_params *p,
               struct image_fsck_result *ret, struct error *e)
{
    struct image_fsck_result result = {0};
    struct fsck f = {.s = s, .p = p, .out = &result, .hash_next = -1};
    int r = run(&f, e);

    strv_free(f.pins);
    strv_free(f.blobs);
    strv_free(f.bad_blobs);
    strv_free(f.bad_layers);
    if (r < 0) {
        image_fsck_result_done(&result);
        return r;
    }
    if (result.damaged > 0)
        log_warn("the image store was damaged", "problems=%llu repaired=%llu",
                 (unsigned long long)result.damaged, (unsigned long long)result.repaired);
    *ret = result;
    return 0;
}

/* --- Old layers that containers ran on ---------------------------------------------------------------- */

void image_old_layers_sweep(struct image_store *s)
{
    int fd = openat(s->layers_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct image_trash trash = {0};
    AUTOPTR(strv) char **names = NULL;
    const struct dirent *de;

    while (d && (de = readdir(d)))
        if (str_has_prefix(de->d_name, "old."))
            strv_push(&names, de->d_name);
    if (d)
        closedir(d);
    for (size_t i = 0; names && names[i]; i++) {
        const char *hex = names[i] + strlen("old.");
        size_t len = strcspn(hex, ".");
        AUTOFREE char *diff_id = xasprintf("%s:%.*s", len == 128 ? "sha512" : "sha256", (int)len,
                                           hex);
        if (!layer_runs(s, diff_id))
            (void)!image_store_trash_layer(s, names[i], &trash);
    }
    image_store_empty_trash(s, &trash);
}
