/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the Docker API: the first byte chooses the decoder, the rest is its input. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/docker/decode.h"
#include "api/docker/docker.h"
#include "base/alloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_filters(const char *text)
{
    struct filter_set f = {0};

    if (docker_filters_parse(text, &f, NULL) < 0)
        assert(!f.items.len && !f.items.items);
    filter_set_done(&f);
}

static void try_create(const char *text, size_t len)
{
    struct container_config config = {0};
    struct create_extra extra = {0};

    if (docker_create_parse(text, len, &config, &extra, NULL) < 0)
        return;
    /* what was accepted can be printed, and read again */
    AUTOFREE char *again = json_print_str(&create_extra_json, &extra);
    struct create_extra second = {0};
    int r = json_parse(&create_extra_json, again, strlen(again), &second, NULL);

    assert(r == 0);
    json_free(&create_extra_json, &second);
    json_free(&create_extra_json, &extra);
    json_free(&container_config_json, &config);
}

static void try_exec(const char *text, size_t len)
{
    struct docker_exec_start start = {0};
    struct exec_config config = {0};
    unsigned rows, cols;

    if (json_parse(&docker_exec_start_json, text, len, &start, NULL) == 0) {
        docker_console_size(start.console_size, &rows, &cols);
        assert(rows <= UINT16_MAX && cols <= UINT16_MAX);
        json_free(&docker_exec_start_json, &start);
    }
    if (json_parse(&exec_config_json, text, len, &config, NULL) == 0)
        json_free(&exec_config_json, &config);
}

static void try_auth(const char *text)
{
    struct image_auth auth = {0};

    if (image_auth_parse(text, NULL, &auth, NULL) == 0)
        image_auth_done(&auth);
}

static void try_small(const char *text)
{
    AUTOFREE char *reference = docker_reference_join(text, text);
    unsigned minor;
    const char *rest;
    int64_t n;

    if (docker_version_split(text, &minor, &rest, NULL) == 0)
        assert(minor >= 24 && minor <= DOCKER_API_MAX_MINOR && rest[0]);
    (void)!docker_when_parse("since", text, &n, NULL);
    (void)!docker_number_parse("t", text, -5, 5, &n, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTOFREE char *text = NULL;

    if (size < 1)
        return 0;
    text = xstrndup((const char *)data + 1, size - 1);
    switch (data[0]) {
    case 'f':
        try_filters(text);
        break;
    case 'c':
        try_create(text, strlen(text));
        break;
    case 'a':
        try_auth(text);
        break;
    case 'e':
        try_exec(text, strlen(text));
        break;
    default:
        if (text[0])
            try_small(text);
    }
    return 0;
}
