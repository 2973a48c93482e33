"""What a fit is spared: what says nothing, and what says nothing new, judged by its training rows alone."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.features.selection import choose_features

NONE: dict[str, str] = {}


def columns(rows: int = 600, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=rows) for name in ("a", "b", "c")}


def dropped(values: dict[str, np.ndarray], *, max_correlation: float = 0.999, **options: object) -> dict[str, str]:
    table = np.column_stack(list(values.values()))
    needs = options.get("needs")
    assert needs is None or isinstance(needs, dict)
    return dict(choose_features(table, list(values), max_correlation=max_correlation, needs=needs).dropped)


def test_what_differs_stays_in_its_order() -> None:
    values = np.column_stack(list(columns().values()))
    choice = choose_features(values, ["a", "b", "c"], max_correlation=0.999)
    assert choice.columns.tolist() == [0, 1, 2]
    assert choice.dropped == NONE


def test_constants_and_columns_that_are_never_known_are_dropped_with_a_reason() -> None:
    gaps = np.where(np.arange(600) % 7 == 0, np.nan, 0.25)
    found = dropped({**columns(), "flat": gaps, "empty": np.full(600, np.nan)})
    assert found == {"flat": "always 0.25", "empty": "never known"}


@pytest.mark.parametrize("twin", [np.exp, np.negative, lambda x: 3.0 * x - 7.0, lambda x: x**3])
def test_a_monotone_copy_is_a_duplicate_of_the_earlier_one(twin: object) -> None:
    values = columns()
    values["twin"] = twin(values["a"])  # type: ignore[operator]
    found = dropped(values)
    assert list(found) == ["twin"]
    assert found["twin"].startswith("a again")


def test_of_a_pair_the_one_that_needs_less_stays_wherever_it_stands() -> None:
    values = columns()
    values["plain"] = values["a"] * 2.0
    assert list(dropped(values, needs={"a": 1})) == ["a"]
    assert list(dropped(values, needs={"a": 1, "plain": 1})) == ["plain"]


def test_what_is_known_on_other_rows_is_no_duplicate() -> None:
    values = columns()
    values["later"] = np.where(np.arange(600) < 60, np.nan, values["a"])
    assert dropped(values) == NONE
    values["later"] = np.where(np.arange(600) < 5, np.nan, values["a"])
    assert list(dropped(values)) == ["later"]


def test_the_bound_decides_and_one_keeps_everything() -> None:
    values = columns(rows=4000)
    values["near"] = values["a"] + 0.1 * values["b"]
    assert dropped(values) == NONE
    assert list(dropped(values, max_correlation=0.98)) == ["near"]
    values["same"] = values["a"]
    assert dropped(values, max_correlation=1.0) == NONE


def test_on_few_rows_nothing_is_a_duplicate_and_if_nothing_would_stay_all_does() -> None:
    few = {name: column[:50] for name, column in columns().items()}
    few["twin"] = few["a"]
    assert dropped(few) == NONE
    flat = np.ones((300, 2))
    assert choose_features(flat, ["a", "b"], max_correlation=0.999).columns.tolist() == [0, 1]
    assert choose_features(np.empty((0, 2)), ["a", "b"], max_correlation=0.999).columns.tolist() == [0, 1]
    with pytest.raises(ValueError, match="2 names"):
        choose_features(np.empty((0, 3)), ["a", "b"], max_correlation=0.999)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_nothing_is_dropped_that_the_slow_and_obvious_way_keeps(seed: int) -> None:
    """Spearman's correlation of every pair by Polars' own ranks, in the stated order."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(900, 3))
    mixed = base @ rng.normal(size=(3, 6)) + rng.normal(size=(900, 6)) * rng.choice([0.0, 0.02, 1.0], 6)
    names = [f"f{place}" for place in range(6)]
    expected: list[str] = []
    for column in range(6):
        pairs = [
            pl.DataFrame({"x": mixed[:, other], "y": mixed[:, column]}).select(pl.corr("x", "y", method="spearman"))
            for other in range(column)
            if names[other] not in expected
        ]
        if any(abs(pair.item()) > 0.99 for pair in pairs):
            expected.append(names[column])
    assert list(choose_features(mixed, names, max_correlation=0.99).dropped) == expected


def test_the_choice_is_that_of_the_rows_it_is_given() -> None:
    """A column that is a copy on the training rows only is a copy there, whatever comes later."""
    values = columns(rows=1000)
    values["copy"] = np.where(np.arange(1000) < 700, values["a"], values["b"])
    table = np.column_stack(list(values.values()))
    first = choose_features(table[:700], list(values), max_correlation=0.999)
    assert list(first.dropped) == ["copy"]
    assert list(choose_features(table, list(values), max_correlation=0.999).dropped) == []


def test_rows_that_are_named_are_looked_at_and_no_others() -> None:
    values = np.column_stack([*columns(1000).values(), np.zeros(1000)])
    rows = np.arange(0, 1000, 3)
    values[rows, 1] = -2.0 * values[rows, 0]
    values[1, 3] = 1.0
    some = choose_features(values, ["a", "b", "c", "d"], max_correlation=0.999, rows=rows)
    copied = choose_features(values[rows], ["a", "b", "c", "d"], max_correlation=0.999)
    assert some.columns.tolist() == copied.columns.tolist() == [0, 2]
    assert some.dropped == copied.dropped
    assert choose_features(values, ["a", "b", "c", "d"], max_correlation=0.999).dropped == NONE
