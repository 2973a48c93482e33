"""What a command costs before it does anything: whole processes, beside a Typer application of two commands.

    python benchmarks/startup.py [--runs 15]

CPU seconds of the process, medians of runs that take turns, and the median of the ratios to the bare one beside it.
"""

import argparse
import resource
import statistics
import subprocess
import sys

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
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    rounds = [{name: cpu_s(command) for name, command in COMMANDS.items()} for _ in range(runs + 1)][1:]
    print("| command | CPU s | x bare |\n| --- | --- | --- |")
    for name in COMMANDS:
        seconds = statistics.median(one[name] for one in rounds)
        print(f"| {name} | {seconds:.3f} | {statistics.median(one[name] / one[BARE_NAME] for one in rounds):.2f} |")


def cpu_s(command: list[str]) -> float:
    """CPU seconds, user and system, of the whole process. The first round warms the disk and does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
