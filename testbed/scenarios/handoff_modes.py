"""The other two ways to lead clients to the new place: the container's address moves, or the admin's program is told."""

import json

from common import errors, expect, expect_refused, line_of, migrate, move_under_load, redis_client, start
from handoff_local_clients import neighbour_of
from shell import Failed

ADDRESS = "172.29.0.7"
ALLOWED_MS = 500  # above the frozen time: less than a second retransmission


def same_network(tb, *options):
    """The same user-defined network on both hosts, to which the client's machine has a route by host a only."""
    tb.load("redis", "tools")
    tb.on_cleanup(lambda: [h.docker("network", "rm", "net1", check=False) for h in tb.hosts])
    start(tb)
    for host in tb.hosts:
        host.docker("network", "create", "--subnet", "172.29.0.0/24", *options, "net1")
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379", "--network", "net1", "--ip", ADDRESS])


def open_host(tb, host):
    """As a site does that routes to its containers: Docker's firewall lets packets for them pass."""
    rule = ["DOCKER-USER", "-d", ADDRESS, "-j", "ACCEPT"]
    host.exec("iptables", "-I", *rule)
    tb.on_cleanup(lambda: host.exec("iptables", "-D", *rule, check=False))


def scenario_address_mode(tb):
    """A client that knows the container's own address, a neighbour, the old host itself, and one of the published port."""
    same_network(tb)
    open_host(tb, tb.a)
    tb.client.exec("ip", "route", "add", f"{ADDRESS}/32", "via", tb.a.ip)
    tb.on_cleanup(lambda: tb.client.exec("ip", "route", "del", f"{ADDRESS}/32", check=False))
    clients = {"routed": redis_client(tb, tb.client, ADDRESS, key="routed"), "old host": redis_client(tb, tb.a, ADDRESS, key="host"),
               "neighbour": redis_client(tb, neighbour_of(tb, "net1"), ADDRESS, key="neighbour"),
               "published port": redis_client(tb, tb.client, tb.a.ip, key="port")}
    for client in clients.values():
        client.wait_for_replies(20)
    source = tb.a
    for number in range(1, 5):
        target = tb.peer_of(source)
        result, gaps = move_under_load(source, target, "redis1", clients, f"{number}", options=["--network=address"])
        print(line_of(f"{number}", result, gaps))
        late = {who: gap for who, gap in gaps.items() if gap > result["downtime_ms"] + ALLOWED_MS}
        expect(f"clients that waited long in move {number}", late, {})
        address = target.inspect("redis1")["NetworkSettings"]["Networks"]["net1"]["IPAddress"]
        expect("address at the target", address, ADDRESS)
        clients[f"new {number}"] = redis_client(tb, tb.client, ADDRESS, key=f"new{number}")
        clients[f"new {number}"].wait_for_replies(20)
        source = target
    for who, client in clients.items():
        expect(f"errors of {who}", errors(client.stop()), {})


def scenario_address_mode_is_refused_where_it_cannot_work(tb):
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis")
    expect_refused(tb.a, "--network=address", "redis1", tb.b.peer, says=["network bridge", "--network=relay"])


def scenario_hook_mode(tb):
    """The hook is told the facts; one that fails is a warning, and the container has moved all the same."""
    tb.load("redis")
    hook, told = tb.a.dir / "hook", tb.a.dir / "hook-told"
    hook.write_text(f"#!/bin/sh\nenv | grep ^MIGRATE_ | sort > {told}\ntest \"$MIGRATE_CONTAINER\" != unlucky\n")
    hook.chmod(0o700)
    tb.on_cleanup(lambda: (hook.unlink(), told.unlink(missing_ok=True)))
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    expect_refused(tb.a, "--network=hook", "redis1", tb.b.peer, says=["hand_off.hook"])
    tb.a.stop_daemon()
    tb.a.start_daemon(hand_off={"hook": str(hook)})
    clients = {"client": redis_client(tb, tb.client, tb.a.ip)}
    clients["client"].wait_for_replies(20)
    move_under_load(tb.a, tb.b, "redis1", clients, "away", options=["--network=hook"])
    facts = dict(line.split("=", 1) for line in told.read_text().splitlines())
    expect("what the hook was told", [facts["MIGRATE_CONTAINER"], facts["MIGRATE_TARGET"], facts["MIGRATE_PORTS"]],
           ["redis1", tb.b.peer, "tcp:0.0.0.0:6379:6379"])
    tb.run(tb.a, "unlucky", "redis")
    result = json.loads(migrate(tb.a, "--json", "--quiet", "--network=hook", "unlucky", tb.b.peer))
    if not any("exit code 1" in warning for warning in result.get("warnings", [])):
        raise Failed(f"no warning of the hook: {result}")
