/* SPDX-License-Identifier: Apache-2.0 */
/* Reading exit.json, and the text form of detach keys. */
#include "monitor/monitor.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/strv.h"

struct exit_document {
    int64_t exit_code, signal, error_code;
    bool oom_killed;
    int64_t started, exited;
    uint64_t lost_bytes, lost_lines;
    char *error;
};

static const struct json_field exit_fields[] = {
    JSON_FIELD(struct exit_document, exit_code, "exit_code", JSON_INT, JSON_REQUIRED),
    JSON_FIELD(struct exit_document, signal, "signal", JSON_INT, 0),
    JSON_FIELD(struct exit_document, oom_killed, "oom_killed", JSON_BOOL, 0),
    JSON_FIELD(struct exit_document, started, "started_ns", JSON_INT, 0),
    JSON_FIELD(struct exit_document, exited, "exited_ns", JSON_INT, 0),
    JSON_FIELD(struct exit_document, lost_bytes, "log_lost_bytes", JSON_UINT, 0),
    JSON_FIELD(struct exit_document, lost_lines, "log_lost_lines", JSON_UINT, 0),
    JSON_FIELD(struct exit_document, error_code, "error_code", JSON_INT, 0),
    JSON_FIELD(struct exit_document, error, "error", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc exit_json = {"exit", sizeof(struct exit_document), exit_fields};

int monitor_read_exit(const char *state_dir, struct monitor_exit *ret, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", state_dir, MONITOR_EXIT_FILE);
    AUTOFREE char *text = NULL;
    struct exit_document d = {0};
    size_t len;
    int r = fs_read_file(AT_FDCWD, path, 64 * 1024, &text, &len);

    if (r == -ENOENT)
        return error_set(e, ERR_NOT_FOUND, "no %s", path);
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    r = json_parse(&exit_json, text, len, &d, e);
    if (r < 0) {
        error_add(e, "%s", path);
        return r;
    }
    *ret = (struct monitor_exit){.exit_code = (int)d.exit_code,
                                 .signal = (int)d.signal,
                                 .oom_killed = d.oom_killed,
                                 .started_ns = d.started,
                                 .exited_ns = d.exited,
                                 .log_lost_bytes = d.lost_bytes,
                                 .log_lost_lines = d.lost_lines,
                                 .error_code = (int)d.error_code};
    if (d.error) {
        len = strnlen(d.error, sizeof(ret->error) - 1);
        memcpy(ret->error, d.error, len);
    }
    json_free(&exit_json, &d);
    return 0;
}

/* One key: a character, or ctrl- and a letter or one of @[\]^_ */
static int parse_key(const char *key)
{
    if (strlen(key) == 1)
        return (unsigned char)key[0];
    if (strncmp(key, "ctrl-", 5) == 0 && strlen(key) == 6) {
        char c = key[5];

        if (c >= 'a' && c <= 'z')
            return c - 'a' + 1;
        if (c == '@' || (c >= '[' && c <= '_'))
            return c - '@';
    }
    return -EINVAL;
}

int monitor_parse_detach_keys(const char *keys, unsigned char out[16], struct error *e)
{
    AUTOPTR(strv) char **list = strv_split(keys ? keys : "ctrl-p,ctrl-q", ",", false);
    int n = 0;

    if (keys && !*keys)
        return 0;
    for (char **k = list; k && *k; k++) {
        int c = parse_key(*k);

        if (c < 0)
            return error_set(e, ERR_INVALID, "Invalid detach keys (%s): unknown character: '%s'",
                             keys, *k);
        if (n == 16)
            return error_set(e, ERR_INVALID, "Invalid detach keys (%s): more than 16 keys", keys);
        out[n++] = (unsigned char)c;
    }
    return n;
}
