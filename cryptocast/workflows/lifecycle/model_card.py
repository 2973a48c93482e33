"""The model card of a version, in Markdown: what it is for, what it learned from, what it can do and where it fails."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from cryptocast.config import GateConfig
from cryptocast.data.parquet import write_atomically
from cryptocast.data.schema import BAR_US
from cryptocast.errors import DataError
from cryptocast.evaluation.answer_words import QUESTIONS, UNANSWERED, answer_numbers, answer_sentence
from cryptocast.evaluation.answers import PlainAnswer, Question
from cryptocast.evaluation.records import Evidence, HorizonScore, IntervalCoverage, PooledAnswers
from cryptocast.models.tails import TAIL_INTERVALS
from cryptocast.number_format import count, percent
from cryptocast.registry import LiveMark, Registry, Version, VersionKey
from cryptocast.registry.gate import FOREIGN
from cryptocast.registry.live import LiveCoverage, LiveReport, columns_score

DRIFT_SHOWN: Final = 10
MOST_COINS: Final = 20  # that are listed
INTENDED_USE: Final = (
    "To know how far the price may move, with intervals that hold as often as they say; and to judge whether that is"
    " known any better than by a random walk. Prices are close to one: the median is mostly the last price. Not advice,"
    " and not for deciding on the direction alone. Not for bars of another source or granularity."
)
# Of a kind: what it adds and what it costs, measured on coins and years that it was not developed on.
WORTH: Final = {
    "lstm": (
        "What it adds: next to nothing. On coins and years outside the development data its skill over a random walk"
        " was 3.73 %, that of lightgbm 3.78 %, and no mean of models with it was better than its best member by more"
        " than 0.02 points. What it costs: about half of the time in which `train` fits all models. To do without it,"
        " leave it out of `[train] models` and `[ml_ensemble] members`."
    )
}


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """The card, and where it was written; path None: nowhere."""

    schema: Literal["cryptocast.card/1"] = "cryptocast.card/1"
    name: str
    path: str | None
    markdown: str


def model_card(registry: Registry, gate: GateConfig, version: Version, path: Path | None) -> ModelCard:
    """The card, written to `path` where one is given. DataError when the disk refuses."""
    evidence = registry.evidence_for(version.key, version.manifest.evidence_recipe)
    mark = registry.live_mark(version.key, version.number)
    text = "\n".join(_lines(version, evidence, live_of(registry, gate, version), mark)) + "\n"
    if path is not None:
        try:
            write_atomically(path, text.encode(), own=False)
        except OSError as error:
            raise DataError(f"The card cannot be written: {error}. Name another file.") from error
    return ModelCard(name=version.name, path=None if path is None else str(path), markdown=text)


def live_of(registry: Registry, gate: GateConfig, version: Version) -> LiveReport:
    """How the version's lineage did on matured live forecasts (see Registry.live_record), beside the baseline."""
    key = version.key
    own = registry.live_columns(key, version.number)
    baseline = registry.live_columns(VersionKey(key.coin, key.market, "baseline"), 0)
    return columns_score(own, baseline, gate, bar_us=BAR_US[key.granularity])


def _lines(version: Version, evidence: Evidence | None, live: LiveReport, mark: LiveMark | None) -> Iterator[str]:
    """The lines of the card, section by section."""
    key, m, hold_out = version.key, version.manifest, version.hold_out
    ahead = ", ".join(map(str, m.horizons))
    yield from (
        f"# {version.name}",
        "",
        f"Forecasts of {key.coin} in {key.vs} on {key.granularity} bars of the source {key.source}, {ahead} bars ahead:"
        " thirteen quantiles of the price, and the probability of a rise.",
    )
    is_large = len(m.coins) > MOST_COINS
    named = sorted(m.coins, key=lambda d: d.coin != key.coin)[:MOST_COINS] if is_large else m.coins
    candles = [(d.coin, f"{d.rows:,}", f"{d.first:%Y-%m-%d}", f"{d.last:%Y-%m-%d}", d.content_hash[:12]) for d in named]
    if is_large:
        candles.append((f"and {len(m.coins) - len(named):,} more", "", "", "", ""))
    features = f"{len(m.features)} features (set {m.feature_hash[:12]}), {m.train_rows:,} rows."
    origin = "Foreign hold-out" if hold_out.foreign else "Hold-out"
    span = f"{origin}, {hold_out.start:%Y-%m-%d} to {hold_out.end:%Y-%m-%d}, of a fit that never saw it:"
    foreign = [f"Foreign: {FOREIGN}.", ""] if hold_out.foreign else []
    answers = _answers(hold_out.horizons, hold_out.pooled)
    skill = [span, "", *foreign, *_scores(key.kind, hold_out.horizons), *answers, ""]
    if m.is_pretrained:
        skill = [
            f"It answers for every coin, was not scored on this one, and forecasts no bar that closed before"
            f" {m.knowledge_date:%Y-%m-%d}.",
            "",
            *(f"- {text}" for text in m.notes),
            "",
        ]
    sections = {
        "Intended use": [INTENDED_USE, *(("", WORTH[key.kind]) if key.kind in WORTH else ())],
        "Data": [*_table(("coin", "bars", "first", "last", "sha256"), candles), "", features],
        "Skill by horizon": [*skill, *_walked(key, evidence, version.contender, foreign=hold_out.foreign)],
        "Where it fails": [f"- {line}" for line in _failures(version, evidence)],
        "Live": _live(live, mark),
        "Drift": _drift(mark),
        "To repeat the fit": _table(("what", "value"), _facts(version)),
    }
    for title, lines in sections.items():
        yield from ("", f"## {title}", "", *lines)


def _scores(kind: str, scores: Sequence[HorizonScore]) -> list[str]:
    rows = [
        (
            str(s.horizon),
            str(s.dates),
            _number(s.crps.get(kind)),
            percent(s.skill.get("baseline"), signed=True),
            _held((*s.coverage, *(s.tails or ()))) or "-",
        )
        for s in scores
    ]
    return _table(("bars ahead", "dates", "CRPS", "skill over the baseline, %", "intervals held, %"), rows)


def _answers(scores: Sequence[HorizonScore], pooled: Sequence[PooledAnswers]) -> Iterator[str]:
    """Question by question, of the pool first; older scores lack some."""
    for question, words in QUESTIONS.items():
        lines = [
            *(
                line
                for one in pooled
                for line in _answer_lines(f"{_ahead(one.horizon)}, all {one.coins} coins", one.answers, question)
            ),
            *(line for score in scores for line in _answer_lines(_ahead(score.horizon), score.answers, question)),
        ]
        if lines:
            yield from ("", f"**{words}**", "", *lines)
    for score in scores:
        if score.unanswered is not None:
            cause = f": {score.cause.rstrip('.')}" if score.cause else ""
            yield from ("", f"{_ahead(score.horizon)}: {UNANSWERED[score.unanswered]}{cause}.")


def _ahead(horizon: int) -> str:
    return f"{count(horizon, 'bar')} ahead"


def _answer_lines(where: str, answers: Sequence[PlainAnswer], question: Question) -> Iterator[str]:
    yield from (f"- {where}: {answer_sentence(one)}." for one in answers if one.question is question)


def _walked(key: VersionKey, evidence: Evidence | None, contender: str, *, foreign: bool) -> list[str]:
    if evidence is None:
        again = f"cryptocast backtest {key.coin} --walk-forward --model {contender}"
        return [f"Its recipe was not backtested. To do so: `{again}`."]
    its = "the recipe that its archive names" if foreign else "its recipe"
    what = f"Walk-forward of {its} on {', '.join((evidence.coin,) if evidence.coin else evidence.coins)}"
    span = f"{evidence.start:%Y-%m-%d} to {evidence.end:%Y-%m-%d}"
    answers = _answers(evidence.scores, evidence.pooled)
    return [f"{what}, {span}:", "", *_scores(evidence.kind, evidence.scores), *answers]


def _failures(version: Version, evidence: Evidence | None) -> list[str]:
    """What the scores say against it, and what is true of every such model."""
    failures = []
    if version.hold_out.foreign:
        failures.append("Nobody here knows: its scores came with an archive and were not made here.")
    scores = () if version.hold_out.foreign else evidence.scores if evidence else version.hold_out.horizons
    for score in scores:
        ahead = _ahead(score.horizon)
        if score.by_baseline:
            failures.append(f"{ahead} it is not used.")
        intervals, model = score.answer(Question.INTERVALS), score.answer(Question.MODEL)
        if intervals is not None and intervals.answer == "no":
            failures.append(f"{ahead} its intervals are not right: {answer_numbers(intervals)}.")
        if model is not None and model.is_worse:
            failures.append(f"{ahead} it is worse than the baseline: {answer_numbers(model)}.")
    failures.append("After a break of volatility without precedent in its data the intervals are too narrow at first.")
    failures.append("It knows nothing but past bars: no news, no order book, no events of a chain.")
    return failures


def _live(live: LiveReport, mark: LiveMark | None) -> list[str]:
    if not live.scores:
        return ["No forecast has matured yet. `cryptocast registry score` joins the ledger with closed bars."]
    rows = [
        (
            str(s.horizon),
            str(s.bars),
            _number(s.crps),
            percent(s.skill, signed=True),
            _held((*s.coverage, *s.tails)),
        )
        for s in live.scores
    ]
    head = ("bars ahead", "bars", "CRPS", "skill over the baseline, %", "intervals held, %")
    since = f" since {mark.degraded_since:%Y-%m-%d}" if mark is not None and mark.degraded_since is not None else ""
    words = (
        f"Degraded{since}: {'; '.join(map(str, live.degraded))}."
        if live.degraded
        else "Nothing speaks against it live."
    )
    return [*_table(head, rows), "", *_lineage(live.versions), words]


def _lineage(versions: Sequence[int]) -> list[str]:
    """Whose forecasts these are, where they are not one version's."""
    if len(versions) < 2:
        return []
    first, last = min(versions), max(versions)
    return [f"Forecasts of {len(versions)} versions, {first} to {last}, each while it was in production.", ""]


def _drift(mark: LiveMark | None) -> list[str]:
    if mark is None or mark.drift_bars == 0:
        bars = "60 bars that it, or a version that it refreshes, was not trained on"
        return [f"Not known: it takes {bars}, and `cryptocast registry score`."]
    over = f"{mark.drift_bars} bars until {mark.at:%Y-%m-%d}"
    if mark.drift_since is None:
        return [f"None: its features are spread over the {over} as in the training before them."]
    rows = [(row.feature, f"{row.psi:.2f}", f"{row.usual:.2f}") for row in mark.drift[:DRIFT_SHOWN]]
    return [
        f"Since {mark.drift_since:%Y-%m-%d}: {len(mark.drift)} features are spread over the {over} unlike in the "
        "training before them. The worst:",
        "",
        *_table(("feature", "stability index", "at most in the training"), rows),
    ]


def _facts(version: Version) -> list[tuple[str, str]]:
    m = version.manifest
    code = f"{m.code_version}{' with uncommitted changes' if m.dirty else ''}"
    return [
        ("fit", version.fit_id),
        ("recipe", m.recipe),
        ("trained at", f"{m.trained_at:%Y-%m-%d %H:%M} UTC"),
        ("took", f"{m.train_seconds:.1f} s, {m.threads} threads, {m.device}"),
        ("size", f"{sum(file.size for file in m.artefacts):,} bytes in {len(m.artefacts)} files"),
        ("seed", str(m.seed)),
        ("code", code),
        ("Python", f"{m.python}, {m.platform}"),
        ("libraries", ", ".join(f"{name} {number}" for name, number in sorted(m.libraries.items()))),
        *((name, str(value)) for name, value in sorted(m.settings.items())),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def _held(intervals: Iterable[IntervalCoverage | LiveCoverage]) -> str:
    """The share of outcomes in each interval; of those beyond the outer levels a decimal more, as they rarely miss."""
    return ", ".join(f"{c.percent} %: {percent(c.share, int(c.percent in TAIL_INTERVALS))}" for c in intervals)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"
