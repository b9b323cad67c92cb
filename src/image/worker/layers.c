/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers side by side. Each worker thread takes the next layer, asks pouchd for it (which answers
 * "have" when it is there, or when another pull just brought it), and else runs source → digest →
 * pipeline. The blob's and the layer's digest are compared before the end mark is written.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/time.h"
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

int layer_feed(struct layer *l, const void *data, size_t len, struct error *e)
{
    int r;

    if (l->size >= 0 && len > (uint64_t)l->size - l->done)
        return error_set(e, ERR_INTERNAL, "it is longer than the %lld bytes its manifest says",
                         (long long)l->size);
    if (digest_state_update(&l->hash, data, len) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    if (l->blob_fd >= 0 && !l->replaying && (r = fs_write_all(l->blob_fd, data, len)) < 0)
        return error_set_errno(e, r, "cannot write it");
    l->done += len;
    progress(l, l->file ? "Loading layer" : "Downloading", false);
    return pipeline_feed(&l->pipeline, data, len);
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

    l->replaying = true;
    while (r >= 0 && l->done < l->have) {
        uint64_t left = l->have - l->done;
        ssize_t n = fs_read_full(l->blob_fd, buf, left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE);
        if (n <= 0)
            r = error_set_errno(e, n < 0 ? (int)n : EIO, "cannot read what came of it before");
        else
            r = layer_feed(l, buf, (size_t)n, e);
    }
    l->replaying = false;
    return r;
}

/* Compares both digests with what was promised; fills in what was not known. */
static int verify(struct layer *l, const struct tar_result *result, struct error *e)
{
    char digest[DIGEST_MAX];

    if (digest_state_final(&l->hash, digest) < 0)
        return error_set(e, ERR_INTERNAL, "cannot compute digests");
    if (*l->digest && !STREQ(l->digest, digest))
        return error_set(e, ERR_INTERNAL, "verification failed: what came has digest %s", digest);
    if (*l->diff_id && !STREQ(l->diff_id, result->diff_id))
        return error_set(e, ERR_INTERNAL,
                         "verification failed: its uncompressed digest is %s, but the image's "
                         "configuration says %s",
                         result->diff_id, l->diff_id);
    memcpy(l->digest, digest, sizeof(digest));
    memcpy(l->diff_id, result->diff_id, sizeof(l->diff_id));
    return 0;
}

/* The layer is ours to bring: the fds are open. */
static int run_pipeline(struct layer *l, struct layer_sink *sink, struct error *e)
{
    struct tar_result result = {0};
    AUTO(error) struct error feed_error = ERROR_INIT;
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
    l->done = 0;
    status = l->have > 0 ? replay(l, &feed_error) : 0;
    if (status >= 0)
        status = l->source(l, &feed_error);
    if (status >= 0 && l->size >= 0 && l->done != (uint64_t)l->size)
        status = error_set(&feed_error, ERR_INTERNAL, "it is short: %llu of %lld bytes came",
                           (unsigned long long)l->done, (long long)l->size);
    if (!l->file && status >= 0)
        progress(l, "Download complete", true);
    /* Without a message of its own the source was stopped by the pipeline, which knows why. */
    r = pipeline_finish(&l->pipeline, feed_error.message ? status : 0, &result, e);
    if (feed_error.message) {
        error_move(e, &feed_error);
        r = status;
    }
    if (r >= 0)
        r = verify(l, &result, e);
    if (r < 0 && *l->digest)
        error_add(e, "layer %s", l->digest);
    digest_state_done(&l->hash);
    if (r < 0)
        return r;
    struct worker_msg m = {.type = (char *)"layer-done",
                           .index = l->index,
                           .file = l->file,
                           .digest = l->digest,
                           .diff_id = l->diff_id,
                           .total = result.content,
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

static int run_layer(struct layer *l, struct error *e)
{
    struct worker_msg m = {.type = (char *)"layer", .index = l->index, .file = l->file};
    struct worker_msg reply = {0};
    int fds[WORKER_FDS_MAX];
    size_t nfds = 0;
    int r = conn_call(&m, &reply, fds, &nfds, e);
    bool have = r >= 0 && reply.state && STREQ(reply.state, "have");
    l->have = r >= 0 ? reply.current : 0;

    l->erofs = r >= 0 && reply.form && STREQ(reply.form, "erofs");
    worker_msg_done(&reply);
    if (r < 0 || have)
        return r;
    if (nfds != (l->file ? 1u : 2u)) {
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        return error_set(e, ERR_INTERNAL, "pouchd gave no files for the layer");
    }
    l->out_fd = fds[0];
    l->blob_fd = l->file ? -EBADF : fds[1];
    r = run_sink(l, e);
    if (l->out_fd >= 0)
        close(l->out_fd);
    if (l->blob_fd >= 0)
        close(l->blob_fd);
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
