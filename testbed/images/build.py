#!/usr/bin/env python3
"""Docker images without a registry: made of programs of this machine and the libraries that they need.

An image is written directly in the format of `docker save`, so no Docker is needed to make it, and it has the same id on
every host that loads it. Every image has two layers, the first of which (shell, core utilities, libc) they all share.

    build.py IMAGE...        writes IMAGE.tar into the current directory
"""

import hashlib
import io
import json
import os
import platform
import shutil
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

for folder in ("hosts", "workloads"):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / folder))
import pattern
import shell

WORKLOADS = Path(__file__).resolve().parent.parent / "workloads"
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
TOOLS = ["cat", "chmod", "chown", "cp", "date", "dd", "echo", "env", "head", "id", "kill", "ls", "md5sum", "mkdir", "mv", "ps",
         "rm", "sha256sum", "sleep", "stat", "sync", "tail", "touch", "true", "uname", "wc"]
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
DIRECTORIES = ["etc", "proc", "sys", "dev", "root", "run", "tmp", "var/tmp", "var/lib", "usr/bin", "usr/sbin", "usr/lib",
               "usr/lib64"]


@dataclass
class Image:
    command: list
    programs: list = field(default_factory=list)  # names in PATH, copied with their libraries
    source: str = ""                              # a file of testbed/workloads; COMPILERS says what becomes of it
    needs: list = field(default_factory=list)     # programs and files of this machine without which it cannot be built
    trees: list = field(default_factory=list)     # directories of this machine, copied as they are
    directories: list = field(default_factory=list)
    files: dict = field(default_factory=dict)     # name -> text, bytes, or a function that returns bytes
    owners: dict = field(default_factory=dict)    # directory -> uid and gid; all else belongs to root
    config: dict = field(default_factory=dict)    # further keys of the image's config


POSTGRES = "usr/lib/postgresql/15"
POSTGRES_ID = 70
# The first start fills the volume; without host names and time zones, which the image lacks.
POSTGRES_START = """#!/bin/sh
set -e
if [ ! -e "$PGDATA/PG_VERSION" ]; then
  initdb -A trust -U postgres --locale=C --encoding=UTF8 --no-sync >/dev/null
  echo 'host all all all trust' >>"$PGDATA/pg_hba.conf"
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c jit=off "$@"
"""

NGINX_CONFIG = """worker_processes 2;
daemon off;
pid /run/nginx.pid;
user nobody nogroup;
error_log stderr warn;
events { worker_connections 1024; }
http {
  default_type application/octet-stream;
  access_log /dev/stdout;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  sendfile on;
  keepalive_timeout 300;
  keepalive_requests 1000000;
  server {
    listen 80;
    root /srv;
  }
}
"""
DOWNLOAD_BYTES = 64 << 20

PYTHON = "/usr/bin/python3"  # Debian's, whatever else there is
JDK = "/usr/lib/jvm/java-17-openjdk-amd64"
# What Debian's Node.js, unlike others, has outside of its program.
NODE_MODULES = [f"/usr/share/nodejs/{name}" for name in ("acorn", "acorn-walk", "cjs-module-lexer", "undici")]
REDIS_PORT = {"ExposedPorts": {"6379/tcp": {}}}

IMAGES = {
    "tools": Image(command=["/bin/sh"]),
    "redis": Image(command=["redis-server", "--save", "", "--appendonly", "no", "--protected-mode", "no"],
                   programs=["redis-server", "redis-cli"], directories=["data"],
                   config={"WorkingDir": "/data", "ExposedPorts": {"6379/tcp": {}}}),
    "probe": Image(command=["/usr/bin/probe_kernel_objects"], source="probe_kernel_objects.c", directories=["watched"],
                   config={"ExposedPorts": {"7000/tcp": {}}}),
    "io_uring": Image(command=["/usr/bin/probe_io_uring"], source="probe_io_uring.c"),
    "echo": Image(command=["/usr/bin/echo_server"], source="echo_server.c",
                  config={"ExposedPorts": {"7100/tcp": {}, "7100/udp": {}, "7101/tcp": {}, "7102/tcp": {}, "7103/tcp": {}}}),
    "nginx": Image(command=["nginx", "-c", "/etc/nginx/nginx.conf"], programs=["nginx"],
                   directories=["etc/nginx", "srv", "var/log/nginx"],
                   files={"etc/nginx/nginx.conf": NGINX_CONFIG, "srv/small": pattern.take(0, 1000),
                          "srv/large": lambda: pattern.take(0, DOWNLOAD_BYTES)},
                   config={"ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"}),
    "memcached": Image(command=["memcached", "-u", "nobody", "-t", "4", "-m", "64"], programs=["memcached"],
                       config={"ExposedPorts": {"11211/tcp": {}}}),
    "go": Image(command=["/usr/bin/server"], source="server.go", needs=["go"], config=REDIS_PORT),
    "node": Image(command=["node", "/srv/server.js"], programs=["node"], source="server.js",
                  trees=[tree for tree in NODE_MODULES if Path(tree).exists()], needs=["node"], config=REDIS_PORT),
    "java": Image(command=["/opt/java/bin/java", "-cp", "/srv", "Server"], source="Server.java",
                  needs=[f"{JDK}/bin/javac", f"{JDK}/bin/jlink"], config=REDIS_PORT),
    "python": Image(command=[PYTHON, "/srv/server.py"], programs=[PYTHON], source="server.py",
                    trees=["/usr/lib/python3.11"], config=REDIS_PORT),
    "postgres": Image(command=["/bin/sh", "/usr/bin/start-postgres"],
                      programs=[f"/{POSTGRES}/bin/{name}" for name in ("postgres", "initdb", "psql")],
                      trees=["/usr/share/postgresql/15"],
                      directories=["var/lib/postgresql/data"],
                      files={"usr/bin/start-postgres": POSTGRES_START,
                             f"{POSTGRES}/lib/plpgsql.so": lambda: Path(f"/{POSTGRES}/lib/plpgsql.so").read_bytes(),
                             f"{POSTGRES}/lib/dict_snowball.so":
                                 lambda: Path(f"/{POSTGRES}/lib/dict_snowball.so").read_bytes(),
                             "usr/share/zoneinfo/UTC": lambda: Path("/usr/share/zoneinfo/UTC").read_bytes(),
                             "etc/passwd": FILES["etc/passwd"] +
                                 f"postgres:x:{POSTGRES_ID}:{POSTGRES_ID}::/var/lib/postgresql:/bin/sh\n",
                             "etc/group": FILES["etc/group"] + f"postgres:x:{POSTGRES_ID}:\n"},
                      owners={"var/lib/postgresql": POSTGRES_ID},
                      config={"User": "postgres", "StopSignal": "SIGINT", "ExposedPorts": {"5432/tcp": {}},
                              "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin:/" + POSTGRES + "/bin",
                                      "PGDATA=/var/lib/postgresql/data"]}),
}


class Tree:
    """A file tree to become a layer; knows which files the layers below have."""

    def __init__(self, root, below=()):
        self.root, self.below = Path(root), set(below)
        self.names = set()

    def directory(self, name, mode=0o755):
        (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / name).chmod(mode)

    def file(self, name, content):
        """`content`: text, bytes, or a function that returns bytes."""
        content = content() if callable(content) else content
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(content.encode() if isinstance(content, str) else content)
        self.names.add(name)

    def copy(self, source, name):
        """Follows links, so a library is a file under each name that a program asks for."""
        if name in self.below or name in self.names:
            return
        self.names.add(name)
        self.directory(str(Path(name).parent))
        shutil.copy(source, self.root / name)

    def program(self, name):
        """A name is looked up and lands in /usr/bin; a path stays what it is, as PostgreSQL finds its files relative to it."""
        path = find_program(name)
        if not path:
            raise shell.Failed(f"{name} is not installed")
        self.copy(path, name.lstrip("/") if "/" in name else f"usr/bin/{name}")
        self.libraries_of(path)

    def libraries_of(self, path):
        for library in libraries(path):
            # Not those that came with it.
            if not Path(library).is_relative_to(self.root):
                self.copy(library, str(usr_merged(library)).lstrip("/"))


def find_program(name):
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")


def libraries(program):
    """The loader and all libraries as ldd finds them."""
    done = shell.run(["ldd", program], check=False)
    words = done.stdout.replace("=>", " ").split()
    return [w for w in words if w.startswith("/")]


def usr_merged(path):
    """/lib/x -> /usr/lib/x, the place where it is once /lib is a link to /usr/lib, as in the image."""
    first, _, rest = str(path).lstrip("/").partition("/")
    return Path("/", LINKS.get(first, first), rest)


def base_layer(directory):
    tree = Tree(directory)
    for name in DIRECTORIES:
        tree.directory(name, 0o1777 if name in ("tmp", "var/tmp") else 0o755)
    for name, target in LINKS.items():
        (tree.root / name).symlink_to(target)
    for name, content in FILES.items():
        tree.file(name, content)
    tree.copy("/bin/dash", "usr/bin/sh")
    tree.libraries_of("/bin/dash")
    for name in TOOLS:
        tree.program(name)
    return tree


def program_layer(image, directory, base):
    tree = Tree(directory, below=base.names)
    for name in image.directories:
        tree.directory(name)
    for name in image.programs:
        tree.program(name)
    for source in image.trees:
        shutil.copytree(source, tree.root / source.lstrip("/"), symlinks=True,
                        ignore=shutil.ignore_patterns("__pycache__", "test", "config-3*"))
    for name, content in image.files.items():
        tree.file(name, content)
    if image.source:
        source = WORKLOADS / image.source
        COMPILERS[source.suffix](source, tree)
    return tree


def compile_c(source, tree):
    """NAME.c becomes /usr/bin/NAME."""
    tree.directory("usr/bin")
    shell.run(["cc", "-O1", "-g1", "-static", "-pthread", "-Wall", "-Wextra", "-Werror", source,
               "-o", tree.root / "usr/bin" / source.stem])


def compile_go(source, tree):
    """NAME.go becomes /usr/bin/NAME; linked statically, as is usual in containers."""
    tree.directory("usr/bin")
    with tempfile.TemporaryDirectory() as cache:
        shell.run(["go", "build", "-o", tree.root / "usr/bin" / source.stem, source], timeout=300,
                  env={"CGO_ENABLED": "0", "GOCACHE": cache, "GOPATH": cache, "GO111MODULE": "off"})


def compile_java(source, tree):
    """NAME.java becomes /srv/NAME.class, beside a Java in /opt/java that has the base module only (50 instead of 250 MB)."""
    shell.run([f"{JDK}/bin/javac", "-d", tree.root / "srv", source])
    java = tree.root / "opt/java"
    java.parent.mkdir()
    shell.run([f"{JDK}/bin/jlink", "--add-modules", "java.base", "--strip-java-debug-attributes", "--no-header-files",
               "--no-man-pages", "--output", java], timeout=120)
    for path in [java / "bin/java", java / "lib/server/libjvm.so", *java.glob("lib/*.so")]:
        tree.libraries_of(path)


def copy_script(source, tree):
    tree.copy(source, f"srv/{source.name}")


COMPILERS = {".c": compile_c, ".go": compile_go, ".java": compile_java, ".js": copy_script, ".py": copy_script}


def missing(name):
    """What this machine lacks to build the image; scripts/setup --workloads installs it."""
    return [program for program in IMAGES[name].needs if not find_program(program)]


def layer_tar(root, owners=()):
    """The same bytes for the same files: no time, and only the owners that the image names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(Path(root).rglob("*")):
            info = tar.gettarinfo(path, str(path.relative_to(root)))
            info.mtime = 0
            info.uid = info.gid = owner_of(info.name, owners)
            info.uname = info.gname = ""
            if info.islnk():
                info.type, info.linkname = tarfile.REGTYPE, ""
            with open(path, "rb") if info.isreg() else io.BytesIO() as content:
                tar.addfile(info, content if info.isreg() else None)
    return buffer.getvalue()


def owner_of(name, owners):
    inside = [directory for directory in owners if name == directory or name.startswith(f"{directory}/")]
    return owners[inside[0]] if inside else 0


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def image_config(image, layers):
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    settings = {"Cmd": image.command, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "WorkingDir": "/", **image.config}
    history = [{"created": "1970-01-01T00:00:00Z", "created_by": "testbed"} for _ in layers]
    return {"architecture": machine, "os": "linux", "created": "1970-01-01T00:00:00Z", "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}" for layer in layers]},
            "history": history}


def write_image(name, image, layers, path):
    config = json.dumps(image_config(image, layers)).encode()
    files = {f"{sha256(config)}.json": config}
    files.update({f"{sha256(layer)}/layer.tar": layer for layer in layers})
    manifest = [{"Config": f"{sha256(config)}.json", "RepoTags": [f"{name}:latest"],
                 "Layers": [f"{sha256(layer)}/layer.tar" for layer in layers]}]
    files["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as tar:
        for file_name, data in files.items():
            info = tarfile.TarInfo(file_name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def build(name, path):
    image = IMAGES[name]
    with tempfile.TemporaryDirectory() as base_dir, tempfile.TemporaryDirectory() as top_dir:
        base = base_layer(base_dir)
        layers = [layer_tar(base_dir)]
        if image is not IMAGES["tools"]:
            program_layer(image, top_dir, base)
            layers.append(layer_tar(top_dir, image.owners))
    write_image(name, image, layers, path)


def cache_key(name):
    """Changes when this file, the C source or an installed program changes."""
    image = IMAGES[name]
    used = [Path(__file__), WORKLOADS / "pattern.py"] + ([WORKLOADS / image.source] if image.source else [])
    used += [Path(find_program(p) or "/") for p in image.programs] + [Path("/var/lib/dpkg/status")]
    stats = [(str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in used if p.exists()]
    return sha256(repr(stats).encode())[:12]


def image_tar(name, cache):
    """Path of the image as a tar for `docker load`, made if the cache does not have it."""
    cache = Path(cache)
    tar = cache / f"{name}-{cache_key(name)}.tar"
    if not tar.exists():
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob(f"{name}-*.tar"):
            old.unlink()
        unfinished = cache / f".{name}-{os.getpid()}"
        build(name, unfinished)
        unfinished.rename(tar)
    return tar


if __name__ == "__main__":
    try:
        for wanted in sys.argv[1:] or sys.exit(__doc__):
            if wanted not in IMAGES:
                sys.exit(f"no image {wanted}; there are: {' '.join(IMAGES)}")
            build(wanted, f"{wanted}.tar")
    except shell.Failed as failure:
        sys.exit(f"build: {failure}")
