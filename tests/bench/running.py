"""One call that runs a suite on the CPU."""

from __future__ import annotations

from pathlib import Path

from lico_bench.bench import ExecutorOptions, execute, make_plan

CPU = ExecutorOptions(device="cpu")


def run(suite, reporter, out: Path = Path("run"), **more):
    return execute(make_plan(suite), out, options=CPU, reporter=reporter, **more)
