"""Rows of a matrix as the tensors that the networks of `lstm` read and learn from."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cryptocast.config import LSTMConfig
from cryptocast.features.matrix import Matrix
from cryptocast.folds import Int64Array
from cryptocast.models.labels import log_variance_ratio, standardised_returns
from cryptocast.models.windows import Windows, look_back

__all__ = ["Examples", "window_tensors"]


@dataclass(frozen=True, slots=True)
class Examples:
    """Tensors of n rows: bars (n, L, C), known (n, L), context (n, K), and the labels (n, H), NaN where not known."""

    bars: Tensor
    known: Tensor
    context: Tensor
    standardised: Tensor
    ratio: Tensor

    def __len__(self) -> int:
        return len(self.bars)

    @classmethod
    def labelled(cls, rows: Matrix, settings: LSTMConfig) -> Self:
        """The rows that have a window and any label, thinned evenly to at most `max_rows` of them."""
        windows = look_back(rows, settings.lookback)
        chosen = np.flatnonzero(windows.usable & np.isfinite(rows.returns).any(axis=1)).astype(np.int64)
        if len(chosen) > settings.max_rows:
            chosen = chosen[np.linspace(0, len(chosen) - 1, settings.max_rows).round().astype(np.int64)]
        labels = (standardised_returns(rows)[chosen], log_variance_ratio(rows)[chosen])
        tensors = window_tensors(windows, chosen, torch.float32)
        return cls(*tensors, *(torch.from_numpy(label.astype(np.float32)) for label in labels))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return self.bars, self.known, self.context, self.standardised, self.ratio

    def to(self, device: torch.device) -> "Examples":
        """The same on a device."""
        return Examples(*(tensor.to(device) for tensor in self.tensors))


def window_tensors(windows: Windows, chosen: Int64Array, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """bars, known and context of the chosen rows."""
    bars, known, context = windows.bars[chosen], windows.known[chosen], windows.context[chosen]
    return torch.from_numpy(bars).to(dtype), torch.from_numpy(known), torch.from_numpy(context).to(dtype)
