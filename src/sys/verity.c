/* SPDX-License-Identifier: Apache-2.0 */
/* fs-verity: see verity.h. */
#include "sys/verity.h"

#include <fcntl.h>
#include <linux/fsverity.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"

#define DIGEST_BYTES 32

int verity_enable(int fd)
{
    const struct fsverity_enable_arg arg = {
        .version = 1,
        .hash_algorithm = FS_VERITY_HASH_ALG_SHA256,
        .block_size = 4096,
    };

    return ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) < 0 && errno != EEXIST ? -errno : 0;
}

int verity_measure(int fd, char ret[VERITY_MEASURE_MAX])
{
    union {
        struct fsverity_digest digest;
        unsigned char room[sizeof(struct fsverity_digest) + DIGEST_BYTES];
    } m = {.digest = {.digest_size = DIGEST_BYTES}};
    int at;

    if (ioctl(fd, FS_IOC_MEASURE_VERITY, &m) < 0)
        return -errno;
    if (m.digest.digest_algorithm != FS_VERITY_HASH_ALG_SHA256 ||
        m.digest.digest_size != DIGEST_BYTES)
        return -EOPNOTSUPP;
    at = snprintf(ret, VERITY_MEASURE_MAX, "sha256:");
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        at += snprintf(ret + at, VERITY_MEASURE_MAX - (size_t)at, "%02x",
                       m.room[sizeof(struct fsverity_digest) + i]);
    return 0;
}

bool verity_works_in(const char *dir)
{
    AUTOFREE char *path = xasprintf("%s/.probe-verity-XXXXXX", dir);
    int fd = mkostemp(path, O_CLOEXEC);
    bool works = false;

    if (fd < 0)
        return false;
    if (write(fd, "x", 1) == 1) {
        (void)close(fd); /* nobody may have it open for writing */
        fd = open(path, O_RDONLY | O_CLOEXEC);
        works = fd >= 0 && verity_enable(fd) == 0;
    }
    base_closep(&fd);
    (void)unlink(path);
    return works;
}
