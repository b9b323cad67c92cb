/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User namespaces: what --userns says, which host ids a container gets, from where.
 *
 * The first half works on texts and numbers alone (userns-map.c); the second (userns.c) keeps the
 * ranges that were given in the database. Any thread; no locks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

#define USERNS_DEFAULT_SIZE 65536
#define USERNS_EXTENTS_MAX  340 /* the kernel's limit of lines in a map */
#define USERNS_ID_MAX       UINT64_C(4294967294)

/* --- one mapping ----------------------------------------------------------------------------- */

struct id_extent {
    uint64_t container, host, size;
};
struct id_map {
    struct id_extent *items; /* sorted by container id, no overlaps */
    size_t len;
};
void id_map_done(struct id_map *m);
void id_map_copy(const struct id_map *from, struct id_map *ret);
/* "CONTAINER:HOST:SIZE" each. ERR_INVALID names what is wrong: numbers, overlaps on either side. */
int id_map_parse(char *const *texts, struct id_map *ret, struct error *e) MUST_CHECK;
char **id_map_print(const struct id_map *m);
/* These container ids get other host ids, whatever they had before. -E2BIG: too many pieces. */
int id_map_overlay(struct id_map *m, const struct id_extent *x) MUST_CHECK;

/* --- what --userns says ---------------------------------------------------------------------- */

enum userns_kind {
    USERNS_HOST,      /* none of its own */
    USERNS_AUTO,      /* a range of the pool, with pieces laid over it (keep) */
    USERNS_MAP,       /* as the user says */
    USERNS_CONTAINER, /* that of another container */
};
struct userns_mode {
    enum userns_kind kind;
    uint64_t size;         /* AUTO */
    struct id_map uid_map; /* MAP: all of it; AUTO: laid over the range */
    struct id_map gid_map;
    const char *container; /* CONTAINER: borrowed from the text */
};
void userns_mode_done(struct userns_mode *m);
/*
 * "", "host", "auto[:size=N][,uidmapping=C:H:N][,gidmapping=C:H:N]", "keep:UID[:GID]" (Podman's
 * "keep-id:uid=…,gid=…" too), "container:NAME", or a map "C:H:N[,C:H:N…]" for users and groups.
 */
int userns_mode_parse(const char *text, struct userns_mode *ret, struct error *e) MUST_CHECK;

/* --- the pool -------------------------------------------------------------------------------- */

struct id_range {
    uint64_t first, size;
};
struct id_ranges {
    struct id_range *items; /* sorted, no overlaps */
    size_t len;
};
void id_ranges_done(struct id_ranges *r);
void id_ranges_add(struct id_ranges *r, uint64_t first, uint64_t size);
/* Takes [first, first + size) out. */
void id_ranges_remove(struct id_ranges *r, uint64_t first, uint64_t size);
/* What is in both. */
void id_ranges_intersect(const struct id_ranges *a, const struct id_ranges *b,
                         struct id_ranges *ret);
bool id_ranges_overlap(const struct id_ranges *r, uint64_t first, uint64_t size);

/* "FIRST:SIZE" as in /etc/subuid. */
int id_range_parse(const char *text, struct id_range *ret, struct error *e) MUST_CHECK;
/* The lines of a subuid file: those of the users `names` (NULL-ended) are added to *ours, all
 * others to *others. Lines that make no sense are passed over, as newuidmap does. */
void subid_parse(const char *text, const char *const *names, struct id_ranges *ours,
                 struct id_ranges *others);

/*
 * A free place for `size` ids in the pool. used: given already, sorted by first. Tries behind all
 * that is given before it fills gaps, so that an id comes back as late as possible. -ENOSPC.
 */
int userns_pool_fit(const struct id_ranges *pool, const struct id_range *used, size_t nused,
                    uint64_t size, uint64_t *ret) MUST_CHECK;

/* --- userns.c -------------------------------------------------------------------------------- */

struct store;
struct engine;
struct host_config;
struct container_definition;
struct start_context;
struct oci_spec;

int userns_migrate(struct store *s, struct error *e) MUST_CHECK;
/* At start: checks the settings; ranges of containers that were never finished go back. */
int userns_open(struct engine *en, struct error *e) MUST_CHECK;

/* Is the request sound? Fills the engine's default mode in. */
int userns_check(struct engine *en, struct host_config *hc, struct error *e) MUST_CHECK;
/* A new container's ids into its id_mappings. They go back when its record is deleted, or by
 * userns_release() when it never got one. */
int userns_assign(struct engine *en, struct container_definition *def, struct error *e) MUST_CHECK;
void userns_release(struct engine *en, const char *id);
/* Has this container a user namespace of its own, or shared? */
bool userns_is_on(const struct host_config *hc);
/* At a start: the process whose user namespace is joined, when one is. */
int userns_resolve(struct start_context *ctx, struct error *e) MUST_CHECK;
/* For mounts that come to a running container: the options of one, comma-separated, and the path of
 * the node to bind for a device. The caller frees. */
struct volume_mount;
struct container;
char *userns_mount_options(const struct engine *en, const struct container_definition *def,
                           const struct volume_mount *m);
int userns_device_node(const struct container *c, const struct container_definition *def,
                       const char *host_path, char **ret, struct error *e) MUST_CHECK;
/* Namespace, maps and what follows from them, into a specification that is complete but for it. */
int userns_fill(const struct start_context *ctx, struct oci_spec *s, struct error *e) MUST_CHECK;
