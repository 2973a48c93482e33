"""What the registry says."""

from collections.abc import Iterator
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from cryptocast.cli.listings import (
    HistoryDocument,
    HistoryRow,
    VerifyDocument,
    VersionDocument,
    VersionRow,
    VersionsDocument,
)
from cryptocast.cli.screens.scores import READING, score_sheet
from cryptocast.cli.tables import CellText, Column, Columns, Sheet, facts, note, reasons, table
from cryptocast.kinds import SHIPPED
from cryptocast.number_format import NOTHING, count, percent, size, span, when
from cryptocast.registry import LiveMark
from cryptocast.registry.gate import FOREIGN
from cryptocast.workflows.lifecycle.promote import PromotionReport, PromotionRow

ALIASES: Final = {"production": "green", "challenger": "cyan"}
OUTCOMES: Final = {"promoted": "green", "refused": "red", "kept": "", "nothing": "dim"}
VERSIONS: Final[Columns[VersionRow]] = (
    (Column("version"), lambda row: row.name),
    (Column("aliases"), lambda row: _aliases(row.aliases)),
    (Column("source"), lambda row: row.source),
    (Column("in", leaves=4), lambda row: row.vs),
    (Column("trained to"), lambda row: when(row.trained_to, midnight=row.granularity == "daily")),
    (Column("skill %\nbaseline", "right"), lambda row: percent(row.skill, signed=True) + " foreign" * row.foreign),
    (Column("registered", leaves=2), lambda row: when(row.created_at, midnight=False)),
    (Column("horizons", leaves=3), lambda row: ",".join(map(str, row.horizons)) or NOTHING),
    (Column("fit", leaves=5), lambda row: row.fit_id[:12]),
)
PROMOTIONS: Final[Columns[PromotionRow]] = (
    (Column("of"), lambda row: f"{row.coin}/{row.kind}"),
    (Column("bars", leaves=1), lambda row: f"{row.source}, {row.vs}, {row.granularity}"),
    (Column("version", "right"), lambda row: str(row.version)),
    (Column("outcome"), lambda row: Text(row.action, style=OUTCOMES[row.action])),
    (Column("production"), lambda row: _move(row)),
)


def versions_screen(document: VersionsDocument) -> Iterator[RenderableType]:
    """A line for each version."""
    if not document.versions:
        yield Text("There are no versions yet. Train some: cryptocast train")
        return
    yield table(VERSIONS, document.versions, count(len(document.versions), "version"))
    yield note("skill: of the hold-out against the baseline, mean over the horizons.")
    if any(version.foreign for version in document.versions):
        yield note("foreign: scores that came with an archive, were not computed here and do not count.")


def _aliases(aliases: tuple[str, ...]) -> Text:
    return Text("\n").join(Text(alias, style=ALIASES.get(alias, "")) for alias in aliases)


def version_screen(document: VersionDocument) -> Iterator[RenderableType]:
    """The facts, the pool, the scores, the files."""
    version, manifest = document.version, document.manifest
    pairs: list[tuple[str, CellText]] = [
        ("aliases", ", ".join(version.aliases) or "none"),
        ("bars", f"{version.source}, {version.vs}, {version.granularity}"),
        ("horizons", ", ".join(map(str, manifest["horizons"])) + " bars"),
        ("fit", version.fit_id),
        ("recipe", str(manifest["recipe"])),
        ("features", f"{len(manifest['features'])}, set {str(manifest['feature_hash'])[:12]}"),
        (
            "trained",
            f"{str(manifest['trained_at'])[:16]}, {manifest['train_rows']:,} rows in {span(manifest['train_seconds'])}",
        ),
        ("seed, threads", f"{manifest['seed']}, {manifest['threads']}"),
        ("with", ", ".join(f"{name} {number}" for name, number in manifest["libraries"].items())),
        ("on", f"Python {manifest['python']}, {manifest['platform']}"),
        ("code", str(manifest["code_version"])[:12]),
        *(("note", text) for text in dict.fromkeys(manifest["notes"])),
    ]
    yield facts(pairs, version.name)
    yield _pool(manifest)
    if manifest.get("ensemble") is not None:
        yield from _ensemble(manifest["ensemble"])
    if document.hold_out.horizons:
        yield score_sheet(
            f"{'Foreign hold-out' if version.foreign else 'Hold-out'} of {version.coin}, "
            f"{when(document.hold_out.start)} to {when(document.hold_out.end)}",
            version.kind,
            document.hold_out.horizons,
            version.granularity,
        )
    if version.foreign:
        yield note(f"Foreign: {FOREIGN}.")
    walk, contender = document.evidence, SHIPPED if "knowledge_date" in manifest else version.kind
    if walk is None:
        yield note(f"Not backtested: cryptocast backtest {version.coin} --walk-forward --model {contender}")
    else:
        yield score_sheet(
            f"Walk-forward of {'the recipe that its archive names' if version.foreign else 'its recipe'}, "
            f"{', '.join((walk.coin,) if walk.coin else walk.coins)},"
            f" {when(walk.start)} to {when(walk.end)}",
            walk.kind,
            walk.scores,
            version.granularity,
        )
    yield from _live(document.live)
    yield note(READING)
    files = manifest["artefacts"]
    columns = (Column("artefact"), Column("size", "right"), Column("sha256"))
    rows = [(f["name"], size(f["size"]), str(f["sha256"])[:16]) for f in files]
    yield Sheet(columns, rows, count(len(files), "artefact"))


def _live(mark: LiveMark | None) -> Iterator[RenderableType]:
    """Whether it still does what it did, and whether its features look as they did."""
    if mark is None:
        yield note("Live: never scored. Run cryptocast registry score once a bar; a server does it by itself.")
        return
    if mark.bars == 0:
        yield note(f"Live, {when(mark.at)}: no forecast has matured yet.")
    elif mark.degraded_since is None:
        yield note(f"Live, {when(mark.at)}: no problem on {count(mark.bars, 'bar')}.")
    else:
        yield Text(f"Live, {when(mark.at)}: degraded since {when(mark.degraded_since)}:", style="red")
        yield from reasons("why", mark.degraded)
    if mark.drift_bars == 0:
        yield note("Drift: needs 60 bars outside the training data.")
    elif mark.drift_since is None:
        yield note(f"Drift: none over the last {count(mark.drift_bars, 'bar')}.")
    else:
        worst = ", ".join(f"{row.feature} {row.psi:.2f} ({row.usual:.2f})" for row in mark.drift[:3])
        yield note(
            f"Drift since {when(mark.drift_since)}: {count(len(mark.drift), 'feature')} distributed over the last "
            f"{count(mark.drift_bars, 'bar')} unlike in training. Stability index of the worst (largest in training): "
            f"{worst}"
        )


def _ensemble(ensemble: Any) -> Iterator[RenderableType]:
    """The weights of the members by horizon, and by volatility regime where a version has them, and why."""
    members = [*ensemble["horizons"][0]["regimes"][0]["weights"]]
    columns = (Column("ahead", "right"), Column("regime"), *(Column(f"{member}\n%", "right") for member in members))
    rows = [
        (str(weights["horizon"]), part["regime"], *(percent(part["weights"][member]) for member in members))
        for weights in ensemble["horizons"]
        for part in weights["regimes"]
    ]
    yield Sheet(columns, rows, "Weights by horizon and volatility regime, known at issue")
    yield from (note(f"{weights['horizon']} ahead: {weights['reason']}.") for weights in ensemble["horizons"])
    yield from (note(f"without {member}: {why}") for member, why in ensemble["dropped"].items())


def _pool(manifest: Any) -> Sheet:
    columns = (Column("pool"), Column("bars", "right"), Column("first"), Column("last"), Column("sha256"))
    rows = [
        (data["coin"], f"{data['rows']:,}", data["first"][:16], data["last"][:16], str(data["content_hash"])[:12])
        for data in manifest["coins"]
    ]
    return Sheet(columns, rows, "Training data")


def history_screen(document: HistoryDocument) -> Iterator[RenderableType]:
    """What served at the moment asked for, then every change."""
    if document.at is not None:
        rows = [
            (f"{s.coin}/{s.kind}", f"{s.source}, {s.vs}, {s.granularity}", _number(s.number)) for s in document.serving
        ]
        columns = (Column("of"), Column("bars"), Column("production", "right"))
        yield Sheet(columns, rows, f"In production at {when(document.at, midnight=False)} UTC")
    if not document.events and not document.moves:
        yield Text("The registry has no history yet.")
    for move in document.moves:
        yield Text(
            f"{when(move.at, midnight=False)}  {move.coin}  {move.previous or 'no source'} -> {move.source}"
            f"  (moved, {move.vs}, by {move.who})"
        )
    for event in document.events:
        yield _event(event)
        by = f"by {event.who}, on {event.source} bars, {event.vs}, {event.granularity}: {event.why}"
        yield Padding(Text(by, style="dim"), (0, 0, 0, 4))
        yield from (Padding(Text(str(reason), style="dim"), (0, 0, 0, 6)) for reason in event.reasons)


def _event(event: HistoryRow) -> Text:
    before = "none" if event.previous is None else event.previous
    line = Text(f"{when(event.at, midnight=False)}  {event.coin}/{event.kind}  ")
    line.append(event.alias, style=ALIASES.get(event.alias, ""))
    return line.append(f" {before} -> {event.number}  ({event.action})")


def promotion_screen(report: PromotionReport) -> Iterator[RenderableType]:
    """What became of each, with every reason, and the sum of it."""
    if report.rows:
        yield table(PROMOTIONS, report.rows)
    for row in report.rows:
        yield from reasons(f"{row.name}, {row.action}", row.reasons)
    yield Text(report.summary, style="bold")


def _move(row: PromotionRow) -> str:
    before, after = _number(row.from_number), _number(row.to_number)
    return after if before == after else f"{before} -> {after}"


def _number(number: int | None) -> str:
    return NOTHING if number is None else str(number)


def verify_screen(document: VerifyDocument) -> Iterator[RenderableType]:
    """What is wrong, or that nothing is."""
    for finding in document.findings:
        yield Text(f"{finding.where}: {finding.problem}", style="red")
    if not document.findings:
        versions = count(document.versions, "version")
        yield Text(f"{document.path} is intact: {versions}, every hash and every reference is right.", style="green")
