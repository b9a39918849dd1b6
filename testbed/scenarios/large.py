"""The container's size shows in the time, not in the memory of the daemons."""

import sys
from pathlib import Path

from common import move, start
from redis_incr_client import Client
from shell import Failed

MEGABYTES = 512
# Values that do not compress, or zstd would make it small.
FILL = """
import os, socket, sys
with socket.create_connection((sys.argv[1], 6379)) as redis:
    for i in range(int(sys.argv[2])):
        key = b"key:%d" % i
        redis.sendall(b"*3\\r\\n$3\\r\\nSET\\r\\n$%d\\r\\n%s\\r\\n$1000000\\r\\n%s\\r\\n" % (len(key), key, os.urandom(1000000)))
        assert redis.recv(5) == b"+OK\\r\\n"
"""
LIMIT = 180  # of resident memory: 100 MB beyond the stream windows on either side


def peak_megabytes(host):
    for line in Path(f"/proc/{host.daemon_pid()}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise Failed("no VmHWM")


def scenario_large(tb):
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    tb.client.exec(sys.executable, "-c", FILL, tb.a.ip, MEGABYTES, timeout=60)
    client = Client(tb.client, tb.a.ip, 6379)
    tb.on_cleanup(client.close)
    client.wait_for_replies(100)
    with client.window("move") as window:
        result = move(tb.a, tb.b, "redis1")
        client.wait_for_replies(100)
    totals = client.stop()
    if totals["wrong"] or totals["resets"] or totals["stalled"]:
        raise Failed(f"the client saw errors: {totals}")
    peaks = {host.node: round(peak_megabytes(host)) for host in tb.hosts}
    print(f"{MEGABYTES} MB: gap {window['gap_us'] / 1000:.0f} ms, downtime {result['downtime_ms']:.0f} ms, frozen "
          f"{int(result['frozen_time_us']) / 1000:.0f} ms, shipped {int(result['transferred_bytes']) / 1e6:.0f} MB, "
          f"peak memory in MB {peaks}")
    if max(peaks.values()) > LIMIT:
        raise Failed(f"a daemon used {peaks} MB, the limit is {LIMIT}")


scenario_large.timeout = 240
