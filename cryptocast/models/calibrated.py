"""A fitted model as it is registered and served: its quantiles moved by its calibration, its gaps filled by
`baseline`."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta

from cryptocast.arrays import BoolArray, Int64Array
from cryptocast.errors import ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.artefacts import from_json, to_json
from cryptocast.models.base import Artefacts, Forecast, Forecaster
from cryptocast.models.baseline import BaselineForecaster
from cryptocast.models.calibration import Calibration
from cryptocast.models.own import OwnLoader

CALIBRATION_FILE: Final = "calibration.json"
RULES_FILE: Final = "rules.json"


class _Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    least_blocks: Annotated[int, Meta(ge=0, le=1_000_000)]


# What reading a file ends in that no `save` has written: sizes that overflow, nesting without end.
FOREIGN: Final = (ArithmeticError, LookupError, MemoryError, RecursionError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedForecaster:
    """inner's forecast, calibrated; where a coin's history has fewer than `least_blocks` blocks of a horizon,
    baseline's."""

    inner: Forecaster
    calibration: Calibration
    baseline: BaselineForecaster
    least_blocks: int

    @property
    def kind(self) -> str:
        """The kind of the model inside."""
        return self.inner.kind

    @property
    def horizons(self) -> Int64Array:
        """(H,) in bars: what it can be asked for."""
        return self.calibration.horizons

    def predict(self, rows: Matrix, *, baseline_at: Collection[int] = ()) -> Forecast:
        """A calibrated forecast for each row, in their order. baseline_at: horizons that are the baseline's anyway."""
        return self.settled(self.inner.predict(rows), rows, baseline_at=baseline_at)

    def settled(self, raw: Forecast, rows: Matrix, *, baseline_at: Collection[int] = ()) -> Forecast:
        """What the model inside says of the rows, calibrated, and the baseline's where their history is too short."""
        forecast = self.calibration.apply(raw)
        short = too_short(rows, self.least_blocks) | np.isin(rows.horizons, list(baseline_at))[None, :]
        return with_fallback(forecast, self.baseline.predict(rows), short) if short.any() else forecast

    def save(self) -> Artefacts:
        """The inner model's files, the calibration, the baseline and the rule that chooses between them."""
        own = {CALIBRATION_FILE: to_json(self.calibration), RULES_FILE: to_json(_Rules(self.least_blocks))}
        return {**self.inner.save(), **self.baseline.save(), **own}

    @classmethod
    def load(cls, files: Artefacts, inner: type[Forecaster] | OwnLoader) -> "CalibratedForecaster":
        """What `save` wrote, with the inner kind as the manifest names it. Raises ModelError otherwise."""
        rules = from_json(files, RULES_FILE, _Rules, "calibration")
        calibration = from_json(files, CALIBRATION_FILE, Calibration, "calibration")
        try:
            return cls(inner.load(files), calibration, BaselineForecaster.load(files), rules.least_blocks)
        except FOREIGN as error:
            raise ModelError(f"The saved {inner.kind} cannot be read: {error}. Train it anew.") from error


def with_fallback(forecast: Forecast, fallback: Forecast, where: BoolArray) -> Forecast:
    """The forecast, with another of the same rows and horizons in its place `where` (n, H)."""
    return replace(
        forecast,
        values=np.where(where[:, :, None], fallback.values, forecast.values),
        volatility=np.where(where, fallback.volatility, forecast.volatility),
        p_up=np.where(where, fallback.p_up, forecast.p_up),
    )


def independent_blocks(bars: int, horizon: int) -> int:
    """floor((bars - h) / h): how many returns over h bars fit behind each other into a history, none overlapping."""
    return max(0, (bars - horizon) // horizon)


def too_short(rows: Matrix, least_blocks: int) -> BoolArray:
    """(n, H): where the coin's own history at issue has fewer independent blocks of the horizon than that."""
    bars = _bars_known(rows)
    blocks = np.maximum(0, (bars[:, None] - rows.horizons[None, :]) // rows.horizons[None, :])
    return np.asarray(blocks < least_blocks)


def fallback_reason(bars: int, horizon: int, least_blocks: int) -> str | None:
    """The sentence that tells a user why a horizon is answered by `baseline`, or None where it is not."""
    blocks = independent_blocks(bars, horizon)
    if blocks >= least_blocks:
        return None
    return (
        f"{bars} bars hold only {blocks} independent returns over {horizon} bars; below {least_blocks} no model can "
        "show that it knows more than the baseline, so the baseline answers"
    )


def _bars_known(rows: Matrix) -> Int64Array:
    """(n,) closes of the row's own coin that were known at issue."""
    present = np.concatenate([[0], np.cumsum(np.isfinite(rows.panel.log_close))]).astype(np.int64)
    return present[rows.position + 1] - present[rows.begin]
