/* SPDX-License-Identifier: Apache-2.0 */
/* fsck: digests of blobs, and a layer unpacked once more from the blob that is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/worker/worker.h"

/* The digest of what fd gives; a positive errno when it cannot be read. */
static int hash_fd(int fd, enum digest_algorithm algorithm, unsigned char *buf,
                   char out[DIGEST_MAX], uint64_t *ret_size)
{
    struct digest_state d;
    uint64_t size = 0;
    ssize_t n = 0;
    int r = digest_state_init(&d, algorithm);

    if (r < 0)
        return -r;
    while (r >= 0 && (n = fs_read_full(fd, buf, CHUNK_SIZE)) > 0) {
        r = digest_state_update(&d, buf, (size_t)n);
        size += (uint64_t)n;
    }
    if (r >= 0 && n < 0)
        r = (int)n;
    if (r >= 0)
        r = digest_state_final(&d, out);
    digest_state_done(&d);
    *ret_size = size;
    return r < 0 ? -r : 0;
}

int worker_hash(const struct worker_msg *start, struct error *e)
{
    AUTOFREE unsigned char *buf = xmalloc(CHUNK_SIZE);

    for (;;) {
        struct worker_msg ask = {.type = (char *)"next"}, reply = {0};
        char digest[DIGEST_MAX] = "";
        int fds[WORKER_FDS_MAX];
        size_t nfds = 0;
        uint64_t size = 0;
        int r = conn_call(&ask, &reply, fds, &nfds, e);

        if (r < 0 || nfds != 1) {
            worker_msg_done(&reply);
            return r; /* 0: there are no more */
        }
        bool valid = reply.digest && digest_is_valid(reply.digest);
        enum digest_algorithm algorithm = valid ? digest_algorithm(reply.digest) : DIGEST_SHA256;
        int errnum = hash_fd(fds[0], algorithm, buf, digest, &size);
        close(fds[0]);
        struct worker_msg m = {.type = (char *)"hashed",
                               .digest = errnum ? NULL : digest,
                               .size = size,
                               .errnum = errnum};
        worker_msg_done(&reply);
        r = conn_send(&m, e);
        if (r < 0)
            return r;
    }
}

int worker_check(const struct worker_msg *start, int input, struct error *e)
{
    struct layer l = {.size = -1, .source = layer_source_file, .file = 1, .file_fd = input};
    struct worker_msg plan = {.type = (char *)"plan",
                              .digest = start->digest,
                              .diff_id = start->diff_id,
                              .media_type = start->media_type};

    if (!start->diff_id || !digest_is_valid(start->diff_id) ||
        (start->digest && !digest_is_valid(start->digest)))
        return error_set(e, ERR_INTERNAL, "the image worker got no layer to check");
    if (start->digest)
        snprintf(l.digest, sizeof(l.digest), "%s", start->digest);
    snprintf(l.diff_id, sizeof(l.diff_id), "%s", start->diff_id);
    int r = conn_send(&plan, e);
    return r < 0 ? r : layers_run(&l, 1, 1, e);
}
