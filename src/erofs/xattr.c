/* SPDX-License-Identifier: Apache-2.0 */
/* See xattr.h. */
#include "erofs/xattr.h"

#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/str.h"
#include "erofs/format.h"

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define CAPABILITY  "security.capability"

/* More than this is not worth remembering. */
#define SHARE_MAX 1024u

static const struct {
    const char *prefix;
    uint8_t index;
} prefixes[] = {
    {"user.", EROFS_XATTR_USER},
    {"trusted.", EROFS_XATTR_TRUSTED},
    {"security.", EROFS_XATTR_SECURITY},
    {ACL_ACCESS, EROFS_XATTR_ACL_ACCESS},
    {ACL_DEFAULT, EROFS_XATTR_ACL_DEFAULT},
};

int erofs_xattr_split(const char *name, uint8_t *ret_index, const char **ret_rest)
{
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        bool whole = prefixes[i].index == EROFS_XATTR_ACL_ACCESS ||
                     prefixes[i].index == EROFS_XATTR_ACL_DEFAULT;
        const char *rest = name + strlen(prefixes[i].prefix);

        if (!str_has_prefix(name, prefixes[i].prefix) || whole != (*rest == 0))
            continue;
        *ret_index = prefixes[i].index;
        *ret_rest = rest;
        return 0;
    }
    return -EINVAL;
}

const char *erofs_xattr_prefix(unsigned index)
{
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        if (prefixes[i].index == index)
            return prefixes[i].prefix;
    }
    return NULL;
}

/* --- Lists ------------------------------------------------------------------------------------ */

void erofs_xattrs_done(struct erofs_xattrs *x)
{
    free(x->items);
    x->items = NULL;
    x->n = 0;
}

static struct layer_xattr *find(const struct erofs_xattrs *x, const char *name)
{
    for (size_t i = 0; i < x->n; i++) {
        if (STREQ(x->items[i].name, name))
            return &x->items[i];
    }
    return NULL;
}

void erofs_xattrs_set(struct erofs_xattrs *x, const char *name, const void *value, size_t size)
{
    struct layer_xattr *old = find(x, name);

    if (!old) {
        x->items = xreallocarray(x->items, x->n + 1, sizeof *x->items);
        old = &x->items[x->n++];
    }
    *old = (struct layer_xattr){name, value, size};
}

static void forget(struct erofs_xattrs *x, const char *name)
{
    struct layer_xattr *old = find(x, name);

    if (old)
        memmove(old, old + 1, (size_t)(&x->items[--x->n] - old) * sizeof *old);
}

void erofs_xattrs_pack(const struct erofs_xattrs *x, struct buf *out)
{
    out->max = BUF_UNLIMITED; /* the caller counts it */
    for (size_t i = 0; i < x->n; i++) {
        uint32_t size = (uint32_t)x->items[i].size;

        (void)buf_append(out, &size, sizeof size);
        (void)buf_append(out, x->items[i].name, strlen(x->items[i].name) + 1);
        (void)buf_append(out, x->items[i].value, size);
    }
}

void erofs_xattrs_unpack(struct erofs_xattrs *x, const char *packed, size_t len)
{
    const char *end = packed + len;

    while (packed < end) {
        const char *name = packed + sizeof(uint32_t);
        uint32_t size;

        memcpy(&size, packed, sizeof size);
        packed = name + strlen(name) + 1;
        erofs_xattrs_set(x, name, packed, size);
        packed += size;
    }
}

/* --- What setxattr(2) would do ------------------------------------------------------------------ */

enum acl_tag {
    ACL_USER_OBJ = 0x01,
    ACL_USER = 0x02,
    ACL_GROUP_OBJ = 0x04,
    ACL_GROUP = 0x08,
    ACL_MASK = 0x10,
    ACL_OTHER = 0x20,
};

struct acl_entry {
    uint16_t tag;
    uint16_t perm;
    uint32_t id;
} __attribute__((packed));

struct acl {
    uint32_t version;
    struct acl_entry entries[];
} __attribute__((packed));

#define ACL_VERSION 2u

/* The tags are bits in the order the list must have; three of them must be there, and a mask when
 * somebody is named. */
static bool acl_may_follow(unsigned last, unsigned tag, bool named)
{
    bool many = tag == ACL_USER || tag == ACL_GROUP;

    if (tag == 0 || tag > ACL_OTHER || (tag & (tag - 1)) || (many ? tag < last : tag <= last))
        return false;
    if ((last < ACL_USER_OBJ && tag != ACL_USER_OBJ) ||
        (last < ACL_GROUP_OBJ && tag > ACL_GROUP_OBJ))
        return false;
    return tag != ACL_OTHER || !named || last == ACL_MASK;
}

/* Where in the mode an entry can be seen. */
static uint32_t acl_mode(uint32_t mode, unsigned tag, unsigned perm)
{
    switch (tag) {
    case ACL_USER_OBJ:
        return mode | perm << 6;
    case ACL_GROUP_OBJ:
        return mode | perm << 3;
    case ACL_MASK:
        return (mode & ~070u) | perm << 3;
    case ACL_OTHER:
        return mode | perm;
    default:
        return mode;
    }
}

/*
 * Checks a list as the kernel does, and folds it into the mode where it can be seen there. 1: there
 * is more in it than the mode says; 0: nothing to keep.
 */
static int acl_check(const struct layer_xattr *x, uint32_t *mode)
{
    const struct acl *acl = x->value;
    size_t n = x->size < sizeof *acl ? 0 : (x->size - sizeof *acl) / sizeof acl->entries[0];
    uint32_t m = *mode & ~0777u;
    unsigned last = 0;
    bool more = false;
    bool named = false;

    if (x->size < sizeof *acl || (x->size - sizeof *acl) % sizeof acl->entries[0])
        return -EINVAL;
    if (le32toh(acl->version) != ACL_VERSION)
        return -EOPNOTSUPP;
    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        unsigned tag = le16toh(acl->entries[i].tag);
        unsigned perm = le16toh(acl->entries[i].perm);

        if (perm > 7 || !acl_may_follow(last, tag, named))
            return -EINVAL;
        named |= tag == ACL_USER || tag == ACL_GROUP;
        more |= named || tag == ACL_MASK;
        m = acl_mode(m, tag, perm);
        last = tag;
    }
    if (last != ACL_OTHER)
        return -EINVAL;
    *mode = m;
    return more;
}

void erofs_xattrs_chmod(struct erofs_xattrs *x, char *packed, uint32_t mode)
{
    const struct layer_xattr *old = find(x, ACL_ACCESS);
    struct acl *acl;
    struct acl_entry *group = NULL;
    size_t n;

    if (!old)
        return;
    acl = (struct acl *)(void *)(packed + ((const char *)old->value - packed));
    n = (old->size - sizeof *acl) / sizeof acl->entries[0];
    for (size_t i = 0; i < n; i++) {
        struct acl_entry *one = &acl->entries[i];
        unsigned tag = le16toh(one->tag);

        if (tag == ACL_USER_OBJ)
            one->perm = htole16((uint16_t)(mode >> 6 & 7));
        else if (tag == ACL_OTHER)
            one->perm = htole16((uint16_t)(mode & 7));
        else if (tag == ACL_GROUP_OBJ || tag == ACL_MASK)
            group = one; /* the mask comes later, and counts when it is there */
    }
    if (group)
        group->perm = htole16((uint16_t)(mode >> 3 & 7));
}

static int capability_check(const struct layer_xattr *x)
{
    const struct vfs_ns_cap_data *cap = x->value;
    uint32_t revision;

    if (x->size != XATTR_CAPS_SZ_2 && x->size != XATTR_CAPS_SZ_3)
        return -EINVAL;
    revision = le32toh(cap->magic_etc) & VFS_CAP_REVISION_MASK;
    if (revision != (x->size == XATTR_CAPS_SZ_2 ? VFS_CAP_REVISION_2 : VFS_CAP_REVISION_3))
        return -EINVAL;
    return 0;
}

/* 1: keep it; 0: this kind of file has no such attribute. */
static int check(const struct layer_xattr *x, enum layer_entry_type type, uint32_t *mode)
{
    const char *rest;
    uint32_t unused = 0;
    uint8_t index;
    int r = erofs_xattr_split(x->name, &index, &rest);

    if (r < 0)
        return r;
    if (strlen(x->name) > EROFS_NAME_MAX)
        return -ERANGE;
    if (x->size > UINT16_MAX)
        return -E2BIG;
    if (index == EROFS_XATTR_USER)
        return type == LAYER_FILE || type == LAYER_DIR;
    if (STREQ(x->name, ACL_ACCESS))
        return type == LAYER_SYMLINK ? 0 : acl_check(x, mode);
    if (STREQ(x->name, ACL_DEFAULT)) {
        /* No mode can say this one; one without entries takes away what was there. */
        r = type == LAYER_DIR ? acl_check(x, &unused) : 0;
        return r == 0 && type == LAYER_DIR ? x->size > sizeof(struct acl) : r;
    }
    if (STREQ(x->name, CAPABILITY))
        r = capability_check(x);
    return r < 0 ? r : 1;
}

bool erofs_xattr_is_kept(const struct layer_xattr *x, uint32_t mode)
{
    enum layer_entry_type type = S_ISDIR(mode)   ? LAYER_DIR
                                 : S_ISREG(mode) ? LAYER_FILE
                                 : S_ISLNK(mode) ? LAYER_SYMLINK
                                                 : LAYER_FIFO;

    return layer_xattr_is_wanted(x->name) && check(x, type, &mode) > 0;
}

int erofs_xattrs_take(struct erofs_xattrs *x, const struct layer_entry *entry, uint32_t *mode,
                      struct error *e)
{
    for (size_t i = 0; i < entry->xattr_count; i++) {
        const struct layer_xattr *item = &entry->xattrs[i];
        int r = 0;

        if (!layer_xattr_is_wanted(item->name))
            continue;
        r = check(item, entry->type, mode);
        if (r == -EOPNOTSUPP)
            continue;
        if (r < 0) {
            char what[300];
            char shown[280];

            layer_path_printable(item->name, shown, sizeof shown);
            (void)snprintf(what, sizeof what, "set attribute %s", shown);
            return layer_fail(entry->path, r, what, e);
        }
        if (r > 0)
            erofs_xattrs_set(x, item->name, item->value, item->size);
        else if (str_has_prefix(item->name, "system."))
            forget(x, item->name); /* the mode says it all */
    }
    return 0;
}

/* --- On disk ------------------------------------------------------------------------------------ */

void erofs_xattr_share_done(struct erofs_xattr_share *s)
{
    for (size_t i = 0; i < EROFS_XATTR_SLOTS; i++)
        free(s->slots[i].entry);
}

static size_t slot_of(const char *entry, size_t len)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)entry[i]) * 16777619u;
    return (h ^ h >> 16) % EROFS_XATTR_SLOTS;
}

/* Appends one entry, with what fills it up to a multiple of four. */
static void put_entry(struct buf *out, const struct layer_xattr *x)
{
    static const char zeros[4];
    struct erofs_disk_xattr head = {.value_size = htole16((uint16_t)x->size)};
    const char *rest = "";
    size_t size;

    (void)!erofs_xattr_split(x->name, &head.name_index, &rest); /* was looked at before */
    head.name_len = (uint8_t)strlen(rest);
    size = sizeof head + head.name_len + x->size;
    (void)buf_append(out, &head, sizeof head);
    (void)buf_append(out, rest, head.name_len);
    (void)buf_append(out, x->value, x->size);
    (void)buf_append(out, zeros, -size & 3);
}

int erofs_xattrs_encode(const struct erofs_xattrs *x, const struct erofs_xattr_share *s,
                        struct buf *body)
{
    AUTO(buf) struct buf entries = BUF_INIT(BUF_UNLIMITED);
    struct erofs_disk_xattr_head head = {.shared_count = 0};

    buf_clear(body);
    if (x->n == 0)
        return 0;
    (void)buf_append(body, &head, sizeof head);
    for (size_t i = 0; i < x->n; i++) {
        size_t start = entries.len;
        size_t len;
        size_t slot;

        put_entry(&entries, &x->items[i]);
        len = entries.len - start;
        slot = slot_of(entries.data + start, len);
        if (head.shared_count < UINT8_MAX && s->slots[slot].len == len &&
            memcmp(s->slots[slot].entry, entries.data + start, len) == 0) {
            uint32_t at = htole32(s->slots[slot].at);

            (void)buf_append(body, &at, sizeof at);
            entries.len = start;
            head.shared_count++;
        }
    }
    memcpy(body->data, &head, sizeof head);
    (void)buf_append(body, entries.data, entries.len);
    /* The count on disk has 16 bits. */
    return (body->len - sizeof head) / 4 + 1 > UINT16_MAX ? -E2BIG : 0;
}

void erofs_xattrs_placed(struct erofs_xattr_share *s, const char *body, size_t len, uint64_t offset)
{
    const struct erofs_disk_xattr_head *head = (const void *)body;
    size_t at = len ? sizeof *head + head->shared_count * sizeof(uint32_t) : 0;

    while (at < len) {
        const struct erofs_disk_xattr *x = (const void *)(body + at);
        size_t size = (sizeof *x + x->name_len + le16toh(x->value_size) + 3) & ~(size_t)3;
        size_t slot = slot_of(body + at, size);

        if (size <= SHARE_MAX && (offset + at) / 4 <= UINT32_MAX) {
            free(s->slots[slot].entry);
            s->slots[slot].entry = xmemdup(body + at, size);
            s->slots[slot].len = (uint32_t)size;
            s->slots[slot].at = (uint32_t)((offset + at) / 4);
        }
        at += size;
    }
}
