/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpgv: see gpgv.h. It runs behind `pouch-image --gpgv`, which gives up user, rights and network
 * before it becomes gpgv. Signature, keys, output and status lines are memfds: no file name of
 * ours, no pipe that could block. The status lines have an fd of their own, so that what was signed
 * cannot pretend to be one.
 */
#include "image/gpgv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/fs.h"
#include "base/self.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/worker-protocol.h"
#include "io/spawn.h"

#define OUTPUT_MAX  (256u * 1024)
#define KEYRING_FD  5
#define ARMOR_BEGIN "-----BEGIN PGP PUBLIC KEY BLOCK-----"
#define ARMOR_END   "-----END PGP PUBLIC KEY BLOCK-----"

/* --- Keys --------------------------------------------------------------------------------------------- */

/* The base64 part of an armoured block: after the empty line behind the headers, up to the checksum
 * ("=…" at the start of a line) or the end. */
static int dearmor(const char *text, size_t len, struct buf *out)
{
    AUTO(buf) struct buf body = BUF_INIT(POLICY_KEY_MAX);
    AUTOFREE char *copy = xstrndup(text, len);
    AUTOPTR(strv) char **lines = strv_split(copy, "\n", false);
    bool in_body = false;

    for (size_t i = 1; lines[0] && lines[i]; i++) {
        char *line = lines[i];
        line[strcspn(line, "\r")] = '\0';
        if (!in_body) {
            in_body = !line[strspn(line, " \t")];
            continue;
        }
        if (*line == '=')
            break;
        if (buf_puts(&body, line) < 0)
            return -EFBIG;
    }
    return base64_decode(buf_str(&body), body.len, out);
}

int gpgv_read_keys(const char *data, size_t len, struct buf *out, struct error *e)
{
    AUTOFREE char *text = xstrndup(data, len);
    const char *at = strstr(text, ARMOR_BEGIN);
    size_t before = out->len;

    if (!at) {
        if (len == 0 || !((unsigned char)data[0] & 0x80) || buf_append(out, data, len) < 0)
            return error_set(e, ERR_INVALID, "it holds no OpenPGP key");
        return 0;
    }
    for (; at; at = strstr(at + 1, ARMOR_BEGIN)) {
        const char *end = strstr(at, ARMOR_END);
        if (!end || dearmor(at, (size_t)(end - at), out) < 0)
            return error_set(e, ERR_INVALID, "its armour is damaged");
    }
    return out->len > before ? 0 : error_set(e, ERR_INVALID, "it holds no OpenPGP key");
}

int gpgv_load_keys(const struct policy_requirement *q, struct buf *out, struct error *e)
{
    int r = 0;

    for (size_t i = 0; r >= 0 && q->key_paths && q->key_paths[i]; i++) {
        AUTOFREE char *text = NULL;
        size_t len = 0;
        r = fs_read_file(AT_FDCWD, q->key_paths[i], POLICY_KEY_MAX, &text, &len);
        if (r < 0)
            return error_set_errno(e, r, "cannot read the key %s", q->key_paths[i]);
        r = gpgv_read_keys(text, len, out, e);
        if (r < 0)
            error_add(e, "key %s", q->key_paths[i]);
    }
    for (size_t i = 0; r >= 0 && q->key_data && q->key_data[i]; i++) {
        AUTO(buf) struct buf plain = BUF_INIT(POLICY_KEY_MAX);
        if (base64_decode(q->key_data[i], strlen(q->key_data[i]), &plain) < 0)
            return error_set(e, ERR_INVALID, "keyData is not base64");
        r = gpgv_read_keys(buf_str(&plain), plain.len, out, e);
        if (r < 0)
            error_add(e, "keyData");
    }
    return r;
}

/* --- The verdict --------------------------------------------------------------------------------------- */

/* Exactly one signature, good, over exactly one text; any word of trouble is a refusal. gpgv's exit
 * status says less: it is 0 for keys that were revoked. */
const char *gpgv_status_reason(const char *status)
{
    static const struct {
        const char *word, *reason;
    } bad[] = {
        {"BADSIG", "the signature is wrong"},        {"EXPSIG", "the signature has expired"},
        {"EXPKEYSIG", "the key has expired"},        {"REVKEYSIG", "the key was revoked"},
        {"NO_PUBKEY", "it was made by another key"}, {"ERRSIG", "the signature cannot be checked"},
        {"NODATA", "it is not a signature"},         {"FAILURE", "gpgv could not check it"},
        {"ERROR", "gpgv could not check it"},
    };
    AUTOPTR(strv) char **lines = strv_split(status, "\n", true);
    unsigned good = 0, valid = 0, texts = 0, signatures = 0;

    for (size_t b = 0; b < ARRAY_SIZE(bad); b++)
        for (size_t i = 0; lines && lines[i]; i++) {
            const char *word = str_has_prefix(lines[i], "[GNUPG:] ") ? lines[i] + 9 : "";
            size_t n = strlen(bad[b].word);
            if (strncmp(word, bad[b].word, n) == 0 && (!word[n] || word[n] == ' '))
                return bad[b].reason;
        }
    for (size_t i = 0; lines && lines[i]; i++) {
        good += str_has_prefix(lines[i], "[GNUPG:] GOODSIG ");
        valid += str_has_prefix(lines[i], "[GNUPG:] VALIDSIG ");
        texts += str_has_prefix(lines[i], "[GNUPG:] PLAINTEXT ");
        signatures += str_has_prefix(lines[i], "[GNUPG:] NEWSIG");
    }
    return good == 1 && valid == 1 && texts == 1 && signatures == 1
               ? NULL
               : "it is not one signature of one text";
}

/* --- Running it ------------------------------------------------------------------------------------------- */

static int memfd_with(const void *data, size_t len, int *ret, struct error *e)
{
    AUTOFD int fd = memfd_create("pouch-gpgv", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : fs_write_all(fd, data, len);

    if (r < 0)
        return error_set_errno(e, r, "cannot make a file in memory");
    if (lseek(fd, 0, SEEK_SET) < 0)
        return error_set_errno(e, errno, "cannot rewind a file in memory");
    *ret = take_fd(fd);
    return 0;
}

static int read_all(int fd, struct buf *out)
{
    char piece[4096];

    if (lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    for (;;) {
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n <= 0)
            return n < 0 ? -errno : 0;
        if (buf_append(out, piece, (size_t)n) < 0)
            return -EFBIG;
    }
}

int gpgv_verify(const struct policy_requirement *q, int sig_fd, uid_t uid, gid_t gid,
                struct buf *payload, char **ret_reason, struct error *e)
{
    AUTO(buf) struct buf keys = BUF_INIT(GPGV_KEYS_MAX), status = BUF_INIT(OUTPUT_MAX);
    AUTOFD int keyring = -EBADF, output = -EBADF, lines = -EBADF;
    AUTOFD int chatter = open("/dev/null", O_WRONLY | O_CLOEXEC); /* what it says to people */
    AUTOFREE char *program = self_program_path("pouch-image");
    AUTOFREE char *u = xasprintf("%u", (unsigned)uid), *g = xasprintf("%u", (unsigned)gid);
    char *argv[] = {
        (char *)"pouch-image", (char *)"--uid", u, (char *)"--gid", g, (char *)"--gpgv", NULL};
    pid_t pid = 0;
    int r = gpgv_load_keys(q, &keys, e);

    if (r < 0 || (r = memfd_with(keys.data, keys.len, &keyring, e)) < 0 ||
        (r = memfd_with("", 0, &output, e)) < 0 || (r = memfd_with("", 0, &lines, e)) < 0)
        return r;
    const struct spawn_fd fds[] = {{lines, GPGV_STATUS_FD}, {keyring, KEYRING_FD}};
    const struct spawn_params sp = {.program = program,
                                    .argv = argv,
                                    .stdin_fd = sig_fd,
                                    .stdout_fd = output,
                                    .stderr_fd = chatter,
                                    .fds = fds,
                                    .nfds = ARRAY_SIZE(fds),
                                    .new_session = true};
    r = spawn_program(&sp, &pid, e);
    if (r < 0)
        return r;
    int code = spawn_wait(pid);
    if (code == GPGV_MISSING)
        return error_set(e, ERR_NOT_SUPPORTED,
                         "the policy asks for GnuPG signatures, but gpgv is not installed (package "
                         "gpgv)");
    r = read_all(lines, &status);
    if (r >= 0)
        r = read_all(output, payload);
    if (r < 0)
        return error_set_errno(e, r, "cannot read what gpgv said");
    const char *reason = gpgv_status_reason(buf_str(&status));
    if (!reason && code != 0)
        reason = "gpgv could not check it";
    if (reason) {
        *ret_reason = xstrdup(reason);
        return 0;
    }
    return 1;
}
