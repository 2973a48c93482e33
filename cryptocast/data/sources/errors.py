"""What may go wrong at any source that is asked over the network, each with a reaction of its own."""

from cryptocast.errors import DataError, UpstreamError, UsageError


class RateLimited(UpstreamError):  # noqa: N818 - reads as what it says
    """The minute is used up, for longer than a call may wait."""


class UnknownCoin(DataError):  # noqa: N818 - reads as what it says
    """The upstream does not know the id that was asked for. `is_certain`: its list of today lacks it too."""

    def __init__(self, message: str, *, is_certain: bool = False) -> None:
        super().__init__(message)
        self.is_certain = is_certain


class UnknownCurrency(UsageError):  # noqa: N818 - reads as what it says
    """The upstream has no prices in the currency that was asked for."""


class QuotaSpent(UpstreamError):  # noqa: N818 - reads as what it says
    """The calls of the month are used up, or those that this kind of work may use. Waiting a minute does not help."""
