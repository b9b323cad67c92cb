/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials: see credentials.h. Helpers are in credential-helper.c. */
#include "cli/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "base/strv.h"
#include "cli/cli.h"
#include "cli/credential-helper.h"

#define FILE_MAX   (4u << 20)
#define SECRET_MAX (256u * 1024)

static void wipe(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void credentials_done(struct credentials *c)
{
    free(c->server);
    free(c->username);
    wipe(c->password);
    wipe(c->identity_token);
    memset(c, 0, sizeof(*c));
}

void credentials_header_free(char *header)
{
    wipe(header);
}

/* --- Names ----------------------------------------------------------------------------------- */

/* The host in any spelling of a registry: scheme and path gone, Docker Hub's names made one. */
static char *host_of(const char *name)
{
    if (strncasecmp(name, "https://", 8) == 0)
        name += 8;
    else if (strncasecmp(name, "http://", 7) == 0)
        name += 7;
    char *host = xstrndup(name, strcspn(name, "/"));
    if (!*host || STREQ(host, "docker.io") || STREQ(host, "registry-1.docker.io"))
        str_replace(&host, "index.docker.io");
    return host;
}

char *credentials_server(const char *name)
{
    AUTOFREE char *host = host_of(name ? name : "");

    return STREQ(host, "index.docker.io") ? xstrdup(CREDENTIALS_HUB) : take_ptr(host);
}

char *credentials_server_of(const char *image, char **ret_repository)
{
    size_t n = strcspn(image, "/");
    AUTOFREE char *first = xstrndup(image, n);
    bool has_host = image[n] == '/' && (strpbrk(first, ".:") || STREQ(first, "localhost"));

    if (ret_repository) {
        AUTOFREE char *path = xstrndup(image, strcspn(image, "@"));
        char *slash = strrchr(path, '/');
        char *colon = strrchr(slash ? slash : path, ':');
        if (colon)
            *colon = '\0';
        *ret_repository = has_host   ? xstrdup(path)
                          : image[n] ? xasprintf("docker.io/%s", path)
                                     : xasprintf("docker.io/library/%s", path);
    }
    return credentials_server(has_host ? first : NULL);
}

/* --- Files ----------------------------------------------------------------------------------- */

static char *home_path(const char *rest)
{
    const char *home = getenv("HOME");

    return xasprintf("%s/%s", str_is_empty(home) ? "/root" : home, rest);
}

static char *config_dir(void)
{
    const char *dir = getenv("DOCKER_CONFIG");

    return str_is_empty(dir) ? home_path(".docker") : xstrdup(dir);
}

static char *config_path(void)
{
    AUTOFREE char *dir = config_dir();

    return xasprintf("%s/config.json", dir);
}

/* *ret is NULL when there is no such file, or it is empty. */
static int load(const char *path, struct json_value **ret, struct error *e)
{
    AUTOFREE char *text = NULL;
    size_t len = 0;
    int r = fs_read_file(AT_FDCWD, path, FILE_MAX, &text, &len);

    *ret = NULL;
    if (r == -ENOENT || r == -ENOTDIR || (r == 0 && strspn(text, " \t\r\n") == len))
        return 0;
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    r = json_value_parse(text, len, ret, e);
    explicit_bzero(text, len);
    if (r < 0)
        error_add(e, "%s", path);
    else if (json_value_kind(*ret) != JV_OBJ) {
        json_value_free(take_ptr(*ret));
        r = error_set(e, ERR_INVALID, "%s: expected an object", path);
    }
    return r;
}

/* "auth": base64 of user:password. */
static int decode_auth(const char *text, struct credentials *c)
{
    AUTO(buf) struct buf b = BUF_INIT(SECRET_MAX);

    if (base64_decode(text, strlen(text), &b) < 0 || memchr(buf_str(&b), ':', b.len) == NULL)
        return -EINVAL;
    char *colon = strchr(b.data, ':');
    if (!colon) /* a NUL before it */
        return -EINVAL;
    c->username = xstrndup(b.data, (size_t)(colon - b.data));
    c->password = xstrdup(colon + 1); /* older clients pad with NULs */
    explicit_bzero(b.data, b.len);
    return 0;
}

/* 1, or 0 when the entry says nothing (a helper has it), -EINVAL. */
static int read_entry(const struct json_value *entry, struct credentials *c)
{
    const char *auth = json_value_str(json_value_get(entry, "auth"));
    const char *token = json_value_str(json_value_get(entry, "identitytoken"));

    if (!str_is_empty(auth) && decode_auth(auth, c) < 0)
        return -EINVAL;
    if (str_is_empty(auth) && json_value_str(json_value_get(entry, "username"))) {
        c->username = xstrdup(jstr(entry, "username"));
        c->password = xstrdup(jstr(entry, "password"));
    }
    if (!str_is_empty(token))
        c->identity_token = xstrdup(token);
    return c->username || c->identity_token;
}

/* The entry of "auths" for a registry: by its key, else by another spelling. */
static const struct json_value *find_auth(const struct json_value *auths, const char *server)
{
    const struct json_value *exact = json_value_get(auths, server);
    AUTOFREE char *host = host_of(server);

    if (exact)
        return exact;
    for (size_t i = 0; i < json_value_len(auths); i++) {
        const char *key = NULL;
        const struct json_value *v = json_value_member(auths, i, &key);
        AUTOFREE char *other = host_of(key);
        const char *bare = strstr(key, "://") ? strstr(key, "://") + 3 : key;
        const char *slash = strchr(bare, '/');
        /* "host/namespace" is Podman's for a part of the registry; "/v1/", "/v2/" are Docker's. */
        bool part = slash && slash[1] && strncmp(slash, "/v1", 3) != 0 &&
                    strncmp(slash, "/v2", 3) != 0;
        if (STREQ(other, host) && !part)
            return v;
    }
    return NULL;
}

/* Podman's: the longest key that is the repository or a folder above it counts. */
static const struct json_value *find_part(const struct json_value *auths, const char *repository)
{
    AUTOFREE char *key = xstrdup(repository);

    while (strchr(key, '/')) {
        const struct json_value *v = json_value_get(auths, key);
        if (v)
            return v;
        *strrchr(key, '/') = '\0';
    }
    return NULL;
}

/* The helper for a registry (borrowed), or NULL. */
static const char *helper_of(const struct json_value *config, const char *server)
{
    const struct json_value *own = json_value_get(config, "credHelpers");
    AUTOFREE char *host = host_of(server);
    const char *name = json_value_str(json_value_get(own, server));

    for (size_t i = 0; !name && i < json_value_len(own); i++) {
        const char *key = NULL;
        const struct json_value *v = json_value_member(own, i, &key);
        AUTOFREE char *other = host_of(key);
        if (STREQ(other, host))
            name = json_value_str(v);
    }
    if (!name)
        name = json_value_str(json_value_get(config, "credsStore"));
    return str_is_empty(name) ? NULL : name;
}

/* As docker, and unlike Podman, a file that cannot be read does not keep anybody from images that
 * need no login: it is told, once. */
static void warn_once(const char *path, const struct error *e)
{
    static char **told;

    if (strv_contains(told, path))
        return;
    strv_push(&told, path);
    err_printf("WARNING: logins in this file are not used: %s\n", error_message(e));
}

static int get_from(const char *path, const char *server, const char *repository,
                    struct credentials *ret, struct error *e)
{
    AUTOPTR(json_value) struct json_value *config = NULL;
    const struct json_value *auths, *entry = NULL;
    AUTO(error) struct error unread = ERROR_INIT;
    int r = load(path, &config, &unread);

    if (r < 0)
        warn_once(path, &unread);
    if (r < 0 || !config)
        return 0;
    const char *helper = helper_of(config, server);
    if (helper) {
        r = credential_helper_get(helper, server, ret, e);
        if (r != 0)
            return r;
    }
    auths = json_value_get(config, "auths");
    if (repository)
        entry = find_part(auths, repository);
    if (!entry)
        entry = find_auth(auths, server);
    if (!entry)
        return 0;
    r = read_entry(entry, ret);
    if (r < 0)
        r = error_set(e, ERR_INVALID, "%s: the entry of %s is malformed (log in again)", path,
                      server);
    return r;
}

/* The files that may have credentials, the most important first; the strings are the caller's. */
static size_t all_paths(char *paths[3])
{
    const char *named = getenv("REGISTRY_AUTH_FILE");
    const char *runtime = getenv("XDG_RUNTIME_DIR"), *xdg = getenv("XDG_CONFIG_HOME");
    size_t n = 0;

    paths[n++] = config_path();
    if (!str_is_empty(named)) {
        paths[n++] = xstrdup(named);
    } else {
        paths[n++] = str_is_empty(runtime)
                         ? xasprintf("/run/containers/%u/auth.json", (unsigned)getuid())
                         : xasprintf("%s/containers/auth.json", runtime);
        paths[n++] = str_is_empty(xdg) ? home_path(".config/containers/auth.json")
                                       : xasprintf("%s/containers/auth.json", xdg);
    }
    return n;
}

int credentials_get(const char *server, const char *repository, struct credentials *ret,
                    struct error *e)
{
    struct credentials c = {0};
    char *paths[3];
    size_t n = all_paths(paths);
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        if (r == 0)
            r = get_from(paths[i], server, repository, &c, e);
        free(paths[i]);
    }
    if (r <= 0) {
        credentials_done(&c);
        return r;
    }
    c.server = xstrdup(server);
    *ret = c;
    return 1;
}

bool credentials_exist(void)
{
    char *paths[3];
    size_t n = all_paths(paths);
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        AUTOPTR(json_value) struct json_value *config = NULL;
        struct stat st;
        /* A pipe can be read once only, by who uses it. */
        bool pipe = stat(paths[i], &st) == 0 && !S_ISREG(st.st_mode);
        any = any || pipe ||
              load(paths[i], &config, NULL) < 0 || /* who uses it says what is wrong */
              json_value_len(json_value_get(config, "auths")) > 0 ||
              json_value_len(json_value_get(config, "credHelpers")) > 0 ||
              !str_is_empty(json_value_str(json_value_get(config, "credsStore")));
        free(paths[i]);
    }
    return any;
}

/* --- Writing --------------------------------------------------------------------------------- */

static void print_member(struct jsonw *w, const char *key, const struct json_value *v)
{
    AUTO(buf) struct buf text = BUF_INIT(BUF_UNLIMITED);

    json_value_print(v, false, &text);
    jsonw_raw(w, key, buf_str(&text));
    if (text.data)
        explicit_bzero(text.data, text.len);
}

/* The new entry: everything, or {} when a helper keeps the secret. */
static void print_entry(struct jsonw *w, const char *key, const struct credentials *c, bool secret)
{
    AUTO(buf) struct buf plain = BUF_INIT(SECRET_MAX), text = BUF_INIT(2 * SECRET_MAX);

    jsonw_begin(w, key);
    if (secret) {
        (void)buf_printf(&plain, "%s:%s", c->username ? c->username : "",
                         c->password && !c->identity_token ? c->password : "");
        (void)base64_encode(plain.data, plain.len, BASE64_STANDARD, &text);
        jsonw_str(w, "auth", buf_str(&text));
        if (c->identity_token)
            jsonw_str(w, "identitytoken", c->identity_token);
        explicit_bzero(plain.data, plain.len);
    }
    jsonw_end(w);
}

/* "auths" without the registry's entries and, when c is given, with a new one. */
static void print_auths(struct jsonw *w, const struct json_value *auths, const char *server,
                        const struct credentials *c, bool secret)
{
    const struct json_value *gone;

    jsonw_begin(w, "auths");
    for (size_t i = 0; i < json_value_len(auths); i++) {
        const char *key = NULL;
        const struct json_value *v = json_value_member(auths, i, &key);
        AUTOFREE char *other = credentials_server(key);
        gone = STREQ(other, server) ? find_auth(auths, server) : NULL;
        if (!STREQ(key, server) && v != gone)
            print_member(w, key, v);
    }
    if (c)
        print_entry(w, server, c, secret);
    jsonw_end(w);
}

static int save(const char *path, const struct buf *text, struct error *e)
{
    AUTOFREE char *real = realpath(path, NULL); /* a link stays one */
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTO(buf) struct buf pretty = BUF_INIT(BUF_UNLIMITED);
    const char *where = real ? real : path;
    struct stat st;
    bool known = stat(where, &st) == 0;
    int r = json_value_parse(text->data, text->len, &v, e);

    if (r < 0)
        return r;
    json_value_print(v, true, &pretty);
    (void)buf_putc(&pretty, '\n');
    r = fs_write_atomic(AT_FDCWD, where, pretty.data, pretty.len, 0600, FS_SYNC);
    explicit_bzero(pretty.data, pretty.len);
    if (r < 0)
        return error_set_errno(e, r, "cannot write %s", where);
    if (known && st.st_uid != geteuid()) /* root looks after a user's file */
        (void)!chown(where, st.st_uid, st.st_gid);
    return 0;
}

/* Rewrites config.json; others who do the same wait for each other (a lock on the folder). */
static int change_file(const char *server, const struct credentials *c, bool secret,
                       struct error *e)
{
    AUTOFREE char *dir = config_dir(), *path = config_path();
    AUTOPTR(json_value) struct json_value *config = NULL;
    AUTO(buf) struct buf text = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {.out = &text};
    bool done = false;
    int r = fs_mkdir_p(dir, 0700);

    if (r < 0)
        return error_set_errno(e, r, "cannot make the folder %s", dir);
    AUTOFD int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return error_set_errno(e, errno, "cannot lock the folder %s", dir);
    r = load(path, &config, e);
    if (r < 0)
        return r;
    jsonw_begin(&w, NULL);
    for (size_t i = 0; i < json_value_len(config); i++) {
        const char *key = NULL;
        const struct json_value *v = json_value_member(config, i, &key);
        if (STREQ(key, "auths")) {
            print_auths(&w, v, server, c, secret);
            done = true;
        } else {
            print_member(&w, key, v);
        }
    }
    if (!done)
        print_auths(&w, NULL, server, c, secret);
    jsonw_end(&w);
    r = save(path, &text, e);
    explicit_bzero(text.data, text.len);
    return r;
}

int credentials_put(const struct credentials *c, char **ret_file, struct error *e)
{
    AUTOFREE char *path = config_path();
    AUTOPTR(json_value) struct json_value *config = NULL;
    int r = load(path, &config, e);

    *ret_file = NULL;
    if (r < 0)
        return r;
    const char *helper = helper_of(config, c->server);
    if (helper && (r = credential_helper_store(helper, c, e)) < 0)
        return r;
    r = change_file(c->server, c, helper == NULL, e);
    if (r >= 0 && !helper)
        *ret_file = take_ptr(path);
    return r;
}

int credentials_remove(const char *server, struct error *e)
{
    AUTOFREE char *path = config_path();
    AUTOPTR(json_value) struct json_value *config = NULL;
    CLEANUP(credentials_done) struct credentials old = {0};
    int r = load(path, &config, e);

    if (r < 0)
        return r;
    const char *helper = helper_of(config, server);
    bool had = find_auth(json_value_get(config, "auths"), server) != NULL;
    if (helper) {
        if (!had)
            had = credential_helper_get(helper, server, &old, NULL) > 0;
        if (had && (r = credential_helper_erase(helper, server, e)) < 0)
            return r;
    }
    if (had)
        r = change_file(server, NULL, false, e);
    return r < 0 ? r : had;
}

/* --- For the daemon --------------------------------------------------------------------------- */

static void print_credentials(struct jsonw *w, const char *key, const struct credentials *c)
{
    jsonw_begin(w, key);
    if (c->identity_token) {
        jsonw_str(w, "identitytoken", c->identity_token);
        if (c->username)
            jsonw_str(w, "username", c->username);
    } else {
        jsonw_str(w, "username", c->username);
        jsonw_str(w, "password", c->password);
    }
    jsonw_str(w, "serveraddress", c->server);
    jsonw_end(w);
}

/* "NAME: <base64 of json>"; json is wiped. */
static char *header_of(const char *name, struct buf *json)
{
    AUTO(buf) struct buf text = BUF_INIT(BUF_UNLIMITED);

    (void)buf_printf(&text, "%s: ", name);
    (void)base64_encode(json->data, json->len, BASE64_URL, &text);
    explicit_bzero(json->data, json->len);
    return buf_take(&text);
}

char *credentials_header_of(const struct credentials *c)
{
    AUTO(buf) struct buf json = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {.out = &json};

    print_credentials(&w, NULL, c);
    return header_of("X-Registry-Auth", &json);
}

char *credentials_config_header(const struct json_value *hosts, const char *main_server)
{
    AUTO(buf) struct buf json = BUF_INIT(BUF_UNLIMITED);
    struct jsonw w = {.out = &json};
    AUTOPTR(strv) char **seen = NULL;
    bool any = false;

    strv_push(&seen, main_server);
    jsonw_begin(&w, NULL);
    for (size_t i = 0; i < json_value_len(hosts); i++) {
        AUTO(error) struct error e = ERROR_INIT;
        CLEANUP(credentials_done) struct credentials c = {0};
        const char *name = json_value_str(json_value_at(hosts, i));
        AUTOFREE char *repository = NULL;
        AUTOFREE char *server = credentials_server_of(name ? name : "", &repository);
        if (strv_contains(seen, server))
            continue;
        strv_push(&seen, server);
        int r = credentials_get(server, repository, &c, &e);
        if (r < 0)
            err_printf("WARNING: no credentials for %s: %s\n", server, error_message(&e));
        if (r > 0)
            print_credentials(&w, server, &c);
        any = any || r > 0;
    }
    jsonw_end(&w);
    return any ? header_of("X-Registry-Config", &json) : NULL;
}

char *credentials_header(const char *image)
{
    AUTO(error) struct error e = ERROR_INIT;
    CLEANUP(credentials_done) struct credentials c = {0};
    AUTOFREE char *repository = NULL;
    AUTOFREE char *server = credentials_server_of(image, &repository);
    int r = credentials_get(server, repository, &c, &e);

    if (r < 0)
        err_printf("WARNING: no credentials for %s: %s\n", server, error_message(&e));
    return r > 0 ? credentials_header_of(&c) : NULL;
}
