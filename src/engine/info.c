/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine says of itself and its host. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "engine/engine-priv.h"
#include "engine/isolation.h"
#include "engine/foreign.h"
#include "sys/cgroup.h"

/* A value of os-release(5), without its quotes; NULL when it is not there. */
static char *os_release(const char *key)
{
    AUTOFREE char *text = NULL;
    AUTOPTR(strv) char **lines = NULL;
    size_t n = strlen(key);

    if (fs_read_file(AT_FDCWD, "/etc/os-release", 64 << 10, &text, NULL) < 0)
        return NULL;
    lines = strv_split(text, "\n", true);
    for (size_t i = 0; lines[i]; i++) {
        char *value = lines[i] + n + 1;
        size_t len;

        if (strncmp(lines[i], key, n) != 0 || lines[i][n] != '=')
            continue;
        len = strlen(value);
        if (len >= 2 && value[0] == '"' && value[len - 1] == '"')
            return xstrndup(value + 1, len - 2);
        return xstrdup(value);
    }
    return NULL;
}

static size_t count_entries(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *de;
    size_t n = 0;

    while (d && (de = readdir(d)))
        n += de->d_name[0] != '.';
    if (d)
        (void)closedir(d);
    return n;
}

static void count_containers(struct engine *en, struct engine_info *i)
{
    struct container_list all = {0};

    if (engine_list(en, true, 0, NULL, &all, NULL) < 0)
        return;
    i->containers = all.len;
    for (size_t n = 0; n < all.len; n++) {
        i->running += all.items[n]->status == CONTAINER_RUNNING;
        i->paused += all.items[n]->status == CONTAINER_PAUSED;
    }
    i->stopped = i->containers - i->running - i->paused;
    container_list_done(&all);
}

static void add_runtimes(struct engine *en, struct engine_info *ret)
{
    AUTOPTR(strv) char **names = foreign_names(en);

    strv_push(&ret->runtimes, RUNTIME_NATIVE);
    strv_push(&ret->runtimes, en->monitor_program);
    for (size_t i = 0; names && names[i]; i++) {
        AUTOFREE char *program = foreign_program(en, names[i]);

        strv_push(&ret->runtimes, names[i]);
        strv_push(&ret->runtimes, program ? program : "");
    }
}

void engine_info(struct engine *en, struct engine_info *ret)
{
    struct utsname uts;
    struct sysinfo si;
    char host[256] = "";
    AUTOFREE char *forward = NULL;
    char **more;

    *ret = (struct engine_info){0};
    (void)memcpy(ret->id, en->id, sizeof(ret->id));
    count_containers(en, ret);
    ret->images = image_count(en->images);
    ret->rootfs_driver = rootfs_driver_name(en->rootfs);
    ret->rootfs_status = rootfs_status(en->rootfs);
    ret->log_driver = en->default_log_driver;
    ret->cgroup_driver = "cgroupfs";
    ret->cgroup_version = cgroup_host_layout() == CGROUP_V2 ? "2" : "1";
    (void)uname(&uts);
    ret->kernel_version = xstrdup(uts.release);
    ret->architecture = xstrdup(uts.machine);
    ret->operating_system = os_release("PRETTY_NAME");
    ret->os_version = os_release("VERSION_ID");
    ret->ncpu = sysconf(_SC_NPROCESSORS_ONLN);
    if (sysinfo(&si) == 0)
        ret->mem_total = (int64_t)si.totalram * si.mem_unit;
    ret->root = xstrdup(en->root);
    (void)gethostname(host, sizeof(host) - 1);
    ret->name = xstrdup(host);
    ret->insecure_registries = strv_copy(en->insecure_registries);
    ret->signature_policy = xstrdup(en->signature_policy ? en->signature_policy
                                                         : "/etc/containers/policy.json");
    image_registry_settings(en->images, &ret->registry_mirrors, &ret->http_proxy, &ret->https_proxy,
                            &ret->no_proxy);
    ret->labels = strv_copy(en->labels);
    ret->default_runtime = xstrdup(en->default_runtime);
    add_runtimes(en, ret);
    strv_push(&ret->security_options, "name=seccomp,profile=builtin");
    if (isolation_apparmor_is_on())
        strv_push(&ret->security_options, "name=apparmor");
    if (access("/sys/fs/selinux/enforce", F_OK) == 0)
        strv_push(&ret->security_options, "name=selinux");
    if (en->userns && !STREQ(en->userns, "host")) /* containers have user namespaces by default */
        strv_push(&ret->security_options, "name=userns");
    if (cgroup_host_layout() == CGROUP_V2)
        strv_push(&ret->security_options, "name=cgroupns");
    more = network_warnings(en->network);
    for (size_t i = 0; more && more[i]; i++)
        strv_push(&ret->warnings, more[i]);
    strv_free(more);
    ret->memory_limit = cgroup_has_controller("memory");
    ret->swap_limit = ret->memory_limit;
    ret->cpu_quota = ret->cpu_shares = cgroup_has_controller("cpu");
    ret->cpuset = cgroup_has_controller("cpuset");
    ret->pids_limit = cgroup_has_controller("pids");
    ret->oom_kill_disable = ret->memory_limit && cgroup_host_layout() != CGROUP_V2;
    ret->ipv4_forwarding = fs_read_file(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", 16, &forward,
                                        NULL) == 0 &&
                           forward[0] == '1';
    ret->debug = en->debug;
    ret->nfd = count_entries("/proc/self/fd");
    ret->nthreads = count_entries("/proc/self/task");
    ret->nevent_readers = atomic_load(&en->nevent_readers);
    ret->system_time = time_now_ns();
}

void engine_info_done(struct engine_info *i)
{
    free(i->kernel_version);
    free(i->operating_system);
    free(i->os_version);
    free(i->architecture);
    free(i->root);
    free(i->name);
    strv_free(i->insecure_registries);
    free(i->signature_policy);
    strv_free(i->registry_mirrors);
    free(i->http_proxy);
    free(i->https_proxy);
    free(i->no_proxy);
    strv_free(i->labels);
    strv_free(i->runtimes);
    free(i->default_runtime);
    strv_free(i->rootfs_status);
    strv_free(i->warnings);
    strv_free(i->security_options);
}

int engine_container_size(struct engine *en, const struct container_view *v, uint64_t *ret_rw,
                          uint64_t *ret_rootfs, struct error *e)
{
    AUTOPTR(image) struct image *img = NULL;
    AUTOPTR(container) struct container *c = NULL;
    int r = rootfs_size(en->rootfs, v->def->dir, ret_rw, e);

    /* One that was removed while it was measured has no size, not that of what was left. */
    if (r == 0)
        r = container_find(en, v->def->id, &c, e);
    if (r < 0)
        return r;
    *ret_rootfs = *ret_rw;
    if (image_get(en->images, v->def->image_id, &img, NULL) == 0)
        *ret_rootfs += img->size;
    return 0;
}
