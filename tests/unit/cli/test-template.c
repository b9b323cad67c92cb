/* SPDX-License-Identifier: Apache-2.0 */
/* Templates: what people type after --format, checked against what Go prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/template.h"

static const char data_text[] =
    "{\"Id\":\"abc\",\"Name\":\"/web\",\"State\":{\"Status\":\"running\",\"Pid\":42,\"Paused\":false,"
    "\"Health\":null},\"Config\":{\"Env\":[\"A=1\",\"B=2\"],\"Labels\":{\"z\":\"last\",\"a\":\"first\"},"
    "\"Cmd\":[\"sh\",\"-c\",\"true\"],\"Entrypoint\":null,\"Volumes\":null},\"Unknown\":null,\"Ports\":{\"80/tcp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":"
    "\"8080\"}],\"90/tcp\":null},\"Size\":1.5,\"Empty\":[],\"Html\":\"<a&b>\"}";

static char *run(const char *text, struct error *e)
{
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTOPTR(template) struct template *t = NULL;
    struct buf out = BUF_INIT(1 << 20);
    struct template_data data = {0};

    assert_int_equal(json_value_parse(data_text, strlen(data_text), &v, NULL), 0);
    data.json = v;
    if (template_parse(text, &t, e) < 0 || template_execute(t, &data, &out, e) < 0) {
        buf_done(&out);
        return NULL;
    }
    return buf_take(&out);
}

static void test_results(void **state)
{
    static const char *const cases[][2] = {
        {"plain", "plain"},
        {"", ""},
        {"{{.Id}}", "abc"},
        {"{{ .State.Pid }}", "42"},
        {"{{$.Id}}-{{.State.Paused}}", "abc-false"},
        {"{{.Config.Env}}", "[A=1 B=2]"},
        {"{{.Config.Labels}}", "map[a:first z:last]"},
        {"{{.State.Health}}", "<nil>"},
        {"{{.State.PID}}", "42"},
        {"{{.Config.Entrypoint}} {{.Config.Volumes}} {{.Unknown}}", "[] map[] <no value>"},
        {"{{json .Config.Entrypoint}} {{len .Config.Entrypoint}}", "null 0"},
        {"{{.Size}}", "1.5"},
        {"{{json .Config}}",
         "{\"Env\":[\"A=1\",\"B=2\"],\"Labels\":{\"z\":\"last\",\"a\":\"first\"},\"Cmd\":[\"sh\","
         "\"-c\",\"true\"],\"Entrypoint\":null,\"Volumes\":null}"},
        {"{{json .Html}}", "\"<a&b>\""},
        {"{{.Config.Cmd | json}}", "[\"sh\",\"-c\",\"true\"]"},
        {"{{index .Config.Labels \"z\"}}", "last"},
        {"{{index .Config.Labels \"none\"}}", ""},
        {"{{index .Config.Cmd 1}}", "-c"},
        {"{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"},
        {"{{(index .Config.Env 0)}}", "A=1"},
        {"{{join .Config.Cmd \" \"}}", "sh -c true"},
        {"{{range .Config.Env}}[{{.}}]{{end}}", "[A=1][B=2]"},
        {"{{range $i, $e := .Config.Env}}{{$i}}:{{$e}} {{end}}", "0:A=1 1:B=2 "},
        {"{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=first;z=last;"},
        {"{{range .Empty}}x{{else}}nothing{{end}}", "nothing"},
        {"{{range $p, $c := .Ports}}{{$p}} {{if $c}}{{(index $c 0).HostPort}}{{else}}-{{end}} {{end}}",
         "80/tcp 8080 90/tcp - "},
        {"{{range 3}}{{.}}{{end}}", "012"},
        {"{{if .State.Paused}}p{{else if eq .State.Status \"running\"}}r{{else}}x{{end}}", "r"},
        {"{{if and .Id (not .State.Paused)}}yes{{end}}", "yes"},
        {"{{if or .State.Paused .Empty}}yes{{else}}no{{end}}", "no"},
        {"{{with .State}}{{.Status}}{{end}}", "running"},
        {"{{with .State.Health}}{{.Status}}{{else}}none{{end}}", "none"},
        {"{{$x := .Id}}{{$x}}{{$x = \"new\"}}{{$x}}", "abcnew"},
        {"{{with $y := .Name}}{{$y}}{{end}}", "/web"},
        {"{{len .Config.Env}} {{len .Id}} {{len .Ports}}", "2 3 2"},
        {"{{printf \"%s is %d %v %q %t|%-5s|%5d|%05d|%x|%.1f|%%\" .Id .State.Pid .Config.Env .Id "
         "true .Id 7 7 255 .Size}}",
         "abc is 42 [A=1 B=2] \"abc\" true|abc  |    7|00007|ff|1.5|%"},
        {"{{println .Id 1}}", "abc 1\n"},
        {"{{print 1 2 \"a\" \"b\"}}", "1 2ab"},
        {"{{upper .Id}}{{lower \"ABC\"}}{{title \"ab cd\"}}", "ABCabcAb Cd"},
        {"{{slice .Id 1}} {{slice .Id 0 2}}", "bc ab"},
        {"{{truncate .State.Status 3}}|{{pad .Id 1 2}}|", "run| abc  |"},
        {"{{range split \"a,b\" \",\"}}<{{.}}>{{end}}", "<a><b>"},
        {"{{eq .Id \"x\" \"abc\"}} {{ne 1 2}} {{lt 1 2}} {{ge 2 2}} {{gt 1.5 1}}",
         "true true true true true"},
        {"a {{- .Id -}} b", "aabcb"},
        {"a{{/* a comment */}}b", "ab"},
        {"{{`raw \\n`}} {{\"tab\\there\"}}", "raw \\n tab\there"},
        {"{{'a'}} {{-3}} {{0x10}} {{nil | json}}", "97-3 16 null"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases) - 1; i++) {
        AUTO(error) struct error e = ERROR_INIT;
        AUTOFREE char *got = run(cases[i][0], &e);

        if (!got)
            print_message("%s: %s\n", cases[i][0], error_message(&e));
        assert_non_null(got);
        assert_string_equal(got, cases[i][1]);
    }
}

static void test_failures(void **state)
{
    static const char *const cases[][2] = {
        {"{{.Id", "unclosed action"},
        {"{{", "unclosed action"},
        {"{{if .Id}}x", "unexpected EOF"},
        {"{{end}}", "unexpected {{end}}"},
        {"{{else}}", "unexpected {{else}}"},
        {"{{nope .Id}}", "function \"nope\" not defined"},
        {"{{.Id | .Name}}", "non executable command"},
        {"{{\"abc}}", "unterminated quoted string"},
        {"{{(.Id}}", "unclosed left paren"},
        {"{{/* x}}", "unclosed comment"},
        {"{{}}", "missing value"},
        {"{{.Id}", "unexpected"},
        {"{{.Nope}}", "map has no entry for key \"Nope\""},
        {"{{.Id.Nope}}", "can't evaluate field Nope"},
        {"{{.State.Health.Status}}", "nil pointer"},
        {"{{$nope}}", "undefined variable \"$nope\""},
        {"{{index .Config.Cmd 9}}", "index out of range"},
        {"{{index .Config.Cmd \"x\"}}", "cannot index"},
        {"{{len 5}}", "len of"},
        {"{{lt 1 \"a\"}}", "incompatible types"},
        {"{{not}}", "wrong number of args"},
        {"{{.Id .Name}}", "can't give argument to non-function"},
        {"{{range .Id}}{{end}}", "range can't iterate"},
        {"{{range 3000}}{{range 3000}}{{if .}}{{end}}{{end}}{{end}}", "it runs for too long"},
        {"{{range 100000}}{{printf \"%1000d\" 1}}{{end}}", "the result is too long"},
        {"{{((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))))}}",
         "nested too deeply"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTO(error) struct error e = ERROR_INIT;
        AUTOFREE char *got = run(cases[i][0], &e);

        assert_null(got);
        if (!strstr(error_message(&e), cases[i][1]))
            print_message("%s: %s\n", cases[i][0], error_message(&e));
        assert_non_null(strstr(error_message(&e), cases[i][1]));
    }
}

static void test_row(void **state)
{
    static const char *const names[] = {"ID", "Names", "Labels", NULL};
    static const char *const values[] = {"abc", NULL, "a=b", NULL};
    AUTOPTR(json_value) struct json_value *labels = NULL;
    AUTOPTR(template) struct template *t = NULL;
    AUTO(buf) struct buf out = BUF_INIT(4096);
    AUTO(error) struct error e = ERROR_INIT;
    struct template_row row = {names, values, NULL};
    struct template_data data = {.row = &row};

    assert_int_equal(json_value_parse("{\"a\":\"b\"}", 9, &labels, NULL), 0);
    row.labels = labels;
    assert_int_equal(template_parse("{{.ID}}|{{.Names}}|{{.Label \"a\"}}|{{.Label \"q\"}}|"
                                    "{{json .}}|{{if .Names}}x{{end}}",
                                    &t, &e),
                     0);
    assert_int_equal(template_execute(t, &data, &out, &e), 0);
    assert_string_equal(out.data, "abc||b||{\"ID\":\"abc\",\"Labels\":\"a=b\",\"Names\":\"\"}|");
    template_free(t);
    t = NULL;
    assert_int_equal(template_parse("{{.Nope}}", &t, &e), 0);
    assert_true(template_execute(t, &data, &out, &e) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
