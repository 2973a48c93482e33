"""The questions and their answers as people read them: one wording for terminal, page, report, card and gate."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cryptocast.evaluation.answers import AnswerWord, PlainAnswer, Question, Unanswered
from cryptocast.number_format import count, percent

QUESTIONS: Final = {
    Question.INTERVALS: "Are the intervals right?",
    Question.WIDTH: "Is the width better than naive?",
    Question.MODEL: "Does the model beat our baseline?",
    Question.DIRECTION: "Is there a view on direction?",
}
SHORT_QUESTIONS: Final = {
    Question.INTERVALS: "Intervals right?",
    Question.WIDTH: "Width better than naive?",
    Question.MODEL: "Beats our baseline?",
    Question.DIRECTION: "View on direction?",
}
WORDS: Final[Mapping[AnswerWord, str]] = {"yes": "yes", "no": "no", "not_enough_data": "not enough data"}
UNANSWERED: Final = {
    Unanswered.BASELINE_ANSWERS: "baseline answers",
    Unanswered.NOT_BACKTESTED: "not backtested",
    Unanswered.INTERPOLATED: "interpolated, not backtested",
    Unanswered.FOREIGN: "imported scores, not checked here",
}


def answer_words(answer: PlainAnswer) -> str:
    """`yes`, `not enough data`."""
    return WORDS[answer.answer]


def answer_numbers(answer: PlainAnswer) -> str:
    """What decides it: `skill +4.5 % (+1.2 to +7.8) over rw_gaussian`; empty where nothing was measured."""
    if answer.estimate is None:
        return ""
    ends = _ends(answer, signed=answer.against is not None)
    if answer.level is not None:
        return f"the {answer.level} % interval held {percent(answer.estimate)} %{ends}"
    if answer.question is Question.DIRECTION:
        return "none is stated" if answer.lower == answer.upper else f"right in {percent(answer.estimate)} %{ends}"
    over = "" if answer.against is None else f" over {answer.against}"
    return f"skill {percent(answer.estimate, signed=True)} %{ends}{over}"


def _ends(answer: PlainAnswer, *, signed: bool) -> str:
    if answer.lower is None or answer.upper is None:
        return ""
    # A share cannot leave 0 to 100 %, its interval can.
    lower, upper = (answer.lower, answer.upper) if signed else (max(0.0, answer.lower), min(1.0, answer.upper))
    return f" ({percent(lower, signed=signed)} to {percent(upper, signed=signed)})"


def sufficient_words(n_needed: int | None) -> str:
    """`about 1,400 dates would do`; empty of None."""
    return "" if n_needed is None else f"about {two_digits(n_needed)} dates would do"


def two_digits(n: int) -> str:
    """1,400 of 1,327: rounded up, since an estimate has no more digits."""
    step = 10 ** max(0, len(str(n)) - 2)
    return f"{-(-n // step) * step:,}"


def answer_sentence(answer: PlainAnswer) -> str:
    """`yes: skill +4.5 % (+1.2 to +7.8) over rw_gaussian, 155 dates`."""
    parts = (answer_numbers(answer), count(answer.n, "date"), sufficient_words(answer.n_needed))
    return f"{answer_words(answer)}: {', '.join(part for part in parts if part)}"


def over_horizons(
    answers: Mapping[int, PlainAnswer], ahead: Callable[[Sequence[int]], str], *, sufficient: bool = True
) -> str:
    """One question at all horizons: `yes at 1 d; not enough data at 7, 30 d (about 1,400 dates would do)`.

    answers: by horizon; ahead: horizons in words; sufficient: whether to say how many dates would do.
    """
    groups: dict[str, list[int]] = {}
    for horizon, answer in answers.items():
        groups.setdefault(answer_words(answer), []).append(horizon)
    parts = []
    for words, horizons in groups.items():
        most = max((answers[horizon].n_needed or 0 for horizon in horizons), default=0)
        enough = f" ({sufficient_words(most)})" if most and sufficient else ""
        at = "" if len(groups) == 1 else f" at {ahead(horizons)}"
        parts.append(f"{words}{at}{enough}")
    return "; ".join(parts)
