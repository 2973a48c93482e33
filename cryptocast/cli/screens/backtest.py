"""What a backtest found: the pooled scores first, then coin by coin, then how it was done."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.screens.data_used import data_sheet, left_out_lines
from cryptocast.cli.screens.honesty import honesty_sheet, placebo_lines, summary_lines, trading_part
from cryptocast.cli.screens.scores import READING, score_sheet
from cryptocast.cli.tables import CellText, Column, Columns, Sheet, note, table
from cryptocast.number_format import NOTHING, ahead, count, percent, span, when
from cryptocast.workflows.backtesting.rerun import ModelComparison, RerunReport
from cryptocast.workflows.reports import BacktestReport, BacktestRow

FOLDS_SHOWN: Final = 8
SURE: Final = (
    "could have shown: the true skill that this much data detects in 4 of 5 cases. PIT p: small, and red, where the "
    "forecast distribution does not fit (uniform) or the size of errors was predictable (memory)."
)
SIGNS: Final = {"better": "green", "worse": "red"}


def backtest_screen(report: BacktestReport, paths: Sequence[Path]) -> Iterator[RenderableType]:
    """Top to bottom."""
    midnight = report.granularity == "daily"
    yield from data_sheet(report.data, report.granularity, report.vs)
    yield from left_out_lines(report.left_out)
    notices = {row.notice for row in report.data}
    for text in report.notes:
        if text not in notices:
            yield Text(f"Note: {text}", style="yellow")
    yield from summary_lines(report)
    yield _folds(report, midnight=midnight)
    between = f"{when(report.start, midnight=midnight)} to {when(report.end, midnight=midnight)}"
    for row in report.rows:
        if row.coin is None:
            yield score_sheet(f"{row.model}, {report.mode} {between}", row.model, row.scores, report.granularity)
    yield note(READING)
    sure = honesty_sheet(report.honesty, report.granularity)
    if sure is not None:
        yield sure
        yield note(SURE)
    by_coin = [row for row in report.rows if row.coin is not None]
    if by_coin:
        yield _coins(by_coin, report.granularity)
    if report.trading is not None:
        yield from trading_part(report.trading)
    yield from placebo_lines(report.placebo)
    for path in paths:
        yield note(f"Written: {path}.")
    yield note(f"Repeat it: cryptocast rerun {report.run}")
    yield note(f"Done in {span(report.seconds)}.")


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


def _coins(rows: Sequence[BacktestRow], granularity: str) -> Sheet:
    """Skill against the strongest reference, by coin, model and horizon; the sign says what the test says."""
    horizons = sorted({score.horizon for row in rows for score in row.scores})
    columns = (Column("coin"), Column("model"), *(Column(ahead(h, granularity), "right") for h in horizons))
    table: list[list[CellText]] = []
    for row in rows:
        cells: dict[int, CellText] = {}
        for score in row.scores:
            skill = min(score.skill.values(), default=None)
            word = score.verdict.word or ""
            mark = f" {word}" if word in SIGNS else ""
            cells[score.horizon] = Text(percent(skill, signed=True) + mark, style=SIGNS.get(word, ""))
        table.append([row.coin or "", row.model, *(cells.get(h, NOTHING) for h in horizons)])
    return Sheet(columns, table, "Coin by coin: skill against the strongest reference, in %")


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
    if not report.same and not report.differs:
        yield note("Nothing recorded has changed. Another processor may round differently.")


def _sameness(model: ModelComparison) -> Text:
    return Text("identical", style="green") if model.same else Text("different", style="red")
