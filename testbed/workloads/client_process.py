"""A client program that runs on a machine of the testbed and is told on its standard input what to do.

The commands and answers that redis_incr_client.py describes; traffic.py has the same.
"""

import json
import queue
import subprocess
import sys
import threading
import time
from contextlib import contextmanager


class ClientProcess:
    """Every method may raise RuntimeError."""

    def __init__(self, machine, program, stall):
        """`program`: a Python file and its arguments. It gives up after `stall` seconds without an answer."""
        self.process = machine.popen(sys.executable, *program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.stall = stall
        self.result = None
        self.answers = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer("connected", timeout=10)

    def _read(self):
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.answers.put(None)

    def _answer(self, key, timeout=None):
        """The next answer that has this key; if the run ended instead, an error with the reason."""
        while True:
            try:
                message = self.answers.get(timeout=timeout or self.stall + 10)
            except queue.Empty:
                raise RuntimeError("the client does not answer") from None
            if message is None:
                raise RuntimeError("the client has ended" + (f": {self.result['error']}" if self.result else ""))
            if message.get("final"):
                self.result = message
            if key in message:
                return message
            if message.get("final"):
                raise RuntimeError(f"the client ended early: {message['error']}")

    def _send(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it ended; the next answer says why

    def mark_start(self, name):
        self._send(f"mark start {name}")

    def mark_end(self, name):
        """Ends the window and returns its summary with gap_us."""
        self._send(f"mark end {name}")
        while True:
            message = self._answer("window")
            if message["window"] == str(name):
                return message

    @contextmanager
    def window(self, name):
        """`with client.window("1") as w: migrate(...)`, then w["gap_us"]."""
        summary = {}
        self.mark_start(name)
        yield summary
        summary.update(self.mark_end(name))

    def stats(self):
        self._send("stats")
        return self._answer("replies")

    def wait_for_replies(self, count, timeout=30):
        """Until `count` more replies have come."""
        target = self.stats()["replies"] + count
        end = time.monotonic() + timeout
        while self.stats()["replies"] < target:
            if time.monotonic() > end:
                raise RuntimeError(f"fewer than {count} replies in {timeout} s")
            time.sleep(0.01)

    def stop(self):
        """Ends the client and returns its totals."""
        self._send("stop")
        while self.result is None:
            self._answer("final")
        self.close()
        return self.result

    def close(self):
        """Ends the client however it is; for clean-up, may be called again."""
        self.process.kill()
        self.process.wait()
