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

/* Days since 1970 of a day of the proleptic Gregorian calendar. What glibc has for this reads /etc/localtime first,
 * though it is all in UTC. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = month > 2 ? year
                          : year - 1; /* years that begin in March: the leap day is their last */
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static void date_of(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t d = z - era * 146097;
    int64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
    int64_t in_year = d - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * in_year + 2) / 153;

    *ret_day = (int)(in_year - (153 * m + 2) / 5) + 1;
    *ret_month = (int)(m < 10 ? m + 3 : m - 9);
    *ret_year = y + era * 400 + (*ret_month <= 2 ? 1 : 0);
}

void time_format_rfc3339(int64_t ns, char out[TIME_RFC3339_MAX])
{
    int64_t sec = ns / NSEC_PER_SEC;
    int64_t frac = ns % NSEC_PER_SEC;
    int64_t days, year;
    int rest, month, day;

    if (frac < 0) {
        frac += NSEC_PER_SEC;
        sec--;
    }
    if (ns == 0) {
        (void)snprintf(out, TIME_RFC3339_MAX, "%s", TIME_ZERO_RFC3339);
        return;
    }
    days = (sec >= 0 ? sec : sec - 86399) / 86400;
    rest = (int)(sec - days * 86400);
    date_of(days, &year, &month, &day); /* 64 bits of ns are the years 1677 to 2262 */
    (void)snprintf(out, TIME_RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%09dZ", (int)year, month,
                   day, rest / 3600, rest / 60 % 60, rest % 60, (int)frac);
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
    /* Nanoseconds of 64 bits end in the year 2262. */
    if (__builtin_mul_overflow(days_of(tm.tm_year, tm.tm_mon, tm.tm_mday) * 86400 +
                                   tm.tm_hour * 3600LL + tm.tm_min * 60LL + tm.tm_sec - offset,
                               NSEC_PER_SEC, &ns) ||
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
