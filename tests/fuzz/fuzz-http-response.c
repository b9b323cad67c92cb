/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the server's answer: the client must not crash, and its body reader must end. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fs.h"
#include "http/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("answer", MFD_CLOEXEC);
    struct http_conn *c;
    AUTO(buf) struct buf body = BUF_INIT(4 << 20);

    if (fd < 0 || fs_write_all(fd, data, size) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        abort();
    c = http_conn_new_fd(fd);
    for (int i = 0; i < 4; i++) {
        struct http_response res = {0};
        int r = http_conn_recv(c, &res, NULL);

        if (r == 0 && (res.status < 100 || res.status > 999))
            abort();
        http_response_done(&res);
        buf_clear(&body);
        if (r < 0 || http_conn_read_all(c, &body, NULL) < 0 || !http_conn_is_reusable(c))
            break;
    }
    http_conn_free(c);
    return 0;
}
