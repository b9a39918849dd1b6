"""What scenarios that migrate share."""

import json

from redis_incr_client import Client
from shell import Failed
from traffic import Traffic
from twohosts import migrate


def start(tb):
    """Fresh daemons on both hosts; what moves leave on purpose (relays, stopped containers) is removed afterwards."""
    tb.on_cleanup(lambda: [host.stop_daemon() for host in tb.hosts])
    tb.on_cleanup(lambda: collect(tb))
    for host in tb.hosts:
        host.stop_daemon()
        host.start_daemon()


def collect(tb):
    for host in tb.hosts:
        if host.daemon_pid():
            migrate(host, "gc", "--remove", "--moved")


def move(source, target, name, *options):
    """The result of a move that must succeed, as a dictionary."""
    done = source.migrate_run("--json", "--quiet", *options, name, target.peer)
    result = parsed(done.stdout)
    if done.returncode or result.get("outcome") != "OUTCOME_MOVED":
        why = result.get("failure", {}).get("message") or done.stderr.strip()
        raise Failed(f"{name} to {target.node}: exit code {done.returncode}, {result.get('outcome')}: {why}")
    expect_moved(name, source, target)
    return result


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return {}


def expect_moved(name, source, target):
    if not target.is_running(name):
        raise Failed(f"{name} does not run on {target.node}")
    if source.is_running(name):
        raise Failed(f"{name} still runs on {source.node} as well")


def expect(what, actual, expected):
    if actual != expected:
        raise Failed(f"{what}: {actual!r}, expected {expected!r}")


def expect_refused(source, *args, code=3, says=()):
    """`migrate ARGS` fails with this exit code and one line that contains all of `says`."""
    done = source.migrate_run("--quiet", *args)
    if done.returncode != code:
        raise Failed(f"migrate {' '.join(map(str, args))}: exit code {done.returncode}, expected {code}: {done.stderr}")
    first = done.stderr.splitlines()[0] if done.stderr else ""
    missing = [text for text in says if text.lower() not in first.lower()]
    if missing:
        raise Failed(f"migrate {' '.join(map(str, args))}: {missing} not in the first line: {done.stderr}")


def traffic(tb, machine, kind, host, port, **options):
    """A client of traffic.py that ends with the scenario."""
    client = Traffic(machine, kind, host, port, **options)
    tb.on_cleanup(client.close)
    return client


def redis_client(tb, machine, host, port=6379, **options):
    client = Client(machine, host, port, **options)
    tb.on_cleanup(client.close)
    return client


def errors(totals):
    """What a client has to complain about, {} if nothing."""
    kinds = ("wrong", "resets", "stalled", "lost", "reordered", "twice")
    found = {kind: totals[kind] for kind in kinds if totals.get(kind)}
    return {**found, "error": totals["error"]} if found else {}


def stop_all(clients):
    """Ends the clients, given by name, and fails if any of them saw an error; returns their totals."""
    totals, causes = {}, []
    for name, client in clients.items():
        try:
            totals[name] = client.stop()
        except RuntimeError as e:
            totals[name] = client.result or {}
            causes.append(f"{name}: {e}")
            continue
        if errors(totals[name]):
            causes.append(f"{name}: {errors(totals[name])}")
    if causes:
        raise Failed("clients saw errors: " + "; ".join(causes))
    return totals


def move_under_load(source, target, name, clients, label, replies=20, options=()):
    """Moves while each client has a window open, and waits until each has got answers again. Returns the result of the move
    and the gap that each client saw, in ms."""
    for client in clients.values():
        client.mark_start(label)
    result = move(source, target, name, *options)
    gaps = {}
    for who, client in clients.items():
        try:
            client.wait_for_replies(replies)
            gaps[who] = client.mark_end(label)["gap_us"] / 1000
        except RuntimeError as e:
            raise Failed(f"{who} after move {label}: {e}") from e
    return result, gaps


def line_of(label, result, gaps):
    return (f"move {label}: downtime {result['downtime_ms']:.0f} ms, the clients waited "
            + ", ".join(f"{gap:.0f} ms ({who})" for who, gap in gaps.items()))
