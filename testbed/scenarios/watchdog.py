"""The source's daemon is killed while the container is frozen, and not started again: the container goes on within seconds,
unless the migration was past its commit point."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import reaper
from common import expect, start
from redis_incr_client import Client
from shell import Failed, wait_until

SECONDS_TO_GO_ON = 5
BEFORE_COMMIT = ["frozen", "locked", "checkpointed", "shipped", "restored", "before-commit"]


class Scene:
    """A redis on host a with a client, and daemons on both hosts."""

    def __init__(self, tb, *fill):
        tb.load("redis")
        start(tb)
        tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
        self.tb, self.client = tb, Client(tb.client, tb.a.ip, 6379)
        tb.on_cleanup(self.client.close)
        if fill:
            tb.a.docker("exec", "redis1", "redis-cli", *fill)
        self.client.wait_for_replies(100)
        self.cgroup = self._cgroup()
        self.pid = tb.a.container_pid("redis1")

    def restart_source(self, faults=""):
        self.tb.a.stop_daemon()
        self.tb.a.start_daemon(faults=faults)

    def migrate(self):
        return self.tb.a.popen(self.tb.build / "bin/migrate", "--socket", self.tb.a.control_socket, "--quiet", "redis1",
                               self.tb.b.peer, stderr=-3)

    def _cgroup(self):
        pid = self.tb.a.container_pid("redis1")
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "freezer" in controllers.split(","):
                return Path(f"/sys/fs/cgroup/freezer{path}")
        return Path(f"/sys/fs/cgroup{path}")

    def frozen(self):
        v1 = self.cgroup / "freezer.state"
        return "FROZEN" in v1.read_text() if v1.exists() else "frozen 1" in (self.cgroup / "cgroup.events").read_text()

    def locked(self):
        tables = self.tb.a.exec("nsenter", "-t", str(self.pid), "--net", "nft", "list", "tables")
        return "migrate_lock" in tables

    def goes_on(self):
        """The same connection is answered again although there is no daemon."""
        begin = time.monotonic()
        self.client.wait_for_replies(100, timeout=SECONDS_TO_GO_ON)
        expect("daemon of the source", self.tb.a.daemon_pid(), None)
        expect("network lock", self.locked(), False)
        return time.monotonic() - begin

    def settle(self):
        """A new daemon finds everything in order, and the target has nothing left."""
        self.tb.a.start_daemon()
        wait_until(lambda: not active(self.tb), 60, "both sides are settled")
        expect("on the source", self.tb.a.is_running("redis1"), True)
        expect("left at the target", self.tb.b.docker("ps", "-aq", "--filter", "name=redis1"), "")
        self.client.wait_for_replies(100)
        totals = self.client.stats()
        expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))


def active(tb):
    return any(json.loads(h.migrate_run("list", "--active", "--json").stdout or "{}").get("migrations") for h in tb.hosts)


def watchdogs(host):
    """The lock files of those that live; each has the pid in it."""
    return list((host.dir / "migrated-state").glob("watchdog-*"))


def daemon_died(tb, process):
    wait_until(lambda: tb.a.daemon_pid() is None, 60, "the daemon of the source has died")
    process.wait(30)


def scenario_watchdog_lets_the_container_go_on(tb):
    scene = Scene(tb)
    for point in BEFORE_COMMIT:
        scene.restart_source(faults=f"{point}=kill")
        daemon_died(tb, scene.migrate())
        print(f"daemon killed at {point}: answered again after {scene.goes_on():.2f} s")
        scene.settle()


scenario_watchdog_lets_the_container_go_on.timeout = 300


def criu_of(host):
    holder = reaper._ns(int(host.enter()[2]), "mnt")
    return [pid for pid in reaper._pids()
            if "criu" in reaper._cmdline(pid) and "swrk" in reaper._cmdline(pid) and reaper._ns(pid, "mnt") == holder]


def scenario_watchdog_waits_for_criu(tb):
    """Killed in the middle of a dump: CRIU is left to finish, and only then the container goes on."""
    scene = Scene(tb, "debug", "populate", "400000", "key", "500")
    process = scene.migrate()
    criu = wait_until(lambda: criu_of(tb.a), 60, "CRIU dumps", pause=0.001)
    tb.a.stop_daemon(signal.SIGKILL)
    if not criu_of(tb.a):
        raise Failed(f"CRIU {criu} did not outlive the daemon, or had ended too early to show anything")
    process.wait(30)
    print(f"daemon killed under CRIU: answered again after {scene.goes_on():.2f} s")
    expect("CRIU", criu_of(tb.a), [])
    scene.settle()


def scenario_watchdog_stays_away_past_the_commit_point(tb):
    scene = Scene(tb)
    scene.restart_source(faults="committed=kill")
    daemon_died(tb, scene.migrate())
    time.sleep(2)
    expect("watchdogs", watchdogs(tb.a), [])
    expect("frozen and locked at the source", (scene.frozen(), scene.locked()), (True, True))
    tb.a.start_daemon()
    wait_until(lambda: not active(tb), 60, "both sides are settled")
    expect("runs on", [host.name for host in tb.hosts if host.is_running("redis1")], ["b"])
    scene.client.wait_for_replies(100)
    totals = scene.client.stats()
    expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))


def scenario_watchdog_is_replaced_or_nothing_is_frozen(tb):
    """One that dies is replaced while the container is frozen; without the program there is no freeze."""
    scene = Scene(tb)
    scene.restart_source(faults="locked=wait:3000")
    process = scene.migrate()
    lock = wait_until(lambda: watchdogs(tb.a), 30, "a watchdog", pause=0.005)[0]
    first = wait_until(lambda: lock.read_text(), 5, "its pid")
    wait_until(scene.frozen, 30, "the container is frozen", pause=0.005)
    os.kill(int(first), signal.SIGKILL)
    wait_until(lambda: lock.read_text() not in ("", first), 5, "another watchdog", pause=0.01)
    tb.a.stop_daemon(signal.SIGKILL)
    process.wait(30)
    print(f"watchdog and daemon killed: answered again after {scene.goes_on():.2f} s")
    scene.settle()

    alone = tb.a.dir / "alone"
    alone.mkdir(exist_ok=True)
    tb.on_cleanup(lambda: shutil.rmtree(alone))
    shutil.copy(tb.build / "bin/migrated", alone)
    tb.a.stop_daemon()
    tb.a.start_daemon(program=alone / "migrated")
    done = tb.a.migrate_run("--quiet", "redis1", tb.b.peer)
    expect("exit code", done.returncode, 5)
    if "watchdog" not in done.stderr.splitlines()[0]:
        raise Failed(f"the watchdog is not in the first line: {done.stderr}")
    tb.a.stop_daemon()
    scene.settle()
