"""Independent calculations in threads: NumPy's heavy loops let go of the interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from threadpoolctl import threadpool_limits


def run_in_threads(*works: Callable[[], Any]) -> list[Any]:
    """The results of `works`, in their order; what one of them raises is raised.

    Each gets one thread, its matrix products as well: products that share all cores among
    themselves would wait for each other. So the bits do not depend on the number of cores either.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(min(cores or 1, len(works))) as pool,
    ):
        return [requested.result() for requested in [pool.submit(work) for work in works]]
