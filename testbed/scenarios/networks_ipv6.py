"""Connections over IPv6, and over IPv4 beside them, of a container in a network that has both: they live through moves as
those of IPv4 do. By default Docker 20.10 neither filters nor translates IPv6; with its option ip6tables it does both."""

import subprocess

from common import errors, expect, line_of, move, move_under_load, redis_client, start, stop_all
from handoff_local_clients import neighbour_of
from shell import Failed, wait_until

NET = "net6"
ADDRESS = "172.29.6.7"
ADDRESS6 = "fd00:29:6::7"
NETWORK6 = "fd00:29:6::/64"
SUBNETS = ["--ipv6", "--subnet", "172.29.6.0/24", "--subnet", NETWORK6]
PORT = 6379
ALLOWED_MS = 500  # above the frozen time: less than it takes to verify an address, or a second retransmission


def run_redis(tb, hosts=None):
    """redis1 on host a, in a network with IPv6, which also exists on the other `hosts`; the client's machine has a route to it."""
    tb.load("redis", "tools")
    tb.on_cleanup(lambda: [h.docker("network", "rm", NET, check=False) for h in tb.hosts])
    start(tb)
    for host in hosts or [tb.a]:
        host.docker("network", "create", *SUBNETS, NET)
    tb.run(tb.a, "redis1", "redis", options=["-p", f"{PORT}:{PORT}", "--network", NET, "--ip", ADDRESS, "--ip6", ADDRESS6])


def route_to_the_network(tb):
    tb.client.exec("ip", "-6", "route", "add", NETWORK6, "via", tb.a.ip6)
    tb.on_cleanup(lambda: tb.client.exec("ip", "-6", "route", "del", NETWORK6, check=False))


def connect_all(tb, ends, prefix=""):
    """`ends`: name -> machine, address. A client for each, which has got answers."""
    clients = {}
    for name, (machine, address) in ends.items():
        clients[prefix + name] = redis_client(tb, machine, address, PORT, key=(prefix + name).replace(" ", "-"))
        clients[prefix + name].wait_for_replies(20)
    return clients


def there_and_back_and_there(tb, clients, more, options=()):
    """a -> b -> a -> b. `more`: what connects after each move as well. Each move waits until every client has answers."""
    source = tb.a
    for number in range(1, 4):
        target = tb.peer_of(source)
        result, gaps = move_under_load(source, target, "redis1", clients, str(number), options=options)
        print(line_of(number, result, gaps))
        late = {who: gap for who, gap in gaps.items() if gap > result["downtime_ms"] + ALLOWED_MS}
        if late:
            raise Failed(f"move {number}: frozen for {result['downtime_ms']:.0f} ms, but clients waited {late}")
        expect(f"warnings of move {number}", result.get("warnings", []), [])
        expect("address", target.inspect("redis1")["NetworkSettings"]["Networks"][NET]["GlobalIPv6Address"], ADDRESS6)
        clients |= connect_all(tb, more(target), prefix=f"after {number} ")
        source = target
    stop_all(clients)


def direct_ends(tb):
    """Those that know the container's own address."""
    neighbour = neighbour_of(tb, NET)
    return {"neighbour": (neighbour, ADDRESS6), "neighbour IPv4": (neighbour, ADDRESS), "old host": (tb.a, ADDRESS6),
            "routed": (tb.client, ADDRESS6), "port IPv4": (tb.client, tb.a.ip)}


def scenario_ipv6_connections_live_on(tb):
    """Docker as it is by default. While the container is away the ports of the old host are open over IPv6 as well; at home
    Docker's proxy would be in between, whose connections end."""
    run_redis(tb)
    route_to_the_network(tb)
    ends = direct_ends(tb)
    there_and_back_and_there(tb, connect_all(tb, ends),
                             lambda at: {**ends, "port": (tb.client, tb.a.ip6)} if at is tb.b else ends)


def scenario_ipv6_loopback_of_the_old_host(tb):
    """[::1]:PORT reaches the container while it is away. Such a connection ends, for both ends to see, when it comes home,
    since this kernel's br_netfilter keeps the answers out; others go on."""
    run_redis(tb)
    move(tb.a, tb.b, "redis1")
    loopback = connect_all(tb, {"::1": (tb.a, "::1")})["::1"]
    other = connect_all(tb, {"port": (tb.client, tb.a.ip6)})["port"]
    move(tb.b, tb.a, "redis1")
    other.wait_for_replies(20)
    expect("errors of the other", errors(other.stop()), {})
    wait_until(lambda: loopback.process.poll() is not None, 10, "the client of ::1 hears of the end")
    wait_until(lambda: "::1" not in tb.a.docker("exec", "redis1", "redis-cli", "client", "list"), 10, "so does redis")


def scenario_ipv6_through_dockers_proxy_is_named(tb):
    run_redis(tb)
    proxied = redis_client(tb, tb.client, tb.a.ip6)
    proxied.wait_for_replies(20)
    said = tb.a.migrate_run("preflight", "redis1", tb.b.peer).stdout
    if "1 connection passes through docker-proxy" not in said:
        raise Failed(f"the preflight says: {said}")
    warned = [text for text in move(tb.a, tb.b, "redis1").get("warnings", []) if "docker-proxy" in text]
    expect("warnings of docker-proxy", len(warned), 1)
    wait_until(lambda: proxied.process.poll() is not None, 10, "the client hears of the end")


def translate_ipv6(tb):
    """Restarts Docker with its option ip6tables. Afterwards what it made of it goes away."""
    def restart(options):
        for host in tb.hosts:
            host.docker_options = options
            host.restart_docker()

    def restore():
        restart({})
        for host in tb.hosts:
            for table in ("filter", "nat", "raw", "mangle"):
                host.exec("nft", "delete", "table", "ip6", table, check=False)
    tb.on_cleanup(restore)
    restart({"experimental": True, "ip6tables": True})


def scenario_ipv6_ports_that_docker_translates(tb):
    """With ip6tables a published port needs no proxy: a connection to the old host's IPv6 address lives on."""
    translate_ipv6(tb)
    run_redis(tb)
    neighbour = neighbour_of(tb, NET)
    ends = {"port": (tb.client, tb.a.ip6), "port IPv4": (tb.client, tb.a.ip), "neighbour": (neighbour, ADDRESS6),
            "neighbour IPv4": (neighbour, ADDRESS), "old host": (tb.a, ADDRESS6)}
    there_and_back_and_there(tb, connect_all(tb, ends), lambda at: ends)


def scenario_ipv6_connection_that_the_container_made(tb):
    """An outgoing one, which Docker does not masquerade."""
    run_redis(tb)
    route_to_the_network(tb)
    server = tb.client.popen("redis-server", "--port", "7777", "--save", "", "--protected-mode", "no", "--bind", "::",
                             stdout=subprocess.DEVNULL)
    tb.on_cleanup(lambda: (server.kill(), server.wait()))
    ask = ("redis-cli", "-h", "::1", "-p", "7777")
    wait_until(lambda: tb.client.exec(*ask, "ping", check=False).strip() == "PONG", 10, "redis-server of the client")
    tb.run(tb.a, "subscriber", "redis", "redis-cli", "-h", tb.client.ip6, "-p", "7777", "subscribe", "news",
           options=["--network", NET])
    source = tb.a
    for text in ("before", "one", "two", "three"):
        wait_until(lambda: tb.client.exec(*ask, "publish", "news", text).strip() == "1", 10, "one subscriber")
        wait_until(lambda: text in source.docker("logs", "subscriber"), 10, f"'{text}' in the container")
        if text != "three":
            target = tb.peer_of(source)
            move(source, target, "subscriber")
            source = target


def scenario_ipv6_in_address_mode(tb):
    """The container's own address moves: whoever has a route to it, a neighbour, and the old host. The daemons call each other
    by names, which have addresses of both kinds."""
    run_redis(tb, hosts=tb.hosts)
    for host in tb.hosts:
        tb.on_cleanup(lambda host=host, peer=host.peer: setattr(host, "peer", peer))
        host.stop_daemon()
        host.start_daemon(listen={"advertise": f"{host.name}.test:7070"})
        host.peer = f"{host.name}.test:7070"
    route_to_the_network(tb)
    ends = direct_ends(tb)
    there_and_back_and_there(tb, connect_all(tb, ends), lambda at: {"routed": ends["routed"]}, options=["--network=address"])


def scenario_ipv6_over_three_hosts(tb):
    """a -> b -> c -> a: each origin leads both kinds of connections on."""
    tb.third()
    run_redis(tb)
    route_to_the_network(tb)
    hosts = [tb.a, tb.b, tb.machines["c"]]
    clients = connect_all(tb, direct_ends(tb))
    for number, source in enumerate(hosts):
        target = hosts[(number + 1) % 3]
        result, gaps = move_under_load(source, target, "redis1", clients, str(number))
        print(line_of(number, result, gaps))
        expect(f"warnings of move {number}", result.get("warnings", []), [])
        if target is not tb.a:
            clients |= connect_all(tb, {"port": (tb.client, tb.a.ip6)}, prefix=f"after {number} ")
    stop_all(clients)
