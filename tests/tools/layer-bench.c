/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a layer can become a file, and what it is made of, without a network:
 *
 *   layer-bench [--rounds N] BLOB... FOLDER
 *
 * prints the best of N rounds, wall clock and processor time in ms, of: inflating the blob alone,
 * hashing blob and archive alone, writing two files of their sizes (a pull keeps the blob, too; like
 * it, this does not wait for the disk), and the whole pipeline of pouch-image (digests, the blob's
 * file, inflate, tar, EROFS writer) with the blob in memory. Several blobs come one after the other.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "image/worker/worker.h"

struct input {
    const unsigned char *data;
    size_t len;
    uint64_t plain;
};

static struct input *inputs;
static size_t ninputs;

/* The one that is measured. */
static const unsigned char *blob;
static size_t blob_len;
static uint64_t plain_len;
static unsigned char filler[CHUNK_SIZE];
static char *out_path, *blob_path;

static double clock_ms(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char *what, struct error *e)
{
    (void)fprintf(stderr, "layer-bench: %s: %s\n", what, error_message(e));
    exit(1);
}

static void *feed(void *data)
{
    struct chunkq *q = data;
    size_t at = 0;

    while (at < blob_len) {
        struct chunk *c = chunk_new();

        c->len = blob_len - at < CHUNK_SIZE ? blob_len - at : CHUNK_SIZE;
        memcpy(c->data, blob + at, c->len);
        at += c->len;
        if (chunkq_push(q, c) < 0)
            break;
    }
    chunkq_close(q, 0);
    return NULL;
}

struct inflate {
    struct chunkq *in, *out;
    struct error e;
};

static void *inflate(void *data)
{
    struct inflate *i = data;

    if (inflate_run(i->in, i->out, &i->e) < 0)
        die("inflate", &i->e);
    return NULL;
}

static void run_inflate(void)
{
    struct chunkq in, out;
    struct inflate i = {.in = &in, .out = &out};
    pthread_t threads[2];
    struct chunk *c;

    chunkq_init(&in);
    chunkq_init(&out);
    (void)pthread_create(&threads[0], NULL, feed, &in);
    (void)pthread_create(&threads[1], NULL, inflate, &i);
    plain_len = 0;
    while (chunkq_pop(&out, &c) > 0) {
        plain_len += c->len;
        chunk_free(c);
    }
    (void)pthread_join(threads[0], NULL);
    (void)pthread_join(threads[1], NULL);
    chunkq_done(&in);
    chunkq_done(&out);
}

static void run_hash(void)
{
    struct digest_state d = {0};
    char text[DIGEST_MAX];

    if (digest_state_init(&d, DIGEST_SHA256) < 0)
        exit(1);
    for (uint64_t left = plain_len + blob_len; left > 0;) {
        size_t n = left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE;

        (void)!digest_state_update(&d, filler, n);
        left -= n;
    }
    (void)!digest_state_final(&d, text);
    digest_state_done(&d);
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

static void write_file(const char *path, uint64_t len)
{
    AUTOFD int fd = open_file(path);

    for (uint64_t at = 0; at < len; at += CHUNK_SIZE)
        if (pwrite(fd, filler, len - at < CHUNK_SIZE ? (size_t)(len - at) : CHUNK_SIZE, (off_t)at) <
            0)
            exit(1);
}

static void run_write(void)
{
    write_file(blob_path, blob_len);
    write_file(out_path, plain_len);
}

/* As layers.c does it. */
struct kept {
    struct digest_state hash;
    int fd;
};

static int keep(void *data, const void *bytes, size_t len)
{
    struct kept *k = data;
    int r = digest_state_update(&k->hash, bytes, len);

    return r < 0 ? r : fs_write_all(k->fd, bytes, len);
}

static void run_pipeline(void)
{
    AUTOFD int fd = open_file(out_path);
    AUTOFD int blob_fd = open_file(blob_path);
    AUTOPTR(layer_sink) struct layer_sink *sink = NULL;
    struct tar_result result;
    struct pipeline p;
    struct kept kept = {.fd = blob_fd};
    struct error e = ERROR_INIT;
    char text[DIGEST_MAX];
    int r = sink_erofs_new(fd, &sink, &e);

    if (r == 0)
        r = pipeline_start(&p, sink, DIGEST_SHA256, &e);
    if (r < 0 || digest_state_init(&kept.hash, DIGEST_SHA256) < 0)
        die("start", &e);
    p.tap = keep;
    p.tap_data = &kept;
    for (size_t at = 0; at < blob_len;) { /* as libcurl gives it */
        size_t n = blob_len - at < 16384 ? blob_len - at : 16384;

        if (pipeline_feed(&p, blob + at, n) < 0)
            break;
        at += n;
    }
    if (pipeline_finish(&p, 0, &result, &e) < 0)
        die("pipeline", &e);
    (void)!digest_state_final(&kept.hash, text);
    digest_state_done(&kept.hash);
}

static void measure(const char *name, void (*run)(void), int rounds)
{
    double wall = 1e9, cpu = 1e9;

    for (int i = 0; i < rounds; i++) {
        double w = 0, c = 0;

        for (size_t k = 0; k < ninputs; k++) {
            blob = inputs[k].data;
            blob_len = inputs[k].len;
            plain_len = inputs[k].plain;
            w -= clock_ms(CLOCK_MONOTONIC);
            c -= clock_ms(CLOCK_PROCESS_CPUTIME_ID);
            run();
            w += clock_ms(CLOCK_MONOTONIC);
            c += clock_ms(CLOCK_PROCESS_CPUTIME_ID);
            inputs[k].plain = plain_len;
            (void)unlink(out_path);
            (void)unlink(blob_path);
        }
        wall = w < wall ? w : wall;
        cpu = c < cpu ? c : cpu;
    }
    (void)printf("%s %.1f %.1f\n", name, wall, cpu);
}

static int map_input(const char *path, struct input *in)
{
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    in->len = (size_t)st.st_size;
    in->data = mmap(NULL, in->len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    return in->data == MAP_FAILED ? -errno : 0;
}

int main(int argc, char **argv)
{
    int rounds = 5;

    if (argc > 2 && STREQ(argv[1], "--rounds")) {
        rounds = (int)strtol(argv[2], NULL, 10);
        argv += 2;
        argc -= 2;
    }
    if (argc < 3) {
        (void)fputs("usage: layer-bench [--rounds N] BLOB... FOLDER\n", stderr);
        return 2;
    }
    ninputs = (size_t)argc - 2;
    inputs = xcalloc(ninputs, sizeof(*inputs));
    for (size_t i = 0; i < ninputs; i++) {
        int r = map_input(argv[i + 1], &inputs[i]);

        if (r < 0) {
            (void)fprintf(stderr, "layer-bench: %s: %s\n", argv[i + 1], strerror(-r));
            return 1;
        }
    }
    memset(filler, 0x5a, sizeof(filler));
    out_path = xasprintf("%s/layer-bench.%d", argv[argc - 1], getpid());
    blob_path = xasprintf("%s.blob", out_path);
    measure("inflate", run_inflate, rounds);
    measure("hash", run_hash, rounds);
    measure("write", run_write, rounds);
    measure("pipeline", run_pipeline, rounds);
    free(out_path);
    free(blob_path);
    free(inputs);
    return 0;
}
