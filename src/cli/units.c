/* SPDX-License-Identifier: Apache-2.0 */
/* See units.h. */
#include "cli/units.h"

#include <stdio.h>

const char *units_duration(int64_t seconds, char out[UNITS_MAX])
{
    int64_t hours = (seconds + 1800) / 3600;
    int64_t minutes = seconds / 60;

    if (seconds < 1)
        (void)snprintf(out, UNITS_MAX, "Less than a second");
    else if (seconds == 1)
        (void)snprintf(out, UNITS_MAX, "1 second");
    else if (seconds < 60)
        (void)snprintf(out, UNITS_MAX, "%d seconds", (int)seconds);
    else if (minutes == 1)
        (void)snprintf(out, UNITS_MAX, "About a minute");
    else if (minutes < 60)
        (void)snprintf(out, UNITS_MAX, "%d minutes", (int)minutes);
    else if (hours == 1)
        (void)snprintf(out, UNITS_MAX, "About an hour");
    else if (hours < 48)
        (void)snprintf(out, UNITS_MAX, "%d hours", (int)hours);
    else if (hours < 24 * 7 * 2)
        (void)snprintf(out, UNITS_MAX, "%d days", (int)(hours / 24));
    else if (hours < 24 * 30 * 2)
        (void)snprintf(out, UNITS_MAX, "%d weeks", (int)(hours / 24 / 7));
    else if (hours < 24 * 365 * 2)
        (void)snprintf(out, UNITS_MAX, "%d months", (int)(hours / 24 / 30));
    else
        (void)snprintf(out, UNITS_MAX, "%d years", (int)(seconds / 3600 / 24 / 365));
    return out;
}

/* The number in the largest unit that leaves it at least 1, with so many significant digits. */
static const char *format(int64_t bytes, int digits, double base, const char *const *units,
                          char out[UNITS_MAX])
{
    double v = (double)bytes;
    double limit = digits == 3 ? 1000 : 10000; /* the first number with a digit too many */
    int i = 0;

    while (v >= base && i < 6) {
        v /= base;
        i++;
    }
    /* 999.9 at three digits would print as 1e+03: it is 1 of the next unit. */
    if (i < 6 && base < 1001 && v >= base - 500 / limit) {
        v /= base;
        i++;
    }
    if (v >= limit - 0.5) /* four digits in binary units: 1023 of 1024 */
        digits = 4;
    (void)snprintf(out, UNITS_MAX, "%.*g%s", digits, v, units[i]);
    return out;
}

static const char *const decimal[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
static const char *const binary[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

const char *units_size(int64_t bytes, char out[UNITS_MAX])
{
    return format(bytes, 3, 1000, decimal, out);
}

const char *units_size4(int64_t bytes, char out[UNITS_MAX])
{
    return format(bytes, 4, 1000, decimal, out);
}

const char *units_bytes(int64_t bytes, char out[UNITS_MAX])
{
    return format(bytes, 4, 1024, binary, out);
}
