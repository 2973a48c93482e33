"""tune as a user meets it: the screen, the document, what the next commands say, what is refused."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import Run
from tests.cli.test_documents import check

TUNE = ("tune", "bitcoin", "--trials", "2")


def test_a_search_shows_the_best_beside_the_defaults_and_says_whether_it_is_used(run: Run, own: Path) -> None:
    ended = run(*TUNE, folder=own)
    assert ended.code == 0, ended.err
    assert max(map(len, ended.out.splitlines())) <= 80
    said = " ".join(ended.out.split())
    assert "lightgbm: the best of 2 trials, 4 folds, " in said
    assert "1 (the defaults)" in said
    assert "num_leaves" in said
    assert "lightgbm: the defaults stay" in said or "lightgbm: taken over: " in said
    assert "to continue, run it again with more --trials" in said
    again = run(*TUNE, "--json", folder=own)
    assert again.code == 0, again.err
    document = json.loads(again.out)
    check("tune", document)
    (model,) = document["models"]
    assert model["earlier_trials"] == 2
    assert json.loads(Path(model["file"]).read_text(encoding="utf-8"))["settings"] == (
        model["best"]["settings"] if model["adopted"] else {}
    )


def test_the_command_explains_itself_within_80_columns(run: Run) -> None:
    ended = run("tune", "--help")
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 80
    for option in ("--trials", "--timeout", "--storage", "--jobs", "--engine", "--address", "--model", "--source"):
        assert option in ended.out


def test_a_training_may_tune_first_and_may_leave_it_out(run: Run, own: Path) -> None:
    ended = run("train", "bitcoin", "--tune", "1", folder=own)
    assert ended.code == 0, ended.err
    assert "tuned lightgbm, best of 1: the defaults stay" in " ".join(ended.out.split())
    (file,) = (own / "data" / "tuned").rglob("lightgbm.json")
    found = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**found, "settings": {"num_leaves": 7}}), encoding="utf-8")
    used = json.loads(run("train", "bitcoin", "--json", folder=own).out)
    assert any(note.startswith("lightgbm is fitted with what tune found (num_leaves 7)") for note in used["notes"])
    left = json.loads(run("train", "bitcoin", "--no-tuned", "--json", folder=own).out)
    assert not any("tune" in note for note in left["notes"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--storage", "bogus"), 2, "is no address of a storage"),
        (("--storage", "sqlite:////no/such/folder/x.db"), 3, "unable to open database file"),
        (("--timeout", "soon"), 2, "--timeout takes a number with a unit"),
        (("--now", "2015-03-01"), 3, "too little to tune on"),
        (("--engine", "dask"), 2, "--engine dask needs the scheduler"),
        (("dogecoin", "--source", "sample"), None, None),
        (("--model", "ml_ensemble"), 2, "--model"),
    ],
)
def test_what_cannot_be_tuned_ends_in_one_line(
    run: Run, own: Path, arguments: tuple[str, ...], code: int | None, said: str | None
) -> None:
    ended = run("tune", "bitcoin", "--trials", "1", *arguments, folder=own)
    if code is None:  # one coin that cannot be had leaves the other
        assert ended.code == 0
        assert "dogecoin" in ended.out
        return
    assert (ended.code, ended.out) == (code, "")
    assert said is not None
    assert said in " ".join(ended.err.split())
