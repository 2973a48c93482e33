"""What the gate may know beyond two versions: live forecasts of both, and walks of both recipes through history."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import numpy as np

from cryptocast.config import GateConfig
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.table import is_fetched
from cryptocast.errors import DataError
from cryptocast.evaluation.records import Evidence
from cryptocast.registry import Contest, Registry, Version
from cryptocast.registry.append_only import most_telling
from cryptocast.registry.contest import LossPairs, contest
from cryptocast.registry.live import pair_up
from cryptocast.registry.reasons import version_words
from cryptocast.times import as_datetime


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """Read from a registry and from the runs of its store; nothing is made or changed."""

    registry: Registry
    store: Path
    gate: GateConfig
    now: datetime
    version: Version  # that is judged

    @property
    def today(self) -> datetime:
        """The time, where new bars can be fetched; those of other sources end where they end."""
        key = self.version.key
        data = self.version.manifest.data(key.coin)
        return self.now if is_fetched(key.source) or data is None else data.last

    def backtested_to(self, version: Version) -> datetime | None:
        """The last origin of the newest walk forward of the version's recipe, with the coin in it."""
        evidence = self.registry.evidence_for(version.key, version.manifest.evidence_recipe)
        return None if evidence is None else evidence.end

    def compare(self, production: Version, challenger: Version) -> Contest | str:
        """Live forecasts if there are `gate.min_live` matured bars of both, else walks of both recipes.

        That a version which was not scored here has the recipe that was walked is only said by its archive.
        """
        live = live_pairs(self.registry, production, challenger)
        count = min((int(np.unique(pair.dates).size) for pair in live), default=0)
        if live and count >= self.gate.min_live:
            return self._judged(live, f"{count} live bars of both")
        if challenger.hold_out.foreign or production.hold_out.foreign:
            return (
                f"of what came with an archive only forecasts made here can tell (live there are {count} bars of both, "
                f"{self.gate.min_live} are needed)"
            )
        within = timedelta(days=self.gate.max_evidence_age_days)
        walks = walked_pairs(self.registry, self.store, production, challenger, within=within)
        if isinstance(walks, str):
            return f"{walks} (live there are {count} bars of both, {self.gate.min_live} are needed)"
        pairs, words = walks
        return self._judged(pairs, words)

    def _judged(self, pairs: list[LossPairs], words: str) -> Contest | str:
        newest = max(int(pair.dates.max()) for pair in pairs if pair.dates.size)
        age = self.today - as_datetime(newest)
        if age.days > self.gate.max_evidence_age_days:
            return (
                f"the newest evidence on both is {age.days} days old, and at most {self.gate.max_evidence_age_days} "
                "are allowed; walk both forward on newer bars"
            )
        return contest(pairs, self.gate, rests_on=words)


def live_pairs(registry: Registry, production: Version, challenger: Version) -> list[LossPairs]:
    """The matured forecasts of both, each its own, for the bars that closed after the younger was registered; by
    horizon, empty where one has none."""
    since = max(_live_from(version) for version in (challenger, production))
    sides = [
        [pair for pair in registry.matured(version.key, version.number) if pair[0].issued_at >= since]
        for version in (challenger, production)
    ]
    horizons = set(production.manifest.horizons)
    pairs = pair_up(sides[0], sides[1], bar_us=BAR_US[challenger.key.granularity])
    return [pair for pair in pairs if pair.horizon in horizons]


def _live_from(version: Version) -> datetime:
    """The first moment at which a bar may close and count as forecast live: the registration, by the clock of the bars.

    A series that had ended more than its longest horizon before that is behind the clock, and stays so: there it is the
    first bar after those that the version was fitted on.
    """
    data = version.manifest.data(version.key.coin)
    bar = timedelta(microseconds=BAR_US[version.key.granularity])
    if data is None or version.created_at - data.last <= max(version.manifest.horizons) * bar:
        return version.created_at
    return data.last + bar


def walked_pairs(
    registry: Registry, store: Path, production: Version, challenger: Version, *, within: timedelta
) -> tuple[list[LossPairs], str] | str:
    """Both recipes on the origins that their walks share, pooled over the coins; or why there is nothing to compare.

    within: walks that ended longer than that before the newest are left aside.
    """
    from cryptocast.workflows.backtesting.losses import losses_of, paired  # polars: only where files are read
    from cryptocast.workflows.backtesting.run_folder import RUNS, RunFolder

    key = challenger.key
    both = (challenger, production)
    walks = [_walks(registry, version) for version in both]
    names = ",".join(dict.fromkeys(version.contender for version in both))
    for version, evidence in zip(both, walks, strict=True):
        if not evidence and version.manifest.is_pretrained and not version.is_shipped:
            return (
                f"{version_words(version.mark)} is a model for every coin that another one has followed, and was never "
                "walked forward; only live forecasts can tell"
            )
        if not evidence:
            features = "CRYPTOCAST_FEATURES__ACROSS_COINS=false " if version.manifest.learned_in_parts else ""
            return (
                f"{version_words(version.mark)}'s recipe was never walked forward; with its settings run: {features}"
                f"cryptocast backtest {key.coin} --walk-forward --model {names}"
            )
    best = _closest(walks[0], walks[1], within)
    if best is None:
        return "the walks of the two recipes have different coins or steps; walk both forward in the same way"
    try:
        sides = [losses_of(RunFolder(store / RUNS / walk.run), walk) for walk in best]
    except DataError as error:
        return str(error)
    step = best[0].step_bars
    horizons = sorted(set(production.manifest.horizons) & set(challenger.manifest.horizons))
    pairs = paired(sides[0][0], sides[1][0], horizons, step=step)
    missing = [pair.horizon for pair in pairs if not pair.dates.size]
    if missing:
        return f"their walks share no origin {', '.join(map(str, missing))} bars ahead; walk both on the same bars"
    origins = max(int(np.unique(pair.dates).size) for pair in pairs)
    runs = " and ".join(dict.fromkeys(walk.run for walk in best))
    return pairs, f"{origins} origins of {', '.join(best[0].coins)} walked forward ({runs})"


def _walks(registry: Registry, version: Version) -> list[Evidence]:
    """The pooled evidence on a version's recipe, the coin among its coins."""
    key, recipe = version.key, version.manifest.evidence_recipe
    evidence = registry.evidence(
        recipe=recipe, source=key.source, vs=key.vs, granularity=key.granularity, kind=version.contender, coin=""
    )
    return [walk for walk in evidence if key.coin in walk.coins]


Pair: TypeAlias = tuple[Evidence, Evidence]


def _closest(challenger: list[Evidence], production: list[Evidence], within: timedelta) -> Pair | None:
    """Of the pairs that were walked over the same coins in the same steps, the newest with at least half the time in
    common that the pair with most has; those that ended longer than `within` before the newest aside."""
    alike = [
        (one, other)
        for one in challenger
        for other in production
        if set(one.coins) == set(other.coins) and one.step_bars == other.step_bars
    ]
    newest_first = sorted(alike, key=_recency, reverse=True)
    recent = [pair for pair in newest_first if _end(pair) >= _end(newest_first[0]) - within]
    return most_telling(recent, origins=_shared)


def _end(pair: Pair) -> datetime:
    return min(walk.end for walk in pair)


def _recency(pair: Pair) -> tuple[datetime, int, datetime]:
    return _end(pair), _shared(pair), max(walk.recorded_at for walk in pair)


def _shared(pair: Pair) -> int:
    """Bars between the first and the last origin that both may have."""
    one, other = pair
    span = _end(pair) - max(one.start, other.start)
    return max(0, span // timedelta(microseconds=BAR_US[one.granularity]))
