"""Run a plan in blocks of seeds until the intervals of the claims are narrow enough.

The rule looks at widths alone, never at differences or p-values, so that it favours no result. The
blocks are declared by the call: the number of trainings that the claims require, then
`SEEDS_PER_BLOCK` more per block, at most the seeds of the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lico_bench.bench.plan import Plan
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.runner import execute
from lico_bench.claims import judge_claims, read_claims, wide_intervals
from lico_bench.errors import InvalidInputError
from lico_bench.store import RunFolder

SEEDS_PER_BLOCK = 2


def execute_until_width(
    plan: Plan,
    out: Path,
    *,
    starting: Callable[[RunFolder], object] = lambda _run: None,
    reporter: Reporter,
    **options: Any,
) -> RunFolder:
    """Run `plan` seed by seed until every primary interval is narrower than its smallest effect.

    Args:
        options: of `execute`, which has the other arguments too.

    Raises:
        InvalidInputError: if the plan has fewer seeds than a claim requires.
        LicoBenchError: as `execute`.
    """
    claims = [claim for claim in read_claims() if claim.arm in plan.suite.arms]
    most = 1 + max(cell.recipe.seed for cell in plan.cells)
    num_seeds = max((claim.min_seeds for claim in claims), default=SEEDS_PER_BLOCK)
    if num_seeds > most:
        raise InvalidInputError(
            f"--until-width: claims need {num_seeds} trainings per arm, the suite has at most "
            f"{most}; raise --seeds, which is the most that may be trained"
        )
    while True:
        run = execute(
            plan, out, starting=starting, until_seed=num_seeds, reporter=reporter, **options
        )
        verdicts = judge_claims(run, run.manifest(), claims, inference=run.inference())
        wide = wide_intervals(verdicts)
        if not wide or num_seeds >= most:
            reason = "all intervals are narrow enough" if not wide else "the most allowed"
            reporter.note(f"{num_seeds} trainings per arm: {reason}")
            return run
        reporter.note(f"{num_seeds} trainings per arm are not enough: {wide[0]}")
        num_seeds = min(num_seeds + SEEDS_PER_BLOCK, most)
