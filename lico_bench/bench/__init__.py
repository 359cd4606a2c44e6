"""Walk a suite of runs and skip what is stored."""

from lico_bench.bench.executors import ExecutorOptions
from lico_bench.bench.plan import Plan, PlannedCell, make_plan
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.runner import execute
from lico_bench.bench.suite import PROFILES, Profile, Suite

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
