"""nginx and an upload: keep-alive connections, and transfers in both directions that are under way while the server moves."""

from common import line_of, move_under_load, start, stop_all, traffic

MOVES = 4
RATE = 12_000_000  # slow enough for a download of 64 MiB to go on over several moves


def scenario_nginx_keepalive_and_download(tb):
    """Every response and every byte is compared; the upload goes to a second container, which moves as well."""
    tb.load("nginx", "echo")
    start(tb)
    tb.run(tb.a, "web", "nginx", options=["-p", "8080:80"])
    tb.run(tb.a, "sink", "echo", options=["-p", "7101:7101"])
    web = {"keep-alive": traffic(tb, tb.client, "http", tb.a.ip, 8080, connections=20, pause=0.05),
           "download": traffic(tb, tb.client, "download", tb.a.ip, 8080, rate=RATE)}
    sink = {"upload": traffic(tb, tb.client, "upload", tb.a.ip, 7101, rate=RATE)}
    source = tb.a
    for number in range(1, MOVES + 1):
        target = tb.peer_of(source)
        for name, clients in (("web", web), ("sink", sink)):
            print(line_of(f"{number} of {name}", *move_under_load(source, target, name, clients, str(number))))
        source = target
    totals = stop_all({**web, **sink})
    print(", ".join(f"{name}: {t['replies']} replies, {t['bytes'] >> 20} MiB" for name, t in totals.items()))


scenario_nginx_keepalive_and_download.slow = True
