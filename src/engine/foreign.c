/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runtimes other than our own: which there are, and what of them is pouchd's business. The monitor
 * calls them (monitor/drv-oci.c); the bundle's RUNTIME_ARGV_FILE tells it which. Their `delete` is
 * called here, since it is owed also when no monitor is left to do it.
 */
#include "engine/foreign.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/self.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "io/spawn.h"
#include "monitor/driver.h"
#include "sys/seccomp.h"

#define DELETE_MS 20000
#define ARGV_MAX  (64 << 10)

/* Those that need no configuration: the name is the program's, looked up in PATH or beside us. */
static const struct {
    const char *name, *program;
    bool ours;
} well_known[] = {
    {"runc", "runc", false},         {"crun", "crun", false},    {"runsc", "runsc", false},
    {"kata", "kata-runtime", false}, {"lxc", "pouch-lxc", true},
};

static const struct runtime_config *configured(const struct engine *en, const char *name)
{
    const struct runtime_config *r = en->runtimes.items;

    for (size_t i = 0; i < en->runtimes.len; i++)
        if (STREQ(r[i].key, name))
            return &r[i];
    return NULL;
}

static char *in_path(const char *program)
{
    AUTOPTR(strv) char **dirs = NULL;
    const char *path = getenv("PATH");

    if (strchr(program, '/'))
        return access(program, X_OK) == 0 ? xstrdup(program) : NULL;
    dirs = strv_split(path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                      ":", true);
    for (size_t i = 0; dirs && dirs[i]; i++) {
        AUTOFREE char *full = xasprintf("%s/%s", dirs[i], program);

        if (dirs[i][0] == '/' && access(full, X_OK) == 0)
            return take_ptr(full);
    }
    return NULL;
}

/* The program behind a name, or NULL. */
static char *program_of(const struct engine *en, const char *name)
{
    const struct runtime_config *r = configured(en, name);

    if (r)
        return in_path(str_is_empty(r->path) ? name : r->path);
    for (size_t i = 0; i < ARRAY_SIZE(well_known); i++) {
        AUTOFREE char *own = NULL;

        if (!STREQ(well_known[i].name, name))
            continue;
        own = well_known[i].ours ? self_program_path(well_known[i].program) : NULL;
        return own ? in_path(own) : in_path(well_known[i].program);
    }
    return NULL;
}

bool runtime_is_foreign(const char *name)
{
    return !str_is_empty(name) && !STREQ(name, RUNTIME_NATIVE);
}

char **foreign_names(const struct engine *en)
{
    const struct runtime_config *r = en->runtimes.items;
    char **names = NULL;

    for (size_t i = 0; i < en->runtimes.len; i++)
        strv_push(&names, r[i].key);
    for (size_t i = 0; i < ARRAY_SIZE(well_known); i++) {
        AUTOFREE char *program = program_of(en, well_known[i].name);

        if (program && !configured(en, well_known[i].name))
            strv_push(&names, well_known[i].name);
    }
    return names;
}

char *foreign_program(const struct engine *en, const char *name)
{
    return program_of(en, name);
}

static int check_config(const struct runtime_config *r, struct error *e)
{
    if (STREQ(r->key, RUNTIME_NATIVE))
        return error_set(e, ERR_INVALID, "runtime name \"%s\" is Pouch's own", r->key);
    for (const char *p = r->key; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-", *p))
            return error_set(e, ERR_INVALID,
                             "runtime name \"%s\" has a character that is not a "
                             "letter, a digit or one of _.-",
                             r->key);
    if (!r->key[0] || r->key[0] == '.' || r->key[0] == '-')
        return error_set(e, ERR_INVALID, "runtime name \"%s\" must begin with a letter or digit",
                         r->key);
    if (!str_is_empty(r->options.root) && r->options.root[0] != '/')
        return error_set(e, ERR_INVALID, "runtime %s: options.root \"%s\" is not absolute", r->key,
                         r->options.root);
    return 0;
}

static int native_only(const char *what, const struct host_config *hc, struct error *e)
{
    return error_set(e, ERR_INVALID,
                     "%s works with the runtime \"" RUNTIME_NATIVE "\" only, not with %s", what,
                     hc->runtime);
}

int foreign_check(const struct engine *en, struct error *e)
{
    const struct runtime_config *c = en->runtimes.items;
    struct host_config hc = {.runtime = en->default_runtime};
    int r = 0;

    for (size_t i = 0; r == 0 && i < en->runtimes.len; i++)
        r = check_config(&c[i], e);
    if (r == 0)
        r = foreign_validate(en, &hc, e);
    if (r < 0)
        error_add(e, "runtimes");
    return r;
}

int foreign_validate(const struct engine *en, const struct host_config *hc, struct error *e)
{
    AUTOFREE char *program = NULL;
    AUTOFREE char *known = NULL;
    AUTOPTR(strv) char **names = NULL;

    if (!runtime_is_foreign(hc->runtime))
        return 0;
    program = program_of(en, hc->runtime);
    if (!program) {
        const struct runtime_config *r = configured(en, hc->runtime);

        if (r)
            return error_set(e, ERR_INVALID, "runtime %s: there is no program %s", hc->runtime,
                             str_is_empty(r->path) ? r->key : r->path);
        names = foreign_names(en);
        known = names ? strv_join(names, ", ") : xstrdup("");
        return error_set(e, ERR_INVALID,
                         "unknown or invalid runtime name: %s (there are: %s%s%s; more with "
                         "pouchd --add-runtime)",
                         hc->runtime, RUNTIME_NATIVE, *known ? ", " : "", known);
    }
    if (hc->view && STREQ(hc->view, "full"))
        return native_only("--view full", hc, e);
    return hc->init.value ? native_only("--init", hc, e) : 0;
}

/* --- A start ----------------------------------------------------------------------------------- */

int foreign_prepare(struct engine *en, const struct container_definition *def, const char *bundle,
                    struct error *e)
{
    const struct host_config *hc = &def->host_config;
    const struct runtime_config *c = configured(en, hc->runtime);
    AUTOFREE char *program = program_of(en, hc->runtime);
    AUTOFREE char *root = c && !str_is_empty(c->options.root)
                              ? xstrdup(c->options.root)
                              : xasprintf("%s/runtimes/%s", en->state, hc->runtime);
    AUTOFREE char *path = xasprintf("%s/" RUNTIME_ARGV_FILE, bundle);
    CLEANUP(buf_done) struct buf b = {.max = ARGV_MAX};
    int r;

    if (!program)
        return error_set(e, ERR_CONFLICT, "the runtime %s is not there any more", hc->runtime);
    r = fs_mkdir_p(root, 0700);
    if (r < 0)
        return error_set_errno(e, r, "cannot create %s", root);
    r = buf_append(&b, program, strlen(program) + 1);
    for (size_t i = 0; r == 0 && c && c->args && c->args[i]; i++)
        r = buf_append(&b, c->args[i], strlen(c->args[i]) + 1);
    if (r == 0)
        r = buf_append(&b, "--root", 7);
    if (r == 0)
        r = buf_append(&b, root, strlen(root) + 1);
    if (r == 0)
        r = fs_write_atomic(AT_FDCWD, path, b.data, b.len, 0600, FS_NO_SYNC);
    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

int foreign_seccomp(const struct engine *en, const struct host_config *hc,
                    struct seccomp_filter **ret, struct error *e)
{
    AUTOPTR(strv) char **caps = NULL;
    struct spec_security sec;
    int r = spec_security(en, hc, &sec, e);

    if (r < 0 || sec.unconfined)
        return r;
    r = spec_capabilities(hc, &caps, e);
    if (r < 0)
        return r;
    *ret = xcalloc(1, sizeof(**ret));
    return seccomp_profile(sec.profile, caps, *ret, e);
}

/* --- The end ----------------------------------------------------------------------------------- */

void foreign_delete(const char *bundle, const char *id)
{
    AUTOFREE char *path = xasprintf("%s/" RUNTIME_ARGV_FILE, bundle);
    AUTOFREE char *text = NULL;
    AUTOPTR(strv) char **argv = NULL;
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct spawn_params p = {.stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
    AUTOFD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    size_t len;
    pid_t pid;

    if (fs_read_file(AT_FDCWD, path, ARGV_MAX, &text, &len) < 0)
        return; /* our own runtime */
    for (size_t i = 0; i < len; i += strlen(text + i) + 1)
        strv_push(&argv, text + i);
    strv_push(&argv, "delete");
    strv_push(&argv, "--force");
    strv_push(&argv, id);
    p.program = argv[0];
    p.argv = argv;
    p.stderr_fd = null;
    if (spawn_program(&p, &pid, &e) < 0)
        log_warn("the runtime's delete could not be called", "id=%s error=\"%s\"", id,
                 error_message(&e));
    else if (spawn_wait_or_kill(pid, DELETE_MS) == 128 + SIGKILL)
        log_warn("the runtime's delete hangs and was killed", "id=%s", id);
}
