"""A real Slurm of two nodes on this machine, for the tests: munged, slurmctld, and a slurmd for each node.

All pytest processes of a run share one. It lies in the folder of the run's servers, and their keeper ends it: see
`databases.py`. What runs in its jobs has `SLURM_CONF` in its environment, by which the keeper knows it.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from databases import Missing, Servers, _lives, _spawn, free_port, jobs_of, until

LOOK = 0.3  # s between two looks at the queue, in tests that wait for jobs
NODES = ("n1", "n2")
GPUS = ("/dev/full", "/dev/null", "/dev/random", "/dev/zero")  # on each: what counts as one must be a device
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={jobs}/%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=400
ReturnToService=2
GresTypes=gpu
# The nodes have more processors than this machine: without this they count as broken.
SlurmdParameters=config_overrides
KillWait=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,bf_interval=1
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=1 State=UP
PartitionName=graceful Nodes=ALL MaxTime=INFINITE State=UP GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=5
"""


class Cluster:
    """The cluster; `conf` is for `SLURM_CONF`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf = folder, folder / "slurm.conf"
        self._path = os.environ["PATH"]  # a test may put something else into its own

    # ---- its life ----
    @staticmethod
    def find() -> dict[str, str]:
        """Return where its daemons are; raise `Missing` if there are none."""
        places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        found = {name: shutil.which(name, path=places) for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun")}
        if missing := [name for name, path in found.items() if path is None]:
            raise Missing(f"there is no {', '.join(missing)}: Slurm is not installed")
        return {name: str(path) for name, path in found.items()}

    def start(self) -> None:
        """Start it; return when both nodes take jobs."""
        for made in (self.folder / "munge", self.folder / "state", jobs_of(self.folder.parent)):
            made.mkdir(parents=True)
        os.chmod(self.folder / "munge", 0o755)
        (self.folder / "munge" / "key").write_bytes(os.urandom(1024))
        os.chmod(self.folder / "munge" / "key", 0o400)
        host = socket.gethostname()
        ports = [free_port() for _ in range(1 + len(NODES))]
        nodes = [
            f"NodeName={name} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs=8 RealMemory=8000 "
            + f"Gres=gpu:{len(GPUS)}"
            for name, port in zip(NODES, ports[1:], strict=True)
        ]
        self.conf.write_text(
            CONF.format(
                host=host,
                port=ports[0],
                user=getpass.getuser(),
                folder=self.folder,
                jobs=jobs_of(self.folder.parent),
                nodes="\n".join(nodes),
            )
        )
        devices = f"NodeName=n[1-2] Name=gpu File={','.join(GPUS)} Flags=nvidia_gpu_env\n"
        (self.folder / "gres.conf").write_text(devices)
        munge = self.folder / "munge"
        self._daemon(
            "munged", "--foreground", "--force", f"--socket={munge}/socket", f"--pid-file={munge}/pid",
            f"--log-file={munge}/log", f"--seed-file={munge}/seed", f"--key-file={munge}/key",
        )  # fmt: skip
        until((munge / "socket").exists, "munged listens")
        self._daemon("slurmctld", "-D", "-f", str(self.conf))
        for name in NODES:
            self.start_node(name)
        until(self._is_up, "all nodes of Slurm take jobs")

    def _is_up(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%t").split() == [
                "idle" for _ in NODES
            ]
        return False

    def _daemon(self, name: str, *arguments: str) -> psutil.Process | None:
        return _spawn([self.find()[name], *arguments], self.folder / f"{name}.said", {}, self.environment())

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        process = self._daemon("slurmd", "-D", "-N", name, "-f", str(self.conf))
        (self.folder / f"{name}.daemon").write_text(str(process.pid if process else 0))

    def lose_node(self, name: str) -> None:
        """Kill the daemon of a node, and have Slurm notice."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(int((self.folder / f"{name}.daemon").read_text()))
            process.send_signal(signal.SIGKILL)
            until(lambda: not _lives(process), f"the daemon of {name} is gone")
        self.run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=test")

    # ---- what is done with it ----
    def environment(self) -> dict[str, str]:
        """Return the environment of its commands."""
        return {**os.environ, "SLURM_CONF": str(self.conf), "PATH": self._path}

    def run(self, *command: str) -> str:
        """Call one of its commands, and return what that says."""
        program = shutil.which(command[0], path=self._path) or command[0]
        done = subprocess.run(
            [program, *command[1:]], check=True, capture_output=True, text=True, env=self.environment()
        )
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Return all jobs that are not over, and their states."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    def running(self, besides: Any = ()) -> str:
        """Return the id of a job, once one runs."""
        return until(
            lambda: next((id for id, state in self.jobs().items() if state == "RUNNING" and id not in besides), ""),
            "a job runs",
        )

    def node_of(self, job: str) -> str:
        """Return the node of a job."""
        return self.run("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()

    def requeue(self, job: str) -> None:
        """Have a running job end, and start again as soon as there is room."""
        self.run("scontrol", "requeue", job)
        self.hurry(job)

    def hurry(self, job: str) -> None:
        """Let a job that was put back into the queue start as soon as there is room, and not only in two minutes."""
        until(lambda: self.jobs().get(job) == "PENDING", "the job has ended, and waits")  # else it is put off again
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def end_time_of(self, job: str) -> None:
        """Let the time of a running job be over: limits have minutes at least. Slurm looks every 30 s."""
        at = datetime.now() + timedelta(seconds=1)
        self.run("scontrol", "update", f"JobId={job}", f"EndTime={at:%Y-%m-%dT%H:%M:%S}")

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Let no job begin meanwhile."""
        self.run("scontrol", "update", "NodeName=n[1-2]", "State=DRAIN", "Reason=test")
        try:
            yield
        finally:
            self.run("scontrol", "update", "NodeName=n[1-2]", "State=RESUME")

    def clear(self) -> None:
        """Cancel all jobs, and wait until they are gone and the nodes are as they were."""
        self.run("scancel", "--state=PENDING", f"--user={getpass.getuser()}")
        self.run("scancel", "--signal=KILL", "--full", f"--user={getpass.getuser()}")
        until(lambda: not self.jobs(), "all jobs are gone")
        until(self._is_up_again, "all nodes of Slurm take jobs")

    def _is_up_again(self) -> bool:
        if not (is_up := self._is_up()):
            with contextlib.suppress(subprocess.CalledProcessError):  # it may be up by now
                self.run("scontrol", "update", f"NodeName={','.join(NODES)}", "State=RESUME")
        return is_up


def shared(servers: Servers) -> Cluster:
    """Return the cluster of this run; start it if there is none."""
    with servers._locked():
        cluster = Cluster(servers._root() / "slurm")
        if not cluster.conf.exists():
            cluster.find()
            cluster.start()
        return cluster


def present(start: Callable[[], Cluster]) -> Cluster:
    """Return a cluster; skip the test where there can be none: not in CI, unless it has no rights to run one."""
    import pytest

    if os.geteuid() != 0:
        pytest.skip("the daemons of Slurm are started by root here")
    try:
        return start()
    except Missing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
