"""The page that the command writes, of a real run: drawn in a browser, of one mind with the JSON and the terminal."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.evaluation.report.browser import BROWSER, Tab
from tests.evaluation.report.test_in_browser import CONTRAST, MOST_PIXELS, OPEN, SHAPES

COMMAND = (
    *("backtest", "bitcoin", "litecoin", "--source", "sample", "--walk-forward", "--horizons", "1,7"),
    *("--model", "baseline,lightgbm", "--from", "2019-03-01", "--refit-every", "182", "--cpcv"),
)
TABLE = """
[...document.querySelectorAll('table')].filter(t => t.ariaLabel.startsWith(%s))
.map(t => [...t.rows].map(r => [...r.cells].map(c => c.textContent.trim())))
"""


@dataclass(frozen=True)
class Written:
    """What one run left behind."""

    page: Path
    report: dict[str, Any]
    told: str
    predictions: pl.DataFrame


def run(folder: Path, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cryptocast", *COMMAND, *more],
        cwd=folder,
        env={**os.environ, "CRYPTOCAST_LIGHTGBM__ROUNDS": "20", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("run")
    report = json.loads(run(folder, "--json", "--report", "report.html", "--predictions", "p.parquet"))
    told = run(folder, "--verbose")  # the forecasts are kept: this only counts again
    return Written(folder / "report.html", report, told, pl.read_parquet(folder / "p.parquet"))


def pooled(written: Written) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in written.report["rows"]:
        if row["coin"] is None:
            yield from ((row["model"], score) for score in row["scores"])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: install Debian's package chromium")
@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_the_page_of_a_real_run_is_drawn_silent_and_alone(
    browser: Tab, written: Written, width: int, scheme: str
) -> None:
    browser.events.clear()
    browser.open(written.page, width=width, scheme=scheme)
    if width == 1400:
        assert browser.value("document.documentElement.scrollHeight") <= MOST_PIXELS
    browser.value(OPEN)
    drawn = browser.value(SHAPES)
    assert len(drawn) >= 10
    assert all(shapes > 3 and sized > 3 and wide > 200 and high > 80 for shapes, sized, wide, high in drawn), drawn
    assert browser.complaints() == []
    assert set(browser.requests()) == {written.page.as_uri()}
    assert browser.value("document.documentElement.scrollWidth") <= width
    texts, labels = browser.value(CONTRAST)
    assert min(texts, labels) >= 4.5
    sections = browser.value("[...document.querySelectorAll('section h2')].map(h => h.textContent)")
    for wanted in ("Answers", "Calibration", "Strategies after costs", "Folds", "Feature importance", "Conventions"):
        assert wanted in sections, sections


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: install Debian's package chromium")
def test_losses_on_the_page_give_the_skills_that_stand_beside_them(browser: Tab, written: Written) -> None:
    """A table of losses from which a reader would work out another skill than the page states is a false one."""
    browser.open(written.page, width=1400)
    losses: dict[tuple[int, str], float] = {}
    horizon = 0
    for row in next(t for t in browser.value(TABLE % json.dumps("Mean scores")) if "CRPS" in t[0]):
        if found := re.match(r"(\d+) days? ahead", row[0]):
            horizon = int(found[1])
        elif horizon:
            losses[horizon, row[0]] = float(row[2])
    for model, score in pooled(written):
        for reference, skill in score["skill"].items():
            shown = 1.0 - losses[score["horizon"], model] / losses[score["horizon"], reference]
            assert shown == pytest.approx(skill, abs=0.006), (model, reference, "three digits are shown")


def test_the_page_names_a_command_that_works(written: Written) -> None:
    (said,) = re.findall(r"cryptocast rerun ([0-9a-f]+)", written.page.read_text(encoding="utf-8"))
    assert said == written.report["run"]


def test_the_terminal_the_json_and_the_predictions_are_of_one_mind(written: Written) -> None:
    for model, score in pooled(written):
        part = written.told.split(f"\n{model}, walk-forward", 1)[1].split("\n\n", 1)[0]
        line = next(one for one in part.splitlines() if one.startswith(f"{score['horizon']} d "))
        for reference in score["skill"].values():
            assert f"{100 * reference:+.1f}" in line, line
        rows = written.predictions.filter(
            (pl.col("model") == model) & (pl.col("horizon") == score["horizon"]) & (pl.col("level") == 0.5)
        )
        assert rows.height >= score["n"]
    for row in written.report["trading"]["rows"]:
        if row["kind"] == "strategy":
            line = next(one for one in written.told.splitlines() if one.startswith(row["name"]))
            assert f"{row['sharpe']:+.2f}" in line
