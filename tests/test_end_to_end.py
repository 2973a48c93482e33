"""The four commands of the README, one after the other, in an empty folder, without a network."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

# Nothing listens there and nothing resolves: a machine without a network, wherever the test runs.
# One kind of model is trained: the others have tests of their own, and `.ci/run` trains all of them.
OFFLINE = {
    "CRYPTOCAST_COINGECKO__BASE_URL": "http://127.0.0.1:9/api/v3",
    "CRYPTOCAST_COINGECKO__MAX_RETRIES": "0",
    "CRYPTOCAST_TRAIN__MODELS": "lightgbm",
}


def run(folder: Path, *arguments: str, expect: int = 0) -> str:
    """Standard output of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "cryptocast", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **OFFLINE},
    )
    assert done.returncode == expect, (arguments, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout


ANSWERS = {"yes", "no", "not_enough_data"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which bitcoin was trained."""
    empty = tmp_path_factory.mktemp("empty")
    said = run(empty, "train", "bitcoin")
    assert "bitcoin/lightgbm:1" in said
    assert "Served now: bitcoin/lightgbm:1 for bitcoin." in said
    assert len(said.splitlines()) <= 45
    assert re.search(r"sample.*2020-01-17", said, re.DOTALL), "it says that it rests on the sample, and to which date"
    assert "\x1b" not in said, "piped output has no colour codes"
    return empty


def test_a_forecast_rests_on_the_version_that_was_trained(folder: Path) -> None:
    (made,) = _forecast(folder)["forecasts"]
    assert (made["model_used"], made["version"], made["fallback_reason"]) == ("lightgbm", 1, None)
    assert made["source"] == "sample"
    assert made["as_of"] == "2020-01-17T00:00:00Z"
    assert [step["horizon"] for step in made["horizons"]] == [1, 7, 14, 30]
    for step in made["horizons"]:
        assert step["median"] == pytest.approx(made["price"])
        widths = [interval["upper"] - interval["lower"] for interval in step["intervals"]]
        assert widths == sorted(widths)
        assert (step["evidence"], step["unanswered"], len(step["answers"])) == ("hold-out", None, 4)


def test_training_again_with_the_same_seed_gives_the_same_forecast_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    run(tmp_path, "train", "bitcoin", "--json")
    first, second = (_forecast(where)["forecasts"][0]["horizons"] for where in (folder, tmp_path))
    assert first == second


def test_the_walk_forward_of_a_new_user_gives_answers(folder: Path) -> None:
    report = json.loads(run(folder, "backtest", "--walk-forward", "--json"))
    assert report["mode"] == "walk-forward"
    assert len(report["folds"]) > 10
    pooled = {row["model"]: row["scores"] for row in report["rows"] if row["coin"] is None}
    assert set(pooled) == {"baseline", "lightgbm", "mix"}
    for scores in pooled.values():
        assert [score["horizon"] for score in scores] == [1, 7, 14, 30]
        assert all(one["answer"] in ANSWERS for score in scores for one in score["answers"])


def test_promotion_without_arguments_says_what_there_is_to_do_and_leaves_with_0(folder: Path) -> None:
    report = json.loads(run(folder, "registry", "promote", "--json"))
    assert [row["action"] for row in report["rows"]] == ["nothing"]
    assert "nothing to promote" in run(folder, "registry", "promote").lower()


def test_a_forecast_of_the_past_never_rests_on_what_was_learned_later(folder: Path) -> None:
    (made,) = json.loads(run(folder, "forecast", "bitcoin", "--now", "2017-06-01", "--json"))["forecasts"]
    assert made["as_of"] == "2017-06-01T00:00:00Z"
    assert made["model_used"] == "baseline"
    assert made["fallback_reason"]["code"] == "later_data"
    assert "learned from bars up to 2020-01-17" in made["fallback_reason"]["detail"]
    assert all(step["unanswered"] == "not_backtested" for step in made["horizons"])
    said = run(folder, "forecast", "bitcoin", "--now", "2017-06-01", "--version", "bitcoin/lightgbm:1", expect=5)
    assert said == ""


def test_the_forecast_of_a_coin_does_not_depend_on_what_else_is_asked_for(folder: Path) -> None:
    together = json.loads(run(folder, "forecast", "litecoin", "bitcoin", "ethereum", "--json"))["forecasts"]
    assert [made["coin"] for made in together] == ["litecoin", "bitcoin", "ethereum"]
    (alone,) = _forecast(folder)["forecasts"]
    assert together[1] == alone


def test_horizons_in_any_order_are_answered_in_order(folder: Path) -> None:
    (made,) = json.loads(run(folder, "forecast", "bitcoin", "--horizons", "7,1", "--json"))["forecasts"]
    assert [step["horizon"] for step in made["horizons"]] == [1, 7]


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A server over the trained folder, as `cryptocast serve` starts it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "cryptocast", "serve", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **OFFLINE, "PYTHONUNBUFFERED": "1"},
    )
    assert server.stdout is not None
    found = None
    for line in server.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found:
            break
    assert found is not None, "the server said no address"
    yield found.group()
    server.send_signal(signal.SIGTERM)
    server.stdout.read()
    assert server.wait(timeout=120) == 0


def test_the_server_answers_what_the_command_says(folder: Path, address: str) -> None:
    assert httpx.get(f"{address}/health", timeout=60).status_code == 200
    served = httpx.get(f"{address}/forecasts?ids=bitcoin,no-such-coin", timeout=60).json()
    (over_http,), (from_command,) = served["forecasts"], _forecast(folder)["forecasts"]
    assert [error["coin"] for error in served["errors"]] == ["no-such-coin"]
    assert over_http.keys() == from_command.keys()
    for one, other in zip(over_http["horizons"], from_command["horizons"], strict=True):
        assert one["target_time"] == other["target_time"]
        assert one["median"] == pytest.approx(other["median"], rel=1e-7)


def _forecast(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(folder, "forecast", "bitcoin", "--json"))
    assert document["schema"] == "cryptocast.forecast/3"
    return document
