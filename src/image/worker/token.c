/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rights at a registry: what its challenges ask for (basic credentials, or tokens of the
 * distribution project's token server: GET with basic credentials, or OAuth2 POST with an identity
 * token), kept by scope. Credentials go only where the registry itself sends us, and in the clear
 * or past a bad certificate only to a host that was named insecure.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "base/str.h"
#include "image/worker/worker.h"

#define TOKEN_MAX     (256u * 1024)
#define TOKEN_TIMEOUT 60 /* seconds */
#define CLIENT_ID     "pouch"

struct token {
    struct token *next;
    char *scope; /* what the request wanted, "" none */
    char *value;
};

void auth_init(struct auth *a, const struct registry_endpoint *ep, const char *reference,
               const struct http_setup *setup)
{
    *a = (struct auth){.host = ep->name,
                       .reference = str_is_empty(reference) ? ep->name : reference,
                       .username = ep->username,
                       .password = ep->password,
                       .identity_token = ep->identity_token,
                       .registry_token = ep->registry_token,
                       .setup = setup};
    pthread_mutex_init(&a->lock, NULL);
}

void auth_done(struct auth *a)
{
    while (a->tokens) {
        struct token *t = a->tokens;
        a->tokens = t->next;
        free(t->scope);
        free(t->value);
        free(t);
    }
    free(a->refresh_token);
    pthread_mutex_destroy(&a->lock);
}

void auth_used_done(struct auth_used *u)
{
    free(u->token);
}

/* The lock is held. */
static struct token *find_token(struct auth *a, const char *scope)
{
    for (struct token *t = a->tokens; t; t = t->next)
        if (STREQ(t->scope, scope ? scope : ""))
            return t;
    return NULL;
}

void auth_apply(struct auth *a, const char *scope, struct http_request *req, struct auth_used *used)
{
    pthread_mutex_lock(&a->lock);
    const struct token *t = find_token(a, scope);
    used->token = xstrdup_or_null(t ? t->value : NULL);
    used->basic = a->basic;
    pthread_mutex_unlock(&a->lock);
    if (!used->token && !used->basic && !str_is_empty(a->registry_token))
        used->token = xstrdup(a->registry_token);
    req->bearer = used->token;
    if (used->basic) {
        req->username = a->username;
        req->password = a->password;
    }
}

/* --- Asking a token server ----------------------------------------------------------------------- */

struct token_answer {
    char *token;
    char *access_token;
    char *refresh_token;
};
static const struct json_field token_fields[] = {
    JSON_FIELD(struct token_answer, token, "token", JSON_STR, 0),
    JSON_FIELD(struct token_answer, access_token, "access_token", JSON_STR, 0),
    JSON_FIELD(struct token_answer, refresh_token, "refresh_token", JSON_STR, 0),
    JSON_END,
};
static const struct json_desc token_json = {"token", sizeof(struct token_answer), token_fields};

static int token_sink(void *data, const void *bytes, size_t len)
{
    return buf_append(data, bytes, len);
}

static void put_form(struct buf *b, const char *key, const char *value)
{
    char *v = curl_easy_escape(NULL, value, 0);

    (void)buf_printf(b, "%s%s=%s", b->len > 0 ? "&" : "", key, v ? v : "");
    curl_free(v);
}

/* OAuth2: an identity token, or else the password, for a token. */
static char *oauth_form(const struct auth *a, const struct challenge *c, const char *scope)
{
    struct buf b = BUF_INIT(TOKEN_MAX);

    if (!str_is_empty(a->identity_token)) {
        put_form(&b, "grant_type", "refresh_token");
        put_form(&b, "refresh_token", a->identity_token);
    } else {
        put_form(&b, "grant_type", "password");
        put_form(&b, "username", a->username);
        put_form(&b, "password", a->password ? a->password : "");
        if (a->offline)
            put_form(&b, "access_type", "offline");
    }
    put_form(&b, "client_id", CLIENT_ID);
    put_form(&b, "service", c->service ? c->service : "");
    if (scope)
        put_form(&b, "scope", scope);
    return buf_take(&b);
}

/* Host of "scheme://host:port/…", in *ret_https whether it is HTTPS; NULL when malformed. */
static char *url_host(const char *url, bool *ret_https)
{
    bool https = strncasecmp(url, "https://", 8) == 0;

    if (!https && strncasecmp(url, "http://", 7) != 0)
        return NULL;
    url += https ? 8 : 7;
    *ret_https = https;
    size_t n = strcspn(url, "/?#");
    if (n == 0 || memchr(url, '@', n) || memchr(url, '\\', n))
        return NULL;
    n = *url == '[' ? strcspn(url, "]") + 1 : strcspn(url, ":/?#");
    return xstrndup(url, n);
}

static bool is_loopback(const char *host)
{
    return STREQ(host, "localhost") || STREQ(host, "[::1]") ||
           (str_has_prefix(host, "127.") && !host[strspn(host, "0123456789.")]);
}

/* Where tokens come from must be as trusted as where they go: HTTPS with a good certificate, unless
 * it is the insecure registry's own host (or both are this machine). */
static int check_realm(const struct auth *a, const char *realm, bool *ret_insecure, struct error *e)
{
    bool https = false;
    AUTOFREE char *host = url_host(realm, &https);
    AUTOFREE char *registry = xstrndup(a->host, *a->host == '[' ? strcspn(a->host, "]") + 1
                                                                : strcspn(a->host, ":/"));

    if (!host)
        return error_set(e, ERR_FORBIDDEN, "registry %s wants tokens from %.200s, which is no URL",
                         a->host, realm);
    *ret_insecure = a->setup->insecure && (strcasecmp(host, registry) == 0 ||
                                           (is_loopback(host) && is_loopback(registry)));
    if (!https && !*ret_insecure)
        return error_set(e, ERR_FORBIDDEN,
                         "registry %s wants tokens from %.200s, which is not HTTPS", a->host,
                         realm);
    return 0;
}

/* The scopes wanted, and those of the challenge that are not among them. */
static char *join_scopes(const char *wanted, const char *asked)
{
    if (!asked || !*asked)
        return xstrdup_or_null(wanted);
    struct buf b = BUF_INIT(TOKEN_MAX);
    (void)buf_puts(&b, asked);
    for (const char *s = wanted ? wanted : ""; *s; s += strspn(s, " ")) {
        size_t n = strcspn(s, " ");
        AUTOFREE char *one = xstrndup(s, n);
        const char *last = strrchr(one, ':');
        /* "repository:x:pull" is in "repository:x:pull,push" */
        AUTOFREE char *resource = xstrndup(one, last ? (size_t)(last - one + 1) : n);
        if (n > 0 && !strstr(asked, resource))
            (void)buf_printf(&b, " %s", one);
        s += n;
    }
    return buf_take(&b);
}

static int refused(const struct auth *a, struct error *e)
{
    const char *why = !str_is_empty(a->identity_token)
                          ? "the identity token is not accepted (log in again)"
                      : !str_is_empty(a->username) ? "incorrect username or password"
                                                   : "authentication required";

    if (STREQ(a->host, a->reference))
        return error_set(e, ERR_FORBIDDEN, "registry %s refuses access: unauthorized: %s", a->host,
                         why);
    return error_set(e, ERR_FORBIDDEN, "registry %s refuses access to %s: unauthorized: %s",
                     a->host, a->reference, why);
}

static int ask(struct auth *a, struct http_client *client, const struct challenge *c,
               const char *scope, bool post, struct http_response *resp, struct buf *body,
               struct error *e)
{
    AUTOFREE char *url = NULL, *form = NULL;
    struct http_setup setup = *a->setup;
    struct http_request req = {.setup = &setup,
                               .total_timeout = TOKEN_TIMEOUT,
                               .sink = token_sink,
                               .sink_data = body};
    int r = check_realm(a, c->realm, &setup.insecure, e);

    if (r < 0)
        return r;
    setup.skip_verify = setup.skip_verify && setup.insecure;
    if (post) {
        url = xstrdup(c->realm);
        req.form = form = oauth_form(a, c, scope);
    } else {
        url = challenge_url(c, scope);
        if (!str_is_empty(a->username)) {
            AUTOFREE char *plain = take_ptr(url);
            char *account = curl_easy_escape(NULL, a->username, 0);
            url = xasprintf("%s%caccount=%s&client_id=" CLIENT_ID "%s", plain,
                            strchr(plain, '?') ? '&' : '?', account ? account : "",
                            a->offline ? "&offline_token=true" : "");
            curl_free(account);
            req.username = a->username;
            req.password = a->password;
        }
    }
    req.url = url;
    r = http_perform(client, &req, resp, e);
    if (r < 0 && e->message)
        error_add(e, "cannot get a token for %s", a->reference);
    else if (r < 0)
        r = error_set(e, ERR_INTERNAL, "the token for %s is too large", a->reference);
    if (form)
        explicit_bzero(form, strlen(form));
    return r;
}

static int fetch_token(struct auth *a, struct http_client *client, const struct challenge *c,
                       const char *wanted, char **ret, struct error *e)
{
    AUTO(buf) struct buf body = BUF_INIT(TOKEN_MAX);
    CLEANUP(http_response_done) struct http_response resp = {0};
    AUTOFREE char *scope = join_scopes(wanted, c->scope);
    struct token_answer answer = {0};
    bool identity = !str_is_empty(a->identity_token);
    int r = ask(a, client, c, scope, identity, &resp, &body, e);

    if (r >= 0 && !identity && !str_is_empty(a->username) &&
        (resp.status == 404 || resp.status == 405)) { /* a server that knows OAuth2 only */
        http_response_done(&resp);
        buf_clear(&body);
        r = ask(a, client, c, scope, true, &resp, &body, e);
    }
    if (r < 0)
        return r;
    if (resp.status == 401 || resp.status == 403 || (resp.status == 400 && identity))
        return refused(a, e);
    if (resp.status < 200 || resp.status > 299)
        return error_set(e, ERR_UNAVAILABLE, "the token server of registry %s answered %ld",
                         a->host, resp.status);
    r = json_parse(&token_json, buf_str(&body), body.len, &answer, e);
    if (r < 0) {
        error_add(e, "the token server of registry %s", a->host);
        return r;
    }
    char *token = !str_is_empty(answer.token) ? answer.token : answer.access_token;
    if (str_is_empty(token))
        r = error_set(e, ERR_FORBIDDEN, "the token server of registry %s gave no token", a->host);
    else
        *ret = xstrdup(token);
    if (r >= 0 && !str_is_empty(answer.refresh_token)) {
        pthread_mutex_lock(&a->lock);
        str_replace(&a->refresh_token, answer.refresh_token);
        pthread_mutex_unlock(&a->lock);
    }
    json_free(&token_json, &answer);
    return r;
}

int auth_answer(struct auth *a, struct http_client *client, const char *header, const char *scope,
                const struct auth_used *used, struct error *e)
{
    CLEANUP(challenge_done) struct challenge c = {0};
    char *token = NULL;

    if (challenge_parse(header, &c) < 0)
        return error_set(e, ERR_FORBIDDEN, "registry %s asks for an unknown kind of authentication",
                         a->host);
    if (c.scheme == CHALLENGE_BASIC) {
        if (used->basic || str_is_empty(a->username))
            return refused(a, e);
        pthread_mutex_lock(&a->lock);
        a->basic = true;
        pthread_mutex_unlock(&a->lock);
        return 0;
    }
    pthread_mutex_lock(&a->lock); /* a thread that failed with an older token just takes the new */
    const struct token *known = find_token(a, scope);
    bool fresh = known && (!used->token || !STREQ(known->value, used->token));
    pthread_mutex_unlock(&a->lock);
    if (fresh)
        return 0;
    int r = fetch_token(a, client, &c, scope, &token, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&a->lock);
    struct token *t = find_token(a, scope);
    if (!t) {
        t = xcalloc(1, sizeof(*t));
        t->scope = xstrdup(scope ? scope : "");
        t->next = a->tokens;
        a->tokens = t;
    }
    free(t->value);
    t->value = token;
    a->basic = false;
    pthread_mutex_unlock(&a->lock);
    return 0;
}
