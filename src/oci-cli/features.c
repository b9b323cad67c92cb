/* SPDX-License-Identifier: Apache-2.0 */
/* features: what this runtime can do, told by the tables that do it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "oci-cli/criu.h"
#include "oci-cli/oci-cli.h"
#include "oci/spec.h"
#include "runtime/runtime.h"
#include "sys/caps.h"
#include "sys/cgroup.h"
#include "sys/mount-api.h"
#include "sys/seccomp.h"

static void list_names(struct jsonw *w, const char *key, const char *(*name)(size_t i))
{
    AUTOPTR(strv) char **v = NULL;

    for (size_t i = 0; name(i); i++)
        strv_push(&v, name(i));
    jsonw_strv(w, key, v);
}

static void list_runtime(struct jsonw *w, const char *key, enum runtime_names which)
{
    AUTOPTR(strv) char **v = NULL;

    for (size_t i = 0; runtime_name(which, i); i++)
        strv_push(&v, runtime_name(which, i));
    jsonw_strv(w, key, v);
}

static const char *hook_name(size_t i)
{
    return i < RUNTIME_HOOK_MAX ? runtime_hook_name((enum runtime_hook)i) : NULL;
}

static const char *capability_name(size_t i)
{
    return i <= caps_last() ? caps_name((unsigned)i) : NULL;
}

static void enabled(struct jsonw *w, const char *key, bool on)
{
    jsonw_begin(w, key);
    jsonw_bool(w, "enabled", on);
    jsonw_end(w);
}

static void print_cgroup(struct jsonw *w)
{
    jsonw_begin(w, "cgroup");
    jsonw_bool(w, "v1", true);
    jsonw_bool(w, "v2", true);
    jsonw_bool(w, "systemd", true);
    jsonw_bool(w, "systemdUser", false);
    jsonw_bool(w, "rdma", true);
    jsonw_end(w);
}

static void print_seccomp(struct jsonw *w)
{
    jsonw_begin(w, "seccomp");
    jsonw_bool(w, "enabled", true);
    list_names(w, "actions", seccomp_action_name);
    list_names(w, "operators", seccomp_operator_name);
    list_names(w, "archs", seccomp_arch_name);
    jsonw_strv(w, "knownFlags", (char *const *)seccomp_flag_names);
    jsonw_strv(w, "supportedFlags", (char *const *)seccomp_flag_names);
    jsonw_end(w);
}

static void print_linux(struct jsonw *w)
{
    jsonw_begin(w, "linux");
    jsonw_strv(w, "namespaces", (char *const *)oci_namespace_types);
    list_names(w, "capabilities", capability_name);
    print_cgroup(w);
    print_seccomp(w);
    enabled(w, "apparmor", true);
    enabled(w, "selinux", true);
    jsonw_begin(w, "intelRdt");
    jsonw_bool(w, "enabled", true);
    jsonw_bool(w, "schemata", true);
    jsonw_bool(w, "monitoring", true);
    jsonw_end(w);
    jsonw_begin(w, "memoryPolicy");
    list_runtime(w, "modes", RUNTIME_MEMORY_MODES);
    list_runtime(w, "flags", RUNTIME_MEMORY_FLAGS);
    jsonw_end(w);
    jsonw_begin(w, "mountExtensions");
    enabled(w, "idmap", true);
    jsonw_end(w);
    enabled(w, "netDevices", true);
    jsonw_end(w);
}

int cmd_features(struct options *o, struct error *e)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {&out, false};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "ociVersionMin", "1.0.0");
    jsonw_str(&w, "ociVersionMax", OCI_RUNTIME_SPEC_VERSION);
    list_names(&w, "hooks", hook_name);
    list_names(&w, "mountOptions", mount_option_name);
    print_linux(&w);
    jsonw_begin(&w, "annotations");
    jsonw_str(&w, "pouch.version", POUCH_VERSION);
    /* As runc has it; here it tells whether criu is installed and new enough. */
    jsonw_str(&w, "org.opencontainers.runc.checkpoint.enabled",
              criu_check(NULL) == 0 ? "true" : "false");
    jsonw_end(&w);
    jsonw_list_begin(&w, "potentiallyUnsafeConfigAnnotations");
    jsonw_list_end(&w);
    jsonw_end(&w);
    printf("%s\n", buf_str(&out));
    return 0;
}
