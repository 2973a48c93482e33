"""What an installation resolves to and how much it downloads, by Python and system. It downloads nothing but metadata.

python benchmarks/install_size.py [--check]; needs uv on the path. --check: the first and the last Python, light and
with PyTorch. It fails where something does not resolve to wheels, or the light installation is above its limit.
"""

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final, NamedTuple

PROJECT: Final = Path(__file__).resolve().parents[1] / "pyproject.toml"
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14", "3.15")
SYSTEMS: Final = {
    "Linux": "x86_64-unknown-linux-gnu",
    "macOS arm64": "aarch64-apple-darwin",
    "Windows": "x86_64-pc-windows-msvc",
}
MACOS: Final = "14.0"  # torch from 2.12 on and TA-Lib have no wheels for earlier ones
EXTRAS: Final = ("", "lstm", "report", "all")
LIGHT_MB: Final = 250
# torch 2.13.0+cpu for Python 3.11 on Linux: PyTorch's own index, which tells no sizes.
CPU_TORCH_MB: Final = 192
GRAPHICS: Final = ("nvidia-", "cuda-", "triton")  # what only the build for graphics cards needs


class Download(NamedTuple):
    """Megabytes of the wheels. on_cpu: with the build of torch for processors."""

    packages: int
    megabytes: float
    on_cpu: float


def resolve(python: str, system: str, extra: str) -> Download:
    """What uv chooses from wheels alone. Raises CalledProcessError where there is no choice."""
    command = ["uv", "pip", "compile", "--quiet", "--only-binary", ":all:", "--format", "pylock.toml"]
    command += ["--python-version", python, "--python-platform", SYSTEMS[system], str(PROJECT)]
    command += ["--extra", extra] if extra else []
    environ = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS}
    lock = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    # Where several wheels of a package fit, the largest is counted.
    sizes = {
        package["name"]: max(wheel["size"] for wheel in package["wheels"]) / 1e6
        for package in tomllib.loads(lock)["packages"]
        if "wheels" in package
    }
    whole = sum(sizes.values())
    heavy = sum(size for name, size in sizes.items() if name == "torch" or name.startswith(GRAPHICS))
    has_graphics = any(name.startswith(GRAPHICS) for name in sizes)
    return Download(len(sizes), whole, whole - heavy + CPU_TORCH_MB if has_graphics else whole)


def main() -> int:
    """Print the table; 1 where something does not resolve or the light one is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    pythons, extras = ((PYTHONS[0], PYTHONS[-1]), EXTRAS[:2]) if is_check else (PYTHONS, EXTRAS)
    failures = []
    print(f"{'python':<8}{'system':<13}{'extra':<7}{'packages':>9}{'MB':>8}{'MB with torch for processors':>30}")
    for python in pythons:
        for system in SYSTEMS:
            for extra in extras:
                try:
                    download = resolve(python, system, extra)
                except subprocess.CalledProcessError as error:
                    failures.append(f"{python} on {system} [{extra}]: {error.stderr}")
                    continue
                row = f"{python:<8}{system:<13}{extra or 'none':<7}{download.packages:>9}{download.megabytes:>8.0f}"
                print(row + f"{download.on_cpu:>30.0f}", flush=True)
                if not extra and download.megabytes > LIGHT_MB:
                    failures.append(f"{python} on {system}: {download.megabytes:.0f} MB of {LIGHT_MB}")
    print("\n".join(failures))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
