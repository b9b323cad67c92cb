/* SPDX-License-Identifier: Apache-2.0 */
/* Disk quota rules from any text: what is taken must be whole, and matching must come to an end. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/quotaspec.h"
#include "base/strv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_map map = {0};
    struct quota_rules rules = {0};
    struct quota_limit limit;
    struct error e = ERROR_INIT;
    AUTOFREE char *text = xstrndup((const char *)data, size > 2048 ? 2048 : size);
    bool bare = false;
    int64_t id;

    if (quotaspec_add(&map, text, &bare, &e) == 0) {
        assert(map.len > 0);
        if (quotaspec_rules_parse(&map, false, &rules, &e) == 0) {
            assert(rules.len == map.len);
            for (size_t i = 0; i < rules.len; i++) {
                assert(rules.items[i].limit.bytes || rules.items[i].limit.inodes);
                assert(!rules.items[i].paths != !rules.items[i].compiled);
                for (char **p = rules.items[i].paths; p && *p; p++)
                    assert(quotaspec_match(&rules, *p) == &rules.items[i]);
            }
            (void)quotaspec_match(&rules, "/var/lib/data");
            (void)quotaspec_match(&rules, text);
        }
    }
    error_done(&e);
    quota_rules_done(&rules);
    json_map_done(&map);
    (void)!quotaspec_limit_parse(text, true, &limit, &e);
    error_done(&e);
    (void)!quotaspec_id_parse(text, &id, &e);
    error_done(&e);
    return 0;
}
