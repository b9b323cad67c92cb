# sanitizers: yes
# The HTTP API itself: versions, error bodies, broken and malicious requests.
load helpers

setup_file() { file_up; }
teardown_file() { file_down; }

# raw: send standard input to the socket as it is, print what comes back (5 s at most).
raw() { socat -t5 -T5 - "UNIX-CONNECT:$SOCK"; }

@test "versions: every one from 1.24 to 1.52 is served, others are refused by name" {
    local v
    for v in 1.24 1.30 1.40 1.41 1.43 1.44 1.47 1.51 1.52; do
        api GET "/v$v/version"
        is "$code" 200
        api GET "/v$v/containers/json"
        is "$code" 200
    done
    api GET /v1.12/version
    is "$code" 400
    has "$body" 'client version 1.12 is too old. Minimum supported API version is 1.24'
    api GET /v9.99/version
    is "$code" 400
    has "$body" 'client version 9.99 is too new. Maximum supported API version is 1\.[0-9]+'
    DOCKER_API_VERSION=1.30 run docker ps
    is "$status" 0
}

@test "every answer names the server and its API version" {
    run curl -s -i --unix-socket "$SOCK" http://pouch/v1.41/containers/json
    has "$output" '^Server: '
    has "$output" '^Api-Version: 1\.'
    has "$output" '^Content-Type: application/json'
}

@test "errors are JSON with a message" {
    api GET /no/such/page
    is "$code" 404
    is "$(jq -r .message <<<"$body")" 'page not found'
    api GET /containers/nosuch/json
    is "$code" 404
    is "$(jq -r .message <<<"$body")" 'No such container: nosuch'
    api DELETE /_ping
    [ "$code" = 405 ] || [ "$code" = 404 ]
    api POST /containers/nosuch/start
    is "$code" 404
    api GET /images/nosuch/json
    is "$code" 404
    has "$(jq -r .message <<<"$body")" 'No such image: nosuch'
    api POST '/containers/create?name=bad/name' '{"Image":"busybox"}'
    is "$code" 400
    has "$(jq -r .message <<<"$body")" 'Invalid container name'
}

@test "status codes of the life of a container" {
    api POST '/containers/create?name=cc' '{"Image":"busybox","Cmd":["sleep","60"],"HostConfig":{"NetworkMode":"none"}}'
    is "$code" 201
    has "$(jq -r .Id <<<"$body")" '^[0-9a-f]{64}$'
    is "$(jq -r '.Warnings | type' <<<"$body")" array
    api POST '/containers/create?name=cc' '{"Image":"busybox"}'
    is "$code" 409
    api POST /containers/cc/start
    is "$code" 204
    is "$body" ''
    api POST /containers/cc/start
    is "$code" 304
    api DELETE /containers/cc
    is "$code" 409
    api POST /containers/cc/pause
    is "$code" 204
    api POST /containers/cc/unpause
    is "$code" 204
    api POST '/containers/cc/kill?signal=KILL'
    is "$code" 204
    api POST /containers/cc/wait
    is "$code" 200
    is "$(jq -r .StatusCode <<<"$body")" 137
    api POST /containers/cc/kill
    is "$code" 409
    api POST '/containers/cc/stop?t=1'
    is "$code" 304
    api POST '/containers/cc/resize?h=10&w=10'
    is "$code" 409
    api DELETE '/containers/cc?v=1'
    is "$code" 204
}

@test "malformed JSON, wrong types, no body: 400 that says where" {
    local text
    for text in '{' '[]' '"x"' '{"Image":' 'nonsense' '{"Image":"busybox"}{"again":1}' '{"Image":7}' \
        '{"Image":"busybox","Cmd":{"a":1}}' '{"Image":"busybox","Env":[1,2]}' \
        '{"Image":"busybox","HostConfig":[]}' '{"Image":"busybox","HostConfig":{"PidsLimit":1e400}}' \
        '{"Image":"busybox","HostConfig":{"Memory":99999999999999999999999}}'; do
        api POST /containers/create "$text"
        is "$code" 400
        [ -n "$(jq -r .message <<<"$body")" ] || fail "no message for $text"
    done
    run curl -s -o /dev/null -w '%{http_code}' --unix-socket "$SOCK" -X POST http://pouch/containers/create
    is "$output" 400
    # Fields and parameters nobody knows are let through, as Docker does.
    api POST '/containers/create?name=open&nosuch=1' '{"Image":"busybox","NoSuchField":{"x":[1]}}'
    is "$code" 201
    api DELETE /containers/open
}

@test "deeply nested JSON is refused, not followed" {
    python3 -c 'print("{\"Image\":\"busybox\",\"Labels\":" + "[" * 200000 + "]" * 200000 + "}")' >"$T/tmp/deep"
    run curl -s -w '%{http_code}' --unix-socket "$SOCK" -H 'Content-Type: application/json' \
        --data-binary "@$T/tmp/deep" http://pouch/containers/create
    has "$output" '400$'
    rm -f "$T/tmp/deep"
}

@test "a body of 100 MB is refused and costs no memory" {
    local before after
    before=$(awk '/^Pss:/{print $2}' "/proc/$(pouchd_pid)/smaps_rollup")
    { printf '{"Image":"'; head -c 100000000 /dev/zero | tr '\0' a; printf '"}'; } >"$T/tmp/huge"
    run curl -s -w '\n%{http_code}' --unix-socket "$SOCK" -H 'Content-Type: application/json' -H 'Expect:' \
        --data-binary "@$T/tmp/huge" http://pouch/containers/create
    rm -f "$T/tmp/huge"
    has "${lines[-1]}" '^(400|413)$'
    after=$(awk '/^Pss:/{print $2}' "/proc/$(pouchd_pid)/smaps_rollup")
    [ "$after" -lt $((before + 30000)) ] || fail "PSS went from $before to $after KiB"
    pouch ps >/dev/null
}

@test "a request that is cut off half-way leaves nothing" {
    local part
    for part in 'POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"Image":"busy' \
        'POST /containers/create?name=cut HTTP/1.1\r\nHo' 'GE' '' \
        'POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"Im'; do
        printf "$part" | socat -t1 - "UNIX-CONNECT:$SOCK" >/dev/null || true
    done
    is "$(pouch ps -aq)" ''
}

@test "requests that are not HTTP" {
    local text
    for text in 'SSH-2.0-x\r\n\r\n' '\0\0\0\0\377\377\r\n\r\n' 'GET / HTTP/9.9\r\n\r\n' \
        'GET /_ping HTTP/1.1\r\nContent-Length: -5\r\n\r\n' \
        'GET /_ping HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n' \
        'GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n' \
        'GET /containers/%%00%%ff%%2e%%2e/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'; do
        printf "$text" | socat -t1 -T2 - "UNIX-CONNECT:$SOCK" >/dev/null 2>&1 || true
    done
    { printf 'GET /_ping HTTP/1.1\r\nX: '; head -c 3000000 /dev/zero | tr '\0' a; } |
        socat -t1 -T2 - "UNIX-CONNECT:$SOCK" >/dev/null 2>&1 || true
    { printf 'GET /'; head -c 3000000 /dev/zero | tr '\0' a; } |
        socat -t1 -T2 - "UNIX-CONNECT:$SOCK" >/dev/null 2>&1 || true
    pouch ps >/dev/null
    is "$(cat "$T/pouchd.pid")" "$(pgrep -o -f "pouchd --root $T/root")"
}

@test "slow-loris: hundreds of half requests do not keep others out" {
    python3 - "$SOCK" <<'EOF' 3>&- &
import socket, sys, time
held = []
for number in range(300):
    try:
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        s.connect(sys.argv[1])
        s.send(b"GET /_ping HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        held.append(s)
    except OSError:
        break
end = time.time() + 8
while time.time() < end:
    for s in held:
        try:
            s.send(b"a")
        except OSError:
            pass
    time.sleep(0.5)
EOF
    local loris=$! start took
    sleep 1.5
    start=$(now_ms)
    timeout 10 "$POUCH_BIN/pouch" -H "unix://$SOCK" ps >/dev/null
    took=$(($(now_ms) - start))
    [ "$took" -lt 20000 ] || fail "ps took $took ms beside the half requests"
    wait "$loris" || true
    pouch run --rm --network none busybox true
}

@test "two requests in one packet, keep-alive" {
    run sh -c "printf 'GET /_ping HTTP/1.1\r\nHost: x\r\n\r\nGET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' |
        socat -t2 - UNIX-CONNECT:$SOCK | grep -c 'HTTP/1.1 200'"
    is "$output" 2
}

@test "wait sends its headers before the container ends" {
    pouch create --network none --name ww busybox sleep 2 >/dev/null
    ( printf 'POST /containers/ww/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'; sleep 6 ) 3>&- |
        socat -t6 - "UNIX-CONNECT:$SOCK" >"$T/tmp/wait" 3>&- &
    local client=$!
    within 3 grep -q 'HTTP/1.1 200' "$T/tmp/wait"
    lacks "$(cat "$T/tmp/wait")" StatusCode
    pouch start ww >/dev/null
    within 8 grep -q '"StatusCode":0' "$T/tmp/wait"
    kill "$client" 2>/dev/null || true
    wait "$client" || true
    rm -f "$T/tmp/wait"
}

@test "attach upgrades with 101, frames stdout and stderr, and takes bytes sent early" {
    api POST '/containers/create?name=aa' \
        '{"Image":"busybox","Cmd":["sh","-c","read x; echo got $x; echo err >&2"],"OpenStdin":true,"StdinOnce":true,"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"HostConfig":{"NetworkMode":"none"}}'
    is "$code" 201
    ( printf 'POST /v1.44/containers/aa/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly\n'; sleep 2 ) 3>&- |
        socat -t3 - "UNIX-CONNECT:$SOCK" >"$T/tmp/attach" 3>&- &
    local client=$!
    within 3 grep -q 'HTTP/1.1 101 ' "$T/tmp/attach"
    api POST /containers/aa/start
    wait "$client" || true
    has "$(tr -d '\r' <"$T/tmp/attach" | strings -n 3)" '^Upgrade: tcp$'
    has "$(tr -d '\r' <"$T/tmp/attach" | strings -n 3)" '^Content-Type: application/vnd.docker.multiplexed-stream$'
    has "$(od -An -tx1 "$T/tmp/attach" | tr -d ' \n')" '0d0a0d0a010000000000000a676f74206561726c790a'
    has "$(od -An -tx1 "$T/tmp/attach" | tr -d ' \n')" '02000000000000046572720a'
    rm -f "$T/tmp/attach"
}

@test "TCP with TLS: only clients with a certificate of our authority" {
    local dir=$T/tls port
    mkdir -p "$dir"
    (
        cd "$dir"
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -days 2 -subj /CN=ca
        printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >server.ext
        printf 'extendedKeyUsage=clientAuth\n' >client.ext
        for who in server client; do
            openssl req -newkey rsa:2048 -nodes -keyout $who-key.pem -out $who.csr -subj /CN=$who
            openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 \
                -extfile $who.ext -out $who.pem
        done
        openssl req -x509 -newkey rsa:2048 -nodes -keyout stranger-key.pem -out stranger.pem -days 2 -subj /CN=stranger
    ) >/dev/null 2>&1
    port=$(free_port)
    pouchd_stop
    pouchd_start --host "tcp://127.0.0.1:$port" --tlsverify --tlscacert "$dir/ca.pem" \
        --tlscert "$dir/server.pem" --tlskey "$dir/server-key.pem"
    local good=(--tlsverify --tlscacert "$dir/ca.pem" --tlscert "$dir/client.pem" --tlskey "$dir/client-key.pem")
    local who
    for who in "$POUCH_BIN/pouch" $(docker_clis); do
        is "$("$who" -H "tcp://127.0.0.1:$port" "${good[@]}" run --rm --network none busybox echo over tls)" 'over tls'
        is "$(echo in and out | "$who" -H "tcp://127.0.0.1:$port" "${good[@]}" run -i --rm --network none busybox cat)" 'in and out'
        run "$who" -H "tcp://127.0.0.1:$port" --tls --tlscacert "$dir/ca.pem" --tlscert "$dir/stranger.pem" \
            --tlskey "$dir/stranger-key.pem" ps
        [ "$status" -ne 0 ]
    done
    run curl -s --max-time 5 --cacert "$dir/ca.pem" "https://127.0.0.1:$port/_ping"
    [ "$status" -ne 0 ]
    run curl -s --max-time 5 "http://127.0.0.1:$port/_ping"
    lacks "$output" '^OK$'
    pouchd_stop
    pouchd_start
    rm -rf "$dir"
}
