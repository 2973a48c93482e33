"""What a pretrained model was made from, what it did on bars that it had not seen, and how to use it."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.screens.data_used import data_sheet, left_out_lines
from cryptocast.cli.screens.scores import READING, score_sheet
from cryptocast.cli.tables import note, title
from cryptocast.number_format import count, when
from cryptocast.workflows.training.pretrain import PretrainReport


def pretrain_screen(report: PretrainReport) -> Iterator[RenderableType]:
    """From the bars to the setting that uses it."""
    hold_out = report.hold_out
    yield from data_sheet(report.data, "daily", report.vs, coins=report.coins)
    yield from left_out_lines(report.left_out)
    between = f"{when(hold_out.start, midnight=True)} to {when(hold_out.end, midnight=True)}"
    yield score_sheet(f"hold-out {between}, out of sample, all coins", report.kind, hold_out.horizons, "daily")
    yield note(READING)
    yield note(
        f"{report.path}: {report.bytes:,} bytes, {report.features} features, learned from {report.rows:,} bars of "
        f"{count(report.coins, 'coin')}. It forecasts bars from {report.knowledge_date:%Y-%m-%d} on."
    )
    yield from (note(text) for text in report.notes)
    yield title("Next")
    yield Text(f'  in config.toml: [train] pretrained = "{report.path}"\n  cryptocast forecast COIN --model shipped')
