"""Where cells run: this process, workers beside it, a cluster; one file per executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lico_bench.checks import check_count
from lico_bench.registry import Registry

if TYPE_CHECKING:
    from lico_bench.bench.plan import Plan, PlannedCell
    from lico_bench.bench.reporter import Reporter
    from lico_bench.store import RunFolder


@dataclass(frozen=True)
class ExecutorOptions:
    """With what the cells are run; an executor takes of it what concerns it.

    Attributes:
        device: as `runtime.pick_device` takes it.
        workers: processes on this machine that take a cell each.
        address: of a cluster; None leaves it to the engine.
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
    """Runs the cells of a plan that are not finished.

    A cell that fails is recorded in its folder (`bench.failures.attempt`) and the others go on;
    a full disk, an interruption and a preemption stop the run.
    """

    def __call__(
        self, plan: Plan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter
    ) -> None:
        """Return when every cell is stored or recorded as failed."""


def unfinished(plan: Plan, run: RunFolder, reporter: Reporter) -> list[PlannedCell]:
    """The cells that are to be run, in the plan's order; of the others the reporter hears."""
    todo = []
    for cell in plan.cells:
        if run.cell(cell.key).is_done:
            reporter.skip(cell.title)
        else:
            todo.append(cell)
    return todo


EXECUTORS: Registry[Executor] = Registry("executor", __name__)
