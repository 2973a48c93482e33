"""The fitted `lstm`: what its networks say of rows, how that becomes a forecast, and how it is saved and loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.config import LSTMConfig
from cryptocast.errors import ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.artefacts import from_json, require_shape, to_json
from cryptocast.models.base import Artefacts, Forecast, Rounds
from cryptocast.models.baseline import horizon_columns
from cryptocast.models.drift_ridge import LinearView, one_thread
from cryptocast.models.labels import CORRECTION_BOUND
from cryptocast.models.lstm.network import MASKS, Dropout, Network, Shape, Tensors, require_tensor, samples_of
from cryptocast.models.scale_model import ScaleModel, located
from cryptocast.models.student_mixture import mixed
from cryptocast.models.windows import look_back

KIND: Final = "lstm"
SETTINGS_FILE: Final = "lstm.json"
WEIGHTS_FILE: Final = "lstm.safetensors"
# What a batch holds changes the last digits of a sum; they are cut off, so that each row stands for itself.
DIGITS: Final = 9
ROWS_AT_ONCE: Final = 256
VIEW_PARTS: Final = ("view.centre", "view.spread", "view.weights")


class _SavedNetworks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    horizons: Int64Array
    lookback: int
    patch: int
    hidden: int
    members: int
    samples: int
    dropout: float
    seed: Annotated[int, Meta(ge=0)] | None = None  # of what dropout keeps, where that is not saved: up to 2026
    epochs: int
    shrinkage: FloatArray
    penalties: tuple[int, ...]  # of the view, 0 at a horizon without one

    def __post_init__(self) -> None:
        require_shape(self.shrinkage, len(self.horizons))
        if len(self.penalties) != len(self.horizons):
            raise ValueError("it holds other horizons than it lists")


@dataclass(frozen=True, slots=True, eq=False)
class LSTMForecaster(ScaleModel):
    """members: networks, which learned that many epochs."""

    settings: LSTMConfig
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
        """(n, width) for each network: what it reads in the window of each row."""
        windows = look_back(rows, self.settings.lookback)
        return [read_in_parts(network, windows.bars, windows.present, windows.context) for network in self.members]

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
            epochs=self.epochs,
            shrinkage=self.shrinkage,
            penalties=self.penalties,
        )
        tensors = {
            f"{index}.{name}": tensor
            for index, network in enumerate(self.members)
            for name, tensor in network.tensors().items()
        }
        for index, view in enumerate(self.views):
            parts = zip(VIEW_PARTS, (view.centre, view.spread, view.weights), strict=True)
            tensors |= {f"{index}.{name}": part for name, part in parts}
        return {SETTINGS_FILE: to_json(saved), WEIGHTS_FILE: save_tensors(tensors)}

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
            members = [_under(tensors, f"{index}.") for index in range(saved.members)]
            foreign = set(tensors) - {f"{i}.{name}" for i, own in enumerate(members) for name in own}
            if foreign:
                raise ValueError(f"it holds {', '.join(sorted(foreign))}")
            views = tuple(_checked_view(own, shape) for own in members) if any(saved.penalties) else ()
            kept = [_dropout(own, shape, settings, saved.seed, index) for index, own in enumerate(members)]
            networks = tuple(
                Network.of(own, shape, dropout, 1.0 - saved.dropout) for own, dropout in zip(members, kept, strict=True)
            )
        except (KeyError, ValueError, SafetensorError) as error:
            raise ModelError(f"The saved lstm cannot be read: {error}. Train it anew.") from error
        return cls(
            horizons=saved.horizons,
            settings=settings,
            epochs=saved.epochs,
            shrinkage=saved.shrinkage,
            penalties=saved.penalties,
            members=networks,
            views=views,
        )

    def _moments(self, rows: Matrix, columns: Int64Array) -> FloatArray:
        """(4, n, len(columns)): mean and variance of log scale and of location; zero: no correction and no view."""
        moments = np.zeros((4, len(rows), len(columns)))
        windows = look_back(rows, self.settings.lookback)
        for places in _parts(np.flatnonzero(windows.usable)):
            window = (windows.bars[places], windows.present[places], windows.context[places])
            with one_thread():
                moments[:, places] = self._moments_of(*window, columns)
        return moments

    def _moments_of(
        self, bars: npt.NDArray[Any], present: BoolArray, context: npt.NDArray[Any], columns: Int64Array
    ) -> FloatArray:
        """(4, B, len(columns)): over all networks and samples, shrunk."""
        reads = [network.read(bars, present, context) for network in self.members]
        scales = [network.log_scales(read) for network, read in zip(self.members, reads, strict=True)]
        scale, trust = np.concatenate(scales)[..., columns], self.shrinkage[columns]  # (S, B, H)
        mean = np.clip(scale.mean(axis=0) * trust, -CORRECTION_BOUND, CORRECTION_BOUND)
        spread = scale.var(axis=0) * trust**2
        places = [view.location(read, columns) for view, read in zip(self.views, reads, strict=False)]
        zero = np.zeros(mean.shape)
        location, doubt = (np.mean(places, axis=0), np.var(places, axis=0)) if places else (zero, zero)
        return np.round([mean, spread, location, doubt], DIGITS)


def read_in_parts(
    network: Network, bars: npt.NDArray[Any], present: BoolArray, context: npt.NDArray[Any]
) -> FloatArray:
    """(n, width): what a network reads, some rows at a time."""
    out = np.empty((len(bars), network.shape.width))
    for part in _parts(np.arange(len(bars))):
        with one_thread():
            out[part] = network.read(bars[part], present[part], context[part])
    return out


def _parts(places: Int64Array) -> list[Int64Array]:
    """At most `ROWS_AT_ONCE` of them each: all dropout samples of a row are in memory."""
    return [places[begin : begin + ROWS_AT_ONCE] for begin in range(0, len(places), ROWS_AT_ONCE)]


def _under(tensors: Tensors, prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Those whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _dropout(
    tensors: dict[str, npt.NDArray[Any]], shape: Shape, settings: LSTMConfig, seed: int | None, member: int
) -> Dropout:
    """What the samples keep, taken out of a member's tensors; drawn anew where only their seed was saved.

    Raises ValueError if it is not as it must be.
    """
    if seed is not None:
        return Dropout.drawn(shape, settings, seed, member)
    masks = [tensors.pop(name, np.empty(0)) for name in MASKS]
    for name, mask, width in zip(MASKS, masks, (shape.width, shape.hidden), strict=True):
        require_tensor(name, mask, (samples_of(settings), width), np.bool_)
    return Dropout(*masks)


def _checked_view(tensors: dict[str, npt.NDArray[Any]], shape: Shape) -> LinearView:
    """The view among a member's tensors, taken out of them. Raises ValueError if it is not as it must be."""
    width = shape.width
    arrays = [tensors.pop(name, np.empty(0)) for name in VIEW_PARTS]
    for name, array, size in zip(VIEW_PARTS, arrays, ((width,), (width,), (shape.horizons, width)), strict=True):
        require_tensor(name, array, size, np.float64)
    if (arrays[1] <= 0).any():
        raise ValueError(f"{VIEW_PARTS[1]} is not positive")
    return LinearView(*arrays)
