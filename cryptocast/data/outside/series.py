"""An outside series and the one way in which bars see it: the newest value that was known when the bar closed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from cryptocast.arrays import Int64Array
from cryptocast.data.candle_checks import content_hash
from cryptocast.data.schema import TIME

VALUES: Final = pl.Schema({"time": TIME, "value": pl.Float64()})
LATE_STEPS: Final = 3.0  # so many of its usual steps without a new value: it has stopped, or nobody brings it


@dataclass(frozen=True, slots=True, eq=False)
class OutsideSeries:
    """One value for every time, the same for all coins.

    times, values, moments (n,): what a value is dated, what it is, and when it was known; sorted by the moment, and of
    values that became known later than a newer one only the newer ones.
    """

    name: str
    times: pl.Series
    values: pl.Series
    moments: pl.Series

    def at(self, closes: pl.Series) -> pl.Series:
        """(bars,) for each close time the value with the latest time of those known by then; null where none was."""
        place = np.searchsorted(_micros(self.moments), _micros(closes), side="right")
        return pl.Series(self.name, np.concatenate([[np.nan], self.values.to_numpy()])[place], nan_to_null=True)

    def until(self, moment: datetime) -> "OutsideSeries":
        """What was known of it at a moment."""
        count = int((self.moments <= moment).sum())
        return OutsideSeries(self.name, self.times.head(count), self.values.head(count), self.moments.head(count))

    @property
    def content_hash(self) -> str:
        """Of all that bars can see of it."""
        return content_hash(pl.DataFrame([self.times, self.values, self.moments]))

    def last_known(self, at: datetime) -> datetime | None:
        """When the newest value became known that was known at a moment."""
        return self.until(at).moments.max()  # type: ignore[return-value]  # of times

    def is_late(self, at: datetime) -> bool:
        """Whether a new value should have come by then, going by the steps between the earlier ones."""
        last, step = self.last_known(at), self.moments.diff().median()
        return isinstance(step, timedelta) and last is not None and at - last > LATE_STEPS * step


def outside_series(name: str, rows: pl.DataFrame, moments: pl.Series) -> OutsideSeries:
    """rows: VALUES, sorted by time; moments: when each of them was known."""
    whole = rows.with_columns(moment=moments.cast(TIME)).sort("moment", "time")
    newest = whole.filter(pl.col("time") == pl.col("time").cum_max())
    return OutsideSeries(name, newest["time"], newest["value"], newest["moment"])


def _micros(times: pl.Series) -> Int64Array:
    micros: Int64Array = times.cast(TIME).to_physical().to_numpy()
    return micros
