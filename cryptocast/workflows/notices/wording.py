"""The sentence of each notice, which every template but `json` consists of."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from cryptocast.number_format import count, percent
from cryptocast.registry import Notice, NoticeCode, Reason
from cryptocast.registry.version import Action, version_name
from cryptocast.workflows.fallbacks import Fallback, sentence

Facts = Mapping[str, Any]

MOVED: Final[Mapping[Action, str]] = {
    "register": "registered",
    "promote": "promoted",
    "refresh": "refreshed",
    "force": "promoted",  # that it was forced stands in the reason
    "rollback": "rolled back",
}


def notice_sentence(notice: Notice) -> str:
    """What has happened, in one or two sentences."""
    return SENTENCES[notice.code](notice.facts)


def _version(facts: Facts, number: int | None = None) -> str:
    return version_name(facts["coin"], facts["kind"], number or facts["number"], facts["granularity"])


def _reasons(facts: Facts) -> str:
    return "; ".join(str(msgspec.convert(reason, Reason)) for reason in facts["reasons"])


def _promoted(facts: Facts) -> str:
    before = "" if facts["previous"] is None else f", in place of version {facts['previous']}"
    by = f"{MOVED[facts['action']]} by {facts['who']}"
    return f"{_version(facts)} is in production now{before} ({by}): {facts['why'].rstrip('.')}."


def _refused(facts: Facts) -> str:
    return f"The gate refused {_version(facts)}: {_reasons(facts)}."


def _degraded(facts: Facts) -> str:
    return f"{facts['version']} in production is degraded: {_reasons(facts)}."


def _stale(facts: Facts) -> str:
    last = datetime.fromisoformat(facts["last"])
    return f"The candles of {facts['coin']} ({facts['source']}) are stale: they end {last:%Y-%m-%d %H:%M} UTC."


def _unusual_width(facts: Facts) -> str:
    word, side = ("wider", "widest") if facts["width"] > facts["high"] else ("narrower", "narrowest")
    return (
        f"The {facts['level']} % interval of {facts['coin']} {count(facts['horizon'], 'bar')} ahead is {word} than"
        f" usual: {percent(facts['width'])} %, among the {side} 1 % of the last {facts['bars']} bars (usually"
        f" {percent(facts['low'])} to {percent(facts['high'])} %)."
    )


def _fallback(facts: Facts) -> str:
    why = sentence(msgspec.convert(facts["fallback"], Fallback))
    return (
        f"{facts['model_used']} has answered for {facts['coin']} in place of {facts['model_requested']} for"
        f" {facts['minutes']:.0f} minutes: {why}"
    )


def _test(facts: Facts) -> str:
    return f"This is a test of cryptocast on {facts['host']}. Nothing has happened."


SENTENCES: Final[Mapping[NoticeCode, Callable[[Facts], str]]] = {
    NoticeCode.PROMOTED: _promoted,
    NoticeCode.REFUSED: _refused,
    NoticeCode.DEGRADED: _degraded,
    NoticeCode.STALE: _stale,
    NoticeCode.UNUSUAL_WIDTH: _unusual_width,
    NoticeCode.FALLBACK: _fallback,
    NoticeCode.TEST: _test,
}
