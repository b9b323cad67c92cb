/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk quota rules as users write them: what `--disk-quota` and the API's DiskQuota take. Pure text
 * work, shared by the command line and the engine; nothing here touches a file system.
 *
 *     10g                  everything the container can write to, one budget
 *     /data=10g            the mount at /data; "/" is the root file system
 *     /&/a&/b=10g          these together, one budget
 *     /data.*=10g          an extended regular expression: each mount whose whole path it matches
 *     …=10g,inodes=100k    also (or only) a number of files
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

#define QUOTASPEC_ALL     ".*"
#define QUOTASPEC_ID_MIN  ((int64_t)1 << 24) /* an id of the user's must be above */
#define QUOTASPEC_ID_MAX  ((int64_t)UINT32_MAX - 1)
#define QUOTASPEC_KEY_MAX 4096

struct quota_limit {
    uint64_t bytes;  /* 0: no limit */
    uint64_t inodes; /* 0: no limit */
};

/* "10g", "10g,inodes=100k", "inodes=2000". Sizes have binary units, counts decimal ones. "0" alone
 * means no limit at all and is taken only with allow_none. */
int quotaspec_limit_parse(const char *text, bool allow_none, struct quota_limit *ret,
                          struct error *e) MUST_CHECK;

/* "1k", "5M": decimal units. -EINVAL, -ERANGE. */
int quotaspec_count_parse(const char *text, uint64_t *ret) MUST_CHECK;

/* One --disk-quota of the command line (rules separated by commas) into the API's map; *ret_bare is
 * set when there is a size without a path. A key that is there already is refused. */
int quotaspec_add(struct json_map *map, const char *text, bool *ret_bare,
                  struct error *e) MUST_CHECK;

struct quota_rule {
    char *key;      /* as given */
    char **paths;   /* "/&/a": the members; NULL for a pattern */
    char *pattern;  /* NULL for paths */
    void *compiled; /* regex_t, of a pattern */
    struct quota_limit limit;
};
struct quota_rules {
    struct quota_rule *items;
    size_t len;
};

/* Checks all of a map. ERR_INVALID names the rule. allow_none: "0" lifts a limit (update). */
int quotaspec_rules_parse(const struct json_map *map, bool allow_none, struct quota_rules *ret,
                          struct error *e) MUST_CHECK;
void quota_rules_done(struct quota_rules *r);

/*
 * The rule for a mount at `path`, or NULL. A path that is named wins over patterns, a longer pattern
 * over a shorter one, and ".*" comes last, whatever the order in which they were given.
 */
const struct quota_rule *quotaspec_match(const struct quota_rules *r, const char *path);

/* --quota-id: "" and "0" give 0 (ids are the engine's business), any negative number -1 (one id
 * from the pool), a number above 2^24 itself. */
int quotaspec_id_parse(const char *text, int64_t *ret, struct error *e) MUST_CHECK;
