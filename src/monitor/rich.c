/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rich container's streams and news (rich.h). The monitor keeps both ends of its pipes open as
 * far as needed for them to outlive whoever has them open inside: an application that is started
 * anew, or not yet.
 */
#include "monitor/monitor-priv.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/rich.h"
#include "sys/process.h"

/* A pipe of the bundle; what is there is the engine's, but checked all the same. */
static int open_pipe(const char *name, int flags)
{
    char path[64] = RICH_FOLDER "/";
    struct stat st;
    int fd;

    strcat(path, name);
    fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }
    return fd;
}

/* It has done its work, and waits for a machine to be switched off. */
static void end_init(struct mon *m)
{
    m->rich.halted = true;
    if (m->init && m->init->pid > 0)
        (void)kill(m->init->pid, SIGKILL);
}

static void take_event(struct mon *m, const struct rich_event *ev)
{
    if (ev->magic != RICH_MAGIC)
        return;
    if (ev->type == RICH_APP_ENDED) {
        m->rich.app_ended = true;
        m->rich.app_code = ev->value & 255;
        m->rich.app_signal = ev->detail > 0 && ev->detail < NSIG ? ev->detail : 0;
    } else if (ev->type == RICH_HALTED) {
        end_init(m);
    }
}

void rich_read(struct mon *m)
{
    struct rich_event ev;
    ssize_t n;

    /* Records are written whole. What is none is of somebody inside who plays: thrown away, and no
     * more than a pipe is full of at a time. */
    for (int i = 0; m->rich.events_fd >= 0 && i < 4096; i++) {
        n = read(m->rich.events_fd, &ev, sizeof(ev));
        if (n != (ssize_t)sizeof(ev))
            return;
        take_event(m, &ev);
    }
}

static void on_event(struct source *source, int fd, uint32_t revents, void *data)
{
    rich_read(data);
}

/* The writer has been there and is gone; so is all that runs below an init that was killed, before that has ended. */
static void on_alive(struct source *source, int fd, uint32_t revents, void *data)
{
    struct mon *m = data;

    if (!(revents & EPOLLHUP))
        return;
    source_free(take_ptr(m->rich.alive));
    if (m->init && m->init->pid > 0 && !process_is_ending(m->init->pid))
        end_init(m);
}

int rich_open(struct mon *m, bool exit_init)
{
    int r;

    m->rich.alive_fd = open_pipe(RICH_ALIVE, O_RDONLY | O_NONBLOCK); /* most inits have none */
    r = m->rich.alive_fd < 0
            ? 0
            : loop_add_fd(m->loop, m->rich.alive_fd, EPOLLHUP, on_alive, m, &m->rich.alive);
    if (r < 0)
        return r;
    m->rich.on = true;
    m->rich.exit_init = exit_init;
    m->rich.events_fd = open_pipe(RICH_EVENTS, O_RDWR | O_NONBLOCK);
    if (m->rich.events_fd < 0)
        return m->rich.events_fd;
    return loop_add_fd(m->loop, m->rich.events_fd, EPOLLIN, on_event, m, &m->rich.source);
}

static int open_output(struct session *s, size_t i, enum log_stream which, const char *name,
                       int *ret_theirs)
{
    /* Also its writer: it does not end when nobody inside has it open. */
    int ours = open_pipe(name, O_RDWR | O_NONBLOCK);
    int r = ours < 0 ? ours : stream_add(&s->out[i], s, ours, which);

    if (r < 0) {
        if (ours >= 0)
            close(ours);
        s->out[i].fd = -EBADF;
        return r;
    }
    *ret_theirs = open_pipe(name, O_WRONLY);
    return *ret_theirs < 0 ? *ret_theirs : 0;
}

int rich_stdio(struct session *s, struct stage_io *io)
{
    struct mon *m = s->mon;
    int r = open_output(s, 0, LOG_STDOUT, RICH_STDOUT, &io->stdout_fd);

    if (r == 0)
        r = open_output(s, 1, LOG_STDERR, RICH_STDERR, &io->stderr_fd);
    if (r < 0)
        return r;
    if (s->has_stdin) {
        /* The reader that keeps input until the application is there to read it. */
        m->rich.input_hold = open_pipe(RICH_STDIN, O_RDONLY | O_NONBLOCK);
        if (m->rich.input_hold < 0)
            return m->rich.input_hold;
        s->stdin_fd = open_pipe(RICH_STDIN, O_WRONLY | O_NONBLOCK);
        if (s->stdin_fd < 0)
            return s->stdin_fd;
    }
    io->stdin_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return io->stdin_fd < 0 ? -errno : 0;
}

void rich_hold_terminal(struct mon *m, int master)
{
    /* Without a slave that is open a master reads as ended (Linux 4.13 has the call). Held in the
     * place of the input pipe, which there is none of. */
    if (m->rich.on)
        m->rich.input_hold = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

void rich_exit(struct mon *m, struct monitor_exit *x)
{
    rich_read(m);
    if (!m->rich.on || x->error_code)
        return;
    if (m->rich.halted) { /* it ended by itself, we only made it true */
        x->exit_code = 0;
        x->signal = 0;
    }
    if (m->rich.app_ended && !m->rich.exit_init) {
        x->exit_code = m->rich.app_code;
        x->signal = m->rich.app_signal;
    }
}
