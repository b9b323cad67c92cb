/* SPDX-License-Identifier: Apache-2.0 */
/* spec and features: what a bundle can look like, and what this runtime can do. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "oci-cli/oci-cli.h"
#include "oci/spec.h"
#include "sys/caps.h"
#include "sys/cgroup.h"

static const char example[] =
    "{\"ociVersion\":\"1.0.2\",\"process\":{\"terminal\":true,\"user\":{\"uid\":0,\"gid\":0},"
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

int cmd_spec(struct options *o, struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/config.json", o->bundle ? o->bundle : ".");
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    AUTOPTR(json_value) struct json_value *v = NULL;
    AUTOFD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int r;

    if (fd < 0)
        return error_set_errno(e, errno, "cannot create %s", path);
    r = json_value_parse(example, sizeof(example) - 1, &v, e);
    if (r < 0)
        return r;
    json_value_print(v, true, &out);
    (void)buf_putc(&out, '\n');
    r = fs_write_all(fd, out.data, out.len);
    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

static void list(struct jsonw *w, const char *key, const char *words)
{
    AUTOPTR(strv) char **v = strv_split(words, " ", true);

    jsonw_strv(w, key, v);
}

int cmd_features(struct options *o, struct error *e)
{
    AUTO(buf) struct buf out = BUF_INIT(BUF_UNLIMITED);
    AUTOPTR(strv) char **caps = NULL;
    struct jsonw w = {&out, false};
    enum cgroup_layout layout = cgroup_host_layout();

    for (unsigned i = 0; i <= caps_last() && caps_name(i); i++)
        strv_push(&caps, caps_name(i));
    jsonw_begin(&w, NULL);
    jsonw_str(&w, "ociVersionMin", "1.0.0");
    jsonw_str(&w, "ociVersionMax", "1.2.0");
    list(&w, "hooks", "prestart createRuntime createContainer startContainer poststart poststop");
    list(&w, "mountOptions",
         "async atime bind defaults dev diratime dirsync exec lazytime loud mand noatime nodev "
         "nodiratime noexec nomand norelatime nostrictatime nosuid nosymfollow private ratime "
         "rbind rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec "
         "rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared "
         "rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime "
         "suid symfollow sync tmpcopyup unbindable");
    jsonw_begin(&w, "linux");
    list(&w, "namespaces", "cgroup ipc mount network pid user uts");
    jsonw_strv(&w, "capabilities", caps);
    jsonw_begin(&w, "cgroup");
    jsonw_bool(&w, "v1", layout == CGROUP_V1 || layout == CGROUP_HYBRID);
    jsonw_bool(&w, "v2", layout == CGROUP_V2 || layout == CGROUP_HYBRID);
    jsonw_bool(&w, "systemd", false);
    jsonw_bool(&w, "systemdUser", false);
    jsonw_bool(&w, "rdma", false);
    jsonw_end(&w);
    jsonw_begin(&w, "seccomp");
    jsonw_bool(&w, "enabled", true);
    list(&w, "actions",
         "SCMP_ACT_ALLOW SCMP_ACT_ERRNO SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS "
         "SCMP_ACT_KILL_THREAD SCMP_ACT_LOG SCMP_ACT_TRACE SCMP_ACT_TRAP");
    list(&w, "operators",
         "SCMP_CMP_NE SCMP_CMP_LT SCMP_CMP_LE SCMP_CMP_EQ SCMP_CMP_GE SCMP_CMP_GT "
         "SCMP_CMP_MASKED_EQ");
    jsonw_end(&w);
    jsonw_begin(&w, "apparmor");
    jsonw_bool(&w, "enabled", true);
    jsonw_end(&w);
    jsonw_begin(&w, "selinux");
    jsonw_bool(&w, "enabled", true);
    jsonw_end(&w);
    jsonw_end(&w);
    jsonw_end(&w);
    printf("%s\n", buf_str(&out));
    return 0;
}
