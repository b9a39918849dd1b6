"""What is refused is refused before the freeze, with one line that names it, and the container runs on."""

import signal
import socket

from common import expect, expect_refused, start
from redis_incr_client import Client


class Steady:
    """A container with a client that must not notice anything."""

    def __init__(self, tb, options=()):
        tb.load("redis")
        start(tb)
        tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379", *options])
        self.tb, self.client = tb, Client(tb.client, tb.a.ip, 6379)
        tb.on_cleanup(self.client.close)
        self.client.wait_for_replies(100)

    def check(self):
        self.client.wait_for_replies(100)
        totals = self.client.stats()
        expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))
        expect("runs on", self.tb.a.is_running("redis1"), True)
        expect("at the target", self.tb.b.docker("ps", "-aq", "--filter", "name=redis1"), "")


def scenario_bad_container_or_host(tb):
    steady = Steady(tb)
    a, b = tb.a, tb.b
    expect_refused(a, "nosuch", b.peer, says=["nosuch"])
    a.docker("create", "--name", "stopped1", "redis")
    tb.on_cleanup(lambda: a.docker("rm", "-f", "stopped1", check=False))
    expect_refused(a, "stopped1", b.peer, says=["stopped1", "running"])
    expect_refused(a, "redis1", "10.77.0.99:7070", says=["10.77.0.99:7070"])
    expect_refused(a, "redis1", f"{b.ip}:9", says=[f"{b.ip}:9"])
    expect_refused(a, "redis1", "no.such.host.invalid", says=["no.such.host.invalid"])
    expect_refused(a, "redis1", f"{b.ip}:x", code=2, says=["port"])
    expect_refused(a, "redis1", code=2)
    steady.check()


def scenario_bad_taken_at_the_target(tb):
    steady = Steady(tb)
    b = tb.b
    tb.run(b, "other", "redis", options=["-p", "6379:6379"])
    expect_refused(tb.a, "redis1", b.peer, says=["6379"])
    b.docker("rm", "-f", "other")
    b.docker("create", "--name", "redis1", "redis")
    expect_refused(tb.a, "redis1", b.peer, says=["redis1"])
    b.docker("rm", "-f", "redis1")
    steady.check()


def scenario_bad_peer_without_criu(tb):
    steady = Steady(tb)
    tb.b.stop_daemon()
    tb.b.start_daemon(runtime={"criu_path": "/nonexistent"})
    expect_refused(tb.a, "redis1", tb.b.peer, says=["criu"])
    steady.check()


def scenario_bad_peer_of_another_version(tb):
    steady = Steady(tb)
    tb.b.stop_daemon()
    tb.b.start_daemon(program="migrated-other-version")
    expect_refused(tb.a, "redis1", tb.b.peer, code=9, says=["protocol 1000"])
    steady.check()


def scenario_bad_no_space_at_the_target(tb):
    steady = Steady(tb)
    small = tb.b.dir / "small"
    small.mkdir(exist_ok=True)
    tb.b.exec("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small)
    tb.on_cleanup(lambda: tb.b.exec("umount", small))
    tb.on_cleanup(tb.b.stop_daemon)
    tb.b.stop_daemon()
    tb.b.start_daemon(state={"dir": str(small)})
    expect_refused(tb.a, "redis1", tb.b.peer, says=["free"])
    steady.check()


def scenario_bad_options(tb):
    tb.load("redis")
    start(tb)
    # Docker's own, and for good: the namespace of all --network host containers.
    tb.on_cleanup(lambda: tb.a.exec("umount", tb.a.dir / "exec/netns/default"))
    tb.run(tb.a, "hostnet", "redis", options=["--network", "host"])
    expect_refused(tb.a, "hostnet", tb.b.peer, says=["host"])
    only_here = tb.a.dir / "only-here"  # the hosts share a disk, but not their mounts
    only_here.mkdir(exist_ok=True)
    tb.a.exec("mount", "-t", "tmpfs", "tmpfs", only_here)
    tb.on_cleanup(lambda: tb.a.exec("umount", only_here))
    tb.a.exec("mkdir", only_here / "data")
    tb.run(tb.a, "bound", "redis", options=["-v", f"{only_here}/data:/x"])
    expect_refused(tb.a, "bound", tb.b.peer, says=["only-here/data"])


def scenario_abort_and_crash_before_the_commit(tb):
    """The target's daemon is killed under a migration: the source goes on, nothing is left at the target."""
    steady = Steady(tb, options=["-v", "/big"])
    tb.a.docker("exec", "redis1", "dd", "if=/dev/urandom", "of=/big/file", "bs=1M", "count=64")
    slow = tb.a.popen(tb.build / "bin/migrate", "--socket", tb.a.control_socket, "--quiet", "--bandwidth", "4M", "redis1",
                      tb.b.peer)
    tb.client.exec("sleep", "2")
    tb.b.stop_daemon(signal.SIGKILL)
    expect("exit code", slow.wait(60), 5)
    tb.b.start_daemon()
    tb.client.exec("sleep", "1")
    steady.check()
    slow = tb.a.popen(tb.build / "bin/migrate", "--socket", tb.a.control_socket, "--quiet", "--bandwidth", "4M", "redis1",
                      tb.b.peer)
    tb.client.exec("sleep", "2")
    slow.send_signal(signal.SIGINT)
    expect("exit code after Ctrl-C", slow.wait(60), 4)
    steady.check()
