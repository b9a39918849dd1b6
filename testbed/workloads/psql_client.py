"""A psql that stays connected, as a child process on a machine of the testbed."""

import subprocess

PSQL = "/usr/lib/postgresql/15/bin/psql"


class Psql:
    """ask() may be used by one thread at a time."""

    def __init__(self, machine, host, port, database="postgres"):
        self.process = machine.popen("env", "PGCONNECT_TIMEOUT=10", PSQL, "-X", "-q", "-A", "-t", "-h", host, "-p", port,
                                     "-U", "postgres", "-d", database,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.number = 0

    def ask(self, sql):
        """The rows as text. An SQL error, or the end of the connection, is a RuntimeError."""
        self.number += 1
        end = f"end of answer {self.number}"
        try:
            self.process.stdin.write(f"{sql};\n\\echo {end}\n")
            self.process.stdin.flush()
        except OSError:
            pass  # psql has ended; what it printed says why
        rows = []
        for line in self.process.stdout:
            if line == f"{end}\n":
                break
            rows.append(line.rstrip("\n"))
        else:
            raise RuntimeError(f"psql has ended after '{sql}': {rows}")
        if any("ERROR:" in row or "FATAL:" in row for row in rows):
            raise RuntimeError(f"'{sql}': {rows}")
        return "\n".join(rows)

    def close(self):
        self.process.kill()
        self.process.wait()
