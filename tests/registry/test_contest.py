import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from cryptocast.config import GateConfig
from cryptocast.registry.contest import FIRST_BLOCKS, LossPairs, contest, fortune, horizon_reason

GATE = GateConfig()
DAY = 86_400_000_000
PERFECT = 0.8


def season(
    rng: np.random.Generator,
    days: int,
    *,
    gain: float = 0.0,
    horizons: Sequence[int] = (1, 7),
    coverage: float = PERFECT,
    noise: float = 0.1,
) -> list[LossPairs]:
    """Two models whose daily losses move together and differ by `noise` of the loss at random, and by `gain` truly.

    Losses of 7 bars overlap as those of forecasts do: moving averages of daily shocks.
    """
    pairs = []
    for horizon in horizons:
        shared = np.exp(_overlapping(rng, days, horizon) * 0.6)
        apart = noise * _overlapping(rng, days, horizon)
        hits = rng.random(days) < PERFECT, rng.random(days) < coverage
        pairs.append(
            LossPairs(
                horizon=horizon,
                step=1,
                dates=np.arange(days, dtype=np.int64) * DAY,
                challenger=shared * np.maximum(0.0, 1.0 - gain + apart / 2),
                production=shared * np.maximum(0.0, 1.0 - apart / 2),
                hits={80: (hits[1], hits[0])},
            )
        )
    return pairs


def _overlapping(rng: np.random.Generator, days: int, horizon: int) -> np.ndarray:
    shocks = np.cumsum(np.pad(rng.standard_normal(days + horizon - 1), (1, 0)))
    return np.asarray((shocks[horizon:] - shocks[:-horizon]) / horizon**0.5)


def first(pairs: Sequence[LossPairs], days: int) -> list[LossPairs]:
    """What was known after so many days."""
    return [
        dataclasses.replace(
            pair,
            dates=pair.dates[:days],
            challenger=pair.challenger[:days],
            production=pair.production[:days],
            hits={percent: (new[:days], old[:days]) for percent, (new, old) in pair.hits.items()},
        )
        for pair in pairs
    ]


def test_a_clearly_better_challenger_is_promoted_with_the_figures() -> None:
    found = contest(season(np.random.default_rng(1), 900, gain=0.05), GATE, rests_on="900 live bars")
    assert found.better
    assert found.p < 0.05
    assert found.skill == pytest.approx(0.05, abs=0.01)
    assert [row.horizon for row in found.horizons] == [1, 7]
    assert found.reasons == ()
    assert str(horizon_reason(found.horizons[0])).startswith("1 bar: skill +")


def test_equal_models_are_not_shown_to_differ_and_the_reason_has_the_numbers() -> None:
    found = contest(season(np.random.default_rng(2), 900), GATE, rests_on="900 live bars")
    assert not found.better
    assert str(found.reasons[0]).startswith("not shown to be better: p ")
    assert "on 900 live bars, at most 0.05 is needed" in str(found.reasons[0])


def test_better_crps_with_broken_coverage_is_refused() -> None:
    found = contest(season(np.random.default_rng(3), 900, gain=0.1, coverage=0.6), GATE, rests_on="900 live bars")
    assert found.p < 0.05
    assert not found.better
    assert "its 80 % interval held" in str(found.reasons[0])


def test_an_improvement_below_the_margin_is_refused() -> None:
    pairs = season(np.random.default_rng(4), 3000, gain=0.003, noise=0.001)
    assert contest(pairs, GATE, rests_on="x").better
    refused = contest(pairs, GateConfig(margin=0.01), rests_on="x")
    assert not refused.better
    assert "at least +1.00 % is needed" in str(refused.reasons[0])


def test_better_at_one_horizon_and_significantly_worse_at_another_is_refused() -> None:
    rng = np.random.default_rng(5)
    pairs = [*season(rng, 900, gain=0.1, horizons=(1,)), *season(rng, 900, gain=-0.05, horizons=(7,))]
    found = contest(pairs, GATE, rests_on="x")
    assert not found.better
    assert str(found.reasons[0]).startswith("7 bars: significantly worse than production")


def test_nothing_in_common_is_no_evidence() -> None:
    empty = first(season(np.random.default_rng(6), 10), 0)
    for pairs in ([], empty):
        found = contest(pairs, GATE, rests_on="0 bars")
        assert (found.better, found.e_value, found.skill, found.horizons) == (False, 1.0, None, ())


@pytest.mark.parametrize("days", [1, FIRST_BLOCKS, FIRST_BLOCKS + 1])
def test_the_first_blocks_set_the_scale_and_are_not_bet_on(days: int) -> None:
    (pair,) = first(season(np.random.default_rng(7), 30, gain=0.5, horizons=(1,)), days)
    assert (fortune(pair) > 1.0) is (days > FIRST_BLOCKS)


def test_what_is_bet_never_looks_ahead() -> None:
    """The fortune after n days does not depend on later ones, so looking early and late agree."""
    pairs = season(np.random.default_rng(8), 200)
    changed = season(np.random.default_rng(9), 200)
    for pair, other in zip(pairs, changed, strict=True):
        mixed = dataclasses.replace(
            pair,
            challenger=np.r_[pair.challenger[:100], other.challenger[100:]],
            production=np.r_[pair.production[:100], other.production[100:]],
        )
        assert fortune(first([mixed], 100)[0]) == fortune(first([pair], 100)[0])


def test_identical_models_leave_the_fortune_at_one() -> None:
    (pair,) = season(np.random.default_rng(10), 100, horizons=(1,))
    assert fortune(dataclasses.replace(pair, challenger=pair.production)) == 1.0


def promoted_after(pairs: Sequence[LossPairs], looks: int, *, every: int = 7) -> int | None:
    """The first of the weekly looks at which the gate lets the challenger through; None: at none of them."""
    for look in range(1, looks + 1):
        if contest(first(pairs, every * look), GATE, rests_on="x").better:
            return look
    return None


@pytest.mark.slow
def test_of_200_contests_between_equal_models_at_most_18_are_promoted_in_50_weekly_looks() -> None:
    rng = np.random.default_rng(11)
    promoted = sum(promoted_after(season(rng, 350), 50) is not None for _ in range(200))
    assert promoted <= 18, promoted


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "least"), [(0.01, 5), (0.03, 18), (0.10, 20)])
def test_a_planted_improvement_is_promoted_as_stated(gain: float, least: int) -> None:
    """The power curve: of 20 challengers that are truly better, those promoted within 100 weekly looks (700 bars).

    1 %: 8 of 20; 3 %: all, half of them within 26 weeks; 10 %: all within 11 weeks, half within 8.

    The two models' losses differ by 10 % of the loss at random from day to day, as those of two good models do.
    """
    rng = np.random.default_rng(12)
    looks = [promoted_after(season(rng, 700, gain=gain), 100) for _ in range(20)]
    assert sum(look is not None for look in looks) >= least, looks
