"""Where cells run: this process, later workers or a cluster; one file per executor."""

from __future__ import annotations

from typing import Protocol

from lico_bench.bench.plan import Plan
from lico_bench.bench.reporter import Reporter
from lico_bench.registry import Registry
from lico_bench.store import RunFolder


class Executor(Protocol):
    """Runs the cells of a plan that are not finished."""

    def __call__(self, plan: Plan, run: RunFolder, *, device: str, reporter: Reporter) -> None:
        """Return when every cell is stored."""


EXECUTORS: Registry[Executor] = Registry("executor", __name__)
