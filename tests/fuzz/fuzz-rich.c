/* SPDX-License-Identifier: Apache-2.0 */
/* An image's inittab and /etc/environment, any environment, and the file that pouch-init reads. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/rich.h"
#include "init/init.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

/* Ours come after the image's, each line is whole, and no comment of the image's becomes one. */
static void check_inittab(enum rich_init kind, const char *text)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    const char *s;

    rich_text_inittab(&out, kind, text, true, true, 8);
    s = buf_str(&out);
    assert(strlen(s) == out.len && s[out.len - 1] == '\n');
    assert(count(s, "/run/pouch/init halted\n") >= 1);
    for (const char *p = s; *p; p += strcspn(p, "\n") + 1) {
        size_t len = strcspn(p, "\n");

        assert(p == s || memchr(p, ':', len));
    }
}

/* A shell reads back exactly the values. */
static void check_profile(char *const *env)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    const char *p;
    char **again = NULL;
    size_t k = 0;

    rich_text_profile(&out, env);
    p = buf_str(&out);
    while (*p) {
        AUTO(buf) struct buf one = BUF_INIT(BUF_UNLIMITED);

        assert(str_has_prefix(p, "export "));
        for (p += 7; *p != '='; p++)
            (void)buf_putc(&one, *p);
        (void)buf_putc(&one, *p++);
        while (*p != '\n') {
            if (*p == '\\') {
                assert(p[1] == '\'');
                (void)buf_putc(&one, '\'');
                p += 2;
                continue;
            }
            assert(*p == '\'');
            for (p++; *p != '\''; p++)
                (void)buf_putc(&one, *p);
            p++;
        }
        p++;
        strv_push(&again, buf_str(&one));
    }
    for (size_t i = 0; env && env[i] && again && again[k]; i++)
        k += STREQ(env[i], again[k]);
    assert(!again || !again[k]);
    strv_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    AUTOFREE char *copy = xmalloc(size + 1);
    AUTOPTR(strv) char **env = strv_split(text, "\x01", true);
    AUTO(buf) struct buf pam = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf manager = BUF_INIT(BUF_UNLIMITED);
    struct app_config c;

    if (size > 65536)
        return 0;
    check_inittab(RICH_INIT_SYSVINIT, text);
    check_inittab(RICH_INIT_BUSYBOX, text);
    check_profile(env);
    rich_text_pam(&pam, text, env);
    rich_text_systemd_env(&manager, env, 252);
    /* One variable, whatever its value: no line of it is a setting of its own. */
    for (const char *p = strchr(buf_str(&manager), '\n'); p && p[1]; p = strchr(p + 1, '\n'))
        assert(str_has_prefix(p + 1, "DefaultEnvironment=") || str_has_prefix(p + 1, "  \""));
    (void)rich_systemd_version(text);
    memcpy(copy, data, size);
    copy[size] = '\0';
    if (app_config_parse(copy, size + 1, &c) == 0) {
        assert(c.args && *c.args[0] && c.cwd[0] == '/' && c.halt_signal > 0 && c.stop_signal > 0);
        app_config_done(&c);
    }
    return 0;
}
