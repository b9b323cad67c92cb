/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that live, are being ended, or have gone. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/process.h"

static void *stay(void *data)
{
    for (;;)
        pause();
    return NULL;
}

/* A child that says when it is as it should be. */
static pid_t child(bool first_thread_ends)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        pthread_t thread;

        if (first_thread_ends && pthread_create(&thread, NULL, stay, NULL) != 0)
            _exit(1);
        if (write(ready[1], "r", 1) != 1)
            _exit(1);
        if (first_thread_ends)
            pthread_exit(NULL);
        (void)stay(NULL);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void end(pid_t pid)
{
    siginfo_t info;

    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_true(process_is_ending(pid)); /* nobody has heard of it */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(process_is_ending(pid)); /* there is none */
}

static void test_ending(void **state)
{
    pid_t pid = child(false);

    assert_false(process_is_ending(getpid()));
    assert_false(process_is_ending(pid));
    end(pid);
}

static void test_first_thread_ended(void **state)
{
    pid_t pid = child(true);

    for (int i = 0; i < 100; i++) { /* at any moment of that */
        assert_false(process_is_ending(pid));
        (void)usleep(1000);
    }
    end(pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ending),
        cmocka_unit_test(test_first_thread_ended),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
