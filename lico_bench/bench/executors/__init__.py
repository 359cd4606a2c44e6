"""Executors run cells in this process, in worker processes or on a cluster; one file each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lico_bench.checks import check_count
from lico_bench.registry import Registry

if TYPE_CHECKING:
    from lico_bench.bench.cell import Cell, RunPlan
    from lico_bench.bench.reporter import Reporter
    from lico_bench.store import RunFolder


@dataclass(frozen=True)
class ExecutorOptions:
    """Execution options; each executor reads the fields it needs.

    Attributes:
        device: argument of `runtime.pick_device`.
        workers: processes on this machine; each runs one cell at a time.
        address: address of the cluster; None uses the default of the executor.
        devices: processes per machine that share one training.
        num_nodes: machines that share one training.
    """

    device: str = "auto"
    workers: int = 1
    address: str | None = None
    devices: int = 1
    num_nodes: int = 1

    def __post_init__(self) -> None:
        for name in ("workers", "devices", "num_nodes"):
            check_count(name, getattr(self, name))


class Executor(Protocol):
    """Runs the unfinished cells of a plan.

    A failed cell is recorded in its folder (`bench.reporter.attempt`) and the run continues.
    A full disk, an interruption and a preemption stop the run.
    """

    def __call__(
        self, plan: RunPlan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter
    ) -> None:
        """Run the cells; return when each is stored or recorded as failed."""


def unfinished(plan: RunPlan, run: RunFolder, reporter: Reporter) -> list[Cell]:
    """Return the unfinished cells in the plan's order; report the finished ones as skipped."""
    todo: list[Cell] = []
    for cell in plan.cells:
        if run.cell(cell.key).is_done:
            reporter.skip(cell.title)
        else:
            todo.append(cell)
    return todo


EXECUTORS: Registry[Executor] = Registry("executor", __name__)
