import math
from typing import Literal

import numpy as np
import pytest
from arch.bootstrap import MCS

from cryptocast.scoring.bootstrap import stationary_indices
from cryptocast.scoring.confidence_set import model_confidence_set


@pytest.mark.parametrize("method", ["range", "max"])
@pytest.mark.parametrize("seed", range(4))
def test_it_equals_arch_with_the_same_rows(method: Literal["range", "max"], seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.standard_normal((150, 6)) ** 2 + np.array([0.0, 0.0, 0.05, 0.2, 0.4, 0.6])
    theirs = MCS(losses, 0.1, reps=300, block_size=5, method="R" if method == "range" else "max", seed=seed)
    theirs.compute()
    ours = model_confidence_set(losses, np.array(theirs._bootstrap_indices), method=method)
    assert ours.p.tolist() == pytest.approx(theirs.pvalues["Pvalue"].sort_index().tolist(), abs=1e-12)
    assert list(ours.order) == theirs.pvalues.index.tolist()
    assert list(ours.members(0.1)) == theirs.included


def test_the_best_model_is_kept_and_clearly_worse_ones_go() -> None:
    rng = np.random.default_rng(10)
    kept = clean = 0
    for _ in range(150):
        shared = rng.standard_normal((200, 1)) ** 2
        losses = shared + 0.5 * rng.standard_normal((200, 5)) + np.array([0.0, 0.0, 0.0, 0.5, 1.0])
        members = model_confidence_set(losses, stationary_indices(200, 2.0, 200, rng)).members(0.10)
        kept += set(members) >= {0, 1, 2}
        clean += not {3, 4} & set(members)
    assert kept / 150 > 0.82
    assert clean / 150 > 0.98


@pytest.mark.parametrize("method", ["range", "max"])
def test_equal_losses_cannot_be_told_apart(method: Literal["range", "max"]) -> None:
    # arch says 0 for one of them: nothing is larger than a difference of 0.
    rng = np.random.default_rng(11)
    loss = rng.standard_normal(100) ** 2
    rows = stationary_indices(100, 3.0, 200, rng)
    twins = model_confidence_set(np.column_stack((loss, loss)), rows, method=method)
    assert twins.members() == (0, 1)
    with_worse = model_confidence_set(
        np.column_stack((loss, loss, loss + 1.0 + 0.1 * rng.random(100))), rows, method=method
    )
    assert with_worse.members() == (0, 1)
    assert with_worse.order[0] == 2


def test_impossible_arguments_are_refused() -> None:
    rows = np.zeros((5, 10), dtype=np.int64)
    for losses in (np.zeros((10, 1)), np.zeros(10), np.full((10, 2), math.nan)):
        with pytest.raises(ValueError, match="losses"):
            model_confidence_set(losses, rows)
    with pytest.raises(ValueError, match="indices"):
        model_confidence_set(np.zeros((9, 2)), rows)
