/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of a container under another image. What the container has of its old image
 * comes from the new one instead; what it was given itself stays. Which is which is told by
 * comparing with the old image: a value that differs was given.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/health.h"

static const struct oci_image_config no_image;

static char *name_of(const char *assignment)
{
    return xstrndup(assignment, strcspn(assignment, "="));
}

/* Variables with the old image's value go; then the new image's come, unless the name is given
 * (with a value, or bare: taken away). */
static void merge_env(char ***env, char *const *old, char *const *new)
{
    char **kept = NULL;

    for (size_t i = 0; *env && (*env)[i]; i++)
        if (!strv_contains(old, (*env)[i]))
            strv_push(&kept, (*env)[i]);
    for (size_t i = 0; new &&new[i]; i++) {
        AUTOFREE char *name = name_of(new[i]);

        if (!env_get(kept, name) && !strv_contains(kept, name))
            strv_push(&kept, new[i]);
    }
    strv_free(*env);
    *env = kept;
}

static void merge_labels(struct json_map *labels, const struct json_map *old,
                         const struct json_map *new)
{
    struct json_map kept = {0};

    for (size_t i = 0; i < labels->len; i++) {
        const char *was = json_map_get(old, labels->items[i].key);

        if (!was || !STREQ(was, labels->items[i].value))
            json_map_set(&kept, labels->items[i].key, labels->items[i].value);
    }
    for (size_t i = 0; i < new->len; i++)
        if (!json_map_get(&kept, new->items[i].key))
            json_map_set(&kept, new->items[i].key, new->items[i].value);
    json_map_done(labels);
    *labels = kept;
}

/* Sets: the old image's members go, the new image's come. */
static void merge_set(char ***set, char *const *old, char *const *new)
{
    char **kept = NULL;

    for (size_t i = 0; *set && (*set)[i]; i++)
        if (!strv_contains(old, (*set)[i]))
            strv_push(&kept, (*set)[i]);
    for (size_t i = 0; new &&new[i]; i++)
        if (!strv_contains(kept, new[i]))
            strv_push(&kept, new[i]);
    strv_free(*set);
    *set = kept;
}

static void merge_text(char **text, const char *old, const char *new)
{
    if (STREQ(*text ? *text : "", old ? old : ""))
        str_replace(text, new);
}

static void merge_number(int64_t *value, int64_t old)
{
    if (*value == old)
        *value = 0; /* the new image's comes in health_merge() */
}

static void merge_health(struct container_config *c, const struct oci_image_config *old,
                         const struct oci_image_config *new)
{
    struct oci_healthcheck *h = c->healthcheck;

    if (h && old->healthcheck) {
        if (strv_equal(h->test, old->healthcheck->test)) {
            strv_free(h->test);
            h->test = NULL;
        }
        merge_number(&h->interval, old->healthcheck->interval);
        merge_number(&h->timeout, old->healthcheck->timeout);
        merge_number(&h->start_period, old->healthcheck->start_period);
        merge_number(&h->start_interval, old->healthcheck->start_interval);
        merge_number(&h->retries, old->healthcheck->retries);
    }
    health_merge(c, new);
    if (c->healthcheck && !strv_len(c->healthcheck->test)) { /* times without a check */
        json_free(&oci_healthcheck_json, c->healthcheck);
        free(c->healthcheck);
        c->healthcheck = NULL;
    }
}

static bool same_list(char *const *a, char *const *b)
{
    return (!strv_len(a) && !strv_len(b)) || strv_equal(a, b);
}

static void replace_list(char ***list, char *const *by)
{
    char **copy = strv_copy(by);

    strv_free(*list);
    *list = copy;
}

/*
 * What is run:
 *   given with the upgrade    an entrypoint replaces both, a command replaces the command
 *   the container's own       an entrypoint that is not the old image's stays, with its command; so
 *                             does a command that is not the old image's
 *   otherwise                 the new image's
 */
static void merge_command(struct container_config *c, const struct oci_image_config *old,
                          const struct oci_image_config *new, const struct container_upgrade *u)
{
    bool own_entrypoint = !same_list(c->entrypoint, old->entrypoint);
    bool own_cmd = !same_list(c->cmd, old->cmd);

    if (strv_len(u->entrypoint)) {
        replace_list(&c->entrypoint, u->entrypoint);
        replace_list(&c->cmd, u->cmd);
        return;
    }
    if (!own_entrypoint)
        replace_list(&c->entrypoint, new->entrypoint);
    if (strv_len(u->cmd))
        replace_list(&c->cmd, u->cmd);
    else if (!own_entrypoint && !own_cmd)
        replace_list(&c->cmd, new->cmd);
}

/* Volumes of the new image at places where the container has nothing yet. */
static int add_volumes(struct container_definition *next, char *const *declared,
                       struct volume_mounts *added, struct error *e)
{
    AUTOPTR(strv) char **volumes = rich_volumes(&next->config, declared);
    AUTOPTR(strv) char **missing = NULL;
    struct volume_request req = {0};
    int r;

    for (size_t i = 0; volumes && volumes[i]; i++) {
        bool there = false;

        for (size_t j = 0; j < next->mounts.len && !there; j++)
            there = STREQ(next->mounts.items[j].destination, volumes[i]);
        if (!there)
            strv_push(&missing, volumes[i]);
    }
    if (!missing)
        return 0;
    req.volumes = missing;
    r = volume_mounts_parse(&req, added, e);
    return r;
}

int upgrade_definition(const struct container_definition *old, const struct image *old_image,
                       const struct image *img, const struct container_upgrade *request,
                       struct container_definition **ret, struct volume_mounts *ret_added,
                       struct error *e)
{
    const struct oci_image_config *was = old_image ? &old_image->doc.config : &no_image;
    const struct oci_image_config *is = &img->doc.config;
    struct container_definition *next = container_def_copy(old);
    struct container_config *c = &next->config;
    int r;

    str_replace(&next->image_id, img->id);
    str_replace(&next->image_ref, request->image);
    str_replace(&c->image, request->image);
    merge_env(&c->env, was->env, is->env);
    merge_labels(&c->labels, &was->labels, &is->labels);
    merge_set(&c->exposed_ports, was->exposed_ports, is->exposed_ports);
    merge_set(&c->volumes, was->volumes, is->volumes);
    merge_text(&c->user, was->user, is->user);
    merge_text(&c->working_dir, was->working_dir, is->working_dir);
    merge_text(&c->stop_signal, was->stop_signal, is->stop_signal);
    if (same_list(c->shell, was->shell))
        replace_list(&c->shell, is->shell);
    merge_health(c, was, is);
    merge_command(c, was, is, request);
    str_replace(&next->path, NULL);
    strv_free(next->args);
    next->args = NULL;
    r = create_fill_command(next, e);
    if (r == 0)
        r = add_volumes(next, is->volumes, ret_added, e);
    if (r < 0) {
        container_def_free(next);
        return r;
    }
    *ret = next;
    return 0;
}
