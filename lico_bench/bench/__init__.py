"""Walk a suite of runs and skip what is stored.

Names load what they need when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lico_bench.registry import at_first_use

if TYPE_CHECKING:
    from lico_bench.bench.executors import ExecutorOptions
    from lico_bench.bench.plan import Plan, PlannedCell, make_plan
    from lico_bench.bench.reporter import Reporter
    from lico_bench.bench.runner import execute
    from lico_bench.bench.suite import PROFILES, Profile, Suite

_HOMES = {
    "ExecutorOptions": "executors",
    "PROFILES": "suite",
    "Plan": "plan",
    "PlannedCell": "plan",
    "Profile": "suite",
    "Reporter": "reporter",
    "Suite": "suite",
    "execute": "runner",
    "make_plan": "plan",
}

__all__ = [
    "PROFILES",
    "ExecutorOptions",
    "Plan",
    "PlannedCell",
    "Profile",
    "Reporter",
    "Suite",
    "execute",
    "make_plan",
]

__getattr__ = at_first_use(__name__, _HOMES)
