#!/usr/bin/env python3
"""Runs every probe of list.txt: twice as it is, with the same output, and once under capture_oracle, where the log must
explain every byte that the kernel wrote. Needs root and, for the oracle, SCHED_FIFO and BPF.

In network, IPC and mount namespaces of its own, so that nothing is left on the machine, and what a probe leaves there is
seen and is a failure. The last line is "N passed, N skipped, N failed"; the exit code is 0 if none failed and one ran.
"""

import argparse
import concurrent.futures
import fcntl
import json
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECONDS = 60  # for one run
SKIPPED = 77
MARK = "PROBE_CHECK"  # in the environment of everything that is started here
INSIDE = "PROBE_CHECK_INSIDE"


def listed():
    """(program, description) of each line of list.txt, the static ones too."""
    for line in (HERE / "list.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, flags, description = line.split(None, 2)
            yield name, description
            if "static" in flags.split(","):
                yield name + "_static", description


def unlisted():
    names = {name for name, _ in listed()}
    return sorted(path.stem for path in HERE.glob("*.c") if path.stem not in names)


def enter_namespaces():
    if os.environ.get(INSIDE):
        return
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", "--ipc", "--mount", "--propagation", "private", sys.executable, *sys.argv])


def prepare_namespaces():
    with socket.socket() as control:  # the loopback up: SIOCSIFFLAGS, IFF_UP
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))
    subprocess.run(["mount", "-t", "tmpfs", "none", "/dev/shm"], check=True)
    os.makedirs("/dev/mqueue", exist_ok=True)
    subprocess.run(["mount", "-t", "mqueue", "none", "/dev/mqueue"], check=True)


def run(command, seconds=SECONDS):
    """(exit code, output), the code None after a time-out."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True, env={**os.environ, MARK: str(os.getpid())})
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output.decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        output, _ = process.communicate()
        return None, output.decode(errors="replace")


class Check:
    def __init__(self, name, programs, oracle, cpus, scratch):
        self.name, self.program, self.oracle = name, programs / name, oracle
        self.cpus, self.directory = cpus, scratch / name
        self.counts, self.skipped, self.failure, self.command = {}, None, None, None
        self.native_ms = self.oracle_ms = 0

    def run(self, rounds):
        try:
            self.run_natively(rounds)
            if self.oracle and not self.skipped and not self.failure:
                self.run_under_oracle()
        except OSError as error:
            self.failure = str(error)
        if self.directory.exists():
            self.failure = self.failure or f"left {self.directory.name}/{sorted(os.listdir(self.directory))}"
            shutil.rmtree(self.directory)
        return self

    def fail(self, code, output, command, what=""):
        self.failure = what or ("time-out" if code is None else f"exit code {code}")
        self.failure += "\n" + "\n".join(output.splitlines()[-12:])
        self.command = command

    def run_natively(self, rounds):
        command = [self.program, "--rounds", str(rounds), "--dir", self.directory]
        begin = time.monotonic()
        outputs = []
        for _ in range(2):
            code, output = run(command)
            lines = output.splitlines() or [""]
            if code == SKIPPED:
                self.skipped = lines[-1].removeprefix(f"PROBE-SKIP {self.name}: ")
                shutil.rmtree(self.directory, ignore_errors=True)
                return
            if code != 0 or lines[-1] != f"PROBE-END {self.name}":
                return self.fail(code, output, command)
            outputs.append(output)
        self.native_ms = (time.monotonic() - begin) * 1000 / 2
        if outputs[0] != outputs[1]:
            self.fail(0, "".join(outputs), command, "two runs differ")

    def run_under_oracle(self):
        command = [self.oracle, self.program, "--rounds", "2", "--dir", self.directory]
        cpu = self.cpus.get()  # the oracle stays on the CPU where it begins: one each
        try:
            begin = time.monotonic()
            code, output = run(["taskset", "-c", str(cpu), *command])
            self.oracle_ms = (time.monotonic() - begin) * 1000
        finally:
            self.cpus.put(cpu)
        try:
            self.counts = json.loads(output.splitlines()[-1])
        except (IndexError, ValueError):
            return self.fail(code, output, command)
        wrong = {key: self.counts[key] for key in ("unexplained", "wrong", "missing", "unmatched", "gaps", "problem", "exit")
                 if self.counts[key]}
        if code != 0 or wrong:
            self.fail(code, output, command, f"the log does not explain everything: {wrong}")


def leftovers(scratch):
    found = [f"{kind}: {line}" for kind in ("shm", "sem", "msg")
             for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]]
    found += [str(path) for folder in ("/dev/shm", "/dev/mqueue", scratch) for path in Path(folder).iterdir()]
    mark = f"{MARK}={os.getpid()}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(f"process {process.name}: {(process / 'comm').read_text().strip()}")
        except OSError:
            pass  # gone meanwhile
    return found


def report(checks):
    print(f"{'probe':<24} {'native':>7} {'oracle':>7} {'calls':>7} {'compared':>8} {'events':>7} {'unexpl.':>7}  result")
    for check in checks:
        counts = check.counts
        result = "FAILED" if check.failure else f"skipped: {check.skipped}" if check.skipped else "ok"
        print(f"{check.name:<24} {check.native_ms:>5.0f}ms {check.oracle_ms:>5.0f}ms {counts.get('calls', '-'):>7} "
              f"{counts.get('compared', '-'):>8} {counts.get('events', '-'):>7} {counts.get('unexplained', '-'):>7}  {result}")
    for check in checks:
        if check.failure:
            print(f"\n{check.name}: {check.failure}")
            if check.command:
                print("again:", " ".join(map(str, check.command)))
    total = {key: sum(check.counts.get(key, 0) for check in checks) for key in ("calls", "compared", "events", "unexplained")}
    print(f"\n{total['calls']} calls, {total['compared']} compared, {total['events']} events, "
          f"{total['unexplained']} changes of memory unexplained")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only probes whose names contain one of these")
    parser.add_argument("--build", type=Path, default=HERE.parent.parent / "build/dev", help="with probes/ and bin/capture_oracle")
    parser.add_argument("--rounds", type=int, default=3, help="of the native runs")
    parser.add_argument("--native", action="store_true", help="without the oracle")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for name, description in listed():
            print(f"{name:<24} {description}")
        return 0
    if os.geteuid() != 0:
        sys.exit("check.py: needs root")
    enter_namespaces()
    prepare_namespaces()
    build = options.build.resolve()
    cpus = queue.SimpleQueue()
    for cpu in sorted(os.sched_getaffinity(0))[:4]:
        cpus.put(cpu)
    scratch = Path(tempfile.mkdtemp(prefix="probes-"))
    checks = [Check(name, build / "probes", None if options.native else build / "bin/capture_oracle", cpus, scratch)
              for name, _ in listed() if not options.names or any(part in name for part in options.names)]
    with concurrent.futures.ThreadPoolExecutor(cpus.qsize()) as pool:
        checks = list(pool.map(lambda check: check.run(options.rounds), checks))
    report(checks)
    problems = [f"left behind: {what}" for what in leftovers(scratch)]
    problems += [f"not in list.txt: {name}" for name in unlisted()]
    shutil.rmtree(scratch)
    print(*problems, sep="\n", end="\n" if problems else "")
    failed = sum(1 for check in checks if check.failure) + len(problems)
    skipped = sum(1 for check in checks if check.skipped and not check.failure)
    passed = sum(1 for check in checks if not check.skipped and not check.failure)
    print(f"{passed} passed, {skipped} skipped, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
