/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of one operation. Each diff id is brought by at most one operation at a time (its
 * flight); others wait for the outcome and take over when it failed.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/self.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/op-priv.h"
#include "io/spawn.h"
#include "oci/digest.h"

#define PIPE_SIZE (1024 * 1024)
#define STALL_NS  (5 * NSEC_PER_SEC)
#define HOLD_NS   (2 * NSEC_PER_SEC)

/* --- Flights ------------------------------------------------------------------------------------ */

/* Somebody brings the layer. alive: when bytes came last; a flight that stands still does not hold
 * others up, who may know a better registry. */
struct flight {
    int64_t alive;
};

/* True when the layer is ours to bring now; false: another operation (or layer) does. */
static bool flight_begin(struct image_op *op, struct op_layer *l)
{
    struct image_store *s = op->store;
    int64_t now = time_monotonic_ns();
    bool ours = true;

    pthread_mutex_lock(&s->lock);
    struct flight *f = map_get(s->flights, l->diff_id);
    if (!f) {
        f = xcalloc(1, sizeof(*f));
        f->alive = now;
        (void)map_set(s->flights, l->diff_id, f);
        l->flying = true;
    } else if (now - f->alive > STALL_NS) {
        f->alive = now; /* one rival at a time; the flight stays the other's */
    } else {
        ours = false;
    }
    pthread_mutex_unlock(&s->lock);
    return ours;
}

void op_layer_alive(struct image_op *op, uint64_t index)
{
    struct image_store *s = op->store;
    const struct op_layer *l = op->layers[index];

    if (!l->diff_id || l->state != LAYER_RUNNING)
        return;
    pthread_mutex_lock(&s->lock);
    struct flight *f = map_get(s->flights, l->diff_id);
    if (f)
        f->alive = time_monotonic_ns();
    pthread_mutex_unlock(&s->lock);
}

void op_wake_all(struct image_store *s)
{
    const uint64_t one = 1;

    for (struct image_op *o = s->ops; o; o = o->next)
        (void)!write(o->wake, &one, sizeof(one)); /* an eventfd: never blocks at these counts */
}

static void flight_end(struct image_op *op, struct op_layer *l)
{
    struct image_store *s = op->store;

    if (!l->flying)
        return;
    l->flying = false;
    pthread_mutex_lock(&s->lock);
    free(map_remove(s->flights, l->diff_id));
    op_wake_all(s);
    pthread_mutex_unlock(&s->lock);
}

/* --- Planning ------------------------------------------------------------------------------------- */

static int protocol_error(struct image_op *op, const char *what)
{
    return error_set(op->e, ERR_INTERNAL, "the image worker broke its rules: %s", what);
}

/* Nothing is to be done for it. A conversion wants it in the form of new layers. */
static bool is_there(const struct image_op *op, const struct op_layer *l)
{
    enum image_layer_form form;

    return image_store_layer_form(op->store, l->diff_id, &form) == 0 &&
           (!op->params->convert || form == op->store->layer_form);
}

/* It is brought whether it is there or not. */
static bool taken_again(const struct image_op *op, const struct op_layer *l)
{
    return l->diff_id && (op->params->check || strv_contains(op->params->refetch, l->diff_id));
}

int op_layer_plan(struct image_op *op, const struct worker_msg *m)
{
    if (m->index != op->nlayers || op->nlayers >= OP_LAYERS_MAX)
        return protocol_error(op, "layer out of order");
    if ((m->digest && !digest_is_valid(m->digest)) || (m->diff_id && !digest_is_valid(m->diff_id)))
        return protocol_error(op, "malformed digest");
    struct op_layer *l = xcalloc(1, sizeof(*l));
    l->report_fd = -EBADF;
    l->digest = xstrdup_or_null(m->digest);
    l->diff_id = xstrdup_or_null(m->diff_id);
    l->media_type = xstrdup_or_null(m->media_type);
    l->size = m->size;
    const char *shown = l->digest ? l->digest : l->diff_id;
    l->short_id = shown ? xstrndup(digest_hex(shown), 12) : NULL;
    op->layers = xreallocarray(op->layers, op->nlayers + 1, sizeof(struct op_layer *));
    op->layers[op->nlayers++] = l;
    if (l->diff_id)
        op_pin(op, l->diff_id);
    if (l->digest)
        op_pin(op, l->digest);
    if (!STREQ(op->params->start->op, "pull"))
        return 0;
    /* In the order of the layers; the pin keeps what is there. */
    l->told = l->diff_id && !taken_again(op, l) && is_there(op, l);
    return op_progress(op, l->short_id, l->told ? "Already exists" : "Pulling fs layer", 0, 0);
}

static struct op_layer *find_layer(struct image_op *op, uint64_t index)
{
    return index < op->nlayers ? op->layers[index] : NULL;
}

/* --- Starting one ----------------------------------------------------------------------------------- */

/* pouch-unpack for the new folder dir_fd; the pipe's end for the worker is *ret_pipe. */
static int start_unpack(struct image_op *op, struct op_layer *l, int dir_fd, int *ret_pipe)
{
    AUTOFREE char *program = self_program_path("pouch-unpack");
    char *argv[] = {(char *)"pouch-unpack", (char *)"--no-sync", NULL};
    int data[2], report[2];

    if (pipe2(data, O_CLOEXEC) < 0)
        return error_set_errno(op->e, errno, "cannot make a pipe");
    if (pipe2(report, O_CLOEXEC) < 0) {
        int err = errno;
        close(data[0]);
        close(data[1]);
        return error_set_errno(op->e, err, "cannot make a pipe");
    }
    (void)fcntl(data[1], F_SETPIPE_SZ, PIPE_SIZE); /* a smaller one is only slower */
    const struct spawn_fd fds[] = {{dir_fd, 3}};
    struct spawn_params sp = {.program = program,
                              .argv = argv,
                              .stdin_fd = data[0],
                              .stdout_fd = report[1],
                              .stderr_fd = -1,
                              .fds = fds,
                              .nfds = 1};
    int r = spawn_program(&sp, &l->unpack, op->e);
    close(data[0]);
    close(report[1]);
    if (r < 0) {
        close(data[1]);
        close(report[0]);
        return r;
    }
    l->report_fd = report[0];
    *ret_pipe = data[1];
    return 0;
}

/* The file that the worker makes a layer of. */
static int start_file(struct image_op *op, struct op_layer *l, int *ret_fd)
{
    int fd = openat(op->store->layers_fd, l->tmp_dir, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        free(take_ptr(l->tmp_dir));
        return error_set_errno(op->e, errno, "cannot make a file for a layer");
    }
    *ret_fd = fd;
    return 0;
}

/* The folder, and a pouch-unpack that fills it. */
static int start_folder(struct image_op *op, struct op_layer *l, int *ret_pipe)
{
    AUTOFD int dir_fd = -EBADF;

    if (mkdirat(op->store->layers_fd, l->tmp_dir, 0755) < 0) {
        free(take_ptr(l->tmp_dir));
        return error_set_errno(op->e, errno, "cannot make a folder for a layer");
    }
    dir_fd = openat(op->store->layers_fd, l->tmp_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return error_set_errno(op->e, errno, "cannot open a layer's folder");
    return start_unpack(op, l, dir_fd, ret_pipe);
}

static int start_layer(struct image_op *op, struct op_layer *l)
{
    char id[17];
    AUTOFD int out_fd = -EBADF, blob_fd = -EBADF;
    uint64_t have = 0;
    int r;

    random_hex(id, 8);
    l->tmp_dir = xasprintf("tmp.%s", id);
    l->form = op->store->layer_form;
    if (op->params->check) /* to be compared with what is there */
        (void)!image_store_layer_form(op->store, l->diff_id, &l->form);
    if (l->form == IMAGE_LAYER_EROFS)
        r = start_file(op, l, &out_fd);
    else
        r = start_folder(op, l, &out_fd);
    if (r < 0)
        return r;
    int fds[2] = {out_fd, -EBADF};
    if (!l->file) {
        /* Numbers of the worker's own files are small; these cannot meet them. */
        l->file = ((uint64_t)1 << 32) + l->request;
        r = l->digest && !op->params->check && !l->anew
                ? op_file_resume(op, l->file, l->digest, l->size, &blob_fd, &have)
                : -ENOENT;
        if (r == -ENOENT)
            r = op_file_new(op, l->file, &blob_fd);
        if (r < 0)
            return r;
        fds[1] = blob_fd;
        l->fetched = true;
    }
    l->state = LAYER_RUNNING;
    l->counts = true;
    struct worker_msg m = {.type = (char *)"layer",
                           .id = l->request,
                           .state = (char *)"fetch",
                           .current = have,
                           .form = l->form == IMAGE_LAYER_EROFS ? (char *)"erofs" : NULL};
    return op_reply(op, &m, fds, blob_fd >= 0 ? 2 : 1);
}

static int have_layer(struct image_op *op, struct op_layer *l, const char *status)
{
    struct worker_msg m = {.type = (char *)"layer", .id = l->request, .state = (char *)"have"};

    l->state = LAYER_READY;
    int r = op_reply(op, &m, NULL, 0);
    return r < 0 || l->told ? r : op_progress(op, l->short_id, status, 0, 0);
}

/* Decides what becomes of a layer the worker asks for. */
static int try_layer(struct image_op *op, struct op_layer *l)
{
    bool waited = l->state == LAYER_WAITING;
    bool again = taken_again(op, l);

    if (!l->diff_id)
        return start_layer(op, l);
    if (waited && !again && is_there(op, l))
        return have_layer(op, l, "Pull complete");
    if (!flight_begin(op, l)) {
        l->state = LAYER_WAITING;
        l->counts = true;
        l->told = false;
        return waited ? 0 : op_progress(op, l->short_id, "Waiting", 0, 0);
    }
    if (again || !is_there(op, l))
        return start_layer(op, l);
    flight_end(op, l);
    return have_layer(op, l, waited ? "Pull complete" : "Already exists");
}

/* What came was not the layer: all of it is thrown away, and it is begun anew. */
static int begin_anew(struct image_op *op, struct op_layer *l, uint64_t request)
{
    struct op_file *f = op_file_find(op, l->file);
    struct image_trash trash = {0};

    if (l->unpack > 0) {
        (void)kill(l->unpack, SIGKILL);
        (void)!spawn_wait(l->unpack);
        l->unpack = 0;
    }
    if (l->report_fd >= 0)
        close(take_fd(l->report_fd));
    if (l->tmp_dir)
        (void)!image_store_trash_layer(op->store, l->tmp_dir, &trash);
    free(take_ptr(l->tmp_dir));
    image_store_empty_trash(op->store, &trash);
    if (f && f->name) {
        (void)unlinkat(op->store->tmp_fd, f->name, 0);
        free(take_ptr(f->name));
    }
    if (op->unpack_failed == l) { /* no wonder */
        error_done(&op->unpack_error);
        op->unpack_failed = NULL;
    }
    l->unpacked = l->fetched = false;
    l->file = 0;
    l->came = 0;
    l->anew = true;
    l->request = request;
    return start_layer(op, l);
}

int op_layer_wanted(struct image_op *op, const struct worker_msg *m)
{
    struct op_layer *l = find_layer(op, m->index);

    if (l && m->state && STREQ(m->state, "again"))
        return l->state == LAYER_RUNNING && l->fetched && !l->read_whole
                   ? begin_anew(op, l, m->id)
                   : protocol_error(op, "a layer again that is not being fetched");

    if (!l || l->state != LAYER_PLANNED || l->request)
        return protocol_error(op, "unknown layer");
    if (m->file && !op_file_find(op, m->file))
        return protocol_error(op, "unknown file");
    l->request = m->id;
    l->file = m->file;
    return try_layer(op, l);
}

int op_layers_retry(struct image_op *op)
{
    int r = 0;

    for (size_t i = 0; r >= 0 && i < op->nlayers; i++)
        if (op->layers[i]->state == LAYER_WAITING)
            r = try_layer(op, op->layers[i]);
    return r;
}

/* --- Ending one ----------------------------------------------------------------------------------------- */

/*
 * Gives the folder or file its name, unless the same layer was just made by somebody else (an
 * import, a rival), whose work is then as good. What has the name but no row is a leftover, or is
 * being collected at this moment. *ret_old: the name the layer has in its other form, which must go
 * when the row says ours.
 */
static int place_layer(struct image_op *op, struct op_layer *l, struct image_trash *trash,
                       char **ret_old)
{
    struct image_store *s = op->store;
    AUTOFREE char *name = image_layer_name(l->diff_id, l->form);
    enum image_layer_form there;

    for (int tries = 0; tries < 5; tries++) {
        bool has = image_store_layer_form(s, l->diff_id, &there) == 0;

        if (has && there == l->form)
            return image_store_trash_layer(s, l->tmp_dir, trash);
        if (renameat2(s->layers_fd, l->tmp_dir, s->layers_fd, name, RENAME_NOREPLACE) == 0) {
            *ret_old = has ? image_layer_name(l->diff_id, there) : NULL;
            return 0;
        }
        if (errno != ENOTEMPTY && errno != EEXIST)
            break;
        (void)!image_store_trash_layer(s, name, trash);
        errno = EEXIST;
    }
    return error_set_errno(op->e, errno, "cannot put layer %s in its place", l->diff_id);
}

/* fsck: what was made is handed over, not put in place. */
static int hand_over(struct image_op *op, struct op_layer *l)
{
    AUTOFREE char *name = take_ptr(l->tmp_dir);

    l->state = LAYER_READY;
    int r = op->params->check->made(op->params->check->data, name);
    flight_end(op, l);
    return r < 0 ? error_set(op->e, ERR_INTERNAL, "the layer cannot be compared") : 0;
}

/* The layer got its name, but its row could not be written (a full disk). */
static void take_back(struct image_op *op, const struct op_layer *l, struct image_trash *trash)
{
    struct image_store *s = op->store;
    AUTOFREE char *name = image_layer_name(l->diff_id, l->form);
    enum image_layer_form there;

    if (store_begin(s->db, NULL) < 0)
        return; /* the next start does it */
    if (image_store_layer_form(s, l->diff_id, &there) != 0 || there != l->form)
        (void)!image_store_trash_layer(s, name, trash);
    store_rollback(s->db);
}

/* Both halves are done: the layer gets its name, the row is written. */
static int finish_layer(struct image_op *op, struct op_layer *l)
{
    struct image_store *s = op->store;
    struct op_file *f = op_file_find(op, l->file);
    struct image_trash trash = {0};
    AUTOFREE char *old = NULL;
    int r = 0;

    if (op->params->check)
        return hand_over(op, l);
    if (f && f->name)
        r = op_file_keep(op, f, l->digest);
    /* What a conversion replaces is durable: so must be what comes, before the old one goes. */
    if (r >= 0 && op->params->convert && syncfs(s->layers_fd) < 0)
        r = error_set_errno(op->e, errno, "cannot write the layer to disk");
    if (r < 0)
        return r;
    /* In a transaction, so that nobody collects the folder between its name and its row. */
    AUTOFREE char *name = image_layer_name(l->diff_id, l->form);
    if ((r = image_durable_begin(s, name, op->e)) < 0)
        return r;
    r = place_layer(op, l, &trash, &old);
    if (r >= 0) {
        free(take_ptr(l->tmp_dir));
        r = image_store_add_layer(s, l->diff_id, l->digest, l->media_type, l->size, l->content,
                                  l->form, op->e);
        if (r >= 0 && op->params->convert)
            r = store_exec(s->db, op->e, "UPDATE layers SET boot = '' WHERE diff_id = ?", "s",
                           l->diff_id);
    }
    if (r >= 0 && old) /* who reads the row from now on waits for it; what was read before is old */
        image_store_changed(s, NULL);
    if (r < 0)
        store_rollback(s->db);
    else
        r = store_commit(s->db, op->e);
    if (r < 0 && !l->tmp_dir)
        take_back(op, l, &trash);
    /* The name, and the database's log. */
    bool on_disk = !op->params->convert || (r >= 0 && syncfs(s->layers_fd) == 0);
    if (r >= 0 && old && on_disk) {
        (void)!image_store_trash_layer(s, old, &trash); /* else the next start does it */
        image_store_changed(s, NULL);
    }
    if (r >= 0) {
        l->state = LAYER_READY;
        flight_end(op, l);
    }
    image_store_empty_trash(s, &trash);
    return r < 0 ? r : op_progress(op, l->short_id, "Pull complete", 0, 0);
}

int op_layer_done(struct image_op *op, const struct worker_msg *m)
{
    struct op_layer *l = find_layer(op, m->index);

    if (!l || l->state != LAYER_RUNNING || l->read_whole)
        return protocol_error(op, "a layer is done that was not running");
    if (!m->digest || !m->diff_id || !digest_is_valid(m->digest) || !digest_is_valid(m->diff_id) ||
        (l->digest && !STREQ(l->digest, m->digest)) ||
        (l->diff_id && !STREQ(l->diff_id, m->diff_id)))
        return protocol_error(op, "a layer changed its digest");
    if (!l->diff_id) {
        l->diff_id = xstrdup(m->diff_id);
        op_pin(op, l->diff_id);
    }
    if (!l->digest) {
        l->digest = xstrdup(m->digest);
        op_pin(op, l->digest);
    }
    l->size = m->size;
    l->read_whole = true;
    if (l->form == IMAGE_LAYER_EROFS) {
        l->content = m->total < (uint64_t)INT64_MAX ? m->total : 0;
        return op_check_start(op, l);
    }
    return l->unpacked ? finish_layer(op, l) : 0;
}

void op_layer_hold(struct image_op *op)
{
    op->unpack_deadline = time_monotonic_ns() + HOLD_NS;
}

/* Either this is the cause, and the worker soon sees a broken pipe, or the worker failed first and
 * is about to say so: its word is waited for. */
static int hold_error(struct image_op *op, struct op_layer *l, const char *why, int errnum)
{
    if (op->unpack_error.message)
        return 0;
    op->unpack_failed = l;
    (void)error_set(&op->unpack_error, ERR_INTERNAL, "cannot unpack layer %s: %s",
                    l->short_id ? l->short_id : "", why);
    op->unpack_error.errnum = errnum;
    op_layer_hold(op);
    return 0;
}

static int check_report(struct image_op *op, struct op_layer *l)
{
    int r = op_check_end(op, l);

    l->unpacked = r == 0;
    return r < 0 ? r : finish_layer(op, l);
}

static int unpack_report(struct image_op *op, struct op_layer *l)
{
    struct unpack_report report = {0};
    /* Its report comes last, and fits the pipe. */
    int status = spawn_wait_or_kill(l->unpack, 5000);
    ssize_t n = fs_read_full(l->report_fd, &report, sizeof(report));

    l->unpack = 0;
    close(take_fd(l->report_fd));
    report.message[sizeof(report.message) - 1] = '\0';
    if (n == (ssize_t)sizeof(report) && report.magic == UNPACK_REPORT_MAGIC) {
        if (report.errnum == 0 && status == 0) {
            l->unpacked = true;
            l->content = report.bytes;
            return l->read_whole ? finish_layer(op, l) : 0;
        }
        if (report.errnum == ECANCELED)
            return 0; /* the worker cut it off and says why */
        if (report.errnum != 0)
            return hold_error(op, l, *report.message ? report.message : strerror(report.errnum),
                              report.errnum);
    }
    AUTOFREE char *why = xasprintf("pouch-unpack ended with status %d and no good report", status);
    return hold_error(op, l, why, EIO);
}

int op_layer_report(struct image_op *op, struct op_layer *l)
{
    return l->check > 0 ? check_report(op, l) : unpack_report(op, l);
}

bool op_layers_wait(const struct image_op *op)
{
    for (size_t i = 0; i < op->nlayers; i++)
        if (op->layers[i]->state == LAYER_WAITING)
            return true;
    return false;
}

bool op_layers_busy(const struct image_op *op)
{
    for (size_t i = 0; i < op->nlayers; i++)
        if (op->layers[i]->state == LAYER_RUNNING || op->layers[i]->state == LAYER_WAITING)
            return true;
    return false;
}

void op_layers_cleanup(struct image_op *op)
{
    struct image_trash trash = {0};

    for (size_t i = 0; i < op->nlayers; i++) {
        struct op_layer *l = op->layers[i];
        if (l->unpack > 0) {
            (void)kill(l->unpack, SIGKILL);
            (void)!spawn_wait(l->unpack);
        }
        if (l->check > 0) {
            (void)kill(l->check, SIGKILL);
            (void)!spawn_wait(l->check);
        }
        if (l->report_fd >= 0)
            close(l->report_fd);
        if (l->tmp_dir)
            (void)!image_store_trash_layer(op->store, l->tmp_dir, &trash);
        flight_end(op, l);
        free(l->digest);
        free(l->diff_id);
        free(l->media_type);
        free(l->short_id);
        free(l->tmp_dir);
        free(l);
    }
    free(op->layers);
    op->layers = NULL;
    op->nlayers = 0;
    image_store_empty_trash(op->store, &trash);
}
