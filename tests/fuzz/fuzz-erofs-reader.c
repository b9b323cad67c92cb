/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The EROFS reader on hostile files. The superblock's checksum is made right first, or no mutation
 * would come past it. All that the reader offers is asked of each file.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fs.h"
#include "erofs/erofs.h"
#include "erofs/format.h"

#define READ_MAX ((uint64_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take_xattr(void *data, const struct layer_xattr *x)
{
    return strlen(x->name) > 1000; /* touches it */
}

static int take_name(void *data, const char *name, uint64_t nid, struct error *e)
{
    if (strchr(name, '/'))
        abort();
    return 0;
}

static int visit(void *data, const char *path, const struct erofs_inode *inode, struct error *e)
{
    static char part[10000];
    struct erofs_reader *r = data;
    char *target = NULL;
    uint64_t start;
    uint64_t end;
    uint64_t offset = 0;
    ssize_t n;

    while (offset < READ_MAX &&
           (n = erofs_reader_read(r, inode, offset, part, sizeof part, NULL)) > 0)
        offset += (uint64_t)n;
    if (erofs_reader_next_data(r, inode, inode->size / 2, &start, &end, NULL) > 0 &&
        (start >= end || end > inode->size))
        abort();
    (void)!erofs_reader_xattrs(r, inode, take_xattr, NULL, NULL);
    (void)!erofs_reader_list(r, inode, take_name, NULL, NULL);
    if (erofs_reader_readlink(r, inode, &target, NULL) == 0)
        free(target);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    AUTOFD int fd = memfd_create("image", MFD_CLOEXEC);
    struct erofs_inode inode;
    struct error e = ERROR_INIT;
    bool whole;

    if (fd < 0 || fs_write_all(fd, data, size) < 0)
        abort();
    if (size >= EROFS_BLOCK) {
        uint32_t features = htole32(EROFS_COMPAT_MTIME); /* without the checksum */

        if (pwrite(fd, &features, sizeof features,
                   EROFS_SUPER_OFFSET + offsetof(struct erofs_disk_super, feature_compat)) < 0)
            abort();
    }
    if (erofs_reader_open(fd, &r, &e) == 0) {
        (void)!erofs_reader_lookup(r, "a/b/../l/c", true, &inode, NULL);
        (void)!erofs_reader_walk(r, visit, r, NULL);
        if (erofs_reader_check(r, &e) < 0 &&
            (e.code == ERR_NONE || strchr(error_message(&e), '\n')))
            abort();
        whole = e.code == ERR_NONE;
        if (erofs_reader_map(r, NULL) < 0)
            abort();
        if (erofs_reader_check_own(r, NULL) == 0 && !whole)
            abort(); /* the stricter one lets more through */
    } else if (e.code == ERR_NONE || strchr(error_message(&e), '\n')) {
        abort();
    }
    error_done(&e);
    return 0;
}
