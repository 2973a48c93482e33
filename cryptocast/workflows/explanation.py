"""What moves a lightgbm's forecasts: SHAP values of its own trees on the recent bars of one coin."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cryptocast.errors import ModelError
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.kinds import forecaster_type
from cryptocast.registry import Version
from cryptocast.workflows.coin_pool import CoinPool
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.feature_sets import feature_set_of
from cryptocast.workflows.forecast import pool_of_fit, served_matrix


@dataclass(frozen=True, slots=True)
class ShapValues:
    """By feature, in logs of the volatility, the mean over horizons: typical, the mean size over `bars` recent bars;
    latest, what the last bar's value adds."""

    typical: Mapping[str, float]
    latest: Mapping[str, float]
    bars: int


def explain(
    context: Context, request: Resolved, pool: CoinPool, version: Version, files: Mapping[str, bytes], *, rows: int
) -> ShapValues:
    """The SHAP values of a version on the last `rows` bars of its coin. Raises ModelError if it cannot be asked."""
    from cryptocast.models.boosting import LightGBMForecaster  # loads LightGBM

    features = feature_set_of(version, context.config)
    model = CalibratedForecaster.load(files, forecaster_type(version.manifest.kind))
    if not isinstance(model.inner, LightGBMForecaster):
        raise ModelError(f"{version.name} is no lightgbm: only trees have these values.")
    whole, _ = pool_of_fit(context, request, pool, version)
    matrix = served_matrix(model, whole, version.manifest.horizons, features, rows=rows)
    own = np.flatnonzero(matrix.coin_names == version.key.coin)[-rows:]
    shares = model.inner.contributions(matrix.rows(own))[:, :, :-1]
    names = model.inner.feature_names
    typical, latest = np.abs(shares).mean(axis=(0, 1)), shares[-1].mean(axis=0)
    return ShapValues(
        typical=dict(zip(names, typical.tolist(), strict=True)),
        latest=dict(zip(names, latest.tolist(), strict=True)),
        bars=len(own),
    )
