"""`lstm`: how wide the next bars will be, read by a small network from the bars of a closed look-back window.

A bidirectional LSTM reads the window, some bars at a step, attention pools what it read, and one head gives for all
horizons at once the logarithm of what the volatility known at issue must be multiplied by: once by the likelihood of
the standardised return under a Student t, once by least squares on the log of the realised variance; their mean is
used. The head starts at no correction, and what it learned is shrunk by the independent blocks of time behind it.

A location that is linear in what the networks read (`models/drift_ridge.py`) is used at a horizon only if it was
clearly better than the last price on the stop block; otherwise the median stays at the last price.

One network is the default; several are averaged. How far they, and their dropout samples, disagree makes the tails
fatter. A fit that repeats the epochs of an earlier one on fewer rows goes on from its weights, with half of the epochs.

Training runs on one thread for each network, so that the result does not depend on their number: the same seed, data
and versions on one CPU give the same weights, bit for bit. Forecasts are made by NumPy in double precision.

`lstm_learner` is the settings, and loads torch when it is to learn: `training` fits, in one loop, the network of
`trainable`, and keeps what it has in a `checkpoint`. What comes out, `forecaster` with its `network`, has no torch.
"""

from typing import Final

from cryptocast.config import Config
from cryptocast.models.lstm.forecaster import LSTMForecaster
from cryptocast.models.lstm.lstm_learner import LSTMLearner

__all__ = ["FORECASTER", "LSTMForecaster", "LSTMLearner", "learner"]

FORECASTER: Final = LSTMForecaster


def learner(config: Config) -> LSTMLearner:
    """With [lstm] of the settings."""
    return LSTMLearner(config.lstm)
