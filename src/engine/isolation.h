/* SPDX-License-Identifier: Apache-2.0 */
/* Options that keep tenants apart: checks, and what they become in the specification. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "engine/types.h"

struct cgroup_resources;
struct oci_linux;
struct oci_process;
struct oci_spec;

/* The value of "name=value" (or the older "name:value"); NULL when opt is another option. */
const char *security_option(const char *opt, const char *name);

/* memory.high and its kin, CPU burst. */
int isolation_check_limits(const struct host_config *hc, struct error *e) MUST_CHECK;
/* Everything here that a request may say and that this host must be able to do. */
int isolation_check(const struct container_config *config, struct host_config *hc, char ***warnings,
                    struct error *e) MUST_CHECK;
int isolation_check_paths(const char *option, const char *value, bool patterns,
                          struct error *e) MUST_CHECK;
int isolation_check_apparmor(const char *profile, struct error *e) MUST_CHECK;

bool isolation_apparmor_is_on(void);

/* memory.high and its kin, CPU burst, nproc. */
void isolation_resources(const struct json_list *ulimits, const struct host_config *hc,
                         struct cgroup_resources *res);
/* net_prio of a container in the host's network. */
void isolation_net_priority(const struct container_config *config, const struct host_config *hc,
                            struct cgroup_resources *res);
/* The pids limit that stands for --ulimit nproc, of the container or the engine's; 0: none. */
int64_t isolation_nproc(const struct json_list *defaults, const struct host_config *hc);
/* mask=, unmask=, systempaths= change the two lists, which are owned. */
void isolation_paths(const struct host_config *hc, char ***masked, char ***readonly);
/* AppArmor's profile and SELinux's label of a process; of the root file system. */
int isolation_process(const struct host_config *hc, struct oci_process *p,
                      struct error *e) MUST_CHECK;
int isolation_mount_label(const struct host_config *hc, struct oci_spec *s,
                          struct error *e) MUST_CHECK;
void isolation_rdt(const struct host_config *hc, struct oci_linux *l);

/* Takes the group of resctrl away that was named after the container. */
void isolation_rdt_remove(const char *id);

/* For tests. */
int isolation_labels(char *const *security_opt, char **ret_process, char **ret_file,
                     struct error *e) MUST_CHECK;
bool apparmor_has_profile(const char *list, const char *name);
int rdt_schema_check(const char *text, struct error *e) MUST_CHECK;
int rdt_host_check(const char *dir, struct error *e) MUST_CHECK;
