"""What the catalogue, the latest rows, the audit and the importance show."""

from pathlib import Path

import pytest

from cryptocast.cli.screens.features import _helps
from tests.cli.commands import Run, check_fit


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words",
    [
        "features",
        "features --list",
        "features --list --family volatility",
        "features --importance",
    ],
)
def test_it_fits_and_cuts_nothing(run: Run, own: Path, words: str, columns: int) -> None:
    check_fit(run(*words.split(), folder=own, columns=columns), columns)


@pytest.mark.parametrize("columns", [80, 140])
def test_an_ablation_fits_and_says_whether_the_feature_helps(run: Run, own: Path, columns: int) -> None:
    ended = run("features", "bitcoin", "--ablate", "vol_7", folder=own, columns=columns)
    check_fit(ended, columns)
    assert "Does vol_7 help lightgbm?" in ended.out


def test_the_audit_fits_and_says_that_nothing_uses_the_future(run: Run, own: Path) -> None:
    ended = run("features", "bitcoin", "--audit", folder=own)
    check_fit(ended, 80)
    assert "No feature, label or fit uses the future" in ended.out


def test_whether_a_feature_helps_is_said_in_the_words_of_every_other_answer() -> None:
    assert [_helps(word) for word in ("yes", "no", "not_enough_data")] == [
        "Yes.",
        "No: the forecasts are worse with it.",
        "Not enough data.",
    ]
