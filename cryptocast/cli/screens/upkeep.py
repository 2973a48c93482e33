"""What choosing, comparing and keeping versions says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.listings import BestDocument, GcDocument
from cryptocast.cli.screens.registry import promotion_screen
from cryptocast.cli.tables import CellText, Column, Columns, Sheet, note, reasons, table
from cryptocast.number_format import NOTHING, count, percent, size, span, when
from cryptocast.registry.contest import HorizonContest
from cryptocast.registry.gate import FOREIGN, Standing
from cryptocast.registry.version import version_name
from cryptocast.workflows.lifecycle.ab import AbReport, AbRow
from cryptocast.workflows.lifecycle.archives import ExportReport, ImportReport
from cryptocast.workflows.lifecycle.compare import VersionComparison, VersionFacts
from cryptocast.workflows.lifecycle.live_scoring import ScoreReport
from cryptocast.workflows.lifecycle.model_card import ModelCard
from cryptocast.workflows.lifecycle.rollback import RollbackReport
from cryptocast.workflows.reports import ab_sentence, comparison_sentence

SHOWN: Final = 20
STATES: Final = {None: "running", "stop": "stopped", "conclude": "concluded"}
TESTS: Final[Columns[AbRow]] = (
    (Column("of"), lambda row: f"{row.coin}/{row.kind}"),
    (Column("versions"), lambda row: f"{row.production} and {row.challenger}"),
    (Column("share %", "right", leaves=2), lambda row: percent(row.share, 0)),
    (Column("since", leaves=1), lambda row: when(row.started_at)),
    (Column("state"), lambda row: STATES[row.ended_as]),
    (Column("bars", "right"), lambda row: f"{row.bars:,}"),
    (Column("verdict", wraps=True), lambda row: ab_sentence(row.verdict, over=row.ended_at is not None)),
)


def best_screen(document: BestDocument) -> Iterator[RenderableType]:
    """The standings, and who answers."""

    def name(row: Standing) -> str:
        return version_name(document.coin, row.kind, row.number, document.granularity)

    columns: Columns[Standing] = (
        (Column("version"), name),
        (Column("CRPS,\nbaseline = 1", "right"), lambda row: NOTHING if row.ratio is None else f"{row.ratio:.4f}"),
        (Column("calibrated"), lambda row: "foreign" if row.foreign else "yes" if row.passes else "no"),
        (Column("rests on", leaves=1), lambda row: row.rests_on),
    )
    if document.standings:
        yield table(columns, document.standings)
    for row in document.standings:
        if row.reasons:
            what = "is not counted" if row.foreign else "does not answer"
            yield from reasons(f"{name(row)} {what}", row.reasons)
    answers = document.best or f"the baseline answers: no calibrated version of {document.coin} is in production"
    yield Text(f"Best: {answers}", style="bold")


def comparison_screen(comparison: VersionComparison, page: Path | None = None) -> Iterator[RenderableType]:
    """The verdict, the skill by horizon, what each is, and what differs. page: where it also stands as HTML."""
    yield Text(comparison_sentence(comparison.a.name, comparison.verdict, comparison.why_not), style="bold")
    if comparison.contest is not None:
        columns: Columns[HorizonContest] = (
            (Column("horizon", "right"), lambda row: str(row.horizon)),
            (Column("dates", "right"), lambda row: f"{row.dates:,}"),
            (Column("skill %\nof a over b", "right"), lambda row: percent(row.skill, signed=True)),
            (Column("95 % interval", "right"), _interval),
        )
        yield table(columns, comparison.contest.horizons, f"On {comparison.contest.rests_on}")
        yield from reasons("Why", comparison.contest.reasons or ("all tests pass",))
    yield Sheet(
        (Column(""), Column("a", wraps=True), Column("b", wraps=True)), list(_sides(comparison.a, comparison.b))
    )
    if comparison.differences:
        head = (Column("differs", wraps=True), Column("a", wraps=True), Column("b", wraps=True))
        differences = [(row.what, row.a or NOTHING, row.b or NOTHING) for row in comparison.differences[:SHOWN]]
        yield Sheet(head, differences)
    if len(comparison.differences) > SHOWN:
        yield note(f"{len(comparison.differences) - SHOWN} more differences: --json or --html FILE.")
    if page is not None:
        yield note(f"Written: {page}.")


def _interval(row: HorizonContest) -> str:
    if row.lower is None or row.upper is None:
        return NOTHING
    return f"{percent(row.lower, signed=True)} to {percent(row.upper, signed=True)}"


def _sides(a: VersionFacts, b: VersionFacts) -> Iterator[tuple[CellText, ...]]:
    yield "version", a.name, b.name
    yield "aliases", ", ".join(a.aliases) or "none", ", ".join(b.aliases) or "none"
    yield "trained to", *(when(one.trained_to, midnight=False) for one in (a, b))
    yield "fitted in", *(f"{span(one.train_seconds)}, {one.train_rows:,} rows" for one in (a, b))
    yield "size", size(a.bytes), size(b.bytes)


def card_screen(card: ModelCard) -> Iterator[RenderableType]:
    """The text, or where it was written."""
    yield Text(f"The model card of {card.name} is in {card.path}." if card.path else card.markdown)


def rollback_screen(report: RollbackReport) -> Iterator[RenderableType]:
    """Where production was and is."""
    row = report.row
    if not row.moved:
        yield Text(f"Production of {row.coin}/{row.kind} is version {row.to_number} already.")
        return
    done = "would go" if report.dry_run else "went"
    bars = f"{row.source}, {row.vs}, {row.granularity}"
    yield Text(f"Production of {row.coin}/{row.kind} ({bars}) {done} back from {row.from_number} to {row.to_number}.")


def gc_screen(document: GcDocument) -> Iterator[RenderableType]:
    """What went, or would."""
    columns = (Column("version"), Column("source"), Column("bars", leaves=1))
    rows = [(row.name, row.source, f"{row.vs}, {row.granularity}") for row in document.versions]
    if rows:
        yield Sheet(columns, rows[:SHOWN], f"{'To be deleted' if document.dry_run else 'Deleted'}")
    if len(rows) > SHOWN:
        yield note(f"and {len(rows) - SHOWN} more: --json")
    verb = "would be deleted" if document.dry_run else "deleted"
    what = f"{count(len(rows), 'version')}, {count(document.fits, 'fit')}, {count(document.objects, 'artefact')}"
    yield Text(f"{what} ({size(document.bytes)}) {verb}; the newest {document.keep} of each coin and kind are kept.")


def export_screen(report: ExportReport) -> Iterator[RenderableType]:
    """Where it is, and its hash."""
    yield Text(f"{', '.join(report.versions)} in {report.path}, {size(report.bytes)}")
    yield note(f"sha256 {report.sha256}")


def import_screen(report: ImportReport) -> Iterator[RenderableType]:
    """What it is called here."""
    if report.dry_run:
        what = f"{report.kind} of {', '.join(report.coins)}, {count(report.artefacts, 'artefact')}"
        yield Text(f"{report.path} is intact: {what}. Nothing was imported.")
        return
    for version in report.versions:
        remark = " (it was here already)" if version.was_there else ""
        yield Text(f"{version.name} on {version.source} bars: {', '.join(version.aliases) or 'no alias'}{remark}")
        if version.scored is not None:
            yield note(f"Scored here on {count(version.scored, 'bar')}: cryptocast registry show {version.name}")
        if version.not_scored is not None:
            yield Text(f"{version.name} was not scored: {version.not_scored}", style="yellow")
        if version.foreign:
            yield note(f"{version.name}: {FOREIGN}.")


def score_screen(report: ScoreReport) -> Iterator[RenderableType]:
    """What was written and matured, each version live, and what speaks against it."""
    yield Text(
        f"{count(report.written, 'forecast')} recorded, {count(report.matured, 'outcome')} new, "
        f"{report.waiting:,} waiting for their bar to close"
    )
    columns = (
        Column("version"),
        Column("horizon", "right"),
        Column("bars", "right"),
        Column("CRPS", "right", leaves=2),
        Column("skill %\nbaseline", "right"),
        Column("80 %\nheld", "right"),
        Column("95 %\nheld", "right", leaves=1),
        Column("98 %\nheld", "right", leaves=4),
        Column("99 %\nheld", "right", leaves=3),
    )
    rows = [
        (
            row.name,
            str(score.horizon),
            f"{score.bars:,}",
            f"{score.crps:.5f}",
            percent(score.skill, signed=True),
            *(percent(interval.share) for interval in (*score.coverage, *score.tails)),
        )
        for row in report.rows
        for score in row.scores
    ]
    if rows:
        yield Sheet(columns, rows, "Matured live forecasts")
    for row in report.rows:
        if row.degraded:
            yield Text(f"{row.name} is degraded:", style="red")
            yield from reasons(row.name, row.degraded)
        if row.drift:
            worst = ", ".join(f"{drift.feature} {drift.psi:.2f} ({drift.usual:.2f})" for drift in row.drift[:3])
            yield note(
                f"{row.name}: {count(len(row.drift), 'feature')} distributed unlike in training (PSI, usual): {worst}"
            )
    for error in report.errors:
        yield Text(error, style="red")


def ab_screen(report: AbReport) -> Iterator[RenderableType]:
    """Each test with its verdict, and what the gate said at its end."""
    if not report.tests:
        yield Text("No A/B test yet. Start one: cryptocast registry ab start COIN KIND --challenger VERSION")
        return
    yield table(TESTS, report.tests)
    if report.promotion is not None:
        yield from promotion_screen(report.promotion)
