/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of single options of `create`: environment files, mounts, devices, limits. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/quotaspec.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "cli/create.h"

#define FILE_MAX (1 << 20)

/* --- Environment ------------------------------------------------------------------------- */

int env_add(char ***env, const char *text, struct error *e)
{
    const char *own;

    if (!*text || *text == '=')
        return error_set(e, ERR_INVALID, "invalid environment variable: %s", text);
    if (strchr(text, '=')) {
        strv_push(env, text);
        return 0;
    }
    own = getenv(text);
    if (own)
        strv_pushf(env, "%s=%s", text, own);
    else
        strv_push(env, text); /* takes it out of the image's environment */
    return 0;
}

int env_file_read(const char *path, char ***env, struct error *e)
{
    AUTOFREE char *text = NULL;
    AUTOPTR(strv) char **lines = NULL;
    size_t len = 0;
    int r = fs_read_file(AT_FDCWD, path, FILE_MAX, &text, &len);

    if (r < 0)
        return error_set_errno(e, r, "open %s", path);
    if (memchr(text, '\0', len))
        return error_set(e, ERR_INVALID, "%s is not a text file", path);
    lines = strv_split(str_has_prefix(text, "\xef\xbb\xbf") ? text + 3 : text, "\n", true);
    for (char **l = lines; l && *l; l++) {
        char *line = *l + strspn(*l, " \t\r\v\f");
        size_t name = strcspn(line, "=");
        size_t blank = strcspn(line, " \t\r\v\f");

        if (*line && line[strlen(line) - 1] == '\r')
            line[strlen(line) - 1] = '\0';
        if (!*line || *line == '#')
            continue;
        if (name == 0)
            return error_set(e, ERR_INVALID,
                             "poorly formatted environment: no variable name on "
                             "line '%s'",
                             line);
        if (blank < name && line[blank])
            return error_set(e, ERR_INVALID,
                             "poorly formatted environment: variable '%.*s' "
                             "contains whitespaces",
                             (int)name, line);
        if (line[name] == '=')
            strv_push(env, line);
        else if (getenv(line))
            strv_pushf(env, "%s=%s", line, getenv(line));
    }
    return 0;
}

/* --- Storage ----------------------------------------------------------------------------- */

int create_bind(const char *text, char **ret_bind, char **ret_target, struct error *e)
{
    AUTOPTR(strv) char **parts = strv_split(text, ":", false);
    size_t n = strv_len(parts);

    if (n < 1 || n > 3 || !*parts[0] || (n > 1 && !*parts[1]))
        return error_set(e, ERR_INVALID, "invalid spec: %s: want [SOURCE:]TARGET[:OPTIONS]", text);
    *ret_bind = *ret_target = NULL;
    if (n == 1) {
        if (*text != '/')
            return error_set(e, ERR_INVALID,
                             "invalid spec: %s: the path in the container must be absolute", text);
        *ret_target = xstrdup(text);
        return 0;
    }
    if (parts[0][0] == '.' || parts[0][0] == '~') { /* a path relative to where we are */
        char cwd[PATH_MAX];

        if (parts[0][0] == '~' || !getcwd(cwd, sizeof cwd))
            return error_set(e, ERR_INVALID, "invalid spec: %s: the source is no absolute path",
                             text);
        if (STREQ(parts[0], "."))
            *ret_bind = xasprintf("%s%s", cwd, text + 1);
        else
            *ret_bind = xasprintf("%s/%s", cwd, text + (str_has_prefix(text, "./") ? 2 : 0));
        return 0;
    }
    *ret_bind = xstrdup(text);
    return 0;
}

struct mount_fields {
    const char *type, *source, *target, *propagation, *driver, *consistency;
    bool read_only, non_recursive, no_copy;
    struct json_map labels, options;
    int64_t tmpfs_size;
    uint64_t tmpfs_mode;
    bool has_size, has_mode;
};

static int mount_flag(const char *value, bool *ret)
{
    if (!value || STREQ(value, "true") || STREQ(value, "1"))
        *ret = true;
    else if (STREQ(value, "false") || STREQ(value, "0"))
        *ret = false;
    else
        return -EINVAL;
    return 0;
}

static int map_add(struct json_map *map, const char *assignment)
{
    size_t len = strcspn(assignment, "=");
    AUTOFREE char *key = xstrndup(assignment, len);

    if (!len)
        return -EINVAL;
    json_map_set(map, key, assignment[len] ? assignment + len + 1 : "");
    return 0;
}

/* Values that are texts: the key's place in the struct. */
static const char **mount_text(struct mount_fields *m, const char *key)
{
    if (STREQ(key, "type"))
        return &m->type;
    if (STREQ(key, "source") || STREQ(key, "src"))
        return &m->source;
    if (STREQ(key, "target") || STREQ(key, "dst") || STREQ(key, "destination"))
        return &m->target;
    if (STREQ(key, "bind-propagation"))
        return &m->propagation;
    if (STREQ(key, "volume-driver"))
        return &m->driver;
    if (STREQ(key, "consistency"))
        return &m->consistency;
    return NULL;
}

/* 1: the key is unknown. */
static int mount_value(struct mount_fields *m, const char *key, const char *value)
{
    char *end;

    if (STREQ(key, "readonly") || STREQ(key, "ro"))
        return mount_flag(value, &m->read_only);
    if (STREQ(key, "bind-nonrecursive"))
        return mount_flag(value, &m->non_recursive);
    if (STREQ(key, "volume-nocopy"))
        return mount_flag(value, &m->no_copy);
    if (!value)
        return -EINVAL;
    if (STREQ(key, "volume-label"))
        return map_add(&m->labels, value);
    if (STREQ(key, "volume-opt"))
        return map_add(&m->options, value);
    if (STREQ(key, "tmpfs-size")) {
        m->has_size = true;
        return parse_size(value, &m->tmpfs_size);
    }
    if (STREQ(key, "tmpfs-mode")) {
        m->has_mode = true;
        m->tmpfs_mode = strtoull(value, &end, 8);
        return *end || !*value || m->tmpfs_mode > 07777 ? -EINVAL : 0;
    }
    return 1;
}

/* Splits key=value,key="a,b",key at commas outside quotes, as CSV. */
static char **split_csv(const char *text)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    char **fields = NULL;
    bool quoted = false;

    for (const char *p = text;; p++) {
        if (*p == '"') {
            quoted = !quoted;
        } else if (!*p || (*p == ',' && !quoted)) {
            strv_push_take(&fields, buf_take(&b));
            if (!*p)
                return fields;
        } else {
            (void)buf_putc(&b, *p);
        }
    }
}

static int mount_read(struct mount_fields *m, char **fields, const char *text, struct error *e)
{
    for (char **f = fields; *f; f++) {
        char *value = strchr(*f, '=');
        const char **place;
        int r = 0;

        if (value)
            *value++ = '\0';
        place = mount_text(m, *f);
        if (place && value)
            *place = value;
        else
            r = place ? -EINVAL : mount_value(m, *f, value);
        if (r > 0)
            return error_set(e, ERR_INVALID,
                             "invalid argument \"%s\" for \"--mount\" flag: "
                             "unexpected key '%s'",
                             text, *f);
        if (r < 0)
            return error_set(e, ERR_INVALID,
                             "invalid argument \"%s\" for \"--mount\" flag: "
                             "invalid value for %s: %s",
                             text, *f, value ? value : "(none)");
    }
    return 0;
}

static int mount_check(const struct mount_fields *m, const char *text, struct error *e)
{
    const char *why = NULL;
    bool bind = STREQ(m->type, "bind"), volume = STREQ(m->type, "volume");
    bool tmpfs = STREQ(m->type, "tmpfs");

    if (!bind && !volume && !tmpfs)
        return error_set(e, ERR_INVALID,
                         "invalid argument \"%s\" for \"--mount\" flag: type "
                         "\"%s\" is not supported (want bind, volume or tmpfs)",
                         text, m->type);
    if (!m->target)
        why = "target is required";
    else if (bind && !m->source)
        why = "type bind needs a source";
    else if (tmpfs && m->source)
        why = "type tmpfs has no source";
    else if (!bind && (m->propagation || m->non_recursive))
        why = "bind-* options are for type bind";
    else if (!volume && (m->driver || m->no_copy || m->labels.len || m->options.len))
        why = "volume-* options are for type volume";
    else if (!tmpfs && (m->has_size || m->has_mode))
        why = "tmpfs-* options are for type tmpfs";
    if (why)
        return error_set(e, ERR_INVALID, "invalid argument \"%s\" for \"--mount\" flag: %s", text,
                         why);
    return 0;
}

static void mount_write(struct jsonw *w, const struct mount_fields *m)
{
    jsonw_begin(w, NULL);
    jsonw_str(w, "Type", m->type);
    if (m->source && m->source[0] == '.' && STREQ(m->type, "bind")) {
        AUTOFREE char *absolute = realpath(m->source, NULL);

        jsonw_str(w, "Source", absolute ? absolute : m->source);
    } else if (m->source) {
        jsonw_str(w, "Source", m->source);
    }
    jsonw_str(w, "Target", m->target);
    if (m->read_only)
        jsonw_bool(w, "ReadOnly", true);
    if (m->consistency)
        jsonw_str(w, "Consistency", m->consistency);
    if (m->propagation || m->non_recursive) {
        jsonw_begin(w, "BindOptions");
        if (m->propagation)
            jsonw_str(w, "Propagation", m->propagation);
        if (m->non_recursive)
            jsonw_bool(w, "NonRecursive", true);
        jsonw_end(w);
    }
    if (m->driver || m->no_copy || m->labels.len || m->options.len) {
        jsonw_begin(w, "VolumeOptions");
        if (m->no_copy)
            jsonw_bool(w, "NoCopy", true);
        if (m->labels.len)
            jsonw_map(w, "Labels", &m->labels);
        if (m->driver || m->options.len) {
            jsonw_begin(w, "DriverConfig");
            jsonw_str(w, "Name", m->driver);
            jsonw_map(w, "Options", &m->options);
            jsonw_end(w);
        }
        jsonw_end(w);
    }
    if (m->has_size || m->has_mode) {
        jsonw_begin(w, "TmpfsOptions");
        if (m->has_size)
            jsonw_int(w, "SizeBytes", m->tmpfs_size);
        if (m->has_mode)
            jsonw_uint(w, "Mode", m->tmpfs_mode);
        jsonw_end(w);
    }
    jsonw_end(w);
}

int create_mount(struct jsonw *w, const char *text, struct error *e)
{
    AUTOPTR(strv) char **fields = split_csv(text);
    struct mount_fields m = {.type = "volume"};
    int r = mount_read(&m, fields, text, e);

    if (r == 0)
        r = mount_check(&m, text, e);
    if (r == 0)
        mount_write(w, &m);
    json_map_done(&m.labels);
    json_map_done(&m.options);
    return r;
}

/* --- Limits and devices ------------------------------------------------------------------ */

static int error_flag(struct error *e, const char *flag, const char *text, const char *why)
{
    return error_set(e, ERR_INVALID, "invalid argument \"%s\" for \"--%s\" flag: %s", text, flag,
                     why);
}

int create_ulimit(struct jsonw *w, const char *text, struct error *e)
{
    static const char *const names[] = {"core",    "cpu",      "data",   "fsize",      "locks",
                                        "memlock", "msgqueue", "nice",   "nofile",     "nproc",
                                        "rss",     "rtprio",   "rttime", "sigpending", "stack"};
    size_t len = strcspn(text, "=");
    AUTOFREE char *name = xstrndup(text, len);
    AUTOPTR(strv) char **values = strv_split(text[len] ? text + len + 1 : "", ":", false);
    int64_t soft, hard;
    bool known = false;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        known |= STREQ(names[i], name);
    if (!text[len] || strv_len(values) > 2 || !*values[0])
        return error_flag(e, "ulimit", text, "want NAME=SOFT[:HARD]");
    if (!known)
        return error_flag(e, "ulimit", text, "no such ulimit");
    if (parse_i64(values[0], &soft) < 0 || parse_i64(values[1] ? values[1] : values[0], &hard) < 0)
        return error_flag(e, "ulimit", text, "the limits are not numbers");
    if (hard != -1 && (soft > hard || soft == -1))
        return error_flag(e, "ulimit", text, "the soft limit is above the hard limit");
    jsonw_begin(w, NULL);
    jsonw_str(w, "Name", name);
    jsonw_int(w, "Hard", hard);
    jsonw_int(w, "Soft", soft);
    jsonw_end(w);
    return 0;
}

static bool is_device_mode(const char *s)
{
    return *s && strspn(s, "rwm") == strlen(s) && strlen(s) <= 3;
}

int create_device(struct jsonw *w, const char *text, struct error *e)
{
    AUTOPTR(strv) char **parts = strv_split(text, ":", false);
    size_t n = strv_len(parts);
    const char *target = parts[0], *mode = "rwm";

    if (n > 3 || !*parts[0])
        return error_flag(e, "device", text, "want PATH[:PATH-IN-CONTAINER][:rwm]");
    if (n == 3) {
        target = parts[1];
        mode = parts[2];
    } else if (n == 2 && is_device_mode(parts[1])) {
        mode = parts[1];
    } else if (n == 2) {
        target = parts[1];
    }
    if (!is_device_mode(mode))
        return error_flag(e, "device", text, "the mode may consist of r, w and m");
    if (*parts[0] != '/' || *target != '/')
        return error_flag(e, "device", text, "the paths must be absolute");
    jsonw_begin(w, NULL);
    jsonw_str(w, "PathOnHost", parts[0]);
    jsonw_str(w, "PathInContainer", target);
    jsonw_str(w, "CgroupPermissions", mode);
    jsonw_end(w);
    return 0;
}

/* PATH:NUMBER, the path absolute. */
static int split_device(const char *flag, const char *text, char **ret_path, const char **ret_value,
                        struct error *e)
{
    const char *colon = strrchr(text, ':');

    if (!colon || !colon[1] || *text != '/')
        return error_flag(e, flag, text, "want /dev/NAME:VALUE");
    *ret_path = xstrndup(text, (size_t)(colon - text));
    *ret_value = colon + 1;
    return 0;
}

int create_rate(struct jsonw *w, const char *flag, const char *text, bool bytes, struct error *e)
{
    AUTOFREE char *path = NULL;
    const char *value;
    int64_t rate;
    int r = split_device(flag, text, &path, &value, e);

    if (r < 0)
        return r;
    if ((bytes ? parse_size(value, &rate) : parse_i64(value, &rate)) < 0 || rate < 0)
        return error_flag(e, flag, text, "the rate is not a positive number");
    jsonw_begin(w, NULL);
    jsonw_str(w, "Path", path);
    jsonw_int(w, "Rate", rate);
    jsonw_end(w);
    return 0;
}

int create_weight(struct jsonw *w, const char *text, struct error *e)
{
    AUTOFREE char *path = NULL;
    const char *value;
    int64_t weight;
    int r = split_device("blkio-weight-device", text, &path, &value, e);

    if (r < 0)
        return r;
    if (parse_i64(value, &weight) < 0 || (weight != 0 && (weight < 10 || weight > 1000)))
        return error_flag(e, "blkio-weight-device", text,
                          "the weight must be between 10 and 1000, or 0");
    jsonw_begin(w, NULL);
    jsonw_str(w, "Path", path);
    jsonw_int(w, "Weight", weight);
    jsonw_end(w);
    return 0;
}

int create_restart(struct jsonw *w, const char *text, struct error *e)
{
    size_t len = strcspn(text, ":");
    AUTOFREE char *name = xstrndup(text, len);
    int64_t count = 0;

    if (!STREQ(name, "no") && !STREQ(name, "always") && !STREQ(name, "unless-stopped") &&
        !STREQ(name, "on-failure") && *name)
        return error_flag(e, "restart", text, "want no, always, unless-stopped or on-failure[:N]");
    if (text[len] && !STREQ(name, "on-failure"))
        return error_flag(e, "restart", text, "only on-failure takes a count");
    if (text[len] && (parse_i64(text + len + 1, &count) < 0 || count < 0))
        return error_flag(e, "restart", text, "the count is not a positive number");
    jsonw_begin(w, "RestartPolicy");
    jsonw_str(w, "Name", name);
    jsonw_int(w, "MaximumRetryCount", count);
    jsonw_end(w);
    return 0;
}

int create_security_opt(const char *text, char **ret, struct error *e)
{
    size_t len = strcspn(text, "=");
    const char *value = text[len] ? text + len + 1 : NULL;
    AUTOFREE char *file = NULL;
    AUTO(buf) struct buf compact = BUF_INIT(BUF_UNLIMITED);
    AUTOPTR(json_value) struct json_value *profile = NULL;
    size_t size = 0;
    int r;

    if (!value && (len = strcspn(text, ":"), text[len]))
        value = text + len + 1; /* the old form with a colon */
    if (!value && !STREQ(text, "no-new-privileges"))
        return error_flag(e, "security-opt", text, "want NAME=VALUE");
    if (!value || len != strlen("seccomp") || strncmp(text, "seccomp", len) != 0 ||
        STREQ(value, "unconfined") || STREQ(value, "builtin")) {
        *ret = xstrdup(text);
        return 0;
    }
    r = fs_read_file(AT_FDCWD, value, FILE_MAX, &file, &size);
    if (r < 0)
        return error_set_errno(e, r, "opening seccomp profile (%s) failed", value);
    r = json_value_parse(file, size, &profile, e);
    if (r < 0) {
        error_add(e, "seccomp profile (%s)", value);
        return r;
    }
    json_value_print(profile, false, &compact);
    *ret = xasprintf("seccomp=%s", buf_str(&compact));
    return 0;
}

int create_disk_quota(struct jsonw *w, char *const *list, bool *ret_bare, struct error *e)
{
    struct json_map map = {0};
    bool bare = false;
    int r = 0;

    for (char *const *l = list; r == 0 && l && *l; l++)
        r = quotaspec_add(&map, *l, &bare, e);
    if (r == 0 && map.len)
        jsonw_map(w, "DiskQuota", &map);
    json_map_done(&map);
    if (ret_bare)
        *ret_bare = bare;
    return r;
}
