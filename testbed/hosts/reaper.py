"""Removes a testbed from the machine, whatever state an aborted run left it in.

The name of the work directory is all it needs: network namespaces and the cgroup parent carry the same name, and every
process of the testbed runs in one of these namespaces or cgroups, or names the directory on its command line. Nothing
else on the machine is touched.
"""

import os
import shutil
import signal
import time
from pathlib import Path

import shell

NETNS_DIR = Path("/run/netns")
PARTS = ("lan", "a", "b", "c", "cl")


def netns_name(prefix, part):
    return f"{prefix}-{part}"


def cgroup_mounts():
    """Where cgroup hierarchies are mounted, v1 and v2."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [Path(f[1]) for f in (line.split() for line in lines) if f[2] in ("cgroup", "cgroup2")]


def cgroup_dirs(prefix):
    """Every cgroup directory of this testbed, children before parents."""
    found = []
    for mount in cgroup_mounts():
        top = mount / prefix
        if top.is_dir():
            found += [Path(d) for d, _, _ in os.walk(top, topdown=False)]
    return found


def _ns(pid, kind):
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    except OSError:
        return None


def _cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _comm(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _pids():
    return [int(p) for p in os.listdir("/proc") if p.isdigit()]


def processes(workdir, parts=PARTS):
    """Pids of the testbed, or of some machines of it, except this process and its ancestors."""
    prefix = workdir.name
    me = _ancestry()
    nets = set()
    for part in parts:
        try:
            nets.add((NETNS_DIR / netns_name(prefix, part)).stat().st_ino)
        except OSError:
            pass
    nets.discard(_ns("self", "net"))
    pids = [p for p in _pids() if p not in me]
    found = {p for p in pids if _ns(p, "net") in nets}
    below = [f"{workdir}/"] if parts == PARTS else [f"{workdir}/{part}/" for part in parts]
    found |= {p for p in pids if _comm(p) in DAEMONS and any(directory in _cmdline(p) for directory in below)}
    # A host's processes share a mount namespace of its own; one of them leads to the others.
    mounts = {_ns(p, "mnt") for p in found} - {_ns("self", "mnt"), _ns(1, "mnt"), None}
    found |= {p for p in pids if _ns(p, "mnt") in mounts}
    if parts != PARTS:
        return found - me - {0}
    for directory in cgroup_dirs(prefix):
        try:
            found |= {int(p) for p in (directory / "cgroup.procs").read_text().split()}
        except OSError:
            pass
    return found - me - {0}


# Only these are recognised by their command line: an editor with a log file open is not part of the testbed.
DAEMONS = ("dockerd", "containerd", "containerd-shim", "docker-proxy", "migrated", "runc", "migrate-runtime", "criu")


def _ancestry():
    chain, pid = set(), os.getpid()
    while pid > 0 and pid not in chain:
        chain.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
    return chain


def _thaw(prefix):
    """A frozen process does not even die."""
    for directory in cgroup_dirs(prefix):
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            try:
                with open(directory / name, "r+") as f:
                    f.write(value)
            except OSError:
                pass


def kill_all(workdir, timeout=20, parts=PARTS):
    end = time.monotonic() + timeout
    while True:
        _thaw(workdir.name)
        pids = processes(workdir, parts)
        if not pids:
            return
        if time.monotonic() > end:
            raise shell.Failed("cannot kill: " + "; ".join(f"{p} {_cmdline(p)}" for p in sorted(pids)))
        # The daemons first, so that nobody restarts what is killed next.
        for pid in sorted(pids, key=lambda p: _comm(p) not in ("dockerd", "migrated")):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        _reap()
        time.sleep(0.02)


def _reap():
    """Collects killed children of this process; subprocess copes with a child that is gone."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def shim_sockets(workdir):
    """Sockets of containerd's shims live outside of the work directory; the shim's bundle names them."""
    found = []
    for address in workdir.glob("*/exec/containerd/daemon/io.containerd.runtime.v2.task/*/*/address"):
        path = address.read_text().strip().removeprefix("unix://")
        if path.startswith("/run/containerd/s/"):
            found.append(Path(path))
    return found


def remove_cgroups(prefix):
    for directory in cgroup_dirs(prefix):
        shell.wait_until(lambda d=directory: _rmdir(d), 5, f"rmdir {directory}")


def _rmdir(directory):
    try:
        directory.rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def unmount_below(workdir):
    """Mounts normally vanish with the hosts' mount namespaces; this is for mounts that escaped them."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((p for p in points if p.startswith(f"{workdir}/")), reverse=True):
        shell.run(["umount", "-l", point], check=False)


def remove_machine(workdir, part):
    """One machine of a testbed whose others stay; its containers have been removed. Fine if it is gone already."""
    kill_all(workdir, parts=(part,))
    if (NETNS_DIR / netns_name(workdir.name, part)).exists():
        shell.run(["ip", "netns", "del", netns_name(workdir.name, part)])
    unmount_below(workdir / part)
    shutil.rmtree(workdir / part, ignore_errors=True)


def destroy(workdir):
    """Removes the testbed of this work directory completely; fine if parts or all of it are gone already."""
    workdir = Path(workdir)
    prefix = workdir.name
    if not prefix.startswith("mtb-"):
        raise shell.Failed(f"{workdir} is not a testbed's work directory")
    sockets = shim_sockets(workdir)
    kill_all(workdir)
    for socket in sockets:
        socket.unlink(missing_ok=True)
    remove_cgroups(prefix)
    for part in PARTS:
        if (NETNS_DIR / netns_name(prefix, part)).exists():
            shell.run(["ip", "netns", "del", netns_name(prefix, part)])
    unmount_below(workdir)
    if workdir.exists():
        shutil.rmtree(workdir)
