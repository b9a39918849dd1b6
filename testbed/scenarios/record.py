"""Real programs are recorded under load: nothing is lost, nobody notices, and afterwards all is as before."""

import json
import os

import recorded
from recorded import Recording, Served, read_stats
from common import expect
from shell import Failed, out
from task_state import State

SECONDS = float(os.environ.get("MIGRATE_RECORD_SECONDS", "3"))
MARK_END = 2  # proto/event_layout.h
FULL_SPEED = 0.4  # of the throughput before; the machine does other things as well


def start(tb):
    """A fresh daemon on host a."""
    tb.on_cleanup(tb.a.stop_daemon)
    tb.a.stop_daemon()
    tb.a.start_daemon()


def expect_recorded(code, view, err):
    """The recording ended by its time or by Ctrl-C, with everything in the log."""
    if code or view.get("state") != "RECORDING_DONE":
        raise Failed(f"recording: exit code {code}, {view.get('state')}: {view.get('problem', '')} {err}")
    expect("lost events", int(view.get("lost_events", 0)), 0)


def expect_complete(host, recording, view):
    """All of the log can be read, and its last event is the end mark."""
    stats = read_stats(host, recording.out)
    expect("events in the log", stats["events"], int(view["events"]))
    last = json.loads(out(recorded.log_command(host, recording.out, "--json", "--from", stats["events"] - 1)))
    expect("the last event", (last["kind"], last["number"]), ("mark", MARK_END))
    for name in ("image", "files", "events.log", "recording.json"):
        if not (recording.out / name).exists():
            raise Failed(f"{name} is not in the directory of the recording")
    return stats


def record_workload(tb, workload):
    if cause := recorded.lacking(workload):
        print(cause)
        return
    start(tb)
    served = Served(tb, tb.a, workload)
    pid = tb.a.container_pid(workload)
    plain = served.load(1)
    before = State(pid)
    # It goes on over both freezes.
    load = served.start_load(SECONDS + 3)
    recording = Recording(tb, tb.a, workload, seconds=SECONDS)
    code, view, err = recording.end(SECONDS + 60)
    under = served.finish_load(load)
    expect_recorded(code, view, err)
    expect("changed by the recording", State(pid).differences(before), [])
    after = served.load(1)
    stats = expect_complete(tb.a, recording, view)
    print(f"{workload}: {stats['events_per_s']:.0f} events/s of {len(stats['tasks'])} tasks, {stats['bytes_per_event']:.0f} "
          f"bytes each, {stats['bytes_compressed_per_event']:.0f} compressed; requests/s {plain['per_second']:.0f} before, "
          f"{under['per_second']:.0f} during, {after['per_second']:.0f} after; frozen {int(view['t0_freeze_us']) / 1000:.0f} "
          f"and {int(view['final_freeze_us']) / 1000:.0f} ms")
    if after["per_second"] < FULL_SPEED * plain["per_second"]:
        raise Failed(f"{workload} is slower after the recording: {after} instead of {plain}")


def scenario_record_redis(tb):
    record_workload(tb, "redis")


def scenario_record_nginx(tb):
    record_workload(tb, "nginx")


def scenario_record_memcached(tb):
    record_workload(tb, "memcached")


def scenario_record_postgres(tb):
    record_workload(tb, "postgres")


def scenario_record_go(tb):
    record_workload(tb, "go")


def scenario_record_node(tb):
    record_workload(tb, "node")


def scenario_record_java(tb):
    record_workload(tb, "java")


def scenario_record_python(tb):
    record_workload(tb, "python")
