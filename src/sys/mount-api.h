/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts by file descriptors (the mount API of Linux 5.2 and later), with the classic mount(2) as
 * fall-back where the new calls are missing or forbidden. Targets are O_PATH fds, so that no name
 * is resolved twice.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/strv.h"

/* The option words of one mount, taken apart. */
struct mount_options {
    uint64_t attr_set;     /* MOUNT_ATTR_… for this mount */
    uint64_t attr_clear;   /* MOUNT_ATTR_… that are to be off (dev, exec, suid, rw) */
    uint64_t rec_attr_set; /* of rro, rnosuid …: this mount and all below */
    uint64_t rec_attr_clear;
    uint64_t propagation;  /* MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE or 0 */
    bool propagation_rec;  /* rshared, rslave … */
    bool bind, bind_rec;   /* bind, rbind */
    bool remount;          /* remount */
    bool tmpcopyup;        /* copy what lies below into the new tmpfs */
    bool copy_symlink;     /* copy-symlink: a symlink source is made again, not bound */
    bool idmap, idmap_rec; /* idmap, ridmap */
    bool sync, dirsync, lazytime, mand, silent, iversion; /* superblock flags */
    bool ro_sb;                                           /* superblock read-only too */
    char **data; /* what the file system itself understands ("size=64m") */
};
void mount_options_done(struct mount_options *o);
/* The i-th word that is known here, in alphabetical order; NULL after the last. */
const char *mount_option_name(size_t i);
/* Unknown words go to data. */
void mount_options_parse(char *const *words, struct mount_options *ret);

/*
 * A detached mount of a new file system: fsopen, fsconfig, fsmount. -ENOSYS or -EPERM may mean
 * that the new mount API is not there: use mount_fs_at(), which falls back. The kernel's own words
 * (read from the context) go into *e.
 */
int mount_fs_open(const char *type, const char *source, const struct mount_options *o,
                  struct error *e) MUST_CHECK;

/* Mounts a new file system on target (O_PATH fd); name is the target's name for messages. */
int mount_fs_at(const char *type, const char *source, const struct mount_options *o, int target,
                const char *name, struct error *e) MUST_CHECK;

/* A detached copy of what is mounted at (dirfd, path); path "" with an fd. */
int mount_clone_open(int dirfd, const char *path, bool recursive) MUST_CHECK;

/* Sets and clears attributes of the mount an fd stands on; falls back to a bind remount for a
 * mount that is attached already. 0 or -errno. */
int mount_set_attr(int fd, uint64_t set, uint64_t clear, bool recursive) MUST_CHECK;

/* Changes propagation of the mount at fd. */
int mount_set_propagation(int fd, uint64_t propagation, bool recursive) MUST_CHECK;

/* Attaches a detached mount on target. 0 or -errno. */
int mount_attach(int mount_fd, int target) MUST_CHECK;

/* Bind mount of source_fd (O_PATH) on target with options; the attributes are in force before it
 * becomes visible. */
int mount_bind_at(int source_fd, int target, const struct mount_options *o, const char *name,
                  struct error *e) MUST_CHECK;

/* The same with a tree that is detached already (mount_clone_open()), which is attached. */
int mount_tree_at(int tree_fd, int target, const struct mount_options *o, const char *name,
                  struct error *e) MUST_CHECK;

/* Makes the mount shift ids by the mapping of a user namespace (idmapped mount); the mount must
 * be detached. */
int mount_set_idmap(int mount_fd, int userns_fd, bool recursive) MUST_CHECK;

/*
 * A descriptor of our own program for execve("/proc/self/fd/N") or execveat(), standing on a
 * read-only mount of its own that no container can see or remount: whoever gets at
 * /proc/<pid>/exe of a process started this way cannot write to the program (CVE-2019-5736).
 */
int mount_sealed_program(const char *path) MUST_CHECK;
