"""Makes docs/features.md from the catalogue: python docs/make_features.py. A test holds the page against it."""

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Final

from cryptocast.features import FEATURES, LOOKBACK, Feature

PAGE: Final = Path(__file__).with_name("features.md")

HEAD: Final = """\
# Features

What the models see: {count} columns, each a Polars expression, made from candles by one builder that training, serving
and the leakage audit share. `cryptocast features --list` prints this catalogue (`--family volatility` a part of it,
`--json` for machines), `cryptocast features bitcoin` the latest values, `--out table.parquet` all of them.

All of them are free of scale: returns, logs and shares, so that a coin priced 1e-10 gives the same values as one priced
1e5. What is not known is null: within the warm-up, across a gap, where highs, volumes or coins are missing. Nothing is
filled.

- **warm-up**: leading nulls, in bars, on a series without gaps.
- **memory**: bars until the start of the history matters less than 1e-8. Serving keeps {lookback:,} bars, the most that
  any feature needs.
- **needs**: what must be known beyond closes: `range` true highs and lows, `bar_volume` the bar's own volume (not
  CoinGecko's rolling sum), `market_cap`, `bitcoin` its closes in the pool, `coins` three coins or more.

"""

OWN: Final = """
## Features of your own

Write the same table line into a Python file, and name the file in `config.toml` (its path counts from there):

```toml
[features]
file = "my_features.py"
```

```python
# my_features.py
import polars as pl

from cryptocast.features import Feature

CLOSE, HIGH, LOW = pl.col("close"), pl.col("high"), pl.col("low")

FEATURES = (
    Feature("my_gap_5", "price", (CLOSE / CLOSE.shift(5)).log(), warmup=5, memory=5, source="mine", unit="log"),
    Feature(
        "my_close_in_range_10",
        "technical",
        (CLOSE - LOW.rolling_min(10)) / (HIGH.rolling_max(10) - LOW.rolling_min(10)),
        warmup=9,
        memory=9,
        source="mine",
        unit="share",
        needs=frozenset({"range"}),
    ),
    Feature(
        "my_volume_rank",
        "market",
        (pl.col("volume").rank() - 1) / (pl.len() - 1),
        warmup=0,
        memory=0,
        source="mine",
        unit="share",
        needs=frozenset({"bar_volume"}),
        scope="moment",
    ),
)
```

`expr` is a `pl.Expr` over `open`, `high`, `low`, `close`, `volume`, `market_cap` (positive, finite or null), as every
formula of the catalogue is; the builder groups its rows, so that it needs no `over`. `scope` says which rows it sees:
`coin` those of one coin on its complete time grid (gaps are null rows); `segment` only consecutive known bars, for
recursions that must restart behind a gap; `moment` those of all coins at one close time. `warmup` and `memory` are
promises that the audit checks: for a window over w closes both are w - 1.

`cryptocast features --audit` looks at them as at the catalogue, and `cryptocast train` refuses to fit on a leak:

```python
# leaks.py
import polars as pl

from cryptocast.features import Feature

CLOSE = pl.col("close")
FEATURES = (
    Feature("my_centre", "price", (CLOSE / CLOSE.rolling_mean(5, center=True)).log(), 4, 4, source="mine", unit="log"),
)
```

```text
The feature my_centre of leaks.py, line 8, looks into the future: for bitcoin at 2019-01-14 00:00 it is
-0.023974580570908843 with all candles and undefined without the later ones. Mend it, see cryptocast features --audit,
or waive the audit with [train] audit = false.
```

What the audit does, each on all rows and columns: candles cut at random moments (the past must stay, to 1e-9), candles
behind them turned into noise (the past must stay, to the last bit), rows made one at a time from only the bars that
serving keeps, rows shuffled and coins renamed, warm-up and memory measured on clean random walks; labels that are known
before they ended; and the fits that will be made, with everything behind a test's start turned into noise: no forecast
may change. It says what it could not look at. Correlation with the target is *not* a leak test, and not used as one.

A version remembers which features it was fitted on, by a hash of what they give on made candles and of the file's code
(comments and layout do not count). Where the file is missing or changed, the baseline answers and the forecast says
why; a version fitted on the catalogue alone goes on whatever file is named. The file is code and is run, with your
rights, by the commands that need features: name only files that you trust. Nothing is ever run from a saved model.

## What a fit is spared

Each fit chooses on its own training rows: a column that is never known or has one value is dropped, and one whose ranks
agree with another's beyond `[features] max_correlation` (0.999) where both are known. Of such a pair stays the one that
needs less, then the one that stands first. What was dropped stands in the version's manifest (`cryptocast registry show
bitcoin/lightgbm --json`) and below `cryptocast features --importance`, which tells what the fitted trees lean on: gain,
and SHAP values on the coin's recent bars.
"""


def page() -> str:
    """The whole page."""
    families = Counter(feature.family for feature in FEATURES)
    parts = [HEAD.format(count=len(FEATURES), lookback=LOOKBACK)]
    for family, members in groupby(FEATURES, key=lambda feature: feature.family):
        parts += [f"## {family.capitalize()} ({families[family]})\n\n", *_table(list(members)), "\n"]
    return "".join(parts).rstrip("\n") + "\n" + OWN


def _table(features: list[Feature]) -> list[str]:
    head = ["| feature | warm-up | memory | unit | needs | source |\n", "| --- | ---: | ---: | --- | --- | --- |\n"]
    return head + [
        f"| `{f.name}` | {f.warmup:,} | {f.memory:,} | {f.unit} | {', '.join(sorted(f.needs))} | {f.source} |\n"
        for f in features
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
