# sanitizers: yes
# What a name stands for and when it is pulled: short names, pull policies, platforms; search.
load helpers

setup_file() {
    mkdir -p "$T/conf"
    registry_start busybox:latest platforms:latest
    pouchd_start --registry-config "$T/conf"
}
teardown_file() { file_down; }

conf() { cat >"$T/conf/registries.conf"; }
repo() { # NAME: busybox under this name in the registry, another image each time
    skopeo --insecure-policy copy -q --dest-tls-verify=false ${2:+--format "$2"} \
        "docker-archive:$POUCH_IMAGES/busybox.docker.tar" "docker://$REGISTRY/$1"
}

short_names() {
    conf <<EOF
unqualified-search-registries = ["127.0.0.1:9", "$REGISTRY"]
short-name-mode = "permissive"
[aliases]
"bb" = "$REGISTRY/busybox"
"team/tool" = "$REGISTRY/busybox"
EOF
    run ctl pull bb
    is "$status" 0
    has "$output" "Resolved \"bb:latest\" as $REGISTRY/busybox:latest"
    is "$(ctl inspect -f '{{index .RepoTags 0}}' bb)" "$REGISTRY/busybox:latest"
    is "$(ctl run --rm --network none bb echo ran)" ran
    ctl rmi bb >/dev/null
    is "$(ctl images -q)" ''
    is "$(ctl run --rm --network none team/tool echo ran 2>/dev/null)" ran
    no_images
    # A registry that is away is no "not there": the name does not become another's.
    run ctl pull platforms
    [ "$status" -ne 0 ]
    has "$output" 'short name "platforms:latest": .*127.0.0.1:9'
    conf <<<"unqualified-search-registries = [\"$REGISTRY\"]"
    run ctl pull platforms
    is "$status" 0
    has "$output" "Resolved \"platforms:latest\" as $REGISTRY/platforms:latest"
    no_images
    run ctl pull nothing-there
    [ "$status" -ne 0 ]
    has "$output" 'nothing-there.*not found|manifest unknown|denied'
    conf <<<"unqualified-search-registries = [\"$REGISTRY\", \"quay.io\"]
short-name-mode = \"enforcing\""
    run ctl pull platforms
    [ "$status" -ne 0 ]
    has "$output" 'could be of several registries'
    # With its registry a name is not short.
    ctl pull -q "$REGISTRY/platforms"
    no_images
    rm -f "$T/conf/registries.conf"
}
@test "short names: aliases and unqualified-search-registries" { each_cli short_names; }

@test "short names: pull prints what came" {
    conf <<<"[aliases]
\"bb\" = \"$REGISTRY/busybox\""
    is "$(pouch pull -q bb)" "$REGISTRY/busybox:latest"
    no_images
    rm -f "$T/conf/registries.conf"
}

@test "--pull: always, missing, newer, never" {
    local name=$REGISTRY/moving:latest first
    repo moving:latest
    run pouch run --rm --pull never --network none "$name" true
    is "$status" 125
    one_line 'No such image'
    is "$(pouch run --rm --pull newer --network none "$name" echo one 2>/dev/null)" one
    first=$(pouch inspect -f '{{index .RepoDigests 0}}' "$name")
    # Nothing new: nothing changes.
    run pouch run --rm --pull newer --network none "$name" echo two
    has "$output" 'up to date'
    # Another manifest: missing keeps what is here, newer brings it.
    repo moving:latest oci
    is "$(pouch run --rm --pull missing --network none "$name" echo three 2>/dev/null)" three
    is "$(pouch inspect -f '{{index .RepoDigests 0}}' "$name")" "$first"
    is "$(pouch run --rm --pull newer --network none "$name" echo four 2>/dev/null)" four
    lacks "$(pouch inspect -f '{{json .RepoDigests}}' "$name" | tr , '\n' | tail -1)" "$first"
    # The registry is away.
    kill -STOP "$(cat "$T/registry.pid")"
    kill "$(cat "$T/registry.pid")"; kill -CONT "$(cat "$T/registry.pid")"
    gone "$(cat "$T/registry.pid")"
    run pouch run --rm --pull newer --network none "$name" echo five
    is "$status" 0
    has "$output" 'WARNING: no newer image could be looked for'
    has "$output" '^five'
    run pouch run --rm --pull always --network none "$name" echo six
    is "$status" 125
    run pouch run --rm --pull sometimes "$name" echo
    is "$status" 125
    one_line 'invalid pull option'
    registry_start
    no_images
}

platform() {
    ctl pull -q "$REGISTRY/platforms"
    # The other platform is pulled when it is asked for.
    run ctl create --platform linux/arm64 "$REGISTRY/platforms" x
    echo "$output"
    is "$status" 0
    is "$(ctl inspect -f '{{.Architecture}}' "$REGISTRY/platforms")" arm64
    remove_all
    no_images
}
@test "--platform: create pulls the platform that is asked for" { each_cli platform; }

@test "platforms that are malformed are refused" {
    pouch pull -q "$REGISTRY/platforms"
    run pouch create --platform 'linux/a/b/c/d' "$REGISTRY/platforms" x
    is "$status" 125
    one_line 'platform'
    no_images
}

search() {
    local i
    run ctl search "$REGISTRY/busy"
    is "$status" 0
    has "$output" "$REGISTRY/busybox"
    lacks "$output" platforms
    is "$(ctl search --format '{{.Name}}' "$REGISTRY/plat")" "$REGISTRY/platforms"
    is "$(ctl search --format '{{.Name}}' "$REGISTRY/none-such")" ''
    is "$(ctl search --filter is-official=true --format '{{.Name}}' "$REGISTRY/busy")" ''
    run ctl search --filter colour=red "$REGISTRY/busy"
    is "$status" 1
    run ctl search --limit 101 "$REGISTRY/busy"
    is "$status" 1
    has "$output" 'outside the range'
    run ctl search "127.0.0.1:$(free_port)/x"
    is "$status" 1
    has "$output" 'refused|connect'
}
@test "search in a registry's catalog" { each_cli search; }

# A registry with Docker Hub's search.
hub() {
    python3 - "$T/hub.host" >/dev/null 2>&1 3>&- <<'EOF' &
import http.server, json, os, sys, urllib.parse
class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(path.query)
        results = [
            {"name": "web", "description": "A web\nserver \x1b[31m" + "x" * 60, "star_count": 90, "is_official": True},
            {"name": "me/web", "description": "mine", "star_count": 3, "is_official": False, "is_automated": True}]
        if query.get("q") == ["broken"]:
            text = b'{"results": [{"name": 3}]}'
        else:
            text = json.dumps({"results": results[:int(query["n"][0])], "query": query["q"][0]}).encode()
        self.send_response(200 if path.path == "/v1/search" else 404)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
with open(sys.argv[1] + ".new", "w") as out:
    out.write("127.0.0.1:%d" % server.server_address[1])
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
EOF
    HUB=$!
    within 20 test -s "$T/hub.host"
}
v1_search() {
    local host
    host=$(cat "$T/hub.host")
    is "$(ctl search --format '{{.Name}} {{.StarCount}} {{.IsOfficial}}' "$host/web" | tr -s ' ' | head -1)" 'web 90 [OK]'
    is "$(ctl search --filter stars=10 --format '{{.Name}}' "$host/web")" web
    is "$(ctl search --filter is-official=false --format '{{.Name}}' "$host/web")" me/web
    is "$(ctl search --limit 1 --format '{{.Name}}' "$host/web")" web
    run ctl search "$host/web"
    has "$output" '^NAME +DESCRIPTION +STARS +OFFICIAL'
    has "$output" 'A web server.*…'
    lacks "$output" $'\e'
}
@test "search as Docker Hub has it" {
    hub
    each_cli v1_search
    run pouch search "$(cat "$T/hub.host")/broken"
    is "$status" 1
    kill "$HUB"
    wait "$HUB" || true
}
