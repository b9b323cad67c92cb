"""Write container images with nothing but the standard library: layers, layouts, archives, pushes.

Used by tools/make-images (the images of the tests and the demo), by tests/e2e/fault-registry and by
the benchmark. An image here is a dictionary {"manifest", "config", "blobs"}: blobs maps a digest to
a path or bytes.
"""
import gzip
import hashlib
import http.client
import io
import json
import os
import subprocess
import tarfile
import urllib.parse

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
V2_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
V2_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
V2_CONFIG = "application/vnd.docker.container.image.v1+json"
V2_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

EPOCH = 1700000000  # the time of every file, so that digests are the same on every run


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha256_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def to_json(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def entry(name, data=None, *, kind="file", mode=None, uid=0, gid=0, link="", mtime=EPOCH,
          device=None, pax=None):
    """One tar entry; kind is file, dir, symlink, link, char, block or fifo."""
    info = tarfile.TarInfo(name)
    info.type = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE,
                 "link": tarfile.LNKTYPE, "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE,
                 "fifo": tarfile.FIFOTYPE}[kind]
    info.mode = mode if mode is not None else {"dir": 0o755, "symlink": 0o777}.get(kind, 0o644)
    info.uid, info.gid, info.mtime, info.linkname = uid, gid, mtime, link
    if device:
        info.devmajor, info.devminor = device
    if pax:
        info.pax_headers = dict(pax)
    if isinstance(data, str):
        data = data.encode()
    if kind == "file":
        data = data or b""
        info.size = len(data)
    return info, data


def tar(entries, fmt=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def compress(data, how):
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-c", "-3"], input=data, stdout=subprocess.PIPE,
                              check=True).stdout
    return data


def layer(data, how="gzip"):
    """A layer from the bytes of a tar: {"digest", "diff_id", "size", "how", "data"}."""
    packed = compress(data, how)
    return {"digest": sha256(packed), "diff_id": sha256(data), "size": len(packed), "how": how,
            "data": packed}


def layer_from_dir(folder, path):
    """A gzip layer written to path from a folder, by GNU tar, hashed while it streams."""
    tar_process = subprocess.Popen(
        ["tar", "--create", "--format=pax", "--sort=name", "--numeric-owner", "--xattrs",
         "--xattrs-include=security.capability", f"--mtime=@{EPOCH}",
         "--pax-option=delete=atime,delete=ctime", "--directory", folder, "."],
        stdout=subprocess.PIPE)
    plain = hashlib.sha256()
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 3, raw, mtime=0) as out:
        for chunk in iter(lambda: tar_process.stdout.read(1 << 20), b""):
            plain.update(chunk)
            out.write(chunk)
    if tar_process.wait() != 0:
        raise RuntimeError(f"tar of {folder} failed")
    return {"digest": sha256_file(path), "diff_id": "sha256:" + plain.hexdigest(),
            "size": os.path.getsize(path), "how": "gzip", "path": path}


def image(layers, config=None, *, arch="amd64", v2=False):
    """An image from layers: OCI media types, or Docker's schema 2 with v2=True."""
    document = {
        "architecture": arch, "os": "linux", "created": "2023-11-14T22:13:20Z",
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [one["diff_id"] for one in layers]},
        "history": [{"created": "2023-11-14T22:13:20Z", "created_by": f"layer {number}"}
                    for number, _ in enumerate(layers)],
    }
    raw_config = to_json(document)
    suffix = {"gzip": "+gzip" if not v2 else ".gzip", "zstd": "+zstd", "none": ""}
    manifest = {
        "schemaVersion": 2, "mediaType": V2_MANIFEST if v2 else OCI_MANIFEST,
        "config": {"mediaType": V2_CONFIG if v2 else OCI_CONFIG, "digest": sha256(raw_config),
                   "size": len(raw_config)},
        "layers": [{"mediaType": (V2_LAYER if v2 else OCI_LAYER) + suffix[one["how"]],
                    "digest": one["digest"], "size": one["size"]} for one in layers],
    }
    raw_manifest = to_json(manifest)
    blobs = {one["digest"]: one.get("data") or one["path"] for one in layers}
    blobs[sha256(raw_config)] = raw_config
    return {"manifest": raw_manifest, "media_type": manifest["mediaType"], "config": raw_config,
            "digest": sha256(raw_manifest), "blobs": blobs, "layers": layers, "children": [],
            "platform": {"architecture": arch, "os": "linux"}}


def index(images, *, v2=False):
    """A manifest list over images of several platforms."""
    raw = to_json({
        "schemaVersion": 2, "mediaType": V2_LIST if v2 else OCI_INDEX,
        "manifests": [{"mediaType": one["media_type"], "digest": one["digest"],
                       "size": len(one["manifest"]), "platform": one["platform"]}
                      for one in images]})
    return {"manifest": raw, "media_type": V2_LIST if v2 else OCI_INDEX, "digest": sha256(raw),
            "blobs": {}, "children": images}


def _copy(blob, path):
    if os.path.exists(path):
        return
    if isinstance(blob, bytes):
        with open(path + ".tmp", "wb") as out:
            out.write(blob)
        os.rename(path + ".tmp", path)
    else:
        os.link(blob, path)


def write_layout(folder, named):
    """Write {"name:tag": image} as one OCI layout."""
    blobs = os.path.join(folder, "blobs", "sha256")
    os.makedirs(blobs, exist_ok=True)
    manifests = []

    def put(one):
        for digest, blob in one["blobs"].items():
            _copy(blob, os.path.join(blobs, digest[7:]))
        _copy(one["manifest"], os.path.join(blobs, one["digest"][7:]))
        for child in one["children"]:
            put(child)

    for name, one in named.items():
        put(one)
        manifests.append({"mediaType": one["media_type"], "digest": one["digest"],
                          "size": len(one["manifest"]),
                          "annotations": {"org.opencontainers.image.ref.name": name.split(":")[-1],
                                          "io.containerd.image.name": name}})
    with open(os.path.join(folder, "oci-layout"), "w", encoding="utf-8") as out:
        out.write('{"imageLayoutVersion":"1.0.0"}')
    with open(os.path.join(folder, "index.json"), "wb") as out:
        out.write(to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}))


def _tar_folder(folder, path, members):
    subprocess.run(["tar", "--create", "--file", path + ".tmp", "--directory", folder, "--owner=0",
                    "--group=0", f"--mtime=@{EPOCH}", *members], check=True)
    os.rename(path + ".tmp", path)


def write_oci_archive(path, name, one, scratch):
    write_layout(scratch, {name: one})
    _tar_folder(scratch, path, ["oci-layout", "index.json", "blobs"])


def write_docker_archive(path, name, one, scratch):
    """What `docker save` writes: manifest.json, the config and plain layer tars."""
    os.makedirs(scratch, exist_ok=True)
    members = ["manifest.json"]
    layers = []
    for number, part in enumerate(one["layers"]):
        folder = f"{number:064x}"
        os.makedirs(os.path.join(scratch, folder), exist_ok=True)
        target = os.path.join(scratch, folder, "layer.tar")
        with open(target, "wb") as out:
            if "path" in part:
                with gzip.open(part["path"]) as packed:
                    for chunk in iter(lambda: packed.read(1 << 20), b""):
                        out.write(chunk)
            elif part["how"] == "gzip":
                out.write(gzip.decompress(part["data"]))
            else:
                out.write(part["data"])
        layers.append(folder + "/layer.tar")
    config = sha256(one["config"])[7:] + ".json"
    with open(os.path.join(scratch, config), "wb") as out:
        out.write(one["config"])
    with open(os.path.join(scratch, "manifest.json"), "wb") as out:
        out.write(to_json([{"Config": config, "RepoTags": [name], "Layers": layers}]))
    _tar_folder(scratch, path, members + [config] + layers)


class Registry:
    """A client that pushes to a registry over plain HTTP."""

    def __init__(self, host):
        self.host = host
        self.connection = http.client.HTTPConnection(host, timeout=60)

    def request(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body=body, headers=headers or {})
        answer = self.connection.getresponse()
        data = answer.read()
        return answer, data

    def push_blob(self, repo, digest, blob):
        answer, _ = self.request("HEAD", f"/v2/{repo}/blobs/{digest}")
        if answer.status == 200:
            return
        answer, data = self.request("POST", f"/v2/{repo}/blobs/uploads/")
        if answer.status != 202:
            raise RuntimeError(f"{repo}: upload refused: {answer.status} {data[:200]!r}")
        where = urllib.parse.urlsplit(answer.getheader("Location"))
        path = f"{where.path}?{where.query}&digest={urllib.parse.quote(digest)}"
        size = len(blob) if isinstance(blob, bytes) else os.path.getsize(blob)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        if isinstance(blob, bytes):
            answer, data = self.request("PUT", path, blob, headers)
        else:
            with open(blob, "rb") as body:
                answer, data = self.request("PUT", path, body, headers)
        if answer.status != 201:
            raise RuntimeError(f"{repo}: {digest}: {answer.status} {data[:200]!r}")

    def push_manifest(self, repo, reference, raw, media_type):
        answer, data = self.request("PUT", f"/v2/{repo}/manifests/{reference}", raw,
                                    {"Content-Type": media_type})
        if answer.status != 201:
            raise RuntimeError(f"{repo}:{reference}: {answer.status} {data[:200]!r}")

    def push_from_layout(self, folder, name):
        """Push "repo:tag" of an OCI layout, with all that it refers to."""
        repo, tag = name.rsplit(":", 1)
        with open(os.path.join(folder, "index.json"), encoding="utf-8") as text:
            manifests = json.load(text)["manifests"]
        for one in manifests:
            if one["annotations"]["io.containerd.image.name"] == name:
                self._push_node(folder, repo, one, tag)
                return
        raise RuntimeError(f"{name} is not in {folder}")

    def _push_node(self, folder, repo, descriptor, reference):
        def blob(digest):
            return os.path.join(folder, "blobs", "sha256", digest[7:])
        with open(blob(descriptor["digest"]), "rb") as text:
            raw = text.read()
        document = json.loads(raw)
        for child in document.get("manifests", ()):
            self._push_node(folder, repo, child, child["digest"])
        for part in [document.get("config"), *document.get("layers", ())]:
            if part:
                self.push_blob(repo, part["digest"], blob(part["digest"]))
        self.push_manifest(repo, reference, raw, descriptor["mediaType"])
