"""LightGBM text from elsewhere: what would abort the process is refused before LightGBM sees it."""

import re
from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.models.booster_text import check_booster


def fitted(rows: int = 400, rounds: int = 6, **changes: Any) -> bytes:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, 5))
    y = x[:, 0] * x[:, 1] + rng.standard_normal(rows)
    parameters = {"num_leaves": 7, "min_data_in_leaf": 10, "verbosity": -1, "num_threads": 1, **changes}
    return lgb.train(parameters, lgb.Dataset(x, y), rounds).model_to_string().encode()


MODEL = fitted()


def sub(pattern: str, new: str) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        made = re.sub(pattern, new, data.decode(), count=1).encode()
        assert made != data
        return made

    return change


# Each of the first ten ends the process or takes all its memory when LightGBM reads or uses it.
HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "classes": sub(r"num_class=1", "num_class=1000000000"),
    "trees an iteration": sub(r"num_tree_per_iteration=1", "num_tree_per_iteration=1000000000"),
    "leaves": sub(r"num_leaves=\d+", "num_leaves=2000000000"),
    "fewer leaves than none": sub(r"num_leaves=\d+", "num_leaves=-5"),
    "categories": sub(r"num_cat=0", "num_cat=100000000"),
    "sizes": sub(r"tree_sizes=\d+", "tree_sizes=99999999999"),
    "negative sizes": sub(r"tree_sizes=\d+", "tree_sizes=-7"),
    "a feature": sub(r"split_feature=\d+", "split_feature=4444"),
    "a child": sub(r"left_child=\S+", "left_child=4444"),
    "a leaf": sub(r"left_child=\S+", "left_child=-444"),
    "a circle": sub(r"left_child=\S+", "left_child=0"),
    "features": sub(r"max_feature_idx=\d+", "max_feature_idx=2000000000"),
    "a number that is none": sub(r"leaf_value=\S+", "leaf_value=nan"),
    "a word": sub(r"threshold=\S+", "threshold=import"),
    "a line twice": sub(r"num_cat=0", "num_cat=0\nnum_cat=0"),
    "a strange line": sub(r"num_cat=0", "num_cat=0\nboost=1"),
    "half of it": lambda data: data[: len(data) // 2],
    "another version": sub(r"version=v4", "version=v9"),
    "bytes that are no text": lambda data: data.replace(b"Tree=1", b"Tree=\xff"),
    "nothing": lambda _: b"",
    "a pickle": lambda _: b"\x80\x04K\x01.",
    "a tree behind the end": lambda data: data + b"\nTree=6\nnum_leaves=3\n",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_counts_and_indices_that_do_not_fit_are_refused(case: str) -> None:
    with pytest.raises(ValueError, match=r"\w{3}"):
        check_booster(HOSTILE[case](MODEL))


@pytest.mark.parametrize("changes", [{}, {"objective": "quantile", "alpha": 0.9}, {"num_leaves": 31, "lambda_l2": 5.0}])
def test_what_lightgbm_writes_passes(changes: dict[str, Any]) -> None:
    assert check_booster(fitted(**changes)) == 6


def test_a_split_of_missing_values_which_stands_at_infinity_passes() -> None:
    rng = np.random.default_rng(1)
    x = np.where(rng.random((600, 1)) < 0.4, np.nan, rng.standard_normal((600, 1)))
    y = np.where(np.isnan(x[:, 0]), 1.0, -1.0) + 0.1 * rng.standard_normal(600)
    parameters = {"num_leaves": 4, "min_data_in_leaf": 10, "verbosity": -1, "num_threads": 1}
    text = lgb.train(parameters, lgb.Dataset(x, y), 2).model_to_string().encode()
    assert b"threshold=inf" in text
    assert check_booster(text) == 2
    with pytest.raises(ValueError, match="threshold is not"):
        check_booster(text.replace(b"threshold=inf", b"threshold=nan"))


def test_trees_of_one_leaf_and_no_trees_pass() -> None:
    assert check_booster(fitted(rows=30, min_data_in_leaf=100)) <= 6


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_byte_is_refused_or_leaves_a_model_that_loads(data: st.DataObject) -> None:
    end = MODEL.index(b"end of trees")
    place = data.draw(st.integers(0, end - 1))
    text = MODEL[:place] + bytes([data.draw(st.sampled_from(b"0123456789-. =\nxe"))]) + MODEL[place + 1 :]
    try:
        check_booster(text)
    except ValueError:
        return
    try:
        booster = lgb.Booster(model_str=text.decode())
    except lgb.basic.LightGBMError:
        return
    assert np.shape(booster.predict(np.zeros((3, booster.num_feature())), num_threads=1)) == (3,)
