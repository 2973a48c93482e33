"""The process that has ccxt: questions as lines of JSON on stdin, answers on stdout. Nothing else of the package.

    python worker.py EXCHANGE [ADDRESS]

ADDRESS replaces the host of every call. A question is {"ask": "markets"} or {"ask": "bars", "symbol", "timeframe",
"since" (ms), "limit"}; an answer {"answer": ...}, or {"error": the class of ccxt's error, "message": its text}.
"""

import asyncio
import json
import re
import sys
from typing import Any

HOST = re.compile(r"^https?://[^/]+")


def moved(value: Any, address: str) -> Any:
    """The addresses of an exchange, with another host."""
    if isinstance(value, dict):
        return {name: moved(item, address) for name, item in value.items()}
    return HOST.sub(address, value) if isinstance(value, str) else value


async def answer(exchange: Any, question: dict[str, Any]) -> Any:
    """What ccxt says, reduced to what is asked for."""
    await exchange.load_markets()
    if question["ask"] == "markets":
        spot = [market for market in exchange.markets.values() if market.get("spot")]
        return [[one["symbol"], one["base"], one["quote"], one.get("active") is not False] for one in spot]
    return await exchange.fetch_ohlcv(
        question["symbol"], question["timeframe"], since=question["since"], limit=question["limit"]
    )


async def serve(name: str, address: str | None) -> None:
    """Answer until stdin ends."""
    import ccxt.async_support as ccxt  # type: ignore[import-not-found]

    if name not in ccxt.exchanges:
        print(json.dumps({"error": "NoSuchExchange", "message": f"ccxt {ccxt.__version__} knows no {name}"}))  # noqa: T201
        return
    exchange = getattr(ccxt, name)({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    if address:
        exchange.urls["api"] = moved(exchange.urls["api"], address)
        exchange.has["fetchCurrencies"] = False
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                reply = {"answer": await answer(exchange, json.loads(line))}
            except ccxt.BaseError as error:
                reply = {"error": type(error).__name__, "message": str(error)[:400]}
            print(json.dumps(reply), flush=True)  # noqa: T201 - its stdout is the answer
    finally:
        await exchange.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
