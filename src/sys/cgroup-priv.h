/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of sys/cgroup. */
#pragma once

#include "sys/cgroup.h"

/* One mounted v1 hierarchy, or a further controller of the same one. */
struct cgroup_hierarchy {
    const char *controller; /* as named in /proc/self/cgroup, "systemd" for name=systemd */
    const char *mount;      /* NULL: not mounted */
};
#define CGROUP_HIERARCHIES_MAX 24

struct cgroup_host {
    enum cgroup_layout layout;
    struct cgroup_hierarchy v1[CGROUP_HIERARCHIES_MAX];
    size_t nv1;
    const char *unified;      /* mount point, NULL: none */
    const char *unified_ctrl; /* content of the root's cgroup.controllers, "" when none */
};
/* Found once; never NULL. */
const struct cgroup_host *cgroup_host(void);

/* "<mount><path>[/file]" in out; -ENAMETOOLONG. */
#define CGROUP_PATH_MAX 512
int cgroup_file(char out[CGROUP_PATH_MAX], const char *mount, const char *path, const char *file);

/* Reads a small file of the cgroup ("" controller: unified). *ret is the caller's. */
int cgroup_read(const char *controller, const char *path, const char *file, char **ret) MUST_CHECK;
int cgroup_write(const char *controller, const char *path, const char *file,
                 const char *text) MUST_CHECK;
/* A file that holds one number ("max" is UINT64_MAX); -errno. */
int cgroup_read_u64(const char *controller, const char *path, const char *file,
                    uint64_t *ret) MUST_CHECK;
/* The number behind "key " in a flat keyed file's text; false when it is not there. */
bool cgroup_key_u64(const char *text, const char *key, uint64_t *ret);

/* The same hierarchies a container has its directories in: v1 controllers by index. */
bool cgroup_v1_wanted(const char *controller, const struct cgroup_resources *r);

/* Limits into an existing cgroup. */
int cgroup_apply_v1(const char *path, const struct cgroup_resources *r, bool update,
                    char ***warnings, struct error *e) MUST_CHECK;
int cgroup_apply_v2(const char *path, const struct cgroup_resources *r, char ***warnings,
                    struct error *e) MUST_CHECK;

/* Makes the directory of one hierarchy, with what a new one needs to be joined. */
int cgroup_make_dir(const char *mount, const char *path, const char *controller,
                    struct error *e) MUST_CHECK;
/* Makes the directories that r needs and a living container does not have yet, and moves its
 * processes into them (cgroup-change.c). */
int cgroup_extend_v1(const char *path, const struct cgroup_resources *r,
                     struct error *e) MUST_CHECK;
/* The BPF program of device rules, loaded; -ENODATA when they allow everything. */
int cgroup_devices_program(const struct json_list *rules, struct error *e) MUST_CHECK;
/* The cgroup's directory of the unified hierarchy, opened for BPF. */
int cgroup_devices_dir(const char *path, struct error *e) MUST_CHECK;

/* Device rules: v1 by files; v2 by a BPF program attached to the directory. */
int cgroup_devices_v1(const char *path, const struct json_list *rules, struct error *e) MUST_CHECK;
int cgroup_devices_v2(const char *path, const struct json_list *rules, struct error *e) MUST_CHECK;
