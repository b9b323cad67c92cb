/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the entries of one layer's archive into the layer's folder, in overlayfs form: the trusted
 * half of unpacking. Nothing outside the folder is touched whatever the entries say: every path is
 * resolved by openat2(RESOLVE_IN_ROOT), so that symlinks of the layer are followed as they would be
 * in the container, and no last component is ever followed.
 *
 * What happens in the corners is listed in docs/internals/rootfs.md. Not thread-safe; the caller is
 * the single-threaded program pouch-unpack, with umask 0.
 */
#pragma once

#include "base/error.h"
#include "base/layer.h"
#include "base/macros.h"

struct layer_apply;

/* root_fd (a folder, borrowed until the end) should be empty; it becomes 0755 root:root. */
int layer_apply_new(int root_fd, struct layer_apply **ret, struct error *e) MUST_CHECK;
void layer_apply_free(struct layer_apply *a);
DEFINE_AUTOPTR(struct layer_apply, layer_apply)

/*
 * Makes the entry. For a LAYER_FILE, *ret_fd is where its content goes (borrowed), or -EBADF when
 * there is none to keep (a whiteout); layer_apply_file_end() must follow with the same entry. Other
 * types are complete, and *ret_fd is -EBADF.
 */
int layer_apply_entry(struct layer_apply *a, const struct layer_entry *entry, int *ret_fd,
                      struct error *e) MUST_CHECK;
/* The content is written: the file gets its size, owner, mode, xattrs and time. */
int layer_apply_file_end(struct layer_apply *a, const struct layer_entry *entry,
                         struct error *e) MUST_CHECK;

/* After the last entry: folders get their owners, modes, xattrs and times. */
int layer_apply_finish(struct layer_apply *a, struct error *e) MUST_CHECK;
