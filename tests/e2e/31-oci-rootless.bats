# pouch-oci as an ordinary user: user namespaces, no rights of root.
bats_require_minimum_version 1.5.0
load oci

ID=12345

setup() {
    B=$BATS_TEST_TMPDIR/bundle
    R=$BATS_TEST_TMPDIR/run
    mkdir -p "$B/rootfs/bin" "$R"
    cp /bin/busybox "$B/rootfs/bin/"
    for applet in sh id cat ls sleep ps touch stat; do ln -s busybox "$B/rootfs/bin/$applet"; done
    cp "$POUCH_BIN/pouch-oci" "$BATS_TEST_TMPDIR/"
    chown -R $ID:$ID "$BATS_TEST_TMPDIR"
    # the way there must be open to the user
    for dir in "$BATS_TEST_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR" "$T"; do
        while [ "$dir" != / ]; do chmod o+x "$dir"; dir=$(dirname "$dir"); done
    done
    oci spec --rootless --bundle "$B"
    helpers=()
}

oci() {
    XDG_RUNTIME_DIR=$R timeout 30 setpriv --reuid $ID --regid $ID --clear-groups \
        "$BATS_TEST_TMPDIR/pouch-oci" "$@"
}

change() {
    /usr/bin/python3 - "$B/config.json" "$@" <<'PY'
import json, sys
path, *changes = sys.argv[1:]
with open(path, encoding="utf-8") as f:
    c = json.load(f)
c["process"]["terminal"] = False
c["root"]["readonly"] = False
sh = lambda text: c["process"].update(args=["sh", "-c", text])
for change in changes:
    exec(change)
with open(path, "w", encoding="utf-8") as f:
    json.dump(c, f)
PY
}

@test "a user runs, looks at and removes containers of his own" {
    change 'sh("id -u; cat /proc/self/uid_map; cat /proc/1/comm; touch /made; exit 6")'
    run -6 --separate-stderr oci run --bundle "$B" a </dev/null
    [[ "$(echo "$output" | tr -s ' ')" == $'0\n 0 '"$ID"$' 1\nsh' ]]
    [[ "$stderr" == *"no cgroup /pouch/a without root's rights"* ]]
    [ "$(stat -c %u "$B/rootfs/made")" = $ID ]
    change 'c["process"]["args"] = ["sleep", "1000"]'
    oci run --detach --bundle "$B" b </dev/null >/dev/null 2>&1
    oci state b | grep '"status":"running"'
    [ -d "$R/pouch-oci/b" ]
    [[ "$(oci exec b id)" == uid=0*gid=0* ]]
    [[ "$(oci exec b ps)" == *"1 0 "*"sleep 1000"* ]]
    oci kill b KILL
    for _ in $(seq 100); do oci state b | grep -q '"stopped"' && break; sleep 0.05; done
    oci delete b
    [ -z "$(oci list -q)" ]
}

@test "create and start, mounts, and what a user may not" {
    mkdir "$BATS_TEST_TMPDIR/data"
    echo words >"$BATS_TEST_TMPDIR/data/f"
    chown -R $ID "$BATS_TEST_TMPDIR/data"
    change 'sh("cat /data/f; touch /data/g; ls /dev/null; cat /secret 2>&1; stat -c %u /proc/1 2>/dev/null; true")' \
        "c['mounts'].append({'destination': '/data', 'type': 'bind', 'source': '$BATS_TEST_TMPDIR/data', 'options': ['rbind']})" \
        "c['mounts'].append({'destination': '/secret', 'type': 'bind', 'source': '/etc/shadow', 'options': ['bind']})"
    oci create --bundle "$B" a </dev/null >"$BATS_TEST_TMPDIR/out" 2>&1
    oci start a
    for _ in $(seq 100); do oci state a | grep -q '"stopped"' && break; sleep 0.05; done
    oci delete a
    grep -x words "$BATS_TEST_TMPDIR/out"
    grep -x /dev/null "$BATS_TEST_TMPDIR/out"
    grep "can't open '/secret': Permission denied" "$BATS_TEST_TMPDIR/out"
    [ "$(stat -c %u "$BATS_TEST_TMPDIR/data/g")" = $ID ]
    change 'c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "user"]; del c["linux"]["uidMappings"], c["linux"]["gidMappings"]'
    run -1 oci run --bundle "$B" b </dev/null
    [[ "$output" == *"without root's rights a container needs a user namespace"* ]]
    XDG_RUNTIME_DIR='' run -1 env -u XDG_RUNTIME_DIR setpriv --reuid $ID --regid $ID --clear-groups \
        "$BATS_TEST_TMPDIR/pouch-oci" list
    [[ "$output" == *"XDG_RUNTIME_DIR is not set"* ]]
}

@test "more ids by newuidmap, and none that are not the user's" {
    command -v newuidmap >/dev/null || skip "uidmap is not installed"
    for file in passwd subuid subgid; do
        cp /etc/$file "$BATS_TEST_TMPDIR/$file" 2>/dev/null || : >"$BATS_TEST_TMPDIR/$file"
        chown 0:0 "$BATS_TEST_TMPDIR/$file"
    done
    echo "octest:x:$ID:$ID::/:/bin/sh" >>"$BATS_TEST_TMPDIR/passwd"
    echo "octest:200000:65536" >"$BATS_TEST_TMPDIR/subuid"
    echo "octest:200000:65536" >"$BATS_TEST_TMPDIR/subgid"
    for file in passwd subuid subgid; do
        [ -e /etc/$file ] || : >/etc/$file
        mount --bind "$BATS_TEST_TMPDIR/$file" /etc/$file
    done
    change 'maps = [{"containerID": 0, "hostID": '$ID', "size": 1}, {"containerID": 1, "hostID": 200000, "size": 65536}]' \
        'c["linux"]["uidMappings"] = c["linux"]["gidMappings"] = maps' \
        'c["process"]["user"] = {"uid": 1000, "gid": 1000}' 'sh("id -u; touch /tmp/x")' \
        'c["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]})'
    run oci run --bundle "$B" a </dev/null
    code=$status said=$output
    change 'c["linux"]["uidMappings"][1]["hostID"] = 300000'
    run -1 oci run --bundle "$B" b </dev/null
    for file in passwd subuid subgid; do umount /etc/$file; done
    [ "$code" = 0 ]
    [[ "$said" == *1000* ]]
    [[ "$output" == *"newuidmap refuses the id mappings of the container"* ]]
    [ -z "$(oci list -q)" ]
}
