"""From raw JSON to candles, quotes and lists: whatever the upstream sends, out comes a valid value or one line.

The bodies are written by hand and not by `json.dumps`: literals that are no JSON, integers of many digits, repeated
keys and stamps, arrays that disagree, and things inside things.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import msgspec
import polars as pl
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cryptocast.data.candle_checks import check_candles
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.coingecko.coin_list import parse_coin_list
from cryptocast.data.sources.coingecko.market_chart import market_chart
from cryptocast.data.sources.coingecko.refusals import explain, upstream_error
from cryptocast.data.sources.coingecko.simple_price import parse_quotes
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.market import Market
from cryptocast.net import Answer

NOW = datetime(2026, 1, 2, 15, 1, tzinfo=UTC)
JAN_1 = 1_767_225_600_000
DAY, HOUR = 86_400_000, 3_600_000
T = TypeVar("T")

NUMBERS = ("NaN", "Infinity", "-Infinity", "-0", "-0.0", "1e308", "1e400", "-1e400", "5e-324", "9007199254740993")
OTHERS = ("null", "true", '"1.5"', '"NaN"', "0.1e+1", "01", "1.", "[]", "{}", '{"usd": 1}', '"\\ud800"', "")
literals = st.sampled_from((*NUMBERS, "1" + "0" * 400, "-" + "9" * 30, *OTHERS))
good_stamps = st.one_of(
    st.integers(-30, 5).map(lambda day: JAN_1 + day * DAY),
    st.integers(-60, 60).map(lambda hour: JAN_1 + hour * HOUR),
    st.tuples(st.integers(-60, 60), st.integers(-HOUR // 2, HOUR // 2)).map(lambda at: JAN_1 + at[0] * HOUR + at[1]),
)
odd_stamps = st.sampled_from([0, -1, -JAN_1, JAN_1 // 1000, JAN_1 * 1000, 2**53 + 1, 2**63, 10**30])
stamps = st.one_of(good_stamps, good_stamps, good_stamps, odd_stamps).map(str)
prices = st.floats(1e-12, 1e12).map(repr)
values = st.one_of(prices, prices, prices, st.floats().map(repr), st.integers().map(str), literals)
good_points = st.tuples(good_stamps.map(str), st.one_of(prices, prices, st.just("null"), st.just("0")))
points = st.tuples(st.one_of(stamps, literals), values)


def array(drawn: Sequence[Sequence[str]]) -> str:
    return "[" + ",".join(f"[{','.join(point)}]" for point in drawn) + "]"


good_arrays = st.lists(good_points, max_size=30).map(array)
arrays = st.one_of(
    good_arrays,
    st.lists(points, max_size=8).map(array),
    st.lists(st.lists(values, max_size=4).map(tuple), max_size=4).map(array),
    literals,
)
names = st.sampled_from(["prices", "prices", "market_caps", "total_volumes", "status", "error"])


def document(members: list[tuple[str, str]]) -> bytes:
    return ("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}").encode("utf-8", "surrogatepass")


charts = st.one_of(
    st.tuples(good_arrays, good_arrays, good_arrays).map(
        lambda all3: document([("prices", all3[0]), ("market_caps", all3[1]), ("total_volumes", all3[2])])
    ),
    st.tuples(good_arrays, arrays, arrays).map(
        lambda all3: document([("prices", all3[0]), ("market_caps", all3[1]), ("total_volumes", all3[2])])
    ),
    st.lists(st.tuples(names, arrays), max_size=5).map(document),
    st.binary(max_size=40),
)


def is_one_line(error: CryptocastError) -> bool:
    return str(error).isprintable() and len(str(error)) < 400


def valid_or_one_line(read: Callable[[], T]) -> T | None:
    """What was read; None if it was refused in one line. Anything else goes up."""
    refusal: CryptocastError
    try:
        return read()
    except (DataError, UpstreamError) as error:
        refusal = error
    assert is_one_line(refusal)
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(charts, st.sampled_from(["daily", "hourly"]), st.booleans())
@example(body=b'{"prices":[[1767225600000,1],[1767225600000,2]]}', granularity="daily", ends_now=True)
@example(body=b'{"prices":[[1767225600000,1]],"status":1e400}', granularity="daily", ends_now=False)
@example(body=b'{"prices":[[1767225600000.5,1e-320]]}', granularity="hourly", ends_now=False)
def test_a_chart_or_a_range_is_a_valid_series_or_one_line(
    body: bytes, granularity: Literal["daily", "hourly"], ends_now: bool
) -> None:
    found = valid_or_one_line(lambda: market_chart(body, "bitcoin", granularity, NOW, ends_now=ends_now))
    if found is None:
        return
    frame = found.frame
    assert frame.schema == CANDLE_SCHEMA
    if frame.is_empty():
        return
    check_candles(frame, SeriesKey(Market("coingecko", "usd", granularity), "bitcoin"))
    assert frame["close_time"][-1] <= NOW
    told = told_prices(body)
    bar_ms = BAR_US[granularity] // 1000
    near = [value for at, value in told if abs(at - round(at / bar_ms) * bar_ms) <= 15 * 60_000]
    assert set(frame["close"]) <= set(near)  # nothing is made up, filled or averaged
    assert not frame["range_known"].any()
    assert frame.select(pl.all_horizontal(pl.col("open", "high", "low") == pl.col("close"))).to_series().all()


class Told(msgspec.Struct):
    prices: list[tuple[float, float | None]]


def told_prices(body: bytes) -> list[tuple[float, float]]:
    """What the body says, read in the plainest way; of a repeated key the last counts."""
    return [(at, value) for at, value in msgspec.json.decode(body, type=Told).prices if value is not None]


@settings(max_examples=80, deadline=None)
@given(st.lists(good_points, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_distinct_points_does_not_matter(drawn: list[tuple[str, str]], rng: Any) -> None:
    distinct = list({at: (at, value) for at, value in drawn}.values())
    shuffled = rng.sample(distinct, len(distinct))
    one, other = (
        outcome(document([("prices", array(each)), ("total_volumes", array(each))])) for each in (distinct, shuffled)
    )
    assert one == other


def outcome(body: bytes) -> object:
    try:
        return market_chart(body, "bitcoin", "daily", NOW).frame.to_dicts()
    except UpstreamError as error:
        return str(error)


members = st.lists(
    st.tuples(
        st.sampled_from(["usd", "usd_market_cap", "usd_24h_vol", "usd_24h_change", "last_updated_at", "eur"]), values
    ),
    max_size=6,
).map(lambda drawn: document(drawn).decode("utf-8", "surrogatepass"))
priced = st.lists(
    st.tuples(st.sampled_from(["bitcoin", "ethereum", "", "a b", "\\u0000"]), members | literals), max_size=4
)


@settings(max_examples=100, deadline=None)
@given(st.one_of(priced.map(document), literals.map(str.encode), st.binary(max_size=20)))
def test_prices_are_quotes_or_one_line(body: bytes) -> None:
    found = valid_or_one_line(lambda: parse_quotes(body, "usd", ["bitcoin", "ethereum", "", "a b", "\0"]))
    if found is None:
        return
    msgspec.json.encode(found)  # finite, and of times that exist
    for quote in found.values():
        amounts = [quote.price, quote.market_cap, quote.volume_24h]
        assert all(amount is None or 0 < amount < float("inf") for amount in amounts)
        assert quote.updated_at is None or quote.updated_at.utcoffset() == timedelta(0)


texts = st.one_of(st.text(max_size=12), st.sampled_from(["bitcoin", "btc", "\x1b[31m", "a\nb", "../x"])).map(
    lambda text: msgspec.json.encode(text.encode("utf-8", "replace").decode()).decode()
)
rows = st.lists(st.tuples(st.sampled_from(["id", "symbol", "name", "platforms"]), texts | literals), max_size=5)
lists = st.lists(rows.map(lambda row: document(row).decode("utf-8", "surrogatepass")) | literals, max_size=6)


@settings(max_examples=100, deadline=None)
@given(
    lists.map(lambda all_rows: ("[" + ",".join(all_rows) + "]").encode("utf-8", "surrogatepass")), st.text(max_size=8)
)
def test_a_list_of_coins_can_be_asked_or_is_one_line(body: bytes, typed: str) -> None:
    found = valid_or_one_line(lambda: parse_coin_list(body, NOW))
    if found is None:
        return
    assert len(found.matches(typed)) <= 3
    assert found.suggestion(typed).isprintable()
    again = msgspec.json.decode(msgspec.json.encode(found), type=type(found))
    assert again == found


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["error", "status", "error_code", "error_message", "timestamp"]), inner),
    ),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(junk.map(msgspec.json.encode), st.binary(max_size=30)),
    st.integers(100, 999),
    st.sampled_from(["keyless", "demo", "pro"]),
    st.text(max_size=12),
)
def test_any_error_of_any_status_is_one_line_that_ends_as_a_sentence(
    body: bytes, status: int, plan: Literal["keyless", "demo", "pro"], retry_after: str
) -> None:
    code, message = upstream_error(body)
    assert code is None or isinstance(code, int)
    assert len(message) <= 160
    error = explain(Answer(status, body, {"retry-after": retry_after}), "bitcoin", "usd", plan)
    assert is_one_line(error)
    assert str(error)[-1] in ".?"
