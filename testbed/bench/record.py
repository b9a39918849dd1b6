#!/usr/bin/env python3
"""What it costs a container to be recorded: throughput and latency with and without, alternating in one run.

Without means: the same container, pinned to the CPU on which it is recorded. The load (testbed/workloads/load.c, every reply
checked) runs on the other CPUs. Prints a table; --json writes the figures to a file."""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in ("hosts", "images", "workloads"):
    sys.path.insert(0, str(HERE.parent / folder))
import shell
import twohosts

WORKLOADS = {  # image, port, protocol, arguments of the load, options of docker run
    "redis": ("redis", 6379, "redis", [], []),
    "nginx": ("nginx", 80, "http", ["path=/small"], []),
    "memcached": ("memcached", 11211, "memcached", [], []),
}


def build_load(directory):
    program = Path(directory) / "load"
    shell.run(["cc", "-O2", "-o", program, HERE.parent / "workloads/load.c"])
    return program


class Bench:
    """One workload in a container of host a, with a client on the third machine."""

    def __init__(self, tb, name, args, load):
        self.tb, self.name, self.args, self.load = tb, name, args, load
        self.image, self.port, self.protocol, self.options, docker = WORKLOADS[name]
        tb.load(self.image, hosts=[tb.a])
        tb.run(tb.a, name, self.image, options=["-p", f"{self.port}:{self.port}", "--cpuset-cpus", str(args.cpu), *docker])
        self._wait_until_it_serves()

    def _wait_until_it_serves(self):
        for _ in range(100):
            if subprocess.run(self._command(0.2, 1, 0), capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise shell.Failed(f"{self.name} does not serve: {self.tb.a.docker('logs', self.name)[-500:]}")

    def _command(self, seconds, connections, rate):
        others = sorted(os.sched_getaffinity(0) - {self.args.cpu}) or [self.args.cpu]
        return ["taskset", "-c", ",".join(map(str, others)), *self.tb.client.enter(), str(self.load), self.protocol,
                self.tb.a.ip, str(self.port), f"seconds={seconds}", f"connections={connections}", f"rate={rate}", *self.options]

    def measure(self, rate=0):
        done = subprocess.run(self._command(self.args.seconds, self.args.connections, rate), capture_output=True, text=True)
        if done.returncode:
            raise shell.Failed(f"{self.name}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def record(self, seconds, round_number):
        """Starts a recording in the background; it runs when this returns."""
        out = self.tb.workdir / f"record-{self.name}-{round_number}"
        self.tb.on_cleanup(lambda: shutil.rmtree(out, ignore_errors=True))
        command = self.tb.a.migrate_command("--progress", "json", "--json", "record", self.name, "--out", out, "--seconds",
                                            seconds, "--cpu", self.args.cpu, "--without-files", *self.args.option)
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not (out / "events.log").exists() or not (out / "events.log").stat().st_size:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise shell.Failed(f"record {self.name}: {process.communicate()}")
            time.sleep(0.02)
        return process, out

    def measure_recorded(self, round_number, rate=0):
        process, out = self.record(self.args.seconds + 4, round_number)
        figures = self.measure(rate)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        if process.returncode:
            raise shell.Failed(f"record {self.name}: exit code {process.returncode}: {stderr}")
        shutil.rmtree(out)
        return figures, json.loads(stdout)


def run(tb, name, args, load):
    bench = Bench(tb, name, args, load)
    plain, recorded, logs = [], [], []
    for number in range(args.rounds):
        plain.append(bench.measure())
        figures, log = bench.measure_recorded(number)
        recorded.append(figures)
        logs.append(log)
        print(f"  {name} round {number + 1}: {plain[-1]['per_second']:.0f} -> {figures['per_second']:.0f} requests/s, p99 "
              f"{plain[-1]['p99_us']:.0f} -> {figures['p99_us']:.0f} us", flush=True)
    tb.cleanup_scenario()
    median = lambda list_, key: statistics.median(float(item[key]) for item in list_)
    # Of each round's pair: the two are seconds apart, while the machine's own speed drifts over the whole run.
    median_ratio = lambda key: statistics.median(float(b[key]) / float(a[key]) for a, b in zip(plain, recorded))
    events = sum(int(log["events"]) for log in logs)
    return {
        "workload": name,
        "throughput": round(median(plain, "per_second")),
        "throughput_recorded": round(median(recorded, "per_second")),
        "throughput_ratio": round(median_ratio("per_second"), 3),
        "p99_us": round(median(plain, "p99_us")),
        "p99_us_recorded": round(median(recorded, "p99_us")),
        "p99_ratio": round(median_ratio("p99_us"), 3),
        "events_per_s": round(events / sum(float(log["recorded_ms"]) / 1000 for log in logs)),
        "bytes_per_event": round(sum(int(log["bytes"]) for log in logs) / max(events, 1), 1),
        "bytes_per_event_compressed": round(sum(int(log["bytes_compressed"]) for log in logs) / max(events, 1), 1),
        "lost": sum(int(log.get("lost_events", 0)) for log in logs),
        "t0_freeze_ms": round(median(logs, "t0_freeze_us") / 1000, 1),
        "final_freeze_ms": round(median(logs, "final_freeze_us") / 1000, 1),
    }


def table(runs):
    keys = ["workload", "throughput", "throughput_recorded", "throughput_ratio", "p99_ratio", "events_per_s", "bytes_per_event",
            "bytes_per_event_compressed", "lost"]
    rows = [keys] + [[str(run[key]) for key in keys] for run in runs]
    widths = [max(len(row[i]) for row in rows) for i in range(len(keys))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", help="build directory")
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of load in each measurement")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--workload", action="append", choices=sorted(WORKLOADS))
    parser.add_argument("--option", action="append", default=[], help="of `migrate record`")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 7)
    args.seconds = args.seconds or (2 if args.quick else 5)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    twohosts.remove_stale()
    runs = []
    with twohosts.Testbed(build=args.build) as tb:
        load = build_load(tb.workdir)
        tb.a.start_daemon()
        for name in args.workload or WORKLOADS:
            runs.append(run(tb, name, args, load))
    print(table(runs))
    if args.json:
        Path(args.json).write_text(json.dumps({"runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except shell.Failed as e:
        sys.exit(f"bench record: {e}")
