"""`migrate relay list` and `rm`: what a host does for a container that left it, and the clean end of that."""

import json

import shell
from common import expect, expect_refused, move, redis_client, start
from shell import Failed, wait_until

PROMPT = 5  # seconds; a hang would last for minutes


def relays(host):
    return json.loads(host.migrate_run("-o", "json", "relay", "list", check=True).stdout).get("relays", [])


def ping(tb, host):
    """What a new client gets: PONG, or how it is turned away."""
    done = shell.run(tb.client.enter() + ["redis-cli", "-h", host.ip, "ping"], timeout=PROMPT, check=False)
    return done.stdout.strip() or done.stderr.strip()


def connected(host):
    """Clients that Redis has, but for the one that asks."""
    return len(host.docker("exec", "redis1", "redis-cli", "client", "list").splitlines()) - 1


def begin(tb):
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    client = redis_client(tb, tb.client, tb.a.ip)
    client.wait_for_replies(100)
    return client


def expect_reset(client):
    wait_until(lambda: client.process.poll() is not None, PROMPT, "the client hears of the end")
    try:
        client.stop()
    except RuntimeError:
        pass  # it has ended by itself: it has lost its connection
    if not client.result or not client.result["resets"] or client.result["stalled"]:
        raise Failed(f"the client saw {client.result}")


def expect_no_trace(tb, host):
    left = [line for line in host.exec("ip", "-o", "link").splitlines() if ": mg" in line]
    left += [line for line in host.exec("nft", "list", "tables").splitlines() if "migrate_" in line]
    expect(f"left of the relay on {host.node}", left, [])


def scenario_relay_list_and_removal(tb):
    client = begin(tb)
    expect("relays before the move", relays(tb.a), [])
    move(tb.a, tb.b, "redis1")
    client.wait_for_replies(100)
    (relay,) = relays(tb.a)
    expect("location", relay["location"], tb.b.peer)
    expect("connections", relay["connections"], 1)
    expect("ports", [(p["host_port"], p["container_port"]) for p in relay["ports"]], [(6379, 6379)])
    if "problem" in relay or not relay["since"]:
        raise Failed(f"the relay is described as {relay}")
    overview = json.loads(tb.a.migrate_run("-o", "json", "status", check=True).stdout)
    expect("relays in the overview", [r["id"] for r in overview["relays"]], [relay["id"]])
    for words in (["relay", "list"], ["status"]):
        if relay["id"] not in tb.a.migrate_run(*words, check=True).stdout:
            raise Failed(f"migrate {' '.join(words)} does not show {relay['id']}")

    expect_refused(tb.a, "relay", "rm", "redis1", says=["1 connections", "--force"])
    expect_refused(tb.a, "relay", "rm", "nothing", says=["no relay 'nothing'"])
    client.wait_for_replies(100)
    removed = json.loads(tb.a.migrate_run("-o", "json", "relay", "rm", "redis1", "--force", check=True).stdout)
    expect("warnings", removed.get("warnings", []), [])
    expect("connections ended", removed["connections_ended"], 1)
    expect_reset(client)
    wait_until(lambda: connected(tb.b) == 0, PROMPT, "Redis hears of it as well")
    if "refused" not in ping(tb, tb.a):
        raise Failed(f"the old host answers {ping(tb, tb.a)}")
    expect("the new host answers", ping(tb, tb.b), "PONG")
    expect("relays", relays(tb.a), [])
    expect_no_trace(tb, tb.a)
    # Later moves, and a restart of the container, do not set it up again.
    tb.b.docker("restart", "-t", "1", "redis1")
    move(tb.b, tb.a, "redis1")
    expect("the port is Docker's again", ping(tb, tb.a), "PONG")
    expect("relays", relays(tb.a), [])


def scenario_relay_removal_without_clients(tb):
    """Nothing to force: the id will do. Also of a relay whose container is back at home, with a client of that time."""
    client = begin(tb)
    move(tb.a, tb.b, "redis1")
    client.close()
    wait_until(lambda: not relays(tb.a)[0].get("connections"), PROMPT, "no connections")
    later = redis_client(tb, tb.client, tb.a.ip, key="relayed")
    move(tb.b, tb.a, "redis1")
    later.wait_for_replies(100)
    (home,) = relays(tb.a)
    expect("where the container is", home.get("location", ""), "")
    expect("connections", home["connections"], 1)
    expect_refused(tb.a, "relay", "rm", home["id"], says=["1 connections"])
    tb.a.migrate_run("relay", "rm", home["id"], "--force", check=True)
    expect_reset(later)
    expect("the container is reached all the same", ping(tb, tb.a), "PONG")
    (other,) = relays(tb.b)
    tb.b.migrate_run("relay", "rm", other["id"][:8], check=True)
    for host in tb.hosts:
        expect("relays", relays(host), [])
        expect_no_trace(tb, host)


def scenario_relay_removal_without_the_other_daemon(tb):
    client = begin(tb)
    move(tb.a, tb.b, "redis1")
    client.close()
    wait_until(lambda: not relays(tb.a)[0].get("connections"), PROMPT, "no connections")
    tb.b.stop_daemon()
    expect_refused(tb.a, "relay", "rm", "redis1", says=["cannot be removed", tb.b.peer, "--force"])
    expect("relays", len(relays(tb.a)), 1)
    removed = json.loads(tb.a.migrate_run("-o", "json", "relay", "rm", "redis1", "--force", check=True).stdout)
    if tb.b.peer not in removed["warnings"][0]:
        raise Failed(f"no warning: {removed}")
    if "refused" not in ping(tb, tb.a):
        raise Failed(f"the old host answers {ping(tb, tb.a)}")
    expect_no_trace(tb, tb.a)
    # The container carries its end of the dead relay to the next host, and takes no harm.
    tb.b.start_daemon()
    move(tb.b, tb.a, "redis1")
    expect("the port is Docker's again", ping(tb, tb.a), "PONG")
