#!/bin/bash
# One sweep, shared by the tasks of a job on one node: sbatch slurm.sh sweep.py. Submit it again if the time was too
# short; what is finished is kept. With a database server the tasks may be on many nodes: raise --nodes.
#SBATCH --job-name=sweep
#SBATCH --nodes=1
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --signal=INT@120

srun --ntasks="${SLURM_NTASKS:-8}" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" python "${1:-sweep.py}"
