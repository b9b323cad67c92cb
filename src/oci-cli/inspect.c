/* SPDX-License-Identifier: Apache-2.0 */
/* state, list, pause, resume. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/time.h"
#include "oci-cli/oci-cli.h"
#include "oci/spec.h"
#include "sys/cgroup.h"

static void print_state(struct jsonw *w, const struct state *s)
{
    const char *status = state_status(s);
    struct oci_spec spec = {0};
    AUTOFREE char *rootfs = NULL;

    if (state_spec(s, &spec, NULL) == 0)
        rootfs = spec.root->path[0] == '/' ? xstrdup(spec.root->path)
                                           : xasprintf("%s/%s", s->bundle, spec.root->path);
    jsonw_begin(w, NULL);
    jsonw_str(w, "ociVersion", OCI_RUNTIME_SPEC_VERSION);
    jsonw_str(w, "id", s->id);
    jsonw_int(w, "pid", strcmp(status, "stopped") == 0 ? 0 : s->pid);
    jsonw_str(w, "status", status);
    jsonw_str(w, "bundle", s->bundle);
    jsonw_str(w, "rootfs", rootfs);
    jsonw_time(w, "created", s->created);
    if (spec.annotations.len)
        jsonw_map(w, "annotations", &spec.annotations);
    jsonw_str(w, "owner", s->owner);
    jsonw_end(w);
    json_free(&oci_spec_json, &spec);
}

int cmd_state(struct options *o, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {&out, false};
    int r = state_load(o, o->args[0], &s, e);

    if (r < 0)
        return r;
    print_state(&w, &s);
    printf("%s\n", buf_str(&out));
    return 0;
}

int check_format(const struct options *o, struct error *e)
{
    if (o->format && !STREQ(o->format, "table") && !STREQ(o->format, "json"))
        return error_set(e, ERR_INVALID, "--format: \"%s\" is neither table nor json", o->format);
    return 0;
}

#define LINE "%-30s %-8s %-10s %-30s %-24s %s\n"

int cmd_list(struct options *o, struct error *e)
{
    bool json = o->format && STREQ(o->format, "json");
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {&out, false};
    struct dirent **names = NULL;
    int n, r = check_format(o, e);

    if (r < 0)
        return r;
    n = scandir(o->root, &names, NULL, alphasort);
    if (n < 0 && errno != ENOENT) /* not there: nothing was made yet */
        return error_set_errno(e, errno, "cannot list %s", o->root);
    if (json)
        jsonw_list_begin(&w, NULL);
    else if (!o->quiet)
        printf(LINE, "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER");
    for (int i = 0; i < n; i++) {
        CLEANUP(state_done) struct state s = {0};
        char created[TIME_RFC3339_MAX];

        if (names[i]->d_name[0] == '.' || state_load(o, names[i]->d_name, &s, NULL) < 0)
            continue;
        time_format_rfc3339(s.created, created);
        if (o->quiet)
            printf("%s\n", s.id);
        else if (json)
            print_state(&w, &s);
        else {
            char pid[16];

            (void)snprintf(pid, sizeof(pid), "%d",
                           STREQ(state_status(&s), "stopped") ? 0 : (int)s.pid);
            printf(LINE, s.id, pid, state_status(&s), s.bundle, created, s.owner ? s.owner : "");
        }
    }
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    if (json && !o->quiet) {
        jsonw_list_end(&w);
        printf("%s\n", buf_str(&out));
    }
    return 0;
}

static int freeze(struct options *o, bool on, struct error *e)
{
    CLEANUP(state_done) struct state s = {0};
    const char *status;
    int r = state_load(o, o->args[0], &s, e);

    if (r < 0)
        return r;
    status = state_status(&s);
    if (on ? !STREQ(status, "running") && !STREQ(status, "created") : !STREQ(status, "paused"))
        return error_set(e, ERR_CONFLICT, "container \"%s\" is %s, not %s", s.id, status,
                         on ? "running" : "paused");
    return on ? cgroup_freeze(s.cgroup_path, e) : cgroup_thaw(s.cgroup_path, e);
}

int cmd_pause(struct options *o, struct error *e)
{
    return freeze(o, true, e);
}

int cmd_resume(struct options *o, struct error *e)
{
    return freeze(o, false, e);
}
