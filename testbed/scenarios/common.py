"""What scenarios that migrate share."""

import json

from shell import Failed
from twohosts import migrate


def start(tb):
    """Fresh daemons on both hosts; what moves leave on purpose (relays, stopped containers) is removed afterwards."""
    tb.on_cleanup(lambda: [host.stop_daemon() for host in tb.hosts])
    tb.on_cleanup(lambda: collect(tb))
    for host in tb.hosts:
        host.stop_daemon()
        host.start_daemon()


def collect(tb):
    for host in tb.hosts:
        if host.daemon_pid():
            migrate(host, "gc", "--remove", "--moved")


def move(source, target, name, *options):
    """The result of a move that must succeed, as a dictionary."""
    result = json.loads(migrate(source, "--json", "--progress=plain", *options, name, target.peer))
    if result["outcome"] != "OUTCOME_MOVED":
        raise Failed(f"outcome {result['outcome']}")
    expect_moved(name, source, target)
    return result


def expect_moved(name, source, target):
    if not target.is_running(name):
        raise Failed(f"{name} does not run on {target.node}")
    if source.is_running(name):
        raise Failed(f"{name} still runs on {source.node} as well")


def expect(what, actual, expected):
    if actual != expected:
        raise Failed(f"{what}: {actual!r}, expected {expected!r}")


def expect_refused(source, *args, code=3, says=()):
    """`migrate ARGS` fails with this exit code and one line that contains all of `says`."""
    done = source.migrate_run("--quiet", *args)
    if done.returncode != code:
        raise Failed(f"migrate {' '.join(map(str, args))}: exit code {done.returncode}, expected {code}: {done.stderr}")
    first = done.stderr.splitlines()[0] if done.stderr else ""
    missing = [text for text in says if text.lower() not in first.lower()]
    if missing:
        raise Failed(f"migrate {' '.join(map(str, args))}: {missing} not in the first line: {done.stderr}")
