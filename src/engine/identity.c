/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container as a machine of its own: serial number and UUID, as /sys/class/dmi/id and the SMBIOS
 * tables tell them, and the machine id. What they are is settled at creation and kept in the
 * definition, so it stays through stop, start, upgrade and restarts of engine and host.
 *
 * Where the host has no DMI, sysfs has no folder that could be mounted over: then only the tables
 * (dmidecode) and the machine id are there, and a warning says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/strv.h"
#include "engine/engine-priv.h"
#include "engine/smbios.h"
#include "oci/spec.h"

#define HOST_ID     "/sys/devices/virtual/dmi/id" /* /sys/class/dmi/id is a link to it */
#define HOST_TABLES "/sys/firmware/dmi"
#define FIRMWARE    "/sys/firmware"
#define SERIAL_MAX  64
#define TEXT_MAX    128
#define SERIAL_AUTO 12 /* digits of the container's id */
#define MACHINE_ID  "/etc/machine-id"
#define VALUE_AUTO  "auto"

static bool wants(const struct host_config *hc)
{
    return !str_is_empty(hc->machine_sn) || !str_is_empty(hc->machine_uuid);
}

/* --- At creation ------------------------------------------------------------------------------------ */

static int check_serial(const char *sn, struct error *e)
{
    size_t n = strlen(sn);

    for (size_t i = 0; i < n; i++)
        if (sn[i] < ' ' || sn[i] > '~')
            return error_set(e, ERR_INVALID,
                             "invalid machine serial number: only printable ASCII characters may "
                             "be in it");
    if (n > SERIAL_MAX)
        return error_set(e, ERR_INVALID,
                         "invalid machine serial number: %zu characters, at most %d may be", n,
                         SERIAL_MAX);
    if (sn[0] == ' ' || sn[n - 1] == ' ')
        return error_set(e, ERR_INVALID,
                         "invalid machine serial number \"%s\": it begins or ends with a space",
                         sn);
    return 0;
}

int identity_validate(struct host_config *hc, struct error *e)
{
    unsigned char uuid[16];
    unsigned zero = 0, ones = 0;
    char text[37];
    int r = str_is_empty(hc->machine_sn) ? 0 : check_serial(hc->machine_sn, e);

    if (r < 0 || str_is_empty(hc->machine_uuid) || STREQ(hc->machine_uuid, VALUE_AUTO))
        return r;
    if (uuid_parse(hc->machine_uuid, uuid) < 0)
        return error_set(e, ERR_INVALID,
                         "invalid machine UUID \"%s\": want \"auto\" or the form "
                         "123e4567-e89b-12d3-a456-426614174000",
                         hc->machine_uuid);
    for (size_t i = 0; i < sizeof(uuid); i++) {
        zero += uuid[i] == 0;
        ones += uuid[i] == 0xff;
    }
    if (zero == sizeof(uuid) || ones == sizeof(uuid))
        return error_set(e, ERR_INVALID,
                         "invalid machine UUID \"%s\": to SMBIOS this means that there is none",
                         hc->machine_uuid);
    uuid_format(uuid, text);
    str_replace(&hc->machine_uuid, text);
    return 0;
}

/* A random UUID (version 4) made of the container's id, which is random. */
static void uuid_of_id(const char *id, char out[37])
{
    AUTOFREE char *text = xasprintf("%.8s-%.4s-4%.3s-%c%.3s-%.12s", id, id + 8, id + 13,
                                    "89ab"[(id[16] <= '9' ? id[16] - '0' : id[16] - 'a' + 10) & 3],
                                    id + 17, id + 20);

    memcpy(out, text, 37);
}

void identity_fill(struct container_definition *def)
{
    struct host_config *hc = &def->host_config;
    char uuid[37];

    if (!wants(hc))
        return;
    if (str_is_empty(hc->machine_uuid) || STREQ(hc->machine_uuid, VALUE_AUTO)) {
        uuid_of_id(def->id, uuid);
        str_replace(&hc->machine_uuid, uuid);
    }
    if (str_is_empty(hc->machine_sn) || STREQ(hc->machine_sn, VALUE_AUTO)) {
        AUTOFREE char *sn = xstrndup(def->id, SERIAL_AUTO);

        for (char *p = sn; *p; p++)
            *p = (char)(*p >= 'a' && *p <= 'f' ? *p - 32 : *p);
        str_replace(&hc->machine_sn, sn);
    }
}

void identity_machine_id(const struct container_definition *def, char out[33])
{
    const char *uuid = def->host_config.machine_uuid;
    size_t n = 0;

    if (str_is_empty(uuid))
        uuid = def->id;
    for (; *uuid && n < 32; uuid++)
        if (*uuid != '-')
            out[n++] = *uuid;
    out[n] = '\0';
}

/* --- At a start ------------------------------------------------------------------------------------- */

/* What is told of the kind of machine is the host's own, where it tells it. */
static char *host_text(const char *name, const char *otherwise)
{
    AUTOFREE char *path = xasprintf("%s/%s", HOST_ID, name);
    AUTOFREE char *text = NULL;

    if (fs_read_file(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return xstrdup(otherwise);
    text[strcspn(text, "\n")] = '\0';
    if (strlen(text) > TEXT_MAX)
        text[TEXT_MAX] = '\0';
    return take_ptr(text);
}

/* The folder is new, and goes with a start that fails: no need to replace anything at one go. */
static int put_file(const char *dir, const char *name, const void *data, size_t len,
                    struct error *e)
{
    AUTOFREE char *path = xasprintf("%s/%s", dir, name);
    AUTOFD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0444);
    int r = fd < 0 ? -errno : fs_write_all(fd, data, len);

    return r < 0 ? error_set_errno(e, r, "cannot write %s", path) : 0;
}

static int put_line(const char *dir, const char *name, const char *text, struct error *e)
{
    AUTOFREE char *line = xasprintf("%s\n", text);

    return put_file(dir, name, line, strlen(line), e);
}

enum text {
    BIOS_VENDOR,
    BIOS_VERSION,
    BIOS_DATE,
    SYS_VENDOR,
    PRODUCT_NAME,
    PRODUCT_VERSION,
    PRODUCT_FAMILY,
    PRODUCT_SKU,
    BOARD_VENDOR,
    BOARD_NAME,
    BOARD_VERSION,
    CHASSIS_VENDOR,
    CHASSIS_VERSION,
    CHASSIS_TYPE,
    BIOS_RELEASE,
    EC_RELEASE,
    MODALIAS,
    NTEXTS
};

static const struct {
    const char *file, *otherwise;
} texts[NTEXTS] = {
    [BIOS_VENDOR] = {"bios_vendor", "Pouch"},
    [BIOS_VERSION] = {"bios_version", "1"},
    [BIOS_DATE] = {"bios_date", "01/01/2020"},
    [SYS_VENDOR] = {"sys_vendor", "Pouch"},
    [PRODUCT_NAME] = {"product_name", "Container"},
    [PRODUCT_VERSION] = {"product_version", ""},
    [PRODUCT_FAMILY] = {"product_family", ""},
    [PRODUCT_SKU] = {"product_sku", ""},
    [BOARD_VENDOR] = {"board_vendor", "Pouch"},
    [BOARD_NAME] = {"board_name", "Container"},
    [BOARD_VERSION] = {"board_version", ""},
    [CHASSIS_VENDOR] = {"chassis_vendor", "Pouch"},
    [CHASSIS_VERSION] = {"chassis_version", ""},
    [CHASSIS_TYPE] = {"chassis_type", "1"},
    [BIOS_RELEASE] = {"bios_release", ""},
    [EC_RELEASE] = {"ec_firmware_release", ""},
    [MODALIAS] = {"modalias", "dmi:bvnPouch:svnPouch:pnContainer:ct1:"},
};

/* The folder that stands for /sys/class/dmi/id. */
static int write_id_folder(const char *dir, char *const values[NTEXTS],
                           const struct host_config *hc, struct error *e)
{
    static const char *const serials[] = {"product_serial", "board_serial", "chassis_serial"};
    static const char *const empty[] = {"board_asset_tag", "chassis_asset_tag"}; /* the host's */
    AUTOFREE char *uevent = xasprintf("MODALIAS=%s", values[MODALIAS]);
    int r = fs_mkdir_p(dir, 0755);

    if (r < 0)
        return error_set_errno(e, r, "cannot create %s", dir);
    for (size_t i = 0; r == 0 && i < NTEXTS; i++)
        r = put_line(dir, texts[i].file, values[i], e);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(serials); i++)
        r = put_line(dir, serials[i], hc->machine_sn, e);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(empty); i++)
        r = put_line(dir, empty[i], "", e);
    if (r == 0)
        r = put_line(dir, "product_uuid", hc->machine_uuid, e);
    return r == 0 ? put_line(dir, "uevent", uevent, e) : r;
}

/* The folder that stands for /sys/firmware. */
static int write_tables(const char *dir, char *const values[NTEXTS], const struct host_config *hc,
                        struct error *e)
{
    AUTOFREE char *tables = xasprintf("%s/dmi/tables", dir);
    AUTO(buf) struct buf table = BUF_INIT(16384);
    unsigned char entry[SMBIOS_ENTRY_SIZE];
    struct smbios_identity id = {
        .bios_vendor = values[BIOS_VENDOR],
        .bios_version = values[BIOS_VERSION],
        .bios_date = values[BIOS_DATE],
        .manufacturer = values[SYS_VENDOR],
        .product = values[PRODUCT_NAME],
        .version = values[PRODUCT_VERSION],
        .family = values[PRODUCT_FAMILY],
        .sku = values[PRODUCT_SKU],
        .board_vendor = values[BOARD_VENDOR],
        .board_name = values[BOARD_NAME],
        .board_version = values[BOARD_VERSION],
        .chassis_vendor = values[CHASSIS_VENDOR],
        .chassis_version = values[CHASSIS_VERSION],
        .chassis_type = (unsigned)strtoul(values[CHASSIS_TYPE], NULL, 10),
        .serial = hc->machine_sn,
    };
    int r = uuid_parse(hc->machine_uuid, id.uuid);

    if (r == 0)
        r = smbios_write(&id, &table, entry);
    if (r < 0)
        return error_set_errno(e, r, "cannot make SMBIOS tables");
    r = fs_mkdir_p(tables, 0755);
    if (r < 0)
        return error_set_errno(e, r, "cannot create %s", tables);
    r = put_file(tables, "smbios_entry_point", entry, sizeof(entry), e);
    return r == 0 ? put_file(tables, "DMI", table.data, table.len, e) : r;
}

int identity_prepare(struct start_context *ctx, struct error *e)
{
    const struct host_config *hc = &ctx->def->host_config;
    AUTOFREE char *id = xasprintf("%s/dmi/id", ctx->bundle);
    AUTOFREE char *firmware = xasprintf("%s/dmi/firmware", ctx->bundle);
    AUTOFREE char *dmi = xasprintf("%s/dmi", ctx->bundle);
    char *values[NTEXTS];
    char machine_id[33];
    bool has_dmi;
    int r;

    if (!wants(hc))
        return 0;
    has_dmi = access(HOST_ID, F_OK) == 0;
    for (size_t i = 0; i < NTEXTS; i++)
        values[i] = host_text(texts[i].file, texts[i].otherwise);
    r = has_dmi ? write_id_folder(id, values, hc, e) : 0;
    if (r == 0)
        r = write_tables(firmware, values, hc, e);
    identity_machine_id(ctx->def, machine_id);
    if (r == 0)
        r = put_line(dmi, "machine-id", machine_id, e);
    for (size_t i = 0; i < NTEXTS; i++)
        free(values[i]);
    if (r == 0 && !has_dmi)
        strv_push(&ctx->warnings, "machine identity: this host has no DMI, so there is no "
                                  "/sys/class/dmi/id; dmidecode and /etc/machine-id tell it");
    return r;
}

static void add_bind(const struct start_context *ctx, struct oci_spec *s, const char *name,
                     const char *target)
{
    static const char *const options[] = {"bind",   "ro",       "nosuid", "nodev",
                                          "noexec", "rprivate", NULL};
    AUTOFREE char *source = xasprintf("%s/dmi/%s", ctx->bundle, name);

    spec_add_mount(s, ctx->def, target, "bind", source, options);
}

void identity_apply(const struct start_context *ctx, struct oci_spec *s)
{
    if (!wants(&ctx->def->host_config))
        return;
    if (access(HOST_ID, F_OK) == 0)
        add_bind(ctx, s, "id", HOST_ID);
    /* A container that sees no firmware sees its own; one that sees the host's (privileged) sees the
     * rest of that, too. */
    if (strv_contains(s->linux->masked_paths, FIRMWARE) || access(HOST_TABLES, F_OK) < 0) {
        strv_remove(s->linux->masked_paths, FIRMWARE);
        if (access(FIRMWARE, F_OK) == 0)
            add_bind(ctx, s, "firmware", FIRMWARE);
    } else {
        add_bind(ctx, s, "firmware/dmi", HOST_TABLES);
    }
    add_bind(ctx, s, "machine-id", MACHINE_ID);
}
