"""`--json`: one document on stdout, with the names that others rely on.

The names stand in golden/, one file a document. Run with GOLDEN_FILES=write to write them anew; what changes there
changes for everybody who reads the documents.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Run

GOLDEN = Path(__file__).parent / "golden"
# Of the schemas that have changed since the first release.
SECOND, THIRD = "best history promotion", "ab-report backtest comparison forecast rerun train version versions"
NUMBERS = {**dict.fromkeys(SECOND.split(), 2), **dict.fromkeys(THIRD.split(), 3)}
# Their keys are data: models, references, features, settings, libraries.
BY_NAME = {"crps", "skill", "p_better", "values", "families", "settings", "libraries", "evidence", "state", "dropped"}

COMMANDS = {
    "backtest": (
        *("backtest", "bitcoin", "ethereum", "--model", "baseline", "--walk-forward", "--from", "2019-06-01"),
        *("--cpcv", "--placebo", "1"),
    ),
    "ab-report": ("registry", "ab", "start", "bitcoin", "lightgbm", "--challenger", "2"),
    "best": ("registry", "best", "bitcoin"),
    "card": ("registry", "card", "bitcoin/lightgbm"),
    "catalogue": ("features", "--list"),
    "comparison": ("registry", "compare", "bitcoin/lightgbm:2", "bitcoin/lightgbm@production"),
    "doctor": ("doctor", "--offline"),
    "export": ("registry", "export", "bitcoin/lightgbm", "bitcoin.zip"),
    "features": ("features", "bitcoin"),
    "fetch": ("fetch", "bitcoin", "ethereum"),
    "forecast": ("forecast", "bitcoin", "dogecoin"),
    "gc": ("registry", "gc", "--keep", "1", "--dry-run"),
    "history": ("registry", "history", "--at", "2100-01-01"),
    "importance": ("features", "--importance"),
    "promotion": ("registry", "promote", "--dry-run"),
    "removal": ("data", "rm", "bitcoin", "--dry-run"),
    "rollback": ("registry", "rollback", "bitcoin", "lightgbm", "--to", "2"),
    "score": ("registry", "score", "bitcoin"),
    "series": ("data", "show", "bitcoin"),
    "series-export": ("data", "export", "bitcoin", "--out", "bitcoin.csv"),
    "store": ("data", "ls"),
    "store-check": ("data", "verify"),
    "verify": ("registry", "verify"),
    "version": ("registry", "show", "bitcoin/lightgbm"),
    "versions": ("registry", "list"),
}


def names(value: Any, path: str = "") -> Iterator[str]:
    """The dotted names of a document; all entries of a list count as one."""
    if isinstance(value, dict):
        yield from [path] if path else []
        if path.rpartition(".")[2] not in BY_NAME:
            for key, inner in value.items():
                yield from names(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield path
        for inner in value:
            if isinstance(inner, dict):
                yield from (name for name in names(inner, path) if name != path)
    else:
        yield path


def check(schema: str, document: dict[str, Any]) -> None:
    assert document["schema"] == f"cryptocast.{schema}/{NUMBERS.get(schema, 1)}"
    found = sorted(set(names(document)))
    file = GOLDEN / f"{schema}.txt"
    if os.environ.get("GOLDEN_FILES") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(found) + "\n", encoding="utf-8")
    assert found == file.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("schema", COMMANDS)
def test_a_document_has_the_names_that_others_rely_on(run: Run, own: Path, schema: str) -> None:
    ended = run(*COMMANDS[schema], "--json", folder=own)
    assert ended.code == 0, ended.err
    assert ended.out.endswith("}\n")
    assert ended.out.count("\n") == 1
    check(schema, json.loads(ended.out))


def test_the_document_of_an_import_has_them_too(run: Run, own: Path) -> None:
    assert run("registry", "export", "bitcoin/lightgbm", "bitcoin.zip", folder=own).code == 0
    again = run("registry", "export", "bitcoin/lightgbm", "bitcoin.zip", folder=own)
    assert (again.code, "--overwrite" in again.err) == (2, True)
    ended = run("registry", "import", "bitcoin.zip", "--json", folder=own)
    assert ended.code == 0, ended.err
    check("import", json.loads(ended.out))


def test_the_document_of_the_forecasts_of_all_coins_has_them_too(run: Run, own: Path) -> None:
    newborn = "date,open,high,low,close\n2020-01-16,1,1,1,1\n2020-01-17,1,1,1,1\n"
    (own / "newborn.csv").write_text(newborn, encoding="utf-8")
    assert run("fetch", "newborn", "--file", "newborn.csv", folder=own).code == 0
    assert run("data", "export", "bitcoin", "--out", "bitcoin.csv", folder=own).code == 0
    assert run("fetch", "bitcoin", "--file", "bitcoin.csv", folder=own).code == 0
    ended = run("forecast", "--all", "--source", "file", "--out", "all", "--json", folder=own)
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    check("forecast-all", document)
    assert (document["coins"], [error["coin"] for error in document["errors"]]) == (1, ["newborn"])


def test_the_document_of_a_training_has_them_too(trained: Path) -> None:
    document = json.loads((trained / "train-12.json").read_text(encoding="utf-8"))
    check("train", document)
    became = {model["kind"]: (model["decision"], model["version"]) for model in document["models"]}
    assert became["baseline"] == ("no_version", None)
    assert became["lightgbm"] in (("promoted", 1), ("refused", 1), ("challenger", 2))


def test_the_document_of_an_audit_has_them_too(run: Run, trained: Path) -> None:
    ended = run("features", "bitcoin", "--audit", "--json", folder=trained)
    assert ended.code == 0, ended.err
    check("audit", json.loads(ended.out))


@pytest.mark.parametrize("arguments", [("--json", "data", "ls"), ("data", "--json", "ls"), ("data", "ls", "--json")])
def test_json_may_stand_anywhere(run: Run, trained: Path, arguments: tuple[str, ...]) -> None:
    assert json.loads(run(*arguments, folder=trained).out)["series"]


def test_of_an_option_that_stands_twice_the_later_counts(run: Run, own: Path) -> None:
    (own / "other.toml").write_text('[store]\npath = "elsewhere"\n', encoding="utf-8")
    later = run("--config", "config.toml", "data", "ls", "--config", "other.toml", "--json", folder=own)
    assert json.loads(later.out)["path"].endswith("elsewhere")
    earlier = run("--config", "other.toml", "data", "ls", "--json", folder=own)
    assert json.loads(earlier.out)["path"].endswith("elsewhere")


def test_the_forecast_that_is_written_is_the_one_that_is_printed(run: Run, trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "forecast.json"
    ended = run("forecast", "bitcoin", "--levels", "60,95", "--out", str(file), "--json", folder=trained)
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(ended.out)
    (forecast,) = json.loads(ended.out)["forecasts"]
    assert [i["level"] for i in forecast["horizons"][0]["intervals"]] == [60, 95]
