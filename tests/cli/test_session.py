"""What the common options mean together, and what a report says of itself."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from cryptocast.cli.session import Common, Invocation, Session, Terminal, failed
from tests.cli.commands import Run


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


def test_quiet_prints_nothing_but_errors(run: Run, trained: Path) -> None:
    quiet = run("forecast", "bitcoin", "--quiet", folder=trained)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert json.loads(run("data", "ls", "--quiet", "--json", folder=trained).out)["schema"]
    refused = run("--quiet", "forecast", "bitcoin", "--levels", "33", folder=trained)
    assert (refused.code, refused.out) == (2, "")
    assert "There is no 33 % interval" in refused.err
    ticker = run("forecast", "BTC", "--quiet", folder=trained)  # elsewhere a note says that BTC is bitcoin
    assert (ticker.code, ticker.out, ticker.err) == (0, "", "")


def test_what_only_the_screen_says_of_a_failure_is_an_error_where_nothing_is_printed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[data]\nsource = "nowhere"\n')
    loud, quiet = run("doctor", "--offline", folder=tmp_path), run("doctor", "--offline", "--quiet", folder=tmp_path)
    assert (loud.code, loud.err) == (quiet.code, "")
    assert quiet.code != 0
    assert quiet.out == ""
    assert "nowhere" in quiet.err


@pytest.mark.parametrize("quiet", [False, True])
def test_nobody_is_asked_who_wants_to_see_nothing(monkeypatch: pytest.MonkeyPatch, *, quiet: bool) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    session = Session(Invocation(common=Common(quiet=quiet)))
    session.out = Terminal(force_terminal=True)
    assert session.can_ask is not quiet
