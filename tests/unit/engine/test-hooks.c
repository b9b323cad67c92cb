/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks and health checks: what is taken, what is refused, what is made of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "base/words.h"
#include "engine/health.h"
#include "engine/hooks.h"
#include "monitor/hooks.h"

static struct create_extra extra_of(const char *text)
{
    struct create_extra x = {0};
    struct error e = ERROR_INIT;

    if (json_parse(&create_extra_json, text, strlen(text), &x, &e) < 0)
        fail_msg("%s", error_message(&e));
    return x;
}

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        bool host;
        const char *words;
    } good[] = {
        {"/bin/x", false, "/bin/x"},
        {"in:/bin/x a", false, "/bin/x a"},
        {"host:/bin/x 'a b' c", true, "/bin/x 'a b' c"},
        {"host: /bin/x", true, "/bin/x"},
        {"in:/sbin/in:x", false, "/sbin/in:x"},
        {"/with\\ blank", false, "'/with blank'"},
    };
    static const char *const bad[] = {"",       "x",       "host:", "host:x",
                                      "in:./x", "Host:/x", "/x 'a", "in:host:/x"};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct hook h = {0};
        AUTOFREE char *words = NULL;

        assert_int_equal(hook_parse(good[i].text, &h, NULL), 0);
        assert_int_equal(h.host, good[i].host);
        words = words_join(h.args);
        assert_string_equal(words, good[i].words);
        hook_done(&h);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct hook h = {0};

        assert_int_equal(hook_parse(bad[i], &h, NULL), -EINVAL);
        assert_null(h.args);
    }
}

static void test_validate(void **state)
{
    static const struct {
        const char *host_config;
        const char *why; /* NULL: it is fine */
    } cases[] = {
        {"{}", NULL},
        {"{\"Hooks\":{}}", NULL},
        {"{\"Hooks\":{\"Prestart\":[\"/a\"],\"Poststop\":[\"host:/b c\"]},\"HookTimeout\":60}",
         NULL},
        {"{\"Hooks\":{\"Poststart\":[\"/a\",\"b\"]}}", "HostConfig.Hooks.Poststart[1]"},
        {"{\"Hooks\":{\"Poststop\":[\"/a 'b\"]}}", "single quote"},
        {"{\"HookTimeout\":-1}", "HookTimeout"},
        {"{\"HookTimeout\":86401}", "HookTimeout"},
    };
    struct container_config config = {0};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTOFREE char *text = xasprintf("{\"HostConfig\":%s}", cases[i].host_config);
        struct create_extra x = extra_of(text);
        struct error e = ERROR_INIT;
        int r = hooks_validate(&config, &x.host_config, &e);

        assert_int_equal(r, cases[i].why ? -EINVAL : 0);
        if (cases[i].why)
            assert_non_null(strstr(error_message(&e), cases[i].why));
        error_done(&e);
        json_free(&create_extra_json, &x);
    }
    config.init_script = xstrdup("/x y");
    {
        struct host_config hc = {0};
        struct error e = ERROR_INIT;

        assert_int_equal(hooks_validate(&config, &hc, &e), -EINVAL);
        assert_non_null(strstr(error_message(&e), "--rich"));
        error_done(&e);
        config.rich = true;
        assert_int_equal(hooks_validate(&config, &hc, NULL), 0);
    }
    json_free(&container_config_json, &config);
}

static void test_where(void **state)
{
    struct container_definition *def = container_def_new();
    struct create_extra x = extra_of("{\"HostConfig\":{\"Hooks\":{\"Prestart\":[\"host:/a\"],"
                                     "\"Poststop\":[\"host:/a\",\"/b\"]}}}");

    assert_false(hooks_at_gate(def));
    assert_false(hooks_after_end(def));
    def->host_config = x.host_config;
    assert_false(hooks_at_gate(def));
    assert_true(hooks_after_end(def));
    def->config.init_script = xstrdup("/init.sh");
    assert_true(hooks_at_gate(def));
    container_def_free(def);
}

static void test_report(void **state)
{
    static const struct {
        struct hook_report report;
        const char *text;
    } cases[] = {
        {{.exit_code = 0, .output = "fine\n"}, NULL},
        {{.exit_code = 3}, "it failed with exit code 3"},
        {{.exit_code = 1, .output = "one\ntwo\n\n"}, "it failed with exit code 1: one | two"},
        {{.exit_code = 1, .output = "a\x1b[31mb\tc"}, "it failed with exit code 1: a[31mbc"},
        {{.exit_code = 137, .signal = 9}, "it was killed by signal 9"},
        {{.exit_code = 137, .signal = 9, .flags = HOOK_TIMED_OUT, .output = "x"},
         "it was killed: it ran into its time-out: x"},
        {{.exit_code = 137, .signal = 9, .flags = HOOK_ABORTED}, "it was killed by request"},
        {{.exit_code = 127, .flags = HOOK_NOT_RUN, .output = "/x: gone"},
         "it could not be run: /x: gone"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTOFREE char *text = hook_report_text(&cases[i].report, "it");

        if (cases[i].text)
            assert_string_equal(text, cases[i].text);
        else
            assert_null(text);
    }
}

static int check_health(const char *check, const char *action, char **ret_why)
{
    AUTOFREE char *text = xasprintf("{\"Healthcheck\":%s}", check);
    struct container_config config = {0};
    struct host_config hc = {.health_on_failure = (char *)(uintptr_t)action};
    struct error e = ERROR_INIT;
    int r;

    assert_int_equal(json_parse(&container_config_json, text, strlen(text), &config, NULL), 0);
    r = health_validate(&config, &hc, &e);
    *ret_why = xstrdup(error_message(&e));
    error_done(&e);
    json_free(&container_config_json, &config);
    return r;
}

static void test_health_validate(void **state)
{
    static const struct {
        const char *check, *action, *why;
    } cases[] = {
        {"null", NULL, NULL},
        {"{}", "restart", NULL},
        {"{\"Test\":[\"NONE\"]}", "none", NULL},
        {"{\"Test\":[\"CMD\",\"a\",\"b\"],\"Interval\":1000000}", "", NULL},
        {"{\"Test\":[\"CMD-SHELL\",\"a b\"]}", "kill", NULL},
        {"{\"Test\":[\"CMD\"]}", NULL, "without a command"},
        {"{\"Test\":[\"CMD-SHELL\",\"\"]}", NULL, "without a command"},
        {"{\"Test\":[\"CMD-SHELL\",\"a\",\"b\"]}", NULL, "one text"},
        {"{\"Test\":[\"cmd\",\"a\"]}", NULL, "unknown type"},
        {"{\"Interval\":999999}", NULL, "Interval"},
        {"{\"Timeout\":-1000000000}", NULL, "Timeout"},
        {"{\"StartPeriod\":1}", NULL, "StartPeriod"},
        {"{\"StartInterval\":9223372036854775807}", NULL, "StartInterval"},
        {"{\"Retries\":-1}", NULL, "Retries"},
        {"{\"Retries\":2147483648}", NULL, "Retries"},
        {"{}", "reboot", "unknown action"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTOFREE char *why = NULL;
        int r = check_health(cases[i].check, cases[i].action, &why);

        assert_int_equal(r, cases[i].why ? -EINVAL : 0);
        if (cases[i].why)
            assert_non_null(strstr(why, cases[i].why));
    }
}

static void test_health_merge(void **state)
{
    static const struct {
        const char *own, *image, *want;
    } cases[] = {
        {"null", "null", "{}"},
        {"null", "{\"Test\":[\"CMD\",\"a\"],\"Interval\":5}",
         "{\"Test\":[\"CMD\",\"a\"],\"Interval\":5}"},
        {"{\"Test\":[\"NONE\"]}", "{\"Test\":[\"CMD\",\"a\"],\"Interval\":5}",
         "{\"Test\":[\"NONE\"],\"Interval\":5}"},
        {"{\"Interval\":7,\"Retries\":2}",
         "{\"Test\":[\"CMD\",\"a\"],\"Interval\":5,\"Timeout\":6,\"Retries\":9}",
         "{\"Test\":[\"CMD\",\"a\"],\"Interval\":7,\"Timeout\":6,\"Retries\":2}"},
        {"{\"Test\":[\"CMD\",\"b\"]}", "null", "{\"Test\":[\"CMD\",\"b\"]}"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTOFREE char *own = xasprintf("{\"Healthcheck\":%s}", cases[i].own);
        AUTOFREE char *image = xasprintf("{\"Healthcheck\":%s}", cases[i].image);
        struct oci_healthcheck none = {0};
        struct container_config config = {0};
        struct oci_image_config img = {0};
        AUTOFREE char *got = NULL;

        assert_int_equal(json_parse(&container_config_json, own, strlen(own), &config, NULL), 0);
        assert_int_equal(json_parse(&oci_image_config_json, image, strlen(image), &img, NULL), 0);
        health_merge(&config, &img);
        got = json_print_str(&oci_healthcheck_json,
                             config.healthcheck ? config.healthcheck : &none);
        assert_string_equal(got, cases[i].want);
        json_free(&container_config_json, &config);
        json_free(&oci_image_config_json, &img);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),           cmocka_unit_test(test_validate),
        cmocka_unit_test(test_where),           cmocka_unit_test(test_report),
        cmocka_unit_test(test_health_validate), cmocka_unit_test(test_health_merge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
