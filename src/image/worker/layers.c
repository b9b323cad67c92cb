/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers side by side. Each worker thread takes the next layer, asks pouchd for it (which answers
 * "have" when it is there, or when another pull just brought it), and else runs source → digest →
 * pipeline. The blob's and the layer's digest are compared before the end mark is written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/time.h"
#include "image/worker/blame.h"
#include "image/worker/worker.h"

#define PROGRESS_NS (100 * NSEC_PER_MSEC)

struct run {
    struct layer *layers;
    size_t n, next;
    pthread_mutex_t lock;
    struct error error; /* of the first that failed */
    int status;
};

static void progress(struct layer *l, const char *status, bool force)
{
    int64_t now = time_monotonic_ns();

    if (!force && now - l->last_progress < PROGRESS_NS)
        return;
    l->last_progress = now;
    struct worker_msg m = {.type = (char *)"progress",
                           .index = l->index,
                           .status = (char *)status,
                           .current = l->done,
                           .total = l->size < 0 ? 0 : (uint64_t)l->size};
    (void)conn_send(&m, NULL);
}

/* Errors of this machine: no other bytes would help. */
static bool is_local(const struct error *e)
{
    static const int numbers[] = {ENOSPC, EDQUOT, ENOMEM, EMFILE, ENFILE, EROFS};

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        if (e->errnum == numbers[i])
            return true;
    return false;
}

/* The blob's bytes on their way into the pipeline, in large pieces: each costs a call, and the file
 * system gives large ones large folios. */
static int keep_bytes(void *data, const void *bytes, size_t len)
{
    struct layer *l = data;
    uint64_t there = l->have > l->kept ? l->have - l->kept : 0; /* an earlier pull left them */
    int r = 0;

    if (l->blob_fd >= 0 && len > there)
        r = fs_write_all(l->blob_fd, (const char *)bytes + there, len - there);
    l->kept += len;
    if (r < 0 && !l->feed_error.message)
        (void)!error_set_errno(&l->feed_error, r, "cannot write it");
    return r;
}

static void end_pipeline(struct layer *l, int status)
{
    if (!l->draining)
        l->stage_status = pipeline_finish(&l->pipeline, status, &l->result, &l->stage_error);
}

/* The pipeline does not take what came. Only the digest shows whether the registry gave something
 * else or the layer is like that: when there are other registries, the rest is read for it. */
static int drain(struct layer *l)
{
    if (!l->blame || !blame_may_continue(l->blame))
        return -EPIPE;
    end_pipeline(l, 0);
    l->draining = true;
    if (l->feed_error.message) /* what was left of it could not be kept */
        return l->stage_status;
    return is_local(&l->stage_error) ? -EPIPE : 0;
}

static int feed_piece(struct layer *l, const void *data, size_t len, struct error *e)
{
    int r;

    if (digest_state_update(&l->hash, data, len) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    l->done += len;
    progress(l, l->file ? "Loading layer" : "Downloading", false);
    if (l->draining)
        return 0;
    r = pipeline_feed(&l->pipeline, data, len);
    return r == -EPIPE ? drain(l) : r;
}

int layer_feed(struct layer *l, const void *data, size_t len, struct error *e)
{
    const unsigned char *bytes = data;
    int r = 0;

    if (l->size >= 0 && len > (uint64_t)l->size - l->done) {
        l->wrong = true;
        return error_set(e, ERR_INTERNAL, "it is longer than the %lld bytes its manifest says",
                         (long long)l->size);
    }
    while (r >= 0 && len > 0) {
        uint64_t seam = l->blame ? blame_next_seam(l->blame, l->done) : UINT64_MAX;
        size_t n = seam - l->done < len ? (size_t)(seam - l->done) : len;
        r = feed_piece(l, bytes, n, e);
        bytes += n;
        len -= n;
        if (l->blame && l->done == seam)
            blame_at_seam(l->blame, seam, &l->hash);
    }
    return r;
}

int layer_source_file(struct layer *l, struct error *e)
{
    AUTOFREE unsigned char *buf = xmalloc(CHUNK_SIZE);
    ssize_t n;
    int r;

    if (lseek(l->file_fd, 0, SEEK_SET) < 0)
        return error_set_errno(e, errno, "cannot read the layer's file");
    while ((n = fs_read_full(l->file_fd, buf, CHUNK_SIZE)) > 0) {
        r = layer_feed(l, buf, (size_t)n, e);
        if (r < 0)
            return r;
    }
    return n < 0 ? error_set_errno(e, (int)n, "cannot read the layer's file") : 0;
}

/* The beginning of the blob that an earlier pull left in its file goes the same way as what comes. */
static int replay(struct layer *l, struct error *e)
{
    AUTOFREE unsigned char *buf = xmalloc(CHUNK_SIZE);
    int r = 0;

    while (r >= 0 && l->done < l->have) {
        uint64_t left = l->have - l->done;
        ssize_t n = fs_read_full(l->blob_fd, buf, left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE);
        if (n <= 0)
            r = error_set_errno(e, n < 0 ? (int)n : EIO, "cannot read what came of it before");
        else
            r = layer_feed(l, buf, (size_t)n, e);
    }
    return r;
}

/* The digest of all that came. It decides whether what the pipeline says of it counts. */
static int verify_blob(struct layer *l, struct error *e)
{
    char digest[DIGEST_MAX];

    if (digest_state_final(&l->hash, digest) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    if (*l->digest && !STREQ(l->digest, digest)) {
        l->wrong = true;
        return error_set(e, ERR_INTERNAL, "verification failed: what came has digest %s", digest);
    }
    memcpy(l->digest, digest, sizeof(digest));
    return 0;
}

/* Compares the digests with what was promised; fills in what was not known. */
static int verify(struct layer *l, struct error *e)
{
    /* Of a layer that can only come from one place the pipeline's word is better than "other bytes". */
    if (l->stage_error.message && (!l->blame || is_local(&l->stage_error))) {
        error_move(e, &l->stage_error);
        return l->stage_status;
    }
    int r = verify_blob(l, e);
    if (r < 0)
        return r;
    if (l->stage_status < 0) {
        error_move(e, &l->stage_error);
        return l->stage_status;
    }
    if (*l->diff_id && !STREQ(l->diff_id, l->result.diff_id))
        return error_set(e, ERR_INTERNAL,
                         "verification failed: its uncompressed digest is %s, but the image's "
                         "configuration says %s",
                         l->result.diff_id, l->diff_id);
    memcpy(l->diff_id, l->result.diff_id, sizeof(l->diff_id));
    return 0;
}

/* All bytes of the layer into the pipeline. */
static int bring(struct layer *l, struct error *e)
{
    int r = l->have > 0 ? replay(l, e) : 0;

    if (r >= 0)
        r = l->source(l, e);
    if (r >= 0 && l->size >= 0 && l->done != (uint64_t)l->size) {
        l->wrong = true;
        r = error_set(e, ERR_INTERNAL, "it is short: %llu of %lld bytes came",
                      (unsigned long long)l->done, (long long)l->size);
    }
    if (!l->file && r >= 0)
        progress(l, "Download complete", true);
    return r;
}

/* The layer is ours to bring: the fds are open. */
static int run_pipeline(struct layer *l, struct layer_sink *sink, struct error *e)
{
    int r, status;

    r = digest_state_init(&l->hash, *l->digest ? digest_algorithm(l->digest) : DIGEST_SHA256);
    if (r < 0)
        return error_set_errno(e, r, "cannot compute digests");
    r = pipeline_start(&l->pipeline, sink,
                       *l->diff_id ? digest_algorithm(l->diff_id) : DIGEST_SHA256, e);
    if (r < 0) {
        digest_state_done(&l->hash);
        return r;
    }
    l->pipeline.tap = keep_bytes;
    l->pipeline.tap_data = l;
    l->done = l->kept = 0;
    l->wrong = l->draining = false;
    l->stage_status = 0;
    memset(&l->result, 0, sizeof(l->result));
    status = bring(l, &l->feed_error);
    /* Without a message of its own the source was stopped by the pipeline, which knows why. */
    end_pipeline(l, l->feed_error.message ? status : 0);
    if (l->feed_error.message) {
        r = status < 0 ? status : l->stage_status; /* what was fed last could not be kept */
        error_move(e, &l->feed_error);
    } else if (status < 0) {
        error_move(e, &l->stage_error);
        r = l->stage_status < 0 ? l->stage_status : status;
    } else {
        r = verify(l, e);
        if (r >= 0)
            r = inflate_keep(l->result.bytes, e);
    }
    error_done(&l->feed_error);
    error_done(&l->stage_error);
    digest_state_done(&l->hash);
    if (r < 0)
        return r;
    struct worker_msg m = {.type = (char *)"layer-done",
                           .index = l->index,
                           .file = l->file,
                           .digest = l->digest,
                           .diff_id = l->diff_id,
                           .total = l->result.content,
                           .size = l->done};
    if (l->erofs)
        close(take_fd(l->out_fd)); /* pouchd may want nobody to write to it any more */
    r = conn_send(&m, e); /* before the end mark: pouchd knows it when pouch-unpack reports */
    return r < 0 ? r : sink->ops->end(sink, e);
}

static int run_sink(struct layer *l, struct error *e)
{
    AUTOPTR(layer_sink) struct layer_sink *sink = NULL;
    int r = 0;

    if (l->erofs)
        r = sink_erofs_new(l->out_fd, &sink, e);
    else
        sink = sink_stream_new(l->out_fd);
    return r < 0 ? r : run_pipeline(l, sink, e);
}

/* Asks pouchd for where the layer goes. 1: it is there already. again: what was begun was wrong,
 * and is thrown away. */
static int ask_for_files(struct layer *l, bool again, struct error *e)
{
    struct worker_msg m = {.type = (char *)"layer",
                           .index = l->index,
                           .file = l->file,
                           .state = again ? (char *)"again" : NULL};
    struct worker_msg reply = {0};
    int fds[WORKER_FDS_MAX];
    size_t nfds = 0;
    int r = conn_call(&m, &reply, fds, &nfds, e);
    bool have = r >= 0 && reply.state && STREQ(reply.state, "have");

    l->have = r >= 0 ? reply.current : 0;
    l->erofs = r >= 0 && reply.form && STREQ(reply.form, "erofs");
    worker_msg_done(&reply);
    if (r < 0 || have)
        return r < 0 ? r : 1;
    if (nfds != (l->file ? 1u : 2u)) {
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        return error_set(e, ERR_INTERNAL, "pouchd gave no files for the layer");
    }
    l->out_fd = fds[0];
    l->blob_fd = l->file ? -EBADF : fds[1];
    return 0;
}

/* Whether others are asked for the layer after it failed like that. */
static bool once_more(struct layer *l, const struct error *e)
{
    bool again;

    if (l->wrong)
        again = blame_wrong(l->blame, error_message(e));
    else if (l->no_source)
        again = blame_no_source(l->blame);
    else
        return false;
    if (again)
        progress(l, "Retrying: wrong bytes came", true);
    return again;
}

static int run_layer(struct layer *l, struct error *e)
{
    bool again = false;
    int r;

    do {
        AUTO(error) struct error own = ERROR_INIT;
        if ((r = ask_for_files(l, again, e)) != 0)
            return r < 0 ? r : 0;
        if (l->blame)
            blame_begin(l->blame, l->have);
        l->no_source = false;
        r = run_sink(l, &own);
        if (l->out_fd >= 0)
            close(l->out_fd);
        if (l->blob_fd >= 0)
            close(l->blob_fd);
        again = r < 0 && l->blame && once_more(l, &own);
        if (r < 0 && !again) {
            error_move(e, &own);
            if (!l->blame || !(l->wrong || l->no_source) || !blame_verdict(l->blame, e))
                if (*l->digest)
                    error_add(e, "layer %s", l->digest);
        }
    } while (again);
    if (r >= 0 && l->blame)
        blame_right(l->blame);
    return r;
}

static void *run_thread(void *data)
{
    struct run *run = data;
    AUTOPTR(http_client) struct http_client *client = NULL;

    for (;;) {
        AUTO(error) struct error e = ERROR_INIT;
        pthread_mutex_lock(&run->lock);
        struct layer *l = run->status >= 0 && run->next < run->n ? &run->layers[run->next++] : NULL;
        pthread_mutex_unlock(&run->lock);
        if (!l)
            return NULL;
        if (!client)
            client = http_client_new();
        l->client = client;
        int r = run_layer(l, &e);
        if (r >= 0)
            continue;
        pthread_mutex_lock(&run->lock);
        if (run->status >= 0) {
            run->status = r;
            error_move(&run->error, &e);
        }
        pthread_mutex_unlock(&run->lock);
        return NULL;
    }
}

int layers_run(struct layer *layers, size_t n, unsigned parallel, struct error *e)
{
    struct run run = {.layers = layers, .n = n, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[WORKER_PARALLEL_MAX];
    unsigned started = 0;

    if (parallel < 1 || parallel > WORKER_PARALLEL_MAX)
        parallel = 3;
    while (started < parallel && started < n &&
           pthread_create(&threads[started], NULL, run_thread, &run) == 0)
        started++;
    if (started == 0 && n > 0)
        return error_set(e, ERR_INTERNAL, "cannot start a thread");
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (run.status < 0)
        error_move(e, &run.error);
    return run.status;
}
