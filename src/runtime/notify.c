/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seccomp filters whose system calls another process answers (SCMP_ACT_NOTIFY): the filter's
 * listener is sent to it over a unix socket by the process itself, right after the filter is in
 * force. The socket is connected on the host, before; nothing of the image has a part in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "runtime/runtime-priv.h"

static int connect_path(const char *path, struct error *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    AUTOFD int fd = -EBADF;

    if (path[0] != '/' || strlen(path) >= sizeof(a.sun_path))
        return error_set(e, ERR_INVALID,
                         "linux.seccomp.listenerPath: \"%s\" is no absolute path of a socket",
                         path);
    memcpy(a.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return error_set_errno(e, errno, "cannot connect to the seccomp agent's socket %s", path);
    return take_fd(fd);
}

int notify_connect(int given, const struct oci_spec *spec, int *ret, struct error *e)
{
    const struct seccomp_filter *f = spec && spec->linux ? spec->linux->seccomp : NULL;
    int fd;

    if (given > 0) {
        fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return error_set_errno(e, errno, "cannot use the socket for the seccomp listener");
    } else if (!seccomp_notifies(f)) {
        return 0;
    } else if (str_is_empty(f->listener_path)) {
        return error_set(e, ERR_INVALID, "linux.seccomp: SCMP_ACT_NOTIFY needs listenerPath");
    } else {
        fd = connect_path(f->listener_path, e);
        if (fd < 0)
            return fd;
    }
    *ret = fd;
    return 0;
}

/* The "container process state" of the specification. */
static char *state_text(const struct process_plan *plan, const struct oci_spec *spec,
                        const char *bundle, pid_t pid, pid_t init_pid)
{
    const struct seccomp_filter *f = spec && spec->linux ? spec->linux->seccomp : NULL;
    AUTOFREE char *state = runtime_state_json(spec, plan->id, bundle ? bundle : "",
                                              init_pid ? init_pid : pid,
                                              init_pid ? "running" : "created");
    AUTO(buf) struct buf b = BUF_INIT(OCI_SPEC_MAX);
    struct jsonw w = {&b, false};

    jsonw_begin(&w, NULL);
    jsonw_str(&w, "ociVersion", OCI_RUNTIME_SPEC_VERSION);
    jsonw_list_begin(&w, "fds");
    jsonw_str(&w, NULL, "seccompFd");
    jsonw_list_end(&w);
    jsonw_int(&w, "pid", pid);
    if (f && !str_is_empty(f->listener_metadata))
        jsonw_str(&w, "metadata", f->listener_metadata);
    jsonw_raw(&w, "state", state);
    jsonw_end(&w);
    return buf_take(&b);
}

int notify_prepare(struct process_plan *plan, const struct oci_spec *spec, const char *bundle,
                   pid_t init_pid, struct error *e)
{
    const struct seccomp_filter *f = spec && spec->linux ? spec->linux->seccomp : NULL;
    uint32_t pid = 0;
    int r;

    if (!plan->seccomp_len || (plan->listener < 0 && !seccomp_notifies(f)))
        return 0;
    r = sync_ask(plan->warn_fd, SYNC_NEED_LISTENER, &pid, &plan->listener, e);
    if (r < 0)
        return r;
    plan->listener_state = state_text(plan, spec, bundle, (pid_t)pid, init_pid);
    return 0;
}

/* One message with one descriptor; 0 or -errno. */
static int send_fd(int sock, const char *text, size_t len, int fd)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = len};
    struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct cmsghdr *c;
    ssize_t n;

    hdr.msg_control = control.bytes;
    hdr.msg_controllen = sizeof(control.bytes);
    c = CMSG_FIRSTHDR(&hdr);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    n = sendmsg(sock, &hdr, MSG_NOSIGNAL);
    return n < 0 ? -errno : n == (ssize_t)len ? 0 : -EMSGSIZE;
}

int notify_install(struct process_plan *plan, struct error *e)
{
    int fd, r;

    if (plan->listener < 0) {
        fd = seccomp_install(plan->seccomp_bpf, plan->seccomp_len, plan->seccomp_flags);
        return fd < 0 ? error_set_errno(e, fd, "cannot install the seccomp filter") : 0;
    }
    fd = seccomp_install_listener(plan->seccomp_bpf, plan->seccomp_len, plan->seccomp_flags);
    if (fd < 0)
        return error_set_errno(e, fd, "cannot install the seccomp filter with a listener");
    /* From here on system calls may wait for whoever gets this: the socket and the listener are
     * closed by the exec. */
    r = send_fd(plan->listener, plan->listener_state, strlen(plan->listener_state), fd);
    return r < 0 ? error_set_errno(e, r, "cannot hand the seccomp listener over") : 0;
}

int notify_install_view(const struct process_plan *plan, struct error *e)
{
    int fd, r;

    if (plan->view_socket <= 0)
        return 0;
    fd = seccomp_install_view();
    if (fd < 0)
        return error_set_errno(e, fd, "cannot answer sysinfo and sched_getaffinity");
    r = send_fd(plan->view_socket, "view", 4, fd);
    return r < 0 ? error_set_errno(e, r, "cannot hand the listener of the view over") : 0;
}
