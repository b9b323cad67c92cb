# shellcheck shell=bash
# For files that start pouchd with keep-blobs=false: images whose layer was compressed in some way, and what is
# left of it in the store.

layer_blobs() { find "$T/root/blobs/sha256" -type f -size +8k | wc -l; }
journals() { find "$T/root/blobs/journal" -type f 2>/dev/null | wc -l; }
dropped() { [ "$(layer_blobs)" = 0 ] && [ "$(journals)" -ge 1 ]; }

# image_of DIGESTABLE COMPRESSION...: an archive whose layer was compressed by this command.
image_of() {
    local name=$1 dir=$T/make
    shift
    rm -rf "$dir"
    mkdir -p "$dir/root/etc" "$dir/a"
    cp /bin/busybox "$dir/root/busybox"
    ln "$dir/root/busybox" "$dir/root/busybox2"
    ln -s busybox "$dir/root/sh"
    echo small >"$dir/root/etc/small"
    head -c 300000 /dev/zero >"$dir/root/$(printf 'long%.0s' $(seq 40))"
    truncate -s 200000 "$dir/root/sparse"
    head -c 5000 /dev/urandom >"$dir/root/etc/grüß"
    [ -z "${MORE_DATA:-}" ] || cp "$MORE_DATA" "$dir/root/more"
    tar --format="${TAR_FORMAT:-gnu}" -C "$dir/root" -cf "$dir/layer.tar" .
    "$@" <"$dir/layer.tar" >"$dir/blob"
    python3 - "$dir" "$POUCH_TOP/tools" "$name" <<'PY'
import os, sys
directory, tools, name = sys.argv[1:]
sys.path.insert(0, tools)
import ocilib
blob = open(directory + "/blob", "rb").read()
plain = open(directory + "/layer.tar", "rb").read()
how = "gzip" if blob[:2] == b"\x1f\x8b" else "zstd" if blob[:4] == b"\x28\xb5\x2f\xfd" else "none"
one = {"digest": ocilib.sha256(blob), "diff_id": ocilib.sha256(plain), "size": len(blob),
       "how": how, "data": blob}
ocilib.write_oci_archive(directory + "/image.tar", name + ":latest", ocilib.image([one]), directory + "/scratch")
print(one["digest"].split(":")[1])
PY
}
py_gzip() { python3 -c 'import gzip,sys; sys.stdout.buffer.write(gzip.compress(sys.stdin.buffer.read(), '"$1"'))'; }

# made_again: how many archives were made again since the beginning of this test.
made_again() { tail -n "+$((LOG_LINES + 1))" "$LOG" | grep -c "a layer's blob was made again" || true; }

# rebuilder: the process that makes an archive again just now: it has a journal open.
rebuilder() {
    local pid
    for pid in $(pgrep -P "$(pouchd_pid)"); do
        if find "/proc/$pid/fd" -lname '*/blobs/journal/*' 2>/dev/null | grep -q .; then
            echo "$pid"
            return
        fi
    done
    return 1
}
