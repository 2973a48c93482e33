"""What a command costs before it does anything: whole processes, beside a Typer application of two commands.

    python benchmarks/startup.py [FOLDER] [--runs 15]

CPU seconds of the process, medians of runs that take turns, and the median of the ratios to the bare one beside it.
With FOLDER, a checkout of another release: forecasts of the sample by each model, trained first, here and there, beside
`import polars, numpy`.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from beside import OWN, cost, process_cost

from cryptocast.kinds import ASKABLE

BARE = (
    "import typer\napp = typer.Typer()\n@app.command()\ndef hello(name: str = 'x') -> None:\n    '''Say hello.'''\n"
    "@app.command()\ndef bye(name: str = 'x') -> None:\n    '''Say bye.'''\napp(['--help'])"
)
BARE_NAME = "two commands of bare Typer, --help"
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    BARE_NAME: [sys.executable, "-c", BARE],
    "cryptocast --help": [sys.executable, "-m", "cryptocast", "--help"],
    "cryptocast train --help": [sys.executable, "-m", "cryptocast", "train", "--help"],
    "cryptocast data ls": [sys.executable, "-m", "cryptocast", "data", "ls"],
    "cryptocast registry list": [sys.executable, "-m", "cryptocast", "registry", "list"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    runs = options.runs
    rounds = [{name: cpu_s(command) for name, command in COMMANDS.items()} for _ in range(runs + 1)][1:]
    print("| command | CPU s | x bare |\n| --- | --- | --- |")
    for name in COMMANDS:
        seconds = statistics.median(one[name] for one in rounds)
        print(f"| {name} | {seconds:.3f} | {statistics.median(one[name] / one[BARE_NAME] for one in rounds):.2f} |")
    if options.other is not None:
        forecasts(options.other, runs)


def forecasts(other: Path, runs: int) -> None:
    """What a first forecast costs, here and there, and an import of the package. A dash: that model cannot be asked."""
    # Installed packages have their bytecode beside them, so that these checkouts must have it, too.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print("\n| first forecast by | CPU s | x `import polars, numpy` | peak MB | the other: CPU s | x | peak MB |")
    print("| --- |" + " --- |" * 6)
    with (
        tempfile.TemporaryDirectory() as bytecode,
        tempfile.TemporaryDirectory() as own,
        tempfile.TemporaryDirectory() as its,
    ):
        os.environ["PYTHONPYCACHEPREFIX"] = bytecode
        sides = ((OWN, Path(own)), (other, Path(its)))
        for release, folder in sides:
            cost(["train", "bitcoin", "--source", "sample"], release, folder)
        for name in (*ASKABLE, "import"):
            words = ["-c", "import cryptocast"]
            if name != "import":
                words = ["-m", "cryptocast", "forecast", "bitcoin", "--source", "sample", "--model", name]
            cells = [cell for release, folder in sides for cell in beside_import(words, release, folder, runs)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def beside_import(words: list[str], release: Path, folder: Path, runs: int) -> list[str]:
    """CPU seconds, the ratio to an import of polars and numpy, and the peak of memory: medians, the most."""
    rounds = []
    for _ in range(runs + 1):
        bare, _ = process_cost(["-c", "import polars, numpy"], release, folder)
        try:
            rounds.append((bare, *process_cost(words, release, folder)))
        except SystemExit:
            return ["-"] * 3
    cpu = statistics.median(one[1] for one in rounds[1:])
    ratio = statistics.median(one[1] / one[0] for one in rounds[1:])
    return [f"{cpu:.2f}", f"{ratio:.2f}", f"{max(one[2] for one in rounds[1:]):.0f}"]


def cpu_s(command: list[str]) -> float:
    """CPU seconds, user and system, of the whole process. The first round warms the disk and does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
