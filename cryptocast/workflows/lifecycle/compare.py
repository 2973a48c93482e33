"""Two versions side by side: what they scored on the same bars, and in what they differ."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

from cryptocast.config import GateConfig
from cryptocast.data.parquet import write_atomically
from cryptocast.errors import DataError, UsageError
from cryptocast.evaluation.records import HorizonScore
from cryptocast.evaluation.report.comparison import ComparedHorizon, comparison_page
from cryptocast.evaluation.verdicts import Verdict, VerdictReason, comparison_sentence
from cryptocast.registry import Contest, Registry, Version, sha256_hex
from cryptocast.registry.contest import contest, horizon_reason
from cryptocast.workflows.lifecycle.model_card import MOST_COINS
from cryptocast.workflows.lifecycle.promotion_evidence import live_pairs, walked_pairs
from cryptocast.workflows.picture_files import check_drawing


class VersionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two."""

    name: str
    kind: str
    source: str
    fit_id: str
    recipe: str
    aliases: tuple[str, ...]
    created_at: datetime
    trained_to: datetime | None
    train_rows: int
    train_seconds: float
    bytes: int
    hold_out: tuple[HorizonScore, ...]
    foreign: bool  # the hold-out came with an archive, was not made here and weighs nothing


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not the same in both; None: it is not there."""

    what: str
    a: str | None
    b: str | None


class VersionComparison(msgspec.Struct, frozen=True, kw_only=True):
    """a against b. contest: a as the challenger of b on the origins that both were tested on; None: there are none,
    and `why_not` says so. The hold-outs may lie on different bars and are no comparison."""

    schema: Literal["cryptocast.comparison/3"] = "cryptocast.comparison/3"
    a: VersionFacts
    b: VersionFacts
    contest: Contest | None
    why_not: str | None
    verdict: Verdict  # a against b
    differences: tuple[Difference, ...]


def compare(registry: Registry, store: Path, gate: GateConfig, a: Version, b: Version) -> VersionComparison:
    """Both on what they share: live forecasts if there are `gate.min_live` of them, else walks of both recipes.

    UsageError if they forecast different bars, or are the same version.
    """
    if a.key.market != b.key.market:
        raise UsageError(f"{a.name} and {b.name} forecast different bars ({a.key}; {b.key}) and cannot be compared.")
    if a.key == b.key and a.number == b.number:
        raise UsageError(f"{a.name} is one version. Name two: cryptocast registry list {a.key.coin}.")
    outcome, why_not = _contest(registry, store, gate, a, b)
    return VersionComparison(
        a=_compared(a),
        b=_compared(b),
        contest=outcome,
        why_not=why_not,
        verdict=contest_verdict(outcome, b.name, gate),
        differences=_differences(a, b),
    )


def _contest(
    registry: Registry, store: Path, gate: GateConfig, a: Version, b: Version
) -> tuple[Contest | None, str | None]:
    if a.key.coin != b.key.coin:
        return None, "they are of different coins"
    live = live_pairs(registry, b, a)
    if live and min(pair.dates.size for pair in live) >= gate.min_live:
        return contest(live, gate, rests_on=f"{min(pair.dates.size for pair in live)} live bars of both"), None
    if a.hold_out.foreign or b.hold_out.foreign:
        return None, "of what came with an archive only live forecasts made here can tell"
    if a.manifest.evidence_recipe == b.manifest.evidence_recipe:
        return None, "they share a recipe, and a walk forward tests recipes: only live forecasts can tell them apart"
    walks = walked_pairs(registry, store, b, a, within=timedelta(days=gate.max_evidence_age_days))
    return (None, walks) if isinstance(walks, str) else (contest(walks[0], gate, rests_on=walks[1]), None)


def contest_verdict(outcome: Contest | None, against: str, gate: GateConfig) -> Verdict:
    """The contest in a word, the challenger against production. None: there was none."""
    if outcome is None:
        return Verdict(reason=VerdictReason.NOT_COMPARED, against=against)
    worse = min((row.p_worse for row in outcome.horizons if row.p_worse is not None), default=1.0)
    verdict = Verdict(
        word="better" if outcome.better else "worse" if worse < gate.alpha else "cannot tell",
        against=against,
        skill=outcome.skill,
        p=outcome.p,
        dates=max((row.dates for row in outcome.horizons), default=0),
    )
    return msgspec.structs.replace(verdict, p=worse) if verdict.word == "worse" else verdict


def _compared(version: Version) -> VersionFacts:
    manifest = version.manifest
    data = manifest.data(version.key.coin)
    return VersionFacts(
        name=version.name,
        kind=version.key.kind,
        source=version.key.source,
        fit_id=version.fit_id,
        recipe=manifest.recipe,
        aliases=version.aliases,
        created_at=version.created_at,
        trained_to=data.last if data else None,
        train_rows=manifest.train_rows,
        train_seconds=manifest.train_seconds,
        bytes=sum(file.size for file in manifest.artefacts),
        hold_out=version.hold_out.horizons,
        foreign=version.hold_out.foreign,
    )


def _differences(a: Version, b: Version) -> tuple[Difference, ...]:
    one, other = _facts(a), _facts(b)
    return tuple(
        Difference(what=what, a=one.get(what), b=other.get(what))
        for what in sorted(one.keys() | other.keys())
        if one.get(what) != other.get(what)
    )


def _facts(version: Version) -> dict[str, str]:
    """What decides a fit, by name."""
    m = version.manifest
    facts: dict[str, Any] = {
        **{f"settings {name}": value for name, value in m.settings.items()},
        **{
            f"series {name}": f"{s.source}, {s.rows:,} values, {s.content_hash[:12]}"
            for name, s in (m.series or {}).items()
        },
        **_data_facts(version),
        **{f"library {name}": value for name, value in m.libraries.items()},
        "features": f"{len(m.features)} columns, set {m.feature_hash[:12]}",
        "horizons": ",".join(map(str, m.horizons)),
        "seed": m.seed,
        "code": m.code_version + (" with changes" if m.dirty else ""),
        "device": m.device,
    }
    return {name: str(value) for name, value in facts.items()}


def _data_facts(version: Version) -> dict[str, str]:
    """The data of each coin; of a large pool those of the version's own, and one hash over all."""
    coins = version.manifest.coins
    named = coins if len(coins) <= MOST_COINS else [data for data in coins if data.coin == version.key.coin]
    facts = {f"data {d.coin}": f"{d.rows} bars to {d.last:%Y-%m-%d %H:%M}, {d.content_hash[:12]}" for d in named}
    if len(named) < len(coins):
        whole = sha256_hex(" ".join(f"{d.coin} {d.content_hash}" for d in coins).encode())
        facts["data of the pool"] = f"{len(coins):,} coins, {whole[:12]}"
    return facts


def write_comparison(comparison: VersionComparison, path: Path) -> None:
    """The comparison as one HTML page that needs nothing else. UsageError for another suffix,
    NotInstalledError where nothing can be drawn."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path} does not say its format: end it in .html.")
    check_drawing()
    rows = [
        ComparedHorizon("1 bar" if r.horizon == 1 else f"{r.horizon} bars", r.dates, r.skill, r.lower, r.upper)
        for r in (comparison.contest.horizons if comparison.contest else ())
    ]
    lines = []
    if comparison.contest is not None:
        lines = [*map(str, (*comparison.contest.reasons, *map(horizon_reason, comparison.contest.horizons)))]
    differ = [(d.what, d.a or "-", d.b or "-") for d in comparison.differences]
    sentence = comparison_sentence(comparison.a.name, comparison.verdict, comparison.why_not)
    page = comparison_page(comparison.a.name, comparison.b.name, sentence, lines, rows, differ)
    try:
        write_atomically(path, page.encode(), own=False)
    except OSError as error:
        raise DataError(f"The page cannot be written: {error}. Name another file.") from error
