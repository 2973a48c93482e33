"""The card of a version says what it is for, what it can do and where it fails."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec

from cryptocast.config import Config
from cryptocast.evaluation.answer_words import answer_sentence
from cryptocast.number_format import count
from cryptocast.registry import Registry
from cryptocast.workflows.lifecycle.model_card import MOST_COINS, model_card
from tests.registry.registry_fits import NOW, manifest
from tests.registry.registry_ledger import live

LATER = NOW + timedelta(days=3)


def test_a_model_card_says_what_it_is_for_its_data_its_skill_where_it_fails_and_how_it_does_live(
    config: Config, registry: Registry, tmp_path: Path
) -> None:
    version = registry.versions()[0]
    card = model_card(registry, config.gate, version, tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert text == card.markdown
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# bitcoin/lightgbm:1",
        *("## Intended use", "## Data", "## Skill by horizon", "## Where it fails", "## Live"),
        *("## Drift", "## To repeat the fit"),
    ]
    assert "| 7 | 300 | 0.01980 | +1.0 | 80 %: 79, 95 %: 96 |" in text
    for score in version.hold_out.horizons:
        for one in score.answers:
            assert f"- {count(score.horizon, 'bar')} ahead: {answer_sentence(one)}." in text
    assert "**Is there a view on direction?**" not in text, "these scores lack it"
    assert "No forecast has matured yet" in text
    assert "What it adds" not in text
    rows, known = live(100, v1=0.005, v0=0.03)
    registry.write_ledger(rows)
    registry.write_outcomes(known)
    later = model_card(registry, config.gate, version, None).markdown
    assert "Degraded: the baseline is better live" in later
    (row,) = (line for line in later.partition("## Live")[2].splitlines() if line.startswith("| 1 |"))
    assert re.search(r"80 %: \d+, 95 %: \d+, 98 %: \d+\.\d, 99 %: \d+\.\d", row)
    assert "98 %" not in later.partition("Degraded")[2]


def test_the_card_of_an_lstm_says_what_it_adds_and_what_it_costs(config: Config, registry: Registry) -> None:
    version = registry.versions()[0]
    network = replace(version, key=msgspec.structs.replace(version.key, kind="lstm"))
    text = model_card(registry, config.gate, network, None).markdown
    use = text.split("## Intended use")[1].split("## Data")[0]
    assert "no mean of models with it was better than its best member by more than 0.02 points" in use
    assert "What it costs: about half of the time" in use


def test_of_a_large_pool_the_card_names_the_coin_itself_and_how_many_there_are(
    config: Config, registry: Registry
) -> None:
    version = registry.versions()[0]
    coins = (*(f"coin-{number}" for number in range(1, 1000)), "bitcoin")
    large = replace(version, manifest=manifest(coins=coins))
    data = model_card(registry, config.gate, large, None).markdown.split("## Data")[1].split("## Skill")[0]
    rows = [line.split(" | ")[0] for line in data.splitlines() if line.startswith("| ")]
    assert rows[2:4] == ["| bitcoin", "| coin-1"]
    assert rows[-1] == f"| and {1000 - MOST_COINS} more"
    assert len(rows) == 3 + MOST_COINS
