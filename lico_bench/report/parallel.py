"""Independent computations in threads; NumPy releases the GIL in its long loops."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from threadpoolctl import threadpool_limits


def run_in_threads(*tasks: Callable[[], Any]) -> list[Any]:
    """Run `tasks` in threads and return their results in order; exceptions propagate.

    BLAS is limited to one thread per task: parallel products on all cores would compete for them,
    and the results would depend on the number of cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(min(cores or 1, len(tasks))) as pool,
    ):
        return [future.result() for future in [pool.submit(task) for task in tasks]]
