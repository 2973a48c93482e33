"""Where days of a coin are wanted and the store has its hours, or the other way round: what there is, what to do."""

from cryptocast.choices import Granularity
from cryptocast.data.schema import Provenance, SeriesKey
from cryptocast.data.sources.file.source import FILE
from cryptocast.data.sources.table import SOURCES
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.number_format import when


def other_granularity(store: CandleStore, key: SeriesKey) -> Provenance | None:
    """The series that the store has in the place of this one, with bars of the other length; None if it has this one,
    or neither. DataError if its file is damaged."""
    if store.path(key).exists():
        return None
    length: Granularity = "daily" if key.granularity == "hourly" else "hourly"
    stored = store.read(SeriesKey(Market(key.source, key.vs, length), key.coin))
    return None if stored is None else stored.provenance


def other_granularity_text(other: Provenance) -> str:
    """That only these bars are there, and how to use them or get the ones that are wanted."""
    coin, source, length = other.key.coin, other.key.source, other.key.granularity
    wanted = "daily" if length == "hourly" else "hourly"
    last = when(other.last, midnight=length == "daily")
    text = (
        f"The store has {length} candles of {coin} from {SOURCES[source].title}, to {last}, and no {wanted} ones:"
        f" add --granularity {length} to use them"
    )
    if source == FILE.name:
        return f"{text}, or import the file with --granularity daily." if wanted == "daily" else f"{text}."
    options = f" --source {source}{'' if other.key.vs == 'usd' else f' --vs {other.key.vs}'} --granularity {wanted}"
    return f"{text}, or fetch the others: cryptocast fetch {coin}{options}"
