"""Dividing time into training, gap and test.

Everything here works on label spans: an (n, 2) int64 array of microseconds since the epoch, `[known_at, label_end]`.
Time, never row numbers, so that coins with gaps and different starts can be pooled. No frames, no models.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cryptocast.arrays import BoolArray, Int64Array


def purged(train: Int64Array, test: Int64Array, *, embargo: int = 0) -> BoolArray:
    """Which training rows may be used: those whose label interval meets no test interval, embargo included.

    train (n, 2) and test (m, 2) are label spans in microseconds; test is one contiguous block (for several, combine the
    answers block by block, else the gap between them would be purged too). `embargo` microseconds behind the block are
    left out on top. Returns (n,). Both directions count: a label that starts, ends or spans inside the test is out.
    A label that ends at the very moment of the first test row touches it and is out too.
    Source: Lopez de Prado, Advances in Financial Machine Learning (2018), section 7.4.
    """
    _check_spans(train, "train")
    _check_spans(test, "test")
    if embargo < 0:
        raise ValueError(f"embargo is {embargo}, expected 0 or more microseconds")
    if len(test) == 0:
        return np.ones(len(train), dtype=np.bool_)
    test_start, test_end = test[:, 0].min(), test[:, 1].max() + embargo
    allowed: BoolArray = (train[:, 1] < test_start) | (train[:, 0] > test_end)
    return allowed


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Masks over n rows for the three parts of one hold-out, and the moments that divide them (microseconds)."""

    fit: BoolArray
    stop: BoolArray
    test: BoolArray
    stop_start: int
    test_start: int


def split_by_time(spans: Int64Array, *, fit: float = 0.70, stop: float = 0.15) -> Split:
    """Divide the time from the first to the last issue into fit, stop and test; purge fit and stop by label interval.

    spans (n, 2): label spans in microseconds. The shares are shares of time, not of rows, so that a coin that was
    listed late does not move the boundary. Raises ValueError if shares leave no part empty-free or there are no rows.
    """
    _check_spans(spans, "spans")
    if len(spans) == 0:
        raise ValueError("no rows to split")
    if not (0 < fit < 1 and 0 < stop < 1 and fit + stop < 1):
        raise ValueError(f"fit {fit} and stop {stop} must be positive and leave a part for the test")
    issued = spans[:, 0]
    first, last = int(issued.min()), int(issued.max())
    stop_start = first + round((last - first) * fit)
    test_start = first + round((last - first) * (fit + stop))
    test = issued >= test_start
    in_stop = (issued >= stop_start) & ~test
    keep_stop = in_stop & purged(spans, spans[test])
    keep_fit = (issued < stop_start) & purged(spans, spans[in_stop]) & purged(spans, spans[test])
    return Split(fit=keep_fit, stop=keep_stop, test=test, stop_start=stop_start, test_start=test_start)


@dataclass(frozen=True, slots=True, eq=False)
class CombinatorialFold:
    """Masks over n rows: what may be trained on, what is tested; and which groups of time are tested, increasing."""

    train: BoolArray
    test: BoolArray
    groups: tuple[int, ...]


def combinatorial_folds(
    spans: Int64Array, groups: int, tested: int, *, embargo: int = 0
) -> Iterator[CombinatorialFold]:
    """Every way to test `tested` of `groups` equal blocks of time, in lexical order; purged block by block.

    spans (n, 2): label spans in microseconds. Yields C(groups, tested) folds, made one at a time. Trained on are the
    rows outside the tested blocks whose label stays clear of each of them, in both directions, and of `embargo`
    microseconds behind each. Raises ValueError for no rows or unless 1 <= tested < groups.
    Source: Lopez de Prado, Advances in Financial Machine Learning (2018), section 12.3.
    """
    _check_spans(spans, "spans")
    if len(spans) == 0 or not 1 <= tested < groups:
        raise ValueError(f"{len(spans)} rows, {tested} of {groups} groups tested: expected rows and 1 <= tested < all")
    issued = spans[:, 0]
    edges = blocks(int(issued.min()), int(issued.max()) + 1, groups)
    of_row = np.searchsorted(edges, issued, side="right") - 1
    clear = [purged(spans, spans[of_row == group], embargo=embargo) for group in range(groups)]
    for combination in combinations(range(groups), tested):
        test: BoolArray = np.isin(of_row, combination)
        train: BoolArray = ~test & np.logical_and.reduce([clear[group] for group in combination])
        yield CombinatorialFold(train, test, combination)


def combinatorial_paths(groups: int, tested: int) -> Int64Array:
    """How the folds of `combinatorial_folds` join to whole histories: (paths, groups), the fold that tests each group.

    There are C(groups - 1, tested - 1) paths; each fold's test of each of its groups is on exactly one. Raises
    ValueError unless 1 <= tested < groups.
    """
    if not 1 <= tested < groups:
        raise ValueError(f"{tested} of {groups} groups tested: expected 1 <= tested < all")
    choices = list(combinations(range(groups), tested))
    columns = [[fold for fold, test in enumerate(choices) if group in test] for group in range(groups)]
    return np.array(columns, dtype=np.int64).T


def blocks(start: int, end: int, count: int) -> Int64Array:
    """The `count + 1` boundaries of equally long blocks of time from start to end, in microseconds, increasing."""
    if count < 1 or end <= start:
        raise ValueError(f"cannot cut [{start}, {end}] into {count} blocks")
    return np.linspace(start, end, count + 1).round().astype(np.int64)


def _check_spans(spans: Int64Array, name: str) -> None:
    if spans.ndim != 2 or spans.shape[1] != 2 or spans.dtype != np.int64:
        raise ValueError(f"{name} is {spans.dtype} {spans.shape}, expected int64 (n, 2): [known_at, label_end]")
    if (spans[:, 1] < spans[:, 0]).any():
        raise ValueError(f"{name} has a label that ends before it is known")
