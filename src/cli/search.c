/* SPDX-License-Identifier: Apache-2.0 */
/* search. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/credentials.h"
#include "cli/format.h"

#define DESCRIPTION_WIDTH 45

struct search_options {
    char **filters;
    char *format;
    struct opt_int limit;
    bool no_trunc;
};

static const struct option_def search_option_table[] = {
    OPT(struct search_options, filters, "filter", 'f', OPTION_LIST, "filter",
        "Filter output based on conditions provided",
        .words = "is-automated=true is-automated=false is-official=true is-official=false stars="),
    OPT(struct search_options, format, "format", 0, OPTION_STR, NULL,
        "Format output: 'table', 'table TEMPLATE', 'json' or a Go template", .words = "json table"),
    OPT(struct search_options, limit, "limit", 0, OPTION_INT, NULL,
        "Max number of search results (default 25)"),
    OPT(struct search_options, no_trunc, "no-trunc", 0, OPTION_BOOL, NULL, "Don't truncate output"),
    OPT_END,
};

enum field { F_NAME, F_DESCRIPTION, F_STARS, F_OFFICIAL, F_AUTOMATED, F_MAX };
static const struct formatter_field fields[] = {
    [F_NAME] = {"Name", "NAME"},
    [F_DESCRIPTION] = {"Description", "DESCRIPTION"},
    [F_STARS] = {"StarCount", "STARS"},
    [F_OFFICIAL] = {"IsOfficial", "OFFICIAL"},
    [F_AUTOMATED] = {"IsAutomated", "AUTOMATED"},
    [F_MAX] = {NULL, NULL},
};

struct search_output {
    const struct search_options *o;
    struct formatter f;
};

/* The description as one line, cut to a column's width. */
static char *describe(const char *text, bool whole)
{
    char *s = xstrdup(text);

    str_tame(s, NULL);
    if (!whole && strlen(s) > DESCRIPTION_WIDTH) {
        size_t n = DESCRIPTION_WIDTH - 1;
        while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80) /* not within a letter */
            n--;
        s[n] = '\0';
        char *cut = xasprintf("%s…", s);
        free(s);
        s = cut;
    }
    return s;
}

static int show(const struct json_value *v, void *data, struct error *e)
{
    struct search_output *out = data;
    const char *values[F_MAX] = {NULL};
    char stars[24];
    AUTOFREE char *text = describe(jstr(v, "description"), out->o->no_trunc);

    (void)snprintf(stars, sizeof(stars), "%lld",
                   (long long)json_value_int(json_value_get(v, "star_count")));
    values[F_NAME] = jstr(v, "name");
    values[F_DESCRIPTION] = text;
    values[F_STARS] = stars;
    values[F_OFFICIAL] = json_value_bool(json_value_get(v, "is_official")) ? "[OK]" : "";
    values[F_AUTOMATED] = json_value_bool(json_value_get(v, "is_automated")) ? "[OK]" : "";
    return formatter_row(&out->f, values, NULL, e);
}

static int run_search(struct cli *cli, void *options, char **args, size_t n)
{
    struct search_output out = {.o = options};
    AUTO(error) struct error e = ERROR_INIT;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOFREE char *filters = NULL;
    CLEANUP(credentials_header_freep) char *auth = credentials_header(args[0]);
    const char *headers[] = {auth, NULL};
    int r = filters_json(out.o->filters, &filters, &e);

    if (r < 0)
        return cli_fail(&e);
    r = formatter_init(&out.f, out.o->format,
                       "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}", fields, &e);
    if (r >= 0) {
        url_set(&u, "/images/search", NULL, NULL);
        url_add(&u, "term", args[0]);
        if (out.o->limit.set)
            url_add_int(&u, "limit", out.o->limit.value);
        url_add(&u, "filters", filters);
        cli->headers = auth ? headers : NULL;
        r = api_list(cli, &u, show, &out, &e);
        cli->headers = NULL;
    }
    if (r >= 0)
        formatter_finish(&out.f);
    formatter_done(&out.f);
    return r < 0 ? cli_fail(&e) : 0;
}

const struct command command_search = {
    .name = "search",
    .args = "TERM",
    .summary = "Search a registry for images (default: Docker Hub)",
    .options = search_option_table,
    .options_size = sizeof(struct search_options),
    .args_min = 1,
    .args_max = 1,
    .flags = COMMAND_COMMON,
    .run = run_search,
};
