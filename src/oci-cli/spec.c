/* SPDX-License-Identifier: Apache-2.0 */
/* spec: what a bundle can look like. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "oci-cli/oci-cli.h"
#include "oci/spec.h"

static const char example[] =
    "{\"ociVersion\":\"" OCI_SPEC_WRITTEN_VERSION
    "\",\"process\":{\"terminal\":true,\"user\":{\"uid\":0,\"gid\":0},"
    "\"args\":[\"sh\"],\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
    "/bin\",\"TERM=xterm\"],\"cwd\":\"/\",\"capabilities\":{\"bounding\":[\"CAP_AUDIT_WRITE\","
    "\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"],\"effective\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\","
    "\"CAP_NET_BIND_SERVICE\"],\"permitted\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\","
    "\"CAP_NET_BIND_SERVICE\"]},\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":1024,"
    "\"soft\":1024}],\"noNewPrivileges\":true},\"root\":{\"path\":\"rootfs\",\"readonly\":true},"
    "\"hostname\":\"pouch\",\"mounts\":["
    "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
    "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"nosuid\","
    "\"strictatime\",\"mode=755\",\"size=65536k\"]},"
    "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":["
    "\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
    "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\",\"options\":[\"nosuid\","
    "\"noexec\",\"nodev\",\"mode=1777\",\"size=65536k\"]},"
    "{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\",\"options\":["
    "\"nosuid\",\"noexec\",\"nodev\"]},"
    "{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\",\"options\":[\"nosuid\","
    "\"noexec\",\"nodev\",\"ro\"]},"
    "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\",\"options\":["
    "\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"ro\"]}],"
    "\"linux\":{\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]},"
    "\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},"
    "{\"type\":\"uts\"},{\"type\":\"cgroup\"},{\"type\":\"mount\"}],"
    "\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/kcore\",\"/proc/keys\","
    "\"/proc/latency_stats\",\"/proc/timer_list\",\"/proc/timer_stats\",\"/proc/sched_debug\","
    "\"/sys/firmware\",\"/proc/scsi\"],\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\","
    "\"/proc/irq\",\"/proc/sys\",\"/proc/sysrq-trigger\"]}}";

/* "gid=5" and the like need a mapping that a user alone has not. */
static void drop_owner_options(struct oci_mount *m)
{
    char **kept = NULL;

    for (size_t i = 0; m->options && m->options[i]; i++)
        if (!str_has_prefix(m->options[i], "gid=") && !str_has_prefix(m->options[i], "uid="))
            strv_push(&kept, m->options[i]);
    strv_free(m->options);
    m->options = kept;
}

static void one_id(struct json_list *list, uint64_t host)
{
    struct oci_id_mapping *m = json_list_add(list, sizeof(*m));

    *m = (struct oci_id_mapping){0, host, 1};
}

/* What an ordinary user can start: a user namespace with the own ids alone, the host's network, no
 * limits, /sys of the host. */
static void make_rootless(struct oci_spec *s)
{
    struct oci_mount *m = s->mounts.items;
    struct oci_namespace *ns = s->linux->namespaces.items;
    const char *const sys[] = {"rbind", "nosuid", "noexec", "nodev", "ro", NULL};
    size_t kept = 0;

    for (size_t i = 0; i < s->mounts.len; i++) {
        if (str_has_prefix(m[i].destination, "/sys")) {
            free(m[i].destination);
            free(m[i].type);
            free(m[i].source);
            strv_free(m[i].options);
            continue;
        }
        drop_owner_options(&m[i]);
        m[kept++] = m[i];
    }
    s->mounts.len = kept;
    (void)oci_spec_add_mount(s, "/sys", "none", "/sys", (char *const *)sys);
    for (size_t i = 0; i < s->linux->namespaces.len; i++)
        if (STREQ(ns[i].type, "network"))
            str_replace(&ns[i].type, "user");
    one_id(&s->linux->uid_mappings, geteuid());
    one_id(&s->linux->gid_mappings, getegid());
    json_free(&cgroup_resources_json, s->linux->resources);
    free(s->linux->resources);
    s->linux->resources = NULL;
}

int cmd_spec(struct options *o, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/config.json", o->bundle ? o->bundle : ".");
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTOFREE char *text = NULL;
    struct oci_spec s = {0};
    AUTOFD int fd = -EBADF;
    int r = json_parse(&oci_spec_json, example, sizeof(example) - 1, &s, e);

    if (r < 0)
        return r;
    if (o->rootless_spec)
        make_rootless(&s);
    text = json_print_str(&oci_spec_json, &s);
    json_free(&oci_spec_json, &s);
    r = json_value_parse(text, strlen(text), &v, e);
    if (r < 0)
        return r;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_set_errno(e, errno, "cannot create %s", path);
    json_value_print(v, true, &out);
    (void)buf_putc(&out, '\n');
    r = fs_write_all(fd, out.data, out.len);
    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}
