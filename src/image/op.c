/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running the worker: starts pouch-image, answers its questions, passes progress on, and writes the
 * image's rows when all is there. The worker may be in the hands of an attacker: every message is
 * checked, and nothing it says becomes a path without having the form of a digest.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/self.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/op-priv.h"
#include "image/registries.h"
#include "image/verify.h"
#include "io/reaper.h"
#include "io/spawn.h"
#include "oci/digest.h"
#include "oci/reference.h"

#define TAGS_MAX         100000
#define RECHECK_MS       1000
#define WORKER_END_MS    5000
#define TIDY_NS          (5 * NSEC_PER_SEC)
#define UNPACK_REASON_NS (5 * NSEC_PER_SEC) /* how long pouch-unpack may take to say why it ended */

/* --- Small helpers ---------------------------------------------------------------------------- */

void op_pin(struct image_op *op, const char *digest)
{
    image_store_pin(op->store, digest);
    strv_push(&op->pins, digest);
}

int op_reply(struct image_op *op, const struct worker_msg *m, const int *fds, size_t nfds)
{
    int r = worker_msg_send(op->sock, m, fds, nfds);

    if (r == -EPIPE || r == -ECONNRESET)
        return 0; /* it ended; what it said last is still to be read */
    return r < 0 ? error_set_errno(op->e, r, "cannot talk to the image worker") : 0;
}

static int call_progress(struct image_op *op, const struct image_progress *p)
{
    if (!op->params->progress)
        return 0;
    return op->params->progress(op->params->progress_data, p) < 0 ? -ECANCELED : 0;
}

/* All layers of a pull together, but those that were there before. */
static void sum_up(struct image_op *op, struct image_amount *ret)
{
    if (!STREQ(op->params->start->op, "pull"))
        return;
    for (size_t i = 0; i < op->nlayers; i++) {
        const struct op_layer *l = op->layers[i];
        if (l->state == LAYER_READY && !l->counts)
            continue;
        ret->total += l->size;
        ret->current += l->state == LAYER_READY ? l->size : l->came;
    }
    if (ret->current == 0) /* it is not known yet which layers must come */
        ret->total = 0;
    rate_meter_update(&op->meter, time_monotonic_ns(), ret->current);
    ret->rate = (uint64_t)op->meter.rate;
    ret->left = rate_meter_left(&op->meter, ret->current, ret->total);
}

int op_progress(struct image_op *op, const char *id, const char *status, uint64_t current,
                uint64_t total)
{
    struct image_progress p = {
        .id = id, .status = status, .has_detail = true, .current = current, .total = total};

    if (op->params->quiet || !id)
        return 0;
    if (STREQ(op->params->start->op, "load") && total == 0)
        return 0; /* Docker's load only shows layers that move */
    sum_up(op, &p.overall);
    return call_progress(op, &p);
}

/* Bytes of a layer came. */
static int layer_progress(struct image_op *op, struct op_layer *l, const struct worker_msg *m)
{
    int64_t now = time_monotonic_ns();
    struct image_progress p = {.id = l->short_id,
                               .status = m->status,
                               .has_detail = true,
                               .current = m->current,
                               .total = m->total};

    if (!l->counts || !l->size || !m->current)
        return op_progress(op, l->short_id, m->status, m->current, m->total);
    l->came = m->current < l->size ? m->current : l->size;
    rate_meter_update(&l->meter, now, l->came);
    p.rate = (uint64_t)l->meter.rate;
    p.left = rate_meter_left(&l->meter, l->came, l->size);
    sum_up(op, &p.overall);
    return op->params->quiet || !p.id ? 0 : call_progress(op, &p);
}

int op_file_new(struct image_op *op, uint64_t number, int *ret_fd)
{
    char id[33];

    if (number == 0 || op_file_find(op, number) || op->files.len >= OP_FILES_MAX)
        return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: files");
    random_hex(id, 16);
    int fd = openat(op->store->tmp_fd, id, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(op->e, errno, "cannot make a temporary file for the image");
    struct op_file *f = json_list_add(&op->files, sizeof(*f));
    f->number = number;
    f->name = xstrdup(id);
    *ret_fd = fd;
    return 0;
}

int op_file_resume(struct image_op *op, uint64_t number, const char *digest, uint64_t size,
                   int *ret_fd, uint64_t *ret_have)
{
    char *name = NULL;

    if (op_file_find(op, number) || op->files.len >= OP_FILES_MAX ||
        !image_partial_take(op->store, digest, size, &name, ret_fd, ret_have))
        return -ENOENT;
    struct op_file *f = json_list_add(&op->files, sizeof(*f));
    f->number = number;
    f->name = name;
    return 0;
}

struct op_file *op_file_find(struct image_op *op, uint64_t number)
{
    struct op_file *f = op->files.items;

    for (size_t i = 0; i < op->files.len; i++)
        if (f[i].number == number)
            return &f[i];
    return NULL;
}

#define COMPARED_MAX ((off_t)16 << 20)

/* Whether two files have the same bytes; large ones are not looked at. */
static bool same_content(int a, int b)
{
    char of_a[16384], of_b[16384];
    struct stat st_a, st_b;

    if (fstat(a, &st_a) < 0 || fstat(b, &st_b) < 0 || st_a.st_size != st_b.st_size ||
        st_a.st_size > COMPARED_MAX)
        return false;
    for (off_t at = 0; at < st_a.st_size;) {
        ssize_t n = pread(a, of_a, sizeof(of_a), at);
        if (n <= 0 || pread(b, of_b, (size_t)n, at) != n || memcmp(of_a, of_b, (size_t)n) != 0)
            return false;
        at += n;
    }
    return true;
}

/*
 * A blob that is there may belong to an image that the disk has: it is not written over by one that
 * only the page cache has. 1: it is as good, 0: there is none, or ours is better and on disk now.
 */
static int has_blob(struct image_op *op, const struct op_file *f, const char *digest,
                    const char *path, bool *ret_replace)
{
    AUTOFD int there = openat(op->store->blobs_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    AUTOFD int ours = openat(op->store->tmp_fd, f->name, O_RDONLY | O_CLOEXEC);

    *ret_replace = there >= 0;
    if (there < 0)
        return 0;
    if (ours >= 0 && same_content(there, ours))
        return 1;
    if (ours < 0 || fdatasync(ours) < 0)
        return error_set_errno(op->e, errno, "cannot write blob %s to disk", digest);
    return 0;
}

/* 1: it has its place, 0: what is there has changed meanwhile. */
static int place_blob(struct image_op *op, struct op_file *f, const char *digest, const char *path)
{
    struct image_store *s = op->store;
    bool replace = false;
    int has = has_blob(op, f, digest, path, &replace);

    if (has < 0)
        return has;
    /* The pinned blob gets its name while no collection (a transaction) is between looking at the
     * pins and removing what it found. */
    int r = image_durable_begin(s, digest, op->e);
    if (r < 0)
        return r;
    if (has && faccessat(s->blobs_fd, path, F_OK, 0) < 0)
        r = -EEXIST;
    else if (has && unlinkat(s->tmp_fd, f->name, 0) < 0)
        r = error_set_errno(op->e, errno, "cannot keep blob %s", digest);
    else if (!has &&
             renameat2(s->tmp_fd, f->name, s->blobs_fd, path, replace ? 0 : RENAME_NOREPLACE) < 0)
        r = errno == EEXIST ? -EEXIST
                            : error_set_errno(op->e, errno, "cannot keep blob %s", digest);
    if (r < 0) {
        store_rollback(s->db);
        return r == -EEXIST ? 0 : r;
    }
    free(take_ptr(f->name));
    r = store_commit(s->db, op->e);
    return r < 0 ? r : 1;
}

int op_file_keep(struct image_op *op, struct op_file *f, const char *digest)
{
    AUTOFREE char *path = image_blob_path(digest);
    int r = 0;

    if (digest_algorithm(digest) == DIGEST_SHA512)
        (void)mkdirat(op->store->blobs_fd, "sha512", 0700);
    for (int tries = 0; r == 0 && tries < 100; tries++)
        r = place_blob(op, f, digest, path);
    if (r == 0)
        r = error_set(op->e, ERR_INTERNAL, "blob %s comes and goes", digest);
    return r < 0 ? r : 0;
}

/* --- Messages of the worker ------------------------------------------------------------------------ */

static int on_open(struct image_op *op, const struct worker_msg *m)
{
    struct worker_msg reply = {.type = (char *)"opened", .id = m->id};
    AUTOFD int fd = -EBADF;
    int r = m->file >= (uint64_t)1 << 32
                ? error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: files")
                : op_file_new(op, m->file, &fd);

    return r < 0 ? r : op_reply(op, &reply, &fd, 1);
}

static int on_blob(struct image_op *op, const struct worker_msg *m)
{
    struct op_file *f = op_file_find(op, m->file);

    if (!f || !f->name || !m->digest || !digest_is_valid(m->digest))
        return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: blob");
    op_pin(op, m->digest);
    return op_file_keep(op, f, m->digest);
}

/* Other bytes would not help. */
static bool is_local(int errnum)
{
    return errnum == ENOSPC || errnum == EDQUOT || errnum == ENOMEM || errnum == EMFILE ||
           errnum == ENFILE || errnum == EROFS;
}

static int on_progress(struct image_op *op, const struct worker_msg *m)
{
    if (m->index >= op->nlayers || !m->status)
        return 0;
    op_layer_alive(op, m->index);
    /* A layer that cannot be unpacked is read to its end, to see whether these are its bytes. */
    if (op->unpack_failed == op->layers[m->index] && !is_local(op->unpack_error.errnum))
        op_layer_hold(op);
    return layer_progress(op, op->layers[m->index], m);
}

/* How it went with a mirror; only those of the plan are believed. */
static int on_endpoint(struct image_op *op, const struct worker_msg *m)
{
    const struct registry_endpoint *ep = op->plan.endpoints.items;

    for (size_t i = 0; m->host && m->state && i < op->plan.endpoints.len; i++) {
        if (!STREQ(ep[i].name, m->host) || !ep[i].mirror)
            continue;
        registries_report(op->store->registries, m->host, STREQ(m->state, "ok"));
        return 0;
    }
    return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: endpoint");
}

/* One image is complete as far as the worker goes; its layers may still be being unpacked. */
static int on_image(struct image_op *op, const struct worker_msg *m)
{
    const char *const digests[] = {m->config, m->manifest, m->top};

    for (size_t i = 0; i < ARRAY_SIZE(digests); i++)
        if (digests[i] && !digest_is_valid(digests[i]))
            return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: image");
    if (!m->config || strv_len(m->layers) > OCI_LAYERS_MAX)
        return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: image");
    AUTOPTR(strv) char **blobs = NULL; /* what the repository has, whether we took it or not */
    for (size_t i = 0; m->layers && m->layers[i]; i++) {
        bool known = strv_contains(op->params->base_layers, m->layers[i]);
        for (size_t k = 0; !known && k < op->nlayers; k++)
            known = op->layers[k]->diff_id && STREQ(op->layers[k]->diff_id, m->layers[i]) &&
                    op->layers[k]->state == LAYER_READY;
        if (!known)
            return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: layers");
    }
    for (size_t k = 0; op->params->digest_name && k < op->nlayers; k++)
        if (op->layers[k]->digest)
            strv_push(&blobs, op->layers[k]->digest);
    if (op->params->may_commit) {
        int r = op->params->may_commit(op->params->may_commit_data, op->e);
        if (r < 0)
            return r;
    }
    /* Only an archive names its images; a pull's name is ours to say. */
    bool load = STREQ(op->params->start->op, "load");
    AUTOPTR(strv) char **names = strv_copy(load ? m->names : NULL);
    if (op->params->name)
        strv_push(&names, op->params->name);
    for (size_t i = 0; names && names[i]; i++) {
        struct oci_reference ref = {0};
        int r = oci_reference_parse(names[i], &ref, op->e);
        if (r < 0)
            return r;
        oci_reference_done(&ref);
    }
    const struct image_commit c = {.config = m->config,
                                   .parent = op->params->parent,
                                   .manifest = m->manifest,
                                   .top = m->top,
                                   .digest_name = op->params->digest_name,
                                   .names = names,
                                   .layers = m->layers,
                                   .blobs = blobs};
    bool is_new = false;
    int r = image_store_commit(op->store, &c, &is_new, op->e);
    if (r < 0)
        return r;
    struct image_op_result *res = json_list_add(&op->results->items, sizeof(*res));
    res->id = xstrdup(m->config);
    res->top = xstrdup_or_null(m->top);
    res->names = take_ptr(names);
    res->is_new = is_new;
    return 0;
}

static int use_unpack_error(struct image_op *op)
{
    int errnum = op->unpack_error.errnum;

    error_move(op->e, &op->unpack_error);
    return -(errnum > 0 ? errnum : EIO);
}

static int on_failed(struct image_op *op, const struct worker_msg *m)
{
    enum error_code code = m->code > ERR_NONE && m->code < ERR_MAX ? (enum error_code)m->code
                                                                   : ERR_INTERNAL;
    AUTOFREE char *text = xstrdup(m->message ? m->message : "the image worker failed");

    str_tame(text, NULL); /* names of an archive, a registry's words: one line */
    if (m->errnum != EPIPE)
        return error_set(op->e, code, "%.1000s", text);
    if (op->unpack_error.message)
        return use_unpack_error(op);
    op->unpack_stopped = true; /* wait for the report that says why */
    (void)error_set(&op->pending, code, "%.1000s", text);
    return 0;
}

static int on_found(struct image_op *op, struct worker_msg *m)
{
    if (op->results->found.len >= IMAGE_SEARCH_MAX)
        return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: found");
    struct image_found *f = json_list_add(&op->results->found, sizeof(*f));
    f->name = take_ptr(m->reference);
    f->description = m->status ? take_ptr(m->status) : xstrdup("");
    f->stars = m->total < INT64_MAX ? (int64_t)m->total : 0;
    f->official = m->official;
    f->automated = m->automated;
    return 0;
}

/* Some of the tags; there may be more. */
static int on_tags(struct image_op *op, const struct worker_msg *m)
{
    if (strv_len(op->results->tags) + strv_len(m->names) > TAGS_MAX)
        return error_set(op->e, ERR_TOO_LARGE, "the repository has more than %d tags", TAGS_MAX);
    for (size_t i = 0; m->names && m->names[i]; i++)
        strv_push(&op->results->tags, m->names[i]);
    return 0;
}

/* Messages about complete images come when the worker has read all, but the last layers may still
 * be being unpacked: those messages wait. */
struct held {
    struct worker_msg *items;
    size_t len;
};

static int on_message(struct image_op *op, struct worker_msg *m, struct held *held)
{
    if (STREQ(m->type, "open"))
        return on_open(op, m);
    if (STREQ(m->type, "plan"))
        return op_layer_plan(op, m);
    if (STREQ(m->type, "layer"))
        return op_layer_wanted(op, m);
    if (STREQ(m->type, "layer-done"))
        return op_layer_done(op, m);
    if (STREQ(m->type, "blob"))
        return on_blob(op, m);
    if (STREQ(m->type, "progress"))
        return on_progress(op, m);
    if (STREQ(m->type, "endpoint"))
        return on_endpoint(op, m);
    if (STREQ(m->type, "failed"))
        return on_failed(op, m);
    if (STREQ(m->type, "done")) {
        op->done = true;
        return 0;
    }
    if (STREQ(m->type, "image") && held->len < OP_LAYERS_MAX) {
        held->items = xreallocarray(held->items, held->len + 1, sizeof(*held->items));
        held->items[held->len++] = *m;
        memset(m, 0, sizeof(*m));
        return 0;
    }
    if (STREQ(m->type, "tags"))
        return on_tags(op, m);
    if (STREQ(m->type, "lookaside"))
        return verify_on_lookaside(op, m);
    if (STREQ(m->type, "gpgv"))
        return verify_on_gpgv(op, m);
    if (STREQ(m->type, "login")) {
        str_replace(&op->results->identity_token, m->identity_token ? m->identity_token : "");
        return 0;
    }
    if (STREQ(m->type, "found") && m->reference)
        return on_found(op, m);
    if (STREQ(m->type, "text") && m->status) {
        const struct image_progress p = {.status = m->status, .id = m->tag};
        return call_progress(op, &p);
    }
    int r = op->params->ext ? op->params->ext->message(op, m) : 0;
    if (r != 0)
        return r;
    return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: %.40s", m->type);
}

static int read_worker(struct image_op *op, struct held *held)
{
    struct worker_msg m = {0};
    int fds[WORKER_FDS_MAX];
    size_t nfds = 0;
    int r = worker_msg_recv(op->sock, &m, fds, &nfds);

    for (size_t i = 0; i < nfds; i++)
        close(fds[i]); /* it has none to give */
    if (r > 0) {
        r = on_message(op, &m, held);
        worker_msg_done(&m);
        return r;
    }
    close(take_fd(op->sock));
    for (size_t i = 0; op->done && !op->unpack_error.message && i < op->nlayers; i++)
        if (op->layers[i]->state == LAYER_WAITING ||
            (op->layers[i]->state == LAYER_RUNNING && !op->layers[i]->read_whole))
            return error_set(op->e, ERR_INTERNAL,
                             "the image worker broke its rules: it ended before its layers");
    if (op->done || op->unpack_stopped)
        return 0;
    if (op->unpack_error.message)
        return use_unpack_error(op);
    int status = spawn_wait(op->worker);
    op->worker = 0;
    return error_set(op->e, ERR_INTERNAL, "the image worker ended unexpectedly (status %d)",
                     status);
}

/* --- The loop ---------------------------------------------------------------------------------------- */

/* The start message, with the list of endpoints before the operation's own files. */
static int send_start(struct image_op *op)
{
    struct worker_msg *start = op->params->start;
    const int own[] = {op->params->input_fd, op->params->extra_fd};
    AUTOFD int plan_fd = -EBADF;
    int fds[WORKER_FDS_MAX];
    size_t n = 0;

    start->max_size = registries_max_image_size(op->store->registries);
    if (!str_is_empty(start->host)) {
        bool reads = STREQ(start->op, "pull") || STREQ(start->op, "tags") ||
                     STREQ(start->op, "referrers");
        const struct registry_logins logins = {.given = op->params->auth ? op->params->auth->logins
                                                                         : NULL,
                                               .auth_file = reads ? op->store->auth_file : NULL};
        int r = registries_plan(op->store->registries, start, &logins, &op->plan, op->e);
        if (r >= 0)
            r = registry_plan_to_fd(&op->plan, &plan_fd, op->e);
        if (r < 0)
            return r;
        if (op->plan.login_problem)
            log_warn("the auth-file is not used", "error=\"%s\"", op->plan.login_problem);
        fds[n++] = plan_fd;
    }
    for (size_t i = 0; i < ARRAY_SIZE(own) && own[i] >= 0 && (i == 0 || own[i] > 0); i++)
        fds[n++] = own[i];
    return op_reply(op, start, fds, n);
}

static int start_worker(struct image_op *op)
{
    AUTOFREE char *program = self_program_path("pouch-image");
    AUTOFREE char *uid = xasprintf("%u", (unsigned)op->store->worker_uid);
    AUTOFREE char *gid = xasprintf("%u", (unsigned)op->store->worker_gid);
    char *argv[] = {(char *)"pouch-image", (char *)"--uid", uid, (char *)"--gid", gid, NULL};
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(op->e, errno, "cannot make a socket");
    const int size = WORKER_MESSAGE_MAX * 4;
    (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    const struct spawn_fd fds[] = {{pair[1], WORKER_SOCKET_FD}};
    struct spawn_params sp = {.program = program,
                              .argv = argv,
                              .stdin_fd = -1,
                              .stdout_fd = -1,
                              .stderr_fd = -1,
                              .fds = fds,
                              .nfds = 1,
                              .new_session = true};
    int r = spawn_program(&sp, &op->worker, op->e);
    close(pair[1]);
    op->sock = pair[0];
    if (r < 0)
        return r;
    return send_start(op);
}

/* What tells that the client went away: a socket's hang-up, an eventfd's count. */
static short cancel_events(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? POLLRDHUP : POLLIN;
}

static int op_step(struct image_op *op, struct held *held, int timeout_ms)
{
    const size_t fixed = 4;
    struct pollfd *p = xcalloc(fixed + op->nlayers, sizeof(*p));
    AUTOFREE struct pollfd *to_free = p;
    struct op_layer **who = xcalloc(op->nlayers + 1, sizeof(struct op_layer *));
    AUTOFREE struct op_layer **to_free_too = who;
    size_t n = fixed;
    uint64_t count;
    bool wait = op_layers_wait(op); /* for others: look now and then whether they still move */
    int r = 0;

    if (wait && (timeout_ms < 0 || timeout_ms > RECHECK_MS))
        timeout_ms = RECHECK_MS;
    p[0] = (struct pollfd){.fd = op->sock, .events = POLLIN};
    p[1] = (struct pollfd){.fd = op->wake, .events = POLLIN};
    p[2] = (struct pollfd){.fd = op->params->cancel_fd,
                           .events = cancel_events(op->params->cancel_fd)};
    p[3] = (struct pollfd){.fd = op->params->until_close ? op->store->closing_fd : -EBADF,
                           .events = POLLIN};
    for (size_t i = 0; i < op->nlayers; i++) {
        if (op->layers[i]->report_fd < 0)
            continue;
        who[n - fixed] = op->layers[i];
        p[n++] = (struct pollfd){.fd = op->layers[i]->report_fd, .events = POLLIN};
    }
    if (poll(p, n, timeout_ms) < 0)
        return errno == EINTR ? 0 : error_set_errno(op->e, errno, "cannot wait for the worker");
    if (p[2].revents || p[3].revents)
        return -ECANCELED;
    /* Before the worker's word, which may close a report and open another of the same number. */
    for (size_t i = fixed; r >= 0 && i < n; i++)
        if (p[i].revents)
            r = op_layer_report(op, who[i - fixed]);
    if (r >= 0 && p[0].revents)
        r = read_worker(op, held);
    if (p[1].revents)
        (void)!read(op->wake, &count, sizeof(count));
    if (r >= 0 && (p[1].revents || wait))
        r = op_layers_retry(op);
    if (r >= 0 && p[1].revents && op->params->ext && op->params->ext->retry)
        r = op->params->ext->retry(op);
    return r;
}

/* The worker saw pouch-unpack go: its report has the reason. */
static int find_unpack_reason(struct image_op *op, struct held *held)
{
    int64_t until = time_monotonic_ns() + UNPACK_REASON_NS;
    int r = 0;

    while (r >= 0 && time_monotonic_ns() < until) {
        bool any = false;
        for (size_t i = 0; i < op->nlayers; i++)
            any = any || op->layers[i]->report_fd >= 0;
        if (!any)
            break;
        r = op_step(op, held, 100);
    }
    if (r >= 0 && op->unpack_error.message)
        return use_unpack_error(op);
    if (r >= 0) {
        r = -op->pending.errnum;
        r = r ? r : -EIO;
        error_move(op->e, &op->pending);
    }
    return r;
}

static int op_loop(struct image_op *op)
{
    struct held held = {0};
    int r = 0;

    while (r >= 0 && !(op->done && !op_layers_busy(op))) {
        r = op_step(op, &held, op->unpack_error.message ? 100 : -1);
        if (r >= 0 && op->unpack_error.message && time_monotonic_ns() > op->unpack_deadline)
            r = use_unpack_error(op);
        if (r >= 0 && op->unpack_stopped)
            r = find_unpack_reason(op, &held);
    }
    for (size_t i = 0; i < held.len; i++) {
        if (r >= 0)
            r = on_image(op, &held.items[i]);
        worker_msg_done(&held.items[i]);
    }
    free(held.items);
    return r;
}

static void op_register(struct image_op *op)
{
    struct image_store *s = op->store;

    pthread_mutex_lock(&s->lock);
    op->next = s->ops;
    if (op->next)
        op->next->prev = op;
    s->ops = op;
    pthread_mutex_unlock(&s->lock);
}

static void op_unregister(struct image_op *op)
{
    struct image_store *s = op->store;

    pthread_mutex_lock(&s->lock);
    if (op->prev)
        op->prev->next = op->next;
    else
        s->ops = op->next;
    if (op->next)
        op->next->prev = op->prev;
    pthread_mutex_unlock(&s->lock);
}

/* Lets the worker take back what lies half-done at a registry. */
static void stop_gently(struct image_op *op)
{
    const struct worker_msg cancel = {.type = (char *)"cancel"};
    int64_t until = time_monotonic_ns() + TIDY_NS;

    if (worker_msg_send(op->sock, &cancel, NULL, 0) < 0)
        return;
    for (int64_t left; (left = until - time_monotonic_ns()) > 0;) {
        struct pollfd p = {.fd = op->sock, .events = POLLIN};
        struct worker_msg m = {0};
        int fds[WORKER_FDS_MAX];
        size_t nfds = 0;
        if (poll(&p, 1, (int)(left / NSEC_PER_MSEC) + 1) <= 0)
            continue;
        int r = worker_msg_recv(op->sock, &m, fds, &nfds);
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        worker_msg_done(&m);
        if (r <= 0)
            break;
    }
}

/* The network's failure or the user's wish: what came so far is worth keeping. */
static void keep_partials(struct image_op *op, int status)
{
    bool network = op->e->code == ERR_UNAVAILABLE || op->e->code == ERR_TIMEOUT;

    if (status != -ECANCELED && !network)
        return;
    for (size_t i = 0; i < op->nlayers; i++) {
        const struct op_layer *l = op->layers[i];
        struct op_file *f = op_file_find(op, l->file);
        if (l->state == LAYER_RUNNING && l->fetched && !l->read_whole && l->digest && f &&
            f->name && image_partial_keep(op->store, l->digest, l->size, f->name))
            free(take_ptr(f->name));
    }
}

static void op_cleanup(struct image_op *op, int status)
{
    struct op_file *f = op->files.items;

    if (op->sock >= 0 && op->worker > 0 && !op->done && op->params->ext &&
        op->params->ext->graceful)
        stop_gently(op);
    if (op->sock >= 0)
        close(op->sock);
    if (op->worker > 0) {
        /* One that said that it is done has nothing to wait for, if it is itself. */
        (void)!spawn_wait_or_kill(op->worker, op->done && status >= 0 ? WORKER_END_MS : 0);
    }
    if (status < 0)
        keep_partials(op, status);
    op_layers_cleanup(op);
    if (op->params->ext && op->params->ext->cleanup)
        op->params->ext->cleanup(op);
    op_unregister(op);
    for (size_t i = 0; i < op->files.len; i++) {
        if (f[i].name)
            (void)!reaper_unlink(op->store->reaper, op->store->tmp_fd, f[i].name);
        free(f[i].name);
    }
    free(f);
    /* With the pins goes what a failed operation brought and nobody else wants, whole or not. */
    for (size_t i = 0; op->pins && op->pins[i]; i++)
        image_store_unpin(op->store, op->pins[i]);
    if (op->pins) /* a removal meanwhile may have left things to us, too */
        (void)!image_store_collect(op->store, op->pins, op->pins, NULL, NULL);
    strv_free(op->pins);
    error_done(&op->pending);
    error_done(&op->unpack_error);
    registry_plan_done(&op->plan);
    close(op->wake);
    image_store_wake_janitor(op->store);
}

/* No right to something: it may be that ours were not looked at. */
static void add_login_problem(const struct image_op *op)
{
    bool refused = op->e->code == ERR_UNAUTHORIZED || op->e->code == ERR_FORBIDDEN ||
                   op->e->code == ERR_NOT_FOUND;

    if (!refused || !op->plan.login_problem)
        return;
    char *all = xasprintf("%s (the daemon's own credentials are not used: %s)",
                          error_message(op->e), op->plan.login_problem);
    free(op->e->message);
    op->e->message = all;
}

int image_op_run(struct image_store *s, const struct image_op_params *p,
                 struct image_op_results *ret, struct error *e)
{
    AUTO(error) struct error own = ERROR_INIT;
    struct image_op_results results = {0};
    struct image_op op = {.store = s,
                          .params = p,
                          .e = &own,
                          .results = &results,
                          .sock = -EBADF,
                          .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

    if (op.wake < 0)
        return error_set_errno(e, errno, "cannot make an eventfd");
    op_register(&op);
    if (p->check || p->convert) { /* the worker reads the blob from its input, which is number 1 */
        struct op_file *f = json_list_add(&op.files, sizeof(*f));
        f->number = 1;
    }
    int r = start_worker(&op);
    if (r >= 0)
        r = op_loop(&op);
    if (r < 0)
        add_login_problem(&op);
    op_cleanup(&op, r);
    if (r < 0) {
        if (r == -ECANCELED && !own.message)
            (void)error_set_errno(&own, ECANCELED, "the operation was cancelled");
        error_move(e, &own);
        image_op_results_done(&results);
        return r;
    }
    *ret = results;
    return 0;
}

void image_op_results_done(struct image_op_results *r)
{
    struct image_op_result *res = r->items.items;

    for (size_t i = 0; i < r->items.len; i++) {
        free(res[i].id);
        free(res[i].top);
        strv_free(res[i].names);
    }
    free(res);
    strv_free(r->tags);
    free(r->identity_token);
    image_found_done(&r->found);
    memset(r, 0, sizeof(*r));
}
