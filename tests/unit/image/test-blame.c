/* SPDX-License-Identifier: Apache-2.0 */
/* Wrong bytes of a layer: who is asked next, and who is found out. Attempts are played through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "image/worker/blame.h"

#define LAYER "sha256:0000000000000000000000000000000000000000000000000000000000000000"

/* Endpoints "r0" … that may all be asked. */
static struct registry *registry_of(size_t n)
{
    struct registry *r = xcalloc(1, sizeof(*r));

    pthread_mutex_init(&r->lock, NULL);
    r->n = n;
    r->endpoints = xcalloc(n, sizeof(*r->endpoints));
    for (size_t i = 0; i < n; i++) {
        struct registry_endpoint *conf = xcalloc(1, sizeof(*conf));
        conf->name = xasprintf("r%zu", i);
        conf->needs = REGISTRY_PULL;
        r->endpoints[i].conf = conf;
    }
    return r;
}

static void registry_free(struct registry *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->endpoints[i].conf->name);
        free((void *)r->endpoints[i].conf);
        free(r->endpoints[i].why);
    }
    free(r->endpoints);
    free(r);
}

/* An attempt: ten bytes a letter; "aAb": twenty of endpoint 0, of which the second ten are wrong, then ten of
 * endpoint 1; '+' before a letter: by another connection; '*': from an earlier pull. */
static void play(struct blame *b, const char *how)
{
    struct digest_state h = {0};
    uint64_t at = 0;
    bool stitched = false;

    assert_int_equal(digest_state_init(&h, DIGEST_SHA256), 0);
    blame_begin(b, *how == '*' ? 10 : 0);
    for (; *how; how++) {
        char bytes[10];
        if (*how == '+') {
            stitched = true;
            continue;
        }
        bool bad = *how == '*' || (*how >= 'A' && *how <= 'Z');
        if (*how != '*')
            blame_giver(b, (size_t)((*how | 32) - 'a'), stitched || at > 0, at, &h);
        memset(bytes, bad ? 'x' : 'o', sizeof(bytes));
        for (size_t len = sizeof(bytes), n; len > 0; len -= n) {
            uint64_t seam = blame_next_seam(b, at);
            n = seam - at < len ? (size_t)(seam - at) : len;
            assert_int_equal(digest_state_update(&h, bytes, n), 0);
            at += n;
            if (at == seam)
                blame_at_seam(b, at, &h);
        }
        stitched = false;
    }
    digest_state_done(&h);
}

static void one_alone_is_guilty(void **state)
{
    (void)state;
    struct registry *r = registry_of(2);
    struct blame b;

    blame_init(&b, r, LAYER);
    assert_int_equal(b.all, 3);
    assert_int_equal(blame_avoid(&b), 0);
    blame_begin(&b, 0);
    assert_true(blame_may_continue(&b));
    struct digest_state h = {0};
    assert_int_equal(digest_state_init(&h, DIGEST_SHA256), 0);
    blame_giver(&b, 0, false, 0, &h);
    digest_state_done(&h);
    assert_true(blame_may_continue(&b));
    assert_true(blame_wrong(&b, "why not"));
    assert_true(r->endpoints[0].failed);
    assert_non_null(strstr(r->endpoints[0].why, "registry r0 gave wrong bytes for layer " LAYER));
    assert_int_equal(blame_avoid(&b), 1);
    assert_false(b.alone);
    blame_begin(&b, 0);
    play(&b, "b");
    assert_false(blame_may_continue(&b));
    blame_right(&b);
    assert_false(r->endpoints[1].failed);
    registry_free(r);
}

static void parts_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *wrong, *right;
        int guilty; /* -1: nobody */
    } cases[] = {
        {"aaB", "ccc", 1},  {"Abb", "ccc", 0},  {"aABb", "cccc", 0}, {"abAb", "cccc", 0},
        {"*aa", "ccc", -1}, {"*aA", "ccc", -1}, {"aBa", "ccc", 1},   {"a+A", "ccc", 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct registry *r = registry_of(3);
        struct blame b;
        blame_init(&b, r, LAYER);
        play(&b, cases[i].wrong);
        assert_true(blame_wrong(&b, "digest"));
        for (size_t k = 0; k < 3; k++) /* nobody can tell yet */
            assert_false(r->endpoints[k].failed);
        assert_true(blame_avoid(&b) & 1);
        assert_false(blame_avoid(&b) & 4);
        play(&b, cases[i].right);
        blame_right(&b);
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(r->endpoints[k].failed, (int)k == cases[i].guilty);
        registry_free(r);
    }
}

/* Suspects only: each alone, the first one too; then it is over. */
static void it_ends(void **state)
{
    (void)state;
    struct registry *r = registry_of(2);
    struct blame b;
    AUTO(error) struct error e = ERROR_INIT;

    blame_init(&b, r, LAYER);
    play(&b, "aB");
    assert_true(blame_wrong(&b, "digest"));
    assert_true(b.alone);
    assert_int_equal(blame_avoid(&b), ~(uint64_t)1);
    play(&b, "A+a");
    assert_true(blame_wrong(&b, "digest"));
    assert_true(r->endpoints[0].failed);
    assert_int_equal(blame_avoid(&b), ~(uint64_t)2);
    assert_false(blame_no_source(&b));
    (void)error_set(&e, ERR_INTERNAL, "the last");
    assert_true(blame_verdict(&b, &e));
    assert_non_null(strstr(e.message, "registry r0 gave wrong bytes"));
    registry_free(r);
}

/* One registry, whose ranges are wrong: once more by one stream, and no more. */
static void only_one(void **state)
{
    (void)state;
    struct registry *r = registry_of(1);
    struct blame b;
    AUTO(error) struct error e = ERROR_INIT;

    blame_init(&b, r, LAYER);
    assert_false(blame_no_source(&b));
    play(&b, "a+A");
    assert_true(blame_may_continue(&b));
    assert_true(blame_wrong(&b, "digest"));
    assert_true(b.alone);
    play(&b, "A");
    assert_false(blame_may_continue(&b));
    assert_false(blame_wrong(&b, "digest"));
    assert_false(blame_verdict(&b, &e));
    registry_free(r);
}

/* Answers without a byte: nobody is known to have given them, and it ends all the same. */
static void nothing_given_ends(void **state)
{
    (void)state;
    struct registry *r = registry_of(3);
    struct blame b;
    int attempts = 0;
    bool again = true;

    blame_init(&b, r, LAYER);
    while (again) {
        assert_true(++attempts <= 4);
        play(&b, "");
        again = blame_wrong(&b, "it is short");
    }
    registry_free(r);
}

/* However the bytes come: each attempt leaves fewer to ask. */
static void many_attempts_end(void **state)
{
    (void)state;
    static const char *const plays[] = {"A",   "aB",   "*a",           "*aBC",
                                        "a+A", "Dcba", "ABCDABCDABCD", "f"};

    srandom(7);
    for (int round = 0; round < 2000; round++) {
        struct registry *r = registry_of(6);
        struct blame b;
        int attempts = 0;
        bool again = true;
        blame_init(&b, r, LAYER);
        while (again) {
            assert_true(++attempts <= 13);
            if (random() % 4 == 0 && b.wrong) {
                blame_begin(&b, 0);
                again = blame_no_source(&b);
                continue;
            }
            if (b.alone) { /* the rules of registry_read(): nobody else is asked */
                char how[2] = {(char)('A' + __builtin_ctzll(b.only)), '\0'};
                play(&b, how);
            } else {
                const char *how = plays[random() % 8];
                char left[2] = {(char)('A' + __builtin_ctzll(b.all & ~blame_avoid(&b))), '\0'};
                bool may = true;
                for (const char *p = how; *p; p++)
                    may = may && ((*p < 'A') || !(blame_avoid(&b) >> ((*p | 32) - 'a') & 1));
                play(&b, may && attempts == 1 ? how : left);
            }
            again = blame_wrong(&b, "digest");
        }
        registry_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_alone_is_guilty),
        cmocka_unit_test(parts_are_told_apart),
        cmocka_unit_test(it_ends),
        cmocka_unit_test(only_one),
        cmocka_unit_test(nothing_given_ends),
        cmocka_unit_test(many_attempts_end),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
