"""The sections on the forecasts: verdicts, skill, fans, calibration, coverage."""

from collections.abc import Sequence

import numpy as np

from cryptocast.evaluation.report import charts, parts
from cryptocast.evaluation.report.drawing import Drawer
from cryptocast.evaluation.report.markup import Html, join, tag
from cryptocast.evaluation.report.page import CoinScore, CoverageRow, Fan, Page, SkillRow, Verdict
from cryptocast.evaluation.report.parts import Cell, Section
from cryptocast.evaluation.report.words import (
    UNKNOWN,
    ahead,
    counted,
    detail,
    interval,
    number,
    percent,
    points,
    price,
    signed_percent,
)
from cryptocast.evaluation.verdicts import p_value

__all__ = ["calibration", "coins", "coverage", "fans", "forest_height", "skill", "verdicts"]

OPEN_COINS = 1
PART_NAMES = {
    "horizon": "By horizon",
    "coin": "By coin",
    "volatility": "By volatility at issue",
    "after breaks": "After breaks",
}


def verdicts(page: Page, _: Drawer) -> Section | None:
    """The verdict of each model at each horizon in words, before anything else, and what is missing."""
    cards = [_card(page, model) for model in page.models if any(v.model == model for v in page.verdicts)]
    body = [
        parts.read(
            "“better” needs a significantly lower loss (CRPS) than every reference, after correction for the number "
            "of comparisons; “worse” a significantly higher one than the baseline. “cannot tell” is an answer too: the "
            "smallest skill that this much data could have shown stands beside it. n counts dates, not forecasts."
        ),
        _glance(page),
        tag("div", *cards, class_="cards"),
    ]
    if page.placebo is not None:
        said = f"The same pipeline said “better” in {page.placebo.better} of {page.placebo.runs} runs"
        body += [tag("h3", "Placebo"), tag("p", f"{said} on block-shuffled prices, where there is nothing to find.")]
    if page.problems:
        missing = [tag("li", tag("b", parts.name(problem.what)), ": ", problem.why) for problem in page.problems]
        body += [tag("h3", "What is missing"), tag("ul", *missing, class_="plain")]
    return Section("verdicts", "Verdicts", join(body))


def _glance(page: Page) -> Html:
    found = {(verdict.model, verdict.horizon): verdict for verdict in page.verdicts}
    rows = [
        [parts.name(model), *(_short(found.get((model, horizon))) for horizon in page.horizons)]
        for model in page.models
    ]
    head = ["Model", *(f"{ahead(horizon, page.bar)} ahead" for horizon in page.horizons)]
    return parts.table("At a glance: the verdict, and the skill against the strongest reference", head, rows, left=99)


def _short(verdict: Verdict | None) -> str:
    if verdict is None:
        return UNKNOWN
    return join([_word(verdict.word), parts.small(signed_percent(verdict.skill.value))])


def _card(page: Page, model: str) -> Html:
    mine = sorted((v for v in page.verdicts if v.model == model), key=lambda v: v.horizon)
    lines = [part for verdict in mine for part in _verdict(verdict, page.bar)]
    title = tag("h3", parts.name(model))
    return tag("article", title, tag("dl", *lines), class_="card chosen" if model == page.chosen else "card")


def _verdict(verdict: Verdict, bar: str) -> tuple[Html, Html]:
    said = tag("span", _word(verdict.word), f" ({counted(verdict)})")
    when = tag("span", f"{ahead(verdict.horizon, bar)} ahead", class_="when")
    return tag("dt", when, said), tag("dd", detail(verdict))


def _word(word: str) -> Html:
    sign = {"better": "▲ ", "worse": "▼ "}.get(word, "")
    # The sign is for the eye only: the word says it all.
    shown = tag("span", sign, aria_hidden="true") if sign else Html("")
    return tag("span", shown, word, class_=f"word {word.replace(' ', '-')}")


def skill(page: Page, drawer: Drawer) -> Section | None:
    """Skill by horizon against each reference, the model confidence sets, and every loss."""
    if not page.skills and not page.scores:
        return None
    body: list[Html] = []
    if page.skills:
        body += _skill_charts(page, drawer)
    if page.confidence_sets:
        body += [tag("h3", "Model confidence sets"), _confidence_sets(page)]
    if page.scores:
        body += [tag("h3", "Losses"), _scores(page)]
    return Section("skill", "Skill by horizon", join(body))


def _skill_charts(page: Page, drawer: Drawer) -> list[Html]:
    references = list(dict.fromkeys(row.reference for row in page.skills))
    made = []
    for reference in references:
        rows = [row for row in page.skills if row.reference == reference]
        made.append(
            parts.figure(
                drawer,
                charts.reference_skill(page, rows),
                title=f"against {reference}",
                description=f"Skill of each model against {reference}, with intervals. " + _skill_words(page, rows),
                height=forest_height(len(page.horizons), len(page.models)),
            )
        )
    how = (
        "each point is the share by which the loss is lower than the reference's, the bar its 95% interval. A bar that "
        "crosses zero shows no difference; right of zero is better."
    )
    return [parts.read(how), parts.point_legend(page.models), parts.grid(made)]


def forest_height(rows: int, series: int) -> int:
    """Room for each series of each row, and for the axis."""
    return 56 + max(rows * (series * 15 + 12), 60)


def _skill_words(page: Page, rows: Sequence[SkillRow]) -> str:
    return "; ".join(
        f"{row.model}, {ahead(row.horizon, page.bar)}: {signed_percent(row.skill.value)}"
        + (f" ({interval(row.skill, share=True)})" if interval(row.skill, share=True) else "")
        for row in rows
    )


def _confidence_sets(page: Page) -> Html:
    rows = [
        [
            ahead(found.horizon, page.bar),
            ", ".join(found.models) or UNKNOWN,
            ", ".join(found.left_out) or "none",
            percent(1 - found.alpha, 0),
        ]
        for found in page.confidence_sets
    ]
    title = "Models that cannot be told from the best one at that horizon, and those that can"
    return parts.table(title, ["Horizon", "In the set", "Left out", "Confidence"], rows, left=3)


def _scores(page: Page) -> Html:
    names = list(dict.fromkeys(key for row in page.scores for key, _ in row.values))
    groups = [
        (
            f"{ahead(horizon, page.bar)} ahead",
            [
                [parts.name(row.model), f"{row.n:,}", *(number(dict(row.values).get(key)) for key in names)]
                for row in page.scores
                if row.horizon == horizon
            ],
        )
        for horizon in page.horizons
    ]
    title = "Mean scores of models and references on identical origins"
    about = "Units are in the conventions below."
    return parts.grouped(title, ["Model", "Forecasts", *names], groups, about=about)


def coins(page: Page, drawer: Drawer) -> Section | None:
    """Coin by coin: the chosen model's skill as charts, every model as a table."""
    if not page.coin_scores:
        return None
    chosen = [score for score in page.coin_scores if score.model == page.chosen]
    width = parts.tile(len(page.horizons))
    made = [_coin_chart(page, drawer, chosen, horizon) for horizon in page.horizons]
    models = [model for model in page.models if any(s.model == model for s in page.coin_scores)]
    tables = [
        parts.folded(model, "verdict and skill against the strongest reference", _coin_table(page, model),
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
    return Section("coins", "Coin by coin", join(body))


def _coin_chart(page: Page, drawer: Drawer, scores: Sequence[CoinScore], horizon: int) -> Html:
    mine = [score for score in scores if score.horizon == horizon]
    if not mine:
        return Html("")
    return parts.figure(
        drawer,
        charts.coin_skill(mine, page.models),
        title=f"{ahead(horizon, page.bar)} ahead",
        description="; ".join(f"{s.coin}: {signed_percent(s.skill.value)}, {s.word}" for s in mine),
        height=56 + max(24 * len(mine), 60),
        width=parts.tile(len(page.horizons)),
    )


def _coin_table(page: Page, model: str) -> Html:
    cells = {(score.coin, score.horizon): score for score in page.coin_scores if score.model == model}
    rows = [
        [parts.name(coin), *(_coin_cell(cells.get((coin, horizon))) for horizon in page.horizons)]
        for coin in page.coins
        if any(key[0] == coin for key in cells)
    ]
    head = ["Coin", *(f"{ahead(horizon, page.bar)}" for horizon in page.horizons)]
    return parts.table(f"{model}: verdict, skill, and number of dates", head, rows, left=99)


def _coin_cell(score: CoinScore | None) -> str:
    if score is None:
        return UNKNOWN
    return join([_word(score.word), parts.small(f"{signed_percent(score.skill.value)}, n = {score.n:,}")])


def fans(page: Page, drawer: Drawer) -> Section | None:
    """What was said of each coin and what happened: an overview, then each horizon."""
    shown = [fan for fan in page.fans if fan.issued_at.size]
    if not shown:
        return None
    kept = list(charts.bands_shown(shown[0].levels))
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
        parts.band_legend(kept, charts.BAND_ROLES, missed=False),
        parts.grid(overview),
        tag("h3", "Each horizon"),
        parts.read(each),
        parts.band_legend(kept, charts.BAND_ROLES, missed=True),
        *(_bands(page, drawer, fan, unfolded=i < OPEN_COINS) for i, fan in enumerate(shown)),
    ]
    return Section("fans", "Forecasts and what happened", join(body))


def _fan(page: Page, drawer: Drawer, fan: Fan) -> Html:
    return parts.figure(
        drawer,
        charts.fan(fan),
        title=fan.coin,
        description=f"Closes of {fan.coin} with forecast bands of {fan.model} up to "
        f"{ahead(max(page.horizons), page.bar)} ahead. Last close {price(_last(fan))}.",
        height=220,
    )


def _last(fan: Fan) -> float | None:
    known = fan.close[np.isfinite(fan.close)]
    return float(known[-1]) if known.size else None


def _bands(page: Page, drawer: Drawer, fan: Fan, *, unfolded: bool) -> Html:
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


def _inside(fan: Fan, column: int) -> str:
    outcome = fan.outcome[:, column]
    known = np.isfinite(outcome)
    if not known.any():
        return "No outcome is known yet."
    kept = charts.bands_shown(fan.levels)
    told = []
    for lower, upper in kept.values():
        ends = fan.prices[known, column, lower], fan.prices[known, column, upper]
        told.append(str(int(((ends[0] <= outcome[known]) & (outcome[known] <= ends[1])).sum())))
    named = "/".join(str(share) for share in kept)
    return f"Inside {named}%: {', '.join(told)} of {int(known.sum())}"


def calibration(page: Page, drawer: Drawer) -> Section | None:
    """Whether the stated intervals, distributions and probabilities are what they say."""
    if not (page.reliability or page.pits or page.probabilities):
        return None
    body = [parts.point_legend(page.models)]
    for made in (_intervals(page, drawer), _pits(page, drawer), _probabilities(page, drawer)):
        body += made
    return Section("calibration", "Calibration", join(body))


def _intervals(page: Page, drawer: Drawer) -> list[Html]:
    made, width = [], parts.tile(len(page.horizons))
    for horizon in page.horizons:
        rows = [row for row in page.reliability if row.horizon == horizon]
        if rows:
            chart = charts.interval_reliability(rows, page.models)
            said = "; ".join(
                f"{row.model} {points(level, 0)}%: {percent(observed)}"
                for row in rows
                for level, observed in zip(row.levels.tolist(), row.observed.tolist(), strict=True)
            )
            note = f"n = {max(row.n for row in rows):,} forecasts"
            made.append(
                parts.figure(
                    drawer,
                    chart,
                    title=f"{ahead(horizon, page.bar)} ahead",
                    note=note,
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


def _pits(page: Page, drawer: Drawer) -> list[Html]:
    made = []
    for pit in sorted(page.pits, key=lambda pit: (_place(page.models, pit.model), pit.horizon)):
        p = p_value(pit.p)
        made.append(
            parts.figure(
                drawer,
                charts.pit(pit, max(0, _place(page.models, pit.model))),
                title=f"{pit.model}, {ahead(pit.horizon, page.bar)} ahead",
                note=f"n = {pit.n:,}" + (f"; uniform: {p}" if p else ""),
                description="Shares of outcomes by cell: " + ", ".join(percent(share) for share in pit.shares.tolist()),
                height=210,
                width=parts.tile(len(page.horizons)),
            )
        )
    errors = " Bars show two standard errors." if any(pit.se is not None for pit in page.pits) else ""
    how = (
        "where the outcomes fell in their forecast distributions (PIT). Flat along the line: calibrated. A valley: too "
        f"narrow. A hill: too wide. A slope: biased.{errors} The test allows for overlap."
    )
    if not made:
        return []
    return [
        tag("h3", "Place of the outcome in the forecast"),
        parts.read(how),
        *_few_open(made, page),
    ]


def _few_open(made: Sequence[Html], page: Page) -> list[Html]:
    """The chosen model's figures, and the others' folded away."""
    owners = [pit.model for pit in sorted(page.pits, key=lambda pit: (_place(page.models, pit.model), pit.horizon))]
    first = page.chosen if page.chosen in owners else owners[0]
    width = parts.tile(len(page.horizons))
    of = {
        model: parts.grid([chart for chart, owner in zip(made, owners, strict=True) if owner == model], width=width)
        for model in dict.fromkeys(owners)
    }
    return [of.pop(first), *(parts.folded(model, "", charts_of) for model, charts_of in of.items())]


def _place(names: Sequence[str], wanted: str) -> int:
    return names.index(wanted) if wanted in names else len(names)


def _probabilities(page: Page, drawer: Drawer) -> list[Html]:
    made, width = [], parts.tile(len(page.horizons))
    for horizon in page.horizons:
        rows = [row for row in page.probabilities if row.horizon == horizon]
        if rows:
            said = "; ".join(
                f"{row.model} {percent(stated, 0)}: {percent(observed, 0)}"
                for row in rows
                for stated, observed in zip(row.stated.tolist(), row.observed.tolist(), strict=True)
            )
            counted = max(int(row.n.sum()) for row in rows)
            made.append(
                parts.figure(
                    drawer,
                    charts.probability_reliability(rows, page.models),
                    title=f"{ahead(horizon, page.bar)} ahead",
                    note=f"n = {counted:,} forecasts",
                    description=said,
                    height=240,
                    width=width,
                )
            )
    how = (
        "of all forecasts that stated about this probability of a rise, how many rose, with two standard errors. On "
        "the diagonal: the stated confidence is earned. Flatter: over-confident."
    )
    return [tag("h3", "Stated probabilities of a rise"), parts.read(how), parts.grid(made, width=width)] if made else []


def coverage(page: Page, _: Drawer) -> Section | None:
    """Coverage of the intervals in each part of the data, as tables."""
    groups = [group for group in PART_NAMES if any(row.group == group for row in page.coverage)]
    if not groups:
        return None
    short, long = [], []
    for group in groups:
        made = _coverage_table(PART_NAMES[group], [row for row in page.coverage if row.group == group])
        if group == "coin":
            long.append(parts.folded(PART_NAMES[group], f"{len(page.coins)} coins", made))
        else:
            short.append(tag("div", tag("h3", PART_NAMES[group]), made, class_="table"))
    how = (
        "share of outcomes inside each interval, in percent, ± one standard error clustered by date. Marked: more than "
        "two standard errors from what the interval says. Of many cells, one in twenty is marked by chance."
    )
    return Section("coverage", "Coverage", join([parts.read(how), tag("div", *short, class_="tables"), *long]))


def _coverage_table(title: str, rows: Sequence[CoverageRow]) -> Html:
    percents = sorted({row.percent for row in rows})
    cells = {(row.label, row.model, row.percent): row for row in rows}
    groups = []
    for label in dict.fromkeys(row.label for row in rows):
        lines: list[list[str | Cell]] = []
        for model in dict.fromkeys(row.model for row in rows if row.label == label):
            found = [cells.get((label, model, percent_)) for percent_ in percents]
            count = max((row.n for row in found if row is not None), default=0)
            lines.append([parts.name(model), *(_coverage_cell(row) for row in found), f"{count:,}"])
        groups.append((label, lines))
    head = ["Model", *(f"{percent_}%" for percent_ in percents), "n"]
    return parts.grouped(f"{title}: observed coverage of each interval, %; n counts forecasts", head, groups)


def _coverage_cell(row: CoverageRow | None) -> str | Cell:
    if row is None:
        return UNKNOWN
    said = f"{points(row.share)} ± {points(row.se)}"
    gap = row.share - row.percent / 100
    if abs(gap) <= 2 * row.se:
        return said
    # A word beside the colour, for those who do not see it.
    return Cell(f"{said} {'low' if gap < 0 else 'high'}", "off")
