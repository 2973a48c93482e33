"""Models trained as a user's are, on markets whose truth is known."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from cryptocast.config import Config
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.simulated.market import SimulatedMarket, simulate
from cryptocast.features.builder import add_features
from cryptocast.features.catalogue import FEATURES, Feature
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun
from cryptocast.models.fitting import TrainingResult, fit_in_time
from cryptocast.models.kinds import learner

START: Final = datetime(2015, 1, 1, tzinfo=UTC)
HORIZONS: Final = (1, 7, 14, 30)
MEMBERS: Final = ("baseline", "har", "lightgbm", "lstm")


def matrix_of(
    market: SimulatedMarket,
    coins: Sequence[str],
    bars: int,
    features: Sequence[Feature] = FEATURES,
    *,
    horizons: Sequence[int] = HORIZONS,
) -> Matrix:
    """Daily bars of the coins with these features of the catalogue."""
    candles = simulate(market, coins, bars, "daily", START)
    table = add_features(candles.lazy(), features, bar_us=BAR_US["daily"]).collect()
    return build_matrix(table, [f.name for f in features], horizons=horizons, bar_us=BAR_US["daily"])


def trained(matrix: Matrix, kinds: Sequence[str] = (*MEMBERS, "ml_ensemble")) -> Mapping[str, TrainingResult]:
    """Each kind; an ensemble behind its members, whose trainings it takes."""
    settings = Config()
    found: dict[str, TrainingResult] = {}
    for kind in kinds:
        found[kind] = fit_in_time(
            learner(kind, settings),
            matrix,
            fit=settings.split.fit,
            stop=settings.split.stop,
            block_count=settings.train.blocks,
            least_blocks=settings.train.min_independent_blocks,
            seed=settings.train.seed,
            run=FitRun(threads=2),
            members=dict(found),
        )
    return found
