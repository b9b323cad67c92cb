# pouch-oci: what config.json can ask for. `like_others` runs the same bundle with runc and crun.
# sanitizers: yes
# shellcheck disable=SC2016,SC2012 # scripts for the container; names without surprises
bats_require_minimum_version 1.5.0
load oci

@test "what a container sees is the same with runc and crun" {
    configure 'sh("id; umask; cat /proc/self/oom_score_adj; ulimit -n; env | sort; hostname; pwd")' \
        'c["process"]["user"] = {"uid": 1000, "gid": 1000, "umask": 0o27, "additionalGids": [5, 6]}' \
        'c["process"].update(oomScoreAdj=700, cwd="/tmp", env=["PATH=/bin", "A=b c", "HOME=/x"])'
    mkdir -p "$B/rootfs/tmp"
    like_others
    [[ "$output" == "uid=1000(bob)"*"0027"*"700"*"1024"*"A=b c"*pouch* ]]
    configure 'sh("grep -E \"^(Cap|NoNew|Seccomp:)\" /proc/self/status")' \
        'c["process"]["capabilities"] = {k: ["CAP_CHOWN", "CAP_KILL"] for k in ("bounding", "effective", "permitted", "inheritable", "ambient")}' \
        'c["process"]["user"] = {"uid": 1000, "gid": 1000}' \
        'c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}'
    like_others
    [[ "$output" == *"CapAmb:"*"0000000000000021"* ]]
    configure 'del c["process"]["capabilities"], c["linux"]["seccomp"]' 'c["process"]["user"] = {"uid": 0, "gid": 0}'
    like_others
    [[ "$output" == *"CapBnd:"*"0000000000000000"* ]]
}

@test "mounts, propagation, masked and read-only paths are the same with runc and crun" {
    mkdir -p "$BATS_TEST_TMPDIR/src/sub"
    echo masked >"$BATS_TEST_TMPDIR/src/secret"
    configure 'sh("cut -d\" \" -f5- /proc/self/mountinfo | grep -E \"^/(m|p|t|s|r)[0-9]* \" | sed \"s/ shared:[0-9]*/ shared:N/;s/ master:[0-9]*/ master:N/;s/ propagate_from:[0-9]*//\" | sort; cat /m1/secret; touch /m2/x; echo $?; mkdir /m1/sub/x; echo $?")' \
        "src = '$BATS_TEST_TMPDIR/src'" \
        'add = lambda d, t, s, *o: c["mounts"].append({"destination": d, "type": t, "source": s, "options": list(o)})' \
        'add("/m1", "bind", src, "rbind", "rw", "nosuid")' \
        'add("/m2", "none", src, "bind", "ro", "noexec", "nodev")' \
        'add("/m3", "bind", src, "rbind", "rslave")' \
        'add("/t1", "tmpfs", "tmpfs", "size=1m", "mode=700", "noatime")' \
        'add("/t2", "tmpfs", "none", "nosuid", "strictatime")' \
        'c["linux"]["maskedPaths"] += ["/m1/secret", "/nope"]' \
        'c["linux"]["readonlyPaths"] += ["/m1/sub"]' \
        'c["root"]["readonly"] = False'
    like_others
    [[ "$output" == *"/m2 ro,nodev,noexec"*$'\n'1$'\n'*1 ]]
    [[ "$output" != *masked* ]]
}

@test "recursive mount options reach what is mounted below" {
    mkdir -p "$BATS_TEST_TMPDIR/src/below"
    mount -t tmpfs tmpfs "$BATS_TEST_TMPDIR/src/below"
    configure 'sh("touch /a/below/x || echo refused; touch /b/below/y && echo written; grep -E \" /[abc]/below \" /proc/self/mountinfo | cut -d\" \" -f5,6")' \
        "src = '$BATS_TEST_TMPDIR/src'" \
        'add = lambda d, *o: c["mounts"].append({"destination": d, "type": "bind", "source": src, "options": list(o)})' \
        'add("/a", "rbind", "rro")' 'add("/b", "rbind", "ro")' \
        'add("/c", "rbind", "rnosuid", "rnodev", "rnoexec", "rnoatime")'
    run oci run --bundle "$B" a </dev/null
    umount "$BATS_TEST_TMPDIR/src/below"
    [[ "$output" == *refused$'\n'written$'\n'"/a/below ro,relatime"$'\n'"/b/below rw,relatime"$'\n'"/c/below rw,nosuid,nodev,noexec,noatime" ]]
}

@test "tmpcopyup (copy-up), copy-symlink, a relative destination, a remount" {
    mkdir -p "$B/rootfs/up/d"
    echo one >"$B/rootfs/up/f"
    ln -s f "$B/rootfs/up/l"
    ln -s /nowhere "$BATS_TEST_TMPDIR/link"
    mkdir "$B/rootfs/up2" && echo two >"$B/rootfs/up2/f"
    configure 'sh("cat /up/f /up2/f; readlink /up/l; ls -d /up/d; readlink /new; grep -c \" /rel \" /proc/self/mountinfo; touch /up/x || echo ro")' \
        "link = '$BATS_TEST_TMPDIR/link'" \
        'c["mounts"] += [{"destination": "/up", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}, {"destination": "/up2", "type": "tmpfs", "source": "tmpfs", "options": ["copy-up"]}, {"destination": "/new", "type": "bind", "source": link, "options": ["bind", "copy-symlink"]}, {"destination": "rel", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/up", "options": ["bind", "remount", "ro"]}]'
    run oci run --bundle "$B" a </dev/null
    [[ "$output" == $'one\ntwo\nf\n/up/d\n/nowhere\n1\n'*ro ]]
}

@test "idmapped mounts: mappings of their own, the container's, recursive or not" {
    mkdir -p "$BATS_TEST_TMPDIR/src/below"
    chown 1234:1235 "$BATS_TEST_TMPDIR/src"
    mount -t tmpfs -o uid=1234,gid=1235 tmpfs "$BATS_TEST_TMPDIR/src/below"
    configure 'sh("ls -ldn /a /a/below /b/below | cut -c11-40 | tr -s \" \"")' \
        "src = '$BATS_TEST_TMPDIR/src'" \
        'm = lambda inside, outside: [{"containerID": inside, "hostID": outside, "size": 1}]' \
        'add = lambda d, *o: c["mounts"].append({"destination": d, "type": "bind", "source": src, "options": list(o), "uidMappings": m(1234, 77), "gidMappings": m(1235, 78)})' \
        'add("/a", "rbind", "idmap")' 'add("/b", "rbind", "ridmap")'
    run oci run --bundle "$B" a </dev/null
    [[ "${lines[0]}" == *" 77 78 "* ]]
    [[ "${lines[1]}" == *" 1234 1235 "* ]]
    [[ "${lines[2]}" == *" 77 78 "* ]]
    oci spec --bundle "$BATS_TEST_TMPDIR" # a fresh one
    mv "$BATS_TEST_TMPDIR/config.json" "$B/config.json"
    configure 'sh("ls -ldn /a /b | cut -c11-40 | tr -s \" \"; touch /a/mine")' \
        "src = '$BATS_TEST_TMPDIR/src'" \
        'c["linux"]["namespaces"].append({"type": "user"})' \
        'c["linux"]["uidMappings"] = c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]' \
        'c["mounts"] += [{"destination": d, "type": "bind", "source": src, "options": ["bind"] + o} for d, o in (("/a", ["idmap"]), ("/b", []))]'
    chmod 777 "$BATS_TEST_TMPDIR/src"
    run oci run --bundle "$B" a </dev/null
    [[ "${lines[0]}" == *" 1234 1235 "* ]]
    [[ "${lines[1]}" == *" 65534 65534 "* ]]
    [ "$(stat -c %u "$BATS_TEST_TMPDIR/src/mine")" = 0 ]
    umount "$BATS_TEST_TMPDIR/src/below"
    configure 'c["mounts"] = [{"destination": "/t", "type": "tmpfs", "options": ["idmap"]}]'
    run -1 oci run --bundle "$B" a </dev/null
    [[ "$output" == *"mount of /t: only bind mounts can have id mappings"* ]]
    configure 'c["linux"]["namespaces"].pop(); del c["linux"]["uidMappings"], c["linux"]["gidMappings"]' \
        'c["mounts"] = [{"destination": "/t", "source": "/tmp", "options": ["bind", "idmap"]}]'
    run -1 oci run --bundle "$B" a </dev/null
    [[ "$output" == *"mount of /t: idmap needs uidMappings and gidMappings"* ]]
}

@test "a time namespace has its own clocks, and exec sees them" {
    start_sleeper a 'c["linux"]["namespaces"].append({"type": "time"})' \
        'c["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 5}, "monotonic": {"secs": 7}}'
    host=$(cut -d. -f1 /proc/uptime)
    there=$(oci exec a cut -d. -f1 /proc/uptime)
    [ $((there - host)) -ge 999999 ] && [ $((there - host)) -le 1000030 ]
    pid=$(oci ps -f json a | tr -d '[]')
    # another container in the same one
    R2=$BATS_TEST_TMPDIR/second
    mkdir -p "$R2"
    cp -a "$B/rootfs" "$R2/"
    cp "$B/config.json" "$R2/"
    B=$R2 configure "c['linux']['namespaces'] = [n for n in c['linux']['namespaces'] if n['type'] != 'time'] + [{'type': 'time', 'path': '/proc/$pid/ns/time'}]" \
        'del c["linux"]["timeOffsets"]; c["linux"]["cgroupsPath"] += "2"; sh("cut -d. -f1 /proc/uptime")'
    there=$(oci run --bundle "$R2" b </dev/null)
    [ $((there - host)) -ge 999999 ] && [ $((there - host)) -le 1000030 ]
    oci delete --force a
    configure 'c["linux"]["timeOffsets"] = {"boottime": {"secs": -1000000000}}'
    run -1 oci run --bundle "$B" c </dev/null
    [[ "$output" == *"a clock would be negative"* ]]
}

@test "all namespaces can be joined by path" {
    start_sleeper a
    pid=$(oci ps -f json a | tr -d '[]')
    R2=$BATS_TEST_TMPDIR/second
    mkdir -p "$R2"
    cp -a "$B/rootfs" "$R2/"
    cp "$B/config.json" "$R2/"
    B=$R2 configure 'kinds = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}' \
        "c['linux']['namespaces'] = [{'type': t, 'path': '/proc/$pid/ns/' + f} for t, f in kinds.items()] + [{'type': 'mount'}]" \
        'c["linux"]["cgroupsPath"] += "2"; del c["hostname"]' 'sh("for n in pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; hostname")'
    run -0 oci run --bundle "$R2" b </dev/null
    want=$(for n in pid net ipc uts cgroup; do readlink "/proc/$pid/ns/$n"; done; echo pouch)
    [ "$output" = "$want" ]
}

@test "scheduler, I/O priority, CPU affinity, memory policy, personality" {
    start_sleeper a 'c["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}' \
        'c["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}' \
        'c["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}' \
        'c["linux"]["personality"] = {"domain": "LINUX32"}'
    pid=$(oci ps -f json a | tr -d '[]')
    [ "$(awk '{ print $19, $41 }' "/proc/$pid/stat")" = "7 3" ] # nice, policy
    [[ "$(ionice -p "$pid")" == "best-effort: prio 6" ]]
    [ "$(cat "/proc/$pid/personality")" = 00000008 ]
    grep -q 'bind=static:0' "/proc/$pid/numa_maps"
    [[ "$(oci exec a uname -m)" == i?86 || "$(uname -m)" != x86_64 ]]
    echo '{"args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "execCPUAffinity": {"initial": "0", "final": "0"}}' >"$BATS_TEST_TMPDIR/p"
    [[ "$(oci exec --process "$BATS_TEST_TMPDIR/p" a)" == *$'\t0' ]]
    oci delete --force a
    local bad
    for bad in 'c["process"]["scheduler"] = {"policy": "SCHED_LAZY"}|process.scheduler.policy: "SCHED_LAZY" is not known' \
        'c["process"]["scheduler"] = {"policy": "SCHED_OTHER", "priority": 5}|process.scheduler.priority' \
        'del c["process"]["scheduler"]; c["process"]["ioPriority"]["priority"] = 9|must be between 0 and 7' \
        'del c["process"]["ioPriority"]; c["linux"]["memoryPolicy"]["mode"] = "X"|linux.memoryPolicy.mode: "X" is not known' \
        'del c["linux"]["memoryPolicy"]; c["linux"]["personality"]["domain"] = "BSD"|linux.personality.domain: "BSD" is not known'; do
        configure "${bad%|*}"
        run -1 oci run --bundle "$B" b </dev/null
        [[ "$output" == *"${bad#*|}"* ]]
    done
}

@test "hooks run in their namespaces and order, and see the state" {
    log=$BATS_TEST_TMPDIR/hooks
    mkdir -p "$B/rootfs/tmp"
    # what each hook tells: its name, the state's status, whether it is in the container's mount and
    # network namespaces and root
    cat >"$BATS_TEST_TMPDIR/hook" <<HOOK
#!/bin/sh
state=\$(cat)
status=\${state#*\"status\":\"}
container=no
[ "\$(readlink /proc/self/ns/net)" = "$(readlink /proc/self/ns/net)" ] || container=yes
echo "\$1 \${status%%\"*} \$container \$(pwd)" >>$log
HOOK
    chmod +x "$BATS_TEST_TMPDIR/hook"
    configure "hook = '$BATS_TEST_TMPDIR/hook'" \
        'c["hooks"] = {k: [{"path": hook, "args": ["hook", k + str(i)]} for i in (1, 2)] for k in ("prestart", "createRuntime", "createContainer", "poststart", "poststop")}' \
        'c["hooks"]["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", "cat >/tmp/state; echo $A >/tmp/env"], "env": ["A=b"]}]' \
        'c["root"]["readonly"] = False' 'sh("cat /tmp/env; grep -o created /tmp/state; sleep 0.3")'
    run -0 oci run --bundle "$B" a </dev/null
    [ "$output" = $'b\ncreated' ]
    [ "$(cut -d' ' -f1-3 "$log")" = "prestart1 creating no
prestart2 creating no
createRuntime1 creating no
createRuntime2 creating no
createContainer1 creating yes
createContainer2 creating yes
poststart1 running no
poststart2 running no
poststop1 stopped no
poststop2 stopped no" ]
}

@test "hooks that fail or hang end the container, and poststop goes on" {
    for kind in prestart createRuntime createContainer startContainer; do
        configure "c['hooks'] = {'$kind': [{'path': '/bin/sh', 'args': ['sh', '-c', 'exit 3']}]}"
        run -1 oci run --bundle "$B" a </dev/null
        [[ "$output" == *"$kind hook 0: /bin/sh failed with exit code 3"* ]]
        configure "c['hooks'] = {'$kind': [{'path': '/bin/sleep', 'args': ['sleep', '50'], 'timeout': 1}]}"
        run -1 oci run --bundle "$B" a </dev/null
        [[ "$output" == *"did not end within 1 s"* ]]
        [ -z "$(oci list -q)" ]
        [ ! -e "$(cgroup_dir pids)" ]
    done
    configure 'c["process"]["args"] = ["sleep", "100"]' \
        "c['hooks'] = {'poststart': [{'path': '/bin/false'}], 'poststop': [{'path': '/bin/false'}, {'path': '/bin/sh', 'args': ['sh', '-c', 'echo >$BATS_TEST_TMPDIR/after']}]}"
    run -1 oci run --bundle "$B" a </dev/null
    [[ "$output" == *"poststart hook 0: /bin/false failed"* ]]
    [ -e "$BATS_TEST_TMPDIR/after" ]
    [ -z "$(oci list -q)" ]
}

@test "seccomp: another process answers, of the container and of exec" {
    for nnp in True False; do
        sock=$BATS_TEST_TMPDIR/agent-$nnp
        configure 'sh("mkdir /tmp/x; sleep 1000")' "c['process']['noNewPrivileges'] = $nnp" \
            'c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "words", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]}' \
            "c['linux']['seccomp']['listenerPath'] = '$sock'"
        "$POUCH_TOP/tests/e2e/oci-agent" "$sock" 77 >"$BATS_TEST_TMPDIR/told" 3>&- &
        helpers+=($!)
        for _ in $(seq 100); do [ -S "$sock" ] && break; sleep 0.05; done
        oci run --detach --bundle "$B" a </dev/null >"$BATS_TEST_TMPDIR/out" 2>&1 || { cat "$BATS_TEST_TMPDIR/out"; false; }
        for _ in $(seq 100); do grep -q 'bad state' "$BATS_TEST_TMPDIR/out" && break; sleep 0.05; done
        grep 'File descriptor in bad state' "$BATS_TEST_TMPDIR/out" # errno 77
        pid=$(oci state a | /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
        head -1 "$BATS_TEST_TMPDIR/told" | /usr/bin/python3 -c "import json, sys
s = json.load(sys.stdin)
assert s['fds'] == ['seccompFd'] and s['metadata'] == 'words' and s['pid'] == $pid, s
assert s['state']['id'] == 'a' and s['state']['pid'] == $pid and s['state']['bundle'] == '$B', s"
        rm "$sock"
        "$POUCH_TOP/tests/e2e/oci-agent" "$sock" 78 >"$BATS_TEST_TMPDIR/told" 3>&- &
        helpers+=($!)
        for _ in $(seq 100); do [ -S "$sock" ] && break; sleep 0.05; done
        run oci exec a mkdir /tmp/y
        [[ "$output" == *"Remote address changed"* ]] # errno 78
        grep '"status":"running"' "$BATS_TEST_TMPDIR/told"
        rm "$sock"
        run -1 oci exec a true
        [[ "$output" == *"cannot connect to the seccomp agent's socket"* ]]
        oci delete --force a
    done
    configure 'del c["linux"]["seccomp"]["listenerPath"], c["linux"]["seccomp"]["listenerMetadata"]'
    run -1 oci run --bundle "$B" a </dev/null
    [[ "$output" == *"SCMP_ACT_NOTIFY needs listenerPath"* ]]
    configure 'c["linux"]["seccomp"]["syscalls"][0]["names"] = ["sendmsg"]'
    run -1 oci run --bundle "$B" a </dev/null
    [[ "$output" == *"cannot be used for sendmsg"* ]]
}

@test "cgroup: idle, burst, shares, device rules, unified" {
    start_sleeper a 'c["linux"]["resources"]["cpu"] = {"shares": 512, "quota": 50000, "period": 100000, "burst": 20000, "cpus": "0", "mems": "0"}' \
        'c["linux"]["resources"]["devices"] += [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]'
    dir=$(cgroup_dir cpu)
    if [ -e "$dir/cpu.cfs_burst_us" ]; then
        [ "$(cat "$dir/cpu.cfs_burst_us" "$dir/cpu.shares")" = $'20000\n512' ]
        # burst ≤ quota at every moment, whichever way both go
        oci update --cpu-quota 10000 --cpu-burst 10000 a
        oci update --cpu-quota 60000 --cpu-burst 60000 a
        [ "$(cat "$dir/cpu.cfs_burst_us")" = 60000 ]
        grep -x 'c 10:229 rw' "$(cgroup_dir devices)/devices.list"
    fi
    oci update --cpu-idle 1 a
    [ "$(cat "$dir/cpu.idle")" = 1 ]
    oci update --cpu-idle 0 --cpu-share 256 a
    [ "$(cat "$dir/cpu.idle")" = 0 ]
    oci delete --force a
    configure 'c["linux"]["resources"]["unified"] = {"memory.high": "1000000"}'
    if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
        run -1 oci run --bundle "$B" b </dev/null
        [[ "$output" == *"linux.resources.unified needs cgroup v2"* ]]
    fi
}

@test "a container has a cgroup in every hierarchy of the host, named ones too, and sees it" {
    configure 'sh("cut -d: -f3 /proc/self/cgroup | sort -u; ls -A /sys/fs/cgroup")'
    run -0 oci run --bundle "$B" a </dev/null
    [ "${lines[0]}" = / ]
    [[ "${lines[1]}" != /* ]] # nowhere outside
    if mountpoint -q /sys/fs/cgroup/systemd; then [[ $'\n'"$output"$'\n' == *$'\nsystemd\n'* ]]; fi
    [ -z "$(find /sys/fs/cgroup -maxdepth 3 -path "*$CGROUP/c")" ]
}

@test "what the specification does not know is passed over, what it forbids refused" {
    configure 'c["process"]["args"] = ["true"]; c["future"] = {"x": 1}; c["linux"]["future"] = [1]; c["annotations"] = {"com.example.k": "v"}'
    oci run --bundle "$B" a </dev/null
    local bad
    for bad in 'c["ociVersion"] = "2.0.0"|ociVersion: need 1.x' \
        'c["ociVersion"] = "1.0.0"; c["linux"]["rootfsPropagation"] = "odd"|linux.rootfsPropagation: "odd" is not known' \
        'del c["linux"]["rootfsPropagation"]; c["linux"]["intelRdt"] = {"closID": "x"}|no resctrl file system is mounted' \
        'del c["linux"]["intelRdt"]; c["linux"]["timeOffsets"] = {"boottime": {"secs": 1}}|need a new time namespace' \
        'del c["linux"]["timeOffsets"]; c["linux"]["sysctl"] = {"kernel.panic": "1"}|not in a separate kernel namespace' \
        'del c["linux"]["sysctl"]; c["mounts"].append({"destination": "//.", "type": "tmpfs"})|is the root itself' \
        'c["mounts"].pop(); c["process"]["rlimits"] = [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]|unknown type "RLIMIT_X"'; do
        configure "${bad%|*}"
        run -1 oci run --bundle "$B" a </dev/null
        [[ "$output" == *"${bad#*|}"* ]]
        [ ! -e "$(cgroup_dir pids)" ]
    done
}

@test "labels of a security module that the host does not run are refused, as runc does" {
    if [ -e /sys/fs/selinux/enforce ] || grep -qs Y /sys/module/apparmor/parameters/enabled; then
        skip "this host runs AppArmor or SELinux"
    fi
    local change
    can_run runc || true
    for change in 'c["process"]["apparmorProfile"] = "strict"' 'c["process"]["selinuxLabel"] = "a:b:c:d"' \
        'c["linux"]["mountLabel"] = "a:b:c:d"'; do
        rm "$B/config.json"
        oci spec --bundle "$B"
        configure "$change"
        run -1 oci run --bundle "$B" labelled </dev/null
        [[ "$output" == *"this host does not run"* ]]
        [ ! -e "$R/labelled" ]
        ! can_run runc || run -1 other runc --root "$BATS_TEST_TMPDIR/runc" run --bundle "$B" labelled </dev/null
    done
    rm "$B/config.json"
    oci spec --bundle "$B"
    start_sleeper a 'c["process"]["apparmorProfile"] = "unconfined"'
    run -1 oci exec --apparmor strict a true
    [[ "$output" == *"does not run AppArmor"* ]]
    oci exec a true
}

@test "features are those of the tables" {
    oci features >"$BATS_TEST_TMPDIR/f"
    /usr/bin/python3 - "$BATS_TEST_TMPDIR/f" <<'PY'
import json, sys
with open(sys.argv[1]) as f:
    c = json.load(f)
assert c["ociVersionMax"].startswith("1."), c
assert c["hooks"] == ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
assert {"ridmap", "rro", "tmpcopyup", "runbindable"} <= set(c["mountOptions"])
l = c["linux"]
assert l["namespaces"] == ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
assert "SCMP_ACT_NOTIFY" in l["seccomp"]["actions"] and "MPOL_BIND" in l["memoryPolicy"]["modes"]
assert l["mountExtensions"]["idmap"]["enabled"] and l["intelRdt"]["enabled"]
PY
}

@test "without a mount namespace of its own a container keeps to its root, and leaves no mounts" {
    before=$(grep -c . /proc/self/mountinfo)
    start_sleeper a 'c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "mount"]'
    [ "$(oci exec a sh -c 'ls -d /bin/busybox /proc/1/comm; ls / | wc -l')" = $'/bin/busybox\n/proc/1/comm\n'"$(ls "$B/rootfs" | wc -l)" ]
    pid=$(oci ps -f json a | tr -d '[]')
    [ "$(readlink "/proc/$pid/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ]
    [ "$(grep -c . /proc/self/mountinfo)" = "$before" ]
    oci delete --force a
    [ "$(grep -c . /proc/self/mountinfo)" = "$before" ]
    [ -z "$(ls "$B/rootfs/proc")" ]
    configure 'c["linux"]["namespaces"].append({"type": "mount", "path": "/proc/self/ns/uts"})'
    run -1 oci run --bundle "$B" b </dev/null
    [[ "$output" == *"cannot join mount namespace /proc/self/ns/uts (is it of another type?)"* ]]
}

@test "config.json may change after create: what was read then counts" {
    configure 'sh("echo old; sleep 0.2")' \
        "c['hooks'] = {'poststop': [{'path': '/bin/touch', 'args': ['touch', '$BATS_TEST_TMPDIR/stopped']}]}"
    oci create --bundle "$B" a </dev/null >"$BATS_TEST_TMPDIR/out" 2>&1
    echo '{}' >"$B/config.json"
    oci start a
    for _ in $(seq 100); do oci state a | grep -q '"stopped"' && break; sleep 0.05; done
    oci delete a
    [ "$(cat "$BATS_TEST_TMPDIR/out")" = old ]
    [ -e "$BATS_TEST_TMPDIR/stopped" ]
}

@test "netDevices move into the container with their addresses, and back when it cannot be made" {
    ip link add ocidev0 type veth peer name ocidev1
    ip addr add 192.0.2.5/24 dev ocidev0
    ip -6 addr add 2001:db8::5/64 dev ocidev0 nodad
    configure 'c["linux"]["netDevices"] = {"ocidev0": {"name": "good"}, "nope0": {}}' 'sh("ip addr show")'
    run -1 oci run --bundle "$B" a </dev/null
    [[ "$output" == *"cannot move nope0 into the container"* ]]
    ip addr show dev ocidev0 | grep -q 'inet 192.0.2.5/24'
    configure 'c["linux"]["netDevices"] = {"ocidev0": {"name": "lo"}}'
    run -1 oci run --bundle "$B" a </dev/null
    [[ "$output" == *"cannot move ocidev0 into the container as lo: File exists"* ]]
    configure 'c["linux"]["netDevices"] = {"ocidev0": {"name": "eth%d"}}'
    run -0 oci run --bundle "$B" a </dev/null
    [[ "$output" == *"eth0"*"UP"*"inet 192.0.2.5/24"*"inet6 2001:db8::5/64"* ]]
    run ! ip link show ocidev0 # the peer went with the namespace
}
