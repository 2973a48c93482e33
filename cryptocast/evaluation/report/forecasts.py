"""The sections on the forecasts: answers, skill, fans, calibration, coverage."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from cryptocast.evaluation.answer_words import (
    QUESTIONS,
    answer_numbers,
    answer_sentence,
    answer_words,
    sufficient_words,
)
from cryptocast.evaluation.answers import PlainAnswer, Question
from cryptocast.evaluation.records import (
    BacktestRow,
    CoverageOfGroup,
    HonestyRecord,
    HorizonScore,
    IntervalCoverage,
)
from cryptocast.evaluation.report import charts, parts
from cryptocast.evaluation.report.charts import SkillPoint
from cryptocast.evaluation.report.drawing import Plot
from cryptocast.evaluation.report.markup import Html, join, tag
from cryptocast.evaluation.report.parts import PageSection
from cryptocast.evaluation.report.report_data import ForecastFan, ReportPage
from cryptocast.evaluation.report.words import (
    UNKNOWN,
    ahead,
    number,
    percent,
    points,
    price,
)
from cryptocast.evaluation.verdicts import p_value

THIRDS: Final = ("lowest third", "middle third", "highest third")
WALKS: Final = ("rw_empirical", "rw_gaussian")
PART_NAMES: Final = {
    "horizon": "By horizon",
    "coin": "By coin",
    "volatility": "By volatility at issue",
    "after breaks": "After breaks",
}


def answers(page: ReportPage) -> PageSection | None:
    """What the scores answer over all coins: those of the chosen model and the baseline, others on demand; and what is
    missing."""
    names = [page.chosen, "baseline"]
    first = sorted((row for row in page.pooled if row.model in names), key=lambda row: names.index(row.model))
    others = [row for row in page.pooled if row not in first]
    body = [
        parts.read(
            "each answer is a 95% interval, widened for the number of horizons, held against a margin. Not enough "
            "data: the interval allows both answers, and beside it stands how many dates would do. n counts dates, not "
            "forecasts."
        ),
        _answer_table(page, "Answers over all coins", [(row.model, row) for row in first]),
    ]
    if others:
        table = _answer_table(page, "Answers over all coins", [(row.model, row) for row in others])
        body.append(parts.folded("Other models", ", ".join(row.model for row in others), table))
    if page.placebo is not None:
        claims = f"a model was said to beat the baseline in {page.placebo.better} of {page.placebo.runs} runs."
        body += [tag("h3", "Placebo"), tag("p", f"On block-shuffled prices, which hold no signal, {claims}")]
    if page.left_out:
        missing = [tag("li", tag("b", parts.name(coin)), ": ", why) for coin, why in page.left_out]
        body += [tag("h3", "What is missing"), tag("ul", *missing, class_="plain")]
    return PageSection("answers", "Answers", join(body))


def _answer_table(page: ReportPage, title: str, rows: Sequence[tuple[str, BacktestRow]]) -> Html:
    """A group for each row, in it a line for each question, in it an answer for each horizon."""
    head = ["Question", *(f"{ahead(horizon, page.bar)} ahead" for horizon in page.horizons)]
    groups = [
        (name, [[words, *_answer_cells(page, row, question)] for question, words in QUESTIONS.items()])
        for name, row in rows
    ]
    return parts.grouped(title, head, groups, left=99, wrap=True)


def _answer_cells(page: ReportPage, row: BacktestRow, question: Question) -> Iterator[str]:
    for horizon in page.horizons:
        score = _at(row, horizon)
        answer = None if score is None else score.answer(question)
        yield Html(UNKNOWN) if answer is None else join([_word(answer), parts.small(_numbers(answer))])


def _numbers(answer: PlainAnswer) -> str:
    numbers = (answer_numbers(answer), f"n = {answer.n:,}", sufficient_words(answer.n_needed))
    return ", ".join(part for part in numbers if part)


def _at(row: BacktestRow, horizon: int) -> HorizonScore | None:
    return next((score for score in row.scores if score.horizon == horizon), None)


def _word(answer: PlainAnswer) -> Html:
    # The sign is for the eye only: the word says it all.
    mark = tag("span", "✓ ", aria_hidden="true") if answer.answer == "yes" else Html("")
    return tag("span", mark, answer_words(answer), class_=f"word {answer.answer.replace('_', '-')}")


def skill(page: ReportPage) -> PageSection | None:
    """Skill by horizon against each reference, the model confidence sets, and every loss."""
    if not page.honesty:
        return None
    body = [*_skill_charts(page)]
    if page.confidence_sets:
        body.append(parts.folded("Model confidence sets", "", _confidence_sets(page)))
    body.append(parts.folded("Losses", "CRPS, errors of the median, interval scores", _losses(page)))
    return PageSection("skill", "Skill by horizon", join(body))


def skills(page: ReportPage) -> dict[str, list[SkillPoint]]:
    """The skill of each model at each horizon, by reference."""
    by_reference: dict[str, list[SkillPoint]] = {}
    for record in page.honesty:
        for one in record.skills:
            point = SkillPoint(ahead(record.horizon, page.bar), record.model, one.value, one.lower, one.upper)
            by_reference.setdefault(one.reference, []).append(point)
    return by_reference


def _skill_charts(page: ReportPage) -> list[Html]:
    figures = [
        parts.figure(
            charts.skill(rows, page.models),
            title=f"against {reference}",
            height=56 + max(len(page.horizons) * (len(page.models) * 15 + 12), 60),
        )
        for reference, rows in skills(page).items()
    ]
    how = (
        "points show how much lower the loss is than the reference's, bars the 95% interval. A bar that crosses zero "
        "shows no significant difference; right of zero is better."
    )
    return [parts.read(how), parts.point_legend(page.models), parts.grid(figures)]


def _confidence_sets(page: ReportPage) -> Html:
    rows = [
        [
            ahead(record.horizon, page.bar),
            ", ".join(record.members) or UNKNOWN,
            ", ".join(record.left_out) or "none",
            percent(1 - record.alpha, 0),
        ]
        for record in page.confidence_sets
    ]
    title = "Models that cannot be told from the best at each horizon (in the set), and the others"
    return parts.table(title, ["Horizon", "In the set", "Left out", "Confidence"], rows, left=3)


def _losses(page: ReportPage) -> Html:
    """Every score of the models, and the loss of the walks."""
    groups, names = [], dict[str, None]()
    for horizon in page.horizons:
        crps = {row.model: score for row in page.pooled if (score := _at(row, horizon)) is not None}
        lines = [
            (record.model, record.n, _values(record, crps.get(record.model)))
            for record in page.honesty
            if record.horizon == horizon
        ]
        for score in list(crps.values())[:1]:
            lines += [(name, score.n, {"CRPS": score.crps[name]}) for name in WALKS if name in score.crps]
        names |= dict.fromkeys(name for _, _, values in lines for name in values)
        groups.append((f"{ahead(horizon, page.bar)} ahead", lines))
    table = [
        (
            title,
            [
                [parts.name(model), f"{n:,}", *(number(values.get(name)) for name in names)]
                for model, n, values in lines
            ],
        )
        for title, lines in groups
    ]
    title = "Mean scores of models and references on identical origins"
    about = "Units: see the conventions below."
    return parts.grouped(title, ["Model", "Forecasts", *names], table, about=about)


def _values(record: HonestyRecord, score: HorizonScore | None) -> dict[str, float | None]:
    point = record.points
    return {
        "CRPS": None if score is None else score.crps.get(record.model),
        "MAPE": point.mape,
        "sMAPE": point.smape,
        "MAE": point.mae,
        "RMSE": point.rmse,
        "MASE": point.mase,
        "R2 of returns": point.r2,
        "right direction": point.direction,
        **{f"interval score {one.percent}%": one.score for one in record.intervals},
        **{f"width of {one.percent}%": one.width for one in record.intervals},
    }


def coins(page: ReportPage) -> PageSection | None:
    """Coin by coin: the chosen model's skill as charts, the answers of every model as a table."""
    rows = [row for row in page.rows if row.coin is not None]
    if not rows:
        return None
    width = parts.tile(len(page.horizons))
    favourite = [row for row in rows if row.model == page.chosen]
    figures = [_coin_chart(page, favourite, horizon) for horizon in page.horizons]
    tables = [
        parts.folded(model, "", _answer_table(page, f"{model}: answers coin by coin", _by_coin(rows, model)))
        for model in dict.fromkeys(row.model for row in rows)
    ]
    how = (
        f"one row per coin: the skill of {page.chosen} over the better naive random walk. A single coin has little "
        "data, so wide intervals are normal. Right of zero is better."
    )
    grid = parts.grid([chart for chart in figures if chart], width=width)
    return PageSection("coins", "Coin by coin", join([parts.read(how), grid, tag("h3", "Every model"), *tables]))


def _by_coin(rows: Sequence[BacktestRow], model: str) -> list[tuple[str, BacktestRow]]:
    return [(row.coin or "", row) for row in rows if row.model == model]


def _coin_chart(page: ReportPage, rows: Sequence[BacktestRow], horizon: int) -> Html:
    answers = [
        (row.coin or "", answer)
        for row in rows
        if (score := _at(row, horizon)) is not None and (answer := score.answer(Question.WIDTH)) is not None
    ]
    if not answers:
        return Html("")
    points = [SkillPoint(coin, page.chosen, one.estimate, one.lower, one.upper) for coin, one in answers]
    return parts.figure(
        charts.skill(points, page.models),
        title=f"{ahead(horizon, page.bar)} ahead",
        description="; ".join(f"{coin}: {answer_sentence(one)}" for coin, one in answers),
        height=56 + max(24 * len(points), 60),
        width=parts.tile(len(page.horizons)),
    )


def fans(page: ReportPage) -> PageSection | None:
    """The forecasts of each coin and the prices that followed, by horizon: the first coin's, and others on demand."""
    drawn = _drawn(page)
    if not drawn:
        return None
    bands = list(charts.central_bands(drawn[0].levels))
    how = (
        f"each band is what {drawn[0].model} forecast that many bars before the date at which it is drawn; the line is "
        f"the actual price. About {bands[0] if bands else 95} of 100 prices should lie inside the widest band."
    )
    body = [
        parts.read(how),
        parts.band_legend(bands, charts.BAND_ROLES, outcomes=True),
        _bands(page, drawn[0]),
        *(parts.folded(fan.coin, "", parts.beside(_fan(page, fan)), _bands(page, fan)) for fan in drawn[1:]),
    ]
    return PageSection("fans", "Forecasts and prices", join(body))


def first_fan(page: ReportPage) -> Html:
    """The chart of the first coin, empty where there is none."""
    return join(_fan(page, fan) for fan in _drawn(page)[:1])


def _drawn(page: ReportPage) -> list[ForecastFan]:
    return [fan for fan in page.fans if fan.issued_at.size]


def _fan(page: ReportPage, fan: ForecastFan) -> Html:
    closes = fan.close[np.isfinite(fan.close)]
    last = float(closes[-1]) if closes.size else None
    return parts.wide_figure(
        charts.fan(fan),
        title=f"{fan.coin}: forecasts and what came",
        note=f"{fan.model}'s forecast at each dot. A good fan is as wide as the price moves.",
        description=f"Closes of {fan.coin} with forecast bands of {fan.model} up to "
        f"{ahead(max(page.horizons), page.bar)} ahead. Last close {price(last)}.",
        legend=parts.band_legend(list(charts.central_bands(fan.levels)), charts.BAND_ROLES, outcomes=False),
    )


def _bands(page: ReportPage, fan: ForecastFan) -> Html:
    figures, width = [], parts.tile(len(page.horizons))
    for column, horizon in enumerate(page.horizons):
        hits = _hits(fan, column)
        figures.append(
            parts.figure(
                charts.bands(fan, column),
                title=f"{ahead(horizon, page.bar)} ahead",
                note=hits,
                description=f"Forecast bands of {fan.model} for {fan.coin}, {ahead(horizon, page.bar)} ahead, with the "
                f"actual prices. {hits}",
                height=230,
                width=width,
            )
        )
    return parts.grid(figures, width=width)


def _hits(fan: ForecastFan, column: int) -> str:
    outcome = fan.outcome[:, column]
    keep = np.isfinite(outcome)
    if not keep.any():
        return "No outcomes yet."
    bands = charts.central_bands(fan.levels)
    prices, outcome = fan.prices[keep, column], outcome[keep]
    inside = [((prices[:, low] <= outcome) & (outcome <= prices[:, high])).sum() for low, high in bands.values()]
    return f"Inside {'/'.join(map(str, bands))}%: {', '.join(map(str, inside))} of {len(outcome)}"


def calibration(page: ReportPage) -> PageSection | None:
    """Whether the intervals, distributions and probabilities of the forecasts come true."""
    if not page.honesty:
        return None
    intervals = _by_horizon(
        page,
        "observed minus nominal coverage of each central interval, in percentage points, with two standard errors "
        "clustered by date. Below the line: intervals too narrow. Above: too wide.",
        page.honesty,
        charts.interval_reliability,
    )
    probabilities = _by_horizon(
        page,
        "of all forecasts with about this probability of a rise, the share that rose, with a 95% interval. On the "
        "diagonal: calibrated. Flatter: overconfident.",
        [record for record in page.honesty if len(record.stated) > 1],
        charts.probability_reliability,
    )
    body = [parts.point_legend(page.models), *intervals]
    body.append(parts.folded("Position of outcomes in the forecast distribution", "PIT", *_pits(page)))
    if probabilities:
        body.append(parts.folded("Probability of a rise", "", *probabilities))
    return PageSection("calibration", "Calibration", join(body))


def _by_horizon(
    page: ReportPage,
    how: str,
    records: Sequence[HonestyRecord],
    chart: Callable[[Sequence[HonestyRecord], Sequence[str]], Plot],
) -> list[Html]:
    """A chart of all models for each horizon, and how to read it."""
    width = parts.tile(len(page.horizons))
    figures = [
        parts.figure(
            chart(own, page.models),
            title=f"{ahead(horizon, page.bar)} ahead",
            note=f"n = {max(record.n for record in own):,} forecasts",
            height=240,
            width=width,
        )
        for horizon in page.horizons
        if (own := [record for record in records if record.horizon == horizon])
    ]
    return [parts.read(how), parts.grid(figures, width=width)] if figures else []


def _pits(page: ReportPage) -> list[Html]:
    """Model by model."""
    how = (
        "where the outcomes fall within their forecast distributions (PIT). Flat along the line: calibrated. U-shaped: "
        "too narrow. Hump-shaped: too wide. Sloped: biased. The test allows for overlapping forecasts."
    )
    width = parts.tile(len(page.horizons))
    grids = [
        parts.grid([_pit(page, record, place) for record in page.honesty if record.model == model], width=width)
        for place, model in enumerate(page.models)
    ]
    return [parts.read(how), *grids]


def _pit(page: ReportPage, record: HonestyRecord, colour: int) -> Html:
    p = p_value(record.pit.p_uniform)
    return parts.figure(
        charts.pit(record.pit, colour),
        title=f"{record.model}, {ahead(record.horizon, page.bar)} ahead",
        note=f"n = {record.n:,}" + (f"; uniform: {p}" if p else ""),
        height=210,
        width=parts.tile(len(page.horizons)),
    )


class _CoverageRow(NamedTuple):
    """The coverage of one interval of a model in one part of the forecasts, which the label names."""

    label: str
    model: str
    coverage: IntervalCoverage | CoverageOfGroup


def coverage(page: ReportPage) -> PageSection | None:
    """Coverage of the intervals in each part of the data, as tables."""
    tables = []
    for group, title in PART_NAMES.items():
        rows = list(_coverage_by_horizon(page) if group == "horizon" else _coverage_by_group(page, group))
        # Of one coin it would be said twice.
        if rows and (group != "coin" or len(page.coins) > 1):
            tables.append(parts.folded(title, "", _coverage_table(title, rows)))
    if not tables:
        return None
    how = (
        "share of outcomes inside each interval, in percent, ± one standard error clustered by date. Marked cells are "
        "more than two standard errors from the nominal coverage; about one cell in twenty is marked by chance."
    )
    return PageSection("coverage", "Coverage", join([parts.read(how), *tables]))


def _coverage_by_horizon(page: ReportPage) -> Iterator[_CoverageRow]:
    for row in page.pooled:
        for score in row.scores:
            label = f"{ahead(score.horizon, page.bar)} ahead"
            yield from (_CoverageRow(label, row.model, one) for one in (*score.coverage, *(score.tails or ())))


def _coverage_by_group(page: ReportPage, group: str) -> Iterator[_CoverageRow]:
    for record in page.honesty:
        own = [one for one in record.coverage if one.by == group]
        for one in sorted(own, key=lambda one: THIRDS.index(one.label) if one.label in THIRDS else -1):
            yield _CoverageRow(f"{one.label}, {ahead(record.horizon, page.bar)} ahead", record.model, one)


def _coverage_table(title: str, rows: Sequence[_CoverageRow]) -> Html:
    percents = sorted({row.coverage.percent for row in rows})
    by_label: dict[str, dict[str, dict[int, IntervalCoverage | CoverageOfGroup]]] = {}
    for row in rows:
        by_label.setdefault(row.label, {}).setdefault(row.model, {})[row.coverage.percent] = row.coverage
    groups = []
    for label, models in by_label.items():
        lines = []
        for model, own in models.items():
            count = max(one.n for one in own.values())
            lines.append([parts.name(model), *(_coverage_cell(own.get(share)) for share in percents), f"{count:,}"])
        groups.append((label, lines))
    head = ["Model", *(f"{share}%" for share in percents), "n"]
    return parts.grouped(f"{title}: observed coverage of each interval, %; n counts forecasts", head, groups)


def _coverage_cell(row: IntervalCoverage | CoverageOfGroup | None) -> str:
    if row is None:
        return UNKNOWN
    text = f"{points(row.share)} ± {points(row.se)}"
    gap = row.share - row.percent / 100
    if abs(gap) <= 2 * row.se:
        return text
    # A word beside the colour, for those who do not see it.
    return tag("span", f"{text} {'low' if gap < 0 else 'high'}", class_="off")
