"""Images, whole: as Pillow's where it holds what the file does, else as arrays, or not at all.

Pillow cuts what it has no mode for to eight bits, takes other numbers for it, or leaves channels out, without a word
(seen with 11 to 13): `tests/ask/test_images.py` has one of each.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from entropic.errors import LoadError
from entropic.formats.arrays import RESULT, Arrays
from entropic.formats.bounds import OWN_LOADER
from entropic.formats.lossless import Unfit, is_from

# Pillow knows a picture by what it holds, not by its name, and has other programs draw some kinds (PostScript).
_KINDS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")
_BITS, _CHANNELS, _FORMAT = 258, 277, 339  # tags of TIFF
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_HELD = {(1, _UNSIGNED), (8, _UNSIGNED), (16, _UNSIGNED), (32, _SIGNED), (32, _FLOAT)}  # of one channel, by Pillow
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_WITH_CHANNELS = (2, 4, 6)  # colour, grey with alpha, colour with alpha


def read_image(path: str, _: object) -> Any:
    """Return an image of Pillow's, or an array; of several pages, a list of them."""
    with open(path, "rb") as file:
        begin = file.read(26)
    image = import_module("PIL.Image")
    if begin[:4] in _TIFF and not _is_held(image, path):
        return _of_tiff(path)
    if begin[1:4] == b"PNG" and begin[24] == 16 and begin[25] in _PNG_WITH_CHANNELS:
        raise LoadError(
            f"{path} has several channels of 16 bits, of which Pillow would return 8; write a TIFF, or {OWN_LOADER}"
        )
    with image.open(path, formats=_KINDS) as found:
        pages = []
        for page in range(getattr(found, "n_frames", 1)):
            found.seek(page)
            found.load()
            pages.append(found.copy())
    return pages if len(pages) > 1 else pages[0]


def _is_held(image: Any, path: str) -> bool:
    """Tell whether Pillow has a mode for each page of a TIFF."""
    try:
        with image.open(path, formats=("TIFF",)) as found:
            for page in range(found.n_frames):
                found.seek(page)
                if not _is_page_held(found):
                    return False
    except image.UnidentifiedImageError:  # of such numbers it knows nothing
        return False
    return True


def _is_page_held(page: Any) -> bool:
    channels = page.tag_v2.get(_CHANNELS, 1)
    bits = set(page.tag_v2.get(_BITS, (1,)))
    formats = set(page.tag_v2.get(_FORMAT, (_UNSIGNED,)))
    if len(bits) > 1 or len(formats) > 1 or channels != len(page.getbands()):
        return False
    kind = bits.pop(), formats.pop()
    return kind in _HELD if channels == 1 else kind == (8, _UNSIGNED)


def _of_tiff(path: str) -> Any:
    tifffile = import_module("tifffile")
    np = import_module("numpy")
    with tifffile.TiffFile(path) as file:
        pages = [_of_page(np, path, page) for page in file.pages]
    return pages if len(pages) > 1 else pages[0]


def _of_page(np: Any, path: str, page: Any) -> Any:
    if page.axes not in ("YX", "YXS", "SYX"):
        raise LoadError(
            f"{path} has a page with the axes {page.axes}, and not height, width and channels; {OWN_LOADER}"
        )
    values = page.asarray()
    if page.colormap is not None:  # as Pillow's palettes are: what is seen, not its number
        return np.moveaxis(page.colormap[:, values], 0, -1)
    return np.moveaxis(values, 0, -1) if page.axes == "SYX" else values


# ---- as arrays ---------------------------------------------------------------------------------------------------
def arrays_of_image(loaded: Any) -> Arrays | None:
    """Return the pixels of an image, or of several pages, along `page`, `y`, `x` and, if there are several, `channel`.

    Raises
    ------
    ValueError
        If the pages are not alike.
    """
    found = Arrays()
    if _is_image(loaded):
        found[RESULT] = _pixels(loaded)
        found.dims[RESULT] = ("y", "x", "channel")[: found[RESULT].ndim]
        return found
    if not isinstance(loaded, list) or not loaded or not all(map(_is_image, loaded)):
        return None
    pages = _pages(loaded)
    if len({(page.shape, page.dtype) for page in pages}) > 1:
        raise ValueError("its pages have different sizes, channels or types")
    found[RESULT] = import_module("numpy").stack(pages)
    found.dims[RESULT] = ("page", "y", "x", "channel")[: found[RESULT].ndim]
    return found


def is_of_pillow(loaded: Any) -> bool:
    """Tell whether something is an image, whatever its file is called."""
    return hasattr(loaded, "getbands") or (isinstance(loaded, list) and bool(loaded) and hasattr(loaded[0], "getbands"))


def _is_image(loaded: Any) -> bool:
    return hasattr(loaded, "getbands") or (hasattr(loaded, "dtype") and getattr(loaded, "ndim", 0) in (2, 3))


def _pixels(loaded: Any) -> Any:
    np = import_module("numpy")
    if isinstance(loaded, np.ndarray):
        return loaded
    if loaded.mode in ("P", "PA"):  # numbers of colours, which are another's in the next file
        loaded = loaded.convert("RGBA" if loaded.mode == "PA" or "transparency" in loaded.info else "RGB")
    return np.asarray(loaded)


def _pages(loaded: Sequence[Any]) -> list[Any]:
    """Return the pixels of some pages, in the same channels: an animation may have more of them later on."""
    np = import_module("numpy")
    modes = {getattr(page, "mode", None) for page in loaded}
    if len(modes) > 1 and None not in modes and modes <= {"P", "PA", "L", "LA", "RGB", "RGBA"}:
        transparent = any("A" in page.mode or "transparency" in page.info for page in loaded)
        return [np.asarray(page.convert("RGBA" if transparent else "RGB")) for page in loaded]
    return [_pixels(page) for page in loaded]


def save_picture(value: Any, path: str) -> None:
    """Write a figure of matplotlib, or an image of Pillow."""
    if is_from(value, "matplotlib.Figure"):
        value.savefig(path)
    elif is_from(value, "PIL.Image") and not path.lower().endswith(".svg"):
        value.save(path)
    else:
        raise Unfit("it takes a figure of matplotlib, or (but for .svg) a Pillow image")
