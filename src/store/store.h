/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crash-safe state: one SQLite database (WAL) for the whole engine.
 *
 * Any thread may call. One connection, one mutex: a query or transaction holds it until it is
 * done, so nothing that blocks (mount, netlink, network, process) may happen in between.
 *
 * Durability: WAL with synchronous=NORMAL. A killed process loses nothing; a power cut may lose the
 * last transactions but never tears one (https://www.sqlite.org/pragma.html#pragma_synchronous).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"

struct store;

/* Opens or creates the database file. A file that is not a database, or that another pouchd holds,
 * is a clear error. */
int store_open(const char *path, struct store **ret, struct error *e) MUST_CHECK;
void store_close(struct store *s);

/*
 * Brings a module's tables up to date. steps is a NULL-ended list of SQL texts; step i leads from
 * version i to i + 1; what was done before is not done again. Each module counts its own version
 * (table `schema`). A database from a newer Pouch is refused.
 */
int store_migrate(struct store *s, const char *module, const char *const *steps,
                  struct error *e) MUST_CHECK;

/* A transaction; everything of this thread until commit or rollback belongs to it. Others wait. */
int store_begin(struct store *s, struct error *e) MUST_CHECK;
int store_commit(struct store *s, struct error *e) MUST_CHECK;
/* The same; when it fails, undo() is called before anybody else may look: for what was done beside the database. */
int store_commit_else(struct store *s, void (*undo)(void *data), void *data,
                      struct error *e) MUST_CHECK;
void store_rollback(struct store *s);

/*
 * On a full disk nothing could be removed, as a removal is written down as well: a file beside the
 * database keeps some room for that. store_make_room() gives it up when there is hardly any other,
 * before something is removed; store_keep_room() takes it again where there is enough (and costs
 * nothing while it is there).
 */
void store_make_room(struct store *s);
void store_keep_room(struct store *s);

/* Waits until the disk has every transaction that was committed. Not inside of one. */
int store_sync(struct store *s, struct error *e) MUST_CHECK;

/*
 * Runs one statement. `types` describes the arguments bound to its ?s in order:
 * s (const char *, NULL allowed), i (int64_t), b (const void *, size_t).
 *     store_exec(s, e, "DELETE FROM layers WHERE digest = ?", "s", digest);
 * Integer arguments must be cast to int64_t. Returns rows changed, or -errno (-EEXIST for a
 * violated UNIQUE constraint, -ENOSPC when the disk is full).
 */
int store_exec(struct store *s, struct error *e, const char *sql, const char *types, ...);

/*
 * Rows, one at a time. The store stays locked until store_rows_done(), which must be called (use
 * CLEANUP(store_rows_done)); strings and blobs are valid until the next store_rows_next().
 */
struct store_rows {
    struct store *store;
    void *stmt;
};
#define STORE_ROWS_INIT                                                                            \
    {                                                                                              \
        NULL, NULL                                                                                 \
    }
int store_query(struct store *s, struct store_rows *ret, struct error *e, const char *sql,
                const char *types, ...) MUST_CHECK;
int store_rows_next(struct store_rows *r, struct error *e) MUST_CHECK; /* 1, 0 at the end, <0 */
int64_t store_col_int(const struct store_rows *r, int column);
const char *store_col_str(const struct store_rows *r, int column); /* NULL for NULL */
const void *store_col_blob(const struct store_rows *r, int column, size_t *ret_len);
void store_rows_done(struct store_rows *r);
