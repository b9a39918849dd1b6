"""The image goes along when the target lacks it, without the layers that the target has."""

from common import expect, move, start
from shell import Failed


def moved_image_bytes(tb, loaded_at_target):
    tb.b.docker("image", "prune", "-a", "-f")  # whatever other scenarios have loaded has the base layer too
    tb.load("redis", hosts=[tb.a])
    if loaded_at_target:
        tb.load(loaded_at_target, hosts=[tb.b])
    tb.run(tb.a, "redis1", "redis")
    tb.a.docker("exec", "redis1", "redis-cli", "set", "greeting", "hello")
    result = move(tb.a, tb.b, "redis1")
    expect("data", tb.b.docker("exec", "redis1", "redis-cli", "get", "greeting"), "hello")
    expect("image name", tb.b.docker("inspect", "-f", "{{.Config.Image}}", "redis1"), "redis")
    tb.b.docker("rm", "-f", "redis1")
    for host in tb.hosts:
        host.migrate_run("gc", "--remove", "--moved", check=True)
    return int(result["transferred"].get("image", 0))


def scenario_image_goes_along(tb):
    start(tb)
    whole = moved_image_bytes(tb, None)
    without_base = moved_image_bytes(tb, "tools")
    nothing = moved_image_bytes(tb, "redis")
    print(f"image bytes on the wire: {whole} whole, {without_base} without the base layer, {nothing} if it is there")
    if not whole > without_base > nothing == 0:
        raise Failed("layers were sent again")
