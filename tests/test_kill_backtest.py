"""Signals in mid-run: a `backtest --walk-forward` that is killed goes on, and says what one run says."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")

WALK = (
    *("backtest", "bitcoin", "--source", "sample", "--walk-forward", "--horizons", "1,7", "--json"),
    *("--from", "2017-06-01", "--refit-every", "182"),
)
PATIENCE = 120.0
PACKAGE = Path(__file__).resolve().parents[1] / "cryptocast"


@pytest.fixture(scope="module", autouse=True)
def copy_of_the_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The runs import a copy: whoever edits the package in between would make it another question."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "cryptocast", *WALK, "--predictions", str(folder / "p.parquet"), *more],
        cwd=folder,
        stdout=(folder / "report.json").open("wb"),
        stderr=(folder / "said.txt").open("wb"),
        env={**os.environ, "CRYPTOCAST_LIGHTGBM__ROUNDS": "20"},
        start_new_session=True,
    )


def finished(folder: Path, *more: str) -> dict[str, Any]:
    """The report of a run to its end."""
    assert start(folder, *more).wait(timeout=PATIENCE) == 0, (folder / "said.txt").read_text()
    report: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return report


def digests(folder: Path) -> dict[str, str]:
    (result,) = (folder / "data" / "runs").glob("*/result.json")
    found: dict[str, str] = json.loads(result.read_bytes())["digests"]
    return found


def interrupted(folder: Path, number: signal.Signals, *more: str) -> tuple[int, int, list[int]]:
    """The exit code of a run that gets a signal behind its second refit, the refits it kept, and who outlived it."""
    process = start(folder, *more)

    def kept() -> int:
        return len(list((folder / "data").glob("runs/*/blocks/fold-*.parquet")))

    _until(lambda: kept() >= 2 or process.poll() is not None)
    assert process.poll() is None, "it ended before it could be interrupted"
    process.send_signal(number)
    code = process.wait(timeout=PATIENCE)
    alive: Callable[[], list[int]] = lambda: _members(process.pid)  # noqa: E731
    if number != signal.SIGKILL:
        _until(lambda: not alive(), 120.0)
    return code, kept(), alive()


def _until(happened: Callable[[], bool], patience: float = PATIENCE) -> None:
    until = time.monotonic() + patience
    while not happened() and time.monotonic() < until:
        time.sleep(0.01)


def _members(group: int) -> list[int]:
    """The processes of a group that are alive, as /proc knows them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def numbers(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("rows", "honesty", "confidence_sets", "folds", "trading")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, copy_of_the_package: None) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    finished(folder)
    return folder


def same_as_one_run(folder: Path, whole: Path, kept: int) -> None:
    again = finished(folder)
    expected = json.loads((whole / "report.json").read_bytes())
    assert 2 <= kept < len(expected["folds"])
    assert any(note.startswith(f"{kept} refits were kept") for note in again["notes"]), again["notes"]
    assert numbers(again) == numbers(expected)
    assert digests(folder) == digests(whole)
    assert pl.read_parquet(folder / "p.parquet").equals(pl.read_parquet(whole / "p.parquet"))


def test_a_walk_that_is_killed_goes_on_and_gives_the_numbers_of_one_run(whole: Path, tmp_path: Path) -> None:
    code, kept, _ = interrupted(tmp_path, signal.SIGKILL)
    assert code == -signal.SIGKILL
    same_as_one_run(tmp_path, whole, kept)


@pytest.mark.slow
def test_ctrl_c_exits_with_130_in_one_line_and_the_walk_goes_on(whole: Path, tmp_path: Path) -> None:
    code, kept, _ = interrupted(tmp_path, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in (tmp_path / "said.txt").read_text()
    same_as_one_run(tmp_path, whole, kept)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")
def test_ctrl_c_with_two_processes_leaves_none_behind(whole: Path, tmp_path: Path) -> None:
    code, kept, orphans = interrupted(tmp_path, signal.SIGINT, "--jobs", "2")
    assert code == 130
    assert orphans == []
    assert "Traceback" not in (tmp_path / "said.txt").read_text()
    same_as_one_run(tmp_path, whole, kept)


@pytest.mark.slow
def test_two_walks_at_once_on_one_store_both_end_with_the_numbers_of_one(whole: Path, tmp_path: Path) -> None:
    first = start(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "data").symlink_to(tmp_path / "data")
    (tmp_path / "data").mkdir(exist_ok=True)
    second = start(other)
    assert (first.wait(timeout=PATIENCE), second.wait(timeout=PATIENCE)) == (0, 0)
    expected = json.loads((whole / "report.json").read_bytes())
    for folder in (tmp_path, other):
        assert json.loads((folder / "report.json").read_bytes())["rows"] == expected["rows"]
    assert digests(tmp_path) == digests(whole)
