/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of volume/. */
#pragma once

#include "volume/volume.h"

#define VOLUME_DRIVER_LOCAL    "local"
#define VOLUME_LABEL_ANONYMOUS "com.docker.volume.anonymous"

/* ERR_INVALID in Docker's words when a volume cannot have this name. */
int volume_name_check(const char *name, struct error *e) MUST_CHECK;

/* Only "local" exists. */
int volume_driver_check(const char *driver, struct error *e) MUST_CHECK;

/* The local driver's options: none; or type=none, o=bind, device=/host/folder; or size, inodes. */
int volume_options_check(const struct json_map *options, struct error *e) MUST_CHECK;

/* The folder with the content: `_data`, or the host folder of the bind option. */
char *volume_source(const struct volume *v) MUST_CHECK;

/* The volume no longer goes with this container. None of that name, or another's: nothing is done. */
int volume_disown(struct volume_store *vs, const char *name, const char *container_id,
                  struct error *e) MUST_CHECK;

/* One at a time copies the image's content into a volume that it has a reference on. True: nobody else
 * uses the volume, and who comes meanwhile waits in volume_fill_wait(). */
bool volume_fill_begin(struct volume_store *vs, const char *name,
                       const char *container_id) MUST_CHECK;
void volume_fill_end(struct volume_store *vs, const char *name);
void volume_fill_wait(struct volume_store *vs, const char *name);

/* volume_ref() that says whether the reference was not there before. */
bool volume_ref_new(struct volume_store *vs, const char *name, const char *container_id);
