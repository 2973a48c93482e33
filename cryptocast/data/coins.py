"""Names of coins: checked before they touch a path or a URL, and guessed at when they are wrong."""

import difflib
import re
from typing import Final

from cryptocast.config import COIN, VS
from cryptocast.data.coin_names import coins_in_table, row_of
from cryptocast.errors import UsageError

COIN_ID: Final = re.compile(COIN)


def check_coin(name: str) -> str:
    """The name, if it is a well-formed CoinGecko id; else UsageError. Nothing else may become part of a path."""
    if COIN_ID.fullmatch(name):
        return name
    lower = name.strip().lower()
    hint = f" Did you mean {lower}?" if lower != name and COIN_ID.fullmatch(lower) else ""
    raise UsageError(
        f"{shown(name)} is not a coin id: lower-case letters, digits and hyphens, at most 100, e.g. bitcoin.{hint}"
    )


def check_vs(name: str) -> str:
    """The name, if it is a well-formed quote currency; else UsageError."""
    if re.fullmatch(VS, name):
        return name
    raise UsageError(f"{shown(name)} is not a quote currency: 2 to 10 lower-case letters or digits, e.g. usd.")


def shown(value: object, limit: int = 60) -> str:
    """A value from outside, safe to print on one line: escaped to ASCII and shortened."""
    text = ascii(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def suggestion(name: str) -> str:
    """` Did you mean bitcoin?` for a near miss among well-known ids, else an empty string."""
    row = row_of(name.upper(), {})
    if row is not None and row.coin != name:
        return f" Did you mean {row.coin}?"
    candidates = sorted(coins_in_table() - {name})
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.75)
    return f" Did you mean {close[0]}?" if close else ""
