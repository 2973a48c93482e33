"""The calibration that goes on after the fit: states kept in the registry, learned from its ledger, applied to a
forecast.

What stands in the registry is always `models.online.replay` of what the version learned from (see
`registry.ledger.calibration_rows`): what the versions before it had issued in production when it was registered, as far
as it ended after the bars that this version was calibrated on, and then its own forecasts. A forecast as of an earlier
bar uses only what had ended by then.

The calibration of a version begins where its fit left it. Its own forecasts are judged as they were served: the step
aims at the share that is missed by the intervals that it moved. A forecast that it inherits was served under the widths
of another calibration, which say nothing about this one's, so it is judged as it was fitted, before those moved it. So
no correction is made twice, and ledger and outcomes suffice to count every state again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from cryptocast.data.schema import BAR_US
from cryptocast.errors import ModelError
from cryptocast.models import online
from cryptocast.models.base import Forecast
from cryptocast.registry import MaturedRow, Registry, Version
from cryptocast.registry.ledger import CalibrationState
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.times import as_datetime, as_microseconds


@dataclass(frozen=True, slots=True, eq=False)
class LiveForecast:
    """A version's forecast of one row. forecast: as it is served; base: before its live outcomes moved it; outcomes:
    how many of those have, by horizon; by_baseline: horizons that the version leaves to the baseline."""

    forecast: Forecast
    base: Forecast
    outcomes: Mapping[int, int]
    by_baseline: frozenset[int]


def recalibrated(base: Forecast, states: Iterable[online.HorizonState], by_baseline: Collection[int]) -> LiveForecast:
    """The forecast with its intervals moved by what its live outcomes say; horizons of the baseline are left alone."""
    own = [state for state in states if state.outcomes and state.horizon not in by_baseline]
    forecast = online.widened(base, own) if own else base
    return LiveForecast(forecast, base, {state.horizon: state.outcomes for state in own}, frozenset(by_baseline))


def learn(
    number: int, before: Mapping[int, CalibrationState], matured: Sequence[MaturedRow]
) -> tuple[CalibrationState, ...]:
    """A `registry.Learn`: the states of version `number` behind these outcomes, none where the baseline answered."""
    answered = [pair for pair in matured if _teaches(pair)]
    states = []
    for horizon in sorted({row.horizon for row, _ in answered}):
        first = state_of(before[horizon]) if horizon in before else online.start(horizon, LEVELS)
        rows = [_learned(number, pair) for pair in answered if pair[0].horizon == horizon]
        state = online.replay(first, rows, now=max(row.label_end for row in rows))
        if state.through is not None:
            through = as_datetime(state.through)
            content = msgspec.to_builtins(state)
            states.append(CalibrationState(key_number=number, horizon=horizon, through=through, state=content))
    return tuple(states)


def states_at(registry: Registry, version: Version, as_of: datetime) -> tuple[online.HorizonState, ...]:
    """What the version had learned at the close of a bar.

    Outcomes that ended later are left out, even where they are known by now. Raises RegistryError or ModelError for
    states that are damaged.
    """
    states = [state_of(state) for state in registry.calibration_states(version.key, version.number).values()]
    now, bar_us = as_microseconds(as_of), BAR_US[version.key.granularity]
    if all(state.through is None or state.through + state.horizon * bar_us <= now for state in states):
        return tuple(states)
    rows = [pair for pair in registry.calibration_rows(version.key, version.number) if _teaches(pair)]
    return tuple(
        online.replay(
            online.start(state.horizon, LEVELS),
            (_learned(version.number, pair) for pair in rows if pair[0].horizon == state.horizon),
            now=now,
        )
        for state in states
    )


def state_of(row: CalibrationState) -> online.HorizonState:
    """The state inside a row of the registry. Raises ModelError for what is none."""
    state = online.decode(msgspec.json.encode(row.state))
    if state.horizon != row.horizon:
        raise ModelError(f"The online calibration of {row.horizon} bars ahead is that of {state.horizon}.")
    return state


def _teaches(pair: MaturedRow) -> bool:
    """Whether it is the version's own forecast, of prices that somebody paid."""
    row, outcome = pair
    return outcome.paid and not row.by_baseline


def _learned(number: int, pair: MaturedRow) -> online.MaturedForecast:
    """The row as version `number` learns from it: its own as served, one that it inherits as it was fitted."""
    row, outcome = pair
    base = row.quantiles if row.base is None else row.base
    return online.MaturedForecast(
        issued_at=as_microseconds(row.issued_at),
        label_end=as_microseconds(row.target_at),
        values=row.quantiles if row.number == number else base,
        outcome=outcome.log_return,
    )
