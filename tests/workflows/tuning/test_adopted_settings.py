"""What a tuning found is used for what it was compared with, and for nothing else."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptocast.config import Config, LightGBMConfig, StoreConfig, TuneConfig
from cryptocast.errors import DataError
from cryptocast.market import Market
from cryptocast.workflows.coin_pool import CoinPool
from cryptocast.workflows.context import Context
from cryptocast.workflows.tuning.adopted_settings import TunedSettings, section_facts, with_adopted, write_tuned

SAMPLE = Market("sample", "usd", "daily")
AT = datetime(2025, 6, 1, tzinfo=UTC)


def kept(folder: Path, **changes: Any) -> Context:
    """A store with settings that were found for lightgbm."""
    config = Config(store=StoreConfig(path=folder))
    settings = TunedSettings(
        kind="lightgbm",
        **msgspec.structs.asdict(SAMPLE),
        coins=("bitcoin",),
        horizons=(1,),
        data_hash="d",
        feature_hash="f",
        base=section_facts(config, "lightgbm"),
        settings={"num_leaves": 5},
        score=0.98,
        default_score=1.0,
        p_better=0.01,
        trials=9,
        study="s",
        seen_until=AT,
        found_at=AT,
        code_version="c",
    )
    write_tuned(folder, msgspec.structs.replace(settings, **changes))
    return Context(config)


def adopted(context: Context, *kinds: str, past: bool = False) -> tuple[int, tuple[str, ...]]:
    """The leaves of lightgbm with what was found, and what is said."""
    pool = CoinPool(SAMPLE, ("bitcoin",), {}, ())
    context, notes = with_adopted(context, pool, "f", kinds or ("lightgbm",), past=past)
    return context.config.lightgbm.num_leaves, notes


def test_it_is_used_and_said_of_an_ensemble_through_its_members_too(tmp_path: Path) -> None:
    context = kept(tmp_path)
    leaves, (note,) = adopted(context)
    assert leaves == 5
    assert note.startswith("lightgbm is fitted with what tune found (num_leaves 5): CRPS 2.00 % below")
    assert adopted(context, "ml_ensemble")[0] == 5
    assert adopted(context, "har") == (Config().lightgbm.num_leaves, ())
    assert "are too good" in adopted(context, past=True)[1][1]


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"feature_hash": "g"}, "other features"), ({"base": {"num_leaves": 77}}, "has changed since")],
)
def test_for_other_features_or_settings_it_is_not_used(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    leaves, (note,) = adopted(kept(tmp_path, **changes))
    assert leaves == Config().lightgbm.num_leaves
    assert why in note


def test_it_is_left_alone_where_the_settings_say_so_or_the_defaults_stay(tmp_path: Path) -> None:
    context = kept(tmp_path)
    unused = Context(msgspec.structs.replace(context.config, tune=TuneConfig(use=False)))
    assert adopted(unused) == (LightGBMConfig().num_leaves, ())
    assert adopted(kept(tmp_path, settings={})) == (LightGBMConfig().num_leaves, ())


def test_what_is_out_of_bounds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is out of bounds"):
        adopted(kept(tmp_path, settings={"num_leaves": -1}))
