"""Makes returns_golden.json beside it: the figures of quantstats 0.0.86, which drags too much along to be a test need.

python tests/scoring/returns_golden.py > tests/scoring/returns_golden.json   (with numpy, pandas and quantstats)
"""

import importlib
import json
import sys
import warnings

import numpy as np


def main() -> None:
    warnings.simplefilter("ignore")
    pandas, stats = importlib.import_module("pandas"), importlib.import_module("quantstats.stats")
    rng = np.random.default_rng(20)
    returns = np.round(0.0008 + 0.03 * rng.standard_t(4, 400) / np.sqrt(2), 6)
    returns[0] = -0.05  # a loss in the first bar: many programs do not see it in the drawdown
    series = pandas.Series(returns, index=pandas.date_range("2021-01-01", periods=400, freq="D"))
    figures = {name: float(getattr(stats, name)(series, periods=365)) for name in ("sharpe", "sortino", "volatility")}
    figures |= {name: float(getattr(stats, name)(series, periods=365)) for name in ("cagr", "calmar")}
    figures["max_drawdown"] = float(stats.max_drawdown(series))
    json.dump({"returns": returns.tolist(), **figures}, sys.stdout)


if __name__ == "__main__":
    main()
