"""What a recording changes on a host, read from outside: scheduling, CPUs, cgroups, vDSO. Two such states are compared."""

import hashlib
import os
import re
from pathlib import Path

import reaper

RT_LIMIT = Path("/proc/sys/kernel/sched_rt_runtime_us")
RT_USERS = Path("/run/migrate-rt-limit")
# Of the container's cgroups and those above them, where the kernel has them.
CGROUP_FILES = ["cpuset.cpus", "cpuset.mems", "cpuset.cpu_exclusive", "cpuset.sched_load_balance", "cpuset.cpus.partition",
                "cpu.rt_runtime_us", "cpu.rt_period_us", "cpu.shares", "cpu.cfs_quota_us", "cpu.max", "cpu.weight",
                "freezer.state", "cgroup.freeze"]


class State:
    """Of the container whose first process is `pid`, at this moment."""

    def __init__(self, pid):
        self.cgroups = _cgroups(pid)
        self.tasks = {tid: state for tid in self._tids() if (state := _task(tid))}
        self.vdso = {tgid: code for tgid in {task["tgid"] for task in self.tasks.values()} if (code := _vdso(tgid))}
        self.files = _files(self.cgroups)
        self.rt_limit = _rt_limit()
        self.children = {str(d.relative_to(top)) for top in self.cgroups for d in top.rglob("*") if d.is_dir()}

    def _tids(self):
        # Every hierarchy has all tasks; those that a recording might move are looked for in each.
        return sorted({int(tid) for top in self.cgroups for name in ("tasks", "cgroup.threads")
                       for path in top.rglob(name) for tid in _read(path).split()})

    def differences(self, before):
        """What is not as it was, a line each. A task or process born since must be like one that was there."""
        found = []
        known = [_scheduling(task) for task in before.tasks.values()]
        for tid, now in self.tasks.items():
            old = before.tasks.get(tid)
            if old and old["start"] == now["start"]:
                found += [f"task {tid}: {key} {now[key]}, was {old[key]}" for key in now if now[key] != old[key]]
            elif _scheduling(now) not in known:
                found.append(f"task {tid}, born since: {_scheduling(now)}")
        codes = set(before.vdso.values())
        for tgid, code in self.vdso.items():
            if code not in ({before.vdso[tgid]} if tgid in before.vdso else codes):
                found.append(f"process {tgid}: the vDSO's code has changed")
        if None not in (self.rt_limit, before.rt_limit) and self.rt_limit != before.rt_limit:
            found.append(f"{RT_LIMIT}: {self.rt_limit}, was {before.rt_limit}")
        for path in sorted(self.files.keys() | before.files.keys()):
            now, old = self.files.get(path), before.files.get(path)
            if now != old:
                found.append(f"{path}: {now}, was {old}")
        found += [f"cgroup {name} is new" for name in sorted(self.children - before.children)]
        return found


def _scheduling(task):
    return {key: value for key, value in task.items() if key not in ("start", "tgid", "name")}


def _read(path):
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _cgroups(pid):
    """The container's directory in each hierarchy."""
    found = []
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in reaper.cgroup_mounts():
            top = mount / path.lstrip("/")
            if path != "/" and top.is_dir() and (controllers == "" or controllers.split(",")[0] in mount.name.split(",")
                                                 or controllers.removeprefix("name=") == mount.name):
                found.append(top)
    return sorted(set(found))


PF_EXITING = 4


def _task(tid):
    """None if it has ended, or is about to: it has left its cgroups then."""
    try:
        stat = _read(f"/proc/{tid}/stat").rsplit(")", 1)[1].split()
        status = _read(f"/proc/{tid}/status")
        task = {
            "start": stat[19],
            "tgid": int(re.search(r"^Tgid:\s*(\d+)", status, re.M)[1]),
            "policy": os.sched_getscheduler(tid),
            "priority": os.sched_getparam(tid).sched_priority,
            "nice": os.getpriority(os.PRIO_PROCESS, tid),
            "cpus": sorted(os.sched_getaffinity(tid)),
            "slack": _read(f"/proc/{tid}/timerslack_ns").strip(),
            "tracer": re.search(r"^TracerPid:\s*(\d+)", status, re.M)[1],
            "stopped": stat[0] in "tT",
            "cgroups": _read(f"/proc/{tid}/cgroup"),
        }
        flags = int(_read(f"/proc/{tid}/stat").rsplit(")", 1)[1].split()[6])
        return None if flags & PF_EXITING else task
    except (OSError, IndexError, TypeError):
        return None


def _vdso(pid):
    try:
        line = next(line for line in _read(f"/proc/{pid}/maps").splitlines() if line.endswith("[vdso]"))
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        with open(f"/proc/{pid}/mem", "rb") as memory:
            memory.seek(begin)
            return hashlib.sha256(memory.read(end - begin)).hexdigest()
    except (OSError, StopIteration):
        return None


def _files(tops):
    mounts = reaper.cgroup_mounts()
    found = {}
    for top in tops:
        mount = next(mount for mount in mounts if mount == top or mount in top.parents)
        directory = top
        while directory != mount:
            for name in CGROUP_FILES:
                if text := _read(directory / name):
                    found[str(directory / name)] = text.strip()
            directory = directory.parent
    return found


def _rt_limit():
    """None while anything of this machine is recorded: the last recording to end puts the limit back."""
    users = {entry.name for entry in RT_USERS.iterdir()} if RT_USERS.is_dir() else set()
    return None if users - {".old"} else _read(RT_LIMIT).strip()
