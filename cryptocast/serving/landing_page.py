"""The page at `/`: the configured coins as fan charts with their numbers and answers, and the health below.

Whole without JavaScript, without a request to anywhere, and without inline styles: the policy that goes with it lets a
browser do nothing but apply the one style sheet that it names by hash.
"""

import base64
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final

from cryptocast.number_format import ahead, round_numbers
from cryptocast.serving.health import Detail, Readiness
from cryptocast.workflows.fallbacks import sentence
from cryptocast.workflows.reports import UNANSWERED, CoinForecast, HorizonForecast, PlainAnswer, answer_words

STYLE: Final = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
_HASH: Final = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
PAGE_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'; base-uri 'none'"
WIDTH: Final = 640
HEIGHT: Final = 320
LEFT: Final = 12
RIGHT: Final = 510  # the labels of the prices stand to the right of it
TOP: Final = 16
BOTTOM: Final = 276  # the labels of the bars below it
TICKS: Final = 5
LEAST_APART: Final = 60  # between two labels of bars


def page(forecasts: Sequence[CoinForecast], ready: Readiness, detail: Detail) -> bytes:
    """The whole document in UTF-8."""
    coins = "".join(_section(one) for one in forecasts) or "<p>No forecast has been made yet. Reload in a moment.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>cryptocast</title>'
        f"<style>{STYLE}</style></head><body><h1>cryptocast</h1>"
        '<p class="soft">Intervals of the price, not advice. '
        "The answers say what the evidence behind each number shows.</p>"
        f"{coins}{_health(ready, detail)}</body></html>"
    ).encode()


def _section(forecast: CoinForecast) -> str:
    version = f" version {forecast.version}" if forecast.version is not None else ""
    reason = forecast.fallback_reason
    notes = [*forecast.notices, *([f"Fallback: {sentence(reason)}"] if reason is not None else [])]
    remarks = "".join(f'<p class="note">{escape(_sentence(note))}</p>' for note in notes)
    stale = ' <strong class="note">stale</strong>' if forecast.stale else ""
    price = f"{_number(forecast.price)} {escape(forecast.vs)}"
    bars = f"{escape(forecast.model_used)}{version}, {escape(forecast.source)} bars to {_moment(forecast.as_of)}"
    return (
        f'<section id="{escape(forecast.coin)}"><h2>{escape(forecast.coin)}{stale}</h2>'
        f'<p><span class="price">{price}</span> <span class="soft">{bars}</span></p>'
        f'{remarks}<div class="body">{_fan(forecast)}{_numbers(forecast)}</div></section>'
    )


def _numbers(forecast: CoinForecast) -> str:
    levels = [f"{one.level} %" for one in forecast.horizons[0].intervals] if forecast.horizons else []
    heads = ["hours" if forecast.granularity == "hourly" else "days", "until", "median", *levels]
    head = "".join(f"<th>{escape(one)}</th>" for one in heads) + '<th class="text">answers</th>'
    rows = "".join(_row(horizon, heads, hourly=forecast.granularity == "hourly") for horizon in forecast.horizons)
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(horizon: HorizonForecast, heads: Sequence[str], *, hourly: bool) -> str:
    until = _moment(horizon.target_time) if hourly else f"{horizon.target_time:%Y-%m-%d}"
    spans = [f"{_short(one.lower)} – {_short(one.upper)}" for one in horizon.intervals]
    cells = zip(heads, [str(horizon.horizon), until, _short(horizon.median), *spans], strict=True)
    answers = escape(_answers(horizon))
    if horizon.fallback_reason is not None:
        answers += f" ({escape(sentence(horizon.fallback_reason))})"
    numbers = "".join(f'<td data-of="{escape(head)}">{cell}</td>' for head, cell in cells)
    return f'<tr>{numbers}<td class="text" data-of="answers">{answers}</td></tr>'


def _answers(horizon: HorizonForecast) -> str:
    """Those of the pool first."""
    if horizon.unanswered is not None:
        return UNANSWERED[horizon.unanswered]
    own = [("", horizon.answers)] if horizon.answers else []
    together = [] if horizon.pooled is None else [(f"{horizon.pooled.coins} coins: ", horizon.pooled.answers)]
    return f"{horizon.evidence}: " + "; ".join(f"{whose}{_words(answers)}" for whose, answers in (*together, *own))


def _words(answers: Sequence[PlainAnswer]) -> str:
    return ", ".join(f"{one.question} {answer_words(one)}" for one in answers)


def _fan(forecast: CoinForecast) -> str:
    """The widest interval lightest, the median on top; time runs by the square root, as the spread does."""
    levels = [one.level for one in forecast.horizons[0].intervals] if forecast.horizons else []
    if not levels:
        return ""
    last = forecast.horizons[-1].horizon
    low = min(forecast.price, *(one.lower for horizon in forecast.horizons for one in horizon.intervals))
    high = max(forecast.price, *(one.upper for horizon in forecast.horizons for one in horizon.intervals))
    spread = (high - low) or 1.0

    def x(bars: int) -> float:
        return LEFT + (RIGHT - LEFT) * math.sqrt(bars / last)

    def y(price: float) -> float:
        return TOP + (BOTTOM - TOP) * (high - price) / spread

    def point(bars: int, price: float) -> str:
        return f"{x(bars):.1f},{y(price):.1f}"

    start = point(0, forecast.price)
    bands = []
    for index in sorted(range(len(levels)), key=lambda index: -levels[index]):
        upper = [point(one.horizon, one.intervals[index].upper) for one in forecast.horizons]
        lower = [point(one.horizon, one.intervals[index].lower) for one in reversed(forecast.horizons)]
        bands.append(f'<polygon class="band" points="{" ".join([start, *upper, *lower])}"/>')
    middle = " ".join([start, *(point(one.horizon, one.median) for one in forecast.horizons)])
    prices = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{RIGHT + 8}" y="{y(tick) + 5:.1f}">{_tick(tick)}</text>'
        for tick in round_numbers(low, high, TICKS)
    )
    bars = "".join(
        f'<text x="{at:.1f}" y="{HEIGHT - 14}" text-anchor="{anchor}">{label}</text>'
        for at, anchor, label in _times([one.horizon for one in forecast.horizons], x, forecast.granularity)
    )
    names = " and ".join(f"{level} %" for level in sorted(levels))
    label = escape(f"Fan chart of {forecast.coin}: the median as a line, the {names} intervals as bands.")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>{prices}'
        f'{"".join(bands)}<polyline class="median" points="{middle}"/>'
        f'<circle class="now" cx="{LEFT}" cy="{y(forecast.price):.1f}" r="4"/>{bars}</svg>'
    )


def _times(horizons: Sequence[int], x: Callable[[int], float], granularity: str) -> list[tuple[float, str, str]]:
    """Where the labels of the bars stand, how they are anchored, and what they say; those too close are left out."""
    labels: list[tuple[float, str, str]] = [(float(LEFT), "start", "now")]
    for horizon in horizons:
        if x(horizon) - labels[-1][0] >= LEAST_APART:
            labels.append((x(horizon), "end" if horizon == horizons[-1] else "middle", ahead(horizon, granularity)))
    return labels


def _health(ready: Readiness, detail: Detail) -> str:
    reason = f": {escape(ready.output)}" if ready.output else ""
    state = f'Ready: <strong class="{ready.status}">{ready.status}</strong>{reason}'
    rows = "".join(
        f'<tr><td class="text">{escape(one.name.replace("_", " "))}</td>'
        f'<td class="text {one.status}">{one.status}</td>'
        f'<td class="text">{escape(one.output or "–")}</td></tr>'
        for one in detail.components
    )
    heads = "".join(f'<th class="text">{one}</th>' for one in ("part", "status", "why"))
    return (
        f'<section><h2>Health</h2><p id="health">{state}, version {escape(detail.version)}, '
        f"up {_span(detail.uptime_s)}</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _number(value: float) -> str:
    return f"{value:,.2f}" if value >= 1.0 else f"{value:.6g}"


def _short(value: float) -> str:
    """Four digits at least: whoever wants more has the JSON."""
    return f"{value:,.0f}" if value >= 1000.0 else _number(value)


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
