"""What a training of `lstm` keeps after each epoch, so that one that is killed goes on and ends in the same bits."""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cryptocast.files import replace_file
from cryptocast.models.lstm.network import Examples, plain

__all__ = ["Checkpoint", "Progress"]

log = logging.getLogger(__name__)


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a training has come. losses: of the stop block, before the first epoch and after each."""

    epoch: int = 0
    best_epoch: int = 0
    losses: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of exactly one fit; None keeps nothing."""

    path: Path | None

    @classmethod
    def of(cls, folder: Path | None, facts: object, *parts: Examples | None) -> "Checkpoint":
        """Another setting, seed, version or row is another file."""
        if folder is None:
            return cls(None)
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=12)
        for part in parts:
            for tensor in () if part is None else part.tensors:
                digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        return cls(folder / f"lstm-{digest.hexdigest()}.safetensors")

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Keep it, in place of what was kept before."""
        if self.path is not None:
            content = save_tensors(plain(tensors), {"progress": msgspec.json.encode(progress).decode()})
            replace_file(self.path, content)

    def load(self, names: Collection[str]) -> tuple[Progress, Mapping[str, Tensor]]:
        """What was kept, tensors of exactly these names; the beginning and none if that is nothing that can be used."""
        if self.path is None or not self.path.is_file():
            return Progress(), {}
        try:
            content = self.path.read_bytes()
            tensors = load_tensors(content)
            progress = msgspec.json.decode(_metadata(content)["progress"], type=Progress)
            if set(tensors) != set(names):
                raise ValueError("it holds other tensors than this fit has")
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            # It would only have saved time.
            log.warning("the checkpoint %s cannot be used, training starts over: %s", self.path.name, error)
            return Progress(), {}
        log.info("lstm goes on behind epoch %d of %s", progress.epoch, self.path.name)
        return progress, tensors


def _metadata(content: bytes) -> Mapping[str, str]:
    """What stands beside the tensors of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length])["__metadata__"])
