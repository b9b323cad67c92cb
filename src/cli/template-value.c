/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a running template: kinds, printing as Go prints, members. */
#include "cli/template-value.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

struct tvalue tvalue_from_json(const struct json_value *v)
{
    switch (json_value_kind(v)) {
    case JV_STR:
        return TVALUE_STR(json_value_str(v));
    case JV_INT:
        return TVALUE_INT(json_value_int(v));
    case JV_DOUBLE:
        return (struct tvalue){.kind = TV_FLOAT, .f = json_value_double(v)};
    case JV_BOOL:
        return TVALUE_BOOL(json_value_bool(v));
    case JV_LIST:
    case JV_OBJ:
        return (struct tvalue){.kind = TV_JSON, .json = v};
    default:
        return (struct tvalue){.kind = TV_NIL};
    }
}

int64_t tvalue_len(const struct tvalue *v)
{
    switch (v->kind) {
    case TV_NIL:
        return 0;
    case TV_STR:
        return (int64_t)strlen(v->s);
    case TV_JSON:
        return (int64_t)json_value_len(v->json);
    case TV_LIST:
        return (int64_t)v->n;
    default:
        return -1;
    }
}

bool tvalue_is_true(const struct tvalue *v)
{
    switch (v->kind) {
    case TV_INT:
    case TV_BOOL:
        return v->i != 0;
    case TV_FLOAT:
        return v->f < 0 || v->f > 0;
    case TV_ROW:
        return true;
    default:
        return tvalue_len(v) > 0;
    }
}

struct tvalue tvalue_at(const struct tvalue *list, size_t i)
{
    if (list->kind == TV_LIST)
        return TVALUE_STR(list->list[i]);
    return tvalue_from_json(json_value_at(list->json, i));
}

/* JSON's null has no type; the docker CLI knows from its structs that these fields are lists, maps
 * or pointers, and prints them as such. */
static const char *empty_text(const char *name)
{
    static const char lists[] =
        " Aliases Binds BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps "
        "BlkioDeviceWriteIOps BlkioWeightDevice CapAdd CapDrop Cmd DNSNames DeviceCgroupRules "
        "DeviceRequests Devices Dns DnsOptions DnsSearch Entrypoint Env ExecIDs ExtraHosts GroupAdd "
        "Layers Links MaskedPaths Mounts OnBuild ReadonlyPaths RepoDigests RepoTags SecurityOpt "
        "Shell Ulimits VolumesFrom Warnings ";
    static const char maps[] = " Annotations DriverOpts ExposedPorts Labels Networks Options "
                               "PortBindings Ports StorageOpt Sysctls Tmpfs Volumes ";
    static const char pointers[] = " Health Healthcheck IPAMConfig Init MemorySwappiness "
                                   "OomKillDisable PidsLimit ";
    AUTOFREE char *word = xasprintf(" %s ", name);

    if (strstr(lists, word))
        return "[]";
    if (strstr(maps, word))
        return "map[]";
    return strstr(pointers, word) ? "<nil>" : NULL;
}

int tvalue_member(const struct tvalue *v, const char *name, struct tvalue *ret)
{
    if (v->kind == TV_ROW) {
        for (size_t i = 0; v->row->names[i]; i++) {
            if (STREQ(v->row->names[i], name)) {
                *ret = TVALUE_STR(v->row->values[i] ? v->row->values[i] : "");
                return 1;
            }
        }
        return 0;
    }
    if (v->kind != TV_JSON || json_value_kind(v->json) != JV_OBJ)
        return -EINVAL;
    *ret = tvalue_from_json(json_value_get(v->json, name));
    if (ret->kind != TV_NIL)
        return 1;
    for (size_t i = 0; i < json_value_len(v->json); i++) { /* null, or not there? */
        const char *key = "";
        const struct json_value *member = json_value_member(v->json, i, &key);

        /* Go's names differ from JSON's in case: .APIVersion is "ApiVersion". */
        if (!strcasecmp(key, name)) {
            *ret = tvalue_from_json(member);
            ret->empty = empty_text(key);
            return 1;
        }
    }
    return 0;
}

/* --- Printing ---------------------------------------------------------------------------- */

struct key_index {
    const char *key;
    const struct json_value *value;
};

static int compare_keys(const void *a, const void *b)
{
    const struct key_index *ka = a, *kb = b;

    return strcmp(ka->key, kb->key);
}

static int print_json_kind(const struct json_value *v, struct buf *out);

static int print_object(const struct json_value *v, struct buf *out)
{
    size_t n = json_value_len(v);
    AUTOFREE struct key_index *members = xcalloc(n + 1, sizeof *members);
    int r = buf_puts(out, "map[");

    for (size_t i = 0; i < n; i++)
        members[i].value = json_value_member(v, i, &members[i].key);
    qsort(members, n, sizeof *members, compare_keys);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = buf_printf(out, "%s%s:", i ? " " : "", members[i].key);
        if (r == 0)
            r = print_json_kind(members[i].value, out);
    }
    return r < 0 ? r : buf_putc(out, ']');
}

static int print_json_kind(const struct json_value *v, struct buf *out)
{
    struct tvalue scalar;
    int r;

    if (json_value_kind(v) == JV_OBJ)
        return print_object(v, out);
    if (json_value_kind(v) != JV_LIST) {
        scalar = tvalue_from_json(v);
        return scalar.kind == TV_NIL ? buf_puts(out, "<nil>") : tvalue_print(&scalar, out);
    }
    r = buf_putc(out, '[');
    for (size_t i = 0; i < json_value_len(v) && r == 0; i++) {
        if (i)
            r = buf_putc(out, ' ');
        if (r == 0)
            r = print_json_kind(json_value_at(v, i), out);
    }
    return r < 0 ? r : buf_putc(out, ']');
}

static int print_row(const struct template_row *row, struct buf *out)
{
    int r = buf_putc(out, '{');

    for (size_t i = 0; row->names[i] && r == 0; i++)
        r = buf_printf(out, "%s%s", i ? " " : "", row->values[i] ? row->values[i] : "");
    return r < 0 ? r : buf_putc(out, '}');
}

int tvalue_print(const struct tvalue *v, struct buf *out)
{
    int r = 0;

    switch (v->kind) {
    case TV_NIL:
        return buf_puts(out, v->empty ? v->empty : "<no value>");
    case TV_STR:
        return buf_puts(out, v->s);
    case TV_INT:
        return buf_printf(out, "%" PRId64, v->i);
    case TV_FLOAT:
        /* Whole numbers of any size print as such; Go's %v would give 1e+06. */
        if (fabs(v->f) < 1e15 && floor(v->f) >= v->f && floor(v->f) <= v->f)
            return buf_printf(out, "%.0f", v->f);
        return buf_printf(out, "%.15g", v->f);
    case TV_BOOL:
        return buf_puts(out, v->i ? "true" : "false");
    case TV_JSON:
        return print_json_kind(v->json, out);
    case TV_ROW:
        return print_row(v->row, out);
    case TV_LIST:
        r = buf_putc(out, '[');
        for (size_t i = 0; i < v->n && r == 0; i++)
            r = buf_printf(out, "%s%s", i ? " " : "", v->list[i]);
        return r < 0 ? r : buf_putc(out, ']');
    }
    return r;
}

struct row_index {
    const char *name, *value;
};

static int compare_rows(const void *a, const void *b)
{
    const struct row_index *ra = a, *rb = b;

    return strcmp(ra->name, rb->name);
}

static void row_json(const struct template_row *row, struct jsonw *w)
{
    struct row_index fields[64] = {0};
    size_t n = 0;

    for (; n < ARRAY_SIZE(fields) && row->names[n]; n++)
        fields[n] = (struct row_index){row->names[n], row->values[n]};
    qsort(fields, n, sizeof *fields, compare_rows);
    jsonw_begin(w, NULL);
    for (size_t i = 0; i < n; i++)
        jsonw_str(w, fields[i].name, fields[i].value);
    jsonw_end(w);
}

int tvalue_print_json(const struct tvalue *v, struct buf *out)
{
    struct jsonw w = {.out = out};
    size_t before = out->len;

    switch (v->kind) {
    case TV_NIL:
        return buf_puts(out, "null");
    case TV_STR:
        json_quote(out, v->s, strlen(v->s));
        break;
    case TV_INT:
    case TV_BOOL:
    case TV_FLOAT:
        return tvalue_print(v, out);
    case TV_JSON:
        json_value_print(v->json, false, out);
        break;
    case TV_ROW:
        row_json(v->row, &w);
        break;
    case TV_LIST:
        jsonw_list_begin(&w, NULL);
        for (size_t i = 0; i < v->n; i++)
            jsonw_str(&w, NULL, v->list[i]);
        jsonw_list_end(&w);
        break;
    }
    return out->len > before ? 0 : -EFBIG;
}
