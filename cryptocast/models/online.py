"""Calibration that goes on after the fit: intervals widen while outcomes fall outside, and narrow while too few do.

Everything is a pure function of a state and of matured outcomes, so the states of years can be counted again from the
ledger and the prices. An outcome of horizon h is known h bars after its forecast, and only then may it be learned from:
`advance` is given the moment and refuses what ends later. What is compared is the interval *as it was served*, so that
no state of the past is needed to judge it.

For each central interval the logarithm of its width is moved by step * (missed - share that should be missed). Over any
long stretch the share that falls outside then tends to the stated one, whatever the market does: the sum of the
differences is what the width has moved, over the step. Sources: Gibbs and Candes, NeurIPS 34 (2021); Angelopoulos,
Candes and Tibshirani, NeurIPS 36 (2023), on tracking the quantile itself.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta

from cryptocast.arrays import FloatArray
from cryptocast.errors import ModelError
from cryptocast.models.base import Forecast

# How much one outcome moves the logarithm of a width, at a horizon of one bar. Outcomes that overlap tell the same
# story: one of h bars moves it by one h-th. At 90 % a width that is wrong is mended by half in about 100 bars.
STEP: Final = 0.02
# After a miss the width may not be more than this factor from the fitted one, in logarithms: e^0.9 is 2.5.
BOUND: Final = 0.9


class HorizonState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of one version at one horizon.

    levels (q,): of the forecast, symmetric around 0.5. moved (P,): log factor of the width of each central interval,
    the widest first. outcomes: how many were learned from; through: issue time of the last (microseconds), or None.
    """

    horizon: Annotated[int, Meta(ge=1)]
    levels: tuple[float, ...]
    moved: tuple[float, ...]
    outcomes: Annotated[int, Meta(ge=0)] = 0
    through: int | None = None


class MaturedForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast as it was served, and what came of it.

    issued_at and label_end in microseconds; values (q,): quantiles of the log return as served; outcome: log return.
    """

    issued_at: int
    label_end: int
    values: tuple[float, ...]
    outcome: float


def start(horizon: int, levels: FloatArray) -> HorizonState:
    """The state of a version that has seen no outcome: the fitted calibration as it is.

    Raises ValueError for levels that do not mirror each other around 0.5.
    """
    if len(levels) % 2 == 0 or not np.allclose(levels + levels[::-1], 1.0):
        raise ValueError(f"levels {levels.tolist()} do not mirror each other around 0.5")
    return HorizonState(horizon=horizon, levels=tuple(levels.tolist()), moved=(0.0,) * (len(levels) // 2))


def advance(state: HorizonState, matured: MaturedForecast, *, now: int) -> HorizonState:
    """The state behind one more outcome.

    now: the moment (microseconds) at which it is learned. Raises ValueError for an outcome that is not known by then,
    one that is not behind the last in order of issue, or numbers that are not finite or of another number of levels.
    """
    if matured.label_end > now:
        raise ValueError(f"the outcome of {matured.label_end} is not known at {now}")
    if state.through is not None and matured.issued_at <= state.through:
        raise ValueError(f"the forecast of {matured.issued_at} comes after that of {state.through} was learned from")
    values = np.array(matured.values)
    if values.shape != (len(state.levels),) or not (np.isfinite(values).all() and np.isfinite(matured.outcome)):
        raise ValueError(f"{len(matured.values)} quantiles and an outcome {matured.outcome} for {len(state.levels)}")
    pairs = len(state.moved)
    lower, upper = values[:pairs], values[::-1][:pairs]
    missed = (matured.outcome < lower) | (matured.outcome > upper)
    allowed = 2.0 * np.array(state.levels[:pairs])
    widths = np.array(state.moved) + STEP / state.horizon * (missed - allowed)
    return HorizonState(
        horizon=state.horizon,
        levels=state.levels,
        moved=tuple(np.clip(widths, -BOUND, BOUND).tolist()),
        outcomes=state.outcomes + 1,
        through=matured.issued_at,
    )


def replay(first: HorizonState, ledger: Iterable[MaturedForecast], *, now: int) -> HorizonState:
    """The state behind all of the ledger's forecasts that had ended by that moment, in any order.

    The same as learning from each at the bar at which it was known. Those that `first` has seen are left out.
    """
    state = first
    for matured in sorted(ledger, key=lambda forecast: forecast.issued_at):
        is_old = first.through is not None and matured.issued_at <= first.through
        if matured.label_end <= now and not is_old:
            state = advance(state, matured, now=now)
    return state


def widened(forecast: Forecast, states: Iterable[HorizonState]) -> Forecast:
    """The forecast with its intervals as wide as the states say, around its own median; other horizons as they are.

    The predicted volatility stays the model's. Intervals that would come to lie inside each other the wrong way are
    sorted. Raises ModelError for a state of other levels.
    """
    values = forecast.values.copy()
    middle = len(forecast.levels) // 2
    for state in states:
        if not np.allclose(state.levels, forecast.levels):
            raise ModelError(f"The online calibration of {state.horizon} bars ahead is for other quantile levels.")
        for column in np.flatnonzero(forecast.horizons == state.horizon).tolist():
            widths = np.array(state.moved)
            factor = np.exp(np.concatenate([widths, [0.0], widths[::-1]]))
            median = forecast.values[:, column, middle, None]
            values[:, column] = np.sort(median + factor * (forecast.values[:, column] - median), axis=-1)
    return replace(forecast, values=values)


def decode(content: bytes) -> HorizonState:
    """The state in its JSON. Raises ModelError otherwise."""
    try:
        state = msgspec.json.decode(content, type=HorizonState)
    except msgspec.DecodeError as error:
        raise ModelError(f"The online calibration cannot be read: {error}. Count it again from the ledger.") from error
    if 2 * len(state.moved) + 1 != len(state.levels) or not np.isfinite(state.moved).all():
        raise ModelError("The online calibration does not fit its levels. Count it again from the ledger.")
    return state
