"""Run in an environment with ccxt: what it reads of the six exchanges, as JSON on stdout.

    python ccxt_rows.py ORIGIN SINCE_MS LIMIT

The rows of each exchange and length of bars: [open time in ms, open, high, low, close, volume in coins], as ccxt's
`fetch_ohlcv` gives them, the open bar among them where the exchange tells it.
"""

import json
import sys
from typing import Any

import ccxt  # type: ignore[import-not-found]

BINANCE = {"options": {"fetchMarkets": {"types": ["spot"]}}}
EXCHANGES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "bitstamp": ("bitstamp", "BTC/USD", "/bitstamp/api", {}),
    "coinbase": ("coinbaseexchange", "BTC/USD", "/coinbase", {}),
    "binance": ("binance", "BTC/USDT", "/binance/api/v3", BINANCE),
    "kraken": ("kraken", "BTC/USD", "/kraken", {}),
    "okx": ("okx", "BTC/USDT", "/okx", {"options": {"fetchMarkets": {"types": ["spot"]}}}),
    "bybit": ("bybit", "BTC/USDT", "/bybit", {"options": {"fetchMarkets": {"types": ["spot"]}}}),
}


def moved(value: Any, address: str) -> Any:
    """Every address of an exchange replaced."""
    return {key: moved(item, address) for key, item in value.items()} if isinstance(value, dict) else address


def main() -> None:
    origin, since_ms, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    found = {}
    for name, (ccxt_name, symbol, path, settings) in EXCHANGES.items():
        exchange = getattr(ccxt, ccxt_name)({"enableRateLimit": False, **settings})
        exchange.urls["api"] = moved(exchange.urls["api"], origin + path)
        exchange.has["fetchCurrencies"] = False
        exchange.load_markets()
        found[name] = {
            grain: exchange.fetch_ohlcv(symbol, timeframe, since=since_ms, limit=limit)
            for grain, timeframe in (("daily", "1d"), ("hourly", "1h"))
        }
    json.dump({"version": ccxt.__version__, "rows": found}, sys.stdout)


if __name__ == "__main__":
    main()
