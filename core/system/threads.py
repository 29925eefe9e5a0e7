"""How many threads torch should use on a CPU beside other processes, and how long they spin."""

from __future__ import annotations

import os

SPINS_NAME = "GOMP_SPINCOUNT"  # of GNU's OpenMP, which torch's wheels contain
WAIT_NAMES = ("OMP_WAIT_POLICY", SPINS_NAME)
SPINS = 100_000  # a third of OpenMP's default: measured by benchmarks/busy.py
THREADS_NAME = "OMP_NUM_THREADS"
SAMPLE_SECONDS = 0.25


def limit_spinning() -> None:
    """Let the threads of this process and its children spin for a shorter time before they sleep.

    While they spin, they use the core that the thread they wait for may need. Must be called before torch is imported.
    A user's own setting stays.
    """
    if not any(name in os.environ for name in WAIT_NAMES):
        os.environ[SPINS_NAME] = str(SPINS)


def busy_cores() -> int:
    """Number of the cores that this process may use that other processes keep busy, measured for a moment.

    0 if the user has set OMP_NUM_THREADS, which then decides.
    """
    if THREADS_NAME in os.environ:
        return 0
    import psutil  # takes 16 ms, which the first screen of the UI does not have to wait

    percent = psutil.cpu_percent(SAMPLE_SECONDS, percpu=True)
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(percent))
    return round(sum(percent[core] for core in own if core < len(percent)) / 100)
