"""Purging where it has gone wrong elsewhere, combinatorial folds, and what a leak is worth."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.arrays import Int64Array
from cryptocast.folds import combinatorial_folds, combinatorial_paths, purged


def labels(n: int, horizon: int) -> Int64Array:
    start = np.arange(n, dtype=np.int64)
    return np.column_stack((start, start + horizon))


def meets(a: Int64Array, b: Int64Array) -> bool:
    return bool(a[0] <= b[1] and b[0] <= a[1])


def test_events_that_only_end_inside_the_test_are_purged() -> None:
    # mlfinlab issue 295: the purge looked at where training events start, not at where they end.
    train = np.array([[0, 9], [0, 10], [5, 30], [12, 14], [20, 25], [21, 25]], dtype=np.int64)
    test = np.array([[10, 15], [12, 20]], dtype=np.int64)
    assert purged(train, test).tolist() == [True, False, False, False, False, True]


def test_the_embargo_is_a_time_behind_the_last_label_and_not_an_index_of_the_training_rows() -> None:
    # timeseriescv pull request 8: the embargo's index was looked up among the training rows, after the test rows had
    # been taken out of them, so that it began as many rows too late as were tested.
    spans = labels(100, 5)
    tested = (spans[:, 0] >= 40) & (spans[:, 0] < 60)
    kept = spans[~tested][purged(spans[~tested], spans[tested], embargo=7)]
    behind = kept[kept[:, 0] >= 60, 0]
    # The last test label ends at 64; the embargo holds until 71.
    assert behind.min() == 72
    assert kept[kept[:, 0] < 40, 1].max() == 39


def test_blocks_apart_from_each_other_do_not_cost_what_lies_between_them() -> None:
    # Vibe-Trading issue 1204: taken as one span, two blocks purge 8 of 12 rows where 4 are right.
    spans = labels(16, 1)
    fold = next(
        fold
        for fold in combinatorial_folds(spans, 8, 2)
        if fold.groups == (1, 5)  # rows 2, 3 and 10, 11
    )
    assert np.flatnonzero(fold.test).tolist() == [2, 3, 10, 11]
    lost = ~fold.train & ~fold.test
    assert np.flatnonzero(lost).tolist() == [1, 4, 9, 12]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 30)), min_size=1, max_size=40),
    st.integers(2, 6),
    st.integers(1, 5),
    st.integers(0, 20),
)
def test_no_training_label_meets_a_tested_one(
    rows: list[tuple[int, int]], groups: int, tested: int, embargo: int
) -> None:
    spans = np.array([(start, start + length) for start, length in rows], dtype=np.int64)
    if tested >= groups or np.ptp(spans[:, 0]) + 1 < groups:
        return
    folds = list(combinatorial_folds(spans, groups, tested, embargo=embargo))
    assert [fold.groups for fold in folds] == list(combinations(range(groups), tested))
    for fold in folds:
        assert not (fold.train & fold.test).any()
        for row in spans[fold.train]:
            assert not any(meets(row, test) for test in spans[fold.test])
    # Every row is tested in as many folds as its block of time is.
    times = np.sum([fold.test for fold in folds], axis=0)
    assert (times == math.comb(groups - 1, tested - 1)).all()


def test_the_embargo_stands_behind_each_block() -> None:
    fold = next(iter(combinatorial_folds(labels(40, 1), 4, 1, embargo=3)))
    assert fold.groups == (0,)
    assert np.flatnonzero(fold.train).min() == 14  # tested to 9, label to 10, embargo to 13


@pytest.mark.parametrize(("groups", "tested"), [(6, 2), (5, 1), (8, 4)])
def test_the_paths_use_each_test_of_each_fold_once(groups: int, tested: int) -> None:
    # Lopez de Prado (2018), section 12.4: 6 groups, 2 tested: 15 folds, 5 paths.
    paths = combinatorial_paths(groups, tested)
    chosen = list(combinations(range(groups), tested))
    assert paths.shape == (math.comb(groups - 1, tested - 1), groups)
    used = {(int(fold), group) for path in paths for group, fold in enumerate(path)}
    assert used == {(fold, group) for fold, of_fold in enumerate(chosen) for group in of_fold}
    assert len(used) == paths.size


def test_impossible_folds_are_refused() -> None:
    for groups, tested in ((4, 0), (4, 4), (1, 1)):
        with pytest.raises(ValueError, match="tested"):
            combinatorial_paths(groups, tested)
        with pytest.raises(ValueError, match="tested"):
            list(combinatorial_folds(labels(20, 1), groups, tested))


def nearest_neighbour_skill(rng: np.random.Generator, *, purge: bool) -> float:
    """The R2 of nearest neighbours by past returns, on overlapping returns of white noise: there is nothing to know.

    Over long windows the most similar rows are the neighbours in time, whose labels share most of their bars.
    """
    n, horizon, neighbours, longest = 240, 20, 3, 120
    total = np.concatenate(([0.0], rng.standard_normal(n + longest + horizon).cumsum()))
    at = np.arange(n) + longest
    feature = np.column_stack([(total[at] - total[at - lag]) / math.sqrt(lag) for lag in (30, 60, longest)])
    label = (total[at + horizon] - total[at]) / math.sqrt(horizon)
    spans = labels(n, horizon)
    error = base = 0.0
    for fold in combinatorial_folds(spans, 48, 1):
        train = fold.train if purge else ~fold.test
        distance = ((feature[fold.test][:, None] - feature[train][None]) ** 2).sum(axis=2)
        nearest = np.argpartition(distance, neighbours, axis=1)[:, :neighbours]
        predicted = label[train][nearest].mean(axis=1)
        error += float(((label[fold.test] - predicted) ** 2).sum())
        base += float((label[fold.test] ** 2).sum())
    return 1.0 - error / base


def test_nearest_neighbours_have_skill_on_noise_without_the_purge_and_none_with_it() -> None:
    rng = np.random.default_rng(1)
    leaking = [nearest_neighbour_skill(rng, purge=False) for _ in range(8)]
    honest = [nearest_neighbour_skill(rng, purge=True) for _ in range(8)]
    assert np.mean(leaking) > 0.1
    assert np.mean(honest) < 0.0
