/* SPDX-License-Identifier: Apache-2.0 */
/* Companion programs: see self.h. */
#include "base/self.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

char *self_program_path(const char *name)
{
    const char *env = getenv("POUCH_LIBEXEC");
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

    if (env && *env)
        return xasprintf("%s/%s", env, name);
    if (n > 0) {
        char *slash;
        AUTOFREE char *path = NULL;

        exe[n] = 0;
        slash = strrchr(exe, '/');
        path = xasprintf("%.*s/%s", (int)(slash - exe), exe, name);
        if (access(path, X_OK) == 0)
            return take_ptr(path);
    }
    return xasprintf("%s/%s", POUCH_LIBEXECDIR, name);
}
