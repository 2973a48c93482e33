"""What the scores of models answer, as one table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Column, Columns, note, table
from cryptocast.number_format import NOTHING, horizons_ahead
from cryptocast.registry import HorizonScore
from cryptocast.workflows.reports import PlainAnswer, Question, two_digits

MARKS: Final = {"yes": ("yes", "green"), "no": ("no", ""), "not_enough_data": ("?", "yellow")}
AnswersAt: TypeAlias = Mapping[int, Sequence[PlainAnswer]]  # by horizon


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """The answers of one model on one coin, or on all of them, by horizon; empty where none was asked."""

    coin: str
    model: str
    answers: AnswersAt

    @property
    def needed(self) -> str:
        """How many dates would do for the answer that lacks most; a dash where none lacks any or no number would do."""
        most = max((one.n_needed or 0 for own in self.answers.values() for one in own), default=0)
        return two_digits(most) if most else NOTHING

    def marks(self, question: Question) -> Text:
        """A word for each horizon; a dash where the question was not asked."""
        answers = [next((one for one in own if one.question is question), None) for own in self.answers.values()]
        if not any(answers):
            return Text(NOTHING, style="dim")
        marks = [(NOTHING, "dim") if one is None else MARKS[one.answer] for one in answers]
        return Text(" ").join(Text(mark, style=style) for mark, style in marks)


def answers_at(scores: Iterable[HorizonScore]) -> AnswersAt:
    """The answers of each horizon."""
    return {score.horizon: score.answers for score in scores}


def answer_sheet(name: str, rows: Sequence[AnswerRow], granularity: str) -> Iterator[RenderableType]:
    """A row for each model and coin, in it a mark for each horizon, and what the marks mean."""
    many = len({row.coin for row in rows}) > 1
    columns: Columns[AnswerRow] = (
        *([(Column("coin"), lambda row: row.coin)] if many else []),
        (Column("model"), lambda row: row.model),
        (Column("intervals\nright?"), lambda row: row.marks(Question.INTERVALS)),
        (Column("width better\nthan naive?"), lambda row: row.marks(Question.WIDTH)),
        (Column("beats our\nbaseline?"), lambda row: row.marks(Question.MODEL)),
        (Column("view on\ndirection?"), lambda row: row.marks(Question.DIRECTION)),
        (Column("dates\nneeded", "right"), lambda row: row.needed),
    )
    yield table(columns, rows, name)
    order = horizons_ahead(list(rows[0].answers), granularity) if rows else ""
    yield note(f"At {order}; ?: not enough data. --verbose: the scores behind them.")
