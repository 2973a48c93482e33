import html
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from cryptocast.registry.live import LiveCoverage, LiveScore
from cryptocast.serving.landing_page import PageView, page
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.lifecycle.track_record import CoinTrack
from cryptocast.workflows.reports import CoinError, CoinForecast, HorizonForecast
from tests.evaluation.report.browser import BROWSER, Tab, tab
from tests.serving.running import Running, Start, eventually
from tests.serving.serving_app import MIDNIGHT, FakeForecast, request_of
from tests.serving.test_charts import past
from tests.workflows.lifecycle.live_bars import live_bars

NEEDS_BROWSER = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: install Debian's package chromium")
DAY = timedelta(days=1)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def addresses(self) -> list[str]:
        return [attrs["href"] or "" for _, attrs in self.seen if "href" in attrs]


def forecast_of(
    coin: str = "bitcoin",
    horizons: Sequence[int] = (1, 7),
    rows: tuple[HorizonForecast, ...] | None = None,
    **changes: object,
) -> CoinForecast:
    request = replace(request_of(coin=coin), horizons=tuple(horizons), intervals=(80, 95))
    forecast = msgspec.structs.replace(FakeForecast().made(coin, request), **changes)
    return forecast if rows is None else msgspec.structs.replace(forecast, horizons=rows)


def view_of(forecast: CoinForecast | None = None, **changes: object) -> PageView:
    chosen = forecast or forecast_of()
    coins = [chosen, forecast_of("ethereum")]
    view = PageView(coins=coins, errors=(), forecast=chosen, model="auto", horizon=7, kinds=("auto", "baseline"))
    return replace(view, **changes)  # type: ignore[arg-type]


def text_of(view: PageView) -> str:
    return page(view).decode()


def track_of(horizon: int, **changes: object) -> CoinTrack:
    coverage = (LiveCoverage(percent=80, share=0.8125, se=0.04, p=0.7), LiveCoverage(percent=95, share=0.9, se=0, p=1))
    score = LiveScore(
        horizon=horizon,
        bars=99,
        first=MIDNIGHT - 99 * DAY,
        last=MIDNIGHT,
        crps=0.01,
        baseline_crps=0.0103,
        skill=0.031,
        coverage=coverage,
        pit=(),
    )
    track = CoinTrack(
        coin="bitcoin",
        vs="usd",
        granularity="daily",
        source="coingecko",
        model_used="lightgbm",
        version=1,
        versions=(1,),
        degraded=(),
        scores=(score,),
        forecasts=tuple(past(65_000.0, [1.0, 1.3, 0.95], horizon)),
    )
    return msgspec.structs.replace(track, **changes)


def test_one_horizon_is_told_in_large_and_all_of_them_in_a_table() -> None:
    text = text_of(view_of())
    assert "In 7 days, by 2026-03-08" in text
    assert text.count("<dd>58,611 – 71,636</dd>") == 2  # both levels
    assert text.count(">58,611 – 71,636</td>") == 4  # of two horizons
    assert '<tr class="chosen"><td data-of="ahead">7 d' in text
    assert "No view on the direction." in text
    risen = msgspec.structs.replace(forecast_of().horizons[1], p_up=0.531)
    assert "Higher than now with 53 %." in text_of(view_of(forecast_of(horizons=(7,), rows=(risen,))))


def test_a_coin_that_costs_next_to_nothing_is_told_with_its_unit() -> None:
    text = text_of(view_of(msgspec.structs.replace(forecast_of(), price=1.234e-8)))
    assert ">1.2340e-08</span> USD " in text
    assert text.count("In 1e-08 USD.") == 2  # in large and below the table
    assert "In 1e" not in text_of(view_of())


def test_every_choice_is_an_address_that_keeps_the_others() -> None:
    tags = Tags(text_of(view_of(model="baseline")))
    links = [one for one in tags.addresses() if one.startswith("/?")]
    assert links == [
        "/?coin=bitcoin&model=baseline&horizon=7",
        "/?coin=ethereum&model=baseline&horizon=7",
        "/?coin=bitcoin&model=baseline&horizon=1",
        "/?coin=bitcoin&model=baseline&horizon=7",
        "/?coin=bitcoin&model=auto&horizon=7",
        "/?coin=bitcoin&model=baseline&horizon=7",
    ]
    chosen = [attrs["href"] for tag, attrs in tags.seen if attrs.get("aria-current")]
    assert chosen == ["/?coin=bitcoin&model=baseline&horizon=7"] * 3


def test_nothing_is_loaded_from_anywhere() -> None:
    tags = Tags(text_of(view_of(track=track_of(7))))
    assert not [attrs for _, attrs in tags.seen if {"src", "srcset", "data", "style", "onclick"} & set(attrs)]
    assert all(re.match(r"/(?!/)|data:image/svg", one) for one in tags.addresses()), tags.addresses()


def test_the_track_record_says_how_often_intervals_held_and_what_the_model_added() -> None:
    text = text_of(view_of(track=track_of(7)))
    assert "<dt>80 % interval held</dt><dd>81 %</dd><dd>of 99 forecasts</dd>" in text
    assert "<dt>Skill over the baseline</dt><dd>+3.1 %</dd>" in text
    assert text.count('class="miss"') == 2  # one price outside, on both screens
    baseline = text_of(view_of(forecast_of(version=None), track=track_of(7)))
    assert "Skill over" not in baseline
    degraded = text_of(view_of(track=track_of(7, degraded=("the 80 % interval held 60 %",))))
    assert "The 80 % interval held 60 %." in degraded


@pytest.mark.parametrize("track", [None, track_of(1)], ids=["no registry", "another horizon"])
def test_where_nothing_has_matured_the_page_says_when_something_will(track: CoinTrack | None) -> None:
    text = text_of(view_of(track=track))
    assert "Nothing has matured at this horizon." in text
    assert "against the price of 2026-03-08" in text


def test_what_must_be_known_about_the_forecast_is_told() -> None:
    reason = Fallback(code=FallbackCode.BREAKER, version="bitcoin/lightgbm:1")
    text = text_of(view_of(forecast_of(stale=True, notices=("the bars are old",), fallback_reason=reason)))
    assert "Stale." in text
    assert "The bars are old." in text
    assert "Fallback: " in text
    assert "Not backtested." in text
    failed = text_of(view_of(errors=[CoinError(coin="litecoin", error="there are no candles")]))
    assert "litecoin: There are no candles." in failed


def test_a_live_price_stands_beside_no_forecast_of_long_ago() -> None:
    assert text_of(view_of()).count('data-live="bitcoin"') == 2
    stale = text_of(view_of(forecast_of(stale=True)))
    assert 'data-live="bitcoin"' not in stale
    assert "held against the price of" not in stale


def test_what_others_wrote_is_text() -> None:
    hostile = "<script>alert(1)</script>'\""
    reason = Fallback(code=FallbackCode.EXCEPTION, detail=hostile)
    forecast = forecast_of(hostile, notices=(hostile,), fallback_reason=reason, source=hostile, vs=hostile)
    view = view_of(
        forecast,
        errors=[CoinError(coin=hostile, error=hostile)],
        kinds=(hostile,),
        model=hostile,
        track=track_of(7, degraded=(hostile,)),
    )
    text = text_of(view)
    assert "<script>alert" not in text
    assert text.count(html.escape("<script>alert")) >= 8
    assert [tag for tag, _ in Tags(text).seen].count("script") == 1


def test_before_the_first_forecast_the_page_says_so() -> None:
    empty = PageView(coins=(), errors=(), forecast=None, model="auto", horizon=1)
    assert "No forecast has been made yet" in text_of(empty)


def test_a_logout_is_offered_where_there_is_a_login() -> None:
    assert 'action="/logout"' in text_of(view_of(has_login=True))
    assert "logout" not in text_of(view_of())


def test_a_page_of_fifty_coins_and_a_long_track_is_not_large() -> None:
    coins = [forecast_of(f"a-coin-with-a-long-name-{number}") for number in range(50)]
    chosen = forecast_of(horizons=(1, 7, 14, 30, 90, 180))
    closes = [(MIDNIGHT - number * DAY, 60_000.0 + number) for number in range(120, 0, -1)]
    track = track_of(7, forecasts=tuple(past(65_000.0, [1.0] * 120)))
    assert len(page(view_of(chosen, coins=coins, closes=closes, track=track))) < 200_000


# In pixels of the screen: a chart is drawn larger or smaller than its own units.
SMALLEST_LABEL = (
    "Math.min(...[...document.querySelectorAll('svg text')].filter(t => t.getBoundingClientRect().width)"
    ".map(t => parseFloat(getComputedStyle(t).fontSize)"
    " * t.ownerSVGElement.getBoundingClientRect().width / t.ownerSVGElement.viewBox.baseVal.width))"
)
SEEN_BANDS = "[...document.querySelectorAll('svg polygon')].filter(p => p.getBoundingClientRect().width).length"


def comes(page_: Tab, expression: str) -> None:
    assert eventually(lambda: page_.value(expression)), (expression, page_.value("document.body.innerText"))


def no_complaint_and_no_foreign_request(page_: Tab, server: Running) -> None:
    foreign = [url for url in page_.requests() if not url.startswith((server.address + "/", "data:image/svg"))]
    assert (foreign, page_.complaints()) == ([], [])


@NEEDS_BROWSER
def test_a_browser_shows_the_page_on_a_desk_and_on_a_phone_by_day_and_by_night(start: Start, tmp_path: Path) -> None:
    server = start("fake", "0")
    papers = set()
    with tab(tmp_path / "profile") as page_:
        for width, scheme in ((1400, "light"), (1400, "dark"), (700, "light"), (390, "light"), (390, "dark")):
            page_.open_address(server.address + "/", width=width, scheme=scheme)
            assert page_.value("document.documentElement.scrollWidth") <= width
            assert page_.value(SEEN_BANDS) == 2
            papers.add(page_.value("getComputedStyle(document.body).backgroundColor"))
            small = page_.value(SMALLEST_LABEL)
            assert small > 8.5, f"labels of {small} px at {width}"
        no_complaint_and_no_foreign_request(page_, server)
    assert len(papers) == 2


@NEEDS_BROWSER
def test_a_browser_switches_coin_horizon_and_model_and_reads_live_prices_and_health(
    start: Start, tmp_path: Path
) -> None:
    server = start("fake", "0", '{"max_ids": 1}')  # the page has more coins than a question may name
    with tab(tmp_path / "profile") as page_:
        page_.open_address(server.address + "/", width=1400)
        page_.value("document.body.dataset.same = 'document'")
        comes(page_, "document.querySelector('.head .price').textContent === '64,321'")
        comes(page_, "document.querySelector('[data-change]').textContent === 'live, -1.3 % in 24 h'")
        comes(page_, "document.getElementById('health').className !== ''")
        for choice, address in (
            ("coin=ethereum", "coin=ethereum&model=auto&horizon=1"),
            ("horizon=30", "coin=ethereum&model=auto&horizon=30"),
            ("model=baseline", "coin=ethereum&model=baseline&horizon=30"),
        ):
            page_.value(f"document.querySelector('a[data-swap][href*=\"{choice}\"]').click()")
            comes(page_, f"location.search === '?{address}'")
        comes(page_, "document.querySelector('h1').textContent === 'ethereum'")
        assert "In 30 days" in page_.value("document.querySelector('main').innerText")
        page_.value("history.back()")
        comes(page_, "document.querySelector('[aria-label=Model] [aria-current]').textContent === 'auto'")
        assert page_.value("document.body.dataset.same") == "document"  # nothing was loaded anew
        no_complaint_and_no_foreign_request(page_, server)


@NEEDS_BROWSER
def test_the_last_choice_holds_however_late_the_answer_to_one_before_it_comes(start: Start, tmp_path: Path) -> None:
    server = start("fake", "0")
    with tab(tmp_path / "profile") as page_:
        page_.open_address(server.address + "/", width=1400)
        comes(page_, "document.getElementById('health').className !== ''")
        page_.value(
            "(usual => { window.fetch = async (address, ...more) => { const reply = await usual(address, ...more);"
            " if (address.includes('coin=ethereum')) await new Promise(free => { window.free = free; });"
            " return reply; }; })(window.fetch)"
        )
        page_.value("document.querySelector('a[data-swap][href*=\"coin=ethereum\"]').click()")
        comes(page_, "!!window.free")
        page_.value("document.querySelector('a[data-swap][href*=\"horizon=30\"]').click()")
        comes(page_, "location.search.includes('horizon=30')")
        page_.value("window.free(); setTimeout(() => { window.settled = true; }, 500)")
        comes(page_, "!!window.settled")
        assert page_.value("location.search") == "?coin=bitcoin&model=auto&horizon=30"
        assert page_.value("document.querySelector('h1').textContent") == "bitcoin"
        no_complaint_and_no_foreign_request(page_, server)


@NEEDS_BROWSER
def test_pointing_at_a_chart_reads_its_values_by_mouse_and_by_key(start: Start, tmp_path: Path) -> None:
    live_bars(tmp_path / "store")
    server = start("bitcoin", str(tmp_path / "store"), '{"refresh": false}')
    with tab(tmp_path / "profile") as page_:
        page_.open_address(server.address + "/?coin=bitcoin&horizon=7", width=1400)
        for figure, said in (("fan", "in 7 d, "), ("track", " came; 7 d before: 80 % ")):
            place = (
                f"[...document.querySelectorAll('figure.{figure} svg.wide .hit')]"
                f".findLast(hit => hit.dataset.text.includes({said!r}))"
            )
            page_.value(f"{place}.scrollIntoView({{block: 'center'}})")
            middle = "({x, y, width, height}) => [x + width / 2, y + height / 2]"
            box = page_.value(f"({middle})({place}.getBoundingClientRect())")
            page_.ask("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
            output = f"document.querySelector('figure.{figure} output').textContent"
            comes(page_, f"{output}.includes({said!r})")
            first = page_.value(output)
            page_.value(f"document.querySelector('figure.{figure} svg.wide').focus()")
            page_.ask("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft", code="ArrowLeft")
            comes(page_, f"{output} !== {first!r}")
        page_.ask("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
        comes(page_, f"{output}.startsWith('Point at')")


@NEEDS_BROWSER
def test_without_scripts_the_page_is_whole_and_its_choices_are_links(start: Start, tmp_path: Path) -> None:
    server = start("fake", "0")
    with tab(tmp_path / "profile") as page_:
        page_.ask("Emulation.setScriptExecutionDisabled", value=True)
        page_.open_address(server.address + "/", width=1400)
        text = page_.value("document.body.innerText")
        assert "65,123" in text
        assert page_.value("document.querySelector('.hit title').textContent").startswith("2026-03-01: 65,123")
        address = page_.value("document.querySelector('a[href*=\"coin=ethereum\"]').href")
        page_.open_address(address, width=1400)
        assert page_.value("document.querySelector('h1').textContent") == "ethereum"
        no_complaint_and_no_foreign_request(page_, server)
