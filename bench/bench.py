#!/usr/bin/python3
"""Measure this build beside Docker, containerd, Podman, runc and crun; print one table of ratios.

usage: ./dev bench [--install] [--rounds N] [--list] [ROW...]

Every engine has its own root and its own daemon, ended by its pid; all of it runs in private
network and mount namespaces, so that bridges and rules stay away from the machine. The contenders
of a row take turns (A B C, A B C …), so that what else the machine does hits all alike; the table
shows the median and the minimum of each and the ratio of the medians. A contender that is
not installed is left out (./dev bench --install gets all from Debian).
"""
import argparse
import glob
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import images as image_rows

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
POUCH_BIN = os.environ.get("POUCH_BIN", os.path.join(TOP, "build", "bin"))


def run(argv, **kwargs):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False, **kwargs)


def must(argv, **kwargs):
    done = run(argv, **kwargs)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv[:6])}: status {done.returncode}: "
                           f"{(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout.strip()


def timed(argv):
    """Milliseconds that a command took; it must succeed."""
    start = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, check=False)
    took = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv[:8])}: {done.stderr.decode()[-300:].strip()}")
    return took


def pss(pid):
    """PSS of a process in KiB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as text:
        for line in text:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def parent_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as text:
        for line in text:
            if line.startswith("PPid:"):
                return int(line.split()[1])
    return 0


def started(argv):
    """The monotonic time, in seconds, at which a command that must succeed was started."""
    start = time.monotonic()
    must(argv)
    return start


def lower_half(these, those):
    """By how much these are more than those, rank by rank, where nothing else disturbed them."""
    pairs = list(zip(sorted(these), sorted(those)))
    return [one - other for one, other in pairs[:max(1, len(pairs) // 2)]]


class Engine:
    """A daemon with a Docker-like command line."""

    name = ""

    def __init__(self, work):
        self.work = os.path.join(work, self.name)
        os.makedirs(self.work)
        self.socket = os.path.join(self.work, "sock")
        self.log = open(os.path.join(self.work, "log"), "wb")
        self.processes = []

    def spawn(self, argv, **kwargs):
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                   **kwargs)
        self.processes.append(process)
        return process

    def wait_ready(self):
        end = time.time() + 60
        while time.time() < end:
            if run([*self.cli(), "version"]).returncode == 0:
                return
            if self.processes[-1].poll() is not None:
                break
            time.sleep(0.1)
        with open(self.log.name, encoding="utf-8", errors="replace") as text:
            raise RuntimeError(f"{self.name} did not start:\n" + text.read()[-2000:])

    def cli(self):
        raise NotImplementedError

    def monitor_pss(self):
        """PSS of the process that holds each running container: its first process's parent."""
        ids = self.ctl("ps", "-q").split()
        pids = self.ctl("inspect", "-f", "{{.State.Pid}}", *ids).split()
        return [pss(pid) for pid in {parent_of(pid) for pid in pids}]

    def ctl(self, *words):
        return must([*self.cli(), *words])

    def remove_all(self):
        ids = self.ctl("ps", "-aq").split()
        for at in range(0, len(ids), 50):
            run([*self.cli(), "rm", "-f", *ids[at:at + 50]])

    def stop(self):
        try:
            self.remove_all()
        except RuntimeError as err:
            print(f"bench: {err}", file=sys.stderr)
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()


class Pouch(Engine):
    name = "pouch"
    bin = POUCH_BIN
    systemd = ["--rich", "--rich-mode", "systemd"]
    flags = ()
    mark = ""
    bip = "10.213.0.1/20"

    def bridge(self):
        return "pouchbench0" + self.mark

    def start(self, registry):
        self.spawn([os.path.join(self.bin, "pouchd"), *self.flags, "--root", self.work + "/root",
                    "--state", self.work + "/run", "--host", "unix://" + self.socket,
                    "--cgroup-parent", "pouch-bench" + self.mark, "--bridge-name", self.bridge(),
                    "--bip", self.bip, "--log-level", "warn"])
        self.daemon = self.processes[-1].pid
        self.wait_ready()

    def cli(self):
        return [os.path.join(self.bin, "pouch"), "-H", "unix://" + self.socket]

    def daemon_pss(self):
        return pss(self.daemon)

    def stop(self):
        super().stop()
        run(["ip", "link", "del", self.bridge()])


class Beside(Pouch):
    """Another build of the same programs: --beside DIR."""
    name = "other build"
    mark = "b"
    bip = "10.215.0.1/20"


class Folders(Pouch):
    """A daemon that unpacks layers into folders."""
    name = "unpacked layers"
    flags = ("--rootfs-driver", "overlay")
    mark = "f"
    bip = "10.218.0.1/20"


class Plugins(Pouch):
    """A daemon that has every plugin on; its containers ask for one each, or none."""
    name = "plugins"
    mark = "p"
    bip = "10.216.0.1/20"
    where = "overlay on this disk"

    def start(self, registry):
        if shutil.which("lxcfs"):
            self.flags = ("--enable-lxcfs",)
        super().start(registry)


class PluginsBtrfs(Plugins):
    """The same with its root on btrfs, in a file: that has quotas where this disk has none."""
    name = "plugins on btrfs"
    mark = "q"
    bip = "10.217.0.1/20"
    where = "btrfs"

    def start(self, registry):
        image, root = os.path.join(self.work, "image"), os.path.join(self.work, "root")
        with open(image, "wb") as out:
            out.truncate(4 << 30)
        must(["mkfs.btrfs", "-q", image])
        os.mkdir(root)
        must(["mount", "-o", "loop", image, root])
        super().start(registry)

    def stop(self):
        super().stop()
        run(["umount", os.path.join(self.work, "root")])


class Docker(Engine):
    name = "docker"
    # What systemd needs there: --privileged is the usual advice; it is refused where this machine's
    # root lacks a capability itself, and these are what it is made of as far as systemd cares.
    systemd = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--cgroupns=host",
               "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs", "/run", "--tmpfs", "/run/lock",
               "--tmpfs", "/tmp", "-e", "container=docker"]

    @staticmethod
    def installed():
        return shutil.which("dockerd") and shutil.which("containerd")

    def start(self, registry):
        config = os.path.join(self.work, "containerd.toml")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f'version = 2\nroot = "{self.work}/ctd"\nstate = "{self.work}/ctd-run"\n'
                      f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                      f'[grpc]\naddress = "{self.work}/ctd.sock"\n')
        self.spawn(["containerd", "--config", config])
        end = time.time() + 30
        while not os.path.exists(self.work + "/ctd.sock") and time.time() < end:
            time.sleep(0.1)
        self.spawn(["dockerd", "--data-root", self.work + "/root", "--exec-root",
                    self.work + "/exec", "-H", "unix://" + self.socket, "-p", self.work + "/pid",
                    "--containerd", self.work + "/ctd.sock", "--cgroup-parent", "/bench-docker",
                    "--bip", "10.214.0.1/20",
                    "--insecure-registry", registry])
        self.daemon = self.processes[-1].pid
        self.wait_ready()

    def cli(self):
        return ["/usr/bin/docker", "-H", "unix://" + self.socket]

    def daemon_pss(self):
        return pss(self.daemon) + pss(self.processes[0].pid)


class Bare:
    """runc or crun alone, on a bundle: `run`, nothing else. An overlay root, as engines have."""

    def __init__(self, name, work, rootfs):
        self.name = name
        self.work = os.path.join(work, name)
        self.bundle = os.path.join(self.work, "bundle")
        self.root = rootfs
        for part in ("upper", "work", "bundle/rootfs", "state"):
            os.makedirs(os.path.join(self.work, part))
        self.number = 0
        self.program = os.path.join(POUCH_BIN, name) if name == "pouch-oci" else name
        must(["runc", "spec", "--bundle", self.bundle] if shutil.which("runc") else
             ["crun", "spec", "--bundle", self.bundle])
        path = os.path.join(self.bundle, "config.json")
        with open(path, encoding="utf-8") as text:
            spec = json.load(text)
        spec["process"]["terminal"] = False
        spec["process"]["args"] = ["true"]
        spec["process"]["rlimits"] = []
        spec["root"]["readonly"] = False
        spec["linux"]["cgroupsPath"] = f"/bench-{name}/x"
        with open(path, "w", encoding="utf-8") as out:
            json.dump(spec, out)

    def command(self):
        """A shell that waits for lines, so that its namespaces are set up once, not measured."""
        self.number += 1
        return [self.program, "--root", self.work + "/state", "run", "--bundle", self.bundle,
                f"bench{self.number}"]


class BareShell:
    """Runs commands in a private mount namespace; crun gets one without the unified cgroup mount."""

    def __init__(self, bare):
        self.bare = bare
        self.helper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", HELPER,
             bare.name, bare.work, bare.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)
        ready = self.helper.stdout.readline().strip()
        if ready != "ready":
            raise RuntimeError(f"{bare.name}: {ready}")

    def measure(self):
        self.helper.stdin.write(json.dumps(self.bare.command()) + "\n")
        self.helper.stdin.flush()
        answer = json.loads(self.helper.stdout.readline())
        if answer["status"] != 0:
            raise RuntimeError(f"{self.bare.name}: {answer['said'][-300:]}")
        return answer["ms"]

    def close(self):
        self.helper.stdin.close()
        self.helper.wait()


class RuntimeShell:
    """bench/runtimes.py for one runtime, in a mount namespace of its own; crun gets one without the unified cgroup,
    and the parent of its own in the empty file system there, which it does not always make itself."""

    def __init__(self, bare):
        self.bare = bare
        for part in ("upper2", "work2"):
            os.makedirs(os.path.join(bare.work, part), exist_ok=True)
        self.helper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             'if [ "$1" = crun ] && mountpoint -q /sys/fs/cgroup/unified; then '
             "umount /sys/fs/cgroup/unified && mount -t tmpfs none /sys/fs/cgroup/unified && "
             "mkdir /sys/fs/cgroup/unified/bench-crun; fi; "
             'mount -t overlay overlay -o "lowerdir=$2,upperdir=$3/upper2,workdir=$3/work2" '
             '"$3/bundle/rootfs" && shift 3 && exec "$@"', "sh", bare.name, bare.root, bare.work,
             sys.executable, os.path.join(TOP, "bench", "runtimes.py"), bare.name, bare.program, bare.bundle,
             bare.work + "/state2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *order):
        self.helper.stdin.write(" ".join(map(str, order)) + "\n")
        self.helper.stdin.flush()
        answer = json.loads(self.helper.stdout.readline() or '{"error": "bench/runtimes.py has ended"}')
        if "error" in answer:
            raise RuntimeError(f"{self.bare.name}: {answer['error']}")
        return answer["result"]

    def close(self):
        self.helper.stdin.close()
        self.helper.wait()


class Systemd:
    """One Debian with systemd under an engine: started until it says `running`, then stopped."""

    def __init__(self, engine, image, words, extra=()):
        self.engine, self.image, self.words, self.extra = engine, image, words, extra
        self.number = 0

    def name(self):
        return f"systemd{self.number}"

    def start(self):
        """Milliseconds from `run` until systemd had no job left, by systemd's own clock."""
        self.number += 1
        begin = started([*self.engine.cli(), "run", "-d", "--network", "none", "--name", self.name(),
                         *self.engine.systemd, *self.extra, self.image, *self.words])
        state = self.inside("systemctl", "is-system-running", "--wait")
        if state != "running":
            failed = self.inside("systemctl", "--failed", "--no-legend")
            raise RuntimeError(f"{self.engine.name}: systemd is '{state}': {failed}")
        stamp = self.inside("systemctl", "show", "-P", "FinishTimestampMonotonic")
        return int(stamp) / 1000 - begin * 1000

    def inside(self, *words):
        """What a command says in the container, once systemd is there to answer it."""
        end = time.monotonic() + 30
        while True:
            done = run([*self.engine.cli(), "exec", self.name(), *words])
            said = done.stdout.strip()
            if said not in ("", "offline", "unknown") or time.monotonic() > end:
                return said
            if done.returncode == 0 and words[1] == "--failed":
                return said
            time.sleep(0.02)

    def stop(self):
        took = timed([*self.engine.cli(), "stop", self.name()])
        must([*self.engine.cli(), "rm", "-f", self.name()])
        return took


class Nspawn:
    """systemd-nspawn on the same files, without a host systemd to register with."""

    name = "nspawn"

    def __init__(self, work, layers):
        self.root = os.path.join(work, "nspawn")
        os.mkdir(self.root)
        for path in layers:
            must(["tar", "-xf", path, "-C", self.root])
        for gone in glob.glob(self.root + "/**/.wh.*", recursive=True, include_hidden=True):
            os.unlink(gone)
        must(["systemctl", "--root", self.root, "mask", "console-getty.service"])
        self.process = None
        self.stamps = os.path.join(self.root, "stamps")

    def start(self):
        begin = time.monotonic()
        self.process = subprocess.Popen(
            ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--private-network",
             "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--boot",
             "--console=passive", "--volatile=no", "--machine=pouchbench", "--directory", self.root],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = begin + 30
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError("systemd-nspawn: " + self.process.stderr.read().decode()[-300:])
            inside = self.first()
            if inside:
                done = run(["nsenter", "-t", inside, "-m", "-p", "-r", "-w", "systemctl",
                            "is-system-running", "--wait"])
                if done.stdout.strip() in ("running", "degraded"):
                    if done.stdout.strip() == "degraded":
                        raise RuntimeError("systemd-nspawn: systemd is degraded")
                    stamp = must(["nsenter", "-t", inside, "-m", "-p", "-r", "-w", "systemctl",
                                  "show", "-P", "FinishTimestampMonotonic"])
                    return int(stamp) / 1000 - begin * 1000
            time.sleep(0.02)
        raise RuntimeError("systemd-nspawn: not running after 30 s")

    def first(self):
        """The process that is pid 1 inside: the child of nspawn's child, or nspawn's own."""
        for path in glob.glob("/proc/[0-9]*/status"):
            try:
                with open(path, encoding="ascii", errors="replace") as text:
                    fields = dict(line.split(":", 1) for line in text if ":" in line)
            except OSError:
                continue
            if (fields["Name"].strip() == "systemd" and
                    fields["PPid"].strip() == str(self.process.pid)):
                return fields["Pid"].strip()
        return None

    def stop(self):
        start = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)  # it passes SIGRTMIN+3 on
        self.process.wait(60)
        took = (time.perf_counter() - start) * 1000
        self.process.stderr.close()
        self.process = None
        return took

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for part in ("payload", "supervisor"):
            for top in glob.glob(f"/sys/fs/cgroup/*/{part}") + glob.glob(f"/sys/fs/cgroup/{part}"):
                for folder, _, _ in os.walk(top, topdown=False):
                    try:
                        os.rmdir(folder)
                    except OSError:
                        pass  # not of this nspawn


HELPER = r'''
import json, os, subprocess, sys, time
name, work, root = sys.argv[1:]
try:
    if name == "crun" and os.path.ismount("/sys/fs/cgroup/unified"):
        subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "none", "/sys/fs/cgroup/unified"], check=True)
        os.mkdir("/sys/fs/cgroup/unified/bench-crun")
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                    f"lowerdir={root},upperdir={work}/upper,workdir={work}/work",
                    f"{work}/bundle/rootfs"], check=True)
except (OSError, subprocess.CalledProcessError) as err:
    print(err, flush=True)
    sys.exit(1)
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    done = subprocess.run(json.loads(line), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE)
    took = (time.perf_counter() - start) * 1000
    print(json.dumps({"ms": took, "status": done.returncode,
                      "said": done.stderr.decode(errors="replace")}), flush=True)
'''


class Bench:
    """Everything one invocation owns, and the rows of the table."""

    def __init__(self, args):
        self.args = args
        self.work = tempfile.mkdtemp(prefix="pouch-bench-")
        self.lines = []
        self.engines = []
        self.shells = []
        self.registry = None
        self.registry_process = None
        self.reasons = []
        self.debian = None

    # ------------------------------------------------------------ set-up

    def start_registry(self):
        self.registry, self.registry_process = self.spawn_registry("registry")

    def spawn_registry(self, name):
        """An empty registry on loopback: its address and process."""
        port = must([sys.executable, "-c", "import socket; s = socket.socket(); "
                     "s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"])
        address, folder = "127.0.0.1:" + port, os.path.join(self.work, name)
        with open(folder + ".yml", "w", encoding="utf-8") as out:
            out.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: "
                      f"{{rootdirectory: {folder}}}}}\n"
                      f"http: {{addr: \"{address}\"}}\n")
        with open(folder + ".log", "wb") as log:
            process = subprocess.Popen(["docker-registry", "serve", folder + ".yml"], stdout=log,
                                       stderr=log)
        time.sleep(1)
        return address, process

    def setup(self):
        images = self.images = must([os.path.join(TOP, "tools", "make-images"), "small"])
        kinds = [Pouch]
        if Docker.installed() and "docker" not in self.args.without:
            kinds.append(Docker)
        else:
            self.reasons.append("docker is not installed (./dev bench --install)")
        if self.args.beside:
            Beside.bin = os.path.abspath(self.args.beside)
            kinds.append(Beside)
        for kind in kinds:
            engine = kind(self.work)
            self.engines.append(engine)
            engine.start(self.registry or "127.0.0.0/8")
            engine.ctl("load", "-q", "-i", os.path.join(images, "busybox.docker.tar"))
        rootfs = os.path.join(self.work, "rootfs")
        os.mkdir(rootfs)
        must(["tar", "-xf", os.path.join(images, "busybox-root.tar"), "-C", rootfs])
        self.rootfs = rootfs

    def bare_shells(self):
        if not self.shells:
            for name in ("pouch-oci", "runc", "crun"):
                if name in self.args.without:
                    continue
                if name != "pouch-oci" and not shutil.which(name):
                    self.reasons.append(f"{name} is not installed (./dev bench --install)")
                    continue
                try:
                    self.shells.append(BareShell(Bare(name, self.work, self.rootfs)))
                    self.shells[-1].measure()
                except (RuntimeError, OSError) as err:
                    self.reasons.append(f"{name} could not be measured: {err}")
                    self.shells = [one for one in self.shells if one.bare.name != name]
        return self.shells

    def close(self):
        for shell in self.shells:
            shell.close()
        for engine in self.engines:
            engine.stop()
        if self.registry_process:
            self.registry_process.terminate()
            self.registry_process.wait()
        for pattern in ("*/bench-*/*", "bench-*/*", "*/bench-*", "bench-*", "*/pouch-bench*", "pouch-bench*"):
            for cgroup in glob.glob("/sys/fs/cgroup/" + pattern):
                try:
                    os.rmdir(cgroup)
                except OSError:
                    pass  # another bench is using it
        if self.args.keep:
            print(f"kept: {self.work}")
        else:
            shutil.rmtree(self.work, ignore_errors=True)

    def load_debian(self):
        """The Debian images, in every engine; Docker 20.10 reads no OCI archive."""
        if self.debian:
            return
        self.debian = must([os.path.join(TOP, "tools", "make-images"), "debian"])
        for engine in self.engines:
            archive = os.path.join(self.debian, "debian.oci.tar")
            if engine.name == "docker":
                plain = os.path.join(self.work, "debian.docker.tar")
                must(["skopeo", "copy", "-q", "oci-archive:" + archive,
                      f"docker-archive:{plain}:debian:latest"])
                archive = plain
            engine.ctl("load", "-q", "-i", archive)

    # ------------------------------------------------------------ the table

    def add(self, row, unit, samples, targets):
        """samples: {contender: [number...]}; targets: [(other, factor, "<=" or ">=")] or
        [(None, limit, "<=")] for an absolute one."""
        if not samples.get("pouch"):
            self.reasons.append(f"{row}: nothing was measured for pouch")
            return
        ours = statistics.median(samples["pouch"])
        for name, values in samples.items():
            median, low = statistics.median(values), min(values)
            ratio = f"{median / ours:.2f}" if ours else "-"
            wanted, verdict = [], []
            if name == "pouch":
                for other, factor, how in targets:
                    if other is None:
                        wanted.append(f"{how} {factor:g} {unit}")
                        good = ours <= factor if how == "<=" else ours >= factor
                    elif other in samples:
                        theirs = statistics.median(samples[other])
                        share = f"1/{1 / factor:.0f}" if factor < 0.5 else f"{factor:g}"
                        wanted.append(f"{how} {share} x {other}")
                        good = ours <= theirs * factor if how == "<=" else ours >= theirs * factor
                    else:
                        wanted.append(f"({other} absent)")
                        continue
                    verdict.append("reached" if good else "MISSED")
            self.lines.append((row, name, f"{median:.2f} {unit}", f"{low:.2f}", str(len(values)),
                               ratio, "; ".join(wanted), "; ".join(verdict)))
        print(f"  {row}: " + ", ".join(f"{name} {statistics.median(values):.2f} {unit}"
                                       for name, values in samples.items()), file=sys.stderr)

    def table(self):
        head = ("what", "who", "median", "min", "n", "ratio to pouch", "target", "verdict")
        rows = [head] + self.lines
        widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
        for number, row in enumerate(rows):
            print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
            if number == 0:
                print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
        for reason in dict.fromkeys(self.reasons):
            print(f"\nleft out: {reason}")

    def rounds(self, wanted):
        return max(1, int(wanted * self.args.rounds / 20))

    def interleave(self, contenders, rounds):
        """contenders: {name: function that returns one number}; first rounds are warm-up."""
        samples = {name: [] for name in contenders}
        for number in range(rounds + 2):
            for name, measure in contenders.items():
                value = measure()
                if number >= 2:
                    samples[name].append(value)
        return samples

    # ------------------------------------------------------------ rows

    def row_run(self):
        contenders = {engine.name: (lambda cli=engine.cli(): timed(
            [*cli, "run", "--rm", "--network", "none", "busybox", "true"]))
            for engine in self.engines}
        for shell in self.bare_shells():
            contenders[shell.bare.name] = shell.measure
        self.add("run --rm true, no network", "ms", self.interleave(contenders, self.rounds(20)),
                 [("docker", 1 / 15, "<="), ("crun", 1.3, "<="), (None, 8, "<=")])

    def row_runtimes(self):
        """Runtimes by themselves: create + start + delete, exec, the smallest memory limit. They take turns."""
        shells = {shell.bare.name: RuntimeShell(shell.bare) for shell in self.bare_shells()}
        results = {name: {} for name in shells}

        def turns(what, rounds, *order):
            for turn in range(rounds):
                for name in list(shells) if turn % 2 == 0 else list(shells)[::-1]:
                    results[name].setdefault(what, []).append(shells[name].ask(*order))

        try:
            turns("warm", 2, "single")
            turns("single", self.rounds(30), "single")
            turns("peak", 1, "peak")
            turns("sequence", 10, "sequence", self.rounds(10))
            turns("parallel", 5, "parallel", 8 * max(1, self.rounds(2)))
            turns("ready", 1, "exec-begin")
            turns("exec", self.rounds(40), "exec")
            turns("ready", 1, "exec-end")
            turns("memory", 1, "memory")
        finally:
            for shell in shells.values():
                shell.close()
                for cgroup in glob.glob(f"/sys/fs/cgroup/*/bench-{shell.bare.name}/*/"):
                    os.rmdir(cgroup)
        results = {"pouch" if name == "pouch-oci" else name: one for name, one in results.items()}
        pick = {"create, start, delete": (lambda one: [x[0] for x in one["single"]], "ms", 0.6),
                "the same, cpu": (lambda one: [x[1] for x in one["single"]], "ms", 0.6),
                "the same, peak memory": (lambda one: [x / 1024 for x in one["peak"]], "MiB", 1),
                "a hundred, one after the other": (lambda one: one["sequence"], "ms each", 0.6),
                "the same, 8 at once": (lambda one: one["parallel"], "ms each", 0.6),
                "runtime exec": (lambda one: one["exec"], "ms", 0.5),
                "smallest memory limit": (lambda one: one["memory"], "KiB", 1)}
        for row, (take, unit, factor) in pick.items():
            self.add(row, unit, {who: take(one) for who, one in results.items()},
                     [("crun", factor, "<=")])

    def row_bridge(self):
        self.add("run --rm true, bridge", "ms", self.interleave(
            {engine.name: (lambda cli=engine.cli(): timed([*cli, "run", "--rm", "busybox", "true"]))
             for engine in self.engines}, self.rounds(20)),
            [("docker", 1 / 12, "<="), (None, 15, "<=")])

    def row_exec(self):
        for engine in self.engines:
            engine.ctl("run", "-d", "--network", "none", "--name", "execs", "busybox", "sleep",
                       "3600")
        self.add("exec true", "ms", self.interleave(
            {engine.name: (lambda cli=engine.cli(): timed([*cli, "exec", "execs", "true"]))
             for engine in self.engines}, self.rounds(30)),
            [("docker", 1 / 8, "<="), (None, 5, "<=")])
        for engine in self.engines:
            engine.remove_all()

    def rate(self, engine, clients, count):
        """Containers a second when several clients start them."""
        lock, left, errors = threading.Lock(), [count], []

        def client():
            while True:
                with lock:
                    if left[0] == 0:
                        return
                    left[0] -= 1
                done = run([*engine.cli(), "run", "-d", "--network", "none", "busybox", "sleep",
                            "3600"])
                if done.returncode != 0:
                    errors.append(done.stderr.strip())
        threads = [threading.Thread(target=client) for _ in range(clients)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - start
        if errors:
            raise RuntimeError(f"{engine.name}: {len(errors)} of {count} failed: {errors[0][-200:]}")
        return count / took

    def row_rate(self):
        samples = {engine.name: [] for engine in self.engines}
        for number in range(self.rounds(3) if self.args.rounds >= 20 else 1):
            for engine in self.engines:
                if engine.name == "docker" and number > 0:
                    continue  # 200 starts take it half a minute
                samples[engine.name].append(self.rate(engine, 8, 200))
                engine.remove_all()
        self.add("run -d, 8 clients, 200 containers", "/s", samples,
                 [("docker", 10, ">="), (None, 150, ">=")])

    def row_memory(self):
        time.sleep(12)  # what the rows before needed at once has been given back
        at_rest = {engine.name: [engine.daemon_pss() / 1024] for engine in self.engines}
        for engine in self.engines:
            for _ in range(10 if engine.name == "docker" else 100):
                engine.ctl("run", "-d", "--network", "none", "busybox", "sleep", "3600")
        time.sleep(1)
        monitors = {engine.name: [value / 1024 for value in engine.monitor_pss()]
                    for engine in self.engines}
        loaded = {engine.name: [engine.daemon_pss() / 1024] for engine in self.engines}
        for engine in self.engines:
            engine.remove_all()
        self.add("engine at rest (PSS)", "MiB", at_rest, [(None, 10, "<=")])
        self.add("monitor of a running container (PSS)", "MiB",
                 {name: values for name, values in monitors.items() if values},
                 [(None, 0.4, "<=")])
        self.add("engine, 100 containers (docker: 10) (PSS)", "MiB", loaded, [(None, 16, "<=")])

    def row_pull(self):
        image_rows.row_pull(self, TOP, "big")

    def row_pull_zstd(self):
        image_rows.row_pull(self, TOP, "bigzstd")

    def row_pull_layers(self):
        image_rows.row_pull(self, TOP, "twenty")

    def row_pull_files(self):
        image_rows.row_pull(self, TOP, "manyfiles")

    def row_pulls(self):
        image_rows.row_pulls(self, TOP)

    def row_image_start(self):
        image_rows.row_start(self, TOP, Folders)

    def row_image_life(self):
        image_rows.row_life(self, TOP)

    def row_ps(self):
        count = 500 if self.args.rounds < 20 else 1000
        ours = self.engines[0]
        names = [f"many{number}" for number in range(count)]
        subprocess.run(["xargs", "-P", "8", "-I{}", *ours.cli(), "create", "--name", "{}",
                        "--network", "none", "busybox", "true"], input="\n".join(names),
                       text=True, stdout=subprocess.DEVNULL, check=True)
        samples = self.interleave({"pouch": lambda: timed([*ours.cli(), "ps", "-a"])},
                                  self.rounds(10))
        self.add(f"ps -a, {count} containers", "ms", samples, [(None, 50, "<=")])
        ours.remove_all()

    def row_remove(self):
        """rm of a container that has written 60,000 small files. It answers before they are gone: the next waits."""
        fill = "mkdir /m && cd /m && for i in $(seq 60000); do echo $i >$i; done"
        samples = {engine.name: [] for engine in self.engines}
        for _ in range(self.rounds(5)):
            for engine in self.engines:
                engine.ctl("run", "--name", "full", "--network", "none", "busybox", "sh", "-c", fill)
                samples[engine.name].append(timed([*engine.cli(), "rm", "full"]))
                while glob.glob(engine.work + "/root/containers/trash.*"):
                    time.sleep(0.1)
        self.add("rm, 60,000 files", "ms", samples, [("docker", 1 / 20, "<=")])

    def row_rich(self):
        """Debian with systemd: until it runs, what it holds then, until it has stopped."""
        self.load_debian()
        kinds = {}
        for engine in self.engines:
            words = ["/sbin/init"] if engine.name == "docker" else ["sleep", "infinity"]
            kinds[engine.name] = Systemd(engine, "debian", words)
            if engine.name == "docker":
                # As most images are: none says how its systemd wants to be stopped.
                kinds["docker, SIGTERM"] = Systemd(engine, "debian", words,
                                                   ["--stop-signal", "SIGTERM"])
        if shutil.which("systemd-nspawn"):
            layers = [os.path.join(self.debian, f"debian-{part}-layer.tar.gz")
                      for part in ("base", "systemd")]
            kinds["nspawn"] = Nspawn(self.work, layers)
        else:
            self.reasons.append("systemd-nspawn is not installed (./dev bench --install)")
        starts, stops, beyond = ({name: [] for name in kinds} for _ in range(3))
        rounds = self.rounds(10)
        for number in range(rounds + 1):
            for name, one in list(kinds.items()):
                if name == "docker, SIGTERM" and number > 1:
                    continue  # ten seconds each, and always the same ten
                try:
                    start = one.start()
                    held = self.beyond(one) if name in ("pouch", "docker") else None
                    stop = one.stop()
                except RuntimeError as err:
                    if name == "pouch":
                        raise
                    self.reasons.append(str(err))
                    del kinds[name]
                    continue
                if number > 0:  # the first is the warm-up
                    starts[name].append(start)
                    stops[name].append(stop)
                    if held is not None:
                        beyond[name].append(held)
        if "nspawn" in kinds:
            kinds["nspawn"].close()
        full = lambda samples: {name: values for name, values in samples.items() if values}
        starts.pop("docker, SIGTERM", None)
        self.add("run until systemd is running", "ms", full(starts), [("docker", 1, "<=")])
        self.add("stop of a systemd container", "ms", full(stops), [(None, 1500, "<=")])
        self.add("idle systemd container, engine's part (PSS)", "MiB", full(beyond),
                 [("docker", 1, "<=")])

    @staticmethod
    def beyond(one):
        """MiB that one container holds beyond its own processes: the monitor or shim, and what
        the engine put inside."""
        first = int(one.engine.ctl("inspect", "-f", "{{.State.Pid}}", one.name()))
        total = pss(parent_of(first))
        inside = os.readlink(f"/proc/{first}/ns/pid")
        for path in glob.glob("/proc/[0-9]*"):
            try:
                if os.readlink(path + "/ns/pid") == inside:
                    with open(path + "/comm", encoding="utf-8") as text:
                        if text.read().startswith("pouch-"):
                            total += pss(int(path[6:]))
            except OSError:
                continue
        return total / 1024

    # What each plugin is asked for with.
    PLUGINS = {"lxcfs": ["--view", "lxcfs"], "full view": ["--view", "full"],
               "serial number": ["--machine-sn", "auto"],
               "quota": ["--disk-quota", "1g"], "userns": ["--userns", "auto"]}

    def row_plugins(self):
        """What each plugin adds to a start: with and without in turns, the differences."""
        for kind in (Plugins, PluginsBtrfs):
            try:
                engine = kind(self.work)
                self.engines.append(engine)
                engine.start(None)
                engine.ctl("load", "-q", "-i", os.path.join(self.images, "busybox.docker.tar"))
            except (RuntimeError, OSError) as err:
                self.reasons.append(f"{kind.name}: {err}")
                continue
            self.plugins_of(engine, kind is PluginsBtrfs)
        for engine in [one for one in self.engines if isinstance(one, Plugins)]:
            engine.stop()
            self.engines.remove(engine)

    def plugins_of(self, engine, only_quota):
        def starter(flags):
            """The start alone: what creation and removal cost is a row of its own."""
            def measure():
                made = engine.ctl("create", "--network", "none", *flags, "busybox", "true")
                took = timed([*engine.cli(), "start", made])
                engine.ctl("rm", "-f", made)
                return took
            return measure

        def runner(flags):
            return lambda: timed([*engine.cli(), "run", "--rm", "--network", "none", *flags,
                                  "busybox", "true"])
        asked = {"without": []}
        for name, flags in self.PLUGINS.items():
            if only_quota and name != "quota":
                continue
            tried = run([*engine.cli(), "run", "--rm", "--network", "none", *flags, "busybox",
                         "true"])
            if tried.returncode != 0:
                self.reasons.append(f"{name} is refused here: {tried.stderr.strip()[-200:]}")
                continue
            asked[name] = flags
        for what, kind, targets in (("start", starter, [(None, 2, "<=")]),
                                    ("run --rm", runner, [])):
            samples = self.interleave({name: kind(flags) for name, flags in asked.items()},
                                      self.rounds(40))
            for name in asked:
                if name != "without":
                    self.add(f"{what} with {name}, more than without ({engine.where})", "ms",
                             {"pouch": lower_half(samples[name], samples["without"])}, targets)

    ROWS = {"rich": row_rich, "plugins": row_plugins, "run": row_run, "runtimes": row_runtimes,
            "bridge": row_bridge, "exec": row_exec, "rate": row_rate,
            "memory": row_memory, "pull": row_pull, "pull-zstd": row_pull_zstd,
            "pull-layers": row_pull_layers, "pull-files": row_pull_files, "pulls": row_pulls,
            "image-start": row_image_start, "image-life": row_image_life, "ps": row_ps,
            "remove": row_remove}


def own_cgroup_folder():
    """A tmpfs of our own under the cgroup mounts. A systemd that another engine lets at the
    machine's remounts that file system itself, read-only, for everybody."""
    top = "/sys/fs/cgroup"
    with open("/proc/self/mountinfo", encoding="utf-8") as text:
        points = [line.split()[4] for line in text]
    below = [point for point in points if point.startswith(top + "/")]
    if top not in points or not below:
        return  # cgroup v2 alone: there is no tmpfs
    fresh = tempfile.mkdtemp(prefix="pouch-bench-cgroup-")
    must(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", fresh])
    for name in os.listdir(top):
        there, here = os.path.join(top, name), os.path.join(fresh, name)
        if os.path.islink(there):
            os.symlink(os.readlink(there), here)
        elif there in below:
            os.mkdir(here)
            must(["mount", "--bind", there, here])
    must(["mount", "--move", fresh, top])
    os.rmdir(fresh)


def isolate():
    """Run this program again inside namespaces of its own."""
    if os.environ.get("POUCH_BENCH_INSIDE"):
        must(["ip", "link", "set", "lo", "up"])
        own_cgroup_folder()
        return
    os.environ["POUCH_BENCH_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private",
                          sys.executable, *sys.argv])


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description="measure beside other engines")
    parser.add_argument("--rounds", type=int, default=20, help="20 is the full measure")
    parser.add_argument("--without", action="append", default=[], help="leave a contender out")
    parser.add_argument("--beside", metavar="DIR",
                        help="another build's programs as one more contender")
    parser.add_argument("--keep", action="store_true", help="keep the work folder")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("rows", nargs="*", metavar="ROW")
    args = parser.parse_args()
    if args.list:
        print("\n".join(Bench.ROWS))
        return 0
    for row in args.rows:
        if row not in Bench.ROWS:
            parser.error(f"no row '{row}' (rows: {', '.join(Bench.ROWS)})")
    isolate()
    bench = Bench(args)
    failed = False
    try:
        rows = args.rows or list(Bench.ROWS)
        if any(row.startswith(("pull", "image-")) for row in rows):
            bench.start_registry()
        bench.setup()
        for row in rows:
            print(f"bench: {row}", file=sys.stderr)
            try:
                Bench.ROWS[row](bench)
            except (RuntimeError, subprocess.CalledProcessError, OSError) as err:
                failed = True
                bench.reasons.append(f"row {row} could not be measured: {err}")
                for engine in bench.engines:
                    engine.remove_all()
    except RuntimeError as err:
        print(f"bench: {err}", file=sys.stderr)
        failed = True
    finally:
        bench.close()
    bench.table()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
