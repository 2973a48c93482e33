"""Two versions are compared on what they share."""

from datetime import timedelta
from html import escape
from pathlib import Path

import pytest

from cryptocast.config import Config
from cryptocast.errors import UsageError
from cryptocast.registry import Registry
from cryptocast.workflows.lifecycle.compare import compare, write_comparison
from cryptocast.workflows.reports import comparison_sentence
from tests.registry.registry_fits import NOW, register
from tests.registry.registry_ledger import live

LATER = NOW + timedelta(days=3)


def test_two_versions_are_compared_on_what_they_share(config: Config, registry: Registry, tmp_path: Path) -> None:
    one, other = registry.versions()
    found = compare(registry, tmp_path, config.gate, other, one)
    assert found.contest is None
    assert "never walked forward" in (found.why_not or "")
    write_comparison(found, tmp_path / "none.html")
    lead = f"{found.a.name} and {found.b.name} were not compared: {found.why_not}"
    assert f'<p class="lead">{escape(lead)}</p>' in (tmp_path / "none.html").read_text(encoding="utf-8")
    assert [row.what for row in found.differences] == ["data bitcoin", "settings lightgbm.rounds"]
    rows, known = live(150, v1=0.05, v2=0.03)
    registry.write_ledger(rows)
    registry.write_outcomes(known)
    found = compare(registry, tmp_path, config.gate, other, one)
    assert (found.verdict.word, found.verdict.against) == ("better", "bitcoin/lightgbm:1")
    assert found.contest is not None
    assert found.contest.horizons[0].lower is not None
    write_comparison(found, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert page.count("<script>") == 1
    for words in (
        comparison_sentence(found.a.name, found.verdict),
        "settings lightgbm.rounds",
        "Content-Security-Policy",
    ):
        assert words in page
    with pytest.raises(UsageError, match=r"end it in \.html"):
        write_comparison(found, tmp_path / "a.pdf")
    with pytest.raises(UsageError, match="is one version"):
        compare(registry, tmp_path, config.gate, one, one)


def test_of_large_pools_that_differ_everywhere_two_lines_say_so(
    config: Config, registry: Registry, tmp_path: Path
) -> None:
    coins = ("bitcoin", *(f"coin-{number}" for number in range(99)))
    one, other = (register(registry, label, coins=coins)[0] for label in ("3", "4"))
    differences = compare(registry, tmp_path, config.gate, one, other).differences
    assert [row.what for row in differences] == ["data bitcoin", "data of the pool"]
    assert (differences[1].a or "").startswith("100 coins, ")
