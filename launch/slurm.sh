#!/bin/bash
# One run on several hosts under Slurm:
#
#     sbatch --nodes=2 launch/slurm.sh --config=configs/pascal_1_8.py --workdir=/shared/runs/NAME
#
# One task per host, which takes all GPUs that it sees. The workdir is on a disk that all hosts see.
# Options such as --partition and --time go before the name of this script.
#SBATCH --job-name=rcc-jax
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --requeue
# Two minutes before the time is up every task saves and exits with 143.
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -euo pipefail
cd "${RCC_JAX:-$SLURM_SUBMIT_DIR}"  # The repository, on all hosts.

# A failed task ends all. exec passes the exit code on, by which a requeue may be decided.
exec srun --kill-on-bad-exit=1 "${PYTHON:-python}" main.py --distributed=auto "$@"
