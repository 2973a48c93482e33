"""A network before it has learned, and what a fit leaves alone."""

import numpy as np
import torch

from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Rounds
from cryptocast.models.lstm import LSTMLearner
from tests.models.lstm.conftest import RUN, TINY, fit_tiny


def test_an_untrained_network_is_the_volatility_known_at_issue_times_a_constant(small: Matrix) -> None:
    untrained = LSTMLearner(TINY).fit(small, stop=None, rounds=Rounds(counts=(0,)), seed=3, run=RUN).predict(small)
    factor = np.round(untrained.volatility / small.volatility, 4)
    for column in range(4):
        found = np.unique(factor[:, column])
        assert len(found) == 1
        assert abs(np.log(found[0])) < 0.4


def test_a_fit_leaves_the_shared_random_numbers_and_threads_alone(small: Matrix) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    fit_tiny(small)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
