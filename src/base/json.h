/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON mapped to C structs by one descriptor table a type: parsing, validation with the path of
 * the bad field, defaults, printing, freeing, copying.
 *
 *     struct port { char *host_ip; uint64_t host_port; };
 *     static const struct json_field port_fields[] = {
 *         JSON_FIELD(struct port, host_ip, "HostIp", JSON_STR, JSON_OMIT_EMPTY),
 *         JSON_FIELD(struct port, host_port, "HostPort", JSON_UINT, 0),
 *         JSON_END,
 *     };
 *     const struct json_desc port_json = {"port", sizeof(struct port), port_fields};
 *
 * Reading is strict about syntax (no duplicate keys, no NaN, no trailing text, depth at most 64)
 * and about types; unknown fields are ignored (Docker's and OCI's open schema). A zeroed struct is
 * a valid empty object. JSON null means absent. The library (json-c) is hidden in json.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"

enum json_kind {
    JSON_STR,       /* char * */
    JSON_BOOL,      /* bool */
    JSON_INT,       /* int64_t */
    JSON_UINT,      /* uint64_t */
    JSON_OPT_BOOL,  /* struct opt_bool */
    JSON_OPT_INT,   /* struct opt_int */
    JSON_OPT_UINT,  /* struct opt_uint */
    JSON_TIME,      /* int64_t, ns since the epoch, RFC 3339 text in JSON */
    JSON_STRV,      /* char **; a single string is taken as a list of one with JSON_STR_OR_LIST */
    JSON_STR_MAP,   /* struct json_map: object of strings, order kept */
    JSON_KEY_SET,   /* char **: object whose keys count ({"80/tcp":{}}) */
    JSON_OBJ,       /* embedded struct */
    JSON_OBJ_PTR,   /* struct *; NULL when absent */
    JSON_OBJ_LIST,  /* struct json_list of structs */
    JSON_OBJ_MAP,   /* struct json_list of structs whose FIRST field is `char *key` (the name) */
    JSON_LIST_MAP,  /* struct json_list of struct json_named_list: object of lists of structs */
    JSON_UINT_LIST, /* struct json_list of uint64_t */
    JSON_RAW,       /* char *: the JSON text itself, whatever it is */
    JSON_KIND_MAX
};

struct opt_bool {
    bool set;
    bool value;
};
struct opt_int {
    bool set;
    int64_t value;
};
struct opt_uint {
    bool set;
    uint64_t value;
};

struct json_pair {
    char *key;
    char *value;
};
struct json_map {
    struct json_pair *items;
    size_t len;
};
struct json_list {
    void *items; /* array of the sub type's structs */
    size_t len;
};
struct json_named_list {
    char *key;
    struct json_list list;
};

enum {
    JSON_OMIT_EMPTY = 1 << 0,  /* not printed when zero, false, NULL or of length 0 */
    JSON_REQUIRED = 1 << 1,    /* parsing fails when absent or null */
    JSON_STR_OR_LIST = 1 << 2, /* JSON_STRV: a plain string is a list of one */
    JSON_NULL_EMPTY = 1 << 3,  /* printed as null (not [] or {} or "") when NULL or of length 0 */
    JSON_LENIENT_NUM = 1 << 4, /* numbers may come as decimal strings */
    JSON_STR_IN_JSON = 1 << 5, /* JSON_INT/UINT printed as a string */
    JSON_NULL_KEPT = 1 << 6,   /* JSON_STRV: NULL is printed as null, an empty list as [] */
};

struct json_desc;
struct json_field {
    const char *name; /* NULL ends the table */
    enum json_kind kind;
    unsigned flags;
    size_t offset;
    const struct json_desc *sub; /* JSON_OBJ…, JSON_LIST_MAP */
    const char *const *choices;  /* JSON_STR: NULL-ended list of allowed values, or NULL */
};
struct json_desc {
    const char *name; /* for messages */
    size_t size;
    const struct json_field *fields;
};

#define JSON_FIELD(type, member, json_name, kind_, flags_)                                         \
    {                                                                                              \
        .name = (json_name), .kind = (kind_), .flags = (flags_), .offset = offsetof(type, member)  \
    }
#define JSON_FIELD_SUB(type, member, json_name, kind_, flags_, subtype)                            \
    {                                                                                              \
        .name = (json_name), .kind = (kind_), .flags = (flags_), .offset = offsetof(type, member), \
        .sub = (subtype)                                                                           \
    }
#define JSON_FIELD_CHOICE(type, member, json_name, flags_, choices_)                               \
    {                                                                                              \
        .name = (json_name), .kind = JSON_STR, .flags = (flags_),                                  \
        .offset = offsetof(type, member), .choices = (choices_)                                    \
    }
#define JSON_END                                                                                   \
    {                                                                                              \
        .name = NULL                                                                               \
    }

/*
 * Fills *obj (which must be zeroed or hold defaults; fields absent in the text keep their value).
 * On failure everything in *obj is freed and zeroed. ERR_INVALID names the path ("HostConfig.
 * PortBindings.80/tcp[0].HostPort: expected a string, got a number") or the syntax error's offset.
 */
int json_parse(const struct json_desc *type, const char *text, size_t len, void *obj,
               struct error *e) MUST_CHECK;

/* Appends the object as compact JSON. -EFBIG when the buffer's maximum is passed. */
int json_print(const struct json_desc *type, const void *obj, struct buf *out);
/* The same as a string the caller frees. */
char *json_print_str(const struct json_desc *type, const void *obj) MUST_CHECK;

/* Frees what the fields own and zeroes the struct (not the struct's own memory). */
void json_free(const struct json_desc *type, void *obj);

/* Deep copy into *dst, which is overwritten. */
void json_copy(const struct json_desc *type, void *dst, const void *src);

/* Maps and lists by hand. */
const char *json_map_get(const struct json_map *m, const char *key);
void json_map_set(struct json_map *m, const char *key, const char *value);
void json_map_done(struct json_map *m);
/* Appends a zeroed item of `size` bytes and returns it (valid until the next append). */
void *json_list_add(struct json_list *l, size_t size) __attribute__((returns_nonnull));

/* --- Writing JSON piece by piece, for answers that have no struct ------------------------- */

/* Commas are the writer's business. key NULL inside lists and at the top. */
struct jsonw {
    struct buf *out;
    bool need_comma;
};
void jsonw_begin(struct jsonw *w, const char *key);                  /* { */
void jsonw_end(struct jsonw *w);                                     /* } */
void jsonw_list_begin(struct jsonw *w, const char *key);             /* [ */
void jsonw_list_end(struct jsonw *w);                                /* ] */
void jsonw_str(struct jsonw *w, const char *key, const char *value); /* NULL prints "" */
void jsonw_int(struct jsonw *w, const char *key, int64_t value);
void jsonw_uint(struct jsonw *w, const char *key, uint64_t value);
void jsonw_bool(struct jsonw *w, const char *key, bool value);
void jsonw_null(struct jsonw *w, const char *key);
void jsonw_time(struct jsonw *w, const char *key, int64_t ns); /* RFC 3339 */
void jsonw_strv(struct jsonw *w, const char *key, char *const *v);
void jsonw_map(struct jsonw *w, const char *key, const struct json_map *m);
void jsonw_obj(struct jsonw *w, const char *key, const struct json_desc *type, const void *obj);
void jsonw_raw(struct jsonw *w, const char *key, const char *json_text);

/* Appends s quoted and escaped (invalid UTF-8 bytes become U+FFFD). */
void json_quote(struct buf *out, const char *s, size_t len);

/* --- JSON of unknown shape (filters, templates of the CLI) -------------------------------- */

struct json_value; /* a parsed text and everything in it */
enum json_value_kind { JV_NULL, JV_BOOL, JV_INT, JV_DOUBLE, JV_STR, JV_LIST, JV_OBJ };

int json_value_parse(const char *text, size_t len, struct json_value **ret,
                     struct error *e) MUST_CHECK;
void json_value_free(struct json_value *v); /* only of what json_value_parse() gave */
DEFINE_AUTOPTR(struct json_value, json_value)

/* The rest borrows from the parsed root. */
enum json_value_kind json_value_kind(const struct json_value *v); /* NULL is JV_NULL */
const struct json_value *json_value_get(const struct json_value *obj, const char *key);
const struct json_value *json_value_at(const struct json_value *list, size_t i);
size_t json_value_len(const struct json_value *v); /* of lists, objects, strings */
/* i-th member in the order of the text; ret_key may be NULL. */
const struct json_value *json_value_member(const struct json_value *obj, size_t i,
                                           const char **ret_key);
const char *json_value_str(const struct json_value *v); /* NULL when not a string */
int64_t json_value_int(const struct json_value *v);     /* 0 when not a number */
double json_value_double(const struct json_value *v);
bool json_value_bool(const struct json_value *v);
/* Compact, or indented as `docker inspect` does with four spaces. */
void json_value_print(const struct json_value *v, bool pretty, struct buf *out);
