"""The training of `lstm`: rows to examples, all networks side by side, epoch by epoch, and whether there is a view."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from cryptocast.arrays import Int64Array
from cryptocast.config import LSTMConfig
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Forecaster, Rounds
from cryptocast.models.labels import LEAST_ROWS, LEAST_STOP_ROWS
from cryptocast.models.lstm.checkpoint import Checkpoint, TrainingState
from cryptocast.models.lstm.forecaster import LSTMForecaster, read_in_parts
from cryptocast.models.lstm.network import Dropout, Network, Shape
from cryptocast.models.lstm.trainable import (
    Examples,
    device_of,
    dropped_out,
    generator_of,
    losses,
    network_of,
    new_network,
    plain,
    reproducible,
    tensors_of,
    under,
)
from cryptocast.models.scale_model import shrinkage_of
from cryptocast.models.windows import look_back

# Epochs where nobody can tell how many are too many.
UNSTOPPED_EPOCHS: Final = 8
# Of the epochs, where the networks go on from what they learned of a part of the rows. On the development coins out of
# fold that costs 0.06 % of the CRPS at one day and less beyond; a third costs 0.16.
WARM_SHARE: Final = 0.5
# Of the running mean of the weights, a step. The mean is what forecasts: it lies in the middle of the noise.
DECAY: Final = 0.98
GRADIENT_BOUND: Final = 5.0
# What AdamW remembers of each weight.
MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")


def fitted(
    settings: LSTMConfig, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun
) -> LSTMForecaster:
    """See `LSTMLearner.fit`."""
    counts = () if rounds is None else rounds.counts
    examples = Examples.labelled(train, settings)
    if len(examples) < LEAST_ROWS:
        raise DataError(
            f"lstm needs {LEAST_ROWS} bars with a look-back window and a known return to learn from, there are "
            f"{len(examples)}. Fetch more bars or more coins, or use --model baseline."
        )
    stopping = None if stop is None or counts else Examples.labelled(stop, settings)
    if stopping is not None and len(stopping) < LEAST_STOP_ROWS:
        stopping = None
    limit = settings.epochs if stopping is not None else min(settings.epochs, UNSTOPPED_EPOCHS)
    limit = counts[0] if counts else limit
    starts = _starts(run.start, settings, train.horizons) if counts and limit else []
    limit = math.ceil(WARM_SHARE * limit) if starts else limit
    shape = Shape(len(train.horizons), settings.patch, settings.hidden)
    share = shrinkage_of(train)
    with reproducible():
        weights, epochs = _train(
            settings, examples, stopping, starts=starts, shape=shape, limit=limit, seed=seed, run=run
        )
        networks = tuple(_network(own, shape, settings, seed, member) for member, own in enumerate(weights))
        model = LSTMForecaster(
            horizons=train.horizons,
            settings=settings,
            epochs=counts[0] if counts else epochs,
            shrinkage=settings.strength * share,
            penalties=(0,) * len(train.horizons),
            members=networks,
            views=(),
        )
        referee = None
        if stop is not None and stopping is not None and rounds is None and settings.view:
            referee = stop.rows(look_back(stop, settings.lookback).usable)
        windows = [tensor.numpy() for tensor in (examples.bars, examples.present, examples.context)]
        reads = (read_in_parts(network, *windows) for network in networks)
        labels = examples.standardised.numpy().astype(np.float64)
        return model.with_view(reads, labels, stop=referee, rounds=rounds, share=share)


def _starts(model: Forecaster | None, settings: LSTMConfig, horizons: Int64Array) -> list[Mapping[str, Tensor]]:
    """The weights to go on from, for each network; none where the model has none of the kind that the settings make."""
    if not isinstance(model, LSTMForecaster) or not np.array_equal(model.horizons, horizons):
        return []
    return [tensors_of(network) for network in model.members] if model.settings == settings else []


def _network(weights: Mapping[str, Tensor], shape: Shape, settings: LSTMConfig, seed: int, member: int) -> Network:
    dropout = Dropout.drawn(shape, settings, seed, member)
    arrays = {name: tensor.numpy() for name, tensor in plain(weights).items()}
    return Network.of(arrays, shape, dropout, 1.0 - settings.dropout)


def _train(
    settings: LSTMConfig,
    examples: Examples,
    stopping: Examples | None,
    *,
    starts: Sequence[Mapping[str, Tensor]],
    shape: Shape,
    limit: int,
    seed: int,
    run: FitRun,
) -> tuple[tuple[Mapping[str, Tensor], ...], int]:
    """The networks' weights, and the epochs they learned: where the stop block's loss was least, or all without one.

    They learn until `limit` or until that loss has not improved for `patience` epochs, each on one thread. A training
    that was interrupted goes on from its checkpoint.
    """
    device = device_of(settings.device)
    facts = (settings, shape, limit, seed, torch.__version__, str(device))
    parts = (examples.tensors, () if stopping is None else stopping.tensors, *(own.values() for own in starts))
    checkpoint = Checkpoint.of(run.checkpoints, facts, chain(*parts))
    own = examples.to(device)
    block = None if stopping is None else stopping.to(device)
    members = [_Member(index, settings, shape, own, seed) for index in range(settings.members)]
    for member, weights in zip(members, starts, strict=False):
        member.begin_at(weights)
    progress = _resumed(checkpoint, members)
    if block is not None and not progress.losses:
        progress = TrainingState(losses=(_stop_loss(members, shape, block),))

    def epoch(member: _Member) -> float:
        """Once over all examples in an order of its own; the mean loss."""
        generator, network = generator_of(seed, member.index, progress.epoch + 1), member.network
        total = 0.0
        for batch in torch.split(torch.randperm(len(own), generator=generator).to(device), settings.batch):
            read = network.read(own.bars[batch], own.present[batch], own.context[batch])  # (B, L, C) -> (B, width)
            first, second = (
                dropped_out((len(batch), width), settings.dropout, generator).to(device)
                for width in (network.width, network.hidden)
            )
            scales = network.log_scales(read, first, second)  # (B, width) -> (B, 2, H)
            loss = losses(scales, own.standardised[batch], own.ratio[batch]).sum()  # (2, H) -> ()
            member.learn(loss)
            total += float(loss.detach()) * len(batch)
        return total / len(own)

    with ThreadPoolExecutor(max_workers=max(1, min(run.threads, len(members)))) as workers:
        while progress.epoch < limit and progress.epoch - progress.best_epoch < settings.patience:
            loss = float(np.mean(list(workers.map(epoch, members))))
            progress = _judged(progress, members, shape, block)
            checkpoint.save(progress, {f"{m.index}/{name}": tensor for m in members for name, tensor in m.state()})
            stop = f", stop block {progress.losses[-1]:.4f}" if progress.losses else ""
            run.step(f"lstm, epoch {progress.epoch} of at most {limit}: loss {loss:.4f}{stop}")
    return tuple(member.best for member in members), progress.best_epoch


class _Member:
    """One network in training: its weights, their running mean, the mean of the best epoch, and its optimiser."""

    def __init__(self, index: int, settings: LSTMConfig, shape: Shape, examples: Examples, seed: int) -> None:
        self.index = index
        self.network = new_network(shape, generator_of(seed, index, 0), examples).to(examples.bars.device)
        self.names = [name for name, _ in self.network.named_parameters()]
        self.begin_at({name: tensor.detach() for name, tensor in self.network.named_parameters()})
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def begin_at(self, weights: Mapping[str, Tensor]) -> None:
        """Take these weights, before the first epoch."""
        self.network.load_state_dict(dict(weights))
        device = next(self.network.parameters()).device
        self.mean = {name: tensor.to(device).clone() for name, tensor in weights.items()}
        self.best = _copies(self.mean)

    def learn(self, loss: Tensor) -> None:
        """One step against the gradient of the loss, and of the running mean behind it."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_BOUND)
        self.optimizer.step()
        for name, tensor in self.network.named_parameters():
            self.mean[name].lerp_(tensor.detach(), 1.0 - DECAY)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """All that the next epoch depends on, by name."""
        moments = self.optimizer.state_dict()["state"]
        for place, (name, tensor) in enumerate(self.network.named_parameters()):
            yield f"weights/{name}", tensor.detach()
            yield f"mean/{name}", self.mean[name]
            yield f"best/{name}", self.best[name]
            yield from ((f"{moment}/{name}", moments[place][moment]) for moment in MOMENTS)

    def state_names(self) -> list[str]:
        """The names that `state` gives behind the first epoch."""
        return [f"{part}/{name}" for name in self.names for part in ("weights", "mean", "best", *MOMENTS)]

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        moments = {
            place: {moment: state[f"{moment}/{name}"] for moment in MOMENTS} for place, name in enumerate(self.names)
        }
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.network.load_state_dict(under(state, "weights/"))
        device = next(iter(self.mean.values())).device
        self.mean = {name: tensor.to(device) for name, tensor in under(state, "mean/").items()}
        self.best = under(state, "best/")


def _resumed(checkpoint: Checkpoint, members: Sequence[_Member]) -> TrainingState:
    progress, tensors = checkpoint.load({f"{m.index}/{name}" for m in members for name in m.state_names()})
    for member in members if tensors else ():
        member.restore(under(tensors, f"{member.index}/"))
    return progress


def _judged(
    progress: TrainingState, members: Sequence[_Member], shape: Shape, stopping: Examples | None
) -> TrainingState:
    """Behind one more epoch. Where that is the best, its weights are the best; without a stop block the last one is."""
    epoch, stop_losses = progress.epoch + 1, progress.losses
    if stopping is not None:
        stop_losses = (*stop_losses, _stop_loss(members, shape, stopping))
        better = stop_losses[-1] < min(progress.losses)
        if not better:
            return TrainingState(epoch, progress.best_epoch, stop_losses)
    for member in members:
        member.best = _copies(member.mean)
    return TrainingState(epoch, epoch, stop_losses)


def _stop_loss(members: Sequence[_Member], shape: Shape, stopping: Examples) -> float:
    """Loss of the averaged networks' scale, without dropout."""
    device = stopping.bars.device
    one = torch.ones((), device=device)
    scales = []
    with torch.inference_mode():
        for member in members:
            network = network_of(member.mean, shape).to(device)
            read = network.read(stopping.bars, stopping.present, stopping.context)
            scales.append(network.log_scales(read, one, one))
        return float(losses(torch.stack(scales).mean(dim=0), stopping.standardised, stopping.ratio).sum())


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
