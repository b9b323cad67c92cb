/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small macros that every file may use: attributes, scoped clean-up, hand-over.
 *
 * A variable that owns something says so where it is declared:
 *
 *     AUTOFREE char *path = NULL;
 *     AUTOFD int fd = -EBADF;
 *     AUTO(buf) struct buf b = BUF_INIT(4096);       (calls buf_done(&b))
 *     AUTOPTR(image) struct image *img = NULL;       (calls image_free(img))
 *
 * and gives it away only through take_ptr() or take_fd().
 */
#pragma once

#include <errno.h>
#include <stddef.h>

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define CLEANUP(fn)            __attribute__((cleanup(fn), unused)) /* clang: a guard is not unused */
#define ARRAY_SIZE(a)          (sizeof(a) / sizeof((a)[0]))
#define STREQ(a, b)            (__builtin_strcmp((a), (b)) == 0)

/* Scoped clean-up of a struct on the stack: AUTO(buf) calls buf_done(&var). */
#define AUTO(type) CLEANUP(type##_done)

/* Scoped clean-up of a pointer: needs DEFINE_AUTOPTR(struct type, type) after type_free(). */
#define AUTOPTR(type) CLEANUP(type##_freep)
#define DEFINE_AUTOPTR(ctype, type)                                                                \
    static inline void type##_freep(ctype **p)                                                     \
    {                                                                                              \
        type##_free(*p);                                                                           \
    }

void base_freep(void *p);
void base_closep(int *fd);

#define AUTOFREE CLEANUP(base_freep)
#define AUTOFD   CLEANUP(base_closep)

/* Hands over: the variable forgets what it owned. */
#define take_ptr(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })
#define take_fd(fd)                                                                                \
    ({                                                                                             \
        int taken_fd_ = (fd);                                                                      \
        (fd) = -EBADF;                                                                             \
        taken_fd_;                                                                                 \
    })
