"""A lightgbm for every coin: learned from some coins up to a date, asked about any coin from then on.

What decides how good a forecast is are the coins and the years that the parameters were learned on, hardly how many
bars of its own a coin has. So it reads nothing but those bars and bitcoin's at the same close: no cross-section of
coins, no volume, whose unit differs from source to source. Without bitcoin the coin itself is the market.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Final, Self, cast

import msgspec
import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.kinds import SHIPPED
from cryptocast.models.artefacts import from_json, to_json
from cryptocast.models.base import Artefacts, Forecast, Forecaster
from cryptocast.models.boosting import LightGBMForecaster
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.times import as_datetime

DATE_FILE: Final = "pretrained.json"
# Whoever changes the formula of one of these keeps the old one under another name here, or ships another artefact with
# the change: its hash covers these columns alone.
COLUMNS: Final = (
    *("ret_2", "ret_3", "high_30", "high_90", "high_365", "low_365", "zscore_30", "zscore_90", "min_ret_30"),
    *("trend_90", "rsi_14", "bb_position_20", "atr_14", "cci_20", "ema_12", "ema_200"),
    *("vol_90", "vol_365", "ewma_94", "ewma_97", "har_1", "har_7", "har_365", "parkinson_7", "rogers_satchell_7"),
    *("rogers_satchell_30", "vol_ratio_7_30", "vol_ratio_30_90", "vol_ratio_30_365", "vol_of_vol_30"),
    *("vol_zscore_365", "range_surprise_30", "range_to_close_30", "shock_30", "largest_move_7_90"),
    *("large_move_age_30", "kurtosis_90", "variance_ratio_7_90", "weekday_sin", "weekday_cos"),
    *("ret_1", "ret_7", "ret_30", "vol_7", "vol_30"),
    *("btc_ret_1", "btc_ret_7", "btc_ret_30", "btc_vol_7", "btc_vol_30", "btc_beta_60", "btc_corr_60"),
)
# What features of bitcoin are for bitcoin itself, and for a coin without it: its own column, or a constant.
OWN_MARKET: Final[dict[str, str | float]] = {
    **{f"btc_ret_{bars}": f"ret_{bars}" for bars in (1, 7, 30)},
    **{f"btc_vol_{bars}": f"vol_{bars}" for bars in (7, 30)},
    "btc_beta_60": 1.0,
    "btc_corr_60": 1.0,
}


class _Date(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    knowledge_date: int


@dataclass(frozen=True, slots=True, eq=False)
class PretrainedForecaster(LightGBMForecaster):
    """knowledge_date: microseconds, the last close that anything in it was learned from."""

    knowledge_date: int

    @classmethod
    def of(cls, model: LightGBMForecaster, knowledge_date: int) -> Self:
        """The model, for every coin."""
        parts = {part.name: getattr(model, part.name) for part in fields(LightGBMForecaster)}
        return cls(**parts, knowledge_date=knowledge_date)

    def predict(self, rows: Matrix) -> Forecast:
        """Raises DataError for a bar that closed before everything was known that it has learned from."""
        if len(rows) and int(rows.issued_at.min()) < self.knowledge_date:
            raise DataError(
                f"The pretrained model learned from bars up to {as_datetime(self.knowledge_date):%Y-%m-%d}, and "
                "forecasts none that closed before: it would know what came. Ask from then on, or another model."
            )
        return LightGBMForecaster.predict(self, rows)

    def save(self) -> Artefacts:
        """As a lightgbm, and the date."""
        return {**LightGBMForecaster.save(self), DATE_FILE: to_json(_Date(self.knowledge_date))}

    @classmethod
    def load(cls, files: Artefacts) -> Self:
        """What `save` wrote. Raises ModelError otherwise."""
        date = from_json(files, DATE_FILE, _Date, SHIPPED)
        return cls.of(LightGBMForecaster.load(files), date.knowledge_date)

    def _features(self, rows: Matrix) -> FloatArray:
        return with_own_market(LightGBMForecaster._features(self, rows), self.feature_names, rows)


def with_own_market(features: FloatArray, names: tuple[str, ...], rows: Matrix) -> FloatArray:
    """(n, F) of these names, where nothing is known of bitcoin with the coin itself in its place."""
    own = {name: OWN_MARKET[name] for name in names if name in OWN_MARKET}
    columns = [names.index(name) for name in own]
    alone = np.isnan(features[:, columns]).all(axis=1)
    if not own or not alone.any():
        return features
    features = features.copy()
    for column, source in zip(columns, own.values(), strict=True):
        values = rows.features[alone, rows.feature_names.index(source)] if isinstance(source, str) else source
        features[alone, column] = values
    return features


@dataclass(frozen=True, slots=True, eq=False)
class PretrainedLearner:
    """Learns nothing: what it fits is the model that it was made of, with the model's own calibration."""

    model: CalibratedForecaster
    kind: ClassVar[str] = SHIPPED
    calibrate: ClassVar[bool] = False

    def fit(self, train: Matrix, **_: object) -> Forecaster:  # noqa: ARG002
        """The model, whatever the rows."""
        return cast("Forecaster", self.model)
