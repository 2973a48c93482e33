"""What a setting may be, and why a value is none, in words."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import inspect

from cryptocast.addresses import without_logins

Decode = Callable[[type, Any], Any]
SHOWN: Final = 80  # characters of a value
PLAIN: Final[dict[type, str]] = {
    inspect.BoolType: "true or false",
    inspect.DateType: "a date such as 2015-01-01",
}


def refusal(value: Any, kind: Any, decode: Decode) -> str | None:
    """Why the value is none of this kind, as a phrase that follows the name of the setting; None if it is one.

    decode: of kinds that msgspec does not know, as `msgspec.convert` takes it; its TypeError says what they may be.
    """
    error = _error(value, kind, decode)
    if error is None:
        return None
    info = inspect.type_info(kind)
    if isinstance(info, inspect.VarTupleType) and isinstance(value, list):
        item_kind = kind.__args__[0]
        for number, item in enumerate(value, start=1):
            if (reason := refusal(item, item_kind, decode)) is not None:
                return f"item {number} {reason}"
    expected = error if isinstance(info, inspect.CustomType) else _words(info)
    return f"must be {expected}, found {_shown(value)}"


def _error(value: Any, kind: Any, decode: Decode) -> str | None:
    try:
        msgspec.convert(value, kind, dec_hook=decode)
    except msgspec.ValidationError as error:
        return str(error)
    return None


def _words(info: inspect.Type) -> str:
    if isinstance(info, inspect.Metadata):
        described = (info.extra_json_schema or {}).get("description")
        return str(described) if described else _words(info.type)
    if isinstance(info, inspect.LiteralType):
        return f"one of {', '.join(map(str, info.values))}"
    if isinstance(info, inspect.VarTupleType):
        return f"a list, each item {_words(info.item_type)}"
    if isinstance(info, inspect.IntType | inspect.FloatType):
        noun = "a whole number" if isinstance(info, inspect.IntType) else "a number"
        return f"{noun}{_bounds(info)}"
    return PLAIN.get(type(info), "text")


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    if info.ge is not None and info.le is not None:
        return f" from {_number(info.ge)} to {_number(info.le)}"
    words = {"of at least": info.ge, "above": info.gt, "of at most": info.le, "below": info.lt}
    parts = [f"{word} {_number(bound)}" for word, bound in words.items() if bound is not None]
    return f" {' and '.join(parts)}" if parts else ""


def _number(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = without_logins(str(value))
    plain = ascii(text) if isinstance(value, str) else text.encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}..."
