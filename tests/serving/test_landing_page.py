import html
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import msgspec
import pytest

from cryptocast.serving.health import Detail, Readiness
from cryptocast.serving.landing_page import page
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from tests.evaluation.report.browser import BROWSER, tab
from tests.serving.running import Start
from tests.serving.serving_app import FakeForecast, app_on, config, get, request_of, talk

# In pixels of the screen: the chart is drawn larger or smaller than its own units.
SMALLEST_LABEL = (
    "Math.min(...[...document.querySelectorAll('svg text')].map(t => parseFloat(getComputedStyle(t).fontSize)"
    " * t.ownerSVGElement.getBoundingClientRect().width / 640))"
)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_has_a_chart_and_the_numbers_of_each_configured_coin() -> None:
    answer = get(app_on(FakeForecast(), settings=config()), "/")
    tags = Tags()
    tags.feed(answer.text)
    names = [tag for tag, _ in tags.seen]

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert names.count("svg") == 3
    assert names.count("polygon") == 6
    assert "65,123.46" in answer.text
    assert "not backtested" in answer.text
    assert "script" not in names
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_nothing_is_loaded_from_anywhere() -> None:
    tags = Tags()
    tags.feed(get(app_on(FakeForecast()), "/").text)
    assert not [attrs for _, attrs in tags.seen if {"src", "srcset", "data"} & set(attrs)]
    addresses = [attrs["href"] or "" for _, attrs in tags.seen if "href" in attrs]
    assert all(re.match(r"/(?!/)|#|data:image/svg", one) for one in addresses), addresses


NOTHING_TO_SAY = Detail(status="pass", version="1", uptime_s=1, components=(), checks={})


def test_what_others_wrote_is_text() -> None:
    hostile = "<script>alert(1)</script>"
    reason = Fallback(code=FallbackCode.EXCEPTION, detail=hostile)
    made = msgspec.structs.replace(
        FakeForecast().made("bitcoin", request_of()), notices=(hostile,), fallback_reason=reason
    )
    text = page([made], Readiness(status="warn", output=hostile), NOTHING_TO_SAY).decode()

    assert hostile not in text
    assert text.count(html.escape(hostile)) == 3


def test_before_the_first_forecast_the_page_says_so() -> None:
    assert "No forecast has been made yet" in page([], Readiness(status="fail"), NOTHING_TO_SAY).decode()


def test_the_health_below_tells_each_part() -> None:
    app = app_on(FakeForecast(source="sample"))

    async def conversation(client: httpx.AsyncClient) -> str:
        return (await client.get("/")).text

    text = talk(app, conversation)

    assert "event loop" in text
    assert "forecasts use stale or sample candles" in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: install Debian's package chromium")
def test_a_browser_shows_the_page_on_a_desk_and_on_a_phone_by_day_and_by_night(start: Start, tmp_path: Path) -> None:
    server = start("fake", "0")
    assert server.get("/forecasts?ids=bitcoin").status_code == 200
    papers = set()
    with tab(tmp_path / "profile") as page_:
        for width in (1400, 390):
            for scheme in ("light", "dark"):
                page_.open_address(server.address + "/", width=width, scheme=scheme)
                assert page_.value("document.documentElement.scrollWidth") <= width
                assert page_.value("document.querySelectorAll('svg polygon').length") == 6
                assert page_.value("document.querySelector('svg').getBoundingClientRect().width") > 250
                assert "65,123.46" in page_.value("document.body.innerText")
                assert page_.value("document.querySelectorAll('section').length") == 4
                papers.add(page_.value("getComputedStyle(document.body).backgroundColor"))
                small = page_.value(SMALLEST_LABEL)
                assert small > 8.5, f"labels of {small} px at {width}"
        # The icon is what browsers ask for by themselves.
        asked = [url for url in page_.requests() if not url.endswith("/favicon.ico")]
        assert set(asked) == {server.address + "/"}
        complaints = [one for one in page_.complaints() if "favicon" not in str(one)]
        assert complaints == []
    assert len(papers) == 2
