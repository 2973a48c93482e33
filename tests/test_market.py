from dataclasses import dataclass

from cryptocast.market import Market, OfMarket


@dataclass(frozen=True, slots=True)
class Thing(OfMarket):
    market: Market


def test_what_belongs_to_a_market_names_its_parts() -> None:
    thing = Thing(Market("file", "eur", "hourly"))
    assert (thing.source, thing.vs, thing.granularity) == ("file", "eur", "hourly")


def test_markets_are_ordered_and_read_as_words() -> None:
    markets = [Market("sample", "usd", "daily"), Market("file", "usd", "daily"), Market("file", "eur", "hourly")]
    assert [str(market) for market in sorted(markets)] == [
        "file, eur, hourly",
        "file, usd, daily",
        "sample, usd, daily",
    ]
