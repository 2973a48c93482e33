"""What the command says of a model for every coin."""

import json
from pathlib import Path

from tests.cli.commands import Run


def test_pretrain_says_what_it_made_and_how_to_use_it(run: Run, own: Path) -> None:
    order = ("pretrain", "bitcoin", "ethereum", "--source", "sample", "--out", "model.zip")
    ended = run(*order, folder=own)
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "to 2020-01-17, out of sample, all coins" in said
    assert f"model.zip: {(own / 'model.zip').stat().st_size:,} bytes, 52 features, learned from" in said
    assert "It forecasts bars from 2020-01-17 on." in said
    assert '[train] pretrained = "model.zip"' in said
    assert max(map(len, ended.out.splitlines())) <= 80
    again = run(*order, "--overwrite", "--json", folder=own)
    assert json.loads(again.out)["knowledge_date"] == "2020-01-17T00:00:00Z"
    assert run(*order, folder=own).code == 2


def test_a_version_that_answers_for_every_coin_is_shown_without_a_registry(run: Run, own: Path) -> None:
    shown = run("registry", "show", "solana/lightgbm@shipped", folder=own)
    assert shown.code == 0, shown.err
    assert "--model shipped" in " ".join(shown.out.split())
    assert "CoinMarketCap" in shown.out
