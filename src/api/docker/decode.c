/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding of versions, filters, bodies and query parameters. */
#include "api/docker/decode.h"

#include <stdlib.h>
#include <string.h>

#include "api/docker/docker.h"
#include "base/alloc.h"
#include "base/str.h"
#include "base/time.h"

#define FILTERS_MAX ((size_t)64 << 10)

/* A decimal of at most four digits; returns what follows it, or NULL. */
static const char *version_number(const char *p, unsigned *ret)
{
    unsigned n = 0;
    const char *start = p;

    while (*p >= '0' && *p <= '9' && p - start < 4)
        n = n * 10 + (unsigned)(*p++ - '0');
    *ret = n;
    return p == start ? NULL : p;
}

int docker_version_split(const char *path, unsigned *ret_minor, const char **ret_rest,
                         struct error *e)
{
    unsigned major, minor = 0;
    const char *p;

    *ret_minor = DOCKER_API_MAX_MINOR;
    *ret_rest = path;
    if (path[0] != '/' || path[1] != 'v')
        return 0;
    p = version_number(path + 2, &major);
    if (!p || (*p == '.' && !(p = version_number(p + 1, &minor))) || (*p != '/' && *p != '\0'))
        return 0; /* no version: "/volumes" */
    if (major < 1 || (major == 1 && minor < DOCKER_API_MIN_MINOR))
        return error_set(e, ERR_INVALID,
                         "client version %u.%u is too old. Minimum supported API version is %s, "
                         "please upgrade your client to a newer version",
                         major, minor, DOCKER_API_MIN);
    if (major > 1 || minor > DOCKER_API_MAX_MINOR)
        return error_set(e, ERR_INVALID,
                         "client version %u.%u is too new. Maximum supported API version is %s",
                         major, minor, DOCKER_API_VERSION);
    *ret_minor = minor;
    *ret_rest = *p ? p : "/";
    return 0;
}

static int filter_values(struct filter_set *f, const char *key, const struct json_value *v,
                         struct error *e)
{
    for (size_t i = 0; i < json_value_len(v); i++) {
        const char *value = NULL;

        if (json_value_kind(v) == JV_LIST)
            value = json_value_str(json_value_at(v, i));
        else if (!json_value_bool(json_value_member(v, i, &value)))
            continue; /* {"a":false}: not asked for */
        if (!value)
            return error_set(e, ERR_INVALID, "invalid filter \"%s\": its values must be strings",
                             key);
        filter_set_add(f, key, value);
    }
    return 0;
}

int docker_filters_parse(const char *text, struct filter_set *ret, struct error *e)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    int r;

    if (str_is_empty(text))
        return 0;
    if (strlen(text) > FILTERS_MAX)
        return error_set(e, ERR_INVALID, "the filters are longer than %zu bytes", FILTERS_MAX);
    r = json_value_parse(text, strlen(text), &v, e);
    if (r < 0) {
        error_add(e, "invalid filters");
        return r;
    }
    if (json_value_kind(v) == JV_NULL)
        return 0;
    if (json_value_kind(v) != JV_OBJ)
        return error_set(e, ERR_INVALID, "invalid filters: expected an object");
    for (size_t i = 0; i < json_value_len(v); i++) {
        const char *key = NULL;
        const struct json_value *values = json_value_member(v, i, &key);

        if (json_value_kind(values) != JV_LIST && json_value_kind(values) != JV_OBJ)
            r = error_set(e, ERR_INVALID, "invalid filter \"%s\": expected a list of strings", key);
        else
            r = filter_values(ret, key, values, e);
        if (r < 0) {
            filter_set_done(ret);
            return r;
        }
    }
    return 0;
}

int docker_create_parse(const char *body, size_t len, struct container_config *config,
                        struct create_extra *extra, struct error *e)
{
    int r;

    if (len == 0)
        return error_set(e, ERR_INVALID, "invalid JSON: got EOF while reading request body");
    r = json_parse(&container_config_json, body, len, config, e);
    if (r < 0)
        return r;
    r = json_parse(&create_extra_json, body, len, extra, e);
    if (r < 0)
        json_free(&container_config_json, config);
    return r;
}

static const struct json_field docker_exec_start_fields[] = {
    JSON_FIELD(struct docker_exec_start, detach, "Detach", JSON_BOOL, 0),
    JSON_FIELD(struct docker_exec_start, tty, "Tty", JSON_BOOL, 0),
    JSON_FIELD(struct docker_exec_start, console_size, "ConsoleSize", JSON_RAW, 0),
    JSON_END,
};
const struct json_desc docker_exec_start_json = {"exec start", sizeof(struct docker_exec_start),
                                                 docker_exec_start_fields};

void docker_console_size(const char *raw, unsigned *ret_rows, unsigned *ret_cols)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    int64_t rows, cols;

    *ret_rows = *ret_cols = 0;
    if (!raw || json_value_parse(raw, strlen(raw), &v, NULL) < 0 || json_value_kind(v) != JV_LIST ||
        json_value_len(v) != 2)
        return;
    rows = json_value_int(json_value_at(v, 0));
    cols = json_value_int(json_value_at(v, 1));
    if (rows < 0 || rows > UINT16_MAX || cols < 0 || cols > UINT16_MAX)
        return;
    *ret_rows = (unsigned)rows;
    *ret_cols = (unsigned)cols;
}

int docker_when_parse(const char *name, const char *text, int64_t *ret, struct error *e)
{
    *ret = 0;
    if (str_is_empty(text) || STREQ(text, "0"))
        return 0;
    if (time_parse_when(text, time_now_ns(), ret) < 0)
        return error_set(e, ERR_INVALID, "invalid value for \"%s\": \"%s\" is not a time", name,
                         text);
    return 0;
}

int docker_number_parse(const char *name, const char *text, int64_t min, int64_t max, int64_t *ret,
                        struct error *e)
{
    int64_t n;

    if (str_is_empty(text))
        return 0;
    if (parse_i64(text, &n) < 0 || n < min || n > max)
        return error_set(e, ERR_INVALID, "invalid value for \"%s\": \"%s\"", name, text);
    *ret = n;
    return 0;
}

char *docker_reference_join(const char *name, const char *tag)
{
    if (str_is_empty(tag))
        return xstrdup(name);
    return xasprintf("%s%c%s", name, strchr(tag, ':') ? '@' : ':', tag);
}
