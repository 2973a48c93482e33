"""config init and show: a file to begin with, and what is in force."""

import json
from pathlib import Path

import pytest

from cryptocast.config import SECRET_NAMES, Config, load_config
from cryptocast.config_text import config_text
from tests.cli.commands import Run, check_fit
from tests.cli.test_documents import check


def rows(out: str) -> dict[str, tuple[object, str]]:
    return {f"{row['section']}.{row['key']}": (row["value"], row["origin"]) for row in json.loads(out)["settings"]}


def test_a_file_is_written_that_changes_nothing(run: Run, tmp_path: Path) -> None:
    ended = run("config", "init", "--json")
    check("settings-file", json.loads(ended.out))
    assert (tmp_path / "config.toml").read_text(encoding="utf-8") == config_text()
    assert load_config(tmp_path / "config.toml", environ={}).serve == Config().serve


def test_a_file_that_is_there_is_replaced_only_by_force(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[nonsense", encoding="utf-8")
    refused = run("config", "init", "--config", "own.toml")
    assert (refused.code, "--force" in refused.err) == (2, True)
    assert own.read_text(encoding="utf-8") == "[nonsense"
    assert run("config", "init", "--config", "own.toml", "--force").code == 0
    assert own.read_text(encoding="utf-8") == config_text()
    assert not (tmp_path / "config.toml").exists()


def test_where_no_file_can_be_written_that_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    ended = run("config", "init", "--config", "file/config.toml")
    assert (ended.code, "cannot be written" in ended.err) == (3, True)


def test_each_setting_says_where_it_comes_from(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text(
        '[data]\ncoins = ["solana"]\nvs = "eur"\n[series.mood]\nfile = "mood.csv"\nknown_after = "1d"\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("CRYPTOCAST_DATA__VS", "gbp")
    ended = run("config", "show", "--json")
    check("settings", json.loads(ended.out))
    shown = rows(ended.out)
    assert shown["data.coins"] == (["solana"], "file")
    assert shown["data.vs"] == ("gbp", "environment")
    assert shown["data.granularity"] == ("daily", "default")
    assert shown["store.path"] == (str(tmp_path / "data"), "default")
    assert shown["series.mood.known_after"] == ("1d", "file")
    assert shown["series.mood.index"] == ("BTC", "default")
    assert json.loads(ended.out)["file"] == str(tmp_path / "config.toml")


def test_what_is_shown_is_toml_of_the_same_settings(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[data]\ncoins = ["solana"]\n', encoding="utf-8")
    check_fit(run("config", "show"), 80)
    ended = run("config", "show", columns=400)
    assert 'coins = ["solana"]  # file' in ended.out.splitlines()
    (tmp_path / "again.toml").write_text(ended.out, encoding="utf-8")
    assert load_config(tmp_path / "again.toml", environ={}) == load_config(tmp_path / "config.toml", environ={})


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_no_secret_and_no_login_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setenv("CRYPTOCAST_COINGECKO__BASE_URL", "https://ann:hunter2@example.org/api")
    for name in SECRET_NAMES:
        monkeypatch.setenv(name, "hunter2")
    out = run("config", "show", *arguments).out
    assert "hunter2" not in out
    assert "https://***@example.org/api" in out
    assert all(name in out for name in SECRET_NAMES)


def test_without_a_file_defaults_are_shown(run: Run) -> None:
    ended = run("config", "show", "--json")
    assert json.loads(ended.out)["file"] is None
    assert {origin for _, origin in rows(ended.out).values()} == {"default"}
    assert {secret["is_set"] for secret in json.loads(ended.out)["secrets"]} == {False}
