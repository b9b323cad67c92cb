/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the walls of pouch-unpack, pouch-pack and pouch-check are built of. For single-threaded
 * programs; each step only takes away. Nothing here is linked into pouchd.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

/* Makes the detached mount (closed) the root of a new mount namespace that has nothing else. Even a
 * path that escaped all checks finds nothing but it. *ret_root: an open descriptor of it. */
int sandbox_enter_mount(int mount_fd, int *ret_root, struct error *e) MUST_CHECK;

/*
 * No file of any name can be reached any more: by Landlock (Linux 5.13) which costs microseconds, else
 * by a mount namespace with an empty folder, which costs the process two grace periods of the
 * kernel's RCU (milliseconds on a busy machine). Needs CAP_SYS_ADMIN.
 */
int sandbox_forget_files(struct error *e) MUST_CHECK;

/* All address space. Does nothing in sanitizer builds, which reserve terabytes. */
int sandbox_limit_memory(uint64_t bytes, struct error *e) MUST_CHECK;

/* No new privileges, and no capabilities but those n (CAP_…), also not by starting programs. */
int sandbox_limit_capabilities(const unsigned *keep, size_t n, struct error *e) MUST_CHECK;

/* Calls that are allowed only when an argument, masked, has one of two values. */
struct sandbox_condition {
    int call;
    unsigned arg;
    uint32_t mask;
    uint32_t values[2];
};

/*
 * A filter that lets through the calls named, and no others: those fail with ENOSYS, which libc
 * knows to work around, or end the process (`kill`). Does nothing in sanitizer builds, which need
 * calls of their own, and on machines whose audit number is not known here.
 */
struct sandbox_filter {
    const int *allowed;
    size_t n;                             /* at most SANDBOX_CALLS_MAX */
    const struct sandbox_condition *when; /* NULL: none */
    bool kill;
};
#define SANDBOX_CALLS_MAX 200
int sandbox_install_filter(const struct sandbox_filter *f, struct error *e) MUST_CHECK;
