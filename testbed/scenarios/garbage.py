"""`migrate gc`: what a daemon that lost its journal left in the kernel is found by its names, and removed."""

import json
import secrets

from common import expect, move, start


def garbage(host, *options):
    return json.loads(host.migrate_run("-o", "json", "gc", *options, check=True).stdout).get("items", [])


def kinds(items):
    return sorted({item["kind"] for item in items})


def scenario_gc_of_what_nobody_remembers(tb):
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    move(tb.a, tb.b, "redis1")
    expect("garbage of a good move", garbage(tb.a), [])
    tb.on_cleanup(tb.a.remove_all)  # the container that left is nobody's any more, and so the admin's
    tb.a.stop_daemon()
    for journal in (tb.a.dir / "migrated-state").glob("journal.db*"):
        journal.unlink()
    # As a daemon leaves them that is killed in the middle.
    tb.a.exec("nft", "add table ip migrate_guard")
    hold = secrets.token_hex(8)
    tb.a.exec("nft", f"add table ip migrate_hold_{hold}")
    tickets = tb.a.dir / "migrate-runtime/tickets"
    tickets.mkdir(exist_ok=True)
    (tickets / f"{secrets.token_hex(32)}.json.new").write_text("{")
    tb.a.start_daemon()
    found = garbage(tb.a)
    expect("found", kinds(found), ["guard", "hold", "relay", "stand-in", "ticket"])
    expect("removed", [item for item in found if item.get("removed")], [])
    expect("still there", kinds(garbage(tb.a)), kinds(found))
    expect("could not be removed", [i for i in garbage(tb.a, "--remove") if not i.get("removed")], [])
    expect("left", garbage(tb.a), [])
    tables = [line for line in tb.a.exec("nft", "list", "tables").splitlines() if "migrate_" in line]
    expect("tables", tables, [])


def scenario_gc_leaves_a_move_alone(tb):
    """In the middle of a move nothing of it is garbage."""
    tb.load("redis")
    start(tb)
    tb.b.stop_daemon()
    tb.b.start_daemon(faults="target-committed=wait:3000")
    tb.run(tb.a, "redis1", "redis", options=["-p", "6379:6379"])
    identity = tb.a.migrate_run("--detach", "redis1", tb.b.peer, check=True).stdout.strip()
    seen = []
    while "cleanup" not in (listed := tb.a.migrate_run("list", check=True).stdout) and "moved" not in listed:
        seen += garbage(tb.a, "--remove") + garbage(tb.b, "--remove")
    expect("taken for garbage", kinds(seen), [])
    expect("exit code", tb.a.migrate_run("status", "--watch", identity).returncode, 0)
    expect("runs there", tb.b.is_running("redis1"), True)
