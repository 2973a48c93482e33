"""What a newcomer sees first, and what it costs."""

import subprocess
import sys
from pathlib import Path

import pytest

from cryptocast import __version__
from tests.cli.commands import Run

GROUPS = {
    (): ["fetch", "data", "features", "train", "forecast", "backtest", "registry", "serve", "doctor", "fake-upstream"],
    ("data",): ["ls", "verify"],
    ("registry",): [
        *("list", "show", "best", "compare", "card", "history", "promote", "rollback", "score", "verify", "gc"),
        *("export", "import", "ab"),
    ],
    ("registry", "ab"): ["start", "status", "stop", "conclude"],
}
COMMANDS = [(*group, name) for group, names in GROUPS.items() for name in names if (*group, name) not in GROUPS]
LEARNING = ("torch", "lightgbm", "sklearn")
NUMBERS = ("polars", "numpy", "pyarrow", "httpx", "scipy")


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: " ".join(("cryptocast", *group)))
def test_a_group_alone_shows_its_commands(run: Run, group: tuple[str, ...]) -> None:
    alone, asked = run(*group), run(*group, "--help")
    assert (alone.code, alone.err) == (0, "")
    assert alone.out.strip() == asked.out.strip()
    assert all(name in alone.out for name in GROUPS[group])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_within_80_columns(run: Run, command: tuple[str, ...]) -> None:
    ended = run(*command, "--help")
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    assert f"Usage: cryptocast {' '.join(command)}" in ended.out
    for option in ("--config", "--json", "--log-level", "--log-format", "--debug"):
        assert option in ended.out


@pytest.mark.parametrize("command", ["fetch", "features", "train", "forecast", "backtest"])
def test_where_bars_matter_they_can_be_chosen(run: Run, command: str) -> None:
    said = run(command, "--help").out
    assert all(option in said for option in ("--source", "--vs", "--granularity", "--now"))
    assert "Examples" in said


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").out == f"cryptocast {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("bogus",), ("train", "--bogus"), ("fetch", "--hours", "x", "--bogus"), ("registry", "show")]
)
def test_what_is_no_command_line_ends_in_2_and_says_where_to_look(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "--help" in ended.err


def imported(folder: Path, *arguments: str) -> set[str]:
    """The top-level modules in memory when a command has ended."""
    program = (
        "import sys\n"
        "from cryptocast.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('|'.join(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=300
    )
    return set(done.stderr.splitlines()[-1].split("|"))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("train", "--help")], ids=" ".join)
def test_help_loads_nothing_that_computes(trained: Path, arguments: tuple[str, ...]) -> None:
    assert imported(trained, *arguments).isdisjoint(LEARNING + NUMBERS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("fetch", "bitcoin"),
        ("features", "--list"),
        ("features", "bitcoin"),
        ("data", "ls"),
        ("doctor", "--offline"),
        ("registry", "list"),
        ("registry", "show", "bitcoin/lightgbm"),
    ],
    ids=" ".join,
)
def test_what_fits_no_model_loads_none(own: Path, arguments: tuple[str, ...]) -> None:
    assert imported(own, *arguments).isdisjoint(LEARNING)
