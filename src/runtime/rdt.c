/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.intelRdt: shares of caches and memory bandwidth, by the kernel's resctrl file system. A
 * class is a folder there with the file "schemata" (what it gets) and "tasks" (who gets it); a
 * monitoring group is a folder below its "mon_groups". All of it is done by the stage, on the host.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "runtime/runtime-priv.h"

#define RDT_MAGIC   0x7655821
#define RDT_DEFAULT "/sys/fs/resctrl"

/* Where resctrl is mounted; NULL: nowhere. */
static char *find_root(void)
{
    AUTOFREE char *text = NULL;
    char *save = NULL;
    struct statfs s;

    if (statfs(RDT_DEFAULT, &s) == 0 && (long)s.f_type == RDT_MAGIC)
        return xstrdup(RDT_DEFAULT);
    if (fs_read_file(AT_FDCWD, "/proc/self/mountinfo", 16u << 20, &text, NULL) < 0)
        return NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char mount[256];

        if (strstr(line, " - resctrl ") && sscanf(line, "%*s %*s %*s %*s %255s", mount) == 1)
            return xstrdup(mount);
    }
    return NULL;
}

static bool has_schemata(const struct oci_intel_rdt *rdt)
{
    return !str_is_empty(rdt->l3_cache_schema) || !str_is_empty(rdt->mem_bw_schema) ||
           strv_len(rdt->schemata) > 0;
}

/* The next letter of a schema ("L3:0=00f;1=f"): spaces and leading zeros of numbers, in which the
 * kernel's words and the user's differ, are passed over. */
static char next_letter(const char **at, char before)
{
    const char *p = *at;
    bool number = strchr("=:;", before) != NULL; /* also before = NUL: the start */

    while (*p == ' ' || *p == '\t' || (number && *p == '0' && isxdigit((unsigned char)p[1])))
        p++;
    *at = *p ? p + 1 : p;
    return *p;
}

static bool same_schema(const char *a, const char *b)
{
    char x = '\0', y = '\0';

    do {
        x = next_letter(&a, x);
        y = next_letter(&b, y);
    } while (x == y && x);
    return x == y;
}

/* A class that was there has to be what is asked for: others may be in it. */
static int compare_schema(const char *now, const char *want, const char *dir, struct error *e)
{
    AUTOPTR(strv) char **lines = strv_split(now, "\n", true);

    for (size_t i = 0; lines && lines[i]; i++)
        if (same_schema(lines[i], want))
            return 0;
    return error_set(e, ERR_CONFLICT,
                     "linux.intelRdt: the class %s is there already and does not have \"%s\"", dir,
                     want);
}

static int write_line(const char *file, const char *line, struct error *e)
{
    AUTOFREE char *text = xasprintf("%s\n", line);
    int r = fs_write_existing(AT_FDCWD, file, text);

    return r < 0 ? error_set_errno(e, r, "linux.intelRdt: cannot write \"%s\" to %s", line, file)
                 : 0;
}

/* The lines in the specification's order; compared instead where the class was there. */
static int put_schemata(const struct oci_intel_rdt *rdt, const char *dir, bool made,
                        struct error *e)
{
    AUTOFREE char *file = xasprintf("%s/schemata", dir);
    AUTOFREE char *now = NULL;
    const char *first[] = {rdt->l3_cache_schema, rdt->mem_bw_schema};
    int r = made ? 0 : fs_read_file(AT_FDCWD, file, 65536, &now, NULL);

    if (r < 0)
        return error_set_errno(e, r, "linux.intelRdt: cannot read %s", file);
    for (size_t i = 0; i < ARRAY_SIZE(first) && r == 0; i++)
        if (!str_is_empty(first[i]))
            r = made ? write_line(file, first[i], e) : compare_schema(now, first[i], dir, e);
    for (size_t i = 0; rdt->schemata && rdt->schemata[i] && r == 0; i++)
        r = made ? write_line(file, rdt->schemata[i], e)
                 : compare_schema(now, rdt->schemata[i], dir, e);
    return r;
}

static char *class_dir(const struct oci_intel_rdt *rdt, const char *root, const char *id)
{
    const char *name = str_is_empty(rdt->clos_id) ? id : rdt->clos_id;

    return STREQ(name, "/") ? xstrdup(root) : xasprintf("%s/%s", root, name);
}

static int put_task(const char *dir, pid_t pid, struct error *e)
{
    AUTOFREE char *file = xasprintf("%s/tasks", dir);
    char text[16];
    int r;

    (void)snprintf(text, sizeof(text), "%d", pid);
    r = fs_write_existing(AT_FDCWD, file, text);
    return r < 0 ? error_set_errno(e, r, "linux.intelRdt: cannot add the container to %s", file)
                 : 0;
}

static int make_class(const struct oci_intel_rdt *rdt, const char *dir, bool *made, struct error *e)
{
    struct stat st;

    if (!str_is_empty(rdt->clos_id) && !has_schemata(rdt)) {
        if (stat(dir, &st) < 0)
            return error_set(e, ERR_NOT_FOUND,
                             "linux.intelRdt.closID: there is no class \"%s\" (%s), and no schema "
                             "to make one of",
                             rdt->clos_id, dir);
        return 0;
    }
    *made = mkdir(dir, 0755) == 0;
    if (!*made && errno == ENOSPC)
        return error_set(e, ERR_UNAVAILABLE,
                         "linux.intelRdt: the processor has no class left for %s", dir);
    if (!*made && errno != EEXIST)
        return error_set_errno(e, errno, "linux.intelRdt: cannot create %s", dir);
    return 0;
}

int rdt_apply_at(const char *root, const struct oci_intel_rdt *rdt, const char *id, pid_t pid,
                 struct error *e)
{
    AUTOFREE char *dir = class_dir(rdt, root, id);
    AUTOFREE char *mon = xasprintf("%s/mon_groups/%s", dir, id);
    bool made = false;
    int r = make_class(rdt, dir, &made, e);

    if (r < 0)
        return r;
    if (has_schemata(rdt))
        r = put_schemata(rdt, dir, made, e);
    if (r == 0)
        r = put_task(dir, pid, e);
    if (r == 0 && rdt->enable_monitoring) {
        if (mkdir(mon, 0755) < 0)
            r = error_set_errno(e, errno, "linux.intelRdt: cannot create monitoring group %s", mon);
        else
            r = put_task(mon, pid, e);
        if (r < 0)
            (void)rmdir(mon);
    }
    if (r < 0 && made)
        (void)rmdir(dir);
    return r;
}

void rdt_remove_at(const char *root, const struct oci_intel_rdt *rdt, const char *id)
{
    AUTOFREE char *dir = class_dir(rdt, root, id);
    AUTOFREE char *mon = xasprintf("%s/mon_groups/%s", dir, id);

    if (rdt->enable_monitoring)
        (void)rmdir(mon);
    if (str_is_empty(rdt->clos_id))
        (void)rmdir(dir);
}

int rdt_apply(const struct oci_spec *spec, const char *id, pid_t pid, struct error *e)
{
    AUTOFREE char *root = NULL;

    if (!spec->linux->intel_rdt)
        return 0;
    root = find_root();
    if (!root)
        return error_set(e, ERR_UNAVAILABLE,
                         "linux.intelRdt: no resctrl file system is mounted (the processor must "
                         "know it: mount -t resctrl resctrl " RDT_DEFAULT ")");
    return rdt_apply_at(root, spec->linux->intel_rdt, id, pid, e);
}

void runtime_rdt_remove(const struct oci_spec *spec, const char *id)
{
    AUTOFREE char *root = spec->linux && spec->linux->intel_rdt ? find_root() : NULL;

    if (root)
        rdt_remove_at(root, spec->linux->intel_rdt, id);
}

int runtime_rdt_update(const struct oci_spec *spec, const char *id, const char *l3_cache,
                       const char *mem_bw, struct error *e)
{
    const struct oci_intel_rdt *rdt = spec->linux ? spec->linux->intel_rdt : NULL;
    struct oci_intel_rdt change = {.l3_cache_schema = (char *)(uintptr_t)l3_cache,
                                   .mem_bw_schema = (char *)(uintptr_t)mem_bw};
    AUTOFREE char *root = rdt ? find_root() : NULL;
    AUTOFREE char *dir = NULL;

    if (!root)
        return error_set(e, ERR_CONFLICT, "the container has no linux.intelRdt to change");
    if ((l3_cache && strchr(l3_cache, '\n')) || (mem_bw && strchr(mem_bw, '\n')))
        return error_set(e, ERR_INVALID, "linux.intelRdt: a schema holds a line break");
    dir = class_dir(rdt, root, id);
    return put_schemata(&change, dir, true, e);
}

/* --- exec ---------------------------------------------------------------------------------- */

int rdt_open_like(pid_t init_pid, int fds[RDT_FDS])
{
    AUTOFREE char *root = NULL;
    AUTOFREE char *text = NULL;
    AUTOPTR(strv) char **lines = NULL;
    const char *class = "", *mon = "";
    char path[64];

    for (size_t i = 0; i < RDT_FDS; i++)
        fds[i] = -EBADF;
    /* "res:/class\nmon:group\n"; not there on most machines, and empty while resctrl is not
     * mounted. */
    (void)snprintf(path, sizeof(path), "/proc/%d/cpu_resctrl_groups", init_pid);
    if (fs_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return 0;
    lines = strv_split(text, "\n", true);
    for (size_t i = 0; lines && lines[i]; i++) {
        if (str_has_prefix(lines[i], "res:/"))
            class = lines[i] + 5;
        else if (str_has_prefix(lines[i], "mon:"))
            mon = lines[i] + 4;
    }
    if (!*class && !*mon)
        return 0; /* the default class, where everybody is born */
    root = find_root();
    if (root) {
        AUTOFREE char *tasks = xasprintf("%s/%s/tasks", root, class);
        AUTOFREE char *group = xasprintf("%s/%s/mon_groups/%s/tasks", root, class, mon);

        fds[0] = open(tasks, O_WRONLY | O_CLOEXEC);
        if (*mon)
            fds[1] = open(group, O_WRONLY | O_CLOEXEC);
        if (fds[0] < 0 || (*mon && fds[1] < 0))
            return -errno;
    }
    return 0;
}

int rdt_join(int fds[RDT_FDS], pid_t pid)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d", pid);
    int r = 0;

    for (size_t i = 0; i < RDT_FDS; i++) {
        if (fds[i] < 0)
            continue;
        if (pid > 0 && write(fds[i], text, (size_t)n) != n)
            r = -errno;
        close(fds[i]);
        fds[i] = -EBADF;
    }
    return r;
}
