#!/bin/bash
# One sweep, shared by the tasks of a job on one node: sbatch slurm.sh sweep.py. Submit it again if the time was too
# short; what is finished is kept. With a database server the tasks may be on many nodes: raise --nodes.
#SBATCH --job-name=sweep
#SBATCH --nodes=1
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --signal=INT@120
#SBATCH --requeue
#SBATCH --open-mode=append

srun --ntasks="${SLURM_NTASKS:-8}" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" python "${1:-sweep.py}"
code=$?

# A job that gives way to another one may be told to end its tasks some time before (GraceTime). It is put back into the
# queue only if it has not ended by itself by then, so it waits for that.
[ "$code" != 143 ] || sleep 900
exit "$code"
