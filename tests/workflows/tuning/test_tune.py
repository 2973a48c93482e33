"""Tuning: what it may see, that it goes on where it was killed, and when what it found is taken over."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from filelock import FileLock

from cryptocast.config import (
    BacktestConfig,
    Config,
    DataConfig,
    ForecastConfig,
    LightGBMConfig,
    SimulatedConfig,
    SplitConfig,
    StoreConfig,
    TrainConfig,
    TuneConfig,
    without_tuned,
)
from cryptocast.data.schema import BAR_US
from cryptocast.errors import DataError, UsageError
from cryptocast.market import Market
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.context import Context, NoProgress, Selection
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.environment import environment
from cryptocast.workflows.training.train import Order, train
from cryptocast.workflows.tuning.adopted_settings import read_tuned, tuned_path
from cryptocast.workflows.tuning.folds import FoldLoss
from cryptocast.workflows.tuning.study import Attempt
from cryptocast.workflows.tuning.tune import TunedModel, TuneOrder, compared, tune

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRIALS = 9
SPLIT = SplitConfig()


def context(folder: Path, progress: Any = None, **sections: Any) -> Context:
    config = Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin",), source="simulated"),
        simulated=SimulatedConfig(bars=900),
        train=TrainConfig(blocks=2, threads=1, audit=False),
        lightgbm=LightGBMConfig(rounds=8, next_bar_rounds=8, min_data_in_leaf=40),
        forecast=ForecastConfig(daily_horizons=(1, 7)),
        tune=TuneConfig(folds=3),
        backtest=BacktestConfig(models=("baseline", "lightgbm")),
    )
    config = msgspec.structs.replace(config, **sections)
    return Context(config=config, wall_clock=lambda: NOW, who="test", progress=progress or NoProgress())


def tuned(used: Context, **order: Any) -> TunedModel:
    (model,) = tune(used, TuneOrder(**{"trials": TRIALS, **order})).models
    return model


def accept(used: Context, **values: Any) -> None:
    """Make the file of found settings say that these were taken over."""
    path = tuned_path(used.config.store.path, Market("simulated", "usd", "daily"), "lightgbm")
    found = read_tuned(path)
    assert found is not None
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(found, settings={"num_leaves": 7}, **values)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TunedModel]:
    """A store in which a study was run without interruption. To be read only."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, tuned(context(folder))


# What it may see.


# What is searched.


# The study.


def test_the_defaults_are_the_first_trial_and_never_lose(whole: tuple[Path, TunedModel]) -> None:
    _, model = whole
    assert model.default.trial == 1
    assert model.default.settings["num_leaves"] == LightGBMConfig().num_leaves
    assert model.best.score is not None
    assert model.default.score is not None
    assert model.best.score <= model.default.score
    assert len(model.trials) == TRIALS
    assert {trial.state for trial in model.trials} == {"complete", "pruned"}
    assert all(len(t.folds) == 2 for t in model.trials if t.state == "pruned")


KILLED = """
import os, signal, sys
from pathlib import Path
from cryptocast.workflows.context import NoProgress
from tests.workflows.tuning.test_tune import context, tuned
class Dies(NoProgress):
    def step(self, note):
        if note.startswith(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
tuned(context(Path(sys.argv[1]), Dies()))
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
@pytest.mark.slow
def test_a_study_that_was_killed_twice_is_the_study_of_one_run(whole: tuple[Path, TunedModel], tmp_path: Path) -> None:
    # One in a trial that was drawn at the start, one in a trial that the search had to think about.
    for place in ("trial 2, fold 2", "trial 9, fold 1"):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path), place],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=300,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = tuned(context(tmp_path))
    assert again.earlier_trials == TRIALS - 1
    assert again.trials == whole[1].trials
    assert (again.best, again.p_better, again.adopted) == (whole[1].best, whole[1].p_better, whole[1].adopted)


def test_more_trials_go_on_from_those_that_are_there(tmp_path: Path) -> None:
    first = tuned(context(tmp_path), trials=2)
    second = tuned(context(tmp_path), trials=3)
    assert (second.earlier_trials, len(second.trials)) == (2, 3)
    assert second.trials[:2] == first.trials
    assert tuned(context(tmp_path), trials=3).trials == second.trials


def test_other_bars_settings_or_folds_are_another_study(whole: tuple[Path, TunedModel], tmp_path: Path) -> None:
    _, model = whole
    others = [
        tuned(context(tmp_path, tune=TuneConfig(folds=2)), trials=1),
        tuned(context(tmp_path), trials=1, selection=Selection(now=datetime(2017, 5, 1, tzinfo=UTC))),
        tuned(context(tmp_path, train=TrainConfig(blocks=2, threads=1, audit=False, seed=8)), trials=1),
    ]
    assert len({model.study, *(other.study for other in others)}) == 4
    threads = context(tmp_path, train=TrainConfig(blocks=2, threads=2, audit=False))
    assert tuned(threads, trials=1).study == model.study


def test_no_trial_begins_after_the_time_is_over(tmp_path: Path) -> None:
    tuned(context(tmp_path), trials=1)
    assert len(tuned(context(tmp_path), timeout=timedelta(seconds=0)).trials) == 1
    with pytest.raises(DataError, match="before the trial with the defaults had ended"):
        tuned(context(tmp_path / "new"), timeout=timedelta(seconds=0))


def test_a_second_process_on_the_same_study_is_refused(whole: tuple[Path, TunedModel]) -> None:
    folder, model = whole
    with (
        FileLock(folder / "data" / "tuned" / f".{model.study}.lock"),
        pytest.raises(DataError, match="Another process is at work on this study"),
    ):
        tuned(context(folder))


def test_a_storage_that_is_none_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no address of a storage") as caught:
        tuned(context(tmp_path), storage="nope://me:secret@host/x")
    assert "secret" not in str(caught.value)
    (tmp_path / "text.db").write_text("no database " * 500, encoding="utf-8")
    with pytest.raises(DataError, match="file is not a database"):
        tuned(context(tmp_path), storage=f"sqlite:///{tmp_path / 'text.db'}")


def test_too_few_bars_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    early = Selection(coins=("bitcoin",), now=datetime(2015, 6, 1, tzinfo=UTC))
    with pytest.raises(DataError, match=r"too little to tune on.*needs 200 bars.*there are"):
        tuned(context(tmp_path), selection=early)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers, each a process of its own that is started again when it is killed."""
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local


class Kills(NoProgress):
    """Kills a worker behind the first step of a trial."""

    def __init__(self, cluster: Any, trial: int) -> None:
        self.cluster, self.trial, self.killed = cluster, trial, list[int]()

    def step(self, note: str) -> None:
        if note.startswith(f"trial {self.trial}, ") and not self.killed:
            self.killed.append(next(worker.pid for worker in self.cluster.workers.values() if worker.pid))
            os.kill(self.killed[0], signal.SIGKILL)


@pytest.mark.parametrize(("trial", "trials"), [(1, 3), pytest.param(8, 12, marks=pytest.mark.slow)])
def test_a_cluster_tries_what_two_processes_try_though_one_of_its_workers_is_killed(
    tmp_path: Path, cluster: Any, trial: int, trials: int
) -> None:
    few, kills = TuneConfig(folds=2), Kills(cluster, trial)
    here = tuned(context(tmp_path / "here", tune=few), trials=trials, engine=Engine(jobs=2))
    engine = Engine("dask", address=cluster.scheduler_address)
    there = tuned(context(tmp_path / "there", kills, tune=few), trials=trials, engine=engine)
    assert len(kills.killed) == 1
    assert there.trials == here.trials


@pytest.mark.slow
def test_a_study_on_a_cluster_whose_driver_was_killed_goes_on_with_the_same_trials(
    tmp_path: Path, cluster: Any
) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; import tests.workflows.tuning.test_tune as t\n"
        "class Dies(t.NoProgress):\n"
        "    def step(self, note):\n"
        "        if note.startswith('trial 3, fold 1'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "used = t.context(Path(sys.argv[1]), Dies(), tune=t.TuneConfig(folds=2))\n"
        "t.tuned(used, trials=5, engine=t.Engine('dask', address=sys.argv[2]))"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "there"), cluster.scheduler_address]
    assert subprocess.run(words, cwd=ROOT, timeout=300).returncode == -signal.SIGKILL
    few, engine = TuneConfig(folds=2), Engine("dask", address=cluster.scheduler_address)
    there = tuned(context(tmp_path / "there", tune=few), trials=5, engine=engine)
    here = tuned(context(tmp_path / "here", tune=few), trials=5, engine=Engine(jobs=2))
    assert there.trials == here.trials


def test_a_worker_of_another_processor_is_told_in_the_report(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptocast.workflows.cluster.environment", lambda: replace(environment(), processor="Z80"))
    engine = Engine("dask", address=cluster.scheduler_address)
    (line,) = tune(context(tmp_path, tune=TuneConfig(folds=2)), TuneOrder(trials=1, engine=engine)).notes
    assert f"another processor ({environment().processor})" in line


# What comes of it.


def attempt(number: int, losses: list[list[float]]) -> Attempt:
    day = BAR_US["daily"]
    folds = [
        FoldLoss(
            float(np.mean(loss)),
            (float(np.mean(loss)),),
            tuple(day * (1000 * place + date) for date in range(len(loss))),
            tuple(loss),
        )
        for place, loss in enumerate(losses)
    ]
    return Attempt(number, {"num_leaves": 15 + number}, "complete", tuple(folds))


def noisy(gains: tuple[float, ...], dates: int, seed: int = 1) -> tuple[Attempt, Attempt]:
    """Defaults, and a trial that is lower by these shares, fold by fold, with noise in the difference."""
    rng = np.random.default_rng(seed)
    base = [(1 + 0.2 * rng.standard_normal(dates)).tolist() for _ in gains]
    other = [
        (np.array(fold) - gain + 0.005 * rng.standard_normal(dates)).tolist()
        for fold, gain in zip(base, gains, strict=True)
    ]
    return attempt(0, base), attempt(3, other)


@pytest.mark.parametrize(
    ("gains", "dates", "taken", "why"),
    [
        ((0.01, 0.01, 0.01), 200, True, "taken over"),
        ((0.0004, 0.0004, 0.0004), 200, False, "it takes 0.1 %"),
        ((0.06, -0.001, -0.001), 200, False, "on 1 of 3 folds"),
        ((0.01, 0.01, 0.01), 15, False, "45 dates are too few to test it (70)"),
        ((-0.01, -0.01, -0.01), 200, False, "the defaults stay"),
    ],
)
def test_only_what_is_clearly_better_is_taken_over(
    gains: tuple[float, ...], dates: int, *, taken: bool, why: str
) -> None:
    default, other = noisy(gains, dates)
    _, adopted, reason = compared(default, other, longest=7)
    assert adopted is taken
    assert why in reason


def test_the_defaults_against_themselves_stay() -> None:
    default, _ = noisy((0.0, 0.0), 100)
    assert compared(default, default, longest=1) == (None, False, "the defaults stay: no trial was better on the folds")


def test_what_was_found_is_used_by_the_next_training_which_says_so(tmp_path: Path) -> None:
    used = context(tmp_path)
    tuned(used, trials=2)
    order = Order(model="lightgbm", selection=Selection(("bitcoin",)))
    plain = train(Context(config=without_tuned(used.config), wall_clock=lambda: NOW), order)
    accept(used)
    report = train(used, order)
    assert any("is fitted with what tune found (num_leaves 7)" in note for note in report.notes)
    assert not any("tune" in note for note in plain.notes)
    versions = used.registry().versions(coin="bitcoin")
    assert [v.manifest.settings["lightgbm.num_leaves"] for v in versions] == [LightGBMConfig().num_leaves, 7]
    assert versions[0].manifest.recipe != versions[1].manifest.recipe
    accept(used, base={**msgspec.to_builtins(used.config.lightgbm), "rounds": 9})
    assert any("is not used, because [lightgbm] of the settings has changed" in n for n in train(used, order).notes)
    accept(used, feature_hash="0" * 64)
    assert any("is not used, because it was found with other features" in n for n in train(used, order).notes)
    tuned_path(used.config.store.path, Market("simulated", "usd", "daily"), "lightgbm").write_text("{")
    with pytest.raises(DataError, match=r"cannot be read: .*--no-tuned"):
        train(used, order)


def test_a_training_may_tune_first(tmp_path: Path) -> None:
    report = train(context(tmp_path), Order(model="lightgbm", tune=2))
    assert any(note.startswith("tuned lightgbm, best of 2: ") for note in report.notes)
    with pytest.raises(UsageError, match="--tune finds settings for"):
        train(context(tmp_path), Order(model="baseline", tune=2))


def test_a_backtest_counts_every_trial_and_says_what_the_search_had_seen(tmp_path: Path) -> None:
    used = context(tmp_path)
    walk = BacktestOrder(
        selection=Selection(("bitcoin",)), walk_forward=True, start=datetime(2016, 3, 1, tzinfo=UTC), refit_every=182
    )
    before = backtest(context(tmp_path / "other"), walk)
    assert before.trading is not None
    model = tuned(used, trials=3)
    accept(used)
    after = backtest(used, walk)
    assert after.trading is not None
    assert after.trading.trials is not None
    assert before.trading.trials is not None
    assert after.trading.trials == before.trading.trials + 3
    assert any("chosen on bars until" in note for note in after.notes)
    trials = used.registry().trials_on("simulated/usd/daily/bitcoin", model.folds[0].start, model.folds[-1].end, "tune")
    assert [trial.score for trial in trials] == [trial.score for trial in model.trials]
