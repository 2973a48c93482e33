"""How a person names a version: bitcoin/lightgbm@production, bitcoin/lightgbm:3, bitcoin/lightgbm, bitcoin@best.

`#hourly` or `#daily` at the end says which bars; without it the caller's granularity counts.
"""

import re
from dataclasses import dataclass
from typing import cast, get_args

from cryptocast.config import Granularity
from cryptocast.errors import UsageError
from cryptocast.registry.manifest import COIN_PATTERN, WORD_PATTERN
from cryptocast.registry.version import CHALLENGER, PRODUCTION

__all__ = ["BEST", "Reference", "parse_reference"]

BEST = "best"
ALIASES = (PRODUCTION, CHALLENGER)
MAX_NUMBER_DIGITS = 9
SHAPES = "bitcoin/lightgbm@production, bitcoin/lightgbm:3, bitcoin/lightgbm or bitcoin@best, each with #hourly if so"


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference. kind None: the best kind of the coin. alias and number None: production, else the newest."""

    coin: str
    kind: str | None = None
    alias: str | None = None
    number: int | None = None
    granularity: Granularity | None = None

    def __str__(self) -> str:
        kind = f"/{self.kind}" if self.kind else ""
        which = f"@{self.alias}" if self.alias else f":{self.number}" if self.number is not None else ""
        return f"{self.coin}{kind}{which}" + (f"#{self.granularity}" if self.granularity else "")


def parse_reference(text: str) -> Reference:
    """The reference that a text means. Raises UsageError that names the part which cannot be meant."""
    rest, granularity = _cut(text, "#")
    rest, alias = _cut(rest, "@")
    rest, number = _cut(rest, ":")
    coin, kind = _cut(rest, "/")
    if not re.fullmatch(COIN_PATTERN, coin):
        raise _wrong(text, f"{coin[:120]!r} is no CoinGecko id (lower-case letters, digits and hyphens)")
    if kind is not None and not re.fullmatch(WORD_PATTERN, kind):
        raise _wrong(text, f"{kind[:120]!r} is no kind of model, such as lightgbm")
    if granularity is not None and granularity not in get_args(Granularity):
        raise _wrong(text, f"#{granularity[:120]!r} is neither #daily nor #hourly")
    _check_which(text, kind, alias, number)
    return Reference(
        coin=coin,
        kind=kind,
        alias=alias,
        number=None if number is None else int(number),
        granularity=cast("Granularity | None", granularity),
    )


def _check_which(text: str, kind: str | None, alias: str | None, number: str | None) -> None:
    if kind is None and alias != BEST:
        raise _wrong(text, "it names no kind of model, and only @best goes without one")
    if kind is not None and alias == BEST:
        raise _wrong(text, "@best chooses among the kinds of a coin, so it goes without a kind")
    if alias is not None and number is not None:
        raise _wrong(text, "it has an alias and a number; one of them says it all")
    if kind is not None and alias is not None and alias not in ALIASES:
        raise _wrong(text, f"@{alias[:120]!r} is not an alias; known are @production, @challenger and bitcoin@best")
    if number is not None and not (number.isascii() and number.isdigit() and 0 < len(number) <= MAX_NUMBER_DIGITS):
        raise _wrong(text, f"{number[:120]!r} is no version number")
    if number is not None and int(number) < 1:
        raise _wrong(text, "versions count from 1")


def _cut(text: str, sign: str) -> tuple[str, str | None]:
    head, found, tail = text.partition(sign)
    return head, tail if found else None


def _wrong(text: str, what: str) -> UsageError:
    return UsageError(f"{text[:120]!r} names no version: {what}. Write {SHAPES}.")
