/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled seccomp filters, kept: compiling costs milliseconds, and most containers share one. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "sys/seccomp.h"

int engine_seccomp(struct engine *en, const struct host_config *hc, const void **ret_bpf,
                   size_t *ret_len, struct error *e)
{
    AUTOPTR(strv) char **caps = NULL;
    AUTOFREE char *joined = NULL;
    AUTOFREE char *key = NULL;
    struct spec_security sec;
    struct buf *bpf;
    struct buf *other;
    int r = spec_security(en, hc, &sec, e);

    *ret_bpf = NULL;
    *ret_len = 0;
    if (r < 0 || sec.unconfined)
        return r;
    r = spec_capabilities(hc, &caps, e);
    if (r < 0)
        return r;
    joined = strv_join(caps, ",");
    key = xasprintf("%s|%s", joined, sec.profile ? sec.profile : "");
    (void)pthread_mutex_lock(&en->mutex);
    bpf = map_get(en->seccomp, key);
    (void)pthread_mutex_unlock(&en->mutex);
    if (!bpf) {
        bpf = xcalloc(1, sizeof(*bpf));
        bpf->max = SECCOMP_BPF_MAX;
        r = seccomp_compile(sec.profile, caps, bpf, e);
        if (r < 0) {
            buf_done(bpf);
            free(bpf);
            return r;
        }
        /* Two threads may have compiled the same: the first one's stays, as it may be in use. */
        (void)pthread_mutex_lock(&en->mutex);
        other = map_get(en->seccomp, key);
        if (!other)
            (void)map_set(en->seccomp, key, bpf);
        (void)pthread_mutex_unlock(&en->mutex);
        if (other) {
            buf_done(bpf);
            free(bpf);
            bpf = other;
        }
    }
    *ret_bpf = bpf->data;
    *ret_len = bpf->len;
    return 0;
}
