"""A page of made-up numbers that looks like a real one: random walks with changing volatility, seeded."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np

from cryptocast.evaluation.answers import AnswerWord, PlainAnswer, Question
from cryptocast.evaluation.records import (
    BacktestRow,
    ConfidenceSetRecord,
    CostRecord,
    CoverageOfGroup,
    CoverageOfLevel,
    DelayRecord,
    HonestyRecord,
    HorizonScore,
    IntervalCoverage,
    IntervalQuality,
    PathsRecord,
    PitRecord,
    Placebo,
    PointScores,
    SkillInterval,
    StatedBin,
    StrategyRecord,
    TradingRecord,
)
from cryptocast.evaluation.report import FeatureShares, FoldLosses, ForecastFan, ReportPage
from cryptocast.evaluation.trading import Curve, Trading
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
FIRST = datetime(2022, 1, 1, tzinfo=UTC)
NOT_ENOUGH: AnswerWord = "not_enough_data"
NOISE = [NormalDist().inv_cdf(float(level)) for level in LEVELS]


def demo_page(coins: int = 12, origins: int = 60, seed: int = 7) -> ReportPage:
    """The page of `coins` coins with fans of `origins` weekly origins."""
    rng = np.random.default_rng(seed)
    names = COINS[:coins]
    own = names if len(names) > 1 else ()
    return ReportPage(
        title="Backtest of baseline, lightgbm and mix",
        coins=names,
        chosen="mix",
        horizons=HORIZONS,
        bar="day",
        start=START,
        end=START + 1_200 * DAY,
        rows=(
            *(row(rng, model, None) for model in MODELS),
            *(row(rng, model, coin) for coin in own for model in MODELS),
        ),
        honesty=tuple(record(rng, model, horizon, names) for horizon in HORIZONS for model in MODELS),
        confidence_sets=tuple(
            ConfidenceSetRecord(horizon=h, members=("mix", "lightgbm"), left_out=("rw_gaussian",), alpha=0.1)
            for h in HORIZONS
        ),
        fans=tuple(fan(rng, coin, price, origins) for coin, price in zip(names, PRICES, strict=False)),
        trading=trading(rng),
        placebo=Placebo(runs=20, block_bars=20, better=1, direction=0, shares=(0.01, 0.24)),
        folds=tuple(fold(rng, number) for number in range(1, 13)),
        importance=tuple(importance(rng, model) for model in ("lightgbm",)),
        conventions=(
            "CRPS: from 13 quantiles, on prices divided by the price at issue.",
            "References: rw_empirical, rw_gaussian (365 days, no drift) and the baseline; all on identical origins.",
            "Dates are close times in UTC. n counts origins; the coins of one date are one cluster.",
            "Tests: Diebold-Mariano with the correction of Harvey, Leybourne and Newbold; Holm over the table.",
            "Sharpe ratios are annual with 365 bars a year; costs are charged on the traded value.",
        ),
        left_out=(("terra-luna", "412 daily candles, at least 730 are needed. Fetch more or leave it out."),),
        command="cryptocast backtest --walk-forward --from 2022-01-01 --to 2025-04-14 --step 7 --report report.html",
        manifest=(
            ("schema", "cryptocast.run/1"),
            ("data hash", "sha256:4f1c9d27a8b35e60c2d7f18a93b4e56d0c7a2f8b1e9d3c4a5f60718293a4b5c6"),
            ("seed", "7"),
            ("refit every", "90 bars"),
            ("embargo", "0 bars"),
            ("python", "3.11.2"),
            ("numpy", "2.4.1"),
        ),
    )


def row(rng: np.random.Generator, model: str, coin: str | None) -> BacktestRow:
    scores = tuple(score(rng, model, horizon, pooled=coin is None) for horizon in HORIZONS)
    return BacktestRow(model=model, coin=coin, scores=scores)


def score(rng: np.random.Generator, model: str, horizon: int, *, pooled: bool) -> HorizonScore:
    references = [name for name in REFERENCES if name != model]
    answers = tuple(answer(rng, model, horizon, question, pooled=pooled) for question in questions(model))
    return HorizonScore(
        horizon=horizon,
        n=2_040,
        dates=170,
        crps={name: 0.016 * math.sqrt(horizon) for name in (model, *references)},
        skill=dict.fromkeys(references, 0.01),
        p_better=dict.fromkeys(references, 0.2),
        p_worse_than_baseline=None,
        coverage=tuple(IntervalCoverage(percent=p, share=share(rng, p), se=0.011, n=2_040) for p in (80, 90, 95)),
        mape=3.1,
        mape_random_walk=3.0,
        answers=answers,
    )


def share(rng: np.random.Generator, percent: int) -> float:
    return percent / 100 - 0.012 + 0.012 * float(rng.normal())


def ends(rng: np.random.Generator, centre: float, spread: float) -> tuple[float, float, float]:
    """A value and the ends of its interval."""
    value = float(rng.normal(centre, spread / 2))
    return value, value - 1.96 * spread / 2, value + 1.96 * spread / 2


def questions(model: str) -> list[Question]:
    """The baseline is not compared with itself."""
    return [question for question in Question if model != "baseline" or question is not Question.MODEL]


def answer(rng: np.random.Generator, model: str, horizon: int, question: Question, *, pooled: bool) -> PlainAnswer:
    """A day ahead there is skill; 14 days ahead lightgbm is worse than the baseline; a month ahead nothing is known."""
    word: AnswerWord
    centre, spread = (0.02, 0.01) if horizon == 1 else (0.008, 0.03)
    margin, word = 0.005, NOT_ENOUGH
    if question is Question.INTERVALS:
        centre, spread, margin, word = 0.79, 0.02, 0.05, "yes"
    elif question is Question.DIRECTION:
        centre, spread, margin, word = 0.5, 0.0, 0.01, "no"
    elif question is Question.MODEL and model == "lightgbm" and horizon == 14:
        centre, spread, word = -0.031, 0.02, "no"
    value, lower, upper = ends(rng, centre, spread)
    if question in (Question.WIDTH, Question.MODEL) and lower > 0:
        word = "yes"
    few = pooled and horizon == 30 and question is Question.WIDTH
    return PlainAnswer(
        question=question,
        answer=NOT_ENOUGH if few else word,
        estimate=value,
        lower=None if few else lower,
        upper=None if few else upper,
        nominal={Question.INTERVALS: 0.8, Question.DIRECTION: 0.5}.get(question, 0.0),
        margin=margin,
        n=41 if few else 1_200,
        n_needed=300 if few else 4_321 if word == NOT_ENOUGH else None,
        against={Question.WIDTH: "rw_gaussian", Question.MODEL: "baseline"}.get(question),
        level=80 if question is Question.INTERVALS else None,
    )


def record(rng: np.random.Generator, model: str, horizon: int, coins: tuple[str, ...]) -> HonestyRecord:
    return HonestyRecord(
        model=model,
        horizon=horizon,
        n=2_040,
        skills=tuple(
            SkillInterval(reference=r, value=value, lower=lower, upper=upper)
            for r in REFERENCES
            if r != model
            for value, lower, upper in [ends(rng, 0.02, 0.015 * math.sqrt(horizon / 7))]
        ),
        confidence_p=0.4,
        pit=pit(rng, model),
        levels=levels(rng, model, horizon),
        coverage=coverage(rng, coins),
        stated=stated(rng, horizon),
        brier=0.25,
        intervals=tuple(
            IntervalQuality(percent=p, score=0.21 * math.sqrt(horizon), width=0.18 * math.sqrt(horizon))
            for p in (80, 90, 95)
        ),
        points=PointScores(
            mae=0.022 * math.sqrt(horizon),
            rmse=0.03 * math.sqrt(horizon),
            mape=2.2 * math.sqrt(horizon),
            smape=2.1 * math.sqrt(horizon),
            mase=0.98,
            r2=0.001,
            views=2_040,
            direction=0.51,
            direction_lower=0.48,
            direction_upper=0.54,
        ),
    )


def fan(rng: np.random.Generator, coin: str, last: float, origins: int) -> ForecastFan:
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
    return ForecastFan(
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


def levels(rng: np.random.Generator, model: str, horizon: int) -> tuple[CoverageOfLevel, ...]:
    found = []
    for level in LEVELS.tolist():
        se = math.sqrt(level * (1 - level) * horizon / 1200) * 0.7
        tails = 0.01 if model == "lightgbm" else 0.0
        off = (tails if level < 0.5 else -tails) + se * float(rng.normal()) / 2
        found.append(CoverageOfLevel(level=level, share=float(np.clip(level + off, 0, 1)), se=se))
    return tuple(found)


def pit(rng: np.random.Generator, model: str) -> PitRecord:
    cells = 10
    edge = 0.012 if model == "lightgbm" else 0.0
    shares = np.full(cells, 0.1) + edge * np.cos(np.linspace(0, 2 * np.pi, cells)) + rng.normal(0, 0.006, cells)
    shares /= shares.sum()
    p = float(rng.uniform())
    return PitRecord(
        shares=tuple(shares.tolist()), bias=0.01, spread=0.02, p_uniform=p, p_level_memory=None, p_spread_memory=None
    )


def stated(rng: np.random.Generator, horizon: int) -> tuple[StatedBin, ...]:
    bins = []
    for probability, count in ((0.42, 60), (0.46, 340), (0.5, 1_100), (0.54, 420), (0.58, 80)):
        se = 0.5 / math.sqrt(count) * math.sqrt(1 + horizon / 10)
        seen = float(np.clip(0.5 + 0.4 * (probability - 0.5) + se * rng.normal(), 0.05, 0.95))
        lower, upper = max(0.0, seen - 2 * se), min(1.0, seen + 2 * se)
        bins.append(StatedBin(stated=probability, observed=seen, lower=lower, upper=upper, n=count))
    return tuple(bins)


def coverage(rng: np.random.Generator, coins: tuple[str, ...]) -> tuple[CoverageOfGroup, ...]:
    groups: dict[Literal["coin", "volatility", "after breaks"], tuple[str, ...]] = {
        "coin": coins,
        "volatility": ("lowest third", "middle third", "highest third"),
        "after breaks": ("at most 60 bars after a break", "otherwise"),
    }
    return tuple(
        CoverageOfGroup(by=by, label=label, percent=percent, share=share(rng, percent), se=0.011, n=680)
        for by, labels in groups.items()
        for label in labels
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
    record = TradingRecord(
        start=FIRST,
        end=FIRST + timedelta(days=bars),
        bars=bars,
        periods=365.0,
        execution="next_bar",
        filled_at="next open",
        fee_bps=10.0,
        slippage_bps=5.0,
        target_volatility=0.4,
        rows=tuple(strategy_row(curve) for curve in curves),
        costs=tuple(
            CostRecord(
                name=name,
                sharpe_by_bps=tuple((float(bps), 0.9 - 0.02 * i - 0.012 * bps) for bps in (0, 5, 10, 20, 50)),
                break_even_bps=71.0 - 8 * i,
            )
            for i, name in enumerate(names[:3])
        ),
        delays=tuple(
            DelayRecord(name=name, sharpe_by_delay=(0.82 - 0.1 * i, 0.71 - 0.12 * i, 0.6 - 0.12 * i))
            for i, name in enumerate(names[:3])
        ),
        paths=tuple(PathsRecord(name=name, sharpe=tuple(rng.normal(0.6, 0.4, 45).tolist())) for name in names[:2]),
        trials=148,
        pbo=0.41,
        pbo_configurations=16,
        notes=("Decided at the close, filled at the next open.",),
    )
    return Trading(record, curves)


def strategy_row(curve: Curve) -> StrategyRecord:
    steps = np.array([b / a - 1 for a, b in pairwise(curve.equity.tolist())])
    spread = float(steps.std(ddof=1))
    sharpe = None if spread == 0 else float(steps.mean() / spread * math.sqrt(365))
    fall = float((1 - curve.equity / np.maximum.accumulate(curve.equity)).max())
    compared = curve.name != "buy and hold" and sharpe is not None
    return StrategyRecord(
        name=curve.name,
        kind=curve.kind,
        model=None,
        total_return=float(curve.equity[-1] - 1),
        annual_return=float(curve.equity[-1] ** (365 / len(curve.equity)) - 1),
        sharpe=sharpe,
        sharpe_lower=None if sharpe is None else sharpe - 1.05,
        sharpe_upper=None if sharpe is None else sharpe + 1.05,
        sharpe_per_bar=None,
        difference=0.12 if compared else None,
        difference_lower=-0.4 if compared else None,
        difference_upper=0.66 if compared else None,
        sortino=None if sharpe is None else 1.4 * sharpe,
        calmar=None if fall == 0 else 0.4,
        max_drawdown=-fall,
        turnover=12.5,
        exposure=0.5,
        psr=None if sharpe is None else 0.87,
        dsr=0.31 if curve.kind == "strategy" else None,
    )


def fold(rng: np.random.Generator, number: int) -> FoldLosses:
    test = START + number * 90 * DAY
    losses = {model: 0.021 + 0.002 * float(rng.normal()) for model in MODELS}
    rows = 8_000 + 1_080 * number
    return FoldLosses(number, START - 730 * DAY, test - 31 * DAY, test, test + 89 * DAY, rows, 156, losses)


def importance(rng: np.random.Generator, model: str) -> FeatureShares:
    shares = np.sort(rng.dirichlet(np.full(40, 0.5)))[::-1]
    return FeatureShares(model, tuple((f"feature_{i:02d}", float(share)) for i, share in enumerate(shares)))


def hostile_page() -> ReportPage:
    """The same page, where everything that comes from outside tries to be something else than text."""
    evil = '<script>alert("1")</script>&\x00\x1b\ud800\u202e" fill="#010f00'
    page = demo_page(coins=1, origins=12)
    assert page.trading is not None
    change = msgspec.structs.replace
    told = page.trading.record
    scores = tuple(
        change(
            score,
            crps=dict.fromkeys((evil, "rw_empirical"), 0.1),
            answers=tuple(change(one, against=one.against and evil) for one in score.answers),
            cause=evil,
        )
        for score in page.rows[-1].scores
    )
    return replace(
        page,
        title=evil,
        coins=(evil,),
        chosen=evil,
        bar="day<b>",
        rows=(BacktestRow(model=evil, coin=None, scores=scores), BacktestRow(model=evil, coin=evil, scores=scores)),
        honesty=tuple(
            change(
                one,
                model=evil,
                skills=tuple(change(skill, reference=evil) for skill in one.skills),
                coverage=tuple(change(part, label=evil) for part in one.coverage),
            )
            for one in page.honesty
            if one.model == "mix"
        ),
        confidence_sets=tuple(change(one, members=(evil,), left_out=(evil,)) for one in page.confidence_sets),
        fans=tuple(replace(fan, coin=evil, model=evil) for fan in page.fans),
        trading=Trading(
            change(
                told,
                rows=tuple(change(one, name=evil) for one in told.rows),
                costs=tuple(change(one, name=evil) for one in told.costs),
                delays=tuple(change(one, name=evil) for one in told.delays),
                paths=tuple(change(one, name=evil) for one in told.paths),
                notes=(evil,),
            ),
            tuple(replace(curve, name=evil + str(i)) for i, curve in enumerate(page.trading.curves)),
        ),
        folds=(replace(page.folds[0], losses={evil: 0.1}),),
        importance=(FeatureShares(evil, ((evil, 1.0),), evil),),
        conventions=(evil,),
        left_out=((evil, evil),),
        command=evil,
        manifest=((evil, evil),),
    )
