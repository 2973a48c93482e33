"""The network of `lstm` as it forecasts: a bidirectional LSTM over patches of bars, attention, and a head of two scales
a horizon. In NumPy and double precision, equal to what torch makes of the same weights; torch is for training alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from cryptocast.arrays import BoolArray, FloatArray
from cryptocast.config import LSTMConfig
from cryptocast.models.windows import CHANNELS, CONTEXT

# Of a patch with an unknown bar, in place of its attention: none, as long as there is another patch.
NO_ATTENTION: Final = -1e30
# Where the normal distribution is tabulated for `gelu`: beyond, it is 0 or 1.
GELU_BOUND: Final = 8
GELU_STEPS: Final = 1024  # to 1; with two terms from the nearest, the error is below 1e-10
DIRECTIONS: Final = ("", "_reverse")
# What dropout keeps, beside a network's weights.
MASKS: Final = ("masks.read", "masks.hidden")

Tensors = Mapping[str, npt.NDArray[Any]]


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a network looks like."""

    horizons: int
    patch: int
    hidden: int

    @property
    def width(self) -> int:
        """Of what it reads in a window: states, last patch, context."""
        return 2 * self.hidden + CHANNELS * self.patch + CONTEXT

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor that it learns, under the name that torch gives it."""
        hidden, gates = self.hidden, 4 * self.hidden
        reader = {
            "weight_ih_l0": (gates, CHANNELS * self.patch),
            "weight_hh_l0": (gates, hidden),
            "bias_ih_l0": (gates,),
            "bias_hh_l0": (gates,),
        }
        return {
            **{f"reader.{name}{direction}": size for direction in DIRECTIONS for name, size in reader.items()},
            "attention.weight": (1, 2 * hidden),
            "attention.bias": (1,),
            "mixer.weight": (hidden, self.width),
            "mixer.bias": (hidden,),
            "scale.weight": (2 * self.horizons, hidden),
            "scale.bias": (2 * self.horizons,),
        }


class Dropout(NamedTuple):
    """What each of S samples keeps of what the network reads (S, width), and of its hidden layer (S, hidden)."""

    read: BoolArray
    hidden: BoolArray

    @classmethod
    def drawn(cls, shape: Shape, settings: LSTMConfig, seed: int, member: int) -> Self:
        """From the seed, the same for every row."""
        draws = np.random.default_rng([seed, member])
        size = samples_of(settings)
        return cls(*(draws.random((size, width)) < 1.0 - settings.dropout for width in (shape.width, shape.hidden)))


def samples_of(settings: LSTMConfig) -> int:
    """How many samples of dropout each network has."""
    return -(-settings.samples // settings.members)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """weights: as `Shape.weights` names them, in double precision. dropout: its samples; keep: the share they keep."""

    shape: Shape
    weights: Mapping[str, FloatArray]
    dropout: Dropout
    keep: float

    @classmethod
    def of(cls, tensors: Tensors, shape: Shape, dropout: Dropout, keep: float) -> Self:
        """With these weights, in single precision. Raises ValueError if a name, a shape or a type is not as it must
        be."""
        sizes = shape.weights()
        if set(tensors) != set(sizes):
            raise ValueError(f"its tensors are not those of a network: {', '.join(sorted(set(tensors) ^ set(sizes)))}")
        for name, tensor in tensors.items():
            require_tensor(name, tensor, sizes[name], np.float32)
        return cls(shape, {name: tensor.astype(np.float64) for name, tensor in tensors.items()}, dropout, keep)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """What it is saved as: the weights in the precision that they were learned in, and what dropout keeps."""
        weights = {name: weight.astype(np.float32) for name, weight in self.weights.items()}
        return {**weights, **dict(zip(MASKS, self.dropout, strict=True))}

    def read(self, bars: npt.NDArray[Any], present: BoolArray, context: npt.NDArray[Any]) -> FloatArray:
        """(B, width) of windows (B, L, C), (B, L) and (B, K): all before the first dropout, the same for all samples.

        A patch with an unknown bar is left out.
        """
        n, _, channels = bars.shape
        whole = np.asarray(present.reshape(n, -1, self.shape.patch).all(axis=2))  # (B, T)
        patches = bars.astype(np.float64).reshape(n, -1, self.shape.patch * channels) * whole[:, :, None]
        states = np.concatenate(
            [self._states(patches, ""), self._states(patches[:, ::-1], "_reverse")[:, ::-1]], axis=2
        )
        attention = (states @ self.weights["attention.weight"].T)[:, :, 0] + self.weights["attention.bias"]
        attention = np.where(whole, attention, NO_ATTENTION)
        shares = np.exp(attention - attention.max(axis=1, keepdims=True))
        pooled = np.einsum("bt,bts->bs", shares / shares.sum(axis=1, keepdims=True), states)
        return np.concatenate([pooled, patches[:, -1], context.astype(np.float64)], axis=1)

    def log_scales(self, read: FloatArray) -> FloatArray:
        """(S, B, H): the mean of both scales of each horizon, for each sample of dropout."""
        first, second = (mask / self.keep for mask in self.dropout)
        samples, hidden = second.shape
        # A sample without a part of what was read is one whose weights lack it: one product for all samples.
        mixer = (first[:, None, :] * self.weights["mixer.weight"]).reshape(samples * hidden, -1)
        layer = (read @ mixer.T).reshape(len(read), samples, hidden) + self.weights["mixer.bias"]
        head, bias = (
            self.weights[f"scale.{part}"].reshape(2, self.shape.horizons, -1).mean(axis=0)
            for part in ("weight", "bias")
        )
        scales = (gelu(layer) * second) @ head.T + bias[:, 0]  # (B, S, hidden) -> (B, S, H)
        return np.moveaxis(scales, 1, 0)

    def _states(self, patches: FloatArray, direction: str) -> FloatArray:
        """(B, T, hidden) of patches (B, T, C * patch), one step after the other."""
        weights = {part: self.weights[f"reader.{part}_l0{direction}"] for part in ("weight_ih", "weight_hh")}
        bias = self.weights[f"reader.bias_ih_l0{direction}"] + self.weights[f"reader.bias_hh_l0{direction}"]
        inputs = patches @ weights["weight_ih"].T + bias
        width = self.shape.hidden
        states = np.empty((*patches.shape[:2], width))
        hidden, cell = np.zeros((2, len(patches), width))
        for step in range(patches.shape[1]):
            gates = inputs[:, step] + hidden @ weights["weight_hh"].T
            new = np.tanh(gates[:, 2 * width : 3 * width])
            enter, forget, _, leave = np.split(0.5 + 0.5 * np.tanh(0.5 * gates), 4, axis=1)  # the logistic function
            cell = forget * cell + enter * new
            hidden = leave * np.tanh(cell)
            states[:, step] = hidden
        return states


def require_tensor(name: str, tensor: npt.NDArray[Any], size: tuple[int, ...], kind: type[np.generic]) -> None:
    """Raise ValueError unless it has this shape and type and is finite."""
    if tensor.shape != size or tensor.dtype != kind or not np.isfinite(tensor).all():
        raise ValueError(f"{name} is {tensor.shape} {tensor.dtype}, expected {size} {kind.__name__}, all finite")


def gelu(x: FloatArray) -> FloatArray:
    """x times the standard normal distribution at x, to 1e-10. NumPy has none, and SciPy's costs 27 MB."""
    below, density = _normal()
    bounded = np.clip(x, -GELU_BOUND, GELU_BOUND)
    place = np.rint(bounded * GELU_STEPS)
    near, index = place / GELU_STEPS, place.astype(np.int64) + GELU_BOUND * GELU_STEPS
    apart = bounded - near
    return x * (below[index] + apart * density[index] * (1.0 - 0.5 * near * apart))


@cache
def _normal() -> tuple[FloatArray, FloatArray]:
    """The standard normal distribution and its density on the grid of `gelu`, exactly 0 and 1 at its ends."""
    grid = np.linspace(-GELU_BOUND, GELU_BOUND, 2 * GELU_BOUND * GELU_STEPS + 1)
    below = np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in grid.tolist()])
    below[[0, -1]] = 0.0, 1.0
    density = np.exp(-0.5 * grid**2) / math.sqrt(2.0 * math.pi)
    density[[0, -1]] = 0.0
    return below, density
