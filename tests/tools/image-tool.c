/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image store without an engine: for tests and measurements.
 *     image-tool ROOT pull REF [PLATFORM] | load < TAR | import REF [CHANGE…] < TAR | list
 *                     | pulls REF… (all at once) | tag SOURCE REPO | rm [-f] REF | inspect REF | sweep | layers REF
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "base/time.h"
#include "image/image.h"
#include "store/store.h"

static int print_progress(void *data, const struct image_progress *p)
{
    AUTO(buf) struct buf line = BUF_INIT(65536);

    image_progress_print(p, &line);
    fputs(buf_str(&line), stdout);
    return 0;
}

static int print_list(struct image_store *s, struct error *e)
{
    CLEANUP(image_list_done) struct image_list l = {0};
    int r = image_list(s, &l, e);

    for (size_t i = 0; r >= 0 && i < l.len; i++) {
        AUTOFREE char *tags = strv_join(l.items[i]->repo_tags, ",");
        AUTOFREE char *digests = strv_join(l.items[i]->repo_digests, ",");
        printf("%s tags=%s digests=%s size=%llu\n", l.items[i]->id, tags, digests,
               (unsigned long long)l.items[i]->size);
    }
    return r;
}

static int print_image(struct image_store *s, const char *ref, bool layers, struct error *e)
{
    AUTOPTR(image) struct image *img = NULL;
    int r = image_resolve(s, ref, &img, e);

    if (r < 0)
        return r;
    for (size_t i = 0; layers && img->layer_dirs && img->layer_dirs[i]; i++)
        puts(img->layer_dirs[i]);
    if (!layers)
        puts(img->config_json);
    return 0;
}

struct one_pull {
    struct image_store *store;
    const char *ref;
    struct error e;
    int r;
};

static void *pull_thread(void *data)
{
    struct one_pull *one = data;
    const struct image_pull_params p = {.reference = one->ref, .cancel_fd = -1};

    one->r = image_pull(one->store, &p, NULL, &one->e);
    return NULL;
}

static int pull_many(struct image_store *s, int n, char **refs, struct error *e)
{
    struct one_pull pulls[32] = {0};
    pthread_t threads[32];
    int r = 0;

    for (int i = 0; i < n && i < 32; i++) {
        pulls[i] = (struct one_pull){.store = s, .ref = refs[i]};
        if (pthread_create(&threads[i], NULL, pull_thread, &pulls[i]) != 0)
            abort();
    }
    for (int i = 0; i < n && i < 32; i++) {
        pthread_join(threads[i], NULL);
        if (pulls[i].r < 0 && r == 0) {
            r = pulls[i].r;
            error_move(e, &pulls[i].e);
        }
        error_done(&pulls[i].e);
    }
    return r;
}

static int run(struct image_store *s, int argc, char **argv, struct error *e)
{
    const char *verb = argv[0], *arg = argc > 1 ? argv[1] : NULL;
    bool quiet = getenv("QUIET") != NULL;

    if (STREQ(verb, "pull") && arg) {
        struct image_auth auth = {.username = getenv("REG_USER"), .password = getenv("REG_PASS")};
        const struct image_pull_params p = {.reference = arg,
                                            .platform = argc > 2 ? argv[2] : NULL,
                                            .auth = &auth,
                                            .progress = quiet ? NULL : print_progress,
                                            .cancel_fd = -1};
        AUTOFREE char *id = NULL;
        int r = image_pull(s, &p, &id, e);
        if (r >= 0)
            puts(id);
        return r;
    }
    if (STREQ(verb, "pulls"))
        return pull_many(s, argc - 1, argv + 1, e);
    if (STREQ(verb, "load")) {
        const struct image_load_params p = {.fd = 0, .progress = print_progress, .cancel_fd = -1};
        return image_load(s, &p, e);
    }
    if (STREQ(verb, "import")) {
        const struct image_import_params p = {.fd = 0,
                                              .repo = arg,
                                              .changes = argc > 2 ? argv + 2 : NULL,
                                              .progress = print_progress,
                                              .cancel_fd = -1};
        return image_import(s, &p, NULL, e);
    }
    if (STREQ(verb, "list"))
        return print_list(s, e);
    if (STREQ(verb, "tag") && argc > 2)
        return image_tag(s, arg, argv[2], NULL, e);
    if (STREQ(verb, "inspect") && arg)
        return print_image(s, arg, false, e);
    if (STREQ(verb, "layers") && arg)
        return print_image(s, arg, true, e);
    if (STREQ(verb, "sweep"))
        return image_sweep(s, e);
    if (STREQ(verb, "rm") && arg) {
        struct image_removed removed = {0};
        bool force = STREQ(arg, "-f");
        int r = image_remove(s, force && argc > 2 ? argv[2] : arg, force, true, &removed, e);
        const struct image_removed_item *it = removed.items.items;
        for (size_t i = 0; i < removed.items.len; i++)
            printf("%s %s\n", it[i].untagged ? "Untagged:" : "Deleted:",
                   it[i].untagged ? it[i].untagged : it[i].deleted);
        image_removed_done(&removed);
        return r;
    }
    return error_set(e, ERR_INVALID, "unknown command");
}

int main(int argc, char **argv)
{
    AUTO(error) struct error e = ERROR_INIT;
    struct store *db = NULL;
    struct image_store *s = NULL;
    int r;

    if (argc < 3)
        return 2;
    AUTOFREE char *path = xasprintf("%s/pouch.db", argv[1]);
    AUTOPTR(strv) char **insecure = NULL;
    if (getenv("INSECURE"))
        insecure = strv_split(getenv("INSECURE"), ",", true);
    r = fs_mkdir_p(argv[1], 0700);
    if (r >= 0)
        r = store_open(path, &db, &e);
    const struct image_store_params p = {.root = argv[1],
                                         .store = db,
                                         .insecure_registries = insecure};
    if (r >= 0)
        r = image_store_open(&p, &s, &e);
    int64_t begin = time_monotonic_ns();
    if (r >= 0)
        r = run(s, argc - 2, argv + 2, &e);
    if (getenv("TIMING"))
        fprintf(stderr, "%lld ms\n", (long long)((time_monotonic_ns() - begin) / NSEC_PER_MSEC));
    image_store_close(s);
    if (db)
        store_close(db);
    if (r < 0)
        fprintf(stderr, "error %d: %s\n", error_http_status(e.code), error_message(&e));
    return r < 0;
}
