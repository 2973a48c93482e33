"""The network in NumPy is the one that torch trains."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import LSTMConfig
from cryptocast.models.lstm.network import Dropout, Network, Shape, gelu
from cryptocast.models.lstm.trainable import network_of
from cryptocast.models.windows import CHANNELS, CONTEXT

SETTINGS = LSTMConfig(samples=4, members=1, dropout=0.4)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.builds(Shape, st.integers(1, 5), st.integers(1, 5), st.integers(4, 12)),
    steps=st.integers(1, 6),
    size=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(0, 2**32),
)
def test_it_says_what_torch_says(shape: Shape, steps: int, size: float, seed: int) -> None:
    draws = np.random.default_rng(seed)
    weights = {
        name: (size * draws.standard_normal(dimensions)).astype(np.float32)
        for name, dimensions in shape.weights().items()
    }
    network = Network.of(weights, shape, Dropout.drawn(shape, SETTINGS, seed, 0), 1.0 - SETTINGS.dropout)
    trained = network_of({name: torch.from_numpy(weight) for name, weight in weights.items()}, shape).double()
    bars = draws.standard_normal((3, steps * shape.patch, CHANNELS)).astype(np.float32)
    present = (
        np.arange(bars.shape[1]) >= draws.integers(0, bars.shape[1] + 1, 3)[:, None]
    )  # of the first row perhaps none
    context = draws.standard_normal((3, CONTEXT)).astype(np.float32)

    read = network.read(bars, present, context)
    tensors = (torch.from_numpy(bars).double(), torch.from_numpy(present), torch.from_numpy(context).double())
    expected = trained.read(*tensors)
    np.testing.assert_allclose(read, expected.numpy(), rtol=1e-6, atol=1e-6)

    first, second = (torch.from_numpy(mask / network.keep)[:, None, :] for mask in network.dropout)
    scales = trained.log_scales(expected, first, second).mean(dim=-2)
    np.testing.assert_allclose(network.log_scales(read), scales.numpy(), rtol=1e-6, atol=1e-6)


@given(st.floats(-30.0, 30.0))
def test_gelu_is_x_times_the_normal_distribution(x: float) -> None:
    expected = 0.5 * x * math.erfc(-x / math.sqrt(2.0))
    assert gelu(np.array([x]))[0] == pytest.approx(expected, abs=1e-10)
