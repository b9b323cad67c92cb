/* SPDX-License-Identifier: Apache-2.0 */
/* Signature policy: what is read, what is refused, scopes, identities, payloads, gpgv's words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/strv.h"
#include "image/gpgv.h"
#include "image/lookaside.h"
#include "image/policy.h"

#define ACCEPT "[{\"type\":\"insecureAcceptAnything\"}]"
#define REJECT "[{\"type\":\"reject\"}]"
#define GPG    "\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"/k\""

static int choose(const char *text, const char *image, struct policy *ret, struct error *e)
{
    CLEANUP(oci_reference_done) struct oci_reference ref = {0};

    assert_int_equal(oci_reference_parse(image, &ref, NULL), 0);
    if (!ref.tag && !ref.digest)
        oci_reference_default_tag(&ref);
    return policy_choose(text, strlen(text), &ref, ret, e);
}

static void test_scopes(void **state)
{
    static const char policy[] = "{\"default\":" REJECT ",\"transports\":{\"docker\":{"
                                 "\"host.example.com:5000/a/b:v1\":" ACCEPT
                                 ",\"host.example.com:5000/a/b\":" REJECT ","
                                 "\"host.example.com:5000/a\":" ACCEPT ",\"*.example.com\":" ACCEPT
                                 ",\"\":" REJECT "},"
                                 "\"oci\":{\"\":" ACCEPT "}}}";
    static const struct {
        const char *image, *scope;
        enum policy_type type;
    } table[] = {
        {"host.example.com:5000/a/b:v1", "host.example.com:5000/a/b:v1", POLICY_ACCEPT},
        {"host.example.com:5000/a/b:v2", "host.example.com:5000/a/b", POLICY_REJECT},
        {"host.example.com:5000/a/c/d:v2", "host.example.com:5000/a", POLICY_ACCEPT},
        {"host.example.com:5000/ab:v2", "*.example.com", POLICY_ACCEPT},
        {"host.example.com/a/b:v1", "*.example.com", POLICY_ACCEPT},
        {"example.com/a/b:v1", "", POLICY_REJECT},
        {"busybox", "", POLICY_REJECT},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        CLEANUP(policy_done) struct policy p = {0};
        assert_int_equal(choose(policy, table[i].image, &p, NULL), 0);
        assert_string_equal(p.scope, table[i].scope);
        assert_int_equal(((struct policy_requirement *)p.items.items)->type, table[i].type);
    }
    CLEANUP(policy_done) struct policy p = {0};
    assert_int_equal(choose("{\"default\":" REJECT ",\"transports\":{\"oci\":{\"\":" ACCEPT "}}}",
                            "busybox", &p, NULL),
                     0);
    assert_null(p.scope);
}

static void test_archives(void **state)
{
    static const char text[] = "{\"default\":" REJECT
                               ",\"transports\":{\"docker-archive\":{\"\":" ACCEPT
                               "},\"oci-archive\":{\"/a\":" ACCEPT "},\"docker\":{\"\":" ACCEPT
                               "}}}";
    static const enum policy_type want[POLICY_ARCHIVE_MAX] = {
        [POLICY_DOCKER_ARCHIVE] = POLICY_ACCEPT,
        [POLICY_OCI_ARCHIVE] = POLICY_REJECT, /* no path can match a stream */
        [POLICY_TARBALL] = POLICY_REJECT,
    };
    static const char *const bad[] = {
        "\"docker-archive\":{\"x\"",
        "\"tarball\":{\"/x\"",
        "\"dir\":{\"x\"",
        "\"oci\":{\"/\"",
        "\"oci-archive\":{\"/a/\"",
        "\"sif\":{\"/a//b\"",
        "\"oci\":{\"/a/./b\"",
        "\"oci\":{\"/a/../b\"",
        "\"dir\":{\"/..\"",
    };

    for (int a = 0; a < POLICY_ARCHIVE_MAX; a++) {
        CLEANUP(policy_done) struct policy p = {0};
        assert_int_equal(policy_choose_archive(text, strlen(text), (enum policy_archive)a, &p,
                                               NULL),
                         0);
        assert_int_equal(((struct policy_requirement *)p.items.items)->type, want[a]);
        assert_int_equal(p.scope != NULL, want[a] == POLICY_ACCEPT);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTOFREE char *policy =
            xasprintf("{\"default\":" ACCEPT ",\"transports\":{%s:" ACCEPT "}}}", bad[i]);
        AUTO(error) struct error e = ERROR_INIT;
        CLEANUP(policy_done) struct policy p = {0};
        assert_int_not_equal(choose(policy, "busybox", &p, &e), 0);
        assert_non_null(strstr(error_message(&e), "is no scope"));
    }
}

static void test_certificates(void **state)
{
#define FULCIO "\"fulcio\":{\"caPath\":\"/c\",\"oidcIssuer\":\"i\",\"subjectEmail\":\"s\"}"
#define REKOR  "\"rekorPublicKeyPath\":\"/r\""
    static const struct {
        const char *fields;
        bool taken, unsupported;
    } table[] = {
        {FULCIO "," REKOR, true, true},
        {"\"pki\":{\"caRootsData\":\"YQ==\",\"subjectHostname\":\"h\"}", true, true},
        {"\"keyPath\":\"/k\"," REKOR, true, false},
        {FULCIO, false, false},
        {"\"keyPath\":\"/k\"," FULCIO "," REKOR, false, false},
        {"\"pki\":{\"caRootsPath\":\"/c\",\"subjectEmail\":\"s\"}," REKOR, false, false},
        {"\"pki\":{\"caRootsPath\":\"/c\"}", false, false},
        {"\"fulcio\":{\"caPath\":\"/c\",\"caData\":\"YQ==\",\"oidcIssuer\":\"i\","
         "\"subjectEmail\":\"s\"}," REKOR,
         false, false},
        {"\"keyPath\":\"/k\",\"signedIdentity\":null", false, false},
        {"\"keyPath\":\"/k\"," REKOR ",\"rekorPublicKeyData\":\"YQ==\"", false, false},
        {"\"keyPath\":\"/k\",\"rekorPublicKeyPaths\":[]", false, false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        AUTOFREE char *text = xasprintf("{\"default\":[{\"type\":\"sigstoreSigned\",%s}]}",
                                        table[i].fields);
        CLEANUP(policy_done) struct policy p = {0};
        bool taken = choose(text, "busybox", &p, NULL) >= 0;
        if (taken != table[i].taken)
            fail_msg("%s: %d", text, taken);
        const struct policy_requirement *q = p.items.items;
        if (taken)
            assert_int_equal(q->unsupported != NULL, table[i].unsupported);
    }
}

static void test_requirements(void **state)
{
    CLEANUP(policy_done) struct policy p = {0};

    assert_int_equal(
        choose("{\"default\":[{" GPG ",\"signedIdentity\":{\"type\":\"remapIdentity\",\"prefix\":"
               "\"a.example\",\"signedPrefix\":\"b.example\"}},{\"type\":\"sigstoreSigned\","
               "\"keyDatas\":[\"YQ==\",\"Yg==\"]}]}",
               "x", &p, NULL),
        0);
    const struct policy_requirement *q = p.items.items;
    assert_int_equal(p.items.len, 2);
    assert_string_equal(q[0].key_paths[0], "/k");
    assert_int_equal(q[0].identity.kind, POLICY_REMAP_IDENTITY);
    assert_string_equal(q[0].identity.signed_prefix, "b.example");
    assert_int_equal(strv_len(q[1].key_data), 2);
    assert_int_equal(q[1].identity.kind, POLICY_MATCH_REPO_DIGEST_OR_EXACT);
}

/* None of these may ever be taken for a policy. */
static void test_refused(void **state)
{
    static const char *const table[] = {
        "",
        "null",
        "{}",
        "{\"default\":[]}",
        "{\"default\":{}}",
        "{\"default\":" ACCEPT "} x",
        "{\"default\":" ACCEPT ",\"default\":" REJECT "}",
        "{\"default\":" ACCEPT ",\"other\":1}",
        "{\"default\":[{}]}",
        "{\"default\":[{\"type\":1}]}",
        "{\"default\":[{\"type\":\"signedBaseLayer\",\"baseLayerIdentity\":{\"type\":\"matchExact\"}}]}",
        "{\"default\":[{\"type\":\"reject\",\"x\":1}]}",
        "{\"default\":" ACCEPT ",\"transports\":[]}",
        "{\"default\":" ACCEPT ",\"transports\":{\"docker\":[]}}",
        "{\"default\":" ACCEPT ",\"transports\":{\"docker\":{\"a\":[]}}}",
        "{\"default\":" ACCEPT ",\"transports\":{\"dir\":{\"/a\":[{\"type\":\"b\"}]}}}",
        "{\"default\":[{\"type\":\"signedBy\",\"keyPath\":\"/k\"}]}",
        "{\"default\":[{\"type\":\"signedBy\",\"keyType\":\"X509CAs\",\"keyPath\":\"/k\"}]}",
        "{\"default\":[{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"k\"}]}",
        "{\"default\":[{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPath\":\"\"}]}",
        "{\"default\":[{\"type\":\"signedBy\",\"keyType\":\"GPGKeys\",\"keyPaths\":[]}]}",
        "{\"default\":[{" GPG ",\"keyData\":\"YQ==\"}]}",
        "{\"default\":[{" GPG ",\"signedIdentity\":\"matchExact\"}]}",
        "{\"default\":[{" GPG ",\"signedIdentity\":{\"type\":\"matchAll\"}}]}",
        "{\"default\":[{" GPG ",\"signedIdentity\":{\"type\":\"matchExact\",\"x\":1}}]}",
        "{\"default\":[{" GPG ",\"signedIdentity\":{\"type\":\"exactReference\"}}]}",
        "{\"default\":[{" GPG
        ",\"signedIdentity\":{\"type\":\"exactReference\",\"dockerReference\":"
        "\"a/b\"}}]}",
        "{\"default\":[{" GPG
        ",\"signedIdentity\":{\"type\":\"remapIdentity\",\"prefix\":\"a\"}}]}",
        "{\"default\":[{\"type\":\"sigstoreSigned\"}]}",
        "{\"default\":[{\"type\":\"sigstoreSigned\",\"keyPath\":\"/k\",\"fulcio\":{}}]}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        CLEANUP(policy_done) struct policy p = {0};
        AUTO(error) struct error e = ERROR_INIT;
        if (choose(table[i], "busybox", &p, &e) >= 0)
            fail_msg("taken: %s", table[i]);
        assert_non_null(e.message);
    }
}

static void test_identities(void **state)
{
#define DIGEST "sha256:0123456789012345678901234567890123456789012345678901234567890123"
    static const struct {
        enum policy_identity kind;
        const char *a, *b; /* reference, or prefix and signed prefix */
        const char *wanted, *claimed;
        bool matches;
    } table[] = {
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, 0, 0, "h.x/a:1", "h.x/a:1", true},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, 0, 0, "h.x/a:1", "h.x/a:2", false},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, 0, 0, "h.x/a:1", "h.x/a", false},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, 0, 0, "h.x/a@" DIGEST, "h.x/a:2", true},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, 0, 0, "h.x/a@" DIGEST, "h.x/b:2", false},
        {POLICY_MATCH_REPO_DIGEST_OR_EXACT, 0, 0, "busybox:1", "docker.io/library/busybox:1", true},
        {POLICY_MATCH_EXACT, 0, 0, "h.x/a@" DIGEST, "h.x/a:2", false},
        {POLICY_MATCH_EXACT, 0, 0, "h.x/a:2", "h.x/a:2", true},
        {POLICY_MATCH_REPOSITORY, 0, 0, "h.x/a:2", "h.x/a", true},
        {POLICY_MATCH_REPOSITORY, 0, 0, "h.x/a:2", "h.x/ab", false},
        {POLICY_MATCH_REPOSITORY, 0, 0, "h.x/a:2", "not a name", false},
        {POLICY_EXACT_REFERENCE, "h.x/r:1", 0, "h.x/a:2", "h.x/r:1", true},
        {POLICY_EXACT_REFERENCE, "h.x/r:1", 0, "h.x/a:2", "h.x/a:2", false},
        {POLICY_EXACT_REPOSITORY, "h.x/r", 0, "h.x/a:2", "h.x/r", true},
        {POLICY_EXACT_REPOSITORY, "h.x/r", 0, "h.x/a:2", "h.x/a:2", false},
        {POLICY_REMAP_IDENTITY, "m.x", "h.x", "m.x/a:2", "h.x/a:2", true},
        {POLICY_REMAP_IDENTITY, "m.x", "h.x", "m.xy/a:2", "h.x/a:2", false},
        {POLICY_REMAP_IDENTITY, "m.x/a", "h.x/b", "m.x/a:2", "h.x/b:2", true},
        {POLICY_REMAP_IDENTITY, "m.x/a", "h.x/b", "m.x/ab:2", "m.x/ab:2", true},
        {POLICY_IDENTITY_MAX, 0, 0, "h.x/a:1", "h.x/a:1", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const bool map = table[i].kind == POLICY_REMAP_IDENTITY;
        const struct policy_signed_identity id = {.kind = table[i].kind,
                                                  .reference = map ? NULL : (char *)table[i].a,
                                                  .prefix = map ? (char *)table[i].a : NULL,
                                                  .signed_prefix = map ? (char *)table[i].b : NULL};
        if (policy_identity_matches(&id, table[i].wanted, table[i].claimed) != table[i].matches)
            fail_msg("%zu: %s, %s", i, table[i].wanted, table[i].claimed);
    }
}

static void test_payloads(void **state)
{
    static const char good[] =
        "{\"critical\":{\"type\":\"t\",\"image\":{\"docker-manifest-digest\":\"d\"},"
        "\"identity\":{\"docker-reference\":\"r\"}},\"optional\":{\"creator\":\"x\"}}";
    static const char *const bad[] = {
        "{}",
        "{\"critical\":{\"type\":\"t\",\"image\":{\"docker-manifest-digest\":\"d\"}}}",
        "{\"critical\":{\"type\":\"t\",\"image\":{\"docker-manifest-digest\":\"\"},"
        "\"identity\":{\"docker-reference\":\"r\"}}}",
        "{\"critical\":{\"type\":\"t\",\"more\":1,\"image\":{\"docker-manifest-digest\":\"d\"},"
        "\"identity\":{\"docker-reference\":\"r\"}}}",
        "{\"critical\":{\"type\":\"t\",\"image\":{\"docker-manifest-digest\":\"d\"},"
        "\"identity\":{\"docker-reference\":\"r\"}},\"critical\":{}}",
    };
    CLEANUP(policy_payload_done) struct policy_payload p = {0};

    assert_int_equal(policy_payload_parse(good, strlen(good), &p, NULL), 0);
    assert_string_equal(p.digest, "d");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct policy_payload q = {0};
        if (policy_payload_parse(bad[i], strlen(bad[i]), &q, NULL) >= 0)
            fail_msg("taken: %s", bad[i]);
    }
}

static void test_gpgv_words(void **state)
{
#define GOOD                                                                                       \
    "[GNUPG:] NEWSIG a\n[GNUPG:] PLAINTEXT 62 1 \n[GNUPG:] GOODSIG 1 a\n[GNUPG:] VALIDSIG F 2\n"
    static const char *const bad[] = {
        "",
        "[GNUPG:] GOODSIG 1 a\n",
        GOOD GOOD,
        GOOD "[GNUPG:] REVKEYSIG 1 a\n",
        GOOD "[GNUPG:] EXPKEYSIG 1 a\n",
        GOOD "[GNUPG:] BADSIG 1 a\n",
        GOOD "[GNUPG:] NEWSIG\n",
        GOOD "[GNUPG:] PLAINTEXT 62 2\n",
        "GOODSIG 1 a\nVALIDSIG\nPLAINTEXT\nNEWSIG\n",
    };

    assert_null(gpgv_status_reason(GOOD));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (!gpgv_status_reason(bad[i]))
            fail_msg("taken: %s", bad[i]);
}

static void test_keys(void **state)
{
    static const char armor[] = "-----BEGIN PGP PUBLIC KEY BLOCK-----\r\nVersion: x\r\n\r\n"
                                "mQEN\r\nAAAA\r\n=abcd\r\n-----END PGP PUBLIC KEY BLOCK-----\r\n";
    AUTO(buf) struct buf b = BUF_INIT(1024);

    assert_int_equal(gpgv_read_keys(armor, strlen(armor), &b, NULL), 0);
    assert_int_equal(b.len, 6);
    assert_int_equal((unsigned char)b.data[0], 0x99);
    assert_int_equal(gpgv_read_keys("\x99x", 2, &b, NULL), 0);
    assert_int_equal(b.len, 8);
    assert_int_equal(gpgv_read_keys("hello", 5, &b, NULL), -EINVAL);
    assert_int_equal(gpgv_read_keys("", 0, &b, NULL), -EINVAL);
    assert_int_equal(gpgv_read_keys(armor, 60, &b, NULL), -EINVAL);
}

static int note(void *data, const char *scope, const char *key, const char *value, struct error *e)
{
    return buf_printf(data, "%s|%s|%s;", scope, key, value);
}

static void test_lookaside(void **state)
{
    static const char good[] = "# x\n---\ndefault-docker:\n  lookaside: file:///a # b\n"
                               "docker:\n    h.x:5000/ns:\n        lookaside: \"https://s/#y\"\n"
                               "        use-sigstore-attachments: true\n\n    'q.io':\n"
                               "        sigstore: 'z'\n    none: {}\n";
    static const char *const bad[] = {
        "docker: [a]\n",
        "other:\n  a: b\n",
        "docker:\n  a: b\n",
        "docker:\n\ta: b\n",
        "docker:\n  a:\n    b:\n      c: d\n",
        "docker\n",
        "docker:\n  a:\n    lookaside: |\n      x\n",
        "docker:\n  a:\n    - lookaside: x\n",
        "docker:\n  a:\n    lookaside: \"x\n",
    };
    AUTO(buf) struct buf b = BUF_INIT(4096);

    assert_int_equal(lookaside_parse(good, note, &b, NULL), 0);
    assert_string_equal(buf_str(&b), "|lookaside|file:///a;h.x:5000/ns|lookaside|https://s/#y;"
                                     "h.x:5000/ns|use-sigstore-attachments|true;q.io|sigstore|z;");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (lookaside_parse(bad[i], note, &b, NULL) >= 0)
            fail_msg("taken: %s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scopes),       cmocka_unit_test(test_archives),
        cmocka_unit_test(test_certificates), cmocka_unit_test(test_requirements),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_identities),
        cmocka_unit_test(test_payloads),     cmocka_unit_test(test_gpgv_words),
        cmocka_unit_test(test_keys),         cmocka_unit_test(test_lookaside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
