"""Real programs are recorded under load: nothing is lost, nobody notices, and afterwards all is as before."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import recorded
from common import expect, redis_client
from recorded import Recording, Served, read_stats
from shell import Failed, out, wait_until
from task_state import State

SECONDS = float(os.environ.get("MIGRATE_RECORD_SECONDS", "3"))
MARK_END = 2  # proto/event_layout.h
ENDED_EARLY = 5  # exit code; 3: refused before it began
FULL_SPEED = 0.4  # of the throughput before
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


def record_workload(tb, workload, options=()):
    """`options`: of the load while it is recorded."""
    if cause := recorded.lacking(workload):
        print(cause)
        return
    start(tb)
    served = Served(tb, tb.a, workload)
    pid = tb.a.container_pid(workload)
    plain = served.load(1)
    before = State(pid)
    # It goes on over both freezes.
    load = served.start_load(SECONDS + 3, options=options)
    recording = Recording(tb, tb.a, workload, seconds=SECONDS)
    code, view, err = recording.end(SECONDS + 60)
    under = served.finish_load(load)
    expect_recorded(code, view, err)
    expect("changed by the recording", State(pid).differences(before), [])
    # The machine may do other things as well, for a moment.
    for _ in range(4):
        after = served.load(1)
        if after["per_second"] >= FULL_SPEED * plain["per_second"]:
            break
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
    # With all that it can take it never waits: its other threads run because it is made to give up the CPU.
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
        if State(self.pid).vdso == self.before.vdso:
            raise Failed("the vDSO is as it was although the container is recorded")
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
    expect("exit code", code, ENDED_EARLY)
    for text in says:
        if text not in err:
            raise Failed(f"'{text}' is not in '{err}'")
    done = recording.host.migrate_run("log", recording.out, "--stats", "--json")
    expect("migrate log", done.returncode, 0)
    return err


# --- what is refused, and what ends it early ---

def expect_refused(tb, container, *says, code=3, options=(), **named):
    recording = Recording(tb, tb.a, container, *options, **named)
    actual, view, err = recording.end()
    if actual != code or view.get("state", "RECORDING_FAILED") != "RECORDING_FAILED":
        raise Failed(f"recording of {container}: exit code {actual}, {view.get('state')}: {err}")
    for text in says:
        if text not in err:
            raise Failed(f"recording of {container}: '{text}' is not in '{err}'")
    return view


def scenario_record_refused(tb):
    scene = Scene(tb)
    a, name = tb.a, "redis1"
    expect_refused(tb, "nosuch", "nosuch")
    a.docker("create", "--name", "stopped1", "redis")
    tb.on_cleanup(lambda: a.docker("rm", "-f", "stopped1", check=False))
    expect_refused(tb, "stopped1", "stopped1", "only a running container")
    tb.run(a, "paused1", "redis")
    a.docker("pause", "paused1")
    expect_refused(tb, "paused1", "paused1 is paused")
    expect("is paused", a.inspect("paused1")["State"]["Paused"], True)

    full = tb.workdir / "full"
    full.mkdir()
    tb.on_cleanup(lambda: shutil.rmtree(full, ignore_errors=True))
    (full / "file").write_text("mine")
    mode = full.stat().st_mode
    expect_refused(tb, name, str(full), "not empty", out=full)
    expect_refused(tb, name, str(full / "file"), "cannot make the directory", out=full / "file")
    expect_refused(tb, name, "cannot make the directory", out=full / "file/below")
    expect("the directory", (os.listdir(full), (full / "file").read_text(), full.stat().st_mode), (["file"], "mine", mode))
    for options in (["--seconds", "-1"], ["--seconds", "x"], ["--compression", "20"], ["--nosuch"]):
        expect_refused(tb, name, options[0], code=2, options=options)
    expect("without --out", a.migrate_run("record", name).returncode, 2)
    scene.after("refused for the command line")

    # A relative directory is that of the caller, not of the daemon.
    relative = os.path.relpath(tb.workdir / "relative")
    recording = Recording(tb, a, name, "--without-files", seconds=0.5, out=relative)
    expect_recorded(*recording.end())
    expect("where it is", (tb.workdir / "relative/events.log").exists(), True)

    recording = scene.begin("--without-files")
    expect_refused(tb, name, "redis1 is being recorded")
    done = a.migrate_run("--quiet", name, tb.b.peer)
    expect("a move meanwhile", (done.returncode, "redis1 is being recorded" in done.stderr), (3, True))
    recording.interrupt(signal.SIGINT)
    expect_recorded(*recording.end())
    scene.after("second recording, and a move")


INSIDE_AND_OUTSIDE = """
import mmap, os, socket, sys, time
role, directory = sys.argv[1:]
if role == "outside":
    open(f"{directory}/memory", "wb").write(bytes(4096))
    os.mkfifo(f"{directory}/fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{directory}/socket")
    listener.listen()
file = open(f"{directory}/memory", "r+b")
memory = mmap.mmap(file.fileno(), 4096)
file.close()
pipe = os.open(f"{directory}/fifo", os.O_RDWR)
print("ready", flush=True)
if role == "outside":
    other = listener.accept()
else:
    other = socket.socket(socket.AF_UNIX)
    other.connect(f"{directory}/socket")
    print("connected", flush=True)
time.sleep(1000)
"""


def scenario_record_refuses_what_cannot_be_replayed(tb):
    """Found before anything is touched, and named: with the process, the descriptor, who is at the other end."""
    start(tb)
    a = tb.a
    tb.load("io_uring", "python", hosts=[a])
    tb.run(a, "uring1", "io_uring")
    wait_until(lambda: "io_uring 1" in a.docker("logs", "uring1"), 10, "the probe uses io_uring")
    before = State(a.container_pid("uring1"))
    expect_refused(tb, "uring1", "probe_io_uring", "IO_URING", "descriptor")
    expect("changed", State(a.container_pid("uring1")).differences(before), [])

    shared = tb.workdir / "shared"
    shared.mkdir()
    tb.on_cleanup(lambda: shutil.rmtree(shared))
    outside = a.popen(sys.executable, "-c", INSIDE_AND_OUTSIDE, "outside", shared, stdout=subprocess.PIPE, text=True)
    tb.on_cleanup(lambda: (outside.kill(), outside.wait()))
    expect("outside", outside.stdout.readline(), "ready\n")
    tb.run(a, "shared1", "python", "/usr/bin/python3", "-c", INSIDE_AND_OUTSIDE, "inside", "/shared",
           options=["-v", f"{shared}:/shared"])
    wait_until(lambda: "connected" in a.docker("logs", "shared1"), 10, "the container is connected")
    before = State(a.container_pid("shared1"))
    view = expect_refused(tb, "shared1", f"pid {outside.pid}", "SHARED_MEMORY", "OUTSIDE_PIPE", "OUTSIDE_SOCKET")
    expect("codes", sorted({b["code"] for b in view["blockers"]}), ["OUTSIDE_PIPE", "OUTSIDE_SOCKET", "SHARED_MEMORY"])
    expect("changed", State(a.container_pid("shared1")).differences(before), [])


def scenario_record_interference(tb):
    """Somebody works on the container while it is recorded: Docker's command does what it always does, and what was recorded
    before can be read."""
    start(tb)
    a, name = tb.a, "redis1"
    tb.load("redis", hosts=[a])

    def case(*docker, says=(), renamed=False):
        tb.run(a, name, "redis")
        wait_until(lambda: "PONG" in a.docker_run("exec", name, "redis-cli", "ping", check=False).stdout, 10, "redis serves")
        recording = Recording(tb, a, name, "--without-files", seconds=20 if says else 1)
        recording.wait_until_it_records()
        a.docker(*docker)
        begin = time.monotonic()
        if says:
            err = expect_ended_early(recording, *says)
            if time.monotonic() - begin > 4:
                raise Failed(f"docker {docker[0]}: the recording went on for {time.monotonic() - begin:.1f} s")
            print(f"docker {' '.join(docker)}: {err}")
        else:
            expect_recorded(*recording.end())
            print(f"docker {' '.join(docker)}: recorded")

    def state():
        return a.inspect(name)["State"]

    def serves():
        expect("redis", a.docker("exec", name, "redis-cli", "ping"), "PONG")
        tasks = State(a.container_pid(name)).tasks.values()
        expect("policies afterwards", {task["policy"] for task in tasks}, {os.SCHED_OTHER})
        a.docker("rm", "-f", name)

    case("stop", name, says=["docker stop"])
    expect("exit code of the container", state()["ExitCode"], 0)
    a.docker("rm", name)
    case("kill", name, says=["docker kill"])
    expect("exit code of the container", state()["ExitCode"], 137)
    a.docker("rm", name)
    case("rm", "-f", name, says=["docker rm"])
    case("restart", name, says=["docker stop"])
    serves()
    case("pause", name, says=["docker pause"])
    expect("is paused", state()["Paused"], True)
    time.sleep(0.5)
    # In one hierarchy or the other.
    states = {path: text for path, text in State(a.container_pid(name)).files.items() if a.inspect(name)["Id"] in path}
    frozen = [path for path, text in states.items()
              if (path.endswith("/freezer.state"), text) == (True, "FROZEN") or (path.endswith("/cgroup.freeze"), text) == (True, "1")]
    expect("cgroups that are frozen", len(frozen), 1)
    a.docker("unpause", name)
    serves()
    case("update", "--cpu-shares", "512", name, says=["docker update"])
    serves()
    case("exec", name, "true", says=["docker exec"])
    serves()
    case("exec", "-d", name, "sleep", "60", says=["docker exec"])
    serves()
    case("rename", name, "redis2", says=["redis2", "docker rename"])
    a.docker("rename", "redis2", name)
    serves()
    case("kill", "-s", "WINCH", name)
    serves()
    case("top", name)
    serves()


def scenario_record_onto_a_full_disk(tb):
    scene = Scene(tb)
    small = tb.workdir / "small"
    small.mkdir()
    image = tb.workdir / "image"
    recording = Recording(tb, tb.a, "redis1", "--without-files", seconds=0.2, out=image)
    expect_recorded(*recording.end())
    needed = sum(path.stat().st_blocks for path in image.rglob("*")) // 2
    for size, code, says in ((needed // 2, 3, "No space left on device"),
                             (needed + 2048, ENDED_EARLY, "the event log cannot be written")):
        tb.a.exec("mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", small)
        try:
            load = tb.client.popen(recorded.build_load(tb.workdir), "redis", tb.a.ip, "6379", "seconds=4",
                                   stdout=subprocess.DEVNULL)
            expect_refused(tb, "redis1", says, code=code, options=["--without-files", "--compression", "0"], seconds=20, out=small)
            expect("the load", load.wait(30), 0)
            scene.after(f"disk of {size} KiB: {says}")
            expect("half-written files", [p for p in tb.a.exec("ls", small).split() if p.endswith(".new")], [])
        finally:
            tb.a.exec("umount", small)


# --- migrate log ---

def lines_of(host, directory, *options, code=0):
    done = host.migrate_run("log", directory, *options)
    expect(f"migrate log {options}: exit code", done.returncode, code)
    return done.stdout.splitlines()


def scenario_record_log(tb):
    scene = Scene(tb)
    a = tb.a
    recording = scene.begin("--without-files")
    following = a.popen(*recorded.log_command(a, recording.out, "--follow", "--json"), stdout=subprocess.PIPE, text=True)
    tb.on_cleanup(lambda: (following.kill(), following.wait()))
    first = [json.loads(following.stdout.readline()) for _ in range(50)]
    expect("LSNs while it is recorded", [event["lsn"] for event in first], list(range(50)))
    expect("still follows", following.poll(), None)
    if a.migrate_run("log", recording.out, "--stats").stderr.find("has no end") < 0:
        raise Failed("a log that is being recorded has an end")
    recording.interrupt(signal.SIGINT)
    code, view, err = recording.end()
    expect_recorded(code, view, err)
    rest = [json.loads(line) for line in following.stdout]
    expect("the end of --follow", (following.wait(10), rest[-1]["number"]), (0, MARK_END))
    expect("followed", rest[-1]["lsn"] + 1, int(view["events"]))

    events = [*first, *rest]
    stats = expect_complete(a, recording, view, files=False)
    expect("lines", len(lines_of(a, recording.out)), len(events))
    expect("sum of the table", sum(row["count"] for row in stats["by_event"]), len(events))
    for row in stats["by_event"]:
        if not row["event"].startswith("["):
            lines = lines_of(a, recording.out, "--syscall", row["event"])
            expect(f"lines of {row['event']}", len(lines), row["count"])
    for task in stats["tasks"]:
        expect(f"lines of task {task['task']}", len(lines_of(a, recording.out, "--task", task["task"])), task["events"])
    expect("a part", [json.loads(line)["lsn"] for line in lines_of(a, recording.out, "--from", 10, "--to", 12, "--json")],
           [10, 11, 12])
    lines_of(a, recording.out, "--syscall", "nosuch", code=2)
    lines_of(a, tb.workdir, code=2)

    # Cut off anywhere it is read as far as it goes; a flipped bit is found.
    log = (recording.out / "events.log").read_bytes()
    damaged = recording.out / "damaged"
    damaged.mkdir()
    for size in [*range(0, min(len(log), 200), 40), len(log) // 2, len(log) - 1]:
        (damaged / "events.log").write_bytes(log[:size])
        read = lines_of(a, damaged, "--json")
        expect(f"LSNs of the first {size} bytes", [json.loads(line)["lsn"] for line in read], list(range(len(read))))
    middle = len(log) // 2
    (damaged / "events.log").write_bytes(log[:middle] + bytes([log[middle] ^ 1]) + log[middle + 1:])
    read = lines_of(a, damaged, "--json", code=1)
    expect("events before the flipped bit", [json.loads(line) for line in read], events[:len(read)])
    scene.after("read")


def scenario_record_go_that_spins(tb):
    """Threads of a Go program that has several CPUs wait for each other in loops without a system call, which on one CPU never
    end: the recording does, and says so."""
    if cause := recorded.lacking("go"):
        print(cause)
        return
    start(tb)
    served = Served(tb, tb.a, "go", options=["-e", "GOMAXPROCS=4"])
    pid = tb.a.container_pid("go")
    before = State(pid)
    load = served.start_load(SECONDS + 4)
    recording = Recording(tb, tb.a, "go", "--without-files", seconds=SECONDS + 2)
    code, view, err = recording.end()
    under = served.finish_load(load)
    expect_put_back(pid, before, "Go with four threads")
    print(f"exit code {code}: {err}; {under['per_second']:.0f} requests/s, longest gap {under['longest_gap_us'] / 1000:.0f} ms")
    if code == 0:
        expect_recorded(code, view, err)
    elif code != ENDED_EARLY or not re.search("computed without a system call|system calls that do not wait", err):
        raise Failed(f"exit code {code}: {err}")
    if under["longest_gap_us"] > int(view["t0_freeze_us"]) + LONGEST_GAP_US:
        raise Failed(f"no reply for {under['longest_gap_us'] / 1000:.0f} ms")
    served.load(1)
