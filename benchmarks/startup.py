"""How long a command takes before it does anything: median of runs of whole processes, beside bare Typer with Rich.

python benchmarks/startup.py [--runs 7]
"""

import argparse
import statistics
import subprocess
import sys
import time

BARE = (
    "import typer, rich.console\napp = typer.Typer()\n@app.command()\ndef hello(name: str = 'x') -> None:\n"
    "    '''Say hello.'''\napp(['--help'])"
)
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "bare Typer and Rich --help": [sys.executable, "-c", BARE],
    "cryptocast --help": [sys.executable, "-m", "cryptocast", "--help"],
    "cryptocast train --help": [sys.executable, "-m", "cryptocast", "train", "--help"],
    "cryptocast data ls": [sys.executable, "-m", "cryptocast", "data", "ls"],
    "cryptocast registry list": [sys.executable, "-m", "cryptocast", "registry", "list"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    bare = median_s(COMMANDS["bare Typer and Rich --help"], runs)
    print("| command | median, s | x bare |\n| --- | --- | --- |")
    for name, command in COMMANDS.items():
        seconds = median_s(command, runs)
        print(f"| {name} | {seconds:.3f} | {seconds / bare:.2f} |")


def median_s(command: list[str], runs: int) -> float:
    """Wall seconds of the whole process; the first run warms the disk and does not count."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
