"""Connections that are not simply established and idle when the container moves: half-closed, with data that nobody has
read or that does not fit into the other side, waiting to be accepted, with urgent data.

The server is echo_server.c, which accepts, reads and writes only when it is told so; the clients are sockets of this
process in the client's network. All data is compared, byte by byte.
"""

import socket
import threading
import time

import pattern
from common import expect, move, start
from line_client import Lines
from namespace_socket import connect
from shell import Failed, wait_until

MANAGED, CONTROL = 7102, 7103
MUCH = 8 << 20          # more than fits into the sockets of both sides
LARGE_BUFFER = 4 << 20  # a window that needs scaling


class Server:
    """The program in the container, through the port of the host where it was started."""

    def __init__(self, tb):
        tb.load("echo")
        start(tb)
        tb.run(tb.a, "echo1", "echo", options=["-p", f"{MANAGED}:{MANAGED}", "-p", f"{CONTROL}:{CONTROL}"])
        self.tb = tb
        self.control = Lines(tb.client, tb.a.ip, CONTROL)
        tb.on_cleanup(self.control.close)

    def tell(self, *words):
        line = " ".join(map(str, words))
        answer = self.control.ask(line)
        if answer.startswith(("error", "lost")):
            raise Failed(f"{line}: {answer}")
        return answer

    def connect(self, receive_buffer=0):
        sock = connect(self.tb.client, self.tb.a.ip, MANAGED, receive_buffer=receive_buffer)
        self.tb.on_cleanup(sock.close)
        return sock

    def connection(self, receive_buffer=0):
        """Both ends of a new connection: the client's socket, and how the server calls it."""
        sock = self.connect(receive_buffer)
        return sock, int(self.tell("accept", 1).split()[1])

    def move(self, source):
        print(f"downtime {move(source, self.tb.peer_of(source), 'echo1')['downtime_ms']:.0f} ms")

    def expect_read(self, name, count, end):
        """The server reads exactly this much, all of it right."""
        wanted = count + 1 if end == "eof" else count
        expect(f"read by the server ({end})", self.tell("read", name, wanted), f"read {count} -1 {end}")

    def expect_state(self, name, state):
        wait_until(lambda: self.tell("state", name).split()[1] == state, 5, f"{state} at the server")


def send_all_that_fits(sock):
    """Until both the receive queue of the other side and the own send queue are full; how much that was."""
    sock.setblocking(False)
    sent, refused = 0, time.monotonic()
    while time.monotonic() - refused < 0.3:
        try:
            sent += sock.send(pattern.take(sent, 1 << 16))
            refused = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        if sent > 64 * MUCH:
            raise Failed("there is no end to what fits into the connection")
    sock.settimeout(20)
    return sent


def expect_received(sock, count, offset=0, end=False):
    """The client reads exactly this much, all of it right, and then the end if there is to be one."""
    at = offset
    while at < offset + count:
        data = sock.recv(min(1 << 16, offset + count - at))
        if not data:
            raise Failed(f"the client got {at - offset} bytes of {count} and then the end")
        wrong = pattern.first_difference(data, at)
        if wrong is not None:
            raise Failed(f"byte {wrong} that the client got is wrong")
        at += len(data)
    if end and sock.recv(1):
        raise Failed("the client got more than the server had sent")


class HalfClosedByClient:
    """The server has not read yet, and answers only after the move."""

    amount = 30_000

    def before(self, server):
        self.sock, self.name = server.connection()
        self.sock.sendall(pattern.take(0, self.amount))
        self.sock.shutdown(socket.SHUT_WR)
        server.expect_state(self.name, "CLOSE_WAIT")

    def after(self, server):
        server.expect_read(self.name, self.amount, "eof")
        server.tell("write", self.name, 20_000)
        server.tell("close", self.name)
        expect_received(self.sock, 20_000, end=True)


class HalfClosedAfterMuch(HalfClosedByClient):
    """So much that the FIN is sent more than once, after which connection tracking takes the connection for closed."""

    amount = 100_000


class HalfClosedByServer:
    """The client sends on after the move."""

    def before(self, server):
        self.sock, self.name = server.connection()
        server.tell("write", self.name, 20_000)
        server.tell("end", self.name)
        server.expect_state(self.name, "FIN_WAIT2")

    def after(self, server):
        self.sock.sendall(pattern.take(0, 20_000))
        server.expect_read(self.name, 20_000, "open")
        expect_received(self.sock, 20_000, end=True)
        self.sock.close()
        server.expect_read(self.name, 0, "eof")
        server.tell("close", self.name)


class HalfClosedByBoth:
    """Over for TCP, but the server's socket is still open, with data that it has not read."""

    def before(self, server):
        self.sock, self.name = server.connection()
        self.sock.sendall(pattern.take(0, 10_000))
        self.sock.shutdown(socket.SHUT_WR)
        server.expect_state(self.name, "CLOSE_WAIT")
        server.tell("end", self.name)
        server.expect_state(self.name, "CLOSE")

    def after(self, server):
        server.expect_read(self.name, 10_000, "eof")
        server.tell("close", self.name)
        expect_received(self.sock, 0, end=True)


class Unread:
    """The server does not read: its receive queue is full, the window closed."""

    def before(self, server):
        self.sock, self.name = server.connection()
        self.sent = send_all_that_fits(self.sock)

    def after(self, server):
        server.expect_read(self.name, self.sent, "open")
        self.sock.sendall(pattern.take(self.sent, 1000))
        server.expect_read(self.name, 1000, "open")
        self.sock.close()


class Unsent:
    """The client does not read: the server's send queue is full."""

    def before(self, server):
        self.sock, self.name = server.connection()
        self.written = fill(server, self.name)

    def after(self, server):
        expect_received(self.sock, self.written)
        server.tell("write", self.name, 1000)
        expect_received(self.sock, 1000, offset=self.written)
        self.sock.close()


class UnsentEnd:
    """As Unsent, and the FIN waits behind the data."""

    def before(self, server):
        self.sock, self.name = server.connection()
        self.written = fill(server, self.name)
        server.tell("end", self.name)
        server.expect_state(self.name, "FIN_WAIT1")

    def after(self, server):
        expect_received(self.sock, self.written, end=True)
        self.sock.sendall(pattern.take(0, 1000))
        server.expect_read(self.name, 1000, "open")
        self.sock.close()


class FullBothWays:
    def before(self, server):
        self.sock, self.name = server.connection()
        self.written = fill(server, self.name)
        self.sent = send_all_that_fits(self.sock)

    def after(self, server):
        server.expect_read(self.name, self.sent, "open")
        expect_received(self.sock, self.written)
        self.sock.close()


class LargeWindow:
    """More in flight than fits into a window without scaling, and the same scaling after the move."""

    def before(self, server):
        self.sock, self.name = server.connection(LARGE_BUFFER)
        self.written = fill(server, self.name)
        self.scale = self.scale_of(server)
        if "0" in self.scale or self.written < LARGE_BUFFER / 2:
            raise Failed(f"no large window: scale {self.scale}, {self.written} bytes fit")

    def scale_of(self, server):
        return server.tell("state", self.name).split("scale ")[1].split()

    def after(self, server):
        expect("window scaling", self.scale_of(server), self.scale)
        expect_received(self.sock, self.written)
        sent = send_all_that_fits(self.sock)
        server.expect_read(self.name, sent, "open")
        self.sock.close()


def fill(server, name):
    """The server writes until neither its send queue nor the client's receive queue takes any more."""
    written, idle = 0, 0
    while idle < 5:
        count = int(server.tell("write", name, MUCH).split()[1])
        written += count
        idle = 0 if count else idle + 1
        time.sleep(0.03)
    return written


STATES = [HalfClosedByClient, HalfClosedByServer, HalfClosedByBoth, Unread, Unsent, UnsentEnd, FullBothWays, LargeWindow]


def through_a_move(server, source, kinds):
    """Sets up a connection of each kind, moves, and checks each; returns what is wrong."""
    causes = []

    def attempt(state, step):
        try:
            step(server)
            return True
        except (Failed, OSError) as e:
            causes.append(f"{type(state).__name__}, from {source.node}, {step.__name__}: {e}")
            return False

    states = [kind() for kind in kinds]
    states = [state for state in states if attempt(state, state.before)]
    server.move(source)
    for state in states:
        attempt(state, state.after)
    return causes


def scenario_half_closed_and_queued_data(tb):
    """Away, and the same with connections made through the relay on the way home."""
    server = Server(tb)
    # So much fits into the receive queue only without the tunnel.
    causes = through_a_move(server, tb.a, [*STATES, HalfClosedAfterMuch])
    causes += through_a_move(server, tb.b, STATES)
    print(f"{len(STATES)} states: {', '.join(kind.__name__ for kind in STATES)}")
    if causes:
        raise Failed("; ".join(causes))


def refused(tb, says):
    """A move that fails with this reason and leaves everything as it was."""
    done = tb.a.migrate_run("--quiet", "echo1", tb.b.peer)
    if done.returncode not in (3, 5) or says not in done.stderr:
        raise Failed(f"exit code {done.returncode}, expected 3 or 5 and '{says}': {done.stderr}")
    expect("runs at the source", (tb.a.is_running("echo1"), tb.b.is_running("echo1")), (True, False))


def moves(server):
    try:
        server.move(server.tb.a)
        return True
    except Failed as e:
        print(e)
        return False


def connections_in_the_backlog(server):
    """Three that wait to be accepted: without data, with data, and half-closed by the client."""
    waiting = [server.connect() for _ in range(3)]
    waiting[1].sendall(pattern.take(0, 3000))
    waiting[2].sendall(pattern.take(0, 500))
    waiting[2].shutdown(socket.SHUT_WR)
    wait_until(lambda: server.tell("queued") == "queued 3", 5, "three connections in the queue")
    return waiting


def check_accepted(server, waiting, names):
    server.expect_read(names[1], 3000, "open")
    server.expect_read(names[2], 500, "eof")
    for sock, name in zip(waiting, names):
        server.tell("write", name, 2000)
        expect_received(sock, 2000)
    waiting[0].sendall(pattern.take(0, 10))
    server.expect_read(names[0], 10, "open")


def scenario_connections_that_wait_to_be_accepted(tb):
    """By a program that does not accept at all: either they go along, or the move is refused and they are unharmed."""
    server = Server(tb)
    waiting = connections_in_the_backlog(server)
    if not moves(server):
        refused(tb, "wait to be accepted")
    check_accepted(server, waiting, server.tell("accept", 3).split()[1:])
    late, name = server.connection()
    server.tell("write", name, 10)
    expect_received(late, 10)


def scenario_slow_acceptor(tb):
    """By a program that takes 0.3 s for each: the move has to find its moment."""
    server = Server(tb)
    waiting = connections_in_the_backlog(server)
    names = []

    def accept_slowly():
        for _ in range(3):
            time.sleep(0.3)
            names.append(server.tell("accept", 1).split()[1])
    acceptor = threading.Thread(target=accept_slowly)
    acceptor.start()
    server.move(tb.a)
    acceptor.join(30)
    expect("accepted", len(names), 3)
    check_accepted(server, waiting, names)


def scenario_closed_with_unsent_data(tb):
    """The program has closed the connection, and the kernel still owes the client most of the data: the move waits while
    the client takes it. No process has such a connection any more, so it cannot go along."""
    server = Server(tb)
    sock, name = server.connection()
    written = fill(server, name)
    server.tell("close", name)
    result = []

    def read_late():
        try:
            time.sleep(0.4)
            expect_received(sock, written, end=True)
        except (Failed, OSError) as e:
            result.append(e)
    reader = threading.Thread(target=read_late)
    reader.start()
    server.move(tb.a)
    reader.join(30)
    if result:
        raise Failed(f"the client: {result[0]}")


def scenario_urgent_data(tb):
    """An urgent byte that has arrived and was not read either goes along, or the move is refused and it is still there.
    Once it has been read the move succeeds, and urgent data goes on working."""
    server = Server(tb)
    sock, name = server.connection()

    def send_urgent(offset):
        sock.sendall(pattern.take(offset, 1000))
        sock.send(b"!", socket.MSG_OOB)
        sock.sendall(pattern.take(offset + 1000, 1000))
        # The count ends where the urgent byte is.
        wait_until(lambda: server.tell("state", name).split()[3] == "1000", 5, "the data has arrived")
        time.sleep(0.1)

    def receive_urgent():
        # In this order: reading past the urgent byte discards it.
        expect("urgent", server.tell("urgent", name), "urgent !")
        server.expect_read(name, 2000, "open")
    send_urgent(0)
    if moves(server):
        receive_urgent()
    else:
        refused(tb, "urgent data")
        receive_urgent()
        server.move(tb.a)
    send_urgent(2000)
    receive_urgent()
