/* SPDX-License-Identifier: Apache-2.0 */
/* The same texts as sh takes them apart: each row was checked with `sh -c 'for w; …'`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/strv.h"
#include "base/words.h"

static void test_split(void **state)
{
    static const struct {
        const char *text;
        const char *words; /* each word in <> */
    } rows[] = {
        {"", ""},
        {"  \t\n ", ""},
        {"a", "<a>"},
        {"  a  b\tc\nd ", "<a><b><c><d>"},
        {"'a b' c", "<a b><c>"},
        {"\"a b\" c", "<a b><c>"},
        {"a\\ b", "<a b>"},
        {"''", "<>"},
        {"\"\"", "<>"},
        {"a''b", "<ab>"},
        {"'a'\"b\"c", "<abc>"},
        {"'a\"b' \"c'd\"", "<a\"b><c'd>"},
        {"'a\\b'", "<a\\b>"},
        {"\"a\\b\"", "<a\\b>"},
        {"\"a\\\"b\\\\c\\$d\\`e\"", "<a\"b\\c$d`e>"},
        {"a\\\nb", "<ab>"},
        {"\"a\\\nb\"", "<ab>"},
        {"a \\\n b", "<a><b>"},
        {"\\'x\\\"", "<'x\">"},
        {"'it'\\''s'", "<it's>"},
        {"a=b;c|d>e&f*g?h~i#j$k", "<a=b;c|d>e&f*g?h~i#j$k>"},
        {"/bin/sh -c 'echo \"$X\" >/y' '' z", "</bin/sh><-c><echo \"$X\" >/y><><z>"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        AUTOPTR(strv) char **words = NULL;
        AUTO(buf) struct buf shown = BUF_INIT(4096);
        AUTOPTR(strv) char **again = NULL;
        AUTOFREE char *joined = NULL;

        assert_int_equal(words_split(rows[i].text, &words, NULL), 0);
        for (size_t j = 0; words && words[j]; j++)
            (void)buf_printf(&shown, "<%s>", words[j]);
        assert_string_equal(buf_str(&shown), rows[i].words);
        joined = words_join(words);
        assert_int_equal(words_split(joined, &again, NULL), 0);
        assert_true(strv_equal(words, again));
    }
}

static void test_refused(void **state)
{
    static const char *const rows[][2] = {
        {"'a", "single quote"},       {"a 'b c", "single quote"}, {"\"a", "double quote"},
        {"a\"b\\\"", "double quote"}, {"a\\", "backslash"},
    };
    AUTO(buf) struct buf many = BUF_INIT(65536);
    char **words = NULL;
    struct error e = ERROR_INIT;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(words_split(rows[i][0], &words, &e), -EINVAL);
        assert_non_null(strstr(error_message(&e), rows[i][1]));
        assert_null(words);
        error_done(&e);
    }
    for (size_t i = 0; i <= WORDS_MAX; i++)
        (void)buf_puts(&many, "w ");
    assert_int_equal(words_split(buf_str(&many), &words, &e), -EINVAL);
    error_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
