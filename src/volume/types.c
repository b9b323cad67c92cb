/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON tables of volume.h. */
#include <stdlib.h>

#include "volume/volume-priv.h"

static const struct json_field bind_fields[] = {
    JSON_FIELD(struct volume_bind_options, propagation, "Propagation", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_bind_options, non_recursive, "NonRecursive", JSON_BOOL,
               JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_bind_options, create_mountpoint, "CreateMountpoint", JSON_BOOL,
               JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_bind_options, read_only_non_recursive, "ReadOnlyNonRecursive",
               JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_bind_options, read_only_force_recursive, "ReadOnlyForceRecursive",
               JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_END,
};
static const struct json_desc bind_json = {"BindOptions", sizeof(struct volume_bind_options),
                                           bind_fields};

static const struct json_field driver_fields[] = {
    JSON_FIELD(struct volume_driver_config, name, "Name", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_driver_config, options, "Options", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_END,
};
static const struct json_desc driver_json = {"DriverConfig", sizeof(struct volume_driver_config),
                                             driver_fields};

static const struct json_field volume_options_fields[] = {
    JSON_FIELD(struct volume_volume_options, no_copy, "NoCopy", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_volume_options, labels, "Labels", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_volume_options, subpath, "Subpath", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD_SUB(struct volume_volume_options, driver, "DriverConfig", JSON_OBJ, JSON_OMIT_EMPTY,
                   &driver_json),
    JSON_END,
};
static const struct json_desc volume_options_json = {"VolumeOptions",
                                                     sizeof(struct volume_volume_options),
                                                     volume_options_fields};

static const struct json_field tmpfs_fields[] = {
    JSON_FIELD(struct volume_tmpfs_options, size_bytes, "SizeBytes", JSON_INT, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_tmpfs_options, mode, "Mode", JSON_INT, JSON_OMIT_EMPTY),
    JSON_END,
};
static const struct json_desc tmpfs_json = {"TmpfsOptions", sizeof(struct volume_tmpfs_options),
                                            tmpfs_fields};

static const struct json_field request_fields[] = {
    JSON_FIELD(struct volume_mount_request, type, "Type", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount_request, source, "Source", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount_request, target, "Target", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount_request, read_only, "ReadOnly", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount_request, consistency, "Consistency", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD_SUB(struct volume_mount_request, bind, "BindOptions", JSON_OBJ_PTR, JSON_OMIT_EMPTY,
                   &bind_json),
    JSON_FIELD_SUB(struct volume_mount_request, volume, "VolumeOptions", JSON_OBJ_PTR,
                   JSON_OMIT_EMPTY, &volume_options_json),
    JSON_FIELD_SUB(struct volume_mount_request, tmpfs, "TmpfsOptions", JSON_OBJ_PTR,
                   JSON_OMIT_EMPTY, &tmpfs_json),
    JSON_END,
};
const struct json_desc volume_mount_request_json = {"Mount", sizeof(struct volume_mount_request),
                                                    request_fields};

static const struct json_field volume_fields[] = {
    JSON_FIELD(struct volume, created, "CreatedAt", JSON_TIME, 0),
    JSON_FIELD(struct volume, driver, "Driver", JSON_STR, 0),
    JSON_FIELD(struct volume, labels, "Labels", JSON_STR_MAP, JSON_NULL_EMPTY),
    JSON_FIELD(struct volume, mountpoint, "Mountpoint", JSON_STR, 0),
    JSON_FIELD(struct volume, name, "Name", JSON_STR, 0),
    JSON_FIELD(struct volume, options, "Options", JSON_STR_MAP, JSON_NULL_EMPTY),
    JSON_FIELD(struct volume, scope, "Scope", JSON_STR, 0),
    JSON_END,
};
const struct json_desc volume_json = {"Volume", sizeof(struct volume), volume_fields};

void volume_done(struct volume *v)
{
    json_free(&volume_json, v);
    v->anonymous = false;
}

static const struct json_field mount_fields[] = {
    JSON_FIELD(struct volume_mount, type, "type", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, name, "name", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, source, "source", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, destination, "destination", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, driver, "driver", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, mode, "mode", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, rw, "rw", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, propagation, "propagation", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, options, "options", JSON_STRV, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, no_copy, "noCopy", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, anonymous, "anonymous", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, make_source, "makeSource", JSON_BOOL, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, labels, "labels", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_FIELD(struct volume_mount, driver_opts, "driverOpts", JSON_STR_MAP, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc volume_mount_json = {"mount", sizeof(struct volume_mount), mount_fields};

void volume_mounts_done(struct volume_mounts *m)
{
    for (size_t i = 0; i < m->len; i++)
        json_free(&volume_mount_json, &m->items[i]);
    free(m->items);
    *m = (struct volume_mounts){.items = NULL};
}
