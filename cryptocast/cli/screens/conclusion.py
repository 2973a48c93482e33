"""The conclusion in which a command ends: what to use, how far to trust it, what is served now, what to do next."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rich import box
from rich.panel import Panel
from rich.text import Text

from cryptocast.cli.screens.answers import AnswersAt
from cryptocast.errors import CryptocastError
from cryptocast.kinds import SHIPPED
from cryptocast.market import Market
from cryptocast.number_format import NOTHING, count, horizons_ahead, one_line
from cryptocast.registry import CHALLENGER, PRODUCTION, HorizonScore, Version, VersionKey
from cryptocast.workflows.context import Context
from cryptocast.workflows.pretrained import KIND, shipped_version
from cryptocast.workflows.reports import (
    SHORT_QUESTIONS,
    BacktestReport,
    DataUsed,
    PlainAnswer,
    Question,
    TrainReport,
    over_horizons,
)

MOST_NAMED: Final = 3
MarketOf: TypeAlias = TrainReport | BacktestReport
# As they stand on the lines of the box.
LINES: Final = ((Question.INTERVALS,), (Question.WIDTH,), (Question.MODEL, Question.DIRECTION))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """use: a model by name, with its answers by horizon, pooled over so many coins. served: a model by coin; step: the
    next command; remark: what stands in the frame."""

    use: str
    answers: AnswersAt
    coins: int = 1
    granularity: str
    served: Mapping[str, str]
    step: str
    remark: str = ""


def conclusion_box(conclusion: Conclusion) -> Panel:
    """Six lines at 80 columns."""
    text = Text("\n".join(one_line(line) for line in _lines(conclusion)))
    over = f", answers over {count(conclusion.coins, 'coin')}" if conclusion.coins > 1 else ""
    return Panel(
        text,
        title=Text(f"Conclusion{over}"),
        title_align="left",
        subtitle=Text(conclusion.remark) if conclusion.remark else None,
        subtitle_align="right",
        box=box.ROUNDED,
        padding=(0, 1),
    )


def _lines(conclusion: Conclusion) -> Iterable[str]:
    answers = _by_question(conclusion.answers)
    own = _view(answers.get(Question.DIRECTION, {}), conclusion.granularity)
    yield f"Use {conclusion.use} for how far the price may move, {own}."
    for questions in LINES:
        line = [
            f"{SHORT_QUESTIONS[question]} {_horizons(answers[question], conclusion.granularity)}."
            for question in questions
            if question in answers
        ]
        if line:
            yield " ".join(line)
    if not answers:
        yield "How far to trust it is not known: it was not backtested."
    yield f"Served now: {_some(_served(conclusion.served))}."
    yield f"Next: {conclusion.step}"


def _by_question(answers: AnswersAt) -> dict[Question, dict[int, PlainAnswer]]:
    by_question: dict[Question, dict[int, PlainAnswer]] = {}
    for horizon, own in answers.items():
        for one in own:
            by_question.setdefault(one.question, {})[horizon] = one
    return by_question


def _view(answers: Mapping[int, PlainAnswer], granularity: str) -> str:
    yes = [horizon for horizon, one in answers.items() if one.answer == "yes"]
    return f"and which way at {horizons_ahead(yes, granularity)}" if yes else "not which way"


def _horizons(answers: Mapping[int, PlainAnswer], granularity: str) -> str:
    return over_horizons(answers, lambda horizons: horizons_ahead(horizons, granularity), sufficient=False)


def _served(served: Mapping[str, str]) -> list[str]:
    """Each model with its coin; the same one, or the same alias, of several coins once."""
    coins: dict[str, list[str]] = {}
    for coin, model in served.items():
        coins.setdefault(model.removeprefix(f"{coin}/"), []).append(coin)
    return [f"{served[own[0]] if len(own) == 1 else model} for {_some(own)}" for model, own in coins.items()]


def _some(names: Sequence[str]) -> str:
    rest = len(names) - MOST_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(names[:MOST_NAMED]) + more or NOTHING


def served_now(context: Context, data: Iterable[DataUsed], report: MarketOf) -> dict[str, Version | None]:
    """What `auto` asks first, by coin: its best version, else the model that came with the package; None: the baseline
    answers, or the registry cannot be read."""
    served: dict[str, Version | None] = {}
    for row in data:
        key = VersionKey(row.coin, Market(row.source, report.vs, report.granularity), "")
        shipped = shipped_version(context.config, key, row.last)
        try:
            served[row.coin] = context.registry(create=False).best(row.coin, key.market) or shipped
        except CryptocastError:
            served[row.coin] = shipped
    return served


def challenger_of(context: Context, model: str, report: BacktestReport) -> Version | None:
    """The first challenger of the model that waits for the gate, of the coins that were tested; None: none does, or the
    registry cannot be read."""
    coins = {row.coin for row in report.rows}
    kind = KIND if model == SHIPPED else model
    try:
        registry = context.registry(create=False)
        waiting = [
            registry.alias(VersionKey(row.coin, Market(row.source, report.vs, report.granularity), kind), CHALLENGER)
            for row in report.data
            if row.coin in coins
        ]
    except CryptocastError:
        return None
    own = (one for one in waiting if one is not None and PRODUCTION not in one.aliases)
    return next((one for one in own if one.contender == model), None)


def model_name(version: Version | None) -> str:
    """`bitcoin/lightgbm:1`; the baseline has no versions."""
    return "baseline" if version is None else version.name


def mean_loss(model: str, scores: Iterable[HorizonScore]) -> float:
    """The CRPS over that of a normal random walk, the mean over the horizons; infinite where nothing was scored."""
    ratios = [score.crps[model] / score.crps["rw_gaussian"] for score in scores if score.crps]
    return sum(ratios) / len(ratios) if ratios else math.inf
