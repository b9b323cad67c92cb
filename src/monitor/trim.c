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

#define PAGE 4096UL

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
