"""Tables as the libraries of Nixtla have them: unique_id, ds, y, and for each model its median and its intervals.

`ds` names a bar by the moment at which it opens, in UTC without a zone, as files of prices do: a day by its date. So
the forecast of the bar behind the last one of a table stands one bar further on, whatever the table came from.
"""

from collections.abc import Iterable
from typing import Final

import polars as pl

ID: Final = "unique_id"
TIME: Final = "ds"
TARGET: Final = "y"
CUTOFF: Final = "cutoff"  # the last bar that was known, named as `ds` names one


def interval_names(model: str, level: int) -> tuple[str, str]:
    """The columns of the two ends of an interval, in percent: lightgbm-lo-80, lightgbm-hi-80."""
    return f"{model}-lo-{level}", f"{model}-hi-{level}"


def as_bars(frame: pl.DataFrame, closes: Iterable[str], bar_us: int) -> pl.DataFrame:
    """The table with its columns of closing times as the names of bars."""
    opens = [pl.col(name).dt.replace_time_zone(None).dt.offset_by(f"-{bar_us}us") for name in closes]
    return frame.with_columns(opens)
