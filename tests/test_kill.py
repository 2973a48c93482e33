"""kill -9 at any moment of `fetch` or `train` leaves a store and a registry that the next command reads."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Long enough to be killed anywhere between start and the last transaction, short enough to be killed twenty times.
TRAIN = ("train", "bitcoin", "ethereum", "--source", "sample", "--horizons", "1,7", "--json")
FETCH = ("fetch", "bitcoin", "ethereum", "litecoin", "--source", "sample", "--json")


def _start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cryptocast", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CRYPTOCAST_LIGHTGBM__ROUNDS": "30", "CRYPTOCAST_TRAIN__MODELS": "lightgbm"},
    )


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryptocast", *arguments], cwd=folder, capture_output=True, text=True, timeout=120
    )


def _whole_run_s(folder: Path, arguments: tuple[str, ...]) -> float:
    began = time.monotonic()
    assert _start(folder, *arguments).wait(timeout=120) == 0
    return time.monotonic() - began


def _kill_at(folder: Path, arguments: tuple[str, ...], after_s: float) -> None:
    process = _start(folder, *arguments)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=120)


def _check(folder: Path) -> None:
    """What any next command would do: read the candles, verify the registry, list the versions."""
    for command in (("data", "verify"), ("registry", "verify"), ("registry", "list")):
        done = _run(folder, *command, "--json")
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert json.loads(done.stdout)
    partial = [p for p in (folder / "data").rglob("*") if p.is_file() and "tmp" in p.suffix]
    assert len(partial) <= 20, "leftovers are cleaned by the next writer"


def _attack(folder: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    whole = {arguments: _whole_run_s(folder, arguments) for arguments in (FETCH, TRAIN)}
    for _ in range(kills):
        arguments = draw.choice((FETCH, TRAIN, TRAIN))
        _kill_at(folder, arguments, draw.uniform(0.05, 1.0) * whole[arguments])
        _check(folder)
    assert _start(folder, *TRAIN).wait(timeout=120) == 0
    answer = _run(folder, "forecast", "bitcoin", "--source", "sample", "--horizons", "1,7", "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["forecasts"][0]["model_used"] == "lightgbm"


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_two_kills_leave_a_store_and_a_registry_that_are_read(tmp_path: Path) -> None:
    _attack(tmp_path, kills=2, seed=5)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_twenty_kills_leave_a_store_and_a_registry_that_are_read(tmp_path: Path) -> None:
    _attack(tmp_path, kills=20, seed=6)
