/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs-verity for layer files, where the file system has it: the kernel then checks every block of a
 * layer as it is read. It is switched on by the janitor, when the file is on disk anyway, as that
 * waits for the disk: no pull does. The measure goes on record, and is looked at before each mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strv.h"
#include "image/image-priv.h"
#include "oci/digest.h"
#include "sys/verity.h"

void image_layer_measure(struct image_store *s, const char *hex, char ret[VERITY_MEASURE_MAX])
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOFREE char *like = xasprintf("%%:%s", hex);

    *ret = 0;
    if (store_query(s->db, &rows, NULL,
                    "SELECT verity FROM layers WHERE diff_id LIKE ? AND form = 'erofs'", "s",
                    like) >= 0 &&
        store_rows_next(&rows, NULL) == 1)
        (void)snprintf(ret, VERITY_MEASURE_MAX, "%s", store_col_str(&rows, 0));
}

static int open_layer(struct image_store *s, const char *diff_id)
{
    AUTOFREE char *name = image_layer_name(diff_id, IMAGE_LAYER_EROFS);
    int fd = openat(s->layers_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd < 0 ? -errno : fd;
}

static int enable(struct image_store *s, const char *diff_id)
{
    AUTOFD int fd = open_layer(s, diff_id);

    return fd < 0 ? fd : verity_enable(fd);
}

bool image_verity_is_good(struct image_store *s, const char *diff_id)
{
    char want[VERITY_MEASURE_MAX] = "", have[VERITY_MEASURE_MAX] = "";
    AUTOFD int fd = -EBADF;

    image_layer_measure(s, digest_hex(diff_id), want);
    if (!*want)
        return true;
    fd = open_layer(s, diff_id);
    return fd >= 0 && verity_measure(fd, have) == 0 && STREQ(want, have);
}

/* Measured here and now, not believed later. In a transaction, so that what fsck puts in a damaged
 * layer's place does not get the measure of that one. */
static void record(struct image_store *s, const char *diff_id)
{
    char measure[VERITY_MEASURE_MAX] = "";

    if (store_begin(s->db, NULL) < 0)
        return;
    AUTOFD int fd = open_layer(s, diff_id);
    if (fd >= 0 && verity_measure(fd, measure) == 0 &&
        store_exec(s->db, NULL, "UPDATE layers SET verity = ? WHERE diff_id = ? AND form = 'erofs'",
                   "ss", measure, diff_id) >= 0)
        (void)!store_commit(s->db, NULL);
    else
        store_rollback(s->db);
}

void image_verity_round(struct image_store *s)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    AUTOPTR(strv) char **ids = NULL;
    char *none[] = {NULL};
    bool any = false;

    if (store_query(s->db, &rows, NULL,
                    "SELECT diff_id FROM layers WHERE form = 'erofs' AND verity = '' AND boot = ''",
                    "") < 0)
        return;
    while (store_rows_next(&rows, NULL) == 1)
        strv_push(&ids, store_col_str(&rows, 0));
    store_rows_done(&rows);
    if (!ids)
        return;
    /* Not removed, and not made anew by another, while they get it. */
    for (size_t i = 0; ids[i]; i++) {
        image_store_pin(s, ids[i]);
        int r = enable(s, ids[i]);
        any = any || r >= 0;
        if (r < 0 && r != -ENOENT)
            log_warn("cannot give fs-verity to a layer", "layer=%s error=\"%s\"", ids[i],
                     strerror(-r));
    }
    /* No measure is on record before the disk has what it measures. Not by fsync(): after that,
     * btrfs (Linux 6.1) has the file's verity flag in its log, but not the descriptor, and after a
     * power cut nobody can open the file any more (EINVAL). */
    if (any && syncfs(s->layers_fd) < 0)
        log_warn("cannot write fs-verity of layers to disk; tried again later",
                 "root=%s error=\"%s\"", s->root, strerror(errno));
    else
        for (size_t i = 0; any && ids[i]; i++)
            record(s, ids[i]);
    for (size_t i = 0; ids[i]; i++)
        image_store_unpin(s, ids[i]);
    (void)!image_store_collect(s, ids, none, NULL, NULL); /* what was removed meanwhile */
}

int image_store_layer_replaced(struct image_store *s, const char *diff_id, const char *name,
                               struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/layers/%s", s->root, name);
    int r = store_exec(s->db, e, "UPDATE layers SET verity = '' WHERE diff_id = ?", "s", diff_id);

    if (r >= 0 && s->layer_going)
        s->layer_going(s->in_use_data, path);
    return r < 0 ? r : 0;
}

void image_store_layer_replaced_done(struct image_store *s, const char *name)
{
    AUTOFREE char *path = xasprintf("%s/layers/%s", s->root, name);

    if (s->layer_gone)
        s->layer_gone(s->in_use_data, path);
}
