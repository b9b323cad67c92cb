/* SPDX-License-Identifier: Apache-2.0 */
/* inspect, container inspect, image inspect, volume inspect: objects as JSON or through a template. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "cli/cli.h"
#include "cli/format.h"

struct inspect_options {
    char *format, *type;
    bool size;
};

#define IO struct inspect_options
static const struct option_def inspect_option_table[] = {
    OPT(IO, format, "format", 'f', OPTION_STR, NULL, "Format output: 'json' or a Go template",
        .words = "json"),
    OPT(IO, size, "size", 's', OPTION_BOOL, NULL,
        "Display total file sizes if the type is container"),
    OPT(IO, type, "type", 0, OPTION_STR, NULL, "Return JSON for specified type",
        .words = "container image volume"),
    OPT_END,
};
static const struct option_def container_inspect_option_table[] = {
    OPT(IO, format, "format", 'f', OPTION_STR, NULL, "Format output: 'json' or a Go template",
        .words = "json"),
    OPT(IO, size, "size", 's', OPTION_BOOL, NULL, "Display total file sizes"),
    OPT_END,
};
static const struct option_def image_inspect_option_table[] = {
    OPT(IO, format, "format", 'f', OPTION_STR, NULL, "Format output: 'json' or a Go template",
        .words = "json"),
    OPT_END,
};

struct kind {
    const char *name, *prefix, *rest;
};
static const struct kind kinds[] = {{"container", "/containers/", "/json"},
                                    {"image", "/images/", "/json"},
                                    {"volume", "/volumes/", NULL}};

/* The object of the first kind that has one of this name. `only` NULL: any kind. */
static int fetch(struct cli *cli, const struct inspect_options *o, const char *only,
                 const char *name, struct json_value **ret, struct error *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct url u CLEANUP(url_done) = URL_INIT;
        AUTO(error) struct error why = ERROR_INIT;
        int r;

        if (only && !STREQ(only, kinds[i].name))
            continue;
        url_set(&u, kinds[i].prefix, name, kinds[i].rest);
        url_add_bool(&u, "size", o->size && i == 0);
        r = api_get(cli, &u, ret, &why);
        if (r == 0)
            return 0;
        if (why.code != ERR_NOT_FOUND) {
            error_move(e, &why);
            return r;
        }
    }
    if (only)
        return error_set(e, ERR_NOT_FOUND, "Error: No such %s: %s", only, name);
    return error_set(e, ERR_NOT_FOUND, "Error: No such object: %s", name);
}

static int inspect_all(struct cli *cli, const struct inspect_options *o, const char *only,
                       char **names)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf list = BUF_INIT(BUF_UNLIMITED);
    AUTOPTR(json_value) struct json_value *all = NULL;
    AUTOPTR(strv) char **failures = NULL;
    bool as_list = !o->format || !*o->format;

    (void)buf_putc(&list, '[');
    for (; *names; names++) {
        AUTO(error) struct error e = ERROR_INIT;
        AUTOPTR(json_value) struct json_value *v = NULL;
        int r = fetch(cli, o, only, *names, &v, &e);

        if (r == 0 && as_list) {
            (void)buf_puts(&list, list.len > 1 ? "," : "");
            json_value_print(v, false, &list);
        } else if (r == 0) {
            r = format_object(o->format, v, &out, &e);
        }
        if (r < 0)
            strv_push(&failures, error_message(&e));
    }
    (void)buf_putc(&list, ']');
    if (as_list && json_value_parse(list.data, list.len, &all, NULL) == 0) {
        json_value_print(all, true, &out);
        (void)buf_putc(&out, '\n');
    }
    out_write(buf_str(&out), out.len);
    for (char **f = failures; f && *f; f++)
        err_printf("%s\n", *f);
    return failures ? 1 : 0;
}

static int run_inspect(struct cli *cli, void *options, char **args, size_t n)
{
    const struct inspect_options *o = options;

    if (o->type && *o->type && !STREQ(o->type, "container") && !STREQ(o->type, "image") &&
        !STREQ(o->type, "volume")) {
        err_printf("\"%s\" is not a valid value for --type\n", o->type);
        return 1;
    }
    return inspect_all(cli, o, o->type && *o->type ? o->type : NULL, args);
}

static int run_container_inspect(struct cli *cli, void *options, char **args, size_t n)
{
    return inspect_all(cli, options, "container", args);
}

static int run_image_inspect(struct cli *cli, void *options, char **args, size_t n)
{
    return inspect_all(cli, options, "image", args);
}

static int run_volume_inspect(struct cli *cli, void *options, char **args, size_t n)
{
    return inspect_all(cli, options, "volume", args);
}

const struct command command_inspect = {
    .name = "inspect",
    .args = "NAME|ID [NAME|ID...]",
    .summary = "Return low-level information on containers, images and volumes",
    .options = inspect_option_table,
    .options_size = sizeof(struct inspect_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_OBJECT,
    .run = run_inspect,
};
const struct command command_container_inspect = {
    .name = "inspect",
    .args = "CONTAINER [CONTAINER...]",
    .summary = "Display detailed information on one or more containers",
    .options = container_inspect_option_table,
    .options_size = sizeof(struct inspect_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_CONTAINER,
    .run = run_container_inspect,
};
const struct command command_image_inspect = {
    .name = "inspect",
    .args = "IMAGE [IMAGE...]",
    .summary = "Display detailed information on one or more images",
    .options = image_inspect_option_table,
    .options_size = sizeof(struct inspect_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_IMAGE,
    .run = run_image_inspect,
};
const struct command command_volume_inspect = {
    .name = "inspect",
    .args = "VOLUME [VOLUME...]",
    .summary = "Display detailed information on one or more volumes",
    .options = image_inspect_option_table,
    .options_size = sizeof(struct inspect_options),
    .args_min = 1,
    .args_max = -1,
    .run = run_volume_inspect,
};
