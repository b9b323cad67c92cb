/* SPDX-License-Identifier: Apache-2.0 */
/* The program pouch-monitor. */
#include "monitor/drv-native.h"
#include "monitor/drv-oci.h"

int main(int argc, char **argv)
{
    return monitor_main(argc, argv, &monitor_driver_native, &monitor_driver_oci);
}
