"""Local execution: cells one by one in this process, or in parallel worker processes."""

from __future__ import annotations

from lico_bench.bench.cell import RunContext, SplitCache, run_unfinished
from lico_bench.bench.executors import EXECUTORS, ExecutorOptions
from lico_bench.bench.executors.processes import run_in_processes
from lico_bench.bench.plan import RunPlan
from lico_bench.bench.reporter import Reporter
from lico_bench.store import RunFolder


@EXECUTORS.register("local")
def run_locally(
    plan: RunPlan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter
) -> None:
    """Run the unfinished cells in the plan's order, or in `options.workers` processes."""
    if options.workers > 1:
        run_in_processes(plan, run, options=options, reporter=reporter)
        return
    context = RunContext(plan, run, SplitCache(plan.root), options.device, reporter)
    run_unfinished(context)
