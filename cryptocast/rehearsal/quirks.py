"""How the stand-in's series differ from clean ones: section 3 of what is known about the upstream, as settings."""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

Every: TypeAlias = Annotated[int, Meta(ge=0)]  # one point in so many; 0: none
QuirkSet: TypeAlias = Literal["clean", "usual", "worst"]


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which oddities, and how often. `every` counts points of a series, from a start that differs by coin.

    What cannot be switched off is the shape of the API itself: the last point is now, a stamp of 00:00 is the close of
    the day before, volumes are sums of 24 hours, the step follows the span.
    """

    jitter_s: Annotated[float, Meta(ge=0, le=600)] = 120.0  # hourly points are up to so late, or a fiftieth of it early
    late_midnight: bool = True  # the last 00:00 comes at 00:10 in charts, at 00:35 in ranges and candles
    null_every: Every = 50  # a market cap is null
    zero_every: Every = 97  # a volume or a market cap is 0, which stands for unknown
    unequal_every: Every = 211  # a point is left out of the volumes; the oldest cap is left out in any case
    missing_every: Every = 0  # an hourly or five-minute point is left out of all three
    duplicate_every: Every = 0  # an hourly or five-minute point comes a second time, some seconds later
    null_price_every: Every = 0  # a price is null
    other_unit_days: Annotated[float, Meta(ge=0)] = (
        0.0  # volumes older than so many days are told in thousandths; 0: none
    )
    revised_for_s: Annotated[float, Meta(ge=0)] = 0.0  # so long after the fact a price is still provisional,
    revised_by: Annotated[float, Meta(ge=0, lt=0.5)] = 0.002  # off by up to this share


CLEAN: Final = Quirks(jitter_s=0.0, late_midnight=False, null_every=0, zero_every=0, unequal_every=0)
USUAL: Final = Quirks()
WORST: Final = Quirks(
    jitter_s=240.0,
    null_every=20,
    zero_every=31,
    unequal_every=41,
    missing_every=53,
    duplicate_every=37,
    null_price_every=101,
    revised_for_s=6 * 3600.0,
)
QUIRKS: Final[dict[QuirkSet, Quirks]] = {"clean": CLEAN, "usual": USUAL, "worst": WORST}
