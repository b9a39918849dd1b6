"""What is needed to understand a failure: daemon logs, the runtimes' and CRIU's logs, the state of the hosts."""

import shutil

import shell

LARGEST_LOG = 20_000_000


def save_logs(tb, directory, cause):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cause.txt").write_text(cause + "\n")
    for host in tb.hosts:
        into = directory / host.name
        into.mkdir(exist_ok=True)
        for path in list(host.dir.glob("*.log")) + list(host.dir.glob("*.toml")):
            copy_end(path, into / path.name)
        for state in ("migrate-runtime", "migrated-state"):
            for path in (host.dir / state).rglob("*"):
                if path.is_file() and (path.suffix in (".log", ".json", ".txt") or path.stat().st_size < 100_000):
                    copy_end(path, into / state / path.relative_to(host.dir / state))
        for name, command in state_commands(host).items():
            try:
                done = shell.run(host.enter() + command, timeout=10, check=False)
                (into / name).write_text(done.stdout + done.stderr)
            except shell.Failed as e:
                (into / name).write_text(f"{e}\n")


def state_commands(host):
    docker = f"docker -H unix://{host.docker_socket}"
    each = f"for c in $({docker} ps -aq); do echo \"== $c\"; {docker} "
    return {"docker_ps.txt": ["sh", "-c", f"{docker} ps -a --no-trunc"],
            "docker_inspect.txt": ["sh", "-c", f"{each} inspect $c; done"],
            "docker_logs.txt": ["sh", "-c", f"{each} logs --tail 100 $c 2>&1; done"],
            "network.txt": ["sh", "-c", "ip addr; ip rule; ip route show table all; nft list ruleset; ss -tanp"],
            "conntrack.txt": ["conntrack", "-L"],
            "processes.txt": ["ps", "axo", "pid,ppid,stat,wchan:20,args", "--forest"]}


def copy_end(path, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "rb") as source, open(to, "wb") as sink:
            source.seek(max(0, path.stat().st_size - LARGEST_LOG))
            shutil.copyfileobj(source, sink)
    except OSError:
        pass
