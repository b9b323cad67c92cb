/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports and the network of a container that runs. The definition says what is wanted;
 * what the network manager has (and keeps in its own table) is brought to it, so that a second
 * attempt finds done what was done.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/portspec.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"

static bool on_bridge(const struct container_definition *def)
{
    const char *mode = def->host_config.network_mode;

    return str_is_empty(mode) || STREQ(mode, "default") || STREQ(mode, "bridge");
}

/* --- the request: ports ------------------------------------------------------------------------------- */

static char *port_key(const struct port_spec *p)
{
    return xasprintf("%u/%s", p->container_port, port_proto_name(p->proto));
}

static char *host_port_text(const struct port_spec *p)
{
    if (!p->host_first)
        return xstrdup("");
    return p->host_first == p->host_last ? xasprintf("%u", p->host_first)
                                         : xasprintf("%u-%u", p->host_first, p->host_last);
}

static struct json_named_list *bindings_of(struct host_config *hc, const char *key)
{
    struct json_named_list *named = hc->port_bindings.items;
    struct port_spec want = {0};

    if (portspec_parse_port(key, &want.container_port, &want.proto, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < hc->port_bindings.len; i++) {
        struct port_spec have = {0};

        if (portspec_parse_port(named[i].key, &have.container_port, &have.proto, NULL) == 0 &&
            have.container_port == want.container_port && have.proto == want.proto)
            return &named[i];
    }
    return NULL;
}

static const char *ip_text(const char *ip)
{
    return str_is_empty(ip) || STREQ(ip, "0.0.0.0") ? "" : ip;
}

static bool is_binding(const struct port_binding *b, const char *ip, const char *port)
{
    return STREQ(ip_text(b->host_ip), ip_text(ip)) && STREQ(b->host_port ? b->host_port : "", port);
}

static int add_port(struct host_config *hc, const struct port_spec *p, struct error *e)
{
    AUTOFREE char *key = port_key(p);
    AUTOFREE char *port = host_port_text(p);
    struct json_named_list *named = bindings_of(hc, key);
    struct port_binding *b;

    if (!named) {
        named = json_list_add(&hc->port_bindings, sizeof(*named));
        named->key = xstrdup(key);
    }
    b = named->list.items;
    for (size_t i = 0; i < named->list.len; i++)
        if (*port && is_binding(&b[i], p->host_ip, port))
            return error_set(e, ERR_CONFLICT, "port %s is published on %s%s%s already", key,
                             p->host_ip, *p->host_ip ? ":" : "", port);
    b = json_list_add(&named->list, sizeof(*b));
    b->host_ip = xstrdup(p->host_ip);
    b->host_port = take_ptr(port);
    return 0;
}

static void binding_done(struct port_binding *b)
{
    free(b->host_ip);
    free(b->host_port);
}

static void drop_named(struct host_config *hc, struct json_named_list *named)
{
    struct json_named_list *all = hc->port_bindings.items;
    size_t i = (size_t)(named - all);

    free(named->key);
    free(named->list.items);
    (void)memmove(named, named + 1, (hc->port_bindings.len - i - 1) * sizeof(*named));
    hc->port_bindings.len--;
}

/* The port that a binding without one got, so that `update --publish-rm` can name it. */
static bool is_given(const struct update_context *u, const struct port_spec *p)
{
    CLEANUP(network_endpoint_done) struct network_endpoint ep = {0};

    if (network_lookup(u->c->en->network, u->c->id, &ep) < 0)
        return false;
    for (size_t i = 0; i < ep.nports; i++)
        if (ep.ports[i].proto == p->proto && ep.ports[i].container_port == p->container_port &&
            ep.ports[i].host_port == p->host_first)
            return true;
    return false;
}

/* "80", "80/tcp": all publications of that port; with a host port: that one. */
static int remove_port(struct update_context *u, const char *text, struct error *e)
{
    struct host_config *hc = &u->next->host_config;
    bool all = !strchr(text, ':');
    CLEANUP(port_specs_done) struct port_specs specs = {0};
    size_t gone = 0;
    int r = portspec_parse(text, &specs, e);

    for (size_t k = 0; r == 0 && k < specs.len; k++) {
        const struct port_spec *p = &specs.items[k];
        AUTOFREE char *key = port_key(p);
        AUTOFREE char *port = host_port_text(p);
        struct json_named_list *named = bindings_of(hc, key);
        struct port_binding *b = named ? named->list.items : NULL;
        size_t kept = 0;

        for (size_t i = 0; named && i < named->list.len; i++) {
            bool this = all || is_binding(&b[i], p->host_ip, port) ||
                        (str_is_empty(b[i].host_port) &&
                         STREQ(ip_text(b[i].host_ip), ip_text(p->host_ip)) && is_given(u, p));

            if (this) {
                binding_done(&b[i]);
                gone++;
            } else {
                b[kept++] = b[i];
            }
        }
        if (named)
            named->list.len = kept;
        if (named && kept == 0)
            drop_named(hc, named);
    }
    if (r == 0 && gone == 0)
        r = error_set(e, ERR_NOT_FOUND, "container %s does not publish %s", u->c->id, text);
    return r;
}

int update_ports_check(struct update_context *u, struct error *e)
{
    const struct container_update *update = u->update;
    struct host_config *hc = &u->next->host_config;
    CLEANUP(port_specs_done) struct port_specs specs = {0};
    int r = 0;

    for (size_t i = 0; r == 0 && update->publish_rm && update->publish_rm[i]; i++)
        r = remove_port(u, update->publish_rm[i], e);
    for (size_t i = 0; r == 0 && update->publish_add && update->publish_add[i]; i++)
        r = portspec_parse(update->publish_add[i], &specs, e);
    if (r < 0 || !specs.len)
        return r;
    if (STREQ(hc->network_mode, "host"))
        return error_set(e, ERR_INVALID,
                         "container %s uses the host's network: its ports are the host's already, "
                         "there is nothing to publish",
                         u->c->id);
    if (mode_container(hc->network_mode))
        return error_set(e, ERR_INVALID,
                         "container %s uses the network of container %s: publish the port there",
                         u->c->id, mode_container(hc->network_mode));
    if (!on_bridge(u->next))
        return error_set(e, ERR_INVALID,
                         "container %s has no network to publish ports from: connect it first "
                         "(pouch network connect bridge %.12s)",
                         u->c->id, u->c->id);
    for (size_t i = 0; r == 0 && i < specs.len; i++)
        r = add_port(hc, &specs.items[i], e);
    return r;
}

/* --- ports: making it true ------------------------------------------------------------------------ */

static void publish_endpoint(struct container *c, struct network_endpoint *ep)
{
    (void)pthread_mutex_lock(&c->mutex);
    network_endpoint_done(&c->endpoint);
    c->endpoint = *ep;
    *ep = (struct network_endpoint){0};
    c->has_endpoint = true;
    container_publish(c);
    (void)pthread_mutex_unlock(&c->mutex);
}

/* Does this publication answer that specification? */
static bool answers(const struct network_port *p, const struct port_spec *s)
{
    bool any = STREQ(p->host_ip, "0.0.0.0") || STREQ(p->host_ip, "::");

    return p->proto == s->proto && p->container_port == s->container_port &&
           (s->host_ip[0] ? STREQ(s->host_ip, p->host_ip) : any) &&
           (!s->host_first || (p->host_port >= s->host_first && p->host_port <= s->host_last));
}

static bool same_address(const char *a, const char *b)
{
    return STREQ(a, b) ||
           ((STREQ(a, "0.0.0.0") || STREQ(a, "::")) && (STREQ(b, "0.0.0.0") || STREQ(b, "::")));
}

/* Each specification takes one host port of those there are; what is left over on either side is
 * what there is to do. */
static void match(const struct port_specs *want, const struct network_endpoint *ep, bool *spec_met,
                  bool *port_used)
{
    /* Exact host ports choose first. */
    for (int exact = 1; exact >= 0; exact--) {
        for (size_t i = 0; i < want->len; i++) {
            const struct port_spec *s = &want->items[i];
            const struct network_port *got = NULL;

            if (spec_met[i] || (exact && !s->host_first))
                continue;
            for (size_t j = 0; j < ep->nports; j++) {
                const struct network_port *p = &ep->ports[j];

                if (port_used[j] || !answers(p, s) ||
                    (got &&
                     (p->host_port != got->host_port || !same_address(p->host_ip, got->host_ip))))
                    continue;
                port_used[j] = true;
                got = p;
            }
            spec_met[i] = got != NULL;
        }
    }
}

int update_ports_apply(struct update_context *u, const struct container_definition *from,
                       const struct container_definition *to, struct error *e)
{
    CLEANUP(network_endpoint_done) struct network_endpoint ep = {0};
    CLEANUP(network_endpoint_done) struct network_endpoint now = {0};
    CLEANUP(port_specs_done) struct port_specs want = {0};
    CLEANUP(port_specs_done) struct port_specs add = {0};
    AUTOFREE bool *met = NULL;
    AUTOFREE bool *used = NULL;
    AUTOFREE struct network_port *rm = NULL;
    size_t nrm = 0;
    int r;

    if (!on_bridge(to) || !on_bridge(from) || network_lookup(u->c->en->network, u->c->id, &ep) < 0)
        return 0;
    r = start_collect_ports(to, &want, e);
    if (r < 0)
        return r;
    met = xcalloc(want.len + 1, sizeof(bool));
    used = xcalloc(ep.nports + 1, sizeof(bool));
    rm = xcalloc(ep.nports + 1, sizeof(*rm));
    add.items = xcalloc(want.len + 1, sizeof(*add.items));
    match(&want, &ep, met, used);
    for (size_t i = 0; i < want.len; i++)
        if (!met[i])
            add.items[add.len++] = want.items[i];
    for (size_t i = 0; i < ep.nports; i++)
        if (!used[i])
            rm[nrm++] = ep.ports[i];
    if (!add.len && !nrm)
        return 0;
    r = network_change_ports(u->c->en->network, u->c->id, add.items, add.len, rm, nrm, &now, e);
    if (r == 0)
        publish_endpoint(u->c, &now);
    return r;
}

/* --- the network ------------------------------------------------------------------------------------------ */

static int check_name(struct update_context *u, const char *name, struct error *e)
{
    struct network_info info;

    network_info(u->c->en->network, &info);
    if (STREQ(name, "bridge") || STREQ(name, "default") ||
        (strlen(name) >= 12 && str_has_prefix(info.network_id, name)))
        return 0;
    if (STREQ(name, "host"))
        return error_set(e, ERR_INVALID,
                         "container cannot be disconnected from host network or connected to host "
                         "network");
    if (STREQ(name, "none"))
        return error_set(e, ERR_INVALID,
                         "\"none\" is the absence of a network: disconnect the container from "
                         "\"bridge\" instead");
    return error_set(e, ERR_NOT_FOUND, "network %s not found", name);
}

static int check_mode(struct update_context *u, struct error *e)
{
    const char *mode = u->next->host_config.network_mode;

    if (STREQ(mode, "host"))
        return error_set(e, ERR_INVALID,
                         "container cannot be disconnected from host network or connected to host "
                         "network");
    if (mode_container(mode))
        return error_set(e, ERR_INVALID,
                         "container sharing network namespace with another container or host "
                         "cannot be connected to any other network");
    return 0;
}

int update_network_check(struct update_context *u, struct error *e)
{
    const struct container_update *update = u->update;
    const struct endpoint_config *add = update->networks_add.items;
    struct container_definition *next = u->next;
    int r = 0;

    if (update->networks_add.len || strv_len(update->networks_rm))
        r = check_mode(u, e);
    for (size_t i = 0; r == 0 && update->networks_rm && update->networks_rm[i]; i++) {
        r = check_name(u, update->networks_rm[i], e);
        if (r == 0 && !on_bridge(next))
            r = error_set(e, ERR_INVALID, "container %s is not connected to network bridge",
                          u->c->id);
        if (r == 0)
            str_replace(&next->host_config.network_mode, "none");
    }
    for (size_t i = 0; r == 0 && i < update->networks_add.len; i++) {
        struct create_extra extra = {0};

        r = check_name(u, add[i].key, e);
        if (r == 0 && on_bridge(next))
            r = error_set(e, ERR_INVALID, "endpoint with name %s already exists in network bridge",
                          u->c->name);
        if (r < 0)
            return r;
        str_replace(&next->host_config.network_mode, "bridge");
        /* Addresses of an earlier connection are not those of this one. */
        json_free(&networking_config_json, &next->networking);
        extra.networking_config.endpoints_config =
            (struct json_list){.items = (void *)(uintptr_t)&add[i], .len = 1};
        json_copy(&networking_config_json, &next->networking, &extra.networking_config);
        extra.networking_config = next->networking;
        extra.host_config.network_mode = next->host_config.network_mode;
        r = create_check_addresses(&next->config, &extra, e);
    }
    return r;
}

/* Is it the line that says the container's own address? */
static bool is_own_line(const struct container_definition *def, const char *line)
{
    AUTOPTR(strv) char **words = strv_split(line, " \t", true);

    return strv_len(words) > 1 && !str_has_prefix(words[0], "127.") &&
           strv_contains(words + 1, def->config.hostname);
}

/* The container's own line of /etc/hosts. The file is mounted: it is written, not replaced; what
 * else stands in it may be the user's. So its new content is first written beside it: that is what it
 * becomes when this pouchd is killed in the middle (again), and is not begun where the disk is full. */
static void write_hosts_line(const struct container_definition *def,
                             const struct network_endpoint *ep, bool again)
{
    AUTOFREE char *path = xasprintf("%s/hosts", def->dir);
    AUTOFREE char *fresh = xasprintf("%s/" UPDATE_HOSTS_FILE, def->dir);
    AUTOFREE char *text = NULL;
    AUTOPTR(strv) char **lines = NULL;
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    AUTOFD int fd = -EBADF;
    const char *domain = str_is_empty(def->config.domainname) ? NULL : def->config.domainname;
    struct stat st;
    size_t len = 0;

    if ((!again || fs_read_file(AT_FDCWD, fresh, 1 << 20, &text, &len) < 0) &&
        fs_read_file(AT_FDCWD, path, 1 << 20, &text, &len) < 0)
        return;
    lines = strv_split(text, "\n", false);
    for (size_t i = 0; lines && lines[i]; i++)
        if (!is_own_line(def, lines[i]) && (*lines[i] || lines[i + 1]))
            (void)buf_printf(&out, "%s\n", lines[i]);
    for (size_t i = 0; ep && i < 2; i++) {
        const char *ip = i ? ep->ip6 : ep->ip;

        if (*ip && domain)
            (void)buf_printf(&out, "%s\t%s.%s %s\n", ip, def->config.hostname, domain,
                             def->config.hostname);
        else if (*ip)
            (void)buf_printf(&out, "%s\t%s\n", ip, def->config.hostname);
    }
    fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    int r = fd < 0 || fstat(fd, &st) < 0
                ? -errno
                : fs_write_atomic(AT_FDCWD, fresh, buf_str(&out), out.len, 0600, FS_NO_SYNC);
    /* No room beside it, as the container has used all of its own: what fits into its blocks needs
     * none. */
    if ((r == -ENOSPC || r == -EDQUOT) && out.len <= (uint64_t)st.st_blocks * 512)
        r = 0;
    if (r == 0)
        r = fs_write_all(fd, buf_str(&out), out.len);
    if (r == 0 && ftruncate(fd, (off_t)out.len) < 0)
        r = -errno;
    (void)unlink(fresh);
    if (r < 0)
        log_warn("hosts file not written", "path=%s error=\"%s\"", path, strerror(-r));
}

static int connect_bridge(struct update_context *u, const struct container_definition *to,
                          struct error *e)
{
    struct network_manager *nm = u->c->en->network;
    CLEANUP(network_endpoint_done) struct network_endpoint ep = {0};
    int r;

    if (network_lookup(nm, u->c->id, &ep) == 0) {
        /* Left by a pouchd that was killed: how far it got cannot be seen. */
        network_endpoint_done(&ep);
        network_detach(nm, u->c->id);
    }
    r = start_reserve(u->c, to, &ep, e);
    if (r < 0)
        return r;
    r = network_attach_pid(nm, &ep, monitor_init_pid(u->live->monitor), e);
    if (r < 0) {
        network_release(nm, u->c->id);
        return r;
    }
    write_hosts_line(to, &ep, u->again);
    publish_endpoint(u->c, &ep);
    return 0;
}

static int disconnect_bridge(struct update_context *u, const struct container_definition *to,
                             struct error *e)
{
    struct network_manager *nm = u->c->en->network;
    CLEANUP(network_endpoint_done) struct network_endpoint ep = {0};
    CLEANUP(network_endpoint_done) struct network_endpoint none = {0};
    int r = start_reserve(u->c, to, &none, e);

    if (r < 0)
        return r;
    if (network_lookup(nm, u->c->id, &ep) == 0)
        network_detach(nm, u->c->id);
    write_hosts_line(to, NULL, u->again);
    publish_endpoint(u->c, &none);
    return 0;
}

int update_network_apply(struct update_context *u, const struct container_definition *from,
                         const struct container_definition *to, struct error *e)
{
    if (on_bridge(from) == on_bridge(to))
        return 0;
    return on_bridge(to) ? connect_bridge(u, to, e) : disconnect_bridge(u, to, e);
}
