/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery at the start of the engine. */
#pragma once

#include <stdbool.h>

struct container;
struct engine;

/* One container of the record, registered already: adopts it, or ends its old run. */
void recover_container(struct container *c, bool rebooted);
/* Afterwards: removes what belongs to no container. */
void recover_sweep(struct engine *en, bool rebooted);
