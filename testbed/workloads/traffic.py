#!/usr/bin/env python3
"""Clients of many kinds; what they see of a migration. None ever connects again by itself.

    traffic.py KIND HOST PORT [--connections N] [--rate BYTES] [--pause SECONDS] [--stall SECONDS]

    http      keep-alive connections that ask nginx for /small again and again and check every response
    download  one connection that asks for /large again and again, compares all bytes, takes RATE bytes a second
    upload    sends content to port 7101 of echo_server.c, RATE bytes per second; at the end the server says what it got
    echo      connections to port 7100 that send numbered messages and check every answer
    udp       numbered datagrams to port 7100, without waiting for the answers
    connect   a new connection to port 7100 for each message (PAUSE between two)

Commands on stdin and answers on stdout as in redis_incr_client.py. `replies` are checked answers (chunks, for streams); the gap
of a window is the longest time for which an answer, a chunk or room to send was awaited. Further totals: bytes (streams),
lost, reordered and twice (udp). `stop` ends streams at the end of the content, unthrottled, and checks the whole of it.
`Traffic` is the same from another Python program.
"""

import argparse
import asyncio
import json
import sys
import time

import pattern
from client_process import ClientProcess

CHUNK = 1 << 16
STRAGGLERS = 1.0  # seconds for the last datagrams to be answered
SMALL = pattern.take(0, 1000)


class Wrong(Exception):
    """An answer that is not the expected one."""


class Load:
    """What all kinds share: totals, windows, and the time that each answer takes. One thread, one loop."""

    def __init__(self, args):
        self.args = args
        self.totals = {"replies": 0, "wrong": 0, "resets": 0, "stalled": 0, "bytes": 0, "error": None, "gaps": []}
        self.windows = {}
        self.pending = {}  # what is awaited -> since when
        self.stopping = asyncio.Event()

    async def awaited(self, operation):
        """The result of an operation that may take `stall` seconds; counts for the windows that it touches."""
        key, start = object(), time.monotonic()
        self.pending[key] = start
        try:
            async with asyncio.timeout(self.args.stall):
                return await operation
        finally:
            del self.pending[key]
            self.account(time.monotonic() - start)

    def account(self, gap):
        for window in self.windows.values():
            window["gap_us"] = max(window["gap_us"], int(gap * 1e6))

    async def guarded(self, index, work):
        """Runs one connection's work to its end and notes how it failed."""
        try:
            await work
        except Wrong as e:
            self.failed("wrong", index, e)
        except TimeoutError:
            self.failed("stalled", index, f"nothing within {self.args.stall} s")
        except (OSError, EOFError) as e:
            self.failed("resets", index, str(e) or type(e).__name__)

    def failed(self, kind, index, why):
        self.totals[kind] += 1
        where = f"connection {index}, after {self.totals['replies']} replies"
        self.totals["error"] = self.totals["error"] or f"{where}: {why}"

    async def pause(self, seconds):
        """Until then, or until the end is near."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            pass

    async def open(self):
        return await self.awaited(asyncio.open_connection(self.args.host, self.args.port, limit=CHUNK))

    async def opened(self):
        """All connections at first; each is then worked on by work(index, connection)."""
        return [await self.open() for _ in range(self.args.connections)]

    async def run(self):
        try:
            connections = await self.opened()
        except OSError as e:  # a time-out too
            self.failed("resets", 0, f"cannot connect: {e or type(e).__name__}")
            answer({"final": True, **self.totals})
            return
        answer({"connected": len(connections)})
        tasks = [asyncio.create_task(self.guarded(i, self.work(i, c))) for i, c in enumerate(connections)]
        await self.obey()
        self.stopping.set()
        await asyncio.gather(*tasks)
        answer({"final": True, **self.totals})

    # --- commands ---

    async def obey(self):
        commands = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while words := (await commands.readline()).decode().split():
            if words == ["stop"]:
                return
            if words == ["stats"]:
                answer(self.totals)
            elif words[:2] == ["mark", "start"]:
                self.windows[words[2]] = {"window": words[2], "gap_us": 0, "replies": self.totals["replies"]}
            elif words[:2] == ["mark", "end"]:
                await self.end_window(words[2])

    async def end_window(self, name):
        """Once everything that is awaited now has come."""
        waiting = set(self.pending)
        while waiting & set(self.pending):
            await asyncio.sleep(0.005)
        window = self.windows.pop(name)
        window["replies"] = self.totals["replies"] - window["replies"]
        self.totals["gaps"].append(window)
        answer(window)


class Http(Load):
    async def work(self, index, connection):
        while not self.stopping.is_set():
            length = await self.ask(connection, "/small")
            body = await self.awaited(connection[0].readexactly(length))
            if body != SMALL:
                raise Wrong(f"/small is {body[:100]!r}...")
            self.totals["replies"] += 1
            await self.pause(self.args.pause)

    async def ask(self, connection, path):
        """The length of the response, whose head has been read."""
        reader, writer = connection
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.args.host}\r\n\r\n".encode())
        head = (await self.awaited(reader.readuntil(b"\r\n\r\n"))).decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        if head[0].split()[1:2] != ["200"] or fields.get("Connection") != "keep-alive":
            raise Wrong(f"answer to GET {path}: {head}")
        return int(fields["Content-Length"])


class Download(Http):
    async def work(self, index, connection):
        pace = Pace(self)
        while not self.stopping.is_set():
            length, offset = await self.ask(connection, "/large"), 0
            while offset < length:
                data = await self.awaited(connection[0].readexactly(min(CHUNK, length - offset)))
                position = pattern.first_difference(data, offset)
                if position is not None:
                    raise Wrong(f"byte {position} of the download")
                offset += len(data)
                self.totals["replies"] += 1
                self.totals["bytes"] += len(data)
                await pace.keep()


class Upload(Load):
    async def work(self, index, connection):
        reader, writer = connection
        pace, sent = Pace(self), 0
        while not self.stopping.is_set():
            writer.write(pattern.take(sent, CHUNK))
            await self.awaited(writer.drain())
            sent += CHUNK
            self.totals["replies"] += 1
            self.totals["bytes"] = sent
            await pace.keep()
        writer.write_eof()
        said = await self.awaited(reader.readline())
        if said.decode() != f"{sent} -1\n":
            raise Wrong(f"sent {sent} bytes; bytes received and the first wrong one: {said!r}")
        if await self.awaited(reader.read()):
            raise Wrong("more than one answer")


class Pace:
    """Holds a stream back to the rate, until it is to end."""

    def __init__(self, load):
        self.load, self.start, self.chunks = load, time.monotonic(), 0

    async def keep(self):
        self.chunks += 1
        if self.load.args.rate and not self.load.stopping.is_set():
            ahead = self.start + self.chunks * CHUNK / self.load.args.rate - time.monotonic()
            if ahead > 0:
                await self.load.pause(ahead)
            elif ahead < -1:
                self.start -= ahead  # what a pause of the server cost is not made up for


class Echo(Load):
    async def work(self, index, connection):
        await self.pause(self.args.pause * index / self.args.connections)
        number = 0
        while not self.stopping.is_set():
            await self.exchange(connection, f"{index} {number}".encode(), 40 if number % 4 else 2000)
            number += 1
            await self.pause(self.args.pause)
        reader, writer = connection
        writer.write_eof()
        if await self.awaited(reader.read()):
            raise Wrong("data after the last answer")

    async def exchange(self, connection, text, size):
        reader, writer = connection
        message = text.ljust(size, b".") + b"\n"
        writer.write(message)
        got = await self.awaited(reader.readexactly(len(message)))
        if got != message:
            raise Wrong(f"answer to '{text.decode()}' is {got[:100]!r}")
        self.totals["replies"] += 1
        self.totals["bytes"] += len(message)


class Connect(Echo):
    async def opened(self):
        return [None] * self.args.connections

    async def work(self, index, connection):
        await self.pause(self.args.pause * index / self.args.connections)
        number = 0
        while not self.stopping.is_set():
            connection = await self.open()
            await self.exchange(connection, f"{index} {number}".encode(), 40)
            connection[1].close()
            number += 1
            await self.pause(self.args.pause)


class Udp(Load, asyncio.DatagramProtocol):
    """Numbers start anew for no one: one socket."""

    def __init__(self, args):
        super().__init__(args)
        self.totals.update(lost=0, reordered=0, twice=0)
        self.unanswered, self.highest, self.last = {}, -1, time.monotonic()

    async def opened(self):
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=(self.args.host, self.args.port))
        return [transport]

    async def work(self, index, transport):
        number = 0
        while not self.stopping.is_set():
            self.unanswered[number] = time.monotonic()
            transport.sendto(b"%d" % number)
            number += 1
            await self.pause(self.args.pause)
        end = time.monotonic() + STRAGGLERS
        while self.unanswered and time.monotonic() < end:
            await asyncio.sleep(0.01)
        self.totals["lost"] = len(self.unanswered)
        if self.unanswered:
            self.totals["error"] = self.totals["error"] or f"lost: {', '.join(ranges(self.unanswered))}"

    def datagram_received(self, data, address):
        number, now = int(data), time.monotonic()
        sent = self.unanswered.pop(number, None)
        if sent is None:
            self.totals["twice"] += 1
            return
        self.account(now - sent)
        self.totals["replies"] += 1
        self.totals["reordered"] += number < self.highest
        self.highest = max(self.highest, number)

    def error_received(self, error):
        self.failed("resets", 0, error)


def ranges(numbers):
    """{1, 2, 3, 7} -> ["1-3", "7-7"]"""
    found = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [f"{first}-{last}" for first, last in found]


KINDS = {"http": Http, "download": Download, "upload": Upload, "echo": Echo, "udp": Udp, "connect": Connect}


def answer(message):
    print(json.dumps(message), flush=True)


async def run(args):
    await KINDS[args.kind](args).run()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--pause", type=float, default=0.01)
    parser.add_argument("--stall", type=float, default=30)
    asyncio.run(run(parser.parse_args()))


class Traffic(ClientProcess):
    """The client as a child process on `machine`, a machine of the testbed."""

    def __init__(self, machine, kind, host, port, stall=30, **options):
        given = [word for name, value in options.items() for word in (f"--{name}", value)]
        super().__init__(machine, [__file__, kind, host, port, "--stall", stall, *given], stall)


if __name__ == "__main__":
    main()
