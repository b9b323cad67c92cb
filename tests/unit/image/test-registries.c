/* SPDX-License-Identifier: Apache-2.0 */
/* Where a repository may be asked: hosts.toml, registries.conf, certs.d, mirrors, their health, proxies. */
#include <setjmp.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/image.h"
#include "image/registries.h"
#include "image/worker-protocol.h"
#include "image/worker/proxy.h"
#include "image/worker/worker.h"

/* --- hosts.toml --------------------------------------------------------------------------------- */

static int hosts(const char *text, struct hosts_file *f, struct error *e)
{
    return hosts_parse(text, strlen(text), f, e);
}

static void test_hosts(void **state)
{
    CLEANUP(hosts_file_done) struct hosts_file f = {0};
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(hosts("server = \"https://registry-1.docker.io\"\n"
                           "ca = \"root.crt\"\n"
                           "[host.\"https://m1:5000/cache/\"]\n"
                           "capabilities = [\"pull\", \"resolve\"]\n"
                           "ca = [\"a.crt\", \"/b.crt\"]\n"
                           "client = [[\"c.cert\", \"c.key\"]]\n"
                           "dial_timeout = \"1.5s\"\n"
                           "[host.\"https://m1:5000/cache/\".header]\n"
                           "x-one = \"1\"\nx-two = [\"2\", \"3\"]\n"
                           "[host.\"http://m2\"]\n"
                           "client = \"both.pem\"\nskip_verify = true\noverride_path = true\n"
                           "[host.m3]\ncapabilities = [\"push\"]\n",
                           &f, &e),
                     0);
    assert_int_equal(f.hosts.len, 3);
    const struct hosts_host *h = f.hosts.items;
    assert_string_equal(h[0].scheme, "https");
    assert_string_equal(h[0].host, "m1:5000");
    assert_string_equal(h[0].path, "/cache");
    assert_int_equal(h[0].needs, REGISTRY_PULL | REGISTRY_RESOLVE);
    assert_string_equal(h[0].ca[1], "/b.crt");
    assert_string_equal(((const struct hosts_pair *)h[0].clients.items)->key, "c.key");
    assert_int_equal(h[0].dial_timeout_ms, 1500);
    assert_string_equal(h[0].headers[0], "x-one: 1");
    assert_string_equal(h[0].headers[2], "x-two: 3");
    assert_false(h[0].skip_verify);
    assert_string_equal(h[1].scheme, "http");
    assert_null(((const struct hosts_pair *)h[1].clients.items)->key);
    assert_true(h[1].skip_verify && h[1].override_path);
    assert_int_equal(h[1].needs, REGISTRY_PULL | REGISTRY_RESOLVE | REGISTRY_PUSH);
    assert_string_equal(h[2].scheme, "https");
    assert_int_equal(h[2].needs, REGISTRY_PUSH);
    assert_true(f.has_server);
    assert_string_equal(f.server.host, "registry-1.docker.io");
    assert_string_equal(f.server.ca[0], "root.crt");
}

static void test_hosts_bad(void **state)
{
    static const struct {
        const char *text, *why;
    } bads[] = {
        {"serverr = \"x\"", "unknown field \"serverr\""},
        {"[host.\"https://m\"]\nmirror = true", "unknown field \"mirror\" of host https://m"},
        {"[host.\"ftp://m\"]", "neither http:// nor https://"},
        {"[host.\"https://\"]", "names no host"},
        {"[host.\"https://user@m\"]", "only a host, a port and a path"},
        {"[host.\"https://m/?x=y\"]", "only a host, a port and a path"},
        {"[host.\"m\"]\ncapabilities = [\"pul\"]", "unknown capability \"pul\""},
        {"[host.\"m\"]\nclient = [[\"a\", \"b\", \"c\"]]", "client: expected"},
        {"[host.\"m\"]\nclient = [[\"a\",\"b\"],[\"c\",\"d\"]]", "several certificates"},
        {"[host.\"m\"]\nclient = 7", "client: expected"},
        {"[host.\"m\"]\nskip_verify = \"yes\"", "skip_verify: expected true or false"},
        {"[host.\"m\"]\ndial_timeout = \"soon\"", "dial_timeout"},
        {"[host.\"m\"]\ndial_timeout = \"1h\"", "dial_timeout"},
        {"[host.\"m\".header]\nRange = \"x\"", "header Range"},
        {"[host.\"m\".header]\nx = \"a\\r\\nHost: b\"", "no form of a header"},
        {"[host.\"m\".header]\nx = 1", "expected a string"},
        {"host = 1", "host: expected"},
        {"host = \"abc\"", "host: expected"},
        {"[host]\nx = 1", "host \"x\" is no table"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bads); i++) {
        struct hosts_file f = {0};
        AUTO(error) struct error e = ERROR_INIT;
        if (hosts(bads[i].text, &f, &e) != -EINVAL)
            fail_msg("taken: %s", bads[i].text);
        if (!strstr(error_message(&e), bads[i].why))
            fail_msg("%s: %s", bads[i].text, error_message(&e));
    }
}

/* --- registries.conf ----------------------------------------------------------------------------- */

static int conf(const char *text, struct registries_conf *c, struct error *e)
{
    return registries_conf_parse(text, strlen(text), "r.conf", c, e);
}

static const char *found(const struct registries_conf *c, const char *name, size_t want_len)
{
    size_t len = 0;
    const struct conf_registry *entry = registries_conf_find(c, name, &len);

    assert_int_equal(len, want_len);
    return entry ? entry->prefix : NULL;
}

static void test_conf(void **state)
{
    CLEANUP(registries_conf_done) struct registries_conf c = {0};
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(conf("unqualified-search-registries = [\"quay.io\"]\n"
                          "short-name-mode = \"disabled\"\n"
                          "[[registry]]\nlocation = \"docker.io\"\n"
                          "[[registry]]\nprefix = \"docker.io/library\"\nlocation = \"m/lib\"\n"
                          "[[registry]]\nprefix = \"*.example.com\"\n"
                          "[[registry]]\nprefix = \"*.b.example.com\"\nblocked = true\n"
                          "[aliases]\nx = \"quay.io/a/x\"\n",
                          &c, &e),
                     0);
    assert_string_equal(found(&c, "docker.io/app/x:1", 9), "docker.io");
    assert_string_equal(found(&c, "docker.io/library/x:1", 17), "docker.io/library");
    assert_string_equal(found(&c, "docker.io/library2/x", 9), "docker.io");
    assert_string_equal(found(&c, "a.example.com:5000/x", 18), "*.example.com");
    assert_string_equal(found(&c, "a.b.example.com/x", 15), "*.b.example.com");
    assert_null(found(&c, "example.com/x", 0));
    assert_null(found(&c, "docker.ioo/x", 0));
    assert_string_equal(json_map_get(&c.aliases, "x"), "quay.io/a/x");
    /* A later file: lists and entries are replaced, aliases are joined. */
    assert_int_equal(conf("unqualified-search-registries = [\"a.io\"]\n"
                          "[[registry]]\nprefix = \"docker.io\"\nlocation = \"other\"\n"
                          "[aliases]\ny = \"quay.io/a/y\"\n",
                          &c, &e),
                     0);
    assert_string_equal(c.search[0], "a.io");
    assert_null(c.search[1]);
    assert_int_equal(c.entries.len, 4);
    assert_string_equal(((const struct conf_registry *)c.entries.items)->location, "other");
    assert_non_null(json_map_get(&c.aliases, "x"));
    assert_string_equal(c.short_name_mode, "disabled");
}

static void test_conf_bad(void **state)
{
    static const struct {
        const char *text, *why;
    } bads[] = {
        {"[registries.search]\nregistries = []", "version 1"},
        {"unqualified = []", "unknown field \"unqualified\""},
        {"[[registry]]\nlocaton = \"x\"", "unknown field \"locaton"},
        {"[[registry]]\ninsecure = true", "neither prefix nor location"},
        {"[[registry]]\nlocation = \"https://x\"", "may not have a scheme"},
        {"[[registry]]\nprefix = \"a*.x\"", "no HOST"},
        {"[[registry]]\nlocation = \"x/\"", "no HOST"},
        {"[[registry]]\nlocation = \"x\"\n[[registry]]\nlocation = \"x\"", "twice"},
        {"[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\ninsecure = true", "location"},
        {"[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\nlocation = \"m\"\n"
         "pull-from-mirror = \"some\"",
         "pull-from-mirror"},
        {"[[registry]]\nlocation = \"x\"\nmirror-by-digest-only = true\n[[registry.mirror]]\n"
         "location = \"m\"\npull-from-mirror = \"all\"",
         "beside mirror-by-digest-only"},
        {"short-name-mode = \"maybe\"", "short-name-mode"},
        {"credential-helpers = [\"pass\"]", "credential-helpers"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bads); i++) {
        CLEANUP(registries_conf_done) struct registries_conf c = {0};
        AUTO(error) struct error e = ERROR_INIT;
        if (conf(bads[i].text, &c, &e) != -EINVAL)
            fail_msg("taken: %s", bads[i].text);
        if (!strstr(error_message(&e), bads[i].why) ||
            !str_has_prefix(error_message(&e), "r.conf: "))
            fail_msg("%s: %s", bads[i].text, error_message(&e));
    }
}

/* --- Plans ----------------------------------------------------------------------------------------- */

struct fixture {
    char folder[32];
    struct registries *r;
};

static void put(const char *folder, const char *path, const char *text)
{
    AUTOFREE char *full = xasprintf("%s/%s", folder, path);
    AUTOFREE char *dir = xstrndup(full, (size_t)(strrchr(full, '/') - full));

    assert_int_equal(fs_mkdir_p(dir, 0755), 0);
    assert_int_equal(fs_write_atomic(AT_FDCWD, full, text, strlen(text), 0644, FS_NO_SYNC), 0);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    strcpy(f->folder, "/tmp/pouch-reg.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    registries_free(f->r);
    (void)!fs_remove_tree(AT_FDCWD, f->folder);
    free(f);
    return 0;
}

static void open_registries(struct fixture *f, char *const *mirrors, char *const *insecure)
{
    const struct image_registry_params p = {.folder = f->folder,
                                            .mirrors = mirrors,
                                            .http_proxy = "http://p:1"};
    AUTO(error) struct error e = ERROR_INIT;

    registries_free(f->r);
    f->r = NULL;
    if (registries_new(&p, insecure, &f->r, &e) < 0)
        fail_msg("%s", error_message(&e));
}

static int plan_of(struct fixture *f, const char *host, const char *repository, const char *tag,
                   struct registry_plan *plan, struct error *e)
{
    const struct worker_msg start = {.host = (char *)host,
                                     .repository = (char *)repository,
                                     .tag = (char *)tag,
                                     .username = (char *)"app",
                                     .password = (char *)"secret"};

    return registries_plan(f->r, &start, NULL, plan, e);
}

/* The plan's endpoints as one line: "scheme host prefix repository; …", ! for mirrors. */
static char *shown(struct fixture *f, const char *host, const char *repository)
{
    CLEANUP(registry_plan_done) struct registry_plan plan = {0};
    AUTO(error) struct error e = ERROR_INIT;
    struct buf b = BUF_INIT(4096);

    if (plan_of(f, host, repository, "latest", &plan, &e) < 0)
        return xstrdup(error_message(&e));
    const struct registry_endpoint *ep = plan.endpoints.items;
    for (size_t i = 0; i < plan.endpoints.len; i++)
        (void)buf_printf(&b, "%s%s%s://%s%s/%s%s", i ? "; " : "", ep[i].mirror ? "!" : "",
                         ep[i].scheme, ep[i].host, ep[i].prefix, ep[i].repository,
                         ep[i].username ? " +user" : "");
    return buf_take(&b);
}

#define assert_plan(f, host, repository, want)                                                     \
    do {                                                                                           \
        AUTOFREE char *got_ = shown(f, host, repository);                                          \
        assert_string_equal(got_, want);                                                           \
    } while (0)

static void test_plan_plain(void **state)
{
    char *insecure[] = {(char *)"10.0.0.0/8", NULL};
    char *mirrors[] = {(char *)"https://m1", (char *)"http://m2:5000/x/", NULL};
    struct fixture *f = *state;

    open_registries(f, mirrors, insecure);
    assert_plan(f, "quay.io", "a/b", "https://quay.io/v2/a/b +user");
    assert_plan(f, "10.1.2.3:5000", "a", "://10.1.2.3:5000/v2/a +user");
    assert_plan(f, "127.0.0.1:5000", "a", "://127.0.0.1:5000/v2/a +user");
    assert_plan(f, "registry-1.docker.io", "library/x",
                "!https://m1/v2/library/x; !http://m2:5000/x/v2/library/x; "
                "https://registry-1.docker.io/v2/library/x +user");
}

static void test_plan_hosts(void **state)
{
    struct fixture *f = *state;

    open_registries(f, NULL, NULL);
    put(f->folder, "certs.d/a.io:443/hosts.toml",
        "[host.\"https://m1\"]\n[host.\"http://m2/p\"]\n"
        "override_path = true\n");
    put(f->folder, "certs.d/_default/hosts.toml", "server=\"https://up\"\n[host.\"https://d\"]\n");
    put(f->folder, "certs.d/bad.io/hosts.toml", "x = 1");
    assert_plan(f, "a.io:443", "x",
                "!https://m1/v2/x; !http://m2/p/x; https://a.io:443/v2/x +user");
    assert_plan(f, "b.io", "x", "!https://d/v2/x; https://up/v2/x"); /* another host */
    AUTOFREE char *bad = shown(f, "bad.io", "x");
    assert_non_null(strstr(bad, "certs.d/bad.io/hosts.toml: unknown field \"x\""));
    /* The other way to write a port. */
    put(f->folder, "certs.d/c.io_5000_/hosts.toml", "[host.\"https://m3\"]\n");
    assert_plan(f, "c.io:5000", "x", "!https://m3/v2/x; https://c.io:5000/v2/x +user");
}

/* Credentials beside the request's own: by host and port, given ones before pouchd's. */
static void test_plan_logins(void **state)
{
    struct fixture *f = *state;
    AUTOPTR(json_value) struct json_value *given = NULL;
    CLEANUP(registry_plan_done) struct registry_plan plan = {0};
    AUTOFREE char *file = xasprintf("%s/own.json", f->folder);
    static const char text[] = "{\"m1:5000\":{\"username\":\"one\",\"password\":\"p\"},"
                               "\"a.io\":{\"username\":\"never\"},\"m4\":{\"username\":\"four\"}}";
    const struct registry_logins logins = {NULL, file};
    struct registry_logins both = logins;

    open_registries(f, NULL, NULL);
    put(f->folder, "own.json",
        "{\"auths\":{\"m2/team\":{\"auth\":\"dHdvOng=\"},\"m1:5000\":{\"auth\":\"bm86eA==\"}}}");
    assert_int_equal(chmod(file, 0600), 0);
    put(f->folder, "certs.d/a.io/hosts.toml",
        "[host.\"https://m1:5000\"]\n[host.\"https://m1\"]\n[host.\"https://m2\"]\n"
        "[host.\"https://m4\"]\n[host.\"https://m4\".header]\nAuthorization = \"Basic x\"\n");
    assert_int_equal(json_value_parse(text, strlen(text), &given, NULL), 0);
    both.given = given;
    const struct worker_msg start = {.host = (char *)"a.io",
                                     .repository = (char *)"team/x",
                                     .tag = (char *)"latest",
                                     .username = (char *)"app",
                                     .password = (char *)"secret"};
    assert_int_equal(registries_plan(f->r, &start, &both, &plan, NULL), 0);
    static const char *const users[] = {"one", NULL, "two", NULL, "app"};
    const struct registry_endpoint *ep = plan.endpoints.items;
    assert_int_equal(plan.endpoints.len, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(ep[i].username != NULL, users[i] != NULL);
        if (users[i])
            assert_string_equal(ep[i].username, users[i]);
    }
    assert_null(plan.login_problem);
    /* The file counts only when nobody else may read it; the plan says so and has no logins of it. */
    static const struct {
        const char *text;
        mode_t mode;
    } bad[] = {{"{\"auths\":{\"m2/team\":{\"auth\":\"dHdvOng=\"}}}", 0644},
               {"{\"auths\":{\"m2/team\":{\"auth\":\"dHdvOng=\"}}", 0600},
               {"[]", 0600}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP(registry_plan_done) struct registry_plan without = {0};
        put(f->folder, "own.json", bad[i].text);
        assert_int_equal(chmod(file, bad[i].mode), 0);
        assert_int_equal(registries_plan(f->r, &start, &logins, &without, NULL), 0);
        assert_non_null(strstr(without.login_problem, "own.json"));
        ep = without.endpoints.items;
        assert_null(ep[2].username);
        assert_string_equal(ep[4].username, "app");
    }
    /* A bad entry of the very mirror is an error, one of another registry is not. */
    AUTO(error) struct error e = ERROR_INIT;
    CLEANUP(registry_plan_done) struct registry_plan none = {0};
    put(f->folder, "own.json", "{\"auths\":{\"other\":{\"auth\":\"!\"}}}");
    assert_int_equal(chmod(file, 0600), 0);
    assert_int_equal(registries_plan(f->r, &start, &logins, &none, &e), 0);
    assert_null(none.login_problem);
    registry_plan_done(&none);
    put(f->folder, "own.json", "{\"auths\":{\"m2/team\":{\"auth\":\"!\"}}}");
    assert_int_equal(chmod(file, 0600), 0);
    assert_true(registries_plan(f->r, &start, &logins, &none, &e) < 0);
    assert_non_null(strstr(e.message, "own.json"));
}

/* What is asked elsewhere cannot be logged in to by its own name; mirrors change nothing about it. */
static void test_plan_login_elsewhere(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *host, *toml, *conf, *other;
    } cases[] = {
        {"a.io", "server = \"https://b.io\"\n[host.\"https://m\"]\n", NULL, "log in to b.io"},
        {"c.io", "server = \"https://c.io\"\n[host.\"https://m\"]\n", NULL, NULL},
        {"d.io", NULL, "[[registry]]\nprefix = \"d.io\"\nlocation = \"e.io:5000/d\"\n",
         "log in to e.io:5000"},
        {"registry-1.docker.io", NULL,
         "[[registry]]\nprefix = \"docker.io\"\nlocation = \"registry-1.docker.io\"\n", NULL},
        {"d.io", NULL, "[[registry]]\nprefix = \"d.io/team\"\nlocation = \"e.io/d\"\n", NULL},
        {"d.io", NULL, "[[registry]]\nlocation = \"d.io\"\n[[registry.mirror]]\nlocation = \"m\"\n",
         NULL},
    };

    open_registries(f, NULL, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTO(error) struct error e = ERROR_INIT;
        CLEANUP(registry_plan_done) struct registry_plan plan = {0};
        AUTOFREE char *toml = xasprintf("certs.d/%s/hosts.toml", cases[i].host);
        const struct worker_msg start = {.op = (char *)"login", .host = (char *)cases[i].host};

        if (cases[i].toml)
            put(f->folder, toml, cases[i].toml);
        put(f->folder, "registries.conf", cases[i].conf ? cases[i].conf : "");
        int r = registries_plan(f->r, &start, NULL, &plan, &e);
        assert_int_equal(r < 0, cases[i].other != NULL);
        if (cases[i].other)
            assert_non_null(strstr(error_message(&e), cases[i].other));
    }
}

static void test_plan_conf(void **state)
{
    struct fixture *f = *state;
    char *mirrors[] = {(char *)"https://unused", NULL};

    open_registries(f, mirrors, NULL);
    put(f->folder, "registries.conf",
        "[[registry]]\nlocation = \"docker.io\"\n"
        "[[registry.mirror]]\nlocation = \"m1:5000/hub\"\ninsecure = true\n"
        "[[registry.mirror]]\nlocation = \"m2\"\npull-from-mirror = \"digest-only\"\n"
        "[[registry]]\nprefix = \"old.io/team\"\nlocation = \"new.io/x/y\"\n"
        "[[registry]]\nprefix = \"*.corp.io\"\ninsecure = true\n");
    put(f->folder, "registries.conf.d/10-block.conf",
        "[[registry]]\nprefix = \"evil.io\"\nblocked = true\n");
    assert_plan(f, "registry-1.docker.io", "library/x",
                "!://m1:5000/v2/hub/library/x; !https://m2/v2/library/x; "
                "https://registry-1.docker.io/v2/library/x +user");
    assert_plan(f, "old.io", "team/app", "https://new.io/v2/x/y/app");
    assert_plan(f, "old.io", "other", "https://old.io/v2/other +user");
    assert_plan(f, "r.corp.io:5000", "a", "://r.corp.io:5000/v2/a +user");
    AUTOFREE char *blocked = shown(f, "evil.io", "x");
    assert_non_null(strstr(blocked, "registry evil.io is blocked in "));
    /* hosts.toml of a registry goes before registries.conf. */
    put(f->folder, "certs.d/docker.io/hosts.toml", "[host.\"https://h\"]\n");
    assert_plan(f, "registry-1.docker.io", "library/x",
                "!https://h/v2/library/x; https://registry-1.docker.io/v2/library/x +user");
}

static void test_certs(void **state)
{
    struct fixture *f = *state;
    CLEANUP(registry_plan_done) struct registry_plan plan = {0};
    AUTO(error) struct error e = ERROR_INIT;

    open_registries(f, NULL, NULL);
    put(f->folder, "certs.d/a.io/ca.crt", "-----BEGIN CERTIFICATE-----\none\n");
    put(f->folder, "certs.d/a.io/more.crt", "-----BEGIN CERTIFICATE-----\ntwo\n");
    put(f->folder, "certs.d/a.io/client.cert", "-----BEGIN CERTIFICATE-----\nmine\n");
    assert_true(plan_of(f, "a.io", "x", "1", &plan, &e) < 0);
    assert_non_null(strstr(error_message(&e), "missing key"));
    error_done(&e);
    put(f->folder, "certs.d/a.io/client.key", "-----BEGIN PRIVATE KEY-----\nkey\n");
    assert_int_equal(plan_of(f, "a.io", "x", "1", &plan, &e), 0);
    const struct registry_endpoint *ep = plan.endpoints.items;
    assert_non_null(strstr(ep->ca, "one"));
    assert_non_null(strstr(ep->ca, "two"));
    assert_non_null(strstr(ep->cert, "mine"));
    assert_non_null(strstr(ep->key, "key"));
    /* What pouchd writes, the worker reads. */
    AUTOFD int fd = -EBADF;
    CLEANUP(registry_plan_done) struct registry_plan copy = {0};
    assert_int_equal(registry_plan_to_fd(&plan, &fd, &e), 0);
    assert_int_equal(registry_plan_from_fd(fd, &copy, &e), 0);
    assert_string_equal(((const struct registry_endpoint *)copy.endpoints.items)->key, ep->key);
    assert_string_equal(copy.http_proxy, "http://p:1");
    put(f->folder, "certs.d/a.io/second.cert", "-----BEGIN CERTIFICATE-----\nx\n");
    put(f->folder, "certs.d/a.io/second.key", "-----BEGIN PRIVATE KEY-----\nx\n");
    registry_plan_done(&plan);
    assert_true(plan_of(f, "a.io", "x", "1", &plan, &e) < 0);
    assert_non_null(strstr(error_message(&e), "several client certificates"));
    error_done(&e);
    put(f->folder, "certs.d/b.io/ca.crt", "not a certificate");
    assert_true(plan_of(f, "b.io", "x", "1", &plan, &e) < 0);
    assert_non_null(strstr(error_message(&e), "not in PEM form"));
}

static void test_health(void **state)
{
    struct fixture *f = *state;
    char *mirrors[] = {(char *)"https://m1", (char *)"https://m2", NULL};
    const char *hub = "registry-1.docker.io";

    open_registries(f, mirrors, NULL);
    registries_report(f->r, "m1", false); /* no plan had it yet: not heard */
    assert_plan(f, hub, "x",
                "!https://m1/v2/x; !https://m2/v2/x; https://registry-1.docker.io/v2/x +user");
    registries_report(f->r, "m1", false);
    assert_plan(f, hub, "x",
                "!https://m2/v2/x; https://registry-1.docker.io/v2/x +user; !https://m1/v2/x");
    registries_report(f->r, hub, false); /* the registry itself keeps its place */
    registries_report(f->r, "m1", true);
    assert_plan(f, hub, "x",
                "!https://m1/v2/x; !https://m2/v2/x; https://registry-1.docker.io/v2/x +user");
}

static void test_settings_bad(void **state)
{
    char *mirrors[] = {(char *)"m1", NULL};
    char *user[] = {(char *)"https://a:b@m1", NULL};
    const struct image_registry_params bads[] = {{.mirrors = mirrors},
                                                 {.mirrors = user},
                                                 {.http_proxy = "ftp://x"},
                                                 {.max_downloads = 99}};

    for (size_t i = 0; i < ARRAY_SIZE(bads); i++) {
        struct registries *r = NULL;
        AUTO(error) struct error e = ERROR_INIT;
        assert_int_equal(registries_new(&bads[i], NULL, &r, &e), -EINVAL);
        assert_non_null(e.message);
    }
}

/* --- The worker's side ------------------------------------------------------------------------------ */

static void test_proxy(void **state)
{
    const struct http_setup s = {
        .http_proxy = "http://p",
        .https_proxy = "http://s",
        .no_proxy = "a.io, .b.io,10.0.0.0/8,192.0.2.1:5000 c.io:443,[2001:db8::1]:80,*.d.io"};
    static const struct {
        const char *scheme, *host;
        unsigned port;
        const char *want;
    } cases[] = {
        {"http", "x.io", 80, "http://p"},    {"https", "x.io", 443, "http://s"},
        {"https", "a.io", 443, NULL},        {"https", "A.IO", 443, NULL},
        {"https", "r.a.io", 443, NULL},      {"https", "ra.io", 443, "http://s"},
        {"https", "b.io", 443, "http://s"},  {"https", "r.b.io", 443, NULL},
        {"https", "10.9.8.7", 443, NULL},    {"https", "11.9.8.7", 443, "http://s"},
        {"https", "192.0.2.1", 5000, NULL},  {"https", "192.0.2.1", 443, "http://s"},
        {"https", "c.io", 443, NULL},        {"https", "c.io", 444, "http://s"},
        {"http", "[2001:db8::1]", 80, NULL}, {"http", "[2001:db8::2]", 80, "http://p"},
        {"http", "localhost", 5000, NULL},   {"http", "127.0.0.9", 5000, NULL},
        {"http", "[::1]", 5000, NULL},       {"https", "x.d.io", 443, NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *got = proxy_for(&s, cases[i].scheme, cases[i].host, cases[i].port);
        if (cases[i].want ? !got || !STREQ(got, cases[i].want) : got != NULL)
            fail_msg("%s://%s:%u: %s", cases[i].scheme, cases[i].host, cases[i].port,
                     got ? got : "none");
    }
    const struct http_setup all = {.http_proxy = "http://p", .no_proxy = "*"};
    assert_null(proxy_for(&all, "http", "x.io", 80));
}

static void test_headers(void **state)
{
    int64_t a, b, c;

    assert_int_equal(http_retry_after("120", 0), 120);
    assert_int_equal(http_retry_after("-1", 0), -1);
    assert_int_equal(http_retry_after("soon", 0), -1);
    assert_int_equal(http_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412470), 10);
    assert_int_equal(http_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412490), 0);
    assert_true(http_content_range("bytes 5-9/10", &a, &b, &c));
    assert_true(a == 5 && b == 9 && c == 10);
    assert_true(http_content_range("Bytes 0-0/*", &a, &b, &c));
    assert_int_equal(c, -1);
    assert_false(http_content_range("bytes 5-4/10", &a, &b, &c));
    assert_false(http_content_range("bytes 5-10/10", &a, &b, &c));
    assert_false(http_content_range("bytes */10", &a, &b, &c));
    assert_false(http_content_range("bytes 99999999999999999999-5/10", &a, &b, &c));
    assert_false(http_content_range("lines 0-1/2", &a, &b, &c));
    assert_false(http_content_range("bytes 0-1/2 x", &a, &b, &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_hosts_bad),
        cmocka_unit_test(test_conf),
        cmocka_unit_test(test_conf_bad),
        cmocka_unit_test_setup_teardown(test_plan_plain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plan_hosts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plan_logins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plan_login_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plan_conf, setup, teardown),
        cmocka_unit_test_setup_teardown(test_certs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_health, setup, teardown),
        cmocka_unit_test(test_settings_bad),
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_headers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
