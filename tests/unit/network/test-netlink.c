/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of netlink requests: which one failed and what the kernel said; reading tables. */
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "netns.h"
#include "sys/netlink.h"
#include "sys/nft.h"

static int outside = -1;

static void test_batch_failure(void **state)
{
    AUTOFD int fd = nl_open(NETLINK_ROUTE);
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct nl_failure failure = {0};
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    struct nl_link link;

    assert_true(fd >= 0);
    assert_int_equal(nl_batch_run(fd, &b, NULL), 0); /* nothing to do */
    nl_put_link_up(&b, 0, "lo");
    nl_put_link_up(&b, 0, "nosuch");
    nl_put_bridge(&b, "br9", mac, 1400, "mine");
    assert_int_equal(nl_batch_run(fd, &b, &failure), -ENODEV);
    assert_int_equal(failure.index, 1);
    /* the others were done all the same; the batch is empty and may be used again */
    assert_int_equal(nl_link_get(fd, "br9", &link), 0);
    assert_string_equal(link.kind, "bridge");
    assert_string_equal(link.alias, "mine");
    assert_int_equal(link.mtu, 1400);
    nl_put_bridge(&b, "br9", mac, 1400, "mine");
    assert_int_equal(nl_batch_run(fd, &b, &failure), -EEXIST);
    assert_int_equal(failure.index, 0);
    nl_put_addr(&b, link.index, AF_INET, "\x0a\x63\x00\x01", 40);
    assert_int_equal(nl_batch_run(fd, &b, &failure), -EINVAL);
    nl_put_link_del(&b, link.index);
    assert_int_equal(nl_batch_run(fd, &b, NULL), 0);
    assert_int_equal(nl_link_get(fd, "br9", &link), -ENODEV);
    assert_int_equal(nl_link_get(fd, "a-name-that-is-too-long", &link), -ENODEV);
}

static void test_large_batch(void **state)
{
    AUTOFD int fd = nl_open(NETLINK_ROUTE);
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct nl_addr *addrs = NULL;
    size_t n = 0, found = 0;

    /* more than a send buffer takes, and an answer for each that fails */
    for (uint32_t i = 0; i < 8000; i++) {
        uint8_t addr[4] = {127, 77, (uint8_t)(i >> 8), (uint8_t)i};
        nl_put_addr(&b, 1, AF_INET, addr, 32);
    }
    assert_int_equal(nl_batch_run(fd, &b, NULL), 0);
    assert_int_equal(nl_addrs(fd, &addrs, &n), 0);
    for (size_t i = 0; i < n; i++)
        found += addrs[i].family == AF_INET && addrs[i].addr[0] == 127 && addrs[i].addr[1] == 77;
    assert_int_equal(found, 8000);
    free(addrs);
}

static void test_tables(void **state)
{
    AUTOFD int fd = nl_open(NETLINK_ROUTE);
    struct nl_route *routes = NULL;
    struct nl_link *links = NULL;
    size_t nroutes = 0, nlinks = 0, found = 0;

    assert_int_equal(nl_links(fd, &links, &nlinks), 0);
    for (size_t i = 0; i < nlinks; i++)
        found += strcmp(links[i].name, "uplink") == 0 && strcmp(links[i].kind, "veth") == 0;
    assert_int_equal(found, 1);
    free(links);
    assert_true(netns_sh("ip route add 10.66.0.0/16 via 192.0.2.9 && ip route add default via "
                         "192.0.2.9"));
    assert_int_equal(nl_routes(fd, &routes, &nroutes), 0);
    found = 0;
    for (size_t i = 0; i < nroutes; i++) {
        assert_int_not_equal(routes[i].prefix, 0); /* default routes are left out */
        found += routes[i].family == AF_INET && memcmp(routes[i].dst, "\x0a\x42\0\0", 4) == 0 &&
                 routes[i].prefix == 16;
    }
    assert_int_equal(found, 1);
    free(routes);
}

static void test_namespaces(void **state)
{
    AUTOFD int there = nl_open_in(outside, NETLINK_ROUTE);
    AUTOFD int here = nl_open(NETLINK_ROUTE);
    AUTOFD int nowhere = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct nl_link link;

    assert_int_equal(nl_link_get(there, "up0", &link), 0);
    assert_int_equal(nl_link_get(there, "uplink", &link), -ENODEV);
    assert_int_equal(nl_link_get(here, "uplink", &link), 0);
    assert_true(nl_open_in(nowhere, NETLINK_ROUTE) < 0);
    assert_int_equal(nl_open_in(-1, NETLINK_ROUTE), -EBADF);
    assert_int_equal(nl_link_get(here, "uplink", &link), 0);
}

static void count_element(const struct nft_element *item, void *data)
{
    (void)item;
    ++*(size_t *)data;
}

static void test_nft(void **state)
{
    AUTOFD int fd = nl_open(NETLINK_NETFILTER);
    AUTOFD int watch = nft_watch_open();
    CLEANUP(base_freep) char *nft = nft_find_program();
    struct error e = ERROR_INIT;
    struct nft_element items[300] = {0};
    struct nft_census census;
    struct nft_changes changes;
    size_t n = 0;

    assert_non_null(nft);
    assert_int_equal(nft_run(nft,
                             "table inet t {\n set s {\n type inet_service\n }\n chain c {\n tcp "
                             "dport @s accept\n }\n}\n",
                             &e),
                     0);
    assert_int_equal(nft_census_take(fd, "t", &census), 0);
    assert_int_equal(census.chains, 1);
    assert_int_equal(census.rules, 1);
    assert_int_equal(census.sets, 1);
    for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
        items[i] = (struct nft_element){.set = "s", .key_len = 2};
        items[i].key[0] = (uint8_t)(i >> 8);
        items[i].key[1] = (uint8_t)i;
    }
    assert_int_equal(nft_elements_add(fd, "t", items, 300, NULL), 0);
    assert_int_equal(nft_elements_add(fd, "t", items, 300, NULL), 0); /* there already */
    assert_int_equal(nft_elements_list(fd, "t", "s", count_element, &n), 0);
    assert_int_equal(n, 300);
    assert_int_equal(nft_watch_read(watch, "t", &changes), 0);
    assert_int_equal(changes.elements, 0);
    assert_false(changes.base || changes.lost);
    assert_int_equal(nft_elements_del(fd, "t", items, 299, NULL), 0);
    assert_int_equal(nft_elements_del(fd, "t", items, 300, NULL), -ENOENT); /* all or nothing */
    assert_int_equal(nft_watch_read(watch, "t", &changes), 0);
    assert_int_equal(changes.elements, 299);
    assert_int_equal(nft_elements_add(fd, "nosuch", items, 1, NULL), -ENOENT);
    assert_int_equal(nft_elements_add(fd, "t", (struct nft_element[]){{.set = "x", .key_len = 2}},
                                      1, NULL),
                     -ENOENT);
    assert_int_equal(nft_table_del(fd, "t"), 0);
    assert_int_equal(nft_table_del(fd, "t"), -ENOENT);
    assert_int_equal(nft_watch_read(watch, "t", &changes), 0);
    assert_true(changes.base);
    assert_int_equal(nft_watch_read(watch, "t", &changes), 0);
    assert_false(changes.base);
    assert_true(nft_run(nft, "table inet t {\n nonsense\n}\n", &e) < 0);
    assert_non_null(strstr(error_message(&e), "refused the rules: "));
    error_done(&e);
    assert_true(nft_run("/nonexistent/nft", "", &e) < 0);
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    error_done(&e);
    assert_true(nft_run("/bin/false", "x", &e) < 0); /* does not even read */
    assert_string_equal(error_message(&e), "/bin/false refused the rules: no reason given");
    error_done(&e);
}

int main(void)
{
    if (!netns_enter(&outside))
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_failure), cmocka_unit_test(test_large_batch),
        cmocka_unit_test(test_tables),        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_nft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
