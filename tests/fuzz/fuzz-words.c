/* SPDX-License-Identifier: Apache-2.0 */
/* Any text: what can be split can be joined, and splits into the same words again. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "base/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = xstrndup((const char *)data, size);
    AUTOPTR(strv) char **words = NULL;
    struct error e = ERROR_INIT;

    if (words_split(text, &words, &e) == 0) {
        AUTOFREE char *joined = words_join(words);
        AUTOPTR(strv) char **again = NULL;

        assert(words_split(joined, &again, NULL) == 0);
        assert(strv_equal(words, again));
        assert(strv_len(words) <= WORDS_MAX);
    } else {
        assert(!words && e.code == ERR_INVALID);
    }
    error_done(&e);
    return 0;
}
