"""Tuning: what it may see, that it goes on where it was killed, and when what it found is taken over."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import (
    RANGES,
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
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.market import Market
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.boosting import LightGBMLearner
from cryptocast.models.kinds import learner
from cryptocast.scoring.quantiles import crps_relative
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.context import Context, NoProgress, Selection
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.training.train import Order, train
from cryptocast.workflows.tuning.adopted_settings import read_tuned, tuned_path
from cryptocast.workflows.tuning.folds import FoldJob, FoldLoss, evaluate_fold, fold_bounds, training_part
from cryptocast.workflows.tuning.search_space import as_tried, defaults, ranges_for, spread_over
from cryptocast.workflows.tuning.study import Attempt
from cryptocast.workflows.tuning.tune import TunedModel, TuneOrder, compared, tune
from tests.conftest import MakeCandles

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
        lightgbm=LightGBMConfig(rounds=8, early_stopping_rounds=4, min_data_in_leaf=40),
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


def matrix_of(candles: pl.DataFrame) -> Matrix:
    chosen = select_features(("ret_1", "vol_7", "vol_14", "vol_30"))
    table = add_features(candles.lazy(), chosen, bar_us=BAR_US["daily"]).collect()
    return build_matrix(table, [f.name for f in chosen], horizons=(1, 7), bar_us=BAR_US["daily"])


def fold_of(matrix: Matrix, place: int, **settings_of_trees: Any) -> tuple[Matrix, FoldJob, FoldLoss]:
    part, end = training_part(matrix, SPLIT)
    begin, until = fold_bounds(part, end, 3)[place : place + 2].tolist()
    trees = LightGBMLearner(LightGBMConfig(**{"rounds": 5, "min_data_in_leaf": 20, **settings_of_trees}))
    job = FoldJob(trees, begin, until, 12, 7, 1)
    return part, job, evaluate_fold(part, job)


def test_nothing_of_the_hold_out_decides_a_fold(make_candles: MakeCandles) -> None:
    candles = make_candles(bars=600)
    matrix = matrix_of(candles)
    _, begin = training_part(matrix, SPLIT)
    later = pl.col("close_time").dt.epoch("us") > begin
    prices = ("open", "high", "low", "close")
    other = candles.with_columns(pl.when(later).then(pl.col(p) * 7).otherwise(pl.col(p)).alias(p) for p in prices)
    for place in range(3):
        assert fold_of(matrix, place)[2] == fold_of(matrix_of(other), place)[2]


def test_a_fold_is_scored_by_labels_that_had_ended_before_the_hold_out(make_candles: MakeCandles) -> None:
    matrix = matrix_of(make_candles(bars=600))
    part, end = training_part(matrix, SPLIT)
    _, _, loss = fold_of(matrix, 2)
    assert max(loss.dates) + 7 * BAR_US["daily"] <= end
    assert np.nanmax(np.where(np.isfinite(part.returns), part.label_end, 0)) <= end


def test_a_fold_does_not_learn_from_labels_that_end_in_it(make_candles: MakeCandles) -> None:
    candles = make_candles(bars=600)
    part, job, loss = fold_of(matrix_of(candles), 1)
    # Only the rows before the fold, cut off there: the same fit, so the same first forecast's loss.
    first_day = loss.dates[0]
    known = part.known_at(first_day + 7 * BAR_US["daily"])
    short = FoldJob(job.learner, job.begin, first_day + 1, job.least_blocks, job.seed, 1)
    again = evaluate_fold(known, short)
    whole_fold = np.array(loss.loss)
    assert again.dates == loss.dates[:1]
    assert again.loss[0] == pytest.approx(whole_fold[0], rel=0.9)  # its baseline's mean is that of one day
    assert evaluate_fold(part, short).loss == again.loss


def test_the_loss_of_a_fold_is_crps_by_date_over_that_of_the_baseline(make_candles: MakeCandles) -> None:
    part, job, loss = fold_of(matrix_of(make_candles(bars=500)), 1, rounds=1, learning_rate=1e-9)
    inside = (part.issued_at >= job.begin) & (part.issued_at < job.end) & np.isfinite(part.returns).all(axis=1)
    rows = part.rows(inside)
    baseline = BaselineLearner().fit(part.known_at(job.begin)).predict(rows)
    slow = {}
    for column, horizon in enumerate((1, 7)):
        lost = crps_relative(rows.returns[:, column], baseline.values[:, column], baseline.levels)
        slow[horizon] = [lost[rows.issued_at == day].mean() for day in np.unique(rows.issued_at)]
    assert loss.dates == tuple(np.unique(rows.issued_at).tolist())
    assert loss.score == pytest.approx(np.mean(loss.loss))
    assert loss.score == pytest.approx(np.mean(loss.horizons))
    # Trees that learn nothing are another calibrated random walk: its losses move with the baseline's day by day.
    relative = np.mean([np.array(values) / np.mean(values) for values in slow.values()], axis=0)
    assert np.corrcoef(relative, loss.loss)[0, 1] > 0.98
    assert loss.score == pytest.approx(1.0, abs=0.03)


# What is searched.


@pytest.mark.parametrize("kind", RANGES)
def test_what_is_tried_is_inside_its_range_and_a_learner_can_be_made_of_it(kind: str) -> None:
    ranges = ranges_for(kind, Config())
    points = spread_over(ranges, 7, 3)
    for point in (defaults(kind, Config(), ranges), *points):
        assert all(r.low <= point[r.name] <= r.high for r in ranges)
        assert learner(kind, as_tried(Config(), kind, point)).kind == kind
    for known in ranges:
        if not known.whole:
            assert len({point[known.name] for point in points}) == 7


@settings(max_examples=30)
@given(st.floats(0.001, 1.0), st.integers(2, 1000), st.floats(0.0, 1e4))
def test_ranges_reach_what_is_configured(rate: float, leaves: int, shrinks: float) -> None:
    config = Config(lightgbm=LightGBMConfig(learning_rate=rate, num_leaves=leaves, lambda_l2=shrinks))
    ranges = {r.name: r for r in ranges_for("lightgbm", config, labels=300)}
    assert ranges["learning_rate"].low <= rate <= ranges["learning_rate"].high
    assert ranges["num_leaves"].low <= leaves <= ranges["num_leaves"].high
    assert ("lambda_l2" in ranges) == (shrinks > 0)
    assert ranges["min_data_in_leaf"].high <= 100


def test_the_page_on_tuning_states_what_is_searched() -> None:
    text = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
    for kind, ranges in RANGES.items():
        rows = [
            f"| `{kind}` | `{r.name}` | {r.low:g} | {r.high:g} | {'factors' if r.log else 'even'} |" for r in ranges
        ]
        assert [row for row in text.splitlines() if row.startswith(f"| `{kind}`")] == rows


def test_a_kind_without_settings_is_refused() -> None:
    with pytest.raises(UsageError, match="baseline has no settings to tune"):
        ranges_for("baseline", Config())


# The study.


def test_the_defaults_are_the_first_trial_and_never_lose(whole: tuple[Path, TunedModel]) -> None:
    _, model = whole
    assert model.default.trial == 1
    assert model.default.settings["num_leaves"] == 15
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
def address() -> Iterator[str]:
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def test_a_cluster_tries_what_two_processes_try(tmp_path: Path, address: str) -> None:
    few = TuneConfig(folds=2)
    here = tuned(context(tmp_path / "here", tune=few), trials=3, engine=Engine(jobs=2))
    there = tuned(context(tmp_path / "there", tune=few), trials=3, engine=Engine("dask", address=address))
    assert there.trials == here.trials


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
    assert [v.manifest.settings["lightgbm.num_leaves"] for v in versions] == [15, 7]
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
