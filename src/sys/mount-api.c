/* SPDX-License-Identifier: Apache-2.0 */
/* The mount API: see mount-api.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"
#include "sys/mount-api.h"
#include "sys/path.h"

enum word_kind {
    W_ATTR_SET,
    W_ATTR_CLEAR,
    W_REC_SET,
    W_REC_CLEAR,
    W_PROPAGATION,
    W_REC_PROPAGATION,
    W_BOOL,
    W_NONE
};

struct word {
    const char *name;
    enum word_kind kind;
    uint64_t bits; /* or the offset of a bool */
};

#define ATIME    MOUNT_ATTR__ATIME
#define BOOL(of) W_BOOL, offsetof(struct mount_options, of)

/* In alphabetical order, as `features` tells them. */
static const struct word words[] = {
    {"acl", W_NONE, 0},
    {"async", W_NONE, 0},
    {"atime", W_ATTR_CLEAR, MOUNT_ATTR_NOATIME},
    {"bind", BOOL(bind)},
    {"copy-symlink", BOOL(copy_symlink)},
    {"copy-up", BOOL(tmpcopyup)},
    {"defaults", W_NONE, 0},
    {"dev", W_ATTR_CLEAR, MOUNT_ATTR_NODEV},
    {"diratime", W_ATTR_CLEAR, MOUNT_ATTR_NODIRATIME},
    {"dirsync", BOOL(dirsync)},
    {"exec", W_ATTR_CLEAR, MOUNT_ATTR_NOEXEC},
    {"idmap", BOOL(idmap)},
    {"iversion", BOOL(iversion)},
    {"lazytime", BOOL(lazytime)},
    {"loud", W_NONE, 0},
    {"mand", BOOL(mand)},
    {"noatime", W_ATTR_SET, MOUNT_ATTR_NOATIME},
    {"nodev", W_ATTR_SET, MOUNT_ATTR_NODEV},
    {"nodiratime", W_ATTR_SET, MOUNT_ATTR_NODIRATIME},
    {"noexec", W_ATTR_SET, MOUNT_ATTR_NOEXEC},
    {"noiversion", W_NONE, 0},
    {"nolazytime", W_NONE, 0},
    {"nomand", W_NONE, 0},
    {"norelatime", W_ATTR_CLEAR, MOUNT_ATTR_RELATIME},
    {"nostrictatime", W_ATTR_CLEAR, MOUNT_ATTR_STRICTATIME},
    {"nosuid", W_ATTR_SET, MOUNT_ATTR_NOSUID},
    {"nosymfollow", W_ATTR_SET, 0x00200000 /* MOUNT_ATTR_NOSYMFOLLOW */},
    {"private", W_PROPAGATION, MS_PRIVATE},
    {"ratime", W_REC_CLEAR, MOUNT_ATTR_NOATIME},
    {"rbind", BOOL(bind_rec)},
    {"rdev", W_REC_CLEAR, MOUNT_ATTR_NODEV},
    {"rdiratime", W_REC_CLEAR, MOUNT_ATTR_NODIRATIME},
    {"relatime", W_ATTR_SET, MOUNT_ATTR_RELATIME},
    {"remount", BOOL(remount)},
    {"rexec", W_REC_CLEAR, MOUNT_ATTR_NOEXEC},
    {"ridmap", BOOL(idmap_rec)},
    {"rnoatime", W_REC_SET, MOUNT_ATTR_NOATIME},
    {"rnodev", W_REC_SET, MOUNT_ATTR_NODEV},
    {"rnodiratime", W_REC_SET, MOUNT_ATTR_NODIRATIME},
    {"rnoexec", W_REC_SET, MOUNT_ATTR_NOEXEC},
    {"rnorelatime", W_REC_CLEAR, MOUNT_ATTR_RELATIME},
    {"rnostrictatime", W_REC_CLEAR, MOUNT_ATTR_STRICTATIME},
    {"rnosuid", W_REC_SET, MOUNT_ATTR_NOSUID},
    {"rnosymfollow", W_REC_SET, 0x00200000},
    {"ro", W_ATTR_SET, MOUNT_ATTR_RDONLY},
    {"rprivate", W_REC_PROPAGATION, MS_PRIVATE},
    {"rrelatime", W_REC_SET, MOUNT_ATTR_RELATIME},
    {"rro", W_REC_SET, MOUNT_ATTR_RDONLY},
    {"rrw", W_REC_CLEAR, MOUNT_ATTR_RDONLY},
    {"rshared", W_REC_PROPAGATION, MS_SHARED},
    {"rslave", W_REC_PROPAGATION, MS_SLAVE},
    {"rstrictatime", W_REC_SET, MOUNT_ATTR_STRICTATIME},
    {"rsuid", W_REC_CLEAR, MOUNT_ATTR_NOSUID},
    {"rsymfollow", W_REC_CLEAR, 0x00200000},
    {"runbindable", W_REC_PROPAGATION, MS_UNBINDABLE},
    {"rw", W_ATTR_CLEAR, MOUNT_ATTR_RDONLY},
    {"shared", W_PROPAGATION, MS_SHARED},
    {"silent", BOOL(silent)},
    {"slave", W_PROPAGATION, MS_SLAVE},
    {"strictatime", W_ATTR_SET, MOUNT_ATTR_STRICTATIME},
    {"suid", W_ATTR_CLEAR, MOUNT_ATTR_NOSUID},
    {"symfollow", W_ATTR_CLEAR, 0x00200000},
    {"sync", BOOL(sync)},
    {"tmpcopyup", BOOL(tmpcopyup)},
    {"unbindable", W_PROPAGATION, MS_UNBINDABLE},
};

const char *mount_option_name(size_t i)
{
    return i < ARRAY_SIZE(words) ? words[i].name : NULL;
}

static void apply_word(struct mount_options *o, const struct word *w)
{
    bool atime = w->bits & (MOUNT_ATTR_NOATIME | MOUNT_ATTR_STRICTATIME) ||
                 STREQ(w->name, "relatime") || STREQ(w->name, "rrelatime");

    switch (w->kind) {
    case W_ATTR_SET:
        o->attr_set = atime ? (o->attr_set & ~(uint64_t)ATIME) | w->bits : o->attr_set | w->bits;
        o->attr_clear = atime ? o->attr_clear | ATIME : o->attr_clear & ~w->bits;
        break;
    case W_ATTR_CLEAR:
        o->attr_set &= ~w->bits;
        /* The atime modes are one field: it is cleared as a whole, giving relatime. */
        o->attr_clear |= w->bits & ATIME ? ATIME : w->bits;
        break;
    case W_REC_SET:
        o->rec_attr_set |= w->bits;
        o->rec_attr_clear |= atime ? ATIME : 0;
        break;
    case W_REC_CLEAR:
        o->rec_attr_set &= ~w->bits;
        o->rec_attr_clear |= w->bits & ATIME ? ATIME : w->bits;
        break;
    case W_PROPAGATION:
    case W_REC_PROPAGATION:
        o->propagation = w->bits;
        o->propagation_rec = w->kind == W_REC_PROPAGATION;
        break;
    case W_BOOL:
        *((bool *)o + w->bits) = true;
        break;
    default:
        break;
    }
}

void mount_options_parse(char *const *list, struct mount_options *ret)
{
    for (size_t i = 0; list && list[i]; i++) {
        size_t k = 0;

        while (k < ARRAY_SIZE(words) && !STREQ(words[k].name, list[i]))
            k++;
        if (k < ARRAY_SIZE(words))
            apply_word(ret, &words[k]);
        else if (*list[i])
            strv_push(&ret->data, list[i]);
    }
    ret->bind |= ret->bind_rec;
}

void mount_options_done(struct mount_options *o)
{
    strv_free(o->data);
    *o = (struct mount_options){0};
}

/* The kernel leaves its complaint ("e overlay: …") in the context's log. */
static int context_error(int fs, int errnum, const char *type, struct error *e)
{
    char text[256];
    ssize_t n = read(fs, text, sizeof(text) - 1);

    if (n > 2) {
        text[n] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return error_set_errno(e, errnum, "cannot mount %s (%s)", type, text + 2);
    }
    return error_set_errno(e, errnum, "cannot mount %s", type);
}

static int set_data(int fs, char *const *data)
{
    for (size_t i = 0; data && data[i]; i++) {
        const char *eq = strchr(data[i], '=');
        int r;

        if (eq) {
            AUTOFREE char *key = xstrndup(data[i], (size_t)(eq - data[i]));

            r = fsconfig(fs, FSCONFIG_SET_STRING, key, eq + 1, 0);
        } else {
            r = fsconfig(fs, FSCONFIG_SET_FLAG, data[i], NULL, 0);
        }
        if (r < 0)
            return -errno;
    }
    return 0;
}

static int set_superblock_flags(int fs, const char *type, const struct mount_options *o)
{
    const struct {
        bool on;
        const char *name;
    } flags[] = {{o->ro_sb, "ro"},
                 {o->sync, "sync"},
                 {o->dirsync, "dirsync"},
                 {o->lazytime, "lazytime"},
                 {o->mand, "mand"},
                 /* others count versions always, or never */
                 {o->iversion && STREQ(type, "ext4"), "i_version"}};

    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        if (flags[i].on && fsconfig(fs, FSCONFIG_SET_FLAG, flags[i].name, NULL, 0) < 0)
            return -errno;
    return 0;
}

int mount_fs_open(const char *type, const char *source, const struct mount_options *o,
                  struct error *e)
{
    AUTOFD int fs = fsopen(type, FSOPEN_CLOEXEC);
    uint64_t attr = (o->attr_set | o->rec_attr_set);
    int fd, r;

    if (fs < 0)
        return error_set_errno(e, errno, "cannot mount %s", type);
    if (!str_is_empty(source) && fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0)
        return context_error(fs, errno, type, e);
    r = set_data(fs, o->data);
    if (r == 0)
        r = set_superblock_flags(fs, type, o);
    if (r < 0)
        return context_error(fs, -r, type, e);
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return context_error(fs, errno, type, e);
    fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attr);
    return fd < 0 ? context_error(fs, errno, type, e) : fd;
}

static unsigned long classic_flags(uint64_t attr)
{
    static const struct {
        uint64_t attr;
        unsigned long flag;
    } map[] = {
        {MOUNT_ATTR_RDONLY, MS_RDONLY},         {MOUNT_ATTR_NOSUID, MS_NOSUID},
        {MOUNT_ATTR_NODEV, MS_NODEV},           {MOUNT_ATTR_NOEXEC, MS_NOEXEC},
        {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME},
    };
    unsigned long flags = 0;

    for (size_t i = 0; i < ARRAY_SIZE(map); i++)
        if (attr & map[i].attr)
            flags |= map[i].flag;
    if ((attr & ATIME) == MOUNT_ATTR_NOATIME)
        flags |= MS_NOATIME;
    else if ((attr & ATIME) == MOUNT_ATTR_STRICTATIME)
        flags |= MS_STRICTATIME;
    return flags;
}

static int classic_mount(const char *type, const char *source, const struct mount_options *o,
                         int target, const char *name, struct error *e)
{
    char at[PATH_FD_MAX];
    AUTOFREE char *data = strv_join(o->data, ",");
    unsigned long flags = classic_flags(o->attr_set | o->rec_attr_set);

    flags |= (o->sync ? MS_SYNCHRONOUS : 0) | (o->dirsync ? MS_DIRSYNC : 0) |
             (o->mand ? MS_MANDLOCK : 0) | (o->lazytime ? MS_LAZYTIME : 0);
    if (mount(source ? source : type, path_of_fd(target, at), type, flags, data) < 0)
        return error_set_errno(e, errno, "cannot mount %s on %s", type, name);
    return 0;
}

int mount_fs_at(const char *type, const char *source, const struct mount_options *o, int target,
                const char *name, struct error *e)
{
    CLEANUP(error_done) struct error why = ERROR_INIT;
    AUTOFD int fd = mount_fs_open(type, source, o, &why);
    int r = fd;

    if (fd == -ENOSYS)
        return classic_mount(type, source, o, target, name, e);
    if (fd >= 0) {
        r = mount_attach(fd, target);
        if (r < 0)
            (void)error_set_errno(&why, r, "cannot attach %s", type);
    }
    if (r < 0) {
        error_add(&why, "mounting %s", name);
        error_move(e, &why);
    }
    return r < 0 ? r : 0;
}

int mount_clone_open(int dirfd, const char *path, bool recursive)
{
    unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0u) |
                     (*path ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH);
    int fd = open_tree(dirfd, path, flags);

    return fd < 0 ? -errno : fd;
}

/* mount_setattr() came with Linux 5.12; mounts that are not attached yet cannot be changed before. */
static bool can_set_attr(void)
{
    static int can; /* 0: not asked yet; racing threads store the same value */

    if (!can)
        can = mount_setattr(-1, "", 0, NULL, 0) < 0 && errno == ENOSYS ? -1 : 1;
    return can > 0;
}

int mount_set_attr(int fd, uint64_t set, uint64_t clear, bool recursive)
{
    struct mount_attr attr = {.attr_set = set, .attr_clr = clear};
    char at[PATH_FD_MAX];

    if (!set && !clear)
        return 0;
    if (set & ATIME || clear & ATIME)
        attr.attr_clr |= ATIME; /* the kernel wants the whole field cleared first */
    if (mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
                      sizeof(attr)) == 0)
        return 0;
    if (errno != ENOSYS)
        return -errno;
    /* Before Linux 5.12, and never recursive. */
    if (mount(NULL, path_of_fd(fd, at), NULL, MS_REMOUNT | MS_BIND | classic_flags(set), NULL) < 0)
        return -errno;
    return recursive ? -ENOSYS : 0;
}

int mount_set_propagation(int fd, uint64_t propagation, bool recursive)
{
    struct mount_attr attr = {.propagation = propagation};
    char at[PATH_FD_MAX];

    if (mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
                      sizeof(attr)) == 0)
        return 0;
    if (errno != ENOSYS)
        return -errno;
    if (mount(NULL, path_of_fd(fd, at), NULL, propagation | (recursive ? MS_REC : 0), NULL) < 0)
        return -errno;
    return 0;
}

int mount_attach(int mount_fd, int target)
{
    if (move_mount(mount_fd, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return -errno;
    return 0;
}

static int classic_bind(int source_fd, int target, const struct mount_options *o)
{
    char from[PATH_FD_MAX], to[PATH_FD_MAX];
    uint64_t set = o->attr_set | o->rec_attr_set;

    if (mount(path_of_fd(source_fd, from), path_of_fd(target, to), NULL,
              MS_BIND | (o->bind_rec ? MS_REC : 0), NULL) < 0)
        return -errno;
    if (set || o->propagation) {
        /* The O_PATH fd still stands below the new mount: the name leads onto it. */
        AUTOFD int on = open(to, O_PATH | O_CLOEXEC);

        if (on < 0)
            return -errno;
        if (set && mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | classic_flags(set), NULL) < 0)
            return -errno;
        if (o->propagation &&
            mount(NULL, to, NULL, o->propagation | (o->propagation_rec ? MS_REC : 0), NULL) < 0)
            return -errno;
    }
    return 0;
}

int mount_bind_at(int source_fd, int target, const struct mount_options *o, const char *name,
                  struct error *e)
{
    AUTOFD int fd = mount_clone_open(source_fd, "", o->bind_rec);
    int r;

    if (fd == -ENOSYS) {
        r = classic_bind(source_fd, target, o);
        return r < 0 ? error_set_errno(e, r, "cannot bind mount %s", name) : 0;
    }
    if (fd < 0)
        return error_set_errno(e, fd, "cannot bind mount %s", name);
    return mount_tree_at(fd, target, o, name, e);
}

int mount_tree_at(int fd, int target, const struct mount_options *o, const char *name,
                  struct error *e)
{
    bool attached = !can_set_attr();
    int r = attached ? mount_attach(fd, target) : 0;
    if (r == 0)
        r = mount_set_attr(fd, o->attr_set, o->attr_clear & ~o->attr_set, false);
    if (r == 0)
        r = mount_set_attr(fd, o->rec_attr_set, o->rec_attr_clear, true);
    if (r < 0)
        return error_set_errno(e, r, "cannot set mount options of %s", name);
    r = o->propagation ? mount_set_propagation(fd, o->propagation, o->propagation_rec) : 0;
    if (r < 0)
        return error_set_errno(e, r, "cannot set propagation of %s", name);
    r = attached ? 0 : mount_attach(fd, target);
    return r < 0 ? error_set_errno(e, r, "cannot bind mount %s", name) : 0;
}

int mount_set_idmap(int mount_fd, int userns_fd, bool recursive)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};

    if (mount_setattr(mount_fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
                      sizeof(attr)) < 0)
        return -errno;
    return 0;
}

int mount_sealed_program(const char *path)
{
    AUTOFD int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = mount_set_attr(fd, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, 0, false);
    return r < 0 ? r : take_fd(fd);
}
