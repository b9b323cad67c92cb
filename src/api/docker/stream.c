/* SPDX-License-Identifier: Apache-2.0 */
/* What lives longer than an answer: wait, logs, attach, exec sessions. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/docker/docker-priv.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "io/stdcopy.h"

#define MEDIA_RAW         "application/vnd.docker.raw-stream"
#define MEDIA_MULTIPLEXED "application/vnd.docker.multiplexed-stream"
#define LOG_CHUNK         ((size_t)32 << 10) /* written to the client at once */

/* Until 1.42 everything was called raw. */
static const char *stream_type(unsigned version, bool tty)
{
    return !tty && version >= 42 ? MEDIA_MULTIPLEXED : MEDIA_RAW;
}

/* --- Waiting ----------------------------------------------------------------------------------- */

static int wait_condition_parse(const char *text, enum wait_condition *ret, struct error *e)
{
    if (str_is_empty(text) || STREQ(text, "not-running"))
        *ret = WAIT_NOT_RUNNING;
    else if (STREQ(text, "next-exit"))
        *ret = WAIT_NEXT_EXIT;
    else if (STREQ(text, "removed"))
        *ret = WAIT_REMOVED;
    else
        return error_set(e, ERR_INVALID, "invalid condition: \"%s\"", text);
    return 0;
}

void api_container_wait(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTO(buf) struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    struct engine_wait *wait = NULL;
    enum wait_condition cond;
    const char *why = NULL;

    if (wait_condition_parse(http_query(req, "condition"), &cond, &e) < 0 ||
        engine_wait_begin(api_engine(ctx), http_param(req, "id"), cond, &wait, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    /* The client starts the container only when it has these headers. */
    if (http_stream_begin(req, 200, "application/json") == 0 &&
        http_wait_fd(req, engine_wait_fd(wait), -1) == 1) {
        jsonw_begin(&w, NULL);
        jsonw_int(&w, "StatusCode", engine_wait_result(wait, &why));
        /* Who waits for a container about to start hears from the start what went wrong; docker
         * takes an error here for a failure of the wait itself. */
        if (why && cond == WAIT_NOT_RUNNING) {
            jsonw_begin(&w, "Error");
            jsonw_str(&w, "Message", why);
            jsonw_end(&w);
        }
        jsonw_end(&w);
        (void)buf_putc(&b, '\n');
        (void)!http_stream_write(req, b.data, b.len);
    }
    engine_wait_free(wait);
}

/* --- Logs ---------------------------------------------------------------------------------------- */

static int logs_decode(const struct http_request *req, struct log_reader_params *p, struct error *e)
{
    const char *tail = http_query(req, "tail");

    *p = (struct log_reader_params){.tail = -1, .cancel_fd = http_client_fd(req)};
    p->no_stdout = !http_query_bool(req, "stdout", false);
    p->no_stderr = !http_query_bool(req, "stderr", false);
    p->follow = http_query_bool(req, "follow", false);
    if (p->no_stdout && p->no_stderr)
        return error_set(e, ERR_INVALID, "Bad parameters: you must choose at least one stream");
    if (!str_is_empty(tail) && (parse_i64(tail, &p->tail) < 0 || p->tail < 0))
        p->tail = -1; /* "all", and what is no number: everything, as Docker does */
    if (docker_when_parse("since", http_query(req, "since"), &p->since_ns, e) < 0)
        return -EINVAL;
    return docker_when_parse("until", http_query(req, "until"), &p->until_ns, e);
}

/* One entry as the client wants it: a frame, or just the bytes of a terminal. */
static void log_encode(const struct log_entry *entry, bool tty, bool timestamps, struct buf *out)
{
    char when[LOG_TIMESTAMP_MAX];
    size_t when_len = timestamps ? log_entry_timestamp(entry, when) : 0;

    if (!tty) {
        unsigned char head[STDCOPY_HEADER];

        stdcopy_header(head, entry->stream == LOG_STDERR ? STDCOPY_STDERR : STDCOPY_STDOUT,
                       when_len + entry->len);
        (void)buf_append(out, head, sizeof(head));
    }
    (void)buf_append(out, when, when_len);
    (void)buf_append(out, entry->data, entry->len);
}

static void logs_send(struct http_request *req, struct log_reader *reader, bool tty, bool follow)
{
    AUTO(buf) struct buf b = ANSWER_INIT;
    bool timestamps = http_query_bool(req, "timestamps", false);
    struct log_entry entry;
    int r;

    while ((r = log_reader_next(reader, &entry)) > 0) {
        log_encode(&entry, tty, timestamps, &b);
        if (b.len < LOG_CHUNK && !(follow && log_reader_would_wait(reader)))
            continue;
        if (http_stream_write(req, b.data, b.len) < 0)
            return;
        buf_clear(&b);
    }
    if (b.len > 0)
        (void)!http_stream_write(req, b.data, b.len);
    if (r < 0)
        http_stream_abort(req);
}

void api_container_logs(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(log_reader) struct log_reader *reader = NULL;
    struct log_reader_params p;
    bool tty = false;

    if (logs_decode(req, &p, &e) < 0 ||
        engine_logs(api_engine(ctx), http_param(req, "id"), &p, &reader, &tty, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    if (http_stream_begin(req, 200, stream_type(http_version(req), tty)) == 0)
        logs_send(req, reader, tty, p.follow);
}

/* --- Sessions: attach and exec ---------------------------------------------------------------- */

struct session {
    struct engine *engine;
    char *id; /* of the container or exec */
    bool is_exec;
    bool tty;
    unsigned rows, cols;
    struct attach_params attach; /* strings owned here: detach_keys */
    char *detach_keys;
    struct engine_attach_claim *claim; /* attach: announced to the engine */
};

static void session_free(void *data)
{
    struct session *s = data;

    engine_attach_end(s->claim);
    free(s->id);
    free(s->detach_keys);
    free(s);
}

/* The connection is no longer HTTP: an error can only be told as the session's output. */
static void session_say(int fd, bool tty, const char *text)
{
    AUTO(buf) struct buf b = ANSWER_INIT;
    size_t len = strlen(text) + 2;

    if (!tty) {
        unsigned char head[STDCOPY_HEADER];

        stdcopy_header(head, STDCOPY_STDERR, len);
        (void)buf_append(&b, head, sizeof(head));
    }
    (void)buf_puts(&b, text);
    (void)buf_puts(&b, "\r\n");
    (void)send(fd, b.data, b.len, MSG_NOSIGNAL);
}

static void session_begin(struct http_request *req, int fd, const void *early, size_t early_len,
                          void *data)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct session *s = data;
    AUTOFD int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* the engine closes fd in any case */
    int r;

    s->attach.detach_keys = s->detach_keys;
    s->attach.multiplexed = !s->tty;
    s->attach.early = early;
    s->attach.early_len = early_len;
    if (s->is_exec)
        r = engine_exec_start(s->engine, s->id, fd, &s->attach, s->rows, s->cols, &e);
    else
        r = engine_attach(s->claim, &s->attach, fd, &e);
    if (r < 0) {
        log_debug("session ended", "id=%s error=\"%s\"", s->id, error_message(&e));
        if (copy >= 0)
            session_say(copy, s->tty, error_message(&e));
    }
}

static void session_hijack(struct http_request *req, struct session *s)
{
    unsigned version = http_wants_upgrade(req) ? http_version(req) : 0;

    http_hijack(req, stream_type(version, s->tty), session_begin, s, session_free);
}

void api_container_attach(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct engine_attach_claim *claim = NULL;
    struct session *s;
    bool tty = false;

    if (engine_attach_begin(api_engine(ctx), http_param(req, "id"), &tty, &claim, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    s = xcalloc(1, sizeof(*s));
    s->engine = api_engine(ctx);
    s->id = xstrdup(http_param(req, "id"));
    s->claim = claim;
    s->tty = tty;
    s->detach_keys = xstrdup_or_null(http_query(req, "detachKeys"));
    s->attach.stdin_on = http_query_bool(req, "stdin", false);
    s->attach.stdout_on = http_query_bool(req, "stdout", false);
    s->attach.stderr_on = http_query_bool(req, "stderr", false);
    s->attach.logs = http_query_bool(req, "logs", false);
    s->attach.stream = http_query_bool(req, "stream", false);
    session_hijack(req, s);
}

/* --- Execs ----------------------------------------------------------------------------------------- */

void api_exec_create(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct exec_config config = {0};
    struct buf b = ANSWER_INIT;
    struct jsonw w = {.out = &b};
    char id[65];

    if (api_body(req, &exec_config_json, &config) < 0)
        return;
    if (engine_exec_create(api_engine(ctx), http_param(req, "id"), &config, id, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "Id", id);
    jsonw_end(&w);
    (void)buf_putc(&b, '\n');
    http_reply_json(req, 201, &b);
}

/* What a session of this exec is to be connected to. */
static struct session *exec_session(struct engine *en, const char *id, bool tty,
                                    const struct exec_config *c)
{
    struct session *s = xcalloc(1, sizeof(*s));

    s->engine = en;
    s->id = xstrdup(id);
    s->is_exec = true;
    s->tty = tty;
    s->detach_keys = xstrdup_or_null(c->detach_keys);
    s->attach.stdin_on = c->attach_stdin;
    s->attach.stdout_on = c->attach_stdout;
    s->attach.stderr_on = c->attach_stderr;
    s->attach.stream = true;
    return s;
}

void api_exec_start(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct docker_exec_start body = {0};
    struct exec_view v = {0};
    struct engine *en = api_engine(ctx);
    const char *id = http_param(req, "id");
    unsigned rows, cols;
    bool tty = false;

    if (api_body(req, &docker_exec_start_json, &body) < 0)
        return;
    docker_console_size(body.console_size, &rows, &cols);
    free(body.console_size);
    if (engine_exec_check(en, id, &tty, &e) < 0) {
        http_reply_error(req, &e);
    } else if (body.detach) {
        const struct attach_params none = {0};

        api_done(req, engine_exec_start(en, id, -1, &none, rows, cols, &e), 200, &e);
    } else if (engine_exec_inspect(en, id, &v, &e) < 0) {
        http_reply_error(req, &e);
    } else {
        struct session *s = exec_session(en, v.id, tty, &v.config);

        s->rows = rows;
        s->cols = cols;
        exec_view_done(&v);
        session_hijack(req, s);
    }
}

void api_exec_resize(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    int64_t h = 0, w = 0;
    int r = docker_number_parse("h", http_query(req, "h"), 0, UINT16_MAX, &h, &e);

    if (r == 0)
        r = docker_number_parse("w", http_query(req, "w"), 0, UINT16_MAX, &w, &e);
    if (r == 0)
        r = engine_exec_resize(api_engine(ctx), http_param(req, "id"), (unsigned)h, (unsigned)w,
                               &e);
    api_done(req, r, 200, &e);
}

void api_exec_inspect(struct http_request *req, void *ctx)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct exec_view v = {0};
    struct buf b = ANSWER_INIT;

    if (engine_exec_inspect(api_engine(ctx), http_param(req, "id"), &v, &e) < 0) {
        http_reply_error(req, &e);
        return;
    }
    encode_exec(&v, &b);
    exec_view_done(&v);
    http_reply_json(req, 200, &b);
}
