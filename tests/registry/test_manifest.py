import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import HoldOut
from cryptocast.registry.manifest import (
    Artefact,
    CoinCalibration,
    FitManifest,
    artefacts_of,
    canonical_json,
    decode,
    recipe_hash,
    settled,
    sha256_hex,
)
from tests.registry.registry_fits import bad_hold_out, hold_out, manifest, score

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_canonical_json_reads_back_and_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(dict(reversed(value.items()))) == text


def test_canonical_json_is_this_text() -> None:
    value = {"b": [1, 2.5, None, True], "a": "é\n", "t": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)}
    assert canonical_json(value) == b'{"a":"\\u00e9\\n","b":[1,2.5,null,true],"t":"2025-01-02T03:04:05Z"}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {1, object()}, np.float64("nan")])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        canonical_json({"x": value})


def test_numpy_scalars_become_plain_numbers() -> None:
    assert canonical_json([np.float64(0.5), np.int64(3), np.bool_(True)]) == b"[0.5,3,true]"  # noqa: FBT003
    made = settled(score(7, mape=np.float64(4.5)))
    assert type(made.mape) is float


@pytest.mark.parametrize("record", [manifest(), hold_out(), bad_hold_out()])
def test_records_read_back_as_they_were_written(record: FitManifest | HoldOut) -> None:
    assert decode(canonical_json(record), type(record), "it") == record
    assert settled(record) == record


def test_the_manifest_names_its_schema() -> None:
    assert json.loads(canonical_json(manifest()))["schema"] == "cryptocast.fit/1"
    assert json.loads(canonical_json(hold_out()))["schema"] == "cryptocast.holdout/3"


def test_another_schema_and_unknown_fields_are_refused_by_name() -> None:
    content = json.loads(canonical_json(manifest()))
    with pytest.raises(RegistryError, match=r"The manifest of fit x cannot be read.*cryptocast.fit/9.*upgrade"):
        decode(canonical_json({**content, "schema": "cryptocast.fit/9"}), FitManifest, "The manifest of fit x")
    with pytest.raises(RegistryError, match="colour"):
        decode(canonical_json({**content, "colour": "red"}), FitManifest, "It")


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"[" * 100_000, b'{"schema":', b'"\xff"'])
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(RegistryError, match="cannot be read"):
        decode(data, FitManifest, "It")


HOSTILE_FILES = [
    "",
    "../x",
    "a/b",
    "a\\b",
    ".hidden",
    "Model.txt",
    "a\n",
    "a\0",
    "-rf",
    "ü.txt",
    "a" * 82,
    "/etc/passwd",
    "c:x",
]


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_artefact_names_that_are_not_plain_file_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Artefact"):
        artefacts_of({name: b"x"})
    with pytest.raises(RegistryError):
        decode(canonical_json({"name": name, "sha256": "0" * 64, "size": 1}), Artefact, "The artefact")


def test_artefacts_are_listed_by_name_with_hash_and_size() -> None:
    assert artefacts_of({"b.txt": b"", "a.txt": b"abc"}) == (
        Artefact(name="a.txt", sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", size=3),
        Artefact(name="b.txt", sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", size=0),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "Light GBM"},
        {"source": "../../etc"},
        {"vs": "usd\n"},
        {"granularity": "weekly"},
        {"coins": ()},
        {"horizons": (0,)},
        {"recipe": "short"},
        {"train_seconds": -1.0},
        {"trained_at": datetime(2025, 1, 1)},  # noqa: DTZ001
    ],
)
def test_a_manifest_with_a_field_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="FitManifest"):
        settled(manifest(**changes))


@given(st.permutations(["lightgbm.rounds", "lightgbm.learning_rate", "train.blocks"]))
def test_a_recipe_is_the_settings_whatever_their_order(names: list[str]) -> None:
    values = {"lightgbm.rounds": 400, "lightgbm.learning_rate": 0.03, "train.blocks": 4}
    assert recipe_hash("lightgbm", {n: values[n] for n in names}, "f") == recipe_hash("lightgbm", values, "f")


def test_kind_settings_and_features_each_make_another_recipe() -> None:
    base = ("lightgbm", {"a": 1}, "f")
    others = [("lstm", {"a": 1}, "f"), ("lightgbm", {"a": 2}, "f"), ("lightgbm", {"a": 1}, "g")]
    assert len({recipe_hash(*recipe) for recipe in [base, *others]}) == 4


def test_any_change_makes_another_fit() -> None:
    made = manifest()
    changed = [msgspec.structs.replace(made, seed=8), msgspec.structs.replace(made, dirty=None), manifest("2")]
    assert len({sha256_hex(canonical_json(m)) for m in [made, *changed]}) == 4


def test_a_calibration_state_keeps_its_numbers_exactly() -> None:
    state = {"q": [0.1, 1e-300, 1 / 3], "n": 2**53, "nested": {"a": None}}
    made = CoinCalibration(coin="bitcoin", state=state)
    assert settled(made).state == state
