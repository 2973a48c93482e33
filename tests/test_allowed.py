from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from cryptocast.allowed import refusal

Share = Annotated[float, Meta(gt=0.0, lt=1.0)]
Named = Annotated[str, Meta(pattern="^a", description="a word that begins with a")]


def decode(kind: type, value: Any) -> Any:
    if kind is Path and value:
        return Path(value)
    raise TypeError("the path of a folder")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(0.5, Share), ("abc", Named), ([1, 2], tuple[int, ...]), ("x", Path)],
)
def test_what_is_allowed_has_no_refusal(value: object, kind: Any) -> None:
    assert refusal(value, kind, decode) is None


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (1.5, Share, "must be a number above 0 and below 1, found 1.5"),
        (7, Annotated[int, Meta(ge=1, le=5)], "must be a whole number from 1 to 5, found 7"),
        (0, Annotated[int, Meta(ge=1000)], "must be a whole number of at least 1,000, found 0"),
        ("yes", bool, "must be true or false, found 'yes'"),
        ("bcd", Named, "must be a word that begins with a, found 'bcd'"),
        ("monthly", Literal["daily", "hourly"], "must be one of daily, hourly, found 'monthly'"),
        ("soon", date, "must be a date such as 2015-01-01, found 'soon'"),
        ([1, "x"], tuple[int, ...], "item 2 must be a whole number, found 'x'"),
        ("", Path, "must be the path of a folder, found ''"),
        (True, str, "must be text, found true"),
    ],
)
def test_a_refusal_says_what_may_be_and_what_was_found(value: object, kind: Any, reason: str) -> None:
    assert refusal(value, kind, decode) == reason


def test_a_long_value_is_cut_and_a_login_in_it_is_hidden() -> None:
    long = refusal("x" * 500, int, decode)
    assert long is not None
    assert len(long) < 150
    assert "secret" not in (refusal("https://user:secret@host/x", int, decode) or "")
