/* SPDX-License-Identifier: Apache-2.0 */
/* The table of log drivers. A driver that writes files is written by pouch-monitor itself. */
#include "log/driver.h"

#include <stddef.h>

#include "base/str.h"

#define MAX_SIZE_DEFAULT  (20LL * 1000 * 1000)
#define MAX_FILES_DEFAULT 3
#define MAX_FILES_LIMIT   1000

/* max-size, at least one record of the longest line and not more than a file can be. */
static int parse_max_size(const char *value, int64_t *ret, struct error *e)
{
    int64_t size;

    if (STREQ(value, "-1")) {
        *ret = -1;
        return 0;
    }
    if (parse_size(value, &size) < 0 || size <= 0)
        return error_set(e, ERR_INVALID,
                         "log option max-size: '%s' is not a size (10m, 1g; -1: no "
                         "limit)",
                         value);
    *ret = size;
    return 0;
}

static int json_file_options(const struct json_map *opts, struct log_options *ret, struct error *e)
{
    struct log_options o = {.max_size = MAX_SIZE_DEFAULT, .max_files = MAX_FILES_DEFAULT};

    for (size_t i = 0; opts && i < opts->len; i++) {
        const char *key = opts->items[i].key, *value = opts->items[i].value;
        int r = 0;

        if (STREQ(key, "max-size"))
            r = parse_max_size(value, &o.max_size, e);
        else if (STREQ(key, "max-file")) {
            if (parse_u64(value, &o.max_files) < 0 || o.max_files < 1 ||
                o.max_files > MAX_FILES_LIMIT)
                r = error_set(e, ERR_INVALID,
                              "log option max-file: '%s' is not a number from 1 to %d", value,
                              MAX_FILES_LIMIT);
        } else {
            r = error_set(e, ERR_INVALID,
                          "unknown log opt '%s' for json-file log driver (known: max-size, "
                          "max-file)",
                          key);
        }
        if (r < 0)
            return r;
    }
    *ret = o;
    return 0;
}

static int none_options(const struct json_map *opts, struct log_options *ret, struct error *e)
{
    if (opts && opts->len > 0)
        return error_set(e, ERR_INVALID, "unknown log opt '%s' for none log driver",
                         opts->items[0].key);
    *ret = (struct log_options){.max_size = -1, .max_files = 1};
    return 0;
}

static const struct log_driver drivers[] = {
    {"json-file", true, true, json_file_options},
    {"none", false, false, none_options},
};

const struct log_driver *log_driver_find(const char *name)
{
    if (str_is_empty(name))
        name = LOG_DRIVER_DEFAULT;
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        if (STREQ(drivers[i].name, name))
            return &drivers[i];
    return NULL;
}

int log_driver_options(const char *driver, const struct json_map *opts, struct log_options *ret,
                       struct error *e)
{
    const struct log_driver *d = log_driver_find(driver);

    if (!d)
        return error_set(e, ERR_INVALID, "unknown log driver '%s' (there are: json-file, none)",
                         driver);
    return d->parse_options(opts, ret, e);
}
