"""What a training shows."""

import json
from pathlib import Path

from tests.cli.commands import Run


def test_a_training_ends_with_its_data_scores_versions_forecast_and_what_to_do_next(run: Run, own: Path) -> None:
    ended = run("train", "bitcoin", "--horizons", "1,7", "--verbose", folder=own)
    assert ended.code == 0, ended.err
    parts = [
        "Data: daily bars in USD",
        "intervals width better beats our view on dates",
        "At 1, 7 d; ?: not enough data.",
        "bitcoin, baseline: hold-out",
        "bitcoin, lightgbm: hold-out",
        "MAPE",
        "Versions",
        "bitcoin/lightgbm:3",
        "bitcoin: 8,710.1 USD",
        "Note: the daily bars of bitcoin from the sample end 2020-01-17, ",
        "days ago: horizons count from there, and all target dates have passed.",
        "░░░ 95 %",
        "Conclusion",
        "Intervals right?",
        "Width better than naive?",
        "Beats our baseline?",
        "View on direction? no.",
        "Served now: bitcoin/lightgbm:1 for bitcoin.",
        "Next: cryptocast registry promote bitcoin lightgbm",
        "done in",
    ]
    said = " ".join(ended.out.split())
    at = 0
    for part in parts:
        at = said.find(part, at)
        assert at >= 0, f"{part} does not stand where it should"
    assert max(map(len, ended.out.splitlines())) <= 80


def test_a_training_of_the_baseline_registers_nothing_and_one_that_is_not_due_says_so(run: Run, own: Path) -> None:
    baseline = run("train", "bitcoin", "--model", "baseline", folder=own)
    assert baseline.code == 0
    assert "The baseline needs no version" in " ".join(baseline.out.split())
    fresh = run("train", "bitcoin", "--if-older-than", "7d", folder=own)
    assert fresh.code == 0
    assert "bitcoin was left alone" in " ".join(fresh.out.split())
    assert len(json.loads(run("registry", "list", "--json", folder=own).out)["versions"]) == 2
