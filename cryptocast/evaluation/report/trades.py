"""The section on the strategies that trade on the forecasts."""

from collections.abc import Sequence

from cryptocast.evaluation.records import PathsRecord, StrategyRecord, TradingRecord
from cryptocast.evaluation.report import charts, parts
from cryptocast.evaluation.report.drawing import Drawer
from cryptocast.evaluation.report.markup import Html, join, tag
from cryptocast.evaluation.report.parts import PageSection
from cryptocast.evaluation.report.report_data import ReportPage
from cryptocast.evaluation.report.words import UNKNOWN, interval, number, percent, ratio, signed_percent
from cryptocast.evaluation.trading import Curve

__all__ = ["trading"]


def trading(page: ReportPage, drawer: Drawer) -> PageSection | None:
    """Equity and drawdown against the baselines, the numbers behind them, and how much of them could be luck."""
    if page.trading is None:
        return None
    told = page.trading.record
    body = [tag("p", note) for note in (*told.notes, _costs_in_words(told))]
    body += _curves(page.trading.curves, told, drawer)
    body += [tag("h3", "In numbers"), _rows(told)]
    if told.costs:
        body += [tag("h3", "Costs"), _costs(told)]
    if told.delays:
        body += [tag("h3", "One bar late"), _delays(told)]
    chances = _chances(told)
    if chances:
        body += [tag("h3", "How much of it could be luck"), parts.facts(chances)]
    body += _paths(told, drawer)
    return PageSection("trading", "Strategies after costs", join(body))


def _curves(curves: Sequence[Curve], told: TradingRecord, drawer: Drawer) -> list[Html]:
    if not curves:
        return []
    ends = "; ".join(f"{curve.name} ends at {number(float(curve.equity[-1]))}" for curve in curves if len(curve.equity))
    equity = parts.wide_figure(
        drawer,
        charts.equity(curves),
        title="Equity",
        note="How to read: what 1 has become, after costs; equal steps up are equal growth (logarithmic axis) unless a "
        "curve reaches zero.",
        description=ends,
    )
    drawdown = parts.wide_figure(
        drawer,
        charts.drawdown(curves),
        title="Drawdown, %",
        note="How to read: how far each curve is below its highest point so far; deeper and longer is worse.",
        description="; ".join(f"{row.name}: deepest {percent(_fall(row))}" for row in told.rows),
    )
    names = parts.line_legend([curve.name for curve in curves])
    return [names, tag("div", equity, drawdown, class_="flow")]


def _rows(told: TradingRecord) -> Html:
    some = {field for field in ("psr", "dsr") if any(getattr(row, field) is not None for row in told.rows)}
    head = ["Strategy", "Return a year", "Sharpe (95%)", "vs buy and hold (95%)", "Sortino", "Calmar", "Deepest fall",
            "Turnover a year"]  # fmt: skip
    head += [field.upper() for field in ("psr", "dsr") if field in some]
    rows = [[*_row(row), *(_probability(row, field) for field in ("psr", "dsr") if field in some)] for row in told.rows]
    title = (
        "Sharpe ratios are annual, with intervals from the stationary block bootstrap; the difference to buy and hold "
        "is paired"
    )
    about = "PSR: probability that the true Sharpe ratio is above 0. DSR: the same after the best of all trials."
    return parts.table(title, head, rows, about=about)


def _row(row: StrategyRecord) -> list[str]:
    return [
        join([parts.name(row.name), parts.small(" baseline")]) if row.kind == "baseline" else parts.name(row.name),
        signed_percent(row.annual_return),
        _with_interval(row.sharpe, row.sharpe_lower, row.sharpe_upper),
        _with_interval(row.difference, row.difference_lower, row.difference_upper),
        ratio(row.sortino),
        ratio(row.calmar),
        percent(_fall(row)),
        number(row.turnover),
    ]


def _costs_in_words(record: TradingRecord) -> str:
    return (
        f"Each trade costs {record.fee_bps + record.slippage_bps:g} bps of its value ({record.fee_bps:g} fee,"
        f" {record.slippage_bps:g} slippage). A year has {record.periods:,.0f} bars."
    )


def _fall(row: StrategyRecord) -> float | None:
    """The deepest drawdown as a positive share."""
    return None if row.max_drawdown is None else -row.max_drawdown


def _with_interval(value: float | None, lower: float | None, upper: float | None) -> str:
    sure = interval(lower, upper, share=False)
    return join([ratio(value), parts.small(f"({sure})") if sure else ""])


def _probability(row: StrategyRecord, field: str) -> str:
    value = row.psr if field == "psr" else row.dsr
    return ratio(value)


def _costs(told: TradingRecord) -> Html:
    steps = list(dict.fromkeys(bps for row in told.costs for bps, _ in row.sharpe_by_bps))
    rows = [
        [
            parts.name(row.name),
            *(ratio(dict(row.sharpe_by_bps).get(bps)) for bps in steps),
            UNKNOWN if row.break_even_bps is None else f"{number(row.break_even_bps, 2)} bps",
        ]
        for row in told.costs
    ]
    title = "Annual Sharpe ratio by cost of the traded value, and the cost at which nothing is earned"
    return parts.table(title, ["Strategy", *(f"{number(bps, 1)} bps" for bps in steps), "Break-even"], rows)


def _delays(told: TradingRecord) -> Html:
    rows = [[parts.name(row.name), *(ratio(sharpe) for sharpe in row.sharpe_by_delay[:2])] for row in told.delays]
    title = "Annual Sharpe ratio as executed, and with every order one bar later"
    about = "A large fall means a fragile edge."
    return parts.table(title, ["Strategy", "As executed", "One bar later"], rows, about=about)


def _chances(told: TradingRecord) -> list[tuple[str, str, str]]:
    said = []
    if told.trials is not None:
        said.append(("Trials recorded", f"{told.trials:,}", "tuning and backtest runs on this data; DSR counts them"))
    if told.pbo is not None:
        of = f" over {told.pbo_configurations:,} configurations"
        said.append(("Probability of overfitting", percent(told.pbo, 0), f"PBO by CSCV{of}; one half is pure chance"))
    return said


def _paths(told: TradingRecord, drawer: Drawer) -> list[Html]:
    made = [_path(found, drawer) for found in told.paths if found.sharpe]
    how = (
        "the Sharpe ratio on each combinatorial purged path; thin line: zero, thick line: the median. Paths share data "
        "and are not independent: the spread is a lower bound of the doubt."
    )
    return [tag("h3", "Other paths through the same history"), parts.read(how), parts.grid(made)] if made else []


def _path(found: PathsRecord, drawer: Drawer) -> Html:
    return parts.figure(
        drawer,
        charts.paths(found),
        title=found.name,
        note=f"{len(found.sharpe)} paths",
        description="Annual Sharpe ratios: " + ", ".join(number(value) for value in found.sharpe[:60]),
    )
