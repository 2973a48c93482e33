"""What two fits share when one is the other on newer data: the settings that decide a fit, and their hash."""

from typing import Final

import msgspec

from cryptocast.config import Config
from cryptocast.registry import recipe_hash

__all__ = ["fit_settings", "recipe_of"]

# What the feature file adds is in the hash of the features; the rest is data, luck, speed or a check.
LEFT_OUT: Final = frozenset(
    {
        "features.file",
        "train.pool",
        "train.seed",
        "train.threads",
        "train.audit",
        "train.min_train_bars",
        "train.models",
    }
)


def fit_settings(config: Config, kind: str) -> dict[str, bool | int | float | str | None]:
    """What decides a fit of the kind, as "section.key". A kind without settings of its own has the common ones.

    What decides a fit of its members decides an ensemble, too.
    """
    sections = {"features": config.features, "split": config.split, "train": config.train}
    for part in (kind, *config.members(kind)):
        own = getattr(config, part, None)
        if own is not None:
            sections[part] = own
    flat = {
        f"{section}.{key}": ",".join(value) if isinstance(value, tuple) else value
        for section, values in sections.items()
        for key, value in msgspec.structs.asdict(values).items()
    }
    return {name: value for name, value in flat.items() if name not in LEFT_OUT}


def recipe_of(config: Config, kind: str, feature_digest: str) -> str:
    """The hash of kind, settings and features."""
    return recipe_hash(kind, fit_settings(config, kind), feature_digest)
