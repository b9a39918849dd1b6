#!/usr/bin/env python3
"""What recordings of real programs under load look like: one of each, with every reply of it checked.

Prints a table; --json writes the figures to a file. The clients run on the other CPUs, as many of them as keep the program
busy. What cannot be recorded has the reason below the table; the exit code is 1 if an event was lost or a reply was wrong."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in ("hosts", "images", "workloads"):
    sys.path.insert(0, str(HERE.parent / folder))
import recorded
import shell
import twohosts
from recorded import WORKLOADS, Recording, Served

COLUMNS = {  # of the table: key of the figures
    "workload": "workload", "requests/s": "throughput", "recorded": "throughput_recorded", "events/s": "events_per_s",
    "bytes/event": "bytes_per_event", "compressed": "bytes_per_event_compressed", "MB/s": "log_mb_per_s", "tasks": "tasks",
    "lost": "lost", "refused": "refused", "T0 freeze ms": "t0_freeze_ms",
}


def measure(tb, name, args):
    served = Served(tb, tb.a, name, cpus=recorded.usable_cpus(without=[args.cpu]))
    plain = served.load(min(args.seconds, 3), args.connections)
    recording = Recording(tb, tb.a, name, "--without-files", "--cpu", str(args.cpu), *args.option)
    recording.wait_until_it_records()
    load = served.start_load(args.seconds, args.connections)
    under = served.finish_load(load, args.seconds + 60)
    recording.interrupt(signal.SIGINT)
    code, view, err = recording.end()
    figures = {"workload": name, "throughput": round(plain["per_second"]), "throughput_recorded": round(under["per_second"]),
               "lost": int(view.get("lost_events", 0)), "refused": 1 if code else 0, "problem": view.get("problem", err),
               "t0_freeze_ms": round(int(view.get("t0_freeze_us", 0)) / 1000)}
    if not code:
        figures.update(from_log(recording.out, tb.a, view))
    return figures


def from_log(directory, host, view):
    stats = recorded.read_stats(host, directory)
    seconds = float(view["recorded_ms"]) / 1000
    return {"events": stats["events"], "events_per_s": round(stats["events"] / seconds), "tasks": len(stats["tasks"]),
            "bytes_per_event": round(stats["bytes_per_event"], 1),
            "bytes_per_event_compressed": round(stats["bytes_compressed_per_event"], 1),
            "log_mb_per_s": round(stats["bytes_compressed"] / seconds / 1e6, 2),
            "by_event": {row["event"]: row["count"] for row in stats["by_event"][:10]}}


def table(runs):
    rows = [list(COLUMNS)] + [[str(run.get(key, "-")) for key in COLUMNS.values()] for run in runs]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
    return "\n".join(lines + [f"{run['workload']}: {run['problem']}" for run in runs if run["problem"]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", help="build directory")
    parser.add_argument("--quick", action="store_true", help="3 seconds of each")
    parser.add_argument("--seconds", type=float, help="of load while it is recorded (10)")
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="to record on")
    parser.add_argument("--workload", action="append", choices=sorted(WORKLOADS))
    parser.add_argument("--option", action="append", default=[], help="of `migrate record`")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    args.seconds = args.seconds or (3 if args.quick else 10)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    twohosts.remove_stale()
    runs = []
    with twohosts.Testbed(build=args.build) as tb:
        tb.a.start_daemon()
        for name in args.workload or WORKLOADS:
            if cause := recorded.lacking(name):
                print(cause, flush=True)
                continue
            print(f"  {name}: {args.seconds:.0f} s", flush=True)
            runs.append(measure(tb, name, args))
            tb.cleanup_scenario()
    print(table(runs))
    if args.json:
        Path(args.json).write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    return 1 if any(run["lost"] for run in runs) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except shell.Failed as e:
        sys.exit(f"bench workloads: {e}")
