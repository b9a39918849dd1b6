"""The migrated container is an ordinary one: logs, exec, stop, start, rm; its options are those it was created with."""

import json

from common import expect, move, start
from shell import Failed

OPTIONS = ["-p", "6379:6379", "-e", "COLOUR=blue", "--label", "team=db", "--memory", "256m", "--cpu-shares", "512",
           "--cap-drop", "MKNOD", "--hostname", "dbhost", "--restart", "unless-stopped", "--ulimit", "nofile=2048:4096",
           "--security-opt", "no-new-privileges", "--log-opt", "max-size=1m", "--workdir", "/data"]
# What a move changes on purpose.
DIFFERENT = {"Config": set(), "HostConfig": {"Runtime"}}


def described(host, name):
    inspect = host.inspect(name)
    return {part: {k: v for k, v in inspect[part].items() if k not in skipped} for part, skipped in DIFFERENT.items()}


def scenario_docker_commands(tb):
    tb.load("redis")
    start(tb)
    tb.run(tb.a, "redis1", "redis", options=OPTIONS)
    tb.a.docker("exec", "redis1", "redis-cli", "set", "greeting", "hello")
    before = described(tb.a, "redis1")
    history = tb.a.docker("logs", "redis1")
    move(tb.a, tb.b, "redis1")

    after = described(tb.b, "redis1")
    for part in before:
        for key, value in before[part].items():
            if after[part].get(key) != value:
                raise Failed(f"{part}.{key}: {json.dumps(after[part].get(key))}, was {json.dumps(value)}")
    expect("docker exec", tb.b.docker("exec", "redis1", "redis-cli", "get", "greeting"), "hello")
    if not history or not tb.b.docker("logs", "redis1").startswith(history):
        raise Failed("docker logs has lost its history")
    tb.b.docker("exec", "redis1", "redis-cli", "debug", "set-active-expire", "1")
    tb.b.docker("stop", "redis1")
    expect("running after docker stop", tb.b.is_running("redis1"), False)
    if len(tb.b.docker("logs", "redis1")) <= len(history):
        raise Failed("nothing was logged after the move")
    tb.b.docker("start", "redis1")
    expect("a normal container after docker start", tb.b.docker("exec", "redis1", "redis-cli", "get", "greeting"), "")
    tb.b.docker("rm", "-f", "redis1")
    expect("left by docker rm", tb.b.docker("ps", "-aq"), "")
