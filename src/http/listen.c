/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses a server listens on. */
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "http/server.h"

#define LISTEN_BACKLOG 1024

/* A socket file that nobody answers on is left over from a crash: it may go. */
static int remove_dead_socket(const struct sockaddr_un *addr, const char *address, struct error *e)
{
    AUTOFD int fd = -EBADF;
    struct stat st;

    if (lstat(addr->sun_path, &st) < 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return error_set(e, ERR_CONFLICT, "cannot listen on %s: the file exists and is no socket",
                         address);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(e, errno, "socket");
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
        return error_set(e, ERR_CONFLICT, "cannot listen on %s: another program listens on it",
                         address);
    if (unlink(addr->sun_path) < 0 && errno != ENOENT)
        return error_set_errno(e, errno, "cannot remove the old socket %s", address);
    return 0;
}

static void give_to_group(const char *path, const char *group)
{
    char space[4096];
    struct group entry, *found = NULL;

    if (!group || getgrnam_r(group, &entry, space, sizeof(space), &found) != 0 || !found)
        return;
    if (chown(path, (uid_t)-1, found->gr_gid) < 0)
        log_warn("cannot give the socket to its group", "path=%s group=%s error=\"%s\"", path,
                 group, strerror(errno));
}

static int listen_unix(const char *address, const char *path, const char *group, int *ret,
                       struct error *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    AUTOFD int fd = -EBADF;
    AUTOFREE char *folder = NULL;
    mode_t mask;
    int r;

    if (path[0] != '/')
        return error_set(e, ERR_INVALID, "invalid address %s: the path must be absolute", address);
    if (strlen(path) >= sizeof(addr.sun_path))
        return error_set(e, ERR_INVALID, "invalid address %s: the path is longer than %zu bytes",
                         address, sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    folder = xstrdup(path);
    *strrchr(folder, '/') = '\0';
    if (*folder) {
        r = fs_mkdir_p(folder, 0755);
        if (r < 0)
            return error_set_errno(e, r, "cannot create the folder of %s", address);
    }
    r = remove_dead_socket(&addr, address, e);
    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(e, errno, "socket");
    /* Nobody else may connect between bind and chmod. (The programs listen before they have
     * other threads that create files.) */
    mask = umask(0177);
    r = bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
    umask(mask);
    if (r < 0)
        return error_set_errno(e, r, "cannot listen on %s", address);
    give_to_group(path, group);
    if (chmod(path, 0660) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        return error_set_errno(e, errno, "cannot listen on %s", address);
    *ret = take_fd(fd);
    return 0;
}

static int listen_one(const struct addrinfo *ai)
{
    AUTOFD int fd = -EBADF;
    int on = 1;

    fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        return -errno;
    return take_fd(fd);
}

static int listen_tcp(const char *address, const char *host_port, int *ret, struct error *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    AUTOFREE char *host = xstrdup(host_port);
    char *port = strrchr(host, ':');
    char *name = host;
    int r;

    if (!port || !port[1])
        return error_set(e, ERR_INVALID, "invalid address %s: write tcp://HOST:PORT", address);
    *port++ = '\0';
    if (host[0] == '[' && str_has_suffix(host, "]")) {
        host[strlen(host) - 1] = '\0';
        name = host + 1;
    }
    r = getaddrinfo(*name ? name : NULL, port, &hints, &list);
    if (r != 0)
        return error_set(e, ERR_INVALID, "cannot listen on %s: %s", address, gai_strerror(r));
    r = -EADDRNOTAVAIL;
    for (struct addrinfo *ai = list; ai && r < 0; ai = ai->ai_next)
        r = listen_one(ai);
    freeaddrinfo(list);
    if (r < 0)
        return error_set_errno(e, r, "cannot listen on %s", address);
    *ret = r;
    return 0;
}

int http_listen_open(const char *address, const char *group, int *ret_fd, struct error *e)
{
    if (str_has_prefix(address, "unix://"))
        return listen_unix(address, address + 7, group, ret_fd, e);
    if (str_has_prefix(address, "tcp://"))
        return listen_tcp(address, address + 6, ret_fd, e);
    return error_set(e, ERR_INVALID,
                     "invalid address %s: it must begin with \"unix://\" or \"tcp://\"", address);
}
