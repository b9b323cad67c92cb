/* SPDX-License-Identifier: Apache-2.0 */
/* The request of hooks.h as JSON: printed by pouchd, read by the runner. */
#include "monitor/hooks.h"

#include <string.h>

static const struct json_field command_fields[] = {
    JSON_FIELD(struct hook_command, host, "host", JSON_BOOL, 0),
    JSON_FIELD(struct hook_command, args, "args", JSON_STRV, JSON_REQUIRED),
    JSON_END,
};
static const struct json_desc command_json = {"hook", sizeof(struct hook_command), command_fields};

static const struct json_field request_fields[] = {
    JSON_FIELD(struct hooks_request, id, "id", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct hooks_request, timeout, "timeout", JSON_INT, JSON_REQUIRED),
    JSON_FIELD_SUB(struct hooks_request, hooks, "hooks", JSON_OBJ_LIST, 0, &command_json),
    JSON_FIELD(struct hooks_request, env, "env", JSON_STRV, 0),
    JSON_FIELD(struct hooks_request, state, "state", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(struct hooks_request, progress, "progress", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct hooks_request, run, "run", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct hooks_request, bundle, "bundle", JSON_STR, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc hooks_request_json = {"hooks", sizeof(struct hooks_request), request_fields};

size_t hook_output_keep(char *out, size_t size, size_t got, const char *data, size_t len)
{
    size_t max = size - 1;

    if (len > max) {
        data += len - max;
        len = max;
    }
    if (got + len > max) {
        size_t drop = got + len - max;

        memmove(out, out + drop, got - drop);
        got -= drop;
    }
    memcpy(out + got, data, len);
    /* It is a text from here on: what is behind a NUL would be lost. */
    for (size_t i = got; i < got + len; i++)
        out[i] = out[i] ? out[i] : ' ';
    out[got + len] = '\0';
    return got + len;
}
