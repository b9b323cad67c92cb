/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Docker Engine API, versions 1.24 to 1.52: routes for http/server.h. Every handler decodes
 * the request, makes one call of the engine and encodes the answer; there is no state here.
 */
#pragma once

#include "http/server.h"

#define DOCKER_API_MAX_MINOR 52
#define DOCKER_API_MIN_MINOR 24
#define DOCKER_API_VERSION   "1.52"
#define DOCKER_API_MIN       "1.24"

struct engine;

/* The `ctx` of the routes. */
struct docker_api {
    struct engine *engine;
};

/* Give these to http_server_start() with a struct docker_api as ctx. */
extern const struct http_route docker_routes[];
/* Skips the version prefix and remembers the version; refuses too old and too new ones; answers
 * what has no route (OPTIONS, swarm). */
int docker_prepare(struct http_request *req, const char **path, void *ctx);
/* Server, Api-Version, Ostype, Docker-Experimental. */
void docker_headers(struct http_request *req, void *ctx);
