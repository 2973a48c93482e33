"""Other processes, and the ends that they come to."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryptocast.models.online import HorizonState
from cryptocast.registry import Registry
from cryptocast.workflows.online_calibration import learn, state_of
from tests.registry.registry_evidence import SERIES
from tests.registry.registry_fits import BITCOIN, NOW

HERE = Path(__file__).parent


def worker(store: Path, name: str, rounds: float, script: str = "registry_fits.py") -> "subprocess.Popen[str]":
    """A process that prints what was confirmed to it: registers two coins at a time and promotes at random, or records.

    script: registry_fits.py, or registry_evidence.py, which writes two rows of evidence and two trials at a time.
    """
    search = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(HERE / script), str(store), name, str(rounds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": search},
    )


def test_processes_at_once_lose_no_update_and_see_no_lock(tmp_path: Path) -> None:
    workers = [worker(tmp_path, name, 40) for name in "abc"]
    said = [process.communicate(timeout=300) for process in workers]
    assert [process.returncode for process in workers] == [0, 0, 0], said
    assert [stderr for _, stderr in said] == ["", "", ""]
    registry = Registry.open(tmp_path)
    assert registry.verify() == ()
    confirmed = {fit_id for stdout, _ in said for fit_id in stdout.split()}
    assert len(confirmed) == 120
    for coin in ("bitcoin", "ethereum"):
        versions = registry.versions(coin=coin)
        assert [version.number for version in versions] == list(range(1, 121))
        assert {version.fit_id for version in versions} == confirmed
    challenger = registry.alias(BITCOIN, "challenger")
    assert challenger is not None
    assert challenger.number == 120
    assert registry.alias(BITCOIN, "production") is not None


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_kill_at_any_moment_leaves_a_registry_that_verify_passes(tmp_path: Path) -> None:
    draw = random.Random(11)
    confirmed: list[str] = []
    produced = False
    for turn in range(10):
        process = worker(tmp_path, f"turn {turn}", 10_000)
        assert process.stdout is not None
        if turn:  # the first one is killed anywhere, the creation of the registry included
            confirmed.append(process.stdout.readline().strip())
        time.sleep(draw.uniform(0.0, 0.04) if turn else 0.35)
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate(timeout=120)
        assert errors == ""
        confirmed += [line for line in rest.split("\n")[:-1] if line]
        registry = Registry.open(tmp_path)
        assert registry.verify() == ()
        has_production = registry.alias(BITCOIN, "production") is not None
        assert has_production or not produced
        produced = has_production
    kept = {version.fit_id for version in Registry.open(tmp_path).versions(coin="bitcoin")}
    assert len(confirmed) >= 9
    assert set(confirmed) <= kept
    for fit_id in confirmed[-3:]:
        assert set(Registry.open(tmp_path).load_files(fit_id)) == {"model.txt", "state.json"}


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_kill_while_recording_leaves_whole_batches_and_all_that_was_confirmed(tmp_path: Path) -> None:
    draw = random.Random(3)
    confirmed: list[str] = []
    for turn in range(5):
        process = worker(tmp_path, f"turn {turn}", 10_000, "registry_evidence.py")
        assert process.stdout is not None
        confirmed.append(process.stdout.readline().strip())
        time.sleep(draw.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate(timeout=120)
        assert errors == ""
        confirmed += [line for line in rest.split("\n")[:-1] if line]
    registry = Registry.open(tmp_path)
    assert registry.verify() == ()
    walks = [row.run for row in registry.evidence()]
    tries = [row.run for row in registry.trials_on(SERIES, NOW, NOW)]
    for runs in (walks, tries):
        assert set(confirmed) <= set(runs)
        assert {runs.count(run) for run in set(runs)} == {2}


def test_processes_recording_at_once_lose_no_row(tmp_path: Path) -> None:
    workers = [worker(tmp_path, name, 40, "registry_evidence.py") for name in "abc"]
    said = [process.communicate(timeout=300) for process in workers]
    assert [stderr for _, stderr in said] == ["", "", ""]
    registry = Registry.open(tmp_path)
    assert registry.verify() == ()
    assert len({run for stdout, _ in said for run in stdout.split()}) == 120
    assert len(registry.evidence()) == len(registry.trials_on(SERIES, NOW, NOW)) == 240


def test_a_backup_as_the_docs_have_it_is_whole_though_others_write_meanwhile(tmp_path: Path) -> None:
    store, copy = tmp_path / "data", tmp_path / "backup" / "registry"
    process = worker(store, "a", 10_000)
    assert process.stdout is not None
    process.stdout.readline()
    copy.mkdir(parents=True)
    with (
        contextlib.closing(sqlite3.connect(store / "registry" / "registry.db")) as source,
        contextlib.closing(sqlite3.connect(copy / "registry.db")) as target,
    ):
        source.backup(target)
    shutil.copytree(store / "registry" / "objects", copy / "objects", ignore=shutil.ignore_patterns(".*.tmp"))
    process.kill()
    process.communicate(timeout=120)
    restored = Registry.open(tmp_path / "backup")
    assert restored.verify() == ()
    assert restored.versions()


def _cared_for(folder: Path, kills: int, seed: int, script: str = "registry_upkeep.py") -> None:
    """Kill a process that registers, promotes, rolls back, collects and imports (or notes and learns), at random."""
    draw = random.Random(seed)
    for turn in range(kills):
        process = worker(folder, f"turn-{turn}", 10_000, script)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        assert process.communicate(timeout=120)[1] == ""
        registry = Registry.open(folder)
        assert registry.verify() == ()
        assert registry.alias(BITCOIN, "production") is not None or not registry.versions()
        for version in registry.versions():
            assert registry.load_files(version.fit_id)
        for number in (1, 2, 3):
            matured = registry.matured(BITCOIN, number)
            assert _states(registry, number) == {s.horizon: state_of(s) for s in learn(number, {}, matured)}


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_kill_while_collecting_importing_and_rolling_back_loses_nothing_that_is_referred_to(tmp_path: Path) -> None:
    _cared_for(tmp_path, kills=4, seed=7)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_hundred_such_kills_lose_nothing_either(tmp_path: Path) -> None:
    _cared_for(tmp_path, kills=100, seed=8)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_hundred_kills_in_the_crowd_leave_states_that_are_their_replay(tmp_path: Path) -> None:
    _cared_for(tmp_path, kills=100, seed=9, script="registry_crowd.py")


def test_processes_that_collect_and_register_at_once_lose_no_artefact(tmp_path: Path) -> None:
    workers = [worker(tmp_path, name, 25, "registry_upkeep.py") for name in "abc"]
    said = [process.communicate(timeout=300) for process in workers]
    assert [stderr for _, stderr in said] == ["", "", ""]
    registry = Registry.open(tmp_path)
    assert registry.verify() == ()
    assert all(registry.load_files(version.fit_id) for version in registry.versions())


def _states(registry: Registry, number: int) -> dict[int, HorizonState]:
    return {horizon: state_of(state) for horizon, state in registry.calibration_states(BITCOIN, number).items()}


def _crowd(folder: Path, processes: int, seconds: float) -> None:
    """Processes that register, promote, go through the gate, roll back, note, learn, record and collect at once."""
    workers = [worker(folder, f"worker-{n}", seconds, "registry_crowd.py") for n in range(processes)]
    said = [process.communicate(timeout=seconds + 90) for process in workers]
    assert [stderr for _, stderr in said] == [""] * processes
    assert [process.returncode for process in workers] == [0] * processes
    registry = Registry.open(folder)
    assert registry.verify() == ()
    assert registry.alias(BITCOIN, "production") is not None
    done = [line.partition(" ")[::2] for stdout, _ in said for line in stdout.splitlines()]
    assert {what for what, _ in done} == {"register", "promote", "gate", "rollback", "ledger", "walk", "gc"}
    # Nothing that was confirmed is lost: every registration and move of production stands in the history, once.
    events = registry.history(coin="bitcoin")
    registered = [event.evidence["fit"] for event in events if event.action == "register"]
    assert sorted(registered) == sorted({fit_id for what, fit_id in done if what == "register"})
    moves = [event for event in events if event.alias == "production"]
    assert [event.previous for event in moves[1:]] == [event.number for event in moves[:-1]]
    walks = {row.run for row in registry.evidence()}
    assert {label for what, label in done if what == "walk"} == walks
    for number in (1, 2, 3):
        rows = {f"{number}:{r.issued_at.isoformat()}:{r.horizon}" for r in registry.ledger(BITCOIN, number)}
        noted = {one for what, told in done if what == "ledger" for one in told.split(",") if one[0] == str(number)}
        assert noted == rows
        matured = registry.matured(BITCOIN, number)
        assert len(matured) == len(rows)
        assert _states(registry, number) == {s.horizon: state_of(s) for s in learn(number, {}, matured)}


def test_four_processes_at_once_for_a_second_lose_nothing(tmp_path: Path) -> None:
    _crowd(tmp_path, processes=4, seconds=1.0)


@pytest.mark.slow
def test_ten_processes_at_once_for_thirty_seconds_lose_nothing(tmp_path: Path) -> None:
    _crowd(tmp_path, processes=10, seconds=30.0)
