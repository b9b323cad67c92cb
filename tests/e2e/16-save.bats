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
