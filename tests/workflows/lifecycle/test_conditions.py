"""What is worth telling of a coin and of its versions."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from cryptocast.market import Market
from cryptocast.registry import Condition, LedgerRow, Reason, Registry
from cryptocast.registry.live import matured_outcome
from cryptocast.registry.reasons import ReasonCode
from cryptocast.workflows.context import Selection
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.lifecycle.conditions import (
    degraded,
    lasting_fallback,
    stale,
    standing_fallback,
    unusual_width,
)
from cryptocast.workflows.reports import CoinForecast
from tests.registry.registry_fits import NOW
from tests.registry.registry_ledger import row
from tests.serving.serving_app import FakeForecast

DAILY = Market("sample", "usd", "daily")
OFF = Reason(ReasonCode.COVERAGE_OFF_LIVE, {"horizon": 1, "percent": 80, "share": 0.6, "bars": 90})


def forecast_of(fallback: Fallback | None, model: str) -> CoinForecast:
    made = FakeForecast().made("bitcoin", Request(Selection(vs="usd", granularity="daily"), model))
    return msgspec.structs.replace(made, fallback_reason=fallback)


def write_matured(registry: Registry, rows: list[LedgerRow]) -> None:
    """Forecasts, and that nothing came of the price."""
    registry.write_ledger(rows)
    registry.write_outcomes([matured_outcome(row, 0.0, now=row.target_at) for row in rows])


def one(conditions: tuple[Condition, ...]) -> Condition:
    (condition,) = conditions
    return condition


def test_a_version_is_degraded_where_it_serves_and_nowhere_else(registry: Registry) -> None:
    production, challenger = registry.versions()
    assert degraded(challenger, (OFF,)) == ()
    assert one(degraded(production, ())).facts is None
    facts = one(degraded(production, (OFF,))).facts
    assert facts is not None
    assert (facts["version"], facts["reasons"][0]["code"]) == ("bitcoin/lightgbm:1", "coverage_off_live")
    assert msgspec.json.encode(facts)


@pytest.mark.parametrize("choice", ["auto", "bitstamp", "ccxt-kraken"])
def test_candles_that_could_come_are_stale_when_they_are_late(choice: str) -> None:
    assert one(stale("bitcoin", DAILY, choice, is_stale=False, last=NOW)).facts is None
    facts = one(stale("bitcoin", DAILY, choice, is_stale=True, last=NOW)).facts
    assert facts is not None
    assert facts["last"] == NOW.isoformat()


@pytest.mark.parametrize("choice", ["sample", "file", "simulated"])
def test_nothing_is_said_of_candles_that_were_chosen_as_they_are(choice: str) -> None:
    assert stale("bitcoin", DAILY, choice, is_stale=True, last=NOW) == ()


def test_a_width_is_unusual_beyond_all_but_one_percent_of_those_before(registry: Registry) -> None:
    scales = np.random.default_rng(1).uniform(0.02, 0.04, 100)
    registry.write_ledger([row(1, n, 7, scale=5.0) for n in range(100)])  # of a longer horizon
    write_matured(registry, [row(1, n, scale=float(s)) for n, s in enumerate(scales)])
    best = registry.best("bitcoin", DAILY)
    assert best is not None
    assert one(unusual_width(registry, "bitcoin", DAILY)).facts is None
    for day, scale, side in ((100, 0.06, "wide"), (101, 0.03, None), (102, 0.005, "narrow")):
        write_matured(registry, [row(1, day, scale=scale), row(0, day, scale=9.0, kind="baseline")])
        facts = one(unusual_width(registry, "bitcoin", DAILY)).facts
        assert (facts is None) == (side is None)
        if facts is not None:
            assert (facts["width"] > facts["high"]) == (side == "wide")
            assert facts["width"] == pytest.approx(np.exp(1.2816 * scale) - np.exp(-1.2816 * scale))
            assert (facts["bars"], facts["horizon"]) == (day, 1)


def test_of_few_bars_no_width_is_unusual_and_without_a_version_it_is_the_baselines(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    assert unusual_width(registry, "bitcoin", DAILY) == ()
    write_matured(registry, [row(0, n, scale=0.03, kind="baseline") for n in range(59)])
    write_matured(registry, [row(0, 59, scale=3.0, kind="baseline")])
    assert unusual_width(registry, "bitcoin", DAILY) == ()
    registry.write_ledger([row(0, 60, scale=9.0, kind="baseline")])
    assert one(unusual_width(registry, "bitcoin", DAILY)).facts is not None


def test_a_fallback_is_one_unless_nothing_has_been_trained() -> None:
    for code, model, holds in (
        (FallbackCode.NO_VERSION, "auto", False),
        (FallbackCode.NO_VERSION, "lightgbm", True),
        (FallbackCode.ARTEFACT, "auto", True),
    ):
        forecast = forecast_of(Fallback(code=code), model)
        assert (standing_fallback(forecast) is not None) == holds
    forecast = forecast_of(Fallback(code=FallbackCode.ARTEFACT), "auto")
    assert lasting_fallback(forecast, None).facts is None
    facts = lasting_fallback(forecast, 61.0).facts
    assert facts is not None
    assert (facts["minutes"], facts["fallback"]["code"]) == (61.0, "artefact")
    assert lasting_fallback(forecast_of(None, "auto"), None).subject == lasting_fallback(forecast, 61.0).subject
