"""Recorded backtests are found again, shown as they were, and taken away."""

import shutil
from pathlib import Path

import msgspec
import polars as pl
import pytest

from cryptocast.config import StrategyConfig
from cryptocast.errors import DataError, ModelError, UsageError
from cryptocast.registry import Registry
from cryptocast.workflows.backtesting.backtest import backtest
from cryptocast.workflows.backtesting.report_pages import RunFiles
from cryptocast.workflows.backtesting.run_folder import RESULT, RUNS
from cryptocast.workflows.backtesting.runs import RunsDocument, list_runs, plan_run_removal, remove_runs, show_run
from cryptocast.workflows.reports import BacktestReport
from tests.registry.registry_evidence import trial
from tests.workflows.backtesting.small_runs import WALK, StopsAfter, changed, context


@pytest.fixture
def own(whole: tuple[Path, BacktestReport], tmp_path: Path) -> Path:
    """A copy of a store with one finished run."""
    return Path(shutil.copytree(whole[0], tmp_path / "own"))


def listed(folder: Path) -> RunsDocument:
    return list_runs(folder / "data", Registry.open(folder / "data", create=False))


def run_of(folder: Path, run: str) -> Path:
    return folder / "data" / RUNS / run


def test_a_run_is_listed_with_what_it_was_about_and_what_it_found(whole: tuple[Path, BacktestReport]) -> None:
    folder, report = whole
    (run,) = listed(folder).runs
    assert (run.run, run.state, run.error) == (report.run, "finished", None)
    assert (run.coins, run.models) == (("bitcoin", "ethereum"), ("baseline", "lightgbm", "mix"))
    assert (run.start, run.end, run.horizons) == (report.start, report.end, (1, 7))
    assert run.headline is not None
    row = next(row for row in report.rows if row.coin is None and row.model == run.headline.model)
    skills = [min(score.skill["rw_empirical"], score.skill["rw_gaussian"]) for score in row.scores]
    assert run.headline.skill == pytest.approx(sum(skills) / len(skills))


def test_an_unfinished_and_a_damaged_run_are_listed_as_such(own: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        backtest(context(own, StopsAfter(2)), changed(WALK, models=("baseline",)))
    damaged = run_of(own, "0123456789abcdef")
    damaged.mkdir()
    states = {run.state: run for run in listed(own).runs}
    assert set(states) == {"finished", "unfinished", "damaged"}
    assert states["damaged"].error is not None
    assert states["unfinished"].headline is None
    with pytest.raises(DataError, match="has not ended: 2 refits of it are there"):
        show_run(context(own), Path(states["unfinished"].run))


def test_a_store_without_runs_lists_none_and_shows_none(tmp_path: Path) -> None:
    assert listed(tmp_path).runs == ()
    with pytest.raises(DataError, match="There is no finished run"):
        show_run(context(tmp_path))
    assert not (tmp_path / "data").exists()


def test_a_run_is_shown_as_it_was_reported(whole: tuple[Path, BacktestReport]) -> None:
    folder, report = whole
    for name in (None, Path(report.run), run_of(folder, report.run)):
        assert msgspec.json.encode(show_run(context(folder), name)) == msgspec.json.encode(report)


def test_its_files_are_written_from_what_was_kept(own: Path, whole: tuple[Path, BacktestReport]) -> None:
    files = RunFiles(predictions=own / "again.parquet", report=own / "again.html", plot=own / "again.png")
    first = RunFiles(predictions=own / "first.parquet", report=own / "first.html")
    report = backtest(context(own), changed(WALK, files=first))
    again = show_run(context(own), Path(report.run), files)
    assert msgspec.json.encode(again) == msgspec.json.encode(report)
    assert pl.read_parquet(own / "again.parquet").equals(pl.read_parquet(own / "first.parquet"))
    assert (own / "again.html").read_text(encoding="utf-8") == (own / "first.html").read_text(encoding="utf-8")
    assert (own / "again.png").read_bytes().startswith(b"\x89PNG")


def test_files_of_other_settings_or_other_forecasts_are_refused(own: Path, whole: tuple[Path, BacktestReport]) -> None:
    name, files = Path(whole[1].run), RunFiles(report=own / "r.html")
    with pytest.raises(DataError, match=r"\[strategy\]"):
        show_run(context(own, strategy=StrategyConfig(fee_bps=90.0)), name, files)
    result = run_of(own, whole[1].run) / RESULT
    text = result.read_text(encoding="utf-8")
    digest = msgspec.json.decode(text)["digests"]["baseline"]
    result.write_text(text.replace(digest, "0" * 64), encoding="utf-8")
    with pytest.raises(ModelError, match="other forecasts"):
        show_run(context(own), name, files)
    with pytest.raises(UsageError, match="does not say its format"):
        show_run(context(own), name, RunFiles(report=own / "r.pdf"))
    assert not (own / "r.html").exists()


def test_a_run_is_removed_whole_and_its_evidence_stays(own: Path, whole: tuple[Path, BacktestReport]) -> None:
    run, registry = whole[1].run, context(own).registry(create=False)
    plan = plan_run_removal(own / "data", registry, [Path(run), run_of(own, run)])
    assert ([one.run for one in plan.runs], plan.evidence, plan.removed) == ([run], (run,), False)
    half_way = run_of(own, ".leaving-0123")
    half_way.mkdir()
    assert remove_runs(own / "data", plan).removed
    assert listed(own).runs == ()
    assert list((own / "data" / RUNS).iterdir()) == []
    assert registry.evidence(run=run) != ()


@pytest.mark.parametrize("name", ["nosuch", "..", "../registry", ".", ".leaving-0123", "/"])
def test_only_a_folder_of_a_run_can_go(own: Path, name: str) -> None:
    run_of(own, ".leaving-0123").mkdir()
    with pytest.raises(DataError, match="There is no run"):
        plan_run_removal(own / "data", context(own).registry(create=False), [Path(name)])
    assert (own / "data" / "registry").is_dir()


def test_a_tuning_is_listed_once_with_its_coins_its_trials_and_the_best_of_them(tmp_path: Path) -> None:
    assert listed(tmp_path).tunings == ()
    registry = Registry.open(tmp_path / "data")
    tried = [
        trial(
            f"tune lightgbm trial {number}", "tune-1a2b", command="tune", series=f"sample/usd/daily/{coin}", score=score
        )
        for number, score in ((1, 0.99), (2, 0.98), (3, None))
        for coin in ("bitcoin", "ethereum")
    ]
    registry.record_trials([*tried, trial("long")])
    (tuning,) = listed(tmp_path).tunings
    assert (tuning.run, tuning.coins, tuning.trials) == ("tune-1a2b", ("bitcoin", "ethereum"), 3)
    assert (tuning.best, tuning.score) == ("tune lightgbm trial 2", 0.98)
    assert (tuning.source, tuning.vs, tuning.granularity) == ("sample", "usd", "daily")
