"""Trees that LightGBM has grown, asked through its C library alone.

The Python package brings pandas, SciPy and scikit-learn into the process: 110 MB and a second, for a call that takes
some microseconds. The library beside it is what that package calls too, so the numbers are the same to the last bit.
"""

import ctypes
import logging
import sys
import zlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.errors import ModelError
from cryptocast.models.booster_text import check_booster

log = logging.getLogger(__name__)

FLOAT64: Final = 1
RAW_SCORE: Final = 1
CONTRIBUTIONS: Final = 3
GAIN: Final = 1
ALL: Final = -1
FILES: Final = {"darwin": "lib_lightgbm.dylib", "win32": "lib_lightgbm.dll"}
# Below this many rows starting other threads costs more than they save.
MANY_ROWS: Final = 5000
Callback: Final = ctypes.CFUNCTYPE(None, ctypes.c_char_p)


class Trees:
    """One saved booster, read-only. Safe for several threads; it can be copied to other processes."""

    def __init__(self, text: bytes) -> None:
        """text: as `Booster.model_to_string` writes it. Raises ValueError for anything else, before the library sees
        it: counts that do not fit would end the process, not raise."""
        self.count = check_booster(text)
        # Needed only to be saved again: packed to a quarter once it is asked a second time, by when a command is over.
        self._text, self._is_packed, self._is_asked = text, False, False
        self._lock, self._handle = Lock(), ctypes.c_void_p()
        iterations = ctypes.c_int()
        _call("LGBM_BoosterLoadModelFromString", text, ctypes.byref(iterations), ctypes.byref(self._handle))
        features = ctypes.c_int()
        _call("LGBM_BoosterGetNumFeature", self._handle, ctypes.byref(features))
        self.features = features.value

    def __del__(self) -> None:
        if getattr(self, "_handle", None) and _library is not None:  # not while the interpreter is being taken apart
            _library().LGBM_BoosterFree(self._handle)

    def __reduce__(self) -> tuple[type["Trees"], tuple[bytes]]:
        return Trees, (self.text(),)

    def text(self) -> bytes:
        """What it was made from."""
        with self._lock:
            return zlib.decompress(self._text) if self._is_packed else self._text

    def raw(self, features: FloatArray) -> FloatArray:
        """(n,) the sum of the leaves for rows (n, F)."""
        self._pack_if_asked_again()
        return self._predicted(features, RAW_SCORE, columns=1)[:, 0]

    def _pack_if_asked_again(self) -> None:
        if self._is_packed:
            return
        with self._lock:
            if self._is_asked and not self._is_packed:
                self._text, self._is_packed = zlib.compress(self._text, 1), True
            self._is_asked = True

    def contributions(self, features: FloatArray) -> FloatArray:
        """(n, F + 1): SHAP values of each feature, last what all rows share."""
        return self._predicted(features, CONTRIBUTIONS, columns=self.features + 1)

    def gains(self) -> FloatArray:
        """(F,) what the splits on each feature gained in all."""
        out = np.zeros(self.features)
        _call("LGBM_BoosterFeatureImportance", self._handle, ALL, GAIN, _doubles(out))
        return out

    def _predicted(self, features: FloatArray, kind: int, *, columns: int) -> FloatArray:
        if features.ndim != 2 or features.shape[1] != self.features:
            raise ModelError(f"The trees know {self.features} features, the rows are {features.shape}.")
        rows = np.ascontiguousarray(features, dtype=np.float64)
        out, length = np.empty((len(rows), columns)), ctypes.c_int64()
        if len(rows) == 0:
            return out
        threads = b"num_threads=1" if len(rows) < MANY_ROWS else b"num_threads=0"
        matrix = (_doubles(rows), FLOAT64, len(rows), self.features, 1)
        _call(
            "LGBM_BoosterPredictForMat",
            *(self._handle, *matrix, kind, 0, ALL, threads),
            *(ctypes.byref(length), _doubles(out)),
        )
        if length.value != out.size:
            raise ModelError(f"LightGBM gave {length.value} numbers, expected {out.size}.")
        return out


def _doubles(array: FloatArray) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_double))


def _call(name: str, *arguments: Any) -> None:
    """A function of the library. Raises ValueError with what it says if it fails."""
    library = _library()
    if getattr(library, name)(*arguments) != 0:
        raise ValueError(library.LGBM_GetLastError().decode("utf-8", "replace"))


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    spec = find_spec("lightgbm")  # finds the folder and imports nothing
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    name = FILES.get(sys.platform, "lib_lightgbm.so")
    places = [Path(folder) / part / name for folder in folders for part in ("lib", "bin", ".")]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        raise ModelError(f"LightGBM's library {name} is not installed. Install the package lightgbm anew.")
    library = ctypes.CDLL(str(place))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    library.LGBM_RegisterLogCallback(_SAID)
    return library


def _said(message: bytes) -> None:
    text = message.decode("utf-8", "replace").strip()
    if text:
        log.debug("%s", text)


_SAID: Final = Callback(_said)  # kept, because the library keeps its address
