/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a repository may be asked for, in order: what pouchd makes of its configuration (files, flags,
 * credentials, health) for one operation, and the worker follows. Linked by both. It goes to the
 * worker as JSON in a memfd, because certificates and keys are in it: the worker could not read
 * those files itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "base/macros.h"

#define REGISTRY_PLAN_MAX      (8u * 1024 * 1024)
#define REGISTRY_ENDPOINTS_MAX 32

/* What an endpoint is good for. */
enum registry_need { REGISTRY_PULL = 1, REGISTRY_RESOLVE = 2, REGISTRY_PUSH = 4 };

struct registry_endpoint {
    char *name;       /* host[:port] as shown in messages and used for health */
    char *scheme;     /* http, https, "": plain HTTP is tried first, then HTTPS */
    char *host;       /* host[:port] */
    char *prefix;     /* path of the API without the last slash: "/v2" */
    char *repository; /* the repository's name there */
    char *ns;         /* value of the query parameter ns=, or NULL */
    uint64_t needs;   /* REGISTRY_… it is good for */
    bool mirror;      /* not the registry itself: its failures are not the end */
    bool tag_only, digest_only;
    bool insecure;            /* plain HTTP may be used, also by redirects and token servers */
    bool skip_verify;         /* any certificate */
    char *ca;                 /* PEM: trusted beside the system's, or NULL */
    char *cert, *key;         /* PEM: our own, or NULL */
    char **headers;           /* "Name: value" for each request */
    uint64_t dial_timeout_ms; /* 0: the default */
    char *username, *password, *identity_token, *registry_token;
};

struct registry_plan {
    char *registry;             /* the host all this is about */
    struct json_list endpoints; /* of struct registry_endpoint */
    char *http_proxy, *https_proxy, *no_proxy;
    uint64_t rate_limit_wait; /* seconds a registry may make one request wait */
    char *
        login_problem; /* not for the worker: why pouchd's own credentials are of no use, or NULL */
};
extern const struct json_desc registry_plan_json;

void registry_plan_done(struct registry_plan *p);
/* Writes it to a new memfd. */
int registry_plan_to_fd(const struct registry_plan *p, int *ret_fd, struct error *e) MUST_CHECK;
/* Reads what the other side wrote; fd is borrowed. */
int registry_plan_from_fd(int fd, struct registry_plan *ret, struct error *e) MUST_CHECK;
