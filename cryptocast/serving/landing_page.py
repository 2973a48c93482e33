"""The page at `/`: the configured coins as fan charts with their numbers and verdicts, and the health below.

Whole without JavaScript, without a request to anywhere, and without inline styles: the policy that goes with it lets a
browser do nothing but apply the one style sheet that it names by hash.
"""

import base64
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from html import escape
from typing import Final

from cryptocast.number_format import ahead, round_numbers
from cryptocast.serving.health import Detail, Readiness
from cryptocast.serving.telemetry import Trend
from cryptocast.workflows.fallbacks import sentence
from cryptocast.workflows.reports import CoinForecast, HorizonForecast, verdict_sentence

__all__ = ["PAGE_POLICY", "page"]

STYLE: Final = (
    ":root{--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--paper:#fff;--card:#f6f8fa;--blue:#1f6feb;--warn:#8a5300;"
    "--pass:#1a7f37;--fail:#b42318;color-scheme:light dark}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa7b4;--line:#2d3640;--paper:#0d1117;--card:#151b23;"
    "--blue:#4c9aff;--warn:#f0b429;--pass:#3fb950;--fail:#ff7b72}}"
    "body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:80rem;padding:1.5rem 1rem 3rem;color:var(--ink);"
    "background:var(--paper)}h1,h2{line-height:1.2;margin:0}h2{text-transform:capitalize}p{margin:.4rem 0}"
    ".soft{color:var(--soft)}.price{font-size:1.25rem;font-weight:600}"
    "section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:1.25rem 0}"
    ".note{color:var(--warn)}.body{display:grid;gap:1rem;align-items:center}.body>*{min-width:0}"
    "@media(min-width:62rem){.body{grid-template-columns:26rem 1fr}"
    ".top{grid-template-columns:1fr 1fr;align-items:start}}"
    "svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:14px}"
    ".grid{stroke:var(--line);stroke-width:1}.band{fill:var(--blue);fill-opacity:.22}"
    ".median{fill:none;stroke:var(--blue);stroke-width:2.5}.now{fill:var(--blue)}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "td,th{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}"
    "tr:last-child td{border-bottom:0}th{font-weight:600;color:var(--soft);white-space:nowrap}td{white-space:nowrap}"
    "td.text,th.text{text-align:left;white-space:normal}"
    ".pass,.better{color:var(--pass)}.warn{color:var(--warn)}.fail,.worse{color:var(--fail)}"
    "@media(max-width:40rem){svg text{font-size:22px}td,th{padding:.3rem .3rem}"
    ".numbers thead{display:none}.numbers tbody,.numbers tr{display:block}"
    ".numbers tr{border-bottom:1px solid var(--line);padding:.4rem 0}.numbers tr:last-child{border-bottom:0}"
    ".numbers td{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.1rem 0;text-align:right;"
    "white-space:normal}.numbers td::before{content:attr(data-of);color:var(--soft);text-align:left;flex:none}}"
)
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


def page(
    forecasts: Sequence[CoinForecast],
    ready: Readiness,
    detail: Detail | None = None,
    trends: dict[str, Trend] | None = None,
) -> bytes:
    """The whole document in UTF-8. trends: of the last hour."""
    coins = "".join(_section(made) for made in forecasts) or "<p>No forecast has been made yet. Reload in a moment.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>cryptocast</title>'
        f"<style>{STYLE}</style></head><body><h1>cryptocast</h1>"
        '<p class="soft">Intervals of the price, not advice. '
        "The verdict says what the evidence behind each number could show.</p>"
        f"{coins}{_health(ready, detail, trends or {})}</body></html>"
    ).encode()


def _section(made: CoinForecast) -> str:
    version = f" version {made.version}" if made.version is not None else ""
    notes = [*made.notices, *([f"Fallback: {sentence(made.fallback_reason)}"] if made.fallback_reason else [])]
    told = "".join(f'<p class="note">{escape(_sentence(note))}</p>' for note in notes)
    stale = ' <strong class="note">stale</strong>' if made.stale else ""
    told_of = f"{escape(made.model_used)}{version}, {escape(made.source)} bars to {_moment(made.as_of)}"
    return (
        f'<section id="{escape(made.coin)}"><h2>{escape(made.coin)}{stale}</h2>'
        f'<p><span class="price">{_number(made.price)} {escape(made.vs)}</span> <span class="soft">{told_of}</span></p>'
        f'{told}<div class="body">{_fan(made)}{_numbers(made)}</div></section>'
    )


def _numbers(made: CoinForecast) -> str:
    levels = [f"{one.level} %" for one in made.horizons[0].intervals] if made.horizons else []
    heads = ["hours" if made.granularity == "hourly" else "days", "until", "median", *levels]
    head = "".join(f"<th>{escape(one)}</th>" for one in heads) + '<th class="text">verdict</th>'
    rows = "".join(_row(horizon, heads, hourly=made.granularity == "hourly") for horizon in made.horizons)
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(horizon: HorizonForecast, heads: Sequence[str], *, hourly: bool) -> str:
    until = _moment(horizon.target_time) if hourly else f"{horizon.target_time:%Y-%m-%d}"
    spans = [f"{_short(one.lower)} – {_short(one.upper)}" for one in horizon.intervals]
    cells = zip(heads, [str(horizon.horizon), until, _short(horizon.median), *spans], strict=True)
    verdict = escape(verdict_sentence(horizon.verdict, horizon.horizon))
    if horizon.evidence is not None:
        verdict = f"{horizon.evidence}: {verdict}"
    if horizon.fallback_reason is not None:
        verdict += f" ({escape(sentence(horizon.fallback_reason))})"
    numbers = "".join(f'<td data-of="{escape(head)}">{cell}</td>' for head, cell in cells)
    return f'<tr>{numbers}<td class="text" data-of="verdict">{verdict}</td></tr>'


def _fan(made: CoinForecast) -> str:
    """The widest interval lightest, the median on top; time runs by the square root, as the spread does."""
    levels = [one.level for one in made.horizons[0].intervals] if made.horizons else []
    if not levels:
        return ""
    last = made.horizons[-1].horizon
    low = min(made.price, *(one.lower for horizon in made.horizons for one in horizon.intervals))
    high = max(made.price, *(one.upper for horizon in made.horizons for one in horizon.intervals))
    spread = (high - low) or 1.0

    def x(bars: int) -> float:
        return LEFT + (RIGHT - LEFT) * math.sqrt(bars / last)

    def y(price: float) -> float:
        return TOP + (BOTTOM - TOP) * (high - price) / spread

    def point(bars: int, price: float) -> str:
        return f"{x(bars):.1f},{y(price):.1f}"

    start = point(0, made.price)
    bands = []
    for index in sorted(range(len(levels)), key=lambda index: -levels[index]):
        upper = [point(one.horizon, one.intervals[index].upper) for one in made.horizons]
        lower = [point(one.horizon, one.intervals[index].lower) for one in reversed(made.horizons)]
        bands.append(f'<polygon class="band" points="{" ".join([start, *upper, *lower])}"/>')
    middle = " ".join([start, *(point(one.horizon, one.median) for one in made.horizons)])
    prices = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{RIGHT + 8}" y="{y(tick) + 5:.1f}">{_tick(tick)}</text>'
        for tick in round_numbers(low, high, TICKS)
    )
    bars = "".join(
        f'<text x="{at:.1f}" y="{HEIGHT - 14}" text-anchor="{anchor}">{label}</text>'
        for at, anchor, label in _times([one.horizon for one in made.horizons], x, made.granularity)
    )
    shown = " and ".join(f"{level} %" for level in sorted(levels))
    label = escape(f"Fan chart of {made.coin}: the median as a line, the {shown} intervals as bands.")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>{prices}'
        f'{"".join(bands)}<polyline class="median" points="{middle}"/>'
        f'<circle class="now" cx="{LEFT}" cy="{y(made.price):.1f}" r="4"/>{bars}</svg>'
    )


def _times(horizons: Sequence[int], x: Callable[[int], float], granularity: str) -> list[tuple[float, str, str]]:
    """Where the labels of the bars stand, how they are anchored, and what they say; those too close are left out."""
    labels: list[tuple[float, str, str]] = [(float(LEFT), "start", "now")]
    for horizon in horizons:
        if x(horizon) - labels[-1][0] >= LEAST_APART:
            labels.append((x(horizon), "end" if horizon == horizons[-1] else "middle", ahead(horizon, granularity)))
    return labels


def _health(ready: Readiness, detail: Detail | None, trends: dict[str, Trend]) -> str:
    state = escape(ready.status + (f": {ready.output}" if ready.output else ""))
    told = f'<p id="health" class="{ready.status}">{state}</p>' if detail is None else ""
    parts = ""
    if detail is not None:
        told = f'<p id="health">Ready: <strong class="{ready.status}">{ready.status}</strong>, version '
        told += f"{escape(detail.version)}, up {_span(detail.uptime_s)}</p>"
        rows = "".join(
            f'<tr><td class="text">{escape(one.name.replace("_", " "))}</td>'
            f'<td class="text {one.status}">{one.status}</td>'
            f'<td class="text">{escape(one.output or "–")}</td></tr>'
            for one in detail.components
        )
        heads = "".join(f'<th class="text">{one}</th>' for one in ("part", "status", "why"))
        parts = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<section><h2>Health</h2>{told}<div class="body top">{parts}{_trends(trends)}</div></section>'


def _trends(trends: dict[str, Trend]) -> str:
    known = {name: one for name, one in trends.items() if one.direction != "unknown"}
    if not known:
        return '<p class="soft">Whether it gets better or worse is told after two minutes.</p>'
    rows = "".join(
        f'<tr><td class="text">{escape(name.replace("_", " "))}</td>'
        f"<td>{one.older:,.4g}</td><td>{one.newer:,.4g}</td>"
        f'<td class="text {one.direction}">{one.direction}</td></tr>'
        for name, one in known.items()
    )
    heads = '<th class="text">last hour</th><th>before</th><th>now</th><th class="text">goes</th>'
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


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
