"""The answers of several models as one table: a mark for each horizon."""

from rich.console import Console

from cryptocast.cli.screens.answers import AnswerRow, answer_sheet, answers_at
from cryptocast.workflows.reports import PlainAnswer, Question
from tests.registry.registry_fits import FALLS_BACK, hold_out, score, worse


def shown(rows: list[AnswerRow]) -> list[str]:
    console = Console(width=80, record=True)
    for part in answer_sheet("bitcoin: hold-out", rows, "daily"):
        console.print(part)
    return console.export_text().splitlines()


def test_a_row_for_each_model_with_a_mark_for_each_horizon() -> None:
    mine = answers_at(hold_out(score(1), worse(7, 1e-9), score(14, **FALLS_BACK)).horizons)
    lines = shown([AnswerRow("bitcoin", "lightgbm", mine), AnswerRow("bitcoin", "lstm", {})])
    first, second = (next(line for line in lines if line.startswith(name)) for name in ("lightgbm", "lstm"))
    assert "? no -" in first, "the baseline's horizon is a dash"
    assert second.split() == ["lstm", "-", "-", "-", "-", "-"]
    assert lines[-1].startswith("At 1, 7, 14 d; ?: not enough data.")
    assert not any("coin " in line for line in lines), "one coin is named in the title"


def test_coins_have_a_column_where_there_are_several() -> None:
    answers = answers_at(hold_out().horizons)
    lines = shown([AnswerRow("all 3", "lightgbm", answers), AnswerRow("bitcoin", "lightgbm", answers)])
    assert [line.split()[:2] for line in lines if "lightgbm" in line] == [["all", "3"], ["bitcoin", "lightgbm"]]


def test_the_dates_that_would_do_are_of_the_answer_that_lacks_most() -> None:
    def lacking(n_needed: int | None) -> PlainAnswer:
        return PlainAnswer(
            question=Question.WIDTH, answer="not_enough_data", margin=0.005, n=278, n_needed=n_needed, estimate=0.0
        )

    def needed(*answers: PlainAnswer) -> str:
        return AnswerRow("bitcoin", "lightgbm", dict(enumerate([[one] for one in answers]))).needed

    assert needed(lacking(390), lacking(12_345)) == "13,000"
    assert needed(lacking(None)) == needed() == "-"
