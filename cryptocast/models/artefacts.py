"""The JSON of a saved model: a struct whose arrays are lists of numbers, to the last bit."""

from typing import Any, ClassVar, Self, TypeVar, get_args

import msgspec
import numpy as np

from cryptocast.errors import ModelError
from cryptocast.models.base import Artefacts, Rounds

T = TypeVar("T")


def to_json(record: object) -> bytes:
    """The same bytes for the same values."""
    return msgspec.json.encode(record, enc_hook=np.ndarray.tolist)


def from_json(files: Artefacts, name: str, record: type[T], model: str) -> T:
    """The struct in the file of that name. Raises ModelError, which names the model, if it is missing or another."""
    try:
        return msgspec.json.decode(files[name], type=record, dec_hook=_array)
    except (KeyError, RecursionError, ValueError) as error:
        raise ModelError(f"The saved {model} cannot be read: {error}. Train it anew.") from error


def require_shape(array: np.ndarray[Any, Any], *shape: int) -> None:
    """Raise ValueError unless the array has this shape."""
    if array.shape != shape:
        raise ValueError(f"it holds an array {array.shape}, expected {shape}")


def _array(kind: Any, numbers: Any) -> np.ndarray[Any, Any]:
    array, (dtype,) = np.array(numbers), get_args(get_args(kind)[1])
    if array.size and array.dtype.kind not in ("i" if issubclass(dtype, np.integer) else "if"):
        raise ValueError("it holds something other than numbers")
    return array.astype(dtype)


class JsonForecaster(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """A fitted model that is one JSON file; it has no rounds to repeat."""

    kind: ClassVar[str]
    rounds: ClassVar[Rounds] = Rounds()

    def save(self) -> Artefacts:
        """One JSON file."""
        return {f"{self.kind}.json": to_json(self)}

    @classmethod
    def load(cls, files: Artefacts) -> Self:
        """What `save` wrote. Raises ModelError otherwise."""
        return from_json(files, f"{cls.kind}.json", cls, cls.kind)
