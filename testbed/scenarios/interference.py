"""Somebody else works on the container in the middle of its migration: it is clear what happened, Docker's command does what
it does at any other time, and never do two copies run."""

import json
import signal
import time

from common import expect, start
from redis_incr_client import Client
from shell import Failed, wait_until

PRESYNC = ["--bandwidth", "4M"]  # with the volume below it takes long enough
SOON = 4  # seconds from the interference to the end of the migration
PORT = ["-p", "6379:6379"]


class Case:
    """One redis on host a that is about to move, and the end of everything."""

    def __init__(self, tb, name, *options, fill=False, faults="", target_faults=""):
        self.tb, self.name = tb, name
        for host, points in ((tb.a, faults), (tb.b, target_faults)):
            host.stop_daemon()
            host.start_daemon(faults=points)
        tb.run(tb.a, name, "redis", options=[*PORT, *options, *(["-v", "/big"] if fill else [])])
        if fill:
            tb.a.docker("exec", name, "dd", "if=/dev/urandom", "of=/big/file", "bs=1M", "count=64")
        self.client = Client(tb.client, tb.a.ip, 6379)
        tb.on_cleanup(self.client.close)
        self.client.wait_for_replies(50)
        self.process = None

    def begin(self, *options):
        self.process = self.tb.a.popen(self.tb.build / "bin/migrate", "--socket", self.tb.a.control_socket, "--json",
                                       "--progress=none", *options, self.name, self.tb.b.peer, stdout=-1, stderr=-1, text=True)

    def during(self, phase):
        def shown():
            if self.process.poll() is not None:
                raise Failed(f"{self.name}: the migration ended before {phase}: {self.process.communicate()}")
            lines = self.tb.a.migrate_run("list", "--active").stdout.splitlines()
            return any(f" {phase} " in line for line in lines[1:])
        wait_until(shown, 30, f"{self.name} in {phase}", pause=0.01)
        time.sleep(0.3)

    def at(self, host, point):
        """The daemon of the host waits at its fault point."""
        log = host.dir / "migrated.log"
        wait_until(lambda: f"fault point {point}: waiting" in log.read_text(), 30, f"{self.name} at {point}")
        log.write_text("")  # the next case has the same one

    def end(self, seconds=60):
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, json.loads(out) if out.strip() else {}, err

    def fails(self, reason, *says, seconds=SOON):
        begin = time.monotonic()
        code, result, err = self.end()
        took = time.monotonic() - begin
        failure = result.get("failure", {})
        print(f"{self.name}: {failure.get('message')} [{failure.get('reason')}], {took:.1f} s later")
        expect(f"{self.name}: reason", failure.get("reason"), reason)
        expect(f"{self.name}: exit code", code, 5)
        if took > seconds:
            raise Failed(f"{self.name}: it took {took:.1f} s")
        for text in (self.name.removesuffix("-new"), *says):
            if text not in failure["message"]:
                raise Failed(f"{self.name}: '{text}' is not in '{failure['message']}'")
        expect(f"{self.name}: left at the target", self.tb.b.docker("ps", "-a", "--format", "{{.Names}}"), "")

    def goes_on(self):
        self.client.wait_for_replies(50, timeout=10)
        totals = self.client.stats()
        expect(f"{self.name}: errors", (totals["wrong"], totals["resets"], totals["stalled"]), (0, 0, 0))

    def state(self):
        return self.tb.a.inspect(self.name)["State"]

    def moved(self):
        code, result, err = self.end()
        expect(f"{self.name}: exit code", (code, err), (0, ""))
        expect(f"{self.name}: runs on", [h.name for h in self.tb.hosts if h.is_running(self.name)], ["b"])
        return result

    def remove(self):
        self.client.close()
        for host in self.tb.hosts:
            host.docker("rm", "-f", "-v", self.name, check=False)


def in_background(host, *args):
    return host.popen("docker", "--config", host.dir / "docker-cli", "-H", f"unix://{host.docker_socket}", *args,
                      stdout=-1, stderr=-1, text=True)


def succeeds(process, seconds=30):
    out, err = process.communicate(timeout=seconds)
    expect("docker", (process.returncode, err), (0, ""))
    return out


def scenario_interference_before_the_freeze(tb):
    tb.load("redis")
    start(tb)
    act = tb.a.docker

    def case(name, *options):
        made = Case(tb, name, *options, fill=True)
        made.begin(*PRESYNC)
        made.during("presync")
        return made

    one = case("stop1")
    act("stop", "stop1")
    one.fails("CONTAINER_STOPPED", "docker stop", "presync")
    expect("exit code of the container", one.state()["ExitCode"], 0)
    one.remove()

    one = case("kill1")
    act("kill", "kill1")
    one.fails("CONTAINER_STOPPED", "docker kill", "presync")
    one.remove()

    one = case("rm1")
    act("rm", "-f", "-v", "rm1")
    one.fails("CONTAINER_REMOVED", "docker rm", "presync")
    one.remove()

    one = case("end1")
    act("exec", "end1", "redis-cli", "shutdown", "nosave", check=False)
    one.fails("CONTAINER_ENDED", "by itself", "exit code 0", "presync")
    one.remove()

    one = case("restart1")
    act("restart", "restart1")
    one.fails("CONTAINER_STOPPED", "presync")
    expect("runs", one.state()["Running"], True)
    one.remove()

    one = case("name1")
    act("rename", "name1", "name1-new")
    one.name = "name1-new"
    one.fails("CONTAINER_RENAMED", "renamed to name1-new")
    one.goes_on()
    one.remove()

    one = case("pause1")
    act("pause", "pause1")
    one.fails("CONTAINER_PAUSED", "docker pause")
    expect("is paused", one.state()["Paused"], True)
    act("unpause", "pause1")
    one.goes_on()
    one.remove()

    one = case("update1")
    act("update", "--cpu-shares", "512", "update1")
    one.fails("CONTAINER_CHANGED", "docker update")
    one.goes_on()
    one.remove()

    # What is no interference: a signal that is not for stopping, and a command in the container.
    one = Case(tb, "hup1", fill=True)
    one.begin("--bandwidth", "16M")
    one.during("presync")
    act("kill", "-s", "WINCH", "hup1")
    expect("exec", act("exec", "hup1", "redis-cli", "ping"), "PONG")
    one.moved()
    one.goes_on()
    one.remove()


scenario_interference_before_the_freeze.timeout = 300


def scenario_interference_in_the_freeze(tb):
    """The attempt ends and the container is thawed, so that Docker's command can do its work."""
    tb.load("redis")
    start(tb)

    def case(name, point="checkpointed", *options):
        made = Case(tb, name, *options, faults=f"{point}=wait:2500")
        made.begin()
        made.at(tb.a, point)
        return made

    one = case("stop2")
    stopping = in_background(tb.a, "stop", "stop2")
    one.fails("CONTAINER_STOPPED", "docker stop", "checkpoint")
    succeeds(stopping)
    expect("it could end in order", one.state()["ExitCode"], 0)
    one.remove()

    one = case("stop3", "shipped")
    stopping = in_background(tb.a, "stop", "stop3")
    one.fails("CONTAINER_STOPPED", "docker stop", "ship")
    succeeds(stopping)
    expect("it could end in order", one.state()["ExitCode"], 0)
    one.remove()

    one = case("stop4", "before-commit")
    stopping = in_background(tb.a, "stop", "stop4")
    one.fails("CONTAINER_STOPPED", "docker stop", "cutover")
    succeeds(stopping)
    expect("it could end in order", one.state()["ExitCode"], 0)
    one.remove()

    one = case("kill2")
    killing = in_background(tb.a, "kill", "kill2")
    one.fails("CONTAINER_STOPPED", "docker kill", "checkpoint")
    succeeds(killing)
    expect("runs", one.state()["Running"], False)
    one.remove()

    one = case("rm2", "restored")
    removing = in_background(tb.a, "rm", "-f", "rm2")
    one.fails("CONTAINER_REMOVED", "docker rm", "restore")
    succeeds(removing)
    one.remove()

    one = case("restart2")
    restarting = in_background(tb.a, "restart", "restart2")
    one.fails("CONTAINER_STOPPED")
    succeeds(restarting)
    expect("runs", one.state()["Running"], True)
    one.remove()

    one = case("hup2")
    tb.a.docker("kill", "-s", "WINCH", "hup2")
    one.fails("CONTAINER_SIGNALLED", "signal 28")
    one.goes_on()
    one.remove()

    # Docker cannot pause what is frozen, and says so; a command waits for the end, whatever it is.
    one = case("pause2")
    done = tb.a.docker_run("pause", "pause2", check=False)
    print(f"docker pause of a frozen container: exit code {done.returncode}: {done.stderr.strip()}")
    waiting = in_background(tb.a, "exec", "pause2", "redis-cli", "ping")
    one.moved()
    one.goes_on()
    out, err = waiting.communicate(timeout=30)
    print(f"docker exec in a frozen container: exit code {waiting.returncode}: {out.strip()} {err.strip()}")
    if waiting.returncode == 0:
        raise Failed("a command ran in the container that had moved away")
    one.remove()


scenario_interference_in_the_freeze.timeout = 300


def scenario_interference_past_the_commit_point(tb):
    """The container runs at the target whatever happens to the one that it has left."""
    tb.load("redis")
    start(tb)
    for point in ("committed", "fencing"):
        for name, command in (("stop5", ["stop"]), ("kill5", ["kill"]), ("restart5", ["restart"]), ("rm5", ["rm", "-f"])):
            one = Case(tb, name, "--restart", "always", faults=f"{point}=wait:1500")
            one.begin()
            one.at(tb.a, point)
            docker = in_background(tb.a, *command, name)
            one.moved()
            one.goes_on()
            docker.communicate(timeout=30)
            time.sleep(1)
            expect(f"{name} at {point}: runs on the source", tb.a.docker("ps", "-q"), "")
            print(f"docker {command[0]} at {point}: exit code {docker.returncode}")
            tb.a.migrate_run("gc", "--remove", "--moved")
            one.remove()


scenario_interference_past_the_commit_point.timeout = 300


def scenario_interference_at_the_target(tb):
    tb.load("redis")
    start(tb)
    for name, command, reason in (("rm6", ["rm", "-f", "-v"], "REPLICA_REMOVED"), ("start6", ["start"], "REPLICA_STARTED"),
                                  ("name6", ["rename"], "REPLICA_RENAMED")):
        one = Case(tb, name, fill=True)
        one.begin(*PRESYNC)
        one.during("presync")
        wait_until(lambda: tb.b.docker("ps", "-aq", "--filter", f"name={name}"), 10, "the replica is made")
        time.sleep(0.5)
        tb.b.docker(*command, name, *(["other6"] if command == ["rename"] else []))
        one.fails(reason, f"docker {command[0]}", "target")
        one.goes_on()
        one.remove()
    one = Case(tb, "rm7", target_faults="target-restoring=wait:2000")
    one.begin()
    one.at(tb.b, "target-restoring")
    tb.b.docker("rm", "-f", "rm7")
    one.fails("REPLICA_REMOVED", "docker rm", "target")
    one.goes_on()
    one.remove()


scenario_interference_at_the_target.timeout = 200


def scenario_interference_by_dockerd(tb):
    """Docker of the source is restarted: with live-restore containers do not notice, without it they are stopped."""
    tb.load("redis")
    start(tb)
    one = Case(tb, "dockerd8", fill=True)
    one.begin(*PRESYNC)
    one.during("presync")
    tb.a.restart_docker()
    code, result, _ = one.end()
    failure = result.get("failure", {})
    print(f"dockerd restarted: {failure.get('message')} [{failure.get('reason')}]")
    expect("exit code", code, 5)
    if failure.get("reason") not in ("CONTAINER_STOPPED", "CONTAINER_ENDED"):
        raise Failed(f"unclear: {failure}")
    expect("left at the target", tb.b.docker("ps", "-a", "--format", "{{.Names}}"), "")
    one.remove()

    tb.a.live_restore = True
    tb.on_cleanup(lambda: setattr(tb.a, "live_restore", False) or tb.a.restart_docker())
    tb.a.restart_docker()
    one = Case(tb, "dockerd9", fill=True)
    one.begin("--bandwidth", "16M")
    one.during("presync")
    tb.a.restart_docker(signal.SIGKILL)
    one.moved()
    one.goes_on()
    one.remove()


scenario_interference_by_dockerd.timeout = 200
