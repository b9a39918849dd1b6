#!/usr/bin/env python3
"""Two Docker hosts and a client on one machine, for tests. Needs root.

    a  10.77.0.1   dockerd, containerd, migrated       all in namespaces, joined by a bridge; also fd00:10:77::1 etc.
    b  10.77.0.2   the same
    cl 10.77.0.3   clients
    c  10.77.0.4   a third host, for the scenarios that ask for it: Testbed.third()

Everything belongs to a work directory, mtb-XXXXXX, whose name also starts the names of the network namespaces and is the
cgroup parent of all containers; so a testbed can be removed when nothing but this name is left of it.
`with Testbed(...) as tb:` in a program, or from the shell:

    twohosts.py up [--build DIR]         prints the work directory; the hosts stay
    twohosts.py exec WORKDIR a|b|cl COMMAND...
    twohosts.py docker WORKDIR a|b ARGUMENTS...
    twohosts.py down WORKDIR
    twohosts.py cleanup                  removes the testbeds whose owner has died
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "images"))
import leftovers
import reaper
import shell
from host import Host, Namespace

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "10.77.0"
ADDRESSES = {"a": f"{NETWORK}.1", "b": f"{NETWORK}.2", "cl": f"{NETWORK}.3"}
THIRD = f"{NETWORK}.4"
NETWORK6 = "fd00:10:77::"
LONGEST_WORKDIR = 50  # containerd's sockets are up to 50 characters below it; a socket's path may have 107


def ip6_of(address):
    """The IPv6 address of the machine with this IPv4 address."""
    return NETWORK6 + address.rsplit(".", 1)[1]


def default_base():
    return Path(os.environ.get("MIGRATE_TESTBED_DIR", "/tmp"))


def default_build():
    """The build directory with the newest daemon."""
    built = sorted((ROOT / "build").glob("*/bin/migrated"), key=lambda p: p.stat().st_mtime)
    return built[-1].parent.parent if built else ROOT / "build/dev"


def default_criu_path():
    """Directory with a CRIU that works on this kernel; empty: the one in PATH (see scripts/setup)."""
    prefix = Path(os.environ.get("MIGRATE_CRIU_PATH", "/opt/migrate/criu/bin"))
    return str(prefix) if (prefix / "criu").exists() else ""


def may_read_limits():
    """Whether root of this machine has CAP_SYS_RESOURCE (bit 24); see criu_limits.c."""
    effective = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> 24 & 1)


def wrap_criu(criu_path, directory):
    """Makes `directory` with a `criu` that is the other one with criu_limits.c preloaded. Returns it."""
    real = Path(criu_path, "criu") if criu_path else shutil.which("criu")
    directory.mkdir()
    library = directory / "criu_limits.so"
    shell.run(["cc", "-O1", "-shared", "-fPIC", Path(__file__).with_name("criu_limits.c"), "-o", library])
    (directory / "criu").write_text(f'#!/bin/sh\nLD_PRELOAD={library} exec {real} "$@"\n')
    (directory / "criu").chmod(0o755)
    return str(directory)


class Testbed:
    """Owns the whole testbed: up() creates it, down() removes all of it. One thread."""

    def __init__(self, build=None, workdir=None, owner=None):
        """`workdir`: attach to a testbed that is up. `owner`: pid whose death makes this testbed stale; 0: nobody."""
        self.build = Path(build or default_build()).resolve()
        self.workdir = Path(workdir) if workdir else default_base() / f"mtb-{secrets.token_hex(3)}"
        self.owner = os.getpid() if owner is None else owner
        if len(str(self.workdir)) > LONGEST_WORKDIR:
            raise shell.Failed(f"{self.workdir}: the path is too long for unix sockets below it")
        prefix = self.workdir.name
        self.a, self.b = (Host(n, reaper.netns_name(prefix, n), ADDRESSES[n], ip6_of(ADDRESSES[n]), self.workdir / n,
                               self.build, default_criu_path(), f"/{prefix}") for n in ("a", "b"))
        self.hosts = [self.a, self.b]
        self.client = Namespace("cl", reaper.netns_name(prefix, "cl"), ADDRESSES["cl"], ip6_of(ADDRESSES["cl"]))
        self.machines = {"a": self.a, "b": self.b, "cl": self.client}
        self._undo = []

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()

    # --- life ---

    def up(self):
        if os.geteuid() != 0:
            raise shell.Failed("the testbed needs root")
        self.workdir.mkdir(parents=True)
        self.workdir.chmod(0o711)
        (self.workdir / "testbed.json").write_text(json.dumps({"owner": self.owner, "build": str(self.build)}))
        try:
            if not may_read_limits():
                wrapped = wrap_criu(default_criu_path(), self.workdir / "criu")
                for host in self.hosts:
                    host.criu_path = wrapped
            self._create_network()
            names = [f"{ip} {host.name}.test" for host in self.hosts for ip in (host.ip, host.ip6)]
            for host in self.hosts:
                host.boot(names)
                host.start_docker(wait=False)
            for host in self.hosts:
                host.wait_for_docker()
        except BaseException:
            self.down()
            raise

    def down(self):
        self._undo.clear()
        reaper.destroy(self.workdir)

    def _create_network(self):
        prefix = self.workdir.name
        lan = self._create_netns("lan")
        shell.run(["ip", "-n", lan, "link", "add", "br0", "type", "bridge"])
        shell.run(["ip", "-n", lan, "link", "set", "br0", "up"])
        for part, address in ADDRESSES.items():
            self._connect(part, address)

    def _create_netns(self, part):
        name = reaper.netns_name(self.workdir.name, part)
        shell.run(["ip", "netns", "add", name])
        shell.run(["ip", "-n", name, "link", "set", "lo", "up"])
        return name

    def _connect(self, part, address):
        """A machine with a network of its own, on the bridge."""
        lan, name = reaper.netns_name(self.workdir.name, "lan"), self._create_netns(part)
        # Both ends are made where they belong, so no name can clash with one of the machine. A host c that is made anew
        # must have the MAC that the others remember.
        mac = "02:00:" + ":".join(f"{int(byte):02x}" for byte in address.split("."))
        shell.run(["ip", "link", "add", f"to-{part}", "netns", lan, "type", "veth",
                   "peer", "name", "eth0", "address", mac, "netns", name])
        shell.run(["ip", "-n", lan, "link", "set", f"to-{part}", "master", "br0", "up"])
        shell.run(["ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0"])
        shell.run(["ip", "-n", name, "addr", "add", f"{ip6_of(address)}/64", "dev", "eth0", "nodad"])
        shell.run(["ip", "-n", name, "link", "set", "eth0", "up"])

    # --- what scenarios use ---

    def third(self):
        """Starts the host c, which is one of `hosts` until the scenario has been cleaned up; what is then left on it fails
        the scenario. To be called first: what is asked for later is cleaned up earlier."""
        # Where the others have it.
        c = Host("c", reaper.netns_name(self.workdir.name, "c"), THIRD, ip6_of(THIRD), self.workdir / "c", self.build,
                 self.a.criu_path, self.a.cgroup_parent)
        self.on_cleanup(lambda: reaper.remove_machine(self.workdir, "c"))
        self._connect("c", THIRD)
        c.boot()
        c.start_docker()
        before = leftovers.snapshot(c)
        self.on_cleanup(lambda: self._leave_third(c, before))
        self.hosts.append(c)
        self.machines["c"] = c
        return c

    def _leave_third(self, c, before):
        self.hosts.remove(c)
        del self.machines["c"]
        left = leftovers.settled(lambda: leftovers.snapshot(c), before)
        c.stop_docker()
        if left:
            raise shell.Failed("left on host c: " + "; ".join(left))

    def peer_of(self, host):
        return self.b if host is self.a else self.a

    def load(self, *images, hosts=None):
        """Puts images of testbed/images into the hosts (default: both)."""
        import build as images_build
        for image in images:
            tar = images_build.image_tar(image, self.build / "testbed-cache")
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda h: h.docker("load", "-q", "-i", tar), hosts or self.hosts))

    def run(self, host, name, image, *command, options=()):
        """`docker run -d`; the container and what becomes of it on either host is removed after the scenario."""
        self.on_cleanup(lambda: [h.docker("rm", "-f", "-v", name, check=False) for h in self.hosts])
        return host.docker("run", "-d", "--name", name, *options, image, *command)

    def ensure_daemons(self):
        for host in self.hosts:
            host.ensure_daemon()

    def on_cleanup(self, action):
        self._undo.append(action)

    def cleanup_scenario(self):
        """Runs what was given to on_cleanup, last first; all of it, even if some fail."""
        causes = []
        while self._undo:
            try:
                self._undo.pop()()
            except Exception as e:
                causes.append(str(e))
        if causes:
            raise shell.Failed("clean-up: " + "; ".join(causes))

    def _snapshots(self):
        takes = {f"host {host.name}: ": lambda h=host: leftovers.snapshot(h) for host in self.hosts}
        return {**takes, "": lambda: leftovers.cgroups(self.workdir.name)}

    def snapshot(self):
        return {where: take() for where, take in self._snapshots().items()}

    def leftovers(self, before, timeout=5):
        """What is there now and was not at `before` = snapshot(), one line each."""
        takes = self._snapshots().items()
        return [where + line for where, take in takes for line in leftovers.settled(take, before[where], timeout)]


def migrate(host, *args, timeout=120):
    """`migrate ARGS...` on this host; fails unless the tool succeeds. Returns its standard output."""
    return host.migrate_run(*args, timeout=timeout, check=True).stdout


def recover(tb):
    """After a failure: the next scenario gets clean hosts, new ones if these cannot be cleaned."""
    try:
        for host in tb.hosts:
            host.remove_all()
            if host.daemon_pid():
                host.stop_daemon(signal.SIGKILL)
    except Exception as e:
        print(f"     hosts are made anew: {e}", flush=True)
    tb.down()
    fresh = Testbed(build=tb.build)
    fresh.up()
    return fresh


def attach(workdir):
    workdir = Path(workdir)
    try:
        state = json.loads((workdir / "testbed.json").read_text())
    except OSError as e:
        raise shell.Failed(f"{workdir} is not a testbed: {e}") from e
    return Testbed(build=state["build"], workdir=workdir, owner=state["owner"])


def stale():
    """Work directories whose owner has died."""
    found = []
    for state in default_base().glob("mtb-*/testbed.json"):
        try:
            owner = json.loads(state.read_text())["owner"]
        except ValueError:
            owner = -1
        if owner and not Path(f"/proc/{owner}").exists():
            found.append(state.parent)
    return found + orphans()


def orphans():
    """Network namespaces without a work directory (here: it may be below another MIGRATE_TESTBED_DIR) and processes."""
    found = []
    for lan in reaper.NETNS_DIR.glob("mtb-*-lan"):
        workdir = default_base() / lan.name.removesuffix("-lan")
        being_made = time.time() - lan.stat().st_mtime < 60
        if not workdir.exists() and not being_made and not reaper.processes(workdir):
            found.append(workdir)
    return found


def remove_stale():
    for workdir in stale():
        print(f"removing {workdir}, left by a run that died", flush=True)
        reaper.destroy(workdir)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up")
    up.add_argument("--build", help="build directory (default: the one with the newest daemon)")
    up.add_argument("--daemons", action="store_true", help="start migrated on both hosts as well")
    up.add_argument("--image", action="append", default=[], help="load this image of testbed/images")
    for name in ("exec", "docker"):
        command = commands.add_parser(name)
        command.add_argument("workdir")
        command.add_argument("host", choices=["a", "b", "cl"])
        command.add_argument("arguments", nargs=argparse.REMAINDER)
    commands.add_parser("down").add_argument("workdir")
    commands.add_parser("cleanup")
    args = parser.parse_args()
    if args.command == "up":
        return bring_up(args)
    if args.command == "down":
        reaper.destroy(Path(args.workdir))
    elif args.command == "cleanup":
        remove_stale()
    else:
        machine = attach(args.workdir).machines[args.host]
        program = ["docker", "-H", f"unix://{machine.docker_socket}"] if args.command == "docker" else []
        argv = machine.enter() + program + args.arguments
        os.execvp(argv[0], argv)


def bring_up(args):
    tb = Testbed(build=args.build, owner=0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    tb.up()
    try:
        tb.load(*args.image)
        if args.daemons:
            tb.ensure_daemons()
    except BaseException:
        tb.down()
        raise
    print(tb.workdir)


if __name__ == "__main__":
    try:
        main()
    except shell.Failed as failure:
        sys.exit(f"twohosts: {failure}")
