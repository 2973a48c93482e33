"""What settings and options choose among, beside kinds of models; light, so that `--help` need not read settings."""

from typing import Literal, TypeAlias

Granularity: TypeAlias = Literal["daily", "hourly"]
TouchOn: TypeAlias = Literal["high-low", "close"]
# Of tables: our own columns, or those of the Nixtla libraries.
TableLayout: TypeAlias = Literal["plain", "nixtla"]
