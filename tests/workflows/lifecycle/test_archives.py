"""Archives of real fits: carried to another store they answer the same; a hostile one never reaches LightGBM."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from cryptocast.errors import RegistryError, UsageError
from cryptocast.market import Market
from cryptocast.registry import PRODUCTION, Registry, artefacts_of, sha256_hex
from cryptocast.registry.archive import Index, pack, unpack
from cryptocast.registry.gate import FOREIGN
from cryptocast.registry.manifest import canonical_json
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.lifecycle.archives import export_version, import_archive
from cryptocast.workflows.lifecycle.model_card import model_card
from cryptocast.workflows.lifecycle.promote import promote
from tests.registry.registry_fits import NOW
from tests.registry.test_archive import members, zipped
from tests.workflows.backtesting.small_runs import context
from tests.workflows.test_context import Heard


def test_an_archive_brings_the_same_fit_and_importing_it_again_changes_nothing(
    exported: tuple[Registry, Path], tmp_path: Path
) -> None:
    registry, path = exported
    other = Registry.open(tmp_path)
    checked = import_archive(other, path, dry_run=True, who="eve", now=NOW)
    assert (checked.versions, other.versions()) == ((), ())
    first = import_archive(other, path, dry_run=False, who="eve", now=NOW)
    again = import_archive(other, path, dry_run=False, who="eve", now=NOW + timedelta(days=1))
    assert [row.was_there for row in (*first.versions, *again.versions)] == [False, True]
    (version,) = other.versions()
    (origin,) = registry.versions()
    assert (version.fit_id, version.calibration) == (origin.fit_id, origin.calibration)
    assert other.load_files(version.fit_id) == registry.load_files(origin.fit_id)
    assert other.history()[0].who == "eve (import)"
    assert other.verify() == ()


def test_a_file_that_is_there_is_not_replaced_unasked(exported: tuple[Registry, Path]) -> None:
    registry, path = exported
    with pytest.raises(UsageError, match="--overwrite"):
        export_version(registry, registry.versions()[0], path, whole_fit=False, overwrite=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"num_leaves=", b"num_leaves=9"),
        (b"num_class=1\n", b"num_class=1000000000\n"),
        (b"left_child=", b"left_child=9"),
        (b"tree\nversion=v4", b"\x80\x04K\x01."),
    ],
)
def test_a_well_packed_archive_of_a_hostile_model_is_refused_and_leaves_nothing(
    exported: tuple[Registry, Path], tmp_path: Path, old: bytes, new: bytes
) -> None:
    archive = unpack(exported[1].read_bytes(), "a.zip")
    name = next(name for name, data in archive.files.items() if data.startswith(b"tree"))
    files = {**archive.files, name: archive.files[name].replace(old, new, 1)}
    assert files != archive.files
    manifest = msgspec.structs.replace(archive.manifest, artefacts=artefacts_of(files))
    text = canonical_json(manifest)
    packed = msgspec.json.decode(members(exported[1].read_bytes())["index.json"], type=Index)
    index = msgspec.structs.replace(
        packed, fit_id=sha256_hex(text), manifest_bytes=len(text), artefacts=manifest.artefacts
    )
    told = canonical_json(index)
    content = {"index.json": told, "index.sha256": sha256_hex(told).encode(), "manifest.json": text}
    evil = tmp_path / "evil.zip"
    evil.write_bytes(zipped({**content, **{f"artefacts/{n}": data for n, data in files.items()}}))
    registry = Registry.open(tmp_path)
    with pytest.raises(RegistryError, match=r"evil\.zip is refused"):
        import_archive(registry, evil, dry_run=False, who="eve", now=NOW)
    assert registry.versions() == ()
    assert not list((tmp_path / "registry").glob("objects/*"))


def test_what_is_packed_is_of_one_fit(exported: tuple[Registry, Path]) -> None:
    with pytest.raises(ValueError, match="one fit"):
        pack([], {})


def forged(path: Path, target: Path) -> Path:
    """The archive with a skill of 50 %, and every hash counted anew."""
    content = members(path.read_bytes())
    index = msgspec.json.decode(content["index.json"])
    for horizon in index["versions"][0]["hold_out"]["horizons"]:
        horizon["skill"] = dict.fromkeys(horizon["skill"], 0.5)
        horizon["answers"] = [{**one, "answer": "yes", "n": 9999} for one in horizon["answers"]]
        horizon["cause"] = "of 9999"
    told = canonical_json(index)
    target.write_bytes(zipped({**content, "index.json": told, "index.sha256": sha256_hex(told).encode()}))
    return target


def test_an_import_is_a_challenger_and_its_scores_open_no_gate(exported: tuple[Registry, Path], tmp_path: Path) -> None:
    here = context(tmp_path)
    registry = here.registry()
    (row,) = import_archive(
        registry, forged(exported[1], tmp_path / "forged.zip"), dry_run=False, who="eve", now=NOW
    ).versions
    assert (row.aliases, row.foreign, row.scored) == (("challenger",), True, None)
    (version,) = registry.versions()
    assert registry.best("bitcoin", Market("sample", "usd", "daily")) is None
    refusal = promote(here.config, registry, coin="bitcoin", who="eve", now=NOW).refusal()
    assert str(FOREIGN) in str(refusal)
    assert registry.alias(version.key, PRODUCTION) is None
    assert [listed.foreign for listed in registry.listing()] == [True]
    card = model_card(registry, here.config.gate, version, None).markdown
    assert f"Foreign: {FOREIGN}." in card
    assert "9999" not in card
    assert registry.verify() == ()


def test_a_person_may_put_a_foreign_version_into_production_and_forecasts_say_what_it_is(
    exported: tuple[Registry, Path], tmp_path: Path
) -> None:
    here = context(tmp_path)
    registry = here.registry()
    import_archive(registry, forged(exported[1], tmp_path / "forged.zip"), dry_run=False, who="eve", now=NOW)
    promote(here.config, registry, coin="bitcoin", force=True, reason="it is ours", who="eve", now=NOW)
    (standing,) = registry.standings("bitcoin", Market("sample", "usd", "daily"))
    assert (standing.ratio, standing.rests_on, standing.foreign) == (None, "nothing", True)
    (made,) = forecast(here, Request(Selection(("bitcoin",)), horizons=(1, 7))).forecasts
    assert (made.model_used, made.version) == ("lightgbm", 1)
    assert {(h.answers, h.unanswered, h.evidence) for h in made.horizons} == {((), "foreign", "hold-out")}


def test_an_export_and_an_import_tell_how_far_they_are(exported: tuple[Registry, Path], tmp_path: Path) -> None:
    registry, _ = exported
    progress, file = Heard(), tmp_path / "one.zip"
    export_version(registry, registry.versions()[0], file, whole_fit=False, overwrite=False, progress=progress)
    other = Registry.open(tmp_path / "other")
    import_archive(other, file, dry_run=False, who="eve", now=NOW, progress=progress)
    written, taken = ("artefacts", "file"), ("hashes", "versions")
    assert progress.events == [("export", 2), *written, "end", ("import", 2), *taken, "end"]
