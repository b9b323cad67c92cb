/* SPDX-License-Identifier: Apache-2.0 */
/* Address ranges and pools. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "network/network-priv.h"

static struct cidr4 net_of(const char *text)
{
    struct cidr4 c = {0};

    assert_int_equal(cidr4_parse(text, &c), 0);
    return c;
}

static void test_parse(void **state)
{
    static const char *const bads[] = {"",
                                       "10.0.0.0",
                                       "10.0.0.0/",
                                       "10.0.0.0/33",
                                       "10.0.0/8",
                                       "10.0.0.0/-1",
                                       "10.0.0.0/8x",
                                       "x/8",
                                       "/8",
                                       "1.2.3.4.5/8",
                                       "999.0.0.0/8",
                                       "fd00::/64",
                                       "111.111.111.1111/8"};
    struct cidr4 c = net_of("10.1.2.3/24");
    struct cidr6 c6;

    assert_int_equal(c.addr, 0x0a010203);
    assert_int_equal(c.prefix, 24);
    for (size_t i = 0; i < ARRAY_SIZE(bads); i++)
        assert_int_equal(cidr4_parse(bads[i], &c), -EINVAL);
    assert_int_equal(cidr6_parse("fd00:1::/64", &c6), 0);
    assert_int_equal(c6.prefix, 64);
    assert_int_equal(cidr6_parse("fd00:1::/129", &c6), -EINVAL);
    assert_int_equal(cidr6_parse("10.0.0.0/8", &c6), -EINVAL);
}

static void test_overlap(void **state)
{
    static const struct {
        const char *a, *b;
        bool overlaps;
    } cases[] = {
        {"10.0.0.0/8", "10.210.0.0/16", true},    {"10.210.0.0/16", "10.211.0.0/16", false},
        {"10.210.3.0/24", "10.210.0.0/16", true}, {"10.210.0.1/32", "10.210.0.0/16", true},
        {"0.0.0.0/0", "10.0.0.0/8", true},        {"192.168.0.0/20", "192.168.16.0/20", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct cidr4 a = net_of(cases[i].a), b = net_of(cases[i].b);
        assert_int_equal(cidr4_overlaps(&a, &b), cases[i].overlaps);
        assert_int_equal(cidr4_overlaps(&b, &a), cases[i].overlaps);
    }
    struct cidr6 net;
    struct in6_addr in, out;
    assert_int_equal(cidr6_parse("fd00:1:2::1/44", &net), 0);
    inet_pton(AF_INET6, "fd00:1:f::5", &in);
    inet_pton(AF_INET6, "fd00:1:10::5", &out);
    assert_true(cidr6_contains(&net, &in));
    assert_false(cidr6_contains(&net, &out));
}

static void test_choose(void **state)
{
    struct cidr4 taken[] = {net_of("10.0.0.0/8"), net_of("172.16.0.0/12")}, got;
    const char *bad = NULL;
    static char p1[] = "10.5.0.0/24", p2[] = "192.168.3.0/24", junk[] = "10.5.0.0/31";
    char *const own[] = {p1, p2, NULL}, *const junky[] = {junk, NULL}, *const one[] = {p1, NULL};

    assert_int_equal(subnet_choose(NULL, NULL, 0, &got, &bad), 0);
    assert_int_equal(got.addr, net_of("10.210.0.0/16").addr);
    assert_int_equal(subnet_choose(NULL, taken, 2, &got, &bad), 0);
    assert_int_equal(got.addr, net_of("192.168.160.0/20").addr);
    assert_int_equal(got.prefix, 20);
    assert_int_equal(subnet_choose(own, taken, 2, &got, &bad), 0);
    assert_int_equal(got.addr, net_of("192.168.3.0/24").addr);
    assert_int_equal(subnet_choose(one, taken, 2, &got, &bad), -ENOSPC);
    assert_int_equal(subnet_choose(junky, taken, 2, &got, &bad), -EINVAL);
    assert_string_equal(bad, "10.5.0.0/31");
}

static void test_pool_exhaustion(void **state)
{
    struct cidr4 net = net_of("10.9.8.1/29"); /* .1 to .6 */
    struct pool p;
    uint32_t got;

    pool_init(&p, &net, &net);
    assert_int_equal(pool_take(&p, net.addr), 0);
    for (uint32_t i = 2; i <= 6; i++) {
        assert_int_equal(pool_take_any(&p, &got), 0);
        assert_int_equal(got & 0xff, i);
    }
    assert_int_equal(pool_take_any(&p, &got), -ENOSPC);
    pool_give_back(&p, 0x0a090804);
    assert_int_equal(pool_take_any(&p, &got), 0);
    assert_int_equal(got, 0x0a090804);
    assert_int_equal(pool_take_any(&p, &got), -ENOSPC);
    assert_int_equal(pool_take(&p, 0x0a090804), -EADDRINUSE);
    assert_int_equal(pool_take(&p, 0x0a0a0a0a), 0); /* outside: nobody's */
    pool_give_back(&p, 0x0a0a0a0a);
    pool_done(&p);
}

static void test_pool_next_fit(void **state)
{
    struct cidr4 net = net_of("10.9.8.1/24");
    struct pool p;
    uint32_t first, got = 0;

    pool_init(&p, &net, &net);
    assert_int_equal(pool_take_any(&p, &first), 0);
    /* what was just freed comes last, after all the others */
    for (int i = 0; i < 253; i++) {
        pool_give_back(&p, first);
        assert_int_equal(pool_take_any(&p, &got), 0);
        assert_int_not_equal(got, first);
        pool_give_back(&p, got);
    }
    assert_int_equal(got & 0xff, 254);
    assert_int_equal(pool_take_any(&p, &got), 0);
    assert_int_equal(got, first);
    pool_done(&p);
}

static void test_pool_range(void **state)
{
    struct cidr4 net = net_of("10.9.0.1/16"), range = net_of("10.9.8.0/30");
    struct pool p;
    uint32_t got;

    pool_init(&p, &net, &range); /* inside of the net, .0 and .3 are addresses like others */
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(pool_take_any(&p, &got), 0);
        assert_int_equal(got, 0x0a090800 + i);
    }
    assert_int_equal(pool_take_any(&p, &got), -ENOSPC);
    pool_done(&p);
    net = net_of("10.0.0.1/8");
    pool_init(&p, &net, &net);
    assert_int_equal(p.last - p.first + 1, POOL_MAX);
    pool_done(&p);
}

static void test_ip6(void **state)
{
    struct cidr6 net;
    struct in6_addr got;
    char text[INET6_ADDRSTRLEN];

    assert_int_equal(cidr6_parse("fd12:3456:789a::1/64", &net), 0);
    ip6_for_ip4(&net, 0x0ad20002, &got);
    inet_ntop(AF_INET6, &got, text, sizeof(text));
    assert_string_equal(text, "fd12:3456:789a::ad2:2");
    assert_int_equal(cidr6_parse("fd12:3456:789a:1:2:3:4:5/96", &net), 0);
    ip6_for_ip4(&net, 0x0ad20002, &got);
    inet_ntop(AF_INET6, &got, text, sizeof(text));
    assert_string_equal(text, "fd12:3456:789a:1:2:3:ad2:2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),         cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_choose),        cmocka_unit_test(test_pool_exhaustion),
        cmocka_unit_test(test_pool_next_fit), cmocka_unit_test(test_pool_range),
        cmocka_unit_test(test_ip6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
