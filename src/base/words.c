/* SPDX-License-Identifier: Apache-2.0 */
/* Shell-like words: POSIX.1-2017, Shell Command Language, 2.2 Quoting. See words.h. */
#include "base/words.h"

#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/strv.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* What stands between double quotes; *p stands behind the opening one, and then on the closing. */
static int take_double(const char **p, struct buf *word)
{
    for (; **p && **p != '"'; (*p)++) {
        if (**p == '\\' && (*p)[1] && strchr("$`\"\\\n", (*p)[1])) {
            (*p)++;
            if (**p == '\n') /* the line goes on */
                continue;
        }
        (void)buf_putc(word, **p);
    }
    return **p ? 0 : -EINVAL;
}

/* One word; *p stands on its first byte and then behind it. */
static int take_word(const char **p, struct buf *word, const char **why)
{
    for (; **p && !is_blank(**p); (*p)++) {
        if (**p == '\'') {
            size_t n = strcspn(*p + 1, "'");

            *why = "a single quote is not closed";
            if (!(*p)[1 + n])
                return -EINVAL;
            (void)buf_append(word, *p + 1, n);
            *p += n + 1;
        } else if (**p == '"') {
            (*p)++;
            *why = "a double quote is not closed";
            if (take_double(p, word) < 0)
                return -EINVAL;
        } else if (**p == '\\') {
            (*p)++;
            *why = "it ends in a backslash";
            if (!**p)
                return -EINVAL;
            if (**p != '\n')
                (void)buf_putc(word, **p);
        } else {
            (void)buf_putc(word, **p);
        }
    }
    return 0;
}

int words_split(const char *text, char ***ret, struct error *e)
{
    AUTOPTR(strv) char **words = NULL;
    AUTO(buf) struct buf word = BUF_INIT(BUF_UNLIMITED);
    const char *why = NULL;
    size_t n = 0;

    for (const char *p = text;;) {
        while (is_blank(*p) || (p[0] == '\\' && p[1] == '\n'))
            p += *p == '\\' ? 2 : 1;
        if (!*p)
            break;
        if (take_word(&p, &word, &why) < 0)
            return error_set(e, ERR_INVALID, "\"%s\" cannot be split into words: %s", text, why);
        if (++n > WORDS_MAX)
            return error_set(e, ERR_INVALID, "more than %d words", WORDS_MAX);
        strv_push_take(&words, buf_take(&word));
    }
    *ret = take_ptr(words);
    return 0;
}

char *words_join(char *const *words)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);

    for (size_t i = 0; words && words[i]; i++) {
        if (i)
            (void)buf_putc(&out, ' ');
        if (*words[i] && !words[i][strcspn(words[i], " \t\n\r'\"\\")]) {
            (void)buf_puts(&out, words[i]);
            continue;
        }
        (void)buf_putc(&out, '\'');
        for (const char *p = words[i]; *p; p++) {
            if (*p == '\'')
                (void)buf_puts(&out, "'\\''");
            else
                (void)buf_putc(&out, *p);
        }
        (void)buf_putc(&out, '\'');
    }
    return buf_take(&out);
}
