/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of a cgroup that has processes: hierarchies it lacked so far, device rules. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "sys/cgroup-priv.h"

char *cgroup_read_parent(const char *controller, const char *path, const char *file)
{
    AUTOFREE char *parent = xstrdup(path);
    char *slash = strrchr(parent, '/');
    char *text = NULL;

    if (!slash)
        return NULL;
    *slash = '\0';
    if (cgroup_read(controller, *parent ? parent : "/", file, &text) < 0)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

/* --- v1: further hierarchies ---------------------------------------------------------------- */

#define MOVE_ROUNDS 20

/* Moves every process into the new directory; those that fork meanwhile are found the next time. */
static int move_all(const char *controller, const char *path, struct error *e)
{
    size_t moved = 1;
    int r = 0;

    for (int round = 0; r == 0 && moved && round < MOVE_ROUNDS; round++) {
        AUTOFREE pid_t *pids = NULL;
        AUTOFREE char *inside = NULL;
        size_t n = 0;

        moved = 0;
        r = cgroup_pids(path, &pids, &n, e);
        if (r == 0)
            r = cgroup_read(controller, path, "cgroup.procs", &inside);
        for (size_t i = 0; r == 0 && i < n; i++) {
            char line[24], pid[16];

            (void)snprintf(line, sizeof(line), "\n%d\n", (int)pids[i]);
            (void)snprintf(pid, sizeof(pid), "%d", (int)pids[i]);
            if (strstr(inside, line) || strncmp(inside, line + 1, strlen(line + 1)) == 0)
                continue;
            r = cgroup_write(controller, path, "cgroup.procs", pid);
            if (r == -ESRCH)
                r = 0;
            moved++;
        }
    }
    return r < 0 ? error_set_errno(e, r, "cannot move the container's processes into its %s cgroup",
                                   controller)
                 : 0;
}

int cgroup_extend_v1(const char *path, const struct cgroup_resources *r, struct error *e)
{
    const struct cgroup_host *h = cgroup_host();
    int err = 0;

    for (size_t i = 0; err == 0 && i < h->nv1; i++) {
        const struct cgroup_hierarchy *v1 = &h->v1[i];
        char dir[CGROUP_PATH_MAX];

        if (!v1->mount || !cgroup_v1_wanted(v1->controller, r) ||
            STREQ(v1->controller, "freezer") || cgroup_file(dir, v1->mount, path, NULL) < 0 ||
            access(dir, F_OK) == 0)
            continue;
        err = cgroup_make_dir(v1->mount, path, v1->controller, e);
        if (err == 0)
            err = move_all(v1->controller, path, e);
    }
    return err;
}

/* --- devices --------------------------------------------------------------------------------- */

static bool same_number(const struct opt_int *a, const struct opt_int *b)
{
    int64_t x = a->set ? a->value : -1;
    int64_t y = b->set ? b->value : -1;

    return x == y;
}

static bool same_device(const struct cgroup_device *a, const struct cgroup_device *b)
{
    return STREQ(a->type ? a->type : "a", b->type ? b->type : "a") &&
           same_number(&a->major, &b->major) && same_number(&a->minor, &b->minor);
}

static bool has_rule(const struct json_list *rules, const struct cgroup_device *d, bool exact)
{
    const struct cgroup_device *r = rules->items;

    for (size_t i = 0; i < rules->len; i++)
        if (r[i].allow == d->allow && same_device(&r[i], d) &&
            (!exact || STREQ(r[i].access ? r[i].access : "rwm", d->access ? d->access : "rwm")))
            return true;
    return false;
}

/*
 * v1: only what differs is written, as the list cannot be replaced in one go. What loses a rule is
 * denied, and then gets again what other rules for the same numbers allow.
 */
static int change_v1(const char *path, const struct json_list *from, const struct json_list *to,
                     struct error *e)
{
    const struct cgroup_device *f = from->items;
    const struct cgroup_device *t = to->items;
    struct json_list write = {0};
    int r;

    for (size_t i = 0; i < from->len; i++) {
        struct cgroup_device *d;

        if (!f[i].allow || has_rule(to, &f[i], true))
            continue;
        d = json_list_add(&write, sizeof(*d));
        *d = f[i];
        d->allow = false;
        d->access = NULL;
    }
    for (size_t i = 0, denied = write.len; i < to->len; i++) {
        const struct json_list taken = {write.items, denied};
        struct cgroup_device probe = t[i];

        probe.allow = false;
        if (t[i].allow && (!has_rule(from, &t[i], true) || has_rule(&taken, &probe, false))) {
            struct cgroup_device *d = json_list_add(&write, sizeof(*d));

            *d = t[i];
        }
    }
    r = cgroup_devices_v1(path, &write, e);
    free(write.items); /* the texts are borrowed */
    return r;
}

#define PROGRAMS_MAX 16

static int attached(int dir, uint32_t ids[PROGRAMS_MAX], size_t *ret_n)
{
    union bpf_attr attr = {0};

    attr.query.target_fd = (uint32_t)dir;
    attr.query.attach_type = BPF_CGROUP_DEVICE;
    attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
    attr.query.prog_cnt = PROGRAMS_MAX;
    if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)) < 0)
        return -errno;
    *ret_n = attr.query.prog_cnt;
    return 0;
}

static int program_by_id(uint32_t id)
{
    union bpf_attr attr = {0};
    long fd;

    attr.prog_id = id;
    fd = syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
    return fd < 0 ? -errno : (int)fd;
}

static int detach(int dir, int prog)
{
    union bpf_attr attr = {0};

    attr.target_fd = (uint32_t)dir;
    attr.attach_bpf_fd = (uint32_t)prog;
    attr.attach_type = BPF_CGROUP_DEVICE;
    return syscall(SYS_bpf, BPF_PROG_DETACH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

/* replace >= 0: takes that one's place in one step (Linux 5.6). */
static int attach(int dir, int prog, int replace)
{
    union bpf_attr attr = {0};

    attr.target_fd = (uint32_t)dir;
    attr.attach_bpf_fd = (uint32_t)prog;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    if (replace >= 0) {
        attr.attach_flags |= BPF_F_REPLACE;
        attr.replace_bpf_fd = (uint32_t)replace;
    }
    return syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

/* A new program in the old one's place. Several, or an old kernel: first the new one, then the old
 * ones go; in between only what both allow is allowed. */
static int change_v2(const char *path, const struct json_list *to, struct error *e)
{
    AUTOFD int prog = cgroup_devices_program(to, e);
    AUTOFD int dir = -EBADF;
    uint32_t ids[PROGRAMS_MAX];
    size_t n = 0;
    int r;

    if (prog < 0 && prog != -ENODATA)
        return prog;
    dir = cgroup_devices_dir(path, e);
    if (dir < 0)
        return dir;
    r = attached(dir, ids, &n);
    if (r == 0 && prog >= 0 && n == 1) {
        AUTOFD int old = program_by_id(ids[0]);

        if (old >= 0 && attach(dir, prog, old) == 0)
            return 0;
    }
    if (r == 0 && prog >= 0)
        r = attach(dir, prog, -EBADF);
    for (size_t i = 0; r == 0 && i < n; i++) {
        AUTOFD int old = program_by_id(ids[i]);

        r = old < 0 ? old : detach(dir, old);
    }
    return r < 0 ? error_set_errno(e, r, "cannot change the device rules of cgroup %s", path) : 0;
}

int cgroup_devices_change(const char *path, const struct json_list *from,
                          const struct json_list *to, struct error *e)
{
    if (cgroup_host()->layout == CGROUP_V2)
        return change_v2(path, to, e);
    return change_v1(path, from, to, e);
}
