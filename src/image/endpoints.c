/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a repository may be asked for: made for each operation from the configuration, in its order, with
 * mirrors that failed lately behind those that did not.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "base/toml.h"
#include "image/image-priv.h"
#include "image/registries.h"
#include "image/worker-protocol.h"
#include "oci/digest.h"
#include "oci/reference.h"

#define DEFAULT_FOLDER  "/etc/pouch"
#define HUB_HOST        "registry-1.docker.io"
#define PARALLEL_LAYERS 3
#define RATE_LIMIT_WAIT 60
#define PENALTY_NS      (30 * NSEC_PER_SEC) /* doubled with each failure in a row, up to … */
#define PENALTY_MAX_NS  (600 * NSEC_PER_SEC)
#define HEALTH_MAX      4096
#define MAX_IMAGE_SIZE  ((uint64_t)256 << 30)

/* Beside <folder>/certs.d, when the folder was not named by the administrator. */
static const char *const OTHER_CERTS[] = {"/etc/containerd/certs.d", "/etc/docker/certs.d"};

struct health {
    unsigned failures; /* in a row */
    int64_t until;     /* ns, monotonic: till then it is asked last */
};

struct registries {
    char *folder;
    char **certs_dirs;
    char **mirrors, **insecure;
    char *http_proxy, *https_proxy, *no_proxy;
    uint64_t parallel, max_image_size, rate_limit_wait;
    pthread_mutex_t lock; /* of what follows */
    struct map *health;   /* name → struct health, only of endpoints that plans had */
};

/* --- Settings ---------------------------------------------------------------------------------------- */

/* Docker's rules for registry-mirrors. */
static int check_mirror(const char *url, struct error *e)
{
    const char *s = str_has_prefix(url, "https://")  ? url + 8
                    : str_has_prefix(url, "http://") ? url + 7
                                                     : NULL;
    if (!s || !*s || *s == '/')
        return error_set(e, ERR_INVALID,
                         "registry-mirrors: \"%.100s\" is no URL (http:// or https://)", url);
    if (strpbrk(s, "?#@ \t\r\n\"\\"))
        return error_set(
            e, ERR_INVALID,
            "registry-mirrors: only scheme, host, port and path may be named: \"%.100s\"", url);
    return 0;
}

static int check_proxy(const char *key, const char *url, struct error *e)
{
    static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};

    if (str_is_empty(url) || !strstr(url, "://"))
        return 0; /* host:port is http:// */
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
        if (str_has_prefix(url, schemes[i]))
            return 0;
    return error_set(e, ERR_INVALID, "%s: only http, https and socks5 proxies are known", key);
}

static char *proxy_setting(const char *set, const char *upper, const char *lower)
{
    const char *env = getenv(upper);

    if (str_is_empty(env))
        env = getenv(lower);
    return !str_is_empty(set) ? xstrdup(set) : str_is_empty(env) ? NULL : xstrdup(env);
}

int registries_new(const struct image_registry_params *p, char *const *insecure,
                   struct registries **ret, struct error *e)
{
    static const struct image_registry_params none = {0};
    int r = 0;

    p = p ? p : &none;
    for (char *const *m = p->mirrors; r >= 0 && m && *m; m++)
        r = check_mirror(*m, e);
    if (r >= 0)
        r = check_proxy("http-proxy", p->http_proxy, e);
    if (r >= 0)
        r = check_proxy("https-proxy", p->https_proxy, e);
    if (r >= 0 && p->max_downloads > WORKER_PARALLEL_MAX)
        r = error_set(e, ERR_INVALID, "max-concurrent-downloads: more than %d are not supported",
                      WORKER_PARALLEL_MAX);
    if (r < 0)
        return r;
    struct registries *s = xcalloc(1, sizeof(*s));
    s->folder = xstrdup(p->folder ? p->folder : DEFAULT_FOLDER);
    strv_pushf(&s->certs_dirs, "%s/certs.d", s->folder);
    for (size_t i = 0; i < ARRAY_SIZE(OTHER_CERTS) && !p->folder; i++)
        strv_push(&s->certs_dirs, OTHER_CERTS[i]);
    s->mirrors = strv_copy(p->mirrors);
    s->insecure = strv_copy(insecure);
    s->http_proxy = proxy_setting(p->http_proxy, "HTTP_PROXY", "http_proxy");
    s->https_proxy = proxy_setting(p->https_proxy, "HTTPS_PROXY", "https_proxy");
    s->no_proxy = proxy_setting(p->no_proxy, "NO_PROXY", "no_proxy");
    s->parallel = p->max_downloads ? p->max_downloads : PARALLEL_LAYERS;
    s->max_image_size = p->max_image_size ? p->max_image_size : MAX_IMAGE_SIZE;
    s->rate_limit_wait = p->rate_limit_wait.set ? p->rate_limit_wait.value : RATE_LIMIT_WAIT;
    s->health = map_new();
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return 0;
}

void registries_free(struct registries *r)
{
    if (!r)
        return;
    free(r->folder);
    strv_free(r->certs_dirs);
    strv_free(r->mirrors);
    strv_free(r->insecure);
    free(r->http_proxy);
    free(r->https_proxy);
    free(r->no_proxy);
    map_free(r->health, free);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

unsigned registries_parallel(const struct registries *r)
{
    return (unsigned)r->parallel;
}

uint64_t registries_max_image_size(const struct registries *r)
{
    return r->max_image_size;
}

const char *registries_folder(const struct registries *r)
{
    return r->folder;
}

void registries_proxies(const struct registries *r, char *ret[3])
{
    ret[0] = r->http_proxy ? r->http_proxy : (char *)"";
    ret[1] = r->https_proxy ? r->https_proxy : (char *)"";
    ret[2] = r->no_proxy ? r->no_proxy : (char *)"";
}

/* "http://user:xxxxx@host": as Docker shows it. */
static char *without_password(const char *url)
{
    const char *start = url ? strstr(url, "://") : NULL;
    const char *from = start ? start + 3 : url;
    const char *at = from ? strrchr(from, '@') : NULL;

    if (!at)
        return xstrdup_or_null(url);
    return xasprintf("%.*sxxxxx:xxxxx%s", (int)(from - url), url, at);
}

void image_registry_settings(struct image_store *s, char ***ret_mirrors, char **ret_http_proxy,
                             char **ret_https_proxy, char **ret_no_proxy)
{
    const struct registries *r = s->registries;

    *ret_mirrors = strv_copy(r->mirrors);
    *ret_http_proxy = without_password(r->http_proxy);
    *ret_https_proxy = without_password(r->https_proxy);
    *ret_no_proxy = xstrdup_or_null(r->no_proxy);
}

/* --- Endpoints --------------------------------------------------------------------------------------- */

/* What one plan is made of. */
struct making {
    struct registries *r;
    const struct worker_msg *start;
    const struct registry_logins *logins; /* or NULL */
    char *domain;                         /* "docker.io" */
    char *name;                           /* "docker.io/library/busybox:latest" */
    struct registry_plan *plan;
    struct error *e;
};

static struct registry_endpoint *add_endpoint(struct making *m, const char *scheme,
                                              const char *host, const char *repository)
{
    struct registry_endpoint *ep = json_list_add(&m->plan->endpoints, sizeof(*ep));

    ep->name = xstrdup(host);
    ep->host = xstrdup(STREQ(host, "docker.io") ? HUB_HOST : host);
    ep->scheme = xstrdup(scheme);
    ep->prefix = xstrdup("/v2");
    ep->repository = xstrdup_or_null(repository);
    ep->needs = REGISTRY_PULL | REGISTRY_RESOLVE | REGISTRY_PUSH;
    ep->insecure = !STREQ(scheme, "https");
    ep->skip_verify = str_is_empty(scheme);
    return ep;
}

/* Whether plain HTTP may be tried with a host that nothing else was said about. */
static const char *guess_scheme(const struct making *m, const char *host)
{
    return image_is_insecure(m->r->insecure, host) ? "" : "https";
}

/* Certificates from certs.d of the endpoint's host, where nothing nearer named any. */
static int find_certs(struct making *m, struct registry_endpoint *ep)
{
    AUTOFREE char *folder = hosts_folder(m->r->certs_dirs, ep->host, NULL);
    bool hub = STREQ(ep->host, HUB_HOST);
    AUTOFREE char *hub_folder = hub ? hosts_folder(m->r->certs_dirs, "docker.io", NULL) : NULL;
    int r = folder ? hosts_load_certs(folder, ep, m->e) : 0;

    return r >= 0 && hub_folder ? hosts_load_certs(hub_folder, ep, m->e) : r;
}

/* The request's own credentials are for the registry that was named, and for no other host. */
static void give_own_login(const struct making *m, struct registry_endpoint *ep)
{
    const struct worker_msg *s = m->start;

    if (!STREQ(ep->host, s->host))
        return;
    str_replace(&ep->username, s->username);
    str_replace(&ep->password, s->password);
    str_replace(&ep->identity_token, s->identity_token);
    str_replace(&ep->registry_token, s->registry_token);
}

static bool has_login(const struct registry_endpoint *ep)
{
    for (char *const *h = ep->headers; h && *h; h++)
        if (strncasecmp(*h, "authorization:", 14) == 0)
            return true;
    return !str_is_empty(ep->username) || !str_is_empty(ep->identity_token) ||
           !str_is_empty(ep->registry_token);
}

/* What was given, or pouchd has, for this host and port. */
static int give_login(struct making *m, struct registry_endpoint *ep)
{
    CLEANUP(image_auth_done) struct image_auth a = {0};
    const char *host = STREQ(ep->host, HUB_HOST) ? OCI_REFERENCE_DEFAULT_DOMAIN : ep->host;
    AUTOFREE char *repository = xasprintf("%s%s%s", host, ep->repository ? "/" : "",
                                          ep->repository ? ep->repository : "");

    if (!m->logins || has_login(ep))
        return 0;
    give_own_login(m, ep); /* a mirror at the very host that was named */
    if (has_login(ep))
        return 0;
    if (!image_login_find(m->logins->given, host, &a) && m->logins->auth_file) {
        int r = image_auth_from_file(m->logins->auth_file, repository, &a, &m->plan->login_problem,
                                     m->e);
        if (r < 0)
            return r;
    }
    free(ep->username);
    free(ep->password);
    free(ep->identity_token);
    free(ep->registry_token);
    ep->username = take_ptr(a.username);
    ep->password = take_ptr(a.password);
    ep->identity_token = take_ptr(a.identity_token);
    ep->registry_token = take_ptr(a.registry_token);
    return 0;
}

/* The registry itself. */
static int add_origin(struct making *m)
{
    const struct worker_msg *s = m->start;
    struct registry_endpoint *ep = add_endpoint(m, guess_scheme(m, m->domain), s->host,
                                                s->repository);

    give_own_login(m, ep);
    return find_certs(m, ep);
}

/* One host of hosts.toml; the server of the file is the registry itself. */
static int add_host(struct making *m, const struct hosts_host *h, const char *folder, bool server)
{
    const struct worker_msg *s = m->start;
    bool named = h->host != NULL;
    const char *scheme = named ? h->scheme : guess_scheme(m, m->domain);
    struct registry_endpoint *ep = add_endpoint(m, scheme, named ? h->host : s->host,
                                                s->repository);

    if (named && image_is_insecure(m->r->insecure, h->host))
        ep->insecure = ep->skip_verify = true;
    ep->mirror = !server;
    ep->needs = h->needs;
    ep->skip_verify = ep->skip_verify || h->skip_verify;
    ep->headers = strv_copy(h->headers);
    ep->dial_timeout_ms = h->dial_timeout_ms;
    if (named) {
        str_replace(&ep->prefix, h->path);
        if (!h->override_path) {
            free(ep->prefix);
            ep->prefix = xasprintf("%s/v2", h->path);
        }
        if (*h->path) {
            free(ep->name);
            ep->name = xasprintf("%s%s", h->host, h->path);
        }
    }
    if (!server && strcmp(ep->host, s->host) != 0)
        ep->ns = xstrdup(m->domain); /* pull-through caches of several registries need it */
    if (server)
        give_own_login(m, ep);
    int r = hosts_load_files(folder, h, ep, m->e);
    if (r >= 0 && server)
        r = hosts_load_certs(folder, ep, m->e);
    return r < 0 ? r : find_certs(m, ep);
}

/* hosts.toml of the registry, or else of "_default". 1: it decides, 0: there is none. */
static int add_hosts(struct making *m)
{
    AUTOFREE char *own = hosts_folder(m->r->certs_dirs, m->domain, "hosts.toml");
    AUTOFREE char *folder = own ? take_ptr(own)
                                : hosts_folder(m->r->certs_dirs, "_default", "hosts.toml");
    CLEANUP(hosts_file_done) struct hosts_file f = {0};
    AUTOFREE char *text = NULL, *path = folder ? xasprintf("%s/hosts.toml", folder) : NULL;
    size_t len = 0;

    if (!folder)
        return 0;
    int r = fs_read_file(AT_FDCWD, path, TOML_MAX, &text, &len);
    if (r < 0)
        return error_set_errno(m->e, r, "cannot read %s", path);
    r = hosts_parse(text, len, &f, m->e);
    const struct hosts_host *h = f.hosts.items;
    for (size_t i = 0; r >= 0 && i < f.hosts.len; i++)
        r = add_host(m, &h[i], folder, false);
    if (r >= 0)
        r = add_host(m, &f.server, folder, true);
    if (r < 0) {
        error_add(m->e, "%s", path);
        return r;
    }
    return 1;
}

/* "location/rest" in place of the first `len` bytes of the name, as host and repository. */
static int rewrite(struct making *m, const char *location, size_t len, char **ret_host,
                   char **ret_repository)
{
    AUTOFREE char *full = xasprintf("%s%s", location, m->name + len);
    size_t host = strcspn(full, "/");
    char *end = strchr(full, '@');

    if (end)
        *end = '\0';
    end = strrchr(full, ':');
    if (end && strchr(end, '/') == NULL && (size_t)(end - full) > host)
        *end = '\0';
    if (!full[host] || !full[host + 1])
        return error_set(m->e, ERR_INVALID, "location \"%.100s\" leaves no name of a repository",
                         location);
    *ret_host = xstrndup(full, host);
    *ret_repository = xstrdup(full + host + 1);
    return 0;
}

/* A mirror of registries.conf, or (mirror NULL) the entry's own location. */
static int add_location(struct making *m, const struct conf_registry *entry,
                        const struct conf_mirror *mirror, size_t len)
{
    const struct worker_msg *s = m->start;
    AUTOFREE char *host = NULL, *repository = NULL;
    bool insecure = mirror ? mirror->insecure : entry->insecure;
    const char *location = mirror ? mirror->location : entry->location;

    if (str_is_empty(location)) { /* a wildcard without a location: the name as it is */
        host = xstrdup(m->domain);
        repository = xstrdup(s->repository);
    } else {
        int r = rewrite(m, location, len, &host, &repository);
        if (r < 0)
            return r;
    }
    struct registry_endpoint *ep = add_endpoint(m, insecure ? "" : guess_scheme(m, host), host,
                                                repository);
    ep->mirror = mirror != NULL;
    if (mirror) {
        const char *from = mirror->pull_from ? mirror->pull_from : "all";
        ep->needs = REGISTRY_PULL | REGISTRY_RESOLVE;
        ep->digest_only = entry->mirror_by_digest_only || STREQ(from, "digest-only");
        ep->tag_only = STREQ(from, "tag-only");
    } else {
        give_own_login(m, ep);
    }
    return find_certs(m, ep);
}

/* registries.conf. 1: it decides, 0: it says nothing of this name. */
static int add_conf(struct making *m, const struct registries_conf *c)
{
    size_t len = 0;
    const struct conf_registry *entry = registries_conf_find(c, m->name, &len);
    int r = 0;

    if (!entry)
        return 0;
    const struct conf_mirror *mirrors = entry->mirrors.items;
    for (size_t i = 0; r >= 0 && i < entry->mirrors.len; i++)
        r = add_location(m, entry, &mirrors[i], len);
    if (r >= 0)
        r = add_location(m, entry, NULL, len);
    if (r < 0) {
        error_add(m->e, "%s", entry->file);
        return r;
    }
    return 1;
}

/* Docker's registry-mirrors, for Docker Hub. */
static int add_docker_mirrors(struct making *m)
{
    for (char **url = m->r->mirrors; url && *url; url++) {
        bool https = str_has_prefix(*url, "https://");
        const char *s = *url + (https ? 8 : 7);
        size_t n = strcspn(s, "/");
        AUTOFREE char *host = xstrndup(s, n);
        AUTOFREE char *path = xstrdup(s + n);
        for (size_t len = strlen(path); len > 0 && path[len - 1] == '/'; len--)
            path[len - 1] = '\0';
        struct registry_endpoint *ep = add_endpoint(m, https ? "https" : "http", host,
                                                    m->start->repository);
        free(ep->prefix);
        ep->prefix = xasprintf("%s/v2", path);
        ep->mirror = true;
        ep->needs = REGISTRY_PULL | REGISTRY_RESOLVE;
        ep->skip_verify = image_is_insecure(m->r->insecure, host);
        int r = find_certs(m, ep);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- Health ------------------------------------------------------------------------------------------ */

void registries_report(struct registries *r, const char *name, bool worked)
{
    pthread_mutex_lock(&r->lock);
    struct health *h = map_get(r->health, name);
    if (h && worked) {
        h->failures = 0;
        h->until = 0;
    } else if (h) {
        unsigned n = h->failures < 8 ? h->failures : 8;
        int64_t penalty = PENALTY_NS << n;
        h->failures++;
        h->until = time_monotonic_ns() + (penalty < PENALTY_MAX_NS ? penalty : PENALTY_MAX_NS);
    }
    pthread_mutex_unlock(&r->lock);
}

/* Whether it failed lately; from now on it is known. */
static bool is_ill(struct registries *r, const char *name, int64_t now)
{
    struct health *h = map_get(r->health, name);

    if (!h && map_len(r->health) < HEALTH_MAX) {
        h = xcalloc(1, sizeof(*h));
        (void)map_set(r->health, name, h);
    }
    return h && h->until > now;
}

/* Mirrors that failed lately go behind everything else, the registry included; else the order stays. */
static void order_by_health(struct registries *r, struct registry_plan *plan)
{
    struct registry_endpoint *eps = plan->endpoints.items;
    size_t n = plan->endpoints.len, k = 0;
    struct registry_endpoint *sorted = xcalloc(n ? n : 1, sizeof(*sorted));
    bool *ill = xcalloc(n ? n : 1, sizeof(*ill));
    int64_t now = time_monotonic_ns();

    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n; i++)
        ill[i] = eps[i].mirror && is_ill(r, eps[i].name, now);
    pthread_mutex_unlock(&r->lock);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n; i++)
            if (ill[i] == (pass == 1))
                sorted[k++] = eps[i];
    if (n > 0)
        memcpy(eps, sorted, n * sizeof(*eps));
    free(sorted);
    free(ill);
}

/* --- The plan ---------------------------------------------------------------------------------------- */

/* A login goes to the host that was named and no other: where the configuration has another one in its
 * place, it would be checked nowhere and never be sent. entry: of registries.conf, if that decides. */
static int check_login(struct making *m, const struct conf_registry *entry)
{
    const struct registry_endpoint *eps = m->plan->endpoints.items;
    const char *location = entry && entry->location ? entry->location : "";
    AUTOFREE char *to = xstrndup(location, strcspn(location, "/"));
    /* Docker Hub has two names. */
    bool same = STREQ(STREQ(to, HUB_HOST) ? OCI_REFERENCE_DEFAULT_DOMAIN : to, m->domain);
    const char *other = *to && !same ? to : NULL;

    for (size_t i = 0; i < m->plan->endpoints.len; i++)
        if (!eps[i].mirror && !STREQ(eps[i].host, m->start->host))
            other = eps[i].host;
    return other ? error_set(m->e, ERR_INVALID,
                             "what is at %s comes from %s, as %s says, and a login for %s would "
                             "never be sent there: log in to %s",
                             m->domain, other, entry ? entry->file : "hosts.toml", m->domain, other)
                 : 0;
}

static int make(struct making *m)
{
    CLEANUP(registries_conf_done) struct registries_conf conf = {0};
    size_t len = 0;

    int r = registries_conf_load(m->r->folder, &conf, m->e);
    if (r < 0)
        return r;
    const struct conf_registry *entry = registries_conf_find(&conf, m->name, &len);
    if (entry && entry->blocked)
        return error_set(m->e, ERR_FORBIDDEN, "registry %s is blocked in %s", entry->prefix,
                         entry->file);
    r = add_hosts(m);
    bool by_hosts = r > 0;
    if (r == 0 && !str_is_empty(m->start->repository))
        r = add_conf(m, &conf);
    if (r == 0) {
        if (STREQ(m->domain, OCI_REFERENCE_DEFAULT_DOMAIN))
            r = add_docker_mirrors(m);
        if (r >= 0)
            r = add_origin(m);
    }
    if (r >= 0 && m->plan->endpoints.len > REGISTRY_ENDPOINTS_MAX)
        r = error_set(m->e, ERR_INVALID, "registry %s has more than %d mirrors", m->domain,
                      REGISTRY_ENDPOINTS_MAX - 1);
    if (r >= 0 && m->start->op && STREQ(m->start->op, "login"))
        r = check_login(m, by_hosts ? NULL : entry);
    struct registry_endpoint *eps = m->plan->endpoints.items;
    for (size_t i = 0; r >= 0 && i < m->plan->endpoints.len; i++)
        r = give_login(m, &eps[i]);
    return r;
}

int registries_plan(struct registries *r, const struct worker_msg *start,
                    const struct registry_logins *logins, struct registry_plan *ret,
                    struct error *e)
{
    struct registry_plan plan = {.registry = xstrdup(start->host),
                                 .http_proxy = xstrdup_or_null(r->http_proxy),
                                 .https_proxy = xstrdup_or_null(r->https_proxy),
                                 .no_proxy = xstrdup_or_null(r->no_proxy),
                                 .rate_limit_wait = r->rate_limit_wait};
    struct making m = {.r = r, .start = start, .logins = logins, .plan = &plan, .e = e};
    bool digest = !str_is_empty(start->digest);

    m.domain = xstrdup(STREQ(start->host, HUB_HOST) ? OCI_REFERENCE_DEFAULT_DOMAIN : start->host);
    m.name = xasprintf("%s/%s%s%s", m.domain, start->repository ? start->repository : "",
                       digest                     ? "@"
                       : str_is_empty(start->tag) ? ""
                                                  : ":",
                       digest       ? start->digest
                       : start->tag ? start->tag
                                    : "");
    int rc = make(&m);
    free(m.domain);
    free(m.name);
    if (rc < 0) {
        registry_plan_done(&plan);
        return rc;
    }
    order_by_health(r, &plan);
    *ret = plan;
    return 0;
}
