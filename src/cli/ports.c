/* SPDX-License-Identifier: Apache-2.0 */
/* See ports.h. */
#include "cli/ports.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

struct port {
    const char *ip, *type;
    int64_t inside, outside; /* outside 0: exposed only */
};

static const char *text(const struct json_value *v, const char *key)
{
    const char *s = json_value_str(json_value_get(v, key));

    return s ? s : "";
}

/* Unpublished first, then by port inside, address, port outside. */
static int compare(const void *a, const void *b)
{
    const struct port *x = a, *y = b;
    int r;

    if (x->inside != y->inside)
        return x->inside < y->inside ? -1 : 1;
    r = strcmp(x->ip, y->ip);
    if (r)
        return r;
    if (x->outside != y->outside)
        return x->outside < y->outside ? -1 : 1;
    return strcmp(x->type, y->type);
}

/* y follows x in a range: the same address and protocol, both ports one up (or both unpublished). */
static bool follows(const struct port *x, const struct port *y)
{
    return STREQ(x->ip, y->ip) && STREQ(x->type, y->type) && y->inside == x->inside + 1 &&
           (x->outside ? y->outside == x->outside + 1 : y->outside == 0);
}

static void put_group(struct buf *out, const struct port *first, const struct port *last)
{
    (void)buf_puts(out, out->len ? ", " : "");
    if (first->outside) {
        (void)buf_printf(out,
                         strchr(first->ip, ':') && first->ip[0] != '[' && first->ip[2] ? "[%s]:"
                                                                                       : "%s:",
                         first->ip);
        (void)buf_printf(out, "%lld", (long long)first->outside);
        if (last != first)
            (void)buf_printf(out, "-%lld", (long long)last->outside);
        (void)buf_puts(out, "->");
    }
    (void)buf_printf(out, "%lld", (long long)first->inside);
    if (last != first)
        (void)buf_printf(out, "-%lld", (long long)last->inside);
    (void)buf_printf(out, "/%s", first->type);
}

/* Joins runs. Ranges of different addresses interleave in the sorted list, so each run is followed
 * through it and its members are marked as done. */
static void put_groups(struct buf *out, struct port *ports, size_t n)
{
    AUTOFREE bool *done = xcalloc(n + 1, sizeof *done);

    for (size_t i = 0; i < n; i++) {
        const struct port *last = &ports[i];

        if (done[i])
            continue;
        for (size_t k = i + 1; k < n && ports[k].inside <= last->inside + 1; k++) {
            if (!done[k] && follows(last, &ports[k])) {
                last = &ports[k];
                done[k] = true;
            }
        }
        put_group(out, &ports[i], last);
    }
}

char *ports_text(const struct json_value *list)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    size_t n = json_value_len(list);
    AUTOFREE struct port *ports = NULL;

    if (!n)
        return xstrdup("");
    ports = xcalloc(n, sizeof *ports);
    for (size_t i = 0; i < n; i++) {
        const struct json_value *v = json_value_at(list, i);

        ports[i] = (struct port){text(v, "IP"), text(v, "Type"),
                                 json_value_int(json_value_get(v, "PrivatePort")),
                                 json_value_int(json_value_get(v, "PublicPort"))};
    }
    qsort(ports, n, sizeof *ports, compare);
    put_groups(&out, ports, n);
    return buf_take(&out);
}
