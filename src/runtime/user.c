/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users and groups of the image: its etc/passwd and etc/group are read here, line by line and
 * within the root; the host's users have nothing to say, and no NSS module is loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "runtime/runtime-priv.h"
#include "sys/path.h"

#define DATABASE_MAX (16u << 20)
#define ID_MAX_VALUE 2147483647 /* as Docker: ids are 0 … 2^31-1 */
#define FIELDS_MAX   7

/* The text of a file inside the root, "" when it is not there or no regular file. */
static int read_database(int rootfd, const char *path, char **ret, struct error *e)
{
    AUTOFD int fd = path_open_in(rootfd, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0, 0);
    struct stat st;
    char *text;
    ssize_t n;

    *ret = NULL;
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP) {
        *ret = xstrdup("");
        return 0;
    }
    if (fd < 0)
        return error_set_errno(e, fd, "cannot open the container's %s", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        *ret = xstrdup("");
        return 0;
    }
    if (st.st_size > DATABASE_MAX)
        return error_set(e, ERR_TOO_LARGE, "the container's %s is larger than 16 MiB", path);
    text = xmalloc((size_t)st.st_size + 1);
    n = fs_read_full(fd, text, (size_t)st.st_size);
    if (n < 0) {
        free(text);
        return error_set_errno(e, (int)n, "cannot read the container's %s", path);
    }
    text[n] = '\0';
    *ret = text;
    return 0;
}

/* Cuts the next line out of *at into fields at ':'; their number, 0 at the end of the text. */
static size_t next_record(char **at, char *fields[FIELDS_MAX])
{
    while (**at) {
        char *line = *at;
        char *end = line + strcspn(line, "\n");
        size_t n = 0;

        *at = *end ? end + 1 : end;
        *end = '\0';
        if (!*line || *line == '#')
            continue;
        while (n < FIELDS_MAX) {
            char *colon = strchr(line, ':');

            fields[n++] = line;
            if (!colon)
                break;
            *colon = '\0';
            line = colon + 1;
        }
        return n;
    }
    return 0;
}

static bool to_id(const char *text, uint32_t *ret)
{
    uint64_t v;

    if (parse_u64(text, &v) < 0 || v > UINT32_MAX - 1)
        return false;
    *ret = (uint32_t)v;
    return true;
}

static void add_group(struct process_user *u, gid_t gid)
{
    for (size_t i = 0; i < u->ngroups; i++)
        if (u->groups[i] == gid)
            return;
    u->groups = xreallocarray(u->groups, u->ngroups + 1, sizeof(gid_t));
    u->groups[u->ngroups++] = gid;
}

/* Finds the passwd entry by name, else by number; true with uid, gid, home. */
static bool find_user(const char *text, const char *want, struct process_user *ret, char **ret_name)
{
    AUTOFREE char *copy = xstrdup(text);
    char *fields[FIELDS_MAX];
    char *at = copy;
    uint32_t number = 0;
    bool is_number = to_id(want, &number), found = false;

    for (size_t n = next_record(&at, fields); n; n = next_record(&at, fields)) {
        uint32_t uid, gid;
        bool by_name = STREQ(fields[0], want);

        if (n < 4 || !to_id(fields[2], &uid) || !to_id(fields[3], &gid))
            continue;
        if (!by_name && (found || !is_number || uid != number))
            continue;
        ret->uid = uid;
        ret->gid = gid;
        str_replace(&ret->home, n > 5 ? fields[5] : "/");
        str_replace(ret_name, fields[0]);
        found = true;
        if (by_name)
            break; /* a name beats a number that was met before */
    }
    return found;
}

static bool find_group(const char *text, const char *want, gid_t *ret)
{
    AUTOFREE char *copy = xstrdup(text);
    char *fields[FIELDS_MAX];
    char *at = copy;

    for (size_t n = next_record(&at, fields); n; n = next_record(&at, fields))
        if (n >= 3 && STREQ(fields[0], want) && to_id(fields[2], ret))
            return true;
    return false;
}

/* Is name in the comma-separated list of members? */
static bool is_member(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");

        if (n == len && strncmp(p, name, n) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

static void add_member_groups(const char *text, const char *name, struct process_user *u)
{
    AUTOFREE char *copy = xstrdup(text);
    char *fields[FIELDS_MAX];
    char *at = copy;
    gid_t gid;

    for (size_t n = next_record(&at, fields); n; n = next_record(&at, fields))
        if (n >= 4 && to_id(fields[2], &gid) && is_member(fields[3], name))
            add_group(u, gid);
}

/* "name", "uid", "name:group", "uid:gid" … as Docker reads --user. */
static int lookup_named(int rootfd, const char *spec, struct process_user *ret, struct error *e)
{
    AUTOFREE char *want_user = xstrdup(spec);
    AUTOFREE char *passwd = NULL;
    AUTOFREE char *group = NULL;
    AUTOFREE char *name = NULL;
    char *want_group = strchr(want_user, ':');
    uint32_t id = 0;
    int r = read_database(rootfd, "/etc/passwd", &passwd, e);

    if (r == 0)
        r = read_database(rootfd, "/etc/group", &group, e);
    if (r < 0)
        return r;
    if (want_group)
        *want_group++ = '\0';
    if (!*want_user)
        (void)find_user(passwd, "0", ret, &name);
    else if (!find_user(passwd, want_user, ret, &name)) {
        if (!to_id(want_user, &id))
            return error_set(e, ERR_INVALID,
                             "unable to find user %s: no matching entries in passwd file",
                             want_user);
        if (id > ID_MAX_VALUE)
            return error_set(e, ERR_INVALID, "uids and gids must be in range 0-%d", ID_MAX_VALUE);
        ret->uid = id;
    }
    if (want_group && *want_group && !find_group(group, want_group, &ret->gid)) {
        if (!to_id(want_group, &id))
            return error_set(e, ERR_INVALID,
                             "unable to find group %s: no matching entries in group file",
                             want_group);
        if (id > ID_MAX_VALUE)
            return error_set(e, ERR_INVALID, "uids and gids must be in range 0-%d", ID_MAX_VALUE);
        ret->gid = id;
    }
    /* The primary group is among the others too: else a program that gives it up by setgid could
     * pass where the group is refused (CVE-2022-36109). */
    add_group(ret, ret->gid);
    if (name && (!want_group || !*want_group))
        add_member_groups(group, name, ret);
    return 0;
}

/* With ids given as numbers only the home folder is looked for. */
static int lookup_home(int rootfd, struct process_user *ret, struct error *e)
{
    AUTOFREE char *passwd = NULL;
    AUTOFREE char *name = NULL;
    struct process_user found = {0};
    char want[16];
    int r = read_database(rootfd, "/etc/passwd", &passwd, e);

    if (r < 0)
        return r;
    (void)snprintf(want, sizeof(want), "%u", ret->uid);
    if (find_user(passwd, want, &found, &name))
        ret->home = take_ptr(found.home);
    process_user_done(&found);
    return 0;
}

static int lookup_groups(int rootfd, char *const *names, struct process_user *ret, struct error *e)
{
    AUTOFREE char *group = NULL;
    int r = names && names[0] ? read_database(rootfd, "/etc/group", &group, e) : 0;

    for (size_t i = 0; r == 0 && names && names[i]; i++) {
        gid_t gid;

        if (!find_group(group, names[i], &gid) && !to_id(names[i], &gid))
            return error_set(e, ERR_INVALID,
                             "unable to find group %s: no matching entries in group file",
                             names[i]);
        add_group(ret, gid);
    }
    return r;
}

int user_lookup(int rootfd, const struct oci_user *u, struct process_user *ret, struct error *e)
{
    const uint64_t *gids = u->additional_gids.items;
    int r;

    if (!str_is_empty(u->username)) {
        r = lookup_named(rootfd, u->username, ret, e);
    } else {
        ret->uid = (uid_t)u->uid;
        ret->gid = (gid_t)u->gid;
        r = lookup_home(rootfd, ret, e);
    }
    for (size_t i = 0; r == 0 && i < u->additional_gids.len; i++) {
        if (gids[i] > UINT32_MAX - 1)
            r = error_set(e, ERR_INVALID, "process.user.additionalGids[%zu]: too large", i);
        else
            add_group(ret, (gid_t)gids[i]);
    }
    if (r == 0)
        r = lookup_groups(rootfd, u->group_names, ret, e);
    if (r < 0)
        process_user_done(ret);
    return r;
}

void process_user_done(struct process_user *u)
{
    free(u->groups);
    free(u->home);
    *u = (struct process_user){0};
}
