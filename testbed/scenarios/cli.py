"""The commands beside the move, and the API's JSON."""

import json

from common import expect, move, start
from shell import Failed


def scenario_commands(tb):
    tb.load("redis")
    start(tb)
    a, b = tb.a, tb.b
    node = json.loads(a.migrate_run("-o", "json", "node", check=True).stdout)
    expect("problems", node.get("problems", []), [])
    tb.run(a, "redis1", "redis", options=["-p", "6379:6379"])
    fine = json.loads(a.migrate_run("-o", "json", "preflight", "redis1", b.peer, check=True).stdout)
    expect("blockers", fine.get("blockers", []), [])
    tb.run(b, "other", "redis", options=["-p", "6379:6379"])
    b.docker("create", "--name", "redis1", "redis")
    refused = a.migrate_run("-o", "json", "preflight", "redis1", b.peer)
    expect("exit code of preflight", refused.returncode, 3)
    codes = {blocker["code"] for blocker in json.loads(refused.stdout)["blockers"]}
    expect("all blockers at once", codes, {"NAME_TAKEN", "PORT_TAKEN"})
    b.docker("rm", "-f", "other", "redis1")

    identified = ("--request-id", "once", "--detach", "redis1", b.peer)
    first = a.migrate_run(*identified, check=True).stdout.strip()
    expect("the same request", a.migrate_run(*identified, check=True).stdout.strip(), first)
    expect("exit code of watch", a.migrate_run("status", "--watch", first).returncode, 0)
    status = json.loads(a.migrate_run("-o", "json", "status", first, check=True).stdout)
    expect("status", (status["id"], status["outcome"]), (first, "OUTCOME_MOVED"))
    overview = json.loads(a.migrate_run("-o", "json", "status", check=True).stdout)
    expect("overview", (overview["node"]["name"], len(overview["relays"])), (a.node, 1))
    expect("under way", overview.get("migrations", []), [])
    if first not in a.migrate_run("list", check=True).stdout:
        raise Failed("not in the list")
    expect("abort of what has ended", a.migrate_run("abort", first).returncode, 3)
    garbage = json.loads(a.migrate_run("-o", "json", "gc", check=True).stdout)
    expect("garbage of a good move", garbage.get("items", []), [])
    for words in (["--help"], ["move", "--help"], ["--version"]):
        expect(f"exit code of {words}", a.migrate_run(*words).returncode, 0)
    expect("usage", a.migrate_run("redis1").returncode, 2)


def scenario_bind_mount_is_copied(tb):
    """Each host has a disk of its own there; `--bind-mounts copy` fills the other one."""
    tb.load("redis")
    start(tb)
    disk = tb.workdir / "disk"
    disk.mkdir(exist_ok=True)
    for host in tb.hosts:
        host.exec("mount", "-t", "tmpfs", "tmpfs", disk)
        tb.on_cleanup(lambda h=host: h.exec("umount", disk))
    tb.a.exec("sh", "-c", f"mkdir {disk}/data && echo precious > {disk}/data/file")
    tb.run(tb.a, "redis1", "redis", options=["-v", f"{disk}/data:/bound"])
    move(tb.a, tb.b, "redis1", "--bind-mounts", "copy")
    expect("the copy", tb.b.docker("exec", "redis1", "cat", "/bound/file"), "precious")


def scenario_restart_policy_and_removal(tb):
    """--rm leaves nothing; a restart policy arrives and does not bring the source back."""
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=["--restart", "always"])
    move(tb.a, tb.b, "redis1", "--rm")
    expect("containers at the source", tb.a.docker("ps", "-aq"), "")
    policy = tb.b.inspect("redis1")["HostConfig"]["RestartPolicy"]["Name"]
    expect("restart policy", policy, "always")
    move(tb.b, tb.a, "redis1")
    tb.b.restart_docker()
    expect("brought back at the source", tb.b.docker("ps", "-q"), "")
