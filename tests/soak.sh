#!/usr/bin/env bash
# Kills trainings at random moments and resumes them, for a number of minutes (60 by default), with random settings:
# each must end with the bits of one that was left alone. Prints how many kills hit what, and exits with 1 if a
# training did not come out equal. `tests/soak.sh 60 --seed=N` repeats the choices of an earlier soak.
set -euo pipefail
cd "$(dirname "$0")/.."
export CUDA_VISIBLE_DEVICES= TF_CPP_MIN_LOG_LEVEL=3 PYTHONPATH=.
minutes=${1:-60}
shift || true
exec "${PYTHON:-python}" tests/trust/soaking.py --minutes="$minutes" "$@"
