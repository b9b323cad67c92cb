/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping the resident part small: the code that made the container was needed once. Dropping the
 * pages of the program's text from the page tables (they stay in the page cache) leaves only what
 * the monitor runs from then on; the kernel maps that again, 64 KiB around each first use.
 */
#include "monitor/monitor-priv.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "base/time.h"

#define PAGE     4096UL
#define DELAY_NS (200 * NSEC_PER_MSEC) /* after a start */
#define QUIET_NS (2 * NSEC_PER_SEC)    /* after other work */

void trim_text(void)
{
    const Elf64_Phdr *ph = (const void *)getauxval(AT_PHDR); // NOLINT(performance-no-int-to-ptr)
    size_t n = getauxval(AT_PHNUM);

    for (size_t i = 0; ph && i < n; i++) {
        unsigned long start = ph[i].p_vaddr & ~(PAGE - 1);
        unsigned long end = (ph[i].p_vaddr + ph[i].p_memsz + PAGE - 1) & ~(PAGE - 1);

        /* Never a writable segment: what was written to it would be gone. */
        if (ph[i].p_type == PT_LOAD && (ph[i].p_flags & PF_X) && !(ph[i].p_flags & PF_W))
            (void)madvise((void *)start, end - start, MADV_DONTNEED); // NOLINT
    }
}

static void on_trim_timer(struct source *source, void *data)
{
    struct mon *m = data;

    if (m->trim_due || !m->active)
        trim_text();
    m->trim_due = false;
    m->trim_armed = m->active;
    if (m->active)
        source_set_time(source, time_monotonic_ns() + QUIET_NS);
    m->active = false;
}

static void arm(struct mon *m, int64_t delay)
{
    int64_t when = time_monotonic_ns() + delay;

    m->trim_armed = true;
    if (m->trim_timer)
        source_set_time(m->trim_timer, when);
    else if (loop_add_timer(m->loop, when, on_trim_timer, m, &m->trim_timer) < 0)
        m->trim_timer = NULL; /* only bigger */
}

void trim_later(struct mon *m)
{
    m->trim_due = true;
    arm(m, DELAY_NS);
}

void trim_when_quiet(struct mon *m)
{
    m->active = true;
    if (!m->trim_armed)
        arm(m, QUIET_NS);
}
