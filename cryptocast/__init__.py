"""Calibrated, honestly tested probabilistic forecasts of crypto prices.

The names below are what a notebook needs; each loads on first use, so that importing the package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cryptocast.config import Config as Config
    from cryptocast.config import load_config as load_config
    from cryptocast.data.schema import BAR_US as BAR_US
    from cryptocast.data.sources.file.reader import read_file as read_file
    from cryptocast.data.sources.sample import load_sample as load_sample
    from cryptocast.evaluation.walk_forward import walk_forward as walk_forward
    from cryptocast.features.builder import add_features as add_features
    from cryptocast.features.catalogue import FEATURES as FEATURES
    from cryptocast.library import backtest as backtest
    from cryptocast.library import fetch as fetch
    from cryptocast.library import forecast as forecast
    from cryptocast.library import forecast_all as forecast_all
    from cryptocast.library import pretrain as pretrain
    from cryptocast.library import sample_paths as sample_paths
    from cryptocast.library import train as train
    from cryptocast.registry import Registry as Registry
    from cryptocast.workflows.backtesting.backtest import BacktestOrder as BacktestOrder
    from cryptocast.workflows.context import Context as Context
    from cryptocast.workflows.context import Selection as Selection
    from cryptocast.workflows.engines import Engine as Engine
    from cryptocast.workflows.forecast import Request as Request
    from cryptocast.workflows.forecast_all import AllOrder as AllOrder
    from cryptocast.workflows.market_data.fetch import FetchOrder as FetchOrder
    from cryptocast.workflows.market_data.stored_series import every_coin as every_coin
    from cryptocast.workflows.progress import ProgressStep as ProgressStep
    from cryptocast.workflows.sample_paths import PathOrder as PathOrder
    from cryptocast.workflows.training.pretrain import PretrainOrder as PretrainOrder
    from cryptocast.workflows.training.train import Order as Order

_HOMES = {
    "AllOrder": "workflows.forecast_all",
    "BAR_US": "data.schema",
    "Engine": "workflows.engines",
    "FEATURES": "features.catalogue",
    "BacktestOrder": "workflows.backtesting.backtest",
    "Config": "config",
    "Context": "workflows.context",
    "FetchOrder": "workflows.market_data.fetch",
    "Order": "workflows.training.train",
    "PathOrder": "workflows.sample_paths",
    "PretrainOrder": "workflows.training.pretrain",
    "ProgressStep": "workflows.progress",
    "Registry": "registry",
    "Request": "workflows.forecast",
    "Selection": "workflows.context",
    "add_features": "features.builder",
    "backtest": "library",
    "every_coin": "workflows.market_data.stored_series",
    "fetch": "library",
    "forecast": "library",
    "forecast_all": "library",
    "load_config": "config",
    "load_sample": "data.sources.sample",
    "pretrain": "library",
    "read_file": "data.sources.file.reader",
    "sample_paths": "library",
    "train": "library",
    "walk_forward": "evaluation.walk_forward",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
