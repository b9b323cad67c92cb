/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a template, run on a container's JSON: no crash, and it ends. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char json[] =
    "{\"Id\":\"abc\",\"State\":{\"Status\":\"running\",\"Pid\":42,\"Paused\":false,\"Health\":null},"
    "\"Config\":{\"Env\":[\"A=1\",\"B=2\"],\"Labels\":{\"a\":\"b\"},\"Cmd\":[\"sh\"]},\"F\":1.5,"
    "\"Ports\":{\"80/tcp\":[{\"HostPort\":\"8080\"}]}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_value *v;
    AUTOFREE char *text = xstrndup((const char *)data, size);
    AUTOPTR(template) struct template *t = NULL;
    AUTO(buf) struct buf out = BUF_INIT(1 << 20);
    struct template_data on = {0};

    if (!v && json_value_parse(json, strlen(json), &v, NULL) < 0)
        abort();
    on.json = v;
    if (template_parse(text, &t, NULL) == 0)
        (void)!template_execute(t, &on, &out, NULL);
    return 0;
}
