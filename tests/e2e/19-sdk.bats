# Docker's SDK for Python (python3-docker) against pouchd, images: what programs written for Docker do.
load helpers

setup_file() {
    registry_start busybox:latest
    pouchd_start
    python3 -c 'import docker' 2>/dev/null || touch "$T/no-sdk"
}
teardown_file() {
    rm -f "$T/no-sdk"
    file_down
}
setup() {
    REGISTRY=$(cat "$T/registry.host")
    [ ! -e "$T/no-sdk" ] || skip "there is no Python SDK of Docker (python3-docker)"
    pouch pull -q "$REGISTRY/busybox:latest" >/dev/null
    pouch tag "$REGISTRY/busybox:latest" busybox
}
teardown() {
    remove_all
    docker rmi -f busybox >/dev/null 2>&1 || true
    pouch image prune -af >/dev/null
}

# sdk: Python that has the client c, the low client a, and the registry's name r.
sdk() {
    {
        cat <<'END'
import io, os, tarfile
import docker
c = docker.from_env(timeout=100)
a, r = c.api, os.environ["REGISTRY"]
def raises(kind, what, call):
    try:
        call()
    except kind as error:
        assert what in str(error), error
    else:
        raise AssertionError(f"{what} was to be said")
END
        cat
    } >"$T/tmp/sdk.py"
    REGISTRY=$REGISTRY DOCKER_HOST=unix://$SOCK timeout 110 python3 -W error::ResourceWarning "$T/tmp/sdk.py" 3>&-
    rm "$T/tmp/sdk.py"
}

@test "get, list, tag, history, remove" {
    sdk <<'END'
image = c.images.get("busybox")
assert set(image.tags) == {r + "/busybox:latest", "busybox:latest"}, image.tags
assert image.id == c.images.get(image.short_id).id and image.history()[0]["Id"] == image.id
assert [one.id for one in c.images.list(name="busybox")] == [image.id]
assert c.images.list(name="busybox")[0].tags and not c.images.list(name="nope")
assert not c.images.list(filters={"dangling": True})
assert image.tag("other", "1") and "other:1" in c.images.get("busybox").tags
c.images.remove("other:1")
raises(docker.errors.ImageNotFound, "No such image", lambda: c.images.get("other:1"))
raises(docker.errors.ImageNotFound, "No such image", lambda: c.images.remove("nope"))
raises(docker.errors.APIError, "digest algorithm", lambda: image.tag("sha256", "1"))
END
}

@test "pull and push: objects, streams, what a registry says" {
    sdk <<'END'
lines = list(a.pull(r + "/busybox", tag="latest", stream=True, decode=True))
assert any("up to date" in one.get("status", "") for one in lines), lines
image = c.images.pull(r + "/busybox", tag="latest")
assert image.id == c.images.get("busybox").id
assert [one.id for one in c.images.pull(r + "/busybox", all_tags=True)] == [image.id]
raises(docker.errors.NotFound, "manifest unknown", lambda: c.images.pull(r + "/busybox", tag="no"))
image.tag(r + "/pushed", "1")
lines = list(c.images.push(r + "/pushed", tag="1", stream=True, decode=True))
assert any("aux" in one and one["aux"]["Tag"] == "1" for one in lines), lines
assert not any("error" in one for one in lines), lines
data = c.images.get_registry_data(r + "/pushed:1")
assert data.has_platform("linux/amd64") and data.id.startswith("sha256:"), data
assert data.pull().id == image.id
END
}

@test "save and load: chunks, files, errors" {
    sdk <<'END'
image = c.images.get("busybox")
data = b"".join(image.save(chunk_size=4096, named=True))
names = tarfile.open(fileobj=io.BytesIO(data)).getnames()
assert "manifest.json" in names and "index.json" in names, names
assert c.images.load(data)[0].id == image.id
assert c.images.load(io.BytesIO(data))[0].id == image.id
lines = list(a.load_image(data))
assert any(one.get("stream", "").startswith("Loaded image: ") for one in lines), lines
raises(docker.errors.ImageLoadError, "not an image archive", lambda: c.images.load(b"abc"))
END
}

@test "import, commit, prune" {
    sdk <<'END'
box = io.BytesIO()
with tarfile.open(fileobj=box, mode="w") as archive:
    info = tarfile.TarInfo("hello")
    info.size = 2
    archive.addfile(info, io.BytesIO(b"hi"))
said = a.import_image_from_data(box.getvalue(), repository="imported", tag="1")
assert "sha256:" in str(said), said
assert c.images.get("imported:1").attrs["Comment"].startswith("Imported from")
made = c.containers.create("busybox", ["true"])
image = made.commit(repository="made", tag="1", message="m", author="me", changes="ENV a=b",
                    conf={"Labels": {"x": "y"}})
assert image.labels == {"x": "y"} and image.attrs["Author"] == "me", image.attrs
assert "a=b" in image.attrs["Config"]["Env"], image.attrs
assert len(b"".join(made.export())) > 1000000
made.remove()
gone = c.images.prune(filters={"dangling": False})
assert {"Untagged": "made:1"} in gone["ImagesDeleted"], gone
assert gone["SpaceReclaimed"] > 1000000, gone
assert c.df()["Images"] == []
END
}

@test "a name given while another goes: given is given, or it is said that the image is gone" {
    sdk <<'END'
import threading
data = b"".join(c.images.get("busybox").save(named="busybox:latest"))
c.images.prune(filters={"dangling": False})
given = lost = 0
other = docker.from_env(timeout=100).api
for turn in range(30):
    c.images.load(data)
    for name in c.images.get("busybox").tags:
        if name != "busybox:latest":
            a.remove_image(name)
    said = {}
    def tag():
        try:
            said["tag"] = a.tag("busybox", "kept", "1")
        except docker.errors.APIError as error:
            said["tag"] = False
            assert "No such image" in str(error), error
    workers = [threading.Thread(target=tag),
               threading.Thread(target=lambda: other.remove_image("busybox", noprune=turn % 2 == 0))]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    there = [one for one in a.images() if "kept:1" in one["RepoTags"]]
    assert bool(there) == said["tag"], (turn, said, there)
    given, lost = given + said["tag"], lost + (not said["tag"])
    if there:
        a.remove_image("kept:1")
    assert not a.images(), a.images()
print(given, "given", lost, "gone")
c.images.load(data)
END
}
