"""Sample paths over HTTP: what they say, and that nobody can ask for more than there is time for."""

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from cryptocast.config import Config, DataConfig, StoreConfig
from cryptocast.serving import create_app
from cryptocast.serving.endpoints import EncodedPaths
from cryptocast.serving.path_sampler import MOST_PRICES, paths_within_reason
from cryptocast.serving.query import MAX_HORIZON
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.reports import PathsDocument
from cryptocast.workflows.sample_paths import LEAST_PATHS, PathOrder
from cryptocast.workflows.sample_paths import sample_paths as drawn_by_command
from tests.serving.serving_app import get, talk


def settings(folder: Path) -> Config:
    return Config(store=StoreConfig(path=folder), data=DataConfig(source="sample", coins=("bitcoin", "ethereum")))


def app_of(folder: Path) -> Starlette:
    return create_app(Context(settings(folder)), refresh=False)


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == 400, body
    return body


def test_the_paths_of_the_server_are_those_of_the_command(tmp_path: Path) -> None:
    answer = get(app_of(tmp_path), "/paths?ids=bitcoin,ethereum&horizons=7&paths=200&seed=3")
    assert answer.status_code == 200, answer.text
    document = msgspec.json.decode(answer.content, type=PathsDocument, strict=True)
    assert (document.vs, document.granularity, document.seed, document.errors) == ("usd", "daily", 3, ())
    request = Request(Selection(("bitcoin", "ethereum")), horizons=(7,))
    expected = drawn_by_command(Context(settings(tmp_path)), PathOrder(request=request, paths=200, seed=3))
    for number, one in enumerate(document.coins):
        assert (one.coin, one.model_used, one.stale) == (("bitcoin", "ethereum")[number], "baseline", True)
        assert len(one.target_times) == 7
        assert one.target_times[-1] == expected.document.forecasts[number].horizons[0].target_time
        for path, prices in zip(one.prices, expected.paths.prices()[:, :, number], strict=True):
            assert path == pytest.approx(prices, rel=1e-7)
    assert answer.headers["cache-control"].startswith("private, max-age=")


def test_the_shape_that_is_sent_is_the_one_that_is_described() -> None:
    assert EncodedPaths.__struct_fields__ == PathsDocument.__struct_fields__
    sent = next(field for field in msgspec.structs.fields(EncodedPaths) if field.name == "schema").default
    assert sent == next(field for field in msgspec.structs.fields(PathsDocument) if field.name == "schema").default


def test_a_coin_that_cannot_be_had_stands_beside_the_paths_of_the_others(tmp_path: Path) -> None:
    answer = get(app_of(tmp_path), "/paths?ids=BTC,dogecoin&horizons=1")
    document = answer.json()
    assert [one["coin"] for one in document["coins"]] == ["bitcoin"]
    assert [one["coin"] for one in document["errors"]] == ["dogecoin"]
    assert document["names"] == {"BTC": "bitcoin"}
    assert len(document["coins"][0]["prices"]) == LEAST_PATHS
    assert get(app_of(tmp_path), "/paths?ids=dogecoin").status_code == 404


def test_no_more_prices_come_than_there_is_time_for(tmp_path: Path) -> None:
    document = get(app_of(tmp_path), "/paths?paths=10000&horizons=50").json()
    assert document["paths"] == MOST_PRICES // (2 * 50)
    assert [len(one["prices"]) for one in document["coins"]] == [document["paths"]] * 2
    for wrong in ("paths=99", "paths=10001", "paths=1e3", "seed=-1", "horizons=0"):
        assert problem_of(get(app_of(tmp_path), f"/paths?{wrong}"))["parameter"] == wrong.partition("=")[0]


def test_paths_are_drawn_once_for_all_who_ask_the_same(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    server = app.state.server
    draw, drawn = server.sampler.paths, list[int]()

    async def paths(*args: Any, **options: Any) -> bytes:
        drawn.append(options["seed"])
        return bytes(await draw(*args, **options))

    server.sampler.paths = paths

    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = await client.get("/paths?ids=bitcoin&horizons=7")
        known = {"If-None-Match": first.headers["etag"]}
        urls = [
            "/paths?ids=bitcoin&horizons=7",
            "/paths?ids=bitcoin&horizons=7&seed=8",
            "/forecasts?ids=bitcoin&horizons=7",
        ]
        return [first, *[await client.get(url) for url in urls], await client.get(urls[0], headers=known)]

    first, again, other, forecast, not_modified = talk(app, conversation)
    assert (again.status_code, again.content) == (200, first.content)
    assert drawn == [Config().train.seed, 8]
    assert other.json()["coins"] != first.json()["coins"]
    assert "forecasts" in forecast.json()
    assert (not_modified.status_code, not_modified.content) == (304, b"")
    assert 0 < server.answers.bytes < 3 * 100 * 7 * 40


def test_a_touch_is_said_at_each_horizon_and_kept_like_any_answer(tmp_path: Path) -> None:
    app = app_of(tmp_path)

    async def conversation(client: httpx.AsyncClient) -> tuple[httpx.Response, ...]:
        url = "/forecasts?ids=bitcoin&horizons=1,7&levels=80"
        plain, touched = await client.get(url), await client.get(f"{url}&touch=9000.5")
        again = await client.get(f"{url}&touch=9000.5", headers={"If-None-Match": touched.headers["etag"]})
        return plain, touched, again, await client.get(f"{url}&touch=9000.5&touch_on=close")

    plain, touched, again, closes = talk(app, conversation)
    assert again.status_code == 304
    (one,) = touched.json()["forecasts"]
    assert one["touch"] == {"price": 9000.5, "on": "high-low", "paths": 1000, "seed": 7}
    shares = [row.pop("touch") for row in one["horizons"]]
    assert 0.0 < shares[0] < shares[1] < 1.0
    on_close = [row["touch"] for row in closes.json()["forecasts"][0]["horizons"]]
    assert all(close < high for close, high in zip(on_close, shares, strict=True))
    del one["touch"]
    assert one == plain.json()["forecasts"][0]


@pytest.mark.parametrize("touch", ["0", "-1", "nan", "inf", "1e400", "1_0", "x", "", "1e16"])
def test_a_touch_that_is_no_price_is_refused(tmp_path: Path, touch: str) -> None:
    refused = problem_of(get(app_of(tmp_path), f"/forecasts?ids=bitcoin&touch={touch}"))
    assert refused["parameter"] == "touch"


def test_paths_are_fewer_over_many_bars_and_never_none() -> None:
    assert paths_within_reason(1000, 30) == 1000
    assert paths_within_reason(1000, MAX_HORIZON) * MAX_HORIZON == MOST_PRICES
    assert paths_within_reason(1000, 500 * MAX_HORIZON) == 1


def test_far_horizons_of_several_coins_rest_on_fewer_paths(tmp_path: Path) -> None:
    answer = get(app_of(tmp_path), "/forecasts?model=baseline&horizons=400&touch=9000").json()
    assert [one["touch"]["paths"] for one in answer["forecasts"]] == [250, 250]
