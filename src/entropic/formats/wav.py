"""WAV: samples as they are, and their rate."""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from entropic.errors import LoadError
from entropic.formats.arrays import Arrays, native
from entropic.formats.lossless import Unfit, as_arrays


def read_wav(path: str, _: Any) -> Arrays:
    """Return `samples`, by time and, if there are several, channel, and `rate`, in samples a second."""
    wavfile, np = import_module("scipy.io.wavfile"), import_module("numpy")
    _check_whole(path)
    with open(path, "rb") as file:
        rate, samples = wavfile.read(file)
    arrays = Arrays()
    arrays["samples"], arrays["rate"] = native(samples), np.int64(rate)
    arrays.dims["samples"] = ("time", "channel")[: samples.ndim]
    arrays.attrs["rate"] = {"units": "Hz"}
    return arrays


def _check_whole(path: str) -> None:
    """Refuse a recording that was cut: scipy warns, and returns what there is."""
    with open(path, "rb") as file:
        order: Any = "big" if file.read(4) == b"RIFX" else "little"
        size = os.fstat(file.fileno()).st_size
        file.seek(12)
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], order)
            if file.tell() + length > size:
                raise LoadError(f"{path} is incomplete: its part {head[:4]!r} ends after the file does")
            file.seek(length + length % 2, os.SEEK_CUR)


def save_wav(value: object, path: str) -> None:
    """Write `{"rate": ..., "samples": ...}`."""
    wavfile = import_module("scipy.io.wavfile")
    if not isinstance(value, Mapping) or set(value) != {"rate", "samples"}:
        raise Unfit("it takes a dict of `samples`, an array, and `rate`, in samples a second")
    arrays = as_arrays(value)
    rate, samples = arrays["rate"], native(arrays["samples"])
    if rate.ndim or rate.dtype.kind not in "iu" or not 0 < rate < 2**31:
        raise Unfit("its rate is not a whole number from 1 to 2**31 - 1")
    if samples.ndim not in (1, 2) or 0 in samples.shape or samples.shape[1:] == (1,):
        raise Unfit(f"its samples have the shape {samples.shape}, and not (times,) or (times, channels)")
    if samples.dtype.name not in ("uint8", "int16", "int32", "int64", "float32", "float64"):
        raise Unfit(f"its samples have the dtype {samples.dtype}, which WAV does not have")
    wavfile.write(path, int(rate), samples)
