/* SPDX-License-Identifier: Apache-2.0 */
/* The program pouch-monitor. */
#include <string.h>

#include "monitor/drv-native.h"
#include "monitor/drv-oci.h"
#include "monitor/hooks.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--hooks") == 0)
        return hooks_main();
    return monitor_main(argc, argv, &monitor_driver_native, &monitor_driver_oci);
}
