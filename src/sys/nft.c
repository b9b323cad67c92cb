/* SPDX-License-Identifier: Apache-2.0 */
/* nftables: rule sets by the nft program, elements by netlink. See nft.h. */
#include "sys/nft.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libmnl/libmnl.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/strv.h"

#define NFT_OUTPUT_MAX   65536
#define ELEMENT_MAX      256 /* bytes of one element in a message */
#define ELEMENTS_AT_A_GO 200 /* a nest holds 64 KiB */
#define WATCH_BUFFER     (4 << 20)

/* --- the nft program ------------------------------------------------------------------------ */

char *nft_find_program(void)
{
    const char *path = getenv("PATH");
    AUTOFREE char *all = xasprintf("%s:/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin",
                                   path ? path : "");
    AUTOPTR(strv) char **folders = strv_split(all, ":", true);

    for (size_t i = 0; folders && folders[i]; i++) {
        AUTOFREE char *program = xasprintf("%s/nft", folders[i]);
        if (folders[i][0] == '/' && access(program, X_OK) == 0)
            return take_ptr(program);
    }
    return NULL;
}

/* Starts nft with a socket pair as stdin and a pipe as stdout and stderr. */
static int spawn_nft(const char *program, int in, int out, pid_t *ret)
{
    static const char *const argv[] = {"nft", "-f", "-", NULL};
    static const char *const envp[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, out, 2);
    int r = posix_spawn(ret, program, &actions, &attr, (char *const *)argv, (char *const *)envp);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return -r;
}

/* Writes text to nft and reads what it says, both at once so that neither side waits. */
static int exchange(int in, int out, const char *text, struct buf *said)
{
    AUTOFD int writing = in;
    size_t left = strlen(text);

    while (true) {
        struct pollfd fds[2] = {{out, POLLIN, 0}, {writing, POLLOUT, 0}};
        if (poll(fds, writing >= 0 ? 2 : 1, -1) < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (writing >= 0 && fds[1].revents) {
            ssize_t n = send(writing, text, left, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                left = 0; /* it has gone: its exit status says why */
            else if (n > 0) {
                text += n;
                left -= (size_t)n;
            }
            if (left == 0) {
                close(writing);
                writing = -EBADF;
            }
        }
        if (fds[0].revents) {
            char chunk[4096];
            ssize_t n = read(out, chunk, sizeof(chunk));
            if (n == 0)
                return 0;
            if (n < 0 && errno != EINTR)
                return -errno;
            if (n > 0)
                (void)buf_append(said, chunk, (size_t)n); /* more than the maximum is not read */
        }
    }
}

int nft_run(const char *program, const char *text, struct error *e)
{
    AUTO(buf) struct buf said = BUF_INIT(NFT_OUTPUT_MAX);
    int pair[2], out[2], status;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(e, errno, "nft");
    AUTOFD int in = pair[0];
    AUTOFD int in_child = pair[1];
    if (pipe2(out, O_CLOEXEC) < 0)
        return error_set_errno(e, errno, "nft");
    AUTOFD int out_own = out[0];
    AUTOFD int out_child = out[1];
    int r = spawn_nft(program, in_child, out_child, &pid);
    if (r < 0)
        return error_set(e, ERR_UNAVAILABLE, "%s can not be started: %s", program, strerror(-r));
    close(take_fd(in_child));
    close(take_fd(out_child));
    r = exchange(take_fd(in), out_own, text, &said);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return error_set_errno(e, errno, "%s: its end was not seen", program);
    if (r < 0)
        return error_set_errno(e, r, "%s", program);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    const char *words = said.len ? buf_str(&said) : "no reason given";
    return error_set(e, ERR_INTERNAL, "%s refused the rules: %.*s", program,
                     (int)strcspn(words, "\n"), words);
}

/* --- transactions --------------------------------------------------------------------------- */

/* Starts a message of nf_tables for the inet family (or another). */
static struct nlmsghdr *nft_start(struct nl_batch *b, uint8_t type, uint16_t flags, uint8_t family,
                                  size_t max)
{
    struct nlmsghdr *h = nl_batch_start(b, (uint16_t)((NFNL_SUBSYS_NFTABLES << 8) | type), flags,
                                        max);
    struct nfgenmsg *g = nl_batch_extra(h, sizeof(*g));

    g->nfgen_family = family;
    g->version = NFNETLINK_V0;
    return h;
}

/* The marks around a transaction. They are no requests: `last` stays on the last real one. */
static void transaction_mark(struct nl_batch *b, uint16_t type)
{
    size_t last = b->last;
    struct nlmsghdr *h = nl_batch_start(b, type, 0, NL_MESSAGE_MAX);
    struct nfgenmsg *g = nl_batch_extra(h, sizeof(*g));

    g->version = NFNETLINK_V0;
    g->res_id = htons(NFNL_SUBSYS_NFTABLES);
    nl_batch_finish(b, h);
    if (type == NFNL_MSG_BATCH_END)
        b->last = last;
}

static void put_element(struct nlmsghdr *h, const struct nft_element *item, bool with_data)
{
    struct nlattr *elem = mnl_attr_nest_start(h, NFTA_LIST_ELEM);
    struct nlattr *key = mnl_attr_nest_start(h, NFTA_SET_ELEM_KEY);

    mnl_attr_put(h, NFTA_DATA_VALUE, item->key_len, item->key);
    mnl_attr_nest_end(h, key);
    if (with_data && item->data_len) {
        struct nlattr *data = mnl_attr_nest_start(h, NFTA_SET_ELEM_DATA);
        mnl_attr_put(h, NFTA_DATA_VALUE, item->data_len, item->data);
        mnl_attr_nest_end(h, data);
    }
    mnl_attr_nest_end(h, elem);
}

/* A message for each run of elements of one set, not longer than a nest may be. */
static int elements_run(int fd, uint8_t type, uint16_t flags, const char *table,
                        const struct nft_element *items, size_t n, struct nl_failure *failure)
{
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    bool adding = type == NFT_MSG_NEWSETELEM;

    if (n == 0)
        return 0;
    transaction_mark(&b, NFNL_MSG_BATCH_BEGIN);
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && end - i < ELEMENTS_AT_A_GO && STREQ(items[i].set, items[end].set))
            end++;
        struct nlmsghdr *h = nft_start(&b, type, flags, NFPROTO_INET,
                                       NL_MESSAGE_MAX + (end - i) * ELEMENT_MAX);
        mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, table);
        mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, items[i].set);
        struct nlattr *list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
        for (; i < end; i++)
            put_element(h, &items[i], adding);
        mnl_attr_nest_end(h, list);
        nl_batch_finish(&b, h);
    }
    transaction_mark(&b, NFNL_MSG_BATCH_END);
    return nl_batch_run(fd, &b, failure);
}

int nft_elements_add(int fd, const char *table, const struct nft_element *items, size_t n,
                     struct nl_failure *failure)
{
    return elements_run(fd, NFT_MSG_NEWSETELEM, NLM_F_CREATE, table, items, n, failure);
}

int nft_elements_del(int fd, const char *table, const struct nft_element *items, size_t n,
                     struct nl_failure *failure)
{
    return elements_run(fd, NFT_MSG_DELSETELEM, 0, table, items, n, failure);
}

int nft_table_del(int fd, const char *table)
{
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;

    transaction_mark(&b, NFNL_MSG_BATCH_BEGIN);
    struct nlmsghdr *h = nft_start(&b, NFT_MSG_DELTABLE, 0, NFPROTO_INET, NL_MESSAGE_MAX);
    mnl_attr_put_strz(h, NFTA_TABLE_NAME, table);
    nl_batch_finish(&b, h);
    transaction_mark(&b, NFNL_MSG_BATCH_END);
    return nl_batch_run(fd, &b, NULL);
}

/* --- reading -------------------------------------------------------------------------------- */

/* The attribute that holds the table's name is number 1 in messages of every kind. */
_Static_assert(NFTA_TABLE_NAME == 1 && NFTA_CHAIN_TABLE == 1 && NFTA_RULE_TABLE == 1 &&
                   NFTA_SET_TABLE == 1 && NFTA_SET_ELEM_LIST_TABLE == 1,
               "the table's name");

static const struct nlattr *find_attr(const struct nlmsghdr *h, uint16_t type)
{
    const struct nlattr *attr;

    mnl_attr_for_each(attr, h, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) == type)
            return attr;
    }
    return NULL;
}

/* A text attribute, "" when absent or not terminated. */
static const char *attr_text(const struct nlattr *attr)
{
    if (!attr || mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0)
        return "";
    return mnl_attr_get_str(attr);
}

static bool is_of_table(const struct nlmsghdr *h, const char *table)
{
    const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);

    return mnl_nlmsg_get_payload_len(h) >= sizeof(*g) && g->nfgen_family == NFPROTO_INET &&
           STREQ(attr_text(find_attr(h, NFTA_TABLE_NAME)), table);
}

struct counting {
    const char *table;
    size_t n;
};

static int count_message(const struct nlmsghdr *h, void *data)
{
    struct counting *c = data;

    if (is_of_table(h, c->table))
        c->n++;
    return 0;
}

static int count_objects(int fd, uint8_t type, const char *table, size_t *ret)
{
    struct counting c = {table, 0};
    struct nfgenmsg g = {.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0};
    int r = -EINTR;

    for (int i = 0; i < 20 && r == -EINTR; i++) {
        c.n = 0;
        r = nl_dump(fd, (uint16_t)((NFNL_SUBSYS_NFTABLES << 8) | type), &g, sizeof(g),
                    count_message, &c);
    }
    *ret = c.n;
    return r;
}

int nft_census_take(int fd, const char *table, struct nft_census *ret)
{
    int r = count_objects(fd, NFT_MSG_GETCHAIN, table, &ret->chains);

    if (r >= 0)
        r = count_objects(fd, NFT_MSG_GETRULE, table, &ret->rules);
    if (r >= 0)
        r = count_objects(fd, NFT_MSG_GETSET, table, &ret->sets);
    return r;
}

struct listing {
    const char *set;
    void (*cb)(const struct nft_element *item, void *data);
    void *data;
};

/* The value of a nested NFTA_DATA_VALUE: its length, 0 when there is none that fits. */
static size_t data_value(const struct nlattr *nest, uint8_t *out, size_t max)
{
    const struct nlattr *attr;

    mnl_attr_for_each_nested(attr, nest)
    {
        if (mnl_attr_get_type(attr) != NFTA_DATA_VALUE)
            continue;
        size_t len = mnl_attr_get_payload_len(attr);
        if (len > max)
            return 0;
        memcpy(out, mnl_attr_get_payload(attr), len);
        return len;
    }
    return 0;
}

static int list_message(const struct nlmsghdr *h, void *data)
{
    const struct listing *l = data;
    const struct nlattr *list = find_attr(h, NFTA_SET_ELEM_LIST_ELEMENTS);
    const struct nlattr *elem, *attr;

    if (!list)
        return 0;
    mnl_attr_for_each_nested(elem, list)
    {
        struct nft_element item = {.set = l->set};
        mnl_attr_for_each_nested(attr, elem)
        {
            if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_KEY)
                item.key_len = data_value(attr, item.key, sizeof(item.key));
            else if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_DATA)
                item.data_len = data_value(attr, item.data, sizeof(item.data));
        }
        if (item.key_len)
            l->cb(&item, l->data);
    }
    return 0;
}

int nft_elements_list(int fd, const char *table, const char *set,
                      void (*cb)(const struct nft_element *item, void *data), void *data)
{
    CLEANUP(nl_batch_done) struct nl_batch b = NL_BATCH_INIT;
    struct listing l = {set, cb, data};
    const uint16_t type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETSETELEM;
    struct nlmsghdr *h = nft_start(&b, NFT_MSG_GETSETELEM, 0, NFPROTO_INET, NL_MESSAGE_MAX);

    mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, table);
    mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, set);
    return nl_dump(fd, type, mnl_nlmsg_get_payload(h), mnl_nlmsg_get_payload_len(h), list_message,
                   &l);
}

struct drops {
    void (*cb)(const char *family, const char *table, const char *chain, void *data);
    void *data;
};

static int look_for_drop(const struct nlmsghdr *h, void *data)
{
    const struct drops *d = data;
    const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
    const struct nlattr *policy = find_attr(h, NFTA_CHAIN_POLICY);
    const struct nlattr *hook = find_attr(h, NFTA_CHAIN_HOOK);
    const struct nlattr *attr;
    const char *family = g->nfgen_family == NFPROTO_IPV4   ? "ip"
                         : g->nfgen_family == NFPROTO_IPV6 ? "ip6"
                         : g->nfgen_family == NFPROTO_INET ? "inet"
                                                           : NULL;

    if (!policy || !hook || !family || mnl_attr_validate(policy, MNL_TYPE_U32) < 0 ||
        ntohl(mnl_attr_get_u32(policy)) != NF_DROP)
        return 0;
    mnl_attr_for_each_nested(attr, hook)
    {
        if (mnl_attr_get_type(attr) == NFTA_HOOK_HOOKNUM &&
            mnl_attr_validate(attr, MNL_TYPE_U32) >= 0 &&
            ntohl(mnl_attr_get_u32(attr)) == NF_INET_FORWARD)
            d->cb(family, attr_text(find_attr(h, NFTA_CHAIN_TABLE)),
                  attr_text(find_attr(h, NFTA_CHAIN_NAME)), d->data);
    }
    return 0;
}

int nft_forward_drops(int fd,
                      void (*cb)(const char *family, const char *table, const char *chain,
                                 void *data),
                      void *data)
{
    struct drops d = {cb, data};
    struct nfgenmsg g = {.nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0};

    return nl_dump(fd, (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN, &g, sizeof(g), look_for_drop,
                   &d);
}

/* --- watching ------------------------------------------------------------------------------- */

int nft_watch_open(void)
{
    AUTOFD int fd = nl_open(NETLINK_NETFILTER);
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1U << (NFNLGRP_NFTABLES - 1)};
    int size = WATCH_BUFFER;

    if (fd < 0)
        return fd;
    /* A firewall's reload may say much at once; without the right to it the default must do. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -errno;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return take_fd(fd);
}

static size_t count_elements(const struct nlmsghdr *h)
{
    const struct nlattr *list = find_attr(h, NFTA_SET_ELEM_LIST_ELEMENTS);
    const struct nlattr *attr;
    size_t n = 0;

    if (list)
        mnl_attr_for_each_nested(attr, list) n++;
    return n;
}

static void take_notice(const struct nlmsghdr *h, const char *table, struct nft_changes *ret)
{
    if (NFNL_SUBSYS_ID(h->nlmsg_type) != NFNL_SUBSYS_NFTABLES)
        return;
    switch (NFNL_MSG_TYPE(h->nlmsg_type)) {
    case NFT_MSG_DELSETELEM:
        if (is_of_table(h, table))
            ret->elements += count_elements(h);
        break;
    case NFT_MSG_DELTABLE:
    case NFT_MSG_DELCHAIN:
    case NFT_MSG_DELRULE:
    case NFT_MSG_DELSET:
        if (is_of_table(h, table))
            ret->base = true;
        break;
    default:
        break;
    }
}

int nft_watch_read(int fd, const char *table, struct nft_changes *ret)
{
    AUTOFREE char *buf = xmalloc(65536);

    *ret = (struct nft_changes){0};
    while (true) {
        ssize_t n = recv(fd, buf, 65536, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0 && errno == ENOBUFS) {
            ret->lost = true;
            continue;
        }
        if (n < 0)
            return -errno;
        int left = (int)n;
        for (struct nlmsghdr *h = (void *)buf; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
            take_notice(h, table, ret);
    }
}
