/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pouch-image: the worker that reads what comes from outside (registries, archives). Started by
 * pouchd for one operation, with a socket as fd 3; gives up its rights, then does as `start` says.
 *
 *     pouch-image --uid UID --gid GID
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/str.h"
#include "image/worker/worker.h"

/* What there is to do; one of the functions is set. */
static const struct operation {
    const char *name;
    bool limited; /* what it inflates may be limited */
    int (*alone)(const struct worker_msg *start, struct error *e);
    int (*reads)(const struct worker_msg *start, int input, struct error *e);
    int (*writes)(const struct worker_msg *start, int input, int extra, struct error *e);
    bool may_lack_extra;
} operations[] = {
    {.name = "check", .reads = worker_check},
    {.name = "commit", .writes = worker_commit, .may_lack_extra = true},
    {.name = "compress", .writes = worker_compress},
    {.name = "hash", .alone = worker_hash},
    {.name = "import", .reads = worker_import, .limited = true},
    {.name = "journal", .writes = worker_journal, .may_lack_extra = true},
    {.name = "load", .reads = worker_load, .limited = true},
    {.name = "login", .alone = worker_login},
    {.name = "manifest", .alone = worker_manifest},
    {.name = "manifest-push", .alone = worker_manifest_push},
    {.name = "pull", .alone = worker_pull, .limited = true},
    {.name = "push", .alone = worker_push},
    {.name = "rebuild", .writes = worker_rebuild, .may_lack_extra = true},
    {.name = "referrers", .alone = worker_referrers},
    {.name = "search", .alone = worker_search},
    {.name = "tags", .alone = worker_tags},
};

static int run(const struct worker_msg *start, int input, int extra, struct error *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        const struct operation *o = &operations[i];
        if (!start->op || !STREQ(start->op, o->name))
            continue;
        if (o->limited)
            inflate_limit(start->max_size);
        if (o->alone)
            return o->alone(start, e);
        if (o->reads && input >= 0)
            return o->reads(start, input, e);
        if (o->writes && input >= 0 && (extra >= 0 || o->may_lack_extra))
            return o->writes(start, input, extra, e);
    }
    return error_set(e, ERR_INTERNAL, "the image worker got an unknown operation");
}

static int work(struct error *e)
{
    struct worker_msg start = {0};
    int fds[WORKER_FDS_MAX];
    size_t nfds = 0;

    if (worker_msg_recv(WORKER_SOCKET_FD, &start, fds, &nfds) <= 0 || !STREQ(start.type, "start"))
        return error_set(e, ERR_INTERNAL, "the image worker got no operation");
    int r = conn_start(WORKER_SOCKET_FD, e);
    if (r < 0)
        return r;
    if (start.stall_timeout == 0)
        start.stall_timeout = 30;
    /* The first fd is the list of endpoints when the start message names a host. */
    size_t used = !str_is_empty(start.host) && nfds > 0 ? 1 : 0;
    if (used > 0)
        r = registry_use_plan(fds[0], e);
    if (r >= 0)
        r = run(&start, nfds > used ? fds[used] : -EBADF, nfds > used + 1 ? fds[used + 1] : -EBADF,
                e);
    if (r < 0)
        return r;
    return conn_send(&(struct worker_msg){.type = (char *)"done"}, e);
}

/* The value of an option that is a number; 0 when it is absent. */
static unsigned number_option(int argc, char **argv, const char *name)
{
    uint64_t n;

    for (int i = 1; i + 1 < argc; i++)
        if (STREQ(argv[i], name) && parse_u64(argv[i + 1], &n) == 0 && n < UINT32_MAX)
            return (unsigned)n;
    return 0;
}

/* --help and --version; anything else is pouchd's business. */
static bool answered(int argc, char **argv)
{
    if (argc == 2 && STREQ(argv[1], "--help"))
        (void)printf("usage: pouch-image --uid UID --gid GID\n\n"
                     "Started by pouchd for a pull, load or import: reads registries and archives "
                     "without any\nright, and hands over what it found. Not for use by hand.\n");
    else if (argc == 2 && STREQ(argv[1], "--version"))
        (void)printf("pouch-image %s\n", POUCH_VERSION);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    AUTO(error) struct error e = ERROR_INIT;

    if (answered(argc, argv))
        return 0;
    for (int i = 1; i < argc; i++)
        if (STREQ(argv[i], "--gpgv"))
            return gpgv_exec(number_option(argc, argv, "--uid"),
                             number_option(argc, argv, "--gid"));
    (void)signal(SIGPIPE, SIG_IGN);
    /* Names in pax headers are UTF-8; libarchive hands them out in the locale's encoding. */
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        (void)setlocale(LC_CTYPE, "en_US.UTF-8");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int r = sandbox_enter(number_option(argc, argv, "--uid"), number_option(argc, argv, "--gid"),
                          &e);
    if (r >= 0)
        r = work(&e);
    if (r >= 0)
        _exit(0); /* nothing to tidy up, and what libraries do at exit is not allowed any more */
    struct worker_msg m = {.type = (char *)"failed",
                           .code = e.code,
                           .errnum = e.errnum ? e.errnum : -r,
                           .message = (char *)error_message(&e)};
    if (worker_msg_send(WORKER_SOCKET_FD, &m, NULL, 0) < 0)
        (void)fprintf(stderr, "pouch-image: %s\n", error_message(&e));
    _exit(1); /* threads of other layers may still be at it */
}
