/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing exit.json: by rename, so that who sees it sees all of it; without fsync, since the state
 * folder is in memory and a container does not outlive the machine.
 */
#include "monitor/monitor-priv.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/json.h"

int exit_file_write(const struct monitor_exit *x)
{
    AUTO(buf) struct buf b = BUF_INIT(4096);
    struct jsonw w = {.out = &b};

    jsonw_begin(&w, NULL);
    jsonw_int(&w, "exit_code", x->exit_code);
    jsonw_int(&w, "signal", x->signal);
    jsonw_bool(&w, "oom_killed", x->oom_killed);
    jsonw_int(&w, "started_ns", x->started_ns); /* numbers, since texts need the time zone file */
    jsonw_int(&w, "exited_ns", x->exited_ns);
    jsonw_uint(&w, "log_lost_bytes", x->log_lost_bytes);
    jsonw_uint(&w, "log_lost_lines", x->log_lost_lines);
    jsonw_int(&w, "error_code", x->error_code);
    jsonw_str(&w, "error", x->error);
    jsonw_end(&w);
    return fs_write_atomic(AT_FDCWD, MONITOR_EXIT_FILE, b.data, b.len, 0600, FS_NO_SYNC);
}
