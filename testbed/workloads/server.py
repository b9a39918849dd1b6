"""A key-value server in Python that speaks a part of redis' protocol (GET, SET, INCR, arrays of bulk strings only), to be
recorded under the checked load of load.c. A thread for each connection and one that makes garbage, all under the
interpreter's lock, which is handed over every 5 ms."""

import gc
import os
import socketserver
import sys
import threading
import time

values = {}
lock = threading.Lock()
requests = 0


class Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        global requests
        try:
            while words := self.request_words():
                with lock:
                    requests += 1
                    reply = answer(*words)
                self.wfile.write(reply)
        except (OSError, ValueError):
            pass

    def request_words(self):
        """None at the end of the connection."""
        line = self.rfile.readline()
        if not line:
            return None
        words = []
        for _ in range(number(line, b"*")):
            size = number(self.rfile.readline(), b"$")
            words.append(self.rfile.read(size + 2)[:size])
        return words


def number(line, kind):
    if line[:1] != kind:
        raise ValueError(f"{line}: expected {kind}")
    return int(line[1:])


def answer(command, key, value=b""):
    match command.upper():
        case b"SET":
            values[key] = value
            return b"+OK\r\n"
        case b"GET":
            found = values.get(key)
            return b"$-1\r\n" if found is None else b"$%d\r\n%s\r\n" % (len(found), found)
        case b"INCR":
            values[key] = b"%d" % (int(values.get(key, 0)) + 1)
            return b":%s\r\n" % values[key]
    return b"-ERR unknown\r\n"


def tick():
    turn = 0
    while True:
        time.sleep(0.05)
        garbage = [[os.urandom(16), bytearray(16384)] for _ in range(64)]
        for item in garbage:
            item.append(garbage)  # a circle, for the collector
        turn += 1
        if turn % 20 == 0:
            gc.collect()
            print(f"{requests} requests, {threading.active_count()} threads", file=sys.stderr, flush=True)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 511


threading.Thread(target=tick, daemon=True).start()
Server(("0.0.0.0", 6379), Connection).serve_forever()
