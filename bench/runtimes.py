#!/usr/bin/python3
"""Measures one OCI runtime without an engine: runtimes.py NAME PROGRAM BUNDLE STATE, in a private mount namespace.
Reads orders from its standard input and answers each with a line of JSON, so that whoever compares runtimes can let
them take turns: on a machine that others use, only what was measured side by side can be compared. A process of the
runtime counts with all that it starts, also what outlives it."""
import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

PR_SET_CHILD_SUBREAPER = 36
name, program, bundle, state = sys.argv[1:5]
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
with open(os.path.join(bundle, "config.json"), encoding="utf-8") as text:
    spec = json.load(text)


def configure(folder, cgroup, memory=None, args=("true",)):
    spec["process"]["args"] = list(args)
    spec["linux"]["cgroupsPath"] = cgroup
    spec["linux"]["resources"].pop("memory", None)
    if memory:
        spec["linux"]["resources"]["memory"] = {"limit": memory, "swap": memory}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(spec, out)


NULL = os.open(os.devnull, os.O_RDWR)
QUIET = [(os.POSIX_SPAWN_DUP2, NULL, fd) for fd in (0, 1, 2)]


def call(*words):
    """Runs the runtime: posix_spawn(), so that as little as can be of this program is measured."""
    pid = os.posix_spawnp(program, [program, "--root", state, *words], os.environ, file_actions=QUIET)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{words[0]} failed: {os.waitstatus_to_exitcode(status)}")


def peak_kib(*words):
    """The peak memory of one call. It is started by a small program: what forks it counts, too."""
    log = state + ".time"
    subprocess.run(["/bin/busybox", "time", "-v", "-o", log, program, "--root", state, *words], check=True,
                   stdin=NULL, stdout=NULL, stderr=NULL)
    with open(log, encoding="ascii") as text:
        return max(int(line.split()[-1]) for line in text if "Maximum resident" in line)


def reap():
    """Containers' processes whose runtime has ended are children of this process."""
    try:
        while os.waitpid(-1, 0)[0]:
            pass
    except ChildProcessError:
        pass


def cycle(identity, folder=bundle):
    call("create", "--bundle", folder, identity)
    call("start", identity)
    call("delete", "--force", identity)


def cpu_ms():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1000


def single():
    before, start = cpu_ms(), time.perf_counter()
    cycle("one")
    took = (time.perf_counter() - start) * 1000
    reap()
    return took, cpu_ms() - before


def in_parallel(count, workers=8):
    """Milliseconds for each of count. The folders differ, as the cgroup is a matter of the bundle; the root file system is the same."""
    folders = []
    for number in range(workers):
        folder = f"{state}-{number}"
        os.makedirs(folder, exist_ok=True)
        spec["root"]["path"] = os.path.join(bundle, "rootfs")
        configure(folder, f"/bench-{name}/p{number}")
        folders.append(folder)
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda number: [cycle(f"p{number}-{one}", folders[number])
                                      for one in range(count // workers)], range(workers)))
    took = (time.perf_counter() - start) * 1000
    reap()
    return took / (count // workers * workers)


def starts_with(kib):
    configure(bundle, f"/bench-{name}/m", kib * 1024)
    try:
        done = subprocess.run([program, "--root", state, "run", "--bundle", bundle, "m"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20, check=False)
        good = done.returncode == 0
    except subprocess.TimeoutExpired:
        good = False
    subprocess.run([program, "--root", state, "delete", "--force", "m"], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)
    reap()
    return good


def smallest():
    """In steps of 32 KiB; a container must start three times out of three."""
    low, high = 0, 32 * 1024
    while high - low > 32:
        middle = (low + high) // 64 * 32
        if all(starts_with(middle) for _ in range(3)):
            high = middle
        else:
            low = middle
    return high


def peak():
    return max(peak_kib("create", "--bundle", bundle, "peak"), peak_kib("start", "peak"),
               peak_kib("delete", "--force", "peak"))


def sequence(count):
    begin = time.perf_counter()
    for item in range(count):
        cycle(f"s{item}")
    took = (time.perf_counter() - begin) * 1000 / count
    reap()
    return took


def exec_begin():
    sleeper = bundle + "-exec"
    os.makedirs(sleeper, exist_ok=True)
    path, spec["root"]["path"] = spec["root"]["path"], os.path.join(bundle, "rootfs")
    configure(sleeper, f"/bench-{name}/e", args=("sleep", "600"))
    spec["root"]["path"] = path
    call("create", "--bundle", sleeper, "e")
    call("start", "e")


def exec_one():
    begin = time.perf_counter()
    call("exec", "e", "true")
    return (time.perf_counter() - begin) * 1000


def exec_end():
    call("delete", "--force", "e")
    reap()


ORDERS = {"single": single, "peak": peak, "sequence": sequence, "parallel": in_parallel, "exec-begin": exec_begin,
          "exec": exec_one, "exec-end": exec_end, "memory": smallest}
configure(bundle, f"/bench-{name}/x")
for line in sys.stdin:
    order, *numbers = line.split()
    try:
        answer = {"result": ORDERS[order](*map(int, numbers))}
    except (OSError, RuntimeError, subprocess.CalledProcessError) as problem:
        answer = {"error": f"{order}: {problem}"}
    print(json.dumps(answer), flush=True)
