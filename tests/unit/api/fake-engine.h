/* SPDX-License-Identifier: Apache-2.0 */
/* An engine without containers: answers from fixed data and notes what it was asked. */
#pragma once

#include "engine/engine.h"

#define FAKE_ID   "4f66ad9a0b2e1ad9f2b9fa6a0a1f1ad2f5a7b1a5f4a1c0a4f66ad9a0b2e1ad9f"
#define FAKE_EXEC "e1c0a4f66ad9a0b2e1ad9f2b9fa6a0a1f1ad2f5a7b1a5f4a1c0a4f66ad9a0b2e"

/* The last call, and what it was given: "stop web signal=INT t=5". */
extern char fake_said[4096];

struct engine *fake_engine_new(void);
void fake_engine_free(struct engine *en);
/* Ends the container "web": its waiters wake with this code. */
void fake_engine_exit(struct engine *en, int code);
