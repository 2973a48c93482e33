"""The network of `lstm` as torch trains it, and what is around it: the tensors that it learns from, its losses, its
first weights. What it forecasts with what it learned is computed without torch, in `network`."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from cryptocast.config import LSTMConfig
from cryptocast.errors import ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.labels import log_variance_ratio, standardised_returns
from cryptocast.models.lstm.network import NO_ATTENTION, Network, Shape
from cryptocast.models.quantile_shape import TAIL_FREEDOM
from cryptocast.models.windows import CHANNELS, look_back

# The scale parameter of a Student t of variance 1, and the squared median of its absolute value.
UNIT: Final = math.sqrt((TAIL_FREEDOM - 2.0) / TAIL_FREEDOM)
SQUARED_MEDIAN: Final = 0.528 * UNIT**2


@dataclass(frozen=True, slots=True)
class Examples:
    """Tensors of n rows: bars (n, L, C), known (n, L), context (n, K), and the labels (n, H), NaN where not known."""

    bars: Tensor
    present: Tensor
    context: Tensor
    standardised: Tensor
    ratio: Tensor

    def __len__(self) -> int:
        return len(self.bars)

    @classmethod
    def labelled(cls, rows: Matrix, settings: LSTMConfig) -> Self:
        """The rows that have a window and any label, thinned evenly to at most `max_rows` of them."""
        windows = look_back(rows, settings.lookback)
        rows_used = np.flatnonzero(windows.usable & np.isfinite(rows.returns).any(axis=1)).astype(np.int64)
        if len(rows_used) > settings.max_rows:
            rows_used = rows_used[np.linspace(0, len(rows_used) - 1, settings.max_rows).round().astype(np.int64)]
        labels = (standardised_returns(rows)[rows_used], log_variance_ratio(rows)[rows_used])
        arrays = (windows.bars[rows_used], windows.present[rows_used], windows.context[rows_used])
        return cls(*(torch.from_numpy(array) for array in (*arrays, *(label.astype(np.float32) for label in labels))))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return self.bars, self.present, self.context, self.standardised, self.ratio

    def to(self, device: torch.device) -> "Examples":
        """The same on a device."""
        return Examples(*(tensor.to(device) for tensor in self.tensors))


class TrainableNetwork(nn.Module):
    """Reads patches of bars; its head gives two log scales for each horizon. `network.Network` does the same."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.patch, self.hidden, self.horizons, self.width = shape.patch, shape.hidden, shape.horizons, shape.width
        self.reader = nn.LSTM(CHANNELS * shape.patch, shape.hidden, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * shape.hidden, 1)
        self.mixer = nn.Linear(self.width, shape.hidden)
        self.scale = nn.Linear(shape.hidden, 2 * shape.horizons)

    def read(self, bars: Tensor, present: Tensor, context: Tensor) -> Tensor:
        """Everything before the first dropout: the same for all samples. A patch with an unknown bar is left out."""
        n, _, channels = bars.shape
        whole = present.view(n, -1, self.patch).all(dim=2)  # (B, L) -> (B, T)
        patches = bars.reshape(n, -1, self.patch * channels) * whole[:, :, None]  # (B, L, C) -> (B, T, patch * C)
        states, _ = self.reader(patches)  # (B, T, patch * C) -> (B, T, 2 * hidden)
        weights = self.attention(states)[:, :, 0].masked_fill(~whole, NO_ATTENTION).softmax(dim=1)  # (B, T)
        pooled = (weights[:, :, None] * states).sum(dim=1)  # (B, T, 2 * hidden) -> (B, 2 * hidden)
        return torch.cat([pooled, patches[:, -1], context], dim=1)  # (B, width)

    def log_scales(self, read: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """(..., 2, H), with what dropout multiplies by before and after the hidden layer."""
        hidden = nn.functional.gelu(self.mixer(read * first)) * second  # (..., width) -> (..., hidden)
        scales: Tensor = self.scale(hidden)  # (..., hidden) -> (..., 2 * H)
        return scales.reshape(*scales.shape[:-1], 2, self.horizons)


def losses(scales: Tensor, standardised: Tensor, ratio: Tensor) -> Tensor:
    """(2, H) means over the rows (B, ...) where the label is known: of likelihood and variance.

    The first is the negative log likelihood of a Student t around the last price, the second half the squared error of
    the log deviation.
    """
    log_scale, log_deviation = scales[:, 0], scales[:, 1]  # (B, 2, H) -> (B, H) each
    usable, known_ratio = torch.isfinite(standardised), torch.isfinite(ratio)
    # Before the arithmetic: a NaN that is masked behind it comes back in the gradient.
    z, half_ratio = torch.where(usable, standardised, 0.0), torch.where(known_ratio, 0.5 * ratio, 0.0)
    likelihood = _mean_where(usable, _student_loss(z, log_scale))
    variance = _mean_where(known_ratio, 0.5 * (log_deviation - half_ratio) ** 2)
    return torch.stack([likelihood, variance])


def _student_loss(error: Tensor, log_scale: Tensor) -> Tensor:
    squared = (error * torch.exp(-log_scale) / UNIT) ** 2 / TAIL_FREEDOM
    return log_scale + 0.5 * (TAIL_FREEDOM + 1.0) * torch.log1p(squared)


def _mean_where(usable: Tensor, loss: Tensor) -> Tensor:
    """(H,) the mean of the known rows (B, H); 0 where there are none."""
    return (loss * usable).sum(dim=0) / usable.sum(dim=0).clamp(min=1)


def dropped_out(shape: tuple[int, int], dropout: float, generator: torch.Generator) -> Tensor:
    """What dropout multiplies by: 0, or what keeps the mean."""
    return (torch.rand(shape, generator=generator) >= dropout) / (1.0 - dropout)


def new_network(shape: Shape, generator: torch.Generator, examples: Examples) -> TrainableNetwork:
    """A network that knows nothing but by what constant the scales are off: no correction beyond that."""
    network = _empty_network(shape)
    with torch.no_grad():
        drawn = {network.reader: shape.hidden, network.attention: 2 * shape.hidden, network.mixer: network.width}
        for module, inputs in drawn.items():
            bound = 1.0 / math.sqrt(inputs)
            for tensor in module.parameters():
                tensor.uniform_(-bound, bound, generator=generator)
        network.scale.weight.zero_()
        network.scale.bias.zero_()
        squared = torch.nanmedian(examples.standardised.cpu() ** 2, dim=0).values.clamp(min=1e-6)
        network.scale.bias[: shape.horizons] = (0.5 * torch.log(squared / SQUARED_MEDIAN)).nan_to_num(0.0)
        network.scale.bias[shape.horizons :] = 0.5 * torch.nanmean(examples.ratio.cpu(), dim=0).nan_to_num(0.0)
    return network


def _empty_network(shape: Shape) -> TrainableNetwork:
    # On no device first: nothing is drawn from the generator that the whole process shares.
    with torch.device("meta"):
        network = TrainableNetwork(shape)
    return network.to_empty(device="cpu").to(torch.float32)


def network_of(weights: Mapping[str, Tensor], shape: Shape) -> TrainableNetwork:
    """A network with these weights, to be asked and not to learn."""
    network = _empty_network(shape)
    network.load_state_dict(dict(weights))
    return network.eval().requires_grad_(requires_grad=False)


def tensors_of(network: Network) -> dict[str, Tensor]:
    """The weights of a network that forecasts, to go on learning from."""
    return {name: torch.from_numpy(weight.astype(np.float32)) for name, weight in network.weights.items()}


def generator_of(seed: int, member: int, epoch: int) -> torch.Generator:
    """One of its own for each member and epoch: going on from a checkpoint draws what a run without a break draws."""
    words = np.random.SeedSequence([seed, member, epoch]).generate_state(2)
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))


def device_of(choice: str) -> torch.device:
    """The device of the setting. Raises ModelError if there is none."""
    if choice == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if choice == "cuda" and not torch.cuda.is_available():
        raise ModelError('[lstm] device is "cuda" and there is none. Set it to "auto" or "cpu".')
    return torch.device(choice)


@contextmanager
def reproducible() -> Iterator[None]:
    """One thread inside each operation, and only those operations that give the same result every time."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors wants them: on the CPU, contiguous, sharing no memory."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
