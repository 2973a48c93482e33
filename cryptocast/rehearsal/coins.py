"""Which coins and currencies the stand-in knows."""

import dataclasses
from dataclasses import dataclass
from typing import Final

__all__ = ["CURRENCIES", "DAY_S", "Coin", "catalogue"]

DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """One coin. Times are unix seconds; None: always, or never."""

    id: str
    symbol: str
    name: str
    price: float  # in dollars, at the anchor of the walk, 2026-01-01
    supply: float = 1e8  # coins in circulation
    max_supply: float | None = None
    daily_volatility: float = 0.04  # of log returns
    pegged: bool = False  # stays at its price, like a stablecoin
    priced: bool = True  # False: known, but without a price
    capped: bool = True  # False: market caps are 0, which stands for unknown
    listed_at: int | None = None  # no price before
    stopped_at: int | None = None  # no new price from then on, and nothing says so
    removed_at: int | None = None  # from then on unknown: off the list, 404
    walk: str | None = None  # the name of its price path, if not its id: a coin whose id moved keeps its path

    def known(self, now_s: float) -> bool:
        """Whether the upstream knows the id at this moment."""
        return self.removed_at is None or now_s < self.removed_at


# id, symbol, name, price, circulating supply
KNOWN: Final = (
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
    ("chainlink", "link", "Chainlink", 12.4, 6.9e8),
    ("stellar", "xlm", "Stellar", 0.21, 3.2e10),
    ("litecoin", "ltc", "Litecoin", 78.0, 7.6e7),
    ("monero", "xmr", "Monero", 430.0, 1.84e7),
    ("avalanche-2", "avax", "Avalanche", 12.6, 4.3e8),
    ("sui", "sui", "Sui", 1.42, 3.6e9),
    ("hedera-hashgraph", "hbar", "Hedera", 0.11, 4.2e10),
    ("shiba-inu", "shib", "Shiba Inu", 7.1e-06, 5.89e14),
    ("the-open-network", "ton", "Toncoin", 1.55, 2.5e9),
    ("polkadot", "dot", "Polkadot", 1.8, 1.6e9),
    ("uniswap", "uni", "Uniswap", 5.9, 6.3e8),
    ("dai", "dai", "Dai", 1.0, 5.3e9),
    ("aave", "aave", "Aave", 152.0, 1.5e7),
    ("pepe", "pepe", "Pepe", 4.1e-06, 4.2e14),
    ("near", "near", "NEAR Protocol", 1.5, 1.28e9),
    ("ethereum-classic", "etc", "Ethereum Classic", 11.8, 1.5e8),
    ("polygon-ecosystem-token", "pol", "POL (ex-MATIC)", 0.105, 1.05e10),
    ("aptos", "apt", "Aptos", 1.7, 7.4e8),
    ("internet-computer", "icp", "Internet Computer", 3.0, 5.4e8),
    ("arbitrum", "arb", "Arbitrum", 0.19, 5.7e9),
    ("filecoin", "fil", "Filecoin", 1.3, 7.2e8),
    ("cosmos", "atom", "Cosmos Hub", 1.95, 4.8e8),
    ("algorand", "algo", "Algorand", 0.112, 8.8e9),
    # Symbols are not unique: another coin that calls itself btc.
    ("batcat", "btc", "batcat", 2.1e-05, 1e9),
)
VOLATILITY: Final = {"bitcoin": 0.025, "ethereum": 0.035}
PEGGED: Final = frozenset({"tether", "usd-coin", "dai"})
MAX_SUPPLY: Final = {"bitcoin": 2.1e7, "litecoin": 8.4e7, "bitcoin-cash": 2.1e7}

KNOWN_COINS: Final = {
    coin: Coin(
        id=coin,
        symbol=symbol,
        name=name,
        price=price,
        supply=supply,
        max_supply=MAX_SUPPLY.get(coin),
        daily_volatility=0.0006 if coin in PEGGED else VOLATILITY.get(coin, 0.045),
        pegged=coin in PEGGED,
    )
    for coin, symbol, name, price, supply in KNOWN
}

# What one costs in dollars: a coin, or a number that stays what it is, since exchange rates are not the point.
CURRENCIES: Final[dict[str, float | Coin]] = {
    "btc": KNOWN_COINS["bitcoin"],
    "eth": KNOWN_COINS["ethereum"],
    "ltc": KNOWN_COINS["litecoin"],
    "bch": KNOWN_COINS["bitcoin-cash"],
    "bnb": KNOWN_COINS["binancecoin"],
    "xrp": KNOWN_COINS["ripple"],
    "xlm": KNOWN_COINS["stellar"],
    "link": KNOWN_COINS["chainlink"],
    "dot": KNOWN_COINS["polkadot"],
    "sol": KNOWN_COINS["solana"],
    "usd": 1.0,
    "aed": 0.2723,
    "ars": 0.00069,
    "aud": 0.667,
    "bdt": 0.0082,
    "bhd": 2.653,
    "bmd": 1.0,
    "brl": 0.182,
    "cad": 0.729,
    "chf": 1.262,
    "clp": 0.0011,
    "cny": 0.143,
    "cop": 0.000265,
    "czk": 0.0485,
    "dkk": 0.157,
    "eur": 1.174,
    "gbp": 1.347,
    "gel": 0.371,
    "hkd": 0.1285,
    "huf": 0.00305,
    "idr": 5.98e-05,
    "ils": 0.314,
    "inr": 0.0111,
    "jpy": 0.00638,
    "krw": 0.00069,
    "kwd": 3.25,
    "lkr": 0.00323,
    "mmk": 0.000476,
    "mxn": 0.0556,
    "myr": 0.246,
    "ngn": 0.00069,
    "nok": 0.0992,
    "nzd": 0.576,
    "php": 0.017,
    "pkr": 0.00357,
    "pln": 0.278,
    "rub": 0.0126,
    "sar": 0.2666,
    "sek": 0.1085,
    "sgd": 0.778,
    "thb": 0.0318,
    "try": 0.0233,
    "twd": 0.0318,
    "uah": 0.0236,
    "vef": 0.1,
    "vnd": 3.8e-05,
    "zar": 0.0604,
    "xdr": 1.37,
    "xag": 71.0,
    "xau": 4320.0,
}


def catalogue(generated: int, now_s: int) -> dict[str, Coin]:
    """The coins by id, in order of market cap: well-known ones, odd ones, and coin-000, coin-001, ...

    The odd ones are what makes trouble, counted back from `now_s`: young-coin (listed 20 days ago), stopped-coin (no
    price for 30 days), dead-coin (taken off the list 10 days ago), matic-network (moved: since 30 days it is
    polygon-ecosystem-token, on the same path), unpriced-coin (known, without a price), uncapped-coin (market cap 0).
    """
    coins = [*KNOWN_COINS.values(), *_odd_ones(now_s), *(_generated(i) for i in range(generated))]
    by_cap = sorted(coins, key=lambda coin: (-coin.price * coin.supply * coin.priced * coin.capped, coin.id))
    return {coin.id: coin for coin in by_cap}


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
