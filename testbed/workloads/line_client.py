#!/usr/bin/env python3
"""One TCP connection that sends lines from stdin and prints the answer to each: for the probes' text protocol.

    line_client.py HOST PORT [--timeout SECONDS]

`Lines` is the same from another Python program, on a machine of the testbed; the connection stays open over a migration.
"""

import argparse
import socket
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--timeout", type=float, default=30)
    args = parser.parse_args()
    try:
        with socket.create_connection((args.host, args.port), timeout=args.timeout) as sock:
            answers = sock.makefile("r")
            for line in sys.stdin:
                sock.sendall(line.encode())
                answer = answers.readline()
                if not answer.endswith("\n"):
                    raise OSError("closed by the server")
                print(answer, end="", flush=True)
    except OSError as e:
        print(f"lost: {e}", flush=True)
        sys.exit(1)


class Lines:
    """ask() sends a line and returns the answer, or "lost: why" once the connection is gone."""

    def __init__(self, machine, host, port, timeout=30):
        self.process = machine.popen(sys.executable, __file__, host, port, "--timeout", timeout,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it ended; what it printed before that says why
        return self.process.stdout.readline().rstrip("\n") or "lost: the client has ended"

    def close(self):
        self.process.kill()
        self.process.wait()


if __name__ == "__main__":
    main()
