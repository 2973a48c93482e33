"""`lstm`: how wide the next bars will be, read by a small network from the bars of a closed look-back window.

A bidirectional LSTM reads the window, some bars at a step, attention pools what it read, and one head tells for all
horizons at once the logarithm of what the volatility known at issue must be multiplied by: once by the likelihood of
the standardised return under a Student t, once by least squares on the log of the realised variance; their mean is
used. The head starts at no correction, and what it learned is shrunk by the independent blocks of time behind it.

A location that is linear in what the networks read (`models/linear_view.py`) is used at a horizon only if it was
clearly better than the last price on the stop block; otherwise the median stays at the last price.

Several networks are averaged. How far they, and their dropout samples, disagree makes the tails fatter.

Training runs on one thread for each network, so that the result does not depend on their number: the same seed, data
and versions on one CPU give the same weights, bit for bit. Forecasts are made on the CPU in double precision.
"""

import hashlib
import json
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Annotated, ClassVar, Final, Self

import msgspec
import numpy as np
import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from cryptocast.config import Config, LSTMConfig
from cryptocast.errors import DataError, ModelError
from cryptocast.features.matrix import FloatArray, Matrix
from cryptocast.folds import Int64Array
from cryptocast.models.base import Artefacts, FitRun, Forecast, Rounds
from cryptocast.models.baseline import horizon_columns, no_view_forecast
from cryptocast.models.heads import mixed, probability_of_rise
from cryptocast.models.labels import independent_blocks, log_variance_ratio, standardised_returns
from cryptocast.models.linear_view import LinearView, Ridge, supported_penalties
from cryptocast.models.shape import TAIL_FREEDOM
from cryptocast.models.windows import CHANNELS, CONTEXT, Windows, look_back

__all__ = ["FORECASTER", "LSTMForecaster", "LSTMLearner", "learner"]

log = logging.getLogger(__name__)

KIND: Final = "lstm"
SETTINGS_FILE: Final = "lstm.json"
WEIGHTS_FILE: Final = "lstm.safetensors"
# Rows with a window and a label that a fit needs at least, and a stop block; as for `lightgbm`.
LEAST_ROWS: Final = 200
LEAST_STOP_ROWS: Final = 30
# Epochs where nobody can tell how many are too many.
UNSTOPPED_EPOCHS: Final = 8
# Half of the shrinkage is reached with this many independent blocks of the horizon.
SHRINKAGE_BLOCKS: Final = 12.0
# The log correction of the scale is bounded: outside, the model is extrapolating.
CORRECTION_BOUND: Final = 1.5
# Of the running mean of the weights, a step. The mean is what forecasts: it lies in the middle of the noise.
KEPT: Final = 0.98
GRADIENT_BOUND: Final = 5.0
# The scale parameter of a Student t of variance 1, and the squared median of its absolute value.
UNIT: Final = math.sqrt((TAIL_FREEDOM - 2.0) / TAIL_FREEDOM)
SQUARED_MEDIAN: Final = 0.528 * UNIT**2
# What a batch holds changes the last digits of a sum; they are cut off, so that each row stands for itself.
DIGITS: Final = 9
ROWS_AT_ONCE: Final = 1024
VIEW_PARTS: Final = ("view.centre", "view.spread", "view.weights")


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a network looks like."""

    horizons: int
    patch: int
    hidden: int


class _Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    horizons: tuple[int, ...]
    lookback: int
    patch: int
    hidden: int
    members: int
    samples: int
    dropout: float
    seed: Annotated[int, Meta(ge=0)]
    epochs: int
    shrinkage: tuple[float, ...]
    penalties: tuple[int, ...]  # of the view, 0 at a horizon without one


class _Network(nn.Module):
    """Reads patches of bars and tells two log scales for each horizon."""

    def __init__(self, shape: _Shape) -> None:
        super().__init__()
        read = CHANNELS * shape.patch
        self.patch, self.hidden, self.horizons = shape.patch, shape.hidden, shape.horizons
        self.width = 2 * shape.hidden + read + CONTEXT
        self.reader = nn.LSTM(read, shape.hidden, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * shape.hidden, 1)
        self.mixer = nn.Linear(self.width, shape.hidden)
        self.scale = nn.Linear(shape.hidden, 2 * shape.horizons)

    def read(self, bars: Tensor, known: Tensor, context: Tensor) -> Tensor:
        """Everything before the first dropout: the same for all samples. A patch with an unknown bar is left out."""
        n, _, channels = bars.shape
        whole = known.view(n, -1, self.patch).all(dim=2)  # (B, L) -> (B, T)
        patches = bars.reshape(n, -1, self.patch * channels) * whole[:, :, None]  # (B, L, C) -> (B, T, patch * C)
        states, _ = self.reader(patches)  # (B, T, patch * C) -> (B, T, 2 * hidden)
        weights = self.attention(states)[:, :, 0].masked_fill(~whole, -math.inf).softmax(dim=1)  # (B, T)
        pooled = (weights[:, :, None] * states).sum(dim=1)  # (B, T, 2 * hidden) -> (B, 2 * hidden)
        return torch.cat([pooled, patches[:, -1], context], dim=1)  # (B, width)

    def tell(self, read: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Log scales (..., 2, H), with what dropout keeps before and after the hidden layer."""
        hidden = nn.functional.gelu(self.mixer(read * first)) * second  # (..., width) -> (..., hidden)
        scales: Tensor = self.scale(hidden)  # (..., hidden) -> (..., 2 * H)
        return scales.reshape(*scales.shape[:-1], 2, self.horizons)


@dataclass(frozen=True, slots=True)
class _Examples:
    """Tensors of the rows that have a window: bars (n, L, C), known (n, L), context (n, K), and the labels (n, H)."""

    bars: Tensor
    known: Tensor
    context: Tensor
    standardised: Tensor
    ratio: Tensor

    def __len__(self) -> int:
        return len(self.bars)

    def to(self, device: torch.device) -> "_Examples":
        moved = (self.bars, self.known, self.context, self.standardised, self.ratio)
        return _Examples(*(tensor.to(device) for tensor in moved))


@dataclass(frozen=True, slots=True)
class LSTMLearner:
    """Settings of the networks and of their training."""

    settings: LSTMConfig = LSTMConfig()
    kind: ClassVar[str] = KIND
    calibrate: ClassVar[bool] = True

    def fit(
        self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun
    ) -> "LSTMForecaster":
        """All networks side by side, epoch by epoch, on all rows of all coins that have a window and a label.

        With a stop block the epoch with the least loss there is taken, and the view is judged there; `rounds` repeats
        both. Rows beyond [lstm] max_rows are thinned evenly.
        """
        examples = _examples(train, self.settings)
        if len(examples) < LEAST_ROWS:
            raise DataError(
                f"lstm needs {LEAST_ROWS} bars with a look-back window and a known return to learn from, there are "
                f"{len(examples)}. Fetch more bars or more coins, or use --model baseline."
            )
        counts = () if rounds is None else rounds.counts
        stopping = None if stop is None or counts else _stop_examples(stop, self.settings)
        with _reproducible():
            training = _Training(self.settings, examples, stopping, len(train.horizons), rounds, seed, run)
            training.go_on()
        blocks = independent_blocks(train)
        believed = blocks / (blocks + SHRINKAGE_BLOCKS)
        made = LSTMForecaster(
            horizons=train.horizons,
            settings=self.settings,
            seed=seed,
            epochs=training.best_epoch,
            shrinkage=self.settings.strength * believed,
            penalties=(0,) * len(train.horizons),
            members=tuple(_network_of(weights, training.shape) for weights in training.best),
            views=(),
        )
        return self._with_view(made, examples, stop if stopping is not None else None, rounds, believed)

    def _with_view(
        self,
        made: "LSTMForecaster",
        examples: "_Examples",
        stop: Matrix | None,
        rounds: Rounds | None,
        believed: FloatArray,
    ) -> "LSTMForecaster":
        """The same with a view at the horizons where the stop block supports one, or did when `rounds` were found."""
        searching = rounds is None and stop is not None and self.settings.view
        known = () if rounds is None else rounds.penalties
        if not (searching or any(known)):
            return made
        labels = examples.standardised.numpy().astype(np.float64)
        ridges = [Ridge.of(_read(network, examples), labels) for network in made.members]
        if searching and stop is not None:
            judged = stop.rows(look_back(stop, self.settings.lookback).usable)
            features = [_read(network, _windows_of(judged, self.settings)) for network in made.members]
            known = supported_penalties(ridges, features, judged, made.log_scale(judged), believed)
        if not any(known):
            return made
        return replace(made, penalties=known, views=tuple(ridge.view(known).believed(believed) for ridge in ridges))


class _Member:
    """One network in training: its weights, their running mean, and its optimiser."""

    def __init__(self, index: int, settings: LSTMConfig, shape: _Shape, examples: _Examples, seed: int) -> None:
        self.index, self.seed, self.settings, self.examples = index, seed, settings, examples
        self.device = examples.bars.device
        self.network = _new_network(shape, _generator(seed, index, 0), examples).to(self.device)
        self.mean = {name: tensor.detach().clone() for name, tensor in self.network.named_parameters()}
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def epoch(self, number: int) -> float:
        """Once over all examples in an order of its own; the mean loss."""
        generator = _generator(self.seed, self.index, number)
        order = torch.randperm(len(self.examples), generator=generator).to(self.device)
        total = 0.0
        for batch in torch.split(order, self.settings.batch):
            loss = self._loss(batch, generator)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_BOUND)
            self.optimizer.step()
            for name, tensor in self.network.named_parameters():
                self.mean[name].lerp_(tensor.detach(), 1.0 - KEPT)
            total += float(loss.detach()) * len(batch)
        return total / len(order)

    def _loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        part, network, dropout = self.examples, self.network, self.settings.dropout
        read = network.read(part.bars[batch], part.known[batch], part.context[batch])
        first = _keep((len(batch), network.width), dropout, generator).to(self.device)
        second = _keep((len(batch), network.hidden), dropout, generator).to(self.device)
        scales = network.tell(read, first, second)
        return _losses(scales, part.standardised[batch], part.ratio[batch]).sum()

    def state(self) -> dict[str, Tensor]:
        """All that the next epoch depends on, by name."""
        found = {f"weights/{name}": tensor.detach() for name, tensor in self.network.named_parameters()}
        found |= {f"mean/{name}": tensor for name, tensor in self.mean.items()}
        names = [name for name, _ in self.network.named_parameters()]
        for place, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"{key}/{names[place]}": moment for key, moment in moments.items()}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        names = [name for name, _ in self.network.named_parameters()]
        own = self.optimizer.state_dict()
        moments = {
            place: {key: state[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for place, name in enumerate(names)
            if f"step/{name}" in state
        }
        self.optimizer.load_state_dict({**own, "state": moments})
        self.network.load_state_dict({name: state[f"weights/{name}"] for name in names})
        self.mean = {name: state[f"mean/{name}"].to(self.device) for name in names}


class _Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    epoch: int
    best_epoch: int
    losses: tuple[float, ...]


class _Training:
    """All members, epoch by epoch, until the limit or until the stop block has not improved for `patience` epochs."""

    def __init__(
        self,
        settings: LSTMConfig,
        examples: _Examples,
        stopping: _Examples | None,
        horizons: int,
        rounds: Rounds | None,
        seed: int,
        run: FitRun,
    ) -> None:
        device = _device(settings.device)
        self.settings, self.run = settings, run
        self.shape = _Shape(horizons, settings.patch, settings.hidden)
        self.examples, self.stopping = examples.to(device), None if stopping is None else stopping.to(device)
        searching = settings.epochs if stopping is not None else min(settings.epochs, UNSTOPPED_EPOCHS)
        self.limit = rounds.counts[0] if rounds is not None and rounds.counts else searching
        self.members = [_Member(index, settings, self.shape, self.examples, seed) for index in range(settings.members)]
        self.epoch, self.best_epoch, self.losses = 0, 0, list[float]()
        self.best = self._weights()
        facts = (settings, horizons, rounds, seed, torch.__version__, str(device))
        self.checkpoint = _checkpoint(run.checkpoints, facts, examples, stopping)

    def go_on(self) -> None:
        """From the checkpoint, if there is one, to the end."""
        self._restore()
        if self.stopping is not None and not self.losses:
            self.losses = [self._stop_loss(self.stopping)]
        with ThreadPoolExecutor(max_workers=max(1, min(self.run.threads, len(self.members)))) as workers:
            while self.epoch < self.limit and self.epoch - self.best_epoch < self.settings.patience:
                self.epoch += 1
                number = self.epoch
                loss = float(np.mean(list(workers.map(_Member.epoch, self.members, repeat(number)))))
                self._judge()
                self._keep()
                stop = f", stop block {self.losses[-1]:.4f}" if self.losses else ""
                self.run.step(f"lstm, epoch {number} of at most {self.limit}: loss {loss:.4f}{stop}")

    def _judge(self) -> None:
        """Without a stop block the last epoch is the best."""
        if self.stopping is not None:
            self.losses.append(self._stop_loss(self.stopping))
        if self.stopping is None or self.losses[-1] < min(self.losses[:-1]):
            self.best_epoch, self.best = self.epoch, self._weights()

    def _weights(self) -> list[dict[str, Tensor]]:
        return [{name: tensor.clone() for name, tensor in member.mean.items()} for member in self.members]

    def _stop_loss(self, stopping: _Examples) -> float:
        """Loss of the averaged networks' scale, without dropout."""
        one = torch.ones((), device=stopping.bars.device)
        told = []
        with torch.inference_mode():
            for weights in self._weights():
                network = _network_of(weights, self.shape, dtype=torch.float32)
                network.to(stopping.bars.device)
                read = network.read(stopping.bars, stopping.known, stopping.context)
                told.append(network.tell(read, one, one))
            losses = _losses(torch.stack(told).mean(dim=0), stopping.standardised, stopping.ratio)
        return float(losses.sum())

    def _keep(self) -> None:
        if self.checkpoint is None:
            return
        tensors = {f"{m.index}/{name}": tensor for m in self.members for name, tensor in m.state().items()}
        for index, weights in enumerate(self.best):
            tensors |= {f"{index}/best/{name}": tensor for name, tensor in weights.items()}
        progress = _Progress(self.epoch, self.best_epoch, tuple(self.losses))
        content = save_tensors(_plain(tensors), {"progress": msgspec.json.encode(progress).decode()})
        _write_whole(self.checkpoint, content)

    def _restore(self) -> None:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        try:
            content = self.checkpoint.read_bytes()
            tensors = load_tensors(content)
            progress = msgspec.json.decode(_metadata(content)["progress"], type=_Progress)
            for member in self.members:
                member.restore(_under(tensors, f"{member.index}/"))
            self.best = [_under(tensors, f"{member.index}/best/") for member in self.members]
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            # It would only have saved time.
            log.warning("the checkpoint %s cannot be used, training starts over: %s", self.checkpoint.name, error)
            self.members = [_Member(m.index, self.settings, self.shape, self.examples, m.seed) for m in self.members]
            self.best = self._weights()
            return
        self.epoch, self.best_epoch, self.losses = progress.epoch, progress.best_epoch, list(progress.losses)
        log.info("lstm goes on behind epoch %d of %s", self.epoch, self.checkpoint.name)


@dataclass(frozen=True, slots=True, eq=False)
class LSTMForecaster:
    """members: networks in double precision; shrinkage (H,): how much of the scale is believed.

    views: of what each network reads, or none at all; their mean is the location. penalties (H,): they were fitted
    with, 0 at a horizon without a view.
    """

    horizons: Int64Array
    settings: LSTMConfig
    seed: int
    epochs: int
    shrinkage: FloatArray
    penalties: tuple[int, ...]
    members: tuple[_Network, ...]
    views: tuple[LinearView, ...]
    kind: ClassVar[str] = KIND

    @property
    def rounds(self) -> Rounds:
        """The epochs of all networks."""
        return Rounds((self.epochs,), self.penalties)

    def predict(self, rows: Matrix) -> Forecast:
        """The mixture of all networks and dropout samples; calibration follows outside.

        A row without a look-back window (fewer than 20 returns since the last gap) keeps the volatility known at issue.
        """
        columns = horizon_columns(rows.horizons, self.horizons, self.kind)
        told = self._told(rows, columns)
        mixture = mixed(told.log_scale, told.log_scale_variance)
        if told.location_variance.any():
            # What is not known of the location adds to the variance.
            wider = np.sqrt(mixture.deviation**2 + told.location_variance)
            mixture = replace(mixture, deviation=wider)
        made = no_view_forecast(rows, rows.volatility * mixture.deviation, mixture.shape)
        if not told.location.any():
            return made
        moved = made.values + (rows.volatility * told.location)[:, :, None]
        rise = np.where(told.location == 0.0, made.p_up, probability_of_rise(told.location, mixture))
        return replace(made, values=moved, p_up=rise)

    def log_scale(self, rows: Matrix) -> FloatArray:
        """(n, H) log of what the volatility known at issue is multiplied by, at the fitted horizons."""
        return self._told(rows, np.arange(len(self.horizons))).log_scale

    def save(self) -> Artefacts:
        """JSON for what the networks look like, safetensors for their weights."""
        saved = _Saved(
            horizons=tuple(self.horizons.tolist()),
            lookback=self.settings.lookback,
            patch=self.settings.patch,
            hidden=self.settings.hidden,
            members=len(self.members),
            samples=self.settings.samples,
            dropout=self.settings.dropout,
            seed=self.seed,
            epochs=self.epochs,
            shrinkage=tuple(self.shrinkage.tolist()),
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
        return {SETTINGS_FILE: msgspec.json.encode(saved), WEIGHTS_FILE: save_tensors(_plain(tensors))}

    @classmethod
    def load(cls, files: Artefacts) -> Self:
        """What `save` wrote. Raises ModelError otherwise."""
        try:
            saved = msgspec.json.decode(files[SETTINGS_FILE], type=_Saved)
            names = ("lookback", "patch", "hidden", "members", "samples", "dropout")
            # Converted, not built, and first: numbers that no settings file may hold are refused here too.
            settings = msgspec.convert({name: getattr(saved, name) for name in names}, LSTMConfig)
            tensors = load_tensors(bytes(files[WEIGHTS_FILE]))
            shape = _Shape(len(saved.horizons), saved.patch, saved.hidden)
            members = [_under(tensors, f"{index}.") for index in range(saved.members)]
            foreign = set(tensors) - {f"{i}.{name}" for i, own in enumerate(members) for name in own}
            horizons = len(saved.horizons)
            if foreign or len(saved.shrinkage) != horizons or len(saved.penalties) != horizons:
                raise ValueError(f"it holds {', '.join(sorted(foreign)) or 'other horizons than it lists'}")
            views = tuple(_checked_view(own, shape) for own in members) if any(saved.penalties) else ()
            networks = tuple(_checked_network(weights, shape) for weights in members)
            if saved.lookback % saved.patch:
                raise ValueError(f"its lookback of {saved.lookback} is no multiple of its patch of {saved.patch}")
        except (KeyError, ValueError, SafetensorError) as error:
            raise ModelError(f"The saved lstm cannot be read: {error}. Train it anew.") from error
        return cls(
            horizons=np.array(saved.horizons, dtype=np.int64),
            settings=settings,
            seed=saved.seed,
            epochs=saved.epochs,
            shrinkage=np.array(saved.shrinkage),
            penalties=saved.penalties,
            members=networks,
            views=views,
        )

    def _told(self, rows: Matrix, columns: Int64Array) -> "_Told":
        """What all networks tell of the rows, some rows at a time: all dropout samples of a row are in memory."""
        told = _Told.nothing(len(rows), len(columns))
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            with _reproducible():
                self._tell(rows.rows(np.arange(len(rows))[part]), columns, told.part(part))
        return told

    def _tell(self, rows: Matrix, columns: Int64Array, out: "_Told") -> None:
        """Mean and variance of log scale and location over all networks and samples, shrunk, into `out`."""
        windows = look_back(rows, self.settings.lookback)
        usable = np.flatnonzero(windows.usable)
        if len(usable) == 0:
            return
        bars, known, context = _tensors(windows, usable, torch.float64)
        scales, reads = [], []
        with torch.inference_mode():
            for network, (first, second) in zip(self.members, self._masks(), strict=True):
                read = network.read(bars, known, context)
                scales.append(network.tell(read, first, second).mean(dim=-2))  # (S, B, 2, H) -> (S, B, H)
                reads.append(read.numpy())
            scale = torch.cat(scales)[..., columns]
            trust = torch.from_numpy(self.shrinkage[columns])
            mean = (scale.mean(dim=0) * trust).clamp(-CORRECTION_BOUND, CORRECTION_BOUND).numpy()
            spread = (scale.var(dim=0, correction=0) * trust**2).numpy()
        places = [view.location(read, columns) for view, read in zip(self.views, reads, strict=False)]
        zero = np.zeros(mean.shape)
        location, doubt = (np.mean(places, axis=0), np.var(places, axis=0)) if places else (zero, zero)
        for target, fact in zip(out.arrays, (mean, spread, location, doubt), strict=True):
            target[usable] = np.round(fact, DIGITS)

    def _masks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """What dropout keeps, (S, 1, width) for each network: drawn once from the seed, the same for every row."""
        each = -(-self.settings.samples // len(self.members))
        for index, network in enumerate(self.members):
            draws = np.random.default_rng([self.seed, index])
            kept = 1.0 - self.settings.dropout
            widths = (network.width, network.hidden)
            first, second = (torch.from_numpy((draws.random((each, 1, w)) < kept) / kept) for w in widths)
            yield first, second


FORECASTER: Final = LSTMForecaster


def learner(config: Config) -> LSTMLearner:
    """With [lstm] of the settings."""
    return LSTMLearner(config.lstm)


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """(n, H) each; zero: no correction and no view."""

    log_scale: FloatArray
    log_scale_variance: FloatArray
    location: FloatArray
    location_variance: FloatArray

    @classmethod
    def nothing(cls, rows: int, horizons: int) -> Self:
        return cls(*(np.zeros((rows, horizons)) for _ in range(4)))

    @property
    def arrays(self) -> tuple[FloatArray, ...]:
        return self.log_scale, self.log_scale_variance, self.location, self.location_variance

    def part(self, rows: slice) -> "_Told":
        """A view of some rows, to be filled."""
        return _Told(*(array[rows] for array in self.arrays))


def _examples(rows: Matrix, settings: LSTMConfig) -> _Examples:
    """The rows that have a window and any label, at most `max_rows` of them."""
    windows = look_back(rows, settings.lookback)
    labelled = np.isfinite(rows.returns).any(axis=1)
    chosen = np.flatnonzero(windows.usable & labelled).astype(np.int64)
    if len(chosen) > settings.max_rows:
        chosen = chosen[np.linspace(0, len(chosen) - 1, settings.max_rows).round().astype(np.int64)]
    bars, known, context = _tensors(windows, chosen, torch.float32)
    labels = (standardised_returns(rows)[chosen], log_variance_ratio(rows)[chosen])
    return _Examples(bars, known, context, *(torch.from_numpy(label.astype(np.float32)) for label in labels))


def _windows_of(rows: Matrix, settings: LSTMConfig) -> _Examples:
    """All rows, with a window and a label or not."""
    windows = look_back(rows, settings.lookback)
    bars, known, context = _tensors(windows, np.arange(len(rows)), torch.float32)
    labels = (standardised_returns(rows), log_variance_ratio(rows))
    return _Examples(bars, known, context, *(torch.from_numpy(label.astype(np.float32)) for label in labels))


def _stop_examples(stop: Matrix, settings: LSTMConfig) -> _Examples | None:
    examples = _examples(stop, settings)
    return examples if len(examples) >= LEAST_STOP_ROWS else None


def _tensors(windows: Windows, chosen: Int64Array, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    bars, known, context = windows.bars[chosen], windows.known[chosen], windows.context[chosen]
    return torch.from_numpy(bars).to(dtype), torch.from_numpy(known), torch.from_numpy(context).to(dtype)


def _losses(scales: Tensor, standardised: Tensor, ratio: Tensor) -> Tensor:
    """(2, H) means over the rows (B, ...) where the label is known: of likelihood and variance.

    The first is the negative log likelihood of a Student t around the last price, the second half the squared error of
    the log deviation.
    """
    log_scale, log_deviation = scales[:, 0], scales[:, 1]  # (B, 2, H) -> (B, H) each
    known, known_ratio = torch.isfinite(standardised), torch.isfinite(ratio)
    # Before the arithmetic: a NaN that is masked behind it comes back in the gradient.
    z, half_ratio = torch.where(known, standardised, 0.0), torch.where(known_ratio, 0.5 * ratio, 0.0)
    likelihood = _mean_where(known, _student_loss(z, log_scale))
    variance = _mean_where(known_ratio, 0.5 * (log_deviation - half_ratio) ** 2)
    return torch.stack([likelihood, variance])


def _student_loss(error: Tensor, log_scale: Tensor) -> Tensor:
    squared = (error * torch.exp(-log_scale) / UNIT) ** 2 / TAIL_FREEDOM
    return log_scale + 0.5 * (TAIL_FREEDOM + 1.0) * torch.log1p(squared)


def _mean_where(known: Tensor, loss: Tensor) -> Tensor:
    """(H,) the mean of the known rows (B, H); 0 where there are none."""
    return (loss * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)


def _new_network(shape: _Shape, generator: torch.Generator, examples: _Examples) -> _Network:
    """A network that knows nothing but by what constant the scales are off: no correction beyond that."""
    network = _empty_network(shape, torch.float32)
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


def _empty_network(shape: _Shape, dtype: torch.dtype) -> _Network:
    # On no device first: nothing is drawn from the generator that the whole process shares.
    with torch.device("meta"):
        network = _Network(shape)
    return network.to_empty(device="cpu").to(dtype)


def _network_of(weights: Mapping[str, Tensor], shape: _Shape, dtype: torch.dtype = torch.float64) -> _Network:
    """A network with these weights, for forecasts."""
    network = _empty_network(shape, dtype)
    network.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()})
    return network.eval().requires_grad_(requires_grad=False)


def _read(network: _Network, examples: _Examples) -> FloatArray:
    """(n, width): what a network in double precision reads in the rows."""
    with torch.inference_mode():
        parts = []
        for begin in range(0, len(examples), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            bars, context = examples.bars[part].double(), examples.context[part].double()
            parts.append(network.read(bars, examples.known[part], context))
    return torch.cat(parts).numpy() if parts else np.empty((0, network.width))


def _checked_view(tensors: dict[str, Tensor], shape: _Shape) -> LinearView:
    """The view among a member's tensors, taken out of them. Raises ValueError if it is not as it must be."""
    width = 2 * shape.hidden + CHANNELS * shape.patch + CONTEXT
    arrays = []
    for name, expected in zip(VIEW_PARTS, ((width,), (width,), (shape.horizons, width)), strict=True):
        tensor = tensors.pop(name, torch.empty(0))
        if tensor.shape != expected or tensor.dtype != torch.float64 or not torch.isfinite(tensor).all():
            raise ValueError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}, expected {expected}, all finite")
        arrays.append(tensor.numpy())
    if (arrays[1] <= 0).any():
        raise ValueError(f"{VIEW_PARTS[1]} is not positive")
    return LinearView(*arrays)


def _checked_network(weights: Mapping[str, Tensor], shape: _Shape) -> _Network:
    """As `_network_of`; raises ValueError if a name, a shape or a type is not as it must be."""
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in _Network(shape).named_parameters()}
    if set(weights) != set(expected):
        raise ValueError(f"its tensors are not those of a network: {', '.join(sorted(set(weights) ^ set(expected)))}")
    for name, tensor in weights.items():
        if tensor.shape != expected[name] or tensor.dtype != torch.float32 or not torch.isfinite(tensor).all():
            found = f"{tuple(tensor.shape)} {tensor.dtype}"
            raise ValueError(f"{name} is {found}, expected {tuple(expected[name])} torch.float32, all finite")
    return _network_of(weights, shape)


def _keep(shape: tuple[int, int], dropout: float, generator: torch.Generator) -> Tensor:
    """What dropout multiplies by: 0, or what keeps the mean."""
    return (torch.rand(shape, generator=generator) >= dropout) / (1.0 - dropout)


def _generator(seed: int, member: int, epoch: int) -> torch.Generator:
    """One of its own for each member and epoch: going on from a checkpoint draws what a run without a break draws."""
    words = np.random.SeedSequence([seed, member, epoch]).generate_state(2)
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))


def _device(choice: str) -> torch.device:
    if choice == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if choice == "cuda" and not torch.cuda.is_available():
        raise ModelError('[lstm] device is "cuda" and there is none. Set it to "auto" or "cpu".')
    return torch.device(choice)


@contextmanager
def _reproducible() -> Iterator[None]:
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


def _checkpoint(folder: Path | None, facts: object, examples: _Examples, stopping: _Examples | None) -> Path | None:
    """The file of exactly this fit: another setting, seed, version or row is another file."""
    if folder is None:
        return None
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=12)
    for part in (examples, stopping) if stopping is not None else (examples,):
        for tensor in (part.bars, part.known, part.context, part.standardised, part.ratio):
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return folder / f"lstm-{digest.hexdigest()}.safetensors"


def _write_whole(path: Path, content: bytes) -> None:
    """All of it or nothing, also if the process or the machine stops in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _metadata(content: bytes) -> Mapping[str, str]:
    """What stands beside the tensors of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length])["__metadata__"])


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors wants them: on the CPU, contiguous, sharing no memory."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
