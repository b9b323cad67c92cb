/* SPDX-License-Identifier: Apache-2.0 */
/* Reads an entry stream (image/entry-stream.h) and applies it to a layer's folder. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

struct unpack_counts {
    uint64_t entries;
    uint64_t bytes; /* of file content, holes included */
};

/*
 * Reads `in` (a pipe, but any readable fd will do) to the end of the stream and writes the layer
 * below root_fd. ERR_INVALID for what is wrong in the stream or hostile in the archive;
 * -ECANCELED when the stream was cut off or says that the archive could not be read. ret holds
 * what was done so far also on failure.
 */
int unpack_stream(int in, int root_fd, struct unpack_counts *ret, struct error *e) MUST_CHECK;
