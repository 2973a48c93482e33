"""Rows of several matrices as those of one: each coin's in one of them, with the bars that they look back on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.features.matrix import BY_ROW, Matrix, Panel

PER_BAR: Final = ("close_time", "log_close", "variance", "volatility")
PLACED: Final = ("position", "coin")  # these are counted anew


def stacked(parts: Sequence[Matrix]) -> Matrix:
    """The rows of the parts, one behind the other; coins without a row are left out.

    All have the same features, horizons and bars. Raises ValueError for none, or if a coin has rows in two of them.
    """
    if not parts:
        raise ValueError("no matrix to take rows from")
    first = parts[0]
    own = [(k, int(coin)) for k, part in enumerate(parts) for coin in np.unique(part.coin)]
    names = tuple(parts[k].panel.coins[coin] for k, coin in own)
    if len(set(names)) < len(names):
        raise ValueError("a coin is in two matrices: series are never spliced")
    series = [np.searchsorted(part.panel.start, part.position, side="right") - 1 for part in parts]
    # Behind the coins' own series those that rows saw as they were known at a moment, see `features.as_known`.
    seen = [
        (k, int(one)) for k, part in enumerate(parts) for one in np.unique(series[k]) if one >= len(part.panel.coins)
    ]
    numbers = {place: number for number, place in enumerate(own)}
    panel = _panel(parts, [*own, *seen], names, numbers)
    begin = dict(zip([*own, *seen], panel.start[:-1].tolist(), strict=True))
    position, coin = list[Int64Array](), list[Int64Array]()
    for k, part in enumerate(parts):
        moved = {one: begin[k, one] - int(part.panel.start[one]) for one in np.unique(series[k]).tolist()}
        position.append(part.position + np.array([moved[one] for one in series[k].tolist()], dtype=np.int64))
        coin.append(np.array([numbers[k, one] for one in part.coin.tolist()], dtype=np.int32))
    rows: dict[str, Any] = {name: _rows(parts, name) for name in BY_ROW if name not in PLACED}
    return replace(first, panel=panel, position=np.concatenate(position), coin=np.concatenate(coin), **rows)


def _panel(
    parts: Sequence[Matrix],
    series: Sequence[tuple[int, int]],
    names: tuple[str, ...],
    numbers: dict[tuple[int, int], int],
) -> Panel:
    """The bars of these series, (part, place), one behind the other; those of coins first."""
    spans = [(parts[k].panel, slice(*parts[k].panel.start[one : one + 2].tolist())) for k, one in series]
    lengths = np.array([span.stop - span.start for _, span in spans], dtype=np.int64)
    coin = [numbers[k, int(panel.coin[span.start])] for (k, _), (panel, span) in zip(series, spans, strict=True)]
    bars: dict[str, Any] = {name: np.concatenate([getattr(p, name)[span] for p, span in spans]) for name in PER_BAR}
    return Panel(
        coins=names,
        coin=np.repeat(np.array(coin, dtype=np.int32), lengths),
        start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        **bars,
    )


def _rows(parts: Sequence[Matrix], name: str) -> FloatArray | BoolArray | None:
    """A column of all rows. Where only some parts have it the others get what it is without: see `Matrix`."""
    columns = [getattr(part, name) for part in parts]
    if all(column is None for column in columns):
        return None
    return np.concatenate(
        [_plain(part, name) if column is None else column for part, column in zip(parts, columns, strict=True)]
    )


def _plain(part: Matrix, name: str) -> FloatArray | BoolArray:
    if name == "paid":
        return part.returns
    if name == "doubtful":
        return np.zeros(len(part), dtype=np.bool_)
    raise ValueError(f"only some parts say {name}")
