/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seccomp filters: profiles compiled to BPF bytes, and bytes installed.
 *
 * Compiling needs libseccomp and lives in seccomp-compile.c (library sys_seccomp), used by pouchd
 * and pouch-oci. Installing is one system call and is all that the static programs link.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

/* The OCI runtime specification's linux.seccomp. */
struct seccomp_arg {
    uint64_t index;
    uint64_t value;
    uint64_t value_two;
    char *op; /* "SCMP_CMP_EQ" … */
};
struct seccomp_rule {
    char **names;
    char *action; /* "SCMP_ACT_ALLOW" … */
    struct opt_uint errno_ret;
    struct json_list args; /* struct seccomp_arg */
};
struct seccomp_filter {
    char *default_action;
    struct opt_uint default_errno_ret;
    char **architectures; /* "SCMP_ARCH_X86_64" … */
    char **flags;         /* "SECCOMP_FILTER_FLAG_LOG" … */
    char *listener_path;
    char *listener_metadata;
    struct json_list syscalls; /* struct seccomp_rule */
};

#define SECCOMP_BPF_MAX (32768 * 8) /* the kernel's limit is 4096 instructions to a filter */

/*
 * Compiles a profile in Docker's format (includes/excludes by capability, architecture and kernel
 * version, archMap), or Pouch's default profile - the same as Docker's - when profile_json is
 * NULL. caps: the container's bounding set ("CAP_SYS_ADMIN", …, NULL-ended; NULL is none). Appends
 * an array of struct sock_filter to *ret_bpf.
 */
int seccomp_compile(const char *profile_json, char *const *caps, struct buf *ret_bpf,
                    struct error *e) MUST_CHECK;

/* Names of all actions, comparisons and architectures, in the order of i; NULL at the end. */
const char *seccomp_action_name(size_t i);
const char *seccomp_operator_name(size_t i);
const char *seccomp_arch_name(size_t i);

/* The same profile as a runtime specification's linux.seccomp, for other runtimes; *ret must be
 * zeroed, and is freed with seccomp_filter_json's table. */
int seccomp_profile(const char *profile_json, char *const *caps, struct seccomp_filter *ret,
                    struct error *e) MUST_CHECK;

/* Compiles the filter of a runtime specification. */
int seccomp_compile_oci(const struct seccomp_filter *f, struct buf *ret_bpf,
                        struct error *e) MUST_CHECK;

/* Installs BPF bytes for the calling thread. flags: of SECCOMP_FILTER_FLAG_… Without
 * no_new_privs the caller needs CAP_SYS_ADMIN. 0 or -errno. */
int seccomp_install(const void *bpf, size_t len, unsigned flags) MUST_CHECK;

/* The same with SECCOMP_FILTER_FLAG_NEW_LISTENER: the listener's descriptor (O_CLOEXEC), on which
 * the system calls with SCMP_ACT_NOTIFY arrive, or -errno. */
int seccomp_install_listener(const void *bpf, size_t len, unsigned flags) MUST_CHECK;

/* Installs a filter of its own that lets somebody else answer sysinfo(2) and sched_getaffinity(2):
 * its listener, as above. */
int seccomp_install_view(void) MUST_CHECK;

/* Is SCMP_ACT_NOTIFY among the filter's actions? NULL is none. */
bool seccomp_notifies(const struct seccomp_filter *f);

/* SECCOMP_FILTER_FLAG_… bits of a filter's flags; unknown names are -EINVAL. */
extern const char *const seccomp_flag_names[]; /* all, NULL-ended */
int seccomp_flags_parse(char *const *flags, unsigned *ret) MUST_CHECK;
