"""One of the two hosts is gone for good at the worst moment: nothing runs twice, and `migrate resolve` ends the doubt."""

import json
import signal
import subprocess

from common import errors, expect, expect_refused, redis_client, start
from handoff_local_clients import neighbour_of
from handoff_modes import ADDRESS, open_host, same_network
from shell import Failed, wait_until

PATIENCE = 300  # of the client; it is many seconds in doubt
NO_LONGER = ("--run-here", "--peer-is-gone")


def begin(tb, faults_a="", faults_b=""):
    """A Redis on a, a client that never stops, and a move of which a fault makes a doubt."""
    tb.load("redis")
    start(tb)
    for host, faults in ((tb.a, faults_a), (tb.b, faults_b)):
        host.stop_daemon()
        host.start_daemon(faults=faults)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    client = redis_client(tb, tb.client, tb.a.ip, stall=PATIENCE)
    client.wait_for_replies(100)
    return client


def move_process(tb, *options):
    process = tb.a.popen(tb.build / "bin/migrate", "--socket", tb.a.control_socket, "--quiet", *options, "redis1", tb.b.peer,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tb.on_cleanup(lambda: (process.kill(), process.communicate()))
    return process


def newest(host):
    """Migrations of earlier scenarios are in the journal as well."""
    return json.loads(host.migrate_run("-o", "json", "list", check=True).stdout)["migrations"][-1]


def wait_for_doubt(host):
    wait_until(lambda: newest(host).get("outcome") == "OUTCOME_IN_DOUBT", 90, f"in doubt on {host.node}")
    listed = host.migrate_run("list", check=True).stdout
    identity = newest(host)["id"]
    for text in ("in doubt since", f"migrate resolve {identity} --run-here", f"migrate resolve {identity} --end-here"):
        if text not in listed:
            raise Failed(f"'{text}' is not in the list: {listed}")
    return identity


def running_tasks(host, name):
    """Tasks of the container that are not stopped."""
    if not host.is_running(name):
        return 0
    pids = [line.split()[0] for line in host.docker("top", name, "-eo", "pid").splitlines()[1:]]
    states = [host.exec("ps", "-o", "stat=", "-p", pid, check=False).strip() for pid in pids]
    return sum(1 for state in states if state and state[0] not in "TtZ")


def containers(host):
    return host.docker("ps", "-a", "--format", "{{.Names}}").split()


def expect_fine(client):
    client.wait_for_replies(100, timeout=90)
    expect("errors of the client", errors(client.stop()), {})


def scenario_in_doubt_the_target_is_gone(tb):
    """The target dies with the commit in its hands and nothing done: the operator lets the source go on. When the target
    comes back, it learns of it."""
    tb.load("tools")
    client = begin(tb, faults_b="target-committed=kill")
    address = tb.a.inspect("redis1")["NetworkSettings"]["IPAddress"]
    neighbour = redis_client(tb, neighbour_of(tb, "bridge"), address, key="neighbour", stall=PATIENCE)
    neighbour.wait_for_replies(20)
    process = move_process(tb)
    said, _ = process.communicate(timeout=90)
    expect("exit code", process.returncode, 7)
    if "in doubt" not in said or "--run-here" not in said:
        raise Failed(f"the command said {said}")
    identity = wait_for_doubt(tb.a)
    expect("daemon of the target", tb.b.daemon_pid(), None)
    # A restart of the daemon changes nothing: it is in doubt at once.
    tb.a.stop_daemon(signal.SIGKILL)
    tb.a.start_daemon()
    wait_until(lambda: newest(tb.a).get("outcome") == "OUTCOME_IN_DOUBT", 10, "still in doubt")
    expect_refused(tb.a, "resolve", identity, "--run-here", says=["--peer-is-gone", "does not run on"])
    expect_refused(tb.a, "abort", identity, says=["commit point"])
    expect("a verdict too many", tb.a.migrate_run("resolve", identity, "--run-here", "--end-here").returncode, 2)
    resolved = tb.a.migrate_run("resolve", identity, *NO_LONGER, check=True).stdout
    if "runs here" not in resolved:
        raise Failed(f"resolve said {resolved}")
    expect("outcome", newest(tb.a)["outcome"], "OUTCOME_ABORTED")
    client.wait_for_replies(100, timeout=90)
    expect_fine(neighbour)
    tb.a.docker("rm", "-f", "neighbour")
    expect("relays", json.loads(tb.a.migrate_run("-o", "json", "relay", "list", check=True).stdout).get("relays", []), [])
    expect("garbage", json.loads(tb.a.migrate_run("-o", "json", "gc", check=True).stdout).get("items", []), [])
    # The other host comes back, with a replica that it was told to let run.
    tb.b.start_daemon()
    wait_until(lambda: newest(tb.b).get("outcome") == "OUTCOME_ROLLED_BACK", 60, "undone at the target")
    expect("containers at the target", containers(tb.b), [])
    expect("containers at the source", containers(tb.a), ["redis1"])
    # And the container can move, as if nothing had been.
    tb.a.migrate_run("redis1", tb.b.peer, check=True)
    expect_fine(client)


scenario_in_doubt_the_target_is_gone.timeout = 300


def scenario_in_doubt_in_address_mode(tb):
    """What leads the address away at the commit is taken back with it: for clients of the address from outside, from a
    neighbour, from the host itself, and for one of the published port."""
    same_network(tb)
    tb.b.stop_daemon()
    tb.b.start_daemon(faults="target-committed=kill")
    open_host(tb, tb.a)
    tb.client.exec("ip", "route", "add", f"{ADDRESS}/32", "via", tb.a.ip)
    tb.on_cleanup(lambda: tb.client.exec("ip", "route", "del", f"{ADDRESS}/32", check=False))
    places = {"routed": (tb.client, ADDRESS), "old host": (tb.a, ADDRESS), "neighbour": (neighbour_of(tb, "net1"), ADDRESS),
              "port": (tb.client, tb.a.ip)}
    clients = {who: redis_client(tb, machine, host, key=who.replace(" ", ""), stall=PATIENCE)
               for who, (machine, host) in places.items()}
    for client in clients.values():
        client.wait_for_replies(20)
    process = move_process(tb, "--network=address")
    process.communicate(timeout=90)
    expect("exit code", process.returncode, 7)
    tb.a.migrate_run("resolve", wait_for_doubt(tb.a), *NO_LONGER, check=True)
    for client in clients.values():
        expect_fine(client)
    expect("relays", json.loads(tb.a.migrate_run("-o", "json", "relay", "list", check=True).stdout).get("relays", []), [])
    expect("garbage", json.loads(tb.a.migrate_run("-o", "json", "gc", check=True).stdout).get("items", []), [])
    tb.b.start_daemon()
    wait_until(lambda: newest(tb.b).get("outcome") == "OUTCOME_ROLLED_BACK", 60, "undone at the target")


scenario_in_doubt_in_address_mode.timeout = 240


def scenario_in_doubt_the_target_answers(tb):
    """No word of the operator is taken while the other daemon answers: the doubt ends by itself."""
    client = begin(tb, faults_b="target-committed=kill")
    process = move_process(tb)
    process.communicate(timeout=90)
    expect("exit code", process.returncode, 7)
    identity = wait_for_doubt(tb.a)
    watch = tb.a.popen(tb.build / "bin/migrate", "--socket", tb.a.control_socket, "--quiet", "status", "--watch", identity,
                       stdout=subprocess.DEVNULL)
    tb.on_cleanup(lambda: (watch.kill(), watch.wait()))
    tb.b.start_daemon()
    expect_refused(tb.a, "resolve", identity, *NO_LONGER)
    expect("exit code of the watch", watch.wait(90), 0)
    wait_until(lambda: containers(tb.b) == ["redis1"] and running_tasks(tb.b, "redis1") > 0, 30, "live at the target")
    expect("outcome", newest(tb.a)["outcome"], "OUTCOME_MOVED")
    expect("runs at the source", tb.a.is_running("redis1"), False)
    expect_fine(client)


scenario_in_doubt_the_target_answers.timeout = 240


def scenario_in_doubt_the_source_copy_is_ended(tb):
    """--end-here at the source: the copy there is fenced at once; the target goes live when it is back."""
    client = begin(tb, faults_b="target-committed=kill")
    process = move_process(tb)
    process.communicate(timeout=90)
    identity = wait_for_doubt(tb.a)
    tb.a.migrate_run("resolve", identity, "--end-here", "--peer-is-gone", check=True)
    expect("runs at the source", [name for name in containers(tb.a) if tb.a.is_running(name)], [])
    migration = newest(tb.a)
    expect("outcome", migration["outcome"], "OUTCOME_MOVED")
    if "never confirmed" not in " ".join(migration.get("warnings", [])):
        raise Failed(f"no warning: {migration}")
    tb.b.start_daemon()
    wait_until(lambda: running_tasks(tb.b, "redis1") > 0, 60, "live at the target")
    expect_fine(client)


scenario_in_doubt_the_source_copy_is_ended.timeout = 240


def scenario_in_doubt_the_source_is_gone(tb):
    """The source's host dies with the target prepared: the operator of the target lets the replica run. When the source
    comes back, with its container running again, it finds out and ends that one."""
    client = begin(tb, faults_a="before-commit=kill")
    process = move_process(tb)
    process.communicate(timeout=90)
    tb.a.docker("kill", "redis1")  # the host is gone, and all on it
    expect("tasks that run at the target", running_tasks(tb.b, "redis1"), 0)
    identity = wait_for_doubt(tb.b)
    expect_refused(tb.b, "resolve", identity, "--run-here", says=["--peer-is-gone"])
    tb.b.migrate_run("resolve", identity, *NO_LONGER, check=True)
    wait_until(lambda: running_tasks(tb.b, "redis1") > 0, 30, "live at the target")
    later = redis_client(tb, tb.client, tb.b.ip)  # on a host of its own: the port is published there as well
    later.wait_for_replies(100)
    expect("outcome", newest(tb.b)["outcome"], "OUTCOME_MOVED")
    client.close()
    # The host comes back, and its engine starts the container anew.
    tb.a.docker("start", "redis1")
    tb.a.start_daemon()
    wait_until(lambda: newest(tb.a).get("outcome") == "OUTCOME_MOVED", 60, "the source has ended its copy")
    expect("runs at the source", [name for name in containers(tb.a) if tb.a.is_running(name)], [])
    if "target" not in newest(tb.a)["resolution"] and tb.b.peer not in newest(tb.a)["resolution"]:
        raise Failed(f"not explained: {newest(tb.a)}")
    expect_fine(later)


scenario_in_doubt_the_source_is_gone.timeout = 240


def scenario_in_doubt_the_replica_is_ended(tb):
    """--end-here at the target: its replica is removed, the source has gone on all the time."""
    client = begin(tb, faults_a="before-commit=kill")
    process = move_process(tb)
    process.communicate(timeout=90)
    identity = wait_for_doubt(tb.b)
    tb.b.migrate_run("resolve", identity, "--end-here", "--peer-is-gone", check=True)
    expect("containers at the target", containers(tb.b), [])
    tb.a.start_daemon()
    expect_fine(client)
    wait_until(lambda: newest(tb.a).get("outcome") == "OUTCOME_ROLLED_BACK", 60, "undone at the source")


scenario_in_doubt_the_replica_is_ended.timeout = 240


def scenario_in_doubt_no_more_the_replica_is_lost(tb):
    """The replica ends between commit and hand-off, before it ran: the target says so, and the source goes on by itself."""
    client = begin(tb, faults_b="target-committed=wait:3000")
    process = move_process(tb)
    wait_until(lambda: "cutover" in tb.b.migrate_run("list").stdout, 60, "the target is told")
    tb.b.docker("kill", "redis1")
    said, _ = process.communicate(timeout=90)
    expect("exit code", process.returncode, 5)
    if "never ran" not in said:
        raise Failed(f"the command said {said}")
    expect("containers at the target", containers(tb.b), [])
    expect_fine(client)


scenario_in_doubt_no_more_the_replica_is_lost.timeout = 240
