/* SPDX-License-Identifier: Apache-2.0 */
/* See fake-engine.h. "web" runs, "tty" runs on a terminal; everything else does not exist. */
#include "fake-engine.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"

char fake_said[4096];

struct engine {
    struct container_definition def;
    struct container_view view;
    struct image image;
    int exit_fd; /* eventfd: readable when "web" has ended */
    _Atomic int exit_code;
    char log_path[64];
};

#define SAID(...) (void)snprintf(fake_said, sizeof(fake_said), __VA_ARGS__)
#define TEXT(s)   ((s) ? (s) : "-")

static const char config_text[] =
    "{\"Hostname\":\"web\",\"Image\":\"busybox\",\"Cmd\":[\"sleep\",\"9\"],\"Env\":[\"A=b\"],"
    "\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},\"Labels\":{\"tier\":\"front\"}}";

struct engine *fake_engine_new(void)
{
    struct engine *en = xcalloc(1, sizeof(*en));
    struct container_definition *d = &en->def;
    struct network_endpoint *ep = &en->view.endpoint;

    memcpy(d->id, FAKE_ID, sizeof(d->id));
    d->created = 1700000000LL * NSEC_PER_SEC;
    d->image_id = xstrdup("sha256:" FAKE_ID);
    d->image_ref = xstrdup("busybox");
    d->path = xstrdup("sleep");
    strv_push(&d->args, "9");
    d->driver = xstrdup("overlay");
    d->dir = xstrdup("/var/lib/pouch/containers/" FAKE_ID);
    (void)!json_parse(&container_config_json, config_text, strlen(config_text), &d->config, NULL);
    str_replace(&d->host_config.network_mode, "default");
    en->view.def = d;
    en->view.name = xstrdup("web");
    en->view.status = CONTAINER_RUNNING;
    en->view.pid = 4711;
    en->view.started = d->created + NSEC_PER_SEC;
    en->view.has_endpoint = true;
    ep->mode = NETWORK_BRIDGE;
    strcpy(ep->network_name, "bridge");
    strcpy(ep->endpoint_id, FAKE_EXEC);
    strcpy(ep->ip, "10.88.0.2");
    ep->prefix = 16;
    strcpy(ep->gateway, "10.88.0.1");
    ep->nports = 2;
    ep->ports = xcalloc(2, sizeof(*ep->ports));
    ep->ports[0] = (struct network_port){PORT_TCP, 80, 8080, "0.0.0.0"};
    ep->ports[1] = (struct network_port){PORT_TCP, 80, 8080, "::"};
    en->image = (struct image){.id = xstrdup("sha256:" FAKE_ID), .size = 4242424};
    strv_push(&en->image.repo_tags, "busybox:latest");
    en->image.doc.architecture = xstrdup("amd64");
    en->image.doc.os = xstrdup("linux");
    en->image.doc.created = d->created;
    en->exit_fd = eventfd(0, EFD_CLOEXEC);
    (void)snprintf(en->log_path, sizeof(en->log_path), "/tmp/pouch-api-test-%d.log", getpid());
    return en;
}

void fake_engine_free(struct engine *en)
{
    unlink(en->log_path);
    json_free(&container_config_json, &en->def.config);
    json_free(&host_config_json, &en->def.host_config);
    free(en->def.image_id);
    free(en->def.image_ref);
    free(en->def.path);
    strv_free(en->def.args);
    free(en->def.driver);
    free(en->def.dir);
    free(en->view.name);
    free(en->view.endpoint.ports);
    free(en->image.id);
    strv_free(en->image.repo_tags);
    free(en->image.doc.architecture);
    free(en->image.doc.os);
    close(en->exit_fd);
    free(en);
}

void fake_engine_exit(struct engine *en, int code)
{
    uint64_t one = 1;

    en->exit_code = code;
    (void)!write(en->exit_fd, &one, sizeof(one));
}

static int find(const char *ref, struct error *e)
{
    if (STREQ(ref, "web") || STREQ(ref, "tty") || str_has_prefix(FAKE_ID, ref))
        return 0;
    return error_set(e, ERR_NOT_FOUND, "No such container: %s", ref);
}

/* --- Containers ----------------------------------------------------------------------------------- */

const char *health_status_name(enum health_status s)
{
    static const char *const names[] = {"none", "starting", "healthy", "unhealthy"};

    return names[s];
}

const char *container_status_name(enum container_status s)
{
    return s == CONTAINER_RUNNING ? "running" : "created";
}

char *container_status_text(const struct container_view *v, int64_t now)
{
    return xstrdup("Up 3 minutes");
}

struct container_view *container_view_ref(struct container_view *v)
{
    return v;
}

void container_view_free(struct container_view *v) {}

int engine_inspect(struct engine *en, const char *ref, struct container_view **ret, struct error *e)
{
    int r = find(ref, e);

    if (r == 0)
        *ret = &en->view;
    return r;
}

int engine_container_size(struct engine *en, const struct container_view *v, uint64_t *rw,
                          uint64_t *rootfs, struct error *e)
{
    *rw = 10;
    *rootfs = 4242434;
    return 0;
}

int engine_list(struct engine *en, bool all, int64_t limit, const struct filter_set *f,
                struct container_list *ret, struct error *e)
{
    char *const *labels = filter_set_get(f, "label");

    SAID("list all=%d limit=%d label=%s", all, (int)limit, labels ? labels[0] : "-");
    if (filter_set_get(f, "nonsense"))
        return error_set(e, ERR_INVALID, "invalid filter 'nonsense'");
    ret->items = xcalloc(1, sizeof(*ret->items));
    ret->items[0] = &en->view;
    ret->len = 1;
    return 0;
}

const char *engine_image_title(struct engine *en, const struct container_view *v, struct map *known)
{
    (void)en;
    (void)known;
    return v->def->image_ref;
}

void container_list_done(struct container_list *l)
{
    free(l->items);
}

int engine_create(struct engine *en, const char *name, const char *platform,
                  struct container_config *config, struct create_extra *extra,
                  struct engine_created *ret, struct error *e)
{
    int r = 0;

    SAID("create name=%s platform=%s image=%s cmd=%s memory=%lld", TEXT(name), TEXT(platform),
         TEXT(config->image), config->cmd ? config->cmd[0] : "-",
         (long long)extra->host_config.memory);
    if (!config->image || !STREQ(config->image, "busybox"))
        r = error_set(e, ERR_NOT_FOUND, "No such image: %s", TEXT(config->image));
    else if (extra->host_config.network_mode)
        r = error_set(e, ERR_NOT_FOUND, "network %s not found", extra->host_config.network_mode);
    json_free(&container_config_json, config);
    json_free(&create_extra_json, extra);
    memcpy(ret->id, FAKE_ID, sizeof(ret->id));
    return r;
}

int engine_start(struct engine *en, const char *ref, const char *keys, char ***ret_warnings,
                 struct error *e)
{
    int r = find(ref, e);

    SAID("start %s keys=%s", ref, TEXT(keys));
    if (r == 0 && STREQ(ref, "web"))
        return error_set(e, ERR_NOT_MODIFIED, "it runs");
    return r;
}

int engine_stop(struct engine *en, const char *ref, const char *signal, struct opt_int t,
                struct error *e)
{
    SAID("stop %s signal=%s t=%d:%d", ref, TEXT(signal), t.set, (int)t.value);
    return find(ref, e);
}

int engine_restart(struct engine *en, const char *ref, const char *signal, struct opt_int t,
                   struct error *e)
{
    SAID("restart %s signal=%s t=%d:%d", ref, TEXT(signal), t.set, (int)t.value);
    return find(ref, e);
}

int engine_kill(struct engine *en, const char *ref, const char *signal, struct error *e)
{
    SAID("kill %s signal=%s", ref, TEXT(signal));
    return find(ref, e);
}

int engine_pause(struct engine *en, const char *ref, struct error *e)
{
    SAID("pause %s", ref);
    return find(ref, e);
}

int engine_unpause(struct engine *en, const char *ref, struct error *e)
{
    SAID("unpause %s", ref);
    return find(ref, e);
}

int engine_update(struct engine *en, const char *ref, const struct container_update *u,
                  char ***ret_warnings, struct error *e)
{
    int r = find(ref, e);

    SAID("update %s memory=%lld pids=%lld restart=%s env=%s label=%s", ref,
         (long long)u->set.memory, (long long)u->set.pids_limit.value,
         u->set.restart_policy.name ? u->set.restart_policy.name : "-", u->env ? u->env[0] : "-",
         u->labels ? u->labels[0] : "-");
    if (r == 0)
        strv_push(ret_warnings, "not all of it");
    return r;
}

int engine_remount_lxcfs(struct engine *en, const char *ref, size_t *ret_n, struct error *e)
{
    SAID("remount %s", ref ? ref : "all");
    *ret_n = 3;
    return ref ? find(ref, e) : 0;
}

int engine_upgrade(struct engine *en, const char *ref, const struct container_upgrade *u,
                   char ***ret_warnings, struct error *e)
{
    SAID("upgrade %s image=%s cmd=%s grace=%d:%lld", ref, u->image ? u->image : "-",
         u->cmd ? u->cmd[0] : "-", u->grace.set, (long long)u->grace.value);
    return find(ref, e);
}

int engine_rename(struct engine *en, const char *ref, const char *name, struct error *e)
{
    SAID("rename %s %s", ref, name);
    return find(ref, e);
}

int engine_remove(struct engine *en, const char *ref, bool force, bool volumes, struct error *e)
{
    int r = find(ref, e);

    SAID("remove %s force=%d volumes=%d", ref, force, volumes);
    return r == 0 && !force ? error_set(e, ERR_CONFLICT, "it runs: stop it first") : r;
}

int engine_resize(struct engine *en, const char *ref, unsigned rows, unsigned cols, struct error *e)
{
    SAID("resize %s %u %u", ref, rows, cols);
    return find(ref, e);
}

int engine_stats(struct engine *en, const char *ref, struct container_stats *ret, struct error *e)
{
    SAID("stats %s", ref);
    *ret = (struct container_stats){0};
    if (find(ref, e) < 0)
        return -ENOENT;
    strcpy(ret->id, "4711");
    ret->name = xstrdup("box");
    ret->running = true;
    ret->read_ns = 1;
    ret->system_ns = 2000;
    ret->ncpu = 2;
    ret->mem_limit = 64 << 20;
    ret->cgroup.cpu_total_ns = 1000;
    ret->cgroup.mem_usage = 4096;
    ret->cgroup.mem_stat = xstrdup("cache 10\ninactive_file 5\n");
    ret->cgroup.pids_current = 3;
    ret->cgroup.pids_limit = UINT64_MAX;
    return 0;
}

void container_stats_done(struct container_stats *s)
{
    free(s->name);
    free(s->cgroup.mem_stat);
    *s = (struct container_stats){0};
}

int engine_top(struct engine *en, const char *ref, const char *args, char ***titles, char ****rows,
               struct error *e)
{
    SAID("top %s %s", ref, TEXT(args));
    if (find(ref, e) < 0)
        return -ENOENT;
    strv_push(titles, "PID");
    strv_push(titles, "CMD");
    *rows = xcalloc(2, sizeof(char **));
    strv_push(&(*rows)[0], "4711");
    strv_push(&(*rows)[0], "sleep 9");
    return 0;
}

/* --- Waiting and streams --------------------------------------------------------------------------- */

struct engine_wait {
    struct engine *en;
};

int engine_wait_begin(struct engine *en, const char *ref, enum wait_condition cond,
                      struct engine_wait **ret, struct error *e)
{
    int r = find(ref, e);

    SAID("wait %s %d", ref, cond);
    if (r < 0)
        return r;
    *ret = xcalloc(1, sizeof(**ret));
    (*ret)->en = en;
    return 0;
}

int engine_wait_fd(const struct engine_wait *w)
{
    return w->en->exit_fd;
}

int64_t engine_wait_result(const struct engine_wait *w, const char **why)
{
    *why = w->en->exit_code == 128 ? "could not start" : NULL;
    return w->en->exit_code;
}

void engine_wait_free(struct engine_wait *w)
{
    free(w);
}

int engine_attach_begin(struct engine *en, const char *ref, bool *tty,
                        struct engine_attach_claim **claim, struct error *e)
{
    int r = find(ref, e);

    *tty = STREQ(ref, "tty");
    *claim = r < 0 ? NULL : (void *)xstrdup(ref);
    return r;
}

void engine_attach_end(struct engine_attach_claim *claim)
{
    free(claim);
}

int engine_attach(struct engine_attach_claim *claim, const struct attach_params *p, int fd,
                  struct error *e)
{
    const char *ref = (const char *)claim;
    char b[512];
    ssize_t n;

    SAID("attach %s in=%d out=%d err=%d logs=%d stream=%d mux=%d keys=%s early=%.*s", ref,
         p->stdin_on, p->stdout_on, p->stderr_on, p->logs, p->stream, p->multiplexed,
         TEXT(p->detach_keys), (int)p->early_len, p->early_len ? (const char *)p->early : "");
    if (p->logs) {
        close(fd);
        return error_set(e, ERR_INTERNAL, "the monitor is gone");
    }
    while (p->stdin_on && (n = read(fd, b, sizeof(b))) > 0)
        (void)!write(fd, b, (size_t)n);
    (void)!write(fd, "end", 3);
    close(fd);
    return 0;
}

int engine_logs(struct engine *en, const char *ref, const struct log_reader_params *p,
                struct log_reader **ret, bool *tty, struct error *e)
{
    static const char text[] =
        "{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.000000001Z\"}\n"
        "{\"log\":\"two\\n\",\"stream\":\"stderr\",\"time\":\"2026-01-02T03:04:06.000000002Z\"}\n";

    if (find(ref, e) < 0)
        return -ENOENT;
    SAID("logs %s tail=%d since=%lld until=%lld follow=%d", ref, (int)p->tail,
         (long long)p->since_ns, (long long)p->until_ns, p->follow);
    *tty = STREQ(ref, "tty");
    (void)!fs_write_atomic(-100, en->log_path, text, strlen(text), 0600, FS_NO_SYNC);
    return log_reader_open(en->log_path, p, ret, e);
}

/* --- Execs ------------------------------------------------------------------------------------------- */

static int find_exec(const char *id, struct error *e)
{
    return STREQ(id, FAKE_EXEC) ? 0 : error_set(e, ERR_NOT_FOUND, "No such exec instance: %s", id);
}

int engine_exec_create(struct engine *en, const char *ref, struct exec_config *c, char id[65],
                       struct error *e)
{
    int r = find(ref, e);

    SAID("exec %s cmd=%s tty=%d", ref, c->cmd ? c->cmd[0] : "-", c->tty);
    json_free(&exec_config_json, c);
    memcpy(id, FAKE_EXEC, 65);
    return r;
}

int engine_exec_check(struct engine *en, const char *id, bool *tty, struct error *e)
{
    *tty = false;
    return find_exec(id, e);
}

int engine_exec_start(struct engine *en, const char *id, int fd, const struct attach_params *p,
                      unsigned rows, unsigned cols, struct error *e)
{
    SAID("exec start detached=%d in=%d out=%d err=%d mux=%d %ux%u", fd < 0, p->stdin_on,
         p->stdout_on, p->stderr_on, p->multiplexed, rows, cols);
    if (fd >= 0) {
        (void)!write(fd, "hello", 5);
        close(fd);
    }
    return 0;
}

int engine_exec_resize(struct engine *en, const char *id, unsigned rows, unsigned cols,
                       struct error *e)
{
    SAID("exec resize %u %u", rows, cols);
    return find_exec(id, e);
}

int engine_exec_inspect(struct engine *en, const char *id, struct exec_view *ret, struct error *e)
{
    int r = find_exec(id, e);

    if (r < 0)
        return r;
    *ret = (struct exec_view){.pid = 4712, .has_exit_code = true, .exit_code = 3};
    memcpy(ret->id, FAKE_EXEC, 65);
    memcpy(ret->container_id, FAKE_ID, 65);
    ret->config.attach_stdin = true;
    strv_push(&ret->config.cmd, "sh");
    return 0;
}

void exec_view_done(struct exec_view *v)
{
    json_free(&exec_config_json, &v->config);
}

/* --- Images ------------------------------------------------------------------------------------------ */

/* The tables and functions of lower layers whose libraries this test does without. */
static const struct json_field no_fields[] = {JSON_END};
static const struct json_field healthcheck_fields[] = {JSON_END};
const struct json_desc oci_healthcheck_json = {"health check", sizeof(struct oci_healthcheck),
                                               healthcheck_fields};
const struct json_desc oci_image_config_json = {"image config", sizeof(struct oci_image_config),
                                                no_fields};
const struct json_desc volume_mount_request_json = {"mount", sizeof(struct volume_mount_request),
                                                    no_fields};
const struct json_desc volume_json = {"volume", sizeof(struct volume), no_fields};
static const struct json_field removed_fields[] = {
    JSON_FIELD(struct image_removed_item, untagged, "Untagged", JSON_STR, JSON_OMIT_EMPTY),
    JSON_FIELD(struct image_removed_item, deleted, "Deleted", JSON_STR, JSON_OMIT_EMPTY),
    JSON_END,
};
const struct json_desc image_removed_item_json = {"removed", sizeof(struct image_removed_item),
                                                  removed_fields};

void image_removed_done(struct image_removed *r)
{
    struct image_removed_item *items = r->items.items;

    for (size_t i = 0; i < r->items.len; i++)
        json_free(&image_removed_item_json, &items[i]);
    free(items);
}

void image_progress_print(const struct image_progress *p, struct buf *out)
{
    (void)buf_printf(out, "{\"status\":\"%s\"}\r\n", TEXT(p->status));
}

int image_registry_hosts(struct image_store *s, const char *reference, bool push, char ***ret,
                         struct error *e)
{
    strv_pushf(ret, "docker.io/library/%s", reference);
    return 0;
}

int image_auth_parse(const char *header, const char *config, struct image_auth *ret,
                     struct error *e)
{
    *ret = (struct image_auth){0};
    return header && STREQ(header, "bad") ? error_set(e, ERR_INVALID, "bad X-Registry-Auth") : 0;
}

static const struct json_field auth_fields[] = {
    JSON_FIELD(struct image_auth, username, "username", JSON_STR, 0),
    JSON_FIELD(struct image_auth, password, "password", JSON_STR, 0),
    JSON_FIELD(struct image_auth, server_address, "serveraddress", JSON_STR, 0),
    JSON_END,
};
const struct json_desc image_auth_json = {"credentials", sizeof(struct image_auth), auth_fields};

void image_auth_done(struct image_auth *a)
{
    json_free(&image_auth_json, a);
}

int engine_registry_login(struct engine *en, const struct image_auth *auth, int cancel_fd,
                          char **ret_token, struct error *e)
{
    SAID("login %s:%s at %s", TEXT(auth->username), TEXT(auth->password),
         TEXT(auth->server_address));
    if (auth->password && STREQ(auth->password, "wrong"))
        return error_set(e, ERR_UNAUTHORIZED, "incorrect username or password");
    *ret_token = xstrdup("refresh");
    return 0;
}

void image_found_done(struct json_list *l)
{
    free(l->items);
}

int engine_image_search(struct engine *en, const struct image_search_params *p,
                        struct json_list *ret, struct error *e)
{
    SAID("search %s limit=%d", p->term, (int)p->limit);
    *(struct image_found *)json_list_add(ret, sizeof(struct image_found)) =
        (struct image_found){.name = (char *)"few", .description = (char *)"", .stars = 1};
    *(struct image_found *)json_list_add(ret, sizeof(struct image_found)) = (struct image_found){
        .name = (char *)"many", .description = (char *)"a \"b\"", .stars = 9, .official = true};
    return 0;
}

void image_unref(struct image *img) {}

const struct json_desc image_gc_result_json = {"result", sizeof(struct image_gc_result),
                                               (const struct json_field[]){JSON_END}};

const struct json_desc image_fsck_result_json = {"result", sizeof(struct image_fsck_result),
                                                 (const struct json_field[]){JSON_END}};

void image_fsck_result_done(struct image_fsck_result *r) {}

int image_fsck(struct image_store *s, const struct image_fsck_params *p,
               struct image_fsck_result *ret, struct error *e)
{
    return 0;
}

void image_gc_result_done(struct image_gc_result *r) {}

int image_gc(struct image_store *s, const struct image_gc_params *p, struct image_gc_result *ret,
             struct error *e)
{
    return 0;
}

int image_protect(struct image_store *s, const char *name_or_id, bool on, struct error *e)
{
    return 0;
}

struct image_store *engine_images(struct engine *en)
{
    return (struct image_store *)en;
}

int image_check_platform(const struct image *img, const char *platform, const char *shown,
                         struct error *e)
{
    return 0;
}

int image_resolve(struct image_store *s, const char *name, struct image **ret, struct error *e)
{
    struct engine *en = (struct engine *)s;

    if (!STREQ(name, "busybox") && !STREQ(name, "reg:5000/a/b"))
        return error_set(e, ERR_NOT_FOUND, "No such image: %s", name);
    *ret = &en->image;
    return 0;
}

int image_list(struct image_store *s, struct image_list *ret, struct error *e)
{
    struct engine *en = (struct engine *)s;

    ret->items = xcalloc(1, sizeof(*ret->items));
    ret->items[0] = &en->image;
    ret->has_child = xcalloc(1, sizeof(bool));
    ret->len = 1;
    return 0;
}

bool image_list_is_intermediate(const struct image_list *l, size_t i)
{
    return l->has_child[i];
}

int image_get(struct image_store *s, const char *id, struct image **ret, struct error *e)
{
    return image_resolve(s, id, ret, e);
}

void image_list_done(struct image_list *l)
{
    free(l->items);
    free(l->has_child);
}

int engine_image_pull(struct engine *en, const struct image_pull_params *p, struct error *e)
{
    const struct image_progress progress = {.status = "Pulling"};

    SAID("pull %s platform=%s", p->reference, TEXT(p->platform));
    if (str_has_prefix(p->reference, "none"))
        return error_set(e, ERR_NOT_FOUND, "pull access denied for none");
    (void)p->progress(p->progress_data, &progress);
    if (str_has_prefix(p->reference, "broken"))
        return error_set(e, ERR_INTERNAL, "wrong digest");
    return 0;
}

static long drain(int fd, bool *whole)
{
    char b[65536];
    ssize_t n;
    long sum = 0;

    while ((n = read(fd, b, sizeof(b))) > 0)
        sum += n;
    *whole = n == 0;
    return sum;
}

int engine_image_load(struct engine *en, const struct image_load_params *p, struct error *e)
{
    const struct image_progress progress = {.status = "Loaded"};
    bool whole;
    long sum = drain(p->fd, &whole);

    SAID("load %ld whole=%d quiet=%d", sum, whole, p->quiet);
    if (sum == 0)
        return error_set(e, ERR_INVALID, "the archive is empty");
    return p->progress(p->progress_data, &progress);
}

int engine_image_push(struct engine *en, const struct image_push_params *p, struct error *e)
{
    const struct image_progress progress = {.status = "Pushing", .aux = "{\"Tag\":\"t\"}"};

    SAID("push %s user=%s all=%d,%d platform=%s compression=%s,%lld format=%s", p->reference,
         TEXT(p->auth->username), p->all_tags, p->all_platforms, TEXT(p->platform),
         TEXT(p->compression), (long long)p->level, TEXT(p->format));
    if (str_has_prefix(p->reference, "none"))
        return error_set(e, ERR_NOT_FOUND, "An image does not exist locally with the tag: none");
    return p->progress(p->progress_data, &progress);
}

int engine_export(struct engine *en, const char *ref, image_write_fn *write, void *data,
                  struct error *e)
{
    SAID("export %s", ref);
    if (STREQ(ref, "none"))
        return error_set(e, ERR_NOT_FOUND, "No such container: none");
    int r = write(data, "tar ", 4);
    if (r >= 0 && STREQ(ref, "half"))
        return error_set(e, ERR_INTERNAL, "it broke");
    return r < 0 ? r : write(data, "bytes", 5);
}

int engine_changes(struct engine *en, const char *ref, struct json_list *ret, struct error *e)
{
    SAID("changes %s", ref);
    if (STREQ(ref, "none"))
        return error_set(e, ERR_NOT_FOUND, "No such container: none");
    for (int i = 0; i < 3; i++) {
        struct container_change *c = json_list_add(ret, sizeof(*c));
        c->kind = (enum change_kind)i;
        c->path = xasprintf("/path %d \"", i);
    }
    return 0;
}

void container_changes_done(struct json_list *l)
{
    struct container_change *c = l->items;

    for (size_t i = 0; i < l->len; i++)
        free(c[i].path);
    free(c);
    *l = (struct json_list){0};
}

int engine_commit(struct engine *en, const char *ref, const struct container_commit *p,
                  char **ret_id, struct error *e)
{
    SAID("commit %s repo=%s tag=%s comment=%s author=%s change=%s pause=%d user=%s", ref,
         TEXT(p->repo), TEXT(p->tag), TEXT(p->comment), TEXT(p->author),
         p->changes ? p->changes[0] : "-", p->pause, p->config ? TEXT(p->config->user) : "-");
    if (STREQ(ref, "none"))
        return error_set(e, ERR_NOT_FOUND, "No such container: none");
    *ret_id = xstrdup("sha256:" FAKE_ID);
    return 0;
}

int engine_image_save(struct engine *en, const struct image_save_params *p, struct error *e)
{
    SAID("save %s %s format=%s compression=%s platform=%s", p->names ? p->names[0] : "-",
         p->names && p->names[0] && p->names[1] ? p->names[1] : "-", TEXT(p->format),
         TEXT(p->compression), TEXT(p->platform));
    if (p->names && p->names[0] && STREQ(p->names[0], "none"))
        return error_set(e, ERR_NOT_FOUND, "No such image: none");
    int r = p->write(p->write_data, "archive ", 8);
    if (r >= 0 && p->names && p->names[0] && STREQ(p->names[0], "half"))
        return error_set(e, ERR_INTERNAL, "it broke");
    return r < 0 ? r : p->write(p->write_data, "bytes", 5);
}

int engine_image_import(struct engine *en, const struct image_import_params *p, char **id,
                        struct error *e)
{
    bool whole;
    long sum = drain(p->fd, &whole);

    SAID("import %ld whole=%d repo=%s tag=%s change=%s", sum, whole, TEXT(p->repo), TEXT(p->tag),
         p->changes ? p->changes[0] : "-");
    *id = xstrdup("sha256:" FAKE_ID);
    return p->progress(p->progress_data, &(struct image_progress){.status = *id});
}

int engine_image_tag(struct engine *en, const char *source, const char *repo, const char *tag,
                     struct error *e)
{
    SAID("tag %s %s %s", source, repo, TEXT(tag));
    return 0;
}

int engine_image_remove(struct engine *en, const char *ref, bool force, bool prune,
                        struct image_removed *ret, struct error *e)
{
    struct image_removed_item *item;

    SAID("rmi %s force=%d prune=%d", ref, force, prune);
    item = json_list_add(&ret->items, sizeof(*item));
    item->untagged = xstrdup("busybox:latest");
    return 0;
}

/* --- The rest ----------------------------------------------------------------------------------------- */

struct volume_store *engine_volumes(struct engine *en)
{
    return NULL;
}

int engine_volume_create(struct engine *en, const struct volume_params *p, struct volume *ret,
                         struct error *e)
{
    ret->name = xstrdup(p->name && *p->name ? p->name : "random");
    for (size_t i = 0; i < p->options->len; i++)
        json_map_set(&ret->options, p->options->items[i].key, p->options->items[i].value);
    return 0;
}

int engine_volume_remove(struct engine *en, const char *name, bool force, struct error *e)
{
    return force ? 0 : error_set(e, ERR_NOT_FOUND, "get %s: no such volume", name);
}

int volume_list(struct volume_store *vs, struct volume **ret, size_t *len, struct error *e)
{
    return 0;
}

int volume_get(struct volume_store *vs, const char *name, struct volume *ret, struct error *e)
{
    return error_set(e, ERR_NOT_FOUND, "get %s: no such volume", name);
}

void volume_done(struct volume *v) {}

void engine_network_info(struct engine *en, struct network_info *ret)
{
    *ret = (struct network_info){.mtu = 1500, .subnet = "10.88.0.0/16", .gateway = "10.88.0.1"};
    memcpy(ret->network_id, FAKE_ID, 65);
}

struct event_reader {
    int fd;
    int left;
    int64_t until;
};

int engine_events_open(struct engine *en, int64_t since, int64_t until, const struct filter_set *f,
                       struct event_reader **ret, struct error *e)
{
    uint64_t one = 1;

    SAID("events since=%lld until=%lld type=%s", (long long)since, (long long)until,
         filter_set_get(f, "type") ? filter_set_get(f, "type")[0] : "-");
    *ret = xcalloc(1, sizeof(**ret));
    (*ret)->fd = eventfd(0, EFD_CLOEXEC);
    (*ret)->left = 1;
    (*ret)->until = until;
    (void)!write((*ret)->fd, &one, sizeof(one));
    return 0;
}

int event_reader_fd(const struct event_reader *r)
{
    return r->fd;
}

int event_reader_next(struct event_reader *r, struct engine_event **ret)
{
    uint64_t n;

    if (!r->left)
        return r->until ? -ENODATA : 0;
    r->left--;
    (void)!read(r->fd, &n, sizeof(n));
    *ret = xcalloc(1, sizeof(**ret));
    (*ret)->time = 1700000000123456789LL;
    (*ret)->type = xstrdup("container");
    (*ret)->action = xstrdup("start");
    (*ret)->actor_id = xstrdup(FAKE_ID);
    json_map_set(&(*ret)->attributes, "image", "busybox");
    json_map_set(&(*ret)->attributes, "name", "web");
    return 1;
}

int event_reader_timeout_ms(const struct event_reader *r)
{
    return -1;
}

void event_reader_free(struct event_reader *r)
{
    close(r->fd);
    free(r);
}

void event_free(struct engine_event *ev)
{
    free(ev->type);
    free(ev->action);
    free(ev->actor_id);
    json_map_done(&ev->attributes);
    free(ev);
}

void engine_info(struct engine *en, struct engine_info *ret)
{
    *ret = (struct engine_info){.containers = 1,
                                .running = 1,
                                .rootfs_driver = "overlay",
                                .log_driver = "json-file",
                                .cgroup_driver = "cgroupfs",
                                .cgroup_version = "2",
                                .ncpu = 2,
                                .memory_limit = true};
}

void engine_info_done(struct engine_info *i) {}

/* --- Manifest lists --------------------------------------------------------------------------- */

int image_manifest_create(struct image_store *s, const struct image_manifest_params *p,
                          char *const *images, bool amend, struct error *e)
{
    SAID("manifest create %s %s amend=%d insecure=%d", p->list, images ? images[0] : "-", amend,
         p->insecure);
    return STREQ(p->list, "there") ? error_set(e, ERR_CONFLICT, "manifest list there exists") : 0;
}

int image_manifest_annotate(struct image_store *s, const char *list, const char *image,
                            const struct image_manifest_annotation *a, struct error *e)
{
    SAID("manifest annotate %s %s %s/%s/%s version=%s feature=%s", list, image, TEXT(a->os),
         TEXT(a->architecture), TEXT(a->variant), TEXT(a->os_version),
         a->os_features ? a->os_features[0] : "-");
    return 0;
}

int image_referrers(struct image_store *s, const struct image_referrers_params *p, struct buf *ret,
                    struct error *e)
{
    if (STREQ(p->reference, "none"))
        return error_set(e, ERR_NOT_FOUND, "manifest for none not found");
    return buf_printf(ret, "{\"of\":\"%s\",\"type\":\"%s\",\"platform\":\"%s\"}", p->reference,
                      TEXT(p->artifact_type), TEXT(p->platform));
}

int image_manifest_inspect(struct image_store *s, const struct image_manifest_params *p,
                           bool verbose, struct buf *out, struct error *e)
{
    if (STREQ(p->list, "none"))
        return error_set(e, ERR_NOT_FOUND, "No such manifest: none");
    return buf_printf(out, "{\"list\":\"%s\",\"verbose\":%d}", p->list, verbose);
}

int image_manifest_distribution(struct image_store *s, const struct image_manifest_params *p,
                                struct buf *out, struct error *e)
{
    if (STREQ(p->list, "none"))
        return error_set(e, ERR_NOT_FOUND, "manifest unknown");
    SAID("distribution %s", p->list);
    return buf_puts(out, "{\"Descriptor\":{}}");
}

int image_manifest_push(struct image_store *s, const struct image_manifest_params *p, bool purge,
                        struct error *e)
{
    const struct image_progress line = {.status = "sha256:00"};

    SAID("manifest push %s purge=%d", p->list, purge);
    return p->progress(p->progress_data, &line);
}

int image_manifest_remove(struct image_store *s, const char *list, struct error *e)
{
    SAID("manifest rm %s", list);
    return 0;
}

int image_manifest_names(struct image_store *s, char ***ret, struct error *e)
{
    strv_push(ret, "docker.io/library/a:latest");
    return 0;
}
