import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.sources.coingecko.simple_price import one_call, parse_quotes
from cryptocast.errors import UpstreamError


@pytest.mark.parametrize(
    "body",
    [
        *(b"[]", b"null", b'"soon"', b'{"error": "Down"}', b'{"status": {"error_code": 429, "error_message": "Slow"}}'),
        *(b'{"a": 1}', b'{"a": {"usd": "x"}}', b"", b"<html>"),
    ],
)
def test_prices_of_another_shape_are_the_upstreams_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        parse_quotes(body, "usd", ["a"])


amounts = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
members = st.dictionaries(st.sampled_from(["usd", "usd_24h_vol", "usd_market_cap", "last_updated_at"]), amounts)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=5), members, max_size=5))
def test_any_prices_of_the_right_shape_give_positive_ones_or_none(content: Any) -> None:
    found = parse_quotes(json.dumps(content).encode(), "usd", content)
    for coin, quote in found.items():
        assert quote.price == float(content[coin]["usd"]) > 0
        assert quote.volume_24h is None or quote.volume_24h > 0
        assert quote.updated_at is None or quote.updated_at.year < 2101


def test_one_call_carries_a_hundred_ids_or_as_many_as_an_address_holds() -> None:
    short = [f"coin-{number:03d}" for number in range(230)]
    assert one_call([*reversed(short), short[0]]) == tuple(short[:100])
    long = [f"{'x' * 90}-{number:03d}" for number in range(100)]
    assert len(",".join(one_call(long))) + 2 * len(one_call(long)) <= 3_500 < len(",".join(long))
