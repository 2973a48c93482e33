"""backtest and rerun as a user meets them: the page, the answers on later screens, what is refused."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from cryptocast.errors import UsageError
from tests.cli.commands import Run, check_fit
from tests.cli.test_documents import check

WALK = ("backtest", "bitcoin", "--walk-forward", "--from", "2019-03-01", "--model", "lightgbm", "--refit-every", "182")


def test_a_walk_leaves_a_page_a_picture_and_every_forecast(run: Run, own: Path) -> None:
    files = ("--report", "page.html", "--plot", "picture.png", "--predictions", "all.parquet")
    ended = run(*WALK, *files, folder=own)
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "bitcoin: walk-forward 2019-03-" in said
    assert re.search(r"Use (lightgbm|baseline) for how far the price may move, not which way\.", said)
    assert "Trading on it at 12 bps a trade, filled at the next open; " in said
    for name in files[1::2]:
        assert f"Written: {name}." in ended.out
    page = (own / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "http" not in page.replace("http://www.w3.org", "").replace('http-equiv="', ""), "nothing is fetched"
    assert page.count("<script>") == 1  # its own, see tests/evaluation/report
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
    answers = {h["horizon"]: h["answers"] for h in after["forecasts"][0]["horizons"]}
    scores = next(row for row in walked["rows"] if row["model"] == "lightgbm")["scores"]
    assert {h["evidence"] for h in after["forecasts"][0]["horizons"]} == {"walk-forward"}
    assert answers == {score["horizon"]: score["answers"] for score in scores}
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
    credited = run(*WALK, "--execution", "same-bar", "--untradable", "--verbose", folder=own)
    assert credited.code == 0
    assert "Same-bar execution" in credited.out


@pytest.mark.parametrize(("option", "file"), [("--report", "page.pdf"), ("--plot", "page.gif")])
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


def test_sample_paths_are_written_and_come_again_with_their_seed(run: Run, own: Path) -> None:
    command = ("forecast", "bitcoin", "ethereum", "--paths", "100", "--horizons", "7", "--out")
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        ended = run(*command, f"{name}.parquet", "--seed", seed, folder=own)
        assert ended.code == 0, ended.err
        assert f"Written to {name}.parquet." in ended.out
    one, again, other = (pl.read_parquet(own / f"{name}.parquet") for name in "abc")
    assert one.columns == ["coin", "path", "bar", "target_time", "price"]
    assert one.height == 2 * 100 * 7
    assert one.equals(again)
    assert not one.equals(other)


def test_a_touch_stands_in_the_document_and_in_the_table(run: Run, own: Path) -> None:
    command = ("forecast", "bitcoin", "--touch", "9000", "--touch-on", "close", "--out", "f.csv", "--json")
    (made,) = json.loads(run(*command, folder=own).out)["forecasts"]
    assert made["touch"] == {"price": 9000.0, "on": "close", "paths": 1000, "seed": 7}
    shares = [row["touch"] for row in made["horizons"]]
    assert 0.0 < shares[0] < shares[-1] < 1.0
    assert pl.read_csv(own / "f.csv")["touch"].to_list() == pytest.approx(shares)
    risk = json.loads(run("forecast", "bitcoin", "--position", "-2", "--json", folder=own).out)["risk"]
    assert risk["amounts"] == {"bitcoin": -2.0}
    assert [(row["horizon"], row["level"]) for row in risk["horizons"]] == [(1, 95), (1, 99), (7, 95), (7, 99)]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("bitcoin --paths 200", "--paths requires --out, --touch or --position"),
        ("bitcoin --paths 5 --touch 9000", "--paths takes a number from 100 to 100,000"),
        ("bitcoin --paths 100000 --touch 9000 --horizons 200", "at most 10,000,000 are drawn at once"),
        ("bitcoin --touch -1", "--touch takes a price above zero"),
        ("bitcoin ethereum --touch 9000", "--touch takes a price of one coin; 2 are named"),
        ("bitcoin ethereum --position 1", "--position takes an amount of each coin: 2, not 1"),
        ("bitcoin dogecoin --position 1,1", "--position requires a forecast of each coin"),
        ("bitcoin --paths 200 --out f.json", "end it in .csv or .parquet"),
    ],
)
def test_paths_that_make_no_sense_are_refused(run: Run, own: Path, words: str, why: str) -> None:
    ended = run("forecast", *words.split(), "--model", "baseline", folder=own)
    assert ended.code == UsageError.exit_code
    assert why in " ".join(ended.err.split())


def test_live_forecasts_are_shown_with_what_came(run: Run, own: Path) -> None:
    assert run("forecast", "bitcoin", "--history", folder=own).code == 3
    for day in ("2019-06-01", "2019-06-10"):
        assert run("registry", "score", "bitcoin", "--now", day, folder=own).code == 0
    for columns in (80, 140):
        check_fit(run("forecast", "bitcoin", "--history", folder=own, columns=columns), columns)
    ended = run("forecast", "bitcoin", "--history", "--model", "baseline", "--json", "--out", "h.csv", folder=own)
    document = json.loads(ended.out)
    check("forecast-history", document)
    states = {(row["horizon"], row["outcome"] is None) for row in document["forecasts"]}
    assert states == {(1, False), (7, False), (1, True), (7, True)}
    assert len((own / "h.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(document["forecasts"])


@pytest.mark.parametrize("words", ["--now 2019-06-01", "--as-of 2019-06-01", "--paths 10 --out p.csv", "--out h.json"])
def test_a_history_takes_no_other_time_and_no_paths(run: Run, own: Path, words: str) -> None:
    assert run("forecast", "bitcoin", "--history", *words.split(), folder=own).code == 2


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_a_forecast_is_drawn_into_a_file_that_the_screen_names(
    run: Run, trained: Path, tmp_path: Path, suffix: str
) -> None:
    file, table = tmp_path / f"fan{suffix}", tmp_path / "f.csv"
    ended = run("forecast", "bitcoin", "--plot", str(file), "--out", str(table), "--layout", "nixtla", folder=trained)
    assert ended.code == 0, ended.err
    assert file.stat().st_size > 3000
    assert f"Writtento{table},{file}." in "".join(ended.out.split())
    assert table.read_text().startswith("unique_id,ds,auto,auto-lo-80,auto-hi-80,auto-lo-95,auto-hi-95\nbitcoin,2020-")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--plot", "fan.gif"), "end it in .png, .svg, .html"),
        (("--layout", "nixtla"), "--layout is of the table"),
        (("--layout", "nixtla", "--out", "f.json"), "layout nixtla"),
        (("--layout", "nixtla", "--out", "p.csv", "--paths", "100"), "--layout is of the table"),
        (("--layout", "nixtla", "--out", "h.csv", "--history"), "--layout is of the table"),
        (("--plot", "fan.png", "--history"), "--plot draws the forecast of now"),
    ],
)
def test_a_picture_or_a_layout_of_nothing_is_refused(
    run: Run, trained: Path, options: tuple[str, ...], words: str
) -> None:
    ended = run("forecast", "bitcoin", *options, folder=trained)
    assert ended.code == UsageError.exit_code
    assert words in " ".join(ended.err.split())


def test_predictions_have_the_layout_that_is_asked_for(run: Run, own: Path) -> None:
    assert run("backtest", "--layout", "nixtla", folder=own).code == UsageError.exit_code
    ended = run(*WALK, "--predictions", "p.csv", "--layout", "nixtla", "--plot", "p.svg", folder=own)
    assert ended.code == 0, ended.err
    assert (own / "p.csv").read_text().startswith("unique_id,cutoff,ds,y,baseline,baseline-lo-80,")
    assert (own / "p.svg").read_text().startswith("<svg")
