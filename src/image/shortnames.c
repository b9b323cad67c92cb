/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short names: what a name without a registry may stand for. Docker's rule (Docker Hub) holds
 * unless registries.conf has an alias for it or names unqualified-search-registries.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/image-priv.h"
#include "image/registries.h"
#include "oci/reference.h"

bool image_name_is_short(const char *name)
{
    size_t n = strcspn(name, "/");
    AUTOFREE char *first = xstrndup(name, n);

    if (str_has_prefix(name, "sha256:"))
        return false;
    if (name[n] != '/')
        return true;
    for (const char *c = first; *c; c++)
        if (*c == '.' || *c == ':' || (*c >= 'A' && *c <= 'Z'))
            return false;
    return !STREQ(first, "localhost");
}

int image_short_names(const struct image_store *s, const char *name, char ***ret, struct error *e)
{
    CLEANUP(registries_conf_done) struct registries_conf conf = {0};
    size_t n = strcspn(name, ":@");
    AUTOFREE char *bare = xstrndup(name, n);
    int r;

    *ret = NULL;
    if (!image_name_is_short(name))
        return 0;
    r = registries_conf_load(registries_folder(s->registries), &conf, e);
    if (r < 0)
        return r;
    const char *alias = json_map_get(&conf.aliases, bare);
    if (!str_is_empty(alias)) {
        strv_pushf(ret, "%s%s", alias, name + n);
        return 0;
    }
    if (conf.short_name_mode && STREQ(conf.short_name_mode, "enforcing") &&
        strv_len(conf.search) > 1)
        return error_set(
            e, ERR_INVALID,
            "short name \"%s\" could be of several registries (%s has short-name-mode "
            "enforcing and %zu unqualified-search-registries): write the registry too, "
            "or define an alias",
            name, registries_folder(s->registries), strv_len(conf.search));
    for (size_t i = 0; conf.search && conf.search[i]; i++)
        strv_pushf(ret, "%s/%s", conf.search[i], name);
    return 0;
}
