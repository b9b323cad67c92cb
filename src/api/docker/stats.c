/* SPDX-License-Identifier: Apache-2.0 */
/* GET /containers/{id}/stats: one sample, or one each second. Format: Docker API 1.41. */
#include <stdlib.h>
#include <string.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"

#define INTERVAL_MS 1000

static void encode_cpu(struct jsonw *w, const char *key, const struct container_stats *s)
{
    const struct cgroup_stats *g = &s->cgroup;

    jsonw_begin(w, key);
    jsonw_begin(w, "cpu_usage");
    jsonw_uint(w, "total_usage", g->cpu_total_ns);
    jsonw_uint(w, "usage_in_kernelmode", g->cpu_system_ns);
    jsonw_uint(w, "usage_in_usermode", g->cpu_user_ns);
    jsonw_end(w);
    if (s->running && s->system_ns) {
        jsonw_uint(w, "system_cpu_usage", s->system_ns);
        jsonw_int(w, "online_cpus", s->ncpu);
    }
    jsonw_begin(w, "throttling_data");
    jsonw_uint(w, "periods", g->cpu_periods);
    jsonw_uint(w, "throttled_periods", g->cpu_throttled_periods);
    jsonw_uint(w, "throttled_time", g->cpu_throttled_ns);
    jsonw_end(w);
    jsonw_end(w);
}

/* The kernel's lines "name value". */
static void encode_memory_stat(struct jsonw *w, const char *text)
{
    AUTOPTR(strv) char **lines = strv_split(text ? text : "", "\n", true);

    jsonw_begin(w, "stats");
    for (size_t i = 0; lines && lines[i]; i++) {
        char *value = strchr(lines[i], ' ');

        if (!value)
            continue;
        *value++ = '\0';
        jsonw_uint(w, lines[i], strtoull(value, NULL, 10));
    }
    jsonw_end(w);
}

static void encode_memory(struct jsonw *w, const struct container_stats *s)
{
    jsonw_begin(w, "memory_stats");
    if (s->running) {
        jsonw_uint(w, "usage", s->cgroup.mem_usage);
        if (s->cgroup.mem_max_usage)
            jsonw_uint(w, "max_usage", s->cgroup.mem_max_usage);
        encode_memory_stat(w, s->cgroup.mem_stat);
        if (s->cgroup.mem_failcnt)
            jsonw_uint(w, "failcnt", s->cgroup.mem_failcnt);
        jsonw_uint(w, "limit", s->mem_limit);
    }
    jsonw_end(w);
}

static void encode_blkio_entry(struct jsonw *w, const struct cgroup_blkio_entry *b, const char *op,
                               uint64_t value)
{
    jsonw_begin(w, NULL);
    jsonw_uint(w, "major", b->major);
    jsonw_uint(w, "minor", b->minor);
    jsonw_str(w, "op", op);
    jsonw_uint(w, "value", value);
    jsonw_end(w);
}

static void encode_blkio(struct jsonw *w, const struct cgroup_stats *g)
{
    static const char *const empty[] = {"io_queue_recursive",     "io_service_time_recursive",
                                        "io_wait_time_recursive", "io_merged_recursive",
                                        "io_time_recursive",      "sectors_recursive"};

    jsonw_begin(w, "blkio_stats");
    jsonw_list_begin(w, "io_service_bytes_recursive");
    for (size_t i = 0; i < g->nblkio; i++) {
        encode_blkio_entry(w, &g->blkio[i], "read", g->blkio[i].rbytes);
        encode_blkio_entry(w, &g->blkio[i], "write", g->blkio[i].wbytes);
    }
    jsonw_list_end(w);
    jsonw_list_begin(w, "io_serviced_recursive");
    for (size_t i = 0; i < g->nblkio; i++) {
        encode_blkio_entry(w, &g->blkio[i], "read", g->blkio[i].rios);
        encode_blkio_entry(w, &g->blkio[i], "write", g->blkio[i].wios);
    }
    jsonw_list_end(w);
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        jsonw_null(w, empty[i]);
    jsonw_end(w);
}

static void encode_networks(struct jsonw *w, const struct container_stats *s)
{
    if (!s->nnetworks)
        return;
    jsonw_begin(w, "networks");
    for (size_t i = 0; i < s->nnetworks; i++) {
        const struct network_stats *n = &s->networks[i];

        jsonw_begin(w, n->name);
        jsonw_uint(w, "rx_bytes", n->rx_bytes);
        jsonw_uint(w, "rx_packets", n->rx_packets);
        jsonw_uint(w, "rx_errors", n->rx_errors);
        jsonw_uint(w, "rx_dropped", n->rx_dropped);
        jsonw_uint(w, "tx_bytes", n->tx_bytes);
        jsonw_uint(w, "tx_packets", n->tx_packets);
        jsonw_uint(w, "tx_errors", n->tx_errors);
        jsonw_uint(w, "tx_dropped", n->tx_dropped);
        jsonw_end(w);
    }
    jsonw_end(w);
}

static void encode_stats(const struct container_stats *s, const struct container_stats *before,
                         struct buf *out)
{
    struct jsonw w = {out, false};
    AUTOFREE char *name = xasprintf("/%s", s->name);

    jsonw_begin(&w, NULL);
    jsonw_time(&w, "read", s->read_ns);
    if (before->read_ns)
        jsonw_time(&w, "preread", before->read_ns);
    else
        jsonw_str(&w, "preread", "0001-01-01T00:00:00Z");
    jsonw_begin(&w, "pids_stats");
    if (s->running) {
        jsonw_uint(&w, "current", s->cgroup.pids_current);
        if (s->cgroup.pids_limit != UINT64_MAX)
            jsonw_uint(&w, "limit", s->cgroup.pids_limit);
    }
    jsonw_end(&w);
    encode_blkio(&w, &s->cgroup);
    jsonw_int(&w, "num_procs", 0);
    jsonw_begin(&w, "storage_stats");
    jsonw_end(&w);
    encode_cpu(&w, "cpu_stats", s);
    encode_cpu(&w, "precpu_stats", before);
    encode_memory(&w, s);
    jsonw_str(&w, "name", name);
    jsonw_str(&w, "id", s->id);
    jsonw_str(&w, "os_type", "linux");
    encode_networks(&w, s);
    jsonw_end(&w);
    (void)buf_putc(out, '\n');
}

/* Sends a sample; keeps it as the next one's past. */
static int send_sample(struct http_request *req, struct container_stats *s,
                       struct container_stats *before, bool stream)
{
    AUTO(buf) struct buf b = ANSWER_INIT;
    int r = 0;

    encode_stats(s, before, &b);
    if (stream)
        r = http_stream_write(req, b.data, b.len);
    else
        http_reply_json(req, 200, &b);
    container_stats_done(before);
    *before = *s;
    *s = (struct container_stats){0};
    return r;
}

void api_container_stats(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    const char *id = http_param(req, "id");
    bool stream = http_query_bool(req, "stream", true);
    bool one_shot = http_query_bool(req, "one-shot", false);
    struct container_stats s = {0}, before = {0};

    if (engine_stats(api_engine(ctx), id, &s, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    if (!stream && !one_shot && s.running) {
        /* Docker waits for a second sample, so that the rate can be told. */
        before = s;
        s = (struct container_stats){0};
        if (http_wait_fd(req, -1, INTERVAL_MS) < 0 ||
            engine_stats(api_engine(ctx), before.id, &s, &e) < 0) {
            container_stats_done(&before);
            http_reply_error(req, &e);
            return;
        }
    }
    if (!stream) {
        (void)send_sample(req, &s, &before, false);
    } else if (http_stream_begin(req, 200, "application/json") == 0) {
        while (send_sample(req, &s, &before, true) == 0 &&
               http_wait_fd(req, -1, INTERVAL_MS) >= 0 &&
               engine_stats(api_engine(ctx), before.id, &s, NULL) == 0)
            continue;
    }
    container_stats_done(&before);
    container_stats_done(&s);
}
