/* SPDX-License-Identifier: Apache-2.0 */
/* Which cgroup hierarchies the host has and where; reading and writing their files. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "sys/cgroup-priv.h"

#define TOP "/sys/fs/cgroup"

static struct cgroup_host host;
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

static bool is_fs(const char *path, long magic)
{
    struct statfs s;

    return statfs(path, &s) == 0 && (long)s.f_type == magic;
}

/* Where the hierarchy with this controller list ("cpu,cpuacct", "name=systemd") is mounted by
 * convention, without reading the mount table, which can be long. */
static char *find_by_name(const char *list, const char *one)
{
    const char *const tries[] = {str_has_prefix(list, "name=") ? list + 5 : list, one};

    for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
        char *path = xasprintf(TOP "/%s", tries[i]);

        if (is_fs(path, CGROUP_SUPER_MAGIC))
            return path;
        free(path);
    }
    return NULL;
}

/* The unusual places: the mount table is asked. fstype "cgroup" with the controller among its
 * super options, or "cgroup2". */
static char *find_in_mounts(const char *fstype, const char *controller)
{
    AUTOFREE char *text = NULL;
    char *save = NULL;

    if (fs_read_file(AT_FDCWD, "/proc/self/mountinfo", 16u << 20, &text, NULL) < 0)
        return NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *tail = strstr(line, " - ");
        char mount[256], type[32], options[256];

        if (!tail || sscanf(line, "%*s %*s %*s %*s %255s", mount) != 1 ||
            sscanf(tail, " - %31s %*s %255s", type, options) != 2 || !STREQ(type, fstype))
            continue;
        if (controller) {
            AUTOPTR(strv) char **words = strv_split(options, ",", true);
            AUTOFREE char *named = xasprintf("name=%s", controller);

            if (!strv_contains(words, controller) && !strv_contains(words, named))
                continue;
        }
        return xstrdup(mount);
    }
    return NULL;
}

/* A line of /proc/self/cgroup: "4:cpu,cpuacct:/path". */
static void add_line(char *line)
{
    char *list = strchr(line, ':');
    char *end = list ? strchr(list + 1, ':') : NULL;
    AUTOPTR(strv) char **controllers = NULL;

    if (!end)
        return;
    *end = '\0';
    list++;
    if (!*list)
        return; /* the unified one */
    controllers = strv_split(list, ",", true);
    for (size_t i = 0; controllers && controllers[i]; i++) {
        const char *name = controllers[i];
        char *mount;

        if (str_has_prefix(name, "name="))
            name += 5;
        mount = find_by_name(list, name);
        if (!mount)
            mount = find_in_mounts("cgroup", name);
        if (mount && host.nv1 < CGROUP_HIERARCHIES_MAX)
            host.v1[host.nv1++] = (struct cgroup_hierarchy){xstrdup(name), mount};
        else
            free(mount);
    }
}

static void find_host(void)
{
    AUTOFREE char *text = NULL;
    char *save = NULL;
    char *ctrl = NULL;

    host.unified_ctrl = "";
    if (is_fs(TOP, CGROUP2_SUPER_MAGIC)) {
        host.unified = TOP;
        host.layout = CGROUP_V2;
    } else {
        if (is_fs(TOP "/unified", CGROUP2_SUPER_MAGIC))
            host.unified = TOP "/unified";
        if (fs_read_file(AT_FDCWD, "/proc/self/cgroup", 1u << 20, &text, NULL) == 0)
            for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
                add_line(l);
        if (!host.unified)
            host.unified = find_in_mounts("cgroup2", NULL);
        host.layout = host.nv1 ? (host.unified ? CGROUP_HYBRID : CGROUP_V1)
                               : (host.unified ? CGROUP_V2 : CGROUP_NONE);
    }
    if (host.unified) {
        AUTOFREE char *file = xasprintf("%s/cgroup.controllers", host.unified);

        if (fs_read_file(AT_FDCWD, file, 4096, &ctrl, NULL) == 0)
            host.unified_ctrl = ctrl;
    }
}

int cgroup_provide_unified(const char *folder)
{
    AUTOFREE char *found = NULL;
    int r;

    if (is_fs(TOP, CGROUP2_SUPER_MAGIC) || is_fs(TOP "/unified", CGROUP2_SUPER_MAGIC))
        return 0;
    found = find_in_mounts("cgroup2", NULL);
    if (found)
        return STREQ(found, folder);
    r = fs_mkdir_p(folder, 0700);
    if (r < 0)
        return r;
    if (mount("cgroup2", folder, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0)
        return 2;
    r = -errno;
    (void)rmdir(folder);
    return r;
}

void cgroup_withdraw_unified(const char *folder)
{
    if (umount2(folder, UMOUNT_NOFOLLOW) == 0)
        (void)rmdir(folder);
}

const struct cgroup_host *cgroup_host(void)
{
    (void)pthread_once(&host_once, find_host);
    return &host;
}

enum cgroup_layout cgroup_host_layout(void)
{
    return cgroup_host()->layout;
}

const char *cgroup_mount_point(const char *controller)
{
    const struct cgroup_host *h = cgroup_host();

    if (!*controller)
        return h->unified;
    for (size_t i = 0; i < h->nv1; i++)
        if (STREQ(h->v1[i].controller, controller))
            return h->v1[i].mount;
    return NULL;
}

const char *cgroup_v1_name(size_t i)
{
    return i < cgroup_host()->nv1 ? cgroup_host()->v1[i].controller : NULL;
}

bool cgroup_has_controller(const char *name)
{
    const struct cgroup_host *h = cgroup_host();
    AUTOPTR(strv) char **words = NULL;

    if (h->layout != CGROUP_V2 && cgroup_mount_point(name))
        return true;
    if (!h->unified)
        return false;
    if (h->layout == CGROUP_V2 && (STREQ(name, "devices") || STREQ(name, "freezer")))
        return true;
    words = strv_split(h->unified_ctrl, " \n", true);
    return strv_contains(words, STREQ(name, "blkio") && h->layout == CGROUP_V2 ? "io" : name);
}

int cgroup_file(char out[CGROUP_PATH_MAX], const char *mount, const char *path, const char *file)
{
    int n = snprintf(out, CGROUP_PATH_MAX, "%s%s%s%s%s", mount, *path == '/' ? "" : "/", path,
                     file ? "/" : "", file ? file : "");

    return n >= CGROUP_PATH_MAX ? -ENAMETOOLONG : 0;
}

int cgroup_read(const char *controller, const char *path, const char *file, char **ret)
{
    const char *mount = cgroup_mount_point(controller);
    char name[CGROUP_PATH_MAX];
    int r = mount ? cgroup_file(name, mount, path, file) : -ENOENT;

    return r < 0 ? r : fs_read_file(AT_FDCWD, name, 4u << 20, ret, NULL);
}

int cgroup_write(const char *controller, const char *path, const char *file, const char *text)
{
    const char *mount = cgroup_mount_point(controller);
    char name[CGROUP_PATH_MAX];
    int r = mount ? cgroup_file(name, mount, path, file) : -ENOENT;

    return r < 0 ? r : fs_write_existing(AT_FDCWD, name, text);
}

int cgroup_read_u64(const char *controller, const char *path, const char *file, uint64_t *ret)
{
    AUTOFREE char *text = NULL;
    int r = cgroup_read(controller, path, file, &text);

    if (r < 0)
        return r;
    text[strcspn(text, "\n")] = '\0';
    if (STREQ(text, "max") || STREQ(text, "-1")) {
        *ret = UINT64_MAX;
        return 0;
    }
    return parse_u64(text, ret);
}

bool cgroup_key_u64(const char *text, const char *key, uint64_t *ret)
{
    size_t n = strlen(key);

    for (const char *p = text; p; p = strchr(p, '\n')) {
        if (*p == '\n')
            p++;
        if (strncmp(p, key, n) == 0 && p[n] == ' ') {
            *ret = strtoull(p + n + 1, NULL, 10);
            return true;
        }
    }
    return false;
}
