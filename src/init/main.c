/* SPDX-License-Identifier: Apache-2.0 */
/* pouch-init: what runs of Pouch inside of a rich container. */
#include "init/init.h"

#include <string.h>
#include <unistd.h>

#include "base/fs.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"boot", cmd_boot}, {"app", cmd_app},       {"reap", cmd_reap}, {"report", cmd_report},
    {"stop", cmd_stop}, {"halted", cmd_halted}, {"env", cmd_env},
};

int main(int argc, char **argv)
{
    static const char version[] = "pouch-init " POUCH_VERSION "\n";
    static const char usage[] =
        "usage: pouch-init -- COMMAND ARG...   run COMMAND as the child of a pid 1 that forwards\n"
        "                                      signals and reaps\n"
        "       pouch-init boot|app|report|stop|halted|env ...\n"
        "                                      used by Pouch inside of rich containers\n";

    if (argc == 2 && STREQ(argv[1], "--version"))
        return fs_write_all(STDOUT_FILENO, version, sizeof(version) - 1) < 0;
    if (argc > 2 && STREQ(argv[1], "--"))
        return cmd_reap(argc - 1, argv + 1);
    for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++)
        if (STREQ(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    (void)!fs_write_all(STDERR_FILENO, usage, sizeof(usage) - 1);
    return 125;
}
