"""The part of handoff_cases.py that is always run: the daemon kills itself at every point, on both sides; and it dies while
the container is frozen and nobody starts it again. scripts/handoff-cases runs all of them."""

import tempfile
from pathlib import Path

import handoff_cases
from shell import Failed


def run(tb, kind, side=None):
    tb.load("redis")
    logs = Path(tempfile.mkdtemp(prefix="migrate-handoff-cases-"))
    wanted = [c for c in handoff_cases.cases(tb.build) if c.kind == kind and c.point.side == (side or c.point.side)]
    failed = []
    print(handoff_cases.HEADER)
    for case in wanted:
        try:
            result = handoff_cases.run_case(tb, case, logs)
        except handoff_cases.Dirty as e:
            print(e.args[0].line())
            raise Failed(f"{case.name}: {e.args[0].result}; logs in {logs}") from None
        print(result.line(), flush=True)
        if result.result != "ok":
            failed.append(f"{case.name}: {result.result}")
    if failed:
        raise Failed(f"logs in {logs}: " + "; ".join(failed))
    logs.rmdir()


def scenario_source_daemon_killed_at_every_point(tb):
    run(tb, "kill", "source")


def scenario_target_daemon_killed_at_every_point(tb):
    run(tb, "kill", "target")


def scenario_source_daemon_dead_for_good_while_frozen(tb):
    run(tb, "stay-dead")


scenario_source_daemon_killed_at_every_point.timeout = 240
scenario_source_daemon_killed_at_every_point.slow = True
scenario_target_daemon_killed_at_every_point.timeout = 240
scenario_target_daemon_killed_at_every_point.slow = True
scenario_source_daemon_dead_for_good_while_frozen.timeout = 240
scenario_source_daemon_dead_for_good_while_frozen.slow = True
