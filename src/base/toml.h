/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TOML 1.0 (registries' configuration in the formats of containerd and Podman), turned into JSON
 * text, which json.h's tables and values then read: tables become objects, in the order of the
 * file, dates become strings. Strict: what the specification forbids is refused with its line.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"

#define TOML_MAX       (1u << 20) /* bytes of text */
#define TOML_DEPTH_MAX 32

/* Appends the document as one JSON object to *out. ERR_INVALID: "line 3: …". */
int toml_to_json(const char *text, size_t len, struct buf *out, struct error *e) MUST_CHECK;
