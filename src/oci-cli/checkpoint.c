/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint, restore: the processes of a container to files and back, by criu.
 *
 * Beside criu's own files two of ours stand in the image folder: descriptors.json (as runc writes
 * it: what standard input, output and error of init were, so that restore puts its own in their
 * place) and pouch.json (which mounts came from outside of the container).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/time.h"
#include "oci-cli/criu.h"
#include "oci-cli/oci-cli.h"
#include "runtime/runtime.h"
#include "sys/cgroup.h"
#include "sys/path.h"

#define IMAGES      "checkpoint" /* runc's default */
#define DESCRIPTORS "descriptors.json"
#define OURS        "pouch.json"
#define NET_KEY     "extRootNetNS"
#define IMAGE_MAX   ((size_t)4 << 20)
#define FIRST_FD    20

/* --- what is kept in the image folder ------------------------------------------------------- */

struct outside {     /* a mount that comes from outside of the container */
    char *path;      /* inside */
    char *source;    /* on the host, where config.json does not tell it */
    char *in_cgroup; /* below the container's own cgroup there, which may have another name later */
};
struct image {
    char *
        *descriptors; /* "pipe:[1]", "socket:[1]", "file[mnt:inode]", or a path in the container */
    struct json_list mounts; /* struct outside */
};

#define TYPE struct outside
static const struct json_field outside_fields[] = {
    JSON_FIELD(TYPE, path, "path", JSON_STR, JSON_REQUIRED),
    JSON_FIELD(TYPE, source, "source", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(TYPE, in_cgroup, "inCgroup", JSON_STR, JSON_OMIT_EMPTY),
    JSON_END,
};
#undef TYPE
static const struct json_desc outside_json = {"mount", sizeof(struct outside), outside_fields};
static const struct json_field image_fields[] = {
    JSON_FIELD(struct image, descriptors, "descriptors", JSON_STRV, 0),
    JSON_FIELD_SUB(struct image, mounts, "mounts", JSON_OBJ_LIST, 0, &outside_json),
    JSON_END,
};
static const struct json_desc image_json = {"image", sizeof(struct image), image_fields};

static void image_done(struct image *i)
{
    json_free(&image_json, i);
}

static int image_write(int dir, const struct image *i, struct error *e)
{
    AUTOFREE char *ours = json_print_str(&image_json, i);
    AUTO(buf) struct buf list = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {&list, false};
    int r;

    jsonw_strv(&w, NULL, i->descriptors);
    r = fs_write_atomic(dir, OURS, ours, strlen(ours), 0600, FS_NO_SYNC);
    if (r == 0)
        r = fs_write_atomic(dir, DESCRIPTORS, list.data, list.len, 0600, FS_NO_SYNC);
    return r < 0 ? error_set_errno(e, r, "cannot write to the image folder") : 0;
}

static int image_read(int dir, const char *path, struct image *ret, struct error *e)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int r = fs_read_file(dir, OURS, IMAGE_MAX, &text, &len);

    if (r == -ENOENT)
        return error_set(e, ERR_NOT_FOUND,
                         "%s is no checkpoint of pouch-oci: there is no " OURS " in it", path);
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s/" OURS, path);
    r = json_parse(&image_json, text, len, ret, e);
    if (r < 0)
        error_add(e, "%s/" OURS, path);
    return r;
}

/* --- mounts --------------------------------------------------------------------------------- */

struct mount_line {
    char *root, *path, *type;
    unsigned major, minor;
    int id;
};
struct mount_table {
    struct mount_line *lines;
    size_t n;
};

static void mount_table_done(struct mount_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->lines[i].root);
        free(t->lines[i].path);
        free(t->lines[i].type);
    }
    free(t->lines);
}

/* \040 and its kin. */
static char *unescape(const char *s)
{
    char *out = xmalloc(strlen(s) + 1), *to = out;

    while (*s) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
            s[3] >= '0' && s[3] <= '7') {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
    return out;
}

/* What the process sees mounted. Lines of mountinfo: id, parent, major:minor, root, path … - type */
static int mount_table_read(pid_t pid, struct mount_table *t, struct error *e)
{
    AUTOFREE char *text = NULL;
    AUTOFREE char *file = xasprintf("/proc/%d/mountinfo", pid);
    char *save = NULL;
    int r = fs_read_file(AT_FDCWD, file, 16u << 20, &text, NULL);

    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", file);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *tail = strstr(line, " - "), *words_save = NULL, *word[5], *p = line;
        struct mount_line *m;
        size_t n = 0;

        if (!tail)
            continue;
        *tail = '\0';
        for (; n < ARRAY_SIZE(word) && (word[n] = strtok_r(p, " ", &words_save)); n++)
            p = NULL;
        if (n < ARRAY_SIZE(word))
            continue;
        t->lines = xreallocarray(t->lines, t->n + 1, sizeof(*t->lines));
        m = &t->lines[t->n++];
        *m = (struct mount_line){.id = (int)strtol(word[0], NULL, 10)};
        (void)sscanf(word[2], "%u:%u", &m->major, &m->minor);
        m->root = unescape(word[3]);
        m->path = unescape(word[4]);
        m->type = xstrndup(tail + 3, strcspn(tail + 3, " "));
    }
    return 0;
}

/* Is path at or below folder? */
static bool is_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);

    while (n > 1 && folder[n - 1] == '/')
        n--;
    return (n == 1 && *folder == '/') ||
           (strncmp(path, folder, n) == 0 && (path[n] == '/' || !path[n]));
}

static bool is_bind(const struct oci_mount *m)
{
    return (m->type && STREQ(m->type, "bind")) || strv_contains(m->options, "bind") ||
           strv_contains(m->options, "rbind");
}

/* The bind mount of config.json that a path comes from; the last mount that covers it decides. */
static const struct oci_mount *bind_of(const struct oci_spec *s, const char *path)
{
    const struct oci_mount *m = s->mounts.items, *found = NULL;

    for (size_t i = 0; i < s->mounts.len; i++)
        if (is_below(path, m[i].destination))
            found = &m[i];
    return found && is_bind(found) ? found : NULL;
}

/* Does the container hold the file system whose part this mount shows? */
static bool is_inside(const struct mount_table *t, const struct mount_line *m)
{
    for (size_t i = 1; i < t->n; i++) {
        const struct mount_line *o = &t->lines[i];

        if (o->major == m->major && o->minor == m->minor && STREQ(o->root, "/") &&
            !STREQ(o->path, "/"))
            return true;
    }
    return false;
}

static struct outside *add_outside(struct image *img, const struct mount_line *m)
{
    struct outside *to = json_list_add(&img->mounts, sizeof(*to));

    *to = (struct outside){.path = xstrdup(m->path)};
    return to;
}

/* A part of a cgroup hierarchy: its source is where the host has that hierarchy. */
static void add_cgroup(struct image *img, const struct mount_line *m,
                       const struct mount_table *host, const char *cgroup)
{
    struct outside *to = add_outside(img, m);
    const struct mount_line *h = NULL;

    for (size_t i = 0; i < host->n && !h; i++)
        if (host->lines[i].major == m->major && host->lines[i].minor == m->minor &&
            STREQ(host->lines[i].root, "/"))
            h = &host->lines[i];
    if (!h)
        return;
    if (is_below(m->root, cgroup)) {
        to->source = xstrdup(h->path);
        to->in_cgroup = xasprintf("%s/", m->root + strlen(cgroup));
    } else {
        to->source = xasprintf("%s%s", h->path, m->root);
    }
}

/* Which mounts are to be left to restore: all that show something of the host's. */
static int find_outside(const struct oci_spec *s, const struct state *state, struct mount_table *t,
                        struct image *img, struct error *e)
{
    CLEANUP(mount_table_done) struct mount_table host = {0};
    int r = mount_table_read((pid_t)state->pid, t, e);

    if (r == 0)
        r = mount_table_read(getpid(), &host, e);
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        const struct mount_line *m = &t->lines[i];
        bool part = !STREQ(m->root, "/");

        if (STREQ(m->path, "/"))
            continue;
        if (part && str_has_prefix(m->type, "cgroup"))
            add_cgroup(img, m, &host, state->cgroup_path);
        else if (bind_of(s, m->path) || (part && !is_inside(t, m)))
            (void)add_outside(img, m);
    }
    return r;
}

static bool is_device_of(const struct oci_spec *s, const char *path)
{
    static const char *const usual[] = {"/dev/null",    "/dev/zero", "/dev/full", "/dev/random",
                                        "/dev/urandom", "/dev/tty",  NULL};
    const struct oci_device *d = s->linux->devices.items;

    for (size_t i = 0; usual[i]; i++)
        if (STREQ(usual[i], path))
            return true;
    for (size_t i = 0; i < s->linux->devices.len; i++)
        if (STREQ(d[i].path, path))
            return true;
    return false;
}

/* Where on the host a mount from outside is to come from. */
static char *source_of(const struct oci_spec *s, const struct state *state, const struct outside *m)
{
    const struct oci_mount *bind = bind_of(s, m->path);
    const char *bundle = state->bundle;

    if (m->in_cgroup && m->source)
        return xasprintf("%s%s%s", m->source, state->cgroup_path, m->in_cgroup);

    if (bind && bind->source) {
        const char *rest = m->path + strlen(bind->destination);

        return xasprintf("%s%s%s%s", bind->source[0] == '/' ? "" : bundle,
                         bind->source[0] == '/' ? "" : "/", bind->source, rest);
    }
    if (strv_contains(s->linux->masked_paths, m->path))
        return xstrdup("/dev/null");
    if (is_device_of(s, m->path))
        return xstrdup(m->path);
    return xstrdup_or_null(m->source);
}

/* --- both ------------------------------------------------------------------------------------ */

/* The folders of one request, and what criu is told. */
struct job {
    struct buf opts;
    char *images, *work; /* absolute */
    char *log;
    int images_fd, work_fd;
    int keep[8]; /* what criu inherits */
    size_t nkeep;
};
#define JOB_INIT                                                                                   \
    {                                                                                              \
        .opts = BUF_INIT(CRIU_MESSAGE_MAX), .images_fd = -EBADF, .work_fd = -EBADF                 \
    }

static void job_done(struct job *j)
{
    buf_done(&j->opts);
    free(j->images);
    free(j->work);
    free(j->log);
    if (j->images_fd >= 0)
        close(j->images_fd);
    if (j->work_fd >= 0)
        close(j->work_fd);
    for (size_t i = 0; i < j->nkeep; i++)
        close(j->keep[i]);
}

static int open_folder(const char *path, bool make, int *ret, struct error *e)
{
    int r = make ? fs_mkdir_p(path, 0700) : 0;
    int fd = r < 0 ? r : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(e, r < 0 ? r : errno, "folder %s", path);
    *ret = fd;
    return 0;
}

static int cgroup_mode(const char *name, uint64_t *ret, struct error *e)
{
    static const struct {
        const char *name;
        uint64_t number;
    } modes[] = {{"ignore", 0}, {"soft", 3}, {"full", 4}, {"strict", 4}}; /* see check_cgroup() */

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        if (STREQ(name ? name : "soft", modes[i].name)) {
            *ret = modes[i].number;
            return 0;
        }
    return error_set(e, ERR_INVALID,
                     "--manage-cgroups-mode: \"%s\" is none of soft, full, strict, ignore", name);
}

/* The checkpoint before this one: what has not changed since is not written again. */
static int parent_of_images(const struct options *o, struct job *j, struct error *e)
{
    struct stat st;

    if (o->parent_path &&
        (fstatat(j->images_fd, o->parent_path, &st, 0) < 0 || !S_ISDIR(st.st_mode)))
        return error_set(e, ERR_NOT_FOUND, "--parent-path: %s/%s is no folder", j->images,
                         o->parent_path);
    if (o->parent_path)
        criu_put_str(&j->opts, CRIU_PARENT_IMG, o->parent_path);
    if (o->parent_path || o->pre_dump)
        criu_put_int(&j->opts, CRIU_TRACK_MEM, true);
    return 0;
}

/* What dump and restore have in common. */
static int job_begin(const struct options *o, struct job *j, bool dump, struct error *e)
{
    const char *log = dump ? "dump.log" : "restore.log";
    const char *images = o->image_path ? o->image_path : IMAGES;
    uint64_t mode = 0;
    int r = cgroup_mode(o->manage_cgroups_mode, &mode, e);

    for (size_t i = 0; r == 0 && o->empty_ns && o->empty_ns[i]; i++)
        if (!STREQ(o->empty_ns[i], "network"))
            r = error_set(e, ERR_INVALID, "--empty-ns: \"%s\": only network can be left empty",
                          o->empty_ns[i]);
    if (r == 0 && o->parent_path && o->parent_path[0] == '/')
        r = error_set(e, ERR_INVALID,
                      "--parent-path: \"%s\" is not relative to the folder of --image-path",
                      o->parent_path);
    if (r == 0 && geteuid() != 0)
        r = error_set(e, ERR_FORBIDDEN, "checkpoint and restore need root: criu does");
    if (r == 0)
        r = criu_check(e);
    if (r == 0)
        r = open_folder(images, dump, &j->images_fd, e);
    if (r == 0)
        r = open_folder(o->work_path ? o->work_path : images, dump || o->work_path, &j->work_fd, e);
    if (r < 0)
        return r;
    j->images = realpath(images, NULL);
    j->work = realpath(o->work_path ? o->work_path : images, NULL);
    if (!j->images || !j->work)
        return error_set_errno(e, errno, "folder %s", j->images ? o->work_path : images);
    r = parent_of_images(o, j, e);
    if (r < 0)
        return r;
    j->log = xasprintf("%s/%s", j->work, log);
    (void)unlinkat(j->work_fd, log, 0); /* what an older one says would be taken for this one's */
    criu_put_int(&j->opts, CRIU_IMAGES_DIR_FD, (uint64_t)j->images_fd);
    criu_put_int(&j->opts, CRIU_WORK_DIR_FD, (uint64_t)j->work_fd);
    criu_put_int(&j->opts, CRIU_LOG_LEVEL, 4);
    criu_put_str(&j->opts, CRIU_LOG_FILE, log);
    criu_put_int(&j->opts, CRIU_TCP_ESTABLISHED, o->tcp_established);
    criu_put_int(&j->opts, CRIU_EXT_UNIX_SK, o->ext_unix_sk);
    criu_put_int(&j->opts, CRIU_SHELL_JOB, o->shell_job);
    criu_put_int(&j->opts, CRIU_FILE_LOCKS, o->file_locks);
    criu_put_int(&j->opts, CRIU_ORPHAN_PTS_MASTER, true);
    criu_put_int(&j->opts, CRIU_NETWORK_LOCK, 2); /* nftables */
    criu_put_int(&j->opts, CRIU_MANAGE_CGROUPS, true);
    criu_put_int(&j->opts, CRIU_MANAGE_CGROUPS_MODE, mode);
    if (strv_len(o->empty_ns))
        criu_put_int(&j->opts, CRIU_EMPTY_NS, CLONE_NEWNET);
    return 0;
}

static char *rootfs_path(const struct oci_spec *s, const char *bundle)
{
    AUTOFREE char *path = s->root->path[0] == '/' ? xstrdup(s->root->path)
                                                  : xasprintf("%s/%s", bundle, s->root->path);

    return realpath(path, NULL);
}

/* --- checkpoint ------------------------------------------------------------------------------ */

/* The mount that descriptor n of a process stands on. */
static int mount_id_of(pid_t pid, int n)
{
    AUTOFREE char *path = xasprintf("/proc/%d/fdinfo/%d", pid, n);
    AUTOFREE char *text = NULL;
    const char *at;

    if (fs_read_file(AT_FDCWD, path, 65536, &text, NULL) < 0)
        return -1;
    at = strstr(text, "mnt_id:");
    return at ? (int)strtol(at + strlen("mnt_id:"), NULL, 10) : -1;
}

/* Standard input, output and error of init: those that lead out of the container are "external"
 * and replaced by restore's own. */
static void note_descriptors(struct job *j, struct image *img, const struct mount_table *t,
                             pid_t pid)
{
    for (int n = 0; n < 3; n++) {
        AUTOFREE char *path = xasprintf("/proc/%d/fd/%d", pid, n);
        char target[4096];
        ssize_t len = readlink(path, target, sizeof(target) - 1);
        bool inside = false;
        int id = mount_id_of(pid, n);
        struct stat st;

        target[len > 0 ? len : 0] = '\0';
        for (size_t i = 0; i < t->n; i++)
            inside = inside || t->lines[i].id == id;
        if (len <= 0 || target[0] != '/' || inside || stat(path, &st) < 0) {
            strv_push(&img->descriptors, target);
        } else {
            AUTOFREE char *name = xasprintf("file[%x:%" PRIx64 "]", (unsigned)id,
                                            (uint64_t)st.st_ino);

            if (!strv_contains(img->descriptors, name))
                criu_put_str(&j->opts, CRIU_EXTERNAL, name);
            strv_push(&img->descriptors, name);
        }
    }
}

/* A network namespace that was joined is not the container's: restore joins what config.json
 * names then. */
static int note_network(struct job *j, const struct oci_spec *s, pid_t pid, struct error *e)
{
    const struct oci_namespace *ns = oci_spec_namespace(s, "network");
    AUTOFREE char *path = xasprintf("/proc/%d/ns/net", pid);
    AUTOFREE char *name = NULL;
    struct stat st;

    if (!ns || str_is_empty(ns->path))
        return 0;
    if (stat(path, &st) < 0)
        return error_set_errno(e, errno, "cannot look at the network of the container");
    name = xasprintf("net[%" PRIu64 "]:" NET_KEY, (uint64_t)st.st_ino);
    criu_put_str(&j->opts, CRIU_EXTERNAL, name);
    return 0;
}

/* criu reads some images as the container's root, who has no right to them. */
static int check_user_namespace(const struct oci_spec *s, struct error *e)
{
    return oci_spec_namespace(s, "user")
               ? error_set(e, ERR_NOT_SUPPORTED,
                           "a container with a user namespace cannot be checkpointed and restored")
               : 0;
}

static int prepare_dump(const struct options *o, const struct state *s, struct job *j,
                        struct error *e)
{
    CLEANUP(mount_table_done) struct mount_table t = {0};
    CLEANUP(image_done) struct image img = {0};
    AUTOFREE char *rootfs = NULL;
    AUTOFREE char *freezer = NULL;
    const char *top = cgroup_mount_point(cgroup_host_layout() == CGROUP_V2 ? "" : "freezer");
    struct oci_spec spec = {0};
    int r = state_spec(s, &spec, e);

    if (r == 0)
        r = check_user_namespace(&spec, e);
    if (r == 0)
        r = find_outside(&spec, s, &t, &img, e);
    if (r == 0)
        r = note_network(j, &spec, (pid_t)s->pid, e);
    if (r == 0) {
        const struct outside *m = img.mounts.items;

        note_descriptors(j, &img, &t, (pid_t)s->pid);
        for (size_t i = 0; i < img.mounts.len; i++)
            criu_put_pair(&j->opts, CRIU_EXT_MNT, m[i].path, m[i].path);
        rootfs = rootfs_path(&spec, s->bundle);
        criu_put_int(&j->opts, CRIU_PID, (uint64_t)s->pid);
        if (rootfs)
            criu_put_str(&j->opts, CRIU_ROOT, rootfs);
        criu_put_int(&j->opts, CRIU_LEAVE_RUNNING, o->leave_running);
        if (top && s->cgroup_path) {
            freezer = xasprintf("%s%s", top, s->cgroup_path);
            if (access(freezer, F_OK) == 0)
                criu_put_str(&j->opts, CRIU_FREEZE_CGROUP, freezer);
        }
        r = o->pre_dump ? 0 : image_write(j->images_fd, &img, e);
    }
    json_free(&oci_spec_json, &spec);
    return r;
}

static pid_t parent_of(pid_t pid)
{
    AUTOFREE char *path = xasprintf("/proc/%d/stat", pid);
    AUTOFREE char *text = NULL;
    const char *at;
    int parent = 0;

    if (fs_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0 || !(at = strrchr(text, ')')))
        return -1;
    return sscanf(at + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

/* criu takes init and what descends from it: what exec has started does not, its parent is outside
 * of the container. */
static void warn_of_execs(const struct options *o, const struct state *s)
{
    AUTOFREE pid_t *pids = NULL;
    size_t n = 0;

    if (cgroup_pids(s->cgroup_path, &pids, &n, NULL) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        pid_t parent = pids[i] == (pid_t)s->pid ? -1 : parent_of(pids[i]);
        bool ours = parent < 0; /* init, or it has ended meanwhile */

        for (size_t k = 0; k < n && !ours; k++)
            ours = pids[k] == parent;
        if (!ours)
            warn_user(o,
                      "process %d of container \"%s\" was started by exec: it is not in the "
                      "checkpoint",
                      (int)pids[i], s->id);
    }
}

int cmd_checkpoint(struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    CLEANUP(job_done) struct job j = JOB_INIT;
    struct criu_answer a = {0};
    const char *status;
    int r = state_load(o, o->args[0], &s, e);

    if (r < 0)
        return r;
    status = state_status(&s);
    if (!STREQ(status, "running") && !STREQ(status, "paused"))
        return error_set(e, ERR_CONFLICT,
                         "cannot checkpoint container \"%s\": it is %s, not running", s.id, status);
    r = job_begin(o, &j, true, e);
    if (r == 0)
        r = prepare_dump(o, &s, &j, e);
    if (r == 0) {
        struct criu_call call = {.type = o->pre_dump ? CRIU_PRE_DUMP : CRIU_DUMP,
                                 .opts = &j.opts,
                                 .log = j.log};

        if (!o->pre_dump)
            warn_of_execs(o, &s);
        r = criu_run(&call, &a, e);
        /* It thaws by itself, if it comes to that. */
        if (r < 0 && STREQ(status, "running") && cgroup_is_frozen(s.cgroup_path))
            (void)!cgroup_thaw(s.cgroup_path, NULL);
    }
    if (r < 0) {
        error_add(e, "cannot checkpoint container \"%s\"", s.id);
        return r;
    }
    /* Whoever made it reaps it: until then it may still be seen. */
    for (int i = 0;
         !o->leave_running && !o->pre_dump && i < 500 && !STREQ(state_status(&s), "stopped"); i++)
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    return 0;
}

/* --- restore ---------------------------------------------------------------------------------- */

struct restore {
    const struct options *o;
    struct oci_spec spec;
    struct state state;
    struct image img;
    char *rootfs;
    int console;           /* the terminal's master is sent there; -EBADF: there is none */
    int ours;              /* our end of it */
    bool join;             /* criu does not place the processes: it is itself placed */
    struct cgroup_join cg; /* then */
    bool away;             /* in criu's mount namespace; the way back: */
    int home_ns, home_root, home_cwd;
};

static int come_home(struct restore *t, struct error *e) MUST_CHECK;

static void restore_done(struct restore *t)
{
    json_free(&oci_spec_json, &t->spec);
    state_done(&t->state);
    image_done(&t->img);
    free(t->rootfs);
    if (t->console >= 0)
        close(t->console);
    if (t->ours >= 0)
        close(t->ours);
    cgroup_join_done(&t->cg);
    (void)!come_home(t, NULL);
    if (t->home_ns >= 0)
        close(t->home_ns);
    if (t->home_root >= 0)
        close(t->home_root);
    if (t->home_cwd >= 0)
        close(t->home_cwd);
}

/*
 * The root has to be a mount, which nobody else is to see, and the folders have to be opened where
 * criu can mount something in them: criu is started in a mount namespace of its own, which this
 * process is in only for that long.
 */
static int reopen(const char *path, int fd)
{
    AUTOFD int other = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return other < 0 || dup3(other, fd, O_CLOEXEC) < 0 ? -errno : 0;
}

static int go_private(struct restore *t, const struct job *j, struct error *e)
{
    unsigned long ro = t->spec.root->readonly ? MS_RDONLY : 0;
    int r;

    t->home_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    t->home_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    t->home_cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (t->home_ns < 0 || t->home_root < 0 || t->home_cwd < 0)
        return error_set_errno(e, errno, "cannot remember the mount namespace");
    if (unshare(CLONE_NEWNS) < 0)
        return error_set_errno(e, errno, "cannot make a mount namespace");
    t->away = true;
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
        mount(t->rootfs, t->rootfs, NULL, MS_BIND | MS_REC, NULL) < 0 ||
        mount(NULL, t->rootfs, NULL, MS_PRIVATE, NULL) < 0 ||
        (ro && mount(NULL, t->rootfs, NULL, MS_BIND | MS_REMOUNT | ro, NULL) < 0))
        return error_set_errno(e, errno, "cannot mount the root file system %s", t->rootfs);
    r = reopen(j->images, j->images_fd);
    if (r == 0)
        r = reopen(j->work, j->work_fd);
    return r < 0 ? error_set_errno(e, r, "folders %s and %s", j->images, j->work) : 0;
}

static int come_home(struct restore *t, struct error *e)
{
    if (!t->away)
        return 0;
    if (setns(t->home_ns, CLONE_NEWNS) < 0 || fchdir(t->home_root) < 0 || chroot(".") < 0 ||
        fchdir(t->home_cwd) < 0)
        return error_set_errno(e, errno, "cannot go back to the host's mount namespace");
    t->away = false;
    return 0;
}

/* In the child that becomes criu. */
static int before_criu(void *data)
{
    struct restore *t = data;

    /* criu 3.17 does not keep it: what it restores inherits it. */
    if (t->spec.process->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return t->join ? cgroup_join_fds(&t->cg) : 0;
}

static int send_fd(int sock, int fd)
{
    char text[] = "/dev/ptmx";
    struct iovec iov = {text, sizeof(text) - 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct msghdr hdr = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&hdr);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    return sendmsg(sock, &hdr, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int on_notify(const struct criu_answer *a, int fd, void *data, struct error *e)
{
    struct restore *t = data;
    AUTOFD int master = fd;
    int r = come_home(t, e);

    if (r < 0)
        return r;
    if (STREQ(a->script, "orphan-pts-master") && master >= 0) {
        if (t->console < 0)
            return error_set(e, ERR_INVALID,
                             "the container has a terminal: process.terminal of config.json is to "
                             "be true");
        r = send_fd(t->console, master);
        return r < 0 ? error_set_errno(e, r, "cannot hand on the terminal") : 0;
    }
    if (!STREQ(a->script, "setup-namespaces"))
        return 0;
    r = runtime_run_hooks(&t->spec, RUNTIME_HOOK_PRESTART, t->state.id, t->state.bundle, a->pid,
                          "creating", e);
    if (r == 0)
        r = runtime_run_hooks(&t->spec, RUNTIME_HOOK_CREATE_RUNTIME, t->state.id, t->state.bundle,
                              a->pid, "creating", e);
    return r;
}

/* fd under a number that is ours and criu's. */
static int keep_fd(struct job *j, int fd, struct error *e)
{
    int n = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);

    if (n < 0)
        return error_set_errno(e, errno, "cannot duplicate a descriptor");
    j->keep[j->nkeep++] = n;
    return n;
}

/* Our standard input, output and error take the place of init's that led outside. */
static int give_descriptors(struct job *j, const struct image *img, struct error *e)
{
    for (int n = 0; n < 3 && img->descriptors && img->descriptors[n]; n++) {
        const char *name = img->descriptors[n];
        bool known = false;
        int fd;

        for (int k = 0; k < n; k++) /* one pipe for output and error: one descriptor */
            known = known || STREQ(img->descriptors[k], name);
        if (known || (!str_has_prefix(name, "pipe:[") && !str_has_prefix(name, "socket:[") &&
                      !str_has_prefix(name, "file[")))
            continue;
        fd = keep_fd(j, n, e);
        if (fd < 0)
            return fd;
        criu_put_text_int(&j->opts, CRIU_INHERIT_FD, name, (uint64_t)fd);
    }
    return 0;
}

static int give_network(struct job *j, const struct oci_spec *s, struct error *e)
{
    const struct oci_namespace *ns = oci_spec_namespace(s, "network");
    AUTOFD int fd = -EBADF;
    int n;

    if (!ns || str_is_empty(ns->path))
        return 0;
    fd = open(ns->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(e, errno, "cannot open the network namespace %s", ns->path);
    n = keep_fd(j, fd, e);
    if (n < 0)
        return n;
    criu_put_text_int(&j->opts, CRIU_INHERIT_FD, NET_KEY, (uint64_t)n);
    return 0;
}

static int give_mounts(struct job *j, const struct restore *t, struct error *e)
{
    const struct outside *m = t->img.mounts.items;

    for (size_t i = 0; i < t->img.mounts.len; i++) {
        AUTOFREE char *source = source_of(&t->spec, &t->state, &m[i]);

        if (!source)
            return error_set(e, ERR_INVALID,
                             "the checkpoint has a mount from outside on %s, which config.json "
                             "does not have: add it to mounts",
                             m[i].path);
        criu_put_pair(&j->opts, CRIU_EXT_MNT, m[i].path, source);
    }
    return 0;
}

/* The places of the mounts of config.json that the root file system itself has to have. */
static int make_places(const struct restore *t, struct error *e)
{
    AUTOFD int root = open(t->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const struct oci_mount *m = t->spec.mounts.items;

    if (root < 0)
        return error_set_errno(e, errno, "root file system %s", t->rootfs);
    for (size_t i = 0; i < t->spec.mounts.len; i++) {
        struct stat st;
        bool covered = false, file;
        int fd;

        for (size_t k = 0; k < i; k++)
            covered = covered || is_below(m[i].destination, m[k].destination);
        if (covered)
            continue;
        file = is_bind(&m[i]) && m[i].source && stat(m[i].source, &st) == 0 && !S_ISDIR(st.st_mode);
        fd = file ? path_make_file_in(root, m[i].destination, 0755)
                  : path_mkdir_in(root, m[i].destination, 0755, 0, 0);
        if (fd < 0)
            return error_set_errno(e, fd, "cannot make %s in the root file system",
                                   m[i].destination);
        close(fd);
    }
    return 0;
}

/* What a restored container has, or cannot have. */
static int load_bundle(struct options *o, struct restore *t, struct error *e)
{
    AUTOFREE char *bundle = realpath(o->bundle ? o->bundle : ".", NULL);
    int r;

    if (!bundle)
        return error_set_errno(e, errno, "bundle %s", o->bundle ? o->bundle : ".");
    r = oci_spec_load_text(bundle, &t->spec, &t->state.config, e);
    if (r < 0)
        return r;
    if (!t->spec.process)
        return error_set(e, ERR_INVALID, "%s/config.json: process: is required", bundle);
    if (o->systemd_cgroup)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "restore: --systemd-cgroup is not supported; the cgroup is made by the "
                         "file system");
    if (t->spec.linux->intel_rdt)
        return error_set(e, ERR_NOT_SUPPORTED, "linux.intelRdt cannot be restored");
    r = check_user_namespace(&t->spec, e);
    if (r < 0)
        return r;
    t->rootfs = rootfs_path(&t->spec, bundle);
    if (!t->rootfs)
        return error_set_errno(e, errno, "root file system %s of bundle %s", t->spec.root->path,
                               bundle);
    t->state.bundle = xstrdup(bundle);
    t->state.id = xstrdup(o->args[0]);
    t->state.cgroup_path = runtime_cgroup_path(&t->spec, o->args[0]);
    t->state.owner = owner_name();
    t->state.own_pid_ns = own_pid_namespace(&t->spec);
    return 0;
}

/* A container of that name that has ended - the one that was checkpointed - makes room. */
static int make_room(struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state old = {0};
    AUTOFREE char *path = state_path(o, o->args[0], "state.json");
    AUTOFD int lock = -EBADF;
    int r;

    if (access(path, F_OK) < 0)
        return 0;
    lock = state_lock(o, o->args[0], e);
    if (lock < 0)
        return lock;
    r = state_load(o, o->args[0], &old, e);
    if (r < 0)
        return r;
    if (!STREQ(state_status(&old), "stopped"))
        return error_set(e, ERR_CONFLICT, "container with id \"%s\" exists already and is %s",
                         old.id, state_status(&old));
    return remove_container(o, &old, e);
}

/* A restore that fails kills what is in its cgroup: that must be nobody else's. criu's strict would find the one that is
 * made here for the limits. */
static int check_cgroup(const struct options *o, struct restore *t, struct error *e)
{
    bool strict = o->manage_cgroups_mode && STREQ(o->manage_cgroups_mode, "strict");
    AUTOFREE char *path = xstrdup(t->state.cgroup_path);
    AUTOFREE pid_t *pids = NULL;
    size_t n = 0;
    int r = 0;

    if (!cgroup_exists(path))
        return 0;
    r = strict ? 0 : cgroup_pids(path, &pids, &n, e);
    if (r == 0 && !strict && n == 0)
        return 0;
    free(take_ptr(t->state.cgroup_path));
    return r < 0 ? r
                 : error_set(e, ERR_CONFLICT, "cgroup %s is there already%s", path,
                             n ? " and has processes" : "");
}

static int prepare_restore(struct options *o, struct restore *t, struct job *j, struct error *e)
{
    AUTOPTR(strv) char **warnings = NULL;
    uint64_t mode = 0;
    int r = check_cgroup(o, t, e);

    if (r == 0)
        r = state_note_making(o, o->args[0], t->state.cgroup_path, NULL, e);
    if (r == 0)
        r = runtime_cgroup_make(&t->spec, t->state.cgroup_path, &warnings, e);

    for (size_t i = 0; warnings && warnings[i]; i++)
        warn_user(o, "%s", warnings[i]);
    if (r == 0)
        r = make_places(t, e);
    if (r == 0)
        r = give_mounts(j, t, e);
    if (r == 0)
        r = give_descriptors(j, &t->img, e);
    if (r == 0)
        r = give_network(j, &t->spec, e);
    if (r == 0)
        r = cgroup_mode(o->manage_cgroups_mode, &mode, e);
    t->join = mode == 0;
    if (r == 0 && t->join)
        r = cgroup_join_open(t->state.cgroup_path, true, &t->cg, e);
    if (r < 0)
        return r;
    criu_put_str(&j->opts, CRIU_ROOT, t->rootfs);
    criu_put_int(&j->opts, CRIU_RST_SIBLING, true);
    criu_put_int(&j->opts, CRIU_NOTIFY_SCRIPTS, true);
    if (!t->join) /* also under another name than it had */
        criu_put_pair(&j->opts, CRIU_CG_ROOT, NULL, t->state.cgroup_path);
    return 0;
}

static void undo_restore(struct options *o, const struct restore *t)
{
    if (t->state.cgroup_path) {
        (void)!cgroup_kill(t->state.cgroup_path, NULL);
        if (t->state.pid > 0)
            (void)waitpid((pid_t)t->state.pid, NULL, 0);
        (void)!cgroup_remove(t->state.cgroup_path, NULL);
    }
    (void)!state_remove_dir(o, o->args[0], NULL);
}

/* From an empty state folder to a container that runs. */
static int restore(struct options *o, struct restore *t, struct job *j, struct error *e)
{
    struct criu_call call = {.type = CRIU_RESTORE,
                             .opts = &j->opts,
                             .log = j->log,
                             .before = before_criu,
                             .notify = on_notify,
                             .data = t};
    const struct oci_namespace *net;
    struct criu_answer a = {0};
    int r = prepare_restore(o, t, j, e);

    if (r == 0) {
        CLEANUP(error_done) struct error back = ERROR_INIT;

        call.keep = j->keep;
        call.nkeep = j->nkeep;
        r = go_private(t, j, e);
        if (r == 0)
            r = criu_run(&call, &a, e);
        t->state.pid = r == 0 ? a.pid : 0;
        if (come_home(t, &back) < 0 && r == 0) {
            r = back.errnum ? -back.errnum : -EIO;
            error_move(e, &back);
        }
    }
    if (r < 0)
        return r;
    if (a.pid <= 0)
        return error_set(e, ERR_INTERNAL, "criu does not tell the process it has restored");
    net = oci_spec_namespace(&t->spec, "network");
    if (net && str_is_empty(net->path)) {
        r = criu_unlock_network(a.pid, e);
        if (r < 0)
            return r;
    }
    t->state.start_time = state_start_time(a.pid);
    t->state.created = time_now_ns();
    t->state.started = true;
    r = state_save(o, &t->state, e);
    if (r == 0)
        r = write_pid_file(o->pid_file, a.pid, e);
    if (r == 0)
        r = poststart(&t->spec, &t->state, e);
    return r;
}

int cmd_restore(struct options *o, struct error *e)
{
    CLEANUP(restore_done)
    struct restore t = {.o = o,
                        .console = -EBADF,
                        .ours = -EBADF,
                        .home_ns = -EBADF,
                        .home_root = -EBADF,
                        .home_cwd = -EBADF};
    CLEANUP(job_done) struct job j = JOB_INIT;
    AUTOFD int lock = -EBADF;
    int code, r = state_check_id(o->args[0], e);

    if (r == 0)
        r = load_bundle(o, &t, e);
    if (r == 0)
        r = job_begin(o, &j, false, e);
    if (r == 0)
        r = image_read(j.images_fd, j.images, &t.img, e);
    if (r == 0) {
        t.console = container_console(o, t.spec.process->terminal, !o->detach, &t.ours, e);
        r = t.console < 0 && t.console != -EBADF ? t.console : 0;
    }
    if (r == 0)
        r = make_room(o, e);
    if (r < 0)
        return r;
    lock = state_make_dir(o, o->args[0], e);
    if (lock < 0)
        return lock;
    r = restore(o, &t, &j, e);
    if (r < 0) {
        undo_restore(o, &t);
        error_add(e, "cannot restore container \"%s\"", o->args[0]);
        return r;
    }
    if (o->detach)
        return 0;
    close(take_fd(lock));
    code = tty_wait((pid_t)t.state.pid, t.ours);
    r = remove_own(o, &t.state, e);
    return r < 0 ? r : code;
}
