/* SPDX-License-Identifier: Apache-2.0 */
/* Rich containers without a container: requests, texts, and which init a tree has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/rich.h"

static char *const environment[] = {(char *)(uintptr_t) "PATH=/bin",
                                    (char *)(uintptr_t) "HOSTNAME=h",
                                    (char *)(uintptr_t) "TERM=xterm",
                                    (char *)(uintptr_t) "HOME=/x",
                                    (char *)(uintptr_t) "Q=it's \"q\" $x %h \\n",
                                    (char *)(uintptr_t) "L=a\nb",
                                    (char *)(uintptr_t) "H=a#b",
                                    (char *)(uintptr_t) "bad-name=1",
                                    (char *)(uintptr_t) "E=",
                                    NULL};

static void login_env(void **state)
{
    AUTOPTR(strv) char **v = rich_login_env(environment);

    assert_int_equal(strv_len(v), 6);
    assert_null(env_get(v, "HOSTNAME"));
    assert_null(env_get(v, "TERM"));
    assert_null(env_get(v, "HOME"));
}

static void profile(void **state)
{
    AUTOPTR(strv) char **v = rich_login_env(environment);
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);

    rich_text_profile(&b, v);
    assert_string_equal(buf_str(&b), "export PATH='/bin'\n"
                                     "export Q='it'\\''s \"q\" $x %h \\n'\n"
                                     "export L='a\nb'\n"
                                     "export H='a#b'\n"
                                     "export E=''\n");
}

/* What PAM would cut off is left out, what the image has stays first. */
static void pam(void **state)
{
    AUTOPTR(strv) char **v = rich_login_env(environment);
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf none = BUF_INIT(BUF_UNLIMITED);

    rich_text_pam(&b, "LANG=C", v);
    assert_string_equal(buf_str(&b), "LANG=C\n"
                                     "PATH=\"/bin\"\n"
                                     "Q=\"it's \"q\" $x %h \\n\"\n"
                                     "E=\"\"\n");
    rich_text_pam(&none, NULL, NULL);
    assert_int_equal(none.len, 0);
}

static void manager(void **state)
{
    AUTOPTR(strv) char **v = rich_login_env(environment);
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf old = BUF_INIT(BUF_UNLIMITED);

    rich_text_systemd_env(&b, v, 252);
    assert_non_null(strstr(buf_str(&b), "[Manager]\nDefaultEnvironment=\\\n  \"PATH=/bin\"\\\n"));
    assert_non_null(strstr(buf_str(&b), "\"Q=it's \\\"q\\\" $x %%h \\\\n\""));
    assert_non_null(strstr(buf_str(&b), "\"L=a\\nb\""));
    assert_null(strstr(buf_str(&b), "bad-name"));
    rich_text_systemd_env(&old, v, 241); /* which knew no specifiers there */
    assert_non_null(strstr(buf_str(&old), "$x %h "));
}

static void unit(void **state)
{
    struct container_definition def = {.id = ""};
    struct engine en = {.root = NULL};
    struct rich_unit u = {10, 8, 252, &def, &en};
    struct ulimit *l = json_list_add(&def.host_config.ulimits, sizeof(*l));
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf old = BUF_INIT(BUF_UNLIMITED);

    l->name = (char *)(uintptr_t) "nofile";
    l->soft = 1000;
    l->hard = -1;
    rich_text_unit(&b, &u);
    assert_non_null(strstr(buf_str(&b), "\nExecStart=/run/pouch/init app\n"));
    assert_non_null(strstr(buf_str(&b), "\nExecStopPost=-/run/pouch/init report "));
    assert_non_null(strstr(buf_str(&b), "\nKillSignal=10\n"));
    assert_non_null(strstr(buf_str(&b), "\nTimeoutStopSec=8s\n"));
    assert_non_null(strstr(buf_str(&b), "\nLimitNOFILE=1000:infinity\n"));
    u.version = 229;
    rich_text_unit(&old, &u);
    assert_non_null(strstr(buf_str(&old), "\nExecStart=/run/pouch/init app --wait\n"));
    assert_null(strstr(buf_str(&old), "ExecStopPost"));
    free(def.host_config.ulimits.items);
}

static void rc_conf(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf none = BUF_INIT(BUF_UNLIMITED);
    char *v[] = {(char *)"A=1", (char *)"B.C=2", (char *)"D=$(reboot)", NULL};

    rich_text_rc_conf(&b, "#rc_env_allow=\"X\"\nrc_env_allow=\"OLD\"\n rc_env_allow='E F`x`' # G",
                      v);
    assert_string_equal(buf_str(&b), "# Made by Pouch: services get the container's environment.\n"
                                     "rc_env_allow=\"E Fx  A D \"\n");
    rich_text_rc_conf(&none, "", NULL);
    assert_string_equal(buf_str(&none),
                        "# Made by Pouch: services get the container's environment.\n"
                        "rc_env_allow=\" \"\n");
}

static void inittab_sysv(void **state)
{
    static const char has[] = "# comment\n"
                              "id:2:initdefault:\n"
                              "si::sysinit:/etc/init.d/rcS\n"
                              "l0:0:wait:/etc/init.d/rc 0\n"
                              "~~:S:wait:+/sbin/sulogin\n"
                              "1:2345:respawn:/sbin/getty 38400 tty1\n"
                              "pf::powerwait:/etc/init.d/powerfail start\n"
                              "no colons";
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf plain = BUF_INIT(BUF_UNLIMITED);

    rich_text_inittab(&b, RICH_INIT_SYSVINIT, has, true, false, 8);
    assert_string_equal(strchr(buf_str(&b), '\n') + 1,
                        "id:2:initdefault:\n"
                        "si::sysinit:/run/pouch/init env /etc/init.d/rcS\n"
                        "l0:0:wait:/run/pouch/init env /etc/init.d/rc 0\n"
                        "~~:S:wait:+/sbin/sulogin\n"
                        "pcha:2345:once:/run/pouch/init app --wait\n"
                        "pchh:06:wait:/run/pouch/init halted\n"
                        "pchw::powerwait:/sbin/init -t 8 0\n");
    rich_text_inittab(&plain, RICH_INIT_SYSVINIT, NULL, false, false, 8);
    assert_null(strstr(buf_str(&plain), " app "));
    assert_non_null(strstr(buf_str(&plain), "halted"));
}

static void inittab_busybox(void **state)
{
    static const char has[] = "::sysinit:/etc/init.d/rcS\n"
                              "::askfirst:-/bin/sh\n"
                              "::respawn:-/bin/sh\n"
                              "tty1::respawn:/sbin/getty 38400 tty1\n"
                              "::shutdown:/bin/umount -a -r\n";
    AUTO(buf) struct buf b = BUF_INIT(BUF_UNLIMITED);
    AUTO(buf) struct buf none = BUF_INIT(BUF_UNLIMITED);

    rich_text_inittab(&b, RICH_INIT_BUSYBOX, has, true, true, 8);
    assert_string_equal(strchr(buf_str(&b), '\n') + 1,
                        "::shutdown:/run/pouch/init stop\n"
                        "::sysinit:/run/pouch/init env /etc/init.d/rcS\n"
                        "::respawn:-/bin/sh\n"
                        "::shutdown:/bin/umount -a -r\n"
                        "::once:/run/pouch/init app --wait\n"
                        "::shutdown:/run/pouch/init halted\n");
    /* Without a file busybox starts /etc/init.d/rcS by itself. */
    rich_text_inittab(&none, RICH_INIT_BUSYBOX, NULL, false, true, 8);
    assert_non_null(strstr(buf_str(&none), "env /etc/init.d/rcS\n"));
}

/* --- requests --------------------------------------------------------------------------------- */

static int validate(struct container_config *config, struct host_config *hc, const char *want)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    int r = rich_validate(config, hc, false, &e);

    if (r == 0)
        r = rich_validate(config, hc, true, &e);
    if (want) {
        assert_true(r < 0);
        if (!strstr(error_message(&e), want))
            fail_msg("\"%s\" is not in: %s", want, error_message(&e));
    } else if (r < 0) {
        fail_msg("refused: %s", error_message(&e));
    }
    json_free(&container_config_json, config);
    json_free(&host_config_json, hc);
    *config = (struct container_config){0};
    *hc = (struct host_config){0};
    return r;
}

static void requests(void **state)
{
    struct container_config c = {0};
    struct host_config hc = {0};

    (void)validate(&c, &hc, NULL);
    c.rich_mode = xstrdup("systemd");
    (void)validate(&c, &hc, "needs --rich");
    c.rich_exit = xstrdup("app");
    (void)validate(&c, &hc, "needs --rich");
    c.rich = true;
    c.rich_mode = xstrdup("sysv");
    (void)validate(&c, &hc, "unknown rich mode \"sysv\"");
    c.rich = true;
    c.rich_exit = xstrdup("init");
    (void)validate(&c, &hc, "dumb-init the application is all there is");
    c.rich = true;
    c.rich_mode = xstrdup("systemd");
    c.rich_exit = xstrdup("x");
    (void)validate(&c, &hc, "invalid --rich-exit");
    c.rich = true;
    hc.init = (struct opt_bool){true, true};
    (void)validate(&c, &hc, "--init");
    c.rich = true;
    hc.init = (struct opt_bool){true, false};
    (void)validate(&c, &hc, NULL);
    c.rich = true;
    hc.pid_mode = xstrdup("container:x");
    (void)validate(&c, &hc, "--pid");
    c.rich = true;
    hc.readonly_rootfs = true;
    (void)validate(&c, &hc, NULL); /* dumb-init writes nothing */
    c.rich = true;
    hc.runtime = xstrdup("runc");
    (void)validate(&c, &hc, "--runtime");
    json_map_set(&c.labels, "Rich", "yes");
    (void)validate(&c, &hc, "label Rich=yes");
}

static void labels(void **state)
{
    struct container_config c = {0};
    struct host_config hc = {0};

    json_map_set(&c.labels, "Rich", "true");
    json_map_set(&c.labels, "RichMode", "systemd");
    json_map_set(&c.labels, "RichExit", "init");
    c.rich_exit = xstrdup("app"); /* a field wins */
    assert_int_equal(rich_validate(&c, &hc, false, NULL), 0);
    assert_true(c.rich);
    assert_string_equal(c.rich_mode, "systemd");
    assert_string_equal(c.rich_exit, "app");
    json_free(&container_config_json, &c);
    json_free(&host_config_json, &hc);
    /* Those of the image are looked at when they are merged in; no programs come from there. */
    c = (struct container_config){.rich = true};
    assert_int_equal(rich_validate(&c, &hc, false, NULL), 0);
    json_map_set(&c.labels, "RichMode", "sbin-init");
    json_map_set(&c.labels, "InitScript", "host:/bin/sh");
    assert_int_equal(rich_validate(&c, &hc, true, NULL), 0);
    assert_string_equal(c.rich_mode, "sbin-init");
    assert_string_equal(c.rich_exit, "app");
    assert_null(c.init_script);
    json_free(&container_config_json, &c);
    json_free(&host_config_json, &hc);
}

static void volumes(void **state)
{
    char *declared[] = {(char *)"/run/", (char *)"/run",           (char *)"/tmp",
                        (char *)"/data", (char *)"/sys/fs/cgroup", NULL};
    struct container_config c = {.rich = true, .rich_mode = (char *)"systemd"};
    char **left = rich_volumes(&c, declared);

    assert_int_equal(strv_len(left), 1);
    assert_string_equal(left[0], "/data");
    strv_free(left);
    c.rich_mode = (char *)"sbin-init";
    left = rich_volumes(&c, declared);
    assert_int_equal(strv_len(left), 2); /* not every init wants a new /tmp */
    strv_free(left);
    c.rich_mode = (char *)"dumb-init";
    left = rich_volumes(&c, declared);
    assert_int_equal(strv_len(left), 5);
    strv_free(left);
}

/* --- trees ------------------------------------------------------------------------------------ */

struct tree {
    char path[64];
    int fd;
};

static int tree_new(void **state)
{
    struct tree *t = xcalloc(1, sizeof(*t));

    strcpy(t->path, "/tmp/pouch-rich-XXXXXX");
    assert_non_null(mkdtemp(t->path));
    t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(t->fd >= 0);
    *state = t;
    return 0;
}

static int tree_free(void **state)
{
    struct tree *t = *state;

    close(t->fd);
    (void)!fs_remove_tree(AT_FDCWD, t->path);
    free(t);
    return 0;
}

static void put(struct tree *t, const char *name, const char *content, mode_t mode)
{
    AUTOFREE char *path = xasprintf("%s/%s", t->path, name);
    AUTOFREE char *dir = xstrdup(path);

    *strrchr(dir, '/') = '\0';
    assert_int_equal(fs_mkdir_p(dir, 0755), 0);
    assert_int_equal(fs_write_atomic(AT_FDCWD, path, content, strlen(content), mode, FS_NO_SYNC),
                     0);
}

static void put_link(struct tree *t, const char *name, const char *target)
{
    AUTOFREE char *path = xasprintf("%s/%s", t->path, name);
    AUTOFREE char *dir = xstrdup(path);

    *strrchr(dir, '/') = '\0';
    assert_int_equal(fs_mkdir_p(dir, 0755), 0);
    (void)unlink(path);
    assert_int_equal(symlink(target, path), 0);
}

static void look(struct tree *t, enum rich_mode mode, const char *command, struct rich_image *ret)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;

    if (rich_image_inspect(t->fd, mode, "img", command, ret, &e) < 0)
        fail_msg("%s", error_message(&e));
}

static void missing(struct tree *t, enum rich_mode mode, const char *want)
{
    CLEANUP(error_done) struct error e = ERROR_INIT;
    struct rich_image i;

    assert_true(rich_image_inspect(t->fd, mode, "img", "sh", &i, &e) < 0);
    assert_int_equal(e.code, ERR_INVALID);
    assert_non_null(strstr(error_message(&e), want));
}

static void versions(void **state)
{
    assert_int_equal(rich_systemd_version("libsystemd-shared-252.so"), 252);
    assert_int_equal(rich_systemd_version("libsystemd-shared-239-58.el8.so"), 239);
    assert_int_equal(rich_systemd_version("libsystemd-shared-.so"), 0);
    assert_int_equal(rich_systemd_version("libsystemd.so.0"), 0);
    assert_true(rich_systemd_version("libsystemd-shared-99999999999999999999") < 10000000);
}

static void systemd_tree(void **state)
{
    struct tree *t = *state;
    struct rich_image i;

    missing(t, RICH_SYSTEMD, "image img has no systemd");
    missing(t, RICH_SBIN_INIT, "image img has no /sbin/init");
    put(t, "usr/lib/systemd/systemd", "x", 0644); /* no program */
    missing(t, RICH_SYSTEMD, "has no systemd");
    put(t, "usr/lib/systemd/systemd", "x", 0755);
    look(t, RICH_SYSTEMD, "sh", &i);
    assert_int_equal(i.systemd, 0);
    rich_image_done(&i);
    put(t, "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so", "", 0644);
    put(t, "etc/environment", "A=b\n", 0644);
    put(t, "etc/profile.d/x.sh", "", 0644);
    put_link(t, "sbin/init", "/usr/lib/systemd/systemd");
    look(t, RICH_SYSTEMD, "sh", &i);
    assert_int_equal(i.init, RICH_INIT_SYSTEMD);
    assert_int_equal(i.systemd, 252);
    assert_string_equal(i.path, "/usr/lib/systemd/systemd");
    assert_string_equal(i.environment, "A=b\n");
    assert_true(i.has_profile_d);
    assert_false(i.is_command);
    rich_image_done(&i);
    look(t, RICH_SYSTEMD, "/sbin/init", &i);
    assert_true(i.is_command);
    rich_image_done(&i);
    look(t, RICH_SBIN_INIT, "/usr/bin/thing", &i);
    assert_int_equal(i.init, RICH_INIT_SYSTEMD);
    assert_string_equal(i.path, "/sbin/init");
    rich_image_done(&i);
}

static void other_trees(void **state)
{
    struct tree *t = *state;
    struct rich_image i;

    put(t, "bin/busybox", "BusyBox v1.35 /dev/initctl", 0755);
    put_link(t, "sbin/init", "../bin/busybox");
    put(t, "etc/inittab", "::sysinit:x\n", 0644);
    look(t, RICH_SBIN_INIT, "sh", &i);
    assert_int_equal(i.init, RICH_INIT_BUSYBOX);
    assert_string_equal(i.inittab, "::sysinit:x\n");
    rich_image_done(&i);
    /* The command is another applet of the same file: that is no init. */
    put_link(t, "bin/sh", "busybox");
    look(t, RICH_SBIN_INIT, "/bin/sh", &i);
    assert_false(i.is_command);
    rich_image_done(&i);
    put(t, "sbin/init.real", "INIT: version /run/initctl", 0755);
    put_link(t, "sbin/init", "init.real");
    look(t, RICH_SBIN_INIT, "sh", &i);
    assert_int_equal(i.init, RICH_INIT_SYSVINIT);
    rich_image_done(&i);
    put(t, "sbin/openrc-init", "x", 0755);
    put_link(t, "sbin/init", "openrc-init");
    look(t, RICH_SBIN_INIT, "sh", &i);
    assert_int_equal(i.init, RICH_INIT_OPENRC);
    rich_image_done(&i);
    put(t, "sbin/runit-init", "#!/bin/sh\n", 0755);
    put_link(t, "sbin/init", "/sbin/runit-init");
    look(t, RICH_SBIN_INIT, "sh", &i);
    assert_int_equal(i.init, RICH_INIT_OTHER);
    rich_image_done(&i);
    /* dumb-init needs nothing. */
    look(t, RICH_DUMB_INIT, "/sbin/init", &i);
    assert_int_equal(i.init, RICH_INIT_NONE);
    assert_false(i.is_command);
    rich_image_done(&i);
}

/* Links lead to the tree's own files, never out of it; no pipe is waited for. */
static void hostile_tree(void **state)
{
    struct tree *t = *state;
    AUTOFREE char *fifo = xasprintf("%s/etc/environment", t->path);
    struct rich_image i;

    put_link(t, "sbin/init", "/../../../../../../../../bin/sh");
    missing(t, RICH_SBIN_INIT, "has no /sbin/init");
    put_link(t, "sbin/init", "/proc/self/exe");
    missing(t, RICH_SBIN_INIT, "has no /sbin/init");
    put_link(t, "sbin/init", "init");
    missing(t, RICH_SBIN_INIT, "has no /sbin/init");
    put_link(t, "lib", "/lib");
    put_link(t, "usr/lib", "/usr/lib");
    missing(t, RICH_SYSTEMD, "has no systemd");
    put_link(t, "etc/inittab", "/etc/passwd");
    assert_int_equal(mkfifo(fifo, 0644), 0);
    put_link(t, "sbin/init", "/bin/busybox");
    put(t, "bin/busybox", "x", 0755);
    look(t, RICH_SBIN_INIT, "sh", &i);
    assert_null(i.inittab);
    assert_null(i.environment);
    rich_image_done(&i);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(login_env),
        cmocka_unit_test(profile),
        cmocka_unit_test(pam),
        cmocka_unit_test(manager),
        cmocka_unit_test(unit),
        cmocka_unit_test(rc_conf),
        cmocka_unit_test(volumes),
        cmocka_unit_test(inittab_sysv),
        cmocka_unit_test(inittab_busybox),
        cmocka_unit_test(requests),
        cmocka_unit_test(labels),
        cmocka_unit_test(versions),
        cmocka_unit_test_setup_teardown(systemd_tree, tree_new, tree_free),
        cmocka_unit_test_setup_teardown(other_trees, tree_new, tree_free),
        cmocka_unit_test_setup_teardown(hostile_tree, tree_new, tree_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
