#!/usr/bin/env bash
# All tests and tables that need an NVIDIA GPU, in one call of at most nine minutes, without network access.
#
#     benchmarks/gpu.sh [RESULTS]            Python with torch is on the machine; RESULTS defaults to gpu-results
#     WHEELS=folder benchmarks/gpu.sh        install what else is needed from wheels in a folder first
#     DATA=folder benchmarks/gpu.sh          where MNIST's files are (MNIST/raw below it); default: generated glyphs
#     CPU=1 benchmarks/gpu.sh                a smoke test of this script on a machine without a GPU
#
# Each part has its own time limit and log, RESULTS/PART.txt. A part that fails does not keep the others from running.
set -uo pipefail
cd "$(dirname "$0")/.."
results=${1:-gpu-results}
mkdir -p "$results"
results=$(cd "$results" && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
failed=()

part() { # part NAME SECONDS COMMAND...
    local name=$1 seconds=$2 began=$SECONDS
    shift 2
    timeout --kill-after=5 "$seconds" "$@" >"$results/$name.txt" 2>&1
    local code=$?
    ((code == 0)) || failed+=("$name")
    echo "== $name: exit code $code after $((SECONDS - began)) s"
    tail -n 40 "$results/$name.txt"
}

if [[ -n ${WHEELS:-} ]]; then
    part wheels 60 "$python" -m pip install -q --no-index --no-deps --no-compile --target "$results/site" "$WHEELS"/*.whl
    export PYTHONPATH="$PYTHONPATH:$results/site"
fi
if [[ -n ${CPU:-} ]]; then
    part machine 60 "$python" -c 'import platform, torch; print(platform.processor(), torch.__version__)'
    part tests 120 "$python" -m pytest -q -p no:cacheprovider tests/test_cuda.py
    part throughput 300 "$python" benchmarks/throughput.py --quick
    part feeding 120 "$python" benchmarks/feeding.py --quick
    part latency 60 "$python" benchmarks/sampling_latency.py --model quick-mnist --rounds 1 --device cpu
else
    dataset=(--dataset glyphs)
    [[ -n ${DATA:-} ]] && dataset=(--dataset mnist --data-root "$DATA") && export MINIDIFF_DATA=$DATA
    part machine 10 nvidia-smi
    part tests 100 "$python" -m pytest -q -p no:cacheprovider tests/test_cuda.py
    part throughput-64 75 "$python" benchmarks/throughput.py --rounds 3 --seconds 0.4 --batch 64 "${dataset[@]}"
    part throughput-1024 75 "$python" benchmarks/throughput.py --rounds 3 --seconds 0.4 --batch 1024 "${dataset[@]}"
    part feeding 50 "$python" benchmarks/feeding.py --device cuda
    part latency 30 "$python" benchmarks/sampling_latency.py
    part quality 130 "$python" benchmarks/time_to_quality.py --recipes default --budgets 10,30 --seeds 1 "${dataset[@]}"
fi
if ((${#failed[@]})); then
    echo "failed: ${failed[*]}; logs are in $results"
    exit 1
fi
echo "all parts passed; logs are in $results"
