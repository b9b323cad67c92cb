/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of erofs/ share: the tables of entries that rootfs/kit.h has become EROFS files;
 * these become the same texts as folders, by our reader and by the kernel's mount.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "erofs/erofs.h"
#include "unit/rootfs/kit.h"

/* An unnamed file in /tmp, where the kernel can mount what is in it. */
int erofs_kit_file(void);
/* The table as an EROFS file. */
int erofs_kit_write(int fd, const struct kit_entry *table, struct erofs_writer_stats *stats,
                    struct error *e);
/* kit_manifest() by the reader. */
int erofs_kit_manifest(int fd, bool times, struct buf *out, struct error *e);
/* A detached mount of the file; -ENOTSUP where the kernel cannot mount files, or nobody may. */
int erofs_kit_mount(int fd);
/* Fails with the first line that differs. */
void erofs_kit_assert_same(const struct buf *a, const struct buf *b, const char *what);
