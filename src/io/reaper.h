/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing at once what takes long to free. When the last name of a large file goes, the kernel gives
 * back its blocks and pages before unlink(2) returns, and waits for those that are just being
 * written: a tenth of a second and more. Here the file is held by a descriptor while its name goes,
 * and a thread lets go of it: nobody waits, and if the process dies the kernel frees the file with it.
 * The same goes for detached mounts. Folders, which nothing can hold that way, are removed by the
 * thread under the name they have: a name that their owner sweeps at his next start.
 *
 * What waits is bounded, in number and in bytes: an eighth of what is free on the file system, so
 * that a disk that gets full is never short of what was already "removed". Beyond that the caller
 * does the work itself. The thread is there only while there is something to do; it has the usual
 * priority, since one that hardly gets the processor would make others wait for the file system's
 * journal.
 *
 * Any thread; the functions that take a struct reaper work without one (NULL), at once.
 */
#pragma once

#include <stdint.h>

#include "base/macros.h"

struct reaper;

#define REAPER_FDS_MAX   64
#define REAPER_TREES_MAX 4096

struct reaper *reaper_new(void);
/* From now on callers do the work themselves, but folders stay. Ends the thread after at most one system call; folders
 * it did not come to stay. */
void reaper_stop(struct reaper *r);
/* Stops it, and lets go of what it still holds. NULL is fine. */
void reaper_free(struct reaper *r);

/* unlinkat(dirfd, name, 0): the name is gone when this returns 0. -errno. */
int reaper_unlink(struct reaper *r, int dirfd, const char *name) MUST_CHECK;

/* Closes a descriptor (taken over) that may be the last hold of much. */
void reaper_close(struct reaper *r, int fd);

/* Removes a folder, or whatever has this name, of about `bytes` (0: not
 * known). dirfd stays open until reaper_stop(), or is AT_FDCWD with an absolute name.
 * A failure, which the owner's next sweep sees, is tried again for half a second. */
void reaper_remove_tree(struct reaper *r, int dirfd, const char *name, uint64_t bytes);

/*
 * Removes a folder (an absolute path) that is mostly little: little goes before this returns, as fast
 * as without a thread. Much gets the name `trash` (NULL: keeps its own), a path in the same file system
 * that its owner sweeps, and goes as with reaper_remove_tree(). 0, also when it is not there; -errno
 * of what could not be removed at once.
 */
int reaper_remove_folder(struct reaper *r, const char *path, const char *trash) MUST_CHECK;

/* Returns when what waits at this moment is freed. */
void reaper_wait(struct reaper *r);
