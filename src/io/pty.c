/* SPDX-License-Identifier: Apache-2.0 */
/* Pseudo terminals: the slave is opened through its master (TIOCGPTPEER, Linux 4.13), which works
 * whatever is mounted at /dev/pts. */
#include "io/pty.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

int pty_open_peer(int master)
{
    int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int pty_open(const char *ptmx, int *ret_master, int *ret_slave)
{
    AUTOFD int master = -EBADF;
    int unlock = 0, slave;

    master = open(ptmx ? ptmx : "/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0)
        return -errno;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return -errno;
    slave = pty_open_peer(master);
    if (slave < 0)
        return slave;
    *ret_master = take_fd(master);
    *ret_slave = slave;
    return 0;
}

int pty_resize(int master, unsigned rows, unsigned cols)
{
    struct winsize ws = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};

    return ioctl(master, TIOCSWINSZ, &ws) < 0 ? -errno : 0;
}
