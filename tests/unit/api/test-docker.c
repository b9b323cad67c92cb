/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every route over a real socket, on a fake engine: what the engine is asked, what the client
 * gets. With an address as its argument ("unix:///tmp/x.sock") the program serves it until it is
 * stopped, so that other clients can be tried on it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "api/docker/docker.h"
#include "base/alloc.h"
#include "base/str.h"
#include "fake-engine.h"
#include "peer.h"

static struct http_server *server;
static struct docker_api api;
static char folder[] = "/tmp/pouch-api-test.XXXXXX";
static char address[128];

static int serve(const char *where)
{
    const struct http_server_params p = {
        .routes = docker_routes,
        .ctx = &api,
        .prepare = docker_prepare,
        .headers = docker_headers,
    };
    struct http_listen l = {.fd = -EBADF};

    api.engine = fake_engine_new();
    if (http_listen_open(where, NULL, &l.fd, NULL) < 0)
        return -1;
    return http_server_start(&p, &l, 1, &server, NULL);
}

static int setup(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(address, sizeof(address), "unix://%s/x.sock", folder);
    return serve(address);
}

static int teardown(void **state)
{
    http_server_stop(server);
    fake_engine_free(api.engine);
    unlink(address + 7);
    rmdir(folder);
    return 0;
}

/* A request without a body; the whole answer. */
static char *ask(const char *method, const char *target)
{
    AUTOFREE char *text = xasprintf("%s %s HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
                                    method, target);

    fake_said[0] = '\0';
    return peer_ask(address, text, NULL);
}

static char *ask_body(const char *method, const char *target, const char *headers, const char *body)
{
    AUTOFREE char *text = xasprintf(
        "%s %s HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n%s", method,
        target, strlen(body), headers, body);

    fake_said[0] = '\0';
    return peer_ask(address, text, NULL);
}

struct expectation {
    const char *method, *target;
    int status;
    const char *said; /* what the engine heard; NULL: any */
    const char *part; /* of the answer */
};

static void expect(const struct expectation *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        AUTOFREE char *answer = ask(list[i].method, list[i].target);
        char line[32];

        snprintf(line, sizeof(line), "HTTP/1.1 %d ", list[i].status);
        if (!str_has_prefix(answer, line))
            fail_msg("%s %s: expected %d: %s", list[i].method, list[i].target, list[i].status,
                     answer);
        if (list[i].said)
            assert_string_equal(fake_said, list[i].said);
        if (list[i].part)
            expect_has(answer, list[i].part);
    }
}

static void test_ping(void **state)
{
    AUTOFREE char *get = ask("GET", "/_ping"), *head = ask("HEAD", "/_ping"),
                  *versioned = ask("GET", "/v1.30/_ping");

    expect_has(get, "HTTP/1.1 200 OK");
    expect_has(get, "Api-Version: 1.52\r\n");
    expect_has(get, "Ostype: linux\r\n");
    expect_has(get, "Docker-Experimental: false\r\n");
    expect_has(get, "Server: Pouch/");
    expect_has(get, "Cache-Control: no-cache, no-store, must-revalidate\r\n");
    expect_has(get, "Pragma: no-cache\r\n");
    assert_true(str_has_suffix(get, "\r\n\r\nOK"));
    expect_has(head, "Api-Version: 1.52\r\n");
    assert_true(str_has_suffix(head, "\r\n\r\n"));
    expect_has(versioned, "200 OK");
}

static void test_routing(void **state)
{
    static const struct expectation list[] = {
        {"GET", "/nowhere", 404, "", "{\"message\":\"page not found\"}"},
        {"GET", "/v1.41/nowhere", 404, "", "page not found"},
        {"POST", "/info", 404, "", "page not found"},
        {"GET", "/v1.20/info", 400, "", "client version 1.20 is too old."},
        {"GET", "/v1.99/info", 400, "", "client version 1.99 is too new."},
        {"OPTIONS", "/containers/json", 200, "", NULL},
        {"GET", "/swarm", 503, "", "This node is not a swarm manager."},
        {"POST", "/v1.41/services/create", 503, "", "This node is not a swarm manager."},
        {"GET", "/swarmer", 404, "", NULL},
        {"POST", "/v1.44/grpc", 501, "",
         "POST /v1.44/grpc is not supported by this version of Pouch"},
        {"POST", "/networks/create", 501, "", "is not supported"},
        {"GET", "/plugins", 200, "", "[]"},
        {"GET", "/plugins/x/json", 404, "", "plugin \\\"x\\\" not found"},
        {"GET", "/v1.51/version", 200, "", "\"MinAPIVersion\":\"1.24\""},
        {"GET", "/info", 200, "", "\"CgroupVersion\":\"2\""},
        {"GET", "/networks", 200, "", "\"Subnet\":\"10.88.0.0/16\""},
        {"GET", "/networks/bridge", 200, "", "\"Name\":\"bridge\""},
        {"GET", "/networks/" FAKE_ID, 200, "", "\"Name\":\"bridge\""},
        {"GET", "/networks/lan", 404, "", "network lan not found"},
        {"GET", "/volumes", 200, "", "{\"Volumes\":[],\"Warnings\":null}"},
        {"GET", "/volumes/v", 404, "", "get v: no such volume"},
    };

    expect(list, ARRAY_SIZE(list));
}

static void test_container_calls(void **state)
{
    static const struct expectation list[] = {
        {"GET", "/containers/json", 200, "list all=0 limit=0 label=-", "\"Names\":[\"/web\"]"},
        {"GET", "/containers/json?all=1&limit=-1&filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D",
         200, "list all=1 limit=0 label=a=b", NULL},
        {"GET", "/containers/json?limit=x", 400, "", "invalid value for \\\"limit\\\": \\\"x\\\""},
        {"GET", "/containers/json?filters=%7B", 400, "", "invalid filters"},
        {"GET", "/containers/json?filters=%7B%22nonsense%22%3A%5B%22x%22%5D%7D", 400, NULL,
         "invalid filter 'nonsense'"},
        {"GET", "/containers/json?size=1", 200, NULL, "\"SizeRw\":10,\"SizeRootFs\":4242434"},
        {"POST", "/containers/tty/start?detachKeys=ctrl-a", 204, "start tty keys=ctrl-a", NULL},
        {"POST", "/containers/web/start", 304, "start web keys=-", NULL},
        {"POST", "/containers/none/start", 404, "start none keys=-", "No such container: none"},
        {"POST", "/containers/web/stop", 204, "stop web signal=- t=0:0", NULL},
        {"POST", "/containers/web/stop?t=5&signal=INT", 204, "stop web signal=INT t=1:5", NULL},
        {"POST", "/containers/web/stop?t=-1", 204, "stop web signal=- t=1:-1", NULL},
        {"POST", "/containers/web/stop?t=soon", 400, "", "invalid value for \\\"t\\\""},
        {"POST", "/containers/web/restart?t=0", 204, "restart web signal=- t=1:0", NULL},
        {"POST", "/containers/web/kill?signal=SIGHUP", 204, "kill web signal=SIGHUP", NULL},
        {"POST", "/containers/web/kill", 204, "kill web signal=-", NULL},
        {"POST", "/containers/web/pause", 204, "pause web", NULL},
        {"POST", "/containers/web/unpause", 204, "unpause web", NULL},
        {"POST", "/containers/web/rename?name=new", 204, "rename web new", NULL},
        {"POST", "/containers/web/update", 200,
         "update web memory=0 pids=0 restart=- env=- label=-", NULL},
        {"POST", "/containers/web/upgrade", 200, "upgrade web image=- cmd=- grace=0:0", NULL},
        {"POST", "/containers/web/resize?h=24&w=80", 200, "resize web 24 80", NULL},
        {"POST", "/containers/web/resize?h=x&w=80", 400, "", "\\\"h\\\""},
        {"POST", "/containers/web/resize?h=70000&w=80", 400, "", "\\\"h\\\""},
        {"DELETE", "/containers/web?v=1&force=true", 204, "remove web force=1 volumes=1", NULL},
        {"DELETE", "/containers/web", 409, "remove web force=0 volumes=0", "stop it first"},
        {"DELETE", "/containers/web?link=1", 400, "", "links"},
        {"GET", "/containers/web/top?ps_args=aux", 200, "top web aux",
         "{\"Titles\":[\"PID\",\"CMD\"],\"Processes\":[[\"4711\",\"sleep 9\"]]}"},
        {"GET", "/containers/none/json", 404, NULL, "No such container: none"},
        {"POST", "/exec/" FAKE_EXEC "/resize?h=1&w=2", 200, "exec resize 1 2", NULL},
        {"GET", "/exec/" FAKE_EXEC "/json", 200, NULL, "\"ExitCode\":3"},
        {"GET", "/exec/none/json", 404, NULL, "No such exec instance"},
        {"POST", "/containers/web/wait?condition=later", 400, "", "invalid condition"},
        {"POST", "/containers/none/wait", 404, NULL, "No such container"},
        {"GET", "/containers/web/logs", 400, "", "you must choose at least one stream"},
    };

    expect(list, ARRAY_SIZE(list));
}

static void test_inspect(void **state)
{
    AUTOFREE char *a = ask("GET", "/v1.41/containers/web/json?size=1");

    expect_has(a, "\"Id\":\"" FAKE_ID "\"");
    expect_has(a, "\"Created\":\"2023-11-14T22:13:20.000000000Z\"");
    expect_has(a, "\"State\":{\"Status\":\"running\",\"Running\":true,\"Paused\":false");
    expect_has(a, "\"FinishedAt\":\"0001-01-01T00:00:00Z\"");
    expect_has(a, "\"Name\":\"/web\"");
    expect_has(a, "\"ExecIDs\":null");
    expect_has(a, "\"SizeRw\":10");
    expect_has(a, "\"Ports\":{\"80/tcp\":[{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"8080\"},"
                  "{\"HostIp\":\"::\",\"HostPort\":\"8080\"}],\"53/udp\":null}");
    expect_has(a, "\"Networks\":{\"bridge\":{");
    expect_has(a, "\"IPAddress\":\"10.88.0.2\",\"IPPrefixLen\":16");
    expect_has(a, "\"HostsPath\":\"/var/lib/pouch/containers/" FAKE_ID "/hosts\"");
}

static void test_list_shape(void **state)
{
    AUTOFREE char *a = ask("GET", "/containers/json");

    expect_has(a, "\"Command\":\"sleep 9\"");
    expect_has(a, "\"Created\":1700000000,");
    expect_has(a, "{\"PrivatePort\":53,\"Type\":\"udp\"}");
    expect_has(a, "{\"IP\":\"0.0.0.0\",\"PrivatePort\":80,\"PublicPort\":8080,\"Type\":\"tcp\"}");
    expect_has(a, "\"Labels\":{\"tier\":\"front\"}");
    expect_has(a, "\"State\":\"running\",\"Status\":\"Up 3 minutes\"");
}

#define JSON_TYPE "Content-Type: application/json\r\n"

static void test_create(void **state)
{
    AUTOFREE char *good =
        ask_body("POST", "/containers/create?name=n&platform=linux/arm64", JSON_TYPE,
                 "{\"Image\":\"busybox\",\"Cmd\":[\"ls\"],\"HostConfig\":{\"Memory\":5}}");
    AUTOFREE char *said = xstrdup(fake_said);
    AUTOFREE char *image = ask_body("POST", "/containers/create", JSON_TYPE,
                                    "{\"Image\":\"other\"}");
    AUTOFREE char *network =
        ask_body("POST", "/containers/create", JSON_TYPE,
                 "{\"Image\":\"busybox\",\"HostConfig\":{\"NetworkMode\":\"n\"}}");
    AUTOFREE char *empty = ask_body("POST", "/containers/create", JSON_TYPE, "");
    AUTOFREE char *wrong = ask_body("POST", "/containers/create", JSON_TYPE, "{\"Tty\":\"no\"}");
    AUTOFREE char *text = ask_body("POST", "/containers/create", "Content-Type: text/plain\r\n",
                                   "{}");

    expect_has(good, "HTTP/1.1 201 Created");
    expect_has(good, "{\"Id\":\"" FAKE_ID "\",\"Warnings\":[]}");
    assert_string_equal(said, "create name=n platform=linux/arm64 image=busybox cmd=ls memory=5");
    expect_has(image, "HTTP/1.1 404");
    expect_has(image, "{\"message\":\"No such image: other\"}");
    expect_has(network, "HTTP/1.1 400"); /* a 404 would make clients pull the image */
    expect_has(network, "network n not found");
    expect_has(empty, "HTTP/1.1 400");
    expect_has(empty, "got EOF while reading request body");
    expect_has(wrong, "HTTP/1.1 400");
    expect_has(wrong, "Tty");
    expect_has(text, "HTTP/1.1 400");
    expect_has(text, "unsupported Content-Type header (text/plain)");
}

/* The client that starts the container waits for the headers first. */
static void test_wait(void **state)
{
    AUTOFD int fd = peer_dial(address);
    AUTO(buf) struct buf b = BUF_INIT(65536);

    peer_say(fd, "POST /v1.41/containers/web/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\n\r\n");
    expect_has(peer_hear(fd, &b, "\r\n\r\n"), "200 OK");
    assert_string_equal(fake_said, "wait web 1");
    expect_lacks(buf_str(&b), "StatusCode");
    fake_engine_exit(api.engine, 137);
    expect_has(peer_hear(fd, &b, NULL), "{\"StatusCode\":137}\n");
}

static void test_wait_error(void **state)
{
    AUTOFREE char *a = NULL, *next = NULL;

    fake_engine_exit(api.engine, 128);
    a = ask("POST", "/containers/web/wait");
    expect_has(a, "{\"StatusCode\":128,\"Error\":{\"Message\":\"could not start\"}}");
    next = ask("POST", "/containers/web/wait?condition=next-exit");
    expect_has(next, "{\"StatusCode\":128}");
}

#define UPGRADE "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

static void attach(const char *target, const char *extra, const char *until, struct buf *b)
{
    AUTOFD int fd = peer_dial(address);
    AUTOFREE char *text = xasprintf("POST %s HTTP/1.1\r\nHost: d\r\n" UPGRADE "%s", target, extra);

    peer_say(fd, text);
    peer_hear(fd, b, "\r\n\r\n");
    shutdown(fd, SHUT_WR);
    peer_hear(fd, b, until);
}

static void test_attach(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(65536), old = BUF_INIT(65536), tty = BUF_INIT(65536);
    AUTOFREE char *missing = ask("POST", "/containers/none/attach");

    attach("/v1.42/containers/web/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x", "abc", NULL,
           &b);
    expect_has(buf_str(&b), "HTTP/1.1 101 ");
    expect_has(buf_str(&b), "Content-Type: application/vnd.docker.multiplexed-stream\r\n");
    expect_has(buf_str(&b), "end");
    assert_string_equal(fake_said, "attach web in=1 out=1 err=0 logs=0 stream=1 mux=1 keys=ctrl-x "
                                   "early=abc");
    attach("/v1.41/containers/web/attach?stream=1", "", NULL, &old);
    expect_has(buf_str(&old), "Content-Type: application/vnd.docker.raw-stream\r\n");
    attach("/v1.42/containers/tty/attach?stream=1", "", NULL, &tty);
    expect_has(buf_str(&tty), "Content-Type: application/vnd.docker.raw-stream\r\n");
    expect_has(fake_said, "mux=0");
    expect_has(missing, "HTTP/1.1 404");
}

/* After the upgrade an error is output: a frame on standard error. */
static void test_attach_fails(void **state)
{
    AUTO(buf) struct buf b = BUF_INIT(65536);
    const char *text = "the monitor is gone\r\n";
    size_t len = strlen(text);

    attach("/containers/web/attach?logs=1&stream=1", "", NULL, &b);
    assert_true(b.len > len + 8);
    assert_memory_equal(b.data + b.len - len - 8, "\2\0\0\0\0\0\0\x15", 8);
    assert_memory_equal(b.data + b.len - len, text, len);
}

static void test_logs(void **state)
{
    AUTOFREE char *both = NULL, *tty = NULL, *stderr_only = NULL;
    AUTOFD int fd = peer_dial(address);
    AUTO(buf) struct buf b = BUF_INIT(65536);
    const char *body;

    tty = ask("GET", "/v1.42/containers/tty/logs?stdout=1&stderr=1&timestamps=1&tail=5&since=7.5");
    assert_string_equal(fake_said, "logs tty tail=5 since=7500000000 until=0 follow=0");
    expect_has(tty, "2026-01-02T03:04:05.000000001Z one\n2026-01-02T03:04:06.000000002Z two\n");
    expect_has(tty, "application/vnd.docker.raw-stream");
    stderr_only = ask("GET", "/containers/tty/logs?stderr=1&tail=all");
    expect_lacks(stderr_only, "one\n");
    expect_has(stderr_only, "two\n");

    peer_say(fd, "GET /v1.42/containers/web/logs?stdout=1&stderr=1 HTTP/1.0\r\n\r\n");
    peer_hear(fd, &b, NULL);
    expect_has(buf_str(&b), "application/vnd.docker.multiplexed-stream");
    body = strstr(buf_str(&b), "\r\n\r\n") + 4;
    assert_memory_equal(body, "\1\0\0\0\0\0\0\4one\n\2\0\0\0\0\0\0\4two\n", 24);
    both = ask("GET", "/containers/none/logs?stdout=1");
    expect_has(both, "HTTP/1.1 404");
}

static void test_exec(void **state)
{
    AUTOFREE char *create = ask_body("POST", "/containers/web/exec", JSON_TYPE,
                                     "{\"Cmd\":[\"sh\"],\"Tty\":true,\"AttachStdin\":true}");
    AUTOFREE char *said = xstrdup(fake_said);
    AUTOFREE char *detached = ask_body("POST", "/exec/" FAKE_EXEC "/start", JSON_TYPE,
                                       "{\"Detach\":true}");
    AUTO(buf) struct buf b = BUF_INIT(65536);
    AUTOFD int fd = peer_dial(address);

    expect_has(create, "HTTP/1.1 201");
    expect_has(create, "{\"Id\":\"" FAKE_EXEC "\"}");
    assert_string_equal(said, "exec web cmd=sh tty=1");
    expect_has(detached, "HTTP/1.1 200");
    expect_has(fake_said, "exec start detached=1");
    peer_say(fd, "POST /v1.51/exec/" FAKE_EXEC "/start HTTP/1.1\r\nHost: d\r\n" JSON_TYPE
                 "Content-Length: 41\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
                 "{\"Detach\":false,   \"ConsoleSize\":[24,80]}");
    peer_hear(fd, &b, NULL);
    expect_has(buf_str(&b), "HTTP/1.1 101 ");
    assert_true(str_has_suffix(buf_str(&b), "\r\n\r\nhello"));
    assert_string_equal(fake_said, "exec start detached=0 in=1 out=0 err=0 mux=1 24x80");
}

static void test_images(void **state)
{
    static const struct expectation list[] = {
        {"GET", "/images/json", 200, NULL, "\"RepoTags\":[\"busybox:latest\"]"},
        {"GET", "/images/json?manifests=1", 200, NULL, "\"digest\":\"sha256:feed\""},
        {"GET", "/images/json?filters=%7B%22until%22%3A%5B%22x%22%5D%7D", 400, NULL, "until"},
        {"GET", "/v1.41/system/df", 200, NULL, "\"LayersSize\":123"},
        {"GET", "/v1.51/system/df?type=build-cache", 200, NULL, "{\"BuildCache\":[]}"},
        {"GET", "/v1.41/system/df?type=what", 200, NULL, "\"LayersSize\":123"},
        {"GET", "/v1.51/system/df?verbose=what", 200, NULL, "\"LayersSize\":123"},
        {"GET", "/v1.52/system/df?verbose=what", 400, NULL, "invalid value for verbose: what"},
        {"GET", "/v1.52/system/df?type=volume&verbose=0", 200, NULL,
         "{\"VolumeUsage\":{\"ActiveCount\":1,\"TotalCount\":1,\"TotalSize\":77,\"Reclaimable\":0}}"},
        {"GET", "/v1.52/system/df?type=volume&verbose=1", 200, NULL, "\"Items\":[{"},
        {"GET", "/v1.52/system/df?type=volume", 200, NULL, "{\"Volumes\":[{"},
        {"GET", "/v1.52/system/df?type=volume", 200, NULL, "\"VolumeUsage\":{\"ActiveCount\":1"},
        {"GET", "/system/df?type=volume", 200, NULL, "\"UsageData\":{\"RefCount\":2,\"Size\":77}"},
        {"GET", "/system/df?type=what", 400, NULL, "unknown object type: what"},
        {"GET", "/pouch/image-mounts", 200, NULL, "\"Path\":\"/mnt\""},
        {"POST", "/pouch/image-mounts", 400, NULL, "the parameter name is needed"},
        {"POST", "/pouch/image-mounts?name=x&target=/y", 201, NULL, "\"Path\":\"x on /y\""},
        {"DELETE", "/pouch/image-mounts?name=/y", 409, NULL, "/y is in use"},
        {"DELETE", "/pouch/image-mounts?name=/y&force=1", 200, NULL, "\"Paths\":[\"/y\"]"},
        {"POST", "/containers/prune", 200, NULL, "\"ContainersDeleted\":[\"container\"]"},
        {"POST", "/images/prune", 200, NULL, "\"SpaceReclaimed\":42"},
        {"POST", "/v1.41/volumes/prune", 200, NULL, "\"VolumesDeleted\":[\"all\"]"},
        {"POST", "/volumes/prune", 200, NULL, "\"VolumesDeleted\":[\"anonymous\"]"},
        {"POST", "/images/prune?filters=%7B%22bad%22%3A%5B%22x%22%5D%7D", 400, NULL,
         "invalid filter 'bad'"},
        {"GET", "/images/json?filters=%7B%22reference%22%3A%5B%22busy*%22%5D%7D", 200, NULL,
         "\"RepoTags\""},
        {"GET", "/images/json?filters=%7B%22reference%22%3A%5B%22other%22%5D%7D", 200, NULL,
         "[]\n"},
        {"GET", "/images/json?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D", 200, NULL, "[]\n"},
        {"GET", "/images/json?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D", 400, NULL,
         "invalid filter 'colour'"},
        {"GET", "/images/busybox/json", 200, NULL, "\"Architecture\":\"amd64\",\"Os\":\"linux\""},
        {"GET", "/images/reg:5000/a/b/json", 200, NULL, "\"Size\":4242424"},
        {"GET", "/images/none/json", 404, NULL, "No such image: none"},
        {"GET", "/images/busybox/history", 200, NULL, "[]"},
        {"POST", "/images/busybox/tag?repo=a/b&tag=1", 201, "tag busybox a/b 1", NULL},
        {"POST", "/images/h:5/a/b/push?tag=1", 200,
         "push h:5/a/b:1 user=- all=0,0 platform=- compression=-,0 format=-",
         "{\"status\":\"Pushing\"}\r\n"},
        {"POST", "/images/a/push", 200, "push a user=- all=1,0 platform=- compression=-,0 format=-",
         NULL},
        {"POST",
         "/images/a/push?tag=t&platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22arm%22"
         "%2C%22variant%22%3A%22v7%22%7D&compression=zstd&compressionLevel=19&format=oci"
         "&allPlatforms=1",
         200, "push a:t user=- all=0,1 platform=linux/arm/v7 compression=zstd,19 format=oci", NULL},
        {"POST", "/images/a/push?tag=t&compressionLevel=x", 400, NULL, "not a number"},
        {"POST", "/images/a/push?tag=t&platform=%7Bx", 400, NULL, "platform"},
        {"POST", "/images/none/push?tag=t", 404, NULL, "does not exist locally"},
        {"GET", "/pouch/manifests", 200, NULL, "[\"docker.io/library/a:latest\"]"},
        {"POST", "/pouch/manifests?name=h:5/l:x&image=a&image=b&amend=1&insecure=1", 201,
         "manifest create h:5/l:x a amend=1 insecure=1", NULL},
        {"POST", "/pouch/manifests?name=there&image=a", 409, NULL, "exists"},
        {"POST",
         "/pouch/manifests/h:5/l:x/annotate?image=a&os=linux&arch=arm&variant=v7&osVersion=1"
         "&osFeatures=f",
         204, "manifest annotate h:5/l:x a linux/arm/v7 version=1 feature=f", NULL},
        {"GET", "/pouch/manifests/h:5/l:x/json?verbose=1", 200, NULL,
         "{\"list\":\"h:5/l:x\",\"verbose\":1}"},
        {"GET", "/pouch/manifests/none/json", 404, NULL, "No such manifest: none"},
        {"POST", "/pouch/manifests/h:5/l/push?purge=1", 200, "manifest push h:5/l purge=1",
         "sha256:00"},
        {"DELETE", "/pouch/manifests/h:5/l", 204, "manifest rm h:5/l", NULL},
        {"DELETE", "/images/busybox?force=1&noprune=1", 200, "rmi busybox force=1 prune=0",
         "[{\"Untagged\":\"busybox:latest\"}]"},
        {"POST", "/images/create?fromImage=busybox&tag=1.36&platform=linux/arm64", 200,
         "pull busybox:1.36 platform=linux/arm64", "{\"status\":\"Pulling\"}\r\n"},
        {"POST", "/images/create?fromImage=a&tag=sha256:00", 200, "pull a@sha256:00 platform=-",
         NULL},
        {"POST", "/images/create?fromImage=none", 404, NULL, "{\"message\":\"pull access denied"},
        {"POST", "/images/create?fromImage=broken", 200, NULL,
         "{\"errorDetail\":{\"message\":\"wrong digest\"},\"error\":\"wrong digest\"}"},
        {"POST", "/images/create", 400, "", "fromImage or fromSrc is needed"},
        {"POST", "/images/create?fromSrc=ftp://x", 400, "", "http or https only"},
        {"GET", "/images/search?term=x&limit=7", 200, "search x limit=7",
         "[{\"star_count\":1,\"is_official\":false,\"name\":\"few\",\"is_automated\":false,"
         "\"description\":\"\"},{\"star_count\":9,\"is_official\":true,\"name\":\"many\","},
        {"GET", "/images/search?term=x", 200, "search x limit=25", NULL},
        {"GET", "/images/search?term=x&filters=%7B%22stars%22%3A%5B%222%22%5D%7D", 200, NULL,
         "[{\"star_count\":9,"},
        {"GET", "/images/search?term=x&filters=%7B%22is-official%22%3A%5B%22false%22%5D%7D", 200,
         NULL, "\"name\":\"few\",\"is_automated\":false,\"description\":\"\"}]"},
        {"GET", "/images/search?term=x&filters=%7B%22is-automated%22%3A%5B%22true%22%5D%7D", 200,
         NULL, "[]\n"},
        {"GET", "/images/search?term=x&filters=%7B%22is-official%22%3A%5B%22maybe%22%5D%7D", 400,
         "", "invalid filter 'is-official=[maybe]'"},
        {"GET", "/images/search?term=x&filters=%7B%22stars%22%3A%5B%22many%22%5D%7D", 400, "",
         "invalid filter 'stars=[many]'"},
        {"GET", "/images/search?term=x&filters=%7B%22colour%22%3A%5B%22red%22%5D%7D", 400, "",
         "invalid filter 'colour'"},
        {"GET", "/images/search?term=x&limit=101", 400, "",
         "limit 101 is outside the range of [1, 100]"},
        {"GET", "/images/search?term=x&limit=y", 400, "", "invalid limit"},
        {"GET", "/distribution/a/b:1/json", 200, "distribution a/b:1", "{\"Descriptor\":{}}"},
        {"GET", "/distribution/none/json", 404, "", "manifest unknown"},
        {"GET", "/images/json?filters={%22dangling%22:[%22x%22]}", 400, "", "dangling=[x]"},
    };

    expect(list, ARRAY_SIZE(list));
}

static void test_image_bodies(void **state)
{
    AUTOFREE char *load = ask_body("POST", "/images/load?quiet=0", "", "archive");
    AUTOFREE char *said = xstrdup(fake_said);
    AUTOFREE char *empty = ask_body("POST", "/images/load", "", "");
    AUTOFREE char *import =
        ask_body("POST", "/images/create?fromSrc=-&repo=r&tag=t&changes=CMD%20ls&changes=ENV%20A=b",
                 "", "tar");
    AUTOFREE char *auth = ask_body("POST", "/images/create?fromImage=x", "X-Registry-Auth: bad\r\n",
                                   "");
    AUTOFREE char *login =
        ask_body("POST", "/auth", "",
                 "{\"username\":\"u\",\"password\":\"p\",\"serveraddress\":\"https://r/v2/\"}");
    AUTOFREE char *login_said = xstrdup(fake_said);
    AUTOFREE char *wrong = ask_body("POST", "/auth", "", "{\"password\":\"wrong\"}");
    AUTOFREE char *odd = ask_body("POST", "/auth", "", "{\"password\":[]}");

    expect_has(login, "{\"Status\":\"Login Succeeded\",\"IdentityToken\":\"refresh\"}");
    assert_string_equal(login_said, "login u:p at https://r/v2/");
    expect_has(wrong, "HTTP/1.1 401");
    expect_has(odd, "HTTP/1.1 400");
    expect_has(load, "HTTP/1.1 200");
    expect_has(load, "{\"status\":\"Loaded\"}");
    assert_string_equal(said, "load 7 whole=1 quiet=0");
    expect_has(empty, "HTTP/1.1 200");
    expect_has(empty, "{\"errorDetail\":{\"message\":\"the archive is empty\"}");
    expect_has(import, "{\"status\":\"sha256:" FAKE_ID "\"}");
    expect_has(auth, "HTTP/1.1 400");
}

static void test_events(void **state)
{
    AUTOFREE char *a = ask("GET",
                           "/events?since=1&until=2&filters=%7B%22type%22%3A%5B%22container%22"
                           "%5D%7D");
    AUTOFREE char *bad = ask("GET", "/events?since=soon");
    AUTOFD int fd = peer_dial(address);
    AUTO(buf) struct buf b = BUF_INIT(65536);

    expect_has(a, "{\"status\":\"start\",\"id\":\"" FAKE_ID "\",\"from\":\"busybox\","
                  "\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"" FAKE_ID "\","
                  "\"Attributes\":{\"image\":\"busybox\",\"name\":\"web\"}},\"scope\":\"local\","
                  "\"time\":1700000000,\"timeNano\":1700000000123456789}\n");
    expect_has(bad, "HTTP/1.1 400");
    /* without an end it stays open */
    peer_say(fd, "GET /events HTTP/1.1\r\nHost: d\r\n\r\n");
    expect_has(peer_hear(fd, &b, "timeNano"), "200 OK");
    assert_string_equal(fake_said, "events since=0 until=0 type=-");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_routing),
        cmocka_unit_test(test_container_calls),
        cmocka_unit_test(test_inspect),
        cmocka_unit_test(test_list_shape),
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_wait_error),
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_attach_fails),
        cmocka_unit_test(test_logs),
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_image_bodies),
        cmocka_unit_test(test_events),
    };

    if (argc > 1) {
        if (serve(argv[1]) < 0)
            return 1;
        pause();
        return 0;
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
