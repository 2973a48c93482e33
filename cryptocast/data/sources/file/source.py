"""The user's own files as a source of candles: imported into the store, and as new as the last import."""

from typing import ClassVar, Final

from cryptocast.config import Config
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.base import Source


class FileSource(Source):
    """Whatever the user imports."""

    name: ClassVar[str] = "file"
    title: ClassVar[str] = "your own file"

    def explain_missing(self, config: Config, key: SeriesKey) -> str:  # noqa: ARG002 - the settings say nothing of it
        """How to import it."""
        return (
            f"There are no {key.granularity} candles of {key.coin} in {key.vs} from a file."
            f" Import them: cryptocast fetch {key.coin} --source file --file FILE"
        )


FILE: Final = FileSource()
