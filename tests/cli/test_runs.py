"""runs list, show, rm: what a backtest left, from the command line."""

import json
from pathlib import Path

from tests.cli.commands import Run, check_fit
from tests.cli.test_documents import check

WORDS = "backtest bitcoin ethereum --model baseline --walk-forward --from 2019-01-01"


def test_a_backtest_is_listed_shown_again_and_removed(run: Run, own: Path) -> None:
    first = run(*WORDS.split(), folder=own)
    assert first.code == 0, first.err
    listed = run("runs", "list", "--json", folder=own)
    check("runs", json.loads(listed.out))
    (recorded,) = json.loads(listed.out)["runs"]
    name = recorded["run"]
    for columns in (80, 140):
        check_fit(run("runs", "list", folder=own, columns=columns), columns)
    assert run("runs", "show", folder=own).out == run("runs", "show", name, folder=own).out == first.out
    again = run(*WORDS.split(), "--json", folder=own)
    assert run("runs", "show", name, "--json", folder=own).out == again.out

    refused = run("runs", "rm", name, folder=own)
    assert (refused.code, "--yes" in refused.err) == (2, True)
    planned = run("runs", "rm", name, "--dry-run", folder=own)
    assert (planned.code, "To be removed" in planned.out) == (0, True)
    removed = run("runs", "rm", name, "--yes", "--json", folder=own)
    check("run-removal", json.loads(removed.out))
    assert json.loads(run("runs", "list", "--json", folder=own).out)["runs"] == []
    assert "No backtest has been recorded yet" in run("runs", "list", folder=own).out
    assert run("runs", "show", folder=own).code == 3


def test_a_run_that_is_not_there_is_named(run: Run, own: Path) -> None:
    assert run("runs", "show", "0123456789abcdef", folder=own).code == 3
    ended = run("runs", "rm", "0123456789abcdef", folder=own)
    assert (ended.code, "cryptocast runs list" in ended.err) == (3, True)
