/* SPDX-License-Identifier: Apache-2.0 */
/* Options of run and create: the JSON they make, and what they refuse. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/strv.h"
#include "cli/cli.h"
#include "cli/create.h"

/* The body for a command line, or NULL with the error. */
static char *body_of(const char *line, struct error *e)
{
    AUTOPTR(strv) char **words = strv_split(line, " ", true);
    struct create_options o = {0};
    AUTOFREE char **args = NULL;
    struct buf out = BUF_INIT(BUF_UNLIMITED);
    size_t n;
    bool help;
    int r = options_parse(&command_run, words, strv_len(words), &o, &args, &n, &help, e);

    if (r == 0)
        r = create_body(&o, args[0], args + 1, &out, e);
    options_free(run_option_table, &o);
    if (r == 0)
        return buf_take(&out);
    buf_done(&out);
    return NULL;
}

/* Checks that the body has the member at path (dots separate) with this JSON text. */
static void expect(const char *line, const char *path, const char *json)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *body = body_of(line, &e);
    AUTOPTR(json_value) struct json_value *root = NULL;
    AUTOPTR(strv) char **keys = strv_split(path, ".", true);
    AUTO(buf) struct buf got = BUF_INIT(1 << 20);
    const struct json_value *v;

    if (!body)
        print_message("%s: %s\n", line, error_message(&e));
    assert_non_null(body);
    assert_int_equal(json_value_parse(body, strlen(body), &root, &e), 0);
    v = root;
    for (char **k = keys; *k; k++)
        v = json_value_get(v, *k);
    json_value_print(v, false, &got);
    if (strcmp(got.data, json) != 0)
        print_message("%s: %s\n", line, path);
    assert_string_equal(got.data, json);
}

static void refuse(const char *line, const char *part)
{
    AUTO(error) struct error e = ERROR_INIT;
    AUTOFREE char *body = body_of(line, &e);

    if (body || !strstr(error_message(&e), part))
        print_message("%s: %s\n", line, body ? body : error_message(&e));
    assert_null(body);
    assert_non_null(strstr(error_message(&e), part));
}

static void test_config(void **state)
{
    expect("img", "Image", "\"img\"");
    expect("img", "Cmd", "null");
    expect("img ls -la", "Cmd", "[\"ls\",\"-la\"]");
    expect("img", "AttachStdin", "false");
    expect("img", "AttachStdout", "true");
    expect("-i img", "AttachStdin", "true");
    expect("-i img", "StdinOnce", "true");
    expect("-id img", "StdinOnce", "false");
    expect("-id img", "AttachStdout", "false");
    expect("-a stderr img", "AttachStdout", "false");
    expect("-a STDIN -i img", "AttachStdin", "true");
    expect("-t img", "Tty", "true");
    expect("-h host --domainname dom -u 1:2 -w /w img", "Hostname", "\"host\"");
    expect("--entrypoint /x img", "Entrypoint", "[\"/x\"]");
    expect("--entrypoint= img", "Entrypoint", "[\"\"]");
    expect("-e A=1 -e B=x=y img", "Env", "[\"A=1\",\"B=x=y\"]");
    expect("-l a -l b=c img", "Labels", "{\"a\":\"\",\"b\":\"c\"}");
    expect("--stop-signal INT --stop-timeout 3 img", "StopTimeout", "3");
    expect("-v /data img", "Volumes", "{\"/data\":{}}");
    expect("--no-healthcheck img", "Healthcheck", "{\"Test\":[\"NONE\"]}");
    expect("--health-cmd true --health-interval 5s --health-retries 2 img", "Healthcheck",
           "{\"Test\":[\"CMD-SHELL\",\"true\"],\"Interval\":5000000000,\"Retries\":2}");
    refuse("--no-healthcheck --health-cmd x img", "conflicts");
    refuse("-a nowhere img", "valid streams are");
    refuse("-d -a stdin img", "Conflicting options: -a and -d");
    refuse("-e =x img", "invalid environment variable");
    refuse("--link a:b img", "--link is not supported");
    refuse("--kernel-memory 5m img", "--kernel-memory is not supported");
}

static void test_host_config(void **state)
{
    expect("img", "HostConfig.NetworkMode", "\"default\"");
    expect("--net host img", "HostConfig.NetworkMode", "\"host\"");
    expect("--network container:x img", "HostConfig.NetworkMode", "\"container:x\"");
    expect("--rm img", "HostConfig.AutoRemove", "true");
    expect("-m 64m --memory-swap -1 img", "HostConfig.Memory", "67108864");
    expect("-m 64m --memory-swap -1 img", "HostConfig.MemorySwap", "-1");
    expect("--cpus 1.5 img", "HostConfig.NanoCpus", "1500000000");
    expect("-c 512 --cpuset-cpus 0-1 img", "HostConfig.CpuShares", "512");
    expect("--pids-limit 50 img", "HostConfig.PidsLimit", "50");
    expect("--privileged --cap-add NET_ADMIN --cap-drop ALL img", "HostConfig.CapDrop",
           "[\"ALL\"]");
    expect("--init img", "HostConfig.Init", "true");
    expect("--init=false img", "HostConfig.Init", "false");
    expect("--sysctl a.b=1 img", "HostConfig.Sysctls", "{\"a.b\":\"1\"}");
    expect("--tmpfs /t --tmpfs /u:size=1m img", "HostConfig.Tmpfs",
           "{\"/t\":\"\",\"/u\":\"size=1m\"}");
    expect("--restart on-failure:3 img", "HostConfig.RestartPolicy",
           "{\"Name\":\"on-failure\",\"MaximumRetryCount\":3}");
    expect("--log-driver json-file --log-opt max-size=1m img", "HostConfig.LogConfig",
           "{\"Type\":\"json-file\",\"Config\":{\"max-size\":\"1m\"}}");
    expect("--add-host a:1.2.3.4 --add-host b=[::1] img", "HostConfig.ExtraHosts",
           "[\"a:1.2.3.4\",\"b:::1\"]");
    expect("--security-opt systempaths=unconfined img", "HostConfig.MaskedPaths", "[]");
    expect("--security-opt no-new-privileges img", "HostConfig.SecurityOpt",
           "[\"no-new-privileges\"]");
    expect("-v /a:/b:ro -v name:/c img", "HostConfig.Binds", "[\"/a:/b:ro\",\"name:/c\"]");
    expect("--ulimit nofile=10:20 img", "HostConfig.Ulimits",
           "[{\"Name\":\"nofile\",\"Hard\":20,\"Soft\":10}]");
    expect("--device /dev/null:/dev/x:r img", "HostConfig.Devices",
           "[{\"PathOnHost\":\"/dev/null\",\"PathInContainer\":\"/dev/x\",\"CgroupPermissions\":"
           "\"r\"}]");
    expect("--device /dev/null:rw img", "HostConfig.Devices",
           "[{\"PathOnHost\":\"/dev/null\",\"PathInContainer\":\"/dev/null\","
           "\"CgroupPermissions\":\"rw\"}]");
    expect("--device-read-bps /dev/sda:1mb img", "HostConfig.BlkioDeviceReadBps",
           "[{\"Path\":\"/dev/sda\",\"Rate\":1048576}]");
    expect("--blkio-weight-device /dev/sda:100 img", "HostConfig.BlkioWeightDevice",
           "[{\"Path\":\"/dev/sda\",\"Weight\":100}]");
    refuse("--rm --restart always img", "Conflicting options: --restart and --rm");
    refuse("--restart sometimes img", "want no, always");
    refuse("--restart always:3 img", "only on-failure takes a count");
    refuse("--restart on-failure:-1 img", "not a positive number");
    refuse("--ulimit nofile img", "want NAME=SOFT");
    refuse("--ulimit bogus=1 img", "no such ulimit");
    refuse("--ulimit nofile=20:10 img", "above the hard limit");
    refuse("--device null img", "must be absolute");
    refuse("--device /dev/null:/x:z img", "the mode may consist of");
    refuse("--device-read-bps sda:1 img", "want /dev/NAME:VALUE");
    refuse("--device-read-iops /dev/sda:-1 img", "not a positive number");
    refuse("--blkio-weight-device /dev/sda:5 img", "between 10 and 1000");
    refuse("--blkio-weight 5 img", "from 10 to 1000");
    refuse("--memory-swappiness 101 img", "0-100");
    refuse("--tmpfs rel img", "/PATH");
    refuse("--sysctl abc img", "KEY=VALUE");
    refuse("--add-host a img", "HOST:IP");
    refuse("--cpus 1 --cpu-quota 5 img", "Conflicting");
    refuse("--log-driver none --log-opt a=b img", "invalid logging opts");
    refuse("--network a --network b img", "several networks");
    refuse("-v a:b:c:d img", "invalid spec");
    refuse("-v rel img", "must be absolute");
    refuse("--security-opt foo img", "want NAME=VALUE");
    refuse("--security-opt seccomp=/nonexistent img", "opening seccomp profile");
}

static void test_ports(void **state)
{
    expect("-p 80 img", "HostConfig.PortBindings",
           "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"\"}]}");
    expect("-p 80 --expose 90/udp img", "ExposedPorts", "{\"80/tcp\":{},\"90/udp\":{}}");
    expect("-p 127.0.0.1:8080:80 -p [::1]:8081:80 img", "HostConfig.PortBindings",
           "{\"80/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"8080\"},{\"HostIp\":\"::1\","
           "\"HostPort\":\"8081\"}]}");
    expect("-p 8000-8001:80-81 img", "HostConfig.PortBindings",
           "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8000\"}],\"81/tcp\":[{\"HostIp\":\"\","
           "\"HostPort\":\"8001\"}]}");
    expect("-p 8000-8005:80 img", "HostConfig.PortBindings",
           "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8000-8005\"}]}");
    expect("-P img", "HostConfig.PublishAllPorts", "true");
    refuse("-p 0 img", "");
    refuse("-p 1:2:3:4 img", "");
    refuse("--expose x img", "");
}

static void test_network(void **state)
{
    expect("--network n --ip 1.2.3.4 --network-alias w img", "NetworkingConfig.EndpointsConfig",
           "{\"n\":{\"IPAMConfig\":{\"IPv4Address\":\"1.2.3.4\"},\"Aliases\":[\"w\"]}}");
    expect("--network name=n,alias=w,ip=1.2.3.4 img", "HostConfig.NetworkMode", "\"n\"");
    expect("--mac-address 02:00:00:00:00:01 img", "NetworkingConfig.EndpointsConfig",
           "{\"default\":{\"MacAddress\":\"02:00:00:00:00:01\"}}");
    refuse("--network alias=x img", "name is missing");
    refuse("--network name=x,foo=y img", "field 'foo' is not supported");
}

static void test_mounts(void **state)
{
    expect("--mount type=bind,src=/a,dst=/b,ro img", "HostConfig.Mounts",
           "[{\"Type\":\"bind\",\"Source\":\"/a\",\"Target\":\"/b\",\"ReadOnly\":true}]");
    expect("--mount source=v,target=/b,volume-nocopy,volume-label=x=y img", "HostConfig.Mounts",
           "[{\"Type\":\"volume\",\"Source\":\"v\",\"Target\":\"/b\",\"VolumeOptions\":{\"NoCopy\":"
           "true,\"Labels\":{\"x\":\"y\"}}}]");
    expect(
        "--mount type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1777 img", "HostConfig.Mounts",
        "[{\"Type\":\"tmpfs\",\"Target\":\"/t\",\"TmpfsOptions\":{\"SizeBytes\":1048576,\"Mode\":"
        "1023}}]");
    expect("--mount type=bind,\"src=/a,b\",dst=/c img", "HostConfig.Mounts",
           "[{\"Type\":\"bind\",\"Source\":\"/a,b\",\"Target\":\"/c\"}]");
    refuse("--mount type=bind,dst=/b img", "needs a source");
    refuse("--mount type=bind,src=/a img", "target is required");
    refuse("--mount type=tmpfs,src=/a,dst=/b img", "no source");
    refuse("--mount type=npipe,src=/a,dst=/b img", "not supported");
    refuse("--mount type=bind,src=/a,dst=/b,foo=1 img", "unexpected key 'foo'");
    refuse("--mount type=bind,src=/a,dst=/b,ro=maybe img", "invalid value for ro");
    refuse("--mount type=tmpfs,dst=/b,tmpfs-mode=9 img", "invalid value for tmpfs-mode");
    refuse("--mount type=volume,dst=/b,bind-propagation=rslave img", "bind-* options");
    refuse("--mount type=bind,src img", "invalid value for src");
}

static char *file_with(const char *text)
{
    char *path = xstrdup("/tmp/test-create.XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, text, strlen(text)), 0);
    (void)close(fd);
    return path;
}

static void test_env_file(void **state)
{
    AUTOFREE char *path = file_with(
        "\xef\xbb\xbf# comment\nA=1\r\n\n  B=two words\nC\nUNSET_XYZ\nD=\n");
    AUTOFREE char *bad = file_with("A B=1\n");
    AUTOFREE char *nameless = file_with("=1\n");
    AUTOPTR(strv) char **env = NULL;
    AUTOFREE char *joined = NULL;
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(setenv("C", "own", 1), 0);
    assert_int_equal(env_file_read(path, &env, &e), 0);
    joined = strv_join(env, "|");
    assert_string_equal(joined, "A=1|B=two words|C=own|D=");
    assert_true(env_file_read(bad, &env, &e) < 0);
    assert_non_null(strstr(error_message(&e), "contains whitespaces"));
    error_done(&e);
    assert_true(env_file_read(nameless, &env, &e) < 0);
    error_done(&e);
    assert_true(env_file_read("/nonexistent", &env, &e) < 0);
    (void)unlink(path);
    (void)unlink(bad);
    (void)unlink(nameless);
}

static void test_seccomp_file(void **state)
{
    AUTOFREE char *good = file_with("{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }");
    AUTOFREE char *bad = file_with("{");
    AUTOFREE char *opt = xasprintf("seccomp=%s", good);
    AUTOFREE char *bad_opt = xasprintf("seccomp=%s", bad);
    AUTOFREE char *got = NULL;
    AUTO(error) struct error e = ERROR_INIT;

    assert_int_equal(create_security_opt(opt, &got, &e), 0);
    assert_string_equal(got, "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
    assert_true(create_security_opt(bad_opt, &got, &e) < 0);
    (void)unlink(good);
    (void)unlink(bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),       cmocka_unit_test(test_host_config),
        cmocka_unit_test(test_ports),        cmocka_unit_test(test_network),
        cmocka_unit_test(test_mounts),       cmocka_unit_test(test_env_file),
        cmocka_unit_test(test_seccomp_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
