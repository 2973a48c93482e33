"""Which code ran: a hash of the package's own source, the same for a clone, a wheel and an edited checkout."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import cryptocast
from cryptocast.kinds import LIBRARIES


@cache
def code_version() -> str:
    """Release and the first 12 digits of the sha256 over the package's modules; an uncommitted edit changes it."""
    root = Path(cryptocast.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return f"{cryptocast.__version__}+{digest.hexdigest()[:12]}"


def library_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of the libraries that decide the numbers; those not installed are left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def platform_name() -> str:
    """Operating system and processor."""
    return f"{platform.system()} {platform.machine()}"


@cache
def processor_model() -> str:
    """The model of the processor, as far as the system names it: libraries choose their instructions by it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return model or platform.processor() or platform.machine()


@dataclass(frozen=True, slots=True)
class Environment:
    """What decides the numbers that a process computes. processor: of it the last bits alone."""

    code: str
    python: str
    libraries: Mapping[str, str]
    processor: str

    def differences(self, other: "Environment") -> tuple[str, ...]:
        """What makes another unfit to work along, such as `polars 1.9 instead of 2.0`; a processor does not."""
        own = {"cryptocast": self.code, "Python": self.python, **self.libraries}
        theirs = {"cryptocast": other.code, "Python": other.python, **other.libraries}
        return tuple(
            f"{name} {theirs.get(name, 'missing')} instead of {own.get(name, 'none')}"
            for name in dict.fromkeys((*own, *theirs))
            if own.get(name) != theirs.get(name)
        )


@cache
def environment() -> Environment:
    """That of this process."""
    minor = ".".join(platform.python_version_tuple()[:2])
    return Environment(code_version(), minor, library_versions(LIBRARIES), processor_model())
