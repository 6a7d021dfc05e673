"""A sidecar is complete or torn, and nothing in between."""

import errno
import os

import pytest

from entropic.files import sidecar as sidecars
from entropic.files.sidecar import Sidecar
from entropic.files.staging import Staging


@pytest.fixture
def sidecar():
    return Sidecar(
        model="sims", id="日本語", key="0123456789abcdef", attempt="1-0123abcd", owner="host.0.1.2.3",
        values={"n": 1, "x": float("inf"), "name": "é\n", "raw": b"\xff\x00", "none": None},
        custom_data={"note": ["a", {"b": 1.5}]}, created_at="2026-01-02T03:04:05.000006", execution="w-1", suffix=".h5",
        size=10, mtime_ns=123456789, folder=False, slotted=False, extra=True,
    )  # fmt: skip


def test_it_says_what_was_written(sidecar):
    assert sidecars.decode(sidecars.encode(sidecar)) == sidecar


def test_every_beginning_of_it_is_torn(sidecar):
    text = sidecars.encode(sidecar)
    assert all(sidecars.decode(text[:length]) is None for length in range(len(text)))


@pytest.mark.parametrize("text", [b"\n", b"{}\n", b"[]\n", b"null\n", b'{"entropic": 1}\n', b"\xff\n"])
def test_what_is_no_sidecar_is_torn(text):
    assert sidecars.decode(text) is None


def test_it_is_created_once(sidecar, tmp_path):
    staging = Staging(str(tmp_path), "0" * 32, ".h5")
    os.close(sidecars.create(staging, sidecar.key, sidecar.attempt))
    with pytest.raises(FileExistsError):
        sidecars.create(staging, sidecar.key, sidecar.attempt)
    assert sidecars.read(staging, sidecar.key, sidecar.attempt) is None  # torn
    assert sidecars.exists(staging, sidecar.key, sidecar.attempt)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ESTALE])
def test_one_that_is_removed_while_it_is_read_on_a_folder_of_a_network_is_not_there(
    sidecar, tmp_path, monkeypatch, code
):
    staging = Staging(str(tmp_path), "0" * 32, ".h5")
    os.close(sidecars.create(staging, sidecar.key, sidecar.attempt))

    def gone(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("entropic.files.sidecar.os.fstat", gone)
    assert sidecars.inspect(staging, sidecar.key, sidecar.attempt) is None
