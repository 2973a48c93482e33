"""What a tuning tries: points in the ranges that the settings of a kind have, and the settings at such a point."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import msgspec
import numpy as np

from cryptocast.config import RANGES, TUNABLE, Config
from cryptocast.errors import UsageError
from cryptocast.kinds import KINDS, Range

Parameters: TypeAlias = Mapping[str, int | float]


def tuned_for(model: str) -> str | None:
    """Whose settings `train --tune` searches for: the model's own, of several the fast one's; None if it has none."""
    several = model == "all" or (model in KINDS and KINDS[model].ensemble)
    return model if model in TUNABLE else TUNABLE[0] if several else None


def ranges_for(kind: str, config: Config, *, labels: int | None = None) -> tuple[Range, ...]:
    """The ranges, widened where the settings lie outside. A setting at 0 that is searched by factors stays there.

    labels: that the smallest fit learns from; no leaf of a tree may ask for more than a third of them. Raises
    UsageError for a kind that has nothing to tune.
    """
    if kind not in RANGES:
        raise UsageError(f"{kind} has no settings to tune. Choose among {', '.join(TUNABLE)}.")
    ranges = []
    for one in RANGES[kind]:
        default = float(getattr(getattr(config, kind), one.name))
        if not (one.log and default <= 0):
            high = one.high
            if one.name == "min_data_in_leaf" and labels:
                high = max(one.low, min(high, labels // 3))
            low, high = min(one.low, default), max(high, default)
            ranges.append(replace(one, low=low, high=high))
    return tuple(ranges)


def defaults(kind: str, config: Config, ranges: Sequence[Range]) -> dict[str, int | float]:
    """The settings as they are."""
    return {one.name: getattr(getattr(config, kind), one.name) for one in ranges}


def spread_over(ranges: Sequence[Range], count: int, seed: int) -> list[dict[str, int | float]]:
    """`count` points that cover each range evenly (a Latin hypercube): what a search starts from behind the defaults.

    Source: McKay, Beckman and Conover, Technometrics 21 (1979).
    """
    rng = np.random.default_rng([seed, len(ranges), count])
    shares = np.column_stack([(rng.permutation(count) + rng.random(count)) / count for _ in ranges])
    return [{one.name: one.at(share) for one, share in zip(ranges, row, strict=True)} for row in shares.tolist()]


def with_parameters(config: Config, kind: str, parameters: Parameters) -> Config:
    """The settings with these in the kind's section."""
    section: Any = msgspec.structs.replace(getattr(config, kind), **parameters)
    return msgspec.structs.replace(config, **{kind: section})


def as_tried(config: Config, kind: str, parameters: Parameters) -> Config:
    """The settings that a trial fits with."""
    return with_parameters(config, kind, {**parameters, **KINDS[kind].trial})
