"""The page at `/`: one coin's forecast behind the price before it, its past forecasts against what came, and what the
evidence says; with the other coins, models and horizons one click away.

Finished bytes, made once a bar for each choice. Every choice is an address, so the page is whole without its script,
which brings what changes between bars: live prices, health, and readings of the charts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Final
from urllib.parse import urlencode

from cryptocast.number_format import SMALL, Prices, ahead, count, percent
from cryptocast.registry.live import LiveScore
from cryptocast.serving.charts import Closes, fan_chart, track_chart
from cryptocast.serving.page_shell import FOLDER, document
from cryptocast.workflows.fallbacks import sentence
from cryptocast.workflows.lifecycle.track_record import CoinTrack
from cryptocast.workflows.reports import (
    QUESTIONS,
    UNANSWERED,
    CoinError,
    CoinForecast,
    HorizonForecast,
    answer_sentence,
)

SCRIPT: Final = (FOLDER / "pages.js").read_text(encoding="utf-8")
TITLE: Final = "cryptocast"
NOTHING_YET: Final = "No forecast has been made yet. Reload in a moment."


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """What one page shows. coins: the forecast of each coin by the model that is chosen first, for their list; errors:
    the coins that have none. forecast, horizon, model: the choice; None where it cannot be had. closes: before it.
    kinds: models that may be chosen. track: of the model that answered."""

    coins: Sequence[CoinForecast]
    errors: Sequence[CoinError]
    forecast: CoinForecast | None
    model: str
    horizon: int
    kinds: Sequence[str] = ()
    closes: Closes = ()
    track: CoinTrack | None = None
    has_login: bool = False

    def address(self, *, coin: str | None = None, model: str | None = None, horizon: int | None = None) -> str:
        """Where the page with another choice is, as an attribute has it."""
        chosen = {
            "coin": coin or (self.forecast.coin if self.forecast is not None else ""),
            "model": model or self.model,
            "horizon": str(horizon or self.horizon),
        }
        return escape(f"/?{urlencode(chosen)}")


def page(view: PageView) -> bytes:
    """The whole document in UTF-8."""
    log_out = '<form method="post" action="/logout"><button class="plain">Log out</button></form>'
    top = (
        '<header><a class="brand" href="/">cryptocast</a>'
        '<a id="health" href="/health/detailed">Health</a><nav aria-label="More">'
        f'<a href="/docs">API</a> <a href="/models">Models</a>{log_out if view.has_login else ""}</nav></header>'
    )
    chosen = "".join(_chosen(view, view.forecast)) if view.forecast is not None else f"<p>{NOTHING_YET}</p>"
    end = '<footer class="soft">Intervals of the price, not advice. Times are UTC.</footer>'
    title = f"{view.forecast.coin} - {TITLE}" if view.forecast is not None else TITLE
    return document(title, f"{top}<main>{_coins(view)}{chosen}</main>{end}", SCRIPT)


def _coins(view: PageView) -> str:
    chosen = view.forecast.coin if view.forecast is not None else None
    chips = "".join(
        f'<a data-swap{_current(one.coin == chosen)} href="{view.address(coin=one.coin)}"><b>{escape(one.coin)}</b> '
        f"<span{_live(one)}>{_price(one)}</span></a>"
        for one in view.coins
    )
    errors = "".join(f'<p class="note">{escape(one.coin)}: {escape(_stop(one.error))}</p>' for one in view.errors)
    return f'<nav class="chips coins" aria-label="Coin">{chips}</nav>{errors}'


def _chosen(view: PageView, forecast: CoinForecast) -> Iterator[str]:
    row = next(one for one in forecast.horizons if one.horizon == view.horizon)
    yield f'<section class="top">{_head(view, forecast)}{_expectation(forecast, row)}'
    yield _figure("fan", fan_chart(forecast, view.closes, view.horizon), _fan_key(forecast))
    yield f'</section>{_table(view, forecast)}<div class="pair">'
    yield f"<section><h2>What came of forecasts {_words(forecast, row)} ahead</h2>{_track(view, forecast)}"
    yield f"</section><section><h2>What the evidence says</h2>{_evidence(row)}{_basis(forecast)}</section></div>"


def _head(view: PageView, forecast: CoinForecast) -> str:
    coin = escape(forecast.coin)
    models = "".join(
        f'<a data-swap{_current(kind == view.model)} href="{view.address(model=kind)}">{escape(kind)}</a>'
        for kind in view.kinds
    )
    horizons = "".join(
        f'<a data-swap{_current(one.horizon == view.horizon)} href="{view.address(horizon=one.horizon)}">'
        f"{_ahead(forecast, one)}</a>"
        for one in forecast.horizons
    )
    return (
        f'<div class="head"><h1>{coin}</h1><p><span class="price"{_live(forecast)}>{_price(forecast)}</span> '
        f'{escape(forecast.vs.upper())} <span class="soft" data-change="{coin}">at the close of '
        f"{_moment(forecast, forecast.as_of)}</span></p>{_warnings(forecast)}"
        f'<nav class="chips" aria-label="Horizon"><span>Horizon</span>{horizons}</nav>'
        f'<nav class="chips" aria-label="Model"><span>Model</span>{models}</nav></div>'
    )


def _expectation(forecast: CoinForecast, row: HorizonForecast) -> str:
    """The one horizon in large."""
    shown = Prices([forecast.price])
    spans = "".join(
        f"<div><dt>{one.level} % interval</dt><dd>{shown(one.lower)} – {shown(one.upper)}</dd></div>"
        for one in row.intervals
    )
    up = "No view on the direction." if row.p_up == 0.5 else f"Higher than now with {percent(row.p_up, 0)} %."
    return (
        f'<div class="expect"><h2>In {_words(forecast, row)}, by {_moment(forecast, row.target_time)}</h2>'
        f"<dl>{spans}<div><dt>Median</dt><dd>{shown(row.median)}</dd></div></dl>{_unit(forecast)}<p>{up}</p></div>"
    )


def _figure(name: str, charts: str, key: str) -> str:
    return (
        f'<figure class="{name}">{charts}<figcaption>{key}'
        "<output>Point at the chart to read its values.</output></figcaption></figure>"
    )


def _fan_key(forecast: CoinForecast) -> str:
    levels = sorted({one.level for row in forecast.horizons for one in row.intervals}, reverse=True)
    bands = "".join(f'<span class="key b{number}">{level} %</span>' for number, level in enumerate(levels))
    return f'<span class="key price">closes</span><span class="key median">median</span>{bands}'


def _table(view: PageView, forecast: CoinForecast) -> str:
    heads = ["ahead", "until", *[f"{one.level} %" for one in forecast.horizons[0].intervals], "median"]
    rows = "".join(_row(forecast, one, heads, is_chosen=one.horizon == view.horizon) for one in forecast.horizons)
    head = "".join(f'<th data-of="{one}">{one}</th>' for one in heads)
    table = f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f"<section>{table}{_unit(forecast)}</section>"


def _row(forecast: CoinForecast, row: HorizonForecast, heads: Sequence[str], *, is_chosen: bool) -> str:
    shown = Prices([forecast.price])
    spans = [f"{shown(span.lower)} – {shown(span.upper)}" for span in row.intervals]
    cells = [_ahead(forecast, row), _moment(forecast, row.target_time), *spans, shown(row.median)]
    inner = "".join(f'<td data-of="{head}">{cell}</td>' for head, cell in zip(heads, cells, strict=True))
    return f'<tr class="chosen">{inner}</tr>' if is_chosen else f"<tr>{inner}</tr>"


def _track(view: PageView, forecast: CoinForecast) -> str:
    track = view.track
    past = [one for one in track.forecasts if one.horizon == view.horizon] if track is not None else []
    if track is None or not past:
        return f"<p>Nothing has matured at this horizon.{_first_outcome(view, forecast)}</p>"
    score = next((one for one in track.scores if one.horizon == view.horizon), None)
    faults = "".join(f'<p class="note">{escape(_stop(one))}</p>' for one in track.degraded)
    key = (
        '<span class="key hold">the price that came</span><span class="key miss">outside</span>'
        '<span class="key b0">intervals given before</span>'
    )
    chart = _figure("track", track_chart(past, forecast.granularity), key)
    return f"{_badges(score, forecast) if score is not None else ''}{faults}{chart}"


def _first_outcome(view: PageView, forecast: CoinForecast) -> str:
    if forecast.stale:
        return ""
    first = next(one for one in forecast.horizons if one.horizon == view.horizon).target_time
    return (
        " A server records its forecast of every bar; what it says now is held against the price of"
        f" {_moment(forecast, first)}."
    )


def _badges(score: LiveScore, forecast: CoinForecast) -> str:
    held = [
        (f"{one.percent} % interval held", f"{percent(one.share, 0)} %", f"of {count(score.bars, 'forecast')}")
        for one in score.coverage
    ]
    if score.skill is not None and forecast.version is not None:
        held.append(("Skill over the baseline", f"{percent(score.skill, signed=True)} %", "in CRPS, the same bars"))
    parts = "".join(f"<div><dt>{name}</dt><dd>{value}</dd><dd>{of}</dd></div>" for name, value, of in held)
    return f'<dl class="badges">{parts}</dl>'


def _evidence(row: HorizonForecast) -> str:
    """What backtests say of the model at one horizon: four questions, those over all coins first."""
    if row.unanswered is not None:
        return f"<p>{escape(_stop(UNANSWERED[row.unanswered]))}</p>"
    together = [] if row.pooled is None else [(f"All {row.pooled.coins} coins", one) for one in row.pooled.answers]
    answers = [*together, *(("This coin" if together else "", one) for one in row.answers)]
    lines = []
    for question, words in QUESTIONS.items():
        own = "".join(
            f"<dd>{escape(_stop(f'{whose}: {answer_sentence(one)}' if whose else answer_sentence(one)))}</dd>"
            for whose, one in answers
            if one.question is question
        )
        lines.append(f"<div><dt>{escape(words)}</dt>{own}</div>" if own else "")
    return f'<p class="soft">{escape(_stop(row.evidence or ""))}</p><dl class="answers">{"".join(lines)}</dl>'


def _basis(forecast: CoinForecast) -> str:
    """What the forecast rests on, and why another model answers."""
    version = f", version {forecast.version}" if forecast.version is not None else ""
    reason = forecast.fallback_reason
    fallback = "" if reason is None else f'<p class="note">{escape(_stop(f"Fallback: {sentence(reason)}"))}</p>'
    bars = f"{forecast.model_used}{version}, on {forecast.granularity} bars of {forecast.source}"
    return f"<h2>What it rests on</h2><p>{escape(bars)} up to {_moment(forecast, forecast.as_of)}.</p>{fallback}"


def _warnings(forecast: CoinForecast) -> str:
    """What must be known before the numbers are read."""
    stale = "<strong>Stale.</strong> " if forecast.stale else ""
    notices = " ".join(escape(_stop(notice)) for notice in forecast.notices)
    return f'<p class="warning note">{stale}{notices}</p>' if stale or notices else ""


def _live(forecast: CoinForecast) -> str:
    """Where the script puts the live price; a price of now beside a forecast of long ago would mislead."""
    return "" if forecast.stale else f' data-live="{escape(forecast.coin)}" data-vs="{escape(forecast.vs)}"'


def _current(is_chosen: bool) -> str:
    return ' aria-current="true"' if is_chosen else ""


def _price(forecast: CoinForecast) -> str:
    """As people write it, without the currency."""
    value = forecast.price
    return f"{value:.4e}" if 0.0 < value < SMALL else Prices([value], 5)(value)


def _unit(forecast: CoinForecast) -> str:
    """What the numbers count, where it is not the currency: of a coin that costs next to nothing."""
    shown = Prices([forecast.price])
    return "" if shown.unit == 1.0 else f'<p class="soft">In {escape(shown.named(forecast.vs))}.</p>'


def _ahead(forecast: CoinForecast, row: HorizonForecast) -> str:
    return ahead(row.horizon, forecast.granularity)


def _words(forecast: CoinForecast, row: HorizonForecast) -> str:
    return count(row.horizon, "hour" if forecast.granularity == "hourly" else "day")


def _moment(forecast: CoinForecast, at: datetime) -> str:
    return f"{at:%Y-%m-%d}" if forecast.granularity == "daily" else f"{at:%Y-%m-%d %H:%M} UTC"


def _stop(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
