/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream on its way out, compressed by a worker process: what is written here goes through a pipe
 * to pouch-image (op "compress") and comes back to the caller's `write`. All on the caller's thread,
 * but for one that waits for the worker. Kind none passes the bytes through, without any process.
 */
#pragma once

#include <pthread.h>

#include "image/image-priv.h"

struct image_filter {
    const char *kind; /* NULL, "" or "none"; "gzip"; "zstd" */
    struct image_store *store;
    image_write_fn *write;
    void *write_data;
    int in, out; /* our ends: to the worker (not blocking), from it */
    bool running;
    pthread_t thread;
    int worker_in, worker_out; /* the worker's ends, closed by the thread */
    int status;
    struct error error; /* of the worker */
};

/* ERR_INVALID for an unknown kind. */
int image_filter_start(struct image_filter *f, struct image_store *s, image_write_fn *write,
                       void *write_data, struct error *e) MUST_CHECK;
/* A tarw_write_fn; `data` is the filter. */
int image_filter_write(void *data, const void *bytes, size_t len) MUST_CHECK;
/* Ends the stream; status < 0: of what failed before (its error is kept). Always call it. */
int image_filter_finish(struct image_filter *f, int status, struct error *e) MUST_CHECK;
