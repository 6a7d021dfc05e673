"""Which support vector machine reads handwritten digits best? A sweep of 60 sets, the best five, and a heatmap.

    pip install 'entropic[xarray]' scikit-learn matplotlib
    python examples/digits.py

Run it twice: the second time nothing is trained. It writes `digits.sqlite3`, and into the folder `digits`.
"""

from typing import Any

import matplotlib
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from entropic import Base, Mapped, Store, expand_grid, outcome

matplotlib.use("Agg")  # no display is needed


class Reader(Base):
    """A support vector machine that learned to read, and how often it is right."""

    __tablename__ = "readers"

    penalty: Mapped[float]
    gamma: Mapped[float]
    accuracy: Mapped[float] = outcome()


def train(params: dict[str, Any]) -> dict[str, Any]:
    """Learn from 400 digits, and read the others."""
    images, digits = load_digits(return_X_y=True)
    known, unseen, known_digits, unseen_digits = train_test_split(images, digits, train_size=400, random_state=0)
    model = SVC(C=params["penalty"], gamma=params["gamma"]).fit(known, known_digits)
    read = model.predict(unseen)
    return {"accuracy": (read == unseen_digits).mean(), "confusion": confusion_matrix(unseen_digits, read).tolist()}


store = Store(train, Reader, "digits/results", ".json", "sqlite:///digits.sqlite3")

if __name__ == "__main__":
    penalties = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
    sets = expand_grid({"penalty": penalties, "gamma": [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]})
    readers = store.sweep(sets, workers=-1)
    print(store.select(order_by="-accuracy", limit=5).to_pandas()[["penalty", "gamma", "accuracy"]])
    readers.to_xarray(variables=["accuracy"]).accuracy.plot(xscale="log", yscale="log").figure.savefig("digits/map.png")
