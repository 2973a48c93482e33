"""Records as they were stored, by this release or by one before it: the one place that knows the old forms."""

import re
from typing import Any, Final, TypeVar

import msgspec

from cryptocast.evaluation.verdicts import Verdict, VerdictReason, VerdictWord

T = TypeVar("T")
WORDS: Final[tuple[VerdictWord, ...]] = ("better", "worse", "cannot tell")
P: Final = re.compile(r"p = ([01]\.[0-9]+)")
DATES: Final = re.compile(r"n = ([0-9]+) dates")
PARTS: Final = {"width": ["width"], "direction": ["direction"], "width and direction": ["width", "direction"]}
SCHEMAS: Final = {f"cryptocast.{name}/1": f"cryptocast.{name}/2" for name in ("holdout", "evidence", "backtest")}


def read_stored(data: bytes, kind: type[T]) -> T:
    """The record in its JSON. Until release 0.1 a verdict was a sentence, and so was a fallback.

    Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError if it is neither in the present form nor in an old
    one.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        try:
            present = msgspec.json.encode(_present(msgspec.json.decode(data)))
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError):  # in no form that ever was
            raise error from None
        return msgspec.json.decode(present, type=kind)


def _present(value: Any) -> Any:
    """The value in the present form, and all that is in it."""
    if isinstance(value, list):
        return [_present(one) for one in value]
    if not isinstance(value, dict):
        return value
    fields = {key: _present(one) for key, one in value.items()}
    if "schema" in fields:
        fields["schema"] = SCHEMAS.get(str(fields["schema"]), fields["schema"])
    if isinstance(fields.get("verdict"), str) and "horizon" in fields:
        fields["verdict"] = _verdict(fields.pop("verdict"), fields.pop("fallback", None), fields)
    if "strongest" in fields and "smallest_effect" in fields:
        return _honesty(fields)
    return fields


def _verdict(text: str, fallback: Any, score: dict[str, Any]) -> Verdict:
    """Of a horizon's score; a p has the digits that the sentence had, and there was no interval."""
    count, p = DATES.search(text), P.search(text)
    dates = score.get("dates", int(count[1]) if count else 0)
    if isinstance(fallback, str) or text.startswith("baseline answers"):
        return Verdict(reason=VerdictReason.BASELINE_ANSWERS, detail=fallback, dates=dates)
    word = next((word for word in WORDS if text.startswith(word)), None)
    if word is None:
        return Verdict(reason=VerdictReason.FOREIGN, dates=dates)
    skills: dict[str, float] = score["skill"]
    against = min(skills, key=lambda name: skills[name], default=None)
    return Verdict(
        word=word,
        against=against,
        skill=None if against is None else skills[against],
        p=None if p is None else float(p[1]),
        dates=dates,
        reason=VerdictReason.TOO_FEW_DATES if "too few" in text else None,
    )


def _honesty(fields: dict[str, Any]) -> dict[str, Any]:
    """A record of what a backtest showed, whose verdict stood in the score beside it alone."""
    against, dates = fields.pop("strongest"), fields.pop("dates")
    own: dict[str, Any] = next((one for one in fields["skills"] if one["reference"] == against), {})
    fields["lies_in"] = None if fields["lies_in"] is None else PARTS.get(fields["lies_in"], [])
    verdict = Verdict(
        word=None,
        against=against,
        skill=own.get("value"),
        lower=own.get("lower"),
        upper=own.get("upper"),
        dates=dates,
        smallest_skill=fields.pop("smallest_effect"),
    )
    return {**fields, "verdict": verdict}
