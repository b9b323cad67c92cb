/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms, with containerd's normal forms (Go's names for architectures). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/strv.h"
#include "oci/platform.h"

static const struct json_field platform_fields[] = {
    JSON_FIELD(struct oci_platform, os, "os", JSON_STR, 0),
    JSON_FIELD(struct oci_platform, architecture, "architecture", JSON_STR, 0),
    JSON_FIELD(struct oci_platform, variant, "variant", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_platform, os_version, "os.version", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct oci_platform, os_features, "os.features", JSON_STRV, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc oci_platform_json = {"platform", sizeof(struct oci_platform),
                                            platform_fields};

/* Other names of architectures, and the variant they imply. */
static const struct {
    const char *alias, *architecture, *variant;
} ARCHITECTURES[] = {
    {"x86_64", "amd64", NULL},
    {"x86-64", "amd64", NULL},
    {"i386", "386", NULL},
    {"i486", "386", NULL},
    {"i586", "386", NULL},
    {"i686", "386", NULL},
    {"aarch64", "arm64", NULL},
    {"aarch64_be", "arm64_be", NULL},
    {"armhf", "arm", "v7"},
    {"armel", "arm", "v6"},
    {"armv5l", "arm", "v5"},
    {"armv6l", "arm", "v6"},
    {"armv7l", "arm", "v7"},
    {"armv8l", "arm", "v7"},
    {"loongarch64", "loong64", NULL},
    {"powerpc64le", "ppc64le", NULL},
};

/* Architectures that can stand alone in "arm64" or "arm/v7" without an OS. */
static bool is_architecture(const char *s)
{
    static const char *const known[] = {"amd64",   "arm64",    "arm",   "386",
                                        "riscv64", "ppc64le",  "s390x", "loong64",
                                        "mips64",  "mips64le", "ppc64"};

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (STREQ(s, known[i]))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(ARCHITECTURES); i++)
        if (STREQ(s, ARCHITECTURES[i].alias))
            return true;
    return false;
}

static void lower(char *s)
{
    for (; s && *s; s++)
        *s = (char)tolower((unsigned char)*s);
}

void oci_platform_normalize(struct oci_platform *p)
{
    lower(p->os);
    lower(p->architecture);
    lower(p->variant);
    if (p->os && STREQ(p->os, "macos"))
        str_replace(&p->os, "darwin");
    for (size_t i = 0; p->architecture && i < ARRAY_SIZE(ARCHITECTURES); i++) {
        if (!STREQ(p->architecture, ARCHITECTURES[i].alias))
            continue;
        str_replace(&p->architecture, ARCHITECTURES[i].architecture);
        if (ARCHITECTURES[i].variant && str_is_empty(p->variant))
            str_replace(&p->variant, ARCHITECTURES[i].variant);
        break;
    }
    if (!p->architecture)
        return;
    if (STREQ(p->architecture, "arm64") && str_is_empty(p->variant))
        str_replace(&p->variant, "v8");
    else if (STREQ(p->architecture, "arm") && str_is_empty(p->variant))
        str_replace(&p->variant, "v7");
    else if (STREQ(p->architecture, "amd64") && p->variant && STREQ(p->variant, "v1"))
        str_replace(&p->variant, NULL);
    else if (p->variant && isdigit((unsigned char)p->variant[0])) {
        char *v = xasprintf("v%s", p->variant);
        free(p->variant);
        p->variant = v;
    }
    if (p->variant && !*p->variant)
        str_replace(&p->variant, NULL);
}

void oci_platform_host(struct oci_platform *ret)
{
    struct utsname u;

    memset(ret, 0, sizeof(*ret));
    ret->os = xstrdup("linux");
    ret->architecture = xstrdup(uname(&u) == 0 ? u.machine : "amd64");
    oci_platform_normalize(ret);
}

static bool part_is_valid(const char *s)
{
    return *s && strlen(s) <= 32 &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
               strlen(s);
}

int oci_platform_parse(const char *text, struct oci_platform *ret, struct error *e)
{
    if (str_is_empty(text)) {
        oci_platform_host(ret);
        return 0;
    }
    if (*text == '{') { /* as the newer Docker clients write it */
        struct oci_platform doc = {0};
        int r = json_parse(&oci_platform_json, text, strlen(text), &doc, e);

        if (r < 0)
            return r;
        if (str_is_empty(doc.os) || !part_is_valid(doc.os) ||
            (doc.architecture && !part_is_valid(doc.architecture)) ||
            (doc.variant && *doc.variant && !part_is_valid(doc.variant))) {
            oci_platform_done(&doc);
            return error_set(e, ERR_INVALID, "invalid platform %.200s", text);
        }
        if (str_is_empty(doc.variant))
            str_replace(&doc.variant, NULL);
        oci_platform_normalize(&doc);
        *ret = doc;
        return 0;
    }
    AUTOPTR(strv) char **parts = strv_split(text, "/", false);
    size_t n = strv_len(parts);
    for (size_t i = 0; i < n; i++)
        if (!part_is_valid(parts[i]))
            n = 0;
    if (n == 0 || n > 3)
        return error_set(e, ERR_INVALID,
                         "invalid platform \"%.100s\": expected OS/ARCHITECTURE[/VARIANT], "
                         "for example linux/arm64",
                         text);
    struct oci_platform p = {0};
    size_t i = 0;
    if (n < 3 && is_architecture(parts[0]))
        p.os = xstrdup("linux");
    else
        p.os = xstrdup(parts[i++]);
    if (i < n) {
        p.architecture = xstrdup(parts[i++]);
        if (i < n)
            p.variant = xstrdup(parts[i]);
    } else {
        struct oci_platform host;
        oci_platform_host(&host);
        p.architecture = take_ptr(host.architecture);
        p.variant = take_ptr(host.variant);
        oci_platform_done(&host);
    }
    oci_platform_normalize(&p);
    *ret = p;
    return 0;
}

void oci_platform_done(struct oci_platform *p)
{
    json_free(&oci_platform_json, p);
}

/* The number in "v7"; 0 when it has none. */
static int variant_number(const char *v)
{
    return v && v[0] == 'v' && isdigit((unsigned char)v[1]) ? v[1] - '0' : 0;
}

static int rank_variant(const struct oci_platform *want, const struct oci_platform *have)
{
    const char *w = want->variant ? want->variant : "";
    const char *h = have->variant ? have->variant : "";

    if (STREQ(w, h))
        return 100;
    int wn = variant_number(w), hn = variant_number(h);
    if (have->architecture && STREQ(have->architecture, "arm"))
        return hn >= 5 && hn <= wn ? 10 + hn : 0;
    if (have->architecture && STREQ(have->architecture, "amd64")) {
        if (wn == 0)
            wn = 1;
        if (hn == 0)
            hn = 1;
        return hn <= wn ? 10 + hn : 0;
    }
    return !*w || !*h ? 50 : 0;
}

int oci_platform_rank(const struct oci_platform *want, const struct oci_platform *have)
{
    struct oci_platform h = {0};
    int rank = 0;

    json_copy(&oci_platform_json, &h, have);
    oci_platform_normalize(&h);
    if (want->os && h.os && *h.os && !STREQ(want->os, h.os))
        rank = 0;
    else if (want->architecture && h.architecture && *h.architecture) {
        if (STREQ(want->architecture, h.architecture))
            rank = rank_variant(want, &h);
        else if (STREQ(want->architecture, "arm64") && STREQ(h.architecture, "arm"))
            rank = 1; /* most arm64 machines run 32 bit programs */
        else if (STREQ(want->architecture, "amd64") && STREQ(h.architecture, "386"))
            rank = 1;
    } else {
        rank = 5;
    }
    oci_platform_done(&h);
    return rank;
}

char *oci_platform_string(const struct oci_platform *p)
{
    return xasprintf("%s/%s%s%s", p->os ? p->os : "unknown",
                     p->architecture ? p->architecture : "unknown", p->variant ? "/" : "",
                     p->variant ? p->variant : "");
}
