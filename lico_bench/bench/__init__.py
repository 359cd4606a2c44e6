"""Plan a suite, run its unfinished cells and store the results.

Names are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lico_bench.registry import lazy_getattr

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

__getattr__ = lazy_getattr(__name__, _HOMES)
