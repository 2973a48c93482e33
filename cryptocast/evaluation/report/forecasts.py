"""The sections on the forecasts: verdicts, skill, fans, calibration, coverage."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from cryptocast.evaluation.records import (
    BacktestRow,
    CoverageOfGroup,
    HonestyRecord,
    HorizonScore,
    IntervalCoverage,
)
from cryptocast.evaluation.report import charts, parts
from cryptocast.evaluation.report.charts import SkillPoint
from cryptocast.evaluation.report.drawing import Drawer
from cryptocast.evaluation.report.markup import Html, join, tag
from cryptocast.evaluation.report.parts import PageSection, TableCell
from cryptocast.evaluation.report.report_data import ForecastFan, ReportPage
from cryptocast.evaluation.report.words import (
    UNKNOWN,
    ahead,
    detail,
    interval,
    number,
    percent,
    points,
    price,
    signed_percent,
)
from cryptocast.evaluation.verdicts import Verdict, p_value, verdict_numbers

__all__ = ["calibration", "coins", "coverage", "fans", "forest_height", "skill", "skills", "verdicts"]

OPEN_COINS = 1
THIRDS: Final = ("lowest third", "middle third", "highest third")
WALKS: Final = ("rw_empirical", "rw_gaussian")
PART_NAMES: Final = {
    "horizon": "By horizon",
    "coin": "By coin",
    "volatility": "By volatility at issue",
    "after breaks": "After breaks",
}


def verdicts(page: ReportPage, _: Drawer) -> PageSection | None:
    """The verdict of each model at each horizon in words, before anything else, and what is missing."""
    body = [
        parts.read(
            "“better” needs a significantly lower loss (CRPS) than every reference, after correction for the number "
            "of comparisons; “worse” a significantly higher one than the baseline. “cannot tell” is an answer too: the "
            "smallest skill that this much data could have shown stands beside it. n counts dates, not forecasts."
        ),
        _glance(page),
        tag("div", *(_card(page, row) for row in page.judged), class_="cards"),
    ]
    if page.placebo is not None:
        said = f"The same pipeline said “better” in {page.placebo.better} of {page.placebo.runs} runs"
        body += [tag("h3", "Placebo"), tag("p", f"{said} on block-shuffled prices, where there is nothing to find.")]
    if page.left_out:
        missing = [tag("li", tag("b", parts.name(coin)), ": ", why) for coin, why in page.left_out]
        body += [tag("h3", "What is missing"), tag("ul", *missing, class_="plain")]
    return PageSection("verdicts", "Verdicts", join(body))


def _glance(page: ReportPage) -> Html:
    rows = [[parts.name(row.model), *(_short(_at(row, horizon)) for horizon in page.horizons)] for row in page.judged]
    head = ["Model", *(f"{ahead(horizon, page.bar)} ahead" for horizon in page.horizons)]
    return parts.table("At a glance: the verdict, and the skill against the strongest reference", head, rows, left=99)


def _at(row: BacktestRow, horizon: int) -> HorizonScore | None:
    return next((score for score in row.scores if score.horizon == horizon), None)


def _short(score: HorizonScore | None) -> str:
    if score is None:
        return UNKNOWN
    return join([_word(score.verdict), parts.small(signed_percent(score.verdict.skill))])


def _card(page: ReportPage, row: BacktestRow) -> Html:
    lines = [part for score in row.scores for part in _verdict(page, row.model, score)]
    title = tag("h3", parts.name(row.model))
    return tag("article", title, tag("dl", *lines), class_="card chosen" if row.model == page.chosen else "card")


def _verdict(page: ReportPage, model: str, score: HorizonScore) -> tuple[Html, Html]:
    verdict, horizon = score.verdict, score.horizon
    better = verdict.word == "better"
    own = (record for record in page.honesty if better and (record.model, record.horizon) == (model, horizon))
    lies_in = next((record.lies_in for record in own), None)
    numbers = verdict_numbers(verdict, horizon)
    said = tag("span", _word(verdict), f" ({numbers})" if numbers else "")
    when = tag("span", f"{ahead(horizon, page.bar)} ahead", class_="when")
    return tag("dt", when, said), tag("dd", detail(verdict, lies_in))


def _word(verdict: Verdict) -> Html:
    word = verdict.word or "cannot tell"
    sign = {"better": "▲ ", "worse": "▼ "}.get(word, "")
    # The sign is for the eye only: the word says it all.
    shown = tag("span", sign, aria_hidden="true") if sign else Html("")
    return tag("span", shown, word, class_=f"word {word.replace(' ', '-')}")


def skill(page: ReportPage, drawer: Drawer) -> PageSection | None:
    """Skill by horizon against each reference, the model confidence sets, and every loss."""
    if not page.honesty:
        return None
    body = [*_skill_charts(page, drawer)]
    if page.confidence_sets:
        body += [tag("h3", "Model confidence sets"), _confidence_sets(page)]
    body += [tag("h3", "Losses"), _losses(page)]
    return PageSection("skill", "Skill by horizon", join(body))


def skills(page: ReportPage) -> dict[str, list[SkillPoint]]:
    """The skill of each model at each horizon, by reference."""
    found: dict[str, list[SkillPoint]] = {}
    for record in page.honesty:
        for one in record.skills:
            point = SkillPoint(ahead(record.horizon, page.bar), record.model, one.value, one.lower, one.upper)
            found.setdefault(one.reference, []).append(point)
    return found


def _skill_charts(page: ReportPage, drawer: Drawer) -> list[Html]:
    by_reference = skills(page)
    everything = [point for rows in by_reference.values() for point in rows]
    made = [
        parts.figure(
            drawer,
            charts.skill(rows, page.models, range_of=everything),
            title=f"against {reference}",
            description=f"Skill of each model against {reference}, with intervals. " + _skill_words(rows),
            height=forest_height(len(page.horizons), len(page.models)),
        )
        for reference, rows in by_reference.items()
    ]
    how = (
        "each point is the share by which the loss is lower than the reference's, the bar its 95% interval. A bar that "
        "crosses zero shows no difference; right of zero is better."
    )
    return [parts.read(how), parts.point_legend(page.models), parts.grid(made)]


def forest_height(rows: int, series: int) -> int:
    """Room for each series of each row, and for the axis."""
    return 56 + max(rows * (series * 15 + 12), 60)


def _skill_words(rows: Sequence[SkillPoint]) -> str:
    words = []
    for point in rows:
        sure = interval(point.lower, point.upper, share=True)
        words.append(f"{point.model}, {point.label}: {signed_percent(point.value)}" + (f" ({sure})" if sure else ""))
    return "; ".join(words)


def _confidence_sets(page: ReportPage) -> Html:
    rows = [
        [
            ahead(found.horizon, page.bar),
            ", ".join(found.members) or UNKNOWN,
            ", ".join(found.left_out) or "none",
            percent(1 - found.alpha, 0),
        ]
        for found in page.confidence_sets
    ]
    title = "Models that cannot be told from the best one at that horizon, and those that can"
    return parts.table(title, ["Horizon", "In the set", "Left out", "Confidence"], rows, left=3)


def _losses(page: ReportPage) -> Html:
    """Every score of the models, and the loss of the walks."""
    groups = []
    for horizon in page.horizons:
        records = [record for record in page.honesty if record.horizon == horizon]
        crps = {row.model: _at(row, horizon) for row in page.pooled}
        lines = [_scored(record, crps.get(record.model)) for record in records]
        first = next((score for score in crps.values() if score is not None), None)
        walks = {} if first is None else {name: first.crps[name] for name in WALKS if name in first.crps}
        named = [*lines, *(_Scored(name, first.n if first else 0, {"CRPS": loss}) for name, loss in walks.items())]
        groups.append((f"{ahead(horizon, page.bar)} ahead", named))
    names = list(dict.fromkeys(name for _, lines in groups for line in lines for name in line.values))
    table = [(title, [_line(line, names) for line in lines]) for title, lines in groups]
    title = "Mean scores of models and references on identical origins"
    about = "Units are in the conventions below."
    return parts.grouped(title, ["Model", "Forecasts", *names], table, about=about)


class _Scored(NamedTuple):
    """The losses of a model or reference on n forecasts, by name."""

    name: str
    n: int
    values: dict[str, float | None]


def _line(scored: _Scored, names: Sequence[str]) -> list[str]:
    return [parts.name(scored.name), f"{scored.n:,}", *(number(scored.values.get(name)) for name in names)]


def _scored(record: HonestyRecord, score: HorizonScore | None) -> _Scored:
    point = record.points
    values: dict[str, float | None] = {
        "CRPS": None if score is None else score.crps.get(record.model),
        "MAPE": point.mape,
        "sMAPE": point.smape,
        "MAE": point.mae,
        "RMSE": point.rmse,
        "MASE": point.mase,
        "R2 of returns": point.r2,
        "right direction": point.direction,
        **{f"interval score {one.percent} %": one.score for one in record.intervals},
        **{f"width of {one.percent} %": one.width for one in record.intervals},
    }
    return _Scored(record.model, record.n, values)


def coins(page: ReportPage, drawer: Drawer) -> PageSection | None:
    """Coin by coin: the chosen model's skill as charts, every model as a table."""
    rows = [row for row in page.rows if row.coin is not None and row.model != "baseline"]
    if not rows:
        return None
    width = parts.tile(len(page.horizons))
    chosen = [row for row in rows if row.model == page.chosen]
    made = [_coin_chart(page, drawer, chosen, horizon) for horizon in page.horizons]
    models = list(dict.fromkeys(row.model for row in rows))
    tables = [
        parts.folded(model, "verdict and skill against the strongest reference",
                     _coin_table(page, model, [row for row in rows if row.model == model]),
                     unfolded=model == page.chosen or len(models) == 1)
        for model in models
    ]  # fmt: skip
    how = (
        f"one row a coin, {page.chosen} against the strongest reference of that coin. A single coin has a fraction "
        "of the data: wide bars are the rule. Right of zero is better."
    )
    body = [
        parts.read(how),
        parts.grid([chart for chart in made if chart], width=width),
        tag("h3", "Every model"),
        *tables,
    ]
    return PageSection("coins", "Coin by coin", join(body))


def _coin_chart(page: ReportPage, drawer: Drawer, rows: Sequence[BacktestRow], horizon: int) -> Html:
    verdicts = [(row.coin or "", score.verdict) for row in rows if (score := _at(row, horizon)) is not None]
    if not verdicts:
        return Html("")
    points = [SkillPoint(coin, page.chosen, v.skill, v.lower, v.upper) for coin, v in verdicts]
    return parts.figure(
        drawer,
        charts.skill(points, page.models),
        title=f"{ahead(horizon, page.bar)} ahead",
        description="; ".join(f"{coin}: {signed_percent(v.skill)}, {v.word or 'cannot tell'}" for coin, v in verdicts),
        height=56 + max(24 * len(points), 60),
        width=parts.tile(len(page.horizons)),
    )


def _coin_table(page: ReportPage, model: str, rows: Sequence[BacktestRow]) -> Html:
    cells = [[parts.name(row.coin or ""), *(_coin_cell(_at(row, h)) for h in page.horizons)] for row in rows]
    head = ["Coin", *(f"{ahead(horizon, page.bar)}" for horizon in page.horizons)]
    return parts.table(f"{model}: verdict, skill, and number of dates", head, cells, left=99)


def _coin_cell(score: HorizonScore | None) -> str:
    if score is None:
        return UNKNOWN
    numbers = f"{signed_percent(score.verdict.skill)}, n = {score.verdict.dates:,}"
    return join([_word(score.verdict), parts.small(numbers)])


def fans(page: ReportPage, drawer: Drawer) -> PageSection | None:
    """What was said of each coin and what happened: an overview, then each horizon."""
    shown = [fan for fan in page.fans if fan.issued_at.size]
    if not shown:
        return None
    kept = list(charts.central_bands(shown[0].levels))
    overview = [_fan(page, drawer, fan) for fan in shown]
    how = (
        f"the line is the close, each fan what {shown[0].model} said from the dot on. Fans of one coin do not overlap "
        "in time where there are enough origins. Widths should match how far the line strays, not follow it."
    )
    each = (
        "each band was issued that many bars before the date it stands at; the line is the price that came. "
        f"About {kept[0] if kept else 95} of 100 outcomes should lie inside the widest band."
    )
    body = [
        parts.read(how),
        parts.band_legend(kept, charts.BAND_ROLES, outcomes=False),
        parts.grid(overview),
        tag("h3", "Each horizon"),
        parts.read(each),
        parts.band_legend(kept, charts.BAND_ROLES, outcomes=True),
        *(_bands(page, drawer, fan, unfolded=i < OPEN_COINS) for i, fan in enumerate(shown)),
    ]
    return PageSection("fans", "Forecasts and what happened", join(body))


def _fan(page: ReportPage, drawer: Drawer, fan: ForecastFan) -> Html:
    return parts.figure(
        drawer,
        charts.fan(fan),
        title=fan.coin,
        description=f"Closes of {fan.coin} with forecast bands of {fan.model} up to "
        f"{ahead(max(page.horizons), page.bar)} ahead. Last close {price(_last(fan))}.",
        height=220,
    )


def _last(fan: ForecastFan) -> float | None:
    known = fan.close[np.isfinite(fan.close)]
    return float(known[-1]) if known.size else None


def _bands(page: ReportPage, drawer: Drawer, fan: ForecastFan, *, unfolded: bool) -> Html:
    made, width = [], parts.tile(len(page.horizons))
    for column, horizon in enumerate(page.horizons):
        counted = _inside(fan, column)
        made.append(
            parts.figure(
                drawer,
                charts.bands(fan, column),
                title=f"{ahead(horizon, page.bar)} ahead",
                note=counted,
                description=f"Forecast bands of {fan.model} for {fan.coin}, {ahead(horizon, page.bar)} ahead, with the "
                f"prices that came. {counted}",
                height=220,
                width=width,
            )
        )
    return parts.folded(fan.coin, "", parts.grid(made, width=width), unfolded=unfolded)


def _inside(fan: ForecastFan, column: int) -> str:
    outcome = fan.outcome[:, column]
    known = np.isfinite(outcome)
    if not known.any():
        return "No outcome is known yet."
    kept = charts.central_bands(fan.levels)
    told = []
    for lower, upper in kept.values():
        ends = fan.prices[known, column, lower], fan.prices[known, column, upper]
        told.append(str(int(((ends[0] <= outcome[known]) & (outcome[known] <= ends[1])).sum())))
    named = "/".join(str(share) for share in kept)
    return f"Inside {named}%: {', '.join(told)} of {int(known.sum())}"


def calibration(page: ReportPage, drawer: Drawer) -> PageSection | None:
    """Whether the stated intervals, distributions and probabilities are what they say."""
    if not page.honesty:
        return None
    body = [parts.point_legend(page.models)]
    for made in (_intervals(page, drawer), _pits(page, drawer), _probabilities(page, drawer)):
        body += made
    return PageSection("calibration", "Calibration", join(body))


def _intervals(page: ReportPage, drawer: Drawer) -> list[Html]:
    made, width = [], parts.tile(len(page.horizons))
    for horizon in page.horizons:
        records = [record for record in page.honesty if record.horizon == horizon]
        if records:
            said = "; ".join(
                f"{record.model} {points(nominal, 0)}%: {percent(observed)}"
                for record in records
                for nominal, observed, _ in charts.central_intervals(record)
            )
            made.append(
                parts.figure(
                    drawer,
                    charts.interval_reliability(records, page.models),
                    title=f"{ahead(horizon, page.bar)} ahead",
                    note=f"n = {max(record.n for record in records):,} forecasts",
                    description=said,
                    height=240,
                    width=width,
                )
            )
    how = (
        "for each central interval, how much more often it held than it says, in percentage points, with two "
        "standard errors clustered by date. On the line: right. Below: too narrow. Above: too wide."
    )
    return [tag("h3", "Intervals"), parts.read(how), parts.grid(made, width=width)] if made else []


def _pits(page: ReportPage, drawer: Drawer) -> list[Html]:
    """Model by model, the chosen one's on show and the others' folded away."""
    how = (
        "where the outcomes fell in their forecast distributions (PIT). Flat along the line: calibrated. A valley: too "
        "narrow. A hill: too wide. A slope: biased. The test allows for overlap."
    )
    width = parts.tile(len(page.horizons))
    grids = {
        model: parts.grid([_pit(page, drawer, r, place) for r in page.honesty if r.model == model], width=width)
        for place, model in enumerate(page.models)
    }
    first = grids.pop(page.chosen)
    folded = (parts.folded(model, "", grid) for model, grid in grids.items())
    return [tag("h3", "Place of the outcome in the forecast"), parts.read(how), first, *folded]


def _pit(page: ReportPage, drawer: Drawer, record: HonestyRecord, colour: int) -> Html:
    p = p_value(record.pit.p_uniform)
    return parts.figure(
        drawer,
        charts.pit(record.pit, colour),
        title=f"{record.model}, {ahead(record.horizon, page.bar)} ahead",
        note=f"n = {record.n:,}" + (f"; uniform: {p}" if p else ""),
        description="Shares of outcomes by cell: " + ", ".join(percent(share) for share in record.pit.shares),
        height=210,
        width=parts.tile(len(page.horizons)),
    )


def _probabilities(page: ReportPage, drawer: Drawer) -> list[Html]:
    made, width = [], parts.tile(len(page.horizons))
    for horizon in page.horizons:
        records = [record for record in page.honesty if record.horizon == horizon and len(record.stated) > 1]
        if records:
            said = "; ".join(
                f"{record.model} {percent(one.stated, 0)}: {percent(one.observed, 0)}"
                for record in records
                for one in record.stated
            )
            made.append(
                parts.figure(
                    drawer,
                    charts.probability_reliability(records, page.models),
                    title=f"{ahead(horizon, page.bar)} ahead",
                    note=f"n = {max(sum(one.n for one in record.stated) for record in records):,} forecasts",
                    description=said,
                    height=240,
                    width=width,
                )
            )
    how = (
        "of all forecasts that stated about this probability of a rise, how many rose, with a 95% interval. On "
        "the diagonal: the stated confidence is earned. Flatter: over-confident."
    )
    return [tag("h3", "Stated probabilities of a rise"), parts.read(how), parts.grid(made, width=width)] if made else []


class _Held(NamedTuple):
    """How often one interval of a model held in one part of the forecasts."""

    label: str
    model: str
    held: IntervalCoverage | CoverageOfGroup


def coverage(page: ReportPage, _: Drawer) -> PageSection | None:
    """Coverage of the intervals in each part of the data, as tables."""
    short, long = [], []
    for group, title in PART_NAMES.items():
        rows = list(_by_horizon(page) if group == "horizon" else _by_group(page, group))
        if not rows:
            continue
        made = _coverage_table(title, rows)
        if group == "coin":
            long.append(parts.folded(title, f"{len(page.coins)} coins", made))
        else:
            short.append(tag("div", tag("h3", title), made, class_="table"))
    if not short and not long:
        return None
    how = (
        "share of outcomes inside each interval, in percent, ± one standard error clustered by date. Marked: more than "
        "two standard errors from what the interval says. Of many cells, one in twenty is marked by chance."
    )
    return PageSection("coverage", "Coverage", join([parts.read(how), tag("div", *short, class_="tables"), *long]))


def _by_horizon(page: ReportPage) -> Iterator[_Held]:
    for row in page.pooled:
        for score in row.scores:
            label = f"{ahead(score.horizon, page.bar)} ahead"
            yield from (_Held(label, row.model, held) for held in score.coverage)


def _by_group(page: ReportPage, group: str) -> Iterator[_Held]:
    for record in page.honesty:
        own = [held for held in record.coverage if held.by == group]
        for held in sorted(own, key=lambda held: THIRDS.index(held.label) if held.label in THIRDS else -1):
            yield _Held(f"{held.label}, {ahead(record.horizon, page.bar)} ahead", record.model, held)


def _coverage_table(title: str, rows: Sequence[_Held]) -> Html:
    percents = sorted({row.held.percent for row in rows})
    cells = {(row.label, row.model, row.held.percent): row.held for row in rows}
    groups = []
    for label in dict.fromkeys(row.label for row in rows):
        lines: list[list[str | TableCell]] = []
        for model in dict.fromkeys(row.model for row in rows if row.label == label):
            found = [cells.get((label, model, percent_)) for percent_ in percents]
            count = max((held.n for held in found if held is not None), default=0)
            lines.append([parts.name(model), *(_coverage_cell(held) for held in found), f"{count:,}"])
        groups.append((label, lines))
    head = ["Model", *(f"{percent_}%" for percent_ in percents), "n"]
    return parts.grouped(f"{title}: observed coverage of each interval, %; n counts forecasts", head, groups)


def _coverage_cell(row: IntervalCoverage | CoverageOfGroup | None) -> str | TableCell:
    if row is None:
        return UNKNOWN
    said = f"{points(row.share)} ± {points(row.se)}"
    gap = row.share - row.percent / 100
    if abs(gap) <= 2 * row.se:
        return said
    # A word beside the colour, for those who do not see it.
    return TableCell(f"{said} {'low' if gap < 0 else 'high'}", "off")
