"""A pendulum that is driven, for some strengths: a function as a study, with its curves in `.npz` files.

    pip install 'entropic[xarray,numpy]' scipy
    python examples/pendulum.py

Run it twice: the second time nothing is integrated. It writes `pendulum.sqlite3`, and into the folder `pendulum`.
"""

from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from entropic import outcome, study


def swing(result: dict[str, Any]) -> float:
    """Return how far it goes from where it hangs, in radians."""
    return float(abs(result["angle"]).max())


@study(
    results="pendulum/results",
    suffix=".npz",
    db_url="sqlite:///pendulum.sqlite3",
    outcomes={"steps": int, "swing": outcome(swing)},
)
def pendulum(drive: float, damping: float = 0.5, seconds: float = 60.0) -> dict[str, Any]:
    """Integrate its motion."""

    def motion(time: float, state: Any) -> tuple[float, float]:
        angle, speed = state
        return speed, -damping * speed - np.sin(angle) + drive * np.cos(2 / 3 * time)

    time = np.linspace(0.0, seconds, 601)
    found = solve_ivp(motion, (0.0, seconds), (0.2, 0.0), t_eval=time, rtol=1e-8)
    return {"time": time, "angle": found.y[0], "speed": found.y[1], "steps": found.nfev}


if __name__ == "__main__":
    runs = pendulum.sweep(drive=[0.2, 0.5, 0.9, 1.07, 1.15], damping=[0.4, 0.5])
    curves = runs.to_xarray()
    print(curves.angle.sel(damping=0.5).isel(time=-1).to_series())
    for row in pendulum.store.select(order_by="-swing", limit=3):
        print(f"drive {row.drive}, damping {row.damping}: {row.swing:.1f} rad, {row.steps} evaluations")
    print(pendulum(drive=0.2)["angle"][:3])  # loads
