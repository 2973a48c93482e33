"""What a training of `lstm` keeps after each epoch, so that one that is killed goes on and ends in the same bits."""

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cryptocast.files import replace_file
from cryptocast.models.lstm.trainable import plain

PROGRESS: Final = "progress"  # the tensor that holds it, as the bytes of its JSON
log = logging.getLogger(__name__)


class TrainingState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a training has come. losses: of the stop block, before the first epoch and after each."""

    epoch: int = 0
    best_epoch: int = 0
    losses: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of exactly one fit; None keeps nothing."""

    path: Path | None

    @classmethod
    def of(cls, folder: Path | None, facts: object, tensors: Iterable[Tensor]) -> "Checkpoint":
        """Another setting, seed, version, row or first weight is another file."""
        if folder is None:
            return cls(None)
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=12)
        for tensor in tensors:
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        return cls(folder / f"lstm-{digest.hexdigest()}.safetensors")

    def save(self, progress: TrainingState, tensors: Mapping[str, Tensor]) -> None:
        """Keep it, in place of what was kept before."""
        if self.path is None:
            return
        note = torch.tensor(list(msgspec.json.encode(progress)), dtype=torch.uint8)
        replace_file(self.path, save_tensors({**plain(tensors), PROGRESS: note}))

    def load(self, names: Collection[str]) -> tuple[TrainingState, Mapping[str, Tensor]]:
        """What was kept, tensors of exactly these names; the beginning and none if that is nothing that can be used."""
        if self.path is None or not self.path.is_file():
            return TrainingState(), {}
        try:
            tensors = load_tensors(self.path.read_bytes())
            progress = msgspec.json.decode(bytes(tensors.pop(PROGRESS).tolist()), type=TrainingState)
            if set(tensors) != set(names):
                raise ValueError("it holds other tensors than this fit has")
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            # It would only have saved time.
            log.warning("the checkpoint %s cannot be used, training starts over: %s", self.path.name, error)
            return TrainingState(), {}
        log.info("lstm goes on behind epoch %d of %s", progress.epoch, self.path.name)
        return progress, tensors
