/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers as EROFS files, by hand and by scripts that compare them with other programs' and measure:
 *
 *   erofs-tool write [--no-chunks] [--repeat N] TAR FILE   what it took goes to standard output
 *   erofs-tool check [--own] FILE                          the reader's judgement; as pouch-check's
 *   erofs-tool list FILE                                   all that is in it, one line each
 *   erofs-tool cat FILE PATH
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/alloc.h"
#include "erofs/erofs.h"

#define XATTRS_MAX 64

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(const char *what, struct error *e)
{
    (void)fprintf(stderr, "erofs-tool: %s: %s\n", what, error_message(e));
    error_done(e);
    return 1;
}

static int entry_type(struct archive_entry *ae)
{
    if (archive_entry_hardlink(ae))
        return LAYER_HARDLINK;
    switch (archive_entry_filetype(ae)) {
    case AE_IFREG:
        return LAYER_FILE;
    case AE_IFDIR:
        return LAYER_DIR;
    case AE_IFLNK:
        return LAYER_SYMLINK;
    case AE_IFCHR:
        return LAYER_CHAR;
    case AE_IFBLK:
        return LAYER_BLOCK;
    case AE_IFIFO:
        return LAYER_FIFO;
    default:
        return -1;
    }
}

static int write_data(struct erofs_writer *w, struct archive *a, struct error *e)
{
    const void *data;
    la_int64_t offset;
    size_t len;
    int r;

    while ((r = archive_read_data_block(a, &data, &len, &offset)) == ARCHIVE_OK) {
        r = erofs_writer_data(w, (uint64_t)offset, data, len, e);
        if (r < 0)
            return r;
    }
    if (r != ARCHIVE_EOF)
        return error_set(e, ERR_INVALID, "%s", archive_error_string(a));
    return erofs_writer_file_end(w, e);
}

static int write_entry(struct erofs_writer *w, struct archive *a, struct archive_entry *ae,
                       struct error *e)
{
    struct layer_xattr xattrs[XATTRS_MAX];
    struct layer_entry entry = {.xattrs = xattrs};
    int type = entry_type(ae);
    int r;

    if (type < 0)
        return 0;
    entry.type = (enum layer_entry_type)type;
    entry.path = archive_entry_pathname(ae);
    entry.link = type == LAYER_HARDLINK ? archive_entry_hardlink(ae) : archive_entry_symlink(ae);
    entry.mode = (uint32_t)archive_entry_perm(ae);
    entry.uid = (uint32_t)archive_entry_uid(ae);
    entry.gid = (uint32_t)archive_entry_gid(ae);
    entry.size = type == LAYER_FILE ? (uint64_t)archive_entry_size(ae) : 0;
    if (type == LAYER_CHAR || type == LAYER_BLOCK) {
        entry.dev_major = (uint32_t)archive_entry_rdevmajor(ae);
        entry.dev_minor = (uint32_t)archive_entry_rdevminor(ae);
    }
    entry.mtime_sec = archive_entry_mtime(ae);
    entry.mtime_nsec = (uint32_t)archive_entry_mtime_nsec(ae);
    archive_entry_xattr_reset(ae);
    while (entry.xattr_count < XATTRS_MAX &&
           archive_entry_xattr_next(ae, &xattrs[entry.xattr_count].name,
                                    &xattrs[entry.xattr_count].value,
                                    &xattrs[entry.xattr_count].size) == ARCHIVE_OK)
        entry.xattr_count++;
    r = erofs_writer_entry(w, &entry, e);
    if (r < 0 || type != LAYER_FILE)
        return r;
    return write_data(w, a, e);
}

static int write_image(const char *tar, int fd, bool no_chunks, struct erofs_writer_stats *stats,
                       struct error *e)
{
    const struct erofs_writer_params params = {.fd = fd, .no_chunks = no_chunks};
    AUTOPTR(erofs_writer) struct erofs_writer *w = NULL;
    struct archive *a = archive_read_new();
    struct archive_entry *ae;
    int r = erofs_writer_new(&params, &w, e);
    int ar = ARCHIVE_OK;

    archive_read_support_format_tar(a);
    archive_read_support_filter_gzip(a);
    if (r == 0 && archive_read_open_filename(a, tar, 128 << 10) != ARCHIVE_OK)
        r = error_set(e, ERR_INVALID, "%s", archive_error_string(a));
    while (r == 0 && ((ar = archive_read_next_header(a, &ae)) == ARCHIVE_OK || ar == ARCHIVE_WARN))
        r = write_entry(w, a, ae, e);
    if (r == 0 && ar != ARCHIVE_EOF)
        r = error_set(e, ERR_INVALID, "%s", archive_error_string(a));
    if (r == 0)
        r = erofs_writer_finish(w, stats, e);
    archive_read_free(a);
    return r;
}

static int cmd_write(int argc, char **argv)
{
    bool no_chunks = false;
    long repeat = 1;

    for (; argc > 2; argc--, argv++) {
        if (STREQ(argv[0], "--no-chunks"))
            no_chunks = true;
        else if (STREQ(argv[0], "--repeat") && argc > 3)
            repeat = strtol((argc--, *++argv), NULL, 10);
        else
            break;
    }
    if (argc != 2)
        return 2;
    while (repeat-- > 0) {
        AUTOFD int fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        struct erofs_writer_stats s = {0};
        struct error e = ERROR_INIT;
        struct rusage u;
        double start = now();

        if (fd < 0)
            return fail(argv[1], &(struct error){.message = xstrdup(strerror(errno))});
        if (write_image(argv[0], fd, no_chunks, &s, &e) < 0)
            return fail(argv[0], &e);
        getrusage(RUSAGE_SELF, &u);
        (void)printf("entries=%llu inodes=%llu content=%llu shared=%llu size=%llu seconds=%.3f "
                     "max-rss-kib=%ld\n",
                     (unsigned long long)s.entries, (unsigned long long)s.inodes,
                     (unsigned long long)s.content, (unsigned long long)s.shared,
                     (unsigned long long)s.size, now() - start, u.ru_maxrss);
    }
    return 0;
}

static int with_reader(const char *path,
                       int (*run)(struct erofs_reader *, const char *, struct error *),
                       const char *arg)
{
    AUTOPTR(erofs_reader) struct erofs_reader *r = NULL;
    AUTOFD int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct error e = ERROR_INIT;

    if (fd < 0)
        return fail(path, &(struct error){.message = xstrdup(strerror(errno))});
    if (erofs_reader_open(fd, &r, &e) < 0 || run(r, arg, &e) < 0)
        return fail(path, &e);
    return 0;
}

static int run_check(struct erofs_reader *r, const char *arg, struct error *e)
{
    if (!arg)
        return erofs_reader_check(r, e);
    if (erofs_reader_map(r, e) < 0)
        return -1;
    return erofs_reader_check_own(r, e);
}

static int tell_xattr(void *data, const struct layer_xattr *x)
{
    (void)printf(" %s=%zu", x->name, x->size);
    return 0;
}

static int tell(void *data, const char *path, const struct erofs_inode *i, struct error *e)
{
    (void)printf("/%s %06o %u:%u %llu %lld.%09u links %u", path, i->mode, i->uid, i->gid,
                 (unsigned long long)i->size, (long long)i->mtime_sec, i->mtime_nsec, i->nlink);
    if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
        (void)printf(" dev %u,%u", i->dev_major, i->dev_minor);
    if (erofs_reader_xattrs(data, i, tell_xattr, NULL, e) < 0)
        return -1;
    (void)printf("\n");
    return 0;
}

static int run_list(struct erofs_reader *r, const char *arg, struct error *e)
{
    return erofs_reader_walk(r, tell, r, e);
}

static int run_cat(struct erofs_reader *r, const char *path, struct error *e)
{
    static char part[64 << 10];
    struct erofs_inode i;
    uint64_t offset = 0;
    ssize_t n = erofs_reader_lookup(r, path, true, &i, e);

    while (n >= 0 && (n = erofs_reader_read(r, &i, offset, part, sizeof part, e)) > 0) {
        offset += (uint64_t)n;
        if (fwrite(part, 1, (size_t)n, stdout) != (size_t)n)
            return error_set_errno(e, errno, "write");
    }
    return (int)n;
}

static int cmd_check(int argc, char **argv)
{
    if (argc == 2 && STREQ(argv[0], "--own"))
        return with_reader(argv[1], run_check, argv[0]);
    return argc == 1 ? with_reader(argv[0], run_check, NULL) : 2;
}

static int cmd_list(int argc, char **argv)
{
    return argc == 1 ? with_reader(argv[0], run_list, NULL) : 2;
}

static int cmd_cat(int argc, char **argv)
{
    return argc == 2 ? with_reader(argv[0], run_cat, argv[1]) : 2;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"write", cmd_write},
                    {"check", cmd_check},
                    {"list", cmd_list},
                    {"cat", cmd_cat}};
    int r = 2;

    for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++) {
        if (STREQ(argv[1], commands[i].name))
            r = commands[i].run(argc - 2, argv + 2);
    }
    if (r == 2)
        (void)fputs("usage: erofs-tool write [--no-chunks] [--repeat N] TAR FILE\n"
                    "       erofs-tool check FILE\n"
                    "       erofs-tool list FILE\n"
                    "       erofs-tool cat FILE PATH\n",
                    stderr);
    return r;
}
