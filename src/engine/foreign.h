/* SPDX-License-Identifier: Apache-2.0 */
/* Runtimes other than our own (runc, crun, runsc, lxc …), each chosen for a container. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/macros.h"
#include "engine/engine.h"

struct seccomp_filter;

#define RUNTIME_NATIVE "pouch"

bool runtime_is_foreign(const char *name);

/* Names that can be used: configured ones and well-known ones that are installed. The caller frees
 * the list; NULL when there is none. */
char **foreign_names(const struct engine *en) MUST_CHECK;
/* The program behind a name; NULL when it is missing. The caller frees it. */
char *foreign_program(const struct engine *en, const char *name) MUST_CHECK;

/* The configuration is sound and the default runtime exists. */
int foreign_check(const struct engine *en, struct error *e) MUST_CHECK;
/* The container's runtime exists, and can do what is asked. */
int foreign_validate(const struct engine *en, const struct host_config *hc,
                     struct error *e) MUST_CHECK;

/* Writes the bundle's RUNTIME_ARGV_FILE. */
int foreign_prepare(struct engine *en, const struct container_definition *def, const char *bundle,
                    struct error *e) MUST_CHECK;
/* The filter as the specification's linux.seccomp; *ret stays NULL when unconfined. */
int foreign_seccomp(const struct engine *en, const struct host_config *hc,
                    struct seccomp_filter **ret, struct error *e) MUST_CHECK;
/* Has the runtime forget the container and what it made; nothing when the bundle is our own
 * runtime's. Blocks (bounded). */
void foreign_delete(const char *bundle, const char *id);
