"""Deribit as it answers for its volatility index: bars below /deribit, the open one among them, page by page."""

from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.rehearsal.coins import WELL_KNOWN, Coin
from cryptocast.rehearsal.messages import HttpRequest, Reply, json_reply
from cryptocast.rehearsal.price_walks import DAY_MS, HOUR_MS, PriceWalks

PATH: Final = "/deribit/api/v2/public/get_volatility_index_data"
STEPS_MS: Final = {"1D": DAY_MS, "3600": HOUR_MS}
COINS: Final = {"BTC": WELL_KNOWN["bitcoin"], "ETH": WELL_KNOWN["ethereum"]}
FIRST_MS: Final = 18_710 * DAY_MS  # 2021-03-24, a week before it was published
PAGE: Final = 1000


def is_index_call(request: HttpRequest) -> bool:
    """Whether Deribit is asked."""
    return request.path.startswith("/deribit/")


def index_answer(request: HttpRequest, market: PriceWalks, now_ms: int) -> Reply:
    """The newest bars of the span, oldest first, and where the page before them ends."""
    try:
        coin, step_ms = COINS[request.params["currency"]], STEPS_MS[request.params["resolution"]]
        first, last = (int(request.params[name]) for name in ("start_timestamp", "end_timestamp"))
    except (KeyError, ValueError):
        return json_reply({"jsonrpc": "2.0", "error": {"code": -32602, "message": "Invalid params"}}, status=400)
    if request.path != PATH:
        return json_reply({"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}}, status=404)
    openings = (
        np.arange(-(-max(first, FIRST_MS) // step_ms), min(last, now_ms) // step_ms + 1, dtype=np.int64) * step_ms
    )
    page = openings[-PAGE:]
    rows = _bars(market, coin, page, step_ms, now_ms)
    result = {"data": rows, "continuation": int(page[0]) - step_ms if len(openings) > PAGE else None}
    return json_reply({"jsonrpc": "2.0", "result": result, "usIn": 0, "usOut": 0, "usDiff": 0, "testnet": False})


def index_value(market: PriceWalks, coin: Coin, at_ms: Int64Array) -> FloatArray:
    """In percent a year: slow waves, and some noise of each hour."""
    days, noise = at_ms / DAY_MS, market.noise(coin, "implied", at_ms // HOUR_MS)
    values: FloatArray = 60.0 * np.exp(0.3 * np.sin(days / 23.0) + 0.1 * np.sin(days / 3.0) + 0.05 * noise)
    return values


def _bars(market: PriceWalks, coin: Coin, openings: Int64Array, step_ms: int, now_ms: int) -> list[list[float]]:
    at = np.minimum(openings[:, None] + np.arange(step_ms // HOUR_MS + 1, dtype=np.int64) * HOUR_MS, now_ms)
    values = index_value(market, coin, at.ravel()).reshape(at.shape)
    columns = (values[:, 0], values.max(axis=1), values.min(axis=1), values[:, -1])
    rows = zip(openings.tolist(), *(column.tolist() for column in columns), strict=True)
    return [list(row) for row in rows]
