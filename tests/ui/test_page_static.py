"""What the page brings: libraries as they were fetched, and scripts of its own that make no HTML of data."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from entropic.ui.site import STATIC

VENDOR = STATIC / "vendor"
KNOWN = json.loads((VENDOR / "vendor.json").read_text())
OWN = sorted(path for path in STATIC.iterdir() if path.suffix in (".js", ".html", ".css", ".svg"))


def test_the_libraries_are_those_that_were_fetched():
    assert {one["file"]: one["sha256"] for one in KNOWN} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "vendor.json"
    }


def test_each_library_has_an_exact_version_and_its_licence():
    for one in KNOWN:
        assert re.fullmatch(r"\d+\.\d+\.\d+", one["version"])
        library = one["file"].partition(".")[0]
        assert (VENDOR / f"{library}.LICENSE").stat().st_size > 500


def test_no_source_map_is_asked_for():
    assert not [path.name for path in VENDOR.iterdir() if b"sourceMappingURL" in path.read_bytes()]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_our_scripts_make_text_and_never_html_and_name_no_other_host(path):
    text = path.read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert way not in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=\"", text)
