"""The Debian images of the tests: one debootstrap, and layers on it that apt adds in an overlay.

base      minbase with ssh, cron, rsyslog and dbus, without any init
systemd   the init most machines have; sysv, openrc: the two others that Debian still carries
services  what a company put on its machine: an application and its operations team's agents
          (files in tools/images)
"""
import ctypes
import os
import shutil
import stat
import subprocess
import sys

from ocilib import entry, layer, tar

SUITE = "bookworm"
BASE_PACKAGES = ["dbus", "cron", "rsyslog", "openssh-server", "procps", "iproute2", "netbase"]
# What each init adds to the base.
INITS = {
    "systemd": ["systemd", "systemd-sysv", "libpam-systemd"],
    "sysv": ["sysvinit-core", "sysv-rc", "initscripts", "orphan-sysvinit-scripts"],
    "openrc": ["sysvinit-core", "openrc", "initscripts", "orphan-sysvinit-scripts"],
}
SCRIPTED = ("sysv", "openrc")
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "images")


def quietly(argv, **kwargs):
    """Run a command; what it says is shown only when it fails."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                          **kwargs)
    if done.returncode != 0:
        print("\n".join(done.stdout.splitlines()[-40:]), file=sys.stderr)
        raise RuntimeError(f"{' '.join(argv[:10])} ended with status {done.returncode}")


def mirror():
    """The Debian mirror that this machine's apt uses."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)",
                             "Created-By: Packages"], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        site, _, release = line.partition(" ")
        if release == SUITE and site:
            return site
    return "http://deb.debian.org/debian"


def private_mounts():
    """From here on this process mounts for itself alone; all of it goes when it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) != 0:
        raise OSError(ctypes.get_errno(), "unshare of mounts")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def closed(root, argv):
    """Run a command of root that may start nothing that stays, and sees no network."""
    quietly(["unshare", "--mount", "--pid", "--ipc", "--net", "--fork", "--kill-child",
             "chroot", root, *argv], env={**ENVIRONMENT, "DEBOOTSTRAP_DIR": "/debootstrap"})


def open_network(root, argv):
    """Run a command of root with this machine's network and what it needs to reach the mirror."""
    proxies = {name: value for name, value in os.environ.items()
               if name.lower() in ("http_proxy", "https_proxy", "no_proxy")}
    quietly(["chroot", root, *argv], env={**ENVIRONMENT, **proxies})


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    os.chmod(path, mode)


def bootstrap(root):
    """The base, with apt's lists of what else there is."""
    print(f"make-images: debootstrap {SUITE} (a minute or some, once)", file=sys.stderr)
    quietly(["debootstrap", "--foreign", "--variant=minbase",
             "--include=" + ",".join(BASE_PACKAGES), SUITE, root, mirror()])
    # A throw-away system: nothing is lost if the machine fails while it is written.
    write(os.path.join(root, "etc/dpkg/dpkg.cfg.d/unsafe-io"), "force-unsafe-io\n")
    # Packages' scripts run here: nothing that they start may outlive this.
    refuse_services(root)
    closed(root, ["/debootstrap/debootstrap", "--second-stage"])
    closed(root, ["useradd", "--uid", "1000", "--create-home", "--shell", "/bin/bash", "app"])
    closed(root, ["install", "-d", "-o", "app", "-g", "app", "/srv/my shop"])
    write(os.path.join(root, "etc/apt/sources.list"), f"deb {mirror()} {SUITE} main\n")
    shutil.copy("/etc/resolv.conf", os.path.join(root, "etc/resolv.conf"))
    for name in os.listdir(os.path.join(root, "var/cache/apt/archives")):
        if name.endswith(".deb"):
            os.unlink(os.path.join(root, "var/cache/apt/archives", name))
    open_network(root, ["apt-get", "-q", "update"])


def refuse_services(root):
    write(os.path.join(root, "usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n", 0o755)


def add_packages(base, work, name, packages):
    """Install packages over base, and init scripts of ours where the init has a table of them that
    only its own tools write; the folder with what changed, whiteouts as layers have."""
    place = os.path.join(work, name)
    parts = {part: os.path.join(place, part) for part in ("upper", "work", "merged")}
    for folder in parts.values():
        os.makedirs(folder)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                    f"redirect_dir=off,metacopy=off,lowerdir={base},upperdir={parts['upper']},"
                    f"workdir={parts['work']}", parts["merged"]], check=True)
    try:
        refuse_services(parts["merged"])
        install = ["apt-get", "-q", "-y", "--no-install-recommends", "install", *packages]
        open_network(parts["merged"], [*install, "--download-only"])
        closed(parts["merged"], [*install, "--no-download"])
        closed(parts["merged"], ["apt-get", "-q", "clean"])
        if name in SCRIPTED:
            for folder in ("hostkey", "services", "sysv"):
                shutil.copytree(os.path.join(FILES, folder), parts["merged"], dirs_exist_ok=True)
            for script in ("ssh-hostkey", "ops-metrics", "ops-ship"):
                closed(parts["merged"], ["update-rc.d", script, "defaults"])
    finally:
        subprocess.run(["umount", parts["merged"]], check=True)
    tidy(parts["upper"])
    whiteouts(parts["upper"], base)
    return parts["upper"]


def whiteouts(upper, base):
    """From how overlayfs marks what is gone to how layers do."""
    for folder, dirs, files in os.walk(upper):
        for name in [*dirs, *files]:
            path = os.path.join(folder, name)
            state = os.lstat(path)
            if stat.S_ISCHR(state.st_mode) and state.st_rdev == 0:
                os.unlink(path)
                write(os.path.join(folder, ".wh." + name), "")
            elif (stat.S_ISDIR(state.st_mode) and "trusted.overlay.opaque" in os.listxattr(path)
                  and os.path.isdir(os.path.join(base, os.path.relpath(path, upper)))):
                write(os.path.join(path, ".wh..wh..opq"), "")


def tidy(root):
    """Take away what makes a root large or not reproducible."""
    for path in ("var/cache/apt", "var/lib/apt/lists", "var/log", "debootstrap", "tmp", "var/tmp",
                 "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
        full = os.path.join(root, path)
        if not os.path.isdir(full):
            continue
        for name in os.listdir(full):
            child = os.path.join(full, name)
            if path == "var/log" and name == "journal":
                continue  # Debian's journal is kept over boots because this folder exists
            if os.path.isdir(child) and not os.path.islink(child):
                shutil.rmtree(child)
            else:
                os.unlink(child)
    for path in ("etc/machine-id", "etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id"):
        if os.path.isfile(os.path.join(root, path)):
            write(os.path.join(root, path), "")
    for path in ("usr/sbin/policy-rc.d", "etc/dpkg/dpkg.cfg.d/unsafe-io"):
        if os.path.exists(os.path.join(root, path)):
            os.unlink(os.path.join(root, path))
    # Host keys are made by the first start, not shared by everyone who has the image.
    keys = os.path.join(root, "etc/ssh")
    for name in os.listdir(keys) if os.path.isdir(keys) else ():
        if name.startswith("ssh_host_"):
            os.unlink(os.path.join(keys, name))


def files_layer(folders, links=()):
    """A layer of the files in these folders of tools/images; links: {path: target}."""
    entries, made = [], set()

    def parents(path):
        if path and path not in made:
            parents(os.path.dirname(path))
            made.add(path)
            entries.append(entry(path, kind="dir"))

    for folder in folders:
        top = os.path.join(FILES, folder)
        for here, dirs, files in sorted(os.walk(top)):
            dirs.sort()
            for name in sorted(files):
                path = os.path.join(here, name)
                inside = os.path.relpath(path, top)
                parents(os.path.dirname(inside))
                mode = 0o755 if os.access(path, os.X_OK) else 0o644
                with open(path, "rb") as file:
                    entries.append(entry(inside, file.read(), mode=mode))
    for path, target in dict(links).items():
        parents(os.path.dirname(path))
        entries.append(entry(path, kind="symlink", link=target))
    return layer(tar(entries))


def systemd_services():
    wants = "etc/systemd/system/multi-user.target.wants/"
    return files_layer(["services", "systemd"],
                       {wants + name: "../" + name
                        for name in ("ops-metrics.service", "ops-ship.service")})


def digest_files(digest):
    """What these images are made of, for the name of the cache's folder."""
    for here, dirs, files in sorted(os.walk(FILES)):
        dirs.sort()
        for name in sorted(files) if here != FILES else ():
            path = os.path.join(here, name)
            digest.update(f"{os.path.relpath(path, FILES)} {os.access(path, os.X_OK)}\n".encode())
            with open(path, "rb") as file:
                digest.update(file.read())
    with open(os.path.abspath(__file__), "rb") as file:
        digest.update(file.read())
