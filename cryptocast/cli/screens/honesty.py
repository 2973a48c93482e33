"""Whether the distributions of a backtest come true, and what trading on them would have earned."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Column, Columns, Sheet, note, table
from cryptocast.number_format import NOTHING, ahead, percent
from cryptocast.workflows.reports import (
    HonestyRecord,
    Placebo,
    StrategyRecord,
    TradingRecord,
)

ALPHA: Final = 0.05


def honesty_sheet(records: Sequence[HonestyRecord], granularity: str) -> Sheet | None:
    """What is wrong with the distributions, and which models are among the best."""
    columns: Columns[HonestyRecord] = (
        (Column("model"), lambda record: record.model),
        (Column("ahead"), lambda record: ahead(record.horizon, granularity)),
        (Column("forecasts", "right"), lambda record: f"{record.n:,}"),
        (Column("PIT p\nuniform", "right"), lambda record: _p(record.pit.p_uniform)),
        (Column("of no\nmemory", "right", leaves=2), lambda record: _p(record.pit.p_spread_memory)),
        (Column("in best\nset", leaves=3), lambda record: _is_in(record.confidence_p)),
    )
    return table(columns, records, "Do the distributions come true?") if records else None


def _is_in(p: float | None) -> str:
    return NOTHING if p is None else "yes" if p > 0.1 else "no"


def _p(value: float | None) -> Text:
    return Text(
        NOTHING if value is None else f"{value:.2f}", style="red" if value is not None and value < ALPHA else ""
    )


def trading_part(traded: TradingRecord, *, verbose: bool = False) -> Iterator[RenderableType]:
    """The strategies and what needs no forecast, after costs. verbose: with how it was counted."""
    even = {cost.name: cost.break_even_bps for cost in traded.costs}
    columns: Columns[StrategyRecord] = (
        (Column("strategy", wraps=True), lambda row: Text(row.name, style="" if row.kind == "strategy" else "dim")),
        (
            Column("Sharpe\n95 % interval", "right"),
            lambda row: _between(row.sharpe, row.sharpe_lower, row.sharpe_upper),
        ),
        (
            Column("less that of\nbuy and hold", "right"),
            lambda row: _between(row.difference, row.difference_lower, row.difference_upper),
        ),
        (Column("return\n% a year", "right"), lambda row: percent(row.annual_return, signed=True)),
        (Column("drawdown\n%", "right"), lambda row: percent(row.max_drawdown)),
        (
            Column("turnover\na year", "right", leaves=2),
            lambda row: NOTHING if row.turnover is None else f"{row.turnover:.1f}",
        ),
        (Column("beats random\nentries, %", "right", leaves=1), lambda row: percent(row.beaten, 0)),
        (Column("PSR\n%", "right", leaves=3), lambda row: percent(row.psr, 0)),
        (Column("DSR\n%", "right", leaves=4), lambda row: percent(row.dsr, 0)),
        (Column("break-even\nbps", "right", leaves=5), lambda row: _break_even(row.name, even)),
    )
    # Random entries stand in a column of the strategy that they imitate.
    rows = [row for row in traded.rows if row.kind == "strategy" or row.model is None]
    trials = "" if traded.trials is None else f"; strategies tried on these bars so far: {traded.trials}"
    costs = f"{traded.fee_bps + traded.slippage_bps:g} bps a trade"
    yield table(columns, rows, f"Trading on it at {costs}, filled at the {traded.filled_at}{trials}")
    if verbose:
        yield note(" ".join(traded.notes))
    if traded.pbo is not None:
        yield note(
            f"The best of {traded.pbo_configurations} configurations in one half of the time is below the median in the"
            f" other half with probability {percent(traded.pbo, 0)} %."
        )
    for path in traded.paths:
        ratios = sorted(value for value in path.sharpe if value is not None)
        yield note(f"Combinatorial purged paths, {path.name}: Sharpe {', '.join(f'{value:.2f}' for value in ratios)}.")


def _break_even(name: str, even: dict[str, float | None]) -> str:
    bps = even.get(name)
    return NOTHING if name not in even else "none" if bps is None else f"{bps:,.0f}"


def _between(value: float | None, lower: float | None, upper: float | None) -> str:
    if value is None:
        return NOTHING
    if lower is None or upper is None:
        return f"{value:+.2f}"
    return f"{value:+.2f} ({lower:+.2f} to {upper:+.2f})"


def placebo_lines(placebo: Placebo | None) -> Iterator[RenderableType]:
    """How often nothing was taken for something."""
    if placebo is None:
        return
    low, high = placebo.shares
    yield Text(
        f"Placebo: on prices shuffled in blocks of {placebo.block_bars} bars, {placebo.better} of {placebo.runs} runs"
        f" said that a model beats the baseline ({percent(low, 0)} to {percent(high, 0)} % of such runs), and"
        f" {placebo.direction} that there is a view on direction."
    )
