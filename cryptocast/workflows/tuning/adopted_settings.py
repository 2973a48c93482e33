"""Settings that a tuning found: a file for each series and kind, which the next training and backtest use.

`tuned/<source>/<vs>/<granularity>/<kind>.json` below the store. What is found is used only for what it was compared
with: the same section of the settings, the same features.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from cryptocast.choices import Granularity
from cryptocast.config import TUNABLE, Config
from cryptocast.data.parquet import write_atomically
from cryptocast.errors import DataError
from cryptocast.market import Market
from cryptocast.workflows.coin_pool import CoinPool
from cryptocast.workflows.context import Context
from cryptocast.workflows.tuning.search_space import Parameters, with_parameters

FOLDER: Final = "tuned"


class TunedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a study came to. settings: those that were found, empty where the defaults stay."""

    schema: Literal["cryptocast.tuned/1"] = "cryptocast.tuned/1"
    kind: str
    source: str
    vs: str
    granularity: Granularity
    coins: tuple[str, ...]
    horizons: tuple[int, ...]
    data_hash: str  # of the bars of all coins
    feature_hash: str
    base: Mapping[str, Any]  # the section that it was compared with
    settings: Mapping[str, int | float]
    score: float
    default_score: float
    p_better: float | None
    trials: int
    study: str
    seen_until: datetime  # the last bar that the study could see; the hold-out begins behind it
    found_at: datetime
    code_version: str


def tuned_path(store: Path, market: Market, kind: str) -> Path:
    """Where the settings of a series and kind stand."""
    return store / FOLDER / market.source / market.vs / market.granularity / f"{kind}.json"


def write_tuned(store: Path, settings: TunedSettings) -> Path:
    """Keep it, whole or not at all. Raises DataError when the disk refuses."""
    path = tuned_path(store, Market(settings.source, settings.vs, settings.granularity), settings.kind)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(settings)))
    return path


def read_tuned(path: Path) -> TunedSettings | None:
    """What was kept; None if nothing was. Raises DataError if it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=TunedSettings) if path.is_file() else None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"The tuned settings {path} cannot be read: {error}. Run cryptocast tune again, or leave them out: "
            "--no-tuned."
        ) from error


def section_facts(config: Config, kind: str) -> dict[str, Any]:
    """The kind's section of the settings, as plain values."""
    facts: dict[str, Any] = msgspec.to_builtins(getattr(config, kind))
    return facts


def with_adopted(
    context: Context, pool: CoinPool, feature_hash: str, kinds: Collection[str], *, past: bool = False
) -> tuple[Context, tuple[str, ...]]:
    """The context with what was found for the models of these kinds, and what to say about it.

    An ensemble uses what was found for its members. past: past origins are scored, so it is said that the choice had
    seen them. `[tune] use = false` leaves everything as it is.
    """
    config, notes = context.config, []
    if not config.tune.use:
        return context, ()
    for kind in TUNABLE:
        if not any(kind in (one, *config.members(one)) for one in kinds):
            continue
        settings = read_tuned(tuned_path(config.store.path, pool.market, kind))
        if settings is None or not settings.settings:
            continue
        reason = _stale(settings, config, feature_hash)
        if reason:
            notes.append(f"{kind}: what tune found on {settings.found_at:%Y-%m-%d} is not used, because {reason}")
            continue
        config = with_parameters(config, kind, _checked(settings))
        notes.append(_words(settings))
        if past:
            notes.append(
                f"{kind}: those settings were chosen on bars until {settings.seen_until:%Y-%m-%d}, so its scores on "
                "origins before that are too good; those behind it, and a walk with --no-tuned, are not"
            )
    return replace(context, config=config), tuple(notes)


def parameter_words(parameters: Parameters) -> str:
    """num_leaves 8, learning_rate 0.031."""
    return ", ".join(f"{name} {value:.4g}" for name, value in parameters.items())


def _words(settings: TunedSettings) -> str:
    gain = 100 * (1 - settings.score / settings.default_score)
    return (
        f"{settings.kind} is fitted with what tune found ({parameter_words(settings.settings)}): CRPS {gain:.2f} % "
        f"below that of the settings' own on folds before {settings.seen_until:%Y-%m-%d}, best of {settings.trials} "
        "trials. --no-tuned leaves it out"
    )


def _stale(settings: TunedSettings, config: Config, feature_hash: str) -> str:
    if settings.feature_hash != feature_hash:
        return "it was found with other features. Run cryptocast tune again"
    if dict(settings.base) != section_facts(config, settings.kind):
        return f"[{settings.kind}] of the settings has changed since. Run cryptocast tune again"
    return ""


def _checked(settings: TunedSettings) -> Parameters:
    """The settings, of the type and in the bounds that the section demands."""
    section = {**settings.base, **settings.settings}
    kind = type(getattr(Config(), settings.kind))
    try:
        whole = msgspec.convert(section, kind)
    except msgspec.ValidationError as error:
        raise DataError(
            f"What tune found for {settings.kind} is out of bounds: {error}. Run cryptocast tune again, or leave it "
            "out: --no-tuned."
        ) from error
    return {name: getattr(whole, name) for name in settings.settings}
