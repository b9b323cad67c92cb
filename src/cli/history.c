/* SPDX-License-Identifier: Apache-2.0 */
/* history: the steps an image was made in. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/units.h"

#define BY_MAX      45 /* characters of "CREATED BY" shown */
#define COMMENT_MAX 45

struct history_options {
    bool human, no_trunc, quiet;
    char *format, *platform;
};

#define HO struct history_options
static const struct option_def history_option_table[] = {
    OPT(HO, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'table TEMPLATE', 'json' or a Go template", .words = "json table"),
    OPT(HO, human, "human", 'H', OPTION_BOOL, NULL,
        "Print sizes and dates in human readable format", .initial = "true"),
    OPT(HO, no_trunc, "no-trunc", 0, OPTION_BOOL, NULL, "Don't truncate output"),
    OPT(HO, platform, "platform", 0, OPTION_STR, NULL, "Show the history for this platform"),
    OPT(HO, quiet, "quiet", 'q', OPTION_BOOL, NULL, "Only show image IDs"),
    OPT_END,
};

static const struct formatter_field fields[] = {
    {"ID", "IMAGE"},
    {"CreatedSince", "CREATED"},
    {"CreatedAt", "CREATED AT"},
    {"CreatedBy", "CREATED BY"},
    {"Size", "SIZE"},
    {"Comment", "COMMENT"},
    {NULL, NULL},
};

/* What a terminal would obey becomes blanks, but for new lines; cut behind `max` characters with "…" in the last place. */
static char *shorten(const char *text, size_t max, bool cut)
{
    char *out = xstrdup(text);
    size_t chars = 0;

    str_tame(out, "\n");
    for (char *p = out; *p; p++) {
        bool begins = ((unsigned char)*p & 0xc0) != 0x80;

        if (begins && cut && chars == max - 1 && strlen(p) > 1) {
            AUTOFREE char *whole = out;
            return xasprintf("%.*s…", (int)(p - whole), whole);
        }
        chars += begins;
    }
    return out;
}

static int history_row(struct formatter *f, const struct json_value *v,
                       const struct history_options *o, struct error *e)
{
    int64_t created = json_value_int(json_value_get(v, "Created"));
    int64_t size = json_value_int(json_value_get(v, "Size"));
    const char *id = jstr(v, "Id");
    char shown[80], since[UNITS_MAX + 8] = "N/A", at[64] = "", text[UNITS_MAX];
    char took[UNITS_MAX];
    time_t when = (time_t)created;
    struct tm tm;

    (void)snprintf(shown, sizeof shown, o->no_trunc || !strchr(id, ':') ? "%s" : "%.12s",
                   !o->no_trunc && strchr(id, ':') ? strchr(id, ':') + 1 : id);
    (void)localtime_r(&when, &tm);
    if (!strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S%z", &tm))
        at[0] = '\0';
    size_t len = strlen(at);
    if (tm.tm_gmtoff == 0) {
        at[len > 5 ? len - 5 : 0] = 'Z';
        at[len > 5 ? len - 4 : 0] = '\0';
    } else if (len > 2 && len + 1 < sizeof at) { /* +0100 → +01:00 */
        memmove(at + len - 1, at + len - 2, 3);
        at[len - 2] = ':';
    }
    if (created > 0) {
        (void)units_duration(time_now_ns() / NSEC_PER_SEC - created, took);
        (void)snprintf(since, sizeof since, "%s ago", took);
    }
    if (o->human)
        (void)units_size(size, text);
    else
        (void)snprintf(text, sizeof text, "%lld", (long long)size);
    AUTOFREE char *by = shorten(jstr(v, "CreatedBy"), BY_MAX, !o->no_trunc);
    AUTOFREE char *comment = shorten(jstr(v, "Comment"), COMMENT_MAX, !o->no_trunc);
    const char *values[] = {shown, o->human ? since : at, at, by, text, comment, NULL};
    return formatter_row(f, values, NULL, e);
}

static int run_history(struct cli *cli, void *options, char **args, size_t n)
{
    const struct history_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    struct formatter f CLEANUP(formatter_done) = {0};
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *list = NULL;

    url_set(&u, "/images/", args[0], "/history");
    url_add(&u, "platform", o->platform);
    if (api_get(cli, &u, &list, &e) < 0 ||
        formatter_init(&f, o->quiet && !o->format ? "{{.ID}}" : o->format,
                       o->human
                           ? "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t"
                             "{{.Comment}}"
                           : "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
                       fields, &e) < 0)
        return cli_fail(&e);
    for (size_t i = 0; i < json_value_len(list); i++)
        if (history_row(&f, json_value_at(list, i), o, &e) < 0)
            return cli_fail(&e);
    formatter_finish(&f);
    return 0;
}

const struct command command_history = {
    .name = "history",
    .args = "IMAGE",
    .summary = "Show the history of an image",
    .options = history_option_table,
    .options_size = sizeof(struct history_options),
    .args_min = 1,
    .args_max = 1,
    .complete = COMPLETE_IMAGE,
    .run = run_history,
};
