"""What a backtest found: the pooled scores first, then coin by coin, then how it was done."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.screens.answers import AnswerRow, answer_sheet, answers_at
from cryptocast.cli.screens.conclusion import (
    MOST_NAMED,
    Conclusion,
    challenger_of,
    conclusion_box,
    model_name,
    served_now,
)
from cryptocast.cli.screens.data_used import data_sheet, left_out_lines
from cryptocast.cli.screens.honesty import honesty_sheet, placebo_lines, trading_part
from cryptocast.cli.screens.scores import READING, score_sheet
from cryptocast.cli.tables import CellText, Column, Columns, Sheet, note, table
from cryptocast.number_format import ahead, count, span, when
from cryptocast.workflows.backtesting.report import best_model
from cryptocast.workflows.backtesting.rerun import ModelComparison, RerunReport
from cryptocast.workflows.context import Context
from cryptocast.workflows.reports import BacktestReport, BacktestRow

FOLDS_SHOWN: Final = 8
SURE: Final = (
    "PIT p: small, and red, where the forecast distribution does not fit (uniform) or the size of errors was "
    "predictable (memory). in best set: not shown to be worse than the best model."
)


def backtest_screen(
    context: Context, report: BacktestReport, paths: Sequence[Path], *, verbose: bool = False
) -> Iterator[RenderableType]:
    """From the bars to the conclusion. verbose: with the scores behind the answers."""
    yield from data_sheet(report.data, report.granularity, report.vs)
    yield from left_out_lines(report.left_out)
    notices = {row.notice for row in report.data}
    for text in report.notes:
        if text not in notices:
            yield Text(f"Note: {text}", style="yellow")
    best = _best(report)
    yield from _answers(report, best, verbose=verbose)
    if verbose:
        yield from _details(report)
    if report.trading is not None:
        yield from trading_part(report.trading, verbose=verbose)
    yield from placebo_lines(report.placebo)
    for path in paths:
        yield note(f"Written: {path}.")
    yield note(f"Repeat it: cryptocast rerun {report.run}")
    yield conclusion_box(_conclusion(context, report, best))


def _best(report: BacktestReport) -> BacktestRow:
    """The row over all coins of the model that the page shows too."""
    best = best_model(report)
    return next(row for row in report.rows if row.coin is None and row.model == best)


def _answers(report: BacktestReport, best: BacktestRow, *, verbose: bool) -> Iterator[RenderableType]:
    """Of the pool first, then coin by coin: of the best model, or of all."""
    named = {row.coin for row in report.rows if row.coin is not None}
    rows = [
        AnswerRow(row.coin or f"all {len(named)}", row.model, answers_at(row.scores))
        for row in report.rows
        if row.coin is None or verbose or row.model == best.model
    ]
    yield from answer_sheet(f"{', '.join(_coins(report))}: {_how(report)}", rows, report.granularity)


def _coins(report: BacktestReport) -> list[str]:
    named = {row.coin for row in report.rows if row.coin is not None}
    return [row.coin for row in report.data if row.coin in named] or [row.coin for row in report.data[:1]]


def _how(report: BacktestReport) -> str:
    midnight = report.granularity == "daily"
    between = f"{when(report.start, midnight=midnight)} to {when(report.end, midnight=midnight)}"
    every = "" if report.step_bars == 1 else f", every {_every(report.step_bars, report)}"
    return f"{report.mode} {between}{every}, {count(len(report.folds), 'fit')}"


def _details(report: BacktestReport) -> Iterator[RenderableType]:
    yield _folds(report, midnight=report.granularity == "daily")
    for row in report.rows:
        if row.coin is None:
            yield score_sheet(f"{row.model}, {report.mode}", row.model, row.scores, report.granularity)
    yield note(READING)
    sure = honesty_sheet(report.honesty, report.granularity)
    if sure is not None:
        yield sure
        yield note(SURE)


def _conclusion(context: Context, report: BacktestReport, best: BacktestRow) -> Conclusion:
    coins = _coins(report)
    served = served_now(context, [row for row in report.data if row.coin in coins], report)
    extra = "" if report.granularity == "daily" else f" --granularity {report.granularity}"
    waiting = challenger_of(context, best.model, report)
    if report.mode == "hold-out":
        step = f"backtest {' '.join(coins[:MOST_NAMED])} --walk-forward"
    elif waiting is not None:
        step = f"registry promote {waiting.key.coin} {waiting.key.kind}"
    else:
        step = f"forecast {coins[0]}" if served[coins[0]] is not None else f"train {' '.join(coins[:MOST_NAMED])}"
    return Conclusion(
        use=best.model,
        answers=answers_at(best.scores),
        coins=len(coins),
        granularity=report.granularity,
        served={coin: model_name(version) for coin, version in served.items()},
        step=f"cryptocast {step}{extra}",
        remark=f"done in {span(report.seconds)}",
    )


def _folds(report: BacktestReport, *, midnight: bool) -> Sheet:
    folds = report.folds
    columns = (
        Column("fold", "right"),
        Column("trained on bars before"),
        Column("training rows", "right"),
        Column("origins", "right"),
    )
    gap = len(folds) > FOLDS_SHOWN
    some = [*folds[: FOLDS_SHOWN // 2], *folds[-FOLDS_SHOWN // 2 :]] if gap else folds
    rows: list[Sequence[CellText]] = [
        (str(f.fold + 1), when(f.refit_at, midnight=midnight), f"{f.train_rows:,}", f"{f.origins:,}") for f in some
    ]
    if gap:
        rows.insert(FOLDS_SHOWN // 2, ("...", f"{len(folds) - len(some)} more in --json", "", ""))
    how = (
        f"{count(len(folds), 'fit')}, each on the data known then; a forecast every {_every(report.step_bars, report)}"
    )
    if report.refit_every_bars is not None:
        how += f", a fit every {_every(report.refit_every_bars, report)}"
    return Sheet(columns, rows, how)


def _every(number: int, report: BacktestReport) -> str:
    return ahead(number, report.granularity)


def rerun_screen(report: RerunReport) -> Iterator[RenderableType]:
    """Model by model: the same, or how far off."""
    columns: Columns[ModelComparison] = (
        (Column("model"), lambda model: model.model),
        (Column("forecasts"), _sameness),
        (
            Column("largest change of a CRPS", "right"),
            lambda model: f"{model.largest_difference:.1e}" if model.largest_difference else "0",
        ),
    )
    yield table(columns, report.models, f"Run {report.run}, repeated in {span(report.now.seconds)}")
    for line in report.differs:
        yield Text(f"Changed since: {line}", style="yellow")
    yield from (note(text) for text in report.now.notes if text not in report.then.notes)
    if not report.same and not report.differs:
        yield note("Nothing recorded has changed. Another processor may round differently.")


def _sameness(model: ModelComparison) -> Text:
    return Text("identical", style="green") if model.same else Text("different", style="red")
