"""The cron lines of the docs on a virtual clock over simulated bars, and what they must leave, counted again slowly."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from cryptocast.config import (
    BacktestConfig,
    Config,
    DataConfig,
    ForecastConfig,
    GateConfig,
    LightGBMConfig,
    SimulatedConfig,
    StoreConfig,
    TrainConfig,
)
from cryptocast.data.sources.simulated.market import load_simulated
from cryptocast.market import Market
from cryptocast.models.online import BOUND, STEP
from cryptocast.registry import LedgerOutcome, LedgerRow, LiveMark, MaturedRow, Registry, VersionKey
from cryptocast.registry.live import live_score
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.coin_pool import feature_table, gather, matrix_of
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.feature_sets import feature_set
from cryptocast.workflows.forecast import ForecastMaker
from cryptocast.workflows.lifecycle.feature_drift import DRIFT_BARS, FeatureDrift, drifted
from cryptocast.workflows.lifecycle.live_scoring import score
from cryptocast.workflows.lifecycle.promote import promote
from cryptocast.workflows.online_calibration import LiveForecast, state_of
from cryptocast.workflows.training.train import Order, train

__all__ = ["JUDGED", "KEY", "Oracle", "VirtualYear", "older_than_of_the_docs"]

START: Final = datetime(2016, 7, 4, tzinfo=UTC)  # a Monday
DAY: Final = timedelta(days=1)
HORIZONS: Final = (1, 7)
KEY: Final = VersionKey("bitcoin", Market("simulated", "usd", "daily"), "lightgbm")
BASELINE: Final = VersionKey("bitcoin", Market("simulated", "usd", "daily"), "baseline")
# So strict that marks come and go within weeks; the gate before production is the usual one.
JUDGED: Final = GateConfig(min_live=12, coverage_sigmas=1.0)


def older_than_of_the_docs() -> timedelta:
    """What the cron line of the docs trains with."""
    text = (Path(__file__).parents[2] / "docs/registry.md").read_text(encoding="utf-8")
    found = re.search(r"30 0 \* \* 1 .*train --if-older-than (\d+)d && cryptocast registry promote", text)
    assert found is not None
    return timedelta(days=int(found[1]))


@dataclass(slots=True)
class VirtualYear:
    """Runs what cron would run, and notes what each command reported; the clock ticks whenever it is read."""

    folder: Path
    now: datetime = START
    rounds: int = 8
    promotions: list[tuple[datetime, int]] = field(default_factory=list)
    # By number: when it was registered, the bars that it saw, its rounds, and production before it.
    registered: dict[int, tuple[datetime, datetime, int, int | None]] = field(default_factory=dict)
    scored: list[tuple[datetime, tuple[int, ...]]] = field(default_factory=list)
    marks: list[dict[int, LiveMark | None]] = field(default_factory=list)

    def clock(self) -> datetime:
        self.now += timedelta(seconds=5)
        return self.now

    def context(self, gate: GateConfig | None = None) -> Context:
        config = Config(
            store=StoreConfig(path=self.folder),
            data=DataConfig(coins=("bitcoin",), source="simulated"),
            simulated=SimulatedConfig(market="garch", bars=1000, seed=3),
            train=TrainConfig(blocks=2, threads=1, audit=False, models=("lightgbm",)),
            lightgbm=LightGBMConfig(rounds=self.rounds, next_bar_rounds=8, min_data_in_leaf=40),
            forecast=ForecastConfig(daily_horizons=HORIZONS),
            backtest=BacktestConfig(models=("baseline", "lightgbm")),
            gate=gate or GateConfig(),
        )
        return Context(config=config, wall_clock=self.clock, who="cron")

    @property
    def production(self) -> int | None:
        return self.promotions[-1][1] if self.promotions else None

    def run(self, weeks: int, *, missed: Collection[int] = (), new_recipe: int, walked: Collection[int]) -> None:
        """missed: days without a scoring; new_recipe: week whose training has other settings, and two weeks after which
        it is forced into production; walked: days with a backtest."""
        for day in range(7 * weeks):
            midnight = START + day * DAY
            if day not in missed:
                self.score(midnight)
            if midnight.weekday() == 0:
                if day == 7 * new_recipe:
                    self.rounds += 1
                self.train(midnight)
                self.promote(midnight, force=day == 7 * (new_recipe + 2))
            if day in walked:
                self.now = midnight + timedelta(hours=1)
                backtest(self.context(), BacktestOrder(Selection(now=midnight), walk_forward=True))
                self.context().registry().collect(20)

    def score(self, midnight: datetime) -> None:
        self.now = midnight + timedelta(minutes=10)
        report = score(self.context(JUDGED), Selection(now=midnight))
        assert report.errors == ()
        standing = [self.production, max(self.registered, default=None)]
        self.scored.append((midnight, tuple(sorted({number for number in standing if number is not None}))))
        registry = self.context().registry()
        self.marks.append({number: registry.live_mark(KEY, number) for number in self.scored[-1][1]})

    def train(self, midnight: datetime) -> None:
        self.now = midnight + timedelta(minutes=30)
        before = self.production
        report = train(self.context(), Order(Selection(now=midnight), older_than=older_than_of_the_docs()))
        for model in report.models:
            if model.version is not None:
                self.registered[model.version] = (self.now, midnight, self.rounds, before)
                if "production" in model.aliases:
                    self.promotions.append((self.now, model.version))

    def promote(self, midnight: datetime, *, force: bool) -> None:
        named = {"coin": "bitcoin", "kind": "lightgbm", "force": True, "reason": "to see"} if force else {}
        context = self.context()
        report = promote(context.config, context.registry(), who="cron", now=self.clock(), **named)  # type: ignore[arg-type]
        (row,) = report.rows
        if row.to_number is not None and row.to_number != self.production:
            self.promotions.append((self.now, row.to_number))


@dataclass(slots=True)
class Oracle:
    """From the notes of a year, the artefacts and the prices alone: the ledger, states and marks that must be there."""

    year: VirtualYear
    closes: dict[datetime, float] = field(default_factory=dict)
    rows: dict[tuple[int, datetime, int], tuple[datetime, list[float], list[float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frame = load_simulated("bitcoin", self.year.context().config.simulated, vs="usd", granularity="daily").frame
        self.closes = dict(zip(frame["close_time"].to_list(), frame["close"].to_list(), strict=True))

    def lineage(self, number: int) -> list[int]:
        found = [number]
        while True:
            _, _, rounds, before = self.year.registered[found[-1]]
            if before is None or self.year.registered[before][2] != rounds:
                return found
            found.append(before)

    def production_at(self, moment: datetime) -> int | None:
        return next((number for at, number in reversed(self.year.promotions) if at <= moment), None)

    def served(self, number: int, midnight: datetime) -> LiveForecast:
        """What the version says of a bar now that later ones are known; its model is loaded from the artefacts."""
        context, selection = self.year.context(), Selection(now=midnight)
        asked = selection.resolved(context.config)
        (pool,) = gather(context, asked, pool=())
        registry = context.registry()
        version = registry.get(f"bitcoin/lightgbm:{number}", Market("simulated", "usd", "daily"))
        return ForecastMaker(context).by_version(registry, version, asked, pool)[0]

    def note(self) -> Iterator[tuple[int, datetime, LiveForecast]]:
        """Count every row of the ledger, bar by bar; gives what a forecast of that bar says today beside it."""
        for midnight, numbers in self.year.scored:
            made = {}
            for number in numbers:
                served = self.served(number, midnight)
                for column, horizon in enumerate(HORIZONS):
                    fitted = served.base.values[0, column].tolist()
                    moved, _ = self.state(number, horizon, midnight)
                    made[number, midnight, horizon] = (midnight + DAY / 100, fitted, _widened(fitted, moved))
                yield number, midnight, served
            self.rows |= made

    def state(self, number: int, horizon: int, as_of: datetime) -> tuple[list[float], int]:
        """The log factors of the widths, the widest interval first, and how many outcomes moved them."""
        registered, trained_to, _, _ = self.year.registered[number]
        moved, outcomes = [0.0] * (len(LEVELS) // 2), 0
        for issued in sorted({issued for _, issued, _ in self.rows}):
            target = issued + horizon * DAY
            if not trained_to < target <= as_of:
                continue
            row = self.rows.get((number, issued, horizon))
            values = None if row is None else row[2]
            for before in self.lineage(number)[1:]:
                other = self.rows.get((before, issued, horizon))
                if values is None and other is not None and other[0] < registered:
                    values = other[1] if self.production_at(other[0]) == before else None
            if values is None:
                continue
            outcome = math.log(self.closes[target] / self.closes[issued])
            for place in range(len(moved)):
                missed = not values[place] <= outcome <= values[-1 - place]
                step = STEP / horizon * (missed - 2 * LEVELS[place])
                moved[place] = min(BOUND, max(-BOUND, moved[place] + step))
            outcomes += 1
        return moved, outcomes

    def record(self, number: int, known: Mapping[tuple[int, datetime, int], MaturedRow]) -> list[MaturedRow]:
        """Of each bar and horizon the row that was in production, of those that have matured."""
        found = []
        was_promoted = number in {promoted for _, promoted in self.year.promotions}
        for issued, horizon in sorted({(issued, horizon) for _, issued, horizon in known}):
            row = known.get((number, issued, horizon))
            served = [
                known[one, issued, horizon]
                for one in self.lineage(number)
                if (one, issued, horizon) in known and self.production_at(issued + DAY / 100) == one
            ]
            chosen = [*served, row] if was_promoted else [row, *served]
            found += [pair for pair in chosen if pair is not None][:1]
        return found

    def expected_marks(self) -> Iterator[tuple[dict[int, LiveMark | None], dict[int, LiveMark]]]:
        """After each scoring, the marks that stood and those that should."""
        registry = self.year.context().registry()
        ledger = {
            (row.number, row.issued_at, row.horizon): (row, outcome)
            for number in self.year.registered
            for row, outcome in registry.matured(KEY, number)
        }
        baseline = registry.matured(BASELINE, 0)
        latest: dict[int, LiveMark] = {}
        for (midnight, numbers), found in zip(self.year.scored, self.year.marks, strict=True):
            expected = {}
            until = {at: pair for at, pair in ledger.items() if pair[0].target_at <= midnight}
            for number in numbers:
                # As it was then: promotions that came later are not known.
                then = replace(
                    self, year=replace(self.year, promotions=[p for p in self.year.promotions if p[0] < midnight])
                )
                pairs = then.record(number, until)
                live = live_score(
                    pairs, [pair for pair in baseline if pair[0].target_at <= midnight], JUDGED, bar_us=86_400_000_000
                )
                drift = self.drift(registry, number, midnight)
                before = next((latest[one] for one in self.lineage(number) if one in latest), None)
                expected[number] = LiveMark(
                    number=number,
                    at=midnight,
                    bars=max((found.bars for found in live.scores), default=0),
                    degraded=live.degraded,
                    degraded_since=_since(live.degraded, midnight, before.degraded_since if before else None),
                    drift=drift.features,
                    drift_bars=drift.bars,
                    drift_since=_since(drift.features, midnight, before.drift_since if before else None),
                )
            latest |= expected
            yield found, expected

    def drift(self, registry: Registry, number: int, midnight: datetime) -> FeatureDrift:
        """Against the youngest training of the lineage that lies DRIFT_BARS bars back, features made once more."""
        ends = [self.year.registered[one][1] for one in self.lineage(number)]
        end = next((end for end in ends if midnight - end >= DRIFT_BARS * DAY), None)
        if end is None:
            return FeatureDrift(0, ())
        context = self.year.context()
        (pool,) = gather(context, Selection(now=midnight).resolved(context.config), pool=())
        names = registry.get(f"bitcoin/lightgbm:{number}", Market("simulated", "usd", "daily")).manifest.features
        matrix = matrix_of(feature_table(pool, feature_set(context.config).features), pool, HORIZONS, names)
        return drifted(matrix, round(end.timestamp() * 1_000_000))

    def check(self) -> None:
        """Everything that the registry holds against what it must."""
        registry = self.year.context().registry()
        for number, midnight, served in self.note():
            for column, horizon in enumerate(HORIZONS):
                moved, outcomes = self.state(number, horizon, midnight)
                assert served.outcomes.get(horizon, 0) == outcomes
                np.testing.assert_allclose(
                    served.forecast.values[0, column], _widened(served.base.values[0, column].tolist(), moved)
                )
        kept = {
            (row.number, row.issued_at, row.horizon): row
            for n in self.year.registered
            for row in registry.ledger(KEY, n)
        }
        assert kept.keys() == self.rows.keys()
        for at, (_, fitted, values) in self.rows.items():
            self._check_row(kept[at], fitted, values)
        assert len(registry.ledger(BASELINE, 0)) == len(HORIZONS) * len(self.year.scored)
        last = max(midnight for midnight, _ in self.year.scored)
        for number in self.year.registered:
            self._check_outcomes(registry.matured(KEY, number), last)
            states = {h: state_of(state) for h, state in registry.calibration_states(KEY, number).items()}
            for horizon in HORIZONS:
                moved, outcomes = self.state(number, horizon, last)
                assert (states[horizon].outcomes if horizon in states else 0) == outcomes
                if outcomes:
                    np.testing.assert_allclose(states[horizon].moved, moved, atol=1e-12)
        for found, expected in self.expected_marks():
            assert found == expected
        assert registry.verify() == ()

    def _check_row(self, row: LedgerRow, fitted: list[float], values: list[float]) -> None:
        _, outcomes = self.state(row.number, row.horizon, row.issued_at)
        np.testing.assert_allclose(row.quantiles, values, rtol=1e-9, atol=1e-12)
        assert (row.base is not None) == (outcomes > 0)
        np.testing.assert_allclose(row.base or row.quantiles, fitted, rtol=1e-9, atol=1e-12)

    def _check_outcomes(self, pairs: tuple[MaturedRow, ...], last: datetime) -> None:
        expected = {at for at in self.rows if at[0] in {p[0].number for p in pairs} and at[1] + at[2] * DAY <= last}
        assert {(row.number, row.issued_at, row.horizon) for row, _ in pairs} == expected
        for row, outcome in pairs:
            self._check_outcome(row, outcome)

    def _check_outcome(self, row: LedgerRow, outcome: LedgerOutcome) -> None:
        assert math.isclose(outcome.log_return, math.log(self.closes[row.target_at] / self.closes[row.issued_at]))


def _widened(fitted: list[float], moved: list[float]) -> list[float]:
    middle = fitted[len(fitted) // 2]
    factors = [math.exp(one) for one in (*moved, 0.0, *reversed(moved))]
    return sorted(middle + factor * (value - middle) for factor, value in zip(factors, fitted, strict=True))


def _since(found: tuple[object, ...], at: datetime, before: datetime | None) -> datetime | None:
    return (before or at) if found else None
