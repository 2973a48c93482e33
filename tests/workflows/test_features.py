"""What the models see."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cryptocast.config import Config, DataConfig, FeaturesConfig, LightGBMConfig, StoreConfig, TrainConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.sample import load_sample
from cryptocast.data.store import CandleStore
from cryptocast.errors import ModelError, RegistryError, UsageError
from cryptocast.features.audit import AuditCheck, AuditFinding, AuditReport
from cryptocast.features.catalogue import FEATURES
from cryptocast.features.own import catalogue_set
from cryptocast.market import Market
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.kinds import forecaster_type
from cryptocast.workflows.audits import raise_for_leaks, refuse_training
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.features import (
    audit_features,
    catalogue,
    feature_importance,
    latest_features,
    refuse_findings,
    save_features,
)
from cryptocast.workflows.training.train import Order, train

NOW = datetime(2026, 1, 1, tzinfo=UTC)


OWN = """
import polars as pl
from cryptocast.features import Feature

CLOSE = pl.col("close")
FEATURES = (Feature("my_gap", "price", (CLOSE / CLOSE.shift(5)).log(), 5, 5, source="mine", unit="log"),)
"""


def context(folder: Path, file: str = "") -> Context:
    config = Config(
        features=FeaturesConfig(file=file),
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin", "ethereum"), source="sample"),
        train=TrainConfig(blocks=2, threads=1, audit=False),
        lightgbm=LightGBMConfig(rounds=8, next_bar_rounds=8, min_data_in_leaf=40),
    )
    return Context(config=config, wall_clock=lambda: NOW, who="test")


def test_the_catalogue_is_every_feature_and_a_family_is_its_part() -> None:
    whole = catalogue(Config())
    assert [facts.name for facts in whole.features] == [feature.name for feature in FEATURES]
    assert sum(whole.families.values()) == len(FEATURES)
    for family, number in whole.families.items():
        part = catalogue(Config(), family)
        assert {facts.family for facts in part.features} == {family}
        assert len(part.features) == number


def test_a_family_that_is_not_there_is_named_beside_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"'astrology'.*volatility"):
        catalogue(Config(), "astrology")


def test_the_latest_row_is_that_of_the_whole_table(tmp_path: Path) -> None:
    """The bars that serving keeps give what the whole history gives, to 1e-8; seen through the file that is written."""
    latest = latest_features(context(tmp_path), Selection(("bitcoin", "ethereum")))
    file = tmp_path / "features.csv"
    saved = save_features(context(tmp_path), Selection(("bitcoin", "ethereum")), file)
    assert saved.written == str(file)
    table = pl.read_csv(file, infer_schema_length=None)
    assert saved.written_rows == table.height
    for row in latest.rows:
        own = table.filter(pl.col("coin") == row.coin).tail(1).row(0, named=True)
        for name, value in row.values.items():
            whole = own[name]
            assert (value is None) == (whole is None), name
            assert value is None or value == pytest.approx(float(whole), rel=1e-7, abs=1e-7), name


def test_only_the_named_coins_are_told_though_the_pool_is_looked_at(tmp_path: Path) -> None:
    rows = latest_features(context(tmp_path), Selection(("ethereum",)))
    assert [row.coin for row in rows.rows] == ["ethereum"]
    assert [used.coin for used in rows.data] == ["ethereum"]
    assert rows.rows[0].values["btc_ret_30"] is not None


def test_a_table_for_a_file_without_a_format_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.csv"):
        save_features(context(tmp_path), Selection(("bitcoin",)), tmp_path / "features.xlsx")


def test_the_audit_passes_on_the_sample_and_is_repeatable(tmp_path: Path) -> None:
    report = audit_features(context(tmp_path), Selection(("ethereum",)))
    assert report.leaks == report.misdeclared == ()
    assert set(report.coins) == {"bitcoin", "ethereum"}
    assert [check.name for check in report.checks][-3:] == ["targets", "fitted", "folds"]
    assert all(check.ran for check in report.checks)
    refuse_findings(context(tmp_path), report)


@pytest.mark.parametrize(
    ("check", "leaks", "misdeclared", "words"),
    [
        ("prefix", ("ret_1",), (), r"ret_1 looks into the future: for bitcoin at 2020-01-01 00:00 it is 0\.1 with all"),
        ("perturbation", ("ret_1",), (), r"undefined once the later ones are changed"),
        ("coins", ("ret_1",), (), r"ret_1 depends on the order"),
        ("warmup", (), ("ret_1",), r"ret_1 is 0\.1 within its declared warm-up of 1 bars"),
        ("memory", (), ("ret_1",), r"ret_1 remembers more than it declares"),
        ("fitted", ("ret_1",), (), r"a fit saw them"),
        ("folds", ("ret_1",), (), r"overlaps its test"),
        ("targets", ("ret_1",), (), r"known too early"),
    ],
)
def test_an_audit_that_found_something_ends_in_an_error_with_the_row_and_both_values(
    check: str, leaks: tuple[str, ...], misdeclared: tuple[str, ...], words: str
) -> None:
    finding = AuditFinding(
        feature="ret_1", coin="bitcoin", close_time=datetime(2020, 1, 1, tzinfo=UTC), value_with=0.1, value_without=None
    )
    report = audit_report(check, (finding,), leaks=leaks, misdeclared=misdeclared)
    with pytest.raises(ModelError, match=words):
        raise_for_leaks(report, catalogue_set())


def audit_report(
    name: str,
    findings: tuple[AuditFinding, ...],
    *,
    ran: bool = True,
    leaks: tuple[str, ...] = (),
    misdeclared: tuple[str, ...] = (),
) -> AuditReport:
    check = AuditCheck(
        name=name, what="", ran=ran, runs=1, cells=1, found=len(findings), findings=findings, not_run=("too short",)
    )
    return AuditReport(
        bars=1,
        coins=("bitcoin",),
        features=("ret_1",),
        cuts=1,
        seed=1,
        rtol=1e-9,
        checks=(check,),
        leaks=leaks,
        misdeclared=misdeclared,
    )


def test_a_check_that_could_not_run_fails_an_audit_and_not_a_training() -> None:
    report = audit_report("prefix", (), ran=False)
    with pytest.raises(ModelError, match="could not run prefix: too short"):
        raise_for_leaks(report, catalogue_set())
    assert refuse_training(report, catalogue_set()) == ()
    with pytest.raises(ModelError, match="could not compute the features: too short"):
        refuse_training(audit_report("build", (), ran=False), catalogue_set())


def test_an_audit_of_two_sources_is_refused(tmp_path: Path) -> None:
    used = context(tmp_path)
    store = CandleStore(used.config.store.path, lock_timeout_s=1.0)
    store.write(SeriesKey(Market("file", "usd", "daily"), "ethereum"), load_sample("ethereum").frame, fetched_at=NOW)
    store.write(SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin"), load_sample("bitcoin").frame, fetched_at=NOW)
    with pytest.raises(UsageError, match="one source at a time"):
        audit_features(used, Selection(("bitcoin", "ethereum"), source="auto"))


def test_importance_read_from_the_saved_trees_is_what_lightgbm_says(tmp_path: Path) -> None:
    used = context(tmp_path)
    report = train(used, Order(Selection(("bitcoin",)), model="lightgbm", horizons=(1,)))
    told = feature_importance(used, Selection(("bitcoin",)))
    assert told.version == "bitcoin/lightgbm:1"
    files = used.registry().load_files(next(m.fit_id for m in report.models if m.fit_id))
    inner = CalibratedForecaster.load(files, forecaster_type("lightgbm")).inner
    oracle = {name: gain for name, gain in inner.importance().items() if gain > 0}  # type: ignore[attr-defined]
    assert {weight.name for weight in told.features} == set(oracle)
    for weight in told.features:
        assert weight.gain == pytest.approx(oracle[weight.name], rel=1e-3)  # the file holds six digits
    assert np.sum([weight.gain for weight in told.features]) == pytest.approx(1.0)
    assert len(told.features) + len(told.unused) + len(told.dropped) == len(FEATURES)
    assert told.dropped["hour_sin"].startswith("always")
    assert (told.shap_bars, told.shap_note) == (365, None)
    assert all(weight.shap is not None and weight.shap >= 0.0 for weight in told.features)
    assert max(weight.shap or 0.0 for weight in told.features) > 0.0


def test_importance_without_a_version_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cryptocast train bitcoin"):
        feature_importance(context(tmp_path), Selection(("bitcoin",)))
