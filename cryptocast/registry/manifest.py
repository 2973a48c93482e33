"""What is written down about a fit and its versions: typed, frozen, stored as canonical JSON.

The identity of a fit is the sha256 of its manifest's canonical JSON. The bytes that were hashed are the bytes that are
stored, so the identity never depends on how a later library writes a number.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from cryptocast.choices import Granularity
from cryptocast.config import COIN_PATTERN, VS_PATTERN
from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import Record
from cryptocast.evaluation.stored import read_stored
from cryptocast.times import Moment

# `\Z`, not `$`: `$` also matches before a final line break, and names end up on terminals and in file names.
WORD_PATTERN = r"^[a-z][a-z0-9_]{0,39}\Z"
ARTEFACT_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,80}\Z"
MAX_ARTEFACT_BYTES = 2**31

CoinId: TypeAlias = Annotated[str, Meta(pattern=COIN_PATTERN)]
Word: TypeAlias = Annotated[str, Meta(pattern=WORD_PATTERN)]
QuoteCurrency: TypeAlias = Annotated[str, Meta(pattern=VS_PATTERN)]
Sha256: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Bars: TypeAlias = Annotated[int, Meta(ge=1)]
Probability: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Text: TypeAlias = Annotated[str, Meta(max_length=10_000)]
Setting: TypeAlias = bool | int | float | str | tuple[bool | int | float | str | None, ...] | None


class CoinData(Record, frozen=True, kw_only=True):
    """The candles of one coin that a fit saw: bars, close times of the first and last one, sha256 of the frame.

    source, market: where they come from, e.g. bitstamp and BTC/USD; fits of earlier releases have all of one source.
    """

    coin: CoinId
    rows: Count
    first: Moment
    last: Moment
    content_hash: Annotated[str, Meta(min_length=1, max_length=128)]
    source: Word | msgspec.UnsetType = msgspec.UNSET
    market: str | msgspec.UnsetType = msgspec.UNSET


class SeriesData(Record, frozen=True, kw_only=True):
    """The outside series that a fit saw: where it is from and when a value of it is known, how many values it had by
    the last bar, sha256 of them."""

    source: Text
    rows: Count
    content_hash: Sha256


class Artefact(Record, frozen=True, kw_only=True):
    """One file of a fit: its name inside the fit, the hash of its bytes, their number."""

    name: Annotated[str, Meta(pattern=ARTEFACT_PATTERN)]
    sha256: Sha256
    size: Annotated[int, Meta(ge=0, le=MAX_ARTEFACT_BYTES)]


class EnsembleRegime(Record, frozen=True, kw_only=True):
    """The weights of an ensemble's members, summing to 1: in one regime of volatility, or in all of them."""

    regime: Word
    weights: Mapping[str, Probability]


class EnsembleHorizon(Record, frozen=True, kw_only=True):
    """The weights of an ensemble at one horizon, and why they are what they are."""

    horizon: Bars
    regimes: tuple[EnsembleRegime, ...]
    reason: Text


class Ensemble(Record, frozen=True, kw_only=True):
    """What an ensemble is made of. cuts: of the log of the volatility over the next bar to that of the long run, known
    at issue, between its regimes. dropped: members that could not be fitted -> why."""

    horizons: tuple[EnsembleHorizon, ...]
    cuts: tuple[float, ...]
    dropped: Mapping[str, str] = {}


class FitManifest(Record, frozen=True, kw_only=True):
    """All that is needed to repeat a fit, and to tell whether a loaded one is what was saved."""

    schema: Literal["cryptocast.fit/1"] = "cryptocast.fit/1"
    kind: Word
    source: Word
    vs: QuoteCurrency
    granularity: Granularity
    coins: Annotated[tuple[CoinData, ...], Meta(min_length=1)]  # the pool
    horizons: Annotated[tuple[Bars, ...], Meta(min_length=1)]
    levels: Annotated[tuple[Probability, ...], Meta(min_length=1)]
    features: tuple[str, ...]  # the columns of the fitted model, in order
    dropped: Mapping[str, str] = {}  # features that the fit was spared -> why
    # Outside series that features read, by name. Manifests of fits without any stay what they were, to the last byte.
    series: Mapping[str, SeriesData] | msgspec.UnsetType = msgspec.UNSET
    feature_hash: str
    recipe: Sha256  # see recipe_hash
    settings: Mapping[str, Setting]  # "section.key" -> value
    seed: int
    threads: Count
    device: str
    code_version: str
    dirty: bool | None  # uncommitted changes in the code; None where there is no repository to ask
    libraries: Mapping[str, str]
    python: str
    platform: str
    trained_at: Moment
    train_rows: Count
    train_seconds: Annotated[float, Meta(ge=0.0)]
    artefacts: tuple[Artefact, ...]
    notes: tuple[Text, ...] = ()
    ensemble: Ensemble | None = None  # of ml_ensemble alone
    # Of a fit that answers for every coin, also those that it never saw: it forecasts no bar that closed before this,
    # the last close that anything in it was learned from.
    knowledge_date: Moment | msgspec.UnsetType = msgspec.UNSET

    # Of a pool too large to be held at once: those of its coins that taught. Such a fit reads no feature that compares
    # the coins of a moment.
    lessons: tuple[CoinId, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def learned_in_parts(self) -> bool:
        """Whether a coin's forecast needs no other coin of the pool, bitcoin apart."""
        return self.lessons is not msgspec.UNSET

    @property
    def is_pretrained(self) -> bool:
        """Whether it answers for every coin."""
        return self.knowledge_date is not msgspec.UNSET

    @property
    def evidence_settings(self) -> Mapping[str, Setting]:
        """What decides a walk forward of it. Nothing of a pretrained model is fitted in a walk, so its trees decide."""
        if not self.is_pretrained:
            return self.settings
        hashes = ",".join(sorted(f"{artefact.name} {artefact.sha256}" for artefact in self.artefacts))
        return {**self.settings, "pretrained.artefacts": sha256_hex(hashes.encode())}

    @property
    def evidence_recipe(self) -> str:
        """What its walks forward are kept under: the recipe, of a pretrained model with what it learned."""
        return recipe_hash(self.kind, self.evidence_settings, self.feature_hash) if self.is_pretrained else self.recipe

    def data(self, coin: str) -> CoinData | None:
        """What the fit saw of one coin; None if the coin is not in the pool."""
        return next((data for data in self.coins if data.coin == coin), None)


class CoinCalibration(Record, frozen=True, kw_only=True):
    """The initial calibration state of one coin, as its model wrote it. Never changed: updates are kept elsewhere."""

    coin: CoinId
    state: Mapping[str, Any]


R = TypeVar("R", bound=Record)


def canonical_json(value: object) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, ASCII, shortest floats, numpy scalars as plain numbers.

    Raises ValueError for what JSON cannot say: NaN, infinity, types of its own.
    """
    try:
        plain = msgspec.to_builtins(value, enc_hook=_plain_number)
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{type(value).__name__} cannot be written as JSON: {error}") from error


def decode(data: bytes, kind: type[R], where: str) -> R:
    """A record from its JSON. Raises RegistryError that says where it stood and which field is wrong."""
    try:
        return read_stored(data, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(
            f"{where} cannot be read: {error}. It was written by a newer cryptocast or is damaged: "
            "upgrade, or see cryptocast registry verify."
        ) from error


def settled(record: R) -> R:
    """The record as it will read back: every constraint checked, numpy scalars gone. Raises ValueError."""
    data = canonical_json(record)
    try:
        return msgspec.json.decode(data, type=type(record))
    except msgspec.DecodeError as error:
        raise ValueError(f"{type(record).__name__}: {error}") from error


def sha256_hex(data: bytes) -> str:
    """64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def recipe_hash(kind: str, settings: Mapping[str, Any], feature_hash: str) -> str:
    """What two fits share when one is the other on newer data: kind, settings and features; not seed, data or code."""
    return sha256_hex(canonical_json({"kind": kind, "settings": dict(settings), "features": feature_hash}))


def artefacts_of(files: Mapping[str, bytes]) -> tuple[Artefact, ...]:
    """The files as a manifest lists them, by name. Raises ValueError for a name that is not a plain file name."""
    listed = (Artefact(name=name, sha256=sha256_hex(files[name]), size=len(files[name])) for name in sorted(files))
    return tuple(settled(artefact) for artefact in listed)


def _plain_number(value: Any) -> Any:
    """numpy scalars, recognised without importing numpy: reading the registry must stay cheap."""
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")
