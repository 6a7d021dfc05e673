"""Fetch the JavaScript libraries of the page, by exact version, into `src/entropic/ui/static/vendor`.

    python .ci/vendor.py            fetch all anew; needs npm

Run by hand for a new version; then commit what it wrote. `vendor.json` says of each file where it comes from and its
SHA-256, which `tests/ui/test_page_static.py` compares. References to source maps are taken out: they are not shipped.
"""

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[1] / "src" / "entropic" / "ui" / "static" / "vendor"
# Package, version, SPDX licence; then the name of each file here, and its name in the package.
LIBRARIES = [
    (
        "tabulator-tables",
        "6.5.3",
        "MIT",
        {
            "tabulator.min.js": "dist/js/tabulator.min.js",
            "tabulator.min.css": "dist/css/tabulator.min.css",
            "tabulator.LICENSE": "LICENSE",
        },
    ),
    (
        "echarts",
        "6.1.0",
        "Apache-2.0",
        {
            "echarts.min.js": "dist/echarts.min.js",
            "echarts.LICENSE": "LICENSE",
            "echarts.NOTICE": "NOTICE",
            "echarts.LICENSE-d3": "licenses/LICENSE-d3",
        },
    ),
]
_MAP = re.compile(rb"\n?(?://[#@] sourceMappingURL=\S*|/\*[#@] sourceMappingURL=[^*]*\*/)\s*\Z")


def main() -> None:
    """Fetch, unpack, and write down what was fetched."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    known = []
    for package, version, licence, files in LIBRARIES:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                ["npm", "pack", "--silent", f"{package}@{version}", "--pack-destination", folder], check=True
            )
            (archive,) = Path(folder).glob("*.tgz")
            with tarfile.open(archive) as packed:
                for name, inside in files.items():
                    member = packed.extractfile(f"package/{inside}")
                    assert member is not None, inside
                    content = _MAP.sub(b"\n", member.read())
                    (VENDOR / name).write_bytes(content)
                    told = {"package": package, "version": version, "licence": licence, "from": inside}
                    known.append({"file": name, **told, "sha256": hashlib.sha256(content).hexdigest()})
    (VENDOR / "vendor.json").write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
