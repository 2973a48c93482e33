"""The page at `/`: forecasts as fan charts with the verdict beside each. No script, nothing from elsewhere."""

import base64
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from typing import Final

from cryptocast.serving.health import Readiness
from cryptocast.workflows.documents import CoinForecast, HorizonForecast

__all__ = ["PAGE_POLICY", "page"]

STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}section{border-top:1px solid #ccc;padding:1rem 0}table{border-collapse:collapse;"
    "font-variant-numeric:tabular-nums}td,th{padding:.2rem .8rem .2rem 0;text-align:right}"
    "td:last-child,th:last-child{text-align:left}.note{color:#7a4b00}svg{max-width:100%;height:auto}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#111}.note{color:#fc6}}"
)
_HASH: Final = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
PAGE_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'; base-uri 'none'"
WIDTH: Final = 560
HEIGHT: Final = 180
EDGE: Final = 10


def page(forecasts: Sequence[CoinForecast], ready: Readiness) -> bytes:
    """The whole document in UTF-8."""
    state = escape(ready.status + (f": {ready.output}" if ready.output else ""))
    coins = "".join(_section(made) for made in forecasts) or "<p>No forecast has been made yet. Reload in a moment.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>cryptocast</title>'
        f"<style>{STYLE}</style></head><body><h1>cryptocast</h1>"
        "<p>Intervals of the price, not advice. The verdict says what the evidence behind each number could show.</p>"
        f'{coins}<section><h2>Health</h2><p id="health">{state}</p></section></body></html>'
    ).encode()


def _section(made: CoinForecast) -> str:
    version = f" version {made.version}" if made.version is not None else ""
    notes = [*made.notices, *([f"Fallback: {made.fallback_reason}."] if made.fallback_reason else [])]
    told = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    stale = ' <strong class="note">stale</strong>' if made.stale else ""
    rows = "".join(_row(horizon) for horizon in made.horizons)
    heads = "".join(f"<th>{one.level} %</th>" for one in made.horizons[0].intervals) if made.horizons else ""
    told_of = f"{escape(made.model_used)}{version}, {escape(made.source)} bars to {made.as_of:%Y-%m-%d %H:%M} UTC"
    return (
        f'<section id="{escape(made.coin)}"><h2>{escape(made.coin)}{stale}</h2>'
        f"<p>{_number(made.price)} {escape(made.vs)}, {told_of}</p>{told}"
        f"{_fan(made)}<table><thead><tr><th>{escape(made.granularity)} bars</th><th>median</th>{heads}<th>verdict</th>"
        f"</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _row(horizon: HorizonForecast) -> str:
    spans = "".join(f"<td>{_number(one.lower)} – {_number(one.upper)}</td>" for one in horizon.intervals)
    verdict = escape(horizon.verdict)
    return f"<tr><td>{horizon.horizon}</td><td>{_number(horizon.median)}</td>{spans}<td>{verdict}</td></tr>"


def _fan(made: CoinForecast) -> str:
    """The widest interval lightest, the median on top; time runs by the square root, as the spread does."""
    levels = [one.level for one in made.horizons[0].intervals] if made.horizons else []
    if not levels:
        return ""
    last = made.horizons[-1].horizon
    low = min(one.lower for horizon in made.horizons for one in horizon.intervals)
    high = max(one.upper for horizon in made.horizons for one in horizon.intervals)
    spread = (high - low) or 1.0

    def point(bars: int, price: float) -> str:
        x = EDGE + (WIDTH - 2 * EDGE) * (bars / last) ** 0.5
        y = EDGE + (HEIGHT - 2 * EDGE) * (high - price) / spread
        return f"{x:.1f},{y:.1f}"

    start = point(0, made.price)
    bands = []
    for index in sorted(range(len(levels)), key=lambda index: -levels[index]):
        upper = [point(one.horizon, one.intervals[index].upper) for one in made.horizons]
        lower = [point(one.horizon, one.intervals[index].lower) for one in reversed(made.horizons)]
        bands.append(f'<polygon points="{" ".join([start, *upper, *lower])}" fill="#2a6fb0" fill-opacity="0.25"/>')
    middle = " ".join([start, *(point(one.horizon, one.median) for one in made.horizons)])
    label = escape(f"Fan chart of {made.coin}: the intervals of the table below.")
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return (
        f'<svg {size} role="img" aria-label="{label}">'
        f'{"".join(bands)}<polyline points="{middle}" fill="none" stroke="#2a6fb0" stroke-width="2"/></svg>'
    )


def _number(value: float) -> str:
    return f"{value:,.2f}" if value >= 1.0 else f"{value:.6g}"
