#!/usr/bin/env python3
"""What becomes of a container when its migration is aborted, fails, or loses a daemon, at every point and on both sides.

The daemon has named points (`migrated --list-fault-points`) at which it fails, dies or waits on purpose; every point makes
these cases, so that a new point has its cases at once:

    kill        the daemon kills itself there
    fail        the step fails there
    abort       the operator aborts while it waits there
    kill-other  the daemon of the other side is killed while it waits there
    kill-both   both are
    stay-dead   the source's daemon dies while the container is frozen, and nobody starts it again (only until the commit)

Killed daemons are started again, without faults. After each case exactly one side runs the container, the right one as seen
from the commit point; the client's connection goes on; what the tool said is true; and nothing is left on either host.
A container that moved leaves a relay and the stopped original on purpose: `migrate gc --remove --moved` must find both.

    handoff_cases.py [--build DIR] [--filter TEXT] [--json FILE] [--logs DIR] [--list]
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in ("hosts", "images", "workloads"):
    sys.path.insert(0, str(HERE / folder))
import shell
import twohosts
from evidence import save_logs
from redis_incr_client import Client

KINDS = ("kill", "fail", "abort", "kill-other", "kill-both", "stay-dead")
WAIT_MS = 1500         # at a point, for the script to act meanwhile
THAWED_SECONDS = 5     # a frozen container whose daemon is dead
SETTLED_SECONDS = 60
NAME, VOLUME, NETWORK = "redis1", "handoff-data", "handoff-net"
PROMISES_SOURCE = {2, 3, 4, 5, 6, 8, 9, 10}  # exit codes of the tool


@dataclass(frozen=True)
class Point:
    name: str
    side: str    # source or target
    phase: str   # as the operator sees it
    commit: str  # before or after


@dataclass(frozen=True)
class Case:
    point: Point
    kind: str

    @property
    def name(self):
        return f"{self.point.name} {self.kind}"

    @property
    def expected(self):
        """Which host must run the container in the end; None: where the source's record says."""
        if self.point.commit == "after":
            return "b"
        hit = {"kill": self.point.side, "kill-other": "target" if self.point.side == "source" else "source"}
        if hit.get(self.kind) == "target" or (self.kind == "abort" and self.point.phase == "cutover"):
            return None  # the target may have promised already, and the source may go on
        return "a"


class Wrong(Exception):
    """What a case finds that must not be."""


class Dirty(Exception):
    """The hosts cannot be cleaned for the next case."""


def points(build):
    listed = shell.out([Path(build) / "bin/migrated", "--list-fault-points"])
    found = [Point(*line.split()) for line in listed.splitlines() if line.strip()]
    return [point for point in found if point.side != "origin"]  # scenarios/handoff_third_host.py, with a third host


def cases(build):
    found = []
    for point in points(build):
        for kind in KINDS:
            if kind == "stay-dead" and not (point.side == "source" and point.commit == "before" and is_frozen_at(point)):
                continue
            found.append(Case(point, kind))
    return found


def is_frozen_at(point):
    return point.phase in ("checkpoint", "ship", "restore", "cutover")


# --- one case ---


class Run:
    """One case, on hosts that are clean. carry_out() raises Wrong; clean() is to be called in any case."""

    def __init__(self, tb, case):
        self.tb, self.case = tb, case
        self.client = self.tool = None
        self.faulty = tb.a if case.point.side == "source" else tb.b
        self.other = tb.peer_of(self.faulty)
        self.left, self.abort_answer = [], ""
        self.pause_ms = self.side = None  # where it runs in the end

    def carry_out(self):
        tb = self.tb
        action = {"kill": "kill", "stay-dead": "kill", "fail": "fail"}.get(self.case.kind, f"wait:{WAIT_MS}")
        for host in tb.hosts:
            host.start_daemon(faults=f"{self.case.point.name}={action}" if host is self.faulty else "")
        tb.a.docker("network", "create", NETWORK)
        tb.a.docker("run", "-d", "--name", NAME, "-p", "6379:6379", "-v", f"{VOLUME}:/data", "--network", NETWORK, "redis")
        self.client = Client(tb.client, tb.a.ip, 6379)
        self.client.wait_for_replies(50)
        before = tb.snapshot()
        log = self.faulty.dir / "migrated.log"
        log_start = log.stat().st_size
        self.tool = tb.a.popen(tb.build / "bin/migrate", "--socket", tb.a.control_socket, "--json", "--quiet", NAME,
                               tb.b.peer, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def reached():
            return f"fault point {self.case.point.name}" in log.read_text(errors="replace")[log_start:]
        with self.client.window("case") as window:
            self.wait(lambda: reached() or self.tool.poll() is not None, 30, "the fault point is not reached")
            if self.case.kind != "fail" and not reached():
                raise Wrong(f"the fault point was not reached; the tool ended with {self.tool_end()}")
            refused = self.act()
            self.settle()
            self.get_replies()
        self.pause_ms = window["gap_us"] / 1000
        self.side = self.where()[0]
        try:
            self.judge(refused)
        finally:
            self.left = self.find_leftovers(before)

    def act(self):
        """What the script does once the point is reached; whether an abort was refused."""
        kind = self.case.kind
        if kind == "abort":
            done = self.tb.a.migrate_run("abort", self.migration()["id"])
            self.abort_answer = (done.stderr or done.stdout).strip()
            return done.returncode != 0
        victims = {"kill": [self.faulty], "stay-dead": [self.faulty], "kill-other": [self.other],
                   "kill-both": self.tb.hosts}.get(kind, [])
        for host in victims:
            if host is self.faulty and kind in ("kill", "stay-dead"):
                self.wait(lambda h=host: h.daemon_pid() is None, 10, "the daemon does not die")
            else:
                host.stop_daemon(signal.SIGKILL)
        if kind == "stay-dead":
            self.expect_thawed_without_daemon()
        for host in victims:
            host.start_daemon()
        return False

    def expect_thawed_without_daemon(self):
        start = time.monotonic()
        try:
            self.client.wait_for_replies(20, timeout=THAWED_SECONDS)
        except RuntimeError as e:
            raise Wrong(f"frozen or not reachable {time.monotonic() - start:.1f} s after its daemon died: {e}") from e
        if not self.tb.a.is_running(NAME):
            raise Wrong("the container does not run")

    def settle(self):
        try:
            self.tool.wait(SETTLED_SECONDS)
        except subprocess.TimeoutExpired:
            raise Wrong(f"the tool has not ended after {SETTLED_SECONDS} s") from None
        self.wait(lambda: len(self.where()) == 1 and not self.active(), SETTLED_SECONDS, "not settled: running on "
                  f"{self.where()}, active {self.active()}")

    def get_replies(self):
        try:
            self.client.wait_for_replies(100)
        except RuntimeError as e:
            raise Wrong(f"the client: {e}; it runs on {self.where()}") from e

    def judge(self, refused):
        side = self.side
        outcome = self.migration().get("outcome", "none")
        if (outcome == "OUTCOME_MOVED") != (side == "b") or outcome == "OUTCOME_IN_DOUBT":
            raise Wrong(f"the source says {outcome}, but the container runs on {side}")
        if side != (self.case.expected or side) or (self.case.kind == "abort" and refused == (side == "a")):
            said = f"; abort {'was refused' if refused else 'was accepted'}: {self.abort_answer}" if self.abort_answer else ""
            raise Wrong(f"it runs on {side} ({outcome}){said}")
        code = self.tool.returncode
        if (code == 0 and side != "b") or (code in PROMISES_SOURCE and side != "a"):
            raise Wrong(f"the tool ended with {self.tool_end()}, but the container runs on {side}")
        totals = self.client.stop()
        if totals["wrong"] or totals["resets"] or totals["stalled"]:
            raise Wrong(f"the client saw errors: {totals['error']}")
        stored = self.tb.machines[side].docker("exec", NAME, "redis-cli", "get", "counter")
        if stored != str(totals["last"]):
            raise Wrong(f"redis has {stored}, the client saw {totals['last']}")

    def find_leftovers(self, before):
        """A failed move leaves nothing at all; one that succeeded nothing that gc does not remove."""
        if self.side == "a":
            return self.tb.leftovers(before)
        for host in self.tb.hosts:
            host.migrate_run("gc", "--remove", "--moved", check=True)
        return []  # what is left beside the container is found when that has been removed

    # --- small questions ---

    def where(self):
        return [host.name for host in self.tb.hosts if host.is_running(NAME)]

    def active(self):
        """Migrations that are under way, on both hosts."""
        return [line for host in self.tb.hosts for line in host.migrate_run("list", "--active").stdout.splitlines()[1:]]

    def migration(self):
        """The newest of the source."""
        listed = json.loads(self.tb.a.migrate_run("list", "--json", check=True).stdout or "{}")
        return (listed.get("migrations") or [{}])[-1]

    def tool_end(self):
        out, err = self.tool.communicate(timeout=10)
        last = (err.strip().splitlines() or out.strip().splitlines()[-1:] or [""])[-1]
        return f"exit code {self.tool.returncode} ({last[:200]})"

    def wait(self, condition, seconds, what):
        try:
            shell.wait_until(condition, seconds, what, pause=0.01)
        except shell.Failed as e:
            raise Wrong(str(e)) from e

    # --- the end ---

    def clean(self, pristine):
        """Removes the container under test, lets gc see that, and ends the daemons; what is then there and was not in
        `pristine` is left."""
        for process in [self.tool, self.client and self.client.process]:
            if process:
                process.kill()
                process.wait()
        for host in self.tb.hosts:
            ids = host.docker("ps", "-aq", "--filter", f"name={NAME}").split()
            if ids:
                host.docker("rm", "-f", "-v", *ids)
            host.docker("volume", "rm", "-f", VOLUME)
            host.docker("network", "rm", NETWORK, check=False)
        for host in self.tb.hosts:
            if host.daemon_pid():
                host.migrate_run("gc", "--remove", "--moved")
                host.stop_daemon()
        return self.tb.leftovers(pristine)


def run_case(tb, case, logs):
    """("ok" or what was wrong, leftovers, the client's longest pause in ms or None). Dirty if the hosts stay unclean."""
    pristine = tb.snapshot()
    run, cause, details = Run(tb, case), None, ""
    try:
        run.carry_out()
    except Exception as e:  # Wrong, or a program of the testbed failed, or the daemon could not be asked
        cause, details = str(e) if isinstance(e, Wrong) else f"{type(e).__name__}: {e}", traceback.format_exc()
    if cause or run.left:
        directory = logs / case.name.replace(" ", "-")
        shutil.rmtree(directory, ignore_errors=True)
        save_logs(tb, directory, "\n".join([cause or "", *run.left, details]))
    try:
        stays = run.clean(pristine)
    except Exception as e:
        raise Dirty(Result(case, cause or f"clean-up: {e}", run.left, run.side, run.pause_ms)) from e
    left = run.left + [line for line in stays if line not in run.left]
    result = Result(case, cause or (f"left behind: {'; '.join(left)}" if left else "ok"), left, run.side, run.pause_ms)
    if stays:
        raise Dirty(result)
    return result


@dataclass
class Result:
    case: Case
    result: str
    left: list
    side: str
    pause_ms: float

    def line(self):
        pause = "-" if self.pause_ms is None else f"{self.pause_ms:.0f}"
        point, serves = self.case.point, {"a": "source", "b": "target", None: "-"}[self.side]
        return (f"{point.name:18} {self.case.kind:10} {point.side:6} {point.phase:10} {serves:8} {pause:>8} "
                f"{len(self.left):9}  {self.result}")

    def as_json(self):
        return {"name": self.case.name, "phase": self.case.point.phase, "result": self.result, "leftovers": len(self.left)}


HEADER = f"{'point':18} {'case':10} {'side':6} {'phase':10} {'serves':8} {'pause ms':>8} {'leftovers':>9}  result"


class Bench:
    """The testbed that cases run on; it is replaced when it cannot be cleaned any more."""

    def __init__(self, build):
        self.tb = twohosts.Testbed(build=build)

    def __enter__(self):
        self.tb.up()
        self.tb.load("redis")
        return self

    def __exit__(self, *_):
        self.tb.down()

    def run(self, case, logs):
        try:
            return run_case(self.tb, case, logs)
        except Dirty as e:
            self.tb = twohosts.recover(self.tb)
            self.tb.load("redis")
            return e.args[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", help="build directory (default: the one with the newest daemon)")
    parser.add_argument("--filter", action="append", help="only cases whose 'POINT KIND' contains this; may be repeated")
    parser.add_argument("--json", help="write the table to this file")
    parser.add_argument("--logs", help="directory for the logs of failed cases (default: a new one)")
    parser.add_argument("--list", action="store_true", help="only print the cases")
    args = parser.parse_args()
    build = Path(args.build or twohosts.default_build()).resolve()
    wanted = [case for case in cases(build) if not args.filter or any(text in case.name for text in args.filter)]
    if args.list:
        print("\n".join(case.name for case in wanted))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    logs = Path(args.logs or tempfile.mkdtemp(prefix="migrate-handoff-cases-"))
    twohosts.remove_stale()
    print(HEADER, flush=True)
    results = []
    with Bench(build) as bench:
        for case in wanted:
            results.append(bench.run(case, logs))
            print(results[-1].line(), flush=True)
    if not args.logs and not any(logs.iterdir()):
        logs.rmdir()
    if args.json:
        Path(args.json).write_text(json.dumps({"cases": [r.as_json() for r in results]}, indent=1) + "\n")
    good = sum(r.result == "ok" for r in results)
    print(f"{good} of {len(results)} cases ok, {sum(len(r.left) for r in results)} leftovers" +
          (f"; logs of the others in {logs}" if good < len(results) else ""))
    return 0 if results and good == len(results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except shell.Failed as failure:
        sys.exit(f"handoff-cases: {failure}")
