"""Which code ran: a hash of the package's own source, the same for a clone, a wheel and an edited checkout."""

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import cryptocast


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
