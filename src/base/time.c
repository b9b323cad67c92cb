/* SPDX-License-Identifier: Apache-2.0 */
/* Times and their texts: see time.h. */
#include "base/time.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    (void)clock_gettime(clock, &ts);
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t time_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int64_t time_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

void time_format_rfc3339(int64_t ns, char out[TIME_RFC3339_MAX])
{
    int64_t sec = ns / NSEC_PER_SEC;
    int64_t frac = ns % NSEC_PER_SEC;
    time_t t;
    struct tm tm;

    if (frac < 0) {
        frac += NSEC_PER_SEC;
        sec--;
    }
    t = (time_t)sec;
    if (ns == 0 || !gmtime_r(&t, &tm) || tm.tm_year + 1900 > 9999) {
        (void)snprintf(out, TIME_RFC3339_MAX, "%s", TIME_ZERO_RFC3339);
        return;
    }
    (void)snprintf(out, TIME_RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%09dZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)frac);
}

/* Reads exactly n digits. */
static int digits(const char **s, int n, int *ret)
{
    int v = 0;

    for (int i = 0; i < n; i++) {
        if (!isdigit((unsigned char)(*s)[i]))
            return -EINVAL;
        v = v * 10 + ((*s)[i] - '0');
    }
    *s += n;
    *ret = v;
    return 0;
}

/* Reads ".123…" as nanoseconds, up to nine digits (more are dropped). */
static int fraction(const char **s, int64_t *ret)
{
    int64_t unit = NSEC_PER_SEC / 10;
    int64_t v = 0;

    if (**s != '.' || !isdigit((unsigned char)(*s)[1]))
        return -EINVAL;
    for ((*s)++; isdigit((unsigned char)**s); (*s)++) {
        v += (**s - '0') * unit;
        unit /= 10;
    }
    *ret = v;
    return 0;
}

static int parse_offset(const char **s, int64_t *ret)
{
    int sign = **s == '-' ? -1 : 1;
    int hour;
    int min;

    if (**s == 'Z' || **s == 'z') {
        (*s)++;
        *ret = 0;
        return 0;
    }
    if (**s != '+' && **s != '-')
        return -EINVAL;
    (*s)++;
    if (digits(s, 2, &hour) < 0 || *(*s)++ != ':' || digits(s, 2, &min) < 0)
        return -EINVAL;
    *ret = sign * (hour * 3600LL + min * 60LL);
    return 0;
}

/* "03:04[:05[.678]]" */
static int parse_clock(const char **s, bool relaxed, struct tm *tm, int64_t *ret_frac)
{
    if (digits(s, 2, &tm->tm_hour) < 0 || *(*s)++ != ':' || digits(s, 2, &tm->tm_min) < 0)
        return -EINVAL;
    if (**s == ':') {
        (*s)++;
        if (digits(s, 2, &tm->tm_sec) < 0 || (**s == '.' && fraction(s, ret_frac) < 0))
            return -EINVAL;
    } else if (!relaxed) {
        return -EINVAL;
    }
    return tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60 ? -EINVAL : 0;
}

/* One reader for the strict form and for Docker's relaxed one (date only, no seconds or offset). */
static int parse_date(const char *s, bool relaxed, int64_t *ret)
{
    struct tm tm = {0};
    int64_t frac = 0;
    int64_t offset = 0;
    int64_t ns;

    if (digits(&s, 4, &tm.tm_year) < 0 || *s++ != '-' || digits(&s, 2, &tm.tm_mon) < 0 ||
        *s++ != '-' || digits(&s, 2, &tm.tm_mday) < 0)
        return -EINVAL;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31)
        return -EINVAL;
    if (*s == 'T' || *s == 't' || *s == ' ') {
        s++;
        if (parse_clock(&s, relaxed, &tm, &frac) < 0)
            return -EINVAL;
    } else if (!relaxed) {
        return -EINVAL;
    }
    if ((*s || !relaxed) && parse_offset(&s, &offset) < 0)
        return -EINVAL;
    if (*s)
        return -EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    /* Nanoseconds of 64 bits end in the year 2262. */
    if (__builtin_mul_overflow((int64_t)timegm(&tm) - offset, NSEC_PER_SEC, &ns) ||
        __builtin_add_overflow(ns, frac, ret))
        return -ERANGE;
    return 0;
}

int time_parse_rfc3339(const char *s, int64_t *ret)
{
    if (STREQ(s, TIME_ZERO_RFC3339)) {
        *ret = 0;
        return 0;
    }
    return parse_date(s, false, ret);
}

int duration_parse(const char *s, int64_t *ret)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"ns", 1},
                 {"us", 1000},
                 {"ms", NSEC_PER_MSEC},
                 {"s", NSEC_PER_SEC},
                 {"m", 60 * NSEC_PER_SEC},
                 {"h", 3600 * NSEC_PER_SEC}};
    int64_t total = 0;

    if (STREQ(s, "0")) {
        *ret = 0;
        return 0;
    }
    if (!*s)
        return -EINVAL;
    while (*s) {
        char *end;
        double v;
        size_t n = 0;
        size_t i;

        if (!isdigit((unsigned char)*s) && *s != '.')
            return -EINVAL;
        v = strtod(s, &end);
        while (isalpha((unsigned char)end[n]))
            n++;
        for (i = 0; i < ARRAY_SIZE(units); i++)
            if (strlen(units[i].name) == n && strncmp(units[i].name, end, n) == 0)
                break;
        if (end == s || i == ARRAY_SIZE(units) || v * (double)units[i].ns > 9e18 - (double)total)
            return -EINVAL;
        total += (int64_t)(v * (double)units[i].ns);
        s = end + n;
    }
    *ret = total;
    return 0;
}

int time_parse_when(const char *s, int64_t now_ns, int64_t *ret)
{
    const char *p = s;
    int64_t sec = 0;
    int64_t frac = 0;
    int64_t span;

    if (duration_parse(s, &span) == 0 && !STREQ(s, "0")) {
        *ret = now_ns - span;
        return 0;
    }
    while (isdigit((unsigned char)*p) && p - s < 10)
        sec = sec * 10 + (*p++ - '0');
    if (p > s && (!*p || (*p == '.' && fraction(&p, &frac) == 0 && !*p))) {
        *ret = sec * NSEC_PER_SEC + frac;
        return 0;
    }
    return parse_date(s, true, ret);
}
