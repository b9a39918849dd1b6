"""Processes, socket pair, pipe with unread data, inotify watch, locks, unlinked file, terminal: all go along."""

from common import expect, move, start
from line_client import Lines


def run(tb, options):
    tb.load("probe")
    start(tb)
    tb.run(tb.a, "probe", "probe", options=["-p", "7000:7000", *options])
    lines = Lines(tb.client, tb.a.ip, 7000)
    tb.on_cleanup(lines.close)
    expect("before", lines.ask("check"), "ok 0")
    move(tb.a, tb.b, "probe")
    expect("after the first move", lines.ask("check"), "ok 1")
    move(tb.b, tb.a, "probe")
    expect("after the second move", lines.ask("check"), "ok 2")


def scenario_kernel_objects(tb):
    run(tb, [])


def scenario_kernel_objects_terminal(tb):
    run(tb, ["-t"])


def scenario_kernel_objects_interactive(tb):
    run(tb, ["-i", "-t"])
