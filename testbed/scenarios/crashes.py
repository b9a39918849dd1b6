"""Daemons that are killed at awkward moments: the container runs on exactly one side, and nothing is left on the other."""

import os
import signal

from common import expect, start
from redis_incr_client import Client
from shell import Failed, wait_until

STEPS = ["presync", "checkpoint", "ship", "restore", "cutover"]


def begin(tb, steady):
    return tb.a.popen(tb.build / "bin/migrate", "--socket", tb.a.control_socket, "--quiet", *steady, "redis1", tb.b.peer,
                      stderr=-3)


def where(tb):
    return [host.name for host in tb.hosts if host.is_running("redis1")]


def crash(tb, victim, phase):
    """Kills a daemon as soon as the phase shows, starts it again, and waits for the end; where the container is then."""
    process = begin(tb, [])
    wait_until(lambda: shown(tb, phase) or process.poll() is not None, 30, f"phase {phase}", pause=0.005)
    victim.stop_daemon(signal.SIGKILL)
    victim.start_daemon()
    process.wait(60)
    wait_until(lambda: len(where(tb)) == 1 and not active(tb), 60, "one side runs it and all is settled")
    return where(tb)[0]


def active(tb):
    return any(len(h.migrate_run("list", "--active").stdout.splitlines()) > 1 for h in tb.hosts)


def shown(tb, phase):
    lines = tb.a.migrate_run("list", "--active").stdout.splitlines()
    return any(f" {phase} " in line for line in lines[1:])


def run(tb, victim):
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    client = Client(tb.client, tb.a.ip, 6379)
    tb.on_cleanup(client.close)
    client.wait_for_replies(100)
    for phase in STEPS:
        side = crash(tb, victim, phase)
        print(f"{victim.node} killed in {phase}: the container runs on {side}")
        client.wait_for_replies(100)
        totals = client.stats()
        expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))
        if side == "b":
            tb.b.migrate_run("redis1", tb.a.peer, check=True)
            client.wait_for_replies(100)
        elif tb.b.docker("ps", "-aq", "--filter", "name=redis1") and not tb.b.docker(
                "ps", "-a", "--format", "{{.Names}}").startswith("redis1-moved"):
            raise Failed(f"left on the target: {tb.b.docker('ps', '-a')}")


def scenario_crash_of_the_source_daemon(tb):
    run(tb, tb.a)


def scenario_crash_of_the_target_daemon(tb):
    run(tb, tb.b)


scenario_crash_of_the_source_daemon.timeout = 240
scenario_crash_of_the_target_daemon.timeout = 240


def scenario_crash_of_both_daemons_at_the_cutover(tb):
    """The source's daemon dies with its commit unconfirmed, and comes back to a target that has forgotten the calls."""
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis")
    process = begin(tb, [])
    wait_until(lambda: shown(tb, "cutover") or process.poll() is not None, 30, "phase cutover", pause=0.005)
    tb.a.stop_daemon(signal.SIGKILL)
    tb.client.exec("sleep", "1")  # the target may finish what it was told
    tb.b.stop_daemon(signal.SIGKILL)
    tb.b.start_daemon()
    tb.a.start_daemon()
    process.wait(60)
    wait_until(lambda: len(where(tb)) == 1 and not active(tb), 60, "one side runs it and all is settled")
    print(f"the container runs on {where(tb)[0]}")
    for host in tb.hosts:
        if "in doubt" in host.migrate_run("list").stdout:
            raise Failed(f"{host.node} is in doubt: {host.migrate_run('list').stdout}")


def scenario_connections_between_the_daemons_break(tb):
    """All of them at once, three times while files are shipped: the move goes on where it was."""
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-v", "/big"])
    tb.a.docker("exec", "redis1", "dd", "if=/dev/urandom", "of=/big/file", "bs=1M", "count=32")
    process = begin(tb, ["--bandwidth", "5M"])
    cut = ("table ip cut { chain input { type filter hook input priority 0; "
           "tcp sport 7070 reject with tcp reset; }; }")
    for _ in range(3):
        tb.client.exec("sleep", "1.2")
        expect("still shipping", process.poll(), None)
        tb.a.exec("nft", cut)
        tb.client.exec("sleep", "0.3")
        tb.a.exec("nft", "delete table ip cut")
    expect("exit code", process.wait(60), 0)
    expect("runs on", where(tb), ["b"])
    volume = tb.b.inspect("redis1")["Mounts"][0]["Source"]
    expect("size of the file", os.path.getsize(f"{volume}/file"), 32 << 20)
