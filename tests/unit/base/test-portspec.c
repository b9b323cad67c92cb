/* SPDX-License-Identifier: Apache-2.0 */
/* Port specifications: every form Docker's users type, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/portspec.h"

struct good {
    const char *text;
    const char *host_ip;
    unsigned host_first, host_last, container_port;
    enum port_proto proto;
    size_t count;
    unsigned last_host, last_container; /* of the last item when count > 1 */
};

static const struct good goods[] = {
    {"80", "", 0, 0, 80, PORT_TCP, 1, 0, 0},
    {"80/udp", "", 0, 0, 80, PORT_UDP, 1, 0, 0},
    {"80/TCP", "", 0, 0, 80, PORT_TCP, 1, 0, 0},
    {"8080:80", "", 8080, 8080, 80, PORT_TCP, 1, 0, 0},
    {"8080:80/sctp", "", 8080, 8080, 80, PORT_SCTP, 1, 0, 0},
    {"0:80", "", 0, 0, 80, PORT_TCP, 1, 0, 0},
    {":80", "", 0, 0, 80, PORT_TCP, 1, 0, 0},
    {"127.0.0.1:8080:80/tcp", "127.0.0.1", 8080, 8080, 80, PORT_TCP, 1, 0, 0},
    {"127.0.0.1::80", "127.0.0.1", 0, 0, 80, PORT_TCP, 1, 0, 0},
    {"[::1]:80:81", "::1", 80, 80, 81, PORT_TCP, 1, 0, 0},
    {"[::]::53/udp", "::", 0, 0, 53, PORT_UDP, 1, 0, 0},
    {"::1:80:81", "::1", 80, 80, 81, PORT_TCP, 1, 0, 0},
    {"8000-8010:80", "", 8000, 8010, 80, PORT_TCP, 1, 0, 0},
    {"8000-8010:9000-9010", "", 8000, 8000, 9000, PORT_TCP, 11, 8010, 9010},
    {"8000-8002", "", 0, 0, 8000, PORT_TCP, 3, 0, 8002},
    {"1-65535:1-65535", "", 1, 1, 1, PORT_TCP, 65535, 65535, 65535},
};

static void test_good(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(goods); i++) {
        const struct good *g = &goods[i];
        struct error e = ERROR_INIT;
        struct port_specs specs = {0};
        if (portspec_parse(g->text, &specs, &e) < 0)
            fail_msg("%s: %s", g->text, error_message(&e));
        assert_int_equal(specs.len, g->count);
        assert_string_equal(specs.items[0].host_ip, g->host_ip);
        assert_int_equal(specs.items[0].host_first, g->host_first);
        assert_int_equal(specs.items[0].host_last, g->host_last);
        assert_int_equal(specs.items[0].container_port, g->container_port);
        assert_int_equal(specs.items[0].proto, g->proto);
        if (g->count > 1) {
            assert_int_equal(specs.items[g->count - 1].host_first, g->last_host);
            assert_int_equal(specs.items[g->count - 1].container_port, g->last_container);
        }
        port_specs_done(&specs);
    }
}

static void test_bad(void **state)
{
    static const char *const bads[] = {
        "",
        ":",
        "::",
        "80:",
        "x",
        "80x",
        "-80",
        "80-",
        "-",
        "0",
        "65536",
        "80/",
        "80/icmp",
        "8080:0",
        "8080:80/tcp/udp",
        "999999:80",
        "8080:65536",
        "90-80",
        "8000-8010:80-81",
        "1.2.3:80:80",
        "1.2.3.4.5:80:80",
        "host:80:80",
        "[::1]",
        "[::1]:80",
        "[::1:80:80",
        "::1]:80:80",
        "[]:80:80",
        "[127.0.0.1]:80:80",
        "[fe80::1%eth0]:80:80",
        "80 ",
        " 80",
        "+80",
        "0x50",
        "0-10:80-90",
        "0-3",
        "1:2:3:4:5",
        "8080::80:",
        ("12345678901234567890123456789012345678901234567890123456789"
         "0123456789012345678901234567890123456789012345678901234567890123456789"),
    };
    for (size_t i = 0; i < ARRAY_SIZE(bads); i++) {
        struct error e = ERROR_INIT;
        struct port_specs specs = {0};
        if (portspec_parse(bads[i], &specs, &e) >= 0)
            fail_msg("\"%s\" was taken", bads[i]);
        assert_int_equal(e.code, ERR_INVALID);
        assert_int_equal(specs.len, 0);
        error_done(&e);
    }
}

static void test_expose(void **state)
{
    struct error e = ERROR_INIT;
    struct port_specs specs = {0};

    assert_int_equal(portspec_parse_expose("3000-3002/udp", &specs, &e), 0);
    assert_int_equal(portspec_parse_expose("80", &specs, &e), 0);
    assert_int_equal(specs.len, 4);
    assert_int_equal(specs.items[2].container_port, 3002);
    assert_int_equal(specs.items[2].proto, PORT_UDP);
    assert_int_equal(specs.items[3].container_port, 80);
    assert_true(portspec_parse_expose("8080:80", &specs, &e) < 0);
    error_done(&e);
    assert_true(portspec_parse_expose("", &specs, &e) < 0);
    error_done(&e);
    assert_int_equal(specs.len, 4);
    port_specs_done(&specs);
}

static void test_api(void **state)
{
    struct error e = ERROR_INIT;
    uint16_t a = 0, b = 0;
    enum port_proto proto;

    assert_int_equal(portspec_parse_port("80", &a, &proto, &e), 0);
    assert_int_equal(a, 80);
    assert_int_equal(proto, PORT_TCP);
    assert_int_equal(portspec_parse_port("53/udp", &a, &proto, &e), 0);
    assert_int_equal(proto, PORT_UDP);
    assert_true(portspec_parse_port("80-81/udp", &a, &proto, &e) < 0);
    error_done(&e);
    assert_true(portspec_parse_port("", &a, &proto, &e) < 0);
    error_done(&e);
    assert_int_equal(portspec_parse_host_port("", &a, &b, &e), 0);
    assert_int_equal(a + b, 0);
    assert_int_equal(portspec_parse_host_port("80-90", &a, &b, &e), 0);
    assert_int_equal(a, 80);
    assert_int_equal(b, 90);
    assert_true(portspec_parse_host_port("90-80", &a, &b, &e) < 0);
    error_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_expose),
        cmocka_unit_test(test_api),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
