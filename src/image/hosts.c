/* SPDX-License-Identifier: Apache-2.0 */
/* containerd's hosts.toml, and certificates in the folders of certs.d: see registries.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "base/toml.h"
#include "image/registries.h"

#define PEM_MAX  (1u << 20)
#define DIAL_MAX (600 * NSEC_PER_SEC)

/* --- The file as it is ------------------------------------------------------------------------------ */

struct raw_host {
    char *url; /* the key of the table; first */
    char **capabilities;
    char **ca;
    char *client, *header; /* JSON */
    struct opt_bool skip_verify, override_path;
    char *dial_timeout;
};
#define HOST_FIELDS(type, at)                                                                      \
    JSON_FIELD(type, at capabilities, "capabilities", JSON_STRV, 0),                               \
        JSON_FIELD(type, at ca, "ca", JSON_STRV, JSON_STR_OR_LIST),                                \
        JSON_FIELD(type, at client, "client", JSON_RAW, 0),                                        \
        JSON_FIELD(type, at header, "header", JSON_RAW, 0),                                        \
        JSON_FIELD(type, at skip_verify, "skip_verify", JSON_OPT_BOOL, 0),                         \
        JSON_FIELD(type, at override_path, "override_path", JSON_OPT_BOOL, 0),                     \
        JSON_FIELD(type, at dial_timeout, "dial_timeout", JSON_STR, 0)
static const struct json_field raw_host_fields[] = {
    HOST_FIELDS(struct raw_host, ),
    JSON_END,
};
static const struct json_desc raw_host_json = {"host", sizeof(struct raw_host), raw_host_fields};

struct raw_file {
    char *server;
    struct raw_host root;
    struct json_list hosts;
};
static const struct json_field raw_file_fields[] = {
    JSON_FIELD(struct raw_file, server, "server", JSON_STR, 0),
    HOST_FIELDS(struct raw_file, root.),
    JSON_FIELD_SUB(struct raw_file, hosts, "host", JSON_OBJ_MAP, 0, &raw_host_json),
    JSON_END,
};
static const struct json_desc raw_file_json = {"hosts.toml", sizeof(struct raw_file),
                                               raw_file_fields};

int registries_check_keys(const struct json_value *v, const struct json_field *fields,
                          const char *of, const char **ret_key, struct error *e)
{
    for (size_t i = 0; i < json_value_len(v); i++) {
        const char *key = NULL;
        bool known = false;
        (void)json_value_member(v, i, &key);
        for (const struct json_field *f = fields; f->name && !known; f++)
            known = STREQ(f->name, key);
        if (known)
            continue;
        if (ret_key)
            *ret_key = key;
        return error_set(e, ERR_INVALID, "unknown field \"%.60s\"%.120s", key, of);
    }
    return 0;
}

static int check_host(const struct json_value *h, const char *url, struct error *e)
{
    AUTOFREE char *of = xasprintf(" of host %.100s", url);

    return registries_check_keys(h, raw_host_fields, of, NULL, e);
}

static int check_all_keys(const char *json, size_t len, struct error *e)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    int r = json_value_parse(json, len, &v, e);

    if (r >= 0)
        r = registries_check_keys(v, raw_file_fields, "", NULL, e);
    const struct json_value *hosts = r >= 0 ? json_value_get(v, "host") : NULL;
    bool table = json_value_kind(hosts) == JV_OBJ; /* else json_parse() says it better */
    for (size_t i = 0; r >= 0 && table && i < json_value_len(hosts); i++) {
        const char *url = NULL;
        const struct json_value *h = json_value_member(hosts, i, &url);
        r = json_value_kind(h) == JV_OBJ
                ? check_host(h, url, e)
                : error_set(e, ERR_INVALID, "host \"%.100s\" is no table", url);
    }
    return r;
}

/* --- What it means ---------------------------------------------------------------------------------- */

static void host_done(struct hosts_host *h)
{
    struct hosts_pair *pairs = h->clients.items;

    for (size_t i = 0; i < h->clients.len; i++) {
        free(pairs[i].cert);
        free(pairs[i].key);
    }
    free(pairs);
    free(h->scheme);
    free(h->host);
    free(h->path);
    strv_free(h->ca);
    strv_free(h->headers);
    memset(h, 0, sizeof(*h));
}

void hosts_file_done(struct hosts_file *f)
{
    struct hosts_host *h = f->hosts.items;

    for (size_t i = 0; i < f->hosts.len; i++)
        host_done(&h[i]);
    free(h);
    host_done(&f->server);
    memset(f, 0, sizeof(*f));
}

/* "https://host:port/path": without a scheme it is https. */
static int set_url(struct hosts_host *h, const char *url, struct error *e)
{
    const char *s = url;

    if (str_has_prefix(s, "http://")) {
        h->scheme = xstrdup("http");
        s += 7;
    } else {
        h->scheme = xstrdup("https");
        if (str_has_prefix(s, "https://"))
            s += 8;
        else if (strstr(s, "://"))
            return error_set(e, ERR_INVALID, "\"%.100s\" is neither http:// nor https://", url);
    }
    size_t n = strcspn(s, "/");
    if (n == 0 || n > 255)
        return error_set(e, ERR_INVALID, "\"%.100s\" names no host", url);
    if (strpbrk(s, "?#@\\ \t\r\n\"<>"))
        return error_set(e, ERR_INVALID, "\"%.100s\": only a host, a port and a path may be named",
                         url);
    h->host = xstrndup(s, n);
    h->path = xstrdup(s + n);
    for (size_t len = strlen(h->path); len > 0 && h->path[len - 1] == '/'; len--)
        h->path[len - 1] = '\0';
    return 0;
}

static int set_capabilities(struct hosts_host *h, char *const *list, struct error *e)
{
    h->needs = list ? 0 : REGISTRY_PULL | REGISTRY_RESOLVE | REGISTRY_PUSH;
    for (; list && *list; list++) {
        if (STREQ(*list, "pull"))
            h->needs |= REGISTRY_PULL;
        else if (STREQ(*list, "resolve"))
            h->needs |= REGISTRY_RESOLVE;
        else if (STREQ(*list, "push"))
            h->needs |= REGISTRY_PUSH;
        else
            return error_set(e, ERR_INVALID,
                             "unknown capability \"%.60s\" (there are pull, resolve, push)", *list);
    }
    return 0;
}

static int bad_client(struct error *e)
{
    return error_set(e, ERR_INVALID,
                     "client: expected \"FILE\", a list of files, or a list of "
                     "[\"CERTIFICATE\", \"KEY\"]");
}

/* "file" | ["file", …] | [["cert", "key"], …] */
static int set_client(struct hosts_host *h, const char *json, struct error *e)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    int r = json ? json_value_parse(json, strlen(json), &v, e) : 0;

    if (r < 0 || !json)
        return r;
    bool one = json_value_kind(v) == JV_STR;
    if (!one && json_value_kind(v) != JV_LIST)
        return bad_client(e);
    for (size_t i = 0; i < (one ? 1 : json_value_len(v)); i++) {
        const struct json_value *item = one ? v : json_value_at(v, i);
        const char *cert = json_value_str(item), *key = NULL;
        if (json_value_kind(item) == JV_LIST) {
            size_t n = json_value_len(item);
            cert = n > 0 ? json_value_str(json_value_at(item, 0)) : NULL;
            key = n == 2 ? json_value_str(json_value_at(item, 1)) : NULL;
            if (n > 2 || (n == 2 && !key))
                return bad_client(e);
        }
        if (str_is_empty(cert))
            return bad_client(e);
        struct hosts_pair *pair = json_list_add(&h->clients, sizeof(*pair));
        pair->cert = xstrdup(cert);
        pair->key = str_is_empty(key) ? NULL : xstrdup(key);
    }
    if (h->clients.len > 1)
        return error_set(e, ERR_INVALID,
                         "client: several certificates for one host are not supported");
    return 0;
}

static int add_header(struct hosts_host *h, const char *name, const char *value, struct error *e)
{
    static const char *const ours[] = {"Host",  "Content-Length", "Transfer-Encoding",
                                       "Range", "Connection",     "Expect"};

    if (!value)
        return error_set(e, ERR_INVALID, "header \"%.60s\": expected a string or a list of strings",
                         name);
    if (!*name || strpbrk(name, ": \t\r\n\"(),/;<=>?@[\\]{}") || strpbrk(value, "\r\n"))
        return error_set(e, ERR_INVALID, "header \"%.60s\" has no form of a header", name);
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        if (strcasecmp(name, ours[i]) == 0)
            return error_set(e, ERR_INVALID, "header %s is not for configuration", ours[i]);
    strv_pushf(&h->headers, "%s: %s", name, value);
    return 0;
}

static int set_headers(struct hosts_host *h, const char *json, struct error *e)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    int r = json ? json_value_parse(json, strlen(json), &v, e) : 0;

    if (r < 0 || !json)
        return r;
    if (json_value_kind(v) != JV_OBJ)
        return error_set(e, ERR_INVALID, "header: expected a table");
    for (size_t i = 0; r >= 0 && i < json_value_len(v); i++) {
        const char *name = NULL;
        const struct json_value *m = json_value_member(v, i, &name);
        if (json_value_kind(m) != JV_LIST)
            r = add_header(h, name, json_value_str(m), e);
        else
            for (size_t k = 0; r >= 0 && k < json_value_len(m); k++)
                r = add_header(h, name, json_value_str(json_value_at(m, k)), e);
    }
    return r;
}

static int set_host(struct hosts_host *h, const char *url, const struct raw_host *raw,
                    struct error *e)
{
    int64_t ns = 0;
    int r = url ? set_url(h, url, e) : 0;

    if (r >= 0)
        r = set_capabilities(h, raw->capabilities, e);
    if (r >= 0)
        r = set_client(h, raw->client, e);
    if (r >= 0)
        r = set_headers(h, raw->header, e);
    if (r >= 0 && raw->dial_timeout &&
        (duration_parse(raw->dial_timeout, &ns) < 0 || ns < NSEC_PER_MSEC || ns > DIAL_MAX))
        r = error_set(e, ERR_INVALID, "dial_timeout: \"%.60s\" is no duration from 1ms to 10m",
                      raw->dial_timeout);
    if (r < 0) {
        if (url)
            error_add(e, "host %.100s", url);
        return r;
    }
    h->dial_timeout_ms = (uint64_t)(ns / NSEC_PER_MSEC);
    h->skip_verify = raw->skip_verify.value;
    h->override_path = raw->override_path.value;
    h->ca = strv_copy(raw->ca);
    return 0;
}

int hosts_parse(const char *text, size_t len, struct hosts_file *ret, struct error *e)
{
    AUTO(buf) struct buf json = BUF_INIT(8u * TOML_MAX);
    struct raw_file raw = {0};
    struct hosts_file f = {0};

    int r = toml_to_json(text, len, &json, e);
    if (r >= 0)
        r = check_all_keys(json.data, json.len, e);
    if (r >= 0)
        r = json_parse(&raw_file_json, json.data, json.len, &raw, e);
    if (r < 0)
        return r;
    const struct raw_host *hosts = raw.hosts.items;
    if (raw.hosts.len >= REGISTRY_ENDPOINTS_MAX)
        r = error_set(e, ERR_INVALID, "there are more than %d hosts", REGISTRY_ENDPOINTS_MAX - 1);
    for (size_t i = 0; r >= 0 && i < raw.hosts.len; i++) {
        struct hosts_host *h = json_list_add(&f.hosts, sizeof(*h));
        r = set_host(h, hosts[i].url, &hosts[i], e);
    }
    f.has_server = !str_is_empty(raw.server);
    if (r >= 0)
        r = set_host(&f.server, f.has_server ? raw.server : NULL, &raw.root, e);
    json_free(&raw_file_json, &raw);
    if (r < 0)
        hosts_file_done(&f);
    else
        *ret = f;
    return r;
}

/* --- Folders and certificates ------------------------------------------------------------------------ */

char *hosts_folder(char *const *certs_dirs, const char *host, const char *name)
{
    const char *colon = strrchr(host, ':');
    bool has_port = colon && !strchr(colon, ']');

    if (strchr(host, '/') || host[0] == '.')
        return NULL;
    for (; certs_dirs && *certs_dirs; certs_dirs++) {
        AUTOFREE char *plain = xasprintf("%s/%s", *certs_dirs, host);
        AUTOFREE char *other = has_port ? xasprintf("%s/%.*s_%s_", *certs_dirs, (int)(colon - host),
                                                    host, colon + 1)
                                        : NULL;
        char **tries[] = {&plain, &other};
        for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
            AUTOFREE char *path = *tries[i] && name ? xasprintf("%s/%s", *tries[i], name) : NULL;
            if (*tries[i] && access(path ? path : *tries[i], F_OK) == 0)
                return take_ptr(*tries[i]);
        }
    }
    return NULL;
}

static int read_pem(const char *folder, const char *file, const char *what, char **ret,
                    struct error *e)
{
    AUTOFREE char *path = *file == '/' ? xstrdup(file) : xasprintf("%s/%s", folder, file);
    int r = fs_read_file(AT_FDCWD, path, PEM_MAX, ret, NULL);

    if (r < 0)
        return error_set_errno(e, r, "cannot read %s %s", what, path);
    if (strstr(*ret, "-----BEGIN "))
        return 0;
    free(take_ptr(*ret));
    return error_set(e, ERR_INVALID, "%s %s is not in PEM form", what, path);
}

static int add_ca(const char *folder, const char *file, struct registry_endpoint *ep,
                  struct error *e)
{
    AUTOFREE char *pem = NULL;
    int r = read_pem(folder, file, "authority", &pem, e);

    if (r < 0)
        return r;
    AUTOFREE char *old = take_ptr(ep->ca);
    ep->ca = old ? xasprintf("%s\n%s", old, pem) : take_ptr(pem);
    return 0;
}

static int set_pair(const char *folder, const char *cert, const char *key,
                    struct registry_endpoint *ep, struct error *e)
{
    int r = read_pem(folder, cert, "client certificate", &ep->cert, e);

    return r < 0 ? r : read_pem(folder, key ? key : cert, "client key", &ep->key, e);
}

int hosts_load_files(const char *folder, const struct hosts_host *h, struct registry_endpoint *ep,
                     struct error *e)
{
    const struct hosts_pair *pair = h->clients.items;
    int r = 0;

    for (char *const *ca = h->ca; r >= 0 && ca && *ca; ca++)
        r = add_ca(folder, *ca, ep, e);
    if (r >= 0 && h->clients.len > 0)
        r = set_pair(folder, pair->cert, pair->key, ep, e);
    return r;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **list_names(const char *folder)
{
    char **names = NULL;
    DIR *d = opendir(folder);

    for (const struct dirent *entry; d && (entry = readdir(d));)
        if (entry->d_name[0] != '.')
            strv_push(&names, entry->d_name);
    if (d)
        closedir(d);
    if (names)
        qsort(names, strv_len(names), sizeof(*names), compare_names);
    return names;
}

int hosts_load_certs(const char *folder, struct registry_endpoint *ep, struct error *e)
{
    AUTOPTR(strv) char **names = list_names(folder);
    bool want_ca = !ep->ca, want_pair = !ep->cert;
    int r = 0;

    for (char **n = names; r >= 0 && n && *n; n++) {
        size_t len = strlen(*n);
        if (str_has_suffix(*n, ".crt") && want_ca) {
            r = add_ca(folder, *n, ep, e);
        } else if (str_has_suffix(*n, ".cert") && want_pair) {
            AUTOFREE char *key = xasprintf("%.*s.key", (int)(len - 5), *n);
            if (!strv_contains(names, key))
                r = error_set(e, ERR_INVALID,
                              "missing key %s/%s for client certificate %s. CA certificates must "
                              "use the extension .crt",
                              folder, key, *n);
            else if (ep->cert)
                r = error_set(e, ERR_INVALID,
                              "%s: several client certificates for one registry are not supported",
                              folder);
            else
                r = set_pair(folder, *n, key, ep, e);
        } else if (str_has_suffix(*n, ".key")) {
            AUTOFREE char *cert = xasprintf("%.*s.cert", (int)(len - 4), *n);
            AUTOFREE char *crt = xasprintf("%.*s.crt", (int)(len - 4), *n);
            if (!strv_contains(names, cert) && !strv_contains(names, crt))
                r = error_set(e, ERR_INVALID, "missing client certificate %s/%s for key %s", folder,
                              cert, *n);
        }
    }
    return r;
}
