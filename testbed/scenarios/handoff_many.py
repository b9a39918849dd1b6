"""Many connections at once, datagrams, and connections that are made while the container moves."""

from common import line_of, move_under_load, start, stop_all, traffic
from shell import Failed

CONNECTIONS = 500
ALLOWED_MS = 150  # above the downtime; a retransmission costs at least 200, a lost SYN 1000


def there_and_back(tb, clients, moves=2):
    source, worst = tb.a, 0
    for number in range(1, moves + 1):
        target = tb.peer_of(source)
        result, gaps = move_under_load(source, target, "echo1", clients, str(number))
        print(line_of(number, result, gaps))
        worst = max(worst, max(gaps.values()) - result["downtime_ms"])
        source = target
    totals = stop_all(clients)
    if worst > ALLOWED_MS:
        raise Failed(f"a client waited {worst:.0f} ms longer than the container was frozen")
    return totals


def run_echo(tb, *ports):
    tb.load("echo")
    start(tb)
    tb.run(tb.a, "echo1", "echo", options=[word for port in ports for word in ("-p", f"{port}:{port}")])


def scenario_five_hundred_connections(tb):
    run_echo(tb, "7100")
    clients = {f"{CONNECTIONS} connections":
               traffic(tb, tb.client, "echo", tb.a.ip, 7100, connections=CONNECTIONS, pause=0.25)}
    for client in clients.values():
        client.wait_for_replies(2 * CONNECTIONS)
    totals = there_and_back(tb, clients)
    print(f"{totals[f'{CONNECTIONS} connections']['replies']} messages answered")


def scenario_udp_echo(tb):
    """No datagram is lost, answered twice or overtaken; so few that those of the pause fit into the socket's buffer."""
    tb.load("echo")
    start(tb)
    tb.run(tb.a, "echo1", "echo", options=["-p", "7100:7100/udp"])
    totals = there_and_back(tb, {"udp": traffic(tb, tb.client, "udp", tb.a.ip, 7100, pause=0.02)}, moves=4)
    print(f"{totals['udp']['replies']} datagrams answered")


def scenario_connections_made_while_it_moves(tb):
    """Ten clients, each of which makes a new connection for each message."""
    run_echo(tb, "7100")
    there_and_back(tb, {"new connections": traffic(tb, tb.client, "connect", tb.a.ip, 7100, connections=10, pause=0.05)})
