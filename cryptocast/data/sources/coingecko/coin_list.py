"""The upstream's list of coins: ids looked up by what people type, and where they moved."""

import difflib
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from cryptocast.data.coin_names import coins_in_table, row_of
from cryptocast.data.coins import COIN_ID
from cryptocast.data.parquet import write_atomically
from cryptocast.data.sources.upstream import decoded
from cryptocast.errors import UpstreamError

KEPT: Final = timedelta(days=1)
MAX_GUESSES: Final = 3
NEAR: Final = 0.75  # of difflib's ratio

# Ids that moved before anybody here kept a list. The new coin may be another token: its candles start anew.
MOVED: Final[Mapping[str, str]] = {
    "matic-network": "polygon-ecosystem-token",
    "fantom": "sonic-3",
    "maker": "sky",
    "eos": "vaulta",
}


class ListedCoin(msgspec.Struct, frozen=True):
    """One row of `/coins/list`; platforms are left out."""

    id: str
    symbol: str | None = ""
    name: str | None = ""


class CoinList(msgspec.Struct, frozen=True, kw_only=True):
    """Every coin that the upstream lists, and where those that it listed before have moved."""

    fetched_at: datetime
    coins: tuple[ListedCoin, ...]
    moves: dict[str, str] = msgspec.field(default_factory=dict, name="moved")

    def __contains__(self, coin: object) -> bool:
        return any(listed.id == coin for listed in self.coins)

    def is_fresh(self, now: datetime) -> bool:
        """Whether it is younger than a day. A list from the future is not."""
        return timedelta(0) <= now - self.fetched_at < KEPT

    def moved_to(self, coin: str) -> str | None:
        """The id under which a coin goes on, if it is known to have moved and is not listed itself."""
        new = self.moves.get(coin) or MOVED.get(coin)
        return new if new is not None and new in self and coin not in self else None

    def matches(self, text: str) -> tuple[str, ...]:
        """Ids that a text may mean, best first: an id, a symbol, a name, or close to an id or a name. At most three."""
        word = text.strip().casefold()
        if word in self:
            return (word,)
        exact = [listed.id for listed in self.coins if word in _words(listed)[1:]]
        row = row_of(word.upper(), {})
        well_known = None if row is None else row.coin
        if exact:  # symbols are not unique: well-known ids first, then the short ones, which are the older ones
            famous = coins_in_table()
            exact = sorted(dict.fromkeys(exact), key=lambda coin: (coin != well_known, coin not in famous, len(coin)))
            return tuple(exact[:MAX_GUESSES])
        by_word = {each: listed.id for listed in reversed(self.coins) for each in _words(listed) if len(each) > 2}
        close = difflib.get_close_matches(word, by_word, n=2 * MAX_GUESSES, cutoff=NEAR)
        return tuple(dict.fromkeys(by_word[each] for each in close))[:MAX_GUESSES]

    def with_symbol(self, symbol: str) -> tuple[str, ...]:
        """The ids of all coins that have it."""
        word = symbol.casefold()
        return tuple(coin.id for coin in self.coins if _words(coin)[1] == word and COIN_ID.fullmatch(coin.id))

    def symbol_of(self, coin: str) -> str | None:
        """In capitals; None if the coin is not listed, or has none."""
        return next(((listed.symbol or "").upper() or None for listed in self.coins if listed.id == coin), None)

    def suggestion(self, text: str) -> str:
        """` Did you mean bitcoin?`, with up to three ids, or an empty string."""
        ids = [coin for coin in self.matches(text) if coin != text and COIN_ID.fullmatch(coin)]
        return f" Did you mean {' or '.join(ids)}?" if ids else ""

    def after(self, old: "CoinList | None") -> "CoinList":
        """The same list, with the moves since an older one: an id that went, and one that came with its name, or with
        its symbol where that leaves no choice."""
        if old is None:
            return self
        here, there = {c.id for c in self.coins}, {c.id for c in old.coins}
        came: dict[str, list[str]] = defaultdict(list)
        for listed in self.coins:
            if listed.id not in there:
                for word in _words(listed)[1:]:
                    came[word].append(listed.id)
        moves = dict(old.moves)
        for listed in old.coins:
            if listed.id in here:
                continue
            _, symbol, name = _words(listed)
            heirs = came.get(name) or came.get(symbol) or []
            if len(set(heirs)) == 1:
                moves[listed.id] = heirs[0]
        return msgspec.structs.replace(self, moves={a: b for a, b in moves.items() if a not in here})


def _words(listed: ListedCoin) -> tuple[str, str, str]:
    return listed.id.casefold(), (listed.symbol or "").casefold(), (listed.name or "").casefold()


def parse_coin_list(body: bytes, now: datetime) -> CoinList:
    """The list in an answer of `/coins/list`. Rows without a usable id are left out. Raises UpstreamError for what is
    no list."""
    rows = decoded(body, list[ListedCoin], "CoinGecko's coin list")
    usable = tuple(row for row in rows if _is_usable(row))
    if not usable:
        raise UpstreamError("CoinGecko's coin list is empty. Try again later.")
    return CoinList(fetched_at=now, coins=usable)


def _is_usable(row: ListedCoin) -> bool:
    return 0 < len(row.id) <= 200 and row.id.isprintable()


def read_coin_list(path: Path) -> CoinList | None:
    """The list that was kept on disk; None if there is none, or none that can be read: it can be had again."""
    try:
        file = path.stat()
        return _decoded_at(path, (file.st_ino, file.st_mtime_ns, file.st_size))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@lru_cache(maxsize=1)
def _decoded_at(path: Path, stamp: tuple[int, ...]) -> CoinList:  # noqa: ARG001 - another file is another answer
    return msgspec.json.decode(path.read_bytes(), type=CoinList)


def write_coin_list(path: Path, coins: CoinList) -> None:
    """Keep it on disk. Raises DataError when the disk refuses."""
    write_atomically(path, msgspec.json.encode(coins))
