"""The shipped model in use: it answers where a coin has no version, and nowhere before its knowledge date."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.panel import Panel

from cryptocast.cli.screens.train import train_screen
from cryptocast.config import BacktestConfig, EnsembleConfig, TrainConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.errors import ConfigError, RegistryError, UsageError
from cryptocast.features.matrix import Matrix
from cryptocast.market import Market
from cryptocast.models.base import Forecast
from cryptocast.models.pretrained import DATE_FILE, PretrainedForecaster
from cryptocast.registry import Registry, VersionKey, artefacts_of
from cryptocast.registry.archive import pack, unpack
from cryptocast.registry.manifest import canonical_json, sha256_hex
from cryptocast.times import as_microseconds
from cryptocast.workflows import pretrained
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.doctor import examine
from cryptocast.workflows.fallbacks import FallbackCode
from cryptocast.workflows.forecast import Request, forecast, ladder
from cryptocast.workflows.lifecycle.archives import export_version, import_archive
from cryptocast.workflows.lifecycle.live_scoring import record, score
from cryptocast.workflows.lifecycle.model_card import model_card
from cryptocast.workflows.lifecycle.promote import promote
from cryptocast.workflows.pretrained import SHIPPED_FILE, adopt, earlier_models, shipped_version
from cryptocast.workflows.recipes import recipe_of
from cryptocast.workflows.reports import CoinForecast, TrainDecision
from cryptocast.workflows.training.train import Order, train
from tests.conftest import simulated_candles
from tests.workflows.backtesting.small_runs import NOW, context

DATE = datetime(2021, 7, 7, tzinfo=UTC)
FILE = Market("file", "usd", "daily")
START = datetime(2020, 1, 1, tzinfo=UTC)


def store_of(folder: Path, *coins: str, bars: int, last: datetime, **sections: Any) -> Context:
    """A store with simulated daily bars of these coins, the last of which closes then."""
    shift = last - (START + timedelta(days=bars))
    frame = simulated_candles(coins, bars).with_columns(pl.col("close_time") + shift)
    used = context(folder, **sections)
    for own in frame.partition_by("coin"):
        CandleStore(used.config.store.path, lock_timeout_s=5).write(
            SeriesKey(FILE, own["coin"][0]), own, fetched_at=last
        )
    return used


def answer(used: Context, coin: str, **more: Any) -> CoinForecast:
    selection = Selection((coin,), source="file", now=more.pop("now", None))
    (made,) = forecast(used, Request(selection, **more)).forecasts
    return made


def test_a_coin_without_a_version_is_answered_from_its_twenty_first_bar_on(tmp_path: Path) -> None:
    used = store_of(tmp_path, "solana", bars=60, last=NOW)
    made = answer(used, "solana")
    assert (made.model_used, made.version, made.fallback_reason) == ("lightgbm", "shipped", None)
    assert any(notice.startswith("solana has only 60 daily bars") for notice in made.notices)
    first = answer(used, "solana", now=NOW - timedelta(days=39))
    assert (first.version, first.as_of) == ("shipped", NOW - timedelta(days=39))
    assert not (used.config.store.path / "registry").exists()  # whoever only asks writes nothing


def test_it_may_be_asked_for_by_name_and_by_reference(tmp_path: Path) -> None:
    used = store_of(tmp_path, "solana", bars=400, last=NOW)
    plain = answer(used, "solana")
    assert not any("daily bars" in notice for notice in plain.notices)
    named = answer(used, "solana", model="shipped")
    referred = answer(used, "solana", version="solana/lightgbm@shipped")
    assert named.horizons == referred.horizons == plain.horizons
    assert answer(used, "solana", model="baseline").model_used == "baseline"
    lstm = answer(used, "solana", model="lstm")
    assert (lstm.version, lstm.fallback_reason and lstm.fallback_reason.code) == ("shipped", FallbackCode.NO_VERSION)


def test_beyond_its_longest_horizon_the_baseline_answers_by_itself(tmp_path: Path) -> None:
    used = store_of(tmp_path, "solana", bars=400, last=NOW)
    near, far = answer(used, "solana", horizons=(30, 60)).horizons
    assert near.fallback_reason is None
    assert far.fallback_reason is not None
    assert far.fallback_reason.code == FallbackCode.UNFITTED_HORIZON
    alone = answer(used, "solana", horizons=(60,))
    assert (alone.model_used, alone.version) == ("baseline", None)
    assert alone.horizons[0].intervals == far.intervals


def test_bitcoin_in_the_store_is_its_market_and_no_other_coin_is_looked_at(tmp_path: Path) -> None:
    pair = store_of(tmp_path / "pair", "bitcoin", "ethereum", "solana", bars=300, last=NOW)
    alone = store_of(tmp_path / "alone", "bitcoin", "solana", bars=300, last=NOW)
    candles = CandleStore(pair.config.store.path, lock_timeout_s=5).read(SeriesKey(FILE, "solana"))
    assert candles is not None
    frame = candles.frame
    CandleStore(alone.config.store.path, lock_timeout_s=5).write(SeriesKey(FILE, "solana"), frame, fetched_at=NOW)
    assert answer(pair, "solana").horizons == answer(alone, "solana").horizons
    lonely = store_of(tmp_path / "lonely", "solana", bars=300, last=NOW)
    CandleStore(lonely.config.store.path, lock_timeout_s=5).write(SeriesKey(FILE, "solana"), frame, fetched_at=NOW)
    assert answer(lonely, "solana").horizons != answer(pair, "solana").horizons


def test_where_something_is_written_it_becomes_the_first_version_and_own_fits_its_challengers(tmp_path: Path) -> None:
    used = store_of(tmp_path, "bitcoin", "solana", bars=900, last=NOW, train=TrainConfig(blocks=2, threads=1))
    update = record(used, Selection(("solana",), source="file"))
    assert update.written == 8  # its own four horizons, and the baseline's
    registry, key = used.registry(), VersionKey("solana", FILE, "lightgbm")
    adopted = registry.version(key, 1)
    assert (adopted.name, set(adopted.aliases)) == ("solana/lightgbm@shipped", {"challenger", "production", "shipped"})
    before = answer(used, "solana")
    assert before.version == "shipped"
    # By whatever name it is asked for, it is the version that learns from its outcomes.
    from_file = shipped_version(used.config, key, NOW)
    for request in (Request(model="shipped"), Request(version="solana/lightgbm@shipped"), Request(model="auto")):
        (first, *_) = ladder(registry, key, request, lambda: from_file)
        assert first.version == adopted
    (listed,) = registry.listing(coin="solana")
    assert listed.name == adopted.name

    report = train(used, Order(Selection(("solana",), source="file"), model="lightgbm"))
    (own,) = [row for row in report.models if row.kind == "lightgbm"]
    assert (own.version, own.decision, own.aliases) == (2, TrainDecision.CHALLENGER, ("challenger",))
    assert answer(used, "solana") == before
    *_, conclusion = train_screen(used, report)
    assert isinstance(conclusion, Panel)
    next_step = str(conclusion.renderable).splitlines()[-1]
    assert next_step == "Next: cryptocast backtest solana --walk-forward --model lightgbm,shipped"
    judged = promote(used.config, registry, coin="solana", source="file", who="ada", now=NOW)
    assert judged.rows[0].action == "refused"
    assert "version 2 has a different recipe from the shipped model in production" in str(judged.rows[0].reasons[0])
    assert registry.verify() == ()

    young = train(used, Order(Selection(("solana",), source="file"), model="lightgbm", older_than=timedelta(days=7)))
    assert (young.models, young.notes) == ((), ("solana was left alone: its versions are at most 0:00:00 old",))

    # The gate's evidence: both recipes on the same origins.
    order = BacktestOrder(
        Selection(("solana",), source="file"),
        walk_forward=True,
        models=("lightgbm", "shipped"),
        refit_every=182,
        start=NOW - timedelta(days=500),
    )
    walk = backtest(used, order)
    assert {row.model for row in walk.rows} == {"baseline", "lightgbm", "shipped"}
    later = promote(used.config, registry, coin="solana", source="file", who="ada", now=NOW)
    assert later.rows[0].rule == "evidence"
    assert later.rows[0].contest is not None
    forced = promote(
        used.config,
        registry,
        coin="solana",
        source="file",
        kind="lightgbm",
        force=True,
        reason="mine",
        who="ada",
        now=NOW,
    )
    assert forced.rows[0].to_number == 2
    assert answer(used, "solana").version == 2
    assert answer(used, "solana", version="solana/lightgbm@shipped").version == "shipped"


def test_its_archive_is_named_in_the_settings_and_not_imported(tmp_path: Path) -> None:
    used = store_of(tmp_path, "solana", bars=60, last=NOW)
    record(used, Selection(("solana",), source="file"))
    registry, file = used.registry(), tmp_path / "model.zip"
    adopted = registry.version(VersionKey("solana", FILE, "lightgbm"), 1)
    export_version(registry, adopted, file, whole_fit=False, overwrite=False)
    other = Registry.open(tmp_path / "other")
    with pytest.raises(RegistryError, match=r"model for every coin.*\[train\] pretrained"):
        import_archive(other, file, dry_run=False, who="ada", now=NOW)
    assert other.keys() == ()  # as foreign scores it would bar every version that has to beat it
    train_settings = msgspec.structs.replace(used.config.train, pretrained=str(file))
    now = replace(used, config=msgspec.structs.replace(used.config, train=train_settings))
    assert answer(now, "solana") == answer(used, "solana")


def test_a_kind_that_has_no_shipped_model_has_to_beat_it_too(tmp_path: Path) -> None:
    members = EnsembleConfig(members=("har", "lightgbm"))
    used = store_of(tmp_path, "bitcoin", bars=900, last=NOW, ml_ensemble=members)
    report = train(used, Order(Selection(("bitcoin",), source="file"), model="ml_ensemble"))
    assert [row.decision for row in report.models if row.kind == "ml_ensemble"] == [TrainDecision.CHALLENGER]
    made = answer(used, "bitcoin")
    assert (made.model_used, made.version) == ("lightgbm", "shipped")
    judged = promote(
        used.config, used.registry(), coin="bitcoin", source="file", kind="ml_ensemble", who="ada", now=NOW
    )
    assert (judged.rows[0].action, judged.rows[0].rule) == ("refused", "evidence")


def test_a_store_with_a_version_of_its_own_in_production_goes_on_as_before(tmp_path: Path) -> None:
    none = context(tmp_path).config.train
    used = store_of(tmp_path, "bitcoin", bars=900, last=NOW, train=msgspec.structs.replace(none, pretrained="none"))
    train(used, Order(Selection(("bitcoin",), source="file"), model="lightgbm"))
    before = answer(used, "bitcoin")
    assert before.version == 1
    now = replace(used, config=msgspec.structs.replace(used.config, train=none))
    assert answer(now, "bitcoin") == before
    record(now, Selection(("bitcoin",), source="file"))
    assert [version.number for version in now.registry().versions(coin="bitcoin")] == [1]


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Two coins with bars before and after the knowledge date."""
    folder = tmp_path_factory.mktemp("around")
    return store_of(folder, "bitcoin", "solana", bars=500, last=DATE + timedelta(days=200))


@pytest.fixture(scope="module")
def asked() -> Iterator[list[int]]:
    """Issue times (microseconds) of all rows that the shipped model forecasts."""
    seen: list[int] = []
    usual = PretrainedForecaster.predict

    def predict(self: PretrainedForecaster, rows: Matrix) -> Forecast:
        made = usual(self, rows)
        seen.extend(rows.issued_at.tolist())
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainedForecaster, "predict", predict)
        yield seen


PATHS = ("forecast", "by name", "by reference", "ledger")


@settings(max_examples=40)
@given(days=st.integers(-250, 200), coin=st.sampled_from(["bitcoin", "solana"]), path=st.sampled_from(PATHS))
def test_no_path_uses_it_on_a_bar_before_its_date(
    around: Context, asked: list[int], days: int, coin: str, path: str
) -> None:
    moment = DATE + timedelta(days=days)
    asked.clear()
    is_used = days >= 0
    if path == "ledger":
        folder = around.config.store.path.parent / f"{coin}{days}"
        used = store_of(folder, coin, bars=100, last=moment)
        score(used, Selection((coin,), source="file", now=moment))
        assert bool(used.registry().versions()) is is_used
    elif path == "by reference":
        if is_used:
            assert answer(around, coin, now=moment, version=f"{coin}/lightgbm@shipped").version == "shipped"
        else:
            with pytest.raises(RegistryError, match="does not answer here: the shipped model forecasts daily bars"):
                answer(around, coin, now=moment, version=f"{coin}/lightgbm@shipped")
    else:
        made = answer(around, coin, now=moment, model="shipped" if path == "by name" else None)
        assert made.version == ("shipped" if is_used else None)
        assert (made.fallback_reason is None) is is_used
    assert bool(asked) is is_used
    assert all(issued >= DATE.timestamp() * 1e6 for issued in asked)


def test_a_walk_begins_behind_its_date_for_every_model(around: Context, asked: list[int]) -> None:
    asked.clear()
    order = BacktestOrder(
        Selection(("bitcoin", "solana"), source="file"), walk_forward=True, models=("shipped",), refit_every=182
    )
    report = backtest(around, order)
    assert report.start >= DATE
    assert any("from 2021-07-07: shipped forecasts no bar" in note for note in report.notes)
    assert min(asked) >= DATE.timestamp() * 1e6
    early = replace(order, end=DATE - timedelta(days=5))
    with pytest.raises(UsageError, match="there is no bar that it may forecast"):
        backtest(around, early)


@pytest.mark.parametrize(
    ("selection", "horizons", "why"),
    [
        (Selection(("bitcoin",), source="file", granularity="hourly"), (), "forecasts daily bars, not hourly ones"),
        (Selection(("bitcoin",), source="file"), (1, 60), "not at 60"),
    ],
)
def test_a_backtest_that_it_cannot_answer_is_refused_before_any_work(
    around: Context, selection: Selection, horizons: tuple[int, ...], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        backtest(around, BacktestOrder(selection, walk_forward=True, models=("shipped",), horizons=horizons))


def test_before_anything_was_recorded_its_export_is_its_own_file(tmp_path: Path) -> None:
    used, file = store_of(tmp_path, "solana", bars=60, last=NOW), tmp_path / "model.zip"
    version = shipped_version(used.config, VersionKey("solana", FILE, "lightgbm"), NOW)
    assert version is not None
    report = export_version(used.registry(), version, file, whole_fit=False, overwrite=False, config=used.config)
    assert report.versions == ("solana/lightgbm@shipped",)
    assert file.read_bytes() == SHIPPED_FILE.read_bytes()
    assert unpack(file.read_bytes(), "model.zip").fit_id == report.fit_id


def test_walks_of_another_file_with_the_same_settings_are_not_its_own(tmp_path: Path) -> None:
    fit = pretrained.pretrained_fit(context(tmp_path).config)
    assert fit is not None
    newer = msgspec.structs.replace(fit, artefacts=artefacts_of({"model.txt": b"tree"}))
    assert newer.recipe == fit.recipe
    assert newer.evidence_recipe != fit.evidence_recipe
    assert recipe_of(context(tmp_path).config, "shipped", "any") == fit.evidence_recipe
    own = msgspec.structs.replace(newer, knowledge_date=msgspec.UNSET)
    assert own.evidence_recipe == own.recipe


def test_nothing_on_the_sample_asks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Forecast:
        raise AssertionError("the sample ends before the model's date")

    monkeypatch.setattr(PretrainedForecaster, "predict", refuse)
    used = context(tmp_path, backtest=BacktestConfig(models=("baseline", "lightgbm")))
    backtest(used, BacktestOrder(Selection(("bitcoin",)), walk_forward=True, horizons=(1, 7), refit_every=364))
    report = train(used, Order(Selection(("bitcoin",)), model="lightgbm", horizons=(1, 7)))
    assert [row.decision for row in report.models if row.kind == "lightgbm"] == [TrainDecision.PROMOTED]
    (made,) = forecast(used, Request(Selection(("bitcoin",)))).forecasts
    assert made.version == 1
    record(used, Selection(("bitcoin",), now=datetime(2019, 6, 1, tzinfo=UTC)))
    with pytest.raises(UsageError, match="learned from bars up to 2021-07-07"):
        backtest(used, BacktestOrder(Selection(("bitcoin",)), walk_forward=True, models=("shipped",)))


def test_hourly_bars_have_none(tmp_path: Path) -> None:
    used = context(tmp_path)
    hourly = VersionKey("bitcoin", Market("file", "usd", "hourly"), "lightgbm")
    assert shipped_version(used.config, hourly, NOW) is None
    assert shipped_version(used.config, VersionKey("bitcoin", FILE, "lightgbm"), NOW) is not None


def test_its_card_says_what_it_was_learned_from_and_until_when_data_were_looked_at(tmp_path: Path) -> None:
    used = context(tmp_path)
    version = shipped_version(used.config, VersionKey("solana", FILE, "lightgbm"), NOW)
    assert version is not None
    card = model_card(used.registry(), used.config.gate, version, None).markdown
    assert "# solana/lightgbm@shipped" in card
    for words in ("CoinMarketCap", "CC0", "2021-07-07", "2026-05", "dogecoin", "no prices"):
        assert words in card


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK")
    train = TrainConfig(pretrained=str(tmp_path / "bad.zip"))
    used = store_of(tmp_path, "solana", bars=60, last=NOW, train=train)
    with pytest.raises(ConfigError, match=r"\[train\] pretrained: The archive .*bad.zip is refused"):
        pretrained.pretrained(used.config)


def test_what_another_process_has_put_into_production_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = store_of(tmp_path, "monero", "solana", bars=60, last=NOW)
    last_bars = {"monero": NOW, "solana": NOW}
    adopt(used.config, used.registry(), FILE, {"solana": NOW}, now=NOW, who="ada")
    before = used.registry().alias(VersionKey("solana", FILE, "lightgbm"), "production")
    # As if it had happened since this process looked.
    monkeypatch.setattr(pretrained, "_is_free", lambda *_: True)
    adopt(used.config, used.registry(), FILE, last_bars, now=NOW, who="bob")
    assert used.registry().alias(VersionKey("solana", FILE, "lightgbm"), "production") == before
    assert used.registry().alias(VersionKey("monero", FILE, "lightgbm"), "production") is not None


def test_a_killed_adoption_is_ended_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = store_of(tmp_path, "solana", bars=60, last=NOW)
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "promote_all", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            adopt(used.config, used.registry(), FILE, {"solana": NOW}, now=NOW, who="ada")
    adopt(used.config, used.registry(), FILE, {"solana": NOW}, now=NOW, who="ada")
    adopt(used.config, used.registry(), FILE, {"solana": NOW}, now=NOW, who="ada")
    (version,) = used.registry().versions()
    assert set(version.aliases) == {"challenger", "production", "shipped"}


def newer_model(used: Context, path: Path) -> Context:
    """The same store with a file of another model: as good, and of one more day."""
    archive = pretrained.pretrained(used.config)
    assert archive is not None
    later = DATE + timedelta(days=1)
    files = {**archive.files, DATE_FILE: b'{"knowledge_date":%d}' % as_microseconds(later)}
    fit = msgspec.structs.replace(archive.manifest, knowledge_date=later, seed=1, artefacts=artefacts_of(files))
    old = shipped_version(used.config, VersionKey("bitcoin", FILE, "lightgbm"), NOW)
    assert old is not None
    version = replace(old, number=1, manifest=fit, fit_id=sha256_hex(canonical_json(fit)))
    path.write_bytes(pack([version], files))
    named = msgspec.structs.replace(used.config.train, pretrained=str(path))
    return replace(used, config=msgspec.structs.replace(used.config, train=named))


def test_a_newer_shipped_model_contends_with_the_one_in_production_and_the_gate_decides(tmp_path: Path) -> None:
    used = store_of(tmp_path, "solana", bars=60, last=NOW)
    record(used, Selection(("solana",), source="file"))
    now = newer_model(used, tmp_path / "newer.zip")
    assert [one.name for one in earlier_models(used.registry(), used.config)] == []
    for _ in range(2):
        record(now, Selection(("solana",), source="file"))
    registry = now.registry()
    old, new = registry.versions()
    assert (old.aliases, set(new.aliases)) == (("production",), {"challenger", "shipped"})
    assert (old.name, new.name) == ("solana/lightgbm:1", "solana/lightgbm@shipped")
    assert [one.name for one in earlier_models(registry, now.config)] == ["solana/lightgbm:1"]
    file = tmp_path / "config.toml"
    file.write_text(
        f"[store]\npath = '{now.config.store.path}'\n[train]\npretrained = '{now.config.train.pretrained}'\n",
        encoding="utf-8",
    )
    (check,) = [one for one in examine(file, environ={}).checks if one.name == "shipped"]
    assert (check.status, "solana/lightgbm:1 (file)" in check.found) == ("warn", True)
    assert answer(now, "solana").version == 1
    assert answer(now, "solana", model="shipped").version == "shipped"
    key = {"coin": "solana", "source": "file", "kind": "lightgbm", "who": "ada", "now": NOW}
    judged = promote(now.config, registry, **key)  # type: ignore[arg-type]
    assert (judged.rows[0].action, judged.rows[0].rule) == ("refused", "evidence")
    forced = promote(now.config, registry, force=True, reason="newer", **key)  # type: ignore[arg-type]
    assert forced.rows[0].to_number == 2
    assert earlier_models(registry, now.config) == ()
    assert answer(now, "solana").version == "shipped"


def test_where_a_version_of_the_coins_own_waits_a_newer_shipped_model_does_not_take_its_place(tmp_path: Path) -> None:
    used = store_of(tmp_path, "bitcoin", bars=900, last=NOW)
    train(used, Order(Selection(("bitcoin",), source="file"), model="lightgbm"))
    now = newer_model(used, tmp_path / "newer.zip")
    record(now, Selection(("bitcoin",), source="file"))
    assert [set(one.aliases) for one in now.registry().versions()] == [{"production", "shipped"}, {"challenger"}]
