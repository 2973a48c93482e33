"""What can be had from a trained store, asked in a process that may not write it: one JSON document on stdout.

`read_only`, `another_user` and `full_disk` run a command where the folder of a store is that; each needs rights that
not every machine gives.
"""

import asyncio
import contextlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from cryptocast.cli import main
from cryptocast.serving import create_app
from cryptocast.workflows.context import Context
from tests.serving.serving_app import Clock, talk
from tests.serving.trained_store import AFTER, CLOSED, settings

ROOT: Final = Path(__file__).resolve().parents[2]
NOBODY: Final = "65534"
Where = Callable[[Path, Sequence[str]], list[str]]


def read_only(store: Path, command: Sequence[str]) -> list[str]:
    """The store mounted read-only, for this command alone."""
    place = shlex.quote(str(store))
    return _mounted(f"mount --bind {place} {place} && mount -o remount,ro,bind {place}", command)


def full_disk(store: Path, command: Sequence[str]) -> list[str]:
    """A copy of the store in its place, on a disk of its own without a byte left."""
    place, copy = shlex.quote(str(store)), shlex.quote(f"{store}-copy")
    filled = f"head -c 64M /dev/zero >{place}/filler 2>/dev/null; [ $(df --output=avail {place} | tail -1) = 0 ]"
    make = (
        f"cp -a {place} {copy} && mount -t tmpfs -o size=16M none {place} && cp -a {copy}/. {place} && {{ {filled}; }}"
    )
    return _mounted(make, command)


def another_user(store: Path, command: Sequence[str]) -> list[str]:
    """A user who may read everything and write nothing of the store's owner."""
    read = "--inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search"
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *read.split(), *command]


def _mounted(make: str, command: Sequence[str]) -> list[str]:
    return ["unshare", "--mount", "sh", "-c", f"{make} && exec {shlex.join(command)}"]


def impossible(where: Where, folder: Path) -> str | None:
    """Why this machine cannot do that; None if it can."""
    place = folder / "try"
    place.mkdir()
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return "this needs unshare and setpriv of util-linux"
    found = subprocess.run(where(place, ["true"]), capture_output=True, text=True)
    return None if found.returncode == 0 else f"this needs the rights of root: {found.stderr.strip()}"


def asked(where: Where, store: Path) -> dict[str, Any]:
    """What `tell` told there."""
    command = where(store, [sys.executable, "-m", "tests.serving.unwritable", str(store)])
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    told: dict[str, Any] = json.loads(found.stdout)
    return told


def tell(store: Path) -> dict[str, Any]:
    """The commands that read, and the server with its refresher."""
    os.environ |= {
        "CRYPTOCAST_STORE__PATH": str(store),
        "CRYPTOCAST_COINGECKO__BASE_URL": "http://127.0.0.1:9/api/v3",
        "CRYPTOCAST_COINGECKO__MAX_RETRIES": "0",
    }
    now = ["--now", CLOSED.isoformat()]
    commands = {
        "data ls": ["data", "ls"],
        "registry list": ["registry", "list"],
        "registry show": ["registry", "show", "bitcoin/lightgbm:1", "--source", "coingecko"],
        "forecast": ["forecast", "bitcoin", "--source", "coingecko", "--model", "lightgbm", "--horizons", "1,7", *now],
    }
    return {name: _run([*words, "--json"]) for name, words in commands.items()} | {"served": _served(store)}


def _run(words: list[str]) -> dict[str, Any]:
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as end:
            code = end.code or 0
    out.seek(0)
    text = out.read()
    return {"code": code, "told": json.loads(text) if text else None, "err": err.getvalue()}


def _served(store: Path) -> dict[str, Any]:
    app = create_app(Context(settings(store), wall_clock=Clock(CLOSED + AFTER)), refresh=True)

    async def conversation(client: httpx.AsyncClient) -> dict[str, Any]:
        paths = ("/forecasts?ids=bitcoin&model=lightgbm", "/ready", "/health/components/store", "/models")
        answers = {path: await client.get(path) for path in paths}
        refresher = app.state.server.refresher
        while not refresher.rounds:
            await asyncio.sleep(0.02)
        await refresher.settled()
        answers |= {path: await client.get(path) for path in ("/health/components/refresher",)}
        return {path: [answer.status_code, answer.json()] for path, answer in answers.items()}

    return talk(app, conversation)


if __name__ == "__main__":
    json.dump(tell(Path(sys.argv[1])), sys.stdout)
