"""What each exchange's documented answer says, and what its errors mean. The rows are made up in the documented shapes;
sources are named in the modules."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cryptocast.data.sources.exchanges.base import HttpExchange, Row
from cryptocast.data.sources.exchanges.binance import BINANCE
from cryptocast.data.sources.exchanges.bitstamp import BITSTAMP
from cryptocast.data.sources.exchanges.bybit import BYBIT
from cryptocast.data.sources.exchanges.coinbase import COINBASE
from cryptocast.data.sources.exchanges.kraken import KRAKEN
from cryptocast.data.sources.exchanges.markets import Listing
from cryptocast.data.sources.exchanges.okx import OKX

AT = int(datetime(2024, 3, 13, tzinfo=UTC).timestamp())
DAY = 86_400
BAR = Row(AT, 100.0, 120.0, 90.0, 110.0, 5.0)
PAID = BAR._replace(quote_volume=530.0)

ANSWERS: list[tuple[HttpExchange, Any, list[Row]]] = [
    (
        BITSTAMP,
        {
            "data": {
                "pair": "BTC/USD",
                "ohlc": [
                    {"timestamp": str(AT), "open": "100", "high": "120", "low": "90", "close": "110", "volume": "5"}
                ],
            }
        },
        [BAR],
    ),
    (COINBASE, [[AT, 90, 120, 100, 110, 5]], [BAR]),
    (
        BINANCE,
        [[AT * 1000, "100", "120", "90", "110", "5", AT * 1000 + DAY * 1000 - 1, "530", 42, "2", "220", "0"]],
        [PAID],
    ),
    (
        KRAKEN,
        {
            "error": [],
            "result": {
                "XXBTZUSD": [
                    [AT, "100", "120", "90", "110", "106", "5", 42],
                    [AT + DAY, "110", "110", "110", "110", "0", "0", 0],
                ],
                "last": AT,
            },
        },
        [PAID, Row(AT + DAY, 110.0, 110.0, 110.0, 110.0, 0.0, 0.0)],
    ),
    (
        OKX,
        {
            "code": "0",
            "msg": "",
            "data": [
                [str((AT + DAY) * 1000), "110", "111", "109", "110", "1", "110", "110", "0"],
                [str(AT * 1000), "100", "120", "90", "110", "5", "530", "530", "1"],
            ],
        },
        [PAID],
    ),
    (
        BYBIT,
        {"retCode": 0, "result": {"list": [[str(AT * 1000), "100", "120", "90", "110", "5", "530"]]}},
        [PAID],
    ),
]
MARKETS: list[tuple[HttpExchange, Any, list[Listing]]] = [
    (
        BITSTAMP,
        [
            {"market_symbol": "btcusd", "base_currency": "BTC", "counter_currency": "USD"}
            | {"trading": "Enabled", "market_type": "SPOT"},
            {"market_symbol": "btcusd-perp", "market_type": "PERPETUAL"},
        ],
        [Listing("btcusd", "BTC", "USD")],
    ),
    (
        COINBASE,
        [
            {"id": "BTC-USD", "base_currency": "BTC", "quote_currency": "USD", "status": "online"},
            {"id": "XYZ-USD", "base_currency": "XYZ", "quote_currency": "USD", "status": "delisted"},
        ],
        [Listing("BTC-USD", "BTC", "USD"), Listing("XYZ-USD", "XYZ", "USD", trades=False)],
    ),
    (
        BINANCE,
        {"symbols": [{"symbol": "BTCUSDT", "status": "BREAK", "baseAsset": "BTC", "quoteAsset": "USDT"}]},
        [Listing("BTCUSDT", "BTC", "USDT", trades=False)],
    ),
    (
        KRAKEN,
        {"error": [], "result": {"XXBTZUSD": {"altname": "XBTUSD", "wsname": "XBT/USD", "status": "online"}, "D": {}}},
        [Listing("XBTUSD", "BTC", "USD")],
    ),
    (
        OKX,
        {"code": "0", "data": [{"instId": "BTC-USDT", "baseCcy": "BTC", "quoteCcy": "USDT", "state": "live"}]},
        [Listing("BTC-USDT", "BTC", "USDT")],
    ),
    (
        BYBIT,
        {
            "retCode": 0,
            "result": {"list": [{"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "status": "Trading"}]},
        },
        [Listing("BTCUSDT", "BTC", "USDT")],
    ),
]


@pytest.mark.parametrize(("exchange", "answer", "rows"), ANSWERS, ids=lambda value: getattr(value, "name", ""))
def test_rows_are_read_as_documented_and_a_bar_that_says_it_is_open_is_left_out(
    exchange: HttpExchange, answer: Any, rows: list[Row]
) -> None:
    assert list(exchange.rows(answer)) == rows
    assert exchange.complaint(200, answer) is None


@pytest.mark.parametrize(("exchange", "answer", "listings"), MARKETS, ids=lambda value: getattr(value, "name", ""))
def test_lists_of_markets_are_read_as_documented(exchange: HttpExchange, answer: Any, listings: list[Listing]) -> None:
    assert list(exchange.markets(answer)) == listings
    assert exchange.complaint(200, answer) is None


@pytest.mark.parametrize(
    ("exchange", "status", "answer", "code"),
    [
        (BITSTAMP, 404, None, "404"),
        (COINBASE, 404, {"message": "NotFound"}, "404"),
        (BINANCE, 400, {"code": -1121, "msg": "Invalid symbol."}, "-1121"),
        (KRAKEN, 200, {"error": ["EQuery:Unknown asset pair"]}, "EQuery:Unknown asset pair"),
        (OKX, 200, {"code": "51001", "msg": "Instrument ID does not exist", "data": []}, "51001"),
        (BYBIT, 200, {"retCode": 10001, "retMsg": "Not supported symbols", "result": {}}, "10001"),
    ],
)
def test_a_market_that_does_not_exist_is_told_from_other_errors(
    exchange: HttpExchange, status: int, answer: Any, code: str
) -> None:
    assert exchange.complaint(status, answer) == code
    assert exchange.is_unknown_market(code)
    assert not exchange.is_unknown_market("500")


@pytest.mark.parametrize(
    ("exchange", "answer"),
    [
        (BINANCE, {"code": -1003, "msg": "Too much request weight used."}),
        (KRAKEN, {"error": ["EGeneral:Too many requests"]}),
        (OKX, {"code": "50011", "msg": "Too Many Requests", "data": []}),
        (BYBIT, {"retCode": 10006, "retMsg": "Too many visits!"}),
    ],
)
def test_too_many_calls_are_told_from_other_errors(exchange: HttpExchange, answer: Any) -> None:
    code = exchange.complaint(200, answer)
    assert code is not None
    assert exchange.is_busy(code)


@pytest.mark.parametrize(
    ("exchange", "path", "params"),
    [
        (
            BITSTAMP,
            "/ohlc/X/",
            {"step": "86400", "limit": "1000", "exclude_current_candle": "true"}
            | {"start": str(AT), "end": str(AT + DAY)},
        ),
        (
            COINBASE,
            "/products/X/candles",
            {"granularity": "86400", "start": "2024-03-13T00:00:00Z", "end": "2024-03-14T00:00:00Z"},
        ),
        (
            BINANCE,
            "/klines",
            {"symbol": "X", "interval": "1d", "limit": "1000"}
            | {"startTime": str(AT * 1000), "endTime": str((AT + DAY) * 1000)},
        ),
        (KRAKEN, "/OHLC", {"pair": "X", "interval": "1440", "since": str(AT - 1)}),
        (
            OKX,
            "/market/history-candles",
            {"instId": "X", "bar": "1Dutc", "limit": "300"}
            | {"before": str(AT * 1000 - 1), "after": str((AT + 2 * DAY) * 1000)},
        ),
        (
            BYBIT,
            "/market/kline",
            {"category": "spot", "symbol": "X", "interval": "D", "limit": "1000"}
            | {"start": str(AT * 1000), "end": str((AT + DAY) * 1000)},
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_two_daily_bars_are_asked_for_in_each_dialect(
    exchange: HttpExchange, path: str, params: dict[str, str]
) -> None:
    assert exchange.call("X", "daily", AT, AT + DAY) == (path, params)
