"""The section on the strategies that trade on the forecasts."""

from collections.abc import Sequence

from cryptocast.evaluation.records import PathsRecord, StrategyRecord, TradingRecord
from cryptocast.evaluation.report import charts, parts
from cryptocast.evaluation.report.markup import Html, join, tag
from cryptocast.evaluation.report.parts import PageSection
from cryptocast.evaluation.report.report_data import ReportPage
from cryptocast.evaluation.report.words import UNKNOWN, interval, number, percent, ratio, signed_percent
from cryptocast.evaluation.trading import Curve


def trading(page: ReportPage) -> PageSection | None:
    """Equity and drawdown against the baselines, the numbers behind them, and how much of them could be luck."""
    if page.trading is None:
        return None
    record = page.trading.record
    cost = record.fee_bps + record.slippage_bps
    costs = (
        f"Each trade costs {cost:g} bps of its value ({record.fee_bps:g} fee, {record.slippage_bps:g} slippage). "
        f"A year has {record.periods:,.0f} bars."
    )
    conduct = tag("p", " ".join((*record.notes, costs)))
    chances = _chances(record)
    luck = [tag("h3", "How much of it could be luck"), parts.facts(chances)] if chances else []
    body = [parts.beside(_drawdown(page.trading.curves, record), tag("div", conduct, *luck)), _rows(record)]
    if record.costs:
        body.append(parts.folded("Costs", "Sharpe ratio by cost of a trade, and break-even", _costs(record)))
    if record.delays:
        body.append(parts.folded("One bar late", "every order one bar later", _delays(record)))
    if any(paths.sharpe for paths in record.paths):
        body.append(parts.folded("Other paths through the same history", "", *_paths(record)))
    return PageSection("trading", "Strategies after costs", join(body))


def equity(page: ReportPage) -> Html:
    """The equity curves, empty where there are none."""
    curves = page.trading.curves if page.trading is not None else ()
    if not curves:
        return Html("")
    ends = (f"{curve.name} ends at {number(float(curve.equity[-1]))}" for curve in curves if len(curve.equity))
    return parts.wide_figure(
        charts.equity(curves),
        title="Equity of strategies on the forecasts",
        note="Growth of 1 after costs, on a logarithmic axis unless a curve reaches zero.",
        description="; ".join(ends),
        legend=parts.line_legend([curve.name for curve in curves]),
    )


def _drawdown(curves: Sequence[Curve], record: TradingRecord) -> Html:
    if not curves:
        return Html("")
    return parts.wide_figure(
        charts.drawdown(curves),
        title="Drawdown, %",
        note="How far each curve is below its previous peak; deeper and longer is worse.",
        description="; ".join(f"{row.name}: deepest {_fall(row)}" for row in record.rows),
        legend=parts.line_legend([curve.name for curve in curves]),
    )


def _rows(record: TradingRecord) -> Html:
    head = ["Strategy", "Annual return", "Sharpe (95%)", "vs buy and hold (95%)", "Sortino", "Calmar", "Max. drawdown",
            "Annual turnover"]  # fmt: skip
    probabilities = {"PSR": [row.psr for row in record.rows], "DSR": [row.dsr for row in record.rows]}
    columns = {name: values for name, values in probabilities.items() if any(value is not None for value in values)}
    rows = [[*_row(row), *(ratio(values[i]) for values in columns.values())] for i, row in enumerate(record.rows)]
    title = (
        "Sharpe ratios are annual, with intervals from the stationary block bootstrap; the difference to buy and hold "
        "is paired"
    )
    about = "PSR: probability that the true Sharpe ratio is above 0. DSR: the same, corrected for all trials."
    return parts.table(title, [*head, *columns], rows, about=about)


def _row(row: StrategyRecord) -> list[str]:
    return [
        join([parts.name(row.name), parts.small(" baseline")]) if row.kind == "baseline" else parts.name(row.name),
        signed_percent(row.annual_return),
        _with_interval(row.sharpe, row.sharpe_lower, row.sharpe_upper),
        _with_interval(row.difference, row.difference_lower, row.difference_upper),
        ratio(row.sortino),
        ratio(row.calmar),
        _fall(row),
        number(row.turnover),
    ]


def _fall(row: StrategyRecord) -> str:
    """The deepest drawdown, without a sign."""
    return percent(None if row.max_drawdown is None else -row.max_drawdown)


def _with_interval(value: float | None, lower: float | None, upper: float | None) -> str:
    ends = interval(lower, upper, share=False)
    return join([ratio(value), parts.small(f"({ends})") if ends else ""])


def _costs(record: TradingRecord) -> Html:
    steps = list(dict.fromkeys(bps for row in record.costs for bps, _ in row.sharpe_by_bps))
    rows = [
        [
            parts.name(row.name),
            *(ratio(dict(row.sharpe_by_bps).get(bps)) for bps in steps),
            UNKNOWN if row.break_even_bps is None else f"{number(row.break_even_bps, 2)} bps",
        ]
        for row in record.costs
    ]
    title = "Annual Sharpe ratio by cost, as a share of the traded value, and the cost at which nothing is earned"
    return parts.table(title, ["Strategy", *(f"{number(bps, 1)} bps" for bps in steps), "Break-even"], rows)


def _delays(record: TradingRecord) -> Html:
    rows = [[parts.name(row.name), *(ratio(sharpe) for sharpe in row.sharpe_by_delay[:2])] for row in record.delays]
    title = "Annual Sharpe ratio as executed, and with every order one bar later"
    about = "A large drop means a fragile edge."
    return parts.table(title, ["Strategy", "As executed", "One bar later"], rows, about=about)


def _chances(record: TradingRecord) -> list[tuple[str, str, str]]:
    chances = []
    if record.trials is not None:
        chances.append(("Trials recorded", f"{record.trials:,}", "tuning and backtest runs on this data, for the DSR"))
    if record.pbo is not None:
        means = f"PBO by CSCV over {record.pbo_configurations:,} configurations; 50% is pure chance"
        chances.append(("Probability of overfitting", percent(record.pbo, 0), means))
    return chances


def _paths(record: TradingRecord) -> list[Html]:
    figures = [_path(paths) for paths in record.paths if paths.sharpe]
    how = (
        "the Sharpe ratio on each combinatorial purged path; thin line: zero, thick line: the median. Paths share "
        "data, so the true uncertainty is larger than their spread."
    )
    return [parts.read(how), parts.grid(figures)]


def _path(paths: PathsRecord) -> Html:
    return parts.figure(
        charts.paths(paths),
        title=paths.name,
        note=f"{len(paths.sharpe)} paths",
        description="Annual Sharpe ratios: " + ", ".join(number(value) for value in paths.sharpe[:60]),
    )
