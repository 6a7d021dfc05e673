"""NIfTI: the voxels of an image, scaled as its header says, and where they are."""

from importlib import import_module
from typing import Any

from entropic.formats.arrays import Arrays, native

_AXES = ("x", "y", "z", "t", "u", "v", "w")


def read_nifti(path: str, only: Any) -> Arrays:
    """Return `data` and `affine`, which maps the numbers of a voxel to its place."""
    nibabel, np = import_module("nibabel"), import_module("numpy")
    kinds = (nibabel.Nifti1Image, nibabel.Nifti2Image)
    kind = next((kind for kind in kinds if kind.path_maybe_image(path)[0]), None)
    if kind is None:
        raise ValueError("it does not begin as NIfTI")
    image = kind.from_filename(path, mmap=False)
    space, time = image.header.get_xyzt_units()
    zooms = [float(zoom) for zoom in image.header.get_zooms()]
    arrays = Arrays()
    if only is None or "data" in only:
        arrays["data"] = native(np.asarray(image.dataobj))
    if only is None or "affine" in only:
        arrays["affine"] = np.asarray(image.affine)
    arrays.dims["data"] = _AXES[: len(image.shape)]
    arrays.attrs["data"] = {"zooms": zooms, "space_units": space, "time_units": time}
    fields = {name: image.header[name].item() for name in ("descrip", "intent_name", "sform_code", "qform_code")}
    arrays.attrs["/"] = {
        name: value.decode("latin-1") if isinstance(value, bytes) else value for name, value in fields.items() if value
    }
    return arrays
