"""Why the gate, a comparison or live scores decide as they do: a code with its numbers, and the sentence of each."""

import string
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Self

from cryptocast.evaluation.records import Record
from cryptocast.kinds import SHIPPED


class ReasonCode(StrEnum):
    """Each with its sentence, into which the facts are put (see _Words)."""

    template: str

    def __new__(cls, code: str, template: str) -> Self:
        """A code is a text; the sentence is its attribute."""
        member = str.__new__(cls, code)
        member._value_, member.template = code, template
        return member

    FOREIGN = (
        "foreign",
        "its scores came with an archive and were not computed here, so they do not count: score it on local bars with "
        "cryptocast registry import FILE --score",
    )
    NO_HORIZON = "no_horizon", "its hold-out scored no horizon"
    NO_FORECAST = "no_forecast", "its hold-out scored no forecast of its own: there is no evidence for it"
    WORSE_THAN_BASELINE = (
        "worse_than_baseline",
        "{horizon:bars}: worse than the baseline (skill {skill:%+.1f}{interval:[}{p:p})",
    )
    COVERAGE_OFF = (
        "coverage_off",
        "{horizon:bars}: the {percent} % interval held {share:%.1f} of the outcomes{ends:~}",
    )
    BASELINE_ANSWERS = "baseline_answers", "{horizon:bars}: the baseline answers here, so it is not judged{cause:(}"
    SCORED = (
        "scored",
        "{horizon:bars}: skill {skill:%+.1f}{interval:[} over the baseline on {dates} dates{p:p}{coverage:held}",
    )
    IN_PRODUCTION = "in_production", "{new:version} is in production already"
    REPEATS = "repeats", "{new:version} repeats {old:version}: same recipe, candles, seed, code and libraries"
    LACKS_HORIZONS = "lacks_horizons", "{new:version} lacks horizons that {old:version} serves: {horizons:list} bars"
    FOREIGN_UNPROVEN = (
        "foreign_unproven",
        "{new:version} came with an archive: it must be shown to be better, and {cause}",
    )
    RECIPE_UNPROVEN = (
        "recipe_unproven",
        "{new:version} has a different recipe from {old:version} in production: it must be shown to be better, and "
        "{cause}",
    )
    BETTER = "better", "{new:version} is better than {old:version} in production: p {p:.2g} on {rests_on}"
    COMPARED = (
        "compared",
        "{horizon:bars}: skill {skill:%+.1f}{interval:[} over production on {dates} dates",
    )
    NOT_BETTER = "not_better", "not shown to be better: p {p:.2g} on {rests_on}, at most {alpha:g} is needed"
    SKILL_TOO_SMALL = (
        "skill_too_small",
        "mean skill over production {skill:%+.2f}, at least {margin:%+.2f} is needed",
    )
    WORSE_THAN_PRODUCTION = (
        "worse_than_production",
        "{horizon:bars}: significantly worse than production (skill {skill:%+.1f}, p {p:.2g})",
    )
    COVERAGE_WORSE = (
        "coverage_worse",
        "{horizon:bars}: its {percent} % interval held {share:%.1f} of the outcomes, production's {production:%.1f}",
    )
    OLDER = (
        "older",
        "{new:version} is older than {old:version} in production: use cryptocast registry rollback to go back",
    )
    OLDER_BARS = "older_bars", "{new:version} was trained on bars up to {new_end}, {old:version} up to {old_end}"
    OUTDATED = (
        "outdated",
        "{old:version} in production is outdated: features or own code changed since its fit, and it cannot answer",
    )
    ITSELF_OUTDATED = (
        "itself_outdated",
        "{new:version} is outdated: features or own code changed since its fit, and it could not answer",
    )
    REFRESH = "refresh", "{new:version} is a refresh of {old:version}: the same recipe on other bars"
    NEVER_BACKTESTED = (
        "never_backtested",
        "its recipe was never backtested; walk it forward: cryptocast backtest {coin} --walk-forward --model {kind}",
    )
    EVIDENCE_TOO_OLD = (
        "evidence_too_old",
        "the evidence on its recipe ends {end}, {days} days ago, and at most {limit} are allowed; walk it forward: "
        "cryptocast backtest {coin} --walk-forward --model {kind}",
    )
    PARTS_NEVER_BACKTESTED = (
        "parts_never_backtested",
        "its recipe was never backtested; walk it forward on the features that it looks at: "
        "CRYPTOCAST_FEATURES__ACROSS_COINS=false cryptocast backtest {coin} --walk-forward --model {kind}",
    )
    PARTS_EVIDENCE_TOO_OLD = (
        "parts_evidence_too_old",
        "the evidence on its recipe ends {end}, {days} days ago, and at most {limit} are allowed; walk it forward on "
        "the features that it looks at: CRYPTOCAST_FEATURES__ACROSS_COINS=false cryptocast backtest {coin} "
        "--walk-forward --model {kind}",
    )
    FORCED = "forced", "forced: {why}"
    FIT_REFUSED = "fit_refused", "the fit moves as a whole, and {version} was refused"
    BASELINE_BETTER_LIVE = (
        "baseline_better_live",
        "the baseline is better live: skill {skill:%+.1f} over it, p {p:.2g} on {bars} bars",
    )
    COVERAGE_OFF_LIVE = (
        "coverage_off_live",
        "{horizon:bars} ahead the {percent} % interval held {share:%.1f} of {bars} outcomes",
    )


class Reason(Record, frozen=True):
    """One of them with its numbers: shares, not percent; versions by number. As a text it is its sentence."""

    code: ReasonCode
    facts: Mapping[str, Any] = {}

    def __str__(self) -> str:
        return WORDS.format(self.code.template, **self.facts)


class _Words(string.Formatter):
    """Formats of our own: %.1f (a share in percent), version, bars, p, list, held, and a text in ( or [ where there is
    one.

    A fact that an earlier release did not have is None.
    """

    def get_value(
        self,
        key: int | str,
        args: Sequence[Any],  # noqa: ARG002 - the base class calls it with them
        kwargs: Mapping[str, Any],
    ) -> Any:
        return kwargs.get(str(key))

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec.startswith("%"):
            return "unknown" if value is None else f"{100 * value:{format_spec[1:]}} %"
        own = OWN_FORMATS.get(format_spec)
        return str(super().format_field(value, format_spec)) if own is None else own(value)


def version_words(mark: int | str) -> str:
    """`version 3`, or `the shipped model`: of a version's mark."""
    return "the shipped model" if mark == SHIPPED else f"version {mark}"


def _interval(ends: Sequence[float | None] | None) -> str:
    lower, upper = ends or (None, None)
    return "" if lower is None or upper is None else f" [{100 * lower:+.1f}, {100 * upper:+.1f}]"


def _share_interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f" (95 % interval {100 * max(0.0, ends[0]):.1f} to {100 * min(1.0, ends[1]):.1f} %)"


def _intervals(coverage: Mapping[str, Sequence[float]]) -> str:
    shares = [f"{percent} %: {100 * share:.1f} ± {100 * se:.1f}" for percent, (share, se) in coverage.items()]
    return f"; intervals held {', '.join(shares)}" if shares else ""


OWN_FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {
    "version": version_words,
    "bars": lambda horizon: "1 bar" if horizon == 1 else f"{horizon} bars",
    "p": lambda p: "" if p is None else f", p of being worse {p:.2g} after correction",
    "list": lambda values: ", ".join(map(str, values)),
    "held": _intervals,
    "[": _interval,
    "~": _share_interval,
    "(": lambda text: f" ({text})" if text else "",
}
WORDS: Final = _Words()
