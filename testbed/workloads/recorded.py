"""Real programs under a load whose replies are checked, and recordings of them; for scenarios and benches."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import build as images_build
import shell

LOAD_SOURCE = Path(__file__).with_name("load.c")
PGBENCH = "/usr/lib/postgresql/15/bin/pgbench"
PSQL = "/usr/lib/postgresql/15/bin/psql"
RECORDING_STARTS = 60  # seconds that a checkpoint may take on a slow machine
RECORDING_ENDS = 60


@dataclass(frozen=True)
class Workload:
    image: str
    port: int
    protocol: str          # of load.c, or "postgres"
    load: tuple = ()       # further arguments of load.c
    docker: tuple = ()     # further options of docker run


WORKLOADS = {
    "redis": Workload("redis", 6379, "redis"),
    "nginx": Workload("nginx", 80, "http", load=("path=/small",)),
    "memcached": Workload("memcached", 11211, "memcached"),
    "postgres": Workload("postgres", 5432, "postgres", docker=("-v", "/var/lib/postgresql/data", "--shm-size", "64m")),
    # With more, its threads wait for each other without a system call (docs/recording.md).
    "go": Workload("go", 6379, "redis", docker=("-e", "GOMAXPROCS=1")),
    "node": Workload("node", 6379, "redis"),
    "java": Workload("java", 6379, "redis"),
    "python": Workload("python", 6379, "redis"),
}


def lacking(name):
    """Why this machine cannot run the workload, or None."""
    absent = images_build.missing(WORKLOADS[name].image)
    return f"{name} is skipped: {' '.join(absent)} is not installed (scripts/setup --workloads)" if absent else None


def build_load(directory):
    program = Path(directory) / "load"
    if not program.exists():
        shell.run(["cc", "-O2", "-o", program, LOAD_SOURCE])
    return program


class Served:
    """A workload in a container of `host`, which its clients reach from the client's machine."""

    def __init__(self, tb, host, workload, name=None, options=(), cpus=()):
        """`cpus`: those that the clients may use; default: all."""
        self.tb, self.host, self.workload, self.cpus = tb, host, WORKLOADS[workload], cpus
        self.name = name or workload
        tb.load(self.workload.image, hosts=[host])
        port = self.workload.port
        tb.run(host, self.name, self.workload.image, options=["-p", f"{port}:{port}", *self.workload.docker, *options])
        self.program = None if self.workload.protocol == "postgres" else build_load(tb.workdir)
        self._wait_until_it_serves()

    def _wait_until_it_serves(self):
        # pgbench makes its tables at the same time.
        first = ([*self._client(), PGBENCH, *self._postgres(), "-i", "-q", "postgres"] if not self.program
                 else self._load_command(0.1, 1, ["warmup=0"]))
        deadline = time.monotonic() + 30
        while (done := shell.run(first, check=False)).returncode:
            if time.monotonic() > deadline:
                raise shell.Failed(f"{self.name} does not serve: {done.stdout}{done.stderr}; "
                                   f"{self.host.docker_run('logs', self.name).stderr[-500:]}")
            time.sleep(0.1)

    def _client(self):
        pinned = ["taskset", "-c", ",".join(map(str, self.cpus))] if self.cpus else []
        return [*pinned, *self.tb.client.enter()]

    def _postgres(self):
        return ["-h", self.host.ip, "-p", str(self.workload.port), "-U", "postgres"]

    def _load_command(self, seconds, connections, options):
        if not self.program:
            return [*self._client(), PGBENCH, *self._postgres(), "-n", "-c", str(min(connections, 8)), "-T",
                    str(max(1, round(seconds))), "postgres"]
        return [*self._client(), str(self.program), self.workload.protocol, self.host.ip, str(self.workload.port),
                f"seconds={seconds}", f"connections={connections}", *self.workload.load, *options]

    def start_load(self, seconds, connections=20, options=()):
        process = subprocess.Popen(self._load_command(seconds, connections, options), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.tb.on_cleanup(lambda: (process.kill(), process.wait()))
        return process

    def finish_load(self, process, timeout=60):
        """The figures of a load that must have got nothing but right answers; per_second is among them."""
        out, err = process.communicate(timeout=timeout)
        if process.returncode:
            raise shell.Failed(f"load on {self.name}: exit code {process.returncode}: {out}{err}")
        if self.program:
            return json.loads(out)
        self._check_balances()
        transactions = re.search(r"tps = ([\d.]+)", out)
        failed = re.search(r"number of failed transactions: (\d+)", out)
        return {"per_second": float(transactions[1]), "wrong": int(failed[1]), "ended": 0}

    def _check_balances(self):
        """Every transaction of pgbench adds the same number to an account, a teller, a branch, and notes it."""
        sums = ["(SELECT sum(abalance) FROM pgbench_accounts)", "(SELECT sum(tbalance) FROM pgbench_tellers)",
                "(SELECT sum(bbalance) FROM pgbench_branches)", "(SELECT coalesce(sum(delta), 0) FROM pgbench_history)"]
        answer = shell.out([*self._client(), PSQL, *self._postgres(), "-X", "-A", "-t", "-F", " ", "-d", "postgres", "-c",
                            f"SELECT {', '.join(sums)}"]).split()
        # pgbench empties the history at its start, but not the balances, and only with -i or without -n.
        if len(set(answer)) != 1:
            raise shell.Failed(f"{self.name}: sums of accounts, tellers, branches and history: {answer}")

    def load(self, seconds, connections=20, options=()):
        return self.finish_load(self.start_load(seconds, connections, options), seconds + 60)


class Recording:
    """A running `migrate record`. `out` is a directory below the testbed's, removed after the scenario."""

    def __init__(self, tb, host, container, *options, seconds=None, out=None):
        self.host = host
        self.out = Path(out or tb.workdir / f"recording-{container}-{time.monotonic_ns()}")
        tb.on_cleanup(lambda: shutil.rmtree(self.out, ignore_errors=True))
        duration = ["--seconds", str(seconds)] if seconds else []
        self.process = host.popen(host.build / "bin/migrate", "--socket", host.control_socket, "--json", "--progress", "none",
                                  "record", container, "--out", self.out, *duration, *options, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        tb.on_cleanup(lambda: (self.process.kill(), self.process.wait()))

    def wait_until_it_records(self):
        """The container runs, and what it does goes into the log."""
        deadline = time.monotonic() + RECORDING_STARTS
        log = self.out / "events.log"
        while not (log.exists() and log.stat().st_size):
            if self.process.poll() is not None:
                raise shell.Failed(f"the recording ended before it began: {self.end()}")
            if time.monotonic() > deadline:
                raise shell.Failed(f"no event after {RECORDING_STARTS} s")
            time.sleep(0.01)

    def interrupt(self, how):
        self.process.send_signal(how)

    def end(self, timeout=RECORDING_ENDS):
        """Exit code, the recording as a dictionary, and what it said on stderr."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as e:
            raise shell.Failed(f"migrate record does not end within {timeout} s") from e
        try:
            view = json.loads(out) if out.strip() else {}
        except ValueError as e:
            raise shell.Failed(f"migrate record printed {out!r}") from e
        return self.process.returncode, view, err.strip()


def log_command(host, directory, *options):
    return [str(host.build / "bin/migrate"), "log", str(directory), *map(str, options)]


def read_stats(host, directory, timeout=300):
    """`migrate log --stats --json`, which reads all of the log; fails unless it is complete."""
    stats = json.loads(shell.out(log_command(host, directory, "--stats", "--json"), timeout=timeout))
    if not stats["complete"]:
        raise shell.Failed(f"{directory}: the log has no end after LSN {stats['events']}")
    return stats


def usable_cpus(without=()):
    return sorted(os.sched_getaffinity(0) - set(without))
