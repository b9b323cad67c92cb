/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between pouchd and pouch-image; linked by both. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "image/worker-protocol.h"
#include "io/fdpass.h"

#define F(member, kind) JSON_FIELD(struct worker_msg, member, #member, kind, JSON_OMIT_EMPTY)
static const struct json_field msg_fields[] = {
    JSON_FIELD(struct worker_msg, type, "type", JSON_STR, JSON_REQUIRED),
    F(id, JSON_UINT),
    F(index, JSON_UINT),
    F(file, JSON_UINT),
    F(op, JSON_STR),
    F(state, JSON_STR),
    F(role, JSON_STR),
    F(status, JSON_STR),
    F(digest, JSON_STR),
    F(diff_id, JSON_STR),
    F(media_type, JSON_STR),
    F(config, JSON_STR),
    F(manifest, JSON_STR),
    F(top, JSON_STR),
    F(names, JSON_STRV),
    F(layers, JSON_STRV),
    F(size, JSON_UINT),
    F(current, JSON_UINT),
    F(total, JSON_UINT),
    F(code, JSON_INT),
    F(errnum, JSON_INT),
    F(message, JSON_STR),
    F(host, JSON_STR),
    F(repository, JSON_STR),
    F(tag, JSON_STR),
    F(reference, JSON_STR),
    F(platform, JSON_STR),
    F(username, JSON_STR),
    F(password, JSON_STR),
    F(identity_token, JSON_STR),
    F(registry_token, JSON_STR),
    F(insecure, JSON_BOOL),
    F(parallel, JSON_UINT),
    F(stall_timeout, JSON_UINT),
    F(max_size, JSON_UINT),
    F(official, JSON_BOOL),
    F(automated, JSON_BOOL),
    F(chunk, JSON_UINT),
    F(compression, JSON_STR),
    F(level, JSON_INT),
    F(form, JSON_STR),
    F(policy, JSON_STR),
    JSON_END,
};
#undef F
const struct json_desc worker_msg_json = {"message", sizeof(struct worker_msg), msg_fields};

void worker_msg_done(struct worker_msg *m)
{
    json_free(&worker_msg_json, m);
}

int worker_msg_send(int sock, const struct worker_msg *m, const int *fds, size_t nfds)
{
    AUTO(buf) struct buf b = BUF_INIT(WORKER_MESSAGE_MAX);

    if (json_print(&worker_msg_json, m, &b) < 0)
        return -EMSGSIZE;
    return fdpass_send(sock, b.data, b.len, fds, nfds);
}

int worker_msg_recv(int sock, struct worker_msg *m, int fds[WORKER_FDS_MAX], size_t *ret_nfds)
{
    AUTOFREE char *text = xmalloc(WORKER_MESSAGE_MAX);
    size_t nfds = 0;
    ssize_t n = fdpass_recv(sock, text, WORKER_MESSAGE_MAX, fds, WORKER_FDS_MAX, &nfds);

    *ret_nfds = 0;
    if (n <= 0)
        return (int)n;
    if (json_parse(&worker_msg_json, text, (size_t)n, m, NULL) < 0) {
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        return -EPROTO;
    }
    *ret_nfds = nfds;
    return 1;
}
