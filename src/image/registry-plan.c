/* SPDX-License-Identifier: Apache-2.0 */
/* The list of endpoints as it goes from pouchd to the worker. */
#include "image/registry-plan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"

#define F(member, kind) JSON_FIELD(struct registry_endpoint, member, #member, kind, JSON_OMIT_EMPTY)
static const struct json_field endpoint_fields[] = {
    F(name, JSON_STR),
    F(scheme, JSON_STR),
    F(host, JSON_STR),
    F(prefix, JSON_STR),
    F(repository, JSON_STR),
    F(ns, JSON_STR),
    F(needs, JSON_UINT),
    F(mirror, JSON_BOOL),
    F(tag_only, JSON_BOOL),
    F(digest_only, JSON_BOOL),
    F(insecure, JSON_BOOL),
    F(skip_verify, JSON_BOOL),
    F(ca, JSON_STR),
    F(cert, JSON_STR),
    F(key, JSON_STR),
    F(headers, JSON_STRV),
    F(dial_timeout_ms, JSON_UINT),
    F(username, JSON_STR),
    F(password, JSON_STR),
    F(identity_token, JSON_STR),
    F(registry_token, JSON_STR),
    JSON_END,
};
#undef F
static const struct json_desc endpoint_json = {"endpoint", sizeof(struct registry_endpoint),
                                               endpoint_fields};

#define F(member, kind) JSON_FIELD(struct registry_plan, member, #member, kind, JSON_OMIT_EMPTY)
static const struct json_field plan_fields[] = {
    JSON_FIELD_SUB(struct registry_plan, endpoints, "endpoints", JSON_OBJ_LIST, 0, &endpoint_json),
    F(registry, JSON_STR),
    F(http_proxy, JSON_STR),
    F(https_proxy, JSON_STR),
    F(no_proxy, JSON_STR),
    F(rate_limit_wait, JSON_UINT),
    JSON_END,
};
#undef F
const struct json_desc registry_plan_json = {"endpoints", sizeof(struct registry_plan),
                                             plan_fields};

void registry_plan_done(struct registry_plan *p)
{
    free(take_ptr(p->login_problem));
    json_free(&registry_plan_json, p);
}

int registry_plan_to_fd(const struct registry_plan *p, int *ret_fd, struct error *e)
{
    AUTO(buf) struct buf b = BUF_INIT(REGISTRY_PLAN_MAX);

    if (json_print(&registry_plan_json, p, &b) < 0)
        return error_set(e, ERR_TOO_LARGE, "the certificates of the registry are too large");
    AUTOFD int fd = memfd_create("pouch-registry", MFD_CLOEXEC);
    if (fd < 0)
        return error_set_errno(e, errno, "cannot make a file in memory");
    int r = fs_write_all(fd, b.data, b.len);
    explicit_bzero(b.data, b.len); /* passwords and keys are in it */
    if (r < 0)
        return error_set_errno(e, r, "cannot write a file in memory");
    *ret_fd = take_fd(fd);
    return 0;
}

int registry_plan_from_fd(int fd, struct registry_plan *ret, struct error *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > (off_t)REGISTRY_PLAN_MAX)
        return error_set(e, ERR_INTERNAL, "the list of registries is damaged");
    AUTOFREE char *text = xmalloc((size_t)st.st_size);
    if (lseek(fd, 0, SEEK_SET) < 0 ||
        fs_read_full(fd, text, (size_t)st.st_size) != (ssize_t)st.st_size)
        return error_set(e, ERR_INTERNAL, "the list of registries is damaged");
    int r = json_parse(&registry_plan_json, text, (size_t)st.st_size, ret, e);
    explicit_bzero(text, (size_t)st.st_size);
    if (r == 0 && (ret->endpoints.len == 0 || ret->endpoints.len > REGISTRY_ENDPOINTS_MAX)) {
        registry_plan_done(ret);
        r = error_set(e, ERR_INTERNAL, "the list of registries is damaged");
    }
    return r;
}
