"""A page of made-up numbers that looks like a real one: random walks with changing volatility, seeded."""

import math
from dataclasses import replace
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from cryptocast.evaluation.report import (
    CoinScore,
    ConfidenceSet,
    CostRow,
    CoverageRow,
    CrossValidatedPaths,
    Curve,
    DelayRow,
    Estimate,
    Fan,
    FoldRow,
    Importance,
    Page,
    Pit,
    Placebo,
    Problem,
    Reliability,
    Scores,
    SkillRow,
    StatedProbability,
    StrategyRow,
    Trading,
    Verdict,
)
from cryptocast.evaluation.report.page import Word
from cryptocast.evaluation.report.words import ahead
from cryptocast.scoring.quantiles import LEVELS

COINS = (
    "bitcoin",
    "ethereum",
    "solana",
    "ripple",
    "cardano",
    "dogecoin",
    "polkadot",
    "litecoin",
    "chainlink",
    "stellar",
    "monero",
    "avalanche-2",
)
PRICES = (64_210.0, 3_120.5, 148.2, 0.52, 0.41, 0.121, 6.4, 82.7, 14.3, 0.104, 162.0, 0.0000231)
MODELS = ("baseline", "lightgbm", "mix")
REFERENCES = ("rw_empirical", "rw_gaussian", "baseline")
HORIZONS = (1, 7, 14, 30)
DAY = 86_400_000_000
START = 1_640_995_199_999_000  # 2021-12-31 23:59:59.999
NOISE = [NormalDist().inv_cdf(float(level)) for level in LEVELS]


def demo_page(coins: int = 12, origins: int = 60, seed: int = 7) -> Page:
    """The page of `coins` coins with fans of `origins` weekly origins."""
    rng = np.random.default_rng(seed)
    names = COINS[:coins]
    return Page(
        title="Backtest of baseline, lightgbm and mix",
        coins=names,
        models=MODELS,
        chosen="mix",
        horizons=HORIZONS,
        bar="day",
        start=START,
        end=START + 1_200 * DAY,
        verdicts=tuple(verdict(rng, model, horizon) for model in MODELS for horizon in HORIZONS),
        skills=tuple(
            SkillRow(m, h, r, estimate(rng, 0.02 if m != r else 0.0, 0.015 * math.sqrt(h / 7)), 170)
            for r in REFERENCES
            for m in MODELS
            for h in HORIZONS
            if m != r
        ),
        coin_scores=tuple(coin_score(rng, coin, m, h) for coin in names for m in MODELS for h in HORIZONS),
        scores=tuple(
            Scores(
                m,
                h,
                170 * coins,
                (
                    ("CRPS", 0.016 * math.sqrt(h)),
                    ("interval score", 0.21 * math.sqrt(h)),
                    ("MAE", 0.022 * math.sqrt(h)),
                    ("MASE", 0.98),
                    ("direction", 0.51),
                ),
            )
            for h in HORIZONS
            for m in (*MODELS, "rw_empirical", "rw_gaussian")
        ),
        confidence_sets=tuple(ConfidenceSet(h, ("mix", "lightgbm"), ("rw_gaussian",), 0.1) for h in HORIZONS),
        fans=tuple(fan(rng, coin, price, origins) for coin, price in zip(names, PRICES, strict=False)),
        reliability=tuple(reliability(rng, m, h) for m in MODELS for h in HORIZONS),
        pits=tuple(pit(rng, m, h) for m in MODELS for h in HORIZONS),
        probabilities=tuple(probability(rng, m, h) for m in MODELS for h in HORIZONS),
        coverage=coverage(rng, names),
        trading=trading(rng),
        placebo=Placebo(runs=20, better=1),
        folds=tuple(fold(rng, number) for number in range(1, 13)),
        importance=tuple(importance(rng, model) for model in ("lightgbm",)),
        conventions=(
            "CRPS: from 13 quantiles, on prices divided by the price at issue.",
            "References: rw_empirical, rw_gaussian (365 days, no drift) and the baseline; all on identical origins.",
            "Dates are close times in UTC. n counts origins; the coins of one date are one cluster.",
            "Tests: Diebold-Mariano with the correction of Harvey, Leybourne and Newbold; Holm over the table.",
            "Sharpe ratios are annual with 365 bars a year; costs are charged on the traded value.",
        ),
        problems=(Problem("terra-luna", "412 daily candles, at least 730 are needed. Fetch more or leave it out."),),
        command="cryptocast backtest --walk-forward --from 2022-01-01 --to 2025-04-14 --step 7 --report report.html",
        manifest=(
            ("schema", "cryptocast.backtest/1"),
            ("data hash", "sha256:4f1c9d27a8b35e60c2d7f18a93b4e56d0c7a2f8b1e9d3c4a5f60718293a4b5c6"),
            ("seed", "7"),
            ("refit every", "90 bars"),
            ("embargo", "0 bars"),
            ("python", "3.11.2"),
            ("numpy", "2.4.1"),
        ),
    )


def estimate(rng: np.random.Generator, centre: float, spread: float) -> Estimate:
    value = float(rng.normal(centre, spread / 2))
    return Estimate(value, value - 1.96 * spread / 2, value + 1.96 * spread / 2)


def verdict(rng: np.random.Generator, model: str, horizon: int) -> Verdict:
    if model == "baseline":
        return Verdict(
            model, horizon, "cannot tell", 171, "rw_empirical", estimate(rng, 0.003, 0.01), 0.38, None, 0.014
        )
    if horizon == 30:
        note = "Labels of 5 origins overlap."
        return Verdict(model, horizon, "cannot tell", 41, "rw_gaussian", Estimate(-0.004), None, None, None, note)
    if model == "lightgbm" and horizon == 14:
        return Verdict(model, horizon, "worse", 170, "baseline", Estimate(-0.031, -0.052, -0.01), 0.021, None, 0.024)
    value = Estimate(0.024, 0.009, 0.039)
    if horizon == 1:
        return Verdict(model, horizon, "better", 1_200, "rw_empirical", value, 0.0004, ("width",), 0.009)
    return Verdict(model, horizon, "cannot tell", 171, "rw_empirical", estimate(rng, 0.008, 0.02), 0.22, None, 0.021)


def coin_score(rng: np.random.Generator, coin: str, model: str, horizon: int) -> CoinScore:
    found = estimate(rng, 0.01, 0.04 * math.sqrt(horizon / 7))
    assert found.lower is not None
    assert found.upper is not None
    word: Word = "better" if found.lower > 0 else "worse" if found.upper < 0 else "cannot tell"
    return CoinScore(coin, model, horizon, word, 170, found)


def fan(rng: np.random.Generator, coin: str, last: float, origins: int) -> Fan:
    """Weekly origins over a random walk with volatility clusters; the model knows the volatility of today."""
    bars = origins * 7 + 31
    log_volatility = np.zeros(bars)
    for i in range(1, bars):
        log_volatility[i] = 0.97 * log_volatility[i - 1] + 0.12 * rng.normal()
    volatility = 0.03 * np.exp(log_volatility)
    log_price = np.cumsum(volatility * rng.normal(size=bars))
    close = last * np.exp(log_price - log_price[-1])
    closed_at = START + DAY * np.arange(700, 700 + bars, dtype=np.int64)
    at = np.arange(0, origins * 7, 7) + 30
    due = at[:, None] + np.array(HORIZONS)[None, :]
    outcome = np.where(due < bars, close[np.minimum(due, bars - 1)], np.nan)
    spread = volatility[at][:, None, None] * np.sqrt(np.array(HORIZONS))[None, :, None]
    return Fan(
        coin=coin,
        model="mix",
        closed_at=closed_at,
        close=close,
        issued_at=closed_at[at],
        due_at=closed_at[0] + DAY * due.astype(np.int64),
        levels=LEVELS,
        prices=close[at][:, None, None] * np.exp(spread * np.array(NOISE)[None, None, :]),
        outcome=outcome,
    )


def reliability(rng: np.random.Generator, model: str, horizon: int) -> Reliability:
    levels = np.array([0.2, 0.4, 0.6, 0.8, 0.9, 0.95])
    se = np.sqrt(levels * (1 - levels) * horizon / 1200) * 0.7
    observed = np.clip(levels - 0.02 * (model == "lightgbm") + se * rng.normal(size=6), 0, 1)
    return Reliability(model, horizon, levels, observed, se, 2_040)


def pit(rng: np.random.Generator, model: str, horizon: int) -> Pit:
    cells = 10
    edge = 0.012 if model == "lightgbm" else 0.0
    shares = np.full(cells, 0.1) + edge * np.cos(np.linspace(0, 2 * np.pi, cells)) + rng.normal(0, 0.006, cells)
    shares /= shares.sum()
    return Pit(model, horizon, shares, np.full(cells, 0.006 * math.sqrt(1 + horizon / 10)), 2_040, float(rng.uniform()))


def probability(rng: np.random.Generator, model: str, horizon: int) -> StatedProbability:
    stated = np.array([0.42, 0.46, 0.5, 0.54, 0.58])
    counts = np.array([60, 340, 1_100, 420, 80])
    se = 0.5 / np.sqrt(counts) * math.sqrt(1 + horizon / 10)
    return StatedProbability(model, horizon, stated, 0.5 + 0.4 * (stated - 0.5) + se * rng.normal(size=5), se, counts)


def coverage(rng: np.random.Generator, coins: tuple[str, ...]) -> tuple[CoverageRow, ...]:
    groups = {
        "horizon": tuple(ahead(h, "day") for h in HORIZONS),
        "coin": coins,
        "volatility": ("lowest third", "middle third", "highest third"),
        "after breaks": ("within 60 bars of a shock", "other times"),
    }
    return tuple(
        CoverageRow(group, label, model, percent, percent / 100 - 0.012 + 0.012 * float(rng.normal()), 0.011, 680)  # type: ignore[arg-type]
        for group, labels in groups.items()
        for label in labels
        for model in MODELS
        for percent in (80, 90, 95)
    )


def trading(rng: np.random.Generator) -> Trading:
    names = (
        "mix, volatility-targeted",
        "lightgbm, volatility-targeted",
        "mix, sign",
        "buy and hold",
        "random entries",
        "flat",
    )
    bars = 1_200
    market = 0.0006 + 0.03 * rng.normal(size=bars)
    returns = {
        names[0]: 0.45 * market + 0.0002,
        names[1]: 0.42 * market + 0.004 * rng.normal(size=bars),
        names[2]: np.sign(rng.normal(size=bars)) * market - 0.0006,
        names[3]: market,
        names[4]: rng.integers(0, 2, bars) * market - 0.0004,
        names[5]: np.zeros(bars),
    }
    closed_at = START + DAY * np.arange(bars, dtype=np.int64)
    curves = tuple(
        Curve(name, "strategy" if i < 3 else "baseline", closed_at, np.cumprod(1 + returns[name]))
        for i, name in enumerate(names)
    )
    return Trading(
        curves=curves,
        rows=tuple(strategy_row(curve) for curve in curves),
        costs=tuple(
            CostRow(name, tuple((bps, 0.9 - 0.02 * i - 0.012 * bps) for bps in (0, 5, 10, 20, 50)), 71.0 - 8 * i)
            for i, name in enumerate(names[:3])
        ),
        delays=tuple(DelayRow(name, 0.82 - 0.1 * i, 0.71 - 0.12 * i) for i, name in enumerate(names[:3])),
        paths=tuple(CrossValidatedPaths(name, rng.normal(0.6, 0.4, 45)) for name in names[:2]),
        trials=148,
        pbo=0.41,
        pbo_configurations=16,
        notes=("Decided at the close, filled at the next open; 10 bps of the traded value and 5 bps slippage.",),
    )


def strategy_row(curve: Curve) -> StrategyRow:
    steps = np.array([b / a - 1 for a, b in pairwise(curve.equity.tolist())])
    spread = float(steps.std(ddof=1))
    sharpe = None if spread == 0 else float(steps.mean() / spread * math.sqrt(365))
    fall = float((1 - curve.equity / np.maximum.accumulate(curve.equity)).max())
    around = Estimate(None) if sharpe is None else Estimate(sharpe, sharpe - 1.05, sharpe + 1.05)
    itself = curve.name == "buy and hold"
    return StrategyRow(
        name=curve.name,
        kind=curve.kind,
        annual_return=float(curve.equity[-1] ** (365 / len(curve.equity)) - 1),
        sharpe=around,
        difference=Estimate(None) if itself or sharpe is None else Estimate(0.12, -0.4, 0.66),
        sortino=None if sharpe is None else 1.4 * sharpe,
        calmar=None if fall == 0 else 0.4,
        max_drawdown=fall,
        turnover=12.5,
        psr=None if sharpe is None else 0.87,
        dsr=0.31 if curve.kind == "strategy" else None,
    )


def fold(rng: np.random.Generator, number: int) -> FoldRow:
    test = START + number * 90 * DAY
    losses = tuple((model, 0.021 + 0.002 * float(rng.normal())) for model in MODELS)
    rows = 8_000 + 1_080 * number
    return FoldRow(
        number, START - 730 * DAY, test - 31 * DAY, test, test + 89 * DAY, rows, 156, losses, 3.2 + number / 7
    )


def importance(rng: np.random.Generator, model: str) -> Importance:
    shares = np.sort(rng.dirichlet(np.full(40, 0.5)))[::-1]
    return Importance(model, tuple((f"feature_{i:02d}", float(share)) for i, share in enumerate(shares)))


def hostile_page() -> Page:
    """The same page, where everything that comes from outside tries to be something else than text."""
    evil = '<script>alert("1")</script>&\x00\x1b\ud800\u202e" fill="#010f00'
    page = demo_page(coins=1, origins=12)
    return replace(
        page,
        title=evil,
        coins=(evil,),
        models=(evil,),
        chosen=evil,
        bar="day<b>",
        verdicts=tuple(replace(v, model=evil, reference=evil, note=evil) for v in page.verdicts[:4]),
        skills=tuple(replace(row, model=evil, reference=evil) for row in page.skills[:4]),
        coin_scores=tuple(replace(row, coin=evil, model=evil) for row in page.coin_scores[:4]),
        scores=(Scores(evil, 1, 10, ((evil, 0.1),)),),
        fans=tuple(replace(fan, coin=evil, model=evil) for fan in page.fans),
        reliability=tuple(replace(row, model=evil) for row in page.reliability[:4]),
        pits=tuple(replace(row, model=evil) for row in page.pits[:4]),
        probabilities=tuple(replace(row, model=evil) for row in page.probabilities[:4]),
        coverage=tuple(replace(row, label=evil, model=evil) for row in page.coverage[:4]),
        trading=None
        if page.trading is None
        else replace(
            page.trading,
            curves=tuple(replace(curve, name=evil + str(i)) for i, curve in enumerate(page.trading.curves)),
            rows=tuple(replace(row, name=evil) for row in page.trading.rows),
            notes=(evil,),
        ),
        folds=(replace(page.folds[0], losses=((evil, 0.1),), note=evil),),
        importance=(Importance(evil, ((evil, 1.0),), evil),),
        conventions=(evil,),
        problems=(Problem(evil, evil),),
        command=evil,
        manifest=((evil, evil),),
    )
