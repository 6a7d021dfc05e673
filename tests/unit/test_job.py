"""In which job of a scheduler a process is."""

import pytest

from entropic.support.job import job


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "12"}, "Slurm 12"),
        ({"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0"}, "Slurm 12_0"),
        ({"PBS_JOBID": "12[3].head"}, "PBS 12[3].head"),
        ({"LSB_JOBID": "12", "LSB_JOBINDEX": "0"}, "LSF 12"),
        ({"LSB_JOBID": "12", "LSB_JOBINDEX": "7"}, "LSF 12_7"),
        ({"JOB_ID": "12", "SGE_TASK_ID": "undefined"}, "Grid Engine 12"),
        ({"JOB_ID": "12", "SGE_TASK_ID": "3"}, "Grid Engine 12_3"),
        ({"JOB_ID": "of something else"}, None),
        ({"SLURM_JOB_ID": "12\x1b[2J"}, None),
        ({"SLURM_JOB_ID": ""}, None),
    ],
)
def test_a_job_is_known_by_what_its_scheduler_says(monkeypatch, known, expected):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    assert job() == expected
