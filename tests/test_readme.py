"""What the README shows, works."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_library_snippet_runs_in_an_empty_folder(tmp_path: Path) -> None:
    (snippet,) = blocks("python")
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


def test_every_command_that_is_named_exists() -> None:
    named = set(
        re.findall(r"cryptocast ([a-z-]+)", "\n".join(re.findall(r"`[^`\n]+`|```sh.*?```", README.read_text())))
    )
    help_text = subprocess.run(
        [sys.executable, "-m", "cryptocast", "--help"], capture_output=True, text=True, timeout=300
    ).stdout
    known = set(re.findall(r"^│ ([a-z-]+) ", help_text, re.MULTILINE))
    assert {"train", "forecast", "backtest", "serve", "registry", "doctor"} <= named
    assert named <= known


def test_the_answer_shown_is_of_the_type_that_is_served() -> None:
    from cryptocast.workflows.reports import ForecastDocument

    (answer,) = blocks("json")
    document = msgspec.json.decode(answer, type=ForecastDocument)
    assert json.loads(msgspec.json.encode(document)) == json.loads(answer)


ACCURACY = README.parent / "docs" / "accuracy.md"


def scores(path: Path) -> dict[str, list[float]]:
    """The skills of our models by day: each horizon, then pooled."""
    text = path.read_text(encoding="utf-8").partition("Hourly bars")[0]
    rows = re.findall(r"^\| `(\w+)`[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\| \**(-?[\d.]+)", text, re.MULTILINE)
    return {name: [float(value) for value in values] for name, *values in rows}


def test_the_scores_shown_are_of_one_benchmark_run() -> None:
    whole, some = scores(ACCURACY), scores(README)
    assert set(whole) == {"lightgbm", "ml_ensemble", "lstm", "baseline", "rw_gaussian"}
    assert set(some) == {"lightgbm", "ml_ensemble", "baseline"}
    assert some.items() <= whole.items()
    for name, (*horizons, pooled) in whole.items():
        assert pooled == pytest.approx(sum(horizons) / 4, abs=0.011), name
