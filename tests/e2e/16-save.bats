# sanitizers: yes
# Images out as archives and back in: save, load; what other programs make of them.
load helpers
A=$BATS_TEST_TMPDIR

setup_file() {
    pouchd_start
    registry_start busybox:latest busybox:v2s2 busybox:zstd many:latest
    pouch load -q -i "$POUCH_IMAGES/busybox.docker.tar" >/dev/null
}
teardown_file() { file_down; }

# entries FILE: the archive's names, one a line.
entries() { tar -tf "$1" | sort; }

several() {
    pouch tag busybox:latest two/tags:a
    pouch tag busybox:latest two/tags:b
    ctl pull -q "$REGISTRY/many:latest"
    ctl save -o "$A/all.tar" two/tags "$REGISTRY/many:latest"
    is "$(tar -xOf "$A/all.tar" manifest.json | jq -r '.[].RepoTags[]' | sort)" \
        "$(printf '%s\n' "$REGISTRY/many:latest" two/tags:a two/tags:b | sort)"
    is "$(tar -xOf "$A/all.tar" index.json | jq '.manifests | length')" 3
    # each blob has the digest that its name says
    mkdir "$A/x"
    tar -xf "$A/all.tar" -C "$A/x"
    (cd "$A/x/blobs/sha256" && for f in *; do echo "$f  $f"; done | sha256sum -c --quiet)
    local ids
    ids=$(pouch images -q --no-trunc --filter reference=two/tags --filter reference="$REGISTRY/many" | sort -u)
    pouch rmi two/tags:a two/tags:b "$REGISTRY/many:latest" >/dev/null
    run ctl load -i "$A/all.tar"
    is "$status" 0
    has "$output" 'Loaded image: two/tags:a'
    has "$output" "Loaded image: $REGISTRY/many:latest"
    is "$(pouch images -q --no-trunc --filter reference=two/tags --filter reference="$REGISTRY/many" | sort -u)" "$ids"
    is "$(ctl run --rm --network none two/tags:b echo hello)" hello
    pouch rmi two/tags:a two/tags:b "$REGISTRY/many:latest" >/dev/null
    rm -r "$A/x" "$A/all.tar"
}
@test "save: several images and all tags of a repository, and back by load" { each_cli several; }

@test "save: the same images give the same bytes; a loaded copy gives them again" {
    pouch pull -q "$REGISTRY/busybox:latest"
    pouch save "$REGISTRY/busybox:latest" >"$A/1.tar"
    pouch save -o "$A/2.tar" "$REGISTRY/busybox:latest"
    cmp "$A/1.tar" "$A/2.tar"
    pouch rmi "$REGISTRY/busybox:latest"
    pouch load -q -i "$A/1.tar"
    pouch save "$REGISTRY/busybox:latest" | cmp - "$A/1.tar"
    pouch rmi "$REGISTRY/busybox:latest"
}

@test "save --compression: gzip and zstd, streamed into load" {
    local kind
    pouch save busybox:latest >"$A/plain.tar"
    pouch tag busybox:latest copy:1
    for kind in gzip zstd; do
        pouch save --compression "$kind" copy:1 >"$A/$kind"
        has "$(file -b "$A/$kind")" "${kind/zstd/Zstandard}"
        "$kind" -dc <"$A/$kind" | tar -tf - >/dev/null
        pouch save --compression "$kind" copy:1 | cmp - "$A/$kind"
        pouch rmi copy:1
        pouch load <"$A/$kind"
        is "$(pouch inspect -f '{{.Id}}' copy:1)" "$(pouch inspect -f '{{.Id}}' busybox:latest)"
    done
    xz -1 <"$A/plain.tar" | pouch load -q
    pouch rmi copy:1
    run pouch save --compression lzma busybox:latest -o "$A/x"
    is "$status" 1
    has "$output" 'unknown compression "lzma": gzip, zstd or none'
    run pouch save --format zip busybox:latest -o "$A/x"
    is "$status" 1
    has "$output" 'unknown archive format "zip"'
    [ ! -e "$A/x" ]
}

@test "save: skopeo reads both kinds, with the image's own digests" {
    local tag id
    for tag in latest v2s2 zstd; do
        pouch pull -q "$REGISTRY/busybox:$tag"
        id=$(pouch inspect -f '{{.Id}}' "$REGISTRY/busybox:$tag")
        pouch save -o "$A/d.tar" "$REGISTRY/busybox:$tag"
        pouch save --format oci -o "$A/o.tar" "$REGISTRY/busybox:$tag"
        is "$(skopeo inspect --raw --config "docker-archive:$A/d.tar" | sha256sum | cut -d' ' -f1)" "${id#sha256:}"
        is "$(skopeo inspect --raw "oci-archive:$A/o.tar" | jq -r .config.digest)" "$id"
        is "$(skopeo inspect --raw "oci-archive:$A/o.tar" | jq -r .mediaType)" \
            application/vnd.oci.image.manifest.v1+json
        ! entries "$A/o.tar" | grep manifest.json
        skopeo copy -q "docker-archive:$A/d.tar" "dir:$A/dir"
        skopeo copy -q "oci-archive:$A/o.tar" "dir:$A/dir2"
        pouch rmi "$REGISTRY/busybox:$tag"
        rm -r "$A/dir" "$A/dir2"
    done
}

@test "save: umoci unpacks the layout" {
    pouch save --format oci -o "$A/o.tar" busybox:latest
    mkdir "$A/l"
    tar -xf "$A/o.tar" -C "$A/l"
    umoci unpack --image "$A/l:latest" "$A/bundle"
    [ -x "$A/bundle/rootfs/bin/busybox" ]
    rm -r "$A/bundle" "$A/l"
}

@test "save: what is not there, another platform, a terminal, a folder" {
    run ctl save -o "$A/x.tar" busybox:latest nosuch:image
    is "$status" 1
    has "$output" 'No such image: nosuch:image'
    [ ! -e "$A/x.tar" ]
    run pouch save --platform linux/s390x -o "$A/x.tar" busybox:latest
    is "$status" 1
    has "$output" 'not for linux/s390x'
    [ ! -e "$A/x.tar" ]
    run pouch save -o "$A" busybox:latest
    is "$status" 1
    has "$output" 'is a folder'
    is "$(pouch save -o "$A/ok.tar" --platform "linux/$(pouch inspect -f '{{.Architecture}}' busybox:latest)" busybox:latest)" ''
    is "$(ls "$A")" ok.tar
    run pouch load -q -i "$A/ok.tar" --platform linux/s390x
    is "$status" 1
    has "$output" 'the archive has no image for platform linux/s390x'
}

@test "save: an image without a manifest gets one; its id stays" {
    mkdir "$A/root"
    echo hello >"$A/root/file"
    tar -C "$A/root" -cf - . | pouch import - made:by-hand
    pouch save -o "$A/m.tar" made:by-hand
    local id
    id=$(pouch inspect -f '{{.Id}}' made:by-hand)
    is "$(skopeo inspect --raw "oci-archive:$A/m.tar" | jq -r .config.digest)" "$id"
    pouch rmi made:by-hand
    is "$(pouch load -i "$A/m.tar")" 'Loaded image: made:by-hand'
    is "$(pouch inspect -f '{{.Id}}' made:by-hand)" "$id"
    pouch rmi made:by-hand
}

@test "save: a client that leaves half-way leaves nothing behind; a full disk is said" {
    pouch save busybox:latest | head -c 100000 >/dev/null
    pouch save --compression zstd busybox:latest | head -c 100000 >/dev/null
    run pouch save -o /dev/full busybox:latest
    is "$status" 1
    has "$output" 'No space left on device'
    run pouch save --compression gzip -o /dev/full busybox:latest
    is "$status" 1
    has "$output" 'No space left on device'
}

@test "save: podman loads it" {
    local id
    id=$(pouch inspect -f '{{.Id}}' busybox:latest)
    pouch save -o "$A/p.tar" busybox:latest
    pod() { podman --root "$T/pod" --runroot "$T/pr" --storage-driver vfs --events-backend none "$@"; }
    run pod load -q -i "$A/p.tar"
    is "$status" 0
    has "$(pod images -q --no-trunc)" "$id"
    pod rmi -f busybox:latest >/dev/null
    rm -rf "$T/pod" "$T/pr"
}

@test "save and export: pouchd killed in the middle leaves no process; the client says so" {
    pouch run -d --network none --name slow busybox sh -c 'dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null; touch /ready; exec sleep 1000' >/dev/null
    within 60 pouch exec slow test -e /ready
    local what
    for what in 'export slow' 'save --compression zstd busybox:latest'; do
        # shellcheck disable=SC2086
        (pouch $what 2>"$A/said" | (head -c 1000 >/dev/null; touch "$A/begun"; sleep 2; cat >/dev/null); echo "${PIPESTATUS[0]}" >"$A/code") &
        local client=$!
        within 20 test -e "$A/begun"
        pouchd_kill
        wait "$client" || true
        pouchd_start
        within 10 sh -c "! pgrep -x 'pouch-pack|pouch-image'"
        rm -f "$A/begun"
    done
    is "$(ls "$T/root/blobs/tmp")" ''
    is "$(pouch inspect -f '{{.State.Status}}' slow)" running
}

# hostile FILE COMMANDS: an archive made by a few lines of Python with t.add(name, bytes).
hostile() {
    python3 - "$1" "$A/h.tar" <<'PYTHON'
import hashlib, io, json, sys, tarfile
class T:
    def __init__(self, path): self.tar = tarfile.open(path, "w")
    def add(self, name, data):
        info = tarfile.TarInfo(name); info.size = len(data); self.tar.addfile(info, io.BytesIO(data))
    def link(self, name, to, kind=tarfile.SYMTYPE):
        info = tarfile.TarInfo(name); info.type = kind; info.linkname = to; self.tar.addfile(info)
def layer():
    b = io.BytesIO(); tarfile.open(fileobj=b, mode="w").close(); return b.getvalue()
L = layer(); D = "sha256:" + hashlib.sha256(L).hexdigest()
def config(n=1, diff=D): return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff] * n}}).encode()
def manifest(n=1, c="c.json", l="l.tar"): return json.dumps([{"Config": c, "RepoTags": ["evil:1"], "Layers": [l] * n}]).encode()
t = T(sys.argv[2])
exec(sys.argv[1])
t.tar.close()
PYTHON
    run pouch load -q -i "$A/h.tar"
}

@test "load: hostile archives are refused in one line and leave nothing" {
    local before
    before=$(find "$T/root/blobs" "$T/root/layers" | sort)
    hostile 't.add("manifest.json", manifest(10000)); t.add("c.json", config(10000)); t.add("l.tar", L)'
    is "$status" 1
    has "$output" 'layers'
    hostile 't.add("manifest.json", manifest()); t.add("c.json", config(1, "sha256:" + "0" * 64)); t.add("l.tar", L)'
    is "$status" 1
    has "$output" 'verification failed|digest'
    hostile 't.add("manifest.json", manifest(1, "../../../etc/passwd")); t.add("l.tar", L)'
    is "$status" 1
    has "$output" 'does not contain'
    hostile 't.add("manifest.json", manifest()); t.link("c.json", "d.json"); t.link("d.json", "c.json"); t.add("l.tar", L)'
    is "$status" 1
    has "$output" 'does not contain'
    hostile 't.add("manifest.json", manifest()); t.add("c.json", config()); t.link("l.tar", "/etc/shadow", tarfile.LNKTYPE)'
    is "$status" 1
    has "$output" 'does not contain'
    hostile '[t.add("f%d" % i, b"x") for i in range(5000)]'
    is "$status" 1
    has "$output" 'more than 4096 files'
    hostile 't.add("index.json", json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "1" * 64, "size": 2}]}).encode()); t.add("blobs/sha256/" + "1" * 64, b"{}")'
    is "$status" 1
    has "$output" 'another digest'
    is "$(find "$T/root/blobs" "$T/root/layers" | sort)" "$before"
    # of two entries of a name the later one counts, as in every tar; a lying index.json is left out
    hostile 't.add("manifest.json", b"nonsense"); t.add("manifest.json", manifest()); t.add("c.json", config()); t.add("l.tar", L); t.add("index.json", b"{}")'
    is "$status" 0
    is "$(pouch images -q evil:1 | wc -l)" 1
    pouch rmi evil:1 >/dev/null
}
