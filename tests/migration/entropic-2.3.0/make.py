"""Make the frozen store beside this file; run with entropic 2.3.0 installed."""

from pathlib import Path

from entropic import Base, Mapped, Store


class Old(Base):
    __tablename__ = "old"
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


def runner(params):
    Path(params["result_file"]).write_text(f"{params['n']} {params['dt']}")


store = Store(runner, Old, file_suffix=".txt")
store.run_or_retrieve({"n": 1, "dt": 0.1, "name": "first"}, note="made by 2.3.0")
store.sweep([{"n": n, "dt": 1.0, "name": "swept"} for n in (2, 3)])
store.run({"n": 4, "dt": 0.5, "name": "named", "id": "My run"})
Path("elsewhere.txt").write_text("by hand")
store.register({"n": 5, "dt": 0.5, "name": "registered"}, "elsewhere.txt")
