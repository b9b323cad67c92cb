/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from the kernel to main() of a static program, without asking what processor this is.
 *
 * glibc's own start executes the CPUID instruction about fifty times, for the sizes of caches and for the fastest
 * memcpy. In a virtual machine each of them is an exit to the hypervisor, 10 to 25 us here: more than half a
 * millisecond for each program that is started, which is more than all else that `pouch-oci start` does. This file
 * does what glibc's __libc_start_main() does, in its order, but for that. The string functions are then those for any
 * x86-64 (SSE2), and the cache sizes glibc's defaults.
 *
 * It leans on names inside of glibc's archive, so it is built for the version it was written for alone, where the
 * linker finds them all (base/meson.build); elsewhere a program starts as any other does. Nothing but what is in
 * libc.a may be used by a program that starts so: no dlopen, no NSS, which ask for the processor's state.
 *
 * Until the relocations are done neither a string function nor a pointer in static data may be used here.
 */
#include <elf.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/quick-start.h"

/* A program that is not position-independent has its indirect functions here; one that is has none. */
extern const Elf64_Rela __rela_iplt_start[] __attribute__((weak));
extern const Elf64_Rela __rela_iplt_end[] __attribute__((weak));

#pragma GCC visibility push(hidden)
extern char **__environ;
extern void *__libc_stack_end;
extern uintptr_t *_dl_random;
extern int __libc_enable_secure;
extern long __x86_shared_non_temporal_threshold;
extern long __x86_rep_movsb_stop_threshold;
extern long __x86_shared_cache_size;
extern void (*__preinit_array_start[])(int, char **, char **);
extern void (*__preinit_array_end[])(int, char **, char **);
extern void (*__init_array_start[])(int, char **, char **);
extern void (*__init_array_end[])(int, char **, char **);
extern void (*__fini_array_start[])(void);
extern void (*__fini_array_end[])(void);

void _dl_aux_init(Elf64_auxv_t *auxv);
void __tunables_init(char **env);
void _dl_relocate_static_pie(void);
void __libc_setup_tls(void);
void __libc_early_init(_Bool initial);
void __libc_init_first(int argc, char **argv, char **env);
void __libc_check_standard_fds(void);
int __cxa_atexit(void (*fn)(void *), void *data, void *dso);
void _init(void);
void _fini(void);
int main(int argc, char **argv, char **env);
_Noreturn void quick_start_c(uintptr_t *stack);
#pragma GCC visibility pop

/* What the linker's -e names: the kernel's stack is the argument. */
__asm__(".pushsection .text.quick_start,\"ax\",@progbits\n"
        ".globl quick_start\n"
        ".hidden quick_start\n"
        ".type quick_start,@function\n"
        "quick_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rsp, %rdi\n"
        "    andq $-16, %rsp\n"
        "    call quick_start_c\n"
        "    hlt\n"
        ".size quick_start, .-quick_start\n"
        ".popsection\n");

__attribute__((weak)) void quick_start_first(int argc, char **argv, char **env) {}

static void choose_functions(void)
{
    for (const Elf64_Rela *r = __rela_iplt_start; r < __rela_iplt_end; r++)
        *(uintptr_t *)r->r_offset = ((uintptr_t(*)(void))(uintptr_t)r->r_addend)();
}

static void call_fini(void *unused)
{
    for (size_t i = (size_t)(__fini_array_end - __fini_array_start); i > 0; i--)
        __fini_array_start[i - 1]();
    _fini();
}

static void call_init(int argc, char **argv, char **env)
{
    for (size_t i = 0; i < (size_t)(__preinit_array_end - __preinit_array_start); i++)
        __preinit_array_start[i](argc, argv, env);
    _init();
    for (size_t i = 0; i < (size_t)(__init_array_end - __init_array_start); i++)
        __init_array_start[i](argc, argv, env);
}

/* Not inlined: the guards of the stack's frames are checked against what is set here. */
static void set_guards(const uintptr_t *random)
{
    __asm__ volatile("movq %0, %%fs:0x28" ::"r"(random[0] & ~(uintptr_t)0xff));
    __asm__ volatile("movq %0, %%fs:0x30" ::"r"(random[1]));
}

void quick_start_c(uintptr_t *stack)
{
    int argc = (int)stack[0];
    char **argv = (char **)(stack + 1);
    char **env = argv + argc + 1;
    char **end = env;

    quick_start_first(argc, argv, env);
    while (*end)
        end++;
    __environ = env;
    __libc_stack_end = stack;
    _dl_aux_init((Elf64_auxv_t *)(end + 1));
    __tunables_init(env);
    /* Where these are 0, memcpy() takes everything for too large for the cache. */
    __x86_shared_non_temporal_threshold = __x86_shared_cache_size * 3 / 4;
    __x86_rep_movsb_stop_threshold = __x86_shared_non_temporal_threshold;
    _dl_relocate_static_pie();
    choose_functions();
    __libc_setup_tls();
    set_guards(_dl_random);
    __libc_early_init(1);
    __libc_init_first(argc, argv, __environ);
    (void)__cxa_atexit(call_fini, NULL, NULL);
    if (__libc_enable_secure)
        __libc_check_standard_fds();
    call_init(argc, argv, __environ);
    exit(main(argc, argv, __environ));
}
