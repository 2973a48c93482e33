"""What the common options mean together, and what a report says of itself."""

from pathlib import Path

import pytest

from cryptocast.cli.session import Common, Invocation, failed


def test_an_option_after_the_command_counts_before_one_in_front_of_it() -> None:
    earlier = Common(config=Path("a.toml"), json=True, log_level="debug")
    assert Common(log_level="error").over(earlier) == Common(config=Path("a.toml"), json=True, log_level="error")


@pytest.mark.parametrize(
    ("words", "is_json"),
    [
        (["train", "--json"], True),
        (["train", "--json=x"], True),
        (["train", "--", "--json"], False),
        (["train"], False),
    ],
)
def test_a_command_line_that_cannot_be_read_is_for_a_machine_if_it_says_json(
    words: list[str], *, is_json: bool
) -> None:
    assert Invocation(words).json is is_json


def test_once_it_is_read_the_option_alone_counts() -> None:
    assert not Invocation(["--json"], whole=True).json
    assert Invocation([], Common(json=True), whole=True).json


def test_a_report_names_its_first_problem_and_counts_the_others() -> None:
    assert failed(None, 3) is None
    error = failed("bitcoin: no candles", 3, 4)
    assert error is not None
    assert (str(error), error.exit_code) == ("bitcoin: no candles (and 3 more)", 3)
