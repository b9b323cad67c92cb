/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health checks (docs/health.md). A probe is an exec in the container, made by its monitor.
 *
 * For each running container with a check the loop thread has a `struct probe`: a timer, and while a command
 * runs the socket with its output. What blocks (asking the monitor) is done by the engine's probers,
 * a pool of few threads; no container has a thread of its own.
 */
#pragma once

#include "engine/engine-priv.h"

struct health_state *health_ref(struct health_state *h); /* NULL is fine, as in the next */
void health_unref(struct health_state *h);

int health_validate(const struct container_config *config, const struct host_config *hc,
                    struct error *e) MUST_CHECK;
/* What the container does not say is the image's. */
void health_merge(struct container_config *config, const struct oci_image_config *img);
/* After it: an action needs a check. */
int health_check_action(const struct container_config *config, const struct host_config *hc,
                        struct error *e) MUST_CHECK;

int health_migrate(struct store *s, struct error *e) MUST_CHECK;
/* The state that the last pouchd knew: after record_load(). */
int health_load(struct engine *en, struct error *e) MUST_CHECK;

/* A run begins: "starting". c->mutex is not held. */
void health_reset(struct container *c, const struct container_definition *def);
/* The container is adopted: probes from now on. `again`: after a restart of pouchd. */
void health_start(struct container *c, const struct container_definition *def, bool again);
/* Its run has ended. c->mutex is held. */
void health_end(struct container *c);
void health_removed(struct container *c); /* the row, with the container's */
/* Any thread, no lock held. */
enum health_status health_status(struct container *c);

/* At the end of the engine, when the loop's thread and the workers are gone. */
void health_close(struct engine *en);
