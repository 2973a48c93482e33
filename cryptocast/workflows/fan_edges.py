"""The edges of a forecast's intervals at any bar ahead, between the horizons that it has: what a fan is drawn of."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from cryptocast.workflows.reports import CoinForecast


def interval_edges(forecast: CoinForecast, level: int, *, upper: bool) -> dict[int, float]:
    """One side of the intervals of a level, by horizon."""
    return {
        h.horizon: i.upper if upper else i.lower for h in forecast.horizons for i in h.intervals if i.level == level
    }


def edge_path(price: float, prices: Mapping[int, float], ahead: Sequence[float]) -> list[float]:
    """Prices so many bars ahead, from a price now and one at each horizon: logs on the square root of time, on which a
    random walk's edges are straight."""
    points = [(0.0, 0.0), *((math.sqrt(h), math.log(value / price)) for h, value in sorted(prices.items()))]
    return [price * math.exp(_between(points, math.sqrt(x))) for x in ahead]


def _between(points: Sequence[tuple[float, float]], x: float) -> float:
    """The value at x on the line through the points, which are sorted by x."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]
