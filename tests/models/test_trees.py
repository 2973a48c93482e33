"""LightGBM's library without its Python package."""

import subprocess
import sys
from collections.abc import Callable

import lightgbm as lgb
import numpy as np
import pytest

from cryptocast.errors import ModelError
from cryptocast.models.trees import MANY_ROWS, Trees

COLUMNS = 7


def grown(rounds: int = 40, seed: int = 3) -> lgb.Booster:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((600, COLUMNS))
    features[rng.random(features.shape) < 0.1] = np.nan
    label = np.nansum(features[:, :3], axis=1) + rng.standard_normal(600)
    settings = {"verbosity": -1, "num_threads": 1, "seed": seed, "num_leaves": 15}
    return lgb.train(settings, lgb.Dataset(features, label), rounds)


def rows(count: int) -> np.ndarray:
    features = np.random.default_rng(9).standard_normal((count, COLUMNS))
    features[::5, 2] = np.nan
    return features


@pytest.mark.parametrize("count", [1, 2, 500, MANY_ROWS + 3])
def test_it_says_what_the_package_says_to_the_last_bit(count: int) -> None:
    booster = grown()
    trees = Trees(booster.model_to_string().encode())

    assert (trees.count, trees.features) == (40, COLUMNS)
    np.testing.assert_array_equal(trees.raw(rows(count)), booster.predict(rows(count), raw_score=True))
    np.testing.assert_array_equal(trees.gains(), booster.feature_importance("gain"))
    if count < MANY_ROWS:
        np.testing.assert_array_equal(
            trees.contributions(rows(count)), np.asarray(booster.predict(rows(count), pred_contrib=True))
        )


def test_no_rows_give_no_numbers() -> None:
    assert Trees(grown().model_to_string().encode()).raw(rows(0)).shape == (0,)


@pytest.mark.parametrize("change", [lambda x: x[:, :-1], lambda x: x[0], lambda x: np.hstack([x, x])])
def test_rows_of_another_width_are_refused(change: Callable[[np.ndarray], np.ndarray]) -> None:
    with pytest.raises(ModelError, match="7 features"):
        Trees(grown().model_to_string().encode()).raw(change(rows(3)))


def test_rows_that_are_a_view_are_read_as_they_are_seen() -> None:
    trees, wide = Trees(grown().model_to_string().encode()), rows(40)
    turned = np.asfortranarray(wide)
    np.testing.assert_array_equal(trees.raw(turned), trees.raw(wide))
    np.testing.assert_array_equal(trees.raw(wide[::2]), trees.raw(wide)[::2])


def test_it_is_saved_as_it_was_and_goes_to_other_processes() -> None:
    text = grown().model_to_string().encode()
    trees = Trees(text)
    make, arguments = trees.__reduce__()  # what pickle hands to a worker of ours
    copy = make(*arguments)

    assert trees.text() == copy.text() == text
    np.testing.assert_array_equal(copy.raw(rows(9)), trees.raw(rows(9)))


@pytest.mark.parametrize("text", [b"", b"tree", b"tree\nversion=v4\n\n", "ä".encode()])
def test_what_is_no_model_never_reaches_the_library(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"it |is not|num_class"):
        Trees(text)


def test_a_forecaster_is_loaded_and_asked_without_the_package_and_what_it_brings() -> None:
    text = grown().model_to_string()
    program = """
import sys
import numpy as np
from cryptocast.models.boosting import LightGBMForecaster
from cryptocast.models.trees import Trees
print(Trees(sys.stdin.buffer.read()).raw(np.zeros((1, 7)))[0])
print([name for name in ("lightgbm", "pandas", "scipy", "sklearn", "torch") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True)
    number, loaded = said.stdout.splitlines()

    assert float(number) == grown().predict(np.zeros((1, 7)), raw_score=True)[0]
    assert loaded == "[]"
