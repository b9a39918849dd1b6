"""What a host has of everything that a migration must not leave behind; two such lists are compared.

A snapshot is a dictionary from kind to a set of lines. It holds everything of a kind and not only what has our names:
something that lost its name would be left behind all the same.
"""

import json
import os
import re
from pathlib import Path

import reaper
import shell


def snapshot(host):
    return {
        "nft rule": _nft(host),
        "iptables-legacy rule": _legacy_rules(host),
        "link": {link["ifname"] for link in _json(host, "ip", "-j", "link", "show")},
        "ip rule": _lines(host, "ip", "rule", "show") | _lines(host, "ip", "-6", "rule", "show"),
        "route": _routes(host),
        "mount": _mounts(host),
        "process": _processes(host),
        "container": _docker(host, "ps", "-a", "--format", "{{.Names}} {{.ID}}"),
        "volume": _docker(host, "volume", "ls", "-q"),
        "network": _docker(host, "network", "ls", "--format", "{{.Name}} {{.Driver}}"),
        "namespace": _namespaces(host),
        "file": _files(host),
    }


def new_since(before, now):
    """What is in `now` and was not in `before`, one line each."""
    return [f"{kind}: {item}" for kind in now for item in sorted(now[kind] - before.get(kind, set()))]


def _json(host, *argv):
    return json.loads(host.exec(*argv) or "[]")


def _lines(host, *argv):
    return {line.strip() for line in host.exec(*argv).splitlines() if line.strip()}


def _docker(host, *args):
    return set(host.docker(*args).splitlines())


def _nft(host):
    """Tables, chains, sets and rules with the path that leads to them; iptables-nft's are among them."""
    found, path = set(), []
    for line in host.exec("nft", "--stateless", "list", "ruleset").splitlines():
        line = re.sub(r"counter packets \d+ bytes \d+ ?", "", line.strip())
        if line == "}":
            path.pop()
        elif line.endswith("{"):
            path.append(line[:-1].strip())
            found.add(" / ".join(path))
        elif line and not line.startswith("#"):
            found.add(" / ".join(path + [line]))
    return found


def _legacy_rules(host):
    """Asking iptables-legacy creates its tables, so it is only asked about those that exist."""
    found = set()
    for family in ("ip", "ip6"):
        for table in host.exec("cat", f"/proc/net/{family}_tables_names", check=False).split():
            saved = host.exec(f"{family}tables-legacy-save", "-t", table)
            found |= {f"{family} {table} {line}" for line in saved.splitlines() if line.startswith("-A")}
    return found


def _routes(host):
    found = set()
    for family in ("-4", "-6"):
        for route in _lines(host, "ip", family, "route", "show", "table", "all"):
            # Learnt and link-local ones come and go by themselves, as does the state of a bridge without ports, and anycast
            # ones with Docker's first network of IPv6, for which it turns forwarding on.
            if not re.search(r"fe80|ff00::/8|^multicast ff|^anycast", route):
                found.add(re.sub(r" linkdown| pref medium", "", route))
    return found


def _mounts(host):
    """Without those that came from the machine, where other testbeds come and go; none goes the other way."""
    return _mount_points(host.enter()[2]) - _mount_points("self")


def _mount_points(pid):
    return {line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}


def _processes(host):
    """Programs in the host's mount namespace: runtimes, CRIU, helpers. Containers have their own."""
    holder = os.stat(f"/proc/{host.enter()[2]}/ns/mnt").st_ino
    found = set()
    for pid in reaper._pids():
        if reaper._ns(pid, "mnt") == holder and reaper._comm(pid) not in ("dockerd", "containerd", "migrated"):
            found.add(f"{pid} {reaper._cmdline(pid).strip()}")
    return found


def _namespaces(host):
    """Network namespaces that something of this host keeps alive: a process, an open file of its daemons, a mount."""
    holder = host.enter()[2]
    found = set()
    for pid in reaper._pids():
        if reaper._ns(pid, "mnt") != os.stat(f"/proc/{holder}/ns/mnt").st_ino:
            continue
        for path in [Path(f"/proc/{pid}/ns/net"), *_open_files(pid)]:
            try:
                target = os.readlink(path)
            except OSError:
                continue
            if target.startswith("net:"):
                found.add(target)
    for line in Path(f"/proc/{holder}/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[3].startswith("net:") and fields[4].startswith(f"{host.dir}/"):
            found.add(fields[3])
    return found


def _open_files(pid):
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []


def _files(host):
    """What the daemon and the runtime keep on disk, except for the journal, and Docker's directories of containers."""
    found = set()
    for state in ("migrate-runtime", "migrated-state"):
        top = host.dir / state
        # Not the directories that are made once.
        paths = [p for p in top.rglob("*") if p.parent != top or not p.is_dir()]
        found |= {f"{state}/{p.relative_to(top)}" for p in paths if not p.name.startswith("journal.db")}
    for name in ("containers", "volumes"):
        found |= {f"docker {name}/{entry}" for entry in os.listdir(host.dir / "data" / name)}
    # Images have layers there too; each container has one of this name.
    return found | {f"docker layer {entry}" for entry in os.listdir(host.dir / "data/overlay2") if entry.endswith("-init")}


def cgroups(prefix):
    """Cgroups of containers, of both hosts, which share the parent; a hierarchy is as good as another."""
    found = set()
    for top in (mount / prefix for mount in reaper.cgroup_mounts()):
        found |= {str(d.relative_to(top)) for d in reaper.cgroup_dirs(prefix) if top in d.parents}
    return {"cgroup": found}


def settled(take, before, timeout=5):
    """Leftovers since `before` in the snapshots that take() makes; what ends by itself (a shim, a link) gets some time
    to do so."""
    try:
        shell.wait_until(lambda: not new_since(before, take()), timeout, "", pause=0.1)
        return []
    except shell.Failed:
        return new_since(before, take())
