# Rich containers: the modes, the application as a service, the way they end.
load helpers

DEBIAN_IMAGES='debian debian-rich debian-sysv debian-openrc'

setup_file() {
    local dir name
    file_up
    dir=$("$POUCH_TOP/tools/make-images" debian)
    for name in $DEBIAN_IMAGES; do pouch load -q -i "$dir/$name.oci.tar" >/dev/null; done
    pouch load -q -i "$POUCH_IMAGES/busybox-init.docker.tar" >/dev/null
}
teardown_file() { file_down; }

# rich MODE NAME ARG...: a detached one without a network.
rich() {
    local mode=$1 name=$2
    shift 2
    pouch run -d --name "$name" --network none --rich --rich-mode "$mode" "$@" >/dev/null
}
# For what could hang.
pouch_for() { timeout "$1" "$POUCH_BIN/pouch" -H "unix://$SOCK" "${@:2}"; }
logs_have() { pouch logs "$1" 2>&1 | grep -qE -- "$2"; }
# It logs to files that others read: an init that is up, by its own word.
systemd_is() {
    local said
    said=$(pouch exec -u 0 "$1" systemctl is-system-running 2>/dev/null || true)
    [ "$said" = "$2" ]
}
exit_code() { pouch inspect -f '{{.State.ExitCode}}' "$1"; }
# halts NAME: it ends by itself, long before it would be killed.
halts() {
    local start ms
    start=$(now_ms)
    pouch stop -t 120 "$1"
    ms=$(($(now_ms) - start))
    echo "# stopped in $ms ms: $1"
    [ "$ms" -le 100000 ] || fail "$1 had to be killed"
}

@test "refused before anything is made" {
    refused() { # refused REGEX ARG...
        local text=$1
        shift
        run pouch run --network none "$@"
        [ "$status" -eq 125 ] || fail "status $status: $output"
        one_line "$text"
    }
    refused 'rich-mode systemd needs --rich' --rich-mode systemd busybox true
    refused 'rich-exit init needs --rich' --rich-exit init busybox true
    refused 'unknown rich mode "upstart": want dumb-init, sbin-init or systemd' \
        --rich --rich-mode upstart busybox true
    refused 'invalid --rich-exit "both"' --rich --rich-exit both busybox true
    refused 'dumb-init the application is all there is' --rich --rich-exit init busybox true
    refused 'image busybox has no systemd' --rich --rich-mode systemd busybox true
    refused '--rich and --init' --rich --init busybox true
    refused '--rich and --pid' --rich --pid host busybox true
    refused '--rich and --cgroupns host' --rich --rich-mode systemd --cgroupns host debian true
    refused '--rich and --read-only' --rich --rich-mode systemd --read-only debian true
    refused 'a rich container has its own files at /run/pouch' --rich -v /tmp:/run/pouch/x busybox true
    refused 'unknown rich mode "x"' --label Rich=true --label RichMode=x busybox true
    refused 'label Rich=1: want true or false' --label Rich=1 busybox true
    is "$(pouch ps -aq)" ''
    # Rich=true without a mode, by a label of the docker command line.
    is "$(docker run --rm --network none --label Rich=true busybox cat /proc/1/comm)" dumb-init
}

@test "an init that is gone at the start is refused then" {
    pouch create --name gone --network none --rich --rich-mode systemd debian true >/dev/null
    mkdir -p "$T/root/containers/$(pouch inspect -f '{{.Id}}' gone)/diff/usr/lib"
    # An empty opaque folder in the writable layer hides the image's.
    mkdir "$T/root/containers/$(pouch inspect -f '{{.Id}}' gone)/diff/usr/lib/systemd"
    setfattr -n trusted.overlay.opaque -v y \
        "$T/root/containers/$(pouch inspect -f '{{.Id}}' gone)/diff/usr/lib/systemd"
    run pouch start gone
    [ "$status" -ne 0 ]
    has "$output" 'has no systemd'
    is "$(state_of gone)" created
}

@test "dumb-init: reaps, forwards, is root while the application is not" {
    is "$(pouch run --rm --network none --rich busybox cat /proc/1/comm)" dumb-init
    is "$(pouch run --rm --network none --rich -u app busybox sh -c 'id -u; cat /proc/1/status' |
        awk 'NR == 1 || /^Uid/ {print $NF}' | tr '\n' ' ')" '1000 0 '
    run pouch run --rm --network none --rich busybox sh -c 'exit 37'
    is "$status" 37
    run pouch run --rm --network none --rich busybox sh -c 'kill -USR1 $$'
    is "$status" 138
    run pouch run --rm --network none --rich busybox nosuch
    is "$status" 127
    has "$output" 'nosuch'
    run pouch run --rm --network none --rich -u nobodyknows busybox true
    is "$status" 126
    has "$output" 'nobodyknows'
    is "$(echo in | pouch run -i --rm --network none --rich busybox cat)" in
    # An orphan does not stay a zombie.
    is "$(pouch run --rm --network none --rich busybox sh -c \
        '(sleep 0.1 &) ; sleep 0.5; ps | grep -c "[Z] " ; true')" 0
    rich dumb-init term busybox sh -c 'trap "echo got TERM; exit 9" TERM; echo ready; while :; do sleep 0.1; done'
    within 5 logs_have term ready
    halts term
    is "$(exit_code term)" 9
    logs_have term 'got TERM'
}

@test "dumb-init: a terminal's signals reach the application" {
    output=$(tty run -it --rm --network none --rich busybox sh <<'END'
send echo pid $$; cat /proc/1/comm\r
expect dumb-init
send sleep 100\r
sleep 0.3
send \x03
send echo after; exit 6\r
expect after
END
    ) || [ $? -eq 6 ]
    has "$output" after
}

@test "systemd: boots to running, the application is a service, everything of it intact" {
    rich systemd vm debian-rich
    within 20 systemd_is vm running
    is "$(pouch exec -u 0 vm systemctl --failed --no-legend)" ''
    is "$(pouch exec -u 0 vm cat /proc/1/comm)" systemd
    is "$(pouch exec -u 0 vm systemd-detect-virt)" pouch
    for unit in systemd-journald systemd-logind dbus cron rsyslog ssh pouch-app; do
        is "$(pouch exec -u 0 vm systemctl is-active "$unit")" active
    done
    within 10 logs_have vm 'shop: open'
    local said
    said=$(pouch logs vm)
    has "$said" 'uid 1000 gid 1000'
    has "$said" 'cwd </srv/my shop>'
    has "$said" 'ppid 1$'
    has "$said" 'arg 1 <>'
    has "$said" 'arg 3 <say "hi">'
    has "$said" 'arg 6 <%h %%n %>'
    has "$said" 'env SHOP_PERCENT=<%h %n %%>'
    has "$said" "env SHOP_QUOTES=<it's \"quoted\">"
    # The machine's identity is the container's, in every place.
    local id
    id=$(pouch inspect -f '{{.Id}}' vm)
    is "$(pouch exec -u 0 vm cat /etc/machine-id)" "${id:0:32}"
    is "$(pouch exec -u 0 vm cat /run/host/container-manager)" pouch
    # Nothing of this is in the writable layer but empty places to mount on.
    run find "$T/root/containers/$id/diff" -name '*pouch*' -size +0 -type f
    is "$output" ''
    [ ! -e "$T/root/containers/$id/diff/run/systemd" ]
    halts vm
    is "$(exit_code vm)" 0
    logs_have vm 'shop: closed'
    # The same container again, from the files it left.
    pouch start vm >/dev/null
    within 20 systemd_is vm running
    is "$(pouch exec -u 0 vm cat /etc/machine-id)" "${id:0:32}"
    pouch restart vm >/dev/null
    within 20 systemd_is vm running
    pouch pause vm >/dev/null
    is "$(state_of vm)" paused
    pouch unpause vm >/dev/null
    systemd_is vm running
    pouch pause vm >/dev/null
    halts vm
}

@test "systemd: streams, exit codes and signals of the application are the container's" {
    pouch run --rm --network none --rich --rich-mode systemd debian \
        sh -c 'echo out; echo err >&2; exit 7' >"$T/out" 2>"$T/err" || is $? 7
    is "$(cat "$T/out")" out
    is "$(cat "$T/err")" err
    run pouch run --rm --network none --rich --rich-mode systemd debian sh -c 'kill -SEGV $$'
    is "$status" 139
    run pouch run --rm --network none --rich --rich-mode systemd debian nosuch
    is "$status" 127
    has "$output" 'exec: "nosuch": executable file not found'
    is "$(seq 30000 | pouch run -i --rm --network none --rich --rich-mode systemd debian wc -l)" 30000
    # All of the output, also of one that ends at once.
    is "$(pouch run --rm --network none --rich --rich-mode systemd debian seq 30000 | tail -n 1)" 30000
    # Its user can open its streams by name.
    is "$(pouch run --rm --network none --rich --rich-mode systemd -u 1234:5 -w /made/for/it debian \
        sh -c 'id -u >/dev/stdout; id -g; pwd' | tr '\n' ' ')" '1234 5 /made/for/it '
}

@test "systemd: a terminal is the application's" {
    output=$(tty run -it --rm --network none --rich --rich-mode systemd \
        debian sh <<'END'
expect [#]
send stty size; tty; ps -o pid,tty,args | cat\r
expect /dev/console
send sleep 100\r
sleep 0.5
send \x03
send echo after; exit 6\r
expect after
END
    ) || is $? 6 || fail "$output"
    has "$output" '24 80'
}

@test "systemd: --rich-exit init, services by hand, poweroff from inside" {
    rich systemd pet --rich-exit init debian sh -c 'exit 3'
    within 20 pouch exec pet systemctl is-failed pouch-app
    is "$(state_of pet)" running
    halts pet
    is "$(exit_code pet)" 0
    # Stopped and started by hand inside, the application does not end the container.
    rich systemd hand debian sleep 600
    within 20 pouch exec hand systemctl is-active pouch-app
    pouch exec hand systemctl restart pouch-app
    pouch exec hand systemctl stop pouch-app
    sleep 1
    is "$(state_of hand)" running
    pouch exec hand systemctl start pouch-app
    pouch exec hand poweroff || true
    is "$(pouch_for 20 wait hand)" 143
    # An image that is made to be booted has no application beside its init.
    rich systemd plain debian
    within 20 pouch exec plain systemctl is-active cron
    run pouch exec plain systemctl cat pouch-app
    [ "$status" -ne 0 ]
    halts plain
    is "$(exit_code plain)" 0
}

@test "systemd: stopped while it boots" {
    local wait
    for wait in 0 0.05 0.2 0.5; do
        rich systemd early debian-rich
        sleep "$wait"
        halts early
        lacks "$(exit_code early)" 137
        pouch rm early >/dev/null
    done
}

@test "stopped while it is on its way to run" {
    local wait starter start
    pouch create --name way --network none --rich --rich-mode systemd debian-rich >/dev/null
    for wait in 0 0.002 0.005 0.01 0.02; do
        pouch start way >/dev/null 2>&1 3>&- &
        starter=$!
        sleep "$wait"
        start=$(now_ms)
        # Asked before it runs: then there is nothing to stop, or it halts as its init understands.
        pouch stop -t 60 way
        [ $(($(now_ms) - start)) -lt 50000 ] || fail "it had to be killed"
        wait "$starter" || true
        pouch stop -t 60 way
        lacks "$(exit_code way)" 137
    done
}

@test "mounts where the init wants its own: the user's /run, VOLUMEs of images made for systemd" {
    local id
    rich systemd own --tmpfs /run:size=8m --tmpfs /tmp:size=5m debian-rich
    within 20 systemd_is own running
    is "$(pouch exec -u 0 own df -k --output=size /run /tmp | tail -n 2 | tr -d ' ' | tr '\n' ' ')" '8192 5120 '
    has "$(pouch exec -u 0 own cat /proc/self/mountinfo)" ' /run/lock .* tmpfs '
    halts own
    pouch rm own >/dev/null
    rich systemd kept -v kept-run:/run debian-rich
    within 20 systemd_is kept running
    pouch restart kept >/dev/null
    within 20 systemd_is kept running
    pouch rm -f kept >/dev/null
    pouch volume rm kept-run >/dev/null
    # As images for Docker say it: an anonymous volume over the cgroups would end systemd at once.
    pouch create --name made debian-rich >/dev/null
    id=$(pouch commit -c 'VOLUME /sys/fs/cgroup /run /run/lock/ /tmp /var/lib/data' made made-for-systemd)
    pouch rm made >/dev/null
    rich systemd vols made-for-systemd
    within 20 systemd_is vols running
    is "$(pouch inspect -f '{{range .Mounts}}{{.Destination}} {{end}}' vols)" '/var/lib/data '
    has "$(pouch exec vols cat /proc/self/mountinfo)" ' /sys/fs/cgroup .* cgroup2 '
    pouch rm -fv vols >/dev/null
    pouch rmi "$id" >/dev/null
    for mode in systemd sbin-init; do
        run pouch run --rm --network none -v /sys/fs/cgroup:/sys/fs/cgroup:ro --rich --rich-mode "$mode" debian true
        is "$status" 125
        one_line 'mount on /sys/fs/cgroup: systemd gets .* leave this mount out'
    done
    is "$(pouch ps -aq)" ''
}

@test "an image without a command is its init; one that says that it is rich, is" {
    local id
    pouch create --name bare busybox-init >/dev/null
    pouch export bare | pouch import -c 'LABEL RichMode=sbin-init' - bare:1 >/dev/null
    pouch rm bare >/dev/null
    run pouch run --rm --network none bare:1
    is "$status" 125
    one_line 'no command specified: image bare:1 has no CMD and no ENTRYPOINT'
    # What the image says of the mode counts where the command line does not say it.
    pouch run -d --name bare --network none --rich bare:1 >/dev/null
    within 10 pouch exec bare test -e /var/log/rcS
    is "$(pouch exec bare cat /proc/1/comm)" init
    is "$(pouch inspect -f '{{.Path}} {{.Config.RichMode}}' bare)" 'init sbin-init'
    halts bare
    is "$(exit_code bare)" 0
    pouch rm bare >/dev/null
    run pouch run --rm --network none --rich --rich-mode dumb-init bare:1
    one_line 'no command specified'
    pouch rmi bare:1 >/dev/null
    # All of it by labels of an image, for whoever starts it; but not what is to be run.
    touch "$T/tmp/there"
    pouch create --name say busybox-init >/dev/null
    id=$(pouch commit -c "LABEL Rich=true RichMode=sbin-init InitScript=host:/bin/rm\\ $T/tmp/there" \
        -c 'ENTRYPOINT ["cat", "/proc/1/comm"]' -c 'CMD []' say says-it:1)
    pouch rm say >/dev/null
    is "$(pouch run --rm --network none says-it:1)" init
    is "$(docker run --rm --network none says-it:1)" init
    [ -e "$T/tmp/there" ]
    is "$(pouch run --rm --network none --label Rich=false says-it:1)" cat
    pouch rmi "$id" >/dev/null
    rm "$T/tmp/there"
}

@test "services below OpenRC and logins of busybox have the environment, also a changed one" {
    of() { pouch exec -u 0 "$1" sh -c 'for p in /proc/[0-9]*; do case "$(tr "\0" " " <$p/cmdline)" in *'"$2"'*) tr "\0" "\n" <$p/environ; exit;; esac; done'; }
    rich sbin-init old -e COLOUR=blue debian-openrc
    within 30 logs_have old 'shop: open'
    # Not started by the login of a test, but by the boot.
    has "$(of old /usr/sbin/cron)" '^COLOUR=blue$'
    has "$(of old /usr/sbin/cron)" "^SHOP_QUOTES=it's \"quoted\"\$"
    has "$(pouch exec -u 0 old cat /etc/rc.conf.d/pouch.conf)" '^rc_env_allow=.* COLOUR '
    # The machine's own settings stay its own, to be changed by whoever operates it.
    pouch exec -u 0 old sed -i 's/^#rc_parallel=.*/rc_parallel="NO"/' /etc/rc.conf
    pouch update -e COLOUR=green -e LATER=yes old >/dev/null
    has "$(pouch exec -u 0 old cat /etc/rc.conf.d/pouch.conf)" '^rc_env_allow=.* LATER '
    pouch exec -u 0 old env -i TERM=dumb su -l root -c 'rc-service cron restart'
    has "$(of old /usr/sbin/cron)" '^COLOUR=green$'
    has "$(of old /usr/sbin/cron)" '^LATER=yes$'
    pouch rm -f old >/dev/null
    rich sbin-init old -e COLOUR=blue busybox-init
    within 30 logs_have old 'shop: open'
    pouch update -e LATER='y e s' old >/dev/null
    is "$(pouch exec -u 0 old env -i /bin/su -l root -c 'echo "$COLOUR|$LATER"')" 'blue|y e s'
}

@test "without capabilities: root is root already; another user needs two of them" {
    local mode
    for mode in dumb-init sbin-init; do
        is "$(pouch run --rm --network none --cap-drop ALL --rich --rich-mode "$mode" -u 0 \
            --entrypoint id busybox-init -u)" 0
    done
    run pouch run --rm --network none --cap-drop ALL --rich -u 1000 busybox id -u
    is "$status" 126
    one_line 'cannot become user 1000: .* needs the capabilities SETUID and SETGID'
    is "$(pouch run --rm --network none --cap-drop ALL --cap-add SETUID --cap-add SETGID --rich -u 1000 busybox id -u)" 1000
}

@test "systemd: restart policy goes by the application" {
    pouch run -d --name again --network none --rich --rich-mode systemd --restart on-failure:2 debian \
        sh -c 'echo run; exit 4' >/dev/null
    ended() { [ "$(pouch inspect -f '{{.State.Status}} {{.RestartCount}}' again)" = 'exited 2' ]; }
    within 60 ended
    is "$(exit_code again)" 4
    is "$(pouch logs again | grep -c run)" 3
}

@test "systemd: limits hold, the cgroup's own part cannot change them" {
    rich systemd small -m 300m --pids-limit 200 --cpus 0.5 debian
    within 20 pouch exec small systemctl is-active cron
    is "$(pouch exec small stat -f -c %T /sys/fs/cgroup)" cgroup2fs
    is "$(pouch exec small sh -c 'mkdir /sys/fs/cgroup/mine && echo made')" made
    pouch exec small rmdir /sys/fs/cgroup/mine
    local id limit
    id=$(pouch inspect -f '{{.Id}}' small)
    for limit in /sys/fs/cgroup/memory /sys/fs/cgroup; do
        [ -e "$limit/$CGROUP_PARENT/$id" ] || continue
        has "$(cat "$limit/$CGROUP_PARENT/$id"/memory.limit_in_bytes \
            "$limit/$CGROUP_PARENT/$id"/memory.max 2>/dev/null)" '^314572800$'
        break
    done
    run pouch exec small sh -c 'echo 1000000000 >/sys/fs/cgroup/../memory.max'
    [ "$status" -ne 0 ]
    # The host's own hierarchies are not there to be written.
    run pouch exec small sh -c 'echo 1 >/sys/fs/cgroup/cgroup.kill'
    is "$(pouch exec small cat /proc/self/cgroup | grep -c '\.\.')" 0
}

@test "systemd: the login of who started pouchd is not the container's" {
    [ -w /proc/self/loginuid ] || skip "this kernel has no audit"
    pouchd_stop
    # In a process of its own: it cannot be taken back everywhere.
    (
        echo 0 >/proc/self/loginuid
        pouchd_start
    )
    is "$(cat "/proc/$(pouchd_pid)/loginuid")" 0
    is "$(pouch run --rm --network none --rich busybox cat /proc/1/loginuid)" 4294967295
    is "$(pouch run --rm --network none busybox cat /proc/1/loginuid)" 0
    pouchd_stop
    pouchd_start
}

@test "systemd: pouchd is killed and comes back" {
    rich systemd kept debian-rich
    within 20 systemd_is kept running
    pouchd_kill
    pouchd_start
    is "$(state_of kept)" running
    systemd_is kept running
    within 10 logs_have kept 'shop: open'
    halts kept
    is "$(exit_code kept)" 0
    logs_have kept 'shop: closed'
}

@test "environment: services, logins, and changed while it runs" {
    rich systemd vars -e COLOUR=blue -e 'ODD=a "b" $c %d' -e 'HASH=a#b' debian sleep 600
    booted() { systemd_is vars running || systemd_is vars degraded; }
    within 20 booted
    is "$(pouch exec vars env | grep ^COLOUR)" COLOUR=blue
    is "$(pouch exec vars systemd-run -q --wait --pipe sh -c 'echo "$COLOUR|$ODD"')" 'blue|a "b" $c %d'
    # A login as PAM makes it, and a login shell.
    login() { pouch exec vars runuser -l root -c "$1"; }
    is "$(login 'echo "$COLOUR|$ODD|$HASH"')" 'blue|a "b" $c %d|a#b'
    is "$(pouch exec vars env -i bash -lc 'echo "$COLOUR|$ODD|$HASH"')" 'blue|a "b" $c %d|a#b'
    has "$(pouch exec vars cat /etc/environment)" '^COLOUR="blue"$'
    lacks "$(pouch exec vars cat /etc/environment)" HASH
    pouch update -e COLOUR=green -e LATER=yes --env-rm ODD vars >/dev/null
    is "$(pouch exec vars env | grep ^COLOUR)" COLOUR=green
    is "$(login 'echo "$COLOUR|$ODD|$LATER"')" 'green||yes'
    has "$(pouch exec vars cat /etc/environment)" '^COLOUR="green"$'
    new_service() {
        [ "$(pouch exec vars systemd-run -q --wait --pipe sh -c 'echo "$COLOUR|$ODD|$LATER"')" = 'green||yes' ]
    }
    within 10 new_service
    pouch exec vars systemctl restart pouch-app
    has "$(pouch exec vars sh -c 'tr "\0" "\n" </proc/$(systemctl show -p MainPID --value pouch-app)/environ')" \
        '^COLOUR=green$'
    # And what the image has in the file stays.
    pouch stop vars >/dev/null
    echo FROM_IMAGE=1 >"$T/root/containers/$(pouch inspect -f '{{.Id}}' vars)/diff/etc/environment"
    pouch start vars >/dev/null
    has "$(pouch exec vars cat /etc/environment)" '^FROM_IMAGE=1$'
    has "$(pouch exec vars cat /etc/environment)" '^COLOUR="green"$'
}

@test "in a user namespace of its own: all modes, environment changed while it runs" {
    local mode image
    for mode in systemd/debian-rich sbin-init/busybox-init dumb-init/busybox-init; do
        image=${mode#*/}
        mode=${mode%/*}
        echo "# $mode"
        rich "$mode" own --userns auto "$image"
        within 30 logs_have own 'shop: open'
        has "$(pouch logs own)" 'uid 1000 gid 1000'
        [ "$mode" != systemd ] || within 20 systemd_is own running
        pouch update -e LATER=yes own >/dev/null
        # What only root of the container may read.
        has "$(pouch exec -u 0 own sh -c 'tr "\0" "\n" </run/pouch/env')" '^LATER=yes$'
        run pouch exec -u 1000 own cat /run/pouch/env
        [ "$status" -ne 0 ]
        halts own
        is "$(exit_code own)" 0
        pouch rm own >/dev/null
    done
}

@test "sbin-init: systemd, sysvinit, OpenRC, busybox; each halts as it understands" {
    local image
    for image in debian-rich debian-sysv debian-openrc busybox-init; do
        echo "# $image"
        rich sbin-init "vm-$image" "$image"
        within 30 logs_have "vm-$image" 'shop: open'
        has "$(pouch logs "vm-$image")" 'uid 1000 gid 1000'
        has "$(pouch logs "vm-$image")" 'cwd </srv/my shop>'
        has "$(pouch exec -u 0 "vm-$image" cat /proc/1/comm)" '^(systemd|init|linuxrc)$'
        halts "vm-$image"
        is "$(exit_code "vm-$image")" 0
        logs_have "vm-$image" 'shop: stopping'
        pouch rm "vm-$image" >/dev/null
    done
}

@test "sbin-init: OpenRC's own init, which never ends by itself" {
    local start
    pouch run -d --name made --network none --entrypoint sleep debian-openrc 600 >/dev/null
    pouch exec -u 0 made ln -sf /usr/sbin/openrc-init /sbin/init
    pouch commit -c 'ENTRYPOINT ["/usr/local/bin/shop"]' made debian-openrc-init:1 >/dev/null
    pouch rm -f made >/dev/null
    rich sbin-init own --userns auto debian-openrc-init:1
    within 30 pouch exec own pgrep -x cron
    within 30 logs_have own 'shop: open'
    is "$(pouch exec own cat /proc/1/comm)" init
    pouch stop -t 120 own >/dev/null
    is "$(exit_code own)" 0
    logs_have own 'shop: stopping'
    pouch rm own >/dev/null
    # Halted from inside, with an application that has ended long ago.
    rich sbin-init own --rich-exit init --entrypoint true debian-openrc-init:1
    within 30 pouch exec own pgrep -x cron
    pouch exec -u 0 own openrc-shutdown -p now || true
    is "$(pouch_for 100 wait own)" 0
    # Killed it has not halted.
    pouch start own >/dev/null
    within 30 pouch exec own pgrep -x cron
    pouch kill own >/dev/null
    is "$(exit_code own)" 137
    pouch rm own >/dev/null
    pouch rmi debian-openrc-init:1 >/dev/null
}

@test "sbin-init: exit codes; an end from inside; stopped while it boots" {
    local image
    for image in debian-sysv busybox-init; do
        run pouch run --rm --network none --rich --rich-mode sbin-init --entrypoint sh "$image" \
            -c 'echo out; echo err >&2; exit 7'
        is "$status" 7
        has "$output" out
        has "$output" err
    done
    run pouch run --rm --network none --rich --rich-mode sbin-init --entrypoint sh busybox-init \
        -c 'kill -9 $$'
    is "$status" 137
    rich sbin-init inside busybox-init
    within 20 logs_have inside 'shop: open'
    pouch exec -u 0 inside poweroff || true # it goes with the rest
    is "$(pouch_for 20 wait inside)" 0
    for image in debian-sysv busybox-init; do
        rich sbin-init "early-$image" "$image"
        halts "early-$image"
    done
}

@test "hostile images: nothing outside of the container is touched" {
    local name
    mkdir -p /tmp/pouch-hostile "$T/hostile"
    mount -t tmpfs tmpfs /tmp/pouch-hostile
    echo '#!/bin/sh' >/tmp/pouch-hostile/init
    echo keep >/tmp/pouch-hostile/environment
    chmod 755 /tmp/pouch-hostile/init
    "$HERE/rich-images" "$T/hostile"
    find /tmp/pouch-hostile -type f -exec md5sum {} + | sort >"$T/hostile.before"
    for name in "$T"/hostile/*.docker.tar; do pouch load -q -i "$name" >/dev/null; done
    # They start or are refused; with a link in the way they see their own files only.
    for name in run-link run-up etc-files etc-pouch etc-huge etc-fifo; do
        echo "# $name"
        run pouch_for 30 run --rm --network none --rich "$name" cat /proc/1/comm
        echo "$output"
        [ "$status" -ne 124 ]
        run pouch_for 30 run --rm --network none --rich --rich-mode sbin-init "$name" sh -c 'exit 11'
        echo "$output"
        [ "$status" -ne 124 ]
    done
    for name in init-host init-folder init-fifo; do
        run pouch_for 30 run --rm --network none --rich --rich-mode sbin-init "$name" true
        is "$status" 125
        has "$output" 'has no /sbin/init'
        run pouch_for 30 run --rm --network none --rich --rich-mode systemd "$name" true
        is "$status" 125
        has "$output" 'has no systemd'
    done
    is "$(find /tmp/pouch-hostile -type f -exec md5sum {} + | sort)" "$(cat "$T/hostile.before")"
    is "$(find /tmp/pouch-hostile -mindepth 1 | wc -l)" 2
    umount /tmp/pouch-hostile
    rmdir /tmp/pouch-hostile
}

@test "an init that nobody knows has the application beside it" {
    "$HERE/rich-images" "$T/tmp"
    pouch load -q -i "$T/tmp/own-init.docker.tar" >/dev/null
    rm -f "$T"/tmp/*.docker.tar
    run pouch run --rm --network none --rich --rich-mode sbin-init own-init sh -c 'sleep 0.5; exit 12'
    is "$status" 12
    has "$output" 'own init'
    rich sbin-init own --rich-exit init own-init sleep 600
    within 5 logs_have own 'own init'
    sleep 0.3
    halts own
    is "$(exit_code own)" 5
}

@test "somebody inside who plays with the pipes breaks only the container" {
    rich systemd play debian sleep 600
    within 20 pouch exec play systemctl is-active pouch-app
    # Not ours to write to, and what is written to the pipe is not believed when it is no record.
    run pouch exec play sh -c 'echo x >/run/pouch/new'
    [ "$status" -ne 0 ]
    run pouch exec play sh -c 'echo x >/run/pouch/app'
    [ "$status" -ne 0 ]
    run pouch exec -u 1000 play sh -c 'cat /run/pouch/app; echo >/run/pouch/events'
    [ "$status" -ne 0 ]
    pouch exec play sh -c 'head -c 100000 /dev/urandom >/run/pouch/events'
    pouch exec play sh -c 'echo from elsewhere >/run/pouch/stdout'
    within 5 logs_have play 'from elsewhere'
    is "$(state_of play)" running
    halts play
    is "$(exit_code play)" 143
}

@test "systemd with --privileged: boots, but leaves the host's devices to the host" {
    rich systemd strong --privileged debian-rich
    within 20 systemd_is strong running
    is "$(pouch exec -u 0 strong systemctl is-active systemd-udevd systemd-udev-trigger | tr '\n' ' ')" \
        'inactive inactive '
    halts strong
    is "$(exit_code strong)" 0
    logs_have strong 'shop: closed'
}

@test "a start without pouch-init fails with the reason and leaves nothing" {
    local program
    pouchd_stop
    mkdir -p "$T/partial"
    for program in "$POUCH_BIN"/*; do
        [ "${program##*/}" = pouch-init ] || ln -sf "$program" "$T/partial/"
    done
    POUCH_LIBEXEC=$T/partial pouchd_start
    run pouch run --rm --network none --rich busybox true
    [ "$status" -ne 0 ]
    has "$output" 'need the program pouch-init'
    is "$(pouch run --rm --network none busybox echo plain)" plain
    pouchd_stop
    pouchd_start
}

@test "a monitor that is killed takes all of the machine with it" {
    rich systemd victim debian-rich
    within 20 systemd_is victim running
    local id monitor
    id=$(pouch inspect -f '{{.Id}}' victim)
    monitor=$(awk '{print $4}' "/proc/$(pouch inspect -f '{{.State.Pid}}' victim)/stat")
    is "$(cat "/proc/$monitor/comm")" pouch-monitor
    kill -9 "$monitor"
    is "$(pouch_for 20 wait victim)" 137
    none_left() { ! cgroup_folders | grep -q "$id"; }
    within 10 none_left
    pouch start victim >/dev/null
    within 20 systemd_is victim running
}

@test "many at once" {
    local i jobs=()
    for i in 1 2 3 4; do rich systemd "m$i" debian-rich & jobs+=($!); done
    for i in $(seq 20); do rich dumb-init "d$i" busybox sleep 600 & jobs+=($!); done
    wait "${jobs[@]}"
    jobs=()
    for i in 1 2 3 4; do within 40 logs_have "m$i" 'shop: open'; done
    for i in $(seq 20); do pouch stop -t 5 "d$i" >/dev/null & jobs+=($!); done
    for i in 1 2 3 4; do pouch stop "m$i" >/dev/null & jobs+=($!); done
    wait "${jobs[@]}"
    is "$(pouch ps -q)" ''
    for i in 1 2 3 4; do is "$(exit_code "m$i")" 0; done
}
