"""What the README and the docs show, works."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
DOCS = README.parent / "docs"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_library_snippet_runs_in_an_empty_folder(tmp_path: Path) -> None:
    (snippet,) = blocks(DOCS / "api.md", "python")
    shown = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CRYPTOCAST_TRAIN__MODELS": "lightgbm"},  # the other kinds take longer
    )
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert len(lines) == 8
    assert re.match(r"1 -?0\.\d+( (yes|no|not_enough_data)){4}$", lines[0])
    assert lines[4].startswith("2020-01-18 00:00:00+00:00 8710.15")


def commands(page: Path) -> set[str]:
    """The commands that a page names."""
    shown = re.findall(r"```sh.*?```|`[^`\n]+`", page.read_text(encoding="utf-8"), re.DOTALL)
    return set(re.findall(r"cryptocast ([a-z][a-z-]+)", "\n".join(shown)))


def test_every_command_that_is_named_exists_and_every_command_is_described() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "cryptocast", "--help"], capture_output=True, text=True, timeout=300
    ).stdout
    known = set(re.findall(r"^│ ([a-z][a-z-]*) ", help_text, re.MULTILINE))
    assert commands(DOCS / "commands.md") == known
    for page in (README, *DOCS.glob("*.md")):
        assert commands(page) <= known, page


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (README.parent / link).exists(), link


def test_the_answer_shown_is_of_the_type_that_is_served() -> None:
    from cryptocast.workflows.reports import ForecastDocument

    (answer,) = blocks(DOCS / "serving.md", "json")
    document = msgspec.json.decode(answer, type=ForecastDocument)
    assert json.loads(msgspec.json.encode(document)) == json.loads(answer)


def scores(path: Path) -> dict[str, list[float]]:
    """The skills of our models by day: each horizon, then pooled."""
    text = path.read_text(encoding="utf-8").partition("Hourly bars")[0]
    rows = re.findall(r"^\| `(\w+)`[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\| \**(-?[\d.]+)", text, re.MULTILINE)
    return {name: [float(value) for value in values] for name, *values in rows}


def test_the_scores_shown_are_of_one_benchmark_run() -> None:
    whole = scores(DOCS / "accuracy.md")
    assert set(whole) == {"lightgbm", "ml_ensemble", "lstm", "baseline", "rw_gaussian"}
    for name, (*horizons, pooled) in whole.items():
        assert pooled == pytest.approx(sum(horizons) / 4, abs=0.011), name
    (told,) = re.findall(r"error of the whole.*?other\s+tools", README.read_text(encoding="utf-8"), re.DOTALL)
    assert [float(value) for value in re.findall(r"([\d.]+) %", told)] == [whole["lightgbm"][-1], whole["baseline"][-1]]
