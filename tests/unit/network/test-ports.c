/* SPDX-License-Identifier: Apache-2.0 */
/* Host ports that are let go and wanted again at once. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "network/network-priv.h"

static const enum port_proto protos[] = {PORT_TCP, PORT_UDP};

static int reserve(enum port_proto proto, uint16_t port, uint16_t *ret_port, struct port_holds *ret)
{
    struct port_spec spec = {.proto = proto,
                             .container_port = 80,
                             .host_ip = "127.0.0.1",
                             .host_first = port,
                             .host_last = port};
    struct network_port *ports = NULL;
    struct error e = ERROR_INIT;
    int r = ports_reserve(&spec, 1, false, &ports, ret, &e);

    if (r == 0)
        *ret_port = ports[0].host_port;
    error_done(&e);
    free(ports);
    return r;
}

/* A program that is being started has copies of all descriptors for a moment. */
static pid_t start_slowly(useconds_t us)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)usleep(us);
        _exit(0);
    }
    return pid;
}

static void test_copies(void **state)
{
    for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++) {
        struct port_holds holds = {0}, again = {0};
        uint16_t port = 0, got = 0;
        pid_t pid;

        assert_int_equal(reserve(protos[i], 0, &port, &holds), 0);
        pid = start_slowly(30000);
        port_holds_done(&holds);
        assert_int_equal(reserve(protos[i], port, &got, &again), 0);
        assert_int_equal(got, port);
        port_holds_done(&again);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
}

/* What is held is still taken, whatever was let go beside it. */
static void test_taken(void **state)
{
    for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++) {
        struct port_holds holds = {0}, other = {0}, again = {0};
        uint16_t port = 0, got = 0;

        assert_int_equal(reserve(protos[i], 0, &port, &holds), 0);
        assert_int_equal(reserve(protos[i], 0, &got, &other), 0);
        port_holds_done(&other);
        assert_true(reserve(protos[i], port, &got, &again) < 0);
        port_holds_done(&holds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
