"""Artefacts that somebody made up, with hashes that fit: refused in words, nothing run, nothing exhausted.

Archives (traversal, links, bombs, oversized members) are in test_archive.py, LightGBM text alone in test_booster_text.
"""

import io
import json
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cryptocast.registry import CoinData, Registry, artefacts_of, recipe_hash
from cryptocast.registry.archive import unpack
from tests.models.test_booster_text import HOSTILE as BOOSTERS
from tests.registry.golden_rows import GOLDEN
from tests.registry.registry_fits import NOW, manifest, new_version

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is read from /proc")

Files = Mapping[str, bytes]
Change = Callable[[Files], dict[str, bytes]]
CANARY = Path("the-pickle-was-run")


class Canary:
    """Unpickled, it writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (CANARY,))


def whole(name: str, content: bytes) -> Change:
    """Another content under a name that is there."""

    def change(files: Files) -> dict[str, bytes]:
        assert name in files
        return {**files, name: content}

    return change


def edited(name: str, **fields: Any) -> Change:
    """Other values in a JSON file; ... takes one out."""

    def change(files: Files) -> dict[str, bytes]:
        told = {**json.loads(files[name]), **fields}
        return {**files, name: json.dumps({k: v for k, v in told.items() if v is not ...}).encode()}

    return change


def booster(case: Callable[[bytes], bytes], prefix: str = "") -> Change:
    """A change to the first booster."""

    def change(files: Files) -> dict[str, bytes]:
        name = next(name for name in sorted(files) if name.startswith(prefix) and name.endswith(".txt"))
        return {**files, name: case(files[name])}

    return change


def tensors(case: Callable[[dict[str, np.ndarray[Any, Any]]], Any]) -> Change:
    """A change to the weights of the network, saved as they should be."""

    def change(files: Files) -> dict[str, bytes]:
        found = load_tensors(files["lstm.safetensors"])
        case(found)
        return {**files, "lstm.safetensors": save_tensors(found)}

    return change


def header(told: Any, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header."""
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", pickle.dumps(Canary()))
        file.writestr("zeros", bytes(50 * 2**20))
    return buffer.getvalue()


def renamed(tensors: dict[str, Any]) -> None:
    tensors["0.__class__"] = tensors.pop(next(iter(tensors)))


def with_nan(tensors: dict[str, Any]) -> None:
    name = next(iter(tensors))
    tensors[name] = np.full_like(tensors[name], np.nan)


def wider(tensors: dict[str, Any]) -> None:
    name = next(iter(tensors))
    tensors[name] = np.zeros((*tensors[name].shape, 2), dtype=np.float32)


PICKLE = pickle.dumps(Canary())
DEEP = b"[" * 2_000_000
LSTM: dict[str, Change] = {
    "a pickle as weights": whole("lstm.safetensors", PICKLE),
    "a bomb with a pickle as weights": whole("lstm.safetensors", bomb()),
    "half of the weights": lambda f: {**f, "lstm.safetensors": f["lstm.safetensors"][:2000]},
    "weights without their last byte": lambda f: {**f, "lstm.safetensors": f["lstm.safetensors"][:-1]},
    "bytes behind the weights": lambda f: {**f, "lstm.safetensors": f["lstm.safetensors"] + bytes(64)},
    "no weights": whole("lstm.safetensors", b""),
    "a header of 2^63 bytes": whole("lstm.safetensors", header({}, length=2**63)),
    "a header of a gigabyte": whole("lstm.safetensors", header({}, length=2**30)),
    "a tensor of 2^40 numbers": whole(
        "lstm.safetensors", header({"0.a": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}})
    ),
    "a shape that overflows": whole(
        "lstm.safetensors", header({"0.a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, bytes(4))
    ),
    "tensors over each other": whole(
        "lstm.safetensors",
        header({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in ("0.a", "0.b")}, bytes(4)),
    ),
    "a header that is nested two million deep": whole("lstm.safetensors", header(DEEP)),
    "a foreign name": tensors(renamed),
    "a name too many": tensors(lambda t: t.update({"9.reader": np.zeros(3, dtype=np.float32)})),
    "a tensor too few": tensors(lambda t: t.pop(next(iter(t)))),
    "numbers that are none": tensors(with_nan),
    "another shape": tensors(wider),
    "other numbers": tensors(lambda t: t.update({n: v.astype(np.float64) for n, v in t.items()})),
    "10^12 networks": edited("lstm.json", members=10**12),
    "no networks": edited("lstm.json", members=0),
    "a network of 10^9 cells": edited("lstm.json", hidden=10**9),
    "10^12 samples": edited("lstm.json", samples=10**12),
    "a look-back of 10^12 bars": edited("lstm.json", lookback=10**12, patch=1),
    "patches of nothing": edited("lstm.json", patch=0),
    "less than nothing": edited("lstm.json", patch=-4, hidden=-6),
    "a dropout of everything": edited("lstm.json", dropout=1.0),
    "10^30 bars ahead": edited("lstm.json", horizons=[1, 10**30]),
    "a seed of 5,000 digits": lambda f: {
        **f,
        "lstm.json": re.sub(rb'"seed":-?\d+', b'"seed":' + b"9" * 5000, f["lstm.json"]),
    },
    "a seed below nothing": edited("lstm.json", seed=-1),
    "less trust than horizons": edited("lstm.json", shrinkage=[0.1]),
    "trust without end": edited("lstm.json", shrinkage=[1e308, 1e308]),
    "a pickle as settings": whole("lstm.json", PICKLE),
    "settings nested two million deep": whole("lstm.json", b'{"horizons":' + DEEP),
}
LIGHTGBM: dict[str, Change] = {
    **{f"a booster: {name}": booster(change) for name, change in BOOSTERS.items()},
    "a booster that is a pickle": booster(lambda _: PICKLE),
    "a booster of other features": booster(lambda _: _small_booster()),
    "a booster that is not there": lambda f: {n: d for n, d in f.items() if not n.endswith("variance.txt")},
    "a pickle as settings": whole("lightgbm.json", PICKLE),
    "settings nested two million deep": whole("lightgbm.json", b'{"feature_names":' + DEEP),
    "10^30 bars ahead": edited("lightgbm.json", horizons=[1, 10**30]),
    "no bars ahead": edited("lightgbm.json", horizons=[], shrinkage=[], offsets=[], rounds=[]),
    "fewer offsets than boosters": edited("lightgbm.json", offsets=[0.0]),
    "less trust than horizons": edited("lightgbm.json", shrinkage=[0.1]),
    "an offset of 1e308": edited("lightgbm.json", offsets=[1e308] * 4),
    "no rounds where there are trees": edited("lightgbm.json", rounds=[1]),
    "an unknown setting": edited("lightgbm.json", __class__="os.system"),
    "a million features": edited("lightgbm.json", feature_names=[f"f{i}" for i in range(1_000_000)]),
    "a pickle as rules": whole("rules.json", PICKLE),
    "rules without an end": edited("rules.json", least_blocks=10**40),
    "a pickle as calibration": whole("calibration.json", PICKLE),
    "a calibration for 10^30 bars ahead": edited("calibration.json", horizons=[1, 10**30]),
    "a calibration of other horizons": edited("calibration.json", horizons=[1, 9]),
    "a ragged calibration": edited("calibration.json", offsets=[[0.1], [0.1, 0.2]]),
    "offsets of 1e308": lambda f: edited(
        "calibration.json", offsets=[[1e308] * 13] * len(json.loads(f["calibration.json"])["horizons"])
    )(f),
    "a calibration nested two million deep": whole("calibration.json", b'{"offsets":' + DEEP),
    "a pickle as baseline": whole("baseline.json", PICKLE),
    "a baseline of 10^12 coins": edited("baseline.json", coins=["bitcoin"] * 100_000),
    "a baseline for 10^30 bars ahead": edited("baseline.json", horizons=[1, 10**30]),
    "a zip as baseline": whole("baseline.json", bomb()),
}
ENSEMBLE: dict[str, Change] = {
    "a pickle as weights": whole("ml_ensemble.json", PICKLE),
    "a member that there is not": edited("ml_ensemble.json", members=["baseline", "os", "lightgbm", "lstm"]),
    "a member out of the folder": edited("ml_ensemble.json", members=["../../x", "har", "lightgbm", "lstm"]),
    "itself as a member": edited("ml_ensemble.json", members=["ml_ensemble", "har", "lightgbm", "lstm"]),
    "the same member four times": edited("ml_ensemble.json", members=["har"] * 4),
    "no members": edited("ml_ensemble.json", members=[], table=[[], []], cuts=[]),
    "weights below zero": lambda f: _other_table(f, -1.0),
    "weights of 1e308": lambda f: _other_table(f, 1e308),
    "10^30 bars ahead": edited("ml_ensemble.json", horizons=[1, 10**30]),
    "cuts in no order": edited("ml_ensemble.json", cuts=[1.0, -1.0]),
    "weights nested two million deep": whole("ml_ensemble.json", b'{"table":' + DEEP),
    "a member's booster": booster(BOOSTERS["leaves"], "lightgbm--"),
    "a member's weights": whole("lstm--lstm.safetensors", PICKLE),
    "a member that lacks its files": lambda f: {n: d for n, d in f.items() if not n.startswith("har--")},
    "a HAR of 10^30 bars": lambda f: edited("har--har.json", components=[10**30] * 3)(f),
}
CASES = {
    f"{kind} {number}": (kind, name, change)
    for kind, cases in (("lightgbm", LIGHTGBM), ("lstm", LSTM), ("ml_ensemble", ENSEMBLE))
    for number, (name, change) in enumerate(cases.items())
}
# Not what was saved, and yet a model: corrections are bounded, so it answers with sound quantiles.
HARMLESS = frozenset({"an offset of 1e308", "trust without end", "the same member four times", "cuts in no order"})


def _small_booster() -> bytes:
    import lightgbm as lgb

    rng = np.random.default_rng(1)
    data = lgb.Dataset(rng.standard_normal((300, 5)), rng.standard_normal(300))
    return lgb.train({"verbosity": -1, "num_threads": 1}, data, 3).model_to_string().encode()


def _other_table(files: Files, by: float) -> dict[str, bytes]:
    told = json.loads(files["ml_ensemble.json"])
    table = [[[by * weight for weight in weights] for weights in regime] for regime in told["table"]]
    return edited("ml_ensemble.json", table=table)(files)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]], str]:
    """How each case ended, in one process that loads them all; each is the version of a coin that bears its name."""
    folder = tmp_path_factory.mktemp("hostile")
    registry = Registry.open(folder)
    for case, (kind, _, change) in CASES.items():
        files = change(unpack((GOLDEN / f"{kind}.zip").read_bytes(), kind).files)
        coin = case.replace(" ", "-").replace("_", "-")
        data = CoinData(coin=coin, rows=2000, first=NOW, last=NOW, content_hash="0" * 64)
        fit = manifest(case, files=files)
        fit = msgspec.structs.replace(fit, kind=kind, coins=(data,), artefacts=artefacts_of(files))
        fit = msgspec.structs.replace(fit, recipe=recipe_hash(kind, fit.settings, fit.feature_hash))
        registry.register(fit, files, [new_version(coin)], now=NOW, who="eve")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.registry.hostile_loading", str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    return folder, {line["case"]: line for line in lines}, ended.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{CASES[case][0]}: {CASES[case][1]}")
def test_it_is_refused_in_words(told: tuple[Path, dict[str, dict[str, Any]], str], case: str) -> None:
    _, lines, stderr = told
    line = lines[case.replace(" ", "-").replace("_", "-")]
    expected = "answered" if CASES[case][1] in HARMLESS else "refused"
    assert line.get("ended") == expected, (line, stderr[-2000:])


def test_nothing_of_it_was_run(
    told: tuple[Path, dict[str, dict[str, Any]], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not (told[0] / CANARY).exists()
    monkeypatch.chdir(tmp_path)
    pickle.loads(PICKLE)  # noqa: S301 - so that the test would have noticed
    assert CANARY.exists()
