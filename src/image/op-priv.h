/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One operation: a worker process, the layers it brings, the pouch-unpack processes that write
 * them as folders (EROFS files the worker writes by itself, and a pouch-check looks at each). Owned by the thread of the request; other operations only touch `wake` (an eventfd), under
 * the store's lock, to say that a layer they were bringing is decided.
 */
#pragma once

#include "image/entry-stream.h"
#include "image/image-priv.h"
#include "image/registry-plan.h"
#include "image/worker-protocol.h"

enum layer_state {
    LAYER_PLANNED,
    LAYER_WAITING, /* another operation brings it */
    LAYER_RUNNING, /* this one does */
    LAYER_READY    /* it is there */
};

struct op_layer {
    enum layer_state state;
    char *digest;  /* of the blob, NULL not known */
    char *diff_id; /* NULL not known */
    char *media_type;
    char *short_id; /* for progress */
    uint64_t size;
    uint64_t request; /* the worker's open question */
    uint64_t file;    /* temporary file that holds the blob */
    bool flying;      /* this operation holds the flight of diff_id */
    char *tmp_dir;    /* layers/tmp.…, a folder or (form EROFS) a file */
    enum image_layer_form form;
    pid_t unpack; /* 0: not running */
    pid_t check;  /* pouch-check, of a file that is whole */
    int report_fd;
    bool told;     /* progress has said that it is there */
    bool counts;   /* in the sum: it was not there from the beginning */
    uint64_t came; /* bytes of its blob */
    struct rate_meter meter;
    bool anew;        /* it was begun before, with wrong bytes */
    bool fetched;     /* the worker writes its blob to `file` */
    bool read_whole;  /* the worker said layer-done */
    bool unpacked;    /* all is written: pouch-unpack said so, or pouch-check found the file good */
    uint64_t content; /* bytes of files, from the report */
};

struct op_file {
    uint64_t number;
    char *name; /* in blobs/tmp; NULL: it became a blob */
    uint64_t size;
};

struct image_op {
    struct image_store *store;
    const struct image_op_params *params;
    struct error *e;
    struct image_op_results *results;
    pid_t worker;
    int sock;
    int wake;
    struct op_layer **layers;
    size_t nlayers;
    struct json_list files; /* of struct op_file */
    char **pins;
    struct rate_meter meter;   /* of all layers */
    struct registry_plan plan; /* where the worker may ask */
    bool done;                 /* the worker said so */
    bool unpack_stopped;       /* the worker only saw a broken pipe: pouch-unpack knows why */
    struct error pending;      /* the worker's error while that is found out */
    struct error unpack_error; /* pouch-unpack's, while the worker may know the cause better */
    const struct op_layer *unpack_failed; /* whose it is */
    int64_t unpack_deadline;              /* until when it may say so */
    struct image_op *next, *prev;
};

#define OP_LAYERS_MAX 4096
#define OP_FILES_MAX  8192

/* op-layer.c */
/* Tells all operations that something they may wait for has ended. The store's lock is held. */
void op_wake_all(struct image_store *s);
/* The layer's bytes still come. */
void op_layer_alive(struct image_op *op, uint64_t index);
bool op_layers_wait(const struct image_op *op);
int op_layer_plan(struct image_op *op, const struct worker_msg *m);
int op_layer_wanted(struct image_op *op, const struct worker_msg *m);
int op_layer_done(struct image_op *op, const struct worker_msg *m);
/* The worker gets some more time to say why pouch-unpack failed. */
void op_layer_hold(struct image_op *op);
/* Looks again at the layers that wait for another operation. */
int op_layers_retry(struct image_op *op);
/* pouch-unpack or pouch-check of this layer has something to say. */
int op_layer_report(struct image_op *op, struct op_layer *l);
bool op_layers_busy(const struct image_op *op);
/* Ends what still runs and removes what is half-made. */
void op_layers_cleanup(struct image_op *op);

/* op-check.c */
/* A layer's file is whole: may the kernel have it? The answer comes on l->report_fd. */
int op_check_start(struct image_op *op, struct op_layer *l);
/* The answer is there: 0, or why not. */
int op_check_end(struct image_op *op, struct op_layer *l);

/* op.c */
/* A file in blobs/tmp; *ret_fd is the caller's. */
int op_file_new(struct image_op *op, uint64_t number, int *ret_fd);
/* The same, with the beginning that an earlier operation left; -ENOENT: there is none. */
int op_file_resume(struct image_op *op, uint64_t number, const char *digest, uint64_t size,
                   int *ret_fd, uint64_t *ret_have) MUST_CHECK;
struct op_file *op_file_find(struct image_op *op, uint64_t number);
/* The temporary file becomes the blob of that digest. */
int op_file_keep(struct image_op *op, struct op_file *f, const char *digest);
void op_pin(struct image_op *op, const char *digest);
int op_progress(struct image_op *op, const char *id, const char *status, uint64_t current,
                uint64_t total);
int op_reply(struct image_op *op, const struct worker_msg *m, const int *fds, size_t nfds);
