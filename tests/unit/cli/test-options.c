/* SPDX-License-Identifier: Apache-2.0 */
/* The option parser: pflag's rules, its words, and the texts made from the tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/strv.h"
#include "cli/create.h"
#include "cli/global.h"
#include "cli/options.h"

struct opts {
    bool all, quiet, on;
    struct opt_bool maybe;
    char *name;
    char **env;
    struct opt_int count, size, time, cpus;
};

#define O struct opts
static const struct option_def common[] = {
    OPT(O, quiet, "quiet", 'q', OPTION_BOOL, NULL, "Say little"),
    OPT_END,
};
static const struct option_def table[] = {
    OPT_INCLUDE(common),
    OPT(O, all, "all", 'a', OPTION_BOOL, NULL, "Everything"),
    OPT(O, on, "on", 0, OPTION_BOOL, NULL, "Is on", .initial = "true"),
    OPT(O, maybe, "maybe", 0, OPTION_OPT_BOOL, NULL, "Perhaps"),
    OPT(O, name, "name", 'n', OPTION_STR, NULL, "A name", .initial = "x"),
    OPT(O, env, "env", 'e', OPTION_LIST, NULL, "Several"),
    OPT(O, count, "count", 'c', OPTION_INT, NULL, "How many"),
    OPT(O, size, "size", 's', OPTION_SIZE, NULL, "How large"),
    OPT(O, time, "time", 0, OPTION_DURATION, NULL, "How long"),
    OPT(O, cpus, "cpus", 0, OPTION_CPUS, NULL, "How fast"),
    OPT(O, env, "envy", 0, OPTION_LIST, NULL, "Other name", .hidden = true),
    OPT_REFUSED("link", OPTION_STR, "it is old"),
    OPT_END,
};
static struct command cmd = {.name = "test",
                             .args = "ARG",
                             .summary = "Tests",
                             .options = table,
                             .options_size = sizeof(struct opts),
                             .args_min = 0,
                             .args_max = -1};

struct result {
    struct opts o;
    char **args;
    size_t n;
    bool help;
    struct error e;
    int r;
};

static struct result *parse(const char *line)
{
    static struct result res;
    static char **words;

    options_free(table, &res.o);
    free(res.args);
    error_done(&res.e);
    strv_free(words);
    memset(&res, 0, sizeof res);
    words = strv_split(line, " ", true);
    res.r = options_parse(&cmd, words, strv_len(words), &res.o, &res.args, &res.n, &res.help,
                          &res.e);
    return &res;
}

static void test_long(void **state)
{
    struct result *res = parse("--all --name=abc --env A=1 --env=B=2 rest --count 7");

    assert_int_equal(res->r, 0);
    assert_true(res->o.all);
    assert_true(res->o.on);
    assert_false(res->o.maybe.set);
    assert_string_equal(res->o.name, "abc");
    assert_int_equal(strv_len(res->o.env), 2);
    assert_string_equal(res->o.env[1], "B=2");
    assert_int_equal(res->o.count.value, 7);
    assert_int_equal(res->n, 1);
    assert_string_equal(res->args[0], "rest");
    res = parse("--all=false --on=0 --maybe=F");
    assert_false(res->o.all);
    assert_false(res->o.on);
    assert_true(res->o.maybe.set);
    assert_false(res->o.maybe.value);
    assert_string_equal(res->o.name, "x");
    assert_true(parse("--maybe")->o.maybe.value);
}

static void test_letters(void **state)
{
    struct result *res = parse("-aq -nabc -eX -e Y -c=5 -a=false");

    assert_int_equal(res->r, 0);
    assert_true(res->o.quiet);
    assert_false(res->o.all);
    assert_string_equal(res->o.name, "abc");
    assert_string_equal(res->o.env[0], "X");
    assert_string_equal(res->o.env[1], "Y");
    assert_int_equal(res->o.count.value, 5);
    res = parse("-aqn name");
    assert_string_equal(res->o.name, "name");
    assert_true(res->o.quiet);
    res = parse("- x");
    assert_int_equal(res->n, 2);
}

static void test_ends(void **state)
{
    struct result *res = parse("-a -- -q --nope");

    assert_int_equal(res->r, 0);
    assert_false(res->o.quiet);
    assert_int_equal(res->n, 2);
    cmd.flags = COMMAND_STOP_AT_ARG;
    res = parse("-a image -q --nope");
    assert_int_equal(res->r, 0);
    assert_int_equal(res->n, 3);
    assert_false(res->o.quiet);
    res = parse("-a -- image -q");
    assert_int_equal(res->n, 2);
    cmd.flags = 0;
    assert_true(parse("--help --nope")->help);
    assert_true(parse("-h")->help);
    assert_false(parse("--help=false")->help);
}

static void test_errors(void **state)
{
    static const char *const cases[][2] = {
        {"--nope", "unknown flag: --nope"},
        {"--al", "unknown flag: --al"},
        {"--=x", "unknown flag: --"},
        {"-z", "unknown shorthand flag: 'z' in -z"},
        {"-az", "unknown shorthand flag: 'z' in -az"},
        {"--name", "flag needs an argument: --name"},
        {"-an", "flag needs an argument: 'n' in -an"},
        {"--all=perhaps",
         "invalid argument \"perhaps\" for \"-a, --all\" flag: want true or false"},
        {"--count=x", "invalid argument \"x\" for \"-c, --count\" flag: not a whole number"},
        {"--count=99999999999999999999",
         "invalid argument \"99999999999999999999\" for \"-c, --count\" flag: the value is out of "
         "range"},
        {"--time=5", "invalid argument \"5\" for \"--time\" flag: not a duration (want 10s, 1m30s, "
                     "500ms)"},
        {"--cpus=1.1234567891", "invalid argument \"1.1234567891\" for \"--cpus\" flag: not a "
                                "decimal number of at most nine places"},
        {"--cpus=", "invalid argument \"\" for \"--cpus\" flag: not a decimal number of at most "
                    "nine places"},
        {"--link x", "--link is not supported: it is old"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct result *res = parse(cases[i][0]);

        assert_true(res->r < 0);
        assert_string_equal(error_message(&res->e), cases[i][1]);
    }
    assert_true(parse("--size=zz")->r < 0);
}

static void test_numbers(void **state)
{
    assert_int_equal(parse("--size 64m")->o.size.value, 64 << 20);
    assert_int_equal(parse("-s -1")->o.size.value, -1);
    assert_int_equal(parse("--time 1m30s")->o.time.value, 90000000000LL);
    assert_int_equal(parse("--cpus 1.5")->o.cpus.value, 1500000000);
    assert_int_equal(parse("--cpus .25")->o.cpus.value, 250000000);
    assert_int_equal(parse("--cpus 2")->o.cpus.value, 2000000000);
    assert_int_equal(parse("-c -3")->o.count.value, -3);
}

static void test_count(void **state)
{
    struct command c = {.args_min = 1, .args_max = 1};
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(options_check_count(&c, "pouch x", 1, &e), 0);
    assert_true(options_check_count(&c, "pouch x", 2, &e) < 0);
    assert_string_equal(error_message(&e), "\"pouch x\" requires exactly 1 argument.");
    error_done(&e);
    c.args_max = -1;
    assert_true(options_check_count(&c, "pouch x", 0, &e) < 0);
    assert_string_equal(error_message(&e), "\"pouch x\" requires at least 1 argument.");
    error_done(&e);
    c.args_min = c.args_max = 0;
    assert_true(options_check_count(&c, "pouch x", 1, &e) < 0);
    assert_string_equal(error_message(&e), "\"pouch x\" accepts no arguments.");
}

static void test_help(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    help_command(&cmd, "pouch test", &b);
    assert_non_null(strstr(b.data, "Usage:  pouch test [OPTIONS] ARG\n\nTests\n"));
    assert_non_null(strstr(b.data, "\n  -a, --all             Everything\n"));
    assert_non_null(strstr(b.data, "  -n, --name string     A name (default \"x\")\n"));
    assert_non_null(strstr(b.data, "      --time duration   How long\n"));
    assert_null(strstr(b.data, "envy"));
    assert_null(strstr(b.data, "link"));
    buf_clear(&b);
    help_man(&cmd, "pouch test", &b);
    assert_non_null(strstr(b.data, "*-n*, *--name* _string_\n\tA name (default x).\n"));
}

/* Every table of the program: no two options of a command share a name or a letter, each has a
 * help text, initial values are valid, groups have commands and commands have functions. */
static void check_command(const struct command *c)
{
    const struct option_def *o, *other;
    void *options;

    assert_non_null(c->summary);
    if (c->sub) {
        for (const struct command *const *s = c->sub; *s; s++)
            check_command(*s);
    } else {
        assert_non_null(c->run);
    }
    for (size_t i = 0; (o = options_at(c->options, i)); i++) {
        assert_true(o->refused || (o->help && *o->help && o->help[strlen(o->help) - 1] != '.'));
        for (size_t k = i + 1; (other = options_at(c->options, k)); k++) {
            assert_string_not_equal(o->name, other->name);
            assert_true(!o->letter || o->letter != other->letter);
        }
    }
    options = calloc(1, c->options_size + 1);
    {
        char *none[] = {NULL};
        AUTOFREE char **args = NULL;
        AUTO(error) struct error e = ERROR_INIT;
        size_t n;
        bool help;

        assert_int_equal(options_parse(c, none, 0, options, &args, &n, &help, &e), 0);
    }
    options_free(c->options, options);
    free(options);
}

static void test_tables(void **state)
{
    check_command(&cli_root);
    assert_ptr_equal(command_find(cli_commands, "run"), &command_run);
    assert_null(command_find(cli_commands, "ru"));
    assert_null(command_find(cli_commands, "ls"));
}

static void test_walk(void **state)
{
    char *words[] = {(char[]){"container"}, (char[]){"ps"}, (char[]){"-a"}};
    AUTOFREE char *path = NULL;
    size_t used;

    assert_ptr_equal(command_walk(words, 3, &path, &used), &command_container_ls);
    assert_string_equal(path, "pouch container ls");
    assert_int_equal(used, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long),   cmocka_unit_test(test_letters), cmocka_unit_test(test_ends),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_numbers), cmocka_unit_test(test_count),
        cmocka_unit_test(test_help),   cmocka_unit_test(test_tables),  cmocka_unit_test(test_walk),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);

    (void)parse("");
    options_free(table, &parse("")->o);
    return r;
}
