/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite behind a few functions: see store.h. Prepared statements are kept by their text. */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/map.h"

#define RESERVE ((uint64_t)256 << 10)

struct store {
    pthread_mutex_t mutex; /* recursive: a transaction's own statements lock again */
    sqlite3 *db;
    struct map *statements; /* SQL text -> sqlite3_stmt * that nobody uses now */
    atomic_bool reserved;   /* the reserve is there */
};

static int errno_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
        return EEXIST;
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return EBUSY;
    case SQLITE_NOMEM:
        return ENOMEM;
    case SQLITE_READONLY:
        return EROFS;
    case SQLITE_CANTOPEN:
        return ENOENT;
    default:
        return EIO;
    }
}

static int fail(struct store *s, int rc, const char *what, struct error *e)
{
    int err = errno_of(rc);

    if (err == ENOSPC) /* in the words of every other full disk */
        (void)error_set(e, ERR_UNAVAILABLE, "database: %s: %s", what, strerror(ENOSPC));
    else
        (void)error_set(e, ERR_INTERNAL, "database: %s: %s", what,
                        s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
    return -err;
}

static void finalize(void *stmt)
{
    (void)sqlite3_finalize(stmt);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    map_free(s->statements, finalize);
    (void)sqlite3_close(s->db);
    (void)pthread_mutex_destroy(&s->mutex);
    free(s);
}

static int simple(struct store *s, const char *sql, struct error *e)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : fail(s, rc, sql, e);
}

int store_open(const char *path, struct store **ret, struct error *e)
{
    struct store *s = xcalloc(1, sizeof(*s));
    pthread_mutexattr_t attr;
    int rc;
    int r;

    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&s->mutex, &attr);
    (void)pthread_mutexattr_destroy(&attr);
    s->statements = map_new();
    rc = sqlite3_open_v2(path, &s->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        r = fail(s, rc, path, e);
        store_close(s);
        return r;
    }
    /* EXCLUSIVE locking before WAL keeps the index in memory (no -shm file) and keeps a second
     * pouchd out; https://www.sqlite.org/wal.html section 8. */
    r = simple(s,
               "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
               "PRAGMA foreign_keys=ON; PRAGMA cache_size=-512;"
               "CREATE TABLE IF NOT EXISTS schema (module TEXT PRIMARY KEY, version INTEGER NOT "
               "NULL) WITHOUT ROWID;",
               e);
    if (r < 0) {
        error_add(e, "%s%s", path, r == -EBUSY ? " is in use by another pouchd" : "");
        store_close(s);
        return r;
    }
    store_keep_room(s);
    *ret = s;
    return 0;
}

/* Takes the statement from the kept ones, or prepares it. The store is locked. */
static int prepare(struct store *s, const char *sql, sqlite3_stmt **ret, struct error *e)
{
    int rc;

    *ret = map_remove(s->statements, sql);
    if (*ret)
        return 0;
    rc = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
    return rc == SQLITE_OK ? 0 : fail(s, rc, sql, e);
}

static void put_back(struct store *s, sqlite3_stmt *stmt)
{
    sqlite3_stmt *old;

    (void)sqlite3_reset(stmt);
    (void)sqlite3_clear_bindings(stmt);
    old = map_set(s->statements, sqlite3_sql(stmt), stmt);
    (void)sqlite3_finalize(old);
}

static int bind_args(sqlite3_stmt *stmt, const char *types, va_list ap)
{
    int rc = SQLITE_OK;

    for (int i = 1; *types && rc == SQLITE_OK; types++, i++) {
        if (*types == 's') {
            rc = sqlite3_bind_text(stmt, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
        } else if (*types == 'i') {
            rc = sqlite3_bind_int64(stmt, i, va_arg(ap, int64_t));
        } else {
            const void *data = va_arg(ap, const void *);
            size_t len = va_arg(ap, size_t);

            assert(*types == 'b');
            rc = sqlite3_bind_blob64(stmt, i, data, len, SQLITE_TRANSIENT);
        }
    }
    return rc;
}

int store_exec(struct store *s, struct error *e, const char *sql, const char *types, ...)
{
    sqlite3_stmt *stmt = NULL;
    va_list ap;
    int rc;
    int r;

    (void)pthread_mutex_lock(&s->mutex);
    r = prepare(s, sql, &stmt, e);
    if (r == 0) {
        va_start(ap, types);
        rc = bind_args(stmt, types, ap);
        va_end(ap);
        if (rc == SQLITE_OK)
            rc = sqlite3_step(stmt);
        r = rc == SQLITE_DONE || rc == SQLITE_ROW ? sqlite3_changes(s->db) : fail(s, rc, sql, e);
        put_back(s, stmt);
    }
    (void)pthread_mutex_unlock(&s->mutex);
    return r;
}

int store_query(struct store *s, struct store_rows *ret, struct error *e, const char *sql,
                const char *types, ...)
{
    sqlite3_stmt *stmt = NULL;
    va_list ap;
    int rc;
    int r;

    (void)pthread_mutex_lock(&s->mutex);
    r = prepare(s, sql, &stmt, e);
    if (r == 0) {
        va_start(ap, types);
        rc = bind_args(stmt, types, ap);
        va_end(ap);
        if (rc == SQLITE_OK) {
            *ret = (struct store_rows){s, stmt}; /* stays locked */
            return 0;
        }
        r = fail(s, rc, sql, e);
        put_back(s, stmt);
    }
    (void)pthread_mutex_unlock(&s->mutex);
    return r;
}

int store_rows_next(struct store_rows *r, struct error *e)
{
    int rc = sqlite3_step(r->stmt);

    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : fail(r->store, rc, sqlite3_sql(r->stmt), e);
}

int64_t store_col_int(const struct store_rows *r, int column)
{
    return sqlite3_column_int64(r->stmt, column);
}

const char *store_col_str(const struct store_rows *r, int column)
{
    return (const char *)sqlite3_column_text(r->stmt, column);
}

const void *store_col_blob(const struct store_rows *r, int column, size_t *ret_len)
{
    const void *p = sqlite3_column_blob(r->stmt, column);

    *ret_len = (size_t)sqlite3_column_bytes(r->stmt, column);
    return p;
}

void store_rows_done(struct store_rows *r)
{
    if (!r->stmt)
        return;
    put_back(r->store, r->stmt);
    (void)pthread_mutex_unlock(&r->store->mutex);
    *r = (struct store_rows)STORE_ROWS_INIT;
}

int store_begin(struct store *s, struct error *e)
{
    int r;

    (void)pthread_mutex_lock(&s->mutex);
    r = store_exec(s, e, "BEGIN IMMEDIATE", "");
    if (r < 0)
        (void)pthread_mutex_unlock(&s->mutex);
    return r < 0 ? r : 0;
}

int store_commit_else(struct store *s, void (*undo)(void *data), void *data, struct error *e)
{
    int r = store_exec(s, e, "COMMIT", "");

    if (r < 0) {
        (void)store_exec(s, NULL, "ROLLBACK", "");
        if (undo)
            undo(data);
    }
    (void)pthread_mutex_unlock(&s->mutex);
    return r < 0 ? r : 0;
}

int store_commit(struct store *s, struct error *e)
{
    return store_commit_else(s, NULL, NULL, e);
}

void store_rollback(struct store *s)
{
    (void)store_exec(s, NULL, "ROLLBACK", "");
    (void)pthread_mutex_unlock(&s->mutex);
}

static char *reserve_path(struct store *s)
{
    return xasprintf("%s.reserve", sqlite3_db_filename(s->db, "main"));
}

/* Bytes that are free where the database is. */
static uint64_t room(struct store *s)
{
    struct statvfs st;

    if (statvfs(sqlite3_db_filename(s->db, "main"), &st) < 0)
        return 0;
    /* A file system without inodes is as full; one that does not count them is not. */
    return st.f_files > 0 && st.f_favail == 0 ? 0 : (uint64_t)st.f_bavail * st.f_frsize;
}

void store_make_room(struct store *s)
{
    if (room(s) >= RESERVE)
        return;
    AUTOFREE char *path = reserve_path(s);
    (void)unlink(path);
    atomic_store(&s->reserved, false);
}

void store_keep_room(struct store *s)
{
    if (atomic_load(&s->reserved))
        return;
    AUTOFREE char *path = reserve_path(s);
    atomic_store(&s->reserved, true); /* before it is made: who gives it up has the last word */
    bool there = access(path, F_OK) == 0;
    if (!there && room(s) >= 8 * RESERVE) {
        AUTOFD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        there = fd >= 0 && posix_fallocate(fd, 0, RESERVE) == 0;
        if (fd >= 0 && !there)
            (void)unlink(path);
    }
    if (!there)
        atomic_store(&s->reserved, false);
}

int store_sync(struct store *s, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s-wal", sqlite3_db_filename(s->db, "main"));
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return 0; /* all is in the database, which SQLite has synced */
    if (fd < 0 || fdatasync(fd) < 0)
        return error_set_errno(e, errno, "cannot write %s to disk", path);
    return 0;
}

static int module_version(struct store *s, const char *module, int64_t *ret, struct error *e)
{
    CLEANUP(store_rows_done) struct store_rows rows = STORE_ROWS_INIT;
    int r = store_query(s, &rows, e, "SELECT version FROM schema WHERE module = ?", "s", module);

    if (r < 0)
        return r;
    r = store_rows_next(&rows, e);
    *ret = r > 0 ? store_col_int(&rows, 0) : 0;
    return r < 0 ? r : 0;
}

int store_migrate(struct store *s, const char *module, const char *const *steps, struct error *e)
{
    int64_t have = 0;
    int64_t want = 0;
    int r = store_begin(s, e);

    if (r < 0)
        return r;
    while (steps[want])
        want++;
    r = module_version(s, module, &have, e);
    if (r == 0 && have > want)
        r = error_set(e, ERR_INVALID,
                      "the database's %s tables have version %lld, this program knows %lld: "
                      "use a newer Pouch",
                      module, (long long)have, (long long)want);
    for (int64_t i = have; r == 0 && i < want; i++)
        r = simple(s, steps[i], e);
    if (r == 0 && have < want)
        r = store_exec(s, e, "INSERT OR REPLACE INTO schema VALUES (?, ?)", "si", module, want);
    if (r < 0) {
        store_rollback(s);
        return r;
    }
    return store_commit(s, e);
}
