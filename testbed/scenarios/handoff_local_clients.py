"""Clients that do not come from outside: other containers of the host that the container leaves, and that host itself."""

from common import errors, expect, line_of, move, move_under_load, redis_client, start, stop_all
from host import ContainerNetwork
from shell import Failed, wait_until


def address_of(host, container, network="bridge"):
    return host.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"]


def there_and_back(tb, clients, more):
    """Moves away and home again. more(): clients that connect while the container is away; each kind by itself, so that all
    that fail are named."""
    print(line_of("away", *move_under_load(tb.a, tb.b, "redis1", clients, "away")))
    causes = []
    for name, connect in more.items():
        try:
            client = connect()
            client.wait_for_replies(20)
            clients[f"new {name}"] = client
        except RuntimeError as e:
            causes.append(f"a new client {name} while the container is away: {e}")
    print(line_of("home", *move_under_load(tb.b, tb.a, "redis1", clients, "home")))
    stop_all(clients)
    if causes:
        raise Failed("; ".join(causes))


def run_redis(tb, *options):
    tb.load("redis", "tools")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379", *options])


def scenario_client_in_another_container(tb):
    """On the default bridge, to the container's address."""
    run_redis(tb)
    from_neighbour(tb, "bridge")


def scenario_client_in_another_container_of_a_user_defined_network(tb):
    tb.on_cleanup(lambda: [h.docker("network", "rm", "net1", check=False) for h in tb.hosts])
    tb.load("redis", "tools")
    start(tb)
    tb.a.docker("network", "create", "--subnet", "172.29.0.0/24", "net1")
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379", "--network", "net1", "--ip", "172.29.0.7"])
    from_neighbour(tb, "net1")


def neighbour_of(tb, network):
    options = [] if network == "bridge" else ["--network", network]
    tb.run(tb.a, "neighbour", "tools", "sleep", "1000", options=options)
    return ContainerNetwork(tb.a, "neighbour")


def from_neighbour(tb, network):
    serve(tb, {"to the container's address": (neighbour_of(tb, network), address_of(tb.a, "redis1", network))})


def scenario_clients_on_the_old_host(tb):
    """Through its own address, and through that of the container."""
    run_redis(tb)
    serve(tb, {"to the host's address": (tb.a, tb.a.ip), "to the container's address": (tb.a, address_of(tb.a, "redis1"))})


def scenario_clients_through_dockers_proxy(tb):
    """Where Docker has a process between client and container: 127.0.0.1, and the published port for its neighbours. That
    process ends with the old container, and its connections with it; new ones are relayed, and survive the way home."""
    run_redis(tb)
    serve(tb, {"to 127.0.0.1": (tb.a, "127.0.0.1"),
               "from a neighbour to the published port": (neighbour_of(tb, "bridge"), tb.a.ip)}, before=False)


def scenario_connections_through_dockers_proxy_are_named(tb):
    """They end with the move: the preflight and the result say so, and count nothing else."""
    run_redis(tb)
    outside = redis_client(tb, tb.client, tb.a.ip, key="outside")
    outside.wait_for_replies(20)
    if "docker-proxy" in tb.a.migrate_run("preflight", "redis1", tb.b.peer).stdout:
        raise Failed("the preflight speaks of docker-proxy without a connection through it")
    machines = [(tb.a, "127.0.0.1"), (tb.a, "127.0.0.1"), (neighbour_of(tb, "bridge"), tb.a.ip)]
    ended = [redis_client(tb, machine, address, key=f"proxied-{i}") for i, (machine, address) in enumerate(machines)]
    for client in ended:
        client.wait_for_replies(20)
    said = tb.a.migrate_run("preflight", "redis1", tb.b.peer).stdout
    if "3 connections pass through docker-proxy" not in said:
        raise Failed(f"the preflight says: {said}")
    result = move(tb.a, tb.b, "redis1")
    warned = [text for text in result.get("warnings", []) if "3 connections pass through docker-proxy" in text]
    expect("warnings of docker-proxy", len(warned), 1)
    outside.wait_for_replies(20)
    expect("errors of the client outside", errors(outside.stop()), {})
    for client in ended:
        wait_until(lambda c=client: c.process.poll() is not None, 10, "a client through docker-proxy hears of the end")


def serve(tb, kinds, before=True):
    """`kinds`: name -> machine of the client, and to which address it connects; also before the move away, or only after it."""
    def connect(name, prefix=""):
        machine, address = kinds[name]
        return redis_client(tb, machine, address, key=prefix + name, stall=8)
    clients = {name: connect(name) for name in kinds} if before else {}
    for client in clients.values():
        client.wait_for_replies(50)
    there_and_back(tb, clients, {name: lambda name=name: connect(name, "new ") for name in kinds})
