/* SPDX-License-Identifier: Apache-2.0 */
/* Run by meson, not built into anything: does quick-start.c work with this C library? 0 is yes. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>
#include <unistd.h>

#include "base/quick-start.c"

static _Thread_local int tls = 42;
static int constructed;

__attribute__((constructor)) static void construct(void)
{
    constructed = 1;
}

static void ending(void)
{
    _Exit(tls == 43 ? 0 : 9);
}

/* All sizes at which memcpy() takes another way. */
static int copies(void)
{
    for (size_t n = 1; n <= (16u << 20); n = n * 2 + 1) {
        char *a = malloc(n), *b = malloc(n);

        if (!a || !b)
            return 0;
        for (size_t i = 0; i < n; i++)
            a[i] = (char)(i * 7);
        memset(b, 1, n);
        memcpy(b, a, n);
        for (size_t i = 0; i < n; i++)
            if (b[i] != (char)(i * 7))
                return 0;
        memmove(b, b + n / 3, n - n / 3);
        for (size_t i = 0; i < n - n / 3; i++)
            if (b[i] != (char)((i + n / 3) * 7))
                return 0;
        free(a);
        free(b);
    }
    return 1;
}

static void *in_thread(void *data)
{
    return tls == 42 ? data : NULL;
}

int main(int argc, char **argv, char **env)
{
    struct timespec now;
    pthread_t thread;
    void *done = NULL;
    char text[64];

    if (!constructed || argc < 1 || env != __environ || !getauxval(AT_PHDR))
        return 1;
    if (tls++ != 42 || !copies())
        return 2;
    if (snprintf(text, sizeof(text), "%s %.3f", "a", 1.5) != 7 || strcmp(text, "a 1.500") != 0)
        return 3;
    if (chdir("/nowhere/at/all") == 0 || errno != ENOENT ||
        clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return 4;
    if (pthread_create(&thread, NULL, in_thread, text) != 0 || pthread_join(thread, &done) != 0 ||
        done != text)
        return 5;
    return atexit(ending) == 0 ? 7 : 6;
}
