"""Volumes and the writable layer arrive byte by byte, with owners, modes, times, xattrs, links, holes and deletions."""

import hashlib
import os
import stat
from pathlib import Path

from common import expect, move, start
from shell import Failed

CHANGES = """
set -e
echo changed > /etc/passwd.extra; chmod 4751 /etc/passwd.extra; chown 1000:1001 /etc/passwd.extra
rm /etc/nsswitch.conf
mkdir -p /data/deep/er; dd if=/dev/urandom of=/data/deep/er/random bs=64k count=40 2>/dev/null
dd if=/dev/zero of=/data/sparse bs=1 count=1 seek=50000000 2>/dev/null
cp /data/deep/er/random /vol/copy; touch /vol/empty; chmod 0 /vol/empty
while :; do echo line >> /vol/log; sleep 0.05; done
"""


def described(root):
    """Path -> everything that must be the same."""
    found = {}
    inodes = {}
    for path in sorted(Path(root).rglob("*")):
        status = path.lstat()
        entry = [stat.S_IFMT(status.st_mode), status.st_mode, status.st_uid, status.st_gid, status.st_rdev]
        names = [n for n in os.listxattr(path, follow_symlinks=False) if n != "trusted.overlay.origin"]
        entry.append({n: os.getxattr(path, n, follow_symlinks=False) for n in names})
        if stat.S_ISREG(status.st_mode):
            entry += [status.st_size, status.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()]
            inodes.setdefault(status.st_ino, []).append(str(path.relative_to(root)))
        if stat.S_ISLNK(status.st_mode):
            entry.append(os.readlink(path))
        found[str(path.relative_to(root))] = entry
    return found, sorted(sorted(names) for names in inodes.values() if len(names) > 1)


def trees(host, name):
    inspect = host.inspect(name)
    return {"writable layer": inspect["GraphDriver"]["Data"]["UpperDir"],
            **{m["Destination"]: m["Source"] for m in inspect["Mounts"]}}


def scenario_files(tb):
    tb.load("tools")
    tb.on_cleanup(lambda: [h.docker("volume", "rm", "-f", "vol1", check=False) for h in tb.hosts])
    start(tb)
    tb.run(tb.a, "files1", "tools", "/bin/sh", "-c", CHANGES, options=["-v", "vol1:/vol", "-v", "/anonymous"])
    upper = Path(trees(tb.a, "files1")["writable layer"])
    tb.client.exec("sleep", "1")
    (upper / "data/hard1").write_text("linked")
    os.link(upper / "data/hard1", upper / "data/hard2")
    os.symlink("../etc/passwd", upper / "data/symbolic")
    os.setxattr(upper / "data/hard1", "user.note", b"kept")
    os.mkfifo(upper / "data/fifo")

    result = move(tb.a, tb.b, "files1")
    if int(result["transferred"]["files"]) == 0:
        raise Failed("no bytes of files were counted")
    tb.b.docker("pause", "files1")
    tb.on_cleanup(lambda: tb.b.docker("unpause", "files1", check=False))
    source_name = result["source_container_left"]
    ours, theirs = trees(tb.a, source_name), trees(tb.b, "files1")
    expect("mounts", sorted(theirs), sorted(ours))
    for tree, path in ours.items():
        before, links_before = described(path)
        after, links_after = described(theirs[tree])
        before.pop("log", None), after.pop("log", None)  # written to since
        before.pop("tmp", None), after.pop("tmp", None)  # CRIU has a directory in it during the dump
        if before != after:
            names = sorted(set(before) ^ set(after)) or [n for n in before if before[n] != after[n]]
            raise Failed(f"{tree} differs: {[(n, before.get(n), after.get(n)) for n in names[:5]]}")
        expect(f"hard links of {tree}", links_after, links_before)
    blocks = Path(theirs["writable layer"], "data/sparse").stat().st_blocks
    if blocks > 100:
        raise Failed(f"the hole was filled: {blocks} blocks")
    tb.b.docker("unpause", "files1")
    log = Path(theirs["/vol"], "log")
    size = log.stat().st_size
    tb.client.exec("sleep", "0.5")
    if log.stat().st_size <= size:
        raise Failed("the container does not write its log any more")
