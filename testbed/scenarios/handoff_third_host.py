"""Chains of moves over three hosts: clients that came through a host which the container left long ago go on, and that host,
the origin of their relay, may be without its daemon in the meantime."""

import json
import os
import signal
import time
from pathlib import Path

import leftovers
from common import collect, expect, line_of, move, move_under_load, parsed, redis_client, start, stop_all
from handoff_gaps import ALLOWED_MS
from shell import Failed, wait_until

PORT = 6379
NAME = "redis1"
REPAIRED_SECONDS = 30  # after the daemon of the origin is back


def run_redis(tb, faults=None):
    """Three hosts, redis1 on the first. `faults`: host name -> fault points of its daemon."""
    tb.third()
    tb.load("redis")
    start(tb)
    for host in tb.hosts:
        if (faults or {}).get(host.name):
            host.stop_daemon()
            host.start_daemon(faults=faults[host.name])
    tb.run(tb.a, NAME, "redis", options=["-p", f"{PORT}:{PORT}"])
    return tb.a, tb.b, tb.machines["c"]


def client_through(tb, host):
    client = redis_client(tb, tb.client, host.ip, key=f"through-{host.name}", stall=60)
    client.wait_for_replies(50)
    return client


def relays(host):
    """Where each relay of this host leads, by the address of the daemon; "" is this host. All must be in order."""
    listed = json.loads(host.migrate_run("-o", "json", "relay", "list", check=True).stdout).get("relays", [])
    problems = [relay["problem"] for relay in listed if relay.get("problem")]
    expect(f"problems of the relays of {host.node}", problems, [])
    return [relay.get("location", "") for relay in listed]


def expect_relays(tb, at, left):
    """The hosts in `left` lead to the daemon of host `at`, and no other host leads anywhere."""
    for host in tb.hosts:
        expected = [] if host not in left else [""] if host is at else [at.peer]
        expect(f"relays of {host.node} while the container is on {at.node}", relays(host), expected)


def expect_short(label, result, gaps):
    late = {who: gap for who, gap in gaps.items() if gap > result["downtime_ms"] + ALLOWED_MS}
    if late:
        raise Failed(f"{label}: frozen for {result['downtime_ms']:.0f} ms, but clients waited {late}")


def scenario_three_hosts_and_home_again(tb):
    """a -> b -> c -> a, with a client through each host from the time on at which the container was there."""
    hosts = run_redis(tb)
    clients, left = {}, []
    for number, source in enumerate(hosts):
        target = hosts[(number + 1) % len(hosts)]
        clients[f"through {source.name}"] = client_through(tb, source)
        label = f"{source.name} to {target.name}"
        result, gaps = move_under_load(source, target, NAME, clients, label.replace(" ", "-"))
        print(line_of(label, result, gaps))
        expect_short(label, result, gaps)
        expect(f"warnings of {label}", result.get("warnings", []), [])
        left.append(source)
        expect_relays(tb, target, left)
    expect_only_two_tunnels(tb, hosts)
    for host in hosts:
        clients[f"new through {host.name}"] = redis_client(tb, tb.client, host.ip, key=f"new-{host.name}")
        clients[f"new through {host.name}"].wait_for_replies(50)
    stop_all(clients)


def links(network):
    return sorted(link["ifname"] for link in json.loads(network.exec("ip", "-j", "link")) if link["ifname"].startswith("mg"))


def expect_only_two_tunnels(tb, hosts):
    """At home the relay of this host needs none; those of the two others end in the container."""
    from host import ContainerNetwork
    a, b, c = hosts
    inside = links(ContainerNetwork(a, NAME))
    expect("tunnels of host a", links(a), [])
    expect("tunnels of the hosts b and c", sorted(links(b) + links(c)), inside)
    expect("number of tunnels", len(inside), 2)


# --- the origin's daemon is not there ---


def move_without_origin(tb, how, back_after=0.5):
    """b -> c while the daemon of a, through which a client came, is down. It comes back `back_after` seconds later."""
    a, b, c = run_redis(tb)
    clients = {"through a": client_through(tb, a)}
    move(a, b, NAME)
    clients["through b"] = client_through(tb, b)
    a.stop_daemon(how)
    notes = b.migrate_run("preflight", NAME, c.peer).stdout
    if a.node not in notes:
        raise Failed(f"preflight does not name {a.node}: {notes}")
    clients["through b"].mark_start("away")
    result = move(b, c, NAME)
    clients["through b"].wait_for_replies(20)
    gap = clients["through b"].mark_end("away")["gap_us"] / 1000
    print(line_of("b to c", result, {"through b": gap}))
    expect_short("b to c", result, {"through b": gap})
    warned = [text for text in result.get("warnings", []) if a.node in text]
    if len(warned) != 1:
        raise Failed(f"the result does not warn of {a.node}: {result.get('warnings')}")
    print(f"warning: {warned[0]}")
    time.sleep(back_after)
    a.start_daemon()
    began = time.monotonic()
    clients["through a"].wait_for_replies(20, timeout=REPAIRED_SECONDS)
    print(f"the client through a goes on {time.monotonic() - began:.1f} s after the daemon is back")
    expect_relays(tb, c, [a, b])
    print(line_of("home", *move_under_load(c, a, NAME, clients, "home")))
    expect_relays(tb, a, [a, b, c])
    stop_all(clients)


def scenario_origin_without_its_daemon(tb):
    move_without_origin(tb, signal.SIGTERM)


def scenario_origin_whose_daemon_was_killed(tb):
    move_without_origin(tb, signal.SIGKILL)


def scenario_target_restarts_before_the_origin_is_back(tb):
    """Who has to tell the origin is in the journal."""
    a, b, c = run_redis(tb)
    clients = {"through a": client_through(tb, a)}
    move(a, b, NAME)
    a.stop_daemon()
    move(b, c, NAME)
    b.stop_daemon()
    c.stop_daemon(signal.SIGKILL)
    c.start_daemon()
    a.start_daemon()
    clients["through a"].wait_for_replies(20, timeout=REPAIRED_SECONDS)
    b.start_daemon()
    expect_relays(tb, c, [a, b])
    stop_all(clients)


# --- the origin dies, fails or hangs in the middle ---


ORIGIN_POINTS = ("origin-holds-new", "origin-holds", "origin-repointing", "origin-repointed", "origin-releasing")
HANGS_MS = 20_000  # longer than anybody waits for an origin
LONGEST_WAIT_MS = 8000  # two calls that nobody answers, and what TCP adds to it


def at_origin(tb, point, action):
    """b -> c while the daemon of a does `action` at `point`; the client through b must hardly notice."""
    a, b, c = tb.hosts
    tb.run(a, NAME, "redis", options=["-p", f"{PORT}:{PORT}"])
    clients = {"through a": client_through(tb, a)}
    move(a, b, NAME)
    clients["through b"] = client_through(tb, b)
    a.stop_daemon()
    a.start_daemon(faults=f"{point}={action}")
    for client in clients.values():
        client.mark_start(point)
    began = time.monotonic()
    result = move(b, c, NAME)
    took = time.monotonic() - began
    clients["through b"].wait_for_replies(20)
    gap = clients["through b"].mark_end(point)["gap_us"] / 1000
    if f"fault point {point}" not in (a.dir / "migrated.log").read_text():
        raise Failed(f"{point} was not reached")
    (a.dir / "migrated.log").write_text("")
    if action == "kill":
        wait_until(lambda: a.daemon_pid() is None, 5, "the daemon of the origin dies")
        a.start_daemon()
    clients["through a"].wait_for_replies(20, timeout=REPAIRED_SECONDS)
    waited = clients["through a"].mark_end(point)["gap_us"] / 1000
    print(f"{point} {action}: move {took:.1f} s, downtime {result['downtime_ms']:.0f} ms, clients waited {gap:.0f} ms (through "
          f"b), {waited:.0f} ms (through a); warnings {result.get('warnings', [])}")
    if gap > LONGEST_WAIT_MS:
        raise Failed(f"{point} {action}: the client through b waited {gap:.0f} ms for an origin that is not its own")
    wait_until(lambda: relays_settled(a, c), REPAIRED_SECONDS, f"{a.node} leads to {c.node}")
    expect_relays(tb, c, [a, b])
    stop_all(clients)
    for host in tb.hosts:
        host.docker("rm", "-f", "-v", NAME, check=False)
    if action.startswith("wait"):
        a.stop_daemon(signal.SIGKILL)  # its call still hangs
    tb.ensure_daemons()
    collect(tb)


def relays_settled(host, at):
    return relays(host) == [at.peer]


def each_point(tb, action):
    tb.third()
    tb.load("redis")
    start(tb)
    for point in ORIGIN_POINTS:
        at_origin(tb, point, action)


def scenario_origin_dies_during_the_move(tb):
    each_point(tb, "kill")


def scenario_origin_fails_during_the_move(tb):
    each_point(tb, "fail")


def scenario_origin_hangs_during_the_move(tb):
    each_point(tb, f"wait:{HANGS_MS}")


scenario_origin_dies_during_the_move.slow = True
scenario_origin_fails_during_the_move.slow = True
scenario_origin_hangs_during_the_move.slow = True
scenario_origin_hangs_during_the_move.timeout = 300


# --- nothing accumulates ---


MOVES = 10
MEMORY_GROWTH = 30_000_000  # bytes of a daemon in six moves: what the allocator keeps goes up and down by ten millions


def daemon_usage(host):
    pid = host.daemon_pid()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"fds": len(os.listdir(f"/proc/{pid}/fd")), "threads": int(status["Threads"]),
            "bytes": int(status["VmRSS"].split()[0]) * 1024}


def counts(tb):
    """How much there is of each kind on each host; names differ from move to move."""
    found = {}
    for host in tb.hosts:
        for kind, items in leftovers.snapshot(host).items():
            found[f"{kind} on {host.name}"] = len(items)
    return found


def scenario_ten_moves_over_three_hosts(tb):
    """Whatever a lap leaves, the next one leaves no more of it."""
    hosts = run_redis(tb)
    clients, at, seen = {}, 0, {}
    for number in range(1, MOVES + 1):
        source, target = hosts[at], hosts[(at + 1) % 3]
        if number <= 3:
            clients[f"through {source.name}"] = client_through(tb, source)
        result, gaps = move_under_load(source, target, NAME, clients, str(number))
        print(line_of(number, result, gaps))
        at = (at + 1) % 3
        if number in (4, MOVES):  # the container is on b both times
            seen[number] = (settled_counts(tb), {host.name: daemon_usage(host) for host in hosts})
    compare(seen[4], seen[MOVES])
    stop_all(clients)


def settled_counts(tb):
    """Once nothing changes any more."""
    last = [None]

    def settled():
        before, last[0] = last[0], counts(tb)
        return last[0] == before
    wait_until(settled, 20, "the hosts come to rest", pause=1)
    return last[0]


def compare(early, late):
    grown = [f"{kind}: {early[0].get(kind, 0)} -> {number}" for kind, number in late[0].items()
             if number > early[0].get(kind, 0)]
    for host, usage in late[1].items():
        before = early[1][host]
        print(f"daemon of {host}: {before} -> {usage}")
        for what, allowed in (("fds", 4), ("threads", 8), ("bytes", MEMORY_GROWTH)):
            if usage[what] > before[what] + allowed:
                grown.append(f"{what} of the daemon of {host}: {before[what]} -> {usage[what]}")
    if grown:
        raise Failed("more after ten moves than after four: " + "; ".join(grown))


scenario_ten_moves_over_three_hosts.timeout = 240
scenario_ten_moves_over_three_hosts.slow = True
