from datetime import UTC, datetime

import pytest

from cryptocast.errors import UpstreamError
from cryptocast.net.answer import Answer, Overloaded, TryLater


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("119", 119.0),
        ("0", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("Wed, 01 Jan 2020 00:01:00 GMT", 60.0),
        ("Tue, 31 Dec 2019 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str, seconds: float | None) -> None:
    answer = Answer(429, b"", {"retry-after": text})
    assert answer.retry_after_s(datetime(2020, 1, 1, tzinfo=UTC)) == seconds


def test_an_error_that_says_when_to_come_again_keeps_its_class_in_other_words() -> None:
    error = Overloaded("too many", retry_after_s=7.0).saying("busy")
    assert isinstance(error, TryLater)
    assert isinstance(error, UpstreamError)
    assert (str(error), type(error), error.retry_after_s) == ("busy", Overloaded, 7.0)
