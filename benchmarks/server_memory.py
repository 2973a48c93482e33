"""What a server holds in memory after the default `train bitcoin`: as it starts, and with all that it is asked.

    python benchmarks/server_memory.py [FOLDER] [--rounds 20]

FOLDER: a checkout of another release, beside which it is measured. Each trains in a folder of its own and serves it;
then forecasts of every kind, sample paths, the track record, the page and the API's description are asked for, again
and again. Resident MB (2^20) of the process, and CPU seconds. Prints Markdown.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
from beside import OWN, cost

from cryptocast.kinds import ASKABLE

MB = 1024.0**2
PATHS = (
    *(f"/forecasts?ids=bitcoin&model={kind}" for kind in ASKABLE),
    "/forecasts?ids=bitcoin,ethereum,litecoin&model=auto",
    *("/paths?ids=bitcoin&paths=1000", "/track?ids=bitcoin", "/candles?ids=bitcoin&last=2000", "/models"),
    *("/", "/docs", "/openapi.json", "/health/detailed", "/metrics"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    print("| release | started, MB | asked once, MB | asked again and again, MB | most, MB | CPU s |")
    print("| --- |" + " --- |" * 5)
    for name, release in (("this one", OWN), ("the other", asked.other)):
        if release is not None:
            with tempfile.TemporaryDirectory() as folder:
                cells = measured(release, Path(folder), asked.rounds)
            print(f"| {name} | {' | '.join(f'{cell:.0f}' for cell in cells)} |", flush=True)


def measured(release: Path, folder: Path, rounds: int) -> list[float]:
    """The cells of a release's line."""
    cost(["train", "bitcoin", "--source", "sample"], release, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = {**os.environ, "PYTHONPATH": str(release.resolve()), "CRYPTOCAST_DATA__SOURCE": "sample"}
    command = [sys.executable, "-m", "cryptocast", "serve", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        server, sizes = psutil.Process(process.pid), list[float]()
        wait_for(port)
        sizes.append(server.memory_info().rss / MB)
        for number in range(rounds):
            ask_all(port, number)
            sizes.append(server.memory_info().rss / MB)
        times = server.cpu_times()
        return [sizes[0], sizes[1], sizes[-1], max(sizes), times.user + times.system]
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(port: int) -> None:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        if status(port, "/ready") == 200:
            return
        time.sleep(0.2)
    raise SystemExit("the server is not ready after two minutes")


def ask_all(port: int, number: int) -> None:
    """Every answer, none of them from memory."""
    for path in PATHS:
        code = status(port, path.replace("paths=1000", f"paths=1000&seed={number}"))
        if code != 200 and number == 0:
            print(f"{path}: {code}", file=sys.stderr)


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


if __name__ == "__main__":
    main()
