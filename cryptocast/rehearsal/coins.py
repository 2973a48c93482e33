"""Which coins and currencies the stand-in knows."""

import dataclasses
from dataclasses import dataclass
from typing import Final

DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """One coin. Times are unix seconds; None: always, or never."""

    id: str
    symbol: str
    name: str
    price: float  # in dollars, at the anchor of the walk, 2026-01-01
    supply: float = 1e8  # coins in circulation
    daily_volatility: float = 0.04  # of log returns
    pegged: bool = False  # stays at its price, like a stablecoin
    priced: bool = True  # False: known, but without a price
    capped: bool = True  # False: market caps are 0, which stands for unknown
    listed_at: int | None = None  # no price before
    stopped_at: int | None = None  # no new price from then on, and nothing says so
    removed_at: int | None = None  # from then on unknown: off the list, 404
    walk: str | None = None  # the name of its price path, if not its id: a coin whose id moved keeps its path

    def is_listed(self, now_s: float) -> bool:
        """Whether the upstream knows the id at this moment."""
        return self.removed_at is None or now_s < self.removed_at


# id, symbol, name, price, circulating supply
TABLE: Final = (
    ("bitcoin", "btc", "Bitcoin", 61234.5, 1.99e7),
    ("ethereum", "eth", "Ethereum", 2950.0, 1.207e8),
    ("tether", "usdt", "Tether", 1.0, 1.4e11),
    ("ripple", "xrp", "XRP", 1.85, 5.8e10),
    ("binancecoin", "bnb", "BNB", 640.0, 1.39e8),
    ("solana", "sol", "Solana", 125.0, 5.4e8),
    ("usd-coin", "usdc", "USDC", 1.0, 6.0e10),
    ("tron", "trx", "TRON", 0.28, 9.5e10),
    ("dogecoin", "doge", "Dogecoin", 0.12, 1.5e11),
    ("cardano", "ada", "Cardano", 0.36, 3.6e10),
    ("bitcoin-cash", "bch", "Bitcoin Cash", 590.0, 2.0e7),
    ("litecoin", "ltc", "Litecoin", 78.0, 7.6e7),
    ("monero", "xmr", "Monero", 430.0, 1.84e7),
    ("shiba-inu", "shib", "Shiba Inu", 7.1e-06, 5.89e14),
    ("dai", "dai", "Dai", 1.0, 5.3e9),
    ("pepe", "pepe", "Pepe", 4.1e-06, 4.2e14),
    ("polygon-ecosystem-token", "pol", "POL (ex-MATIC)", 0.105, 1.05e10),
    # Symbols are not unique: another coin that calls itself btc.
    ("batcat", "btc", "batcat", 2.1e-05, 1e9),
)
VOLATILITY: Final = {"bitcoin": 0.025, "ethereum": 0.035}
PEGGED: Final = frozenset({"tether", "usd-coin", "dai"})

WELL_KNOWN: Final = {
    coin: Coin(
        id=coin,
        symbol=symbol,
        name=name,
        price=price,
        supply=supply,
        daily_volatility=0.0006 if coin in PEGGED else VOLATILITY.get(coin, 0.045),
        pegged=coin in PEGGED,
    )
    for coin, symbol, name, price, supply in TABLE
}

# What one costs in dollars: a coin, or a number that stays what it is, since exchange rates are not the point.
CURRENCIES: Final[dict[str, float | Coin]] = {
    "btc": WELL_KNOWN["bitcoin"],
    "eth": WELL_KNOWN["ethereum"],
    "usd": 1.0,
    "aud": 0.667,
    "brl": 0.182,
    "cad": 0.729,
    "chf": 1.262,
    "cny": 0.143,
    "eur": 1.174,
    "gbp": 1.347,
    "inr": 0.0111,
    "jpy": 0.00638,
    "krw": 0.00069,
    "mxn": 0.0556,
    "pln": 0.278,
    "try": 0.0233,
}


def catalogue(generated: int, now_s: int) -> dict[str, Coin]:
    """The coins by id: well-known ones, coin-000, coin-001, ..., and odd ones.

    The odd ones are what makes trouble, counted back from `now_s`: young-coin (listed 20 days ago), stopped-coin (no
    price for 30 days), dead-coin (taken off the list 10 days ago), matic-network (moved: since 30 days it is
    polygon-ecosystem-token, on the same path), unpriced-coin (known, without a price), uncapped-coin (market cap 0).
    """
    coins = [*WELL_KNOWN.values(), *(_generated(i) for i in range(generated)), *_odd_ones(now_s)]
    return {coin.id: coin for coin in coins}


def _odd_ones(now_s: int) -> list[Coin]:
    def odd(name: str, symbol: str) -> Coin:
        title = name.replace("-", " ").title()
        return Coin(id=name, symbol=symbol, name=title, price=0.5, supply=1e9, daily_volatility=0.06)

    change = dataclasses.replace
    return [
        change(odd("young-coin", "young"), listed_at=now_s - 20 * DAY_S),
        change(odd("stopped-coin", "stop"), stopped_at=now_s - 30 * DAY_S),
        change(odd("dead-coin", "dead"), stopped_at=now_s - 12 * DAY_S, removed_at=now_s - 10 * DAY_S),
        change(
            odd("matic-network", "matic"),
            price=0.105,
            daily_volatility=0.045,
            walk="polygon-ecosystem-token",
            stopped_at=now_s - 31 * DAY_S,
            removed_at=now_s - 30 * DAY_S,
        ),
        change(odd("unpriced-coin", "nop"), priced=False),
        change(odd("uncapped-coin", "nocap"), capped=False),
    ]


def _generated(number: int) -> Coin:
    # Prices over eight decades and falling caps, without a random number: the walk alone is seeded.
    return Coin(
        id=f"coin-{number:03d}",
        symbol=f"c{number:03d}",
        name=f"Coin {number:03d}",
        price=round(10.0 ** (2.5 - (number * 37 % 80) / 10), 9),
        supply=2e8 / (1 + number) / 10.0 ** (2.5 - (number * 37 % 80) / 10),
        daily_volatility=0.03 + 0.001 * (number * 7 % 40),
    )
