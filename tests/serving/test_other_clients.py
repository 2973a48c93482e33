"""No client changes by its requests what another one gets."""

import asyncio
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from cryptocast.config import ServeConfig
from cryptocast.serving import create_app
from cryptocast.workflows.context import Context
from tests.serving.trained_store import Trained, trained
from tests.serving.trained_store import settings as plain_settings

PLAIN: Final = (
    "/forecasts?ids=bitcoin&horizons=1,7&levels=80&model=lightgbm",
    "/forecasts?ids=ethereum&model=auto",
    "/forecasts",
)


class Asked(NamedTuple):
    """A request of a stranger."""

    method: str
    url: str
    headers: dict[str, str]


def listed(values: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=most).map(",".join)


coins = listed(st.sampled_from(["bitcoin", "ethereum", "atlantis", "BTC", "-", "tether"]), 4)
horizons = listed(st.integers(-1, 40).map(str) | st.sampled_from(["1000", "1001", "x", ""]), 6)
levels = listed(st.sampled_from(["20", "40", "60", "80", "90", "95", "50", "x"]), 3)
models = st.sampled_from(["auto", "baseline", "lightgbm", "lstm", "ml_ensemble", "prophet"])
parameters = st.fixed_dictionaries(
    {},
    optional={
        "ids": coins,
        "horizons": horizons,
        "levels": levels,
        "model": models,
        "vs": st.sampled_from(["usd", "eur", "xyz", "US D"]),
        "granularity": st.sampled_from(["daily", "hourly", "weekly"]),
        "touch": st.sampled_from(["9000", "1e-3", "-1", "nan", "x"]),
        "touch_on": st.sampled_from(["close", "high-low", "open"]),
        "paths": st.sampled_from(["100", "99", "10000", "x"]),
        "seed": st.sampled_from(["0", "-1"]),
        "nonsense": st.just("1"),
    },
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Accept-Encoding": st.sampled_from(["gzip", "br", "zstd", "identity;q=0", "*"]),
        "If-None-Match": st.sampled_from(["*", '"x"', "garbage"]),
        "Prefer": st.sampled_from(["wait=1", "wait=0", "wait=9999"]),
        "X-Client-Id": st.sampled_from(["a", "b", "x" * 200]),
        "X-Request-ID": st.sampled_from(["one", "two three"]),
        "X-Forwarded-For": st.sampled_from(["10.0.0.2", "1.2.3.4, 10.0.0.2", "nonsense"]),
        "Authorization": st.sampled_from(["Bearer x", "Basic y"]),
        "Origin": st.just("https://elsewhere.example"),
        "Content-Length": st.just("9999999"),
    },
)


def _with(path: str, values: dict[str, str]) -> str:
    return str(httpx.URL(path, params=values)) if values else path


urls = st.builds(_with, st.sampled_from(["/forecasts", "/forecasts", "/paths"]), parameters) | st.sampled_from(
    ["/", "/models", "/health", "/health/detailed", "/metrics", "/ready", "/prices?ids=bitcoin&vs=xyz", "/nowhere"]
)
requests = st.builds(Asked, st.sampled_from(["GET", "GET", "GET", "HEAD", "OPTIONS", "POST"]), urls, headers)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("strangers"))


def app_of(store: Trained) -> Starlette:
    """With the limits that a server has unless it is told otherwise."""
    config = msgspec.structs.replace(plain_settings(store.store), serve=ServeConfig())
    return create_app(Context(config, wall_clock=store.clock, clock=store.clock.seconds), refresh=False)


def told(store: Trained, sequence: list[list[Asked]]) -> list[tuple[int, bytes, str | None]]:
    """What the plain questions are answered with, behind and beside what a stranger asked: groups at once."""
    app = app_of(store)

    async def conversation() -> list[tuple[int, bytes, str | None]]:
        def client(address: str) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 1234))
            return httpx.AsyncClient(transport=transport, base_url="http://server")

        async with app.router.lifespan_context(app), client("10.0.0.1") as stranger, client("10.0.0.2") as other:
            for group in sequence:
                sent = [stranger.request(one.method, one.url, headers=one.headers) for one in group]
                beside = [other.get(url) for url in PLAIN]
                await asyncio.gather(*sent, *beside)
            answers = [await other.get(url) for url in PLAIN]
        return [(one.status_code, one.content, one.headers.get("etag")) for one in answers]

    return asyncio.run(conversation())


@pytest.fixture(scope="module")
def undisturbed(store: Trained) -> list[tuple[int, bytes, str | None]]:
    found = told(store, [])
    assert [status for status, _, _ in found] == [200] * len(PLAIN)
    assert b'"model_used":"lightgbm"' in found[0][1]
    return found


sequences = st.lists(st.lists(requests, min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(sequences)
def test_no_sequence_of_requests_changes_what_another_client_is_told(
    store: Trained, undisturbed: list[tuple[int, bytes, str | None]], sequence: list[list[Asked]]
) -> None:
    assert told(store, sequence) == undisturbed


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(st.lists(st.lists(requests, min_size=1, max_size=8), min_size=1, max_size=20))
def test_no_long_sequence_of_requests_changes_what_another_client_is_told(
    store: Trained, undisturbed: list[tuple[int, bytes, str | None]], sequence: list[list[Asked]]
) -> None:
    assert told(store, sequence) == undisturbed


def test_five_questions_that_no_model_was_fitted_for_leave_every_model_where_it_is(tmp_path: Path) -> None:
    store = trained(tmp_path)
    before = told(store, [])
    odd = [Asked("GET", f"/forecasts?ids=bitcoin&horizons={bars}", {}) for bars in (2, 3, 4, 5, 6, 8, 31, 60)]
    assert told(store, [odd] * 3) == before
