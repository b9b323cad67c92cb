/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds every file of the corpus folder given as argument to the fuzz target. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *de;
    int n = 0;

    if (!dir) {
        (void)fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
        return 2;
    }
    while ((de = readdir(dir))) {
        AUTOFREE char *path = xasprintf("%s/%s", argv[1], de->d_name);
        AUTOFREE char *data = NULL;
        size_t len = 0;

        if (de->d_name[0] == '.' || fs_read_file(AT_FDCWD, path, 16 << 20, &data, &len) < 0)
            continue;
        (void)LLVMFuzzerTestOneInput((const uint8_t *)data, len);
        n++;
    }
    (void)closedir(dir);
    (void)printf("%d inputs replayed\n", n);
    return n ? 0 : 1;
}
