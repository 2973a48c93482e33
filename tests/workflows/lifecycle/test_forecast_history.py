"""Live forecasts with what came of them, as the ledger has them."""

import math
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from cryptocast.config import Config, DataConfig, StoreConfig
from cryptocast.errors import DataError, RegistryError, UsageError
from cryptocast.registry import Registry
from cryptocast.registry.live import matured_outcome
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.lifecycle.forecast_history import ForecastHistory, forecast_history, write_history
from cryptocast.workflows.pretrained import adopt
from tests.registry.registry_ledger import day, live, row

BITCOIN = Selection(("bitcoin",))


def shown(config: Config, **request: object) -> ForecastHistory:
    return forecast_history(Context(config), Request(BITCOIN, **request))  # type: ignore[arg-type]


def filled(registry: Registry, days: int = 20) -> Registry:
    """Twenty days of both versions and the baseline with outcomes, and one more without."""
    rows, outcomes = live(days, v0=0.03, v1=0.03, v2=0.02)
    registry.write_ledger([*rows, row(1, days), row(0, days, kind="baseline")])
    registry.write_outcomes(outcomes)
    return registry


def test_each_forecast_says_what_came_and_whether_it_lay_inside(config: Config, registry: Registry) -> None:
    registry.write_ledger([row(1, 0), row(1, 1, by_baseline=True), row(1, 2)])
    registry.write_outcomes([matured_outcome(row(1, n), r, now=day(9)) for n, r in ((0, 0.01), (1, 0.05))])
    first, second, last = shown(config, model="lightgbm", intervals=(80, 95)).forecasts
    assert (first.version, first.kind, first.issued_at, first.target_time) == (1, "lightgbm", day(0), day(1))
    assert (first.price, first.median, first.p_up) == (100.0, 100.0, 0.5)
    assert first.outcome == pytest.approx(100 * math.exp(0.01))
    assert [(i.level, i.inside) for i in first.intervals] == [(80, True), (95, True)]
    assert first.intervals[0].upper == pytest.approx(100 * math.exp(0.03 * 1.2816))
    assert ([i.inside for i in second.intervals], second.by_baseline) == ([False, True], True)
    assert (last.outcome, last.crps, [i.inside for i in last.intervals]) == (None, None, [None, None])


def test_the_counts_are_those_of_the_forecasts_shown(config: Config, registry: Registry) -> None:
    filled(registry)
    history = shown(config, intervals=(80, 95))
    for count in history.counts:
        own = [i for f in history.forecasts if f.outcome is not None for i in f.intervals if i.level == count.level]
        assert (count.outcomes, count.inside) == (20, sum(i.inside is True for i in own))
    assert [count.level for count in history.counts] == [80, 95]


def test_of_a_model_production_speaks_and_of_a_version_itself_alone(config: Config, registry: Registry) -> None:
    filled(registry)
    assert {f.version for f in shown(config, model="lightgbm").forecasts} == {1}
    assert len(shown(config, model="lightgbm").forecasts) == 21
    assert {f.version for f in shown(config, version="bitcoin/lightgbm:2").forecasts} == {2}
    assert len(shown(config, version="bitcoin/lightgbm:2").forecasts) == 20
    assert {(f.kind, f.version) for f in shown(config, model="baseline").forecasts} == {("baseline", None)}


def test_without_a_model_it_is_the_one_that_answers(config: Config, registry: Registry) -> None:
    filled(registry)
    best = registry.best("bitcoin", row().key.market)
    assert {f.kind for f in shown(config).forecasts} == {"baseline" if best is None else best.key.kind}


def test_what_is_not_there_is_refused(config: Config, registry: Registry) -> None:
    with pytest.raises(DataError, match="cryptocast registry score"):
        shown(config)
    filled(registry)
    with pytest.raises(UsageError, match="nosuch"):
        shown(config, model="nosuch")
    with pytest.raises(RegistryError, match="There is no"):
        shown(config, version="bitcoin/lightgbm:9")
    with pytest.raises(DataError):
        shown(config, horizons=(30,))
    with pytest.raises(DataError):
        forecast_history(Context(config), Request(Selection(("ethereum",))))


def test_a_table_has_a_row_for_each_with_its_intervals(config: Config, registry: Registry, tmp_path: Path) -> None:
    history = shown_after(config, registry)
    for name in ("h.parquet", "h.csv"):
        write_history(history, tmp_path / name)
    table = pl.read_parquet(tmp_path / "h.parquet")
    assert table.height == len(history.forecasts) == pl.read_csv(tmp_path / "h.csv").height
    assert {"lower_80", "upper_80", "inside_80", "outcome", "target_time"} <= set(table.columns)
    known = table.drop_nulls("outcome")
    inside = known["outcome"].is_between(known["lower_80"], known["upper_80"])
    assert inside.equals(known["inside_80"], check_names=False)
    assert (table.height - known.height, table["inside_80"].null_count()) == (1, 1)


def shown_after(config: Config, registry: Registry) -> ForecastHistory:
    filled(registry)
    return shown(config, model="lightgbm", intervals=(80,))


@pytest.mark.parametrize("model", [None, "shipped", "lightgbm"])
def test_the_model_of_the_package_is_shown_where_it_answers_and_that_is_no_news(
    tmp_path: Path, model: str | None
) -> None:
    config = Config(store=StoreConfig(path=tmp_path), data=DataConfig(coins=("bitcoin",), exchanges=()))
    registry, key = Registry.open(tmp_path), row(source="bitstamp").key
    adopt(config, registry, key.market, {key.coin: datetime(2100, 1, 1, tzinfo=UTC)}, now=day(0), who="ann")
    registry.write_ledger([row(1, source="bitstamp"), row(0, source="bitstamp", kind="baseline")])
    assert [(f.kind, f.version) for f in shown(config, model=model).forecasts] == [("lightgbm", "shipped")]
    write_history(shown(config, model=model), tmp_path / "h.csv")
    assert registry.outbox() == ()
