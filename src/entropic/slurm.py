"""Sweeps on a cluster that Slurm runs: `store.sweep(sets, Slurm(nodes=2, time="2:00:00"))`."""

from entropic.executors.scheduler import Slurm

__all__ = ["Slurm"]
