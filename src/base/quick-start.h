/* SPDX-License-Identifier: Apache-2.0 */
/* The start of static programs without CPUID: see quick-start.c. */
#pragma once

/*
 * A program may define it: called before anything else, also before the C library is there. It may use system
 * calls and its arguments, no functions and no static data with pointers.
 */
void quick_start_first(int argc, char **argv, char **env);
