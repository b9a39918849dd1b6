"""One machine of the testbed: a network namespace, and for a Docker host also a mount namespace and its daemons."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import shell

PEER_PORT = 7070


class Namespace:
    """A machine that only has a network: the client. Also the part that hosts share with it."""

    def __init__(self, name, netns, ip, ip6=None):
        self.name, self.netns, self.ip, self.ip6 = name, netns, ip, ip6

    def enter(self):
        """The start of a command line that runs a program on this machine.

        nsenter and not `ip netns exec`: that one remounts /sys and hides the cgroups from dockerd."""
        return ["nsenter", f"--net=/run/netns/{self.netns}", "--"]

    def exec(self, *argv, **options):
        """Runs a program here and returns its standard output."""
        return shell.out(self.enter() + list(argv), **options)

    def popen(self, *argv, **options):
        """Starts a program here; the caller ends it."""
        return subprocess.Popen(self.enter() + [str(a) for a in argv], **options)


class ContainerNetwork(Namespace):
    """The network of a running container, for client programs that are not in its image."""

    def __init__(self, host, container):
        super().__init__(container, None, None)
        self.pid = host.container_pid(container)

    def enter(self):
        return ["nsenter", "-t", str(self.pid), "--net", "--"]


class Host(Namespace):
    """A Docker host. Owns its dockerd and, once started, its migrated; both end with the testbed at the latest."""

    def __init__(self, name, netns, ip, ip6, directory, build, criu_path, cgroup_parent):
        super().__init__(name, netns, ip, ip6)
        self.dir = Path(directory)
        self.build = Path(build)
        self.criu_path = criu_path
        self.cgroup_parent = cgroup_parent
        self.node = f"host{name.upper()}"
        self.peer = f"{ip}:{PEER_PORT}"
        self.docker_socket = self.dir / "docker.sock"
        self.control_socket = self.dir / "migrated.sock"
        self.live_restore = False
        self.docker_options = {}  # further ones, for daemon.json
        self._processes = {}

    # --- the machine ---

    def boot(self, names=()):
        """Creates the mount namespace, held open by a process that does nothing. It stays when dockerd restarts, as on
        a real machine, and what is mounted in it disappears with it. `names`: lines of /etc/hosts."""
        for name in ("data", "exec", "migrate-runtime", "migrated-state", "docker-cli"):
            (self.dir / name).mkdir(parents=True)
        (self.dir / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{line}\n" for line in names))
        command = (f"mount --bind '{self.dir}/hosts' /etc/hosts && hostname {self.node} && "
                   f"echo $$ >'{self.dir}/holder.pid' && exec sleep infinity")
        argv = super().enter() + ["unshare", "--mount", "--uts", "--propagation", "slave", "sh", "-c", command]
        null = subprocess.DEVNULL
        holder = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)
        self._processes["holder"] = holder
        shell.wait_until(lambda: self._pid("holder"), 5, f"mount namespace of {self.node}")

    def enter(self):
        return ["nsenter", "-t", str(self._pid("holder")), "--mount", "--net", "--uts", "--"]

    def _pid(self, what):
        """Pid out of a pid file; None if there is none or the process is gone."""
        try:
            pid = int((self.dir / f"{what}.pid").read_text())
        except (OSError, ValueError):
            return None
        child = self._processes.get(what)
        if child is not None:
            child.poll()
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            threads = len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            return None
        # While other threads of a killed process are still ending, its sockets are still open.
        return None if state == "Z" and threads <= 1 else pid

    def _start(self, what, argv, log, **variables):
        with open(log, "ab") as f:
            child = self.popen(*argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f, start_new_session=True,
                               env={**os.environ, **variables})
        self._processes[what] = child
        return child

    def _stop(self, what, how, timeout):
        pid = self._pid(what)
        if pid is not None:
            os.kill(pid, how)
            shell.wait_until(lambda: self._pid(what) is None, timeout, f"{what} of {self.node} ends")

    # --- docker ---

    def write_docker_config(self):
        runtime = {"path": str(self.build / "bin/migrate-runtime"),
                   "runtimeArgs": [f"--state-dir={self.dir}/migrate-runtime"]}
        config = {"data-root": str(self.dir / "data"), "exec-root": str(self.dir / "exec"),
                  "pidfile": str(self.dir / "docker.pid"), "hosts": [f"unix://{self.docker_socket}"],
                  "runtimes": {"migrate": runtime}, "cgroup-parent": self.cgroup_parent,
                  "live-restore": self.live_restore, "shutdown-timeout": 3, "log-level": "info",
                  **self.docker_options}
        (self.dir / "daemon.json").write_text(json.dumps(config, indent=2) + "\n")

    def start_docker(self, wait=True):
        """Starts dockerd, which starts a containerd of its own."""
        self.write_docker_config()
        temporary = self.dir / "tmp"  # containerd writes its stacks there when dockerd finds it slow
        temporary.mkdir(exist_ok=True)
        self._start("docker", ["dockerd", "--config-file", self.dir / "daemon.json"], self.dir / "docker.log",
                    TMPDIR=str(temporary))
        if wait:
            self.wait_for_docker()

    def wait_for_docker(self):
        child = self._processes["docker"]

        def ready():
            if child.poll() is not None:
                tail = (self.dir / "docker.log").read_text()[-1500:]
                raise shell.Failed(f"dockerd of {self.node} ended with {child.returncode}: {tail}")
            return b" 200 " in self._docker_ping()
        shell.wait_until(ready, 30, f"dockerd of {self.node} answers", pause=0.05)

    def _docker_ping(self):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(2)
                s.connect(str(self.docker_socket))
                s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return s.recv(100)
        except OSError:
            return b""

    def stop_docker(self, how=signal.SIGTERM):
        """With SIGKILL containerd is killed as well, as dockerd asked the kernel to; containers go on."""
        self._stop("docker", how, 30)
        shell.wait_until(lambda: self._pid("exec/containerd/containerd") is None, 10, "containerd ends")
        # The next dockerd would take it for its own and wait for it, if it is a zombie that init has not seen yet.
        (self.dir / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def restart_docker(self, how=signal.SIGTERM):
        self.stop_docker(how)
        self.start_docker()

    def docker(self, *args, timeout=60, check=True, input=None):
        """Runs the docker command line and returns what it printed, without the last newline."""
        done = self.docker_run(*args, timeout=timeout, check=check, input=input)
        return done.stdout.rstrip("\n")

    def docker_run(self, *args, timeout=60, check=True, input=None):
        """As docker(), but returns exit code, stdout and stderr."""
        argv = ["docker", "--config", self.dir / "docker-cli", "-H", f"unix://{self.docker_socket}", *args]
        return shell.run(argv, timeout=timeout, check=check, input=input)

    def inspect(self, container):
        return json.loads(self.docker("inspect", "--type", "container", container))[0]

    def is_running(self, container):
        done = self.docker_run("inspect", "--type", "container", "-f", "{{.State.Running}}", container, check=False)
        return done.returncode == 0 and done.stdout.strip() == "true"

    def container_pid(self, container):
        return self.inspect(container)["State"]["Pid"]

    def remove_all(self):
        """Removes every container, volume and network that a user made."""
        ids = self.docker("ps", "-aq").split()
        if ids:
            self.docker("update", "--restart=no", *ids, check=False)
            self.docker("rm", "-f", "-v", *ids)
        self.docker("network", "prune", "-f")
        volumes = self.docker("volume", "ls", "-q").split()
        if volumes:
            self.docker("volume", "rm", *volumes)

    # --- migrated ---

    def write_daemon_config(self, **extra):
        """`extra`: further sections, e.g. hold={"budget_ms": 5}."""
        sections = {
            None: {"node_name": self.node},
            "listen": {"control": str(self.control_socket), "peer": self.peer, "insecure": True},
            "docker": {"socket": str(self.docker_socket), "exec_root": str(self.dir / "exec")},
            "runtime": {"runc": "runc", "criu_path": self.criu_path, "state_dir": str(self.dir / "migrate-runtime")},
            "state": {"dir": str(self.dir / "migrated-state")},
        }
        for name, keys in extra.items():
            sections[name] = {**sections.get(name, {}), **keys}
        text = ""
        for name, keys in sections.items():
            text += f"[{name}]\n" if name else ""
            # A JSON string, number, boolean or list of these is also TOML.
            text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        (self.dir / "migrated.toml").write_text(text)

    def start_daemon(self, program="migrated", faults="", **extra):
        """Starts migrated and waits until its control socket accepts. `faults`: see `migrated --list-fault-points`."""
        self.write_daemon_config(**extra)
        program = self.build / "bin" / program
        if not program.exists():
            raise shell.Failed(f"{program} is not built")
        log = self.dir / "migrated.log"
        child = self._start("migrated", [program, "--config", self.dir / "migrated.toml"], log, MIGRATED_FAULTS=faults)
        (self.dir / "migrated.pid").write_text(str(child.pid))  # nsenter becomes the program: same pid

        def ready():
            if child.poll() is not None:
                raise shell.Failed(f"migrated of {self.node} ended with {child.returncode}: {log.read_text()[-1500:]}")
            return self._daemon_accepts()
        shell.wait_until(ready, 15, f"migrated of {self.node} accepts")

    def _daemon_accepts(self):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(self.control_socket))
            return True
        except OSError:
            return False

    def ensure_daemon(self):
        if self.daemon_pid() is None:
            self.start_daemon()

    def daemon_pid(self):
        return self._pid("migrated")

    def stop_daemon(self, how=signal.SIGTERM):
        self._stop("migrated", how, 30)

    def migrate_run(self, *args, timeout=120, check=False):
        """Runs the command line tool against this host's daemon; returns exit code, stdout and stderr."""
        return shell.run(self.migrate_command(*args), timeout=timeout, check=check)

    def migrate_command(self, *args):
        return [*self.enter(), self.build / "bin/migrate", "--socket", self.control_socket, *args]
