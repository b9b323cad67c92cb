/* SPDX-License-Identifier: Apache-2.0 */
/* Commands for the image store's upkeep: system gc, fsck, image protect. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/image.h"
#include "cli/registry-auth.h"
#include "cli/units.h"

/* --- system gc --------------------------------------------------------------------------- */

struct gc_options {
    bool dry_run;
    struct opt_int low;
    char *min_age, *format;
};

#define GO struct gc_options
static const struct option_def gc_option_table[] = {
    OPT(GO, dry_run, "dry-run", 'n', OPTION_BOOL, NULL, "Only show what would be removed"),
    OPT(GO, format, "format", 'f', OPTION_STR, NULL, "Format output: 'json' or a Go template",
        .words = "json"),
    OPT(GO, low, "low", 0, OPTION_INT, "percent",
        "Remove until no more than this much of the disk is in use (default: as configured, "
        "else 70)"),
    OPT(GO, min_age, "min-age", 0, OPTION_STR, "duration",
        "Keep what was used or pulled within this time (default: as configured, else 2m)"),
    OPT_END,
};

/* "busybox:latest, x:1" or the short id. */
static void put_names(const struct json_value *image)
{
    const struct json_value *names = json_value_get(image, "Names");
    const char *id = jstr(image, "Id");

    if (json_value_len(names) == 0)
        out_printf("%.12s", strchr(id, ':') ? strchr(id, ':') + 1 : id);
    for (size_t i = 0; i < json_value_len(names); i++) {
        const char *name = json_value_str(json_value_at(names, i));
        out_printf("%s%s", i ? ", " : "", name ? name : "");
    }
}

static void print_gc(const struct json_value *v)
{
    const struct json_value *removed = json_value_get(v, "Removed");
    const struct json_value *kept = json_value_get(v, "Kept");
    bool dry = json_value_bool(json_value_get(v, "DryRun"));
    char size[UNITS_MAX];

    for (size_t i = 0; i < json_value_len(removed); i++) {
        const struct json_value *image = json_value_at(removed, i);
        out_puts(dry ? "Would remove: " : "Removed: ");
        put_names(image);
        out_printf(" (%s)\n", units_size(json_value_int(json_value_get(image, "Size")), size));
    }
    for (size_t i = 0; i < json_value_len(kept); i++) {
        const struct json_value *image = json_value_at(kept, i);
        out_puts("Kept: ");
        put_names(image);
        out_printf(" (%s)\n", jstr(image, "Reason"));
    }
    out_printf("%s: %s\n", dry ? "Space to be reclaimed" : "Total reclaimed space",
               units_size(json_value_int(json_value_get(v, "SpaceReclaimed")), size));
    out_printf("Disk in use: %lld%%, %s%lld%% (low mark %lld%%)\n",
               (long long)json_value_int(json_value_get(v, "UsedBefore")),
               dry ? "then about " : "now ",
               (long long)json_value_int(json_value_get(v, "UsedAfter")),
               (long long)json_value_int(json_value_get(v, "Low")));
}

/* By template, or by `print`. */
static int show(const char *format, const struct json_value *v,
                void (*print)(const struct json_value *v), struct error *e)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);

    if (!format || !*format) {
        print(v);
        return 0;
    }
    int r = format_object(format, v, &out, e);
    if (r >= 0)
        out_write(buf_str(&out), out.len);
    return r;
}

/* Asks and shows the answer, which goes to *ret. */
static int ask(struct cli *cli, const struct url *u, const char *format,
               void (*print)(const struct json_value *v), struct json_value **ret, struct error *e)
{
    AUTO(buf) struct buf answer = BUF_INIT(CLI_ANSWER_MAX);
    int r = api_call(cli, "POST", u, NULL, &answer, e);

    if (r >= 0)
        r = json_value_parse(buf_str(&answer), answer.len, ret, e);
    return r < 0 ? r : show(format, *ret, print, e);
}

static int run_gc(struct cli *cli, void *options, char **args, size_t n)
{
    const struct gc_options *o = options;
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;

    url_set(&u, "/pouch/gc", NULL, NULL);
    url_add_bool(&u, "dryRun", o->dry_run);
    if (o->low.set)
        url_add_int(&u, "low", o->low.value);
    url_add(&u, "minAge", o->min_age);
    return ask(cli, &u, o->format, print_gc, &v, &e) < 0 ? cli_fail(&e) : 0;
}

const struct command command_system_gc = {
    .name = "gc",
    .args = "",
    .summary = "Remove images that nothing uses, the longest unused first, to make room",
    .options = gc_option_table,
    .options_size = sizeof(struct gc_options),
    .args_min = 0,
    .args_max = 0,
    .run = run_gc,
};

/* --- fsck -------------------------------------------------------------------------------- */

struct fsck_options {
    bool repair, quick;
    char *format;
};

#define FO struct fsck_options
static const struct option_def fsck_option_table[] = {
    OPT(FO, format, "format", 'f', OPTION_STR, NULL, "Format output: 'json' or a Go template",
        .words = "json"),
    OPT(FO, quick, "quick", 'q', OPTION_BOOL, NULL,
        "Only blobs and tables: do not unpack each layer once more to compare it"),
    OPT(FO, repair, "repair", 'y', OPTION_BOOL, NULL,
        "Repair: make layers again from their blobs, pull damaged blobs again"),
    OPT_END,
};

static void put_list(const char *title, const struct json_value *list)
{
    if (json_value_len(list) == 0)
        return;
    out_printf("  %s: ", title);
    for (size_t i = 0; i < json_value_len(list); i++) {
        const char *text = json_value_str(json_value_at(list, i));
        out_printf("%s%s", i ? ", " : "", text ? text : "");
    }
    out_puts("\n");
}

static void print_fsck(const struct json_value *v)
{
    const struct json_value *problems = json_value_get(v, "Problems");
    char size[UNITS_MAX];

    for (size_t i = 0; i < json_value_len(problems); i++) {
        const struct json_value *x = json_value_at(problems, i);
        out_printf("%s %s: %s\n", jstr(x, "Kind"), jstr(x, "Id"), jstr(x, "Problem"));
        put_list("images", json_value_get(x, "Images"));
        put_list("containers", json_value_get(x, "Containers"));
        if (*jstr(x, "Repair"))
            out_printf("  %s\n", jstr(x, "Repair"));
    }
    out_printf("%lld images: %lld blobs (%s) and %lld layers looked at, ",
               (long long)json_value_int(json_value_get(v, "Images")),
               (long long)json_value_int(json_value_get(v, "Blobs")),
               units_size(json_value_int(json_value_get(v, "Bytes")), size),
               (long long)json_value_int(json_value_get(v, "Layers")));
    out_printf("%lld problems, %lld repaired\n",
               (long long)json_value_int(json_value_get(v, "Damaged")),
               (long long)json_value_int(json_value_get(v, "Repaired")));
}

/* Progress goes to a terminal's stderr; the answer is the stream's last word. */
static int ask_fsck(struct cli *cli, const struct fsck_options *o, struct json_value **ret,
                    struct error *e)
{
    CLEANUP(registry_auth_done) struct registry_auth auth = {0};
    struct url u CLEANUP(url_done) = URL_INIT;
    AUTOPTR(http_conn) struct http_conn *conn = NULL;
    struct http_response res CLEANUP(http_response_done) = {0};

    url_set(&u, "/pouch/fsck", NULL, NULL);
    url_add_bool(&u, "repair", o->repair);
    url_add_bool(&u, "quick", o->quick);
    url_add_bool(&u, "progress", true);
    if (o->repair) /* what is damaged may have to be pulled again */
        registry_auth_find(cli, NULL, false, &auth);
    cli->headers = (const char *const *)auth.headers;
    int r = api_open(cli, "POST", &u, NULL, false, &conn, &res, e);
    cli->headers = NULL;
    if (r >= 0)
        r = progress_show_aux(conn, STDERR_FILENO, isatty(STDERR_FILENO) != 1, ret, e);
    if (r >= 0 && !*ret)
        r = error_set(e, ERR_INTERNAL, "the daemon ended before the check was through");
    return r;
}

static int run_fsck(struct cli *cli, void *options, char **args, size_t n)
{
    const struct fsck_options *o = options;
    AUTO(error) struct error e = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;

    if (ask_fsck(cli, o, &v, &e) < 0 || show(o->format, v, print_fsck, &e) < 0)
        return cli_fail(&e);
    return json_value_int(json_value_get(v, "Damaged")) >
           json_value_int(json_value_get(v, "Repaired"));
}

const struct command command_fsck = {
    .name = "fsck",
    .args = "",
    .summary = "Check the image store, and repair what is damaged",
    .options = fsck_option_table,
    .options_size = sizeof(struct fsck_options),
    .args_min = 0,
    .args_max = 0,
    .run = run_fsck,
};

/* --- image protect ----------------------------------------------------------------------- */

struct protect_options {
    bool off;
};

static const struct option_def protect_option_table[] = {
    OPT(struct protect_options, off, "off", 0, OPTION_BOOL, NULL, "Protect no longer"),
    OPT_END,
};

static int protect_one(struct cli *cli, const char *arg, void *data, struct error *e)
{
    const struct protect_options *o = data;
    struct url u CLEANUP(url_done) = URL_INIT;

    url_set(&u, "/pouch/protect", NULL, NULL);
    url_add(&u, "image", arg);
    url_add(&u, "on", o->off ? "false" : "true");
    return api_call(cli, "POST", &u, NULL, NULL, e);
}

static int run_protect(struct cli *cli, void *options, char **args, size_t n)
{
    return cli_for_each(cli, args, protect_one, options);
}

const struct command command_image_protect = {
    .name = "protect",
    .args = "IMAGE [IMAGE...]",
    .summary = "Keep images from garbage collection",
    .options = protect_option_table,
    .options_size = sizeof(struct protect_options),
    .args_min = 1,
    .args_max = -1,
    .complete = COMPLETE_IMAGE,
    .run = run_protect,
};
