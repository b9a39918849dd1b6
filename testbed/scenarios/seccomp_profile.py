"""The seccomp profile: a program that prefers io_uring takes another way, on the engine's own runtime, and can then be moved."""

import json
import time

from common import expect, move, start
from shell import Failed

SECONDS = 20


def ticks(host, name):
    """What the probe wrote, as pairs of way and number."""
    lines = [line.split() for line in host.docker("logs", name).splitlines()]
    return [(way, int(number)) for way, number in (line for line in lines if line[0] in ("io_uring", "epoll"))]


def next_way(host, name):
    """Waits for two more ticks; the way in which it waits for them."""
    seen = len(ticks(host, name))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        now = ticks(host, name)
        if len(now) >= seen + 2:
            expect("ticks in a row", [number for _, number in now], list(range(len(now))))
            return now[-1][0]
        time.sleep(0.05)
    raise Failed(f"{name} on {host.node} does not go on: {host.docker('logs', name)}")


def wait_for_refusals(host, name, count):
    """Each start of the probe is told once that there is no io_uring."""
    deadline = time.monotonic() + SECONDS
    while host.docker("logs", name).count("io_uring_setup: ENOSYS") != count:
        if time.monotonic() > deadline:
            raise Failed(f"{name} on {host.node} was not refused {count} times: {host.docker('logs', name)[-500:]}")
        time.sleep(0.05)


def blockers(host, name, target):
    answer = json.loads(host.migrate_run("-o", "json", "preflight", name, target.peer).stdout)
    return {blocker["code"] for blocker in answer.get("blockers", [])}


def scenario_seccomp_profile(tb):
    tb.load("io_uring")
    start(tb)
    a, b = tb.a, tb.b
    profile = tb.workdir / "recordable.json"
    a.migrate_run("seccomp-profile", "--out", profile, check=True)
    tb.on_cleanup(lambda: profile.unlink(missing_ok=True))
    expect("on standard output", a.migrate_run("seccomp-profile", check=True).stdout.strip(), profile.read_text().strip())

    tb.run(a, "plain", "io_uring")
    expect("without the profile", next_way(a, "plain"), "io_uring")
    expect("why not", "IO_URING" in blockers(a, "plain", b), True)

    tb.run(a, "confined", "io_uring", options=["--security-opt", f"seccomp={profile}"])
    expect("with the profile", next_way(a, "confined"), "epoll")
    wait_for_refusals(a, "confined", 1)
    expect("why not", blockers(a, "confined", b), set())
    # CAP_SYS_ADMIN opens nothing of what the profile refuses.
    tb.run(a, "mighty", "io_uring", options=["--cap-add", "SYS_ADMIN", "--security-opt", f"seccomp={profile}"])
    expect("with the profile and CAP_SYS_ADMIN", next_way(a, "mighty"), "epoll")

    move(a, b, "confined")
    expect("after the move", next_way(b, "confined"), "epoll")
    b.docker("restart", "-t", "0", "confined")
    wait_for_refusals(b, "confined", 2)
