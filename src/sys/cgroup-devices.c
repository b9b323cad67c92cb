/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a cgroup may use. v1 has files; on v2 a BPF program of type CGROUP_DEVICE, built
 * here instruction by instruction, decides. Rules come in order and the last that matches wins; a
 * device that none matches is allowed, as in a new cgroup.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "sys/cgroup-priv.h"

static bool matches_all(const struct cgroup_device *d)
{
    return str_is_empty(d->type) || STREQ(d->type, "a");
}

static int check_rule(const struct cgroup_device *d, struct error *e)
{
    const char *access = str_is_empty(d->access) ? "rwm" : d->access;

    if (!matches_all(d) && !STREQ(d->type, "c") && !STREQ(d->type, "b"))
        return error_set(e, ERR_INVALID, "device rule: unknown type \"%s\" (a, b or c)", d->type);
    if (access[strspn(access, "rwm")])
        return error_set(e, ERR_INVALID, "device rule: unknown access \"%s\" (of r, w, m)", access);
    return 0;
}

static void number_or_star(char out[24], const struct opt_int *v)
{
    if (v->set && v->value >= 0)
        (void)snprintf(out, 24, "%" PRId64, v->value);
    else
        (void)snprintf(out, 24, "*");
}

/* A rule a write; the file is opened at the first. */
static int write_rule(int *fd, const char *mount, const char *path, const char *file,
                      const char *text)
{
    char name[CGROUP_PATH_MAX];
    int r = *fd < 0 ? cgroup_file(name, mount, path, file) : 0;

    if (r == 0 && *fd < 0) {
        *fd = open(name, O_WRONLY | O_CLOEXEC);
        r = *fd < 0 ? -errno : 0;
    }
    return r == 0 && write(*fd, text, strlen(text)) < 0 ? -errno : r;
}

int cgroup_devices_v1(const char *path, const struct json_list *rules, struct error *e)
{
    const struct cgroup_device *d = rules->items;
    const char *mount = cgroup_mount_point("devices");
    AUTOFD int allow = -EBADF;
    AUTOFD int deny = -EBADF;
    size_t first = 0;

    for (size_t i = 0; i < rules->len; i++) {
        int r = check_rule(&d[i], e);

        if (r < 0)
            return r;
        if (matches_all(&d[i]))
            first = i; /* what stands before it has no effect */
    }
    for (size_t i = first; i < rules->len; i++) {
        char text[80], major[24], minor[24];
        int r;

        number_or_star(major, &d[i].major);
        number_or_star(minor, &d[i].minor);
        if (matches_all(&d[i]))
            (void)snprintf(text, sizeof(text), "a");
        else
            (void)snprintf(text, sizeof(text), "%s %s:%s %s", d[i].type, major, minor,
                           str_is_empty(d[i].access) ? "rwm" : d[i].access);
        r = mount ? write_rule(d[i].allow ? &allow : &deny, mount, path,
                               d[i].allow ? "devices.allow" : "devices.deny", text)
                  : -ENOENT;
        if (r == -ENOENT)
            return 0; /* no devices hierarchy: nothing can be forbidden */
        if (r < 0)
            return error_set_errno(e, r, "cannot set device rule \"%s\"", text);
    }
    return 0;
}

/* --- v2 ------------------------------------------------------------------------------------ */

#define PROGRAM_MAX 4096

struct program {
    struct bpf_insn insns[PROGRAM_MAX];
    size_t n;
};

static void emit(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off,
                 int32_t imm)
{
    if (p->n < PROGRAM_MAX)
        p->insns[p->n] = (struct bpf_insn){code, dst, src, off, imm};
    p->n++;
}

/* r1: context {access_type, major, minor}; → r2 type, r3 access, r4 major, r5 minor. */
static void emit_prologue(struct program *p)
{
    emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, 0, 0);
    emit(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
    emit(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
    emit(p, BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
    emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1, 4, 0);
    emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1, 8, 0);
}

static void emit_verdict(struct program *p, bool allow)
{
    emit(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, allow ? 1 : 0);
    emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int32_t access_bits(const char *access)
{
    int32_t bits = 0;

    if (str_is_empty(access))
        return BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
    bits |= strchr(access, 'm') ? BPF_DEVCG_ACC_MKNOD : 0;
    bits |= strchr(access, 'r') ? BPF_DEVCG_ACC_READ : 0;
    bits |= strchr(access, 'w') ? BPF_DEVCG_ACC_WRITE : 0;
    return bits;
}

/*
 * One rule: jumps over its verdict when anything differs. An allowing rule must cover every access
 * asked for; a denying one matches when it forbids any of them.
 */
static void emit_rule(struct program *p, const struct cgroup_device *d)
{
    int32_t bits = access_bits(d->access);
    bool some = bits != (BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE);
    bool major = d->major.set && d->major.value >= 0, minor = d->minor.set && d->minor.value >= 0;
    bool type = !matches_all(d);
    /* instructions from the first test to the verdict's end */
    int left = (type ? 1 : 0) + (some ? 3 : 0) + (major ? 1 : 0) + (minor ? 1 : 0) + 2;

    if (type) {
        left--;
        emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, (int16_t)left,
             STREQ(d->type, "b") ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    }
    if (some) {
        left -= 3;
        emit(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
        emit(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0, bits);
        if (d->allow)
            emit(p, BPF_JMP | BPF_JNE | BPF_X, BPF_REG_1, BPF_REG_3, (int16_t)left, 0);
        else
            emit(p, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_1, 0, (int16_t)left, 0);
    }
    if (major)
        emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, (int16_t)--left, (int32_t)d->major.value);
    if (minor)
        emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, (int16_t)--left, (int32_t)d->minor.value);
    emit_verdict(p, d->allow);
}

static int load_program(const struct program *p, char *log, size_t log_size)
{
    union bpf_attr attr = {0};
    long fd;

    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.insns = (uint64_t)(uintptr_t)p->insns;
    attr.insn_cnt = (uint32_t)p->n;
    attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
    if (log) {
        attr.log_buf = (uint64_t)(uintptr_t)log;
        attr.log_size = (uint32_t)log_size;
        attr.log_level = 1;
    }
    fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
    return fd < 0 ? -errno : (int)fd;
}

int cgroup_devices_program(const struct json_list *rules, struct error *e)
{
    const struct cgroup_device *d = rules->items;
    AUTOFREE struct program *p = xcalloc(1, sizeof(*p));
    int prog;
    bool decided = false, restricts = false;

    emit_prologue(p);
    for (size_t i = rules->len; i > 0 && !decided; i--) {
        int r = check_rule(&d[i - 1], e);

        if (r < 0)
            return r;
        if (matches_all(&d[i - 1])) { /* the end: what stands before it has no effect */
            emit_verdict(p, d[i - 1].allow);
            decided = true;
        } else {
            emit_rule(p, &d[i - 1]);
        }
        restricts |= !d[i - 1].allow;
    }
    if (!restricts)
        return -ENODATA; /* everything is allowed: no program is the same */
    if (!decided)
        emit_verdict(p, true);
    if (p->n > PROGRAM_MAX)
        return error_set(e, ERR_INVALID, "too many device rules (%zu)", rules->len);
    prog = load_program(p, NULL, 0);
    if (prog < 0) {
        char log[4096] = "";

        (void)!load_program(p, log, sizeof(log));
        return error_set_errno(e, prog, "cannot load the device rules' BPF program (%.200s)", log);
    }
    return prog;
}

int cgroup_devices_dir(const char *path, struct error *e)
{
    char name[CGROUP_PATH_MAX];
    const char *mount = cgroup_host()->unified;
    int fd = mount ? cgroup_file(name, mount, path, NULL) : -ENOENT;

    fd = fd < 0 ? fd : open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* BPF wants it readable */
    return fd < 0 ? error_set_errno(e, fd == -1 ? errno : fd, "cannot open cgroup %s", path) : fd;
}

int cgroup_devices_v2(const char *path, const struct json_list *rules, struct error *e)
{
    AUTOFD int prog = cgroup_devices_program(rules, e);
    AUTOFD int dir = -EBADF;
    union bpf_attr attr = {0};

    if (prog < 0)
        return prog == -ENODATA ? 0 : prog;
    dir = cgroup_devices_dir(path, e);
    if (dir < 0)
        return dir;
    attr.target_fd = (uint32_t)dir;
    attr.attach_bpf_fd = (uint32_t)prog;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
        return error_set_errno(e, errno, "cannot attach the device rules to cgroup %s", path);
    return 0;
}
