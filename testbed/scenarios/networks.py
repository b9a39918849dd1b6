"""A user-defined network with a fixed address, outbound connections, and new connections through the old host."""

import re
import subprocess

from common import expect, line_of, move, move_under_load, redis_client, start, stop_all
from handoff_local_clients import neighbour_of
from host import ContainerNetwork
from line_client import Lines
from redis_incr_client import Client
from shell import Failed, wait_until


def scenario_user_defined_network(tb):
    tb.load("redis")
    tb.on_cleanup(lambda: [h.docker("network", "rm", "net1", check=False) for h in tb.hosts])
    start(tb)
    tb.a.docker("network", "create", "--subnet", "172.29.0.0/24", "net1")
    tb.run(tb.a, "redis1", "redis",
           options=["-p", "6379:6379", "--network", "net1", "--ip", "172.29.0.7", "--network-alias", "cache"])
    client = Client(tb.client, tb.a.ip, 6379)
    tb.on_cleanup(client.close)
    client.wait_for_replies(100)
    move(tb.a, tb.b, "redis1")
    client.wait_for_replies(100)
    network = tb.b.inspect("redis1")["NetworkSettings"]["Networks"]["net1"]
    expect("address", network["IPAddress"], "172.29.0.7")
    if "cache" not in network["Aliases"]:
        raise Failed(f"aliases: {network['Aliases']}")
    totals = client.stop()
    expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))


def scenario_several_networks(tb):
    """One client in each network of the container, at its address there, and one of the published port; all go on."""
    tb.load("redis", "tools")
    nets = {"net1": "172.29.0", "net2": "172.29.1"}
    tb.on_cleanup(lambda: [h.docker("network", "rm", net, check=False) for h in tb.hosts for net in nets])
    start(tb)
    for net, prefix in nets.items():
        tb.a.docker("network", "create", "--subnet", f"{prefix}.0/24", net)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379", "--network", "net1", "--ip", f"{nets['net1']}.7"])
    tb.a.docker("network", "connect", "--ip", f"{nets['net2']}.7", "net2", "redis1")
    clients = {"port": redis_client(tb, tb.client, tb.a.ip)}
    for net, prefix in nets.items():
        tb.run(tb.a, f"in-{net}", "tools", "sleep", "1000", options=["--network", net])
        clients[net] = redis_client(tb, ContainerNetwork(tb.a, f"in-{net}"), f"{prefix}.7", key=net)
    source = tb.a
    for number in range(1, 4):
        target = tb.peer_of(source)
        print(line_of(number, *move_under_load(source, target, "redis1", clients, str(number))))
        found = {net: at["IPAddress"] for net, at in target.inspect("redis1")["NetworkSettings"]["Networks"].items()}
        expect("addresses", found, {net: f"{prefix}.7" for net, prefix in nets.items()})
        source = target
    stop_all(clients)


def scenario_new_connections_after_a_move(tb):
    """Through the port of the old host (relay) and through that of the new one; all survive the way back."""
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    clients = [Client(tb.client, tb.a.ip, 6379, key="first")]
    tb.on_cleanup(lambda: [client.close() for client in clients])
    clients[0].wait_for_replies(100)
    move(tb.a, tb.b, "redis1")
    clients.append(Client(tb.client, tb.a.ip, 6379, key="relayed"))
    clients.append(Client(tb.client, tb.b.ip, 6379, key="direct"))
    for client in clients:
        client.wait_for_replies(100)
    move(tb.b, tb.a, "redis1")
    for client in clients:
        client.wait_for_replies(100)
    move(tb.a, tb.b, "redis1")
    for client in clients:
        client.wait_for_replies(100)
        totals = client.stop()
        expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))


def scenario_connection_that_the_container_made(tb):
    """An outbound connection, masqueraded by the first host, goes on there and back."""
    tb.load("redis")
    start(tb)
    server = tb.client.popen("redis-server", "--port", "7777", "--save", "", "--protected-mode", "no",
                             stdout=subprocess.DEVNULL)
    tb.on_cleanup(lambda: (server.kill(), server.wait()))
    ask = ("redis-cli", "-p", "7777")
    wait_until(lambda: tb.client.exec(*ask, "ping", check=False).strip() == "PONG", 10, "redis-server of the client")
    tb.run(tb.a, "subscriber", "redis", "redis-cli", "-h", tb.client.ip, "-p", "7777", "subscribe", "news")
    source = tb.a
    for text in ("before", "after-the-first-move", "after-the-second-move"):
        wait_until(lambda: tb.client.exec(*ask, "publish", "news", text).strip() == "1", 10, "one subscriber")
        wait_until(lambda: text in source.docker("logs", "subscriber"), 10, f"'{text}' in the container")
        target = tb.peer_of(source)
        move(source, target, "subscriber")
        source = target
    clients = [line for line in tb.client.exec(*ask, "client", "list").splitlines() if "cmd=subscribe" in line]
    expect("subscribers at the server", len(clients), 1)


def scenario_no_network(tb):
    tb.load("tools")
    start(tb)
    tb.run(tb.a, "offline", "tools", "/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done",
           options=["--network", "none"])
    tb.client.exec("sleep", "0.5")
    move(tb.a, tb.b, "offline")
    tb.client.exec("sleep", "0.5")
    numbers = [int(line) for line in tb.b.docker("logs", "offline").splitlines()]
    expect("what it counted", numbers, list(range(1, len(numbers) + 1)))
    move(tb.b, tb.a, "offline")


def scenario_another_container_gets_the_address(tb):
    """Docker gives the address of the container that left to the next one; nobody's connection suffers."""
    tb.load("redis", "probe", "tools")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    address = tb.a.inspect("redis1")["NetworkSettings"]["IPAddress"]
    client = Client(tb.client, tb.a.ip, 6379)
    tb.on_cleanup(client.close)
    client.wait_for_replies(100)
    move(tb.a, tb.b, "redis1")
    tb.run(tb.a, "probe1", "probe", options=["-p", "7000:7000"])
    expect("address of the next container", tb.a.inspect("probe1")["NetworkSettings"]["IPAddress"], address)
    lines = Lines(tb.client, tb.a.ip, 7000)
    tb.on_cleanup(lines.close)
    expect("the next container", lines.ask("check"), "ok 0")
    for machine in (tb.a, neighbour_of(tb, "bridge")):
        direct = Lines(machine, address, 7000)
        tb.on_cleanup(direct.close)
        if not direct.ask("check").startswith("ok"):
            raise Failed("somebody else answers under the next container's address")
    client.wait_for_replies(100)
    totals = client.stop()
    expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))


def scenario_relay_after_stop_and_start(tb):
    """`docker stop` and `start` at the target: new clients still come in through the old host, also after its daemons'
    restart, and until the container moves home."""
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    move(tb.a, tb.b, "redis1")
    tb.b.docker("stop", "-t", "5", "redis1")
    tb.b.docker("start", "redis1")
    for key in ("started", "restarted"):
        client = Client(tb.client, tb.a.ip, 6379, key=key)
        tb.on_cleanup(client.close)
        client.wait_for_replies(20)
        totals = client.stop()
        expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))
        tb.b.stop_daemon()
        tb.b.start_daemon()
        tb.b.docker("restart", "-t", "5", "redis1")
    client = Client(tb.client, tb.a.ip, 6379, key="home")
    tb.on_cleanup(client.close)
    client.wait_for_replies(20)
    move(tb.b, tb.a, "redis1")
    client.wait_for_replies(20)
    totals = client.stop()
    expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))


def scenario_network_with_ipv6(tb):
    """The container keeps its IPv6 address, under which new connections reach it at the target, and its IPv4 clients."""
    tb.load("redis", "tools")
    tb.on_cleanup(lambda: [h.docker("network", "rm", "net6", check=False) for h in tb.hosts])
    start(tb)
    tb.a.docker("network", "create", "--ipv6", "--subnet", "172.29.6.0/24", "--subnet", "fd00:29:6::/64", "net6")
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379", "--network", "net6", "--ip6", "fd00:29:6::7"])
    four = Client(tb.client, tb.a.ip, 6379, key="four")
    tb.on_cleanup(four.close)
    four.wait_for_replies(20)
    move(tb.a, tb.b, "redis1")
    expect("address", tb.b.inspect("redis1")["NetworkSettings"]["Networks"]["net6"]["GlobalIPv6Address"], "fd00:29:6::7")
    tb.run(tb.b, "neighbour", "tools", "sleep", "1000", options=["--network", "net6"])
    six = Client(ContainerNetwork(tb.b, "neighbour"), "fd00:29:6::7", 6379, key="six")
    tb.on_cleanup(six.close)
    for client in (four, six):
        client.wait_for_replies(20)
        totals = client.stop()
        expect("errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))


def segment_sizes(host):
    """Of the established connections in the container's network, as its kernel would send now."""
    pid = str(host.inspect("redis1")["State"]["Pid"])
    shown = host.exec("nsenter", "-t", pid, "--net", "ss", "-tin", "state", "established")
    return sorted(int(size) for size in re.findall(r"\bmss:(\d+)", shown))


def scenario_segments_keep_their_size(tb):
    """CRIU leaves restored connections with segments of 524 bytes."""
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    client = Client(tb.client, tb.a.ip, 6379)
    tb.on_cleanup(client.close)
    client.wait_for_replies(20)
    before = segment_sizes(tb.a)
    expect("connections", len(before), 1)
    for source in (tb.a, tb.b):
        move(source, tb.peer_of(source), "redis1")
        client.wait_for_replies(20)
        expect("segment sizes", segment_sizes(tb.peer_of(source)), before)
