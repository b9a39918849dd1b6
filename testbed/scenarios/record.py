"""Real programs are recorded under load: nothing is lost, nobody notices, and afterwards all is as before."""

import json
import os
import signal
import time

import reaper
import recorded
from common import expect, redis_client
from recorded import Recording, Served, read_stats
from shell import Failed, out, wait_until
from task_state import State

SECONDS = float(os.environ.get("MIGRATE_RECORD_SECONDS", "3"))
MARK_END = 2  # proto/event_layout.h
FULL_SPEED = 0.4  # of the throughput before; the machine does other things as well
LONGEST_GAP_US = 1_000_000  # without a reply, besides the freeze


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


def expect_complete(host, recording, view, files=True):
    """All of the log can be read, and its last event is the end mark."""
    stats = read_stats(host, recording.out)
    expect("events in the log", stats["events"], int(view["events"]))
    last = json.loads(out(recorded.log_command(host, recording.out, "--json", "--from", stats["events"] - 1)))
    expect("the last event", (last["kind"], last["number"]), ("mark", MARK_END))
    for name in ["image", "events.log", "recording.json"] + ["files"] * files:
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
    if under.get("longest_gap_us", 0) > int(view["t0_freeze_us"]) + LONGEST_GAP_US:
        raise Failed(f"{workload} did not serve for {under['longest_gap_us'] / 1000:.0f} ms while it was recorded")
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


# --- nothing is left ---

def odd_scheduling(pid):
    """Gives the threads of the container what nothing but a recording's undo would give them again."""
    tids = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    os.setpriority(os.PRIO_PROCESS, tids[0], 3)
    os.sched_setscheduler(tids[1], os.SCHED_BATCH, os.sched_param(0))
    os.sched_setaffinity(tids[2], {min(os.sched_getaffinity(tids[2]))})
    os.sched_setscheduler(tids[3], os.SCHED_IDLE, os.sched_param(0))


def expect_in_force(pid):
    tasks = State(pid).tasks.values()
    expect("policies while it is recorded", {task["policy"] for task in tasks}, {os.SCHED_FIFO})
    expect("numbers of CPUs while it is recorded", {len(task["cpus"]) for task in tasks}, {1})


def expect_put_back(pid, before, how, timeout=10):
    start = time.monotonic()
    try:
        wait_until(lambda: not State(pid).differences(before), timeout, how, pause=0.05)
    except Failed:
        raise Failed(f"{how}: {'; '.join(State(pid).differences(before))}") from None
    return time.monotonic() - start


def watchdogs(host):
    """Pids of those that live, out of their lock files."""
    return [int(text) for path in (host.dir / "migrated-state").glob("watchdog-*") if (text := path.read_text().strip())]


class Scene:
    """A redis with a client that must not notice anything."""

    def __init__(self, tb):
        start(tb)
        tb.load("redis", hosts=[tb.a])
        tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
        self.tb, self.pid = tb, tb.a.container_pid("redis1")
        self.client = redis_client(tb, tb.client, tb.a.ip)
        self.client.wait_for_replies(100)
        odd_scheduling(self.pid)
        self.before = State(self.pid)

    def begin(self, *options, **named):
        recording = Recording(self.tb, self.tb.a, "redis1", *options, **named)
        recording.wait_until_it_records()
        self.client.wait_for_replies(100)
        expect_in_force(self.pid)
        return recording

    def after(self, how):
        took = expect_put_back(self.pid, self.before, how)
        self.client.wait_for_replies(100)
        totals = self.client.stats()
        expect(f"{how}: errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))
        expect(f"{how}: watchdogs", watchdogs(self.tb.a), [])
        print(f"{how}: all as before, {took:.1f} s later")


def scenario_record_leaves_nothing(tb):
    scene = Scene(tb)
    a = tb.a
    open_files = lambda: len(os.listdir(f"/proc/{a.daemon_pid()}/fd"))
    recording = scene.begin("--without-files", seconds=1)
    expect_recorded(*recording.end())
    scene.after("ended by time")

    files = open_files()
    for how in (signal.SIGINT, signal.SIGTERM):
        recording = scene.begin("--without-files")
        recording.interrupt(how)
        code, view, err = recording.end()
        expect_recorded(code, view, err)
        expect_complete(a, recording, view, files=False)
        scene.after(f"ended by {how.name}")
    expect("open files of the daemon", open_files(), files)

    recording = scene.begin("--without-files")
    recording.interrupt(signal.SIGKILL)
    recording.process.wait(10)
    scene.after("killed `migrate record`")

    recording = scene.begin("--without-files")
    a.docker("exec", "redis1", "true")
    expect_ended_early(recording, "docker exec")
    scene.after("ended by a problem")

    recording = scene.begin("--without-files")
    a.stop_daemon()
    recording.end()
    scene.after("daemon stopped")
    a.start_daemon()

    recording = scene.begin("--without-files")
    a.stop_daemon(signal.SIGKILL)
    recording.end()
    scene.after("daemon killed")
    a.start_daemon()
    scene.after("daemon started again")

    recording = scene.begin("--without-files")
    killed = watchdogs(a)
    expect("watchdogs", len(killed), 1)
    # Neither has the time to replace or to act for the other.
    os.kill(a.daemon_pid(), signal.SIGSTOP)
    os.kill(killed[0], signal.SIGKILL)
    a.stop_daemon(signal.SIGKILL)
    recording.end()
    time.sleep(1)
    expect_in_force(scene.pid)
    a.start_daemon()
    scene.after("daemon and watchdog killed, daemon started again")

    recording = scene.begin("--without-files", seconds=1)
    expect_recorded(*recording.end())
    scene.after("recorded once more")


def expect_ended_early(recording, *says):
    """With a reason that contains all of `says`; what was recorded before is kept and can be read."""
    code, view, err = recording.end()
    expect("state", view.get("state"), "RECORDING_FAILED")
    expect("exit code", code, 3)
    for text in says:
        if text not in err:
            raise Failed(f"'{text}' is not in '{err}'")
    done = recording.host.migrate_run("log", recording.out, "--stats", "--json")
    expect("migrate log", done.returncode, 0)
    return err
