"""What the registry shows."""

import json
from pathlib import Path

import pytest

from cryptocast.market import Market
from cryptocast.registry import Registry, VersionKey
from tests.cli.commands import Run, check_fit


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words",
    [
        "registry list",
        "registry show bitcoin/lightgbm",
        "registry history --at 2100-01-01",
        "registry promote",
        "registry verify",
    ],
)
def test_it_fits_and_cuts_nothing(run: Run, own: Path, words: str, columns: int) -> None:
    check_fit(run(*words.split(), folder=own, columns=columns), columns)


def test_a_wider_terminal_shows_more_and_a_narrow_one_says_what_is_missing(run: Run, trained: Path) -> None:
    narrow, wide = (run("registry", "list", folder=trained, columns=columns).out for columns in (80, 140))
    assert "registered" in wide
    assert "A wider terminal" in narrow
    assert "A wider terminal" not in wide


def test_a_refused_promotion_is_told_and_ends_in_6_only_if_it_was_named(run: Run, own: Path) -> None:
    unnamed = run("registry", "promote", folder=own)
    assert (unnamed.code, unnamed.err) == (0, "")
    assert "refused" in unnamed.out
    named = run("registry", "promote", "bitcoin", "lightgbm", folder=own)
    assert named.code == 6
    assert "refused" in named.out, "the report comes first"
    assert named.err.startswith("The gate refused bitcoin/lightgbm:2")
    as_json = run("registry", "promote", "bitcoin", "lightgbm", "--json", folder=own)
    assert as_json.code == 6
    assert json.loads(as_json.out)["rows"][0]["action"] == "refused"


def test_a_dry_run_changes_nothing_and_a_forced_promotion_is_recorded(run: Run, own: Path) -> None:
    command = ("registry", "promote", "bitcoin", "lightgbm", "2", "--force", "--reason", "a [test]")
    dry = run(*command, "--dry-run", folder=own)
    assert dry.code == 0
    assert "nothing was changed" in dry.out
    key = VersionKey("bitcoin", Market("sample", "usd", "daily"), "lightgbm")
    registry = Registry.open(own / "data")
    assert registry.production_at(key, registry.history()[-1].at) == 1
    assert run(*command, folder=own).code == 0
    assert registry.history()[-1].number == 2
    assert "forced: a [test]" in run("registry", "history", folder=own, columns=140).out
    again = run("registry", "promote", "bitcoin", "lightgbm", folder=own)
    assert (again.code, again.err) == (0, "")
    assert "Nothing to promote" in again.out
