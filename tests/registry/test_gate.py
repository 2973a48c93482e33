import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import GateConfig
from cryptocast.evaluation.answers import Question
from cryptocast.evaluation.records import HoldOut
from cryptocast.market import Market
from cryptocast.registry.contest import Contest, HorizonContest
from cryptocast.registry.gate import FOREIGN, Decision, best_of, first_version, standings, successor
from cryptocast.registry.gate import next_version as judged_next
from cryptocast.registry.manifest import CoinData, sha256_hex
from cryptocast.registry.reasons import Reason, ReasonCode
from cryptocast.registry.version import Version, VersionKey
from tests.registry.registry_fits import (
    FALLS_BACK,
    NOW,
    bad_hold_out,
    coverage,
    hold_out,
    manifest,
    new_version,
    score,
    worse,
)

GATE = GateConfig()


@dataclass(frozen=True)
class Known:
    """Grounds that say what a test wants them to say."""

    found: Contest | str = "nothing was walked forward"
    days: int | None = 10  # since the recipe was last walked forward
    today: datetime = NOW

    def backtested_to(self, version: Version) -> datetime | None:
        return None if self.days is None else NOW - timedelta(days=self.days)

    def compare(self, production: Version, challenger: Version) -> Contest | str:
        return self.found


def next_version(old: Version, new: Version, gate: GateConfig, known: Known | None = None) -> Decision:
    return judged_next(old, new, gate, known or Known())


def version(number: int, scores: HoldOut | None = None, *, kind: str = "lightgbm", **changes: Any) -> Version:
    """A version of bitcoin whose fit has other data than every other number's."""
    made = manifest(str(number), **changes)
    key = VersionKey("bitcoin", Market("sample", "usd", "daily"), kind)
    calibration = new_version().calibration
    return Version(key, number, sha256_hex(str(number).encode()), made, scores or hold_out(), calibration, (), NOW)


def test_a_first_version_that_nothing_speaks_against_is_accepted_with_the_figures() -> None:
    decision = first_version(hold_out())
    assert decision.accepted
    assert decision.rule == "first"
    assert str(decision.reasons[1]) == (
        "7 bars: skill +1.0 % [-1.7, +3.7] over the baseline on 300 dates; "
        "intervals held 80 %: 79.0 ± 2.0, 95 %: 95.5 ± 1.0"
    )


def test_a_first_version_that_is_worse_is_refused_with_the_horizon_first() -> None:
    decision = first_version(bad_hold_out())
    assert not decision.accepted
    assert str(decision.reasons[0]).startswith("7 bars: worse than the baseline (skill -20.0 % [-2")


def test_one_small_p_among_many_horizons_is_not_held_against_it() -> None:
    scores = [worse(h, p) for h, p in ((1, 0.01), (7, 0.49), (14, 0.45), (30, 0.4))]
    assert first_version(hold_out(*scores)).accepted
    assert not first_version(hold_out(*scores[:1])).accepted


@pytest.mark.parametrize(("share", "accepted"), [(0.711, True), (0.709, False), (0.889, True), (0.891, False)])
def test_intervals_that_are_not_right_are_refused(share: float, *, accepted: bool) -> None:
    # At one bar and 400 dates the floor sqrt(0.8 * 0.2 / 400) is 0.02, above the estimated 0.001.
    scores = hold_out(score(1, dates=400, coverage=(coverage(80, share, se=0.001),)))
    decision = first_version(scores)
    assert decision.accepted is accepted
    answer = scores.horizons[0].answer(Question.INTERVALS)
    assert answer is not None
    assert (answer.answer == "no") is not accepted
    if not accepted:
        assert "the 80 % interval held" in str(decision.reasons[0])
        assert "(95 % interval " in str(decision.reasons[0])


def test_few_overlapping_outcomes_that_all_fall_inside_are_no_fault() -> None:
    scores = hold_out(score(30, dates=60, coverage=(coverage(80, 1.0, se=0.0, n=60), coverage(95, 1.0, se=0.0, n=60))))
    assert first_version(scores).accepted


def test_an_interval_without_outcomes_is_not_judged() -> None:
    assert first_version(hold_out(score(1, coverage=(coverage(80, 0.0, se=0.0, n=0),)))).accepted


def test_a_version_without_a_scored_forecast_of_its_own_is_refused() -> None:
    nothing = score(1, n=0, dates=0, coverage=())
    baseline = score(30, **FALLS_BACK)
    for horizons in ((nothing,), (nothing, baseline), (baseline,)):
        decision = first_version(hold_out(*horizons))
        assert not decision.accepted
        assert "no forecast of its own" in str(decision.reasons[0])


def test_horizons_that_answer_with_the_baseline_are_exempt_and_say_so() -> None:
    bad = score(30, **FALLS_BACK, p_worse_than_baseline=1e-9, coverage=(coverage(80, 0.1),))
    decision = first_version(hold_out(score(1), bad))
    assert decision.accepted
    assert str(decision.reasons[-1]) == "30 bars: the baseline answers here, so it is not judged (too little history)"


def test_what_cannot_be_told_is_said_and_not_held_against_it() -> None:
    decision = first_version(hold_out(score(30, p_worse_than_baseline=None, skill={})))
    assert decision.accepted
    assert "skill unknown over the baseline on 300 dates" in str(decision.reasons[0])


def test_no_scores_are_no_evidence() -> None:
    decision = first_version(msgspec.structs.replace(hold_out(), horizons=()))
    assert (decision.accepted, decision.reasons) == (False, (Reason(ReasonCode.NO_HORIZON),))


p_values = st.none() | st.floats(0, 0.49)


@settings(max_examples=60)
@given(st.lists(p_values, min_size=1, max_size=5), st.data())
def test_a_worse_p_never_turns_a_refusal_into_an_acceptance(ps: list[float | None], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(ps) - 1))
    lower = [p if i != index or p is None else p * data.draw(st.floats(0, 1)) for i, p in enumerate(ps)]

    def accepted(values: list[float | None]) -> bool:
        scores = [score(i + 1, skill={}) if p is None else worse(i + 1, p) for i, p in enumerate(values)]
        return first_version(hold_out(*scores)).accepted

    assert accepted(ps) or not accepted(lower)


@settings(max_examples=60)
@given(st.floats(0, 1), st.floats(0, 0.2), st.integers(1, 30), st.integers(0, 2000))
def test_the_gate_never_divides_by_zero_and_always_gives_a_reason(share: float, se: float, h: int, dates: int) -> None:
    decision = first_version(hold_out(score(h, dates=dates, coverage=(coverage(95, share, se=se),))))
    assert decision.reasons
    assert "nan" not in " ".join(map(str, decision.reasons))


@pytest.mark.parametrize("horizon", [1, 7, 30])
def test_perfect_overlapping_forecasts_are_rarely_rejected(horizon: int) -> None:
    """The floor of the standard error, by simulation: h-bar returns of a random walk, perfect 80 % intervals.

    More than five points and 1.96 standard errors off should be rare; with the estimate alone (a long-run variance of
    the few) it would not be. 400 hold-outs of 300 bars.
    """
    rng = np.random.default_rng(1)
    steps = rng.standard_normal((400, 300 + horizon - 1))
    sums = np.cumsum(np.pad(steps, ((0, 0), (1, 0))), axis=1)
    inside = np.abs(sums[:, horizon:] - sums[:, :-horizon]) < 1.2815515655446004 * math.sqrt(horizon)
    rejected = 0
    for share in inside.mean(axis=1):
        scores = hold_out(score(horizon, dates=300, coverage=(coverage(80, float(share), se=0.0),)))
        rejected += not first_version(scores).accepted
    assert rejected <= 8


def test_behind_a_version_that_answers_nobody_the_next_is_judged_as_a_first_one() -> None:
    good, bad = successor(3, hold_out()), successor(3, bad_hold_out())
    why = Reason(ReasonCode.OUTDATED, {"old": 3})
    assert (good.accepted, good.rule, good.reasons) == (
        True,
        "outdated",
        (why, *first_version(hold_out()).reasons),
    )
    assert (bad.accepted, bad.reasons) == (False, (*first_version(bad_hold_out()).reasons, why))


def test_production_itself_is_nothing_to_promote() -> None:
    decision = next_version(version(3), version(3), GATE)
    assert (decision.accepted, decision.rule) == (False, "nothing")


def test_the_same_recipe_on_other_bars_is_a_refresh() -> None:
    decision = next_version(version(1), version(2), GATE)
    assert (decision.accepted, decision.rule) == (True, "refresh")
    assert str(decision.reasons[0]) == "version 2 is a refresh of version 1: the same recipe on other bars"


def test_a_refresh_with_a_bad_hold_out_is_refused() -> None:
    decision = next_version(version(1), version(2, bad_hold_out()), GATE)
    assert (decision.accepted, decision.rule) == (False, "refresh")
    assert any("worse than the baseline" in str(reason) for reason in decision.reasons)


def test_another_recipe_needs_evidence_of_both() -> None:
    decision = next_version(version(1), version(2, rounds=500), GATE)
    assert (decision.accepted, decision.rule) == (False, "evidence")
    assert "must be shown to be better, and nothing was walked forward" in str(decision.reasons[0])


@pytest.mark.parametrize("better", [True, False])
def test_another_recipe_passes_as_the_comparison_says(*, better: bool) -> None:
    row = HorizonContest(horizon=7, dates=90, skill=0.03, lower=None, upper=None, e_value=40.0, p_worse=None)
    small = Reason(ReasonCode.SKILL_TOO_SMALL, {"skill": 0.002, "margin": 0.005})
    reasons = () if better else (small,)
    found = Contest(
        better=better, e_value=40.0, p=0.025, skill=0.03, rests_on="100 live bars", horizons=(row,), reasons=reasons
    )
    decision = next_version(version(1), version(2, rounds=500), GATE, Known(found))
    assert (decision.accepted, decision.rule, decision.contest) == (better, "evidence", found)
    assert [str(reason) for reason in decision.reasons[1:]] == ["7 bars: skill +3.0 % over production on 90 dates"]
    assert str(decision.reasons[0]) == (
        "version 2 is better than version 1 in production: p 0.025 on 100 live bars"
        if better
        else "mean skill over production +0.20 %, at least +0.50 % is needed"
    )


@pytest.mark.parametrize(("days", "accepted"), [(180, True), (181, False), (None, False)])
def test_a_refresh_needs_evidence_on_its_recipe_that_is_young_enough(days: int | None, *, accepted: bool) -> None:
    decision = next_version(version(1), version(2), GATE, Known(days=days))
    assert (decision.accepted, decision.rule) == (accepted, "refresh")
    if not accepted:
        assert "cryptocast backtest bitcoin --walk-forward --model lightgbm" in str(decision.reasons[0])


def _repeat(of: Version, number: int, **changes: Any) -> Version:
    made = msgspec.structs.replace(of.manifest, **changes)
    return Version(of.key, number, sha256_hex(b"other"), made, of.hold_out, of.calibration, (), NOW)


def test_a_fit_that_repeats_production_is_nothing_to_promote() -> None:
    decision = next_version(version(1), _repeat(version(1), 2, train_seconds=9.0, threads=1), GATE)
    assert (decision.accepted, decision.rule) == (False, "nothing")
    assert decision.reasons == (Reason(ReasonCode.REPEATS, {"new": 2, "old": 1}),)


@pytest.mark.parametrize("changes", [{"seed": 8}, {"code_version": "0.2.0"}, {"libraries": {}}, {"dirty": True}])
def test_another_seed_code_or_library_makes_a_refresh_even_on_the_same_bars(changes: dict[str, Any]) -> None:
    assert next_version(version(1), _repeat(version(1), 2, **changes), GATE).rule == "refresh"


def test_going_back_is_not_a_refresh() -> None:
    decision = next_version(version(3), version(2), GATE)
    assert not decision.accepted
    assert "version 2 is older than version 3" in str(decision.reasons[0])


def test_fewer_horizons_are_not_a_refresh() -> None:
    decision = next_version(version(1), version(2, horizons=(1,)), GATE)
    assert not decision.accepted
    assert "lacks horizons that version 1 serves: 7 bars" in str(decision.reasons[0])


def test_older_bars_are_not_a_refresh() -> None:
    old = CoinData(coin="bitcoin", rows=10, first=NOW.replace(year=2020), last=NOW.replace(year=2024), content_hash="x")
    decision = next_version(version(1), _repeat(version(1), 2, coins=(old,)), GATE)
    assert not decision.accepted
    assert "bars up to 2024-06-01" in str(decision.reasons[0])


def test_the_best_kind_has_the_highest_skill_among_the_calibrated_ones() -> None:
    plain = version(1, hold_out(score(1, skill={"baseline": 0.01})))
    better = version(2, hold_out(score(1, skill={"baseline": 0.03})), kind="lstm")
    broken = version(3, hold_out(score(1, skill={"baseline": 0.2}, coverage=(coverage(80, 0.5),))), kind="ml_ensemble")
    assert best_of([plain, better, broken]) is better
    assert best_of([broken]) is None
    assert best_of([]) is None


def test_a_horizon_that_answers_with_the_baseline_counts_as_no_skill() -> None:
    boasting = version(1, hold_out(score(1, skill={"baseline": 0.5}, **FALLS_BACK)))
    modest = version(2, hold_out(score(1, skill={"baseline": 0.01})), kind="lstm")
    assert best_of([boasting, modest]) is modest


FOREIGN_SCORES = msgspec.structs.replace(hold_out(score(1, skill={"baseline": 0.5}), score(7)), foreign=True)


def test_foreign_scores_open_nothing_however_good_they_are() -> None:
    assert first_version(FOREIGN_SCORES) == Decision(accepted=False, rule="first", reasons=(FOREIGN,))
    refreshed = next_version(version(1), version(2, FOREIGN_SCORES), GATE)
    assert (refreshed.accepted, refreshed.rule) == (False, "evidence")
    assert str(refreshed.reasons[0]).startswith("version 2 came with an archive: it must be shown to be better")


def test_foreign_scores_are_not_counted_and_stand_behind_all_that_pass() -> None:
    foreign = version(1, FOREIGN_SCORES)
    modest = version(2, hold_out(score(1, skill={"baseline": -0.01})), kind="lstm")
    broken = version(3, hold_out(score(1, coverage=(coverage(80, 0.5),))), kind="ml_ensemble")
    assert best_of([foreign, modest, broken]) is modest
    assert best_of([foreign, broken]) is foreign, "put there by a person"
    rows = standings([foreign, modest, broken])
    assert [(row.kind, row.ratio is None, row.foreign) for row in rows] == [
        ("lstm", False, False),
        ("lightgbm", True, True),
        ("ml_ensemble", False, False),
    ]
