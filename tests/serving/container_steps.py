"""Carries out the steps of a Containerfile where no engine is to be had: in folders, as root, on Linux.

The base is an empty root of the same distribution, made by mmdebstrap and thinned as its slim images are. It reads what
`deploy/Containerfile` is written with, no more, and fails at anything else.
"""

import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = ("mmdebstrap", "unshare", "nsenter", "chroot")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SLIM = ("doc", "groff", "info", "linda", "lintian", "locale", "man")  # of /usr/share; not in slim images
# Of a network of its own, whose only interface is down at first: sets IFF_UP.
LOOPBACK = "import fcntl, socket, struct\nfcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 1))"
# The part of an engine: a root that cannot be written to but for /tmp and /data, no capability, and none to be had.
RUN_SCRIPT = r"""
root=$1 data=$2 python=$3 loopback=$4 user=$5 group=$6 folder=$7
shift 7
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount --bind "$data" "$root/data"
mount -o remount,bind,ro "$root"
"$python" -c "$loopback"
exec chroot "$root" setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
"""
# What is built sees the network of this machine and what pip is set up with.
BUILD_SCRIPT = r"""
root=$1 folder=$2 command=$3
shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
while [ $# -gt 0 ]; do
    mount --bind -o ro "$2" "$root$1"
    shift 2
done
exec chroot "$root" sh -c 'mkdir -p "$0" && cd "$0" && exec /bin/sh -c "$1"' "$folder" "$command"
"""


@dataclass(frozen=True)
class Stage:
    base: str
    name: str
    steps: list[tuple[str, str]]  # instruction and the rest of its line


def read_stages(text: str) -> list[Stage]:
    """The stages of a Containerfile, in their order."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", kept).splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name, []))
        elif instruction:
            stages[-1].steps.append((instruction, rest.strip()))
    return stages


def pip_settings() -> tuple[dict[str, str], dict[str, str]]:
    """What pip is set up with on this machine: variables, and what to mount for them, by the place where it is mounted.

    Folders keep their places. Files get others: a package that is installed may bring one of that name.
    """
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    values: dict[str, str] = {}
    mounts: dict[str, str] = {}
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):  # a variable wins over a file
        key, _, value = line.partition("=")
        values["PIP_" + key.rpartition(".")[2].upper().replace("-", "_")] = ast.literal_eval(value)
    for name, value in values.items():
        for word in value.split():
            path = word.removeprefix("file://")
            if path.startswith("/") and Path(path).is_dir():
                folder = path if path == word else str(Path(path).parent)  # a local index links to folders beside it
                mounts[folder] = folder
            elif path.startswith("/") and Path(path).exists():
                place = f"/mnt/{name.lower()}"
                mounts[place] = path
                values[name] = values[name].replace(word, place)
    return values, mounts


def base_root(image: str, folder: Path) -> Path:
    """A root of the distribution that the image `debian:CODENAME-slim` is made of."""
    codename = re.fullmatch(r"docker\.io/library/debian:([a-z]+)-slim", image)
    assert codename, image
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in SLIM]
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *options, codename[1], str(folder)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(folder.parent)})
    return folder


@dataclass
class Image:
    """What the steps made: a root, and how it is run. `arguments` are those that are given to the build."""

    root: Path
    arguments: Mapping[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    scope: dict[str, str] = field(default_factory=dict)  # the ARGs
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def take(self, instruction: str, rest: str, context: Path, stages: Mapping[str, "Image"]) -> None:
        """Carries out one step."""
        match instruction:
            case "ARG":
                name, _, default = rest.partition("=")
                self.scope[name] = self.arguments.get(name, default)
            case "ENV":
                self.environment |= dict(word.split("=", 1) for word in shlex.split(rest))
            case "WORKDIR":
                self.folder = rest
            case "USER":
                self.user = rest
            case "ENTRYPOINT":
                self.entrypoint = json.loads(rest)
            case "CMD":
                self.command = json.loads(rest)
            case "HEALTHCHECK":
                self.health = json.loads(rest.partition("CMD")[2])
            case "RUN":
                self._run(rest)
            case "COPY":
                self._copy(rest.split(), context, stages)
            case _:
                assert instruction in {"EXPOSE", "STOPSIGNAL", "VOLUME"}, instruction

    def _run(self, command: str) -> None:
        settings, mounts = pip_settings()
        mounts["/etc/resolv.conf"] = "/etc/resolv.conf"
        for name, origin in mounts.items():
            place = self.root / name.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(exist_ok=True) if Path(origin).is_dir() else place.touch()
        words = [word for pair in mounts.items() for word in pair]
        script = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", BUILD_SCRIPT, "sh"]
        environment = {
            **settings,
            **self.environment,
            **self.scope,
            "HOME": "/root",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        done = subprocess.run(
            [*script, str(self.root), self.folder, command, *words],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"

    def _copy(self, words: list[str], context: Path, stages: Mapping[str, "Image"]) -> None:
        source = context
        if words[0].startswith("--from="):
            source = stages[words.pop(0).removeprefix("--from=")].root
        *names, target = words
        place = self.root / (Path(self.folder) / target).relative_to("/")
        for name in names:
            whence = source / name.lstrip("/")
            if whence.is_dir():
                shutil.copytree(whence, place, symlinks=True, dirs_exist_ok=True)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(whence, place)

    def packed_bytes(self) -> int:
        """What is pulled: the root as one compressed layer."""
        pack = ["sh", "-c", 'tar --create --one-file-system --directory "$0" . | gzip | wc -c', str(self.root)]
        return int(subprocess.run(pack, check=True, capture_output=True, text=True).stdout)

    def start(self, data: Path, command: list[str] | None = None, **environment: str) -> "Container":
        """Starts the image with this folder as /data, and in a network of its own."""
        user, _, group = self.user.partition(":")
        os.chown(data, int(user), int(group))
        own = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-euc", RUN_SCRIPT, "sh"]
        given = [str(self.root), str(data), sys.executable, LOOPBACK, user, group, self.folder]
        process = subprocess.Popen(
            [*own, *given, *self.entrypoint, *(command or self.command)],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return Container(self, process)


@dataclass
class Container:
    image: Image
    process: subprocess.Popen[str]

    def execute(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Runs a command beside the first one, as `exec` of an engine does."""
        user, _, group = self.image.user.partition(":")
        enter = ["nsenter", f"--target={self.first()}", "--mount", "--pid", "--net", "--root"]
        drop = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"]
        return subprocess.run([*enter, *drop, *command], env=self.image.environment, capture_output=True, text=True)

    def first(self) -> int:
        """The process that has the number 1 in the container."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while not (pids := children.read_text().split()):  # it has not been started yet
            assert self.process.poll() is None, self.wait()
            time.sleep(0.05)
        return int(pids[0])

    def end(self) -> tuple[int, str]:
        """Ends it as an engine does, with SIGTERM to the first process: its exit code and what it has printed."""
        os.kill(self.first(), signal.SIGTERM)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """The exit code of what ends by itself, and what it has printed."""
        output, _ = self.process.communicate()
        return self.process.returncode, output


@contextmanager
def built(file: Path, context: Path, work: Path, **arguments: str) -> Iterator[Image]:
    """The image of the last stage; nothing of it is left afterwards."""
    stages: dict[str, Image] = {}
    bases: dict[str, Path] = {}
    image = Image(work)
    try:
        for stage in read_stages(file.read_text(encoding="utf-8")):
            if stage.base not in bases:
                bases[stage.base] = base_root(stage.base, work / f"base-{len(bases)}")
            root = work / f"stage-{len(stages)}"
            subprocess.run(["cp", "-a", str(bases[stage.base]), str(root)], check=True)
            image = stages[stage.name] = Image(root, arguments)
            for instruction, rest in stage.steps:
                image.take(instruction, rest, context, stages)
        yield image
    finally:
        for path in work.iterdir():
            subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True)
