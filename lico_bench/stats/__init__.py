"""Rows in, numbers with intervals out: means of arms and paired differences between them."""

from lico_bench.stats.bootstrap import Estimates, two_level
from lico_bench.stats.grid import Grid, as_frame, build_grids
from lico_bench.stats.means import arm_means
from lico_bench.stats.own_scores import OWN_SCORES
from lico_bench.stats.paired import paired_differences

__all__ = [
    "OWN_SCORES",
    "Estimates",
    "Grid",
    "arm_means",
    "as_frame",
    "build_grids",
    "paired_differences",
    "two_level",
]
