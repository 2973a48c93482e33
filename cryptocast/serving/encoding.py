"""JSON of the answers, and the one place where their numbers are shortened."""

import math
from typing import Any, Final

import msgspec

from cryptocast.errors import ModelError

# Beyond what any forecast knows, and short enough that compression saves what it should.
SIGNIFICANT_DIGITS: Final = 8


def encode(document: msgspec.Struct) -> bytes:
    """The document as JSON, floats with 8 significant digits. Raises ModelError for a number that JSON cannot hold."""
    return msgspec.json.encode(_shortened(msgspec.to_builtins(document)))


def _shortened(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ModelError(f"A forecast holds the number {value}, which no answer can state. Train the model anew.")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(item) for item in value]
    return value
