/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name files of a container: hosts, hostname, resolv.conf, with Docker's rules about what is
 * taken over from the host.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "network/network.h"

#define HOST_FILE_MAX   (1 << 20)
#define HOST_RESOLV     "/etc/resolv.conf"
#define HOST_HOSTS      "/etc/hosts"
#define RESOLVED_RESOLV "/run/systemd/resolve/resolv.conf"

static const char *const fallback_servers[] = {"8.8.8.8", "8.8.4.4", NULL};

/* --- hosts ---------------------------------------------------------------------------------- */

static bool is_ip(const char *text)
{
    struct in6_addr addr;

    return inet_pton(AF_INET, text, &addr) == 1 || inet_pton(AF_INET6, text, &addr) == 1;
}

/* What may stand in a line of hosts: neither blanks nor line ends. */
static bool is_word(const char *text)
{
    return text[0] && !strpbrk(text, " \t\r\n#");
}

static int add_extra_host(struct buf *out, const struct network_files *f, const char *text,
                          struct error *e)
{
    size_t cut = strcspn(text, ":=");
    AUTOFREE char *name = xstrndup(text, cut);
    AUTOFREE char *ip = xstrdup(text[cut] ? text + cut + 1 : "");
    size_t len = strlen(ip);

    if (len > 2 && ip[0] == '[' && ip[len - 1] == ']') {
        ip[len - 1] = '\0';
        memmove(ip, ip + 1, len - 1);
    }
    if (STREQ(ip, "host-gateway")) {
        if (str_is_empty(f->host_gateway))
            return error_set(e, ERR_INVALID,
                             "extra host \"%s\": the container's network has no gateway", text);
        str_replace(&ip, f->host_gateway);
    }
    if (!is_word(name) || !is_ip(ip))
        return error_set(e, ERR_INVALID,
                         "bad format for add-host: \"%s\" (use NAME:IP or NAME:host-gateway)",
                         text);
    return buf_printf(out, "%s\t%s\n", ip, name);
}

static int print_hosts(struct buf *out, const struct network_files *f, struct error *e)
{
    AUTOFREE char *host_file = NULL;

    if ((f->hostname && !is_word(f->hostname)) ||
        (!str_is_empty(f->domainname) && !is_word(f->domainname)))
        return error_set(e, ERR_INVALID, "host name \"%.64s\" is not valid", f->hostname);
    if (f->host_network &&
        fs_read_file(AT_FDCWD, HOST_HOSTS, HOST_FILE_MAX, &host_file, NULL) >= 0) {
        (void)buf_puts(out, host_file);
        if (out->len && out->data[out->len - 1] != '\n')
            (void)buf_putc(out, '\n');
    } else
        (void)buf_puts(out, "127.0.0.1\tlocalhost\n"
                            "::1\tlocalhost ip6-localhost ip6-loopback\n"
                            "fe00::0\tip6-localnet\n"
                            "ff00::0\tip6-mcastprefix\n"
                            "ff02::1\tip6-allnodes\n"
                            "ff02::2\tip6-allrouters\n");
    for (size_t i = 0; f->extra_hosts && f->extra_hosts[i]; i++) {
        int r = add_extra_host(out, f, f->extra_hosts[i], e);
        if (r < 0)
            return r;
    }
    const char *ips[] = {f->ip, f->ip6};
    for (size_t i = 0; i < ARRAY_SIZE(ips) && f->hostname; i++) {
        if (str_is_empty(ips[i]))
            continue;
        if (!str_is_empty(f->domainname))
            (void)buf_printf(out, "%s\t%s.%s %s\n", ips[i], f->hostname, f->domainname,
                             f->hostname);
        else
            (void)buf_printf(out, "%s\t%s\n", ips[i], f->hostname);
    }
    return 0;
}

/* --- resolv.conf ---------------------------------------------------------------------------- */

struct resolv {
    char **servers;
    char **search;
    char **options;
};

static void resolv_done(struct resolv *r)
{
    strv_free(r->servers);
    strv_free(r->search);
    strv_free(r->options);
}

/* The words after the keyword of a line. */
static void parse_line(struct resolv *ret, const char *line)
{
    AUTOPTR(strv) char **words = strv_split(line, " \t\r", true);

    if (strv_len(words) < 2 || words[0][0] == '#' || words[0][0] == ';')
        return;
    if (STREQ(words[0], "nameserver"))
        strv_push(&ret->servers, words[1]);
    else if (STREQ(words[0], "search") || STREQ(words[0], "domain")) {
        strv_free(take_ptr(ret->search)); /* the last one counts */
        for (size_t i = 1; words[i]; i++)
            strv_push(&ret->search, words[i]);
    } else if (STREQ(words[0], "options"))
        for (size_t i = 1; words[i]; i++)
            strv_push(&ret->options, words[i]);
}

/* A file that can not be read is as an empty one: the host has no name service then. */
static void read_resolv(const char *path, struct resolv *ret)
{
    AUTOFREE char *text = NULL;

    *ret = (struct resolv){0};
    if (fs_read_file(AT_FDCWD, path, HOST_FILE_MAX, &text, NULL) < 0)
        return;
    AUTOPTR(strv) char **lines = strv_split(text, "\n", true);
    for (size_t i = 0; lines && lines[i]; i++)
        parse_line(ret, lines[i]);
}

static bool is_loopback(const char *server)
{
    struct in6_addr v6;

    return str_has_prefix(server, "127.") ||
           (inet_pton(AF_INET6, server, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

/* Can a container with (or without) IPv6 reach the server? An address with a zone names an
 * interface of the host. */
static bool is_reachable(const char *server, bool v6)
{
    return !is_loopback(server) && !strchr(server, '%') && (v6 || !strchr(server, ':'));
}

static void keep_reachable(struct resolv *host, bool v6)
{
    char **kept = NULL;

    for (size_t i = 0; host->servers && host->servers[i]; i++)
        if (is_reachable(host->servers[i], v6))
            strv_push(&kept, host->servers[i]);
    if (!kept)
        for (size_t i = 0; fallback_servers[i]; i++)
            strv_push(&kept, fallback_servers[i]);
    strv_free(host->servers);
    host->servers = kept;
}

/* The host's settings as far as they make sense in the container. */
static void read_host_resolv(const struct network_files *f, struct resolv *ret)
{
    read_resolv(f->resolv_source ? f->resolv_source : HOST_RESOLV, ret);
    if (f->host_network)
        return;
    /* systemd-resolved's stub on loopback: it keeps the real servers in a file of its own. */
    if (!f->resolv_source && strv_len(ret->servers) == 1 && STREQ(ret->servers[0], "127.0.0.53") &&
        access(RESOLVED_RESOLV, R_OK) == 0) {
        resolv_done(ret);
        read_resolv(RESOLVED_RESOLV, ret);
    }
    if (!f->dns || !f->dns[0])
        keep_reachable(ret, !str_is_empty(f->ip6));
}

static int check_dns(const struct network_files *f, struct error *e)
{
    for (size_t i = 0; f->dns && f->dns[i]; i++)
        if (!is_ip(f->dns[i]))
            return error_set(e, ERR_INVALID, "dns server \"%.60s\" is not an IP address",
                             f->dns[i]);
    for (size_t i = 0; f->dns_search && f->dns_search[i]; i++)
        if (!is_word(f->dns_search[i]))
            return error_set(e, ERR_INVALID, "dns search domain \"%.60s\" is not valid",
                             f->dns_search[i]);
    for (size_t i = 0; f->dns_options && f->dns_options[i]; i++)
        if (!is_word(f->dns_options[i]))
            return error_set(e, ERR_INVALID, "dns option \"%.60s\" is not valid",
                             f->dns_options[i]);
    return 0;
}

static int print_resolv(struct buf *out, const struct network_files *f, struct error *e)
{
    CLEANUP(resolv_done) struct resolv host = {0};
    int r = check_dns(f, e);

    if (r < 0)
        return r;
    read_host_resolv(f, &host);
    char *const *servers = f->dns && f->dns[0] ? f->dns : host.servers;
    char *const *search = f->dns_search && f->dns_search[0] ? f->dns_search : host.search;
    char *const *options = f->dns_options && f->dns_options[0] ? f->dns_options : host.options;
    for (size_t i = 0; servers && servers[i]; i++)
        (void)buf_printf(out, "nameserver %s\n", servers[i]);
    if (strv_len(search) && !(strv_len(search) == 1 && STREQ(search[0], "."))) {
        AUTOFREE char *text = strv_join(search, " ");
        (void)buf_printf(out, "search %s\n", text);
    }
    if (strv_len(options)) {
        AUTOFREE char *text = strv_join(options, " ");
        (void)buf_printf(out, "options %s\n", text);
    }
    return 0;
}

int network_write_files(const char *dir, const struct network_files *f, struct error *e)
{
    AUTO(buf)
    struct buf hosts = BUF_INIT(BUF_UNLIMITED), resolv = BUF_INIT(BUF_UNLIMITED),
               hostname = BUF_INIT(BUF_UNLIMITED);
    const struct {
        const char *name;
        struct buf *text;
    } files[] = {{"hosts", &hosts}, {"hostname", &hostname}, {"resolv.conf", &resolv}};

    int r = print_hosts(&hosts, f, e);
    if (r >= 0)
        r = print_resolv(&resolv, f, e);
    if (r < 0)
        return r;
    if (f->hostname)
        (void)buf_printf(&hostname, "%s\n", f->hostname);
    AUTOFD int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return error_set_errno(e, errno, "%s", dir);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        r = fs_write_atomic(dirfd, files[i].name, buf_str(files[i].text), files[i].text->len, 0644,
                            FS_NO_SYNC);
        if (r < 0)
            return error_set_errno(e, r, "%s/%s", dir, files[i].name);
    }
    return 0;
}
