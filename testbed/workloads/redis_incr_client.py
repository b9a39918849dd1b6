#!/usr/bin/env python3
"""INCR on one connection, without pause, that never reconnects: what a client sees of a migration.

    redis_incr_client.py HOST PORT [--key K] [--stall SECONDS]

Each reply must be the previous one plus one. Commands on stdin, answers as one JSON object per line on stdout:

    mark start NAME    a window begins; its gap is the longest time between two replies that touches it
    mark end NAME      answered with {"window": NAME, "gap_us", "replies", ...}, after the next reply
    stats              answered with the totals so far
    stop               (or end of input) totals, and the program ends

In the totals: replies, wrong (unexpected values), resets (the connection was lost, for which `error` has the reason),
stalled (no reply within --stall seconds, which also ends the run), reconnects (always 0), gaps (finished windows) and
longest (the longest gaps of all, with the time since the start).
`Client` is the same from another Python program; it runs this file on a machine of the testbed.
"""

import argparse
import heapq
import json
import queue
import socket
import sys
import threading
import time

from client_process import ClientProcess

LONGEST_KEPT = 10


class Window:
    def __init__(self, name, now, replies):
        self.name, self.start, self.first_reply = name, now, replies
        self.longest, self.longest_at, self.ending = 0, now, False

    def summary(self, now, replies, origin):
        return {"window": self.name, "gap_us": self.longest // 1000, "replies": replies - self.first_reply,
                "length_us": (now - self.start) // 1000, "gap_at_us": (self.longest_at - origin) // 1000}


class Incrementer:
    """Owns the connection. run() is the only user of it; other threads only put into `commands`."""

    def __init__(self, host, port, key, stall):
        self.host, self.port, self.stall = host, port, stall
        self.request = b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(key), key.encode())
        self.commands = queue.SimpleQueue()
        self.windows = []
        self.longest = []
        self.totals = {"replies": 0, "wrong": 0, "resets": 0, "stalled": 0, "reconnects": 0, "first": None,
                       "last": None, "error": None, "gaps": []}

    def run(self):
        self.origin = self.last = time.monotonic_ns()
        try:
            self.sock = socket.create_connection((self.host, self.port), timeout=self.stall)
        except OSError as e:
            self._lost("resets", f"cannot connect: {e}")
            answer(self.summary(), final=True)
            return
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.origin = self.last = time.monotonic_ns()
        answer({"connected": f"{self.host}:{self.port}", "local": "%s:%d" % self.sock.getsockname()[:2]})
        try:
            while self._obey():
                self._one()
        except TimeoutError:
            self._lost("stalled", f"no reply within {self.stall} s")
        except OSError as e:
            self._lost("resets", str(e))
        answer(self.summary(), final=True)

    def _lost(self, counter, why):
        self.totals[counter] += 1
        self.totals["error"] = f"after {self.totals['replies']} replies: {why}"
        self._account(time.monotonic_ns())
        for window in self.windows:
            self.totals["gaps"].append({**self._summary_of(window), "lost": True})

    def _one(self):
        self.sock.sendall(self.request)
        line = self.sock.recv(4096)
        while not line.endswith(b"\r\n"):
            more = self.sock.recv(4096)
            if not line + more or not more:
                raise ConnectionResetError("closed by the server")
            line += more
        self._account(time.monotonic_ns())
        self._verify(line)

    def _verify(self, line):
        totals = self.totals
        totals["replies"] += 1
        try:
            value = int(line[1:]) if line[:1] == b":" else None
        except ValueError:
            value = None
        if value is None or (totals["last"] is not None and value != totals["last"] + 1):
            totals["wrong"] += 1
            totals["error"] = totals["error"] or f"after {totals['last']} came {line[:100]!r}"
        if value is not None:
            totals["last"] = value
            totals["first"] = value if totals["first"] is None else totals["first"]

    def _account(self, now):
        gap = now - self.last
        self.last = now
        item = (gap, now - self.origin)
        if len(self.longest) < LONGEST_KEPT:
            heapq.heappush(self.longest, item)
        elif item > self.longest[0]:
            heapq.heapreplace(self.longest, item)
        for window in self.windows:
            if gap > window.longest:
                window.longest, window.longest_at = gap, now

    def _obey(self):
        """Carries out waiting commands; False: stop."""
        self._end_windows()
        while not self.commands.empty():
            words = self.commands.get().split()
            if words == ["stop"]:
                return False
            if words == ["stats"]:
                answer(self.summary())
            elif words[:2] == ["mark", "start"] and len(words) == 3:
                self.windows.append(Window(words[2], time.monotonic_ns(), self.totals["replies"]))
            elif words[:2] == ["mark", "end"] and len(words) == 3:
                self._mark_end(words[2])
            else:
                answer({"error": f"unknown command {words}"})
        return True

    def _mark_end(self, name):
        matching = [w for w in self.windows if w.name == name]
        for window in matching:
            window.ending = True
        if not matching:
            answer({"error": f"no window {name}"})

    def _end_windows(self):
        """One reply later than asked for, so that a gap in which the end falls counts."""
        for window in [w for w in self.windows if w.ending]:
            self.windows.remove(window)
            self.totals["gaps"].append(self._summary_of(window))
            answer(self.totals["gaps"][-1])

    def _summary_of(self, window):
        return window.summary(time.monotonic_ns(), self.totals["replies"], self.origin)

    def summary(self):
        elapsed = time.monotonic_ns() - self.origin
        longest = [{"gap_us": gap // 1000, "at_us": at // 1000} for gap, at in sorted(self.longest, reverse=True)]
        return {**self.totals, "elapsed_us": elapsed // 1000, "longest": longest}


def answer(message, final=False):
    if final:
        message = {"final": True, **message}
    print(json.dumps(message), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--key", default="counter")
    parser.add_argument("--stall", type=float, default=30)
    args = parser.parse_args()
    incrementer = Incrementer(args.host, args.port, args.key, args.stall)

    def read_commands():
        for line in sys.stdin:
            if line.strip():
                incrementer.commands.put(line)
        incrementer.commands.put("stop")
    threading.Thread(target=read_commands, daemon=True).start()
    incrementer.run()


class Client(ClientProcess):
    """The client as a child process on `machine`, a machine of the testbed. Every method may raise RuntimeError."""

    def __init__(self, machine, host, port, key="counter", stall=30):
        super().__init__(machine, [__file__, host, port, "--key", key, "--stall", stall], stall)


if __name__ == "__main__":
    main()
