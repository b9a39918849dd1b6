"""The main case: a Redis that a client never stops using moves to the other host and back, again and again."""

from common import move, start
from redis_incr_client import Client
from shell import Failed

ROUNDS = 5  # there and back


def scenario_redis_back_and_forth(tb):
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    client = Client(tb.client, tb.a.ip, 6379)
    tb.on_cleanup(client.close)
    client.wait_for_replies(100)

    source, gaps = tb.a, []
    for number in range(1, 2 * ROUNDS + 1):
        target = tb.peer_of(source)
        with client.window(number) as window:
            move(source, target, "redis1")
            client.wait_for_replies(100)
        gaps.append(window["gap_us"])
        source = target

    totals = client.stop()
    print("gaps in ms: " + " ".join(f"{gap / 1000:.1f}" for gap in gaps))
    if totals["wrong"] or totals["resets"] or totals["stalled"]:
        raise Failed(f"the client saw errors: {totals}")
    stored = int(source.docker("exec", "redis1", "redis-cli", "get", "counter"))
    if stored != totals["last"]:
        raise Failed(f"redis has {stored}, the client saw {totals['last']}")
    left = [host.docker("ps", "-a", "--format", "{{.Names}}").split() for host in tb.hosts]
    if any(len(names) > 1 for names in left):
        raise Failed(f"containers pile up: {left}")


scenario_redis_back_and_forth.timeout = 240
