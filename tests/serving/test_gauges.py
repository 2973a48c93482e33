"""What Prometheus hears of the upstream and of forecasts whose time has come."""

from datetime import timedelta
from pathlib import Path

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from cryptocast.config import DataConfig
from cryptocast.market import Market
from cryptocast.registry import LedgerRow, Registry, VersionKey, registry_stamp
from cryptocast.registry.live import matured_outcome
from cryptocast.rehearsal import FakeUpstream
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.serving import create_app
from cryptocast.serving.gauges import LiveFigures
from cryptocast.workflows.context import Context
from tests.registry.registry_fits import BITCOIN, NOW, register
from tests.serving.serving_app import MIDNIGHT, Clock, FakeForecast, config, talk
from tests.serving.test_candle_fetcher import settings


def series(text: str) -> dict[str, float]:
    """Every sample by its name and its labels."""
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def matured(registry: Registry, key: VersionKey, number: int, bars: int, *, spread: float) -> None:
    """Forecasts of one bar ahead, whose outcome is a rise of 1 % each time."""
    rows = [
        LedgerRow(
            coin=key.coin,
            source=key.source,
            vs=key.vs,
            granularity=key.granularity,
            kind=key.kind,
            number=number,
            issued_at=NOW + timedelta(days=day),
            horizon=1,
            target_at=NOW + timedelta(days=day + 1),
            price=100.0,
            volatility=0.02,
            p_up=0.5,
            quantiles=tuple(spread * (level - 0.5) for level in LEVELS),
            written_at=NOW,
        )
        for day in range(bars)
    ]
    registry.write_ledger(rows)
    registry.write_outcomes([matured_outcome(row, 0.01, now=NOW + timedelta(days=bars)) for row in rows])


def test_versions_in_production_tell_how_they_do_live(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    (version,) = register(registry)
    matured(registry, version.key, version.number, 20, spread=0.1)
    matured(registry, VersionKey("bitcoin", Market("sample", "usd", "daily"), "baseline"), 0, 20, spread=0.2)
    clock = Clock(now=version.created_at + timedelta(days=30))
    live = LiveFigures(Context(config(store=tmp_path), wall_clock=clock), registry_stamp(tmp_path))

    assert list(live.samples()) == []
    live.refresh()
    found = {(name, labels.get("level", labels.get("horizon", ""))): value for name, _, labels, value in live.samples()}

    assert found["cryptocast_version_age_seconds", ""] == 30 * 86400
    assert found["cryptocast_live_bars", "1"] == 20
    assert 0 < found["cryptocast_live_crps_ratio", "1"] < 0.02
    assert found["cryptocast_live_skill_ratio", "1"] > 0
    levels = {level for name, level in found if name == "cryptocast_live_coverage_ratio"}
    assert levels == {"80", "95", "98", "99"}
    assert found["cryptocast_live_coverage_ratio", "80"] == 1.0
    assert found["cryptocast_version_degraded", ""] == 0.0
    assert found["cryptocast_version_outdated", ""] == 1.0  # it was fitted on made-up features


def test_a_version_that_misses_live_is_told_as_degraded_by_health_and_metrics(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    (version,) = register(registry)
    matured(registry, version.key, version.number, 80, spread=0.001)
    app = create_app(Context(config(store=tmp_path), wall_clock=Clock()), forecast=FakeForecast(), stamp=lambda: 0)

    async def conversation(client: httpx.AsyncClient) -> tuple[dict[str, str], str]:
        app.state.server.live.refresh()
        await client.get("/forecasts?ids=bitcoin")
        return (await client.get("/health/components/models")).json(), (await client.get("/metrics")).text

    models, text = talk(app, conversation)

    assert models["status"] == "warn"
    assert f"{version.name}: " in models["output"]
    assert series(text)[f"cryptocast_version_degraded coin={BITCOIN.coin} model=lightgbm source=sample"] == 1.0


def test_coins_that_are_not_configured_make_no_series(tmp_path: Path) -> None:
    register(Registry.open(tmp_path))
    settings_ = msgspec.structs.replace(config(store=tmp_path), data=DataConfig(coins=("ethereum",)))
    live = LiveFigures(Context(settings_, wall_clock=Clock()), registry_stamp(tmp_path))

    live.refresh()
    assert list(live.samples()) == []


def test_calls_batches_credits_and_connections_are_told(tmp_path: Path) -> None:
    with FakeUpstream(coins=5, now=MIDNIGHT) as fake:
        app = create_app(Context(settings(tmp_path, fake)), forecast=FakeForecast(), stamp=lambda: 0)

        async def conversation(client: httpx.AsyncClient) -> str:
            assert (await client.get("/prices?ids=bitcoin,ethereum")).status_code == 200
            await client.get("/forecasts?ids=bitcoin")
            return (await client.get("/metrics")).text

        found = series(talk(app, conversation))

    assert found["cryptocast_upstream_request_duration_seconds_count status=2xx work=prices"] == 1
    assert found["cryptocast_batch_calls_total"] == 1
    assert found["cryptocast_batch_ids_total"] == 2
    assert found["cryptocast_upstream_credits_used"] == 1
    assert found["cryptocast_pool_connections state=idle"] == 1
    assert found["cryptocast_pool_waiting"] == 0
    assert found["cryptocast_forecast_duration_seconds_count model=lightgbm"] >= 1
    assert found["cryptocast_breaker_opened_total breaker=coingecko prices default"] == 0
