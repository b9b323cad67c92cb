"""The rows of bench.py about images: pulling, what it takes of memory and disk, removing, saving, loading,
pushing, committing. Pouch beside dockerd, containerd alone (ctr), podman, and skopeo, which only
downloads. All from one registry on loopback; the page cache is warm, nothing is dropped. Before each
measured command all that anybody wrote goes to the disk (sync), so that nobody pays for who was before
him: no pull waits for that by itself but those whose engine asks for it.

A contender whose rounds took PATIENCE seconds altogether is left alone for the rest of the row, so that
each row ends within ten minutes on a machine with nothing else to do; column n says how often it ran."""
import glob
import json
import os
import shutil
import subprocess
import threading
import time

KINDS = {"big": "one layer of 80 MB gzip, 220 MB in 8,900 files", "bigzstd": "the same by zstd",
         "twenty": "the same in 20 layers", "manyfiles": "one layer of 60,000 small files"}
PATIENCE = 40


def run(argv, **kwargs):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False, **kwargs)


def must(argv, **kwargs):
    done = run(argv, **kwargs)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv[:8])}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout.strip()


def seconds(argv):
    os.sync()
    start = time.perf_counter()
    must(argv)
    return time.perf_counter() - start


class Turns:
    """Who takes part in a row's next round."""

    def __init__(self, who):
        self.who, self.spent = list(who), {one.name: 0.0 for one in who}

    def __iter__(self):
        for one in self.who:
            if self.spent[one.name] < PATIENCE:
                start = time.perf_counter()
                yield one
                self.spent[one.name] += time.perf_counter() - start


class Contender:
    """Somebody who can pull: commands, folders, and the processes that belong to it."""

    def __init__(self, name, pull, remove, folders, pids=()):
        self.name, self.pull, self.remove = name, pull, remove
        self.folders, self.pids = folders, list(pids)

    def processor(self):
        """Seconds of processor time of its processes and of all commands so far."""
        ticks = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as text:
                ticks += sum(map(int, text.read().rsplit(")", 1)[1].split()[11:15]))
        used = os.times()
        return ticks / os.sysconf("SC_CLK_TCK") + used.children_user + used.children_system

    def disk(self):
        """MiB under its folders, as the disk counts them."""
        total = 0
        for folder in self.folders:
            if os.path.isdir(folder):
                # Containers' files come and go while another engine's command runs.
                said = run(["du", "-sk", "--one-file-system", folder]).stdout.split()
                total += int(said[0]) if said else 0
        return total / 1024


def tree(pids):
    """These processes and all below them."""
    found, left = [], list(pids)
    while left:
        pid = left.pop()
        found.append(pid)
        for path in glob.glob(f"/proc/{pid}/task/*/children"):
            try:
                with open(path, encoding="ascii") as text:
                    left += [int(word) for word in text.read().split()]
            except OSError:
                pass
    return found


def pss(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as text:
            for line in text:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


class Sampler(threading.Thread):
    """The highest sum of PSS of some processes and of the command that is measured, in MiB."""

    def __init__(self, pids, command):
        super().__init__(daemon=True)
        self.pids, self.command, self.peak, self.done = pids, command, 0, False

    def run(self):
        while not self.done:
            self.peak = max(self.peak, sum(map(pss, tree([*self.pids, self.command]))) / 1024)
            time.sleep(0.01)


def peak_memory(contender, ref):
    process = subprocess.Popen(contender.pull(ref), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    sampler = Sampler(contender.pids, process.pid)
    sampler.start()
    said = process.stderr.read()
    status = process.wait()
    sampler.done = True
    sampler.join()
    if status:
        raise RuntimeError(f"{contender.name}: {said.decode()[-300:]}")
    return sampler.peak


def contenders(bench):
    """Who is there to be measured."""
    found = []
    for engine in bench.engines:
        cli = engine.cli()
        found.append(Contender(
            engine.name, lambda ref, cli=cli: [*cli, "pull", "-q", ref],
            lambda ref, cli=cli: [*cli, "rmi", ref],
            [os.path.join(engine.work, "root"), os.path.join(engine.work, "ctd")],
            [process.pid for process in engine.processes]))
        if engine.name == "docker" and shutil.which("ctr"):
            ctr = ["ctr", "-a", os.path.join(engine.work, "ctd.sock"), "images"]
            found.append(Contender(
                "ctr", lambda ref, ctr=ctr: [*ctr, "pull", "--plain-http", ref],
                lambda ref, ctr=ctr: [*ctr, "rm", "--sync", ref],
                [os.path.join(engine.work, "ctd")], [engine.processes[0].pid]))
    if shutil.which("podman"):
        root = os.path.join(bench.work, "podman")
        podman = ["podman", "--root", root, "--runroot", root + "-run", "--storage-driver", "overlay",
                  "--cgroup-manager", "cgroupfs"]
        found.append(Contender(
            "podman", lambda ref: [*podman, "pull", "-q", "--tls-verify=false", ref],
            lambda ref: [*podman, "rmi", "-f", ref], [root]))
    if shutil.which("skopeo"):
        folder = os.path.join(bench.work, "skopeo")
        found.append(Contender(
            "skopeo, download only",
            lambda ref: ["skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + ref,
                         "dir:" + folder],
            lambda ref: ["rm", "-rf", folder], [folder]))
    for name in ("podman", "skopeo"):
        if not shutil.which(name):
            bench.reasons.append(f"{name} is not installed (./dev bench --install)")
    return [one for one in found if one.name.split(",")[0] not in bench.args.without]


def layout_blobs(top, name):
    """The files of an image's layers."""
    layout = os.path.join(must([os.path.join(top, "tools", "make-images"), "bench"]), "bench-layout")
    with open(os.path.join(layout, "index.json"), encoding="utf-8") as text:
        entry = next(one for one in json.load(text)["manifests"]
                     if one["annotations"]["io.containerd.image.name"] == f"{name}:latest")
    with open(os.path.join(layout, "blobs", *entry["digest"].split(":")), encoding="utf-8") as text:
        layers = json.load(text)["layers"]
    return [os.path.join(layout, "blobs", *one["digest"].split(":")) for one in layers]


def parts(bench, top, blobs):
    """What the parts of a pull take alone here, now, in seconds: {inflate, hash, write, pipeline}.
    Write is what the pull must write before it answers: the layers and their blobs, into the page
    cache of the same file system."""
    os.sync()
    said = must([os.path.join(top, "build", "tests", "tools", "layer-bench"), "--rounds", "1", *blobs,
                 bench.work])
    return {line.split()[0]: float(line.split()[1]) / 1000 for line in said.splitlines()}


def able(bench, who, name, ref):
    """Who can pull it; what somebody cannot pull at all is said, not hidden."""
    taking = []
    for one in who:
        done = run(one.pull(ref))
        run(one.remove(ref))
        if done.returncode == 0:
            taking.append(one)
        elif one.name == "pouch":
            raise RuntimeError(done.stderr.strip()[-300:])
        else:
            bench.reasons.append(f"{one.name} cannot pull {name}: {done.stderr.strip()[-200:]}")
    return taking


def row_pull(bench, top, name):
    """Pulls of one kind of image in turns, and the parts of ours alone as one more contender; then memory
    and disk of one more; and removal."""
    text, ref = KINDS[name], f"{bench.registry}/{name}:latest"
    must([os.path.join(top, "tools", "make-images"), "push", bench.registry, f"{name}:latest"])
    blobs = layout_blobs(top, name)
    taking = able(bench, contenders(bench), name, ref)
    times, used, gone, memory, disk = ({one.name: [] for one in taking} for _ in range(5))
    turns = Turns(taking)
    alone = {what: [] for what in ("inflate", "hash", "write", "pipeline")}
    for _ in range(bench.rounds(5)):
        for one in turns:
            before = one.processor()
            times[one.name].append(seconds(one.pull(ref)))
            used[one.name].append(one.processor() - before)
            gone[one.name].append(seconds(one.remove(ref)) * 1000)
        for what, took in parts(bench, top, blobs).items():
            alone[what].append(took)
    for one in taking:
        before = one.disk()
        memory[one.name].append(peak_memory(one, ref))
        disk[one.name].append(one.disk() - before)
        must(one.remove(ref))
    longest = max(("inflate", "hash", "write"), key=lambda what: sum(alone[what]))
    for what in ("inflate", "hash", "write"):
        times[what + " alone"] = alone[what]
    times["pouch-image without a network"] = alone["pipeline"]
    bench.add(f"pull: {text}", "s", times, [("docker", 1 / 4, "<="), (longest + " alone", 1.5, "<=")])
    bench.add(f"pull, processor time: {name}", "s", used, [])
    bench.add(f"pull, peak memory of all its processes: {name}", "MiB", memory, [(None, 32, "<=")])
    bench.add(f"pull, disk used afterwards: {name}", "MiB", disk, [("docker", 1, "<=")])
    bench.add(f"remove: {name}", "ms", gone, [("docker", 1 / 5, "<=")])


def row_pulls(bench, top):
    """Ten pulls at once of images that share all but one layer."""
    who = [one for one in contenders(bench) if "only" not in one.name]
    refs = shared_images(bench, top)
    times = {one.name: [] for one in who}
    turns = Turns(who)
    for _ in range(bench.rounds(3)):
        for one in turns:
            os.sync()
            start = time.perf_counter()
            running = [subprocess.Popen(one.pull(ref), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                       for ref in refs]
            said = [process.communicate()[1] for process in running]
            took = time.perf_counter() - start
            if any(process.returncode for process in running):
                raise RuntimeError(f"{one.name}: {b' '.join(said).decode()[-300:]}")
            times[one.name].append(took)
            for ref in refs:
                must(one.remove(ref))
    bench.add("ten pulls at once, 20 layers shared", "s", times, [("docker", 1, "<=")])


def shared_images(bench, top):
    """twenty:latest under ten names, each with a configuration and one small layer of its own."""
    import sys  # pylint: disable=import-outside-toplevel
    sys.path.insert(0, os.path.join(top, "tools"))
    import ocilib  # pylint: disable=import-outside-toplevel,import-error
    must([os.path.join(top, "tools", "make-images"), "push", bench.registry, "twenty:latest"])
    layout = os.path.join(must([os.path.join(top, "tools", "make-images"), "bench"]), "bench-layout")

    def read(digest):
        with open(os.path.join(layout, "blobs", *digest.split(":")), "rb") as data:
            return data.read()
    with open(os.path.join(layout, "index.json"), encoding="utf-8") as text:
        entry = next(one for one in json.load(text)["manifests"]
                     if one["annotations"]["io.containerd.image.name"] == "twenty:latest")
    manifest = json.loads(read(entry["digest"]))
    config = json.loads(read(manifest["config"]["digest"]))
    layers = [{"digest": one["digest"], "diff_id": diff_id, "size": one["size"], "how": "gzip",
               "path": os.path.join(layout, "blobs", *one["digest"].split(":"))}
              for one, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"])]
    named = {f"twenty:own{at}": ocilib.image(
        [*layers, ocilib.layer(ocilib.tar([ocilib.entry("own", f"{at}\n")]))], {"Cmd": ["sh"]})
        for at in range(10)}
    folder = os.path.join(bench.work, "shared-layout")
    ocilib.write_layout(folder, named)
    registry = ocilib.Registry(bench.registry)
    for name in named:
        registry.push_from_layout(folder, name)
    shutil.rmtree(folder)
    return [f"{bench.registry}/{name}" for name in named]


def row_start(bench, top, folders):
    """Containers of an image of 21 layers: layers as EROFS files beside the same as folders."""
    ref = f"{bench.registry}/twenty:latest"
    must([os.path.join(top, "tools", "make-images"), "push", bench.registry, "twenty:latest"])
    ours = next(one for one in bench.engines if one.name == "pouch")
    other = folders(bench.work)
    bench.engines.append(other)
    other.start(bench.registry)
    who = {one.name: one for one in (ours, other)}
    said = must([*ours.cli(), "info", "--format", "{{.Driver}}"])
    if said != "erofs":
        raise RuntimeError(f"pouchd here makes no layers of the form erofs (driver {said})")

    def start(engine, words=("run", "--rm", "--network", "none")):
        begin = time.perf_counter()
        must([*engine.cli(), *words, ref, "true"])
        return (time.perf_counter() - begin) * 1000
    first = {name: [] for name in who}
    for _ in range(bench.rounds(5)):
        for name, engine in who.items():
            must([*engine.cli(), "pull", "-q", ref])
            os.sync()
            first[name].append(start(engine))
            must([*engine.cli(), "rmi", ref])
    for engine in who.values():
        must([*engine.cli(), "pull", "-q", ref])
    os.sync()
    later = bench.interleave({name: lambda engine=engine: start(engine) for name, engine in who.items()},
                             bench.rounds(60))
    for engine in who.values():
        must([*engine.cli(), "rmi", ref])
    bench.engines.remove(other)
    other.stop()
    bench.add("run --rm, 21 layers", "ms", later, [(other.name, 1.05, "<=")])
    bench.add("the same, the first after the pull", "ms", first, [(other.name, 1.05, "<=")])


class Life:
    """What one engine is told, for an image that it has."""

    def __init__(self, name, cli):
        self.name, self.cli = name, cli

    def pull(self, ref):
        return must([*self.cli, "pull", "-q", ref])

    def remove(self, ref):
        return must([*self.cli, "rmi", "-f", ref])

    def save(self, archive, ref):
        return [*self.cli, "save", "-q", "-o", archive, ref]

    def load(self, archive):
        return [*self.cli, "load", "-q", "-i", archive]

    def push(self, ref, to):
        must([*self.cli, "tag", ref, to])
        return [*self.cli, "push", "-q", to]

    def container(self, ref):
        """One that has written a hundred MB."""
        must([*self.cli, "run", "--name", "hundred", "--network", "none", ref, "dd",
              "if=/dev/urandom", "of=/hundred", "bs=1M", "count=100"])

    def commit(self, to):
        return [*self.cli, "commit", "hundred", to]

    def no_container(self):
        must([*self.cli, "rm", "-f", "hundred"])


class DaemonLife(Life):
    """Pouch and Docker: the oldest Docker here has no quiet save."""

    def save(self, archive, ref):
        return [*self.cli, "save", "-o", archive, ref]


class PodmanLife(Life):
    def pull(self, ref):
        return must([*self.cli, "pull", "-q", "--tls-verify=false", ref])

    def push(self, ref, to):
        must([*self.cli, "tag", ref, to])
        return [*self.cli, "push", "-q", "--tls-verify=false", to]

    def container(self, ref):
        """Written from outside: to run it, podman raises limits, which not every root may."""
        must([*self.cli, "create", "--name", "hundred", "--network", "none", ref, "true"])
        place = must([*self.cli, "mount", "hundred"])
        must(["dd", "if=/dev/urandom", "of=" + os.path.join(place, "hundred"), "bs=1M", "count=100"])
        must([*self.cli, "umount", "hundred"])


class CtrLife(Life):
    """containerd's own command: it has no commit."""

    def pull(self, ref):
        return must([*self.cli, "images", "pull", "--plain-http", ref])

    def remove(self, ref):
        return must([*self.cli, "images", "rm", "--sync", ref])

    def save(self, archive, ref):
        return [*self.cli, "images", "export", archive, ref]

    def load(self, archive):
        return [*self.cli, "images", "import", archive]

    def push(self, ref, to):
        must([*self.cli, "images", "tag", "--force", ref, to])
        return [*self.cli, "images", "push", "--plain-http", to]

    def container(self, ref):
        pass

    def commit(self, to):
        return None

    def no_container(self):
        pass


def lives(bench):
    found = [DaemonLife(engine.name, engine.cli()) for engine in bench.engines]
    names = [one.name for one in contenders(bench)]
    if "ctr" in names:
        docker = next(one for one in bench.engines if one.name == "docker")
        found.append(CtrLife("ctr", ["ctr", "-a", os.path.join(docker.work, "ctd.sock")]))
    if "podman" in names:
        root = os.path.join(bench.work, "podman")
        found.append(PodmanLife("podman", [
            "podman", "--root", root, "--runroot", root + "-run", "--storage-driver", "overlay",
            "--cgroup-manager", "cgroupfs"]))
    return found


def row_life(bench, top):
    """What happens to an image that is there: save, load, push to a registry that has nothing of it,
    commit of a container that wrote 100 MB."""
    name = "big:latest"
    must([os.path.join(top, "tools", "make-images"), "push", bench.registry, name])
    ref = f"{bench.registry}/{name}"
    samples = {what: {} for what in ("save", "load", "push", "commit")}
    who = Turns(lives(bench))
    for one in who.who:
        one.pull(ref)
        one.container(ref)
    for number in range(bench.rounds(3)):
        for one in who:
            archive = os.path.join(bench.work, "saved.tar")
            empty, registry = bench.spawn_registry(f"empty-{one.name}-{number}")

            def put(what, argv, name=one.name):
                if argv:
                    samples[what].setdefault(name, []).append(seconds(argv))
            try:
                put("save", one.save(archive, ref))
                fresh = f"{empty}/big:latest"
                put("push", one.push(ref, fresh))
                one.remove(fresh)
                put("commit", one.commit("localhost/hundred:latest"))
                if samples["commit"].get(one.name):
                    one.remove("localhost/hundred:latest")
                one.no_container()
                one.remove(ref)
                put("load", one.load(archive))
                one.container(ref)
            finally:
                registry.terminate()
                registry.wait()
            shutil.rmtree(os.path.join(bench.work, f"empty-{one.name}-{number}"))
            os.unlink(archive)
    for one in who.who:
        one.no_container()
        one.remove(ref)
    bench.add("save: 220 MB, 8,900 files", "s", samples["save"], [("docker", 1, "<=")])
    bench.add("load of what was saved", "s", samples["load"], [("docker", 1, "<=")])
    bench.add("push to an empty registry", "s", samples["push"], [("docker", 1, "<=")])
    bench.add("commit of 100 MB", "s", samples["commit"], [("docker", 1, "<=")])
