"""A training that was killed goes on behind its last epoch and ends in the same bits."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as save_tensors

from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Rounds
from cryptocast.models.lstm import LSTMLearner
from tests.models.lstm.conftest import RUN, TINY, fit_tiny, parts_of, with_changes


class KilledError(Exception):
    """Raised in place of a kill."""


def _killed_after(epoch: int) -> Callable[[str], None]:
    def step(text: str) -> None:
        if f"epoch {epoch} " in text:
            raise KilledError

    return step


@pytest.mark.parametrize("with_stop", [False, True])
def test_a_fit_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(
    small: Matrix, tmp_path: Path, with_stop: bool
) -> None:
    train, stop, _ = parts_of(small)
    learner = LSTMLearner(with_changes(TINY, epochs=4))
    block = stop if with_stop else None
    whole = learner.fit(train, stop=block, rounds=None, seed=3, run=RUN)
    killed = dataclasses.replace(RUN, step=_killed_after(2), checkpoints=tmp_path / "fits")
    with pytest.raises(KilledError):
        learner.fit(train, stop=block, rounds=None, seed=3, run=killed)
    said: list[str] = []
    resumed = dataclasses.replace(killed, step=said.append)
    again = learner.fit(train, stop=block, rounds=None, seed=3, run=resumed)
    assert again.save() == whole.save()
    assert [text.split()[2] for text in said] == ["3", "4"]
    said.clear()
    assert learner.fit(train, stop=block, rounds=None, seed=3, run=resumed).save() == whole.save()
    assert said == []  # it was done
    assert [path.suffix for path in (tmp_path / "fits").iterdir()] == [".safetensors"]


def test_a_fit_that_goes_on_from_an_earlier_one_is_taken_up_again_and_is_not_mistaken_for_another(
    small: Matrix, tmp_path: Path
) -> None:
    rounds = Rounds(counts=(6,), penalties=(0, 0, 0, 0))
    starts = [fit_tiny(small.known_at(int(small.issued_at[260])), seed=seed) for seed in (3, 4)]
    runs = [dataclasses.replace(RUN, start=start) for start in starts]
    learner = LSTMLearner(TINY)
    whole = [learner.fit(small, stop=None, rounds=rounds, seed=3, run=run).save() for run in runs]
    assert whole[0] != whole[1]
    for run, expected in zip(runs, whole, strict=True):
        killed = dataclasses.replace(run, step=_killed_after(2), checkpoints=tmp_path)
        with pytest.raises(KilledError):
            learner.fit(small, stop=None, rounds=rounds, seed=3, run=killed)
        resumed = dataclasses.replace(killed, step=RUN.step)
        assert learner.fit(small, stop=None, rounds=rounds, seed=3, run=resumed).save() == expected


def test_a_checkpoint_of_another_fit_or_a_torn_one_is_not_used(small: Matrix, tmp_path: Path) -> None:
    run = dataclasses.replace(RUN, checkpoints=tmp_path)
    first = fit_tiny(small, run=run)
    assert fit_tiny(small, seed=4, run=run).save() == fit_tiny(small, seed=4).save()
    assert len(list(tmp_path.iterdir())) == 2
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    assert fit_tiny(small, run=run).save() == first.save()
    for path in tmp_path.iterdir():
        path.write_bytes(
            save_tensors({"0/weights/foreign": torch.zeros(3), "progress": torch.tensor(list(b'{"epoch": 1}'))})
        )
    assert fit_tiny(small, run=run).save() == first.save()
