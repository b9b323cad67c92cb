/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel knows of project quota, for tests (repquota and lsattr are not everywhere).
 *   quota-tool usage FOLDER ID    "BYTES INODES LIMIT-BYTES LIMIT-INODES", or "none"
 *   quota-tool project PATH       "ID inherit" or "ID"
 *   quota-tool tag PATH ID [ONLY] what src/sys does for a folder
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "sys/quota.h"

static uint32_t number(const char *text)
{
    uint64_t n = 0;

    if (parse_u64(text, &n) < 0 || n > UINT32_MAX) {
        (void)fprintf(stderr, "not an id: %s\n", text);
        exit(2);
    }
    return (uint32_t)n;
}

static int usage(const char *path, uint32_t id)
{
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct quota_usage u;
    int r = fd < 0 ? -errno : quota_project_usage(fd, id, &u);

    if (r < 0 && r != -ENOENT && r != -ESRCH) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(-r));
        return 1;
    }
    if (r < 0 || (!u.bytes && !u.inodes && !u.limit.bytes && !u.limit.inodes))
        (void)puts("none");
    else
        (void)printf("%llu %llu %llu %llu\n", (unsigned long long)u.bytes,
                     (unsigned long long)u.inodes, (unsigned long long)u.limit.bytes,
                     (unsigned long long)u.limit.inodes);
    return 0;
}

static int project(const char *path)
{
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool inherit = false;
    uint32_t id = 0;
    int r = fd < 0 ? -errno : quota_project_get(fd, &id, &inherit);

    if (r < 0) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(-r));
        return 1;
    }
    (void)printf("%u%s\n", id, inherit ? " inherit" : "");
    return 0;
}

int main(int argc, char **argv)
{
    struct error e = ERROR_INIT;

    if (argc == 4 && STREQ(argv[1], "usage"))
        return usage(argv[2], number(argv[3]));
    if (argc == 3 && STREQ(argv[1], "project"))
        return project(argv[2]);
    if ((argc == 4 || argc == 5) && STREQ(argv[1], "tag")) {
        if (quota_project_tag(argv[2], number(argv[3]), argc == 5 ? number(argv[4]) : 0, &e) == 0)
            return 0;
        (void)fprintf(stderr, "%s\n", error_message(&e));
        error_done(&e);
        return 1;
    }
    (void)fprintf(stderr,
                  "usage: quota-tool usage FOLDER ID | project PATH | tag PATH ID [ONLY]\n");
    return 2;
}
