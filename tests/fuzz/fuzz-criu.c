/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of criu from any bytes: texts end where they may, nothing is read behind the message. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "oci-cli/criu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf) struct buf b = BUF_INIT(CRIU_MESSAGE_MAX);
    AUTOFREE void *copy = xmemdup(data, size); /* so that its end is the end of the memory */
    struct criu_answer a;

    memset(&a, 0xee, sizeof(a));
    if (criu_answer_parse(copy, size, &a) == 0) {
        assert(strnlen(a.script, sizeof(a.script)) < sizeof(a.script));
        assert(strnlen(a.message, sizeof(a.message)) < sizeof(a.message));
    } else {
        assert(a.type == 0xeeeeeeeeeeeeeeee); /* untouched */
    }
    /* What is written is read again: type, success and the message of an answer. */
    if (size > 1 && size < 200 && !memchr(data, 0, size)) {
        AUTOFREE char *text = xstrndup((const char *)data, size);

        criu_put_int(&b, 1, (uint64_t)data[0] << 56 | data[1]);
        criu_put_int(&b, 2, data[0] & 1);
        criu_put_str(&b, 9, text);
        criu_put_text_int(&b, 8, text, size);
        assert(criu_answer_parse(b.data, b.len, &a) == 0);
        assert(a.type == ((uint64_t)data[0] << 56 | data[1]));
        assert(a.success == (data[0] & 1));
        assert(strcmp(a.message, text) == 0);
    }
    return 0;
}
