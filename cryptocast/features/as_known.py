"""Rows of a matrix as they were known: before later bars had shown that a close was no price, or of another unit.

The bars of a matrix are what is known of them at its end. At a few moments something was wrong that was only known
later; the rows of those moments are put back as they were, each with its own look-back window, behind the series of
the coins. They are forecast and scored like all others, and nothing is learned from them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.features.matrix import LABELS, STATED, Matrix, Panel

PER_BAR: Final = ("coin", "close_time", "log_close", "variance", "volatility")


def with_paid(matrix: Matrix, closes: Mapping[str, tuple[Int64Array, FloatArray]]) -> Matrix:
    """With the returns of these prices as they came, (bars,) close times and closes by coin, as what scores."""
    paid = matrix.returns.copy()
    for coin, (times, close) in closes.items():
        own = matrix.coin_names == coin
        begin, end = _at(times, close, matrix.issued_at[own]), _at(times, close, matrix.label_end[own])
        paid[own] = np.log(end / begin[:, None])
    return replace(matrix, paid=paid)


def _at(times: Int64Array, close: FloatArray, moments: Int64Array) -> FloatArray:
    """The closes at some moments, NaN where there is none."""
    place = np.minimum(np.searchsorted(times, moments), len(times) - 1)
    return np.where(times[place] == moments, close[place], np.nan)


def without_labels(matrix: Matrix, pending: Mapping[str, Int64Array]) -> Matrix:
    """Without the labels of a coin that end at one of its times: what they are was only known later."""
    hidden = np.zeros_like(matrix.label_end, dtype=np.bool_)
    for coin, times in pending.items():
        own = matrix.coin_names == coin
        hidden[own] = np.isin(matrix.label_end[own], times)
    return _unlabelled(matrix, hidden)


def as_known(matrix: Matrix, then: Iterable[tuple[Matrix, Collection[str]]]) -> Matrix:
    """With the rows of some moments as they were known then.

    then: for each moment its rows, of features alone, as a matrix of the bars up to it, and the coins whose own series
    was another then.
    """
    columns: dict[str, Any] = {name: getattr(matrix, name).copy() for name in STATED}
    features, doubtful = matrix.features.copy(), np.zeros(len(matrix), dtype=np.bool_)
    moved, series = list[Int64Array](), list[Matrix]()
    for rows, changed in then:
        here = np.flatnonzero(matrix.issued_at == rows.issued_at[0])
        names, doubtful[here] = matrix.rows(here).coin_names, True
        for row, coin in enumerate(rows.coin_names.tolist()):
            at = here[names == coin]
            features[at] = rows.features[row]
            if coin in changed:
                for name, values in columns.items():
                    values[at] = getattr(rows, name)[row]
                moved.append(at)
                series.append(rows.rows(np.array([row])))
    panel, ends = _with_series(matrix.panel, series)
    position = matrix.position.copy()
    for at, end in zip(moved, ends.tolist(), strict=True):
        position[at] = end
    whole = replace(matrix, panel=panel, position=position, features=features, doubtful=doubtful, **columns)
    return _unlabelled(whole, doubtful[:, None])


def with_copies(matrix: Matrix, place: Int64Array, seen: Sequence[Matrix]) -> Matrix:
    """With further rows behind its own: those at `place` (m,) again, as somebody saw them who knew other bars.

    seen: m matrices of one row each, of features alone. The copies can be forecast, and teach nothing.
    """
    panel, ends = _with_series(matrix.panel, seen)
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(matrix, name), *(getattr(one, name) for one in seen)])
        for name in (*STATED, "features")
    }
    is_copy = np.arange(len(matrix) + len(place)) >= len(matrix)
    doubtful = np.zeros(len(matrix), dtype=np.bool_) if matrix.doubtful is None else matrix.doubtful
    whole = replace(
        matrix.rows(np.concatenate([np.arange(len(matrix)), place])),
        panel=panel,
        position=np.concatenate([matrix.position, ends]),
        doubtful=np.concatenate([doubtful, np.ones(len(place), dtype=np.bool_)]),
        **columns,
    )
    return _unlabelled(whole, is_copy[:, None])


def _with_series(panel: Panel, seen: Sequence[Matrix]) -> tuple[Panel, Int64Array]:
    """The panel with the series of each one-row matrix behind it, and where those rows stand (m,)."""
    own = [slice(int(one.begin[0]), int(one.position[0]) + 1) for one in seen]
    bars: dict[str, Any] = {
        name: np.concatenate(
            [getattr(panel, name), *(getattr(one.panel, name)[part] for one, part in zip(seen, own, strict=True))]
        )
        for name in PER_BAR
    }
    numbers = [panel.coins.index(str(one.coin_names[0])) for one in seen]
    lengths = np.array([part.stop - part.start for part in own], dtype=np.int64)
    bars["coin"][len(panel.coin) :] = np.repeat(np.array(numbers, dtype=np.int32), lengths)
    ends = len(panel.coin) + np.cumsum(lengths)
    return Panel(coins=panel.coins, start=np.append(panel.start, ends), **bars), ends - 1


def _unlabelled(matrix: Matrix, hidden: BoolArray) -> Matrix:
    labels: dict[str, Any] = {name: np.where(hidden, np.nan, getattr(matrix, name)) for name in LABELS}
    return replace(matrix, **labels)
