"""Images come back whole: each pixel, in each channel, as it was written, or not at all."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from entropic import Base, LoadError, Mapped
from entropic.formats.read import read


class Picture(Base):
    __tablename__ = "pictures"
    n: Mapped[int]


def ramp(dtype: str, *shape: int) -> Any:
    """Numbers that need all the bits of their type, the highest among them."""
    values = np.arange(np.prod(shape)).reshape(shape)
    if np.dtype(dtype).kind == "f":
        return (values * 1.1 + (1e30 if dtype == "f8" else 0)).astype(dtype)
    return (np.iinfo(dtype).max - values * 3).astype(dtype)


COLOUR = {"photometric": "rgb"}
GREY = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unspecified"]}
TIFFS = {
    "16 bit colour": (ramp("u2", 4, 5, 3), COLOUR),
    "16 bit colour with alpha": (ramp("u2", 4, 5, 4), {**COLOUR, "extrasamples": ["unassalpha"]}),
    "8 bit colour": (ramp("u1", 4, 5, 3), COLOUR),
    "two channels": (ramp("u1", 4, 5, 2), GREY),
    "two channels of 16 bits": (ramp("u2", 4, 5, 2), GREY),
    "five channels": (ramp("u1", 4, 5, 5), {**GREY, "extrasamples": ["unspecified"] * 4}),
    **{dtype: (ramp(dtype, 4, 5), {}) for dtype in ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")},
    "big-endian": (ramp("u2", 4, 5), {"byteorder": ">"}),
}


@pytest.mark.parametrize("case", TIFFS)
def test_a_tiff_has_all_its_bits_and_channels(make, case):
    values, options = TIFFS[case]
    store = make(Picture, lambda path, _: tifffile.imwrite(path, values, **options), ".tif")
    found = np.asarray(store.load(store.run({"n": 1})))
    assert found.tolist() == values.tolist()
    data = store.sweep({"n": n} for n in (1, 2)).to_xarray()
    assert data.result.dims == ("n", "y", "x", "channel")[: 1 + values.ndim]
    assert data.result.sel(n=2).values.tolist() == values.tolist()


def test_channels_that_lie_apart_are_the_last_axis(tmp_path):
    values = ramp("u2", 3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read(str(tmp_path / "a.tif")), np.moveaxis(values, 0, -1))


@pytest.mark.parametrize("lazy", [False, True])
def test_the_pages_of_a_tiff_that_pillow_cannot_hold(make, lazy):
    values = ramp("u4", 3, 4, 5)
    store = make(Picture, lambda path, _: tifffile.imwrite(path, values, photometric="minisblack"), ".tiff")
    assert np.array_equal(np.stack(store.load(store.run({"n": 1}))), values)
    data = store.sweep({"n": n} for n in (1, 2)).to_xarray(lazy=lazy)
    assert data.result.dims == ("n", "page", "y", "x")
    assert data.result.sel(n=1).values.tolist() == values.tolist()


def test_a_large_tiff_is_one_too(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp("u4", 4, 5), bigtiff=True)
    assert np.array_equal(read(str(tmp_path / "a.tif")), ramp("u4", 4, 5))


def png(path: str, kind: int, channels: int) -> None:
    """Write a PNG of 16 bits a channel, as the standard says."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = ramp("u2", 4, 5, channels)
    head = struct.pack(">IIBBBBB", 5, 4, 16, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_a_png_that_pillow_would_cut_to_eight_bits_is_refused(tmp_path, kind, channels):
    png(str(tmp_path / "a.png"), kind, channels)
    with pytest.raises(LoadError, match=r"16 bits.*TIFF.*loader"):
        read(str(tmp_path / "a.png"))


def test_a_png_of_sixteen_bits_of_grey_is_read(tmp_path):
    png(str(tmp_path / "a.png"), 0, 1)
    assert np.array_equal(np.asarray(read(str(tmp_path / "a.png"))), ramp("u2", 4, 5, 1)[..., 0])


RED, BLUE = (200, 10, 20), (5, 6, 250)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
def test_a_palette_is_colours_and_not_their_numbers(make, suffix):
    """The numbers of a colour differ from file to file, with the order in which a program met them."""

    def write(path: str, params: dict[str, Any]) -> None:
        one = Image.new("P", (2, 1))
        one.putpalette([*RED, *BLUE] if params["n"] == 1 else [*BLUE, *RED])
        one.putdata([0, 1] if params["n"] == 1 else [1, 0])
        one.save(path)

    data = make(Picture, write, suffix).sweep({"n": n} for n in (1, 2)).to_xarray()
    for n in (1, 2):
        assert data.result.sel(n=n).values.tolist() == [[list(RED), list(BLUE)]]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_is_a_page_for_each_of_its_frames(make, suffix):
    frames = [Image.new("RGB", (4, 3), colour) for colour in (RED, BLUE, (0, 255, 0))]

    def write(path: str, _: Any) -> None:
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)

    store = make(Picture, write, suffix)
    assert len(store.load(store.run({"n": 1}))) == 3
    data = store.sweep({"n": n} for n in (1, 2)).to_xarray()
    assert data.result.dims == ("n", "page", "y", "x", "channel")
    assert data.result.values[0, :, 0, 0, :3].tolist() == [list(RED), list(BLUE), [0, 255, 0]]
