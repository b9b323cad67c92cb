/* SPDX-License-Identifier: Apache-2.0 */
/* Which proxy a request goes by. */
#pragma once

#include "image/worker/http.h"

/*
 * The proxy for a URL's scheme, host ("[::1]" for IPv6) and port (borrowed from s); NULL: none.
 * As in Go, so that it is the same as with Docker: loopback addresses and "localhost" never go by a proxy;
 * no_proxy is a list of "*", host names (what is below them is meant too; with a leading dot only
 * that), addresses and CIDR, each but CIDR with a port or not.
 */
const char *proxy_for(const struct http_setup *s, const char *scheme, const char *host,
                      unsigned port);
