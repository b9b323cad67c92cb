/* SPDX-License-Identifier: Apache-2.0 */
/* hosts.toml and registries.conf from any text: what is taken is whole, and names are found in it. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "image/registries.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_host(const struct hosts_host *h)
{
    assert(STREQ(h->scheme, "http") || STREQ(h->scheme, "https"));
    assert(h->host[0] && !strchr(h->host, '/'));
    assert(!h->path[0] || (h->path[0] == '/' && h->path[strlen(h->path) - 1] != '/'));
    assert(h->clients.len <= 1);
    for (char **line = h->headers; line && *line; line++)
        assert(strchr(*line, ':') && !strpbrk(*line, "\r\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"docker.io/library/x:1", "a.example.com:5000/b/c",
                                        "localhost/x@sha256:00"};
    struct hosts_file f = {0};
    struct registries_conf c = {0};
    AUTO(error) struct error e = ERROR_INIT;

    if (hosts_parse((const char *)data, size, &f, &e) >= 0) {
        const struct hosts_host *h = f.hosts.items;
        for (size_t i = 0; i < f.hosts.len; i++)
            check_host(&h[i]);
        if (f.has_server)
            check_host(&f.server);
        hosts_file_done(&f);
    } else {
        assert(e.message);
    }
    error_done(&e);
    int r = registries_conf_parse((const char *)data, size, "file", &c, &e);
    assert(r >= 0 || e.message);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        size_t len = 0;
        const struct conf_registry *entry = registries_conf_find(&c, names[i], &len);
        assert(!entry || (len > 0 && len <= strlen(names[i]) && entry->prefix && entry->file));
    }
    registries_conf_done(&c);
    return 0;
}
