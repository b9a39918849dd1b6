"""No client waits for a retransmission: twenty moves, measured at the client and in the packets that it got."""

import statistics
import struct
import subprocess
import time
from dataclasses import dataclass

from common import move_under_load, start, stop_all, traffic
from shell import Failed, wait_until

MOVES = 20
ALLOWED_MS = 60  # above the time from freeze to thaw
SETTLE = 0.1     # seconds of traffic before each move
PORT = 7100
TCP_SYN, TCP_RST = 2, 4
MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D  # the kinds of capture files


class Capture:
    """tcpdump in the client's network, and what its file says."""

    def __init__(self, tb, port):
        self.path = tb.workdir / "client.pcap"
        # Each packet at once into the file, with room for what a busy machine makes wait.
        self.process = tb.client.popen("tcpdump", "-i", "eth0", "-n", "-s", "100", "-B", "32768", "-U", "--immediate-mode",
                                       "-Z", "root", "-w", self.path, f"tcp port {port}",
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.port = port
        tb.on_cleanup(self.close)
        wait_until(lambda: self.path.exists() and self.path.stat().st_size >= 24, 10, "tcpdump captures")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.path.unlink(missing_ok=True)

    def finish(self):
        """The packets, and how many the kernel lost for the capture."""
        self.process.terminate()
        said = self.process.communicate(timeout=20)[1]
        lost = next((int(l.split()[0]) for l in said.splitlines() if "dropped by kernel" in l), 0)
        return list(packets_of(self.path.read_bytes(), self.port)), lost


@dataclass
class Packet:
    time: float
    flags: int
    payload: int       # bytes
    from_server: bool
    client_port: int


def packets_of(data, port):
    """The TCP packets of an Ethernet capture."""
    magic, link_type = struct.unpack_from("<I", data)[0], struct.unpack_from("<I", data, 20)[0]
    if magic not in (MICROSECONDS, NANOSECONDS) or link_type != 1:
        raise Failed(f"capture file of an unknown kind: {magic:#x}, link type {link_type}")
    fraction = 1e9 if magic == NANOSECONDS else 1e6
    at = 24
    while at + 16 <= len(data):
        seconds, part, length, _ = struct.unpack_from("<IIII", data, at)
        ip, at = at + 16 + 14, at + 16 + length
        if at > len(data) or length < 54 or data[ip - 2:ip] != b"\x08\x00" or data[ip + 9] != 6:
            continue
        header = (data[ip] & 15) * 4
        total = struct.unpack_from(">H", data, ip + 2)[0]
        source, destination = struct.unpack_from(">HH", data, ip + header)
        payload = total - header - (data[ip + header + 12] >> 4) * 4
        yield Packet(seconds + part / fraction, data[ip + header + 13], payload, source == port,
                     destination if source == port else source)


def waits(packets):
    """(begin, end) of each time that a connection was without an answer: from the first packet with data that the client
    sent, not counting those that it repeats, to the next one of the server."""
    since, found = {}, []
    for packet in packets:
        if not packet.payload:
            continue
        if not packet.from_server:
            since.setdefault(packet.client_port, packet.time)
        elif packet.client_port in since:
            found.append((since.pop(packet.client_port), packet.time))
    return found


def longest(found, begin, end):
    """The longest wait that touches [begin, end], in ms."""
    return max(((until - since) * 1000 for since, until in found if until >= begin and since <= end), default=0)


def scenario_twenty_moves_without_a_timeout(tb):
    """One client always waits for an answer; the connections of the other also send while the container stands still."""
    tb.load("echo")
    start(tb)
    tb.run(tb.a, "echo1", "echo", options=["-p", f"{PORT}:{PORT}"])
    clients = {"busy": traffic(tb, tb.client, "echo", tb.a.ip, PORT, pause=0.001),
               "paced": traffic(tb, tb.client, "echo", tb.a.ip, PORT, connections=40, pause=0.05)}
    capture = Capture(tb, PORT)
    rows, source = [], tb.a
    for number in range(1, MOVES + 1):
        target = tb.peer_of(source)
        time.sleep(SETTLE)
        begin = time.time()
        result, gaps = move_under_load(source, target, "echo1", clients, str(number), replies=100)
        rows.append((result["downtime_ms"], gaps["busy"], gaps["paced"], begin, time.time()))
        source = target
    packets, lost = capture.finish()
    totals = stop_all(clients)
    judge(rows, sum(t["replies"] for t in totals.values()), packets, lost)


def judge(rows, replies, packets, lost):
    found = waits(packets)
    causes = []
    if lost or len(found) < replies / 2:
        causes.append(f"the capture is not whole: {lost} packets lost, {len(found)} answers of {replies}")
    odd = [f"{'RST' if p.flags & TCP_RST else 'SYN'} of the {'server' if p.from_server else 'client'} at {p.time:.3f}"
           for p in packets if p.flags & (TCP_SYN | TCP_RST)]
    if odd:
        causes.append(f"{len(odd)} SYN or RST: {odd[:5]}")
    print("in ms: move  downtime  busy client  paced clients  packets")
    over, claimed = [], []
    for number, (downtime, busy, paced, begin, end) in enumerate(rows, 1):
        on_the_wire = longest(found, begin, end)
        print(f"{number:11}  {downtime:8.1f}  {busy:11.1f}  {paced:13.1f}  {on_the_wire:7.1f}")
        if max(busy, paced, on_the_wire) > downtime + ALLOWED_MS:
            over.append(number)
        # The busy client has always asked when the container is frozen, so it waits for all of that time.
        if busy < downtime - ALLOWED_MS:
            claimed.append(number)
    medians = [statistics.median(column) for column in list(zip(*rows))[:3]]
    print(f"     median  {medians[0]:8.1f}  {medians[1]:11.1f}  {medians[2]:13.1f}")
    if over:
        causes.append(f"in {len(over)} of {len(rows)} moves a client waited more than {ALLOWED_MS} ms longer than the "
                      f"container was frozen: {over}")
    if claimed:
        causes.append(f"in {len(claimed)} moves the downtime that is claimed is longer than any client waited: {claimed}")
    if causes:
        raise Failed("; ".join(causes))


scenario_twenty_moves_without_a_timeout.slow = True
