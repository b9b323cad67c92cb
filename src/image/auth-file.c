/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pouchd's own credentials, for pulls that come without any (repairs, upgrades, clients that have
 * none): a file in the form of Podman's auth.json, which only root may read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/fs.h"
#include "base/str.h"
#include "image/image-priv.h"
#include "oci/reference.h"

#define FILE_MAX (1u << 20)

/* The entry for "host/a/b", "host/a" … "host"; Docker Hub has an older name too. */
static const struct json_value *find_entry(const struct json_value *auths, const char *repository)
{
    AUTOFREE char *key = xstrdup(repository);
    const struct json_value *v = json_value_get(auths, key);

    while (!v && strchr(key, '/')) {
        *strrchr(key, '/') = '\0';
        v = json_value_get(auths, key);
    }
    if (!v && STREQ(key, OCI_REFERENCE_DEFAULT_DOMAIN))
        v = json_value_get(auths, "https://index.docker.io/v1/");
    return v;
}

static int read_entry(const struct json_value *v, struct image_auth *ret)
{
    AUTO(buf) struct buf b = BUF_INIT(FILE_MAX);
    const char *auth = json_value_str(json_value_get(v, "auth"));
    const char *token = json_value_str(json_value_get(v, "identitytoken"));

    if (!str_is_empty(token))
        ret->identity_token = xstrdup(token);
    if (str_is_empty(auth))
        return token ? 0 : -EINVAL;
    if (base64_decode(auth, strlen(auth), &b) < 0 || !strchr(buf_str(&b), ':'))
        return -EINVAL;
    ret->username = xstrndup(b.data, strcspn(b.data, ":"));
    ret->password = xstrdup(strchr(b.data, ':') + 1);
    explicit_bzero(b.data, b.len);
    return 0;
}

static int load(const char *path, struct json_value **ret, struct error *e)
{
    AUTOFREE char *text = NULL;
    struct stat st;
    size_t len = 0;

    if (stat(path, &st) < 0)
        return error_set_errno(e, errno, "cannot read the credentials in %s", path);
    if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return error_set(e, ERR_FORBIDDEN,
                         "others may read or change the file %s (chown root, chmod 600)", path);
    int r = fs_read_file(AT_FDCWD, path, FILE_MAX, &text, &len);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the credentials in %s", path);
    r = json_value_parse(text, len, ret, e);
    explicit_bzero(text, len);
    if (r >= 0 && json_value_kind(*ret) != JV_OBJ) {
        json_value_free(take_ptr(*ret));
        r = error_set(e, ERR_INVALID, "expected an object");
    }
    if (r < 0)
        error_add(e, "%s", path);
    return r;
}

int image_auth_from_file(const char *path, const char *repository, struct image_auth *ret,
                         char **ret_problem, struct error *e)
{
    AUTO(error) struct error problem = ERROR_INIT;
    AUTOPTR(json_value) struct json_value *v = NULL;
    struct image_auth a = {0};

    if (load(path, &v, &problem) < 0) {
        str_replace(ret_problem, error_message(&problem));
        return 0;
    }
    const struct json_value *entry = find_entry(json_value_get(v, "auths"), repository);
    if (entry && read_entry(entry, &a) < 0) {
        image_auth_done(&a);
        return error_set(e, ERR_INVALID, "%s: the entry of %s is malformed", path, repository);
    }
    *ret = a;
    return 0;
}
