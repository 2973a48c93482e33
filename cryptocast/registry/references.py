"""How a person names what the registry holds: bitcoin, bitcoin/lightgbm, bitcoin/lightgbm:3,
bitcoin/lightgbm@production, bitcoin@best.

`#hourly` or `#daily` at the end says which bars; without it the caller's granularity counts. A key as it is printed may
stand there too: bitcoin/lightgbm (sample, usd, daily). Every command reads names by this one parser, so that whatever
one prints another takes.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast, get_args

from cryptocast.choices import Granularity
from cryptocast.config import COIN_PATTERN, VS_PATTERN
from cryptocast.errors import UsageError
from cryptocast.kinds import SHIPPED
from cryptocast.market import Market
from cryptocast.registry.manifest import WORD_PATTERN
from cryptocast.registry.version import CHALLENGER, PRODUCTION, KeyFilter

BEST = "best"
ALIASES = (PRODUCTION, CHALLENGER, SHIPPED)
MAX_NUMBER_DIGITS = 9
SHAPES = (
    "bitcoin, bitcoin/lightgbm, bitcoin/lightgbm:3, bitcoin/lightgbm@production or bitcoin@best, with #hourly if so"
)


@dataclass(frozen=True, slots=True)
class VersionReference:
    """A parsed reference. What is None was not said.

    kind None: the best kind of the coin, or its only one. alias and number None: production, else the newest. source
    and vs are said together, with the granularity, as a key is printed.
    """

    coin: str
    kind: str | None = None
    alias: str | None = None
    number: int | None = None
    granularity: Granularity | None = None
    source: str | None = None
    vs: str | None = None

    @property
    def columns(self) -> KeyFilter:
        """The keys that it may mean: the alias and the number aside."""
        bars = {"source": self.source, "vs": self.vs, "granularity": self.granularity}
        return cast("KeyFilter", {"coin": self.coin or None, "kind": self.kind, **bars})

    def within(self, market: Market) -> Market:
        """The market that is meant: what the reference does not say is as in this one."""
        return Market(self.source or market.source, self.vs or market.vs, self.granularity or market.granularity)

    def __str__(self) -> str:
        kind = f"/{self.kind}" if self.kind else ""
        which = f"@{self.alias}" if self.alias else f":{self.number}" if self.number is not None else ""
        bars = f"#{self.granularity}" if self.granularity else ""
        if self.source is not None:
            bars = f" ({self.source}, {self.vs}, {self.granularity})"
        return f"{self.coin}{kind}{which}{bars}"


def parse_reference(text: str) -> VersionReference:
    """The reference that a text means. Raises UsageError that names the part which cannot be meant."""
    rest, key = _cut(text.removesuffix(")"), " (") if text.endswith(")") else (text, None)
    rest, granularity = _cut(rest, "#")
    rest, alias = _cut(rest, "@")
    rest, number = _cut(rest, ":")
    coin, kind = _cut(rest, "/")
    if not re.fullmatch(COIN_PATTERN, coin):
        raise _wrong(text, f"{coin[:120]!r} is not a CoinGecko id (lower-case letters, digits and hyphens)")
    if kind is not None and not re.fullmatch(WORD_PATTERN, kind):
        raise _wrong(text, f"{kind[:120]!r} is not a kind of model, such as lightgbm")
    source, vs, bars = (None, None, None) if key is None else _bars(text, key)
    if granularity is not None and granularity not in get_args(Granularity):
        raise _wrong(text, f"#{granularity[:120]!r} is neither #daily nor #hourly")
    if None not in (granularity, bars) and granularity != bars:
        raise _wrong(text, f"it is of {granularity} and of {bars} bars")
    _check_which(text, kind, alias, number)
    return VersionReference(
        coin=coin,
        kind="lightgbm" if kind is None and alias == SHIPPED else kind,
        alias=alias,
        number=None if number is None else int(number),
        granularity=cast("Granularity | None", granularity or bars),
        source=source,
        vs=vs,
    )


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Of the names that there are the one that looks most like it; None: none does."""
    close = difflib.get_close_matches(name, sorted(set(names)), n=1, cutoff=0.5)
    return close[0] if close else None


def _bars(text: str, key: str) -> tuple[str, str, str]:
    """Source, quote currency and granularity, as they stand behind a printed key."""
    source, vs, granularity, *more = [*key.split(", "), "", ""]
    is_market = (
        re.fullmatch(WORD_PATTERN, source) and re.fullmatch(VS_PATTERN, vs) and granularity in get_args(Granularity)
    )
    if is_market and more == ["", ""]:
        return source, vs, granularity
    raise _wrong(text, f"({key[:120]!r}) is not the source, currency and granularity of bars: (sample, usd, daily)")


def _check_which(text: str, kind: str | None, alias: str | None, number: str | None) -> None:
    if kind is not None and alias == BEST:
        raise _wrong(text, "@best chooses among the kinds of a coin, so it goes without a kind")
    if alias is not None and number is not None:
        raise _wrong(text, "it has an alias and a number; one of them says it all")
    if alias is not None and alias not in (*ALIASES, BEST):
        raise _wrong(text, f"@{alias[:120]!r} is not an alias; known are @{', @'.join(ALIASES)} and bitcoin@best")
    if number is not None and not (number.isascii() and number.isdigit() and 0 < len(number) <= MAX_NUMBER_DIGITS):
        raise _wrong(text, f"{number[:120]!r} is not a version number")
    if number is not None and int(number) < 1:
        raise _wrong(text, "versions count from 1")


def _cut(text: str, sign: str) -> tuple[str, str | None]:
    head, mark, tail = text.partition(sign)
    return head, tail if mark else None


def _wrong(text: str, what: str) -> UsageError:
    return UsageError(f"{text[:120]!r} names no version: {what}. Write {SHAPES}.")
