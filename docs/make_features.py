"""Makes docs/features.md from the catalogue: python docs/make_features.py. A test holds the page against it."""

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Final

from cryptocast.features import FEATURES, LOOKBACK, Feature

PAGE: Final = Path(__file__).with_name("features.md")

HEAD: Final = """\
# Features

The models see {count} columns. Each is a Polars expression, computed from candles by one builder that training, serving
and the leakage audit share. `cryptocast features --list` prints this catalogue (`--family volatility` for one family,
`--json` for machines), `cryptocast features bitcoin` the latest values, and `--out table.parquet` writes the whole
table.

All features are scale-free (returns, logs and shares): a coin priced at 1e-10 gives the same values as one priced at
1e5. What is unknown is null: during the warm-up, across a gap, and where highs, volumes or other coins are missing.
Nothing is filled in.

- **warm-up**: leading nulls, in bars, on a series without gaps.
- **memory**: bars until the start of the history changes a value by less than 1e-8. Serving keeps {lookback:,} bars,
  the most that any feature needs.
- **needs**: what must be known besides closes: `range` means true highs and lows, `bar_volume` the volume of the bar
  itself (not CoinGecko's rolling sum), `market_cap` the market cap, `bitcoin` bitcoin in the pool, and `coins` at least
  three coins.

"""

OWN: Final = """
## Features of your own

Write lines like those of the catalogue in a Python file, and name the file in `config.toml` (a relative path starts at
that folder):

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

`expr` is a `pl.Expr` over `open`, `high`, `low`, `close`, `volume` and `market_cap` (positive and finite, or null),
like every formula of the catalogue. The builder groups the rows, so it needs no `over`. `scope` says which rows the
expression sees: `coin` the rows of one coin on its complete time grid (gaps are null rows); `segment` consecutive known
bars only, for recursions that must restart after a gap; `moment` the rows of all coins at one close time. `warmup` and
`memory` are promises that the audit checks: for a window over w closes, both are w - 1.

`cryptocast features --audit` checks them like the catalogue, and `cryptocast train` refuses to train on a leak:

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

The audit makes these checks, each on all rows and columns:

- Candles are cut at random moments: earlier values must stay the same, to 1e-9.
- Candles after such a moment are replaced by noise: earlier values must stay the same, to the last bit.
- Rows are computed one at a time, from only the bars that serving keeps.
- Rows are shuffled and coins are renamed.
- Warm-up and memory are measured on clean random walks.
- No label may be known before its interval has ended.
- The fits to come are made twice, once with everything after the start of the test replaced by noise: no forecast may
  change.

The audit also says what it could not check. Correlation with the target is *not* a leak test of a feature, and is not
used as one; outside series have a check of their own, see below.

A version records the features it was trained on, as a hash of their values on synthetic candles and of the file's code
(comments and layout do not count). If the file is missing or has changed, the baseline answers and the forecast says
why. A version trained on the catalogue alone keeps working, whatever file is named. The file is code, and the commands
that need features run it with your rights: name only files that you trust. Nothing is ever run from a saved model.

## Does my feature help?

    cryptocast features bitcoin --ablate my_gap

walks lightgbm (or `--model`) forward twice over the same bars, by the steps of `[backtest]`: with all features, and
with all but this one. Horizon by horizon it says how much lower the CRPS is with the feature, the 95 % interval of that
gain, and *yes*, *no* (the forecasts are worse with it) or *not enough data*. The losses are paired by forecast and
averaged by date over the coins; the test is that of the backtest (Diebold-Mariano, corrected for the horizons by Holm).
The question is what the feature adds to all the others: one with a near-duplicate in the catalogue adds nothing. Name
the coins of your pool to test on more than one. Try twenty features that are worth nothing, and one of them says yes.

## Outside series

A volatility index, a sentiment score, a macro figure: what no candle has can be a column for your own features, and so
for every model. Each series has a section in `config.toml`, and its name is the column:

```toml
[features]
file = "my_outside.py"

[series.fear]
file = "fear.csv"     # columns time and value
known_after = "1d"    # the value of a time was known a day after it

[series.dvol]
source = "deribit"    # the volatility index DVOL: index = "BTC" or "ETH", resolution = "1d" or "1h"
```

```text
time,value
2024-01-01,65
2024-01-02,71
```

```python
# my_outside.py
import polars as pl

from cryptocast.features import Feature

DVOL, FEAR = pl.col("dvol"), pl.col("fear")

FEATURES = (
    Feature("my_dvol", "volatility", (DVOL / 100 / 365**0.5).log(), 0, 0, source="Deribit", unit="log"),
    Feature("my_dvol_change_7", "volatility", (DVOL / DVOL.shift(7)).log(), 7, 7, source="Deribit", unit="log"),
    Feature("my_fear", "market", FEAR.rolling_mean(7) / 100, 6, 6, source="mine", unit="share"),
)
```

**A bar sees the newest value that was known when it closed**, never one by its date: the figure of Monday that comes
out on Wednesday is not seen before Wednesday. So every series says when its values were known, and there is no default.
`known_after` is a duration (`"1d"`, `"36h"`, `"90min"`; `"0h"`: at the very time), counted from `time`. Where it
differs from row to row, leave it out and give the file a column `known_after` with the moment of each row. A daily
figure that is dated by the day it is about, and comes out when that day is over, has `known_after = "1d"`.

Files are CSV or Parquet, sorted, with one row for each time; times are ISO dates or seconds, milliseconds and so on
since 1970, in UTC unless they say otherwise. An empty value is unknown. Anything else that is odd is refused, with its
row. The series is the same for all coins, and the last known value stays until the next is known; before the first, the
column is null. A forecast says so when a series has stopped. Files are read anew whenever a command or `serve` makes
a forecast: bring them up to date before the bar closes. With `--as-of`, too, a value counts from when it was known, not
from when the file got it.

DVOL needs no key. It comes from Deribit when a feature reads it and values are missing, lies in the store, and is
brought up to date by `serve` with its candles; without a network the stored values are used, and the forecast says so.
A value is known when its day or hour is over. The index begins on 2021-03-31, when it was first published: what Deribit
shows of earlier days was computed later.

    cryptocast features --audit bitcoin
    cryptocast train bitcoin && cryptocast forecast bitcoin

That a value was known when `known_after` says is your word, and no recomputation can check it. The audit therefore
looks at what a series goes with: its changes are compared with what prices do *after* them, and a rank correlation
above 0.2 (and above five standard errors, over at least 100 changes; the median over coins) is refused. No forecast
from one change is that good, but a value of a day that is dated by its beginning is:

```text
[series.fear] seems to be known later than known_after says: its changes go with what the price does after them, with a
rank correlation of 0.733 up to 2020-01-17; what was known by then stays below 0.2. Set known_after to when values were
really published.
```

It does not see a weaker leak. A version records each series it has learned from: source, `known_after`, and a hash of
its values. Where the section is missing or says something else, the baseline answers and the forecast says why.

## Features that a fit leaves out

Each fit decides on its own training rows. It drops columns that are never known or have only one value, and one of two
columns whose ranks correlate more than `[features] max_correlation` (0.999) where both are known: it keeps the one that
needs less, or else the one that comes first. Dropped features are listed in the version's manifest
(`cryptocast registry show bitcoin/lightgbm --json`) and by `cryptocast features --importance`, which shows what the
fitted trees rely on: gain, and SHAP values on the coin's recent bars.
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
