"""The catalogue, the latest rows, the audit, and what a model leans on."""

from collections.abc import Iterator, Mapping
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.screens.data_used import data_sheet, left_out_lines
from cryptocast.cli.tables import Column, Columns, Sheet, note, table
from cryptocast.number_format import NOTHING, ahead, count, digits, percent, when
from cryptocast.workflows.backtesting.ablation import AblatedHorizon, FeatureAblation
from cryptocast.workflows.features import (
    AuditCheck,
    AuditReport,
    Catalogue,
    FeatureFacts,
    FeatureImportance,
    FeatureRows,
    FeatureWeight,
)
from cryptocast.workflows.reports import WORDS, AnswerWord, p_number

BAR: Final = 24
MOST_USED: Final = 30
CATALOGUE: Final[Columns[FeatureFacts]] = (
    (Column("feature"), lambda entry: entry.name),
    (Column("family"), lambda entry: entry.family),
    (Column("warm-up", "right"), lambda entry: f"{entry.warmup:,}"),
    (Column("memory", "right"), lambda entry: f"{entry.memory:,}"),
    (Column("unit", leaves=2), lambda entry: entry.unit),
    (Column("needs", leaves=3), lambda entry: ", ".join(entry.needs)),
    (Column("source", leaves=1, wraps=True), lambda entry: entry.source),
)
CHECKS: Final[Columns[AuditCheck]] = (
    (Column("check"), lambda check: check.name),
    (Column(""), lambda check: _state(check)),
    (Column("values", "right"), lambda check: f"{check.cells:,}"),
    (Column("differ", "right"), lambda check: f"{check.found:,}"),
    (Column("what must agree", wraps=True), lambda check: check.what),
)
HELPS: Final[Mapping[AnswerWord, str]] = {"yes": "green", "no": "red", "not_enough_data": "yellow"}


def catalogue_screen(catalogue: Catalogue) -> Iterator[RenderableType]:
    """A line for each feature."""
    yield table(CATALOGUE, catalogue.features, f"{count(len(catalogue.features), 'feature')}")
    families = ", ".join(f"{name} {number}" for name, number in catalogue.families.items())
    yield note(f"Families: {families}. Feature set {catalogue.feature_hash[:12]}.")
    yield note(
        "warm-up: bars before the first value. memory: bars until the start of the history matters less than 1e-8."
    )


def rows_screen(report: FeatureRows) -> Iterator[RenderableType]:
    """A column for each coin."""
    yield from data_sheet(report.data, report.granularity, report.vs)
    yield from left_out_lines(report.left_out)
    midnight = report.granularity == "daily"
    heads = [f"{row.coin}\n{when(row.close_time, midnight=midnight)}" for row in report.rows]
    columns = (Column("feature"), *(Column(head, "right", leaves=place) for place, head in enumerate(heads)))
    names = list(report.rows[0].values) if report.rows else []
    table = [[name, *(_value(row.values[name]) for row in report.rows)] for name in names]
    yield Sheet(columns, table, "Features at the last close")
    yield note(f"{NOTHING}: undefined, such as within a warm-up. Feature set {report.feature_hash[:12]}.")
    yield from (note(text) for text in report.notes)
    if report.written is not None:
        yield note(f"The whole table, {count(report.written_rows or 0, 'row')}, was written to {report.written}.")


def _value(value: float | None) -> str:
    return NOTHING if value is None else digits(value)


def audit_screen(report: AuditReport) -> Iterator[RenderableType]:
    """A line for each check, then every finding."""
    yield table(CHECKS, report.checks, _audited(report))
    for check in report.checks:
        yield from (Text(words, style="red") for words in _findings(check))
        for text in check.not_run:
            yield note(f"{check.name}: not checked: {text}")
    if report.passed:
        yield Text("No feature, label or fit uses the future; warm-up and memory are as declared.", style="green")


def _findings(check: AuditCheck) -> Iterator[str]:
    for finding in check.findings:
        one, other = digits(finding.value_with), digits(finding.value_without)
        if check.name == "foresight":
            yield f"{finding.feature} (foresight): rank correlation {one} with what prices do later, {other} at most"
        else:
            where = f"{finding.coin} at {when(finding.close_time, midnight=False)}"
            yield f"{finding.feature} ({check.name}): {where} is {one} from all candles and {other} without some"


def _audited(report: AuditReport) -> str:
    what = f"{count(len(report.features), 'feature')} on {count(report.bars, 'bar')} of {', '.join(report.coins)}"
    return f"Leakage audit: {what}, {count(report.cuts, 'cut')}, seed {report.seed}"


def _state(check: AuditCheck) -> Text:
    if not check.ran:
        return Text("not run", style="yellow")
    return Text("found", style="red") if check.found else Text("ok")


def importance_screen(report: FeatureImportance) -> Iterator[RenderableType]:
    """The most used features, with bars."""
    most = max((weight.gain for weight in report.features), default=1.0) or 1.0
    columns: Columns[FeatureWeight] = (
        (Column("feature"), lambda weight: weight.name),
        (Column("family", leaves=2), lambda weight: weight.family),
        (Column("gain %", "right"), lambda weight: percent(weight.gain)),
        (Column("splits", "right", leaves=3), lambda weight: f"{weight.splits:,}"),
        (Column("SHAP %", "right"), lambda weight: _moved(weight.shap)),
        (Column("now %", "right"), lambda weight: _moved(weight.latest, sign="+")),
        (Column("", leaves=1), lambda weight: "█" * max(1, round(BAR * weight.gain / most))),
    )
    rows = report.features[:MOST_USED]
    yield table(columns, rows, f"What {report.version} ({report.source} bars) relies on")
    rest = len(report.features) - len(rows)
    unused = count(len(report.unused), "feature")
    yield note(f"{rest} more in --json, {unused} not used. This is what the model used, not what predicts.")
    if report.shap_note is None:
        yield note(
            f"SHAP: how far the feature moves the forecast volatility, in the mean of the last {report.shap_bars:,} "
            "bars and all horizons; now: which way it moves it at the last bar."
        )
    else:
        yield note(report.shap_note)
    if report.dropped:
        yield note("Left out of the fit: " + "; ".join(f"{name} ({why})" for name, why in report.dropped.items()) + ".")


def _moved(value: float | None, sign: str = "") -> str:
    return NOTHING if value is None else f"{100.0 * value:{sign}.2f}"


def _helps(answer: AnswerWord) -> str:
    return f"{WORDS[answer].capitalize()}{': the forecasts are worse with it' if answer == 'no' else ''}."


def ablation_screen(report: FeatureAblation) -> Iterator[RenderableType]:
    """The answer, then a line for each horizon."""
    yield from data_sheet(report.data, report.granularity, report.vs)
    yield from left_out_lines(report.left_out)
    yield from (Text(f"Note: {text}", style="yellow") for text in report.notes)
    yield Text(f"Does {report.feature} help {report.model}? {_helps(report.helps)}", style=HELPS[report.helps])
    columns: Columns[AblatedHorizon] = (
        (Column("ahead"), lambda row: ahead(row.horizon, report.granularity)),
        (Column("gain %", "right"), lambda row: percent(row.gain, 2, signed=True)),
        (Column("95 % interval", "right"), lambda row: _between(row.lower, row.upper)),
        (Column("p helps", "right", leaves=2), lambda row: p_number(row.p_helps) or NOTHING),
        (Column("p harms", "right", leaves=2), lambda row: p_number(row.p_harms) or NOTHING),
        (Column("dates", "right", leaves=1), lambda row: f"{row.dates:,}"),
        (Column("helps"), lambda row: Text(WORDS[row.helps], style=HELPS[row.helps])),
    )
    midnight = report.granularity == "daily"
    span = f"{when(report.start, midnight=midnight)} to {when(report.end, midnight=midnight)}"
    yield table(columns, report.horizons, f"{report.model} with and without {report.feature}, {span}")
    yield note(
        "gain: CRPS with the feature below that without it, on the same origins; p: Diebold-Mariano, corrected for the "
        "horizons (Holm). Of twenty useless features that you try, one says yes."
    )
    if report.changed == 0.0:
        yield note("The forecasts are the same: no fit used the feature, or a near-duplicate took its place.")


def _between(lower: float | None, upper: float | None) -> str:
    if lower is None or upper is None:
        return NOTHING
    return f"{percent(lower, 2, signed=True)} to {percent(upper, 2, signed=True)}"
