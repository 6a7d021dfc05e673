"""NIfTI, meshes, atoms, ROOT, WAV, safetensors and zipped Zarr: what is particular to each."""

from __future__ import annotations

import gzip
import zipfile

import ase
import ase.io
import h5py
import meshio
import ml_dtypes
import nibabel
import numpy as np
import pytest
import safetensors.numpy
import uproot
import xarray as xr
import zarr
from scipy.io import wavfile

from ask.written import INTEGERS, WRITTEN, extremes
from entropic import LoadError
from entropic.ask.variables import variables
from entropic.formats.read import read
from entropic.formats.save import save


def dims_of(path):
    return {name: one.dims for name, one in variables(read(path), None, path).items()}


# ---- NIfTI -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64", "complex64", ">i2", ">f8"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_voxels_of_every_type_come_back_native_and_unscaled(tmp_path, dtype, kind):
    path = str(tmp_path / "it.nii.gz")
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    header = kind.header_class(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(dtype)
    nibabel.save(kind(array, np.eye(4), header), path)
    found = read(path)["data"]
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.tolist() == array.tolist()


def test_voxels_are_scaled_and_along_the_axes_of_the_format_with_their_units(tmp_path):
    path = str(tmp_path / "it.nii")
    image = nibabel.Nifti1Image(np.arange(8, dtype="int16").reshape(2, 2, 1, 2), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    with open(path, "r+b") as file:  # for which nibabel would compute numbers of its own
        file.seek(112)
        file.write(np.float32([0.5, 10]).tobytes())
    found = read(path)
    assert found["data"].ravel().tolist() == [10 + n / 2 for n in range(8)]
    assert dims_of(path)["data"] == ("x", "y", "z", "t")
    assert found.attrs["data"]["space_units"] == "mm"
    assert found.attrs["data"]["zooms"][:3] == [2, 3, 4]


def test_a_compressed_image_that_was_cut_is_refused(tmp_path):
    path = tmp_path / "it.nii.gz"
    WRITTEN[".nii"](str(tmp_path / "it.nii"))
    whole = gzip.compress((tmp_path / "it.nii").read_bytes())
    path.write_bytes(whole[:-10])
    with pytest.raises(LoadError):
        read(str(path))


# ---- meshes ------------------------------------------------------------------------------------------------------
@pytest.fixture
def xdmf(tmp_path):
    """A mesh whose numbers are in the HDF5 file beside it."""
    mesh = meshio.Mesh(np.eye(3), [("triangle", np.array([[0, 1, 2]]))], {"T": np.array([1.0, 2.0, 3.0])})
    meshio.xdmf.write(str(tmp_path / "it.xdmf"), mesh)
    assert (tmp_path / "it.h5").exists()
    return tmp_path / "it.xdmf"


def test_numbers_of_a_mesh_that_are_beside_it_are_read(xdmf):
    mesh = read(str(xdmf))
    assert mesh.point_data["T"].tolist() == [1, 2, 3]
    assert dims_of(str(xdmf))["point_data/T"] == ("point",)
    (xdmf.parent / "it.h5").unlink()
    assert mesh.points.tolist() == np.eye(3).tolist()


def test_numbers_of_a_mesh_that_are_not_beside_it_are_refused(xdmf, tmp_path):
    (tmp_path / "inside").mkdir()
    moved = tmp_path / "inside" / "it.xdmf"
    text = xdmf.read_text()
    for where in ("../it.h5", str(tmp_path / "it.h5")):
        moved.write_text(text.replace("it.h5", where))
        with pytest.raises(LoadError, match="outside of the folder"):
            read(str(moved))
    moved.write_text(text)
    with pytest.raises(LoadError, match="is missing"):
        read(str(moved))
    (tmp_path / "inside" / "it.h5").symlink_to(tmp_path / "it.h5")
    with pytest.raises(LoadError, match="outside of the folder"):
        read(str(moved))


def test_numbers_of_a_mesh_behind_a_link_of_hdf5_are_refused(xdmf, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "it.h5").rename(tmp_path / "outside" / "others.h5")
    with h5py.File(tmp_path / "it.h5", "w") as file:
        for name in ("data0", "data1", "data2"):
            file[name] = h5py.ExternalLink(str(tmp_path / "outside" / "others.h5"), f"/{name}")
    with pytest.raises(LoadError, match="link into another file"):
        read(str(xdmf))


def test_raw_numbers_of_a_mesh_are_refused_since_they_may_be_of_any_file(tmp_path):
    mesh = meshio.Mesh(np.eye(3), [("triangle", np.array([[0, 1, 2]]))])
    meshio.xdmf.write(str(tmp_path / "it.xdmf"), mesh, data_format="Binary")
    with pytest.raises(LoadError, match="'Binary'"):
        read(str(tmp_path / "it.xdmf"))


def test_a_mesh_that_cannot_be_read_does_not_end_the_process(tmp_path):
    """As `meshio.read` does, by `sys.exit`."""
    for suffix in (".vtk", ".vtu", ".xdmf"):
        (tmp_path / f"it{suffix}").write_text("nonsense")
        with pytest.raises(LoadError):
            read(str(tmp_path / f"it{suffix}"))


def test_blocks_of_one_kind_of_cell_are_joined_with_their_data(tmp_path):
    path = str(tmp_path / "it.vtu")
    cells = [("line", np.array([[0, 1]])), ("triangle", np.array([[0, 1, 2]])), ("line", np.array([[1, 2], [2, 0]]))]
    mesh = meshio.Mesh(np.eye(3), cells, cell_data={"p": [np.array([1.0]), np.array([2.0]), np.array([3.0, 4.0])]})
    meshio.vtu.write(path, mesh)
    found = variables(read(path), None, path)
    assert found["cells/line"].values.tolist() == [[0, 1], [1, 2], [2, 0]]
    assert found["cell_data/p/line"].values.tolist() == [1, 3, 4]
    assert found["cell_data/p/line"].dims == ("line",)


# ---- atoms -------------------------------------------------------------------------------------------------------
def test_all_frames_are_returned_as_they_were_written_and_have_named_axes(tmp_path):
    path = str(tmp_path / "it.extxyz")
    WRITTEN[".extxyz"](path)
    frames = read(path)
    assert [len(one) for one in frames] == [3, 3]
    assert frames[1].get_potential_energy() == -2.5
    assert dims_of(path)["positions"] == ("frame", "atom", "axis")
    assert dims_of(path)["energy"] == ("frame",)


def test_plain_xyz_is_read_as_well(tmp_path):
    path = str(tmp_path / "it.xyz")
    ase.io.write(path, [ase.Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])] * 3, format="xyz")
    assert variables(read(path), None, path)["positions"].values.shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("others", "why"), [(ase.Atoms("H"), "numbers of atoms"), (ase.Atoms("OC", info={"n": 1}), "properties")]
)
def test_frames_that_differ_are_a_list_but_no_array(tmp_path, others, why):
    path = str(tmp_path / "it.extxyz")
    ase.io.write(path, [ase.Atoms("CO"), others])
    assert len(read(path)) == 2
    with pytest.raises(LoadError, match=f"different {why}"):
        variables(read(path), None, path)


# ---- ROOT --------------------------------------------------------------------------------------------------------
def test_trees_of_every_type_and_histograms_of_several_axes_come_back(tmp_path):
    path = str(tmp_path / "it.root")
    columns = {**{name: extremes(name) for name in INTEGERS}, "flag": np.array([True, False, True])}
    with uproot.recreate(path) as file:
        file.mktree("deep/t", {name: array.dtype for name, array in columns.items()}).extend(columns)
        file["h"] = np.histogram2d([0.5, 1.5], [0.5, 0.5], bins=2)
        file["word"] = "text"
    found = read(path)
    for name, array in columns.items():
        assert found[f"deep/t/{name}"].dtype == array.dtype
        assert found[f"deep/t/{name}"].tolist() == array.tolist()
    assert dims_of(path)["deep/t/int8"] == ("deep/t/entry",)
    assert found["h/values"].tolist() == np.histogram2d([0.5, 1.5], [0.5, 0.5], bins=2)[0].tolist()
    assert found["h/x_edges"].tolist() == [0.5, 1.0, 1.5]
    assert found["word"] == "text"
    assert dims_of(path)["h/values"] == ("h/x", "h/y")


def test_no_class_is_made_of_what_a_file_says_about_its_own(tmp_path, monkeypatch):
    path = str(tmp_path / "it.root")
    WRITTEN[".root"](path)

    def refuse(*_):
        raise AssertionError("a class is compiled")

    monkeypatch.setattr("uproot.deserialization.compile_class", refuse)
    monkeypatch.setattr("uproot.classes", {**uproot.classes})
    assert "t/x" in read(path)


# ---- WAV ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float32", "float64", ">i2", ">f4"])
def test_samples_of_every_type_come_back(tmp_path, dtype):
    path = str(tmp_path / "it.wav")
    samples = np.arange(6).reshape(3, 2).astype(dtype)
    wavfile.write(path, 44_100, samples)
    found = read(path)
    assert found["rate"] == 44_100
    assert found["samples"].dtype == samples.dtype.newbyteorder("=")
    assert found["samples"].tolist() == samples.tolist()
    assert dims_of(path)["samples"] == ("time", "channel")


# ---- safetensors -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "target"), [("bfloat16", "float32"), ("float8_e5m2", "float16")])
def test_short_floats_are_read_as_longer_ones(tmp_path, name, target):
    path = str(tmp_path / "it.safetensors")
    array = np.array([[1.5, -2.0], [np.inf, np.nan]]).astype(getattr(ml_dtypes, name))
    try:
        safetensors.numpy.save_file({"u": array}, path)
    except (KeyError, safetensors.SafetensorError):
        pytest.skip("this safetensors does not write them from numpy")
    found = read(path)["u"]
    assert found.dtype == target
    assert np.array_equal(found, array.astype(target), equal_nan=True)


def test_what_a_file_says_of_itself_is_kept(tmp_path):
    WRITTEN[".safetensors"](str(tmp_path / "it.safetensors"))
    assert read(str(tmp_path / "it.safetensors")).attrs["/"] == {"made": "here"}


def test_an_array_that_lies_otherwise_in_memory_is_written_as_what_it_is(tmp_path):
    path = str(tmp_path / "it.safetensors")
    for array in (np.arange(6).reshape(2, 3).T, np.arange(6)[::-2], np.arange(3, dtype=">i4")):
        save({"u": array}, path)
        assert read(path)["u"].tolist() == array.tolist()


# ---- zipped Zarr -------------------------------------------------------------------------------------------------
DATASET = xr.Dataset({"u": (("t", "x"), np.arange(6.0).reshape(2, 3), {"units": "m"})}, {"t": [0, 1]}, {"title": "one"})


def test_an_archive_has_each_file_once_and_is_read_with_its_dimensions(tmp_path):
    path = str(tmp_path / "it.zarr.zip")
    save(DATASET, path)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == len(set(archive.namelist()))
    assert read(path).identical(DATASET)
    with zarr.storage.ZipStore(path) as store, xr.open_zarr(store, consolidated=False) as opened:
        assert opened.load().identical(DATASET)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("version", [2, 3])
def test_an_archive_that_xarray_wrote_is_read(tmp_path, version):
    with zarr.storage.ZipStore(tmp_path / "it.zarr.zip", mode="w") as store:
        DATASET.to_zarr(store, zarr_format=version, consolidated=False)
    assert read(str(tmp_path / "it.zarr.zip")).identical(DATASET)


def test_codecs_that_unpickle_are_refused_in_an_archive_as_well(tmp_path):
    path = tmp_path / "it.zarr.zip"
    metadata = (
        '{"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": null, "fill_value": null, '
        '"order": "C", "filters": [{"id": "pickle", "protocol": 4}]}'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(".zarray", metadata)
        archive.writestr("0", b"harmless")
    with pytest.raises(LoadError, match="would unpickle"):
        read(str(path))
