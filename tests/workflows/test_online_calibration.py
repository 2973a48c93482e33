"""The online calibration in use: written by scoring, read by the forecast, always the replay of the ledger."""

import contextlib
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.market import Market
from cryptocast.models import online
from cryptocast.registry import LedgerOutcome, LedgerRow, LiveMark, MaturedRow, Registry, Version, VersionKey
from cryptocast.registry.ledger import CalibrationState
from cryptocast.registry.live import matured_outcome
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.lifecycle.live_scoring import LedgerUpdate, record, score
from cryptocast.workflows.online_calibration import learn, state_of, states_at
from cryptocast.workflows.reports import CoinForecast
from cryptocast.workflows.training.train import Order, train
from tests.registry.registry_fits import BITCOIN, register
from tests.registry.registry_ledger import day, row
from tests.registry.registry_weeks import refresh, written
from tests.workflows.backtesting.small_runs import context

HORIZONS = (1, 7)
TRAINED = datetime(2019, 6, 1, tzinfo=UTC)
LIGHTGBM = VersionKey("bitcoin", Market("sample", "usd", "daily"), "lightgbm")


def at(days: int) -> Selection:
    return Selection(("bitcoin",), now=TRAINED + timedelta(days=days))


def outcome(of: LedgerRow, log_return: float) -> LedgerOutcome:
    return matured_outcome(of, log_return, now=of.target_at)


def replayed(registry: Registry, version: Version, horizon: int, *, until: datetime) -> online.HorizonState:
    """What the state must be, from ledger and outcomes by the rules of models.online alone."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    us = timedelta(microseconds=1)
    own = [
        online.MaturedForecast(
            issued_at=(r.issued_at - epoch) // us,
            label_end=(r.target_at - epoch) // us,
            values=r.quantiles,
            outcome=o.log_return,
        )
        for r, o in registry.matured(version.key, version.number)
        if r.horizon == horizon
    ]
    return online.replay(online.start(horizon, LEVELS), own, now=(until - epoch) // us)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, list[LedgerUpdate]]:
    """A version that was scored on each of 25 days, but for one that was missed."""
    used = context(tmp_path_factory.mktemp("lived"))
    train(used, Order(at(0), model="lightgbm", horizons=HORIZONS))
    return used, [record(used, at(n)) for n in range(26) if n != 11]


def version_of(used: Context) -> Version:
    return used.registry().get("bitcoin/lightgbm:1", Market("sample", "usd", "daily"))


def asked(used: Context, days: int) -> CoinForecast:
    request = Request(at(days), model="lightgbm", horizons=HORIZONS, intervals=(80, 95))
    (made,) = forecast(used, request).forecasts
    return made


def test_what_is_kept_equals_its_replay_from_ledger_and_outcomes(lived: tuple[Context, list[LedgerUpdate]]) -> None:
    registry, version = lived[0].registry(), version_of(lived[0])
    kept = registry.calibration_states(LIGHTGBM, 1)
    assert set(kept) == set(HORIZONS)
    for horizon in HORIZONS:
        state = state_of(kept[horizon])
        assert state == replayed(registry, version, horizon, until=TRAINED + timedelta(days=25))
        # Issued on days 0 to 25 but the 11th, and over by the 25th.
        assert state.outcomes == 26 - 1 - horizon
        assert any(state.moved)
    assert registry.verify() == ()


def test_an_outcome_enters_when_its_bars_have_closed_and_not_before(lived: tuple[Context, list[LedgerUpdate]]) -> None:
    registry, version = lived[0].registry(), version_of(lived[0])
    for now in range(26):
        as_of = TRAINED + timedelta(days=now)
        for state in states_at(registry, version, as_of):
            assert state == replayed(registry, version, state.horizon, until=as_of)
            ended = [r for r, _ in registry.matured(LIGHTGBM, 1) if r.horizon == state.horizon and r.target_at <= as_of]
            assert state.outcomes == len(ended)
            assert now >= state.horizon or state.outcomes == 0


def test_forecast_and_ledger_say_the_same_at_each_bar(lived: tuple[Context, list[LedgerUpdate]]) -> None:
    used = lived[0]
    rows = {(r.issued_at, r.horizon): r for r in used.registry().ledger(LIGHTGBM, 1)}
    for days in (0, 1, 8, 25):
        made = asked(used, days)
        for found in made.horizons:
            noted = rows[made.as_of, found.horizon]
            lower, upper = found.intervals[0].lower, found.intervals[0].upper
            assert made.price * np.exp(noted.quantiles[[*LEVELS].index(0.1)]) == pytest.approx(lower, rel=1e-12)
            assert made.price * np.exp(noted.quantiles[[*LEVELS].index(0.9)]) == pytest.approx(upper, rel=1e-12)
            known = max(0, days + 1 - found.horizon) - (days - found.horizon >= 11)
            assert found.live_outcomes == known
            assert (noted.base is None) == (known == 0)
            if noted.base is not None:
                assert noted.base[6] == noted.quantiles[6]  # around its own median
                assert noted.base != noted.quantiles


def test_a_version_without_outcomes_forecasts_as_it_was_fitted(lived: tuple[Context, list[LedgerUpdate]]) -> None:
    used = lived[0]
    before = asked(used, 0)
    assert [found.live_outcomes for found in before.horizons] == [0, 0]
    first = [r for r in used.registry().ledger(LIGHTGBM, 1) if r.issued_at == before.as_of]
    assert [r.base for r in first] == [None, None]


def test_scoring_the_same_bar_again_changes_nothing(lived: tuple[Context, list[LedgerUpdate]]) -> None:
    used = lived[0]
    kept = used.registry().calibration_states(LIGHTGBM, 1)
    again = record(used, at(25))
    assert (again.written, again.matured, again.errors) == (0, 0, ())
    assert used.registry().calibration_states(LIGHTGBM, 1) == kept


def test_damaged_states_are_counted_anew_and_that_is_said(
    lived: tuple[Context, list[LedgerUpdate]], tmp_path: Path
) -> None:
    used = lived[0]
    kept = used.registry().calibration_states(LIGHTGBM, 1)
    with contextlib.closing(sqlite3.connect(used.config.store.path / "registry" / "registry.db")) as connection:
        connection.execute("UPDATE calibration_states SET state = replace(state, 'moved', 'meved') WHERE horizon = 7")
        connection.execute("UPDATE calibration_states SET through = '2999' WHERE horizon = 1")
        connection.commit()
    made = asked(used, 25)
    assert made.model_used == "baseline"  # nothing is served on a state that is not what was written
    assert made.fallback_reason is not None
    assert made.fallback_reason.code == "artefact"
    assert "calibration state" in (made.fallback_reason.detail or "")
    (error,) = record(used, at(25)).errors
    assert "That was done now" in error
    assert used.registry().calibration_states(LIGHTGBM, 1) == kept
    assert used.registry().verify() == ()


def test_a_degraded_version_says_so_with_every_forecast_and_since_when(
    lived: tuple[Context, list[LedgerUpdate]],
) -> None:
    used, registry = lived[0], lived[0].registry()
    assert asked(used, 25).notices == ()
    mark = LiveMark(number=1, at=TRAINED + timedelta(days=24), degraded=("the baseline is better live",))
    registry.write_mark(LIGHTGBM, mark)
    (told,) = asked(used, 25).notices
    assert told.startswith("this version is degraded since 2019-06-25: the baseline is better live.")
    report = score(used, at(25))
    assert report.errors == ()
    assert asked(used, 25).notices == ()  # on 25 bars nothing is shown yet, and the mark is that of now
    found = registry.live_mark(LIGHTGBM, 1)
    assert found is not None
    assert (found.at, found.degraded, found.degraded_since) == (TRAINED + timedelta(days=25), (), None)


@pytest.fixture
def version(tmp_path: Path) -> tuple[Registry, Version]:
    registry = Registry.open(tmp_path)
    return registry, register(registry)[0]


def states(registry: Registry, number: int = 1) -> dict[int, online.HorizonState]:
    return {horizon: state_of(state) for horizon, state in registry.calibration_states(BITCOIN, number).items()}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from([1, 7]), st.floats(-0.2, 0.2)), unique_by=lambda x: x[:2]),
    st.data(),
)
def test_outcomes_in_any_order_and_batches_leave_the_replay(
    tmp_path_factory: pytest.TempPathFactory, bars: Sequence[tuple[int, int, float]], data: st.DataObject
) -> None:
    """A bar that was missing may come later than those behind it: the states are counted anew."""
    registry = Registry.open(tmp_path_factory.mktemp("batches"))
    (fit,) = register(registry)
    registry.write_ledger([row(1, issued, horizon) for issued, horizon, _ in bars])
    left = [outcome(row(1, issued, horizon), moved) for issued, horizon, moved in bars]
    left = data.draw(st.permutations(left))
    while left:
        size = data.draw(st.integers(1, 5))
        registry.write_outcomes([*left[:size], *left[:1]], learn)
        left = left[size:]
    for horizon in {h for _, h, _ in bars}:
        assert states(registry)[horizon] == replayed(registry, fit, horizon, until=day(60))


def inherited(registry: Registry, heir: int, horizon: int) -> list[online.MaturedForecast]:
    """What a version learns from, written down once more: its own as served; of those before it what was in production
    when it was written, before the heir was registered, and ended behind the heir's bars, as it was fitted."""
    us = timedelta(microseconds=1)
    members = {version.number: version for version in registry.versions()}
    promoted = [event for event in registry.history() if event.alias == "production"]
    found: dict[datetime, online.MaturedForecast] = {}
    for number in range(1, heir + 1):
        for noted, after in registry.matured(BITCOIN, number):
            standing = [event.number for event in promoted if event.at <= noted.written_at]
            if noted.horizon != horizon or noted.by_baseline:
                continue
            last = members[heir].manifest.coins[0].last
            early = noted.written_at < members[heir].created_at and noted.target_at > last and standing[-1:] == [number]
            if number == heir or early:
                found[noted.issued_at] = online.MaturedForecast(
                    issued_at=(noted.issued_at - datetime(1970, 1, 1, tzinfo=UTC)) // us,
                    label_end=(noted.target_at - datetime(1970, 1, 1, tzinfo=UTC)) // us,
                    values=noted.quantiles if number == heir or noted.base is None else noted.base,
                    outcome=after.log_return,
                )
    return list(found.values())


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 20), st.sampled_from([1, 7]), st.floats(-0.2, 0.2)),
        unique_by=lambda x: x[:3],
    ),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.data(),
)
def test_refreshes_learn_from_what_the_versions_before_them_had_issued_and_count_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory,
    bars: Sequence[tuple[int, int, int, float]],
    behind: tuple[int, int],
    data: st.DataObject,
) -> None:
    """Versions of three weeks, the later ones fitted on bars that were some days old, by outcomes in any batches."""
    registry = Registry.open(tmp_path_factory.mktemp("weeks"))
    outcomes: dict[tuple[int, int], float] = {}  # what came of a bar is the same for whoever forecast it
    moved = {(number, bar, ahead): outcomes.setdefault((bar, ahead), came) for number, bar, ahead, came in bars}
    weeks = {1: 0, 2: 7, 3: 14}
    left: list[LedgerOutcome] = []
    for today in range(29):
        closed = [one for one in left if one.issued_at + timedelta(days=one.horizon) <= day(today)]
        known = data.draw(st.permutations(closed)) if len(closed) > 1 else closed
        some = known[: data.draw(st.integers(0, len(known)))] if today < 28 else known
        registry.write_outcomes(some, learn)
        left = [one for one in left if one not in some]
        made = [one for one in moved if one[1] == today and weeks[one[0]] <= today]
        # Of a version that is registered today: by a second scoring, behind its training.
        late = {one: timedelta(minutes=10) if weeks[one[0]] < today else timedelta(hours=1) for one in made}
        halved = {one: tuple(0.5 * q for q in written(*one).quantiles) for one in made}
        new = [written(*one, base=halved[one], written_at=day(today) + late[one]) for one in made]
        registry.write_ledger([r for r in new if weeks[r.number] < today])
        if today in weeks.values():
            refresh(registry, today, seen=today - (0, *behind)[today // 7], learn=learn)
        registry.write_ledger(new)
        left += [outcome(r, moved[r.number, today, r.horizon]) for r in new]
    for number in (1, 2, 3):
        kept = states(registry, number)
        for ahead in (1, 7):
            rows = inherited(registry, number, ahead)
            expected = online.replay(online.start(ahead, LEVELS), rows, now=10**18)
            assert kept.get(ahead, online.start(ahead, LEVELS)) == expected
            assert expected.outcomes == len(rows)


def test_a_refresh_begins_with_what_ended_behind_its_bars_and_the_answer_says_from_how_many(
    tmp_path: Path,
) -> None:
    registry = Registry.open(tmp_path)
    refresh(registry, 0)
    rows = [written(1, bar, ahead) for bar in range(1, 8) for ahead in (1, 7)]
    registry.write_ledger(rows)
    registry.write_outcomes([outcome(r, 0.5) for r in rows if r.target_at <= day(7)], learn)
    refresh(registry, 7, seen=5, learn=learn)
    at_once = {h: state.outcomes for h, state in states(registry, 2).items()}
    assert at_once == {1: 2}  # those of bars 6 and 7; what ended by bar 5 is in its calibration
    registry.write_outcomes([outcome(r, 0.5) for r in rows if r.target_at > day(7)], learn)
    assert {h: state.outcomes for h, state in states(registry, 2).items()} == {1: 3, 7: 7}
    (version,) = (one for one in registry.versions() if one.number == 2)
    assert {s.horizon: s.outcomes for s in states_at(registry, version, day(9))} == {1: 3, 7: 2}
    assert states(registry, 1)[7].outcomes == 7


def test_what_the_baseline_answered_for_a_version_teaches_it_nothing(version: tuple[Registry, Version]) -> None:
    registry, _ = version
    rows = [row(1, issued, 7, by_baseline=True) for issued in range(5)] + [row(1, issued, 1) for issued in range(5)]
    registry.write_ledger(rows)
    registry.write_outcomes([outcome(r, 0.5) for r in rows], learn)
    assert set(states(registry)) == {1}


def test_outcomes_that_were_there_before_any_state_are_learned_from_with_the_first_new_one(
    version: tuple[Registry, Version],
) -> None:
    registry, fit = version
    rows = [row(1, issued, 1) for issued in range(6)]
    registry.write_ledger(rows)
    registry.write_outcomes([outcome(r, 0.5) for r in rows[:5]])
    assert states(registry) == {}
    registry.write_outcomes([outcome(rows[5], 0.5)], learn)
    assert states(registry)[1].outcomes == 6
    assert states(registry)[1] == replayed(registry, fit, 1, until=day(9))


def test_a_state_of_another_making_is_counted_anew_and_holds_no_outcome_up(version: tuple[Registry, Version]) -> None:
    registry, fit = version
    rows = [row(1, issued, 1) for issued in range(6)]
    registry.write_ledger(rows)
    registry.write_outcomes([outcome(r, 0.5) for r in rows[:4]], learn)
    foreign = CalibrationState(key_number=1, horizon=1, through=day(3), state={"horizon": 1, "older": True})
    registry.recount_states(BITCOIN, 1, lambda number, known, matured: [foreign])
    registry.write_outcomes([outcome(r, 0.5) for r in rows[4:]], learn)
    assert registry.unscored() == ()
    assert states(registry)[1] == replayed(registry, fit, 1, until=day(9))


def test_a_learning_that_fails_leaves_neither_outcomes_nor_states(version: tuple[Registry, Version]) -> None:
    registry, _ = version
    registry.write_ledger([row()])

    def broken(number: int, known: object, matured: Sequence[MaturedRow]) -> Sequence[object]:
        raise ZeroDivisionError(f"no {number}")

    with pytest.raises(ZeroDivisionError, match="no 1"):
        registry.write_outcomes([outcome(row(), 0.1)], broken)  # type: ignore[arg-type]
    assert registry.unscored() == (row(),)


def test_nothing_is_learned_from_a_price_that_nobody_paid() -> None:
    rows = [row(1, number) for number in range(6)]
    pairs = [(one, outcome(one, 0.2)) for one in rows]
    bad = row(1, 6)
    unpaid = matured_outcome(bad, 4.6, now=bad.target_at, paid=False)
    assert learn(1, {}, [*pairs, (bad, unpaid)]) == learn(1, {}, pairs)
    assert learn(1, {}, [(bad, unpaid)]) == ()
