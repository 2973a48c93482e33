"""What a tuning may change, for each kind: few settings, in ranges that are known to be sensible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from cryptocast.config import Config
from cryptocast.errors import UsageError

__all__ = [
    "SPACES",
    "TUNABLE",
    "TUNED_FIRST",
    "Parameters",
    "Range",
    "as_tried",
    "defaults",
    "ranges_for",
    "spread_over",
    "with_parameters",
]

Parameters: TypeAlias = Mapping[str, int | float]


@dataclass(frozen=True, slots=True)
class Range:
    """One setting of the kind's section, and what it may be. log: equal factors are equally likely."""

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, share: float) -> int | float:
        """The value a share of the way from low to high."""
        even = self.low + share * (self.high - self.low)
        value = self.low * (self.high / self.low) ** share if self.log else even
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else float(value)


SPACES: Final[Mapping[str, tuple[Range, ...]]] = {
    "lightgbm": (
        Range("learning_rate", 0.015, 0.1, log=True),
        Range("num_leaves", 4, 63, log=True, whole=True),
        Range("min_data_in_leaf", 20, 400, log=True, whole=True),
        Range("feature_fraction", 0.2, 1.0),
        Range("lambda_l2", 0.1, 100.0, log=True),
        Range("strength", 0.25, 1.0),
    ),
    "lstm": (
        Range("hidden", 16, 64, log=True, whole=True),
        Range("dropout", 0.1, 0.6),
        Range("learning_rate", 0.0005, 0.005, log=True),
        Range("weight_decay", 0.001, 0.1, log=True),
        Range("strength", 0.25, 1.0),
    ),
}
TUNABLE: Final = tuple(SPACES)
# What `train --tune` searches for: of several models the fast one, since a trial of the other takes minutes.
TUNED_FIRST: Final[Mapping[str, str]] = {
    "all": "lightgbm",
    "lightgbm": "lightgbm",
    "lstm": "lstm",
    "ml_ensemble": "lightgbm",
}
# What a trial has less of than a training, because it costs much and decides little among settings.
CHEAPER: Final[Mapping[str, Mapping[str, int]]] = {"lstm": {"members": 1}}


def ranges_for(kind: str, config: Config, *, labels: int | None = None) -> tuple[Range, ...]:
    """The ranges, widened where the settings lie outside. A setting at 0 that is searched by factors stays there.

    labels: that the smallest fit learns from; no leaf of a tree may ask for more than a third of them. Raises
    UsageError for a kind that has nothing to tune.
    """
    if kind not in SPACES:
        raise UsageError(f"{kind} has no settings to tune. Choose among {', '.join(TUNABLE)}.")
    found = []
    for known in SPACES[kind]:
        default = float(getattr(getattr(config, kind), known.name))
        if not (known.log and default <= 0):
            high = known.high
            if known.name == "min_data_in_leaf" and labels:
                high = max(known.low, min(high, labels // 3))
            low, high = min(known.low, default), max(high, default)
            found.append(Range(known.name, low, high, known.log, known.whole))
    return tuple(found)


def defaults(kind: str, config: Config, ranges: Sequence[Range]) -> dict[str, int | float]:
    """The settings as they are."""
    return {known.name: getattr(getattr(config, kind), known.name) for known in ranges}


def spread_over(ranges: Sequence[Range], count: int, seed: int) -> list[dict[str, int | float]]:
    """`count` points that cover each range evenly (a Latin hypercube): what a search starts from behind the defaults.

    Source: McKay, Beckman and Conover, Technometrics 21 (1979).
    """
    rng = np.random.default_rng([seed, len(ranges), count])
    shares = np.column_stack([(rng.permutation(count) + rng.random(count)) / count for _ in ranges])
    return [{known.name: known.at(share) for known, share in zip(ranges, row, strict=True)} for row in shares.tolist()]


def with_parameters(config: Config, kind: str, parameters: Parameters) -> Config:
    """The settings with these in the kind's section."""
    section: Any = msgspec.structs.replace(getattr(config, kind), **parameters)
    return msgspec.structs.replace(config, **{kind: section})


def as_tried(config: Config, kind: str, parameters: Parameters) -> Config:
    """The settings that a trial fits with."""
    return with_parameters(config, kind, {**parameters, **CHEAPER.get(kind, {})})
