import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.arrays import BoolArray, Int64Array
from cryptocast.folds import blocks, purged, split_by_time

HOUR = 3_600_000_000


def spans(rows: list[tuple[int, int]]) -> Int64Array:
    """Label spans from (start, length) pairs."""
    return np.array([(start, start + length) for start, length in rows], dtype=np.int64).reshape(-1, 2)


label_spans = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), min_size=1, max_size=40).map(spans)


def meets(a: Int64Array, b: Int64Array) -> bool:
    """Whether two closed intervals share a moment."""
    return bool(a[0] <= b[1] and b[0] <= a[1])


@given(label_spans, label_spans, st.integers(0, 50))
def test_no_kept_training_label_meets_a_test_interval(train: Int64Array, test: Int64Array, embargo: int) -> None:
    kept = train[purged(train, test, embargo=embargo)]
    behind = np.array([test[:, 1].max(), test[:, 1].max() + embargo])
    assert not any(meets(row, block) for row in kept for block in [*test, behind])


@given(label_spans, label_spans, st.integers(0, 50))
def test_nothing_is_purged_that_stays_clear_of_the_block(train: Int64Array, test: Int64Array, embargo: int) -> None:
    block = np.array([test[:, 0].min(), test[:, 1].max() + embargo])
    expected = [not meets(row, block) for row in train]
    assert purged(train, test, embargo=embargo).tolist() == expected


@given(label_spans, label_spans, st.integers(0, 50), st.integers(0, 50))
def test_a_longer_embargo_never_gives_rows_back(train: Int64Array, test: Int64Array, one: int, other: int) -> None:
    short, long = sorted((one, other))
    assert not (purged(train, test, embargo=long) & ~purged(train, test, embargo=short)).any()


def test_labels_that_start_end_or_span_inside_the_test_all_go() -> None:
    # mlfinlab issue 295: training events that END inside the test span survived the purge.
    test = spans([(100, 10), (110, 10)])  # 100 to 120
    train = spans([(80, 15), (90, 15), (90, 60), (105, 5), (115, 20), (121, 10)])
    #             before,   ends in,  spans,    inside,   starts in, behind
    assert purged(train, test).tolist() == [True, False, False, False, False, True]


def test_a_label_that_ends_at_the_first_moment_of_the_test_touches_it() -> None:
    assert purged(spans([(90, 10), (90, 9)]), spans([(100, 5)])).tolist() == [False, True]
    assert purged(spans([(105, 10), (106, 10)]), spans([(100, 5)])).tolist() == [False, True]


def test_the_embargo_stacks_beyond_the_purge() -> None:
    # Fynance 2.13.1: an embargo counted from the last test row, not from its label's end, does nothing.
    test = spans([(100, 7)])
    train = spans([(t, 7) for t in range(108, 115)])
    assert purged(train, test, embargo=3).tolist() == [t > 110 for t in range(108, 115)]


def test_separate_test_blocks_are_purged_block_by_block() -> None:
    # Vibe-Trading issue 1204: two test blocks taken as one span purged 8 of 12 training rows where 4 are right.
    every = spans([(t, 1) for t in range(16)])
    in_first, in_second = np.isin(np.arange(16), [3, 4]), np.isin(np.arange(16), [11, 12])
    train = every[~(in_first | in_second)]
    kept = purged(train, every[in_first]) & purged(train, every[in_second])
    assert (len(train), int((~kept).sum())) == (12, 4)
    assert train[~kept, 0].tolist() == [2, 5, 10, 13]
    as_one = purged(train, every[in_first | in_second])
    assert int((~as_one).sum()) == 8


def test_time_decides_and_not_the_row_so_coins_with_gaps_can_be_pooled() -> None:
    hours = [0, 1, 2, 30, 31, 60]  # a coin with a gap of 28 hours, labels 24 hours ahead
    train = spans([(h * HOUR, 24 * HOUR) for h in hours])
    test = spans([(28 * HOUR, 24 * HOUR)])
    assert purged(train, test).tolist() == [True, True, True, False, False, True]
    assert purged(train[::-1], test).tolist() == [True, False, False, True, True, True]


def test_without_a_test_everything_may_be_used_and_without_training_nothing() -> None:
    assert purged(spans([(0, 5), (7, 1)]), spans([])).tolist() == [True, True]
    assert purged(spans([]), spans([(0, 5)])).tolist() == []


@pytest.mark.parametrize(
    "wrong",
    [
        np.array([[0.0, 1.0]]),
        np.array([[0, 1]], dtype=np.int32),
        np.array([0, 1]),
        np.array([[0, 1, 2]]),
        np.array([[5, 4]]),
    ],
)
def test_what_is_no_label_span_is_refused(wrong: Int64Array) -> None:
    right = spans([(0, 5)])
    with pytest.raises(ValueError, match="train"):
        purged(wrong, right)
    with pytest.raises(ValueError, match="test"):
        purged(right, wrong)
    with pytest.raises(ValueError, match="spans"):
        split_by_time(wrong)


def test_a_negative_embargo_is_refused() -> None:
    with pytest.raises(ValueError, match="embargo is -1"):
        purged(spans([(0, 5)]), spans([(9, 5)]), embargo=-1)


@given(label_spans, st.floats(0.05, 0.8), st.floats(0.05, 0.15))
def test_the_three_parts_never_share_a_row_or_a_moment(rows: Int64Array, fit: float, stop: float) -> None:
    split = split_by_time(rows, fit=fit, stop=stop)
    parts: list[BoolArray] = [split.fit, split.stop, split.test]
    assert np.sum(parts, axis=0).max() <= 1
    for earlier, later in ((split.fit, split.stop), (split.fit, split.test), (split.stop, split.test)):
        if earlier.any() and later.any():
            assert rows[earlier, 1].max() < rows[later, 0].min()


@given(label_spans)
def test_only_rows_whose_label_reaches_over_a_boundary_are_lost(rows: Int64Array) -> None:
    split = split_by_time(rows)
    lost = ~(split.fit | split.stop | split.test)
    boundary = np.where(rows[:, 0] < split.stop_start, split.stop_start, split.test_start)
    assert (rows[lost, 1] >= boundary[lost]).all()
    assert (rows[split.test, 0] >= split.test_start).all()
    assert (split.test == (rows[:, 0] >= split.test_start)).all()


def test_the_shares_are_shares_of_time_and_not_of_rows() -> None:
    early = [(t, 0) for t in range(101)]
    crowd = [(90, 0)] * 5_000  # a coin of the pool that was listed late
    alone, pooled = split_by_time(spans(early)), split_by_time(spans(early + crowd))
    assert (alone.stop_start, alone.test_start) == (70, 85)
    assert (pooled.stop_start, pooled.test_start) == (70, 85)
    assert int(pooled.test.sum()) == int(alone.test.sum()) + 5_000


@given(label_spans, st.integers(0, 1000))
def test_the_order_of_the_rows_does_not_matter(rows: Int64Array, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    split, shuffled = split_by_time(rows), split_by_time(rows[order])
    for part in ("fit", "stop", "test"):
        np.testing.assert_array_equal(getattr(shuffled, part), getattr(split, part)[order])


def test_a_label_longer_than_the_stopping_part_is_kept_from_the_test_too() -> None:
    # 30-bar labels, a stopping part of 15 bars: rows before it whose labels end in the test must go.
    rows = spans([(t, 30) for t in range(101)])
    split = split_by_time(rows)
    assert np.flatnonzero(split.fit).tolist() == list(range(40))
    assert not split.stop.any()
    assert np.flatnonzero(split.test).tolist() == list(range(85, 101))


def test_one_split_at_real_dates_is_exact_to_the_microsecond() -> None:
    start = 1_700_000_000_000_000
    day = 24 * HOUR
    split = split_by_time(spans([(start + t * day, day) for t in range(1_001)]))
    assert (split.stop_start - start) / day == 700.0
    assert (split.test_start - start) / day == 850.0
    # The rows issued one day before each boundary have labels that end on it.
    assert (int(split.fit.sum()), int(split.stop.sum()), int(split.test.sum())) == (699, 149, 151)


@pytest.mark.parametrize(("fit", "stop"), [(0.0, 0.5), (0.5, 0.0), (0.7, 0.3), (1.2, 0.1), (float("nan"), 0.1)])
def test_shares_that_leave_a_part_empty_are_refused(fit: float, stop: float) -> None:
    with pytest.raises(ValueError, match="leave a part for the test"):
        split_by_time(spans([(0, 1), (5, 1)]), fit=fit, stop=stop)


def test_no_rows_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="no rows"):
        split_by_time(spans([]))


@st.composite
def irregular_coins(draw: st.DrawFn) -> Int64Array:
    """Label spans of several coins with stamps of their own: each label ends at the coin's bar some bars on."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        start, bars_ahead = draw(st.integers(0, 60)), draw(st.integers(1, 5))
        steps = draw(st.lists(st.integers(1, 25), min_size=bars_ahead + 1, max_size=25))
        stamps = start + np.cumsum(np.array(steps, dtype=np.int64))
        parts.append(np.column_stack([stamps[:-bars_ahead], stamps[bars_ahead:]]))
    return np.concatenate(parts)


@given(irregular_coins(), st.floats(0.3, 0.8), st.floats(0.05, 0.15))
def test_no_label_of_any_coin_reaches_from_one_part_into_the_next(rows: Int64Array, fit: float, stop: float) -> None:
    split = split_by_time(rows, fit=fit, stop=stop)
    for earlier, later in ((split.fit, split.stop), (split.fit, split.test), (split.stop, split.test)):
        assert not any(meets(a, b) for a in rows[earlier] for b in rows[later])
    assert (split.test == (rows[:, 0] >= split.test_start)).all()


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**15), st.integers(1, 50))
def test_blocks_are_equally_long_and_cover_the_time(start: int, length: int, count: int) -> None:
    edges = blocks(start, start + length, count)
    assert edges.dtype == np.int64
    assert (edges[0], edges[-1], len(edges)) == (start, start + length, count + 1)
    assert np.ptp(np.diff(edges)) <= 2


@pytest.mark.parametrize(("start", "end", "count"), [(0, 10, 0), (10, 10, 2), (11, 10, 2)])
def test_impossible_blocks_are_refused(start: int, end: int, count: int) -> None:
    with pytest.raises(ValueError, match="cannot cut"):
        blocks(start, end, count)
