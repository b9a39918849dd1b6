"""What one host cannot believe of the other, or of its own Docker: the container runs on in one place, and no client suffers."""

import json
import re
import sys
from pathlib import Path

from bad_input import Steady
from common import expect, expect_refused, parsed
from shell import Failed, wait_until

BAD_WIRE = Path(__file__).resolve().parent.parent / "workloads/bad_wire.py"
PROXY_PORT = 7999
MEGABYTES = 24


class BadWire:
    """Between host a and the daemon of host b, until it is closed."""

    def __init__(self, tb, mode):
        self.tb = tb
        self.process = tb.a.popen(sys.executable, BAD_WIRE, mode, PROXY_PORT, tb.b.ip, 7070, stdin=-1, stdout=-1, text=True)
        tb.on_cleanup(self.close)
        expect("bad_wire.py", self.process.stdout.readline(), "listening\n")
        tb.a.exec("nft", "table ip bad_wire { chain output { type nat hook output priority -100; "
                         f"ip daddr {tb.b.ip} tcp dport 7070 meta mark != 1 redirect to :{PROXY_PORT}; }}; }}")

    def close(self):
        """Returns how often it did damage."""
        if self.process.stdin.closed:
            return 0
        self.tb.a.exec("nft", "delete table ip bad_wire")
        self.process.stdin.close()
        done = len(self.process.stdout.readlines())
        self.process.wait()
        return done


def digest(host):
    return host.docker("exec", "redis1", "sha256sum", "/big/file").split()[0]


def scenario_bad_bytes_between_the_daemons(tb):
    """Corrupted, exchanged, lost and torn off in the middle of the files: either the move is refused and rolled back, or what
    arrived was shipped again; never is it taken."""
    steady = Steady(tb, options=["-v", "/big"])
    tb.a.docker("exec", "redis1", "dd", "if=/dev/urandom", "of=/big/file", "bs=1M", f"count={MEGABYTES}")
    before = digest(tb.a)
    for mode in ("flip", "swap", "drop", "cut"):
        tb.a.stop_daemon()  # connections that do not pass the wire
        tb.a.start_daemon()
        wire = BadWire(tb, mode)
        done = tb.a.migrate_run("--json", "--quiet", "--compression", "0", "redis1", tb.b.peer)
        damage = wire.close()
        result = parsed(done.stdout)
        print(f"{mode}: {damage} times, exit code {done.returncode}, {result.get('failure', {}).get('message', 'moved')}")
        if not damage:
            raise Failed(f"{mode}: nothing was spoilt")
        if done.returncode == 0:
            steady.client.wait_for_replies(50)
            expect("content at the target", digest(tb.b), before)
            tb.b.migrate_run("--quiet", "redis1", tb.a.peer, check=True)
        else:
            expect("exit code", done.returncode, 5)
        expect("content", digest(tb.a), before)
        steady.check()


scenario_bad_bytes_between_the_daemons.timeout = 240
scenario_bad_bytes_between_the_daemons.slow = True


def scenario_bad_cpu_at_the_target(tb):
    steady = Steady(tb)
    less = tb.b.dir / "cpuinfo"
    text = Path("/proc/cpuinfo").read_text()
    less.write_text(re.sub(r"\bssse3\b ?", "", text))
    if less.read_text() == text:
        print("this machine's CPU has no ssse3 that could be missing")
        return
    tb.b.exec("mount", "--bind", less, "/proc/cpuinfo")
    tb.on_cleanup(lambda: tb.b.exec("umount", "/proc/cpuinfo"))
    expect_refused(tb.a, "redis1", tb.b.peer, says=["cpu", "ssse3"])
    steady.check()


def scenario_bad_devices_and_host_namespaces(tb):
    steady = Steady(tb)
    tb.load("tools")
    for name, says, options in (("device1", "/dev/null", ["--device", "/dev/null:/dev/extra"]),
                                ("pid1", "processes is shared", ["--pid", "host"]),
                                ("ipc1", "IPC is shared", ["--ipc", "host"]), ("uts1", "name is shared", ["--uts", "host"]),
                                ("shared1", "network of another", ["--network", "container:redis1"])):
        tb.run(tb.a, name, "tools", "sleep", "1000", options=options)
        expect_refused(tb.a, name, tb.b.peer, says=[says])
        expect(f"{name} runs on", tb.a.is_running(name), True)
        tb.a.docker("rm", "-f", name)
    steady.check()


def scenario_bad_second_migration(tb):
    """Of a container that is on its way."""
    steady = Steady(tb, options=["-v", "/big"])
    tb.a.docker("exec", "redis1", "dd", "if=/dev/urandom", "of=/big/file", "bs=1M", "count=32")
    first = tb.a.popen(*tb.a.migrate_command("--quiet", "--bandwidth", "4M", "redis1", tb.b.peer)[len(tb.a.enter()):])
    wait_until(lambda: "redis1" in tb.a.migrate_run("list", "--active").stdout, 10, "the first migration")
    expect_refused(tb.a, "redis1", tb.b.peer, says=["redis1", "is being migrated already"])
    identity = json.loads(tb.a.migrate_run("-o", "json", "list", "--active").stdout)["migrations"][0]["id"]
    tb.a.migrate_run("abort", identity, check=True)
    expect("exit code of the first", first.wait(60), 4)
    steady.check()


def scenario_bad_daemon_json(tb):
    """Edited by hand at the target: our runtime is gone from it, or does not exist where it says."""
    steady = Steady(tb)
    tb.on_cleanup(lambda: setattr(tb.b, "docker_options", {}) or tb.b.restart_docker())
    tb.b.docker_options = {"runtimes": {}}
    tb.b.restart_docker()
    expect_refused(tb.a, "redis1", tb.b.peer, says=["migrate"])
    steady.check()
    tb.b.docker_options = {"runtimes": {"migrate": {"path": "/nonexistent/migrate-runtime"}}}
    tb.b.restart_docker()
    done = tb.a.migrate_run("--json", "--quiet", "redis1", tb.b.peer)
    print(f"exit code {done.returncode}: {parsed(done.stdout).get('failure', {}).get('message') or done.stderr.strip()}")
    if done.returncode not in (3, 5) or "/nonexistent/migrate-runtime" not in done.stdout + done.stderr:
        raise Failed(f"exit code {done.returncode}: {done.stdout} {done.stderr}")
    steady.check()
