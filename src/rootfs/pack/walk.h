/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a tree and writes it out: all of it as a tar archive (export), what a container changed as
 * the archive of an OCI layer (commit), or only the list of changes (diff). The tree may be changed
 * at any moment by whoever owns it: every name is opened in its own folder without following links,
 * what vanishes is left out, and a file keeps the size its header said (cut, or filled with zeros).
 *
 * Entries come in the order of their names, times in whole seconds, sockets are left out; overlay's
 * own attributes and labels of security modules never show.
 */
#pragma once

#include "base/error.h"
#include "base/macros.h"
#include "base/tarw.h"

enum pack_mode {
    PACK_TREE,    /* everything below root_fd, as tar; large holes stay holes */
    PACK_DIFF,    /* root_fd is an overlay's upper folder: tar with whiteouts */
    PACK_CHANGES, /* the same as a list: "A", "C" or "D", a path that begins with "/", a NUL */
    PACK_MODE_MAX
};

struct pack_params {
    enum pack_mode mode;
    int root_fd;
    int lower_fd; /* what lies below the upper folder; -1: nothing */
    char *const
        *skip; /* paths (without a leading "/") that are not the container's: mount points */
    tarw_write_fn *write;
    void *write_data;
};

int pack_walk(const struct pack_params *p, struct error *e) MUST_CHECK;
