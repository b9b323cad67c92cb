# A container as a machine of its own: serial number, UUID, machine id, MAC address.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

HOST_PROGRAMS=(-v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro)
UUID=00112233-4455-6677-8899-aabbccddeeff
ID=/sys/class/dmi/id
has_dmi() { [ -d /sys/devices/virtual/dmi/id ]; }

machine() { # machine NAME FLAG...: one that runs
    local name=$1
    shift
    pouch run -d --name "$name" "${HOST_PROGRAMS[@]}" "$@" busybox sleep 1000 >/dev/null
}

@test "dmidecode reads the container's own serial number and UUID" {
    [ -d /sys/firmware ] || skip "this host has no /sys/firmware, so a container has none"
    machine box --network none --machine-sn "SN 0815/x" --machine-uuid "$UUID"
    local out
    is "$(pouch exec box /usr/sbin/dmidecode -s system-serial-number)" 'SN 0815/x'
    is "$(pouch exec box /usr/sbin/dmidecode -s baseboard-serial-number)" 'SN 0815/x'
    is "$(pouch exec box /usr/sbin/dmidecode -s chassis-serial-number)" 'SN 0815/x'
    is "$(pouch exec box /usr/sbin/dmidecode -s system-uuid)" "$UUID"
    out=$(pouch exec box /usr/sbin/dmidecode 2>&1)
    has "$out" 'SMBIOS 3.3.0 present'
    is "$(grep -c '^Handle 0x' <<<"$out")" 5
    has "$out" 'End Of Table'
    lacks "$out" '[Bb]ad|[Ww]rong|[Tt]runcated|BAD|Invalid|<OUT OF SPEC>'
    # nothing else of the host's firmware
    is "$(pouch exec box ls /sys/firmware)" dmi
    run pouch exec box sh -c 'echo x >/sys/firmware/dmi/tables/DMI'
    has "$output" 'Read-only'
    is "$(pouch inspect -f '{{.HostConfig.MachineSN}}|{{.HostConfig.MachineUUID}}' box)" "SN 0815/x|$UUID"
}

@test "/sys/class/dmi/id is the container's own" {
    if ! has_dmi; then
        run machine box --network none --machine-sn S1
        is "$status" 0
        has "$output" 'WARNING: machine identity: this host has no DMI'
        skip "this host has no DMI in sysfs (tests/vm shows it in a virtual machine)"
    fi
    machine box --network none --machine-sn S1 --machine-uuid "$UUID"
    local f
    for f in product_serial board_serial chassis_serial; do is "$(pouch exec box cat $ID/$f)" S1; done
    is "$(pouch exec box cat $ID/product_uuid)" "$UUID"
    is "$(pouch exec box cat $ID/sys_vendor)" "$(cat $ID/sys_vendor)"
}

@test "what is not said is made of the container's id; auto says so" {
    machine box --network none --machine-sn S1
    local id uuid
    id=$(pouch inspect -f '{{.Id}}' box)
    uuid=$(pouch inspect -f '{{.HostConfig.MachineUUID}}' box)
    has "$uuid" "^${id:0:8}-${id:8:4}-4${id:13:3}-[89ab]${id:17:3}-${id:20:12}\$"
    is "$(pouch exec box cat /etc/machine-id)" "${uuid//-/}"
    machine other --network none --machine-sn auto --machine-uuid auto
    id=$(pouch inspect -f '{{.Id}}' other)
    is "$(pouch inspect -f '{{.HostConfig.MachineSN}}' other)" "$(tr a-f A-F <<<"${id:0:12}")"
}

@test "all of it stays: stop, start, restart, engine killed, update; and the MAC address with it" {
    machine first
    machine box --machine-sn S1 --machine-uuid "$UUID"
    all() {
        pouch inspect -f '{{.HostConfig.MachineSN}} {{.HostConfig.MachineUUID}} {{.NetworkSettings.MacAddress}}' box
        pouch exec box sh -c 'cat /etc/machine-id /sys/class/net/eth0/address'
        [ ! -d /sys/firmware ] || pouch exec box /usr/sbin/dmidecode -s system-serial-number
    }
    local before
    before=$(all)
    has "$before" "^S1 $UUID 02:"
    pouch restart -t 0 box >/dev/null
    is "$(all)" "$before"
    pouchd_kill
    pouchd_start
    is "$(all)" "$before"
    pouch update --env NEW=1 box >/dev/null
    # another address after a stop: the MAC address is not made of it
    pouch stop -t 0 box first >/dev/null
    pouch start box >/dev/null
    is "$(all)" "$before"
    pouchd_stop
    pouchd_start
    is "$(all)" "$before"
}

@test "bad values are refused" {
    run pouch create --machine-uuid nonsense busybox
    is "$status" 125
    has "$output" 'invalid machine UUID "nonsense": want "auto" or the form 123e4567-'
    run pouch create --machine-uuid 00000000-0000-0000-0000-000000000000 busybox
    has "$output" 'means that there is none'
    run pouch create --machine-sn "$(printf 'x%.0s' $(seq 65))" busybox
    has "$output" '65 characters, at most 64'
    run pouch create --machine-sn $'a\tb' busybox
    has "$output" 'only printable ASCII'
    run pouch create --machine-sn ' a' busybox
    has "$output" 'begins or ends with a space'
}

@test "without it nothing is there" {
    machine plain --network none
    is "$(pouch exec plain ls /sys/firmware 2>&1 | wc -l)" 0
    run pouch exec plain cat /etc/machine-id
    is "$status" 1
    [ ! -e "$T/run/c/$(pouch inspect -f '{{.Id}}' plain)/dmi" ]
}

@test "a privileged container, a user namespace and --security-opt unmask have it, too" {
    [ -d /sys/firmware ] || skip "this host has no /sys/firmware"
    machine boss --network none --privileged --machine-sn S2
    is "$(pouch exec boss /usr/sbin/dmidecode -s system-serial-number)" S2
    machine open --network none --security-opt unmask=/sys/firmware --machine-sn S3
    is "$(pouch exec open /usr/sbin/dmidecode -s system-serial-number)" S3
    machine shifted --network none --userns auto --machine-sn S4
    is "$(pouch exec shifted cat /etc/machine-id)" "$(pouch inspect -f '{{.HostConfig.MachineUUID}}' shifted | tr -d -)"
    is "$(pouch exec shifted /usr/sbin/dmidecode -s system-serial-number)" S4
}
