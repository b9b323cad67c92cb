/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nftables: whole rule sets by one `nft -f -`, elements of sets and maps by nf_tables netlink.
 *
 * The nft program understands the rule language and checks it; it costs a process, so it runs at
 * start and to repair only. Elements come and go with containers and are two netlink messages.
 */
#pragma once

#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "sys/netlink.h"

/* Full path of the nft program (PATH, then the usual folders), or NULL. The caller frees it. */
char *nft_find_program(void) MUST_CHECK;

/* Feeds text to `nft -f -`: all of it is done or nothing. ERR_UNAVAILABLE when the program can not
 * be run, ERR_INTERNAL with nft's own first line when it refuses. */
int nft_run(const char *program, const char *text, struct error *e) MUST_CHECK;

#define NFT_KEY_MAX  24 /* an IPv6 address, a protocol, a port: each padded to 4 bytes */
#define NFT_DATA_MAX 20

struct nft_element {
    const char *set;
    uint8_t key[NFT_KEY_MAX];
    size_t key_len;
    uint8_t data[NFT_DATA_MAX];
    size_t data_len; /* 0: a set, not a map; ignored by deletion */
};

/*
 * Adds or deletes elements of a table of the inet family as one transaction. Adding what is there
 * with the same data is no failure. -ENOENT: no such table or set, or (deleting) no such element;
 * -EBUSY or -EEXIST: the key is there with other data. The index of the failing element is in
 * failure->index + 1 (a transaction starts with a message of its own).
 */
int nft_elements_add(int fd, const char *table, const struct nft_element *items, size_t n,
                     struct nl_failure *failure) MUST_CHECK;
int nft_elements_del(int fd, const char *table, const struct nft_element *items, size_t n,
                     struct nl_failure *failure) MUST_CHECK;

/* Deletes a whole table of the inet family: 0, -ENOENT. */
int nft_table_del(int fd, const char *table) MUST_CHECK;

/* What a table consists of beside elements, to see whether it is whole. */
struct nft_census {
    size_t chains, rules, sets;
};
/* 0; all zero when there is no such table. */
int nft_census_take(int fd, const char *table, struct nft_census *ret) MUST_CHECK;

/* Calls back for each element of a set or map (its data only when it has some). */
int nft_elements_list(int fd, const char *table, const char *set,
                      void (*cb)(const struct nft_element *item, void *data),
                      void *data) MUST_CHECK;

/* Calls back for each base chain that drops what is forwarded by its policy. */
int nft_forward_drops(int fd,
                      void (*cb)(const char *family, const char *table, const char *chain,
                                 void *data),
                      void *data) MUST_CHECK;

/* --- watching ------------------------------------------------------------------------------- */

/* A socket that hears of every change of nf_tables in this namespace (non-blocking). */
int nft_watch_open(void) MUST_CHECK;

/* What went from one table since the last reading, whoever did it. */
struct nft_changes {
    size_t elements; /* elements of sets and maps deleted */
    bool base;       /* the table, a chain, a rule or a set was deleted */
    bool lost;       /* notices were lost: anything may have happened */
};
/* Reads all pending notices. */
int nft_watch_read(int fd, const char *table, struct nft_changes *ret) MUST_CHECK;
