"""backtest and rerun as a user meets them: the page, the verdict on later screens, what is refused."""

import json
from pathlib import Path

import pytest

from cryptocast.errors import UsageError
from tests.cli.commands import Run
from tests.cli.test_documents import check

WALK = ("backtest", "bitcoin", "--walk-forward", "--from", "2019-03-01", "--model", "lightgbm", "--refit-every", "182")


def test_a_walk_leaves_a_page_a_picture_and_every_forecast(run: Run, own: Path) -> None:
    files = ("--report", "page.html", "--plot", "picture.png", "--predictions", "all.parquet")
    ended = run(*WALK, *files, folder=own)
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "lightgbm: cannot tell at" in said or "lightgbm: better" in said or "lightgbm: worse" in said
    assert "Trading on it at 12 bps a trade, filled at the next open; " in said
    for name in files[1::2]:
        assert f"Written: {name}." in ended.out
    page = (own / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "http" not in page.replace("http://www.w3.org", "").replace('http-equiv="', ""), "nothing is fetched"
    assert "<script" not in page
    assert (own / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_walk_found_stands_beside_the_forecast_and_the_version(run: Run, own: Path) -> None:
    before = json.loads(run("forecast", "bitcoin", "--json", folder=own).out)
    assert {h["evidence"] for h in before["forecasts"][0]["horizons"]} == {"hold-out"}
    assert "Not backtested: cryptocast backtest bitcoin" in run("registry", "show", "bitcoin/lightgbm", folder=own).out
    # The settings in the folder are those of the challenger; production has a recipe of its own.
    walked = json.loads(run(*WALK, "--json", folder=own).out)
    production = json.loads(run("forecast", "bitcoin", "--json", folder=own).out)["forecasts"][0]
    assert production["horizons"][0]["evidence"] == "hold-out"
    reference = ("--version", "bitcoin/lightgbm:2")
    after = json.loads(run("forecast", "bitcoin", *reference, "--json", folder=own).out)
    verdicts = {h["horizon"]: h["verdict"] for h in after["forecasts"][0]["horizons"]}
    scores = next(row for row in walked["rows"] if row["model"] == "lightgbm")["scores"]
    assert {h["evidence"] for h in after["forecasts"][0]["horizons"]} == {"walk-forward"}
    assert verdicts == {score["horizon"]: score["verdict"] for score in scores}
    shown = run("registry", "show", "bitcoin/lightgbm:2", folder=own).out
    assert "Walk-forward of its recipe, bitcoin, 2019-03-0" in shown


def test_the_same_strategy_looked_at_twice_is_one_trial_and_another_recipe_is_a_second(run: Run, own: Path) -> None:
    walk = ("backtest", "bitcoin", "--walk-forward", "--from", "2019-06-01", "--model", "baseline", "--json")
    trials = [json.loads(run(*walk, folder=own).out)["trading"]["trials"] for _ in range(2)]
    assert trials == [1, 1]
    settings = (own / "config.toml").read_text(encoding="utf-8")
    (own / "config.toml").write_text(settings.replace("[train]", "[train]\nmin_independent_blocks = 13"), "utf-8")
    assert json.loads(run(*walk, folder=own).out)["trading"]["trials"] == 2


def test_same_bar_execution_is_refused_unless_it_is_called_what_it_is(run: Run, own: Path) -> None:
    refused = run(*WALK, "--execution", "same-bar", folder=own)
    assert refused.code == UsageError.exit_code
    assert "nobody can trade" in refused.err
    assert "--untradable" in refused.err
    credited = run(*WALK, "--execution", "same-bar", "--untradable", folder=own)
    assert credited.code == 0
    assert "Same-bar execution" in credited.out


@pytest.mark.parametrize(("option", "file"), [("--report", "page.pdf"), ("--plot", "page.html")])
def test_a_file_of_another_kind_is_refused_before_long_work(run: Run, own: Path, option: str, file: str) -> None:
    ended = run(*WALK, option, file, folder=own)
    assert ended.code == UsageError.exit_code
    assert "does not say its format" in ended.err


def test_a_recorded_run_is_made_again_by_its_id_and_by_its_manifest(run: Run, own: Path) -> None:
    walk = ("backtest", "bitcoin", "--walk-forward", "--from", "2019-06-01", "--model", "baseline", "--json")
    found = json.loads(run(*walk, folder=own).out)["run"]
    by_id = run("rerun", found, folder=own)
    assert by_id.code == 0, by_id.err
    assert "identical" in by_id.out
    document = json.loads(run("rerun", f"data/runs/{found}/manifest.json", "--json", folder=own).out)
    assert document["same"] is True
    check("rerun", document)


def test_a_recorded_run_whose_forecasts_were_other_ones_ends_in_5(run: Run, own: Path) -> None:
    walk = ("backtest", "bitcoin", "--walk-forward", "--from", "2019-06-01", "--model", "baseline", "--json")
    found = json.loads(run(*walk, folder=own).out)["run"]
    result = own / "data" / "runs" / found / "result.json"
    recorded = json.loads(result.read_text(encoding="utf-8"))
    recorded["digests"]["baseline"] = "0" * 64
    result.write_text(json.dumps(recorded), encoding="utf-8")
    ended = run("rerun", found, folder=own)
    assert ended.code == 5
    assert "different" in ended.out


def test_a_run_that_is_not_there_is_named(run: Run, own: Path) -> None:
    ended = run("rerun", "0123456789abcdef", folder=own)
    assert ended.code == 3
    assert "There is no run at" in ended.err


def test_a_feature_that_knows_tomorrow_stops_the_backtest(run: Run, own: Path) -> None:
    (own / "mine.py").write_text(
        "import polars as pl\n"
        "from cryptocast.features import Feature\n"
        "FEATURES = (Feature('tomorrow', 'price', (pl.col('close').shift(-1) / pl.col('close')).log(),"
        " warmup=0, memory=0, source='mine', unit='log'),)\n",
        encoding="utf-8",
    )
    settings = (own / "config.toml").read_text(encoding="utf-8").replace("audit = false", "audit = true")
    (own / "config.toml").write_text(settings + '\n[features]\nfile = "mine.py"\n', encoding="utf-8")
    ended = run(*WALK, folder=own)
    assert ended.code == 5
    said = " ".join(ended.err.split())
    assert "The feature tomorrow of" in said
    assert "looks into the future" in said
