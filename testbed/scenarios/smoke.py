"""Nothing migrates here: these prove that the testbed itself is sound."""

from line_client import Lines
from redis_incr_client import Client
from shell import Failed


def scenario_smoke_redis_on_both_hosts(tb):
    """Plain `docker run` on each host, live clients from the third machine, no error and no leftovers."""
    tb.load("redis")
    for host in tb.hosts:
        tb.run(host, f"redis-{host.name}", "redis", options=["-p", "6379:6379"])
    clients = []
    for host in tb.hosts:
        client = Client(tb.client, host.ip, 6379)
        tb.on_cleanup(client.close)
        clients.append(client)
    for client in clients:
        with client.window("calm") as calm:
            client.wait_for_replies(200)
        if calm["gap_us"] <= 0:
            raise Failed(f"the client measured nothing: {calm}")
    for host, client in zip(tb.hosts, clients):
        totals = client.stop()
        if totals["wrong"] or totals["resets"] or totals["stalled"] or totals["replies"] < 200:
            raise Failed(f"client of {host.name}: {totals}")
        stored = host.docker("exec", f"redis-{host.name}", "redis-cli", "get", "counter")
        if int(stored) != totals["last"]:
            raise Failed(f"{host.name} has {stored}, the client saw {totals['last']}")


def scenario_smoke_client_sees_a_pause(tb):
    """The client's gap is that of a container which stands still for a known time."""
    tb.load("redis")
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    client = Client(tb.client, tb.a.ip, 6379)
    tb.on_cleanup(client.close)
    with client.window("pause") as pause:
        tb.a.docker("pause", "redis1")
        tb.client.exec("sleep", "0.3")
        tb.a.docker("unpause", "redis1")
    if not 300_000 <= pause["gap_us"] < 2_000_000:
        raise Failed(f"paused for 0.3 s and a bit, measured {pause}")
    tb.a.docker("rm", "-f", "redis1")
    totals = client.stop()
    if totals["resets"] != 1:
        raise Failed(f"the container was removed and the client did not notice: {totals}")


def scenario_smoke_probe(tb):
    """The probe holds all of its kernel objects while nothing happens, with and without a terminal."""
    tb.load("probe")
    for name, port, options in (("probe-tty", 7001, ["-t"]), ("probe-plain", 7002, [])):
        tb.run(tb.b, name, "probe", options=["-p", f"{port}:7000", *options])
        lines = Lines(tb.client, tb.b.ip, port)
        tb.on_cleanup(lines.close)
        for expected in ("ok 0", "ok 1"):
            answer = lines.ask("check")
            if answer != expected:
                raise Failed(f"{name}: {answer}")


def scenario_smoke_leftovers_are_found(tb):
    """The check for leftovers sees one of each kind, and a clean host as clean."""
    before = tb.snapshot()
    if tb.leftovers(before):
        raise Failed(f"nothing was done, and yet: {tb.leftovers(before)}")
    a = tb.a
    undo = [("nft", "delete", "table", "inet", "migrate_x"), ("ip", "link", "del", "mg-x"),
            ("ip", "rule", "del", "fwmark", "0x77", "table", "77"), ("ip", "route", "del", "192.0.2.0/24"),
            ("umount", a.dir / "exec"), ("docker", "-H", f"unix://{a.docker_socket}", "volume", "rm", "left")]
    for command in undo:
        tb.on_cleanup(lambda c=command: a.exec(*c))
    a.exec("nft", "add", "table", "inet", "migrate_x")
    a.exec("ip", "link", "add", "mg-x", "type", "bridge")
    a.exec("ip", "rule", "add", "fwmark", "0x77", "table", "77")
    a.exec("ip", "route", "add", "blackhole", "192.0.2.0/24")
    a.exec("mount", "--bind", a.dir / "exec", a.dir / "exec")
    a.docker("volume", "create", "left")
    sleeper = a.popen("sleep", "60")
    tb.on_cleanup(lambda: (sleeper.kill(), sleeper.wait()))
    found = tb.leftovers(before, timeout=0)
    for kind in ("nft rule: table inet migrate_x", "link: mg-x", "ip rule:", "route: blackhole 192.0.2.0/24", "mount:",
                 "volume: left", "process:"):
        if not any(line.startswith(f"host a: {kind}") for line in found):
            raise Failed(f"'{kind}' was not found among {found}")
