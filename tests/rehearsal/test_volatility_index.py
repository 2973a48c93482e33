"""The stand-in's Deribit answers as the documentation says."""

import msgspec

from cryptocast.rehearsal.messages import HttpRequest, Reply
from cryptocast.rehearsal.price_walks import DAY_MS, PriceWalks
from cryptocast.rehearsal.volatility_index import FIRST_MS, PATH, index_answer

NOW_MS = FIRST_MS + 1500 * DAY_MS + 1


def answered(path: str = PATH, **params: str) -> Reply:
    usual = {"currency": "BTC", "resolution": "1D", "start_timestamp": "0", "end_timestamp": str(NOW_MS)}
    return index_answer(HttpRequest("GET", path, {**usual, **params}, {}), PriceWalks(7), NOW_MS)


def test_the_newest_thousand_come_first_and_say_where_the_rest_ends() -> None:
    result = msgspec.json.decode(answered().body)["result"]
    openings = [row[0] for row in result["data"]]
    assert openings == list(range(FIRST_MS + 501 * DAY_MS, NOW_MS, DAY_MS))
    assert all(low <= min(first, last) <= max(first, last) <= high for _, first, high, low, last in result["data"])
    rest = msgspec.json.decode(answered(end_timestamp=str(result["continuation"])).body)["result"]
    assert [row[0] for row in rest["data"]] == list(range(FIRST_MS, openings[0], DAY_MS))
    assert rest["continuation"] is None


def test_what_it_does_not_know_it_refuses() -> None:
    assert answered(currency="DOGE").status == 400
    assert answered(resolution="7").status == 400
    assert answered(path="/deribit/api/v2/public/other").status == 404
