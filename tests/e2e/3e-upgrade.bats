# Another image under a container that keeps everything else, and back when the new one does not
# come up; pouchd killed at every moment of it.
load helpers

# image TAG CHANGE...: app:TAG, busybox with these settings.
image() {
    local tag=$1 one args=()
    shift
    for one in "$@"; do args+=(-c "$one"); done
    pouch import "${args[@]}" "$POUCH_IMAGES/busybox-root.tar" "app:$tag" >/dev/null
}

setup_file() {
    file_up
    image v1 'CMD ["sh","-c","echo v1 up; exec sleep 1000"]' 'ENV VERSION=1' 'ENV OLD=x' 'LABEL rev=1' 'VOLUME /data' 'WORKDIR /tmp'
    image v2 'CMD ["sh","-c","echo v2 up; exec sleep 1000"]' 'ENV VERSION=2' 'LABEL rev=2' 'VOLUME /data' 'VOLUME /more' 'WORKDIR /usr' 'EXPOSE 81'
    image crash 'CMD ["sh","-c","echo crashing; exit 7"]' 'VOLUME /crashed'
    image late 'CMD ["sh","-c","sleep 1.5; exit 9"]'
    image nocmd 'CMD ["/does/not/exist"]' 'VOLUME /never'
}
teardown_file() { file_down; }

# checked TAG CHECK CMD: app:TAG with a health check, which import has no word for.
checked() {
    local at=$T/tmp/image layer
    mkdir "$at"
    cp "$POUCH_IMAGES/busybox-root.tar" "$at/layer.tar"
    layer=$(sha256sum <"$at/layer.tar" | cut -c 1-64)
    cat >"$at/config.json" <<END
{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin:/sbin"],"Cmd":[$3],"Healthcheck":{$2,"Interval":1000000000}},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]}}
END
    echo "[{\"Config\":\"config.json\",\"RepoTags\":[\"app:$1\"],\"Layers\":[\"layer.tar\"]}]" >"$at/manifest.json"
    tar -C "$at" -cf "$at.tar" manifest.json config.json layer.tar
    pouch load -q -i "$at.tar" >/dev/null
    rm -rf "$at" "$at.tar"
}

# What has to be the same before and after, as one line.
identity() {
    pouch inspect -f '{{.Id}} {{.Name}} {{.Created}} {{.HostConfig.Memory}} {{.Config.Hostname}} {{.Config.Labels.mine}} {{json .HostConfig.PortBindings}}' "$1"
}
addresses() {
    pouch inspect -f '{{.NetworkSettings.IPAddress}} {{.NetworkSettings.MacAddress}}' "$1"
}
layers() { ls "$T/root/containers/$(pouch inspect -f '{{.Id}}' "$1")"; }
volume_count() { find "$T/root/volumes" -mindepth 1 -maxdepth 1 -type d | wc -l; }

@test "a running container gets another image and keeps what it is" {
    pouch run -d --name pet -p 18201:80 -m 64m -l mine=yes -e MINE=1 -v named:/named app:v1 >/dev/null
    pouch exec pet sh -c 'echo kept >/data/f; echo kept >/named/f; echo lost >/lost; hostname >/data/name'
    local before where
    before=$(identity pet)
    where=$(addresses pet)
    pouch run -d --name noise --network bridge busybox sleep 100 >/dev/null
    is "$(pouch upgrade --image app:v2 --grace 1 -t 0 pet)" pet
    is "$(identity pet)" "$before"
    is "$(addresses pet)" "$where"
    is "$(state_of pet)" running
    is "$(pouch exec pet sh -c 'cat /data/f /named/f; echo $VERSION,$OLD,$MINE; pwd')" 'kept
kept
2,,1
/usr'
    is "$(pouch exec pet sh -c 'ls /lost 2>/dev/null || echo gone; hostname')" "gone
$(pouch exec pet cat /data/name)"
    # The log goes on.
    is "$(pouch logs pet)" 'v1 up
v2 up'
    is "$(pouch inspect -f '{{.Config.Image}} {{.Config.Labels.rev}}' pet)" 'app:v2 2'
    is "$(pouch inspect -f '{{.Image}}' pet)" "$(pouch inspect -f '{{.Id}}' app:v2)"
    # The new image's further volume is there; nothing of the old layer is left.
    pouch exec pet sh -c 'echo x >/more/f'
    lacks "$(layers pet)" upgrade
    has "$(timeout 10 "$POUCH_BIN/pouch" -H "unix://$SOCK" events --since 1m --until "$(($(date +%s) + 1))" --filter event=upgrade)" 'container upgrade .*oldImage=app:v1'
    # And again, back to the old one by hand; then a plain restart.
    pouch upgrade --image app:v1 --grace 0 -t 0 pet >/dev/null
    pouch restart -t 0 pet >/dev/null
    is "$(pouch exec pet sh -c 'cat /data/f; echo $VERSION')" 'kept
1'
    pouch rm -f -v pet noise >/dev/null
    rm -rf "$T/root/volumes/named"
    is "$(volume_count)" 0
}

@test "a stopped container stays stopped" {
    pouch create --name pet app:v1 >/dev/null
    pouch upgrade --image app:v2 pet >/dev/null
    is "$(state_of pet)" created
    pouch start pet >/dev/null
    is "$(pouch logs pet)" 'v2 up'
    pouch exec pet sh -c 'echo mine >/mine'
    pouch stop -t 0 pet >/dev/null
    pouch upgrade --image app:v1 pet >/dev/null
    is "$(state_of pet)" exited
    pouch start pet >/dev/null
    is "$(pouch exec pet sh -c 'ls /mine 2>/dev/null || echo gone')" gone
    pouch rm -f -v pet >/dev/null
}

@test "paused and restarting ones run afterwards" {
    pouch run -d --name pet app:v1 >/dev/null
    pouch pause pet >/dev/null
    pouch upgrade --image app:v2 --grace 0 -t 0 pet >/dev/null
    is "$(state_of pet)" running
    pouch rm -f -v pet >/dev/null
    pouch run -d --name loop --restart always app:crash >/dev/null
    within 10 restarted
    pouch upgrade --image app:v2 --grace 1 -t 0 loop >/dev/null
    is "$(state_of loop)" running
    pouch rm -f -v loop >/dev/null
}
restarted() { [ "$(pouch inspect -f '{{.RestartCount}}' loop)" -ge 2 ]; }

# back IMAGE PATTERN: an upgrade to it fails for that reason, and all is as it was.
back() {
    local before where started
    before=$(identity pet)
    where=$(addresses pet)
    pouch exec pet sh -c 'echo mine >/mine'
    run pouch upgrade --image "$1" --grace 30 -t 0 pet
    is "$status" 1
    has "$output" "$2"
    has "$output" 'runs again as before'
    is "$(identity pet)" "$before"
    is "$(addresses pet)" "$where"
    is "$(pouch inspect -f '{{.Config.Image}} {{.State.Status}} {{.Config.Labels.rev}}' pet)" 'app:v1 running 1'
    is "$(pouch exec pet sh -c 'cat /mine; echo $VERSION')" 'mine
1'
    lacks "$(layers pet)" upgrade
    is "$(volume_count)" 1
}
@test "a new one that does not come up: the old one runs again, with its files" {
    pouch run -d --name pet -l mine=yes -p 18202:80 --restart always app:v1 >/dev/null
    back app:nocmd 'no such file|not found'
    back app:crash 'exit code 7'
    back app:late 'exit code 9'
    pouch rm -f -v pet >/dev/null
    is "$(volume_count)" 0
}

@test "a port that was taken meanwhile, a volume that cannot be: back" {
    pouch run -d --name pet -p 18203:80 app:v1 >/dev/null
    pouch update --restart no pet >/dev/null
    run pouch upgrade -t 0 --image app:v2 pet /does/not/exist
    is "$status" 1
    has "$output" 'runs again as before'
    is "$(pouch inspect -f '{{.Config.Image}} {{json .Config.Cmd}}' pet)" 'app:v1 ["sh","-c","echo v1 up; exec sleep 1000"]'
    # The same image with another command, which runs but is not wanted after all.
    pouch exec pet sh -c 'echo mine >/mine'
    run pouch upgrade -t 0 --grace 50 --image app:v1 pet sh -c 'sleep 1; exit 4'
    has "$output" 'exit code 4'
    is "$(pouch inspect -f '{{json .Config.Cmd}}' pet)" '["sh","-c","echo v1 up; exec sleep 1000"]'
    is "$(pouch exec pet cat /mine)" mine
    pouch upgrade -t 0 --grace 1 --image app:v1 pet sleep 1002 >/dev/null
    is "$(pouch inspect -f '{{json .Config.Cmd}}' pet)" '["sleep","1002"]'
    pouch rm -f -v pet >/dev/null
}

@test "with a health check: upgraded when healthy, back when not" {
    checked sick '"Retries":2,"Test":["CMD-SHELL","echo no database; exit 1"]' '"sleep","1000"'
    checked slow '"Retries":20,"Test":["CMD-SHELL","test -e /ready"]' '"sh","-c","sleep 2; touch /ready; exec sleep 1000"'
    checked never '"Retries":100,"Test":["CMD-SHELL","exit 1"]' '"sleep","1000"'
    pouch run -d --name pet -l mine=yes -p 18205:80 app:v1 >/dev/null
    back app:sick 'unhealthy: no database'
    pouch rm -f -v pet >/dev/null
    pouch run -d --network none --name pet app:v1 >/dev/null
    run pouch upgrade --image app:never --health-timeout 2 -t 0 pet
    is "$status" 1
    has "$output" 'did not become healthy in 2 s'
    is "$(pouch inspect -f '{{.Config.Image}}' pet)" app:v1
    pouch upgrade --image app:slow -t 0 pet >/dev/null
    is "$(pouch inspect -f '{{.State.Health.Status}} {{.Config.Image}}' pet)" 'healthy app:slow'
    # The check was the image's: it goes with it.
    pouch upgrade --image app:v2 --grace 1 -t 0 pet >/dev/null
    is "$(pouch inspect -f '{{json .State.Health}} {{json .Config.Healthcheck}}' pet)" 'null null' ||
        lacks "$(pouch inspect pet)" '"Health'
    is "$(state_of pet)" running
    pouch rm -f -v pet >/dev/null
}

@test "hooks and machine identity stay" {
    pouch run -d --network none --name pet --hook-poststart "host:/bin/sh -c 'echo started >>$T/tmp/hook'" app:v1 >/dev/null
    local id
    id=$(pouch exec pet cat /etc/machine-id 2>/dev/null || true)
    within 5 hooked 1
    pouch upgrade --image app:v2 --grace 0 -t 0 pet >/dev/null
    within 5 hooked 2
    run pouch upgrade --image app:crash -t 0 pet
    is "$status" 1
    within 5 hooked 4
    is "$(pouch exec pet cat /etc/machine-id 2>/dev/null || true)" "$id"
    pouch rm -f -v pet >/dev/null
    rm -f "$T/tmp/hook"
}
hooked() { [ "$(wc -l <"$T/tmp/hook")" = "$1" ]; }

@test "a rich container" {
    ! readelf -l "$POUCH_BIN/pouch-init" | grep -q INTERP || skip "pouch-init is not static in this build"
    pouch load -q -i "$POUCH_IMAGES/busybox-init.docker.tar" >/dev/null
    local at=$T/tmp/image
    mkdir "$at"
    tar -C "$at" -xf "$POUCH_IMAGES/busybox-init.docker.tar"
    python3 - "$at" <<'END'
import json, sys
manifest = json.load(open(sys.argv[1] + "/manifest.json"))
config = json.load(open(sys.argv[1] + "/" + manifest[0]["Config"]))
config["config"].setdefault("Env", []).append("VERSION=2")
json.dump(config, open(sys.argv[1] + "/second.json", "w"))
manifest[0].update(Config="second.json", RepoTags=["rich:2"])
json.dump(manifest, open(sys.argv[1] + "/manifest.json", "w"))
END
    tar -C "$at" -cf "$at.tar" .
    pouch load -q -i "$at.tar" >/dev/null
    rm -rf "$at" "$at.tar"
    pouch run -d --network none --name pet --rich --rich-mode sbin-init -e MINE=1 busybox-init >/dev/null
    local id start
    id=$(pouch exec pet cat /etc/machine-id)
    within 10 eval 'pouch logs pet | grep -q open'
    start=$(now_ms)
    pouch upgrade --image rich:2 --grace 1 -t 120 pet >/dev/null
    # Its init was halted as it understands, not by a time-out.
    [ $(($(now_ms) - start)) -lt 100000 ] || fail "took $(($(now_ms) - start)) ms"
    is "$(pouch exec pet sh -c 'echo $VERSION,$MINE; cat /proc/1/comm')" '2,1
init'
    is "$(pouch exec pet cat /etc/machine-id)" "$id"
    pouch update -e MINE=2 pet >/dev/null
    run pouch upgrade --image app:crash --entrypoint /none pet
    is "$status" 1
    has "$output" 'runs again as before'
    is "$(pouch exec pet sh -c 'echo $VERSION,$MINE')" 2,2
    pouch rm -f -v pet >/dev/null
}

@test "which command is run" {
    cmd() { pouch inspect -f '{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{.Path}}' "$1"; }
    image e1 'ENTRYPOINT ["sleep"]' 'CMD ["1001"]'
    image e2 'ENTRYPOINT ["/bin/sleep"]' 'CMD ["1002"]'
    pouch create --name pet app:e1 >/dev/null
    pouch upgrade --image app:e2 pet >/dev/null
    is "$(cmd pet)" '["/bin/sleep"] ["1002"] /bin/sleep'
    pouch rm pet >/dev/null
    pouch create --name pet app:e1 1003 >/dev/null # a command of its own
    pouch upgrade --image app:e2 pet >/dev/null
    is "$(cmd pet)" '["/bin/sleep"] ["1003"] /bin/sleep'
    pouch rm pet >/dev/null
    pouch create --name pet --entrypoint sh app:e1 -c 'sleep 9' >/dev/null # an entrypoint of its own
    pouch upgrade --image app:e2 pet >/dev/null
    is "$(cmd pet)" '["sh"] ["-c","sleep 9"] sh'
    pouch upgrade --image app:e1 pet -c 'sleep 10' >/dev/null
    is "$(cmd pet)" '["sh"] ["-c","sleep 10"] sh'
    pouch upgrade --image app:e2 --entrypoint /bin/true pet >/dev/null
    is "$(cmd pet)" '["/bin/true"] [] /bin/true' || is "$(cmd pet)" '["/bin/true"] null /bin/true'
    pouch rm pet >/dev/null
}

@test "what is refused" {
    pouch run -d --network none --name pet app:v1 >/dev/null
    run pouch upgrade --image app:v1 pet
    is "$status" 1
    has "$output" 'image not changed'
    run pouch upgrade --image app:none --pull never pet
    is "$status" 1
    has "$output" 'No such image'
    run pouch upgrade pet
    is "$status" 1
    has "$output" '--image is missing'
    run pouch upgrade --image app:v2 nobody
    is "$status" 1
    has "$output" 'No such container'
    run pouch upgrade --image app:v2 --grace -1 pet
    is "$status" 1
    is "$(state_of pet)" running
    is "$(pouch inspect -f '{{.Config.Image}}' pet)" app:v1
    pouch rm -f -v pet >/dev/null
}

@test "while it is upgraded nobody else changes it, and it answers" {
    checked waits '"Retries":1000,"Test":["CMD-SHELL","test -e /go"]' '"sleep","1000"'
    pouch run -d --network none --name pet app:v1 >/dev/null
    # It is under way until somebody says that the new one is well.
    pouch upgrade --image app:waits --health-timeout 100 -t 0 pet >/dev/null 3>&- &
    local upgrade=$!
    within 5 upgraded_to waits
    local verb
    for verb in stop restart 'rm -f' pause 'update -l a=b' 'upgrade --image app:v1'; do
        # shellcheck disable=SC2086
        run timeout 20 "$POUCH_BIN/pouch" -H "unix://$SOCK" $verb pet
        is "$status" 1
        has "$output" 'being upgraded'
    done
    is "$(pouch exec pet echo here)" here
    run pouch rmi app:v1
    is "$status" 1
    has "$output" 'using|use'
    pouch exec pet touch /go
    wait "$upgrade"
    is "$(state_of pet)" running
    pouch stop -t 0 pet >/dev/null
    pouch rm -v pet >/dev/null
}
upgraded_to() { [ "$(pouch inspect -f '{{.Config.Image}} {{.State.Running}}' pet)" = "app:$1 true" ]; }

@test "killed by hand while it has to show that it stays up: back" {
    pouch run -d --network none --name pet app:v1 >/dev/null
    pouch upgrade --image app:v2 --grace 50 -t 0 pet >"$T/tmp/said" 2>&1 3>&- &
    within 5 upgraded_to v2
    pouch kill pet >/dev/null
    wait $! && fail "it was upgraded"
    has "$(cat "$T/tmp/said")" 'exit code 137'
    is "$(pouch inspect -f '{{.Config.Image}} {{.State.Status}}' pet)" 'app:v1 running'
    pouch rm -f -v pet >/dev/null
}

# After a kill: finished or taken back, never in between, nothing lost, nothing left.
settled() {
    case $(pouch inspect -f '{{.Config.Image}} {{.State.Status}}' pet) in
    'app:v1 running') [ "$(pouch exec pet sh -c 'echo $VERSION')" = 1 ] ;;
    'app:v2 running') [ "$(pouch exec pet sh -c 'echo $VERSION')" = 2 ] ;;
    *) return 1 ;;
    esac && ! layers pet | grep -q upgrade && ! pouch update -l x=y pet 2>&1 | grep -q 'being upgraded'
}
@test "pouchd killed during upgrades" {
    local i n before where from to
    pouch run -d --name pet -l mine=yes -p 18204:80 app:v1 >/dev/null
    pouch exec pet sh -c 'echo kept >/data/f'
    before=$(identity pet)
    where=$(addresses pet)
    for i in $(seq "${PET_KILLS:-8}"); do
        from=$(pouch inspect -f '{{.Config.Image}}' pet)
        [ "$from" = app:v1 ] && to=app:v2 || to=app:v1
        pouch exec pet sh -c "echo $i >/mine"
        pouch upgrade --image "$to" --grace 0 -t 0 pet >/dev/null 2>&1 3>&- &
        sleep "0.$(printf '%03d' $((RANDOM % 120)))"
        pouchd_kill
        pouchd_start
        wait $! || true
        within 20 settled
        is "$(identity pet)" "$before"
        is "$(addresses pet)" "$where"
        is "$(pouch exec pet cat /data/f)" kept
        # Its own writable layer, whichever it is.
        if [ "$(pouch inspect -f '{{.Config.Image}}' pet)" = "$from" ]; then
            is "$(pouch exec pet cat /mine)" "$i"
        else
            is "$(pouch exec pet sh -c 'cat /mine 2>/dev/null || echo none')" none
        fi
        n=$(volume_count)
        [ "$n" -le 2 ] || fail "$n volumes"
    done
    pouch rm -f -v pet >/dev/null
    is "$(volume_count)" 0
}

@test "pouchd killed during upgrades that fail" {
    local i
    pouch run -d --network none --name pet app:v1 >/dev/null
    pouch exec pet sh -c 'echo mine >/mine'
    for i in $(seq "${PET_KILLS:-3}"); do
        pouch upgrade --image app:late --grace 30 -t 0 pet >/dev/null 2>&1 3>&- &
        sleep "$((RANDOM % 2)).$(printf '%03d' $((RANDOM % 999)))"
        pouchd_kill
        pouchd_start
        wait $! || true
        within 20 settled
        is "$(pouch inspect -f '{{.Config.Image}}' pet)" app:v1
        is "$(pouch exec pet cat /mine)" mine
    done
    pouch rm -f -v pet >/dev/null
    is "$(volume_count)" 0
}

@test "docs/pets.md: every command does what the document says" {
    local n
    for n in 1 2; do
        image_of_shop "$n" "mkdir -p /www && echo shop $n >/www/index.html && exec httpd -f -h /www"
    done
    image_of_shop 3 'echo no database; exit 1'
    mkdir -p "$T/walk" "$T/walkbin"
    printf '#!/bin/sh\nexec "%s/pouch" -H "unix://%s" "$@"\n' "$POUCH_BIN" "$SOCK" >"$T/walkbin/pouch"
    chmod +x "$T/walkbin/pouch"
    cd "$T/walk"
    run env PATH="$T/walkbin:$PATH" "$HERE/doc-run" "$POUCH_TOP/docs/pets.md"
    cd /
    echo "$output"
    is "$status" 0
    has "$output" '^[12][0-9] commands, 0 failed'
    rm -rf "$T/walk" "$T/walkbin" "$T/root/volumes/shop-data"
}
image_of_shop() {
    pouch import -c "CMD [\"sh\",\"-c\",\"$2\"]" -c 'STOPSIGNAL KILL' "$POUCH_IMAGES/busybox-root.tar" "shop:$1" >/dev/null
}
