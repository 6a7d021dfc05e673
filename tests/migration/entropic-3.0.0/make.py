"""Make the frozen store beside this file; run in this folder, with entropic 3.0.0 installed."""

from pathlib import Path

from entropic import Base, Mapped, Store
from entropic.protocol import publish


class Frozen(Base):
    __tablename__ = "frozen"
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


def runner(params):
    if params["name"] == "failed":
        raise ValueError("it did not converge")
    file = Path(params["result_file"])
    if params["name"] == "folder":
        file.mkdir()
        file = file / "part.txt"
    file.write_text(f"{params['n']} {params['dt']}")
    if params["name"] == "extra":
        (file.parent / "notes.txt").write_text("beside it")


store = Store(runner, Frozen, file_suffix=".txt")
store.run_or_retrieve({"n": 1, "dt": 0.1, "name": "first"}, note="made by 3.0.0")
store.sweep([{"n": n, "dt": 1.0, "name": "swept"} for n in (2, 3)])
store.run({"n": 4, "dt": 0.5, "name": "named", "id": "My run"})
Path("results/by-hand").mkdir()
Path("results/by-hand/five.txt").write_text("by hand")
store.register({"n": 5, "dt": 0.5, "name": "registered"}, "results/by-hand/five.txt")
store.run({"n": 6, "dt": 0.5, "name": "folder"})
store.run({"n": 7, "dt": 0.5, "name": "extra"})
try:
    store.run({"n": 8, "dt": 0.5, "name": "failed"})
except ValueError:
    pass


def interrupted(*_):
    raise KeyboardInterrupt


publish.publish = interrupted  # when the run is finished, and before it is recorded
try:
    store.run({"n": 9, "dt": 0.5, "name": "extra"}, note="finished")
except KeyboardInterrupt:
    pass
