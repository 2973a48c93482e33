"""A model for every coin, made by the command, and asked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cryptocast.errors import UsageError
from cryptocast.registry.archive import read_archive, unpack
from cryptocast.workflows.context import Selection
from cryptocast.workflows.training import in_parts
from cryptocast.workflows.training import pretrain as pretrain_module
from cryptocast.workflows.training.pretrain import PretrainOrder, pretrain
from tests.workflows.backtesting.small_runs import NOW, context
from tests.workflows.test_pretrained import answer, store_of


def test_the_same_bars_and_seed_give_the_same_bytes_and_an_own_file_answers(tmp_path: Path) -> None:
    used = context(tmp_path)
    coins = Selection(("bitcoin", "ethereum"), source="sample")
    first = pretrain(used, PretrainOrder(coins, tmp_path / "a.zip", ("from the sample",)))
    later = replace(used, wall_clock=lambda: NOW + timedelta(days=3))
    second = pretrain(later, PretrainOrder(coins, tmp_path / "b.zip", ("from the sample",)))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert (first.sha256, first.knowledge_date) == (second.sha256, datetime(2020, 1, 17, tzinfo=UTC))
    with pytest.raises(UsageError, match="is there already"):
        pretrain(used, PretrainOrder(coins, tmp_path / "a.zip"))
    manifest = unpack(read_archive(tmp_path / "a.zip"), "a").manifest
    assert manifest.notes[-1] == "from the sample"
    assert (manifest.trained_at, manifest.settings["lightgbm.view"]) == (first.knowledge_date, False)
    own = msgspec.structs.replace(used.config.train, pretrained=str(tmp_path / "a.zip"))
    asks = store_of(tmp_path, "solana", bars=60, last=datetime(2020, 3, 1, tzinfo=UTC), train=own)
    assert answer(asks, "solana").version == "shipped"  # whose date is earlier than that of the shipped file


def test_hourly_bars_and_a_path_that_is_no_zip_are_refused(tmp_path: Path) -> None:
    used = context(tmp_path)
    with pytest.raises(UsageError, match="is of daily bars"):
        pretrain(used, PretrainOrder(Selection(("bitcoin",), granularity="hourly"), tmp_path / "a.zip"))
    with pytest.raises(UsageError, match=r"does not end in \.zip"):
        pretrain(used, PretrainOrder(Selection(("bitcoin",)), tmp_path / "a"))


def test_many_coins_are_learned_from_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain_module, "MOST_TOGETHER", 1)
    monkeypatch.setattr(in_parts.parts_of, "__defaults__", (400,))
    used = store_of(tmp_path, "solana", "monero", "zcash", bars=400, last=NOW)
    coins = Selection(("solana", "monero", "zcash", "nosuchcoin"), source="file")
    report = pretrain(used, PretrainOrder(coins, tmp_path / "a.zip"))
    fit = unpack(read_archive(tmp_path / "a.zip"), "a").manifest
    assert fit.lessons == ("monero", "solana", "zcash")
    assert fit.train_rows == report.rows > 1000
    assert [error.coin for error in report.left_out] == ["nosuchcoin"]
    assert report.knowledge_date == NOW
    own = msgspec.structs.replace(used.config.train, pretrained=str(tmp_path / "a.zip"))
    asks = store_of(tmp_path / "later", "dogecoin", bars=60, last=NOW, train=own)
    assert answer(asks, "dogecoin").version == "shipped"
