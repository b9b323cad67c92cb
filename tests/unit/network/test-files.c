/* SPDX-License-Identifier: Apache-2.0 */
/* hosts, hostname, resolv.conf. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "network/network.h"

static char dir[] = "/tmp/pouch-test-XXXXXX";
static char source[64];

static int set_up(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(source, sizeof(source), "%s/source", dir);
    return 0;
}

static int tear_down(void **state)
{
    return fs_remove_tree(AT_FDCWD, dir);
}

static char *content(const char *name)
{
    AUTOFREE char *path = xasprintf("%s/%s", dir, name);
    char *text = NULL;
    struct stat st;

    assert_int_equal(fs_read_file(AT_FDCWD, path, 65536, &text, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    return text;
}

static void write_ok(const struct network_files *f)
{
    struct error e = ERROR_INIT;

    if (network_write_files(dir, f, &e) < 0)
        fail_msg("%s", error_message(&e));
}

static void set_source(const char *text)
{
    assert_int_equal(fs_write_atomic(AT_FDCWD, source, text, strlen(text), 0644, FS_NO_SYNC), 0);
}

static void test_hosts(void **state)
{
    static char a[] = "db:10.0.0.5", b[] = "six:fd00::5", c[] = "gw:host-gateway",
                d[] = "eq=1.2.3.4", f6[] = "br:[fd00::6]";
    char *const extra[] = {a, b, c, d, f6, NULL};
    struct network_files f = {.hostname = "web",
                              .domainname = "example.com",
                              .ip = "10.210.0.2",
                              .ip6 = "fd00::2",
                              .extra_hosts = extra,
                              .host_gateway = "10.210.0.1",
                              .resolv_source = source};

    set_source("nameserver 9.9.9.9\n");
    write_ok(&f);
    AUTOFREE char *hosts = content("hosts");
    assert_non_null(strstr(hosts, "127.0.0.1\tlocalhost\n"));
    assert_non_null(strstr(hosts, "::1\tlocalhost ip6-localhost ip6-loopback\n"));
    assert_non_null(strstr(hosts, "10.0.0.5\tdb\nfd00::5\tsix\n10.210.0.1\tgw\n1.2.3.4\teq\n"
                                  "fd00::6\tbr\n"));
    assert_non_null(strstr(hosts, "10.210.0.2\tweb.example.com web\n"
                                  "fd00::2\tweb.example.com web\n"));
    AUTOFREE char *hostname = content("hostname");
    assert_string_equal(hostname, "web\n");
    /* again, over what is there */
    f.domainname = NULL;
    f.ip6 = "";
    write_ok(&f);
    AUTOFREE char *again = content("hosts");
    assert_non_null(strstr(again, "10.210.0.2\tweb\n"));
    assert_null(strstr(again, "fd00::2"));
}

static void expect_resolv(const struct network_files *f, const char *from, const char *want)
{
    struct network_files with = *f;

    set_source(from);
    with.resolv_source = source;
    with.hostname = "h";
    write_ok(&with);
    AUTOFREE char *got = content("resolv.conf");
    assert_string_equal(got, want);
}

static void test_resolv(void **state)
{
    static char s1[] = "1.1.1.1", s2[] = "fd00::53", dom[] = "corp.example", dot[] = ".",
                opt[] = "ndots:2";
    char *const dns[] = {s1, s2, NULL}, *const search[] = {dom, NULL}, *const none[] = {dot, NULL},
                *const options[] = {opt, NULL};
    struct network_files plain = {0}, v6 = {.ip6 = "fd00::2"}, host = {.host_network = true},
                         own = {.dns = dns, .dns_search = search, .dns_options = options},
                         no_search = {.dns_search = none};

    expect_resolv(&plain,
                  "# c\nnameserver 10.0.0.2\nnameserver\t10.0.0.3 # x\nsearch a b\n"
                  "options rotate timeout:1\n",
                  "nameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch a b\n"
                  "options rotate timeout:1\n");
    /* loopback servers can not be reached from inside */
    expect_resolv(&plain, "nameserver 127.0.0.1\nnameserver ::1\nnameserver 10.0.0.2",
                  "nameserver 10.0.0.2\n");
    expect_resolv(&plain, "nameserver 127.0.0.53\n", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    expect_resolv(&plain, "", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    expect_resolv(&plain, "nameserver fd00::9\nnameserver 10.0.0.2\n", "nameserver 10.0.0.2\n");
    expect_resolv(&v6, "nameserver fd00::9\nnameserver fe80::1%eth0\n", "nameserver fd00::9\n");
    expect_resolv(&host, "nameserver 127.0.0.53\ndomain x\n", "nameserver 127.0.0.53\nsearch x\n");
    expect_resolv(&own, "nameserver 10.0.0.2\nsearch a\noptions rotate\n",
                  "nameserver 1.1.1.1\nnameserver fd00::53\nsearch corp.example\n"
                  "options ndots:2\n");
    expect_resolv(&no_search, "nameserver 10.0.0.2\nsearch a\n", "nameserver 10.0.0.2\n");
}

static void test_bad(void **state)
{
    static char no_ip[] = "x:", no_name[] = ":1.2.3.4", word[] = "x:y", line[] = "a\nb:1.2.3.4",
                gw[] = "x:host-gateway", server[] = "dns.example",
                inject[] = "a\nnameserver 6.6.6.6";
    char *const bads[] = {no_ip, no_name, word, line, gw};
    struct error e = ERROR_INIT;

    for (size_t i = 0; i < ARRAY_SIZE(bads); i++) {
        char *const extra[] = {bads[i], NULL};
        struct network_files f = {.extra_hosts = extra};
        assert_true(network_write_files(dir, &f, &e) < 0);
        assert_int_equal(e.code, ERR_INVALID);
        error_done(&e);
    }
    char *const dns[] = {server, NULL}, *const search[] = {inject, NULL};
    struct network_files f = {.dns = dns}, g = {.dns_search = search};
    assert_true(network_write_files(dir, &f, &e) < 0);
    assert_int_equal(e.code, ERR_INVALID);
    error_done(&e);
    assert_true(network_write_files(dir, &g, &e) < 0);
    assert_int_equal(e.code, ERR_INVALID);
    error_done(&e);
    struct network_files h = {0};
    assert_true(network_write_files("/nonexistent/folder", &h, &e) < 0);
    error_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_resolv),
        cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
