# What lived on a virtual machine lives in a rich container: sshd, cron, rsyslog, journald and agents
# of its own, through everything that happens to a container and to its engine.
# shellcheck disable=SC2016 # what is expanded is expanded inside
load helpers
load rich

setup_file() {
    # One of the tests waits for a minute of cron's.
    export BATS_TEST_TIMEOUT=300
    rich_up
    mkdir -p "$T/keys"
    chmod 700 "$T/keys"
    ssh-keygen -q -t ed25519 -N '' -f "$T/key"
    cp "$T/key.pub" "$T/keys/authorized_keys"
    chmod 600 "$T/keys/authorized_keys"
    # Its owner is the user inside: sshd looks at that.
    cp -a "$T/keys" "$T/keys-app"
    chown -R 1000:1000 "$T/keys-app"
}
teardown_file() { file_down; }

# machine NAME PORT: the company's virtual machine as a container.
machine() {
    vm "$1" -p "127.0.0.1:$2:22" -v "$T/keys:/root/.ssh:ro" -v "$T/keys-app:/home/app/.ssh:ro"
}

# login USER PORT COMMAND...
login() {
    ssh -p "$2" -i "$T/key" -o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -F none "$1@127.0.0.1" "${@:3}" 3>&-
}

beat() { pouch exec -u root "$1" sed -n 's/^beat //p' /var/lib/ops/metrics; }
beat_moves() {
    local before
    before=$(beat "$1")
    sleep 0.3
    [ -n "$before" ] && [ "$(beat "$1")" -gt "$before" ]
}
answers() { [[ "$(pouch exec -u root "$1" perl -MIO::Socket::UNIX -e 'print scalar readline(IO::Socket::UNIX->new(Peer => "/run/ops-ship.sock"))')" =~ ^alive ]]; }
in_syslog() { pouch exec -u root "$1" grep -q -- "$2" /var/log/syslog; }
in_journal() { pouch exec -u root "$1" journalctl -q --no-pager -o cat -b | grep -q -- "$2"; }
shipped() { pouch exec -u root "$1" grep -q -- "$2" /var/lib/ops/shipped; }

# serves NAME PORT WORD: each of the services does its work now.
serves() {
    local name=$1 port=$2 word=$3
    is "$(login app "$port" 'echo $((6 * 7)) as $(id -un)')" "42 as app"
    pouch exec -u root "$name" logger -t audit "line-$word"
    within 5 in_syslog "$name" "audit: line-$word"
    within 5 in_journal "$name" "line-$word"
    within 5 shipped "$name" "line-$word"
    within 5 beat_moves "$name"
    within 5 answers "$name"
    is "$(pouch exec -u root "$name" systemctl is-active cron ssh rsyslog systemd-journald ops-metrics ops-ship | sort -u)" active
}

@test "sshd: a log in over the published port, as root and as a user, and what is in its environment" {
    machine vm 18422
    within 5 login root 18422 true
    is "$(login root 18422 id -u)" 0
    is "$(login app 18422 id -u)" 1000
    # A terminal, as a person has it; logind knows of the session.
    has "$(login app 18422 -tt 'tty; echo $XDG_SESSION_ID' </dev/null)" '/dev/pts/'
    is "$(login root 18422 printenv SHOP_NAME)" "two words"
    is "$(login app 18422 printenv SHOP_QUOTES)" "it's \"quoted\""
    is "$(login app 18422 printenv SHOP_DOLLAR)" '$HOME ${PATH} $$'
    is "$(login app 18422 "bash -lc 'printenv SHOP_PERCENT'")" '%h %n %%'
    # Files go both ways, as with any machine.
    head -c 300000 /dev/urandom >"$T/tmp/there"
    scp -q -P 18422 -i "$T/key" -o BatchMode=yes -o StrictHostKeyChecking=no -F none \
        -o UserKnownHostsFile=/dev/null "$T/tmp/there" app@127.0.0.1:file 3>&-
    is "$(login app 18422 'sha256sum <file')" "$(sha256sum <"$T/tmp/there")"
    rm "$T/tmp/there"
    # Without a key there is no way in.
    run ssh -p 18422 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -F none -o IdentityFile=/nonexistent app@127.0.0.1 true 3>&-
    is "$status" 255
    has "$output" 'Permission denied'
}

@test "rsyslog and journald: lines of programs, units and the application arrive" {
    vm vm
    pouch exec -u root vm logger -t audit "a line by logger"
    within 5 in_syslog vm 'audit: a line by logger'
    within 5 in_journal vm 'a line by logger'
    pouch exec -u root vm logger -t audit -p auth.warning "a line of its own file"
    within 5 pouch exec -u root vm grep -q 'a line of its own file' /var/log/auth.log
    is "$(pouch exec -u root vm grep -c 'a line of its own file' /var/log/syslog || true)" 0
    # What units print.
    pouch exec -u root vm systemd-run -q --unit=printer --wait sh -c 'echo a line of a unit; echo one of its errors >&2'
    is "$(pouch exec -u root vm journalctl -q --no-pager -o cat -u printer -t sh)" "a line of a unit
one of its errors"
    # What the application prints goes where its container's output goes.
    pouch exec -u root vm perl -MIO::Socket::INET -e 'print {$s = IO::Socket::INET->new("127.0.0.1:8080")} "GET /say/hello HTTP/1.0\r\n\r\n"; <$s>'
    within 5 logged vm 'shop: says hello'
    within 5 logged vm 'shop: complains hello'
    lacks "$(pouch logs vm 2>/dev/null)" 'complains'
    # A flood is in the journal to the last line (journald may drop what syslog does not fetch in time).
    pouch exec -u root vm sh -c 'i=0; while [ $i -lt 500 ]; do echo "flood $i"; i=$((i+1)); done | logger -t flood'
    within 10 in_journal vm 'flood 499'
    is "$(pouch exec -u root vm journalctl -q --no-pager -o cat -b -t flood | grep -c flood)" 500
}
logged() { pouch logs "$1" 2>&1 | grep -q "$2"; }

@test "agents: one that dies comes back, one is ready when it says so, one of the user's is added" {
    local old
    vm vm
    is "$(pouch exec -u root vm systemctl show -P Type ops-ship)" notify
    is "$(pouch exec -u root vm systemctl show -P StatusText ops-ship)" 'shipping /var/log/syslog'
    within 5 beat_moves vm
    old=$(pouch exec -u root vm systemctl show -P MainPID ops-metrics)
    pouch exec -u root vm kill -9 "$old"
    within 5 another_pid vm "$old"
    within 5 beat_moves vm
    is "$(pouch exec -u root vm systemctl show -P NRestarts ops-metrics)" 1
    # One more, as an operations team brings it: its program and its unit.
    pouch exec -u root -i vm sh -c 'cat >/usr/local/sbin/own-agent; chmod +x /usr/local/sbin/own-agent' <<'END'
#!/bin/sh
echo "$1 for $OWN_SETTING as $(id -un)" >/var/lib/own-agent/state
exec sleep infinity
END
    pouch exec -u root -i vm sh -c 'cat >/etc/systemd/system/own-agent.service' <<'END'
[Service]
ExecStart=/usr/local/sbin/own-agent watching
Environment="OWN_SETTING=a value"
User=app
StateDirectory=own-agent
MemoryMax=32M
TasksMax=10
NoNewPrivileges=yes
[Install]
WantedBy=multi-user.target
END
    pouch exec -u root vm systemctl -q daemon-reload
    pouch exec -u root vm systemctl -q enable --now own-agent
    within 5 pouch exec -u root vm test -s /var/lib/own-agent/state
    is "$(pouch exec -u root vm cat /var/lib/own-agent/state)" 'watching for a value as app'
    pouch restart vm >/dev/null
    within 15 booted vm
    is "$(pouch exec -u root vm systemctl is-active own-agent)" active
}
another_pid() {
    local now
    now=$(pouch exec -u root "$1" systemctl show -P MainPID ops-metrics)
    [ "$now" != 0 ] && [ "$now" != "$2" ]
}

# init_serves IMAGE PORT: the same machine with another init that Debian has.
init_serves() {
    pouch load -q -i "$(debian_images)/$1.oci.tar" >/dev/null
    pouch run -d --name old --rich --rich-mode sbin-init -p "127.0.0.1:$2:22" \
        -v "$T/keys:/root/.ssh:ro" -v "$T/keys-app:/home/app/.ssh:ro" "$1" >/dev/null
    within 30 logged old 'shop: open'
    within 10 login root "$2" true
    is "$(pouch exec old head -c 4 /proc/1/comm)" init
    is "$(login app "$2" 'printenv SHOP_QUOTES; id -un')" "it's \"quoted\"
app"
    within 10 pouch exec old test -S /run/ops-ship.sock
    pouch exec -u root old logger -t audit "a line on $1"
    within 5 in_syslog old "audit: a line on $1"
    within 5 shipped old "a line on $1"
    within 5 beat_moves old
    pouch exec -u root old pgrep -x cron
    # Its own tools work on its services.
    pouch exec -u root old service cron restart
    within 5 pouch exec -u root old pgrep -x cron
    pouch stop old >/dev/null
    is "$(pouch inspect -f '{{.State.ExitCode}}' old)" 0
    has "$(pouch logs --tail 2 old)" 'shop: closed'
    pouch start old >/dev/null
    within 30 login root "$2" true
    in_syslog old "audit: a line on $1"
    pouch rm -f old >/dev/null
}
@test "sysvinit: sshd, cron, rsyslog and agents" { init_serves debian-sysv 18426; }
@test "OpenRC: sshd, cron, rsyslog and agents" { init_serves debian-openrc 18427; }

# Cron looks at its table once a minute: each kind of interruption has a machine of its own, and all
# of them are watched over the same minute.
@test "through stop and start, restart, pause, a killed engine and an upgraded one; cron does its jobs in each" {
    local pid since session one new
    # Programs of this file's own, since they are going to be replaced.
    mkdir -p "$T/bin"
    cp -a "$POUCH_BIN"/* "$T/bin/"
    pouchd_stop
    POUCH_BIN=$T/bin
    pouchd_start

    machine stopped 18422
    machine restarted 18423
    machine paused 18424
    machine left 18425
    for one in stopped:18422 restarted:18423 paused:18424 left:18425; do
        within 10 login root "${one#*:}" true
        serves "${one%:*}" "${one#*:}" first
    done

    pouch stop stopped >/dev/null
    is "$(state_of stopped)" exited
    pouch start stopped >/dev/null
    pouch restart restarted >/dev/null

    # A paused machine stands still and goes on where it was.
    pid=$(pouch exec -u root paused systemctl show -P MainPID ops-metrics)
    pouch pause paused >/dev/null
    one=$(cat "/proc/$(pouch inspect -f '{{.State.Pid}}' paused)/root/var/lib/ops/metrics")
    sleep 0.6
    is "$(cat "/proc/$(pouch inspect -f '{{.State.Pid}}' paused)/root/var/lib/ops/metrics")" "$one"
    pouch unpause paused >/dev/null
    is "$(pouch exec -u root paused systemctl show -P MainPID ops-metrics)" "$pid"
    within 15 booted stopped
    within 15 booted restarted
    for one in stopped:18422 restarted:18423 paused:18424; do
        within 10 login root "${one#*:}" true
        serves "${one%:*}" "${one#*:}" second
    done
    # What was written before the stop is still there, and belongs to the boot before.
    has "$(pouch exec -u root stopped journalctl -q --no-pager -o cat -b -1 -t audit)" line-first
    in_syslog stopped 'audit: line-first'

    # The engine dies. Who is logged in does not notice, and nobody's log in fails meanwhile.
    login app 18425 'for i in $(seq 1000); do echo "tick $i"; sleep 0.1; done' >"$T/ticks" 2>&1 &
    session=$!
    within 5 grep -q 'tick 3' "$T/ticks"
    pouchd_kill
    is "$(login app 18422 echo without)" without
    one=$(tail -n 1 "$T/ticks")
    within 5 eval '[ "$(tail -n 1 "$T/ticks")" != "$one" ]'
    pouchd_start
    for one in stopped:18422 restarted:18423 paused:18424 left:18425; do
        serves "${one%:*}" "${one#*:}" third
    done

    # An upgrade: other programs in the place of those that run, and the engine started anew.
    for one in pouchd pouch-monitor pouch; do
        cp "$T/bin/$one" "$T/bin/new"
        echo "a newer one" >>"$T/bin/new"
        mv "$T/bin/new" "$T/bin/$one"
    done
    pouchd_stop
    pouchd_start
    kill -0 "$session"
    since=$(date +%s)
    for one in stopped:18422 restarted:18423 paused:18424 left:18425; do
        serves "${one%:*}" "${one#*:}" fourth
        is "$(pouch exec -u root "${one%:*}" systemctl is-system-running)" running
    done
    kill "$session"
    wait "$session" || true

    for one in stopped restarted paused left; do
        within 70 cron_ran "$one" "$since"
        is "$(pouch exec -u root "$one" tail -n 1 /var/lib/ops/cron | cut -d' ' -f2)" root
    done
    # Each stops as it should, also what was started by another build.
    new=$(now_ms)
    pouch stop -t 120 left >/dev/null
    [ $(($(now_ms) - new)) -lt 100000 ]
    is "$(pouch inspect -f '{{.State.ExitCode}}' left)" 0
    rm "$T/ticks"
}
cron_ran() { # cron_ran NAME SINCE: a job was done after that second
    local last
    last=$(pouch exec -u root "$1" sh -c 'tail -n 1 /var/lib/ops/cron 2>/dev/null | cut -d" " -f1')
    [ -n "$last" ] && [ "$last" -ge "$2" ]
}
