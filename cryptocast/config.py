"""`config.toml` as frozen structs: parsed once at the edge, unknown keys refused by name, passed inward by section."""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, get_args, get_origin

import msgspec
from msgspec import Meta

from cryptocast.allowed import refusal
from cryptocast.choices import Granularity
from cryptocast.errors import ConfigError
from cryptocast.kinds import (
    AVERAGED,
    KIND_PATTERN,
    KINDS,
    MIX,
    SHIPPED,
    TRAINABLE,
    ContenderName,
    KindOrAuto,
    MemberKind,
    Range,
    TrainableKind,
)

# Where the value of a setting comes from.
Origin: TypeAlias = Literal["default", "file", "environment"]

ENV_PREFIX = "CRYPTOCAST_"
# Secrets never stand in the file: they are read from the environment by cli and serving, under these names.
SECRET_NAMES = (
    "CRYPTOCAST_COINGECKO_API_KEY",
    "CRYPTOCAST_SERVE_TOKEN",
    "CRYPTOCAST_SERVE_ADMIN_TOKEN",
    "CRYPTOCAST_NOTIFY_URL",
)
# What Kubernetes gives every container beside a service that is called cryptocast.
KUBERNETES = re.compile(r"CRYPTOCAST_(SERVICE_(HOST|PORT(_\w+)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
# Of the variables that are read under their usual names.
USUAL_NAMES = ("SENTRY_DSN", "SENTRY_ENVIRONMENT", "SENTRY_TRACES_SAMPLE_RATE")

# One name for each line of the table in `data/sources/table.py`, which a test compares.
ExchangeName: TypeAlias = Literal["bitstamp", "coinbase", "binance", "kraken", "okx", "bybit"]
SourceName: TypeAlias = Literal["coingecko", "sample", "simulated", "file", ExchangeName]
CCXT_EXCHANGE: Final = "[a-z0-9]{1,40}"  # as ccxt names them
SOURCE_CHOICES: Final = ("auto", *get_args(SourceName))
SourceChoice: TypeAlias = Annotated[
    str,
    Meta(
        pattern=rf"^({'|'.join(SOURCE_CHOICES)}|ccxt[:-]{CCXT_EXCHANGE})\Z",
        description=f"one of {', '.join(SOURCE_CHOICES)} and ccxt:NAME",
    ),
]
KindName: TypeAlias = Annotated[str, Meta(pattern=KIND_PATTERN)]
MarketKind: TypeAlias = Literal["random_walk", "garch", "regimes", "signal", "break"]
Comments: TypeAlias = Mapping[str, str]
Share: TypeAlias = Annotated[float, Meta(gt=0.0, lt=1.0)]
# What browsers send as Origin; a slash at its end, which they do not send, is no reason to refuse it.
WEB_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?/?", re.ASCII | re.IGNORECASE
)
# Bounds that no sensible setting meets, and no clock and no integer of a library overflows below.
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=100_000)]
Bars: TypeAlias = Annotated[int, Meta(ge=0, le=100_000)]
NotNegative: TypeAlias = Annotated[int, Meta(ge=0, le=2_147_483_647)]
Duration: TypeAlias = Annotated[
    str, Meta(pattern=r"^(\d{1,4}(d|h|min))?\Z", description='a duration such as "1d", "36h" or "90min"')
]
Seconds: TypeAlias = Annotated[float, Meta(gt=0.0, le=1e6)]
# How coins and currencies are named. \Z and not $, which would let a trailing line break through.
COIN: Final = r"[a-z0-9][a-z0-9-]{0,99}"
VS: Final = r"[a-z0-9]{2,10}"
SERIES_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")
BY_NAME: Final = frozenset({"series"})  # sections of which there may be any number, [series.dvol] and so on
COIN_PATTERN: Final = rf"^{COIN}\Z"
VS_PATTERN: Final = rf"^{VS}\Z"
CoinId: TypeAlias = Annotated[
    str,
    Meta(pattern=COIN_PATTERN, description="a CoinGecko id such as bitcoin (lower-case letters, digits and hyphens)"),
]
QuoteCurrency: TypeAlias = Annotated[
    str, Meta(pattern=VS_PATTERN, description="a currency such as usd (2 to 10 lower-case letters and digits)")
]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of the file. comments: what config.toml says of each setting; lines but the first stand below it."""

    comments: ClassVar[Comments] = {}


class StoreConfig(Section, frozen=True, kw_only=True):
    """Where things are kept."""

    path: Path = Path("data")
    lock_timeout_s: Seconds = 60.0

    comments: ClassVar[Comments] = {
        "path": "where candles, models and runs are kept",
        "lock_timeout_s": "how long to wait for another process that writes the same series",
    }


class DataConfig(Section, frozen=True, kw_only=True):
    """Which bars."""

    coins: tuple[CoinId, ...] = ("bitcoin", "ethereum", "litecoin")
    source: SourceChoice = "auto"
    exchanges: tuple[ExchangeName, ...] = get_args(ExchangeName)
    vs: QuoteCurrency = "usd"
    granularity: Granularity = "daily"
    since: date = date(2009, 1, 1)
    stale_after_bars: Positive = 2

    comments: ClassVar[Comments] = {
        "coins": "CoinGecko ids; used when a command names no coins",
        "source": (
            "auto (where a coin's candles have come from so far; of a new coin the first of the exchanges below that\n"
            "lists it, then CoinGecko, then the sample), coingecko, bitstamp, coinbase, binance, kraken, okx, bybit,\n"
            "ccxt:NAME, file, sample or simulated"
        ),
        "exchanges": "where auto looks for a new coin, in this order",
        "vs": "quote currency",
        "granularity": "daily or hourly bars",
        "since": "how far back to fetch; 2009-01-01: all there is (365 days on CoinGecko's free plans)",
        "stale_after_bars": "candles that are more than this many bars late are marked stale",
    }


class CoinGeckoConfig(Section, frozen=True, kw_only=True):
    """The upstream API."""

    plan: Literal["keyless", "demo", "pro"] = "keyless"
    base_url: str = "https://api.coingecko.com/api/v3"
    pro_base_url: str = "https://pro-api.coingecko.com/api/v3"
    calls_per_minute: NotNegative = 0
    monthly_credits: NotNegative = 10_000
    pro_monthly_credits: NotNegative = 0
    hours: bool = True
    connect_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 20.0
    deadline_s: Seconds = 60.0
    max_connections: Annotated[int, Meta(ge=1, le=100)] = 100
    keepalive_s: Seconds = 30.0
    max_retries: Annotated[int, Meta(ge=0, le=5)] = 2

    comments: ClassVar[Comments] = {
        "plan": "keyless, demo or pro; a key comes from the environment",
        "base_url": "for the keyless and demo plans",
        "pro_base_url": "for the pro plan",
        "calls_per_minute": "0: 5 without a key, 25 with a demo key, 250 with a pro key",
        "monthly_credits": (
            "calls a month of a demo key; the backfill stops at 60 %, refreshing at 90 %; 0: no limit\n"
            "A server spends at most a tenth of them on coins and currencies that it is not set up for "
            "(docs/serving.md)."
        ),
        "pro_monthly_credits": "calls a month of a pro key, as its plan says; 0: no limit",
        "hours": "also fetch a year of hourly prices (5 calls a coin), so that daily highs and lows are real",
        "connect_timeout_s": "to open a connection",
        "read_timeout_s": "between two pieces of an answer",
        "deadline_s": "for one answer, including retries",
        "max_connections": "open at a time",
        "keepalive_s": "idle connections are closed after this",
        "max_retries": "after 408, 429, 5xx and broken connections, with jittered pauses",
    }


class ExchangesConfig(Section, frozen=True, kw_only=True):
    """What all exchanges are asked with."""

    tickers: dict[CoinId, Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{1,20}\Z")]] = {}
    base_url: str = ""
    ccxt_python: str = ""
    deadline_s: Seconds = 60.0
    max_retries: Annotated[int, Meta(ge=0, le=5)] = 2

    comments: ClassVar[Comments] = {
        "tickers": 'of coins that the built-in table lacks, or has otherwise, e.g. { bitcoin = "BTC" }',
        "base_url": "of a mirror that has each exchange below its name, such as fake-upstream; empty: their own",
        "ccxt_python": "the Python of an environment that has ccxt, for --source ccxt:NAME; empty: this one",
        "deadline_s": "for one answer, all tries together",
        "max_retries": "of 408, 429, 5xx and broken connections, with full jitter",
    }


class QualityConfig(Section, frozen=True, kw_only=True):
    """What the checks of candles call a finding."""

    outlier_sigmas: Annotated[float, Meta(gt=3.0)] = 9.0
    frozen_bars: Annotated[int, Meta(ge=2, le=100_000)] = 5
    volume_jump_factor: Annotated[float, Meta(gt=1.0)] = 300.0
    price_jump_factor: Annotated[float, Meta(gt=1.0)] = 100.0
    supply_jump_factor: Annotated[float, Meta(gt=1.0)] = 1.15
    peg_band: Annotated[float, Meta(gt=0.0, lt=0.5)] = 0.02
    peg_days: Positive = 90

    comments: ClassVar[Comments] = {
        "outlier_sigmas": "returns and ranges this many robust standard deviations out are reported, never changed",
        "frozen_bars": "this many bars with the same close are reported as frozen",
        "volume_jump_factor": "a volume that jumps by this factor and stays is reported as a change of unit",
        "price_jump_factor": "a price that jumps by this factor and stays is reported: redenominated, or another coin?",
        "supply_jump_factor": "market cap over close that changes by this factor in one bar is reported",
        "peg_band": "a coin with 95 % of its closes this close to their median counts as a stablecoin",
        "peg_days": "over at least this many days",
    }


class SimulatedConfig(Section, frozen=True, kw_only=True):
    """The market of the source `simulated`."""

    market: MarketKind = "garch"
    seed: NotNegative = 7
    bars: Annotated[int, Meta(ge=1, le=100_000)] = 2000
    start: date = date(2015, 1, 1)
    volatility: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.03
    correlation: Annotated[float, Meta(ge=0.0, le=0.8)] = 0.5
    r_squared: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.1

    comments: ClassVar[Comments] = {
        "market": "random_walk, garch, regimes (with jumps), signal (planted, learnable) or break (of the volatility)",
        "seed": "a different seed gives a different market",
        "bars": "of each coin; more bars extend the same history (but a break stays in the middle)",
        "start": "the first bar opens at 00:00 UTC of this day",
        "volatility": "standard deviation of daily log returns; the variance of an hour is a 24th of a day's",
        "correlation": "between the shocks of any two coins",
        "r_squared": 'share of a bar\'s variance that the planted signal explains; market = "signal" only',
    }


class FeaturesConfig(Section, frozen=True, kw_only=True):
    """What the models see, beside the catalogue, and what of it they are spared."""

    file: str = ""
    max_correlation: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.999
    across_coins: bool = True

    comments: ClassVar[Comments] = {
        "file": "a Python file that adds features of your own (see docs/features.md); empty: none",
        "max_correlation": "of two features whose ranks correlate more than this, a fit uses one; 1.0 keeps both",
        "across_coins": "also those that compare the coins of a moment; false: none, as in trainings on over 100 coins",
    }


class ModelsConfig(Section, frozen=True, kw_only=True):
    """Models of the user's own, beside those of the package."""

    file: str = ""

    comments: ClassVar[Comments] = {
        "file": "a Python file that adds models of your own (see docs/models.md); empty: none",
    }


class SeriesConfig(Section, frozen=True, kw_only=True):
    """An outside series: values that no candle has, a column of their name for features of one's own."""

    source: Literal["file", "deribit"] = "file"
    file: str = ""
    known_after: Duration = ""
    index: Literal["BTC", "ETH"] = "BTC"
    resolution: Literal["1d", "1h"] = "1d"

    comments: ClassVar[Comments] = {
        "source": "file, or deribit: the index of implied volatility (DVOL), since 2021-03-31",
        "file": "CSV or Parquet with the columns time and value, and known_after where that differs from row to row",
        "known_after": (
            'how long after its time a value was known, such as "1d" or "0h"; there is no default: needed unless\n'
            "the file has a column known_after with the moment at which the value of each row was known"
        ),
        "index": 'BTC or ETH; source = "deribit" only',
        "resolution": '1d or 1h; source = "deribit" only: a value is known when its day or hour is over',
    }

    def __post_init__(self) -> None:
        if self.source != "deribit" and not self.file:
            raise ValueError('needs file = "PATH", or source = "deribit"')
        if self.source == "deribit" and (self.file or self.known_after):
            raise ValueError(f"file and known_after are not for source = {self.source!r}: leave them out")

    @property
    def delay(self) -> timedelta | None:
        """How long after its time each value was known; None: the file says it row by row, or nobody does."""
        text = self.resolution if self.source == "deribit" else self.known_after
        number = int(text.rstrip("dhmin") or 0)
        unit = {"d": timedelta(days=1), "h": timedelta(hours=1), "n": timedelta(minutes=1)}.get(text[-1:])
        return None if unit is None else number * unit

    @property
    def facts(self) -> str:
        """What a version that has learned from it depends on, whatever the file is called."""
        if self.source != "deribit":
            return f"file, known {self.known_after + ' after its time' if self.known_after else 'when its rows say'}"
        return f"{self.source} {self.index} {self.resolution}"


class SplitConfig(Section, frozen=True, kw_only=True):
    """The hold-out: shares of time for fit and early stopping; the rest scores."""

    fit: Share = 0.70
    stop: Share = 0.15

    comments: ClassVar[Comments] = {
        "fit": "share of the time that the scored model is trained on",
        "stop": "the next share decides when lstm stops and whether there is a view; the rest is the hold-out",
    }


class ForecastConfig(Section, frozen=True, kw_only=True):
    """What a forecast says."""

    daily_horizons: tuple[Positive, ...] = (1, 7, 14, 30)
    hourly_horizons: tuple[Positive, ...] = (1, 6, 24, 168)
    intervals: tuple[Literal[20, 40, 60, 80, 90, 95, 98, 99], ...] = (80, 95)
    model: KindName = "auto"

    comments: ClassVar[Comments] = {
        "daily_horizons": "in bars",
        "hourly_horizons": "in bars",
        "intervals": "to show, in percent; choose from 20, 40, 60, 80, 90, 95, 98, 99",
        "model": "auto: the best production version, or the baseline without one",
    }


class TrainConfig(Section, frozen=True, kw_only=True):
    """How models are trained."""

    pool: tuple[CoinId, ...] = ()
    history: tuple[Literal["sample"], ...] = ()
    models: tuple[KindName, ...] = TRAINABLE
    pretrained: Annotated[str, Meta(min_length=1, max_length=4096)] = SHIPPED
    seed: NotNegative = 7
    threads: NotNegative = 0
    min_train_bars: Positive = 250
    max_rows: Annotated[int, Meta(ge=200, le=100_000_000)] = 200_000
    blocks: Annotated[int, Meta(ge=2, le=20)] = 3
    min_independent_blocks: Positive = 12
    audit: bool = True

    comments: ClassVar[Comments] = {
        "pool": "coins to learn from besides the named ones; empty: [data] coins",
        "history": '["sample"]: also learn from the coins of the sample, as series of their own',
        "models": "what `train` fits without --model",
        "pretrained": "answers for coins without a version of their own: shipped, a file of `pretrain`, or none",
        "seed": "of everything random in training",
        "threads": "0: all available",
        "min_train_bars": "bars that a coin needs to join a walk-forward",
        "max_rows": "of lightgbm; of more, an even share of each coin's whole time is drawn",
        "blocks": "out-of-fold blocks that calibrate a fit",
        "min_independent_blocks": "with fewer non-overlapping returns of a horizon, the baseline answers",
        "audit": "refuse to train on a feature that looks into the future",
    }


class LightGBMConfig(Section, frozen=True, kw_only=True):
    """The gradient-boosted volatility model."""

    rounds: Annotated[int, Meta(ge=1, le=10_000)] = 80
    next_bar_rounds: Annotated[int, Meta(ge=1, le=10_000)] = 250
    learning_rate: Annotated[float, Meta(gt=0.0, le=1.0), Range(0.015, 0.1, log=True)] = 0.03
    num_leaves: Annotated[int, Meta(ge=2, le=1024), Range(4, 63, log=True, whole=True)] = 10
    min_data_in_leaf: Annotated[int, Meta(ge=1, le=1_000_000), Range(20, 400, log=True, whole=True)] = 100
    feature_fraction: Annotated[float, Meta(gt=0.0, le=1.0), Range(0.2, 1.0)] = 0.3
    bagging_fraction: Annotated[float, Meta(ge=0.05, le=1.0)] = 0.8  # below, a bag may hold no row
    lambda_l2: Annotated[float, Meta(ge=0.0), Range(0.1, 100.0, log=True)] = 5.0
    view: bool = True

    comments: ClassVar[Comments] = {
        "rounds": "trees of each booster, at horizons beyond the next bar",
        "next_bar_rounds": "trees of each booster of the next bar, of which there is more to learn",
        "learning_rate": "of each round",
        "num_leaves": "of a tree",
        "min_data_in_leaf": "rows; the main guard against learning noise",
        "feature_fraction": "share of the features that a tree may use",
        "bagging_fraction": "share of the rows that a tree sees",
        "lambda_l2": "shrinks the leaves",
        "view": "shift the median at horizons where that clearly beat the last price on the stop block",
    }


class LSTMConfig(Section, frozen=True, kw_only=True):
    """The network that reads the look-back window."""

    lookback: Annotated[int, Meta(ge=24, le=1024)] = 64
    patch: Annotated[int, Meta(ge=1, le=64)] = 4
    hidden: Annotated[int, Meta(ge=4, le=256), Range(16, 64, log=True, whole=True)] = 32
    members: Annotated[int, Meta(ge=1, le=20)] = 1
    dropout: Annotated[float, Meta(ge=0.0, lt=0.9), Range(0.1, 0.6)] = 0.4
    samples: Annotated[int, Meta(ge=1, le=1000)] = 100
    epochs: Annotated[int, Meta(ge=1, le=1000)] = 40
    patience: Positive = 3
    batch: Annotated[int, Meta(ge=16, le=65_536)] = 512
    learning_rate: Annotated[float, Meta(gt=0.0, le=0.1), Range(0.0005, 0.005, log=True)] = 0.002
    weight_decay: Annotated[float, Meta(ge=0.0, le=1.0), Range(0.001, 0.1, log=True)] = 0.02
    max_rows: Annotated[int, Meta(ge=200, le=100_000_000)] = 40_000
    strength: Annotated[float, Meta(ge=0.0, le=1.0), Range(0.25, 1.0)] = 0.75
    view: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"

    comments: ClassVar[Comments] = {
        "lookback": "bars that the network sees; a multiple of patch",
        "patch": "bars per step",
        "hidden": "units in each direction",
        "members": "networks to average, each with its own seed; more than one adds next to nothing",
        "dropout": "share of values dropped, in training and in forecast samples",
        "samples": "per forecast, over all members",
        "epochs": "at most; early stopping usually ends sooner",
        "patience": "epochs without a better score on the stop block",
        "batch": "rows per step",
        "learning_rate": "of each step",
        "weight_decay": "shrinks the weights",
        "max_rows": "with more rows, training takes an even sample of this many",
        "strength": "share of the learned volatility correction that is applied, given unlimited history",
        "view": "shift the median at horizons where that clearly beat the last price on the stop block",
        "device": "auto (CUDA if there is one), cpu or cuda, for training; forecasts are made on the CPU",
    }

    def __post_init__(self) -> None:
        if self.lookback % self.patch:
            raise ValueError(f"lookback must be a multiple of patch, found {self.lookback} and {self.patch}")


class EnsembleConfig(Section, frozen=True, kw_only=True):
    """The ensemble of the others."""

    members: tuple[MemberKind, ...] = AVERAGED

    comments: ClassVar[Comments] = {
        "members": "models to average, those whose libraries are installed; har is a volatility model",
    }


class TuneConfig(Section, frozen=True, kw_only=True):
    """The search for better settings of a model."""

    use: bool = True
    trials: Annotated[int, Meta(ge=1, le=10_000)] = 40
    folds: Annotated[int, Meta(ge=2, le=20)] = 4

    comments: ClassVar[Comments] = {
        "use": "let train and backtest use the settings that `cryptocast tune` adopted for the same market",
        "trials": "per study, unless --trials says otherwise",
        "folds": "blocks of time that each trial is scored on, all of them before the hold-out",
    }


class BacktestConfig(Section, frozen=True, kw_only=True):
    """The walk-forward evaluation."""

    step_bars: Positive = 7
    refit_every_bars: Positive = 91
    hourly_step_bars: Positive = 6
    hourly_refit_every_bars: Positive = 91 * 24
    embargo_bars: Bars = 0
    window_bars: Bars = 0
    placebo_block_bars: Positive = 5
    models: tuple[KindName, ...] = ("baseline", "lightgbm", "mix")

    comments: ClassVar[Comments] = {
        "step_bars": "between forecast origins, on daily bars",
        "refit_every_bars": "between two refits, on daily bars",
        "hourly_step_bars": "between forecast origins, on hourly bars",
        "hourly_refit_every_bars": "between two refits, on hourly bars",
        "embargo_bars": "bars left out before each refit, beyond the purge of unfinished labels",
        "window_bars": "bars that each refit learns from; 0: all before it",
        "placebo_block_bars": "bars that --placebo keeps together when it shuffles prices",
        "models": "walked forward without --model; mix: the mean of the others",
    }


class StrategyConfig(Section, frozen=True, kw_only=True):
    """The strategy that a backtest trades on the forecasts, and what trading costs."""

    target_volatility: Annotated[float, Meta(gt=0.0, le=5.0)] = 0.4
    max_weight: Annotated[float, Meta(gt=0.0, le=10.0)] = 1.0
    fee_bps: Annotated[float, Meta(ge=0.0, le=1000.0)] = 10.0
    slippage_bps: Annotated[float, Meta(ge=0.0, le=1000.0)] = 2.0
    close_only_slippage_bps: Annotated[float, Meta(ge=0.0, le=1000.0)] = 5.0
    draws: Annotated[int, Meta(ge=100, le=100_000)] = 1000

    comments: ClassVar[Comments] = {
        "target_volatility": "annual; a backtest sizes long positions to this forecast volatility",
        "max_weight": "largest share of equity in one coin",
        "fee_bps": "of the traded value, each way",
        "slippage_bps": "added where trades fill at the next open",
        "close_only_slippage_bps": "added instead where bars have closes only and trades fill at the same close",
        "draws": "bootstrap samples; random entries use at most 200",
    }


class GateConfig(Section, frozen=True, kw_only=True):
    """When a version may become production."""

    alpha: Share = 0.05
    coverage_sigmas: Annotated[float, Meta(gt=0.0)] = 3.0
    margin: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.002
    min_live: Positive = 60
    max_evidence_age_days: Positive = 180

    comments: ClassVar[Comments] = {
        "alpha": "significance level of the tests that decide a promotion",
        "coverage_sigmas": "between versions and live: coverage this many standard errors from nominal is rejected",
        "margin": "a challenger's mean CRPS over the horizons must be lower than production's by this share",
        "min_live": "live bars of both with known outcomes before they decide; until then stored forecasts do",
        "max_evidence_age_days": "a recipe that was last walked forward longer ago is not refreshed",
    }


class NotifyConfig(Section, frozen=True, kw_only=True):
    """Who is told of what happens: the address itself is a secret of the environment."""

    template: Literal["auto", "json", "telegram", "slack", "ntfy"] = "auto"
    max_age_hours: Annotated[float, Meta(gt=0.0, le=720.0)] = 24.0
    fallback_minutes: Annotated[float, Meta(ge=0.0, le=43_200.0)] = 60.0

    comments: ClassVar[Comments] = {
        "template": "of what CRYPTOCAST_NOTIFY_URL gets: json, telegram, slack or ntfy; auto: by its host, else json",
        "max_age_hours": "a notice that could not be sent for so long is given up",
        "fallback_minutes": "a server tells when another model has answered for a coin for so long",
    }


class ServeConfig(Section, frozen=True, kw_only=True):
    """The HTTP server."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    max_ids: Annotated[int, Meta(ge=1, le=500)] = 50
    request_timeout_s: Seconds = 10.0
    receive_timeout_s: Seconds = 20.0
    keep_alive_s: Annotated[float, Meta(ge=1.0, le=1e6)] = 75.0
    max_concurrency: Positive = 2000
    client_rate_per_s: Annotated[float, Meta(ge=0.0)] = 100.0
    client_connections: NotNegative = 1024
    max_header_bytes: Annotated[int, Meta(ge=1024, le=2_147_483_647)] = 16_384
    max_body_bytes: NotNegative = 65_536
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    prices_fresh_s: Seconds = 30.0
    prices_keep_s: Seconds = 3600.0
    refresh: bool = True
    lame_duck_s: Annotated[float, Meta(ge=0.0, le=60.0)] = 3.0
    drain_s: Seconds = 10.0
    access_log: bool = False

    comments: ClassVar[Comments] = {
        "host": "any other address requires CRYPTOCAST_SERVE_TOKEN or --insecure",
        "port": "0: any free port",
        "max_ids": "coins per request",
        "request_timeout_s": "then 503 with Retry-After",
        "receive_timeout_s": "to receive a whole request, or for a client to read its answer; then it is cut off",
        "keep_alive_s": "idle connections stay open this long; longer than clients keep theirs",
        "max_concurrency": "requests waiting at a time; more get 503 with Retry-After",
        "client_rate_per_s": "per token, or address without one; bursts of twenty times that, then 429; 0: no limit",
        "client_connections": "per address; more are closed at once; 0: no limit",
        "max_header_bytes": "all headers together, else 431; the request's address too, else 414",
        "max_body_bytes": "of the body of a request, else 413; only that of /login is read",
        "cors_origins": 'origins whose pages may read answers, e.g. "https://example.org"; "*": any',
        "trusted_proxies": 'your proxies, as addresses or networks, e.g. "10.0.0.0/8"; their X-Forwarded-For counts',
        "prices_fresh_s": "after this, a live price is fetched again in the background",
        "prices_keep_s": "how long an old price may be served, with its age, while the upstream fails",
        "refresh": "fetch new bars of [data] coins when they close, if the source is auto or coingecko",
        "lame_duck_s": "after SIGTERM: not ready, but still accepting requests",
        "drain_s": "then: for requests under way to finish",
        "access_log": "a line of JSON for each request on standard output; also --access-log",
    }


class Config(Section, frozen=True, kw_only=True):
    """Every setting. `root` is the folder that relative paths start from."""

    store: StoreConfig = StoreConfig()
    data: DataConfig = DataConfig()
    coingecko: CoinGeckoConfig = CoinGeckoConfig()
    exchanges: ExchangesConfig = ExchangesConfig()
    quality: QualityConfig = QualityConfig()
    simulated: SimulatedConfig = SimulatedConfig()
    features: FeaturesConfig = FeaturesConfig()
    models: ModelsConfig = ModelsConfig()
    series: dict[str, SeriesConfig] = {}
    split: SplitConfig = SplitConfig()
    forecast: ForecastConfig = ForecastConfig()
    train: TrainConfig = TrainConfig()
    lightgbm: LightGBMConfig = LightGBMConfig()
    lstm: LSTMConfig = LSTMConfig()
    ml_ensemble: EnsembleConfig = EnsembleConfig()
    tune: TuneConfig = TuneConfig()
    backtest: BacktestConfig = BacktestConfig()
    strategy: StrategyConfig = StrategyConfig()
    gate: GateConfig = GateConfig()
    notify: NotifyConfig = NotifyConfig()
    serve: ServeConfig = ServeConfig()

    def steps(self, granularity: Granularity) -> tuple[int, int]:
        """Bars between origins and between refits of a walk-forward, unless a command names others."""
        if granularity == "hourly":
            return self.backtest.hourly_step_bars, self.backtest.hourly_refit_every_bars
        return self.backtest.step_bars, self.backtest.refit_every_bars

    def members(self, kind: str) -> tuple[str, ...]:
        """The kinds that an ensemble averages; none for any other name."""
        return tuple(getattr(self, kind).members) if kind in KINDS and KINDS[kind].ensemble else ()

    def horizons(self, granularity: Granularity) -> tuple[int, ...]:
        """The horizons, in bars, that are forecast unless a command names others."""
        return self.forecast.hourly_horizons if granularity == "hourly" else self.forecast.daily_horizons


def load_config(path: Path | None, *, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Config:
    """Read the settings: the file named, else `config.toml` in the folder, else the defaults; then the environment.

    Relative paths in the file count from the file's folder; in the defaults, from `folder` (the working directory).
    `CRYPTOCAST_SECTION__KEY` overrides one setting; lists are given as TOML or separated by commas. Raises ConfigError
    that names the key, what was found and the nearest known key.
    """
    folder = Path.cwd() if folder is None else folder
    path = settings_file(path, folder)
    values, overrides = _read(path, os.environ if environ is None else environ)
    origin = _origin(path)
    for section, key, text in overrides:
        values.setdefault(section, {})[key] = _parse_override(section, key, text)
    if path is not None and overrides:
        origin = f"{path}, overridden by {', '.join(_variable(section, key) for section, key, _ in overrides)}"
    config = _convert(values, origin)
    root = path.resolve().parent if path is not None else folder.resolve()
    store = msgspec.structs.replace(config.store, path=root / config.store.path.expanduser())
    features, models = (
        msgspec.structs.replace(part, file=str(root / Path(part.file).expanduser()) if part.file else "")
        for part in (config.features, config.models)
    )
    series = {
        name: msgspec.structs.replace(one, file=str(root / Path(one.file).expanduser())) if one.file else one
        for name, one in config.series.items()
    }
    _check_meaning(config, origin)
    return msgspec.structs.replace(config, store=store, features=features, models=models, series=series)


def settings_file(path: Path | None, folder: Path) -> Path | None:
    """The file that is read: the one named, else the folder's; None: there is none."""
    file = folder / "config.toml"
    return file if path is None and file.is_file() else path


def origins(path: Path | None, *, environ: Mapping[str, str]) -> dict[tuple[str, str], Origin]:
    """Where the settings that are no defaults come from, by section, as it is titled, and key. path: of the file, None
    without one. Raises ConfigError."""
    values, overrides = _read(path, environ)
    from_file: dict[tuple[str, str], Origin] = {
        (title, key): "file" for title, _, keys in _sections(values) for key in keys
    }
    return from_file | {(section, key): "environment" for section, key, _ in overrides}


def _read(path: Path | None, environ: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """What the file says, and what the environment overrides: section, key and text. Every name is known."""
    values = _read_toml(path) if path is not None else {}
    _check_names(values, _origin(path))
    return values, _overrides(environ)


def _origin(path: Path | None) -> str:
    return "the environment" if path is None else str(path)


def without_tuned(config: Config) -> Config:
    """The settings, with [tune] use = false."""
    return msgspec.structs.replace(config, tune=msgspec.structs.replace(config.tune, use=False))


def section_type(name: str) -> type[Section]:
    """The struct of one section of the file, or of each section below such a name."""
    kind = Config.__annotations__[name]
    section: type[Section] = get_args(kind)[1] if name in BY_NAME else kind
    return section


def ranges_of(section: str) -> tuple[Range, ...]:
    """What a tuning may set in one section, in the order of its settings."""
    return tuple(
        replace(fact, name=field.name)
        for field in msgspec.structs.fields(section_type(section))
        for fact in (get_args(field.type) if get_origin(field.type) is Annotated else ())
        if isinstance(fact, Range)
    )


# What a tuning may set, of each kind that has such settings.
RANGES: Final[Mapping[str, tuple[Range, ...]]] = {
    name: ranges for name in Config.__struct_fields__ if name in KINDS and (ranges := ranges_of(name))
}
TUNABLE: Final = tuple(RANGES)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors put a byte order mark first
    except FileNotFoundError:
        raise ConfigError(f"No settings file at {path}. Name another with --config, or leave it out.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The settings file {path} is not valid TOML: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The settings file {path} holds a number that is too long, or too deep a list.") from error


KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(field.name for field in msgspec.structs.fields(section_type(name))) for name in Config.__struct_fields__
}


# Settings of earlier releases, and what to write instead.
REPLACED: Final[Mapping[tuple[str, str], str]] = {
    ("data", "days"): "Write since = 2024-01-01, the day from which to fetch; without it all there is.",
    ("lightgbm", "early_stopping_rounds"): "No booster stops early: set rounds and next_bar_rounds.",
    ("lightgbm", "strength"): "Leave it out: three quarters of what is learned are used, less with a short history.",
    ("ml_ensemble", "temperature"): "Leave it out: weights do not depend on the volatility any more.",
}


def _check_names(values: dict[str, Any], origin: str) -> None:
    for name in values:
        if name not in KNOWN:
            raise ConfigError(f"{origin} has an unknown section {name!r}. {_nearest(name, KNOWN, '[{}]')}")
    for title, name, content in _sections(values):
        if not isinstance(content, dict):
            example = f"{name}.NAME" if name in BY_NAME else name
            raise ConfigError(f"{origin}: {title} must be a section, [{example}], not a value.")
        if title != name and not SERIES_NAME.fullmatch(title.removeprefix(f"{name}.")):
            raise ConfigError(f"{origin}: [{title}]: a name is of lower-case letters, digits and _, such as dvol.")
        for key in content:
            if key not in KNOWN[name]:
                raise ConfigError(_unknown_key(title, name, key, origin))


def _sections(values: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """The title of each section, the name of its struct, and its content."""
    for name, content in values.items():
        if name in BY_NAME and isinstance(content, dict):
            yield from ((f"{name}.{own}", name, keys) for own, keys in content.items())
        else:
            yield name, name, content


def _unknown_key(title: str, name: str, key: str, origin: str) -> str:
    if (name, key) in REPLACED:
        return f"{origin}: [{name}] {key} is no more. {REPLACED[name, key]}"
    elsewhere = [f"[{section}]" for section, keys in KNOWN.items() if key in keys and section not in BY_NAME]
    hint = f"It belongs to {' or '.join(elsewhere)}." if elsewhere else _nearest(key, KNOWN[name], "{}")
    return f"{origin} has an unknown key {key!r} in [{title}]. {hint}"


def _nearest(name: str, names: Iterable[str], shape: str) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    if close:
        return f"Did you mean {shape.format(close[0])}?"
    return f"Known: {', '.join(shape.format(each) for each in names)}."


def _overrides(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    overrides = []
    for name in sorted(environ):
        if not name.upper().startswith(ENV_PREFIX) or name in SECRET_NAMES:
            continue
        section, separator, key = name.removeprefix(ENV_PREFIX).lower().partition("__")
        if not (name.startswith(ENV_PREFIX) and separator and key in KNOWN.get(section, ())):
            _check_fit(name, environ[name])
        if separator:
            _check_names({section: {key: None}}, f"The environment variable {name}")
            overrides.append((section, key, environ[name]))
    return overrides


def _check_fit(name: str, value: str) -> None:
    """Refuse a variable that is nearly one of ours: it would be passed over without a word."""
    if KUBERNETES.fullmatch(name) or (name == "CRYPTOCAST_PORT" and "://" in value):
        return
    settings = {section: keys for section, keys in KNOWN.items() if section not in BY_NAME}
    names = [*SECRET_NAMES, *(_variable(section, key) for section, keys in settings.items() for key in keys)]
    whole, end = _squeezed(name), _squeezed(name).removeprefix(ENV_PREFIX)
    near = [one for one in names if _squeezed(one) == whole]
    if not near and "__" not in name:
        near = (
            [one for one in USUAL_NAMES if end == one]
            or [one for one in names if one.endswith(f"__{end}")]
            or [one for one in names if one.endswith(f"_{end}")]
            or difflib.get_close_matches(name.upper(), names, n=1, cutoff=0.85)
        )
    if near:
        raise ConfigError(
            f"The environment variable {name} is not one of cryptocast's. Did you mean {' or '.join(near)}?"
        )


def _squeezed(name: str) -> str:
    return re.sub("_+", "_", name.upper())


def _variable(section: str, key: str) -> str:
    return f"{ENV_PREFIX}{section.upper()}__{key.upper()}"


def _parse_override(section: str, key: str, text: str) -> Any:
    """The text as the type of the setting asks: TOML where that parses, else a string, or a list split at commas."""
    expected = next(field.type for field in msgspec.structs.fields(section_type(section)) if field.name == key)
    if _is_text(expected):
        return text
    if get_origin(expected) is tuple and not text.lstrip().startswith("["):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return [_parse_value(part) if _holds_numbers(expected) else part for part in parts]
    return _parse_value(text)


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _holds_numbers(expected: Any) -> bool:
    item = get_args(expected)[0]
    return any(kind is int or isinstance(kind, int) for kind in (item, *get_args(item)))


def _is_text(expected: Any) -> bool:
    bare = get_args(expected)[0] if get_origin(expected) is Annotated else expected
    return bare in (str, Path)


def _convert(values: dict[str, Any], origin: str) -> Config:
    try:
        return msgspec.convert(values, Config, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {_refusals(values) or error}.") from error


def _refusals(values: dict[str, Any]) -> str:
    """What is wrong with the first value that is refused, under its section and key."""
    for title, section, content in _sections(values):
        for field in msgspec.structs.fields(section_type(section)):
            if field.name in content:
                reason = refusal(content[field.name], field.type, _decode_path)
                if reason is not None:
                    return f"[{title}] {field.name} {reason}"
        try:
            msgspec.convert(content, section_type(section), dec_hook=_decode_path)
        except msgspec.ValidationError as error:  # each of its values may be, but not all of them together
            return f"[{title}] {error}"
    return ""


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value.strip() and "\0" not in value:
        return Path(value)
    raise TypeError("the path of a folder")


def _check_meaning(config: Config, origin: str) -> None:
    share = config.split.fit + config.split.stop
    if share >= 0.95:
        raise ConfigError(f"{origin}: [split] fit + stop is {share:.2f}; leave more than 0.05 for the hold-out.")
    for key in ("daily_horizons", "hourly_horizons"):
        horizons = getattr(config.forecast, key)
        if not horizons or list(horizons) != sorted(set(horizons)):
            raise ConfigError(f"{origin}: [forecast] {key} must be increasing and not empty, found {list(horizons)}.")
    if not config.data.coins:
        raise ConfigError(f'{origin}: [data] coins is empty; name at least one, such as "bitcoin".')
    _check_kinds(config, origin)
    _check_serve(config.serve, origin)


# What stands where kinds are named, beside those of the user's own.
OF_KINDS: Final[Mapping[tuple[str, str], Any]] = {
    ("forecast", "model"): KindOrAuto,
    ("train", "models"): tuple[TrainableKind, ...],
    ("backtest", "models"): tuple[ContenderName, ...],
}
# Words that are no name for a model of one's own: they mean something where kinds are named, or in stored scores.
TAKEN: Final = frozenset(
    {*KINDS, *Config.__struct_fields__, "auto", "all", MIX, SHIPPED, "none", "rw_empirical", "rw_gaussian", "witness"}
)


def _check_kinds(config: Config, origin: str) -> None:
    """Names that are none of the package's are those of `[models] file`; that it has them is known when it is run."""
    for (section, key), kind in OF_KINDS.items():
        value = getattr(getattr(config, section), key)
        is_list = not isinstance(value, str)
        # One of the file's own stands there as one of the package's: both may.
        names = [n if n in TAKEN or not config.models.file else TRAINABLE[0] for n in (value if is_list else (value,))]
        reason = refusal(names if is_list else names[0], kind, _decode_path)
        if reason is not None:
            raise ConfigError(f"{origin}: [{section}] {key} {reason}.")


def _check_serve(serve: ServeConfig, origin: str) -> None:
    for text in serve.cors_origins:
        if text != "*" and not WEB_ORIGIN.fullmatch(text):
            raise ConfigError(
                f"{origin}: [serve] cors_origins: {text!a} is not an origin. An origin is a scheme and a host, with a "
                'port if it has one, such as "https://example.org"; "*" allows any.'
            )
    for text in serve.trusted_proxies:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise ConfigError(
                f"{origin}: [serve] trusted_proxies holds addresses and networks, such as 10.0.0.0/8; {text!a} is "
                f"neither: {error}."
            ) from None
