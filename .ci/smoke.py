"""What users install works: the wheel and the sdist alone, and the wheel with each of its extras, each in an
environment of its own.

    python .ci/smoke.py [FOLDER]

In FOLDER are a wheel and an sdist that were built already; without it they are built here. Needs uv, which comes with
the extra `lint`. Each environment gets the package and what the package asks for, so a library that an extra forgets is
missed here. The sdist must hold what its own tests need.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = [sys.executable, "-m", "uv", "--quiet"]

START = """
import warnings
warnings.simplefilter("error")
from pathlib import Path
from entropic import Base, Mapped, Store, StoreError

class Run(Base):
    __tablename__ = "runs"
    n: Mapped[int]

def store_of(run, suffix, **options):
    return Store(run, Run, "results", suffix, "sqlite:///runs.sqlite3", **options)
"""
# What each extra is for, done once.
USES = {
    "postgres": "url = 'postgresql://nobody@127.0.0.1:9/none?timeout=0.1'",
    "mysql": "url = 'mariadb://nobody@127.0.0.1:9/none?timeout=0.1'",
    "dask": """
from distributed import Client
def run(params): Path(params["result_file"]).write_text("1")
with Client(processes=False, dashboard_address=":0") as client:
    assert len(store_of(run, ".txt").sweep([{"n": 1}, {"n": 2}], client)) == 2
""",
    "pandas": """
import pandas
def run(params): pandas.DataFrame({"x": [1, 2]}).to_parquet(params["result_file"])
store = store_of(run, ".parquet")
assert list(store.load(store.run({"n": 1})).x) == [1, 2]
assert list(store.select().to_pandas().n) == [1]
""",
    "polars": """
def run(params): Path(params["result_file"]).write_text("1")
assert store_of(run, ".txt").sweep([{"n": 1}]).to_polars()["n"].to_list() == [1]
""",
    "arrow": """
def run(params): Path(params["result_file"]).write_text("1")
assert store_of(run, ".txt").sweep([{"n": 1}]).to_arrow()["n"].to_pylist() == [1]
""",
    "numpy": """
import numpy
def run(params): numpy.save(params["result_file"], numpy.arange(3))
store = store_of(run, ".npy")
assert store.load(store.run({"n": 1})).tolist() == [0, 1, 2]
""",
    "hdf5": """
import h5py
def run(params):
    with h5py.File(params["result_file"], "w") as file: file["x"] = [1, 2]
store = store_of(run, ".h5")
assert store.load(store.run({"n": 1}))["x"].tolist() == [1, 2]
""",
    "netcdf": """
import xarray
def run(params): xarray.Dataset({"x": ("i", [1, 2])}).to_netcdf(params["result_file"])
store = store_of(run, ".nc")
assert store.load(store.run({"n": 1})).x.values.tolist() == [1, 2]
""",
    "zarr": """
import xarray
def run(params): xarray.Dataset({"x": ("i", [1, 2])}).to_zarr(params["result_file"], zarr_format=3, consolidated=False)
store = store_of(run, ".zarr")
assert store.load(store.run({"n": 1})).x.values.tolist() == [1, 2]
""",
    "images": """
from PIL import Image
def run(params): Image.new("L", (2, 2), 7).save(params["result_file"])
store = store_of(run, ".png")
assert store.load(store.run({"n": 1})).getpixel((0, 0)) == 7
""",
    "command": """
from entropic import command
Path("in.j2").write_text("n = {{ n }}\\n")
store = store_of(command("cat in.txt", files={"in.txt": "in.j2"}), ".txt")
assert store.load(store.run({"n": 1})) == "n = 1\\n"
""",
    "joblib": """
from entropic import JoblibCache
from joblib import Memory
Path("cached.py").write_text("def double(n): return 2 * n\\n")
import cached
Memory("cache", verbose=0).cache(cached.double)(3)
store = store_of(print, ".json")
store.import_results(JoblibCache("cache", "double", trust_pickles=True))
assert store.load(store.retrieve({"n": 3})) == 6
""",
    "sample": """
from entropic import sample
def run(params): Path(params["result_file"]).write_text("1")
assert len(store_of(run, ".txt").sweep(sample(Run, {"n": (1, 1000)}, n=4))) == 4
""",
    "optuna": """
import optuna
from entropic import outcome
optuna.logging.set_verbosity(optuna.logging.ERROR)
class Loss(Base):
    __tablename__ = "losses"
    n: Mapped[int]
    loss: Mapped[float] = outcome()
store = Store(lambda params: {"loss": params["n"]}, Loss, "losses", ".json", "sqlite:///losses.sqlite3")
study = optuna.create_study()
study.optimize(store.objective("loss", {"n": (1, 9)}), n_trials=3)
assert store.trials("loss", {"n": (1, 9)})
""",
    "xarray": """
import json
def run(params): Path(params["result_file"]).write_text(json.dumps({"x": params["n"]}))
store = store_of(run, ".json")
sweep = store.sweep([{"n": 1}, {"n": 2}])
assert sweep.to_xarray().x.values.tolist() == [1.0, 2.0]
assert sweep.to_xarray(lazy=True).x.values.tolist() == [1.0, 2.0]
""",
}
USES["ui"] = """
from urllib.request import urlopen
def run(params): Path(params["result_file"]).write_text("1")
store = store_of(run, ".txt")
store.run({"n": 1})
page = store.ui()
vendored = ["static/vendor/tabulator.min.js", "static/vendor/echarts.min.js", "static/vendor/echarts.NOTICE"]
for name in ("", "explore", "static/runs.js", *vendored, "api/rows"):
    with urlopen(page.url + name) as answer:
        assert answer.status == 200 and answer.read(), name
page.stop()
"""
for server in ("postgres", "mysql"):  # none runs here: the driver is found, and says so
    USES[server] += """
try:
    Store(print, Run, "results", db_url=url)
except StoreError as error:
    assert "install" not in str(error), error
else:
    raise AssertionError("a server answered")
"""
# Each writes its file in the simplest way there is; what may be in it is for the tests.
FILES = {
    "excel": ("import pandas", ".xlsx", "pandas.DataFrame({'x': [1, 2]}).to_excel(path)", "list(found.x) == [1, 2]"),
    "matlab": ("from scipy import io", ".mat", "io.savemat(path, {'x': [1, 2]})", "found['x'].tolist() == [1, 2]"),
    "astro": ("import asdf", ".asdf", "asdf.AsdfFile({'x': [1, 2]}).write_to(path)", "found == {'x': [1, 2]}"),
    "medical": (
        "import nibabel, numpy",
        ".nii",
        "nibabel.save(nibabel.Nifti1Image(numpy.ones((1, 1, 1)), None), path)",
        "found['data'] == 1",
    ),
    "mesh": (
        "import meshio, numpy",
        ".vtu",
        "meshio.vtu.write(path, meshio.Mesh(numpy.eye(3), [('vertex', numpy.array([[0]]))]))",
        "found.points.sum() == 3",
    ),
    "atoms": ("import ase.io", ".xyz", "ase.io.write(path, ase.Atoms('H'))", "str(found[0].symbols) == 'H'"),
    "root": (
        "import numpy, uproot",
        ".root",
        "file = uproot.recreate(path); file.mktree('t', {'x': 'i8'}).extend({'x': numpy.arange(2)}); file.close()",
        "found['t/x'].tolist() == [0, 1]",
    ),
    "audio": (
        "import numpy; from scipy.io import wavfile",
        ".wav",
        "wavfile.write(path, 9, numpy.int16([1, 2]))",
        "found['samples'].tolist() == [1, 2]",
    ),
    "safetensors": (
        "import numpy; from safetensors.numpy import save_file",
        ".safetensors",
        "save_file({'x': numpy.ones(2)}, path)",
        "found['x'].tolist() == [1, 1]",
    ),
}
for extra, (imports, suffix, write, wanted) in FILES.items():
    USES[extra] = f"""
{imports}
def run(params):
    path = params["result_file"]
    {write}
store = store_of(run, {suffix!r})
found = store.load(store.run_or_retrieve({{"n": 1}}))
assert {wanted}, found
"""
USES["formats"] = """
from importlib import import_module
from entropic.formats.catalogue import FORMATS
for library in {library for one in FORMATS for library in one.libraries}:
    import_module(library)
"""
USES["distributed"] = USES["dask"]
USES["all"] = USES["xarray"]


def main() -> None:
    """Build, install and use."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    if missing := extras - USES.keys() - {"demo", "test", "lint"}:
        raise SystemExit(f"no use is known here of the extras {sorted(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1:]:
            built = Path(sys.argv[1]).resolve()
        else:
            built = Path(folder, "dist")
            subprocess.run([*UV, "build", "--out-dir", built, ROOT], check=True)
        (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
        look_inside(wheel, sdist)
        for package, extra in [(sdist, ""), *((wheel, extra) for extra in ["", *sorted(USES)])]:
            use(Path(folder), package, extra)
            print(f"{package.name}{f'[{extra}]' if extra else ''} works", flush=True)


def look_inside(wheel: Path, sdist: Path) -> None:
    """Check that both bring the licence, that the sdist brings its tests, and that the index can follow the links."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert any(name.endswith("/licenses/LICENSE") for name in names), "the wheel has no licence"
    assert "entropic/py.typed" in names, "the wheel has no py.typed"
    links = re.findall(r"\]\(([^)]+)\)", metadata)
    assert links, "the wheel has no README"
    assert not [link for link in links if not link.startswith("https://")], "links that the index cannot follow"
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "Makefile", ".ci/run", "tests/conftest.py", "docs/api.md"):
        assert name in inside, f"the sdist has no {name}"


def use(folder: Path, package: Path, extra: str) -> None:
    """Install a package, with an extra, where nothing else is, and do with it what it is for.

    All environments are made at the same place, one after the other, and what Python compiles is kept beside it: each
    file of a library is compiled once, and not once for each extra.
    """
    venv, at_work = folder / "venv", folder / f"use{package.suffix}{extra}"
    at_work.mkdir()
    python = venv / "bin" / "python"
    subprocess.run([*UV, "venv", "--clear", "--python", sys.executable, venv], check=True)
    wanted = f"entropic[{extra}] @ {package.as_uri()}" if extra else str(package)
    subprocess.run([*UV, "pip", "install", "--python", python, wanted], check=True)
    script = at_work / "use.py"
    if extra:
        script.write_text(START + USES[extra])
    else:
        first = re.search(r"```python\n(from entropic import Base.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        assert first is not None
        script.write_text(first[1])
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    commands = [[python, script]]
    if not extra:  # twice, the second time from what is stored
        commands = [*commands, *commands, [python.with_name("entropic"), "--version"]]
    for command in commands:
        subprocess.run(command, cwd=at_work, env=env, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
