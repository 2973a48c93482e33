"""The fitted `lstm`: what its networks say of rows, how that becomes a forecast, and how it is saved and loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final, Self

import msgspec
import numpy as np
import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.config import LSTMConfig
from cryptocast.errors import ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.artefacts import from_json, require_shape, to_json
from cryptocast.models.base import Artefacts, Forecast, Rounds
from cryptocast.models.baseline import horizon_columns
from cryptocast.models.drift_ridge import LinearView
from cryptocast.models.labels import CORRECTION_BOUND
from cryptocast.models.lstm.network import Network, Shape, checked_network, plain, reproducible, under, window_tensors
from cryptocast.models.scale_model import ScaleModel, located
from cryptocast.models.student_mixture import mixed
from cryptocast.models.windows import look_back

KIND: Final = "lstm"
SETTINGS_FILE: Final = "lstm.json"
WEIGHTS_FILE: Final = "lstm.safetensors"
# What a batch holds changes the last digits of a sum; they are cut off, so that each row stands for itself.
DIGITS: Final = 9
ROWS_AT_ONCE: Final = 1024
VIEW_PARTS: Final = ("view.centre", "view.spread", "view.weights")


class _SavedNetworks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    horizons: Int64Array
    lookback: int
    patch: int
    hidden: int
    members: int
    samples: int
    dropout: float
    seed: Annotated[int, Meta(ge=0)]
    epochs: int
    shrinkage: FloatArray
    penalties: tuple[int, ...]  # of the view, 0 at a horizon without one

    def __post_init__(self) -> None:
        require_shape(self.shrinkage, len(self.horizons))
        if len(self.penalties) != len(self.horizons):
            raise ValueError("it holds other horizons than it lists")


@dataclass(frozen=True, slots=True, eq=False)
class LSTMForecaster(ScaleModel):
    """members: networks in double precision, which learned that many epochs; seed: of the samples of dropout."""

    settings: LSTMConfig
    seed: int
    epochs: int
    members: tuple[Network, ...]
    kind: ClassVar[str] = KIND

    @property
    def rounds(self) -> Rounds:
        """The epochs of all networks."""
        return Rounds((self.epochs,), self.penalties)

    def predict(self, rows: Matrix) -> Forecast:
        """The mixture of all networks and dropout samples; calibration follows outside.

        A row without a look-back window (fewer than 20 returns since the last gap) keeps the volatility known at issue.
        """
        scale, doubt, location, location_doubt = self._moments(
            rows, horizon_columns(rows.horizons, self.horizons, self.kind)
        )
        mixture = mixed(scale, doubt)
        if location_doubt.any():
            # What is not known of the location adds to the variance.
            mixture = replace(mixture, deviation=np.sqrt(mixture.deviation**2 + location_doubt))
        return located(rows, mixture, location)

    def log_scale(self, rows: Matrix) -> FloatArray:
        """(n, H) log of what the volatility known at issue is multiplied by, at the fitted horizons."""
        scale: FloatArray = self._moments(rows, np.arange(len(self.horizons)))[0]
        return scale

    def read(self, rows: Matrix) -> Sequence[FloatArray]:
        """(n, width) for each network: what it reads in the window of each row, in the precision of its training."""
        tensors = window_tensors(look_back(rows, self.settings.lookback), np.arange(len(rows)), torch.float32)
        return [read_in_parts(network, *tensors) for network in self.members]

    def save(self) -> Artefacts:
        """JSON for what the networks look like, safetensors for their weights."""
        saved = _SavedNetworks(
            horizons=self.horizons,
            lookback=self.settings.lookback,
            patch=self.settings.patch,
            hidden=self.settings.hidden,
            members=len(self.members),
            samples=self.settings.samples,
            dropout=self.settings.dropout,
            seed=self.seed,
            epochs=self.epochs,
            shrinkage=self.shrinkage,
            penalties=self.penalties,
        )
        tensors = {
            f"{index}.{name}": tensor.detach().to(torch.float32)
            for index, network in enumerate(self.members)
            for name, tensor in network.named_parameters()
        }
        for index, view in enumerate(self.views):
            parts = zip(VIEW_PARTS, (view.centre, view.spread, view.weights), strict=True)
            tensors |= {f"{index}.{name}": torch.from_numpy(part) for name, part in parts}
        return {SETTINGS_FILE: to_json(saved), WEIGHTS_FILE: save_tensors(plain(tensors))}

    @classmethod
    def load(cls, files: Artefacts) -> Self:
        """What `save` wrote. Raises ModelError otherwise."""
        saved = from_json(files, SETTINGS_FILE, _SavedNetworks, KIND)
        names = ("lookback", "patch", "hidden", "members", "samples", "dropout")
        try:
            # Converted, not built, and first: numbers that no settings file may hold are refused here too.
            settings = msgspec.convert({name: getattr(saved, name) for name in names}, LSTMConfig)
            tensors = load_tensors(bytes(files[WEIGHTS_FILE]))
            shape = Shape(len(saved.horizons), saved.patch, saved.hidden)
            members = [under(tensors, f"{index}.") for index in range(saved.members)]
            foreign = set(tensors) - {f"{i}.{name}" for i, own in enumerate(members) for name in own}
            if foreign:
                raise ValueError(f"it holds {', '.join(sorted(foreign))}")
            views = tuple(_checked_view(own, shape) for own in members) if any(saved.penalties) else ()
            networks = tuple(checked_network(weights, shape) for weights in members)
        except (KeyError, ValueError, SafetensorError) as error:
            raise ModelError(f"The saved lstm cannot be read: {error}. Train it anew.") from error
        return cls(
            horizons=saved.horizons,
            settings=settings,
            seed=saved.seed,
            epochs=saved.epochs,
            shrinkage=saved.shrinkage,
            penalties=saved.penalties,
            members=networks,
            views=views,
        )

    def _moments(self, rows: Matrix, columns: Int64Array) -> FloatArray:
        """(4, n, len(columns)): mean and variance of log scale and of location; zero: no correction and no view.

        Some rows at a time: all dropout samples of a row are in memory.
        """
        moments = np.zeros((4, len(rows), len(columns)))
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            with reproducible():
                self._fill(moments[:, part], rows.rows(np.arange(len(rows))[part]), columns)
        return moments

    def _fill(self, moments: FloatArray, rows: Matrix, columns: Int64Array) -> None:
        """Over all networks and samples, shrunk; a row without a window stays as it is."""
        windows = look_back(rows, self.settings.lookback)
        usable = np.flatnonzero(windows.usable)
        if len(usable) == 0:
            return
        bars, present, context = window_tensors(windows, usable, torch.float64)
        scales, reads = [], []
        with torch.inference_mode():
            for network, (first, second) in zip(self.members, self._masks(), strict=True):
                read = network.read(bars, present, context)
                scales.append(network.log_scales(read, first, second).mean(dim=-2))  # (S, B, 2, H) -> (S, B, H)
                reads.append(read.numpy())
            scale = torch.cat(scales)[..., columns]
            trust = torch.from_numpy(self.shrinkage[columns])
            mean = (scale.mean(dim=0) * trust).clamp(-CORRECTION_BOUND, CORRECTION_BOUND).numpy()
            spread = (scale.var(dim=0, correction=0) * trust**2).numpy()
        places = [view.location(read, columns) for view, read in zip(self.views, reads, strict=False)]
        zero = np.zeros(mean.shape)
        location, doubt = (np.mean(places, axis=0), np.var(places, axis=0)) if places else (zero, zero)
        moments[:, usable] = np.round([mean, spread, location, doubt], DIGITS)

    def _masks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """What dropout keeps, (S, 1, width) for each network: drawn once from the seed, the same for every row."""
        each = -(-self.settings.samples // len(self.members))
        for index, network in enumerate(self.members):
            draws = np.random.default_rng([self.seed, index])
            keep = 1.0 - self.settings.dropout
            widths = (network.width, network.hidden)
            first, second = (torch.from_numpy((draws.random((each, 1, w)) < keep) / keep) for w in widths)
            yield first, second


def read_in_parts(network: Network, bars: Tensor, present: Tensor, context: Tensor) -> FloatArray:
    """(n, width): what a network in double precision reads, some rows at a time."""
    parts = [slice(begin, begin + ROWS_AT_ONCE) for begin in range(0, len(bars), ROWS_AT_ONCE)]
    with torch.inference_mode():
        reads = [network.read(bars[part].double(), present[part], context[part].double()) for part in parts]
    return torch.cat(reads).numpy() if reads else np.empty((0, network.width))


def _checked_view(tensors: dict[str, Tensor], shape: Shape) -> LinearView:
    """The view among a member's tensors, taken out of them. Raises ValueError if it is not as it must be."""
    width = shape.width
    arrays = []
    for name, expected in zip(VIEW_PARTS, ((width,), (width,), (shape.horizons, width)), strict=True):
        tensor = tensors.pop(name, torch.empty(0))
        if tensor.shape != expected or tensor.dtype != torch.float64 or not torch.isfinite(tensor).all():
            raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, expected {expected}, all finite")
        arrays.append(tensor.numpy())
    if (arrays[1] <= 0).any():
        raise ValueError(f"{VIEW_PARTS[1]} is not positive")
    return LinearView(*arrays)
