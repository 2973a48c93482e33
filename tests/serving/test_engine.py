"""The engine on real models: the ladder with what it stands on removed, late bars, A/B tests, promotions, duties."""

import asyncio
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cryptocast.config import EnsembleConfig, LSTMConfig
from cryptocast.market import Market
from cryptocast.models import trees
from cryptocast.registry import VersionKey
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.lifecycle.ab import ab_start, ab_stop
from cryptocast.workflows.training.train import Order, train
from tests.serving.running import ROOT
from tests.serving.serving_app import FOREVER_S, get, talk
from tests.serving.trained_store import AFTER, BARS, CANDLES, CLOSED, HORIZONS, Trained, bring, promote, trained

LIGHTGBM = "/forecasts?ids=bitcoin&model=lightgbm&horizons=1,7,30&levels=80"
KEY = VersionKey("bitcoin", Market("coingecko", "usd", "daily"), "lightgbm")


@pytest.fixture
def used(tmp_path: Path) -> Trained:
    return trained(tmp_path)


def made_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    (made,) = answer.json()["forecasts"]
    assert isinstance(made, dict)
    return made


def widths(made: dict[str, Any]) -> dict[int, float]:
    """Upper over lower end of the first interval, by horizon."""
    return {one["horizon"]: one["intervals"][0]["upper"] / one["intervals"][0]["lower"] for one in made["horizons"]}


def targets(made: dict[str, Any]) -> dict[int, datetime]:
    return {one["horizon"]: datetime.fromisoformat(one["target_time"]) for one in made["horizons"]}


def fallbacks(text: str) -> dict[str, float]:
    """The counted steps of the ladder."""
    lines = [line for line in text.splitlines() if 'event="fallback"' in line]
    return {line.split('kind="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}


# --- the ladder


def test_an_ensemble_of_which_a_member_cannot_be_used_here_is_answered_for_by_the_next_kind_and_it_is_said(
    used: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = msgspec.structs.replace(used.context.config, ml_ensemble=EnsembleConfig(members=("har", "lightgbm")))
    wide = Context(both, wall_clock=used.clock)
    train(wide, Order(Selection(("bitcoin",)), model="ml_ensemble", horizons=HORIZONS))
    promote(used.registry, used.version("bitcoin", "ml_ensemble", 2))
    monkeypatch.setattr(trees, "find_spec", lambda _: None)
    trees._library.cache_clear()
    try:
        made = made_of(get(used.app(), "/forecasts?ids=bitcoin&model=ml_ensemble&horizons=1,7"))
    finally:
        trees._library.cache_clear()
    assert made["model_used"] == "baseline"
    reason = made["fallback_reason"]
    assert (reason["code"], reason["version"]) == ("artefact", "bitcoin/ml_ensemble:2")
    assert "lib_lightgbm" in reason["detail"]
    assert "not installed" in reason["detail"]


def test_the_model_asked_for_answers(used: Trained) -> None:
    made = made_of(get(used.app(), LIGHTGBM))

    assert (made["model_used"], made["version"], made["fallback_reason"], made["stale"]) == ("lightgbm", 1, None, False)
    assert made["ab"] is None
    assert targets(made) == {h: CLOSED + timedelta(days=h) for h in HORIZONS}


def test_without_its_files_the_best_other_model_answers_and_without_those_the_baseline(used: Trained) -> None:
    used.remove(used.version("bitcoin", "lightgbm"))
    app = used.app()

    async def conversation(client: httpx.AsyncClient) -> tuple[dict[str, Any], dict[str, float]]:
        return made_of(await client.get(LIGHTGBM)), fallbacks((await client.get("/metrics")).text)

    made, counted = talk(app, conversation)
    assert (made["model_requested"], made["model_used"]) == ("lightgbm", "ml_ensemble")
    assert made["fallback_reason"]["code"] == "artefact"
    assert made["fallback_reason"]["version"] == "bitcoin/lightgbm:1"
    assert "is missing" in made["fallback_reason"]["detail"]
    assert counted == {"other_model": 1.0}

    used.remove(used.version("bitcoin", "ml_ensemble"))
    made, counted = talk(used.app(), conversation)
    assert (made["model_requested"], made["model_used"], made["version"]) == ("lightgbm", "baseline", None)
    assert "is missing" in made["fallback_reason"]["detail"]
    assert counted == {"baseline": 1.0}


def test_a_damaged_file_is_no_model(used: Trained) -> None:
    version = used.version("bitcoin", "lightgbm")
    place = used.store / "registry" / "objects" / version.manifest.artefacts[0].sha256
    place.chmod(0o644)
    place.write_bytes(place.read_bytes()[:-1] + b"?")

    made = made_of(get(used.app(), LIGHTGBM))
    assert made["model_used"] != "lightgbm"
    assert "is damaged" in made["fallback_reason"]["detail"]


def test_without_a_registry_the_baseline_answers(used: Trained) -> None:
    database = used.store / "registry" / "registry.db"
    for path in database.parent.glob("registry.db*"):
        path.write_bytes(b"no database " * 500)

    made = made_of(get(used.app(), LIGHTGBM))
    assert (made["model_requested"], made["model_used"]) == ("lightgbm", "baseline")
    assert made["fallback_reason"]["code"] == "registry"


def test_without_candles_the_last_good_forecast_is_given_and_without_one_503(used: Trained) -> None:
    app = used.app()

    async def conversation(client: httpx.AsyncClient) -> tuple[dict[str, Any], dict[str, Any], dict[str, float]]:
        good = made_of(await client.get(LIGHTGBM))
        used.remove_candles()
        await app.state.server.watch.look()
        old = made_of(await client.get(LIGHTGBM))
        return good, old, fallbacks((await client.get("/metrics")).text)

    good, old, counted = talk(app, conversation)
    assert (good["stale"], old["stale"]) == (False, True)
    assert old["fallback_reason"]["code"] == "candles"
    assert [h["intervals"] for h in old["horizons"]] == [h["intervals"] for h in good["horizons"]]
    assert counted == {"last_good": 1.0}

    none = get(used.app(), LIGHTGBM)
    assert none.status_code == 503
    assert int(none.headers["retry-after"]) > 0
    assert none.headers["content-type"] == "application/problem+json"


# --- late bars


def test_up_to_two_bars_late_nothing_changes(used: Trained) -> None:
    fresh = made_of(get(used.app(), LIGHTGBM))
    used.clock.now = CLOSED + timedelta(days=3)
    late = made_of(get(used.app(), LIGHTGBM))

    assert (late["stale"], late["horizons"], late["stale_after"]) == (False, fresh["horizons"], fresh["stale_after"])


@pytest.mark.parametrize("days", [3, 5])
def test_then_it_is_stale_counts_from_now_and_is_wider_and_short_horizons_are_the_baselines(
    used: Trained, days: int
) -> None:
    fresh = made_of(get(used.app(), LIGHTGBM))
    ends = "&horizons=1,7,30," + ",".join(str(h + days) for h in HORIZONS)
    baseline = widths(
        made_of(get(used.app(), LIGHTGBM.replace("&horizons=1,7,30", ends).replace("lightgbm", "baseline")))
    )
    used.clock.now = CLOSED + timedelta(days=days, minutes=30)
    late = made_of(get(used.app(), LIGHTGBM))

    assert (late["stale"], late["model_used"], late["as_of"]) == (True, "lightgbm", fresh["as_of"])
    assert targets(late) == {h: CLOSED + timedelta(days=days + h) for h in HORIZONS}
    assert any(f"{days} bars are missing" in notice for notice in late["notices"])
    by_horizon = {one["horizon"]: one for one in late["horizons"]}
    assert by_horizon[1]["fallback_reason"]["code"] == "late_bars"
    assert by_horizon[7]["fallback_reason"] is by_horizon[30]["fallback_reason"] is None
    assert widths(late)[1] == pytest.approx(baseline[1 + days], rel=1e-6)
    for horizon in (7, 30):
        assert widths(late)[horizon] > widths(fresh)[horizon]
        assert {one["median"] for one in (by_horizon[horizon],)} == {late["price"]}


def test_as_old_as_the_longest_horizon_no_model_answers(used: Trained) -> None:
    used.clock.now = CLOSED + timedelta(days=30)
    made = made_of(get(used.app(), LIGHTGBM))

    assert (made["model_requested"], made["model_used"], made["version"], made["stale"]) == (
        *("lightgbm", "baseline", None, True),
    )
    assert "30 bars old" in made["fallback_reason"]["detail"]
    assert targets(made)[1] == CLOSED + timedelta(days=31)


def test_older_than_that_the_series_has_ended_and_the_model_answers_from_its_last_bar(used: Trained) -> None:
    fresh = made_of(get(used.app(), LIGHTGBM))
    used.clock.now = CLOSED + timedelta(days=31)
    app = used.app()

    async def conversation(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        return await client.get(LIGHTGBM), await client.get("/"), await client.get("/health/components/store")

    answer, page, health = talk(app, conversation)
    ended = made_of(answer)
    assert (ended["model_used"], ended["version"], ended["stale"]) == ("lightgbm", 1, True)
    assert ended["horizons"] == fresh["horizons"]
    words = "aily bars of bitcoin from CoinGecko end 2022-03-11, 31 days ago: horizons count from there, and all target"
    assert words in ended["notices"][0]
    assert "max-age=60," in answer.headers["cache-control"]
    assert words in page.text
    assert "<strong>Stale.</strong>" in page.text
    assert "stale or sample candles" in health.json()["output"]


# --- A/B tests


def test_each_client_keeps_its_side_and_the_answer_says_which(used: Trained) -> None:
    challenger = used.another("bitcoin")
    context = used.context
    ab_start(context.config, used.registry, KEY, challenger=challenger.number, share=0.5, who="ada", now=CLOSED + AFTER)
    app = used.app()
    clients = [f"client-{number}" for number in range(12)]

    async def conversation(client: httpx.AsyncClient) -> tuple[list[httpx.Response], list[httpx.Response], int, int]:
        first = [await client.get(LIGHTGBM, headers={"x-client-id": name}) for name in clients]
        made = app.state.server.forecasts.computed
        tags = zip(clients, (answer.headers["etag"] for answer in first), strict=True)
        again = [await client.get(LIGHTGBM, headers={"x-client-id": name, "if-none-match": tag}) for name, tag in tags]
        other = made_of(await client.get(LIGHTGBM.replace("bitcoin", "ethereum"), headers={"x-client-id": "client-0"}))
        assert other["ab"] is None
        return first, again, made, app.state.server.answers.hits

    first, again, computed, hits = talk(app, conversation)
    made = [made_of(answer) for answer in first]
    assert {(one["ab"]["side"], one["version"]) for one in made} == {("production", 1), ("challenger", 2)}
    assert len({one["ab"]["test"] for one in made}) == 1
    assert len({answer.content for answer in first}) == computed == 2
    assert {answer.status_code for answer in again} == {304}
    assert hits >= len(again)


def test_a_challenger_that_cannot_answer_leaves_the_client_to_production(used: Trained) -> None:
    challenger = used.another("bitcoin")
    ab_start(used.context.config, used.registry, KEY, challenger=2, share=0.99, who="ada", now=CLOSED + AFTER)
    used.remove(challenger)

    made = made_of(get(used.app(), LIGHTGBM, headers={"x-client-id": "client-1"}))
    assert (made["version"], made["ab"]["side"]) == (1, "production")
    assert made["fallback_reason"]["version"] == "bitcoin/lightgbm:2"


def test_a_test_that_ends_is_over_for_everybody_without_a_restart(used: Trained) -> None:
    used.another("bitcoin")
    registry, config = used.registry, used.context.config
    ab_start(config, registry, KEY, challenger=2, share=0.99, who="ada", now=CLOSED + AFTER)

    async def conversation(client: httpx.AsyncClient) -> tuple[dict[str, Any], dict[str, Any]]:
        before = made_of(await client.get(LIGHTGBM))
        ab_stop(config, registry, KEY, reason="enough", who="ada", now=CLOSED + AFTER)
        ends = time.monotonic() + FOREVER_S
        while (after := made_of(await client.get(LIGHTGBM)))["ab"] is not None and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        return before, after

    before, after = talk(used.app(), conversation)
    assert (before["ab"]["side"], before["version"]) == ("challenger", 2)
    assert (after["ab"], after["version"]) == (None, 1)


# --- promotions and duties


def test_a_promotion_takes_effect_without_a_restart(used: Trained) -> None:
    challenger = used.another("bitcoin")

    async def conversation(client: httpx.AsyncClient) -> int:
        assert made_of(await client.get(LIGHTGBM))["version"] == 1
        promote(used.registry, challenger)
        ends = time.monotonic() + FOREVER_S
        while made_of(await client.get(LIGHTGBM))["version"] != 2 and time.monotonic() < ends:
            await asyncio.sleep(0.02)
        version: int = made_of(await client.get(LIGHTGBM))["version"]
        return version

    assert talk(used.app(), conversation) == 2


def test_the_leader_records_every_bar_before_its_forecasts_are_given_out(used: Trained) -> None:
    used.another("bitcoin")
    ab_start(used.context.config, used.registry, KEY, challenger=2, share=0.5, who="ada", now=CLOSED + AFTER)
    app, registry = used.app(refresh=True), used.registry
    path = "/forecasts?ids=bitcoin&model=lightgbm"

    async def conversation(client: httpx.AsyncClient) -> dict[str, Any]:
        ends = time.monotonic() + 120
        while len(registry.ledger(KEY, 2)) == 0 and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        made = made_of(await client.get(path))
        for bar in range(3):
            # Models of the bar that they ended with may speak of it; they learned nothing of the next.
            close = CANDLES["close_time"][BARS + bar]
            used.clock.now = close + AFTER
            bring(used.store, BARS + bar, BARS + bar + 1)
            while datetime.fromisoformat(made["as_of"]) != close and time.monotonic() < ends:
                await asyncio.sleep(0.05)
                made = made_of(await client.get(path))
            # By the time that the forecast is given out, it stands in the ledger and has learned.
            assert close in {row.issued_at for row in registry.ledger(KEY, 1)}
        return made

    made = talk(app, conversation)
    assert datetime.fromisoformat(made["as_of"]) == CANDLES["close_time"][BARS + 2]
    for number in (1, 2):
        rows = registry.ledger(KEY, number)
        assert len({(row.issued_at, row.horizon) for row in rows}) == len(rows)
        assert {row.horizon for row in rows} <= {1, 7, 14, 30}
        assert len(registry.matured(KEY, number)) == 3
    # One outcome of each bar has been learned from, and the answer says so.
    assert registry.calibration_states(KEY, 1)[1].state["outcomes"] == 3
    assert {one["horizon"]: one["live_outcomes"] for one in made["horizons"]}[1] == 3


# --- what is loaded

LOADED = """
import sys
from pathlib import Path
from tests.serving.serving_app import Clock, get
from cryptocast.cli import forecasts
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request, forecast
from tests.serving.trained_store import AFTER, CLOSED, Trained
used = Trained(Path(sys.argv[1]), Clock(CLOSED + AFTER))
for kind in ("lightgbm", "lstm", "ml_ensemble", "baseline"):
    made = get(used.app(), f"/forecasts?ids=bitcoin&model={kind}").json()["forecasts"][0]
    assert made["model_used"] == kind, made["fallback_reason"]
    (made,) = forecast(used.context, Request(Selection(("bitcoin",)), model=kind)).forecasts
    assert made.model_used == kind, made.fallback_reason
print([name for name in ("torch", "lightgbm", "pandas", "scipy", "sklearn", "joblib", "optuna") if name in sys.modules])
"""


def test_neither_a_server_nor_forecast_loads_torch_or_anything_that_only_training_needs(used: Trained) -> None:
    network = LSTMConfig(lookback=24, hidden=4, members=1, epochs=1, samples=10)
    learning = msgspec.structs.replace(used.context.config, lstm=network)
    train(Context(learning, wall_clock=used.clock), Order(Selection(("bitcoin",)), model="lstm", horizons=HORIZONS))
    promote(used.registry, used.version("bitcoin", "lstm"))
    said = subprocess.run(
        [sys.executable, "-c", LOADED, str(used.store)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == "[]"
