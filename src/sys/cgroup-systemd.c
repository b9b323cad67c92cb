/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd's D-Bus interface, as much of it as a scope needs: see cgroup-systemd.h.
 *
 * Messages are little-endian, version 1. They go over systemd's private socket, where no bus daemon
 * is needed and every peer gets the signals.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "sys/cgroup-priv.h"
#include "sys/cgroup-systemd.h"

#define PRIVATE_SOCKET "/run/systemd/private"
#define MESSAGE_MAX    (1u << 20)
#define WAIT_NS        (60 * NSEC_PER_SEC)
#define STOP_WAIT_NS   (20 * NSEC_PER_SEC)
#define EXISTS_WAIT_NS (10 * NSEC_PER_SEC)

#define MANAGER_PATH "/org/freedesktop/systemd1"
#define MANAGER      "org.freedesktop.systemd1.Manager"

enum { METHOD_CALL = 1, METHOD_RETURN, METHOD_ERROR, SIGNAL };
enum { FIELD_PATH = 1, FIELD_INTERFACE, FIELD_MEMBER, FIELD_ERROR, FIELD_REPLY };
enum { FIELD_SIGNATURE = 8 };

struct bus {
    int fd;
    uint32_t serial;
    char **
        ended; /* jobs that ended before the answer that names them: path, result, path, result … */
};

/* --- writing ------------------------------------------------------------------------------- */

static void align(struct buf *b, size_t to)
{
    while (b->len % to)
        (void)buf_putc(b, '\0');
}

static void put_u32(struct buf *b, uint32_t v)
{
    uint32_t le = htole32(v);

    align(b, 4);
    (void)buf_append(b, &le, sizeof(le));
}

static void put_u64(struct buf *b, uint64_t v)
{
    uint64_t le = htole64(v);

    align(b, 8);
    (void)buf_append(b, &le, sizeof(le));
}

static void put_string(struct buf *b, const char *s)
{
    put_u32(b, (uint32_t)strlen(s));
    (void)buf_append(b, s, strlen(s) + 1);
}

static void put_signature(struct buf *b, const char *s)
{
    (void)buf_putc(b, (char)strlen(s));
    (void)buf_append(b, s, strlen(s) + 1);
}

/* The length of an array is known when it is full. Returns where it has to be written. */
static size_t array_begin(struct buf *b, size_t alignment, size_t *ret_start)
{
    size_t at;

    put_u32(b, 0);
    at = b->len - 4;
    align(b, alignment);
    *ret_start = b->len;
    return at;
}

static void array_end(struct buf *b, size_t at, size_t start)
{
    uint32_t le = htole32((uint32_t)(b->len - start));

    memcpy(b->data + at, &le, sizeof(le));
}

/* Items of an array of (name, variant). */
static void property(struct buf *b, const char *name, const char *signature)
{
    align(b, 8);
    put_string(b, name);
    put_signature(b, signature);
}

static void property_bool(struct buf *b, const char *name, bool on)
{
    property(b, name, "b");
    put_u32(b, on);
}

static void property_u64(struct buf *b, const char *name, uint64_t v)
{
    property(b, name, "t");
    put_u64(b, v);
}

static void property_string(struct buf *b, const char *name, const char *v)
{
    property(b, name, "s");
    put_string(b, v);
}

/* "0-3,7" as systemd's bit mask. */
static int property_mask(struct buf *b, const char *name, const char *list, struct error *e)
{
    unsigned char mask[512] = {0};
    size_t len = 0, at, start;

    for (const char *p = list; *p;) {
        char *end;
        unsigned long from = strtoul(p, &end, 10), to = from;

        if (*end == '-')
            to = strtoul(end + 1, &end, 10);
        if (end == p || (*end && *end != ',') || from > to || to >= 8 * sizeof(mask))
            return error_set(e, ERR_INVALID, "%s: \"%s\" is no list of numbers", name, list);
        for (unsigned long i = from; i <= to; i++)
            mask[i / 8] |= (unsigned char)(1u << i % 8);
        len = to / 8 + 1 > len ? to / 8 + 1 : len;
        p = *end ? end + 1 : end;
    }
    property(b, name, "ay");
    at = array_begin(b, 1, &start);
    (void)buf_append(b, mask, len);
    array_end(b, at, start);
    return 0;
}

static void field(struct buf *b, unsigned char code, const char *signature, const char *value)
{
    align(b, 8);
    (void)buf_putc(b, (char)code);
    put_signature(b, signature);
    if (*signature == 'g')
        put_signature(b, value);
    else
        put_string(b, value);
}

/* --- the connection ------------------------------------------------------------------------ */

static int wait_for(int fd, int64_t end)
{
    struct pollfd p = {fd, POLLIN, 0};
    int64_t left = end - time_monotonic_ns();
    int r;

    if (left <= 0)
        return -ETIMEDOUT;
    do
        r = poll(&p, 1, (int)(left / NSEC_PER_MSEC) + 1);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

static int read_all(int fd, void *to, size_t n, int64_t end)
{
    char *p = to;

    while (n > 0) {
        int r = wait_for(fd, end);
        ssize_t got = r < 0 ? 0 : read(fd, p, n);

        if (r < 0)
            return r;
        if (got <= 0)
            return got < 0 ? -errno : -ECONNRESET;
        p += got;
        n -= (size_t)got;
    }
    return 0;
}

/*
 * All in one write, and nothing more until the answer is there: where a message comes in one piece with BEGIN, systemd
 * (252) reads both, goes from authenticating to running, and looks at the message when the next byte comes, which may
 * be never.
 */
static int authenticate(int fd)
{
    char hello[96], uid[16], hex[40], answer[256];
    int64_t end = time_monotonic_ns() + WAIT_NS;
    size_t n = 0;
    int r;

    (void)snprintf(uid, sizeof(uid), "%u", geteuid());
    hex_encode(uid, strlen(uid), hex);
    hello[0] = '\0';
    (void)snprintf(hello + 1, sizeof(hello) - 1, "AUTH EXTERNAL %s\r\nBEGIN\r\n", hex);
    r = fs_write_all(fd, hello, 1 + strlen(hello + 1));
    while (r == 0 && n < sizeof(answer) - 1 && !(n && answer[n - 1] == '\n'))
        r = read_all(fd, answer + n++, 1, end);
    answer[n] = '\0';
    return r == 0 && !str_has_prefix(answer, "OK ") ? -EACCES : r;
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    AUTOFD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r;

    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return -errno;
    r = authenticate(fd);
    return r < 0 ? r : take_fd(fd);
}

/* --- messages ------------------------------------------------------------------------------ */

struct message {
    unsigned char type;
    uint32_t reply_to;
    char member[64], error[128];
    struct buf body;
};

static void message_done(struct message *m)
{
    buf_done(&m->body);
}

static uint32_t get_u32(const char *p)
{
    uint32_t le;

    memcpy(&le, p, sizeof(le));
    return le32toh(le);
}

/* A string at *at of text, which moves behind it; NULL when it does not fit. */
static const char *get_string(const char *text, size_t len, size_t *at)
{
    size_t pos = (*at + 3) & ~(size_t)3;
    uint32_t n;

    if (pos + 5 > len)
        return NULL;
    n = get_u32(text + pos);
    if (n > len || pos + 4 + n + 1 > len || text[pos + 4 + n])
        return NULL;
    *at = pos + 4 + n + 1;
    return text + pos + 4;
}

/* The header's fields; those of types that are not looked at here end the reading. */
static void read_fields(const char *text, size_t len, struct message *m)
{
    size_t at = 0;

    while (at + 4 < len) {
        unsigned char code;
        const char *s;
        char kind;

        at = (at + 7) & ~(size_t)7;
        if (at + 4 > len || text[at + 1] != 1)
            return;
        code = (unsigned char)text[at];
        kind = text[at + 2];
        at += 4;
        if (kind == 'u') {
            at = (at + 3) & ~(size_t)3;
            if (at + 4 > len)
                return;
            if (code == FIELD_REPLY)
                m->reply_to = get_u32(text + at);
            at += 4;
        } else if (kind == 's' || kind == 'o') {
            s = get_string(text, len, &at);
            if (!s)
                return;
            if (code == FIELD_MEMBER)
                (void)snprintf(m->member, sizeof(m->member), "%s", s);
            else if (code == FIELD_ERROR)
                (void)snprintf(m->error, sizeof(m->error), "%s", s);
        } else if (kind == 'g' && at < len) {
            at += 2 + (unsigned char)text[at];
        } else {
            return;
        }
    }
}

static int receive(const struct bus *bus, struct message *m, int64_t end)
{
    AUTOFREE char *fields = NULL;
    char header[16];
    uint32_t body, nfields;
    char *to;
    int r = read_all(bus->fd, header, sizeof(header), end);

    if (r < 0)
        return r;
    body = get_u32(header + 4);
    nfields = get_u32(header + 12);
    if (header[0] != 'l' || body > MESSAGE_MAX || nfields > MESSAGE_MAX)
        return -EBADMSG;
    *m = (struct message){.type = (unsigned char)header[1], .body = BUF_INIT(MESSAGE_MAX)};
    nfields = (nfields + 7) & ~7u;
    fields = xmalloc(nfields + 1);
    r = read_all(bus->fd, fields, nfields, end);
    if (r < 0)
        return r;
    read_fields(fields, nfields, m);
    to = body ? buf_reserve(&m->body, body) : NULL;
    r = to ? read_all(bus->fd, to, body, end) : 0;
    if (r < 0) {
        buf_done(&m->body);
        return r;
    }
    if (to)
        buf_commit(&m->body, body);
    log_debug("message of systemd", "type=%u reply_to=%u member=%s error=%s bytes=%u", m->type,
              m->reply_to, m->member, m->error, body);
    return 0;
}

static int send_call(struct bus *bus, const char *member, const char *signature,
                     const struct buf *body)
{
    AUTO(buf) struct buf b = BUF_INIT(MESSAGE_MAX + 4096);
    const char start[] = {'l', METHOD_CALL, 0, 1};
    size_t at, fields_start;

    (void)buf_append(&b, start, sizeof(start));
    put_u32(&b, (uint32_t)body->len);
    put_u32(&b, ++bus->serial);
    at = array_begin(&b, 8, &fields_start);
    field(&b, FIELD_PATH, "o", MANAGER_PATH);
    field(&b, FIELD_INTERFACE, "s", MANAGER);
    field(&b, FIELD_MEMBER, "s", member);
    if (*signature)
        field(&b, FIELD_SIGNATURE, "g", signature);
    array_end(&b, at, fields_start);
    align(&b, 8);
    if (body->len && buf_append(&b, body->data, body->len) < 0)
        return -EMSGSIZE;
    return fs_write_all(bus->fd, b.data, b.len);
}

static enum error_code error_of(const char *name)
{
    if (str_has_suffix(name, ".NoSuchUnit"))
        return ERR_NOT_FOUND;
    return str_has_suffix(name, ".UnitExists") ? ERR_CONFLICT : ERR_UNAVAILABLE;
}

/* JobRemoved (id, job, unit, result): 1, and the job and its result, which lie in the message. */
static int read_job_removed(const struct message *m, const char **ret_job, const char **ret_result)
{
    const char *job, *unit, *result;
    size_t at = 4;

    if (m->type != SIGNAL || !STREQ(m->member, "JobRemoved"))
        return 0;
    job = get_string(m->body.data, m->body.len, &at);
    unit = job ? get_string(m->body.data, m->body.len, &at) : NULL;
    result = unit ? get_string(m->body.data, m->body.len, &at) : NULL;
    if (!result)
        return 0;
    *ret_job = job;
    *ret_result = result;
    return 1;
}

/* Sends and waits for the answer. ret_job: the path of the job that was started; may be NULL. */
static int call(struct bus *bus, const char *member, const char *signature, const struct buf *body,
                char **ret_job, struct error *e)
{
    int64_t end = time_monotonic_ns() + WAIT_NS;
    int r = send_call(bus, member, signature, body);

    while (r == 0) {
        CLEANUP(message_done) struct message m = {.body = BUF_INIT(0)};
        const char *job, *result, *text;
        size_t at = 0;

        r = receive(bus, &m, end);
        if (r == 0 && read_job_removed(&m, &job, &result) && strv_len(bus->ended) < 2048) {
            strv_push(&bus->ended, job);
            strv_push(&bus->ended, result);
        }
        if (r < 0 || m.reply_to != bus->serial ||
            (m.type != METHOD_RETURN && m.type != METHOD_ERROR))
            continue;
        text = get_string(m.body.data, m.body.len, &at);
        if (m.type == METHOD_ERROR)
            return error_set(e, error_of(m.error), "systemd: %s: %s", member,
                             text ? text : m.error);
        if (ret_job)
            *ret_job = xstrdup(text ? text : "");
        return 0;
    }
    return error_set_errno(e, r, "systemd does not answer (%s)", member);
}

static int bus_open(struct bus *ret, struct error *e)
{
    ret->fd = connect_to(PRIVATE_SOCKET);
    return ret->fd < 0 ? error_set_errno(e, ret->fd,
                                         "cannot connect to systemd (" PRIVATE_SOCKET
                                         "): is it this host's init?")
                       : 0;
}

static void bus_close(struct bus *bus)
{
    if (bus->fd >= 0)
        close(bus->fd);
    strv_free(bus->ended);
}

/*
 * Waits for the job's end; "done" is good. The signal may have come before the answer that named the job, and it
 * does not come at all when systemd was reloaded meanwhile: every second it is looked at what the job was for.
 */
static int wait_job(const struct bus *bus, const char *job, const char *unit, int64_t wait_ns,
                    bool (*is_done)(const void *data), const void *data, struct error *e)
{
    int64_t end = time_monotonic_ns() + wait_ns;
    AUTOFREE char *how = NULL;
    int r = 0;

    for (size_t i = 0; bus->ended && bus->ended[i] && !how; i += 2)
        if (STREQ(bus->ended[i], job))
            how = xstrdup(bus->ended[i + 1]);
    while (!how) {
        CLEANUP(message_done) struct message m = {.body = BUF_INIT(0)};
        const char *which, *result;

        r = wait_for(bus->fd, time_monotonic_ns() + NSEC_PER_SEC);
        if (r == -ETIMEDOUT && is_done(data))
            return 0;
        if (r == -ETIMEDOUT && time_monotonic_ns() < end)
            continue;
        if (r == 0)
            r = receive(bus, &m, end);
        if (r < 0)
            return error_set_errno(e, r, "systemd did not end its job for %s", unit);
        if (read_job_removed(&m, &which, &result) && STREQ(which, job))
            how = xstrdup(result);
    }
    return STREQ(how, "done")
               ? 0
               : error_set(e, ERR_CONFLICT, "systemd: the job for %s ended: %s", unit, how);
}

/* --- the unit ------------------------------------------------------------------------------ */

void cgroup_systemd_done(struct cgroup_systemd *s)
{
    free(s->slice);
    free(s->unit);
    free(s->path);
    *s = (struct cgroup_systemd){0};
}

/* "a-b.slice" lies in "a.slice": /a.slice/a-b.slice. NULL: no name of a slice. */
static char *slice_path(const char *slice)
{
    AUTO(buf) struct buf b = BUF_INIT(4096);
    size_t len = strlen(slice);

    if (STREQ(slice, "-.slice"))
        return xstrdup("");
    if (!str_has_suffix(slice, ".slice") || len == 6 || *slice == '-' || slice[len - 7] == '-' ||
        strchr(slice, '/') || strstr(slice, "--"))
        return NULL;
    for (size_t i = 0; i < len - 6; i++)
        if (slice[i] == '-')
            (void)buf_printf(&b, "/%.*s.slice", (int)i, slice);
    (void)buf_printf(&b, "/%s", slice);
    return buf_take(&b);
}

int cgroup_systemd_parse(const char *cgroups_path, const char *id, struct cgroup_systemd *ret,
                         struct error *e)
{
    AUTOFREE char *text = str_is_empty(cgroups_path) ? xasprintf(":pouch:%s", id)
                                                     : xstrdup(cgroups_path);
    char *prefix = strchr(text, ':');
    char *name = prefix ? strchr(prefix + 1, ':') : NULL;
    AUTOFREE char *parent = NULL;

    if (!name || !name[1] || strchr(name + 1, ':') || strchr(text, '/'))
        return error_set(e, ERR_INVALID,
                         "linux.cgroupsPath: \"%s\" is not slice:prefix:name, as --systemd-cgroup "
                         "needs it",
                         text);
    *prefix++ = '\0';
    *name++ = '\0';
    parent = slice_path(*text ? text : "system.slice");
    if (!parent)
        return error_set(e, ERR_INVALID, "linux.cgroupsPath: \"%s\" is no name of a slice", text);
    ret->slice = xstrdup(*text ? text : "system.slice");
    ret->unit = *prefix ? xasprintf("%s-%s.scope", prefix, name) : xasprintf("%s.scope", name);
    ret->path = xasprintf("%s/%s", parent, ret->unit);
    return 0;
}

/* The controllers that systemd limits with are v1's. */
static bool on_v1(void)
{
    return cgroup_host_layout() != CGROUP_V2;
}

static void memory_properties(struct buf *b, const struct cgroup_memory *m)
{
    int64_t limit = m->limit.set ? m->limit.value : 0;

    if (limit)
        property_u64(b, "MemoryMax", limit < 0 ? UINT64_MAX : (uint64_t)limit);
    if (m->reservation.set && m->reservation.value)
        property_u64(b, "MemoryLow",
                     m->reservation.value < 0 ? UINT64_MAX : (uint64_t)m->reservation.value);
    if (m->swap.set && m->swap.value) {
        int64_t swap = cgroup_swap_to_v2(m->swap.value, limit ? limit : -1);

        property_u64(b, "MemorySwapMax", swap < 0 ? UINT64_MAX : (uint64_t)swap);
    }
}

static int cpu_properties(struct buf *b, const struct cgroup_cpu *c, struct error *e)
{
    uint64_t period = c->period.set && c->period.value ? c->period.value : 100000;
    int r = 0;

    if (c->shares.set && c->shares.value && on_v1())
        property_u64(b, "CPUShares", c->shares.value);
    else if (c->shares.set && c->shares.value)
        property_u64(b, "CPUWeight", cgroup_shares_to_weight(c->shares.value));
    if (c->quota.set && c->quota.value) {
        uint64_t quota = UINT64_MAX;

        /* systemd keeps quotas a second, in whole steps of 10 ms a second. */
        if (c->quota.value > 0) {
            quota = (uint64_t)c->quota.value * 1000000 / period;
            quota = (quota + 9999) / 10000 * 10000;
        }
        property_u64(b, "CPUQuotaPeriodUSec", period);
        property_u64(b, "CPUQuotaPerSecUSec", quota);
    }
    if (on_v1()) /* where systemd has nothing to do with cpuset */
        return 0;
    if (!str_is_empty(c->cpus))
        r = property_mask(b, "AllowedCPUs", c->cpus, e);
    if (r == 0 && !str_is_empty(c->mems))
        r = property_mask(b, "AllowedMemoryNodes", c->mems, e);
    return r;
}

static int limit_properties(struct buf *b, const struct cgroup_resources *r, struct error *e)
{
    int err = 0;

    if (r && r->memory)
        memory_properties(b, r->memory);
    if (r && r->cpu)
        err = cpu_properties(b, r->cpu, e);
    if (r && r->pids && r->pids->limit.set && r->pids->limit.value)
        property_u64(b, "TasksMax",
                     r->pids->limit.value < 0 ? UINT64_MAX : (uint64_t)r->pids->limit.value);
    if (r && r->block_io && r->block_io->weight.set && r->block_io->weight.value && on_v1())
        property_u64(b, "BlockIOWeight", r->block_io->weight.value);
    else if (r && r->block_io && r->block_io->weight.set && r->block_io->weight.value)
        property_u64(b, "IOWeight", cgroup_blkio_weight_to_io(r->block_io->weight.value));
    return err;
}

static bool allows_all_kinds(const struct cgroup_device *d)
{
    return str_is_empty(d->type) || STREQ(d->type, "a");
}

/* The name of systemd for what a rule is about: a node, all of a driver, all. Drivers go by name there. */
static int device_name(const struct cgroup_device *d, char out[96])
{
    const char *kind = STREQ(d->type, "b") ? "block" : "char";
    AUTOFREE char *drivers = NULL;
    bool in_kind = false;
    char *save = NULL;

    if (!d->major.set || d->major.value < 0) {
        (void)snprintf(out, 96, "%s-*", kind);
        return d->minor.set && d->minor.value >= 0 ? -EINVAL : 0;
    }
    if (d->minor.set && d->minor.value >= 0) {
        (void)snprintf(out, 96, "/dev/%s/%lld:%lld", kind, (long long)d->major.value,
                       (long long)d->minor.value);
        return 0;
    }
    if (fs_read_file(AT_FDCWD, "/proc/devices", 1u << 20, &drivers, NULL) < 0)
        return -ENOENT;
    for (char *l = strtok_r(drivers, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        char name[64];
        long long major;

        if (str_has_suffix(l, "devices:"))
            in_kind = str_has_prefix(l, *kind == 'b' ? "Block" : "Character");
        else if (in_kind && sscanf(l, "%lld %63s", &major, name) == 2 && major == d->major.value) {
            (void)snprintf(out, 96, "%s-%s", kind, name);
            return 0;
        }
    }
    return -ENOENT;
}

/*
 * On v1 systemd writes the device rules of its units, again at each reload: it has to know the container's. It has a
 * list of what is allowed only. What it cannot be told (a driver the host does not have) is not allowed after a reload,
 * and a rule that takes something away from what was allowed cannot be kept at all.
 */
static int device_properties(struct buf *b, const struct json_list *rules, struct error *e)
{
    const struct cgroup_device *d = rules->items;
    size_t first = 0, at, start;

    for (size_t i = 0; i < rules->len; i++)
        if (allows_all_kinds(&d[i]))
            first = i;
    if (!rules->len || !allows_all_kinds(&d[first]) || d[first].allow) {
        for (size_t i = first; i < rules->len; i++)
            if (!d[i].allow)
                return error_set(
                    e, ERR_NOT_SUPPORTED,
                    "--systemd-cgroup on cgroup v1: linux.resources.devices has to deny all "
                    "first, and then allow: systemd knows no other rules");
        return 0;
    }
    property_string(b, "DevicePolicy", "strict");
    property(b, "DeviceAllow", "a(ss)");
    at = array_begin(b, 8, &start);
    for (size_t i = first + 1; i < rules->len; i++) {
        char name[96];

        if (!d[i].allow)
            return error_set(
                e, ERR_NOT_SUPPORTED,
                "--systemd-cgroup on cgroup v1: linux.resources.devices[%zu] denies what "
                "may have been allowed: systemd knows no such rules",
                i);
        if (device_name(&d[i], name) < 0)
            continue;
        align(b, 8);
        put_string(b, name);
        put_string(b, str_is_empty(d[i].access) ? "rwm" : d[i].access);
    }
    array_end(b, at, start);
    return 0;
}

/* A scope of this name whose last process has ended is there until systemd notices. */
static int start_unit(struct bus *bus, const struct buf *body, char **ret_job, struct error *e)
{
    int64_t end = time_monotonic_ns() + EXISTS_WAIT_NS;

    for (;;) {
        CLEANUP(error_done) struct error why = ERROR_INIT;
        int r = call(bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", body, ret_job, &why);

        if (r == 0)
            return 0;
        if (why.code != ERR_CONFLICT || time_monotonic_ns() > end) {
            error_move(e, &why);
            return r;
        }
        (void)poll(NULL, 0, 50);
    }
}

struct placed {
    const char *unit;
    pid_t pid;
};

static bool stands_in_unit(const void *data)
{
    const struct placed *p = data;
    AUTOFREE char *text = NULL;
    AUTOFREE char *end = xasprintf("/%s\n", p->unit);
    char path[32];

    (void)snprintf(path, sizeof(path), "/proc/%d/cgroup", p->pid);
    return fs_read_file(AT_FDCWD, path, 65536, &text, NULL) == 0 && strstr(text, end) != NULL;
}

int cgroup_systemd_start(const struct cgroup_systemd *s, pid_t pid,
                         const struct cgroup_resources *res, struct error *e)
{
    CLEANUP(bus_close) struct bus bus = {.fd = -EBADF};
    AUTO(buf) struct buf b = BUF_INIT(MESSAGE_MAX);
    AUTOFREE char *description = xasprintf("container %s", s->unit);
    AUTOFREE char *job = NULL;
    size_t at, start, pids_at, pids_start;
    struct placed placed = {s->unit, pid};
    int r = bus_open(&bus, e);

    if (r < 0)
        return r;
    put_string(&b, s->unit);
    put_string(&b, "fail"); /* one of this name that is there stays as it is */
    at = array_begin(&b, 8, &start);
    property_string(&b, "Description", description);
    property_string(&b, "Slice", s->slice);
    property_string(&b, "CollectMode", "inactive-or-failed");
    property_bool(&b, "DefaultDependencies", false);
    property_bool(&b, "Delegate", true);
    property_bool(&b, "MemoryAccounting", true);
    property_bool(&b, "CPUAccounting", true);
    property_bool(&b, "IOAccounting", true);
    property_bool(&b, "TasksAccounting", true);
    property(&b, "PIDs", "au");
    pids_at = array_begin(&b, 4, &pids_start);
    put_u32(&b, (uint32_t)pid);
    array_end(&b, pids_at, pids_start);
    r = limit_properties(&b, res, e);
    if (r == 0 && res && on_v1())
        r = device_properties(&b, &res->devices, e);
    if (r < 0)
        return r;
    array_end(&b, at, start);
    at = array_begin(&b, 8, &start); /* no further units */
    array_end(&b, at, start);
    r = start_unit(&bus, &b, &job, e);
    return r == 0 ? wait_job(&bus, job, s->unit, WAIT_NS, stands_in_unit, &placed, e) : r;
}

/* The directory that systemd makes and removes for the unit. */
static bool unit_is_gone(const void *data)
{
    const char *path = data;
    const char *mount = cgroup_mount_point("name=systemd");
    char dir[CGROUP_PATH_MAX];

    if (!mount)
        mount = cgroup_mount_point("");
    return !mount || cgroup_file(dir, mount, path, NULL) < 0 || access(dir, F_OK) < 0;
}

int cgroup_systemd_stop(const char *unit, const char *path, struct error *e)
{
    CLEANUP(bus_close) struct bus bus = {.fd = -EBADF};
    CLEANUP(error_done) struct error why = ERROR_INIT;
    AUTO(buf) struct buf b = BUF_INIT(MESSAGE_MAX);
    AUTOFREE char *job = NULL;
    int r = bus_open(&bus, e);

    if (r < 0)
        return r;
    put_string(&b, unit);
    put_string(&b, "replace");
    r = call(&bus, "StopUnit", "ss", &b, &job, &why);
    if (r < 0 && why.code == ERR_NOT_FOUND)
        return 0; /* it has ended by itself */
    if (r < 0) {
        error_move(e, &why);
        return r;
    }
    return wait_job(&bus, job, unit, STOP_WAIT_NS, unit_is_gone, path, e);
}

int cgroup_systemd_update(const char *unit, const struct cgroup_resources *res, struct error *e)
{
    CLEANUP(bus_close) struct bus bus = {.fd = -EBADF};
    AUTO(buf) struct buf b = BUF_INIT(MESSAGE_MAX);
    size_t at, start;
    int r = bus_open(&bus, e);

    if (r < 0)
        return r;
    put_string(&b, unit);
    put_u32(&b, true); /* until it ends */
    at = array_begin(&b, 8, &start);
    r = limit_properties(&b, res, e);
    if (r == 0 && res->devices.len && on_v1())
        r = device_properties(&b, &res->devices, e);
    if (r < 0)
        return r;
    array_end(&b, at, start);
    return call(&bus, "SetUnitProperties", "sba(sv)", &b, NULL, e);
}
