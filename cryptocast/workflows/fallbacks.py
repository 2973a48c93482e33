"""Why another model answers than the one that was asked for: a code for programs, a sentence where people read it."""

from enum import StrEnum
from typing import Final

import msgspec


class FallbackCode(StrEnum):
    """What kept a model from answering."""

    NO_VERSION = "no_version"  # none of the kind is in production
    UNFITTED_HORIZON = "unfitted_horizon"  # beyond the longest horizon that it was fitted for
    TOO_FEW_BARS = "too_few_bars"  # in the coin's own history
    LATE_BARS = "late_bars"  # the last bar known is older than the horizon
    LATER_DATA = "later_data"  # it learned from bars after the moment of the forecast
    FEATURES = "features"  # they cannot be computed as they were for its fit
    OWN_MODEL = "own_model"  # its code, a file of the user's own, is not here or another
    ARTEFACT = "artefact"  # its files cannot be loaded
    EXCEPTION = "exception"  # it was asked and failed
    BREAKER = "breaker"  # it has failed again and again, and is left alone for some seconds
    REGISTRY = "registry"  # which version is in production cannot be read
    CANDLES = "candles"  # there are none now; the last good forecast is given
    TIMEOUT = "timeout"  # the forecast was not ready in time; the last good one is given
    OVERLOAD = "overload"  # too many forecasts wait to be computed; the last good one is given


# What may be over in a moment: an answer that rests on it is made anew within seconds. Everything else is so until the
# bars, the version in production or the settings change.
PASSING: Final = frozenset(
    {
        FallbackCode.ARTEFACT,
        FallbackCode.EXCEPTION,
        FallbackCode.BREAKER,
        FallbackCode.REGISTRY,
        FallbackCode.CANDLES,
        FallbackCode.TIMEOUT,
        FallbackCode.OVERLOAD,
    }
)


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """Why a model does not answer. version: its name, where there is one, e.g. bitcoin/lightgbm:3; detail: the cause,
    for a person, where the code does not say all."""

    code: FallbackCode
    version: str | None = None
    detail: str | None = None


CAUSES: Final = {
    FallbackCode.NO_VERSION: "no version of this model is in production",
    FallbackCode.UNFITTED_HORIZON: "it was not fitted so far ahead",
    FallbackCode.TOO_FEW_BARS: "the coin's history is too short",
    FallbackCode.LATE_BARS: "the last bar known is older than the horizon",
    FallbackCode.LATER_DATA: "it learned from bars after the time of this forecast",
    FallbackCode.FEATURES: "its features cannot be computed",
    FallbackCode.OWN_MODEL: "the file with its code is missing or another",
    FallbackCode.ARTEFACT: "its files cannot be loaded",
    FallbackCode.EXCEPTION: "it failed; the log has the cause",
    FallbackCode.BREAKER: "it has failed several times in a row and is tried again in a few seconds",
    FallbackCode.REGISTRY: "the registry cannot be read",
    FallbackCode.CANDLES: "the candles cannot be read; this is the last good forecast",
    FallbackCode.TIMEOUT: "the next forecast is still being computed; this is the last good one",
    FallbackCode.OVERLOAD: "too many forecasts are waiting to be computed; this is the last good one",
}


def sentence(fallback: Fallback) -> str:
    """The reason in words, to stand behind a colon."""
    cause = fallback.detail.rstrip(".") if fallback.detail else CAUSES[fallback.code]
    return f"{cause}." if fallback.version is None else f"{fallback.version} cannot answer: {cause}."
