"""Calculations beside each other give what they give one after the other."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from lico_bench.report.content import run_in_threads


def blas_threads() -> list[int]:
    return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]


def test_results_come_in_order_and_each_had_one_thread_for_its_products():
    before = blas_threads()
    meeting = threading.Barrier(2, timeout=30)

    def work() -> list[int]:
        meeting.wait()  # both are under way
        return blas_threads()

    found = run_in_threads(work, work, lambda: "third")
    assert found[2] == "third"
    assert all(set(threads) == {1} for threads in found[:2])
    assert blas_threads() == before


def test_what_one_of_them_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        run_in_threads(lambda: 1 // 0, lambda: np.zeros(3))
