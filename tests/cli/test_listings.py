"""The registry's documents: every row says of which market it is, and the gate's reasons are values."""

from pathlib import Path

from cryptocast.cli.listings import best_document, gc_document, history_document, version_document, versions_document
from cryptocast.cli.screens.registry import history_screen
from cryptocast.registry import Registry, SourceMove
from tests.registry.registry_fits import BITCOIN, NOW, bad_hold_out, register


def test_a_version_is_the_same_in_the_list_and_by_itself(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    register(registry)
    (row,) = versions_document(registry.listing()).versions
    (version,) = registry.versions()
    assert version_document(registry, version).version == row
    assert (row.name, row.source, row.vs, row.granularity) == ("bitcoin/lightgbm:1", "sample", "usd", "daily")
    assert (row.horizons, row.skill) == ((1, 7), 0.01)


def test_the_history_has_the_reasons_of_a_refusal_and_what_served_then(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    register(registry, scores=bad_hold_out())
    document = history_document(registry, registry.history(), registry.source_moves(), NOW)
    (event,), (serving,) = document.events, document.serving
    assert event.reasons[0].code == "worse_than_baseline"
    assert (serving.kind, serving.number) == ("lightgbm", None)


def test_best_names_who_answers_and_gc_what_goes(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    for label in ("1", "2", "3"):
        register(registry, label)
    best = best_document(registry, "bitcoin", BITCOIN.market)
    assert (best.best, best.granularity) == ("bitcoin/lightgbm:1", "daily")
    gone = gc_document(registry.collect(1, dry_run=True), 1, dry_run=True)
    assert [row.name for row in gone.versions] == ["bitcoin/lightgbm:2"]


def test_the_history_shows_that_a_coin_was_moved_to_another_source(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    move = SourceMove(coin="bitcoin", vs="usd", source="bitstamp", previous=None, at=NOW, who="ada")
    registry.record_moves([move])
    document = history_document(registry, (), registry.source_moves("bitcoin"), None)
    assert (document.events, document.moves) == ((), (move,))
    (line,) = [str(part) for part in history_screen(document)]
    assert line == "2025-06-01 12:00  bitcoin  no source -> bitstamp  (moved, usd, by ada)"
