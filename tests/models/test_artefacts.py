"""Arrays in JSON: to the last bit there and back, and nothing but numbers of the right kind and shape."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.errors import ModelError
from cryptocast.models.artefacts import from_json, require_shape, to_json


class Record(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    horizons: Int64Array
    weights: FloatArray

    def __post_init__(self) -> None:
        require_shape(self.weights, len(self.horizons), 2)


@given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2), min_size=1, max_size=5))
def test_arrays_read_back_to_the_last_bit(weights: list[tuple[float, float]]) -> None:
    record = Record(np.arange(len(weights), dtype=np.int64), np.array(weights))
    again = from_json({"a.json": to_json(record)}, "a.json", Record, "toy")
    assert again.horizons.dtype == np.int64
    assert again.weights.tobytes() == record.weights.tobytes()
    assert to_json(again) == to_json(record)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"horizons":[1],"weights":[[1,2]],"more":1}',
        b'{"horizons":[1.5],"weights":[[1,2]]}',
        b'{"horizons":["1"],"weights":[[1,2]]}',
        b'{"horizons":[9223372036854775808],"weights":[[1,2]]}',
        b'{"horizons":[1],"weights":[["1","2"]]}',
        b'{"horizons":[1],"weights":[[1],[1,2]]}',
        b'{"horizons":[1],"weights":[[1,2,3]]}',
        b'{"horizons":[1],"weights":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_what_no_save_has_written_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="The saved toy cannot be read"):
        from_json({"a.json": content}, "a.json", Record, "toy")


def test_a_file_that_is_missing_is_refused() -> None:
    with pytest.raises(ModelError, match=r"The saved toy cannot be read: 'a.json'"):
        from_json({}, "a.json", Record, "toy")
